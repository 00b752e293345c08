//! Start and stop of a whole engine.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtrb::RingBuffer;

use super::archive::{Archiving, RecycleWatch, archive_first, run_archivers, target};
use super::budget;
use super::clock::{Clock, SystemClock};
use super::directory::{Directory, mode_of};
use super::errors::{EngineError, StartError};
use super::event::{SessionKey, events};
use super::fence::Fence;
use super::flushing::{monotonic_ns, never_sleeps, run_flusher};
use super::log::EventLog;
use super::patience::{END_MAX, Patience, behind};
use super::placement::Cores;
use super::presence::Presence;
use super::replay::restore;
use super::stall_watch::StallWatch;
use super::storage_watch::StorageWatch;
use super::threads::{FatalOnPanic, Signals, run_resolver, run_stagers, run_worker, share_a_core, spawn};
use super::worker::{Adopted, Limits, Mailbox, Worker};
use crate::application::Application;
use crate::config::{Config, LockMemory};
use crate::control::{ControlServer, Phase, Shared};
use crate::journal::{
    self, Allowed, FileStorage, Filesystem, FlushChoice, Geometry, Manifest, Mode, OpenError, Recovered,
    RecoveredSession, Rollback, SessionState, Storage, StorageError, Unreadable,
};
use crate::session::{Identity, Version};
use crate::sys::ring::Watermarks;
use crate::transport::tcp::{KernelTcp, bind};

/// Positions of stored messages that a stager keeps of one resend, at 16 bytes each; it finds the rest by walking once more.
const RESEND_MESSAGES_MAX: u32 = 16_384;
/// Connections on their way from one worker to another, at most.
const HAND_OVERS_MAX: usize = 64;
/// Names that wait for the resolver, at most: one an initiator, as long as there are no more initiators than that.
const RESOLVES_MAX: usize = 1024;
/// How long a stop waits for the archiver to leave what it is doing.
const ARCHIVE_END_MAX: Duration = Duration::from_secs(2);
/// How often [`Engine::wait`] looks whether threads have ended.
const WAIT_INTERVAL: Duration = Duration::from_millis(5);
const LOG_INTERVAL: Duration = Duration::from_millis(2);
/// How often flushers and workers are looked at from outside.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How long a stop waits for the log, whose reader may stand still.
const LOG_END_MAX: Duration = Duration::from_secs(2);

/// What an application learns about where it will run.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    pub journal: u16,
    /// The number of this start, in the life of the data directory.
    pub incarnation: u32,
    /// The bound of [`Application::snapshot`].
    pub snapshot_bytes_max: u32,
}

/// A running engine. Dropping it stops it gracefully.
pub struct Engine {
    signals: Arc<Signals>,
    shared: Arc<Shared>,
    control: Option<ControlServer>,
    acceptors: Vec<SocketAddr>,
    workers: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    resolver: Option<JoinHandle<()>>,
    archiver: Option<JoinHandle<()>>,
    watch: Option<JoinHandle<()>>,
    log: Option<JoinHandle<()>>,
    housekeeping_cores: Vec<usize>,
    lock: Option<journal::DirectoryLock>,
    ends: Ends,
    /// How long a stop waits while nothing moves: the Logouts' time, and the volume's.
    stop_patience: Duration,
}

/// What an orderly stop writes down.
struct Ends {
    data_dir: PathBuf,
    incarnation: u32,
    marks: Vec<Watermarks>,
}

impl Engine {
    /// Recovers the data directory and starts the threads. `make` is called once a journal.
    ///
    /// When this returns, everything that the last run promised to keep is on stable media and the acceptors listen.
    pub fn start<A: Application + 'static>(
        config: &Config,
        make: impl FnMut(Environment) -> A,
    ) -> Result<Engine, StartError> {
        Self::start_with(config, make, || ())
    }

    /// [`Engine::start`], which calls `before_run` when everything is ready but the workers. From
    /// then on sessions may be logged on, and only [`Engine::stop`] logs them out.
    pub fn start_with<A: Application + 'static>(
        config: &Config,
        mut make: impl FnMut(Environment) -> A,
        before_run: impl FnOnce(),
    ) -> Result<Engine, StartError> {
        let allowed =
            Allowed { network: config.persistence.allow_network_filesystem, memory: config.persistence.allow_tmpfs };
        let filesystem_warning = Filesystem::check(&config.engine.data_dir, allowed).map_err(StartError::Journal)?;
        let placement = Cores::of(config)?;
        let worker_count = placement.workers.len();
        let journals = journals_of(config, worker_count as u16);
        let shared = Shared::new(worker_count, usize::from(journals));
        budget::check(config, journals)?;
        if let Some(why) = &placement.parks {
            tracing::warn!("{why}");
        }
        let acceptors = listen(config)?;
        let control = match config.control.listen {
            Some(address) => {
                let started = ControlServer::start(address, Arc::clone(&shared));
                let place = || config.place_of("control.listen");
                Some(started.map_err(|error| StartError::Control { place: place(), error })?)
            }
            None => None,
        };
        super::memory::lock_if_required(config)?;
        shared.set_phase(Phase::Recovering);
        let began = Instant::now();
        let waiting = |pid: Option<u32>| {
            let pid = pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
            let timeout_ms = config.engine.lock_timeout.as_millis() as u64;
            tracing::warn!(timeout_ms, "waiting for {pid} to let go of the data directory");
            shared.set_phase(Phase::Waiting);
        };
        let settings = journal_settings(config, journals);
        // Validators take tens of ms to compile, and the journal about as long to read.
        let (opened, directory) = std::thread::scope(|scope| {
            let beside = std::thread::Builder::new().spawn_scoped(scope, || Directory::new(config));
            let opened =
                journal::open_with(&settings, config.engine.lock_timeout, waiting, |storage, manifest, rings| {
                    shared.set_phase(Phase::Recovering);
                    archive_first(config, storage, manifest, rings)
                });
            let directory = match beside {
                Ok(beside) => beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // Where a thread cannot be had, one thing comes after the other.
                Err(_) => Directory::new(config),
            };
            (opened, directory)
        });
        let opened = opened.map_err(StartError::Journal)?;
        super::recovered::publish(&opened, began.elapsed(), &config.engine.data_dir, &shared);
        if let Some(warning) = filesystem_warning {
            tracing::warn!("{warning}");
        }
        if let Some(chosen) = &opened.flush {
            let measured = if chosen.is_new { "the volume was measured: " } else { "" };
            tracing::info!(method = %chosen.method, "flush method: {measured}{}", chosen.why);
        }
        if let Some(said) = &opened.growth {
            tracing::warn!("{said}");
        }
        for warning in &opened.warnings {
            // Of memory that is not locked `fixring run` warns once, for the whole process.
            tracing::debug!("{warning}");
        }

        let directory = Arc::new(directory);
        check_journal_keys(config, journals)?;
        let signals = Arc::new(Signals::default());
        let limits = limits(config);
        let strong = config.sessions.iter().any(|session| mode_of(session.mode) != Mode::Buffered);
        let worker_of_journal: Vec<u32> = (0..opened.journals.len()).map(|at| (at % worker_count) as u32).collect();
        let (mut flushers, mut stagers) = (Vec::new(), Vec::new());
        let (mut archivers, mut watches) = (Vec::new(), Vec::new());
        let (mut marks, mut begun) = (Vec::new(), Vec::new());
        let mut watch = StorageWatch::new(config.persistence.storage_latency_alarm);
        let mut log = EventLog::default();
        let mut adopted: Vec<Vec<Adopted<A>>> = (0..worker_count).map(|_| Vec::new()).collect();
        // What the directory has, which a raised number of segments may not be yet.
        let settings = match opened.journals.first() {
            Some(journal) => journal::Settings { geometry: journal.writer.geometry(), ..settings },
            None => settings,
        };
        for journal in opened.journals {
            tracing::info!(journal = journal.number, "{}", journal.recovered.report);
            if journal.recovered.report.healed_bytes > 0 {
                tracing::error!(
                    journal = journal.number,
                    bytes = journal.recovered.report.healed_bytes,
                    "the volume has lost what was synced to it; the ring had it, and it was written again. What lay there is in quarantine/: see to the volume"
                );
            }
            if let Some(Unreadable { from, to, bytes }) = journal.recovered.report.unreadable {
                tracing::error!(
                    journal = journal.number,
                    bytes,
                    from,
                    to,
                    "the volume has lost what was synced to it, and the ring did not have it. All numbers go on, as a newer segment states them; messages that were stored there are gap-filled where they are asked for. See to the volume; fixring journal verify shows the place"
                );
            }
            check_found(config, &directory, journal.writer.geometry(), journal.number, &journal.recovered.sessions)?;
            for session in &journal.recovered.sessions {
                let key = SessionKey { journal: journal.number, number: session.number };
                if let Some(identity) = Identity::from_bytes(&session.identity) {
                    log.know(key, identity.to_string());
                }
            }
            let at = usize::from(journal.number);
            let environment = Environment {
                journal: journal.number,
                incarnation: opened.incarnation,
                snapshot_bytes_max: journal.writer.geometry().snapshot_bytes_max() as u32,
            };
            let mut application = make(environment);
            log_rollbacks(&journal.recovered);
            let own = directory.data_fields_of_journal(&journal.recovered.sessions);
            restore(&mut application, &journal.recovered, limits.message_bytes_max, &own).map_err(
                |error| match error {
                    Ok(error) => StartError::Application { journal: journal.number, error },
                    Err(error) => StartError::Storage(error),
                },
            )?;
            let recycling = &journal.recycling;
            recycling.set_resend_hold_max(config.persistence.recycle_hold_max.as_nanos() as u64);
            watches.push(RecycleWatch::new(journal.number, Arc::clone(recycling), shared.recycling(at), log.port()));
            if let Some(target) =
                target(config, journal.writer.geometry(), (opened.uuid, opened.timeline), journal.number)
            {
                let archiver = journal.archiver(opened.uuid, target, config.persistence.archive_required);
                archivers.push(Archiving::new(journal.number, archiver, shared.archive(at)));
            }
            marks.push(journal.watermarks.clone());
            begun.push((journal.watermarks.clone(), journal.recovered.report.end));
            watch.add(journal.number, journal.flusher.counters(), journal.watermarks, shared.storage(at));
            flushers.push((journal.flusher, shared.flusher(at)));
            stagers.push(journal.stager);
            adopted[worker_of_journal[at] as usize].push(Adopted {
                number: journal.number,
                writer: journal.writer,
                incarnation: opened.incarnation,
                application,
                sessions: journal.recovered.sessions,
                staging: journal.stager_port,
                counters: shared.journal(at),
            });
        }

        let mut engine = Engine {
            signals,
            shared,
            control,
            acceptors: acceptors.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            workers: Vec::new(),
            others: Vec::new(),
            resolver: None,
            archiver: None,
            watch: None,
            log: None,
            housekeeping_cores: placement.housekeeping.clone(),
            lock: opened.lock,
            ends: Ends { data_dir: config.engine.data_dir.clone(), incarnation: opened.incarnation, marks },
            stop_patience: config.engine.logout_timeout + config.engine.stop_timeout,
        };
        let slow_ns = config.persistence.storage_latency_alarm.as_nanos() as u64;
        let never_sleeps = never_sleeps(placement.wait, strong, placement.housekeeping.len(), flushers.len());
        let flusher_cores: Vec<Vec<usize>> = (0..flushers.len())
            .map(|number| placement.flusher(config, strong && !never_sleeps, worker_of_journal[number] as usize))
            .collect();
        let shares_core: Vec<bool> = (0..placement.workers.len())
            .map(|worker| {
                let mut journals =
                    worker_of_journal.iter().zip(&flusher_cores).filter(|(of, _)| **of as usize == worker);
                journals.any(|(_, cores)| share_a_core(&placement.workers[worker], cores))
            })
            .collect();
        for (number, (mut flusher, published)) in flushers.into_iter().enumerate() {
            engine.housekeeping(&format!("fixring-flush-{number}"), &flusher_cores[number], move |signals| {
                run_flusher(&mut flusher, &published, slow_ns, never_sleeps, signals);
            })?;
        }
        let mut fence = Fence::new(&config.engine.data_dir, opened.incarnation, begun);
        let files = journal::files_in_use(&settings, opened.timeline);
        let mut presence = Presence::new(files, Arc::clone(&engine.shared), log.port());
        engine.housekeeping("fixring-stage", &placement.housekeeping, move |signals| {
            run_stagers(&mut stagers, &mut watches, &mut fence, &mut presence, signals);
        })?;
        if !archivers.is_empty() {
            engine.housekeeping("fixring-archive", &placement.housekeeping, move |signals| {
                run_archivers(&mut archivers, signals);
            })?;
            engine.archiver = engine.others.pop();
        }

        let mut resolvers = Vec::new();
        let mut event_rings = Vec::new();
        let mut mailboxes = Vec::new();
        let mut inboxes: Vec<Vec<_>> = (0..worker_count).map(|_| Vec::new()).collect();
        let mut outboxes: Vec<Vec<_>> = (0..worker_count).map(|_| Vec::new()).collect();
        for (from, outbox) in outboxes.iter_mut().enumerate() {
            for (to, inbox) in inboxes.iter_mut().enumerate() {
                outbox.push((from != to).then(|| {
                    let (producer, consumer) = RingBuffer::new(HAND_OVERS_MAX);
                    inbox.push(consumer);
                    producer
                }));
            }
        }
        for (number, (hand_over_to, handed_over)) in outboxes.into_iter().zip(inboxes).enumerate() {
            let (sink, ring) = events(engine.shared.worker(number));
            let (resolve, requests) = RingBuffer::new(RESOLVES_MAX);
            let (answers, resolved) = RingBuffer::new(RESOLVES_MAX);
            event_rings.push(ring);
            resolvers.push((requests, answers));
            mailboxes.push(Mailbox { events: sink, resolve, resolved, hand_over_to, handed_over });
        }
        engine.housekeeping("fixring-resolve", &placement.housekeeping, move |signals| {
            run_resolver(&mut resolvers, signals);
        })?;
        engine.resolver = engine.others.pop();
        let mut stalls = StallWatch::new(config.engine.stall_alarm, &engine.shared, log.port());
        let (names, port) = (log.names(), log.port());
        // It neither logs nor touches a volume: a reader of the log that stands still does not silence the alarms.
        engine.housekeeping("fixring-watch", &placement.housekeeping, move |signals| {
            while !signals.log_ends.load(Ordering::Acquire) {
                watch.turn(monotonic_ns(), &port);
                stalls.turn(monotonic_ns(), |session| names.get(session));
                std::thread::sleep(LOOK_INTERVAL);
            }
        })?;
        engine.watch = engine.others.pop();
        let log_signals = Arc::clone(&engine.signals);
        let log = spawn("fixring-log".into(), &placement.housekeeping, move || {
            loop {
                // Read first: what was said before the end is still logged.
                let ends = log_signals.log_ends.load(Ordering::Acquire);
                if log.turn(&mut event_rings) == 0 {
                    if ends {
                        return;
                    }
                    std::thread::sleep(LOG_INTERVAL);
                }
            }
        });
        engine.log = Some(log.map_err(StartError::Thread)?);

        for trace in engine.shared.traces() {
            trace.set_long_turn_ns(config.engine.long_turn.as_nanos() as u64);
            if config.engine.trace_stages {
                trace.start_stamps();
            }
        }
        before_run();
        // All listeners are the first worker's: a connection goes to the worker of its session once its Logon names it.
        let mut listeners = Some(acceptors);
        let rings_bytes = u64::from(journals) * settings.geometry.ring_bytes;
        for (number, (mailbox, adopted)) in mailboxes.into_iter().zip(adopted).enumerate() {
            let listeners = listeners.take().unwrap_or_default();
            let signals = Arc::clone(&engine.signals);
            let shared = Arc::clone(&engine.shared);
            let directory = Arc::clone(&directory);
            let worker_of_journal = worker_of_journal.clone();
            let wait = placement.wait;
            let prefaults = config.engine.lock_memory != LockMemory::Never;
            let transport = KernelTcp::new(limits.connections_max).and_then(|mut transport| {
                listeners.into_iter().try_for_each(|listener| transport.listen(listener))?;
                Ok(transport)
            });
            let transport = transport.map_err(StartError::Poll)?;
            let shares_core = shares_core[number];
            let body = move || {
                let mut clock = SystemClock::new();
                let counters = shared.worker(number);
                let now = clock.now();
                let mut worker = Worker::new(
                    number as u32,
                    transport,
                    adopted,
                    worker_of_journal,
                    directory,
                    shared,
                    limits,
                    mailbox,
                    counters,
                    now,
                );
                if prefaults {
                    super::memory::fault_in(number, rings_bytes);
                }
                run_worker(&mut worker, &mut clock, wait, shares_core, &signals);
            };
            let thread = spawn(format!("fixring-worker-{number}"), &placement.workers[number], body);
            engine.workers.push(thread.map_err(StartError::Thread)?);
        }
        engine.shared.set_phase(Phase::Ready);
        Ok(engine)
    }

    /// Where the acceptors listen, in the order of the configuration; port 0 has become a real one.
    pub fn acceptors(&self) -> &[SocketAddr] {
        &self.acceptors
    }

    /// Where health and metrics are served.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(ControlServer::address)
    }

    /// Where threads run that are no worker; anywhere where it is empty.
    pub fn housekeeping_cores(&self) -> &[usize] {
        &self.housekeeping_cores
    }

    /// What the engine's threads publish.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Asks for the graceful stop: Logout to every session, a bounded wait, everything synced.
    pub fn stop(&self) {
        self.shared.set_phase(Phase::Stopping);
        self.signals.stop.store(true, Ordering::Release);
    }

    /// Whether the engine has come to its end, so that [`Engine::wait`] does not wait.
    pub fn is_over(&self) -> bool {
        self.signals.fatal.load(Ordering::Acquire) || self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Waits until the engine has stopped, gracefully or not. A stop that was asked for does not
    /// wait for ever: where nothing moves for `logout_timeout` and `stop_timeout`, it ends with an
    /// error, and threads that do not come back are left behind.
    pub fn wait(mut self) -> Result<(), EngineError> {
        while !self.is_over() && !self.signals.stop.load(Ordering::Acquire) {
            std::thread::sleep(WAIT_INTERVAL);
        }
        self.join()
    }

    fn join(&mut self) -> Result<(), EngineError> {
        let mut ending = Ending::new(self.stop_patience, &self.ends.marks);
        // A worker that panicked leaves the others to stop gracefully.
        ending.until_ended(&self.workers, self, true);
        ending.take(self.workers.drain(..));
        self.signals.workers_done.store(true, Ordering::Release);
        ending.until_ended(&self.others, self, false);
        ending.take(self.others.drain(..));
        self.signals.archive_ends.store(true, Ordering::Release);
        let archive_deadline = Instant::now() + ARCHIVE_END_MAX;
        while self.archiver.as_ref().is_some_and(|archiver| !archiver.is_finished())
            && Instant::now() < archive_deadline
        {
            std::thread::sleep(WAIT_INTERVAL);
        }
        // A target that hangs, such as a network filesystem's, keeps nobody else.
        ending.take_finished(self.archiver.take());
        // A name server may keep it for half a minute, which nobody needs to wait for: it holds nothing of the engine's.
        ending.take_finished(self.resolver.take());
        self.signals.log_ends.store(true, Ordering::Release);
        ending.take(self.watch.take());
        let log_deadline = Instant::now() + LOG_END_MAX;
        while self.log.as_ref().is_some_and(|log| !log.is_finished()) && Instant::now() < log_deadline {
            std::thread::sleep(WAIT_INTERVAL);
        }
        // What takes its lines may be the embedding program's, and stand still.
        ending.take_finished(self.log.take());
        let Ending { failed, has_left, .. } = ending;
        if failed.is_none() && self.signals.why().is_none() && self.lock.is_some() {
            self.ends.write();
        }
        let lock = self.lock.take();
        if has_left {
            // A write that hangs may still reach the volume: the directory stays locked until the
            // kernel lets go of this process.
            std::mem::forget(lock);
        }
        match (self.signals.why(), failed) {
            (Some(why), _) => Err(EngineError::Storage(why)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(()),
        }
    }

    fn housekeeping(
        &mut self,
        name: &str,
        cores: &[usize],
        body: impl FnOnce(&Signals) + Send + 'static,
    ) -> Result<(), StartError> {
        let signals = Arc::clone(&self.signals);
        let thread = spawn(name.into(), cores, move || {
            let _ends = FatalOnPanic(&signals);
            body(&signals);
        });
        self.others.push(thread.map_err(StartError::Thread)?);
        Ok(())
    }
}

/// How the threads of an engine come to their end.
struct Ending {
    patience: Patience,
    /// When it was clear that the end is none in order.
    fatal_since: Option<Instant>,
    failed: Option<EngineError>,
    /// A thread did not end in time, and is left behind.
    has_left: bool,
}

impl Ending {
    fn new(max: Duration, marks: &[Watermarks]) -> Self {
        let patience = Patience::new(max, marks, Instant::now());
        Self { patience, fatal_since: None, failed: None, has_left: false }
    }

    /// Waits until all have ended, or for as long as it makes sense. Where `one_ends_all`, the
    /// first that ends asks the others to stop.
    fn until_ended(&mut self, threads: &[JoinHandle<()>], engine: &Engine, one_ends_all: bool) {
        let Engine { signals, ends, .. } = engine;
        while let Some(waits_for) = threads.iter().find(|thread| !thread.is_finished()) {
            let now = Instant::now();
            if one_ends_all && threads.iter().any(JoinHandle::is_finished) {
                signals.stop.store(true, Ordering::Release);
            }
            if signals.fatal.load(Ordering::Acquire) {
                if now - *self.fatal_since.get_or_insert(now) >= END_MAX {
                    self.has_left = true;
                    return;
                }
            } else if self.patience.is_over(&ends.marks, now) {
                self.give_up(waits_for, engine);
            }
            std::thread::sleep(WAIT_INTERVAL);
        }
    }

    /// Nothing has moved for long enough: the volume's fault where it lacks something, and
    /// otherwise that of the thread.
    fn give_up(&mut self, waits_for: &JoinHandle<()>, engine: &Engine) {
        let Engine { signals, ends, stop_patience, .. } = engine;
        let Some((journal, bytes)) = behind(&ends.marks) else {
            let thread = waits_for.thread().name().unwrap_or("unnamed").to_string();
            self.failed.get_or_insert(EngineError::Stuck { thread });
            return signals.fatal.store(true, Ordering::Release);
        };
        let target = format!("journal {journal} in {:?}", ends.data_dir);
        let why = format!(
            "nothing has moved on the volume for {} s of the stop, which waits no longer (engine.stop_timeout); the last {bytes} bytes are in the ring alone, \
             from where the next start carries them",
            stop_patience.as_secs()
        );
        signals.fail(&StorageError::new("sync", target, std::io::Error::new(std::io::ErrorKind::TimedOut, why)));
    }

    /// Of threads that have ended, whether they panicked. The others are left behind.
    fn take(&mut self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        for thread in threads {
            if self.has_left && !thread.is_finished() {
                continue;
            }
            let name = thread.thread().name().unwrap_or("unnamed").to_string();
            if thread.join().is_err() {
                self.failed = Some(EngineError::Panicked { thread: name });
            }
        }
    }

    /// Of a thread that nobody needs to wait for.
    fn take_finished(&mut self, thread: Option<JoinHandle<()>>) {
        self.take(thread.filter(JoinHandle::is_finished));
    }
}

impl Ends {
    /// Up to where each journal is synced. Nothing depends on it but that the next start sees what the volume has lost meanwhile.
    fn write(&self) {
        let ends = self.marks.iter().map(Watermarks::synced).collect();
        if let Err(error) = journal::note_ends(&self.data_dir, self.incarnation, ends) {
            let data_dir = self.data_dir.display();
            tracing::warn!(%data_dir, %error, "the manifest does not say where the journals end");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.workers.is_empty() || !self.others.is_empty() {
            self.stop();
            if let Err(error) = self.join() {
                tracing::error!("{error}");
            }
        }
    }
}

/// What of the sessions' messages may have left and is not stored, as far as this start has found it out.
fn log_rollbacks<S: Storage>(recovered: &Recovered<S>) {
    for placed in recovered.rollbacks.iter().filter(|placed| placed.position == recovered.report.end) {
        // Numbered as they stand, see `check_recovered`.
        let identity = recovered.sessions.get(placed.session as usize);
        let identity = identity.and_then(|session| Identity::from_bytes(&session.identity));
        let session = identity.map(|identity| identity.to_string()).unwrap_or_default();
        let Rollback { lost_from, lost_to, next_in, .. } = placed.rollback;
        if lost_from < lost_to {
            tracing::warn!(
                session,
                lost_from,
                goes_on_at = lost_to,
                next_in,
                "messages that have left may be lost: their numbers are passed over, and the peer's last messages may come again"
            );
        } else {
            tracing::info!(
                session,
                next_in,
                "no message that has left is lost; the peer's last messages may come again"
            );
        }
    }
}

/// Whether this build and this configuration can take over the sessions that a journal holds.
pub(crate) fn check_found(
    config: &Config,
    directory: &Directory,
    geometry: Geometry,
    journal: u16,
    recovered: &[RecoveredSession],
) -> Result<(), StartError> {
    check_recovered(journal, recovered)?;
    check_journal(config, directory, journal, geometry.journals, recovered)?;
    check_sessions(journal, geometry.journals, geometry, recovered, directory)
}

/// Whether this build can take over the sessions that a journal holds: all of them, numbered as they were defined, of a
/// BeginString(8) that it knows. What the journal's CRCs let pass may still be another build's.
fn check_recovered(journal: u16, recovered: &[RecoveredSession]) -> Result<(), StartError> {
    let is_known = |(index, session): (usize, &RecoveredSession)| {
        let identity = Identity::from_bytes(&session.identity);
        let is_ours = identity.is_some_and(|identity| Version::of_begin_string(&identity.begin_string).is_some());
        session.number as usize == index && (is_ours || session.is_forgotten())
    };
    if recovered.iter().enumerate().all(is_known) {
        return Ok(());
    }
    let why = "it holds a session that this build does not know".into();
    Err(StartError::Journal(OpenError::Damaged { journal, why }))
}

/// Whether each `journal = N` names a journal that the data directory has.
fn check_journal_keys(config: &Config, journals: u16) -> Result<(), StartError> {
    let named = config.sessions.iter().enumerate().filter_map(|(index, session)| Some((index, session.journal?)));
    match named.into_iter().find(|(_, journal)| *journal >= journals) {
        Some((index, journal)) => Err(StartError::NoSuchJournal {
            place: config.place_of(&format!("session[{index}].journal")),
            journal,
            journals,
        }),
        None => Ok(()),
    }
}

/// Whether the configuration has a journal's sessions where they live. Their messages could not be sent again from another.
fn check_journal(
    config: &Config,
    directory: &Directory,
    journal: u16,
    journals: u16,
    recovered: &[RecoveredSession],
) -> Result<(), StartError> {
    for session in recovered {
        let Some(identity) = Identity::from_bytes(&session.identity) else { continue };
        let Some(spec) = directory.spec_of(&identity) else { continue };
        let configured = spec.journal_of(&identity, journals);
        if configured != journal {
            let place = config.place_of(&format!("session[{}].journal", spec.index));
            let session = identity.to_string();
            return Err(StartError::LivesElsewhere { place, session, configured, journal });
        }
    }
    Ok(())
}

/// Whether the states of a journal's sessions, recovered and configured, fit a segment's head.
fn check_sessions(
    journal: u16,
    journals: u16,
    geometry: Geometry,
    recovered: &[RecoveredSession],
    directory: &Directory,
) -> Result<(), StartError> {
    let known: HashSet<&[u8]> =
        recovered.iter().filter(|session| !session.is_forgotten()).map(|session| &*session.identity).collect();
    let configured = directory.configured().into_iter();
    let ours = configured.filter(|(identity, spec)| spec.journal_of(identity, journals) == journal);
    let new: Vec<_> =
        ours.map(|(identity, _)| identity.to_bytes()).filter(|identity| !known.contains(&identity[..])).collect();
    let lengths = known.iter().map(|identity| identity.len()).chain(new.iter().map(Vec::len));
    let forgotten = recovered.iter().filter(|session| session.is_forgotten()).map(|_| 0);
    let bytes = lengths.chain(forgotten).map(SessionState::bytes).sum();
    let bytes_max = geometry.sessions_bytes_max();
    if bytes > bytes_max {
        return Err(StartError::Sessions { journal, sessions: known.len() + new.len(), bytes, bytes_max });
    }
    Ok(())
}

fn listen(config: &Config) -> Result<Vec<std::net::TcpListener>, StartError> {
    let bind_one = |(at, acceptor): (usize, &crate::config::AcceptorConfig)| {
        let place = || config.place_of(&format!("acceptor[{at}].listen"));
        let address = acceptor.listen;
        bind(address).map_err(|error| StartError::Listen { place: place(), address, error })
    };
    config.acceptors.iter().enumerate().map(bind_one).collect()
}

fn limits(config: &Config) -> Limits {
    let ns = |duration: Duration| duration.as_nanos() as u64;
    Limits {
        message_bytes_max: config.engine.message_bytes_max,
        commit_bytes_max: config.engine.commit_bytes_max,
        connections_max: config.engine.connections_max,
        pending_connections_max: config.engine.pending_connections_max,
        pending_connections_per_address_max: config.engine.pending_connections_per_address_max,
        template_sessions_max: config.engine.template_sessions_max,
        logon_timeout_ns: ns(config.engine.logon_timeout),
        probe_timeout_ns: ns(config.engine.probe_timeout),
        stop_timeout_ns: ns(config.engine.logout_timeout),
        retention_age_ns: config.persistence.retention_age.map_or(0, ns),
        retention_min_ns: ns(config.persistence.retention_min),
        retention_undelivered_max_ns: ns(config.persistence.retention_undelivered_max),
    }
}

/// A data directory keeps the number of journals that it was created with; workers adopt them. A new one gets one a worker.
fn journals_of(config: &Config, worker_count: u16) -> u16 {
    let settings = journal_settings(config, worker_count);
    let manifest = FileStorage::open(&settings.data_dir, settings.geometry).manifest();
    // What is wrong with a manifest is said when the journals are opened.
    let manifest = manifest.ok().flatten().and_then(|text| Manifest::of_text(&text).ok());
    manifest.map_or(worker_count, |manifest| manifest.geometry.journals)
}

/// How the journals of this configuration are flushed.
pub(crate) fn flush_choice(config: &Config) -> FlushChoice {
    let any_flush = config.sessions.iter().any(|session| mode_of(session.mode) == Mode::Flush);
    config.persistence.flush_method.map_or(FlushChoice::Auto { any_flush }, FlushChoice::Fixed)
}

pub(crate) fn journal_settings(config: &Config, journals: u16) -> journal::Settings {
    let persistence = &config.persistence;
    journal::Settings {
        data_dir: config.engine.data_dir.clone(),
        ring_dir: persistence.ring_dir.clone(),
        geometry: Geometry {
            journals,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        },
        flush_interval_ns: persistence.flush_interval.as_nanos() as u64,
        flush_interval_min_ns: persistence.flush_interval_min.as_nanos() as u64,
        flush_method: flush_choice(config),
        message_bytes_max: config.engine.message_bytes_max,
        resend_messages_max: RESEND_MESSAGES_MAX,
        clock: monotonic_ns,
    }
}

#[cfg(test)]
mod tests;
