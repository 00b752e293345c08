//! The worker's pen: appends records to the ring and closes commits.
//!
//! A commit never straddles the end of the ring: where it might, [`Writer::begin`] pads up to the boundary first. So a commit is one
//! contiguous slice of memory, a record's free space is known before it is filled, and a wrap costs at most one `bytes_max` a lap.
//! Nothing here allocates, makes a system call or waits.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{U16, U32, U64};

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::sys::prefetch;
use crate::sys::ring::{RingWriter, Watermarks};

use super::record::{COVERED_OFFSET, CRC_OFFSET, FLAGS_OFFSET, RawHeader, align, header_at, record_bytes, record_crc};
use super::state::{HeadIdentity, IncarnationStart, START_BYTES, StateTooLarge, write_head};
use super::wanted::Wanted;
use super::{
    Geometry, HEADER_BYTES, Kind, Mode, NONE, Origin, RECORD_ALIGN, RecordHeader, SessionState, StoredNumbers, flags,
};

/// How far before the tail its cache lines are asked for: a message in and its answer, with their headers.
const WARM_BYTES: u64 = 1_024;

/// Owns the tail of one journal.
pub struct Writer {
    ring: RingWriter,
    geometry: Geometry,
    identity: HeadIdentity,
    timeline: [u8; 16],
    incarnation: u32,
    message_bytes_max: u64,
    /// Where the open commit begins, or the next one will.
    commit_start: u64,
    /// Where the next record goes.
    tail: u64,
    /// Where the open commit's room ends; equals `commit_start` when none is open.
    reserve_end: u64,
    /// The newest record of the open commit.
    last_record: u64,
    /// What was synced when the open commit was begun: its records say so.
    synced: u64,
    /// The cache lines before this have been asked for.
    warmed: u64,
    /// What lies before this was written by an earlier process and is not in the ring.
    start: u64,
    /// The highest end of room ever given out: bytes a ring's length before it may be overwritten.
    dirty_end: u64,
    /// Where room ends, however much of the ring is synced; see [`Writer::keep_from`].
    kept_end: u64,
    /// The end of the segment that has its head; 0 before the first.
    headed_end: u64,
    /// The previous incarnation's end, until our IncarnationStart is written.
    pending_start: Option<IncarnationStart>,
    /// By position in the ring, in steps of RECORD_ALIGN.
    sends: Box<[Send]>,
    /// Links of the open commit, from each to its next. They hold only once it is committed.
    links: Vec<(u64, u64)>,
    wanted: Arc<CachePadded<Wanted>>,
}

/// Answer of [`Writer::begin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Ready,
    /// The commit would not fit this segment: call [`Writer::roll`], then begin again.
    RollDue,
    /// The volume lags by a whole ring. Nothing was begun; try again when `synced` has moved.
    Full,
}

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord {
    pub kind: Kind,
    pub session: u32,
    pub msg_seq_num: u64,
    pub time_ns: u64,
    pub epoch: u32,
    /// The session's previous record in this direction, or [`NONE`].
    pub previous: u64,
    pub origin: Option<Origin>,
    /// Of the kinds that go on the wire ([`Kind::Outbound`], [`Kind::Replay`]): the record appended before it for the same
    /// connection, so that [`Writer::next_send`] of that one answers this one.
    pub sent_after: Option<u64>,
    /// [`flags::SECRET_BLANKED`] where it applies; the others are set by the writer.
    pub flags: u8,
}

/// Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The record would go beyond what was reserved with [`Writer::begin`]: back-pressure.
    Full,
    /// It is longer than a message may be.
    Overflow,
}

/// Answer of [`Writer::sendable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sendable<'a> {
    /// The payload, which may leave.
    Payload(&'a [u8]),
    /// Its commit is not as durable yet as its mode demands.
    Held,
    /// The ring has overwritten it.
    Gone,
}

/// What a connection that sends from the ring needs to know of a record.
#[derive(Clone, Copy, Default)]
struct Send {
    /// To the next record for the same connection, in steps of RECORD_ALIGN; 0 where there is none.
    next: u32,
    /// To the end of the commit, in steps of RECORD_ALIGN, times four, plus the mode.
    release: u32,
}

impl Writer {
    /// Opens a commit of at most `bytes_max` bytes of records ([`record_bytes`] of each payload).
    ///
    /// # Panics
    /// When a commit is open, or `bytes_max` is more than a quarter of the ring.
    #[inline]
    pub fn begin(&mut self, bytes_max: u32) -> Room {
        assert!(!self.is_open(), "one commit at a time");
        let bytes_max = align(u64::from(bytes_max));
        assert!(bytes_max <= self.geometry.commit_bytes_max(), "a commit is at most a quarter of the ring");
        if self.pending_start.is_some() || self.tail >= self.headed_end {
            match self.start_incarnation() {
                Room::Ready => {}
                other => return other,
            }
        }
        // Of several commits in a row each asks for the lines of the one after the next.
        if self.warmed < self.tail + WARM_BYTES / 2 {
            self.warm();
        }
        self.reserve(bytes_max)
    }

    /// Ends the segment and opens the next with its head: every session's state and the application's snapshot.
    /// `false` when the ring has no room now.
    ///
    /// # Panics
    /// When a commit is open.
    pub fn roll<'a>(
        &mut self,
        sessions: impl Iterator<Item = SessionState<'a>>,
        snapshot: &[u8],
    ) -> Result<bool, StateTooLarge> {
        assert!(!self.is_open(), "a segment ends between commits");
        let segment_bytes = self.geometry.segment_bytes;
        let bytes_max = self.geometry.commit_bytes_max();
        // The tail may already be at the boundary of a segment without a head.
        let head = self.tail.next_multiple_of(segment_bytes);
        if !self.has_room(head + bytes_max) && !self.pad_as_room_allows(head, bytes_max) {
            return Ok(false);
        }
        while self.tail < head {
            self.pad_lap();
        }
        let identity = HeadIdentity { segment: head / segment_bytes, ..self.identity };
        self.open(bytes_max);
        let space = self.ring.mutable(head + HEADER_BYTES, bytes_max - HEADER_BYTES);
        let payload_bytes = write_head(space, identity, self.timeline, sessions, snapshot) as u64;
        if payload_bytes > bytes_max - HEADER_BYTES {
            self.abandon();
            return Err(StateTooLarge { bytes: payload_bytes + HEADER_BYTES, bytes_max });
        }
        self.put_header(&NewRecord::internal(Kind::State, 0), payload_bytes);
        self.commit(Mode::Buffered);
        self.headed_end = head + segment_bytes;
        Ok(true)
    }

    /// Appends one record to the open commit. `fill` gets the free space for its payload, of the length that a message may have or of what
    /// is left of the commit, and answers the length that it wrote. The answer is the record's position.
    ///
    /// # Panics
    /// When no commit is open.
    #[inline]
    pub fn append<E>(
        &mut self,
        new: NewRecord,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<u64, AppendError> {
        assert!(self.is_open(), "a record is appended to an open commit");
        let position = self.tail;
        let unsynced_steps = self.unsynced_steps(position);
        let left = self.reserve_end - position;
        if left < HEADER_BYTES {
            return Err(AppendError::Full);
        }
        let space_bytes = (left - HEADER_BYTES).min(self.message_bytes_max);
        let record = self.ring.mutable(position, HEADER_BYTES + space_bytes);
        let (header, space) = record.split_at_mut(HEADER_BYTES as usize);
        let Ok(payload_bytes) = fill(space) else {
            return Err(if space_bytes == self.message_bytes_max { AppendError::Overflow } else { AppendError::Full });
        };
        assert!(payload_bytes as u64 <= space_bytes, "the payload is within the space that was given");
        let length = HEADER_BYTES + payload_bytes as u64;
        let raw = new.to_raw(length, self.incarnation, position - self.commit_start, unsynced_steps);
        header.copy_from_slice(raw.as_bytes());
        self.last_record = position;
        self.tail = position + align(length);
        if let Some(previous) = new.sent_after {
            self.links.push((previous, position));
        }
        Ok(position)
    }

    /// [`Writer::append`] of bytes that exist already.
    #[inline]
    pub fn append_bytes(&mut self, new: NewRecord, payload: &[u8]) -> Result<u64, AppendError> {
        self.append(new, |space| match space.get_mut(..payload.len()) {
            Some(target) => {
                target.copy_from_slice(payload);
                Ok(payload.len())
            }
            None => Err(()),
        })
    }

    /// States a session's numbers as they are at this place in the commit; what follows in it moves them on.
    pub fn append_numbers(&mut self, session: u32, time_ns: u64, numbers: StoredNumbers) -> Result<u64, AppendError> {
        self.append_flagged_numbers(session, time_ns, numbers, 0)
    }

    /// The same, with [`flags::NEXT_OUT_FROM_PEER`] where it applies.
    pub fn append_flagged_numbers(
        &mut self,
        session: u32,
        time_ns: u64,
        numbers: StoredNumbers,
        flags: u8,
    ) -> Result<u64, AppendError> {
        let new = NewRecord { session, epoch: numbers.epoch, flags, ..NewRecord::internal(Kind::Numbers, time_ns) };
        self.append_bytes(new, &numbers.to_bytes())
    }

    /// Binds a session's number to its identity. Before the session's first record.
    pub fn append_session_defined(&mut self, session: u32, time_ns: u64, identity: &[u8]) -> Result<u64, AppendError> {
        self.append_bytes(NewRecord { session, ..NewRecord::internal(Kind::SessionDefined, time_ns) }, identity)
    }

    /// The inbound record's MsgSeqNum(34) is used up.
    ///
    /// # Panics
    /// When the record is not of the open commit.
    #[inline]
    pub fn mark_counted(&mut self, position: u64) {
        self.set_flag(position, flags::COUNTED);
    }

    /// The application saw the inbound record.
    ///
    /// # Panics
    /// When the record is not of the open commit.
    #[inline]
    pub fn mark_delivered(&mut self, position: u64) {
        self.set_flag(position, flags::DELIVERED);
    }

    /// The record's payload has stars in the places of secrets.
    ///
    /// # Panics
    /// When the record is not of the open commit.
    pub fn mark_secret_blanked(&mut self, position: u64) {
        self.set_flag(position, flags::SECRET_BLANKED);
    }

    /// Closes the commit: it is whole in the ring from here on. Its records are released when [`Writer::watermark`] of `mode` reaches
    /// the answer. A commit without a record leaves nothing.
    #[inline]
    pub fn commit(&mut self, mode: Mode) -> u64 {
        let (start, end) = (self.commit_start, self.tail);
        self.reserve_end = end;
        if start == end {
            return end;
        }
        let records = self.ring.mutable(start, end - start);
        let last = (self.last_record - start) as usize;
        records[last + FLAGS_OFFSET] |= flags::COMMIT_END;
        let mut at = 0;
        while at < records.len() {
            let record = &mut records[at..];
            let length = u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize;
            let position = start + at as u64;
            let kind = record[COVERED_OFFSET];
            let covered = if kind == Kind::Pad as u8 { HEADER_BYTES as usize } else { length };
            let crc = record_crc(position, length as u64, &record[..covered]);
            record[CRC_OFFSET..COVERED_OFFSET].copy_from_slice(&crc.to_le_bytes());
            if kind == Kind::Outbound as u8 || kind == Kind::Replay as u8 {
                let steps = ((end - position) / RECORD_ALIGN) as u32;
                let index = (position & (self.geometry.ring_bytes - 1)) / RECORD_ALIGN;
                self.sends[index as usize] = Send { next: 0, release: steps << 2 | mode as u32 };
            }
            at += align(length as u64) as usize;
        }
        self.ring.publish(end);
        self.link();
        self.commit_start = end;
        if mode != Mode::Buffered {
            self.wanted.raise(end);
        }
        end
    }

    /// Drops the open commit, if one is open. Its bytes are overwritten by the next.
    pub fn abandon(&mut self) {
        self.tail = self.commit_start;
        self.reserve_end = self.commit_start;
        self.links.clear();
    }

    /// The last commit before the process ends in order. As with [`Writer::begin`], anything but `Ready` means that it was not written.
    pub fn clean_stop(&mut self, time_ns: u64) -> Room {
        let room = self.begin(HEADER_BYTES as u32);
        if room == Room::Ready {
            self.put_header(&NewRecord::internal(Kind::CleanStop, time_ns), 0);
            self.commit(Mode::Sync);
        }
        room
    }

    /// How far commits of this mode are released.
    #[inline]
    pub fn watermark(&self, mode: Mode) -> u64 {
        match mode {
            Mode::Buffered => self.ring.appended(),
            Mode::Flush => self.ring.written(),
            Mode::Sync => self.ring.synced(),
        }
    }

    /// Nothing from this position on is overwritten until the next call says otherwise: where there is no room without it, [`Room::Full`] is answered.
    #[inline]
    pub fn keep_from(&mut self, position: u64) {
        self.kept_end = position + self.geometry.ring_bytes;
    }

    /// Where the next record goes.
    #[inline]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// The end of the last commit.
    #[inline]
    pub fn appended(&self) -> u64 {
        self.ring.appended()
    }

    /// Whether a record at this position can still be read here. Of positions that this process wrote.
    #[inline]
    pub fn is_in_ring(&self, position: u64) -> bool {
        position >= self.start && position < self.tail && position + self.geometry.ring_bytes >= self.dirty_end
    }

    /// The payload of a record in the ring.
    ///
    /// # Panics
    /// When it [is not](Writer::is_in_ring).
    #[inline]
    pub fn payload(&self, position: u64) -> &[u8] {
        let length = u64::from(self.header(position).length);
        self.ring.read(position + HEADER_BYTES, length - HEADER_BYTES)
    }

    /// The header of a record in the ring.
    ///
    /// # Panics
    /// When it [is not](Writer::is_in_ring).
    #[inline]
    pub fn header(&self, position: u64) -> RecordHeader {
        assert!(self.is_in_ring(position), "the record is in the ring");
        let bytes = self.ring.read(position, HEADER_BYTES);
        header_at(bytes, position, self.tail).expect("a record begins at this position")
    }

    /// The next committed record for the connection that `position` was appended for.
    /// `None` also when `position` is no longer in the ring.
    #[inline]
    pub fn next_send(&self, position: u64) -> Option<u64> {
        if !self.is_in_ring(position) || position >= self.ring.appended() {
            return None;
        }
        let steps = u64::from(self.sends[self.index(position)].next);
        (steps != 0).then_some(position + steps * RECORD_ALIGN)
    }

    /// Whether a committed [`Kind::Outbound`] or [`Kind::Replay`] record in the ring may leave: its commit's mode holds for the whole commit.
    #[inline]
    pub fn released(&self, position: u64) -> bool {
        if !self.is_in_ring(position) || position >= self.ring.appended() {
            return false;
        }
        let release = self.sends[self.index(position)].release;
        let mode = match release & 3 {
            0 => Mode::Buffered,
            1 => Mode::Flush,
            _ => Mode::Sync,
        };
        self.watermark(mode) >= position + u64::from(release >> 2) * RECORD_ALIGN
    }

    /// The payload of a [`Kind::Outbound`] or [`Kind::Replay`] record that this process has committed, if it may leave.
    #[inline]
    pub fn sendable(&self, position: u64) -> Sendable<'_> {
        if !self.is_in_ring(position) {
            return Sendable::Gone;
        }
        if !self.released(position) {
            return Sendable::Held;
        }
        // A length of ours, committed: it needs no check but that of the memory's end.
        let length =
            self.ring.read(position, RECORD_ALIGN).first_chunk::<4>().map_or(0, |raw| u32::from_le_bytes(*raw));
        Sendable::Payload(self.ring.read(position + HEADER_BYTES, u64::from(length).saturating_sub(HEADER_BYTES)))
    }

    /// Asks for the cache lines that the next commit will write. They were written a lap ago, and the ring is larger than any cache: an
    /// append that meets them cold waits for memory line by line. For the moment when nobody waits for the worker.
    #[inline]
    pub fn warm(&mut self) {
        let end = self.lap_end().min(self.tail + WARM_BYTES);
        let mut position = self.warmed.max(self.tail) & !(RECORD_ALIGN - 1);
        if position < end {
            prefetch::for_write(&self.sends[self.index(position)]);
            prefetch::for_write(&self.sends[self.index(end - RECORD_ALIGN)]);
        }
        while position < end {
            self.ring.prefetch(position);
            position += RECORD_ALIGN;
        }
        self.warmed = position;
    }

    /// Another process owns the ring: nothing of what is in it is ours to release any more.
    #[inline]
    pub fn is_fenced(&self) -> bool {
        self.ring.owner() != u64::from(self.incarnation)
    }

    pub fn watermarks(&self) -> Watermarks {
        self.ring.watermarks()
    }

    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }
}

/// What recovery hands to a new writer.
pub(super) struct Resume {
    pub geometry: Geometry,
    pub uuid: [u8; 16],
    pub timeline: [u8; 16],
    pub journal: u16,
    pub incarnation: u32,
    pub message_bytes_max: u32,
    /// The segment whose head recovery read; `NONE` in an empty journal.
    pub headed_segment: u64,
    pub after_clean_stop: bool,
    pub numbers_moved: bool,
}

/// What a writer's table of sends takes.
pub(super) fn sends_bytes(geometry: Geometry) -> u64 {
    geometry.ring_bytes / RECORD_ALIGN * size_of::<Send>() as u64
}

impl Writer {
    pub(super) fn new(ring: RingWriter, resume: &Resume, wanted: Arc<CachePadded<Wanted>>) -> Self {
        let start = ring.appended();
        let slots = (resume.geometry.ring_bytes / RECORD_ALIGN) as usize;
        // Written, not only reserved: a page of the table must not be faulted in by an append.
        let sends = (0..slots).map(|_| Send { next: 0, release: u32::MAX }).collect();
        let links_max = (resume.geometry.commit_bytes_max() / RECORD_ALIGN) as usize;
        Self {
            ring,
            geometry: resume.geometry,
            identity: HeadIdentity { uuid: resume.uuid, journal: resume.journal, segment: 0 },
            timeline: resume.timeline,
            incarnation: resume.incarnation,
            message_bytes_max: u64::from(resume.message_bytes_max),
            commit_start: start,
            tail: start,
            reserve_end: start,
            last_record: start,
            synced: start,
            warmed: start,
            start,
            dirty_end: start,
            kept_end: u64::MAX,
            headed_end: match resume.headed_segment {
                NONE => 0,
                segment => (segment + 1) * resume.geometry.segment_bytes,
            },
            pending_start: Some(IncarnationStart {
                position: start,
                after_clean_stop: resume.after_clean_stop,
                numbers_moved: resume.numbers_moved,
                timeline: resume.timeline,
            }),
            sends,
            links: Vec::with_capacity(links_max),
            wanted,
        }
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.reserve_end != self.commit_start
    }

    #[inline]
    fn has_room(&mut self, end: u64) -> bool {
        end <= self.kept_end && self.ring.has_room(end)
    }

    #[inline]
    fn index(&self, position: u64) -> usize {
        ((position & (self.geometry.ring_bytes - 1)) / RECORD_ALIGN) as usize
    }

    /// Room for a commit that lies in one lap of the ring and in this segment.
    #[inline]
    fn reserve(&mut self, bytes_max: u64) -> Room {
        let lap_end = self.lap_end();
        if self.tail + bytes_max > lap_end {
            if lap_end.is_multiple_of(self.geometry.segment_bytes) {
                return Room::RollDue;
            }
            if !self.has_room(lap_end + bytes_max) {
                return Room::Full;
            }
            self.pad_lap();
        }
        if !self.has_room(self.tail + bytes_max) {
            return Room::Full;
        }
        self.open(bytes_max);
        Room::Ready
    }

    #[inline]
    fn open(&mut self, bytes_max: u64) {
        self.commit_start = self.tail;
        self.synced = self.ring.synced();
        self.reserve_end = self.tail + bytes_max;
        self.dirty_end = self.dirty_end.max(self.reserve_end);
    }

    /// The end of the lap of the ring that the tail is in.
    #[inline]
    fn lap_end(&self) -> u64 {
        (self.tail | (self.geometry.ring_bytes - 1)) + 1
    }

    /// The first commit of this incarnation, once the segment that it falls in has its head.
    #[cold]
    fn start_incarnation(&mut self) -> Room {
        if self.tail >= self.headed_end {
            return Room::RollDue;
        }
        let Some(start) = self.pending_start else {
            return Room::Ready;
        };
        match self.reserve(record_bytes(START_BYTES)) {
            Room::Ready => {}
            other => return other,
        }
        let payload = start.to_bytes();
        self.append_bytes(NewRecord::internal(Kind::IncarnationStart, 0), &payload).expect("its room is reserved");
        // Nothing of the incarnation leaves before this is on stable media (`Ledger::start`): where recovery does not find it,
        // nothing has left.
        self.commit(Mode::Sync);
        self.pending_start = None;
        Room::Ready
    }

    /// A Pad of its own commit, up to the end of the lap.
    fn pad_lap(&mut self) {
        let room = self.lap_end() - self.tail;
        self.open(room);
        self.put_header(&NewRecord::internal(Kind::Pad, 0), room - HEADER_BYTES);
        self.commit(Mode::Buffered);
    }

    /// Pads as many laps before the segment's end as there is room for. Whether `bytes_max` has room behind them.
    ///
    /// Only a segment that is left early is more than one lap long here; its pads are synced lap by lap.
    fn pad_as_room_allows(&mut self, head: u64, bytes_max: u64) -> bool {
        while self.tail < head {
            let lap_end = self.lap_end();
            if !self.has_room(lap_end) {
                return false;
            }
            self.pad_lap();
        }
        self.has_room(head + bytes_max)
    }

    #[inline]
    fn put_header(&mut self, new: &NewRecord, payload_bytes: u64) {
        let position = self.tail;
        let length = HEADER_BYTES + payload_bytes;
        let raw = new.to_raw(length, self.incarnation, position - self.commit_start, self.unsynced_steps(position));
        self.ring.mutable(position, HEADER_BYTES).copy_from_slice(raw.as_bytes());
        self.last_record = position;
        self.tail = position + align(length);
    }

    /// What a record at `position` says of `synced`. A mark beyond our own can only be a foreign write to the ring's header page.
    #[inline]
    fn unsynced_steps(&self, position: u64) -> u32 {
        u32::try_from(position.saturating_sub(self.synced) / RECORD_ALIGN).map_or(0, |steps| steps.wrapping_add(1))
    }

    #[inline]
    fn set_flag(&mut self, position: u64, flag: u8) {
        assert!(position >= self.commit_start && position < self.tail, "a record of the open commit");
        self.ring.mutable(position, HEADER_BYTES)[FLAGS_OFFSET] |= flag;
    }

    fn link(&mut self) {
        for at in 0..self.links.len() {
            let (from, to) = self.links[at];
            if self.is_in_ring(from) {
                let index = self.index(from);
                self.sends[index].next = ((to - from) / RECORD_ALIGN) as u32;
            }
        }
        self.links.clear();
    }
}

impl NewRecord {
    #[inline]
    fn to_raw(self, length: u64, incarnation: u32, commit_offset: u64, unsynced_steps: u32) -> RawHeader {
        RawHeader {
            length: U32::new(length as u32),
            crc32c: U32::ZERO,
            kind: self.kind as u8,
            flags: self.flags,
            origin_journal: U16::new(self.origin.map_or(0, |origin| origin.journal)),
            session: U32::new(self.session),
            msg_seq_num: U64::new(self.msg_seq_num),
            time_ns: U64::new(self.time_ns),
            previous: U64::new(self.previous),
            origin_position: U64::new(self.origin.map_or(NONE, |origin| origin.position)),
            incarnation: U32::new(incarnation),
            epoch: U32::new(self.epoch),
            commit_offset: U32::new(commit_offset as u32),
            unsynced_steps: U32::new(unsynced_steps),
        }
    }

    /// A record of no session and no chain. For struct update syntax, too.
    pub fn internal(kind: Kind, time_ns: u64) -> Self {
        Self {
            kind,
            session: 0,
            msg_seq_num: 0,
            time_ns,
            epoch: 0,
            previous: NONE,
            origin: None,
            sent_after: None,
            flags: 0,
        }
    }
}

#[cfg(test)]
mod tests;
