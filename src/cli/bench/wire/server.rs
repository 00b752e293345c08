//! The engines that are measured: our own in each mode, somebody else's that listens already, or one that is started here for each run.
//!
//! An engine of ours or of a command runs only while it is measured: started before its run, ended after it. A floor never shares the
//! core with an engine that waits for its turn.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::WireOptions;
use crate::cli::bench::client::{Client, ClientError, Fleet};
use crate::cli::bench::engine::{EngineHome, EngineProcess, EngineSettings, free_port, wait_until_it_listens};
use crate::cli::bench::machine::Placement;
use crate::sys::{cores, process};

/// Longer than a benchmark takes, so that no idle session has to answer a TestRequest(1).
const HEART_BT_INT_S: u64 = 3_600;
/// Other engines may bound it; their sessions are never idle for so long.
const HEART_BT_INT_S_OTHERS: u64 = 60;
/// Of our own engine: 16 MiB each.
const SEGMENTS: u64 = 4;
/// An engine that has not seen the end of the connection before refuses the next Logon until it has.
const LOGON_TIMEOUT: Duration = Duration::from_secs(60);
const LOGON_RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Another engine: what it is called, and the command that serves one FIX.4.4 session on `{port}` with its files in `{directory}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OtherEngine {
    pub name: String,
    pub command: Vec<String>,
}

/// `NAME=COMMAND`, the command's words separated by blanks.
pub(super) fn other_engine(text: &str) -> Result<OtherEngine, String> {
    let (name, command) = text.split_once('=').unwrap_or_default();
    let command: Vec<_> = command.split_whitespace().map(String::from).collect();
    if name.trim().is_empty() || !command.iter().any(|word| word.contains("{port}")) {
        return Err("NAME=COMMAND, and the command says where {port} stands, for instance \
                    'mine=/usr/bin/mine --port {port} --store {directory}'"
            .into());
    }
    Ok(OtherEngine { name: name.trim().into(), command })
}

/// One of those that are measured.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub name: String,
    /// Of our own engine.
    pub mode: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Own,
    Listens(SocketAddr),
    Command(Vec<String>),
}

/// Our own in each mode and the others beside it; or the one that listens.
pub(super) fn contenders(options: &WireOptions) -> Vec<Contender> {
    if let Some(address) = options.connect {
        let name = options.engine_name.clone().unwrap_or_else(|| address.to_string());
        return vec![Contender { name, mode: None, kind: Kind::Listens(address) }];
    }
    let own = options.modes().into_iter().map(|mode| Contender {
        name: format!("fixring {}", env!("CARGO_PKG_VERSION")),
        mode: Some(mode),
        kind: Kind::Own,
    });
    let others = options.servers.iter().map(|other| Contender {
        name: other.name.clone(),
        mode: None,
        kind: Kind::Command(other.command.clone()),
    });
    own.chain(others).collect()
}

/// Where all contenders of a cell run.
pub(super) struct Ground<'a> {
    pub options: &'a WireOptions,
    pub placement: Placement,
    pub worker_cores: &'a [usize],
    pub sessions: u32,
    /// Of the contenders, one each; made when one is started for the first time.
    pub homes: Vec<Option<EngineHome>>,
    pub directory: PathBuf,
    /// How many processes were started: each other engine finds an empty directory.
    pub starts: u32,
}

/// An engine while it is measured.
pub(super) struct Running {
    pub fleet: Fleet,
    /// Logged on and silent, to the end of the run.
    _idle: Vec<Client>,
    pub own: Option<EngineProcess>,
    _other: Option<OtherProcess>,
}

impl Ground<'_> {
    /// Starts it and logs all sessions on.
    pub fn start(&mut self, number: usize, contender: &Contender) -> Result<Running, ClientError> {
        let (mut own, mut other) = (None, None);
        let address = match &contender.kind {
            Kind::Listens(address) => *address,
            Kind::Own => {
                let home = match &mut self.homes[number] {
                    Some(home) => home,
                    none => {
                        let directory = self.directory.join(format!("engine-{number}"));
                        std::fs::create_dir_all(&directory)?;
                        none.insert(EngineHome::new(&directory)?)
                    }
                };
                let settings = EngineSettings {
                    mode: contender.mode.as_deref().unwrap_or("buffered"),
                    wait: &self.options.wait,
                    sessions_max: self.sessions + self.options.idle_sessions + 16,
                    segments: SEGMENTS,
                };
                let engine =
                    EngineProcess::start_in(home, self.worker_cores, self.placement.housekeeping_core, &settings)?;
                own.insert(engine).address
            }
            Kind::Command(command) => {
                self.starts += 1;
                let directory = self.directory.join(format!("other-{}", self.starts));
                std::fs::create_dir_all(&directory)?;
                let started = OtherProcess::start(command, &directory, self.worker_cores)
                    .map_err(|error| ClientError::Failed(format!("{}: {error}", contender.name)))?;
                other.insert(started).address
            }
        };
        let heart_bt_int_s = if own.is_some() { HEART_BT_INT_S } else { HEART_BT_INT_S_OTHERS };
        let (sender, target) = &self.options.comp_ids;
        let log_on = |sender: String| {
            log_on(address, (&sender, target), heart_bt_int_s).map(|client| (client, (sender, target.clone())))
        };
        let idle: Result<Vec<_>, _> = (0..self.options.idle_sessions)
            .map(|number| log_on(format!("IDLE{number}")).map(|(client, _)| client))
            .collect();
        let active: Result<Vec<_>, _> = match self.sessions {
            1 => [sender.clone()].into_iter().map(log_on).collect(),
            sessions => (1..=sessions).map(|number| log_on(format!("{sender}{number}"))).collect(),
        };
        let running = Running { fleet: Fleet::new(active?)?, _idle: idle?, own, _other: other };
        if let Some(own) = &running.own {
            own.wait_until_quiet();
        }
        Ok(running)
    }
}

fn log_on(address: SocketAddr, comp_ids: (&str, &str), heart_bt_int_s: u64) -> Result<Client, ClientError> {
    let deadline = Instant::now() + LOGON_TIMEOUT;
    loop {
        match Client::to_engine(address, comp_ids, heart_bt_int_s) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(LOGON_RETRY_INTERVAL),
            result => return result,
        }
    }
}

/// Somebody else's engine as a child, with all that it starts; killed when dropped.
struct OtherProcess {
    child: Child,
    address: SocketAddr,
}

impl OtherProcess {
    fn start(command: &[String], directory: &Path, worker_cores: &[usize]) -> io::Result<Self> {
        let address = free_port()?;
        let word = |word: &String| {
            word.replace("{port}", &address.port().to_string()).replace("{directory}", &directory.display().to_string())
        };
        let words: Vec<String> = command.iter().map(word).collect();
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let worker_cores = worker_cores.to_vec();
        // A child inherits the cores of the thread that starts it, sched_setaffinity(2).
        let start = move || cores::run_on(&worker_cores).and_then(|()| command.spawn());
        let child = std::thread::spawn(start).join().expect("starting a process does not panic");
        let child = child.map_err(|error| io::Error::other(format!("cannot start {:?}: {error}", words[0])))?;
        let mut process = Self { child, address };
        wait_until_it_listens(&mut process.child, address).map_err(|error| {
            let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            io::Error::other(format!("it did not start: {error}: {}", log.trim()))
        })?;
        Ok(process)
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        let _ = process::kill_group(&self.child);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_engine_has_a_name_and_a_command_that_is_told_its_port() {
        let command = ["run", "-p", "{port}", "{directory}/a=b"].map(String::from).to_vec();
        let parsed = other_engine("QuickFIX/C++ FileStore=run -p {port}  {directory}/a=b");
        assert_eq!(parsed, Ok(OtherEngine { name: "QuickFIX/C++ FileStore".into(), command }));
        for wrong in ["", "=run {port}", "name=", "name", "name=run 9880"] {
            assert!(other_engine(wrong).is_err_and(|error| error.contains("{port}")), "{wrong}");
        }
    }
}
