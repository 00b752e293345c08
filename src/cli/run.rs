//! `fixring run`: the engine in the foreground, until a signal ends it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};

use super::Exit;
use super::check::files_needed;
use super::held::wait_until_freed;
use super::logging::{self, last_words};
use crate::application::{Application, Delivery, Direction, Echo, Exchange, Handle, RestoreError, SessionNumber};
use crate::config::{BuiltInApplication, Config, ConfigErrors, DictionaryWarnings, LockMemory};
use crate::control::ControlError;
use crate::engine::{Engine, EngineError, Environment, StartError};
use crate::fix::Message;
use crate::journal::OpenError;
use crate::sys::bus_error::{Ending, end_on_bus_error};
use crate::sys::memory::{Locked, lock_all};
use crate::sys::open_files::{self, is_exhausted};

/// How often the main thread looks whether a signal came or the engine ended.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn run(config: Option<&Path>, data_dir: Option<&Path>) -> Exit {
    let config = match load(config, data_dir) {
        Ok(config) => config,
        Err(errors) => {
            last_words(&errors.to_string());
            return Exit::Configuration;
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            last_words(&format!("cannot catch signal {signal}: {error}"));
            return Exit::Internal;
        }
    }
    let ignored = match IgnoredSignals::catch() {
        Ok(ignored) => ignored,
        Err(error) => {
            last_words(&format!("cannot catch SIGHUP: {error}"));
            return Exit::Internal;
        }
    };
    // A file that may grow no further, the log's or a segment, is a write that fails and not the end by a signal.
    let caught = signal_hook::flag::register(SIGXFSZ, Arc::default());
    if let Err(error) = caught {
        last_words(&format!("cannot catch signal {SIGXFSZ}: {error}"));
        return Exit::Internal;
    }
    if let Err(error) = end_on_bus_error(ring_lost(&config), mapped_page_lost()) {
        last_words(&format!("cannot catch SIGBUS: {error}"));
        return Exit::Internal;
    }
    for DictionaryWarnings { path, count, first } in &config.dictionary_warnings {
        tracing::warn!(
            path,
            count,
            first,
            "a dictionary is read with warnings: fixring dictionary check names them all"
        );
    }
    raise_open_files(&config);
    let starting = EndsWhileStarting::watch(&stop);
    let engine = loop {
        let make = |environment| BuiltIn::new(config.engine.application, environment);
        match Engine::start_with(&config, make, || starting.set(Stage::Runs)) {
            Ok(engine) => break engine,
            Err(error @ StartError::Journal(OpenError::Held { .. })) => {
                // The wait looks at signals itself.
                starting.set(Stage::Waits);
                let exit = wait_until_freed(&config, &error, &stop, &ignored);
                starting.set(Stage::Starts);
                if let Some(exit) = exit {
                    return exit;
                }
            }
            Err(error) => {
                last_words(&error.to_string());
                return exit_of(&error);
            }
        }
    };
    drop(starting);
    // Where it is required, the start has done it.
    if config.engine.lock_memory == LockMemory::Auto {
        match lock_all() {
            Locked::All => tracing::debug!("all memory is locked as it comes into use"),
            not_locked => tracing::warn!("{not_locked}"),
        }
    }
    logging::run_on(engine.housekeeping_cores());
    let listening: Vec<String> = engine.acceptors().iter().map(ToString::to_string).collect();
    let control = engine.control().map_or_else(|| "off".into(), |address| address.to_string());
    let data_dir = config.engine.data_dir.display();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(acceptors = listening.join(", "), control, %data_dir, version, "ready");
    while !stop.load(Ordering::Relaxed) && !engine.is_over() {
        ignored.say();
        std::thread::sleep(WATCH_INTERVAL);
    }
    if stop.load(Ordering::Relaxed) {
        tracing::info!("stopping: logging out");
    }
    engine.stop();
    match engine.wait() {
        Ok(()) => {
            tracing::info!("stopped cleanly");
            Exit::Ok
        }
        Err(error) => {
            tracing::error!("{error}");
            match error {
                EngineError::Storage(_) => Exit::Storage,
                EngineError::Panicked { .. } | EngineError::Stuck { .. } => Exit::Internal,
            }
        }
    }
}

/// A start may wait for another process, or for a volume that does not answer, and looks at no
/// signal meanwhile. Before its workers run, nothing has left that it would have to take back: it
/// may end anywhere, as by a kill, and the next start does what it would have done. From then on
/// sessions may be logged on, and a signal waits for the end of the start, to log them out.
struct EndsWhileStarting {
    stage: Arc<Mutex<Stage>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starts,
    /// For `fixring recover`, and looks at signals itself.
    Waits,
    Runs,
}

impl EndsWhileStarting {
    fn watch(stop: &Arc<AtomicBool>) -> Self {
        let stage = Arc::new(Mutex::new(Stage::Starts));
        let (stop, watched) = (Arc::clone(stop), Arc::clone(&stage));
        let watch = move || {
            loop {
                std::thread::sleep(WATCH_INTERVAL);
                // Held over the end, so that no engine begins to run in it.
                let stage = watched.lock().unwrap_or_else(PoisonError::into_inner);
                let is_over = Arc::strong_count(&watched) == 1;
                match *stage {
                    _ if is_over => return,
                    Stage::Starts if stop.load(Ordering::Relaxed) => {
                        tracing::info!("stopped while starting: the next start does what this one would have done");
                        logging::finish();
                        std::process::exit(Exit::Ok as i32);
                    }
                    Stage::Runs if stop.load(Ordering::Relaxed) => {
                        tracing::info!("stopping as soon as the start has ended, since sessions may be logged on");
                        return;
                    }
                    _ => {}
                }
            }
        };
        // Where a thread cannot be had, a signal is looked at after the start.
        let _ = std::thread::Builder::new().name("fixring-start".into()).spawn(watch);
        Self { stage }
    }

    fn set(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// Signals whose default is the end of the process, and which say something else to many a daemon:
/// read the configuration again, open the log again. Nobody who sends one of them means to cut off
/// the sessions, nor does a terminal that is closed.
pub(super) struct IgnoredSignals {
    came: [(&'static str, Arc<AtomicBool>); 3],
}

impl IgnoredSignals {
    fn catch() -> std::io::Result<Self> {
        let came = ["SIGHUP", "SIGUSR1", "SIGUSR2"].map(|name| (name, Arc::<AtomicBool>::default()));
        for (signal, (_, flag)) in [SIGHUP, SIGUSR1, SIGUSR2].into_iter().zip(&came) {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
        }
        Ok(Self { came })
    }

    /// A line for each that has come.
    pub fn say(&self) {
        for (signal, _) in self.came.iter().filter(|(_, flag)| flag.swap(false, Ordering::Relaxed)) {
            tracing::warn!(
                signal,
                "ignored: the configuration is read at a start alone; SIGTERM stops the engine in order"
            );
        }
    }
}

/// A connection is an open file, and a connection too many is one that is not accepted.
fn raise_open_files(config: &Config) {
    let needed = files_needed(config);
    match open_files::raise() {
        Ok(allowed) if allowed < needed => tracing::warn!(
            needed,
            allowed,
            "engine.connections_max does not fit the limit of open files: beyond it no connection is accepted. Raise the hard limit (ulimit -Hn, LimitNOFILE of systemd), or lower connections_max"
        ),
        Ok(allowed) => tracing::debug!(needed, allowed, "open files"),
        Err(error) => tracing::warn!(%error, needed, "the limit of open files cannot be raised"),
    }
}

/// How the process ends when a ring's memory is gone.
fn ring_lost(config: &Config) -> Ending {
    let ring_dir = &config.persistence.ring_dir;
    Ending {
        line: format!(
            "shared memory failed: a page of a ring in {ring_dir:?} (persistence.ring_dir) is gone (SIGBUS): its file was cut, or a limit of memory was met; what its mode promises to every message that was acknowledged holds as after a lost pod. See that nobody else touches the rings, then start again\n"
        ),
        status: Exit::SharedMemory as u8,
    }
}

/// How it ends when any other mapped page cannot be had.
fn mapped_page_lost() -> Ending {
    Ending {
        line: "storage failed: a page of a mapped file cannot be read or written (SIGBUS); nothing was acknowledged that is not stored. Repair the volume, then start again\n".to_owned(),
        status: Exit::Storage as u8,
    }
}

/// The configuration of the file, or the built-in one, over the data directory that was asked for.
pub(super) fn load(config: Option<&Path>, data_dir: Option<&Path>) -> Result<Config, ConfigErrors> {
    let config = config.map_or_else(|| Ok(Config::default()), Config::load)?;
    Ok(over(config, data_dir))
}

/// [`load`], for who takes no session over: without the dictionaries and passwords that the file
/// names.
pub(super) fn load_outline(config: Option<&Path>, data_dir: Option<&Path>) -> Result<Config, ConfigErrors> {
    let config = config.map_or_else(|| Ok(Config::default()), Config::load_outline)?;
    Ok(over(config, data_dir))
}

fn over(config: Config, data_dir: Option<&Path>) -> Config {
    match data_dir {
        Some(data_dir) => config.with_data_dir(data_dir),
        None => config,
    }
}

/// Whose fault it is that the engine did not start, as a status.
pub(super) fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Journal(error) => exit_of_open(error),
        StartError::Listen { error, .. } | StartError::Control { error: ControlError::Bind { error, .. }, .. }
            if is_exhausted(error) =>
        {
            Exit::Storage
        }
        StartError::Listen { .. } | StartError::Control { error: ControlError::PortTaken { .. }, .. } => {
            Exit::PortTaken
        }
        StartError::Control { error: ControlError::Bind { .. }, .. }
        | StartError::Cores { .. }
        | StartError::Memory { .. }
        | StartError::Sessions { .. }
        | StartError::NoSuchJournal { .. }
        | StartError::LivesElsewhere { .. } => Exit::Configuration,
        StartError::Application { .. } => Exit::DataDirectory,
        StartError::Storage(_)
        | StartError::Thread(_)
        | StartError::Poll(_)
        | StartError::TooLittleMemory { .. }
        | StartError::Control { error: ControlError::Start(_), .. } => Exit::Storage,
    }
}

pub(super) fn exit_of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::Held { .. }
        | OpenError::Manifest(_)
        | OpenError::InUse { .. }
        | OpenError::RingInUse { .. }
        | OpenError::Directory(_)
        | OpenError::Damaged { .. } => Exit::DataDirectory,
        OpenError::Ring(_) => Exit::SharedMemory,
        OpenError::Volume(_) | OpenError::Archive(_) | OpenError::Storage(_) => Exit::Storage,
    }
}

/// The applications that the configuration can name.
pub(super) enum BuiltIn {
    Exchange(Exchange),
    Echo(Echo),
}

impl BuiltIn {
    pub fn new(which: BuiltInApplication, environment: Environment) -> Self {
        match which {
            BuiltInApplication::Exchange => Self::Exchange(Exchange::new(environment.snapshot_bytes_max)),
            BuiltInApplication::Echo => Self::Echo(Echo::new(environment.snapshot_bytes_max)),
        }
    }
}

impl Application for BuiltIn {
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        match self {
            Self::Exchange(exchange) => exchange.on_message(session, message, delivery),
            Self::Echo(echo) => echo.on_message(session, message, delivery),
        }
    }

    fn has_turn(&self) -> bool {
        match self {
            Self::Exchange(exchange) => exchange.has_turn(),
            Self::Echo(echo) => echo.has_turn(),
        }
    }

    fn rehearse(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        match self {
            Self::Exchange(exchange) => exchange.rehearse(session, message),
            Self::Echo(echo) => echo.rehearse(session, message),
        }
    }

    fn snapshot(&self, state: &mut Vec<u8>) {
        match self {
            Self::Exchange(exchange) => exchange.snapshot(state),
            Self::Echo(echo) => echo.snapshot(state),
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        match self {
            Self::Exchange(exchange) => exchange.restore(state),
            Self::Echo(echo) => echo.restore(state),
        }
    }

    fn on_replay(&mut self, session: SessionNumber, epoch: u32, direction: Direction, message: &Message<'_>) {
        match self {
            Self::Exchange(exchange) => exchange.on_replay(session, epoch, direction, message),
            Self::Echo(echo) => echo.on_replay(session, epoch, direction, message),
        }
    }
}
