//! What the engine's threads publish for the control plane, and what it concludes about the process's health.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::counters::{
    ArchiveCounters, FlusherCounters, JournalCounters, RecoveryCounters, RecycleCounters, SessionRegistry,
    StallCounters, StorageCounters, WorkerCounters,
};
use super::known_addresses::KnownAddresses;
use super::trace::{Stage, WorkerTrace};

/// A worker whose loop has not turned for so long is taken for hung. Even a parked worker turns several times a
/// second, for its timers.
pub const WORKER_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Room for the name of nearly every session.
const SESSION_NAME_BYTES: usize = 256;

/// Where the process is between start and stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// Reading the configuration, allocating rings and segments.
    Starting = 0,
    /// Reading the journal.
    Recovering = 1,
    /// Recovery is done and every acceptor listens.
    Ready = 2,
    /// Logging out.
    Stopping = 3,
    /// The data directory may be older than its last use; the operator has to speak.
    Held = 4,
    /// Another process has the data directory's lock and is expected to end.
    Waiting = 5,
}

/// Shared by the engine's threads and the control plane. Made once, before the first worker starts.
#[derive(Debug)]
pub struct Shared {
    phase: AtomicU8,
    held_why: OnceLock<String>,
    /// Housekeeping alone: files that are not in their places.
    missing: Mutex<(u64, Option<String>)>,
    workers: Vec<Arc<CachePadded<WorkerCounters>>>,
    traces: Vec<Arc<CachePadded<WorkerTrace>>>,
    stalls: Vec<Arc<CachePadded<StallCounters>>>,
    journals: Vec<Arc<CachePadded<JournalCounters>>>,
    flushers: Vec<Arc<CachePadded<FlusherCounters>>>,
    recyclings: Vec<Arc<CachePadded<RecycleCounters>>>,
    archives: Vec<Arc<CachePadded<ArchiveCounters>>>,
    storages: Vec<Arc<CachePadded<StorageCounters>>>,
    recoveries: Vec<Arc<CachePadded<RecoveryCounters>>>,
    pub sessions: SessionRegistry,
    pub known_addresses: KnownAddresses,
    /// Housekeeping alone: what the last look at the workers saw.
    pulse: Mutex<Vec<Pulse>>,
    /// Housekeeping alone: what each worker's longest turn was spent on.
    blames: Mutex<Vec<Blame>>,
}

/// What a worker's longest turn was spent on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blame {
    /// Zero before the first turn that did something.
    pub took: Duration,
    /// `None` where nobody looked while it lasted: it was short, and stamps are off.
    pub stage: Option<Stage>,
    /// As people write it; empty where it was no session's.
    pub session: String,
}

impl Default for Blame {
    fn default() -> Self {
        Self { took: Duration::ZERO, stage: None, session: String::with_capacity(SESSION_NAME_BYTES) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pulse {
    turns: u64,
    moved: Instant,
}

impl Shared {
    pub fn new(worker_count: usize, journal_count: usize) -> Arc<Shared> {
        let moved = Instant::now();
        Arc::new(Shared {
            phase: AtomicU8::new(Phase::Starting as u8),
            held_why: OnceLock::new(),
            missing: Mutex::default(),
            workers: (0..worker_count).map(|_| Arc::default()).collect(),
            traces: (0..worker_count).map(|_| Arc::default()).collect(),
            stalls: (0..worker_count).map(|_| Arc::default()).collect(),
            journals: (0..journal_count).map(|_| Arc::default()).collect(),
            flushers: (0..journal_count).map(|_| Arc::default()).collect(),
            recyclings: (0..journal_count).map(|_| Arc::default()).collect(),
            archives: (0..journal_count).map(|_| Arc::default()).collect(),
            storages: (0..journal_count).map(|_| Arc::default()).collect(),
            recoveries: (0..journal_count).map(|_| Arc::default()).collect(),
            sessions: SessionRegistry::default(),
            known_addresses: KnownAddresses::default(),
            pulse: Mutex::new(vec![Pulse { turns: 0, moved }; worker_count]),
            blames: Mutex::new((0..worker_count).map(|_| Blame::default()).collect()),
        })
    }

    /// For the worker itself to keep.
    pub fn worker(&self, index: usize) -> Arc<CachePadded<WorkerCounters>> {
        Arc::clone(&self.workers[index])
    }

    /// For the worker itself to keep, and for who watches it.
    pub fn trace(&self, index: usize) -> Arc<CachePadded<WorkerTrace>> {
        Arc::clone(&self.traces[index])
    }

    /// For the thread that watches the workers to keep.
    pub fn stall(&self, index: usize) -> Arc<CachePadded<StallCounters>> {
        Arc::clone(&self.stalls[index])
    }

    /// For the thread that watches the workers to say. `session` is as people write it, empty where it was no session's.
    pub fn set_blame(&self, worker: usize, took: Duration, stage: Option<Stage>, session: &str) {
        let blame = &mut self.blames.lock().unwrap_or_else(PoisonError::into_inner)[worker];
        (blame.took, blame.stage) = (took, stage);
        // Into the memory that is there: beside the message path nothing allocates either.
        blame.session.clear();
        blame.session.push_str(session);
    }

    /// One a worker, in the same order.
    pub fn blames(&self) -> Vec<Blame> {
        self.blames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the journal's worker to keep.
    pub fn journal(&self, index: usize) -> Arc<CachePadded<JournalCounters>> {
        Arc::clone(&self.journals[index])
    }

    /// For the journal's flusher to keep.
    pub fn flusher(&self, index: usize) -> Arc<CachePadded<FlusherCounters>> {
        Arc::clone(&self.flushers[index])
    }

    /// For the thread that watches over the journal's recycling to keep.
    pub fn recycling(&self, index: usize) -> Arc<CachePadded<RecycleCounters>> {
        Arc::clone(&self.recyclings[index])
    }

    /// For the journal's archiver to keep.
    pub fn archive(&self, index: usize) -> Arc<CachePadded<ArchiveCounters>> {
        Arc::clone(&self.archives[index])
    }

    /// For the thread that watches the journal's flusher to keep.
    pub fn storage(&self, index: usize) -> Arc<CachePadded<StorageCounters>> {
        Arc::clone(&self.storages[index])
    }

    pub fn workers(&self) -> &[Arc<CachePadded<WorkerCounters>>] {
        &self.workers
    }

    /// One a worker, in the same order.
    pub fn traces(&self) -> &[Arc<CachePadded<WorkerTrace>>] {
        &self.traces
    }

    /// One a worker, in the same order.
    pub fn stalls(&self) -> &[Arc<CachePadded<StallCounters>>] {
        &self.stalls
    }

    pub fn journals(&self) -> &[Arc<CachePadded<JournalCounters>>] {
        &self.journals
    }

    /// One a journal, in the same order.
    pub fn flushers(&self) -> &[Arc<CachePadded<FlusherCounters>>] {
        &self.flushers
    }

    /// One a journal, in the same order.
    pub fn recyclings(&self) -> &[Arc<CachePadded<RecycleCounters>>] {
        &self.recyclings
    }

    /// One a journal, in the same order.
    pub fn archives(&self) -> &[Arc<CachePadded<ArchiveCounters>>] {
        &self.archives
    }

    /// One a journal, in the same order.
    pub fn storages(&self) -> &[Arc<CachePadded<StorageCounters>>] {
        &self.storages
    }

    /// One a journal, in the same order.
    pub fn recoveries(&self) -> &[Arc<CachePadded<RecoveryCounters>>] {
        &self.recoveries
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// [`Phase::Held`], with the reason that readiness gives from now on.
    pub fn hold(&self, why: String) {
        // A process is held for one reason: the first stands.
        let _ = self.held_why.set(why);
        self.set_phase(Phase::Held);
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Recovering,
            2 => Phase::Ready,
            4 => Phase::Held,
            5 => Phase::Waiting,
            _ => Phase::Stopping,
        }
    }

    /// `Err` says which worker has not turned for [`WORKER_SILENCE_MAX`]. Before [`Phase::Ready`] workers do not
    /// turn yet, and that is no fault.
    pub fn liveness(&self, now: Instant) -> Result<(), String> {
        let mut pulses = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let has_started = matches!(self.phase(), Phase::Ready | Phase::Stopping);
        for (index, (worker, pulse)) in self.workers.iter().zip(pulses.iter_mut()).enumerate() {
            let turns = worker.turns.value();
            if turns != pulse.turns || !has_started {
                *pulse = Pulse { turns, moved: now };
            }
            let silence = now.saturating_duration_since(pulse.moved);
            if silence >= WORKER_SILENCE_MAX {
                return Err(format!("worker {index} has not turned for {} s", silence.as_secs()));
            }
        }
        Ok(())
    }

    /// For the thread that looks after the files: how many are not where the next start will look
    /// for them, and what is said of it.
    pub fn set_missing(&self, files: u64, why: Option<String>) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = (files, why);
    }

    /// Files in use that are not where the next start will look for them.
    pub fn missing(&self) -> u64 {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// `Err` says why no counterparty should be sent here. A slow volume is no reason: the sessions live here and nowhere else, those in `buffered`
    /// work on, those in `sync` wait, and taking the endpoint away would only cut them off.
    pub fn readiness(&self) -> Result<(), String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let why = match self.phase() {
            Phase::Ready => return missing.map_or(Ok(()), Err),
            Phase::Starting => "starting",
            Phase::Recovering => "recovering the journal",
            Phase::Stopping => "stopping",
            Phase::Waiting => "waiting for another process to let go of the data directory (engine.lock_timeout)",
            Phase::Held => self.held_why.get().map_or("held", |why| why),
        };
        Err(why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_live_while_its_turns_advance() {
        let shared = Shared::new(2, 1);
        let start = Instant::now();
        shared.set_phase(Phase::Ready);
        for worker in shared.workers() {
            worker.turns.add(1);
        }
        assert_eq!(shared.liveness(start), Ok(()));
        shared.worker(0).turns.add(1);
        assert_eq!(shared.liveness(start + WORKER_SILENCE_MAX / 2), Ok(()));
        shared.worker(0).turns.add(1);
        let silence = shared.liveness(start + WORKER_SILENCE_MAX);
        assert_eq!(silence, Err("worker 1 has not turned for 10 s".into()));
        shared.worker(1).turns.add(1);
        assert_eq!(shared.liveness(start + WORKER_SILENCE_MAX), Ok(()));
    }

    #[test]
    fn a_long_recovery_is_no_hung_worker() {
        let shared = Shared::new(1, 1);
        shared.set_phase(Phase::Recovering);
        let start = Instant::now();
        assert_eq!(shared.liveness(start + WORKER_SILENCE_MAX * 9), Ok(()));
        shared.set_phase(Phase::Ready);
        assert_eq!(shared.liveness(start + WORKER_SILENCE_MAX * 9), Ok(()));
        assert!(shared.liveness(start + WORKER_SILENCE_MAX * 10).is_err());
    }

    #[test]
    fn readiness_follows_the_phase_and_says_why_not() {
        let shared = Shared::new(1, 1);
        assert_eq!(shared.readiness(), Err("starting".to_owned()));
        shared.set_phase(Phase::Recovering);
        assert_eq!(shared.readiness(), Err("recovering the journal".to_owned()));
        shared.set_phase(Phase::Waiting);
        assert!(shared.readiness().is_err_and(|why| why.contains("waiting for another process")));
        shared.set_phase(Phase::Ready);
        assert_eq!(shared.readiness(), Ok(()));
        shared.set_phase(Phase::Stopping);
        assert_eq!(shared.readiness(), Err("stopping".to_owned()));
        shared.hold("held: the volume has lost something".to_owned());
        assert_eq!(shared.readiness(), Err("held: the volume has lost something".to_owned()));
        assert_eq!(shared.liveness(Instant::now() + WORKER_SILENCE_MAX * 9), Ok(()));
    }
}
