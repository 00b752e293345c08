//! Walks every record of every segment and of the ring's tail, and says what is provably whole: `fixring journal verify`.
//!
//! Recovery reads from the newest head on; this reads all laps that are still there. What it checks beside the CRCs: that each segment
//! is there and ours, that the links of each session lead from each message to the one before, that its numbers rise within an epoch,
//! and that each state record says what the walk before it adds up to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::record::header_at;
use super::super::recovery::Scan;
use super::super::scan::{Incarnations, Source, commit_at};
use super::super::state::read_head;
use super::super::{
    Geometry, HEADER_BYTES, Kind, PlacedRollback, RECORD_ALIGN, RecordHeader, RecoveredSession, StorageError,
    StoredNumbers, flags,
};
use super::files::{RingHeader, RingTail, SegmentFiles, SlotHead};
use super::reader::next_whole;
use super::{Directory, Holder};

/// What was found, in names that stay.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    pub data_dir: String,
    /// Nothing is missing that should be there.
    pub is_whole: bool,
    pub is_running: Option<bool>,
    pub journals: Vec<JournalVerified>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct JournalVerified {
    pub journal: u16,
    pub is_whole: bool,
    pub first_position: u64,
    /// Where a recovery of the segments alone would end, and with the ring.
    pub segments_end_position: u64,
    pub end_position: u64,
    pub segments: Vec<SegmentVerified>,
    /// What the ring has beyond the segments.
    pub ring: Option<Tally>,
    /// At most [`FAULTS_MAX`] of them.
    pub faults: Vec<Fault>,
    pub faults_count: u64,
    /// What is as a crash may leave it.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct SegmentVerified {
    pub segment: u64,
    pub slot: u32,
    /// `whole`, `open` (the last one), `damaged`, or `overwritten` while it was read.
    pub state: &'static str,
    pub first_position: u64,
    /// Behind the last whole commit.
    pub end_position: u64,
    /// Not whole, between whole commits.
    pub hole_bytes: u64,
    /// Not used yet; an earlier lap's bytes may lie there.
    pub unused_bytes: u64,
    #[serde(flatten)]
    pub tally: Tally,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    pub commits: u64,
    pub records: u64,
    /// Records that are messages.
    pub messages: u64,
    pub pads: u64,
    pub pad_bytes: u64,
    pub first_time_ns: Option<u64>,
    pub last_time_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub kind: FaultKind,
    pub position: Option<u64>,
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A segment that should be there is not, or its head is not whole.
    Segment,
    /// A record is not whole where one must be.
    Hole,
    /// A session's link does not lead to its message before.
    Link,
    /// A number or an epoch went back.
    Numbers,
    /// A state record does not say what the records before it add up to.
    State,
    Ring,
}

/// More are counted only.
pub const FAULTS_MAX: usize = 1_000;
/// Of a commit that is not whole in a journal that is being written, so often it is read again.
const LOOKS_MAX: u32 = 3;

/// Verifies one journal, or all. `progress` gets the bytes done and those there are.
pub fn verify(
    directory: &Directory,
    only: Option<u16>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, StorageError> {
    let all = 0..directory.manifest().geometry.journals;
    let mut journals = Vec::new();
    for journal in all.filter(|journal| only.is_none_or(|only| only == *journal)) {
        journals.push(Walk::new(directory, journal).run(progress)?);
    }
    Ok(Verified {
        data_dir: directory.data_dir().display().to_string(),
        is_whole: journals.iter().all(|journal| journal.is_whole),
        is_running: match directory.holder() {
            Holder::Nobody => Some(false),
            Holder::Process(_) => Some(true),
            Holder::Unknown => None,
        },
        journals,
    })
}

struct Walk<'a> {
    directory: &'a Directory,
    journal: u16,
    geometry: Geometry,
    segments: SegmentFiles,
    ring: Option<RingTail>,
    checks: Checks,
    result: JournalVerified,
}

/// What the records so far add up to.
struct Checks {
    scan: Scan,
    /// There was a state record, and no hole since.
    is_known: bool,
    /// Of the last commit.
    incarnation: u32,
    /// By session: its next outgoing number before the newest start moved it, until the session says where it goes on.
    moved_from: BTreeMap<u32, u64>,
    faults: Vec<Fault>,
    faults_count: u64,
}

/// How a look at the place of a commit ended.
enum Look {
    Commit(u64),
    NotWhole,
    /// The slot holds a later segment by now.
    Overwritten,
}

impl<'a> Walk<'a> {
    fn new(directory: &'a Directory, journal: u16) -> Self {
        let manifest = directory.manifest();
        Self {
            directory,
            journal,
            geometry: manifest.geometry,
            segments: directory.segments(journal),
            ring: RingTail::open(manifest, journal),
            checks: Checks {
                scan: Scan::new(manifest.geometry, Incarnations::of(manifest, journal)),
                is_known: false,
                incarnation: 0,
                moved_from: BTreeMap::new(),
                faults: Vec::new(),
                faults_count: 0,
            },
            result: JournalVerified { journal, ..JournalVerified::default() },
        }
    }

    fn run(mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<JournalVerified, StorageError> {
        let segment_bytes = self.geometry.segment_bytes;
        if self.directory.is_growing() {
            let count = self.geometry.segments;
            self.result.notes.push(format!(
                "it was being given {count} segments when its start was cut off: the next start finishes that. Segments are named as they will be then"
            ));
        }
        // Whatever comes later than this is another look's affair.
        let header = self.current_ring();
        let manifest = self.directory.manifest();
        let present = self.segments.segments(manifest.uuid)?;
        let mut newest = present.last().copied();
        if let Some(torn) = newest
            && let Some(whole) = self.without_torn_heads(&present, header)?
            && whole != torn
        {
            newest = Some(whole);
        }
        let first = manifest.last_use.first_segment(self.journal);
        let oldest =
            newest.map_or(0, |newest| (newest + 1).saturating_sub(u64::from(self.geometry.segments)).max(first));
        self.result.first_position = oldest * segment_bytes;
        self.check_slots(oldest, newest, header)?;
        let total_bytes = newest.map_or(0, |newest| (newest + 1 - oldest) * segment_bytes);
        let mut done_bytes = 0;
        for segment in newest.map_or(0..0, |newest| oldest..newest + 1) {
            if present.contains(&segment) {
                let verified = self.segment(segment, Some(segment) == newest, header, &mut |bytes| {
                    progress(done_bytes + bytes, total_bytes);
                })?;
                self.result.segments.push(verified);
            } else {
                self.checks.is_known = false;
            }
            done_bytes += segment_bytes;
            progress(done_bytes, total_bytes);
        }
        self.result.end_position = self.result.segments_end_position;
        self.ring_tail(header)?;
        self.result.faults = self.checks.faults;
        self.result.faults_count = self.checks.faults_count;
        self.result.is_whole = self.result.faults_count == 0;
        Ok(self.result)
    }

    fn current_ring(&mut self) -> Option<RingHeader> {
        let manifest = self.directory.manifest();
        let ring = self.ring.as_mut()?;
        ring.refresh(manifest, self.journal).filter(|header| header.is_current(manifest))
    }

    /// The newest segment that a recovery would begin in. A newer head that is not whole is as the death of a node leaves it, unless the ring
    /// says that it was synced, or something whole lies behind it.
    fn without_torn_heads(&mut self, present: &[u64], header: Option<RingHeader>) -> Result<Option<u64>, StorageError> {
        let any = Incarnations::up_to(self.directory.manifest().incarnation);
        let mut torn = Vec::new();
        let mut found = None;
        for segment in present.iter().rev() {
            let position = segment * self.geometry.segment_bytes;
            if commit_at(&mut self.segments, &self.geometry, position, &mut any.clone(), &mut Vec::new())?.is_some() {
                found = Some(*segment);
                break;
            }
            torn.push(position);
        }
        if found.is_none() {
            // All are walked and found faulty one by one.
            return Ok(None);
        }
        for position in torn {
            let slot = self.segments.slot_of(position / self.geometry.segment_bytes);
            let what = format!("the head of segment-{slot}.seg is not whole");
            let behind = next_whole(&mut self.segments, &self.geometry, position + RECORD_ALIGN, any)?;
            let was_synced = header.is_some_and(|header| header.marks.synced > position);
            if behind.is_some() || was_synced {
                let why = if was_synced { "although it was synced" } else { "although whole commits follow it" };
                self.checks.fault(
                    FaultKind::Segment,
                    Some(position),
                    format!("{what}, {why}: a start reads it from the ring, or is held"),
                );
            } else {
                self.result.notes.push(format!("{what}: torn by an unclean end, and nothing follows it"));
            }
        }
        Ok(found)
    }

    fn check_slots(
        &mut self,
        oldest: u64,
        newest: Option<u64>,
        header: Option<RingHeader>,
    ) -> Result<(), StorageError> {
        let uuid = self.directory.manifest().uuid;
        let geometry = self.geometry;
        let of_slot = |slot: u32| {
            newest.and_then(|newest| {
                (oldest..=newest).find(|segment| (segment % u64::from(geometry.segments)) as u32 == slot)
            })
        };
        for slot in 0..geometry.segments {
            let wanted = of_slot(slot);
            let position = wanted.map(|segment| segment * geometry.segment_bytes);
            let name = format!("segment-{slot}.seg");
            let what = match self.segments.head(uuid, slot)? {
                SlotHead::Missing => format!("{name} is missing: `fixring journal repair` makes it anew"),
                SlotHead::Foreign { segment, .. } if !self.segments.is_head_whole(slot, segment)? => format!(
                    "{name} begins with a head that is damaged, or of a data directory of other lengths: `fixring journal repair` moves it aside"
                ),
                SlotHead::Foreign { uuid: found, journal, segment } if found == uuid && journal == self.journal => {
                    format!(
                        "{name} is segment {segment} of this journal, which belongs in segment-{}.seg: `fixring journal repair` moves it aside",
                        self.segments.slot_of(segment)
                    )
                }
                SlotHead::Foreign { uuid, journal, segment } => format!(
                    "{name} is segment {segment} of journal {journal} of data directory {uuid}: `fixring journal repair` moves it aside"
                ),
                SlotHead::Unreadable => format!("{name} has no head of ours, and is not empty"),
                SlotHead::Blank if wanted.is_some() => {
                    format!("{name} is empty, and should hold segment {}", wanted.unwrap_or_default())
                }
                // A journal of which nothing has reached the volume yet.
                SlotHead::Blank => {
                    let is_lost = newest.is_none() && slot == 0 && header.is_some_and(|header| header.marks.synced > 0);
                    if !is_lost {
                        continue;
                    }
                    format!("{name} is empty although the ring says that it was synced")
                }
                // An older one than wanted is gone: the newer was never written. A newer one than wanted has overwritten it meanwhile.
                SlotHead::Ours { segment } if wanted.is_some_and(|wanted| segment < wanted) => {
                    format!("{name} holds segment {segment}, and should hold {}", wanted.unwrap_or_default())
                }
                SlotHead::Ours { .. } => continue,
            };
            self.checks.fault(FaultKind::Segment, position, what);
        }
        for slot in 0..geometry.segments {
            let Some(bytes) = self.segments.file_bytes(slot) else { continue };
            let what = match bytes.cmp(&geometry.segment_bytes) {
                std::cmp::Ordering::Less => format!(
                    "segment-{slot}.seg is {bytes} bytes long, {} are missing at its end",
                    geometry.segment_bytes - bytes
                ),
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => {
                    let beyond = bytes - geometry.segment_bytes;
                    self.result.notes.push(format!(
                        "segment-{slot}.seg is {beyond} bytes longer than a segment; they are never read"
                    ));
                    continue;
                }
            };
            self.checks.fault(FaultKind::Segment, None, what);
        }
        Ok(())
    }

    fn segment(
        &mut self,
        segment: u64,
        is_newest: bool,
        header: Option<RingHeader>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<SegmentVerified, StorageError> {
        let first = segment * self.geometry.segment_bytes;
        let segment_end = first + self.geometry.segment_bytes;
        let mut verified = SegmentVerified {
            segment,
            slot: self.segments.slot_of(segment),
            state: if is_newest { "open" } else { "whole" },
            first_position: first,
            end_position: first,
            ..SegmentVerified::default()
        };
        let must_be_whole = match header {
            _ if !is_newest => segment_end,
            Some(header) => header.marks.synced.min(segment_end),
            None => first,
        };
        // Where a recovery stops: at the first hole.
        let mut end = None;
        let mut records = Vec::new();
        let mut at = first;
        while at < segment_end {
            match self.look(segment, at, &mut records)? {
                Look::Commit(next) => {
                    self.checks.commit(&mut self.segments, &records, next, &mut verified.tally)?;
                    at = next;
                    verified.end_position = next;
                    progress(at - first);
                    continue;
                }
                Look::Overwritten => {
                    verified.state = "overwritten";
                    self.checks.is_known = false;
                    return Ok(verified);
                }
                Look::NotWhole => {}
            }
            end = end.or(Some(at));
            if is_newest && at >= must_be_whole && header.is_some() {
                break;
            }
            let incarnations = self.checks.scan.incarnations;
            let next = next_whole(&mut self.segments, &self.geometry, at + RECORD_ALIGN, incarnations)?;
            if next.is_none() && at >= must_be_whole {
                self.note_torn(at)?;
                break;
            }
            verified.state = "damaged";
            let to = next.unwrap_or(must_be_whole.max(at + RECORD_ALIGN));
            let what = self.describe_hole(segment, at, to, is_newest && at >= must_be_whole)?;
            self.checks.fault(FaultKind::Hole, Some(at), what);
            self.checks.is_known = false;
            verified.hole_bytes += to - at;
            at = to;
            if next.is_none() {
                break;
            }
        }
        verified.unused_bytes = segment_end - at.min(segment_end);
        if is_newest {
            self.result.segments_end_position = end.unwrap_or(at);
        }
        Ok(verified)
    }

    /// Looks at the place of a commit, more than once before it counts as not whole: in a running engine the page may just have been written.
    fn look(&mut self, segment: u64, at: u64, records: &mut Vec<(u64, RecordHeader)>) -> Result<Look, StorageError> {
        for look in 0..LOOKS_MAX {
            if look > 0 {
                self.segments.forget();
            }
            let mut incarnations = self.checks.scan.incarnations;
            let found = commit_at(&mut self.segments, &self.geometry, at, &mut incarnations, records)?;
            if let Some(end) = found
                && (records[0].1.kind == Kind::State) == at.is_multiple_of(self.geometry.segment_bytes)
            {
                self.checks.scan.incarnations = incarnations;
                return Ok(Look::Commit(end));
            }
        }
        let head = self.segments.head(self.directory.manifest().uuid, self.segments.slot_of(segment))?;
        match head {
            SlotHead::Ours { segment: found } if found > segment => Ok(Look::Overwritten),
            _ => Ok(Look::NotWhole),
        }
    }

    fn describe_hole(&mut self, segment: u64, from: u64, to: u64, may_be_torn: bool) -> Result<String, StorageError> {
        let slot = self.segments.slot_of(segment);
        let offset = from % self.geometry.segment_bytes;
        let lap_end = (from / self.geometry.ring_bytes + 1) * self.geometry.ring_bytes;
        let bytes = self.segments.bytes(from, HEADER_BYTES)?;
        let why = if bytes.iter().all(|byte| *byte == 0) {
            "zeros where a record must be"
        } else if header_at(bytes, from, lap_end).is_some() {
            "the CRC of a record fails"
        } else {
            "no record's header"
        };
        let mut what = format!("{} bytes of segment-{slot}.seg from offset {offset} are not whole: {why}", to - from);
        if may_be_torn {
            what.push_str(
                "; whole commits follow, so this is the death of a node or damage: a start ends the journal here and quarantines what follows",
            );
        }
        Ok(what)
    }

    /// Of what lies behind the last whole commit, whether it looks like one that was cut off.
    fn note_torn(&mut self, at: u64) -> Result<(), StorageError> {
        let lap_end = (at / self.geometry.ring_bytes + 1) * self.geometry.ring_bytes;
        let incarnations = self.checks.scan.incarnations;
        let header = header_at(self.segments.bytes(at, HEADER_BYTES)?, at, lap_end);
        if let Some(header) = header
            && (incarnations.newest..=incarnations.last).contains(&header.incarnation)
            && header.commit_offset == 0
            && header.incarnation > 0
        {
            self.result.notes.push(format!(
                "what follows position {at} looks like the beginning of a commit and is not whole: torn by an unclean end, or of an earlier lap"
            ));
        }
        Ok(())
    }

    /// What the ring has beyond the segments, as it was when the walk began. The flusher may carry it meanwhile.
    fn ring_tail(&mut self, header: Option<RingHeader>) -> Result<(), StorageError> {
        let Some(header) = header else { return Ok(()) };
        let mut at = self.result.end_position;
        let appended = header.marks.appended;
        if at > appended {
            let what = format!("the ring ends at position {appended}, before the segments do");
            let is_stopped = self.directory.holder() == Holder::Nobody;
            // Of a running engine, the segments have gone on since.
            if is_stopped {
                self.checks.fault(FaultKind::Ring, Some(at), what);
            }
            return Ok(());
        }
        if header.marks.synced > at && self.checks.faults_count > 0 {
            // The hole before it has been told.
            return Ok(());
        }
        let mut tally = Tally::default();
        let mut records = Vec::new();
        while at < appended {
            let mut found = None;
            for _ in 0..LOOKS_MAX {
                self.segments.forget();
                let incarnations = &mut self.checks.scan.incarnations;
                found = commit_at(&mut self.segments, &self.geometry, at, incarnations, &mut records)?;
                if let Some(end) = found {
                    self.checks.commit(&mut self.segments, &records, end, &mut tally)?;
                    break;
                }
                let manifest = self.directory.manifest();
                let Some(ring) = &mut self.ring else { break };
                ring.refresh(manifest, self.journal);
                let incarnations = &mut self.checks.scan.incarnations;
                found = commit_at(ring, &self.geometry, at, incarnations, &mut records)?;
                if let Some(end) = found {
                    self.checks.commit(ring, &records, end, &mut tally)?;
                    break;
                }
            }
            match found {
                Some(end) => at = end,
                None => {
                    let what = format!("the ring is not whole here, and its mark says that it is up to {appended}");
                    self.checks.fault(FaultKind::Ring, Some(at), what);
                    break;
                }
            }
        }
        self.result.end_position = at;
        self.result.ring = Some(tally);
        Ok(())
    }
}

impl Checks {
    fn fault(&mut self, kind: FaultKind, position: Option<u64>, what: String) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { kind, position, what });
        }
    }

    fn commit(
        &mut self,
        source: &mut impl Source,
        records: &[(u64, RecordHeader)],
        end: u64,
        tally: &mut Tally,
    ) -> Result<(), StorageError> {
        tally.commits += 1;
        for (at, (position, header)) in records.iter().enumerate() {
            tally.count(header);
            let payload = match header.kind {
                Kind::State | Kind::Numbers => source.bytes(position + HEADER_BYTES, header.payload_bytes())?,
                _ => &[],
            };
            self.record(*position, header, payload, &records[at + 1..]);
            self.incarnation = header.incarnation;
            let end = records.get(at + 1).map_or(end, |(next, _)| *next);
            let applied = self.scan.apply(source, &records[at..=at], end)?;
            self.note_moves(*position, header);
            if !applied {
                let what = "the record is whole, but not what its kind says".to_owned();
                self.fault(FaultKind::Hole, Some(*position), what);
                self.is_known = false;
            } else if header.kind == Kind::State {
                self.is_known = true;
            }
        }
        Ok(())
    }

    /// A start that has found a loss goes on above the leases; a session's first Logon may take it back to the number that its peer awaits.
    fn note_moves(&mut self, position: u64, header: &RecordHeader) {
        match header.kind {
            Kind::IncarnationStart => {
                let fresh = self.scan.rollbacks.iter().filter(|placed| placed.position == position);
                let of_session = |placed: &PlacedRollback| (placed.session, placed.rollback.lost_from);
                self.moved_from.extend(fresh.map(of_session));
            }
            Kind::Outbound | Kind::Numbers => {
                self.moved_from.remove(&header.session);
            }
            _ => {}
        }
    }

    /// `behind` are the records that follow in the same commit.
    fn record(&mut self, position: u64, header: &RecordHeader, payload: &[u8], behind: &[(u64, RecordHeader)]) {
        if !self.is_known {
            return;
        }
        let at = Some(position);
        let number = header.session;
        let is_message = matches!(header.kind, Kind::Inbound | Kind::Outbound);
        match self.scan.sessions.get(&number) {
            None if is_message => {
                self.fault(FaultKind::State, at, format!("a message of session {number}, which was never defined"));
            }
            Some(session) if is_message => {
                let outbound = header.kind == Kind::Outbound;
                let (last, next, way) = if outbound {
                    (session.last_out, session.next_out, "outgoing")
                } else {
                    (session.last_in, session.next_in, "incoming")
                };
                let (epoch, takes_number) = (session.epoch, outbound || header.has(flags::COUNTED));
                if header.previous != last {
                    let what = format!(
                        "session {number}'s link leads to {}, and its {way} message before is at {}",
                        shown(header.previous),
                        shown(last)
                    );
                    self.fault(FaultKind::Link, at, what);
                }
                let seq = header.msg_seq_num;
                // The message that begins an epoch, a Logon with ResetSeqNumFlag(141) as a rule, comes before the record that opens it.
                let opens_epoch = |(_, later): &(u64, RecordHeader)| {
                    later.kind == Kind::Numbers && later.session == number && later.epoch > epoch
                };
                // A number that our lease skips is no fault; an incoming message that is counted has the very number that was awaited.
                let is_due = if outbound { seq >= next } else { seq == next };
                let is_right = header.epoch > epoch || (header.epoch == epoch && is_due);
                if takes_number && !is_right && (outbound || !behind.iter().any(opens_epoch)) {
                    let what = format!(
                        "session {number}: {way} MsgSeqNum(34) {seq} of epoch {}, where {next} of epoch {epoch} is due",
                        header.epoch
                    );
                    self.fault(FaultKind::Numbers, at, what);
                }
            }
            Some(session) if header.kind == Kind::Numbers => {
                let (epoch, next_out) = (session.epoch, session.next_out);
                let next_out_min =
                    self.moved_from.get(&number).map_or(next_out, |moved_from| next_out.min(*moved_from));
                if let Some(stored) = StoredNumbers::of(payload)
                    && (stored.epoch < epoch || (stored.epoch == epoch && stored.next_out < next_out_min))
                {
                    let what = format!(
                        "session {number}: its numbers went back from {next_out} to {} without a new epoch",
                        stored.next_out
                    );
                    self.fault(FaultKind::Numbers, at, what);
                }
            }
            _ if header.kind == Kind::State => self.state(position, header, payload),
            _ => {}
        }
    }

    /// Leases and times are not compared: they may be stated later than the records from which they follow.
    fn state(&mut self, position: u64, header: &RecordHeader, payload: &[u8]) {
        let Some((stated, _)) = read_head(payload) else { return };
        // A start may continue above the lease: it then states a higher number than the walk's.
        let may_rise = header.incarnation > self.incarnation || self.scan.last_kind == Some(Kind::CleanStop);
        let agrees = |one: &RecoveredSession, walked: &RecoveredSession| {
            let next_out = one.next_out == walked.next_out || (may_rise && one.next_out > walked.next_out);
            let links = one.last_out == walked.last_out && one.last_in == walked.last_in;
            next_out
                && links
                && one.next_in == walked.next_in
                && one.epoch == walked.epoch
                && one.identity == walked.identity
        };
        let walked: Vec<_> = self.scan.sessions.values().cloned().collect();
        if stated.len() != walked.len() {
            let what = format!("the state record has {} sessions, the walk {}", stated.len(), walked.len());
            self.fault(FaultKind::State, Some(position), what);
        }
        for one in &stated {
            let Some(session) = walked.iter().find(|session| session.number == one.number) else { continue };
            if !agrees(one, session) {
                let what = format!(
                    "session {}: the state record says next out {}, next in {}, epoch {}; the records before it say {}, {}, {}",
                    one.number, one.next_out, one.next_in, one.epoch, session.next_out, session.next_in, session.epoch
                );
                self.fault(FaultKind::State, Some(position), what);
            }
        }
    }
}

impl Tally {
    fn count(&mut self, header: &RecordHeader) {
        self.records += 1;
        match header.kind {
            Kind::Pad => {
                self.pads += 1;
                self.pad_bytes += header.padded_bytes();
            }
            Kind::Inbound | Kind::Outbound | Kind::Replay => self.messages += 1,
            _ => {}
        }
        if header.time_ns > 0 {
            self.first_time_ns.get_or_insert(header.time_ns);
            self.last_time_ns = Some(header.time_ns);
        }
    }
}

fn shown(position: u64) -> String {
    if position == super::super::NONE { "none".to_owned() } else { position.to_string() }
}
