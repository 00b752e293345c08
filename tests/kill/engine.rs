//! The real binary as a child process, in a temporary directory of its own. It is killed when its owner goes.

#![allow(dead_code, reason = "two tests use it, each its part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wire::DEADLINE;

#[path = "../whole/mod.rs"]
pub mod whole;

use whole::Wholeness;

/// A directory with a configuration, to start engines in. What they leave is whole, see
/// [`Place::is_damaged`].
pub struct Place {
    pub port: u16,
    directory: tempfile::TempDir,
    wholeness: Wholeness,
}

/// What a configuration is made of, but for its paths and ports.
pub struct Setup<'a> {
    pub mode: &'a str,
    pub engine: &'a str,
    pub ring_bytes: &'a str,
    pub segment_bytes: &'a str,
    pub sessions: &'a str,
}

/// Small, so that a test makes it recycle segments. A template for every CompID.
pub const SMALL: Setup<'static> = Setup {
    mode: "buffered",
    engine: "commit_bytes_max = \"64KiB\"\nmessage_bytes_max = \"16KiB\"\ntemplate_sessions_max = 16\n",
    ring_bytes: "256KiB",
    segment_bytes: "1MiB",
    sessions: "[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n",
};

pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    ready: Receiver<()>,
    reader: Option<JoinHandle<()>>,
}

impl Place {
    pub fn new(setup: &Setup<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = Self { port: free_port(), directory, wholeness: Wholeness::default() };
        place.configure(setup);
        place
    }

    pub fn configure(&self, setup: &Setup<'_>) {
        let Setup { mode, engine, ring_bytes, segment_bytes, sessions } = setup;
        let (data_dir, ring_dir, port) = (self.data_dir(), self.ring_dir(), self.port);
        let text = format!(
            "[engine]\ndata_dir = {data_dir:?}\nwait = \"park\"\n{engine}\
             [persistence]\nallow_tmpfs = true\nmode = \"{mode}\"\nring_dir = {ring_dir:?}\nring_bytes = \"{ring_bytes}\"\n\
             segment_bytes = \"{segment_bytes}\"\nsegments = 4\nflush_method = \"fdatasync\"\n\
             [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:{port}\"\n{sessions}"
        );
        fs::write(self.config(), text).expect("the configuration is written");
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("fixring.toml")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn ring_dir(&self) -> PathBuf {
        self.path().join("rings")
    }

    /// `fixring run` with its log as JSON lines, as wherever standard error is no terminal.
    pub fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
        command.args(["run", "--config"]).arg(self.config());
        Running::of(command)
    }

    /// What ordinary sessions, deaths and recoveries leave is whole, beside an engine or after it.
    pub fn assert_whole(&self) {
        whole::assert_whole(&self.data_dir());
    }

    /// The test damages the journal on purpose, or leaves it where a start is refused or held for
    /// damage.
    pub fn is_damaged(&self, why: &'static str) {
        self.wholeness.is_damaged(why);
    }

    pub fn start_ready(&self) -> Running {
        let engine = self.start();
        engine.until_ready();
        engine
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wholeness.check(&self.data_dir());
    }
}

/// Makes a manifest say nothing of the file that it was written to, as one of before that was kept:
/// it can be put back like any file.
pub fn forget_its_file(manifest: &Path) {
    let text = fs::read_to_string(manifest).expect("a manifest");
    let is_kept = |line: &&str| !line.starts_with("born = ") && !line.starts_with("# crc32c = ");
    let body: String = text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    let crc = crc_fast::crc32_iscsi(body.as_bytes());
    fs::write(manifest, format!("{body}# crc32c = {crc:08x}\n")).expect("the manifest is written");
}

impl Running {
    pub fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&log);
        let (sender, ready) = channel();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let is_ready = line.contains("\"ready\"");
                into.lock().unwrap().push(line);
                if is_ready {
                    // Whoever does not wait for it has dropped the other end.
                    let _ = sender.send(());
                }
            }
        });
        Self { child, log, ready, reader: Some(reader) }
    }

    pub fn until_ready(&self) {
        if self.ready.recv_timeout(DEADLINE).is_err() {
            panic!("the engine is not ready:\n{}", self.log_text());
        }
    }

    /// Waits until it is ready, but no longer than this.
    pub fn until_ready_or(&self, timeout: Duration) {
        let _ = self.ready.recv_timeout(timeout);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Waits until the log has this: a line may come after what it tells has been seen elsewhere.
    pub fn until_logged(&self, text: &str) {
        const STEP: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + DEADLINE;
        while !self.log_text().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in the log:\n{}", self.log_text());
            std::thread::sleep(STEP);
        }
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the child is ours");
    }

    /// SIGTERM; nothing is waited for.
    pub fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().expect("kill runs");
        assert!(done.success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// Waits until it has ended by itself, and has said everything.
    pub fn until_ended(&mut self) -> (ExitStatus, String) {
        const STEP: Duration = Duration::from_millis(5);
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().expect("the child is ours") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("the engine does not end:\n{}", self.log_text()),
                // The step of a wait with a deadline, for an end that has no descriptor to wait on.
                None => std::thread::sleep(STEP),
            }
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the log");
        }
        (status, self.log_text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().map(|log| log.join("\n")).unwrap_or_default();
            eprintln!("the engine's log:\n{log}");
        }
    }
}

/// From below the range that the kernel hands to outgoing connections, and never the same one twice in a test run.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97) % COUNT;
    (0..COUNT)
        .map(|_| FIRST + ((start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % COUNT) as u16)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
