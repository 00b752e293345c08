//! The venue of the demo: this executable as a child process that can be killed and started again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::DemoError;

/// Lines of the venue's log that an error shows.
const LAST_LINES: usize = 5;
/// Below the range that the kernel gives to outgoing connections, so that neither the client's own attempts to connect
/// nor anybody else's take the port while the venue is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

pub(super) struct Venue {
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Venue {
    pub fn new(directory: &Path, config: &str) -> Result<Self, DemoError> {
        let venue = Self { config: directory.join("venue.toml"), log: directory.join("venue.log"), child: None };
        fs::write(&venue.config, config).map_err(|error| DemoError::Io("cannot write a configuration", error))?;
        Ok(venue)
    }

    pub fn start(&mut self) -> Result<(), DemoError> {
        self.spawn().map_err(|error| DemoError::Io("cannot start the venue", error))
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--log-format", "human", "run", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us: the terminal does not send it to the venue as well.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL. The process is gone when this returns.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// What it said last, where it has ended without our doing.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.as_mut()?.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("{}\n{status}", self.last_words())),
            Err(error) => Some(error.to_string()),
        }
    }

    pub fn last_words(&self) -> String {
        let text = File::open(&self.log).and_then(io::read_to_string).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        // Whatever goes wrong, no process stays behind in a directory that is about to go.
        let _ = self.kill();
    }
}

pub(super) fn free_port() -> Option<u16> {
    let mut random = fastrand::Rng::new();
    (0..PORTS.len()).map(|_| random.u16(PORTS)).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}
