//! What a journal holds after whatever happened, and the steps that make it whole again before the next incarnation.
//!
//! 1. The newest segment whose head is whole says where to begin; commits are read from there until one is not whole or is fenced.
//! 2. What is not whole in the segments is read from the ring, whether it was never carried there
//!    or the volume has lost it. Where the ring has a newer head, a place that neither has is
//!    passed over: the head states all numbers, and the operator is told what cannot be sent again.
//! 3. The end that is reached is one only if nothing proves that the journal had been synced
//!    further (`damage.rs`). Otherwise nothing is changed, and the directory is held until the
//!    operator has spoken.
//! 4. A ring that was not accepted is quarantined, and so is what lies beyond the end and still parses as ours.
//! 5. What came from the ring is written to the segments and synced.
//!
//! No byte is trusted: lengths are bounded by the lap, records by their CRC, links are only followed backwards.

mod behind;
mod damage;
mod heads;
mod newer;
mod records;
mod report;
mod ring;
mod scan;
mod volume;

use std::collections::VecDeque;

use zerocopy::FromBytes;

use crate::sys::ring::RingMemory;

use super::flusher::Zeroing;
use super::record::RawHeader;
use super::scan::{Incarnations, SegmentSource, Source};
use super::{
    Geometry, HEADER_BYTES, Kind, Manifest, NONE, OpenError, RecoveredSession, Rollback, Storage, StorageError,
};
use damage::Damage;
use heads::{Start, check_never_headed, check_new, check_ours, heads_among, read_starts};
use newer::check_timeline;
use ring::{Between, FoundRing, quarantine_ring, quarantine_unread, read_between, read_on};
use volume::{carry_over, make_durable, quarantine_beyond, zero_ahead};

pub(super) use heads::find_heads;
pub(super) use newer::Newer;
pub use records::{Records, StoredRecord};
pub use report::{Phases, RecoveryReport, RingFound, Unreadable};
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
    /// Sessions whose numbers are raised above what the journal says, to what records prove that it does not reach any more; with each whether it
    /// is defined nowhere else. Only where the operator has spoken of a damaged journal, and to be stated before anything else.
    pub(super) unstated: Vec<(u32, bool)>,
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

/// A journal as it was found. Nothing is changed yet.
pub(super) struct Look<S: Storage> {
    journal: u16,
    starts: Vec<Start>,
    segments: SegmentSource<S>,
    scan: Scan,
    heads_skipped: u32,
    /// Where the segments are not whole any more, and what the ring has from there on.
    segments_end: u64,
    from_ring: Vec<(u64, u64)>,
    ring: RingFound,
    /// What the ring should have had.
    missing_bytes: u64,
    unreadable: Option<Unreadable>,
    /// Up to where ring or manifest say that the segments were synced.
    synced: Option<u64>,
    damage: Option<Damage>,
    phases: Phases,
}

impl<S: Storage> Look<S> {
    /// Why nobody may go on with it before the operator has spoken.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_ref().map(|damage| &*damage.why)
    }
}

/// Finds the journal's end, or a start that the manifest does not know of. `clock` is monotonic, in ns.
pub(super) fn look<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
    clock: fn() -> u64,
) -> Result<Result<Look<S>, Newer>, OpenError> {
    let geometry = manifest.geometry;
    let mut lap = laps(clock);
    let mut phases = Phases::default();
    let mut segments = SegmentSource::in_whole(storage.clone(), geometry, journal);
    let starts = read_starts(storage, geometry, journal)?;
    phases.heads_ns = lap();
    if let Some(newer) = newer::in_heads(&mut segments, &starts, manifest, journal)? {
        return Ok(Err(newer));
    }
    let found_ring = ring.map(|ring| FoundRing::new(manifest, journal, ring));
    let scanned = scan_all(&starts, manifest, journal, &mut segments, found_ring.as_ref())?;
    let Scanned { scan, heads_skipped, from_ring, unreadable } = scanned;
    if scan.state_position.is_none() {
        check_new(&starts, journal)?;
        check_never_headed(&mut segments, manifest, journal, ring)?;
    }
    phases.segments_ns = lap();
    let segments_end = from_ring.first().map_or(scan.at, |(from, _)| *from);
    let judged = found_ring.as_ref().map(|ring| ring.judge(manifest, segments_end, scan.at));
    let (ring, missing_bytes) = judged.unwrap_or((RingFound::Absent, 0));
    if let Some(newer) = newer::beyond(&mut segments, manifest, journal, scan.at)? {
        return Ok(Err(newer));
    }
    let damage = damage::look(manifest, journal, &starts, &segments, found_ring.as_ref(), &scan)?;
    let synced = found_ring.and_then(|ring| ring.synced()).max(manifest.last_use.synced_of(journal));
    phases.ring_ns = lap();
    Ok(Ok(Look {
        journal,
        starts,
        segments,
        scan,
        heads_skipped,
        segments_end,
        from_ring,
        ring,
        missing_bytes,
        unreadable,
        synced,
        damage,
        phases,
    }))
}

/// Brings everything before the journal's end to stable media and puts what lies beyond aside. A journal that is damaged goes on at the highest
/// numbers that are proven: the operator has spoken.
pub(super) fn recover<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    look: Look<S>,
    ring: &RingMemory,
    clock: fn() -> u64,
) -> Result<Found<S>, OpenError> {
    let geometry = manifest.geometry;
    let Look { journal, starts, mut segments, mut scan, segments_end, from_ring, missing_bytes, mut phases, .. } = look;
    let mut lap = laps(clock);
    let end = scan.at;
    if let RingFound::Quarantined(_) = look.ring {
        quarantine_ring(storage, journal, ring)?;
    }
    let was_started = scan.started != manifest.incarnation && is_start_torn(&mut segments, manifest, end)?;
    let (beyond_bytes, fenced_bytes) = quarantine_beyond(storage, &mut segments, manifest, journal, end)?;
    phases.ring_ns += lap();
    let synced = match look.ring {
        RingFound::Accepted => ring.marks().synced,
        // Ring space is reused only once it is synced, so no more than a ring's length can be missing: even of a clean stop, which may be
        // what the process before failed to sync.
        _ => segments_end.saturating_sub(geometry.ring_bytes),
    };
    make_durable(storage, geometry, journal, synced, segments_end)?;
    let mut healed_bytes = 0;
    for (from, to) in &from_ring {
        let healed_to = look.synced.map_or(*from, |synced| synced.clamp(*from, *to));
        if healed_to > *from {
            quarantine_unread(storage, geometry, journal, (*from, healed_to))?;
            healed_bytes += healed_to - from;
        }
        carry_over(storage, geometry, journal, ring, *from, *to)?;
    }
    // What lies between two ranges, or behind the last.
    if from_ring.len() > 1 || from_ring.last().is_some_and(|(_, to)| *to < end) {
        make_durable(storage, geometry, journal, segments_end, end)?;
    }
    phases.durable_ns = lap();
    let unzeroed = zero_ahead(storage, geometry, journal, &starts, (segments_end, end))?;
    phases.zeros_ns = lap();
    let is_whole = missing_bytes == 0 && look.damage.is_none();
    let clean_stop = scan.last_kind == Some(Kind::CleanStop) && beyond_bytes == 0 && is_whole;
    let whole_ring = look.ring == RingFound::Accepted && is_whole;
    let lost = manifest.incarnation > 0
        && match &manifest.numbers_moved {
            // It has not come so far that anything of it could leave. What it found itself is still to be done.
            Some(moved) if scan.started != manifest.incarnation && !was_started && look.damage.is_none() => {
                moved.contains(&journal)
            }
            _ => !clean_stop && !whole_ring,
        };
    let unstated = look.damage.map_or_else(Vec::new, |damage| raise(&mut scan, &damage));
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
        heads_skipped: look.heads_skipped,
        end,
        ring: look.ring,
        commits: scan.commits,
        records: scan.record_count,
        carried_bytes: from_ring.iter().map(|(from, to)| to - from).sum(),
        healed_bytes,
        unreadable: look.unreadable,
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
        unstated,
        source: segments.up_to(segments_end),
        geometry,
        replay_start: scan.replay_start,
    };
    Ok(Found { journal, end, headed_segment, unzeroed, recovered })
}

/// The time since the last call, in ns.
fn laps(clock: fn() -> u64) -> impl FnMut() -> u64 {
    let mut since_ns = clock();
    move || {
        let before_ns = std::mem::replace(&mut since_ns, clock());
        since_ns.saturating_sub(before_ns)
    }
}

/// Whether something of the last incarnation lies where its first record should, and is not whole.
fn is_start_torn<S: Storage>(
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    end: u64,
) -> Result<bool, OpenError> {
    let bytes = segments.bytes(end, HEADER_BYTES)?;
    let raw = RawHeader::read_from_prefix(bytes).map(|(raw, _)| raw.incarnation.get());
    Ok(raw.is_ok_and(|incarnation| incarnation == manifest.incarnation))
}

/// Raises the sessions' numbers to what records behind a damaged place prove. Those that were raised, and whether each is defined nowhere else.
fn raise(scan: &mut Scan, damage: &Damage) -> Vec<(u32, bool)> {
    let mut raised = Vec::new();
    for (number, reached) in &damage.behind.sessions {
        let is_known = scan.sessions.contains_key(number);
        if let Some(identity) = reached.identity.as_ref().filter(|_| !is_known)
            // Sessions are numbered without a gap.
            && *number as usize == scan.sessions.len()
        {
            scan.sessions.insert(*number, RecoveredSession::new(*number, identity));
        }
        let known = scan.sessions.get_mut(number).filter(|session| !session.is_forgotten());
        let Some(session) = known else { continue };
        if reached.apply(session) || !is_known {
            raised.push((*number, !is_known));
        }
    }
    raised
}

/// What segments and ring of a journal say, for who starts nothing.
pub(super) struct Seen {
    pub sessions: Vec<RecoveredSession>,
    pub snapshot: Vec<u8>,
    /// Why a start would hold the directory. The sessions' numbers are then what lies behind the
    /// damaged place proves.
    pub damage: Option<String>,
}

/// What segments and ring say; or a start that the manifest does not know of. Nothing is changed.
pub(super) fn see<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
) -> Result<Result<Seen, Newer>, OpenError> {
    let mut look = match look(storage, manifest, journal, ring, || 0)? {
        Ok(look) => look,
        Err(newer) => return Ok(Err(newer)),
    };
    if let Some(damage) = &look.damage {
        raise(&mut look.scan, damage);
    }
    Ok(Ok(Seen {
        sessions: look.scan.sessions.into_values().collect(),
        snapshot: look.scan.snapshot,
        damage: look.damage.map(|damage| damage.why),
    }))
}

struct Scanned {
    scan: Scan,
    /// Newer heads that were not whole.
    heads_skipped: u32,
    /// What was read from the ring.
    from_ring: Vec<(u64, u64)>,
    unreadable: Option<Unreadable>,
}

/// Reads from the newest whole head to the end.
fn scan_all<S: Storage>(
    starts: &[Start],
    manifest: &Manifest,
    journal: u16,
    segments: &mut SegmentSource<S>,
    ring: Option<&FoundRing<'_>>,
) -> Result<Scanned, OpenError> {
    let headed = ring.and_then(|ring| ring.headed_segment(manifest, journal));
    check_ours(segments, starts, manifest, journal, headed)?;
    check_timeline(segments, starts, manifest, journal)?;
    let segment_bytes = manifest.geometry.segment_bytes;
    let mut heads_skipped = 0;
    let mut from_ring = Vec::new();
    let mut scan = Scan::new(manifest.geometry, Incarnations::of(manifest, journal));
    for head in heads_among(starts, manifest, journal) {
        scan = Scan::new(manifest.geometry, Incarnations::of(manifest, journal));
        scan.at = head * segment_bytes;
        read_on(&mut scan, segments, ring.and_then(FoundRing::source), &mut from_ring)?;
        if scan.state_position.is_some() {
            break;
        }
        heads_skipped += 1;
    }
    let mut unreadable = None;
    let in_ring = headed.map(|segment| segment * segment_bytes);
    if let Some(at) = in_ring.filter(|at| scan.state_position.is_none() || *at > scan.at)
        && is_lost(manifest, journal, starts, segments, ring, &scan)?
        && let Some(other) = scan_from_ring(manifest, journal, segments, ring, (&scan, at))?
    {
        (scan, from_ring, unreadable) = (other.scan, other.from_ring, other.unreadable);
    }
    if scan.state_position.is_none() {
        scan.at = 0;
    }
    Ok(Scanned { scan, heads_skipped, from_ring, unreadable })
}

/// Whether what the scan could not read was there once, rather than never synced. The ring of a
/// process that has just ended has all that was not synced.
fn is_lost<S: Storage>(
    manifest: &Manifest,
    journal: u16,
    starts: &[Start],
    segments: &SegmentSource<S>,
    ring: Option<&FoundRing<'_>>,
    scan: &Scan,
) -> Result<bool, StorageError> {
    Ok(scan.state_position.is_none()
        || ring.is_some_and(|ring| ring.is_current())
        || damage::look(manifest, journal, starts, segments, ring, scan)?.is_some())
}

/// Reads from the head in the ring, at `head`. It makes all that lies before it expendable where
/// `before` could not go on; what the ring has of that is kept.
fn scan_from_ring<S: Storage>(
    manifest: &Manifest,
    journal: u16,
    segments: &mut SegmentSource<S>,
    ring: Option<&FoundRing<'_>>,
    (before, head): (&Scan, u64),
) -> Result<Option<Scanned>, StorageError> {
    let geometry = manifest.geometry;
    let source = || ring.and_then(FoundRing::source);
    let mut scan = Scan { at: head, ..Scan::new(geometry, Incarnations::of(manifest, journal)) };
    let mut behind_head = Vec::new();
    read_on(&mut scan, segments, source(), &mut behind_head)?;
    if scan.state_position.is_none() {
        return Ok(None);
    }
    let from = match before.state_position {
        Some(_) => before.at,
        None => head.saturating_sub(geometry.segment_bytes),
    };
    let Between { mut from_ring, missing_bytes } =
        read_between(segments, source(), &geometry, Incarnations::of(manifest, journal), (from, head))?;
    from_ring.append(&mut behind_head);
    let unreadable = (missing_bytes > 0).then_some(Unreadable { from, to: head, bytes: missing_bytes });
    Ok(Some(Scanned { scan, heads_skipped: 0, from_ring, unreadable }))
}
