//! Archiving and recycling from the engine's side: where segments go, the thread that copies them, and the eye on what holds the flusher.
//!
//! What is copied when is the journal's to decide ([`Archiver`], [`Recycling`]); here are its clock, its log lines, its counters, and the
//! end of a stop that an archive would hold up for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use uuid::Uuid;

use super::log::LogPort;
use super::threads::Signals;
use crate::config::Config;
use crate::control::counters::{ArchiveCounters, RecycleCounters};
use crate::journal::archive::{
    ArchiveCommand, ArchiveDirectory, ArchiveError, ArchiveTarget, ArchiveTurn, Archiver, archive_before_recovery,
};
use crate::journal::{FileStorage, Geometry, Hold, Manifest, OpenError, Recycling, Storage, StorageError};
use crate::sys::ring::RingMemory;

/// Of segments that were overwritten under a resend, so often at most is said how many they were.
const EXPIRED_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Between two pieces of a copy that nobody waits for: 256 KiB each, so 128 MiB/s at most.
const PACE: Duration = Duration::from_millis(2);
/// At a start nobody shares the volume, and everybody waits.
const PACE_BEFORE_RECOVERY: Duration = Duration::from_micros(100);
const WAIT_NAP: Duration = Duration::from_millis(5);
const IDLE_NAP: Duration = Duration::from_millis(20);
/// The same target's failures are logged no more often.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// A hold for the archive that is longer is logged, and again each time that the interval is over.
const HOLD_LOG_DELAY: Duration = Duration::from_secs(1);
const HOLD_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// A stop waits no longer for an archive that is required and does not answer.
const HOLD_AT_STOP_MAX: Duration = Duration::from_secs(5);

/// What the configuration names, if anything.
pub(crate) fn target(
    config: &Config,
    geometry: Geometry,
    (uuid, timeline): (Uuid, Uuid),
    journal: u16,
) -> Option<Box<dyn ArchiveTarget>> {
    let persistence = &config.persistence;
    if let Some(directory) = &persistence.archive {
        return Some(Box::new(ArchiveDirectory::new(directory, timeline, journal, geometry.segment_bytes)));
    }
    let command = &persistence.archive_command;
    let timeout_ns = persistence.archive_timeout.as_nanos() as u64;
    (!command.is_empty()).then(|| -> Box<dyn ArchiveTarget> {
        let data_dir = &config.engine.data_dir;
        Box::new(ArchiveCommand::new(command, timeout_ns, data_dir, geometry, (uuid, timeline), journal))
    })
}

/// A ring may hold more than the segments do. Where the archive is required, what recovery overwrites with that is archived first.
pub(crate) fn archive_first(
    config: &Config,
    storage: &FileStorage,
    manifest: &Manifest,
    rings: &[RingMemory],
) -> Result<(), OpenError> {
    for (journal, ring) in (0..manifest.geometry.journals).zip(rings) {
        archive_before(config, storage, manifest, journal, ring.marks().appended)?;
    }
    Ok(())
}

/// The same of one journal, which is written up to a position. No engine runs.
pub(crate) fn archive_before(
    config: &Config,
    storage: &FileStorage,
    manifest: &Manifest,
    journal: u16,
    end: u64,
) -> Result<(), OpenError> {
    if !config.persistence.archive_required {
        return Ok(());
    }
    let Some(mut target) = target(config, manifest.geometry, (manifest.uuid, manifest.timeline), journal) else {
        return Ok(());
    };
    let start = Instant::now();
    let pause = || {
        thread::sleep(PACE_BEFORE_RECOVERY);
        start.elapsed().as_nanos() as u64
    };
    match archive_before_recovery(storage, manifest, journal, end, &mut *target, pause) {
        Ok(segments) => {
            for segment in segments {
                tracing::info!(journal, segment = segment.name, "archived before recovery overwrites it");
            }
            Ok(())
        }
        Err(ArchiveError::Storage(error)) => Err(error.into()),
        Err(ArchiveError::Target(segment, error)) => Err(OpenError::Archive(format!(
            "segment {} of journal {journal} would be overwritten and cannot be archived: {error}; fix the archive, or set persistence.archive_required = false and lose that segment",
            segment.number
        ))),
    }
}

/// An archiver with what is told of it.
pub(crate) struct Archiving<S: Storage> {
    pub journal: u16,
    pub archiver: Archiver<S>,
    pub counters: Arc<CachePadded<ArchiveCounters>>,
    failure_said: Option<Instant>,
}

impl<S: Storage> Archiving<S> {
    pub fn new(journal: u16, archiver: Archiver<S>, counters: Arc<CachePadded<ArchiveCounters>>) -> Self {
        Self { journal, archiver, counters, failure_said: None }
    }

    /// How long nothing more needs to be done for it.
    fn turn(&mut self, now_ns: u64) -> Result<Duration, StorageError> {
        let journal = self.journal;
        let turn = self.archiver.turn(now_ns)?;
        self.counters.lag_segments.set(self.archiver.lag_segments());
        Ok(match turn {
            ArchiveTurn::Idle => IDLE_NAP,
            ArchiveTurn::Waits => WAIT_NAP,
            ArchiveTurn::Worked if self.archiver.is_waited_for() => Duration::ZERO,
            ArchiveTurn::Worked => PACE,
            ArchiveTurn::Known(_) => Duration::ZERO,
            ArchiveTurn::Archived(segment) => {
                self.counters.segments.add(1);
                self.counters.failing.set(0);
                self.failure_said = None;
                tracing::info!(journal, segment = segment.name, "segment archived");
                Duration::ZERO
            }
            ArchiveTurn::Differs(segment) => {
                self.counters.differing.add(1);
                tracing::error!(
                    journal,
                    segment = segment.name,
                    "the archive holds other bytes under this segment's name than the journal has: they stay there, and the segment is \
                     archived beside them, with its checksum in its name. See what wrote them"
                );
                PACE
            }
            ArchiveTurn::Missed(first, last) => {
                self.counters.missed.add(last - first + 1);
                tracing::error!(
                    journal,
                    first,
                    last,
                    "segments were overwritten before they were archived: the archive is too slow or fails \
                     (persistence.archive_required = true would hold the engine instead)"
                );
                Duration::ZERO
            }
            ArchiveTurn::Failed { segment, error, retry_in_ns } => {
                self.counters.failures.add(1);
                self.counters.failing.set(1);
                if self.failure_said.is_none_or(|said| said.elapsed() >= FAILURE_LOG_INTERVAL) {
                    self.failure_said = Some(Instant::now());
                    let retry_in_ms = retry_in_ns / 1_000_000;
                    tracing::warn!(journal, segment = segment.number, %error, retry_in_ms, "a segment cannot be archived");
                }
                IDLE_NAP
            }
        })
    }
}

/// Archives until the engine has stopped. What is not finished then is begun anew at the next start.
pub(crate) fn run_archivers<S: Storage>(archivers: &mut [Archiving<S>], signals: &Signals) {
    let start = Instant::now();
    while !signals.archive_ends.load(Ordering::Acquire) && !signals.fatal.load(Ordering::Acquire) {
        let mut nap = IDLE_NAP;
        for archiving in archivers.iter_mut() {
            match archiving.turn(start.elapsed().as_nanos() as u64) {
                Ok(next) => nap = nap.min(next),
                Err(error) => return signals.fail(&error),
            }
        }
        if !nap.is_zero() {
            thread::sleep(nap);
        }
    }
    archivers.iter_mut().for_each(|archiving| archiving.archiver.abandon());
}

/// Publishes and logs what holds a journal's flusher.
pub(crate) struct RecycleWatch {
    log: LogPort,
    journal: u16,
    recycling: Arc<Recycling>,
    counters: Arc<CachePadded<RecycleCounters>>,
    /// As it was logged last.
    expired: u64,
    expired_said: Option<Instant>,
    held_since: Option<Instant>,
    said: Option<Instant>,
    stops_since: Option<Instant>,
}

impl RecycleWatch {
    pub fn new(
        journal: u16,
        recycling: Arc<Recycling>,
        counters: Arc<CachePadded<RecycleCounters>>,
        log: LogPort,
    ) -> Self {
        Self {
            log,
            journal,
            recycling,
            counters,
            expired: 0,
            expired_said: None,
            held_since: None,
            said: None,
            stops_since: None,
        }
    }

    /// An error where a stop has waited long enough for the archive.
    pub fn look(&mut self, stops: bool) -> Result<(), StorageError> {
        let journal = self.journal;
        let hold = self.recycling.hold();
        self.counters.held.set(hold.map_or(0, |hold| hold as u64));
        self.counters.holds.set(self.recycling.holds());
        let expired = self.recycling.holds_expired();
        self.counters.holds_expired.set(expired);
        // A peer can bring it about again and again.
        let was_said = self.expired_said.is_some_and(|said| said.elapsed() < EXPIRED_LOG_INTERVAL);
        if expired > self.expired && !was_said {
            let segments = expired - self.expired;
            (self.expired, self.expired_said) = (expired, Some(Instant::now()));
            self.log.say(move || {
                tracing::warn!(
                    journal,
                    segments,
                    "a segment was overwritten although a resend still needed it (persistence.recycle_hold_max, or a quarter of the \
                     ring waited): a gap fill stands for what is gone"
                );
            });
        }
        if hold != Some(Hold::Archive) {
            if let Some(held_since) = self.held_since.take().filter(|_| self.said.take().is_some()) {
                let held_ms = held_since.elapsed().as_millis() as u64;
                self.log.say(move || {
                    tracing::info!(journal, held_ms, "the oldest segment is archived; the flusher goes on");
                });
            }
            self.stops_since = None;
            return Ok(());
        }
        let now = Instant::now();
        let held_since = *self.held_since.get_or_insert(now);
        if now - held_since >= HOLD_LOG_DELAY && self.said.is_none_or(|said| now - said >= HOLD_LOG_INTERVAL) {
            self.said = Some(now);
            let held_s = (now - held_since).as_secs();
            self.log.say(move || {
                tracing::warn!(
                    journal,
                    held_s,
                    "the oldest segment is not archived and may not be overwritten (persistence.archive_required): when the ring is \
                     full, sockets are not read"
                );
            });
        }
        if stops && now - *self.stops_since.get_or_insert(now) >= HOLD_AT_STOP_MAX {
            let why =
                "it is not archived, and persistence.archive_required is set; what is not on the volume is in the ring";
            let oldest = format!("segment {} of journal {journal}", self.recycling.oldest_segment());
            return Err(StorageError::new("overwrite", oldest, std::io::Error::other(why)));
        }
        Ok(())
    }
}
