//! What a journal holds after whatever happened, and the steps that make it whole again before the next incarnation.
//!
//! 1. The newest segment whose head is whole says where to begin; commits are read from there until one is not whole or is fenced.
//! 2. A ring of the last incarnation that continues exactly there is read on. Any other ring that holds more is quarantined.
//! 3. What lies beyond the end and still parses as ours is quarantined: it was never acknowledged as durable, and its predecessors are gone.
//! 4. What the ring had beyond the segments is written and synced.
//!
//! No byte is trusted: lengths are bounded by the lap, records by their CRC, links are only followed backwards.

mod heads;
mod newer;
mod records;
mod report;
mod ring;
mod scan;
mod volume;

use std::collections::VecDeque;

use crate::sys::ring::RingMemory;

use super::flusher::Zeroing;
use super::scan::{Incarnations, SegmentSource};
use super::{Geometry, Kind, Manifest, NONE, OpenError, RecoveredSession, Rollback, Storage};
use heads::{Start, check_never_headed, check_new, check_ours, heads_among, read_starts};
use newer::check_timeline;
use ring::{quarantine_ring, read_ring};
use volume::{carry_over, make_durable, quarantine_beyond, zero_ahead};

pub(super) use heads::find_heads;
pub(super) use newer::Newer;
pub use records::{Records, StoredRecord};
pub use report::{Phases, RecoveryReport, RingFound};
pub(super) use scan::Scan;
pub(super) use volume::refill_last_page;

/// What a journal held, for the engine to go on from.
pub struct Recovered<S: Storage> {
    pub sessions: Vec<RecoveredSession>,
    /// The application's state as of the newest State record; empty in a new journal.
    pub snapshot: Vec<u8>,
    /// Where after that State record sessions have gone on at their leases: for the application, in order with what
    /// [`Recovered::replay`] reads. The last are those of this start, if it found a loss, at the report's `end`.
    pub rollbacks: Vec<PlacedRollback>,
    pub report: RecoveryReport,
    /// With what was read of the segments.
    source: SegmentSource<S>,
    geometry: Geometry,
    replay_start: u64,
}

/// A session's rollback, and before which position it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedRollback {
    pub position: u64,
    pub session: u32,
    pub rollback: Rollback,
}

impl<S: Storage> Recovered<S> {
    /// The records after the newest State record, for the application that its snapshot was restored to.
    pub fn replay(&self) -> Records<S> {
        Records { source: self.source.clone(), geometry: self.geometry, at: self.replay_start, end: self.report.end }
    }
}

/// What recovery found in one journal, for [`super::open_over`] to build on.
pub(super) struct Found<S: Storage> {
    pub journal: u16,
    pub end: u64,
    pub headed_segment: u64,
    pub unzeroed: VecDeque<Zeroing>,
    pub recovered: Recovered<S>,
}

/// Finds the journal's end, brings everything before it to stable media and puts what lies beyond aside. `clock` is monotonic, in ns. Nothing
/// is changed where there is a start that the manifest does not know of.
pub(super) fn recover<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: &RingMemory,
    clock: fn() -> u64,
) -> Result<Result<Found<S>, Newer>, OpenError> {
    let geometry = manifest.geometry;
    let mut since_ns = clock();
    let mut lap = || {
        let before_ns = std::mem::replace(&mut since_ns, clock());
        since_ns.saturating_sub(before_ns)
    };
    let mut phases = Phases::default();
    let mut segments = SegmentSource::in_whole(storage.clone(), geometry, journal);
    let starts = read_starts(storage, geometry, journal)?;
    phases.heads_ns = lap();
    if let Some(newer) = newer::in_heads(&mut segments, &starts, manifest, journal)? {
        return Ok(Err(newer));
    }
    let (mut scan, heads_skipped) = scan_segments(&starts, manifest, journal, &mut segments, Some(ring))?;
    let segments_end = scan.at;
    phases.segments_ns = lap();
    let (ring_found, carried_bytes, missing_bytes) = read_ring(&mut scan, manifest, journal, ring)?;
    let end = scan.at;
    if let Some(newer) = newer::beyond(&mut segments, manifest, journal, end)? {
        return Ok(Err(newer));
    }
    if let RingFound::Quarantined(_) = ring_found {
        quarantine_ring(storage, journal, ring)?;
    }
    let (beyond_bytes, fenced_bytes) = quarantine_beyond(storage, &mut segments, manifest, journal, end)?;
    phases.ring_ns = lap();
    let synced = match ring_found {
        RingFound::Accepted => ring.marks().synced,
        // Ring space is reused only once it is synced, so no more than a ring's length can be missing: even of a clean stop, which may be
        // what the process before failed to sync.
        _ => segments_end.saturating_sub(geometry.ring_bytes),
    };
    make_durable(storage, geometry, journal, synced, segments_end)?;
    carry_over(storage, geometry, journal, ring, segments_end, end)?;
    phases.durable_ns = lap();
    let unzeroed = zero_ahead(storage, geometry, journal, &starts, (segments_end, end))?;
    phases.zeros_ns = lap();
    let clean_stop = scan.last_kind == Some(Kind::CleanStop) && beyond_bytes == 0 && missing_bytes == 0;
    let whole_ring = ring_found == RingFound::Accepted && missing_bytes == 0;
    let lost = manifest.incarnation > 0
        && match &manifest.numbers_moved {
            // It has not come so far that anything of it could leave. What it found itself is still to be done.
            Some(moved) if scan.started != manifest.incarnation => moved.contains(&journal),
            _ => !clean_stop && !whole_ring,
        };
    if lost {
        scan.move_to_leases(end);
    }
    let moved =
        |placed: &&PlacedRollback| placed.position == end && placed.rollback.lost_from < placed.rollback.lost_to;
    let sessions_moved = scan.rollbacks.iter().filter(moved).count() as u32;
    let report = RecoveryReport {
        journal,
        incarnation: manifest.incarnation,
        incarnation_before: manifest.incarnation,
        clean_stop,
        state_position: scan.state_position,
        heads_skipped,
        end,
        ring: ring_found,
        commits: scan.commits,
        records: scan.record_count,
        carried_bytes,
        discarded_bytes: beyond_bytes + missing_bytes,
        lost,
        sessions_moved,
        fenced_bytes,
        phases,
    };
    let headed_segment = scan.state_position.map_or(NONE, |position| position / geometry.segment_bytes);
    let recovered = Recovered {
        sessions: scan.sessions.into_values().collect(),
        snapshot: scan.snapshot,
        rollbacks: scan.rollbacks,
        report,
        source: segments.up_to(segments_end),
        geometry,
        replay_start: scan.replay_start,
    };
    Ok(Ok(Found { journal, end, headed_segment, unzeroed, recovered }))
}

/// The sessions as segments and ring state them, or a start that the manifest does not know of; nothing is changed.
pub(super) fn sessions_of<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
) -> Result<Result<Vec<RecoveredSession>, Newer>, OpenError> {
    let mut segments = SegmentSource::in_whole(storage.clone(), manifest.geometry, journal);
    let starts = read_starts(storage, manifest.geometry, journal)?;
    if let Some(newer) = newer::in_heads(&mut segments, &starts, manifest, journal)? {
        return Ok(Err(newer));
    }
    let (mut scan, _) = scan_segments(&starts, manifest, journal, &mut segments, ring)?;
    if let Some(ring) = ring {
        read_ring(&mut scan, manifest, journal, ring)?;
    }
    let end = scan.at;
    if let Some(newer) = newer::beyond(&mut segments, manifest, journal, end)? {
        return Ok(Err(newer));
    }
    Ok(Ok(scan.sessions.into_values().collect()))
}

/// Reads from the newest whole head to the end, and answers how many newer ones were not whole.
fn scan_segments<S: Storage>(
    starts: &[Start],
    manifest: &Manifest,
    journal: u16,
    segments: &mut SegmentSource<S>,
    ring: Option<&RingMemory>,
) -> Result<(Scan, u32), OpenError> {
    let geometry = manifest.geometry;
    check_ours(starts, manifest, journal)?;
    check_timeline(segments, starts, manifest, journal)?;
    let heads = heads_among(starts, manifest, journal);
    let mut scan = Scan::new(geometry, Incarnations::of(manifest, journal));
    let mut heads_skipped = 0;
    for head in &heads {
        scan.at = head * geometry.segment_bytes;
        scan.incarnations.newest = 0;
        scan.run(segments)?;
        if scan.state_position.is_some() {
            break;
        }
        heads_skipped += 1;
    }
    if scan.state_position.is_none() {
        check_new(starts, journal)?;
        check_never_headed(segments, manifest, journal, ring)?;
        scan.at = 0;
    }
    Ok((scan, heads_skipped))
}
