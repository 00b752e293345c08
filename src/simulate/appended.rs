//! What one journal was given to keep, commit by commit, held beside it by a witness that trusts none of its marks.
//!
//! The witness sees the bytes when the worker has closed their commit, and knows them by a hash. From then on it can say of the simulated
//! volume itself whether a commit is in the page cache, or on the media. So it judges two things: that what leaves on the wire was as safe
//! as its commit's mode asks ([`Appended::left`]), and that what a recovery finds is the same commits in the same order, up to an end
//! before which lies all that may not be lost ([`Appended::recovered`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use super::node::Crash;
use super::wire::{Left, mix};
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{
    Flusher, Geometry, HEADER_BYTES, Kind, Mode, RecordHeader, RecoveredSession, Rollback, StoredNumbers, flags,
    header_at,
};
use crate::session::Identity;

/// The witness of one journal.
pub struct Appended {
    geometry: Geometry,
    journal: u16,
    /// Of each session that the configuration names, by CompIDs.
    modes: HashMap<(String, String), Mode>,
    /// Messages that are older are not sent again; 0 where all are.
    retention_ns: u64,
    sessions: BTreeMap<u32, Session>,
    numbers: HashMap<(String, String), u32>,
    /// Oldest first. Those that are recycled by now are forgotten.
    commits: VecDeque<Commit>,
    end: u64,
    /// Up to where the commits were found in the page cache, and on the media.
    in_cache: u64,
    on_media: u64,
    /// By mode: the end of the last commit that something was released of.
    released: [u64; 3],
    /// By mode.
    pub releases: [u64; 3],
    /// What left by virtue of a lease on the media.
    pub below_lease: u64,
    pub compared: u64,
    pub count: u64,
    bytes: Vec<u8>,
}

struct Commit {
    start: u64,
    end: u64,
    hash: u64,
    /// What was synced when it was appended.
    synced: u64,
    /// The volume does not have it any more: it was damaged, and a start went on that needs nothing of it.
    is_rotten: bool,
}

#[derive(Default)]
struct Session {
    mode: Mode,
    epoch: u32,
    /// As the records so far state them.
    next_out: u64,
    next_in: u64,
    /// The same at the end of each commit that changed them, oldest first, as far back as a loss can reach.
    numbers: VecDeque<(u64, Numbers)>,
    /// Where a start after a loss goes on, until its first record says so.
    moved_to: Option<u64>,
    /// The end of the commit that defines it.
    defined_end: u64,
    /// Epoch and next number of what has left.
    left: (u32, u64),
    /// What the journal has stated of numbers and is not known to be on the media, oldest first.
    stated: VecDeque<Stated>,
    /// The newest that is.
    durable: Stated,
    /// Records that go on the wire, oldest first.
    sent: VecDeque<Sent>,
    /// Where each message that took a number lies, of this epoch, and when it was stored.
    stored: BTreeMap<u64, (u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    epoch: u32,
    next_out: u64,
    next_in: u64,
}

/// A Numbers record.
#[derive(Clone, Copy, Default)]
struct Stated {
    commit_end: u64,
    epoch: u32,
    lease: u64,
}

#[derive(Clone, Copy)]
struct Sent {
    epoch: u32,
    number: u64,
    crc: u32,
    commit_end: u64,
    mode: Mode,
}

/// What must have survived, by the marks of the engine that died and by what has happened to its machine since.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    appended: u64,
    written: u64,
    synced: u64,
    /// The device refused a sync: of what was only written, the operating system may have forgotten any part.
    sync_failed: bool,
    ring_is_lost: bool,
    must: u64,
    /// The gravest so far.
    worst: Crash,
}

impl Kept {
    pub fn of(flusher: &Flusher<SimulatedStorage>, sync_failed: bool) -> Self {
        let marks = flusher.watermarks();
        let (appended, written, synced) = (marks.appended(), marks.written(), marks.synced());
        Self { appended, written, synced, sync_failed, ring_is_lost: false, must: appended, worst: Crash::Process }
    }

    /// Nothing was there before.
    pub fn nothing() -> Self {
        Self {
            appended: 0,
            written: 0,
            synced: 0,
            sync_failed: false,
            ring_is_lost: false,
            must: 0,
            worst: Crash::Process,
        }
    }

    /// A sync failed. Where the ring is gone, the operating system had the only copy, and may forget it from now on.
    pub fn sync_failed(&mut self) {
        self.sync_failed = true;
        if self.ring_is_lost {
            self.must = self.must.min(self.synced);
        }
    }

    /// What was on stable media when the engine died.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    pub fn appended(&self) -> u64 {
        self.appended
    }

    pub fn ring_is_lost(&self) -> bool {
        self.ring_is_lost
    }

    pub fn after(&mut self, crash: Crash, ring_is_lost: bool) {
        self.worst = self.worst.max(crash);
        self.ring_is_lost |= ring_is_lost;
        self.must = self.must.min(match crash {
            Crash::Node => self.synced,
            _ if !ring_is_lost => self.appended,
            _ if self.sync_failed => self.synced,
            _ => self.written,
        });
    }
}

impl Appended {
    pub fn new(geometry: Geometry, journal: u16, modes: HashMap<(String, String), Mode>, retention_ns: u64) -> Self {
        Self {
            geometry,
            journal,
            modes,
            retention_ns,
            sessions: BTreeMap::new(),
            numbers: HashMap::new(),
            commits: VecDeque::new(),
            end: 0,
            in_cache: 0,
            on_media: 0,
            released: [0; 3],
            releases: [0; 3],
            below_lease: 0,
            compared: 0,
            count: 0,
            bytes: Vec::new(),
        }
    }

    /// The session's number in this journal, once it has one.
    pub fn session(&self, sender: &str, target: &str) -> Option<u32> {
        self.numbers.get(&(sender.to_string(), target.to_string())).copied()
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// Takes down what the worker has appended. To be called before the flusher takes its next turn.
    pub fn witness(&mut self, flusher: &mut Flusher<SimulatedStorage>) {
        let synced = flusher.watermarks().synced();
        let mut bytes = std::mem::take(&mut self.bytes);
        while self.end < flusher.watermarks().appended() {
            bytes.clear();
            bytes.extend_from_slice(flusher.appended_from(self.end));
            assert!(!bytes.is_empty(), "what is appended can be read");
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = self.commit(rest, synced);
                rest = &rest[length..];
            }
        }
        self.bytes = bytes;
        let oldest = self.geometry.oldest_position(self.end);
        if self.commits.front().is_some_and(|commit| commit.start < oldest) {
            for session in self.sessions.values_mut() {
                session.stored.retain(|_, (position, _)| *position >= oldest);
            }
        }
        // A segment that the archive waits for is behind the ring by so much at most.
        let oldest = oldest.saturating_sub(self.geometry.ring_bytes);
        while self.commits.front().is_some_and(|commit| commit.start < oldest) {
            self.commits.pop_front();
        }
    }

    /// The commit that `bytes` begin with. Its length.
    fn commit(&mut self, bytes: &[u8], synced: u64) -> usize {
        let start = self.end;
        let records = records_of(bytes, start).expect("a worker appends whole commits");
        let length: u64 = records.iter().map(RecordHeader::padded_bytes).sum();
        let end = start + length;
        let mut at = 0;
        let mut mode = Mode::Buffered;
        for header in &records {
            let payload = &bytes[at + HEADER_BYTES as usize..];
            mode = mode.max(self.mode_of(header, payload));
            at += header.padded_bytes() as usize;
        }
        let mut at = 0;
        for header in &records {
            let payload = &bytes[at + HEADER_BYTES as usize..];
            let position = start + at as u64;
            at += header.padded_bytes() as usize;
            if header.kind == Kind::Numbers {
                let numbers = StoredNumbers::of(&payload[..header.payload_bytes() as usize]).expect("numbers");
                let session = self.sessions.entry(header.session).or_default();
                let StoredNumbers { epoch, lease, .. } = numbers;
                session.stated.push_back(Stated { commit_end: end, epoch, lease });
            }
            if !matches!(header.kind, Kind::Outbound | Kind::Replay) {
                continue;
            }
            let crc = crc_fast::crc32_iscsi(&payload[..header.payload_bytes() as usize]);
            let session = self.sessions.entry(header.session).or_default();
            if header.kind == Kind::Outbound {
                session.stored.insert(header.msg_seq_num, (position, header.time_ns));
            }
            // Not the session's, which a later record of this commit may have raised.
            let (epoch, number) = (header.epoch, header.msg_seq_num);
            session.sent.push_back(Sent { epoch, number, crc, commit_end: end, mode });
            // One turn may send what it has in the ring and then fill the room.
            while session.sent.front().is_some_and(|sent| sent.commit_end + 2 * self.geometry.ring_bytes < end) {
                session.sent.pop_front();
            }
        }
        let ring_bytes = self.geometry.ring_bytes;
        for session in self.sessions.values_mut() {
            session.note_numbers(end, ring_bytes);
        }
        for header in records.iter().filter(|header| header.kind == Kind::SessionDefined) {
            self.sessions.entry(header.session).or_default().defined_end = end;
        }
        let hash = hash_of(bytes, &records);
        self.commits.push_back(Commit { start, end, hash, synced, is_rotten: false });
        (self.end, self.count) = (end, self.count + 1);
        length as usize
    }

    /// What recovery says of the sessions: their numbers are what the records add up to, and above everything that has left. Where they
    /// were moved, they go on where the next record will find them.
    pub fn go_on(&mut self, sessions: &[RecoveredSession], rollbacks: &[(u32, Rollback)]) {
        for found in sessions {
            let (epoch, lease) = self.stated(found.number);
            assert_eq!(found.epoch, epoch, "session {} is in another epoch than the journal says", found.number);
            assert!(found.lease >= lease, "session {} has lost its lease {lease}: {found:?}", found.number);
            let session = self.sessions.entry(found.number).or_default();
            let rollback = rollbacks.iter().find(|(number, _)| *number == found.number);
            session.moved_to = rollback.map(|_| found.next_out);
            let next_out = rollback.map_or(found.next_out, |(_, rollback)| rollback.lost_from);
            let numbers = Numbers { epoch, next_out, next_in: found.next_in };
            assert_eq!(numbers, session.as_stored(), "session {}: not what its records add up to", found.number);
            let next = (found.epoch, found.next_out);
            assert!(next >= session.left, "session {} goes on at {next:?}, {:?} has left", found.number, session.left);
        }
    }

    /// Of each session `(next_out, next_in)`, as its records and the last start say.
    pub fn numbers(&self) -> impl Iterator<Item = (u32, (u64, u64))> {
        let numbers = |session: &Session| (session.moved_to.unwrap_or(session.next_out), session.next_in);
        self.sessions.iter().map(move |(number, session)| (*number, numbers(session)))
    }

    /// The volume has lost something that no start has needed.
    pub fn has_rot(&self) -> bool {
        self.commits.iter().any(|commit| commit.is_rotten)
    }

    /// Whether something that lies behind the place and was synced proves that the place was synced too.
    pub fn is_proven(&self, place: &Range<u64>, synced: u64) -> bool {
        let proves = |commit: &Commit| commit.start >= place.end && commit.end <= synced && commit.synced >= place.end;
        self.commits.iter().any(proves)
    }

    /// A segment is archived: the copy has the commits that were appended, as far as they are still known.
    pub fn archived(&mut self, segment: u64, copy: &[u8]) {
        let first = segment * self.geometry.segment_bytes;
        let within = first..first + self.geometry.segment_bytes;
        let commits = self.commits.iter().filter(|commit| within.contains(&commit.start) && commit.end <= within.end);
        for Commit { start, end, hash, .. } in commits.filter(|commit| !commit.is_rotten) {
            let bytes = &copy[(start - first) as usize..(end - first) as usize];
            let found = records_of(bytes, *start).map(|records| hash_of(bytes, &records));
            assert!(found == Some(*hash), "archived and not what was appended: {start}..{end}");
        }
    }

    /// The mode that a record asks of its commit: its session's, and `sync` where an epoch begins or numbers are lowered.
    fn mode_of(&mut self, header: &RecordHeader, payload: &[u8]) -> Mode {
        match header.kind {
            Kind::SessionDefined => {
                let identity = Identity::from_bytes(&payload[..header.payload_bytes() as usize]);
                let identity = identity.expect("an engine names its sessions");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let name = (text(&identity.sender_comp_id), text(&identity.target_comp_id));
                let mode = self.modes.get(&name).copied().expect("a session of the configuration");
                let left = self.sessions.get(&header.session).map_or((0, 0), |session| session.left);
                let new = Session { mode, next_out: 1, next_in: 1, left, ..Session::default() };
                self.sessions.insert(header.session, new);
                self.numbers.insert(name, header.session);
                Mode::Buffered
            }
            Kind::Numbers => {
                let numbers = StoredNumbers::of(&payload[..header.payload_bytes() as usize]).expect("numbers");
                let session = self.sessions.entry(header.session).or_default();
                let begins = header.epoch > session.epoch;
                let is_lowered = numbers.next_out < session.next_out;
                (session.epoch, session.next_out, session.next_in) = (header.epoch, numbers.next_out, numbers.next_in);
                if session.left.0 == header.epoch {
                    // By agreement with the peer, see `is_lowered`.
                    session.left.1 = session.left.1.min(numbers.next_out);
                }
                if begins {
                    session.stored.clear();
                }
                if begins || is_lowered { Mode::Sync } else { Mode::Buffered }
            }
            Kind::Outbound => {
                let session = self.sessions.entry(header.session).or_default();
                session.next_out = header.msg_seq_num + 1;
                session.mode
            }
            Kind::Inbound | Kind::Replay => {
                let session = self.sessions.entry(header.session).or_default();
                if header.kind == Kind::Inbound && header.has(flags::COUNTED) {
                    session.next_in = header.msg_seq_num + 1;
                }
                session.mode
            }
            Kind::IncarnationStart | Kind::State => {
                for session in self.sessions.values_mut() {
                    session.next_out = session.moved_to.take().unwrap_or(session.next_out);
                }
                Mode::Buffered
            }
            Kind::Pad | Kind::CleanStop => Mode::Buffered,
        }
    }

    /// A message of this journal left on the wire: its commit, and each before it, is where its mode says. A gap fill stands for no message
    /// of an application that could have been sent again. How many of those that it stands for were too old; the others' segments are recycled.
    pub fn left(&mut self, left: &Left, storage: &SimulatedStorage, now_ns: u64) -> u64 {
        let number = self.session(&left.way.0, &left.way.1).expect("a session of this journal");
        let session = &self.sessions[&number];
        let oldest = self.geometry.oldest_position(self.end);
        let stored = |number: &u64| session.stored.get(number).filter(|(position, _)| *position >= oldest);
        let is_aged = |time_ns: u64| self.retention_ns > 0 && time_ns + self.retention_ns < now_ns;
        let aged = left.covers.iter().filter(|number| stored(number).is_some_and(|(_, time_ns)| is_aged(*time_ns)));
        let aged = aged.count() as u64;
        let is_kept = |number: &&u64| stored(number).is_some_and(|(_, time_ns)| !is_aged(*time_ns));
        let kept = left.covers.iter().find(is_kept);
        let kept = kept.filter(|_| !self.has_rot());
        assert!(kept.is_none(), "a gap fill stands for a message that the journal still has: {kept:?} of {left:?}");
        // Newest first. The same bytes may be there twice: sent again twice within a millisecond.
        let same = |sent: &&Sent| sent.number == left.msg_seq_num && sent.crc == left.crc;
        let sent: Vec<Sent> = session.sent.iter().rev().filter(same).copied().collect();
        assert!(!sent.is_empty(), "{left:?} left and is in no commit");
        let mut missing = None;
        let safe = sent.iter().find(|sent| {
            let gap = match sent.mode {
                Mode::Buffered => None,
                mode => self.not_stored(sent.commit_end, storage, mode),
            };
            missing = missing.or(gap.map(|start| (start, sent.mode)));
            gap.is_none()
        });
        let Some(safe) = safe else {
            panic!("{left:?} left before the commit at (position, mode) {missing:?} was there")
        };
        let safe = *safe;
        assert!(
            self.is_reserved(number, left, &sent, storage),
            "{left:?} left beyond the lease on the media, and is not there itself"
        );
        let released = &mut self.released[safe.mode as usize];
        *released = safe.commit_end.max(*released);
        self.releases[safe.mode as usize] += 1;
        let session = self.sessions.get_mut(&number).expect("looked at");
        session.left = session.left.max((safe.epoch, left.next));
        aged
    }

    /// Whether a loss cannot bring the number again: the media have it, or a lease of its epoch above it.
    fn is_reserved(&mut self, number: u32, left: &Left, sent: &[Sent], storage: &SimulatedStorage) -> bool {
        let epochs: Vec<u32> = sent.iter().map(|sent| sent.epoch).collect();
        let is_below = |lease: Stated| epochs.contains(&lease.epoch) && left.next <= lease.lease;
        if is_below(self.sessions[&number].durable) {
            self.below_lease += 1;
            return true;
        }
        while let Some(stated) = self.sessions[&number].stated.front().copied() {
            if self.not_stored(stated.commit_end, storage, Mode::Sync).is_some() {
                break;
            }
            let session = self.sessions.get_mut(&number).expect("looked at");
            session.stated.pop_front();
            session.durable = stated;
        }
        let is_below = is_below(self.sessions[&number].durable);
        self.below_lease += u64::from(is_below);
        is_below || sent.iter().any(|sent| self.not_stored(sent.commit_end, storage, Mode::Sync).is_none())
    }

    /// Epoch and lease of a session as the journal has stated them last.
    pub fn stated(&self, session: u32) -> (u32, u64) {
        let stated = self.sessions.get(&session).map(|session| *session.stated.back().unwrap_or(&session.durable));
        stated.map_or((0, 0), |stated| (stated.epoch, stated.lease))
    }

    /// The first commit before `to` that is not where the mode says.
    fn not_stored(&mut self, to: u64, storage: &SimulatedStorage, mode: Mode) -> Option<u64> {
        let is_durable = mode == Mode::Sync;
        let from = if is_durable { self.on_media } else { self.in_cache };
        let from = from.max(self.geometry.oldest_position(self.end));
        let first = self.commits.partition_point(|commit| commit.start < from);
        for at in first..self.commits.len() {
            let Commit { start, end, hash, .. } = self.commits[at];
            if end > to {
                break;
            }
            if self.stored_hash(start, end, storage, is_durable) != Some(hash) {
                return Some(start);
            }
        }
        let verified = if is_durable { &mut self.on_media } else { &mut self.in_cache };
        *verified = to.max(*verified);
        None
    }

    /// The hash of what the volume has of `[start, end)`, if that is whole records.
    fn stored_hash(&mut self, start: u64, end: u64, storage: &SimulatedStorage, durable: bool) -> Option<u64> {
        let (slot, offset) = self.geometry.slot(self.journal, start);
        self.bytes.resize((end - start) as usize, 0);
        if durable {
            storage.read_durable(slot, offset, &mut self.bytes);
        } else {
            storage.read_cached(slot, offset, &mut self.bytes);
        }
        let records = records_of(&self.bytes, start)?;
        let length: u64 = records.iter().map(RecordHeader::padded_bytes).sum();
        (length == end - start).then(|| hash_of(&self.bytes, &records))
    }

    /// A recovery has found the journal's end. What lies before it is what was appended, whole commits of it, on the media; and nothing is
    /// beyond it that must have survived. The number of commits that are lost.
    /// What lies in an `excused` place may be different where it was not needed, and not in the
    /// ring.
    pub fn recovered(
        &mut self,
        end: u64,
        kept: &Kept,
        storage: &SimulatedStorage,
        from: u64,
        excused: &[Option<Range<u64>>],
    ) -> u64 {
        let boundary = end == 0 || end == self.end || self.commits.iter().any(|commit| commit.start == end);
        assert!(boundary && end <= self.end, "recovered up to {end}, where no commit of up to {} ends", self.end);
        assert!(end >= kept.must, "recovered up to {end}, {kept:?} must have survived");
        let released = match kept.worst {
            _ if kept.must == kept.appended => self.released.iter().copied().max().unwrap_or(0),
            Crash::Process | Crash::Pod if !kept.sync_failed => self.released[1].max(self.released[2]),
            _ => self.released[Mode::Sync as usize],
        };
        assert!(end >= released, "recovered up to {end}, {released} was released in a mode that keeps it: {kept:?}");
        let mut lost = 0;
        while self.commits.back().is_some_and(|commit| commit.end > end) {
            self.commits.pop_back();
            lost += 1;
        }
        self.end = end;
        self.sessions.retain(|number, session| {
            assert!(session.defined_end <= end || session.left == (0, 0), "session {number} has sent and is lost");
            session.defined_end <= end
        });
        self.numbers.retain(|_, number| self.sessions.contains_key(number));
        for session in self.sessions.values_mut() {
            while session.sent.back().is_some_and(|sent| sent.commit_end > end) {
                session.sent.pop_back();
            }
            session.stored.retain(|_, (position, _)| *position < end);
            session.fall_back(end);
            while session.stated.back().is_some_and(|stated| stated.commit_end > end) {
                session.stated.pop_back();
            }
            session.epoch = session.stated.back().unwrap_or(&session.durable).epoch;
        }
        for released in &mut self.released {
            *released = end.min(*released);
        }
        let from = from.max(self.geometry.oldest_position(end));
        let first = self.commits.partition_point(|commit| commit.start < from);
        for at in first..self.commits.len() {
            let Commit { start, end, hash, is_rotten, .. } = self.commits[at];
            if is_rotten {
                continue;
            }
            let found = self.stored_hash(start, end, storage, true);
            let is_excused = excused.iter().flatten().any(|place| start < place.end && place.start < end);
            if found != Some(hash) && is_excused {
                self.commits[at].is_rotten = true;
                continue;
            }
            assert!(found == Some(hash), "recovered and not the same on the media: {start}..{end}");
            self.compared += 1;
        }
        (self.in_cache, self.on_media) = (end, end);
        lost
    }
}

impl Session {
    fn as_stored(&self) -> Numbers {
        Numbers { epoch: self.epoch, next_out: self.next_out, next_in: self.next_in }
    }

    /// At a commit's end.
    fn note_numbers(&mut self, commit_end: u64, ring_bytes: u64) {
        let numbers = self.as_stored();
        if self.numbers.back().is_none_or(|(_, before)| *before != numbers) {
            self.numbers.push_back((commit_end, numbers));
        }
        // No more than a ring's length is ever lost.
        while self.numbers.get(1).is_some_and(|(at, _)| at + ring_bytes < commit_end) {
            self.numbers.pop_front();
        }
    }

    /// What comes after `end` is lost.
    fn fall_back(&mut self, end: u64) {
        while self.numbers.back().is_some_and(|(at, _)| *at > end) {
            self.numbers.pop_back();
        }
        if let Some((_, numbers)) = self.numbers.back() {
            (self.epoch, self.next_out, self.next_in) = (numbers.epoch, numbers.next_out, numbers.next_in);
        }
        self.moved_to = None;
    }
}

/// The headers of the commit at the beginning of `bytes`. `None` where there is none that is whole.
fn records_of(bytes: &[u8], position: u64) -> Option<Vec<RecordHeader>> {
    let mut records = Vec::new();
    let mut at = 0;
    loop {
        let end = position + bytes.len() as u64;
        let header = header_at(bytes.get(at..)?, position + at as u64, end)?;
        at += header.padded_bytes() as usize;
        records.push(header);
        if header.has(flags::COMMIT_END) {
            return Some(records);
        }
    }
}

/// Of everything that counts: not what lies between records, nor in a Pad.
fn hash_of(bytes: &[u8], records: &[RecordHeader]) -> u64 {
    let mut at = 0;
    records.iter().fold(1, |hash, header| {
        let length = if header.kind == Kind::Pad { HEADER_BYTES as usize } else { header.length as usize };
        let hash = mix(hash, u64::from(crc_fast::crc32_iscsi(&bytes[at..at + length])));
        at += header.padded_bytes() as usize;
        hash
    })
}

#[cfg(test)]
mod tests;
