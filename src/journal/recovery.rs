//! What a journal holds after whatever happened, and the steps that make it whole again before the next incarnation.
//!
//! 1. The newest segment whose head is whole says where to begin; commits are read from there until one is not whole or is fenced.
//! 2. A ring of the last incarnation that continues exactly there is read on. Any other ring that holds more is quarantined.
//! 3. What lies beyond the end and still parses as ours is quarantined: it was never acknowledged as durable, and its predecessors are gone.
//! 4. What the ring had beyond the segments is written and synced.
//!
//! No byte is trusted: lengths are bounded by the lap, records by their CRC, links are only followed backwards.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::sys::ring::{Marks, PAGE_BYTES, RingMemory};

use super::flusher::{ZEROED_MARK, Zeroing, zero_segment};
use super::inspect::next_whole;
use super::record::header_at;
use super::ring_file::{RingIdentity, in_words, read_identity};
use super::scan::{Incarnations, RingSource, SegmentSource, Source, commit_at, record_at};
use super::state::{HeadIdentity, head_identity, read_head};
use super::{
    Geometry, HEADER_BYTES, IncarnationStart, Kind, Manifest, NONE, OpenError, RECORD_ALIGN, RecordHeader,
    RecoveredSession, Rollback, Slot, Storage, StorageError, StoredNumbers, flags,
};

/// What a journal held, for the engine to go on from.
pub struct Recovered<S: Storage> {
    pub sessions: Vec<RecoveredSession>,
    /// The application's state as of the newest State record; empty in a new journal.
    pub snapshot: Vec<u8>,
    /// Where after that State record sessions have gone on at their leases: for the application, in order with what
    /// [`Recovered::replay`] reads. The last are those of this start, if it found a loss, at the report's `end`.
    pub rollbacks: Vec<PlacedRollback>,
    pub report: RecoveryReport,
    storage: S,
    geometry: Geometry,
    journal: u16,
    replay_start: u64,
}

/// A session's rollback, and before which position it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedRollback {
    pub position: u64,
    pub session: u32,
    pub rollback: Rollback,
}

/// The records after the newest State record, in order.
pub struct Records<S: Storage> {
    source: SegmentSource<S>,
    geometry: Geometry,
    at: u64,
    end: u64,
}

/// A record that [`Records`] reads.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    pub position: u64,
    pub header: RecordHeader,
    pub payload: &'a [u8],
}

/// What recovery found and did, for the log and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    pub journal: u16,
    /// The one that starts now.
    pub incarnation: u32,
    /// The one before, from the manifest; 0 in a new directory.
    pub incarnation_before: u32,
    /// The process before stopped in order, and nothing was lost since.
    pub clean_stop: bool,
    /// Where the newest State record lies; `None` in a new journal.
    pub state_position: Option<u64>,
    /// Newer segment heads that were not whole.
    pub heads_skipped: u32,
    /// Where the journal goes on.
    pub end: u64,
    pub ring: RingFound,
    /// Read after the State record's own commit.
    pub commits: u64,
    pub records: u64,
    /// What the ring had beyond the segments.
    pub carried_bytes: u64,
    /// What lay beyond the end and went to quarantine, or what an accepted ring should have had and did not.
    pub discarded_bytes: u64,
    /// Messages that were released in a weaker mode than `sync` may be missing.
    pub lost: bool,
    /// Sessions that therefore go on at their lease, above the journal's end.
    pub sessions_moved: u32,
    /// Of those that lay beyond the end: records of a process that went on after its successor had started.
    pub fenced_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFound {
    /// A new one: the node was lost, or the journal is new.
    Absent,
    /// It continued the segments.
    Accepted,
    /// Of an earlier incarnation, but the segments hold all that it had.
    Finished,
    /// Kept aside, and why.
    Quarantined(&'static str),
}

impl<S: Storage> Recovered<S> {
    /// The records after the newest State record, for the application that its snapshot was restored to.
    pub fn replay(&self) -> Records<S> {
        let source = SegmentSource::new(self.storage.clone(), self.geometry, self.journal);
        Records { source, geometry: self.geometry, at: self.replay_start, end: self.report.end }
    }
}

impl<S: Storage> Records<S> {
    /// The next record; Pads are left out. Recovery has seen all of them valid: one that is not any
    /// more is a storage error.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator: the payload lies in the reader's window")]
    pub fn next(&mut self) -> Result<Option<StoredRecord<'_>>, StorageError> {
        loop {
            if self.at >= self.end {
                return Ok(None);
            }
            let position = self.at;
            let Some(header) = record_at(&mut self.source, &self.geometry, position)?.map(|(header, _)| header) else {
                let why = std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "a record that recovery read is not there any more",
                );
                return Err(StorageError::new("read", format!("position {position}"), why));
            };
            self.at += header.padded_bytes();
            if header.kind != Kind::Pad {
                let payload = self.source.bytes(position + HEADER_BYTES, header.payload_bytes())?;
                return Ok(Some(StoredRecord { position, header, payload }));
            }
        }
    }
}

impl RecoveryReport {
    /// Whether messages that were released in a weaker mode than `sync` may be missing.
    pub fn may_have_lost(&self) -> bool {
        self.lost
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal {}: incarnation {}", self.journal, self.incarnation)?;
        if self.incarnation_before == 0 {
            return f.write_str(", a new journal");
        }
        write!(f, " after {}", if self.clean_stop { "a clean stop" } else { "an unclean stop" })?;
        match self.state_position {
            Some(position) => write!(f, ", state at {position}")?,
            None => f.write_str(", no state record yet")?,
        }
        if self.heads_skipped > 0 {
            write!(f, " ({} newer segment heads were not whole)", self.heads_skipped)?;
        }
        write!(f, ", then {} commits of {} records up to {}", self.commits, self.records, self.end)?;
        match self.ring {
            RingFound::Absent => f.write_str("; no ring was found")?,
            RingFound::Accepted => {
                write!(f, "; the ring was accepted, {} carried over from it", in_words(self.carried_bytes))?
            }
            RingFound::Finished => f.write_str("; the ring found had nothing more")?,
            RingFound::Quarantined(why) => write!(f, "; the ring found was quarantined: {why}")?,
        }
        if self.discarded_bytes > 0 {
            write!(f, "; {} discarded", in_words(self.discarded_bytes))?;
        }
        if self.lost {
            write!(f, "; the last messages may be lost, {} sessions go on at their leases", self.sessions_moved)?;
        }
        if self.fenced_bytes > 0 {
            write!(
                f,
                "; {} of them by a process that went on writing after this directory had been taken over",
                in_words(self.fenced_bytes)
            )?;
        }
        Ok(())
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

/// Finds the journal's end, brings everything before it to stable media and puts what lies beyond aside.
pub(super) fn recover<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: &RingMemory,
) -> Result<Found<S>, OpenError> {
    let geometry = manifest.geometry;
    let mut segments = SegmentSource::new(storage.clone(), geometry, journal);
    let (mut scan, heads_skipped) = scan_segments(storage, manifest, journal, &mut segments, Some(ring))?;
    let segments_end = scan.at;
    let (ring_found, carried_bytes, missing_bytes) = read_ring(&mut scan, manifest, journal, ring)?;
    let end = scan.at;
    if let RingFound::Quarantined(_) = ring_found {
        quarantine_ring(storage, journal, ring)?;
    }
    let (beyond_bytes, fenced_bytes) = quarantine_beyond(storage, &mut segments, manifest, journal, end)?;
    let synced = match ring_found {
        RingFound::Accepted => ring.marks().synced,
        // Ring space is reused only once it is synced, so no more than a ring's length can be missing: even of a clean stop, which may be
        // what the process before failed to sync.
        _ => segments_end.saturating_sub(geometry.ring_bytes),
    };
    make_durable(storage, geometry, journal, synced, segments_end)?;
    carry_over(storage, geometry, journal, ring, segments_end, end)?;
    let unzeroed = zero_ahead(storage, geometry, journal, end)?;
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
    };
    let headed_segment = scan.state_position.map_or(NONE, |position| position / geometry.segment_bytes);
    let recovered = Recovered {
        sessions: scan.sessions.into_values().collect(),
        snapshot: scan.snapshot,
        rollbacks: scan.rollbacks,
        report,
        storage: storage.clone(),
        geometry,
        journal,
        replay_start: scan.replay_start,
    };
    Ok(Found { journal, end, headed_segment, unzeroed, recovered })
}

/// The sessions as segments and ring state them; nothing is changed.
pub(super) fn sessions_of<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
) -> Result<Vec<RecoveredSession>, OpenError> {
    let mut segments = SegmentSource::new(storage.clone(), manifest.geometry, journal);
    let (mut scan, _) = scan_segments(storage, manifest, journal, &mut segments, ring)?;
    if let Some(ring) = ring {
        read_ring(&mut scan, manifest, journal, ring)?;
    }
    Ok(scan.sessions.into_values().collect())
}

/// Reads from the newest whole head to the end, and answers how many newer ones were not whole.
fn scan_segments<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    segments: &mut SegmentSource<S>,
    ring: Option<&RingMemory>,
) -> Result<(Scan, u32), OpenError> {
    let geometry = manifest.geometry;
    check_ours(storage, manifest, journal)?;
    let heads = find_heads(storage, manifest, journal)?;
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
        check_new(storage, geometry, journal)?;
        check_never_headed(segments, manifest, journal, ring)?;
        scan.at = 0;
    }
    Ok((scan, heads_skipped))
}

/// The flusher's first write begins at the start of the page that the journal ends in, and takes it from the ring.
pub(super) fn refill_last_page<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    found: &Found<S>,
    ring: &mut RingMemory,
) -> Result<(), StorageError> {
    let from = found.end & !(PAGE_BYTES - 1);
    let bytes = (found.end - from) as usize;
    if bytes > 0 {
        let (slot, offset) = manifest.geometry.slot(found.journal, from);
        let at = (from % manifest.geometry.ring_bytes) as usize;
        storage.read(slot, offset, &mut ring.data_mut()[at..at + bytes])?;
    }
    Ok(())
}

/// Of what lies beyond the end, so many times the ring's length is checked at most; more can only be made to look like records.
const CHECKED_RINGS_MAX: u64 = 16;

const NS_PER_S: u64 = 1_000_000_000;

/// The state of a scan: what the commits so far add up to.
pub(super) struct Scan {
    pub geometry: Geometry,
    pub incarnations: Incarnations,
    /// Where the next commit would begin.
    pub at: u64,
    pub sessions: BTreeMap<u32, RecoveredSession>,
    snapshot: Vec<u8>,
    pub state_position: Option<u64>,
    pub replay_start: u64,
    pub commits: u64,
    pub record_count: u64,
    pub last_kind: Option<Kind>,
    /// The newest incarnation of which a State or its start was read.
    pub started: u32,
    pub rollbacks: Vec<PlacedRollback>,
}

impl Scan {
    pub fn new(geometry: Geometry, incarnations: Incarnations) -> Self {
        Self {
            geometry,
            incarnations,
            at: 0,
            sessions: BTreeMap::new(),
            snapshot: Vec::new(),
            state_position: None,
            replay_start: 0,
            commits: 0,
            record_count: 0,
            last_kind: None,
            started: 0,
            rollbacks: Vec::new(),
        }
    }

    fn move_to_leases(&mut self, position: u64) {
        for session in self.sessions.values_mut() {
            if let Some(rollback) = session.move_to_lease() {
                self.rollbacks.push(PlacedRollback { position, session: session.number, rollback });
            }
        }
    }

    /// Reads commits until one is not whole. Without a State record so far, the first must bring one.
    pub fn run(&mut self, source: &mut impl Source) -> Result<(), StorageError> {
        let mut records = Vec::new();
        while let Some(end) = commit_at(source, &self.geometry, self.at, &mut self.incarnations, &mut records)? {
            let is_head = records[0].1.kind == Kind::State;
            // A segment begins with its head, and nothing else does.
            if is_head != self.at.is_multiple_of(self.geometry.segment_bytes) {
                break;
            }
            if !self.apply(source, &records, end)? {
                break;
            }
            self.at = end;
        }
        Ok(())
    }

    /// `false` where the records are whole but a payload of the journal's own is not what it must be.
    pub fn apply(
        &mut self,
        source: &mut impl Source,
        records: &[(u64, RecordHeader)],
        end: u64,
    ) -> Result<bool, StorageError> {
        for (position, header) in records {
            let payload = match header.kind {
                Kind::State | Kind::SessionDefined | Kind::Numbers | Kind::IncarnationStart => {
                    source.bytes(position + HEADER_BYTES, header.payload_bytes())?
                }
                _ => &[],
            };
            match header.kind {
                Kind::State => {
                    let Some((sessions, snapshot)) = read_head(payload) else {
                        return Ok(false);
                    };
                    self.sessions = sessions.into_iter().map(|session| (session.number, session)).collect();
                    self.snapshot = snapshot.to_vec();
                    self.state_position = Some(*position);
                    self.replay_start = end;
                    (self.commits, self.record_count) = (0, 0);
                    self.rollbacks.clear();
                    self.started = header.incarnation;
                }
                Kind::SessionDefined => {
                    self.sessions.entry(header.session).or_insert_with(|| RecoveredSession {
                        began_s: header.time_ns / NS_PER_S,
                        ..RecoveredSession::new(header.session, payload)
                    });
                }
                Kind::Outbound => {
                    if let Some(session) = self.sessions.get_mut(&header.session) {
                        session.last_out = *position;
                        session.rollback = None;
                        session.next_out = header.msg_seq_num.saturating_add(1);
                    }
                }
                Kind::Inbound => {
                    if let Some(session) = self.sessions.get_mut(&header.session) {
                        session.last_in = *position;
                        session.rollback = None;
                        if header.has(flags::COUNTED) {
                            session.next_in = header.msg_seq_num.saturating_add(1);
                        }
                    }
                }
                // They hold at this place of the commit: a Logon that answers a reset, or what the application sends
                // in the same step, follows them under the next numbers.
                Kind::Numbers => {
                    let Some(numbers) = StoredNumbers::of(payload) else {
                        return Ok(false);
                    };
                    if let Some(session) = self.sessions.get_mut(&header.session) {
                        if session.epoch != numbers.epoch {
                            session.began_s = header.time_ns / NS_PER_S;
                        }
                        session.next_out = numbers.next_out;
                        session.next_in = numbers.next_in;
                        session.epoch = numbers.epoch;
                        session.lease = numbers.lease;
                        session.rollback = None;
                        session.next_out_from_peer = header.has(flags::NEXT_OUT_FROM_PEER);
                    }
                }
                Kind::IncarnationStart => {
                    self.started = header.incarnation;
                    if IncarnationStart::of(payload).is_some_and(|start| start.numbers_moved) {
                        self.move_to_leases(*position);
                    }
                }
                Kind::Pad | Kind::Replay | Kind::CleanStop => {}
            }
            self.last_kind = Some(header.kind);
        }
        if records[0].1.kind != Kind::State {
            self.commits += 1;
            self.record_count += records.len() as u64;
        }
        Ok(true)
    }
}

/// The segments that begin with a head of ours, newest first. Only what names the segment is looked at.
pub(super) fn find_heads<S: Storage>(storage: &S, manifest: &Manifest, journal: u16) -> Result<Vec<u64>, StorageError> {
    let geometry = manifest.geometry;
    let mut start = [0; 256];
    let mut heads = Vec::new();
    for number in 0..geometry.segments {
        storage.read(Slot { journal, number }, 0, &mut start)?;
        let Some((identity, _)) = head_identity(&start[HEADER_BYTES as usize..]) else {
            continue;
        };
        let ours = HeadIdentity { uuid: *manifest.uuid.as_bytes(), journal, segment: identity.segment };
        let is_here = identity.segment % u64::from(geometry.segments) == u64::from(number)
            && identity.segment < u64::MAX / 4 / geometry.segment_bytes;
        if identity == ours && is_here {
            heads.push(identity.segment);
        }
    }
    heads.sort_unstable_by(|a, b| b.cmp(a));
    Ok(heads)
}

/// A segment that says whose it is and is not ours was put there by hand: to pass it over would be to lose what was in ours.
fn check_ours<S: Storage>(storage: &S, manifest: &Manifest, journal: u16) -> Result<(), OpenError> {
    let mut start = [0; 256];
    for number in 0..manifest.geometry.segments {
        storage.read(Slot { journal, number }, 0, &mut start)?;
        if let Some((identity, _)) = head_identity(&start[HEADER_BYTES as usize..])
            && (identity.uuid != *manifest.uuid.as_bytes() || identity.journal != journal)
        {
            let why = format!("segment-{number}.seg belongs to another data directory or journal");
            return Err(OpenError::Damaged { journal, why });
        }
    }
    Ok(())
}

/// Without any whole head, the journal can only be one whose first commits never reached the volume: then no later segment holds anything.
fn check_new<S: Storage>(storage: &S, geometry: Geometry, journal: u16) -> Result<(), OpenError> {
    let mut start = [0; 512];
    for number in 1..geometry.segments {
        storage.read(Slot { journal, number }, 0, &mut start)?;
        if start.iter().any(|byte| *byte != 0) {
            return Err(OpenError::Damaged {
                journal,
                why: format!("no segment has a whole head, but segment-{number}.seg is not empty"),
            });
        }
    }
    Ok(())
}

/// A first segment without a whole head, in which something proves that it had one, is damaged: to go on as a new journal would begin every
/// session at number 1. What the first process wrote before its first sync may be torn, and proves nothing.
fn check_never_headed<S: Storage>(
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
) -> Result<(), OpenError> {
    let geometry = manifest.geometry;
    let last = manifest.incarnation;
    let was_synced = ring.is_some_and(|ring| {
        read_identity(ring.identity(), manifest, journal) == RingIdentity::Ours
            && ring.owner() == u64::from(last)
            && ring.marks().synced > 0
    });
    let earlier = Incarnations::up_to(last.saturating_sub(1));
    let any = Incarnations::up_to(last);
    // One sync covers no more than a ring's length.
    let proof = if was_synced {
        Some("the ring says that it was synced")
    } else if next_whole(segments, &geometry, RECORD_ALIGN, earlier)?.is_some() {
        Some("it holds records of an earlier incarnation")
    } else if geometry.ring_bytes < geometry.segment_bytes
        && next_whole(segments, &geometry, geometry.ring_bytes, any)?.is_some()
    {
        Some("it holds records of a later lap of the ring")
    } else {
        None
    };
    segments.forget();
    match proof {
        None => Ok(()),
        Some(proof) => {
            let why = format!("the head of segment-0.seg is not whole, although {proof}");
            Err(OpenError::Damaged { journal, why })
        }
    }
}

/// Reads the ring on from where the segments end, if it continues them. The bytes that it added, and those that it should have had.
fn read_ring(
    scan: &mut Scan,
    manifest: &Manifest,
    journal: u16,
    ring: &RingMemory,
) -> Result<(RingFound, u64, u64), StorageError> {
    let refuse = |why| Ok((RingFound::Quarantined(why), 0, 0));
    match read_identity(ring.identity(), manifest, journal) {
        RingIdentity::Blank => return Ok((RingFound::Absent, 0, 0)),
        RingIdentity::Foreign(why) => return refuse(why),
        RingIdentity::Ours => {}
    }
    let segments_end = scan.at;
    let Marks { appended, written, synced } = ring.marks();
    let is_sane = synced <= written
        && written <= appended
        && appended - (synced & !(PAGE_BYTES - 1)) <= ring.ring_bytes()
        && appended < u64::MAX / 4;
    if !is_sane {
        return refuse("its marks contradict each other");
    }
    if ring.owner() != u64::from(manifest.incarnation) {
        // A start that died between the manifest and the ring leaves this; everything in it was carried over before.
        let is_finished = ring.owner() < u64::from(manifest.incarnation) && appended <= segments_end;
        return if is_finished {
            Ok((RingFound::Finished, 0, 0))
        } else {
            refuse("it is of another incarnation than the manifest's last")
        };
    }
    if synced > segments_end {
        return refuse("there is a gap between the segments' end and what it still holds");
    }
    if appended < segments_end {
        return refuse("it ends before the segments do");
    }
    let mut source = RingSource { data: ring.data(), start: segments_end, end: appended };
    scan.run(&mut source)?;
    if scan.at == segments_end && appended > segments_end {
        return refuse("it does not continue the segments");
    }
    Ok((RingFound::Accepted, scan.at - segments_end, appended - scan.at))
}

fn quarantine_ring<S: Storage>(storage: &S, journal: u16, ring: &RingMemory) -> Result<(), StorageError> {
    let Marks { appended, synced, .. } = ring.marks();
    let name = format!("journal-{journal}-ring-of-incarnation-{}-from-{synced}-to-{appended}", ring.owner());
    storage.quarantine(&name, ring.data())
}

/// Copies what lies beyond the end and still parses, up to the last such record, and then clears it: a peer chose what is in those bytes, and
/// no later scan shall come upon them. The bytes that it copied, and how many of them are records of a fenced process.
///
/// The flusher syncs one segment before it writes the next, so they lie in the end's own segment, less than a ring's length ahead.
fn quarantine_beyond<S: Storage>(
    storage: &S,
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    journal: u16,
    end: u64,
) -> Result<(u64, u64), StorageError> {
    let geometry = manifest.geometry;
    let incarnations = Incarnations::of(manifest, journal);
    let mut fenced_bytes = 0;
    let segment_end = (end / geometry.segment_bytes + 1) * geometry.segment_bytes;
    let limit = segment_end.min(end + geometry.ring_bytes);
    segments.forget();
    // Bytes that look like headers of long records, one after the other, would cost their length each.
    let mut checked_bytes = 0;
    let mut found_end = end;
    let mut at = end;
    while at < limit {
        let header = header_at(segments.bytes(at, HEADER_BYTES)?, at, limit);
        // An older incarnation's was beyond an earlier end already, and put aside then: unless it was written since.
        let is_fenced = |header: &RecordHeader| incarnations.is_fenced(header.incarnation, at);
        let Some(header) = header.filter(|header| header.incarnation == manifest.incarnation || is_fenced(header))
        else {
            at += RECORD_ALIGN;
            continue;
        };
        // Between records lie bytes of earlier laps, among them headers that the end of a payload has changed: their lengths are anything.
        if header.kind != Kind::Pad && u64::from(header.length) > geometry.commit_bytes_max() {
            at += RECORD_ALIGN;
            continue;
        }
        checked_bytes += header.padded_bytes();
        if checked_bytes > CHECKED_RINGS_MAX * geometry.ring_bytes {
            found_end = limit;
            break;
        }
        if record_at(segments, &geometry, at)?.is_some() {
            fenced_bytes += if is_fenced(&header) { header.padded_bytes() } else { 0 };
            found_end = at + header.padded_bytes();
            at = found_end;
        } else {
            at += RECORD_ALIGN;
        }
    }
    if found_end == end {
        return Ok((0, 0));
    }
    let mut bytes = vec![0; (found_end - end) as usize];
    let (slot, offset) = geometry.slot(journal, end);
    storage.read(slot, offset, &mut bytes)?;
    let name = format!("journal-{journal}-beyond-{end}-of-incarnation-{}", manifest.incarnation);
    storage.quarantine(&name, &bytes)?;
    bytes.fill(0);
    storage.write(slot, offset, &bytes)?;
    storage.sync(slot)?;
    segments.forget();
    Ok((found_end - end, fenced_bytes))
}

/// What was read may so far be in the page cache alone, even where a sync failed and the next one would say nothing of it: a lost pod
/// leaves that to the next one on its node. So what may never have been synced is written again. Nothing before the last segment can need
/// it: the flusher syncs each before it writes the next.
fn make_durable<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    synced: u64,
    end: u64,
) -> Result<(), StorageError> {
    let mut bytes = Vec::new();
    let last_segment = end.saturating_sub(1) / geometry.segment_bytes * geometry.segment_bytes;
    let mut at = synced.max(last_segment);
    while at < end {
        let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
        let to = end.min(lap_end);
        let (slot, offset) = geometry.slot(journal, at);
        bytes.resize((to - at) as usize, 0);
        storage.read(slot, offset, &mut bytes)?;
        storage.write(slot, offset, &bytes)?;
        storage.sync(slot)?;
        at = to;
    }
    storage.sync(geometry.slot(journal, end.saturating_sub(1)).0)
}

/// Writes `[from, to)` of the ring to the segments. Each segment is synced before the next is written, as the flusher does.
fn carry_over<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    ring: &RingMemory,
    from: u64,
    to: u64,
) -> Result<(), StorageError> {
    let mut at = from;
    while at < to {
        let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
        let end = to.min(lap_end);
        let offset_in_ring = (at % geometry.ring_bytes) as usize;
        let (slot, offset) = geometry.slot(journal, at);
        storage.write(slot, offset, &ring.data()[offset_in_ring..][..(end - at) as usize])?;
        storage.sync(slot)?;
        at = end;
    }
    Ok(())
}

/// Zero-writes the segment that is written now and the one after it where they were only allocated; the others are left for later.
fn zero_ahead<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    end: u64,
) -> Result<VecDeque<Zeroing>, StorageError> {
    let mut unzeroed = VecDeque::new();
    let first = end / geometry.segment_bytes;
    for ahead in 0..u64::from(geometry.segments) {
        let number = ((first + ahead) % u64::from(geometry.segments)) as u32;
        let slot = Slot { journal, number };
        if !is_only_allocated(storage, geometry, slot)? {
            continue;
        }
        if ahead < 2 {
            zero_segment(storage, geometry, slot)?;
        } else {
            unzeroed.push_back(Zeroing { number, offset: 0 });
        }
    }
    Ok(unzeroed)
}

/// A segment with neither a beginning nor the mark of zero-writing at its end holds nothing.
fn is_only_allocated<S: Storage>(storage: &S, geometry: Geometry, slot: Slot) -> Result<bool, StorageError> {
    let mut start = [0; 512];
    let mut end = [0; ZEROED_MARK.len()];
    storage.read(slot, 0, &mut start)?;
    storage.read(slot, geometry.segment_bytes - end.len() as u64, &mut end)?;
    Ok(start.iter().chain(&end).all(|byte| *byte == 0))
}
