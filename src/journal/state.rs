//! The payloads that the journal itself defines: numbers, a segment's head, an incarnation's start.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FORMAT_VERSION, FORMAT_VERSION_MIN, NONE};

/// One session as a State record states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState<'a> {
    pub number: u32,
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    /// Reserved upper bound of outgoing MsgSeqNum(34) in this epoch; 0 where none was taken.
    pub lease: u64,
    /// Positions of the newest record in each direction, or [`NONE`].
    pub last_out: u64,
    pub last_in: u64,
    /// When the numbers began: the session's definition, or its last new epoch. In s of Unix time; 0 where that is not known.
    pub began_s: u64,
    /// The next outgoing number is left to the peer: see [`super::flags::NEXT_OUT_FROM_PEER`].
    pub next_out_from_peer: bool,
    /// At most 65,535 bytes. Empty where the session is forgotten: its number stays taken, so that nobody gets its messages.
    pub identity: &'a [u8],
}

/// What a session may have lost with a node, and where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollback {
    pub epoch: u32,
    /// Outgoing numbers from here on may have left, for messages that the journal does not hold.
    pub lost_from: u64,
    /// The first number that cannot have left, with which the session goes on: its lease. Equal to `lost_from` where
    /// nothing can have left that is not stored.
    pub lost_to: u64,
    /// Inbound messages from this number on may have been processed before, and come again.
    pub next_in: u64,
}

/// A session as recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredSession {
    pub number: u32,
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    pub lease: u64,
    pub last_out: u64,
    pub last_in: u64,
    pub began_s: u64,
    /// `next_out` was moved up to the lease after a loss, and the journal has no record of the session since.
    pub rollback: Option<Rollback>,
    pub next_out_from_peer: bool,
    pub identity: Box<[u8]>,
}

/// What a Numbers record says: the numbers at its place in the commit, where they moved otherwise than by one sent or counted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredNumbers {
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    pub lease: u64,
}

/// The head of a segment does not fit; the application's snapshot is too large for this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTooLarge {
    pub bytes: u64,
    pub bytes_max: u64,
}

impl std::fmt::Display for StateTooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sessions and application snapshot need {} bytes at a segment's head, {} is the most (a quarter of persistence.ring_bytes): raise ring_bytes in a new data directory or make the snapshot smaller",
            self.bytes, self.bytes_max
        )
    }
}

impl std::error::Error for StateTooLarge {}

impl RecoveredSession {
    pub fn state(&self) -> SessionState<'_> {
        SessionState {
            number: self.number,
            next_out: self.next_out,
            next_in: self.next_in,
            epoch: self.epoch,
            lease: self.lease,
            last_out: self.last_out,
            last_in: self.last_in,
            began_s: self.began_s,
            next_out_from_peer: self.next_out_from_peer,
            identity: &self.identity,
        }
    }

    /// A session at its beginning.
    pub fn new(number: u32, identity: &[u8]) -> Self {
        Self {
            number,
            next_out: 1,
            next_in: 1,
            epoch: 0,
            lease: 0,
            last_out: NONE,
            last_in: NONE,
            began_s: 0,
            rollback: None,
            next_out_from_peer: false,
            identity: identity.into(),
        }
    }

    /// What is left of a session that the operator has removed: its number and its epoch.
    pub fn forgotten(number: u32, epoch: u32) -> Self {
        Self { epoch, ..Self::new(number, b"") }
    }

    pub fn is_forgotten(&self) -> bool {
        self.identity.is_empty()
    }

    /// After a loss: what left under numbers beyond the journal's end was below the lease. `None` where that is done already.
    pub(super) fn move_to_lease(&mut self) -> Option<Rollback> {
        if self.rollback.is_some() {
            return None;
        }
        let lost_from = self.next_out;
        self.next_out = lost_from.max(self.lease);
        self.rollback = Some(Rollback { epoch: self.epoch, lost_from, lost_to: self.next_out, next_in: self.next_in });
        self.rollback
    }
}

/// "FIXRING" and a NUL.
pub(super) const MAGIC: [u8; 8] = *b"FIXRING\0";

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawNumbers {
    next_out: U64,
    next_in: U64,
    lease: U64,
    epoch: U32,
    spare: U32,
}

/// Payload bytes of a Numbers record.
pub const NUMBERS_BYTES: u64 = size_of::<RawNumbers>() as u64;

impl StoredNumbers {
    pub(super) fn to_bytes(self) -> [u8; NUMBERS_BYTES as usize] {
        let raw = RawNumbers {
            next_out: self.next_out.into(),
            next_in: self.next_in.into(),
            lease: self.lease.into(),
            epoch: self.epoch.into(),
            spare: U32::ZERO,
        };
        zerocopy::transmute!(raw)
    }

    pub fn of(payload: &[u8]) -> Option<Self> {
        let raw = RawNumbers::read_from_bytes(payload).ok()?;
        Some(Self {
            next_out: raw.next_out.get(),
            next_in: raw.next_in.get(),
            epoch: raw.epoch.get(),
            lease: raw.lease.get(),
        })
    }
}

/// Payload of an IncarnationStart: where it starts and how the incarnation before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncarnationStart {
    pub position: u64,
    pub after_clean_stop: bool,
    /// Messages may be lost: each session goes on here with the number at its lease, if that is the higher.
    pub numbers_moved: bool,
    /// The timeline that the incarnation belongs to; zeros where an earlier fixring wrote the record.
    pub timeline: [u8; 16],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStart {
    position: U64,
    after_clean_stop: u8,
    /// Zero, as written before there were leases, is false.
    numbers_moved: u8,
    spare: [u8; 6],
    timeline: [u8; 16],
}

/// Without the timeline, as an earlier fixring wrote it.
const START_BYTES_MIN: usize = std::mem::offset_of!(RawStart, timeline);

pub(super) const START_BYTES: u64 = size_of::<RawStart>() as u64;

impl IncarnationStart {
    pub(super) fn to_bytes(self) -> [u8; START_BYTES as usize] {
        let raw = RawStart {
            position: self.position.into(),
            after_clean_stop: self.after_clean_stop.into(),
            numbers_moved: self.numbers_moved.into(),
            spare: [0; 6],
            timeline: self.timeline,
        };
        zerocopy::transmute!(raw)
    }

    pub fn of(payload: &[u8]) -> Option<Self> {
        let mut whole = [0; size_of::<RawStart>()];
        if payload.len() != START_BYTES_MIN && payload.len() != whole.len() {
            return None;
        }
        whole[..payload.len()].copy_from_slice(payload);
        let raw: RawStart = zerocopy::transmute!(whole);
        Some(Self {
            timeline: raw.timeline,
            position: raw.position.get(),
            after_clean_stop: raw.after_clean_stop != 0,
            numbers_moved: raw.numbers_moved != 0,
        })
    }
}

/// Whose segment it is. Compared with the manifest, so that a foreign or misplaced file is never taken for ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadIdentity {
    pub uuid: [u8; 16],
    pub journal: u16,
    pub segment: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHead {
    magic: [u8; 8],
    format_version: U32,
    journal: U16,
    spare: U16,
    uuid: [u8; 16],
    segment: U64,
    sessions: U32,
    /// The first bytes of the timeline's name; zeros, as an earlier fixring wrote them, name none.
    timeline: [u8; 4],
    snapshot_bytes: U64,
}

/// A head without sessions and snapshot.
pub(super) const HEAD_BYTES: u64 = size_of::<RawHead>() as u64;

impl SessionState<'_> {
    /// What a session with an identity of this length takes in a segment's head.
    pub const fn bytes(identity_bytes: usize) -> u64 {
        size_of::<RawSession>() as u64 + identity_bytes as u64
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSession {
    next_out: U64,
    next_in: U64,
    lease: U64,
    last_out: U64,
    last_in: U64,
    number: U32,
    epoch: U32,
    identity_bytes: U16,
    /// Seconds of Unix time, for 34,000 years. Zero, as written before this was, is not known.
    began_s: [u8; 5],
    /// [`FROM_PEER`]; zero, as written before this was, for the others.
    flags: u8,
}

/// In a session's entry: its next outgoing number is left to its peer.
const FROM_PEER: u8 = 1;

/// A State payload, written into `buffer` in one pass. The answer is its length, also where it is longer than the buffer: then nothing of
/// it may be used.
pub(super) fn write_head<'a>(
    buffer: &mut [u8],
    identity: HeadIdentity,
    timeline: [u8; 16],
    sessions: impl Iterator<Item = SessionState<'a>>,
    snapshot: &[u8],
) -> usize {
    let mut at = size_of::<RawHead>();
    let mut count = 0_u32;
    let mut put = |at: &mut usize, bytes: &[u8]| {
        if let Some(target) = buffer.get_mut(*at..*at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        *at += bytes.len();
    };
    for session in sessions {
        let identity_bytes = u16::try_from(session.identity.len()).expect("an identity is shorter than 64 KiB");
        let raw = RawSession {
            next_out: session.next_out.into(),
            next_in: session.next_in.into(),
            lease: session.lease.into(),
            last_out: session.last_out.into(),
            last_in: session.last_in.into(),
            number: session.number.into(),
            epoch: session.epoch.into(),
            identity_bytes: identity_bytes.into(),
            began_s: five_bytes_of(session.began_s),
            flags: if session.next_out_from_peer { FROM_PEER } else { 0 },
        };
        put(&mut at, raw.as_bytes());
        put(&mut at, session.identity);
        count += 1;
    }
    put(&mut at, snapshot);
    let head = RawHead {
        magic: MAGIC,
        format_version: FORMAT_VERSION.into(),
        journal: identity.journal.into(),
        spare: U16::ZERO,
        uuid: identity.uuid,
        segment: identity.segment.into(),
        sessions: count.into(),
        timeline: timeline_tag(timeline),
        snapshot_bytes: (snapshot.len() as u64).into(),
    };
    put(&mut 0, head.as_bytes());
    at
}

/// Whose head a State payload is, and of which format version.
pub(super) fn head_identity(payload: &[u8]) -> Option<(HeadIdentity, u32)> {
    let (head, _) = RawHead::read_from_prefix(payload).ok()?;
    let identity = HeadIdentity { uuid: head.uuid, journal: head.journal.get(), segment: head.segment.get() };
    (head.magic == MAGIC).then_some((identity, head.format_version.get()))
}

/// What a head has of its timeline's name.
pub(super) fn timeline_tag([a, b, c, d, ..]: [u8; 16]) -> [u8; 4] {
    [a, b, c, d]
}

/// The same of a State payload; `None` where it names no timeline.
pub(super) fn head_timeline(payload: &[u8]) -> Option<[u8; 4]> {
    let (head, _) = RawHead::read_from_prefix(payload).ok()?;
    (head.magic == MAGIC && head.timeline != [0; 4]).then_some(head.timeline)
}

/// The sessions and the snapshot of a State payload; `None` where it is not one of this version in full.
pub(super) fn read_head(payload: &[u8]) -> Option<(Vec<RecoveredSession>, &[u8])> {
    let (head, mut rest) = RawHead::read_from_prefix(payload).ok()?;
    if head.magic != MAGIC || !(FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&head.format_version.get()) {
        return None;
    }
    let mut sessions = Vec::new();
    for _ in 0..head.sessions.get() {
        let (raw, after) = RawSession::read_from_prefix(rest).ok()?;
        let (identity, after) = after.split_at_checked(usize::from(raw.identity_bytes.get()))?;
        rest = after;
        sessions.push(RecoveredSession {
            number: raw.number.get(),
            next_out: raw.next_out.get(),
            next_in: raw.next_in.get(),
            epoch: raw.epoch.get(),
            lease: raw.lease.get(),
            last_out: raw.last_out.get(),
            last_in: raw.last_in.get(),
            began_s: of_five_bytes(raw.began_s),
            rollback: None,
            next_out_from_peer: raw.flags & FROM_PEER != 0,
            identity: identity.into(),
        });
    }
    (rest.len() as u64 == head.snapshot_bytes.get()).then_some((sessions, rest))
}

fn five_bytes_of(seconds: u64) -> [u8; 5] {
    let [a, b, c, d, e, ..] = seconds.to_le_bytes();
    [a, b, c, d, e]
}

fn of_five_bytes([a, b, c, d, e]: [u8; 5]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: HeadIdentity = HeadIdentity { uuid: [9; 16], journal: 2, segment: 77 };
    const TIMELINE: [u8; 16] = [7; 16];

    #[test]
    fn a_head_comes_back_as_it_was_written() {
        let session = RecoveredSession {
            next_out: 9,
            next_in: 4,
            epoch: 1,
            lease: 64,
            last_out: 128,
            last_in: NONE,
            began_s: 1_767_571_200,
            next_out_from_peer: true,
            ..RecoveredSession::new(3, b"FIX.4.4")
        };
        let mut buffer = [0; 512];
        let length = write_head(&mut buffer, IDENTITY, TIMELINE, std::iter::once(session.state()), b"snapshot");
        assert_eq!(head_identity(&buffer[..length]), Some((IDENTITY, FORMAT_VERSION)));
        assert_eq!(head_timeline(&buffer[..length]), Some([7; 4]));
        let (sessions, snapshot) = read_head(&buffer[..length]).unwrap();
        assert_eq!(sessions, [session]);
        assert_eq!(snapshot, b"snapshot");
        for shorter in 0..length {
            assert!(read_head(&buffer[..shorter]).is_none());
        }
    }

    #[test]
    fn a_head_too_long_for_its_buffer_says_how_long_it_is() {
        let mut buffer = [0; 64];
        let sessions = || {
            (0..10).map(|number| SessionState {
                number,
                next_out: 1,
                next_in: 1,
                epoch: 0,
                lease: 0,
                last_out: NONE,
                last_in: NONE,
                began_s: 0,
                next_out_from_peer: false,
                identity: b"id",
            })
        };
        let length = write_head(&mut buffer, IDENTITY, TIMELINE, sessions(), b"");
        let mut enough = vec![0; length];
        assert_eq!(write_head(&mut enough, IDENTITY, TIMELINE, sessions(), b""), length);
        assert_eq!(read_head(&enough).unwrap().0.len(), 10);
    }

    #[test]
    fn numbers_and_starts_come_back() {
        let numbers = StoredNumbers { next_out: 5, next_in: 6, epoch: 7, lease: 8 };
        assert_eq!(StoredNumbers::of(&numbers.to_bytes()), Some(numbers));
        for (after_clean_stop, numbers_moved) in [(true, false), (false, true)] {
            let start = IncarnationStart { position: 640, after_clean_stop, numbers_moved, timeline: TIMELINE };
            assert_eq!(IncarnationStart::of(&start.to_bytes()), Some(start));
            let before = IncarnationStart { timeline: [0; 16], ..start };
            assert_eq!(IncarnationStart::of(&start.to_bytes()[..START_BYTES_MIN]), Some(before));
        }
    }

    #[test]
    fn a_session_moves_to_its_lease_once_and_never_down() {
        let mut session = RecoveredSession { next_out: 9, lease: 64, epoch: 2, ..RecoveredSession::new(0, b"id") };
        let rollback = Rollback { epoch: 2, lost_from: 9, lost_to: 64, next_in: 1 };
        assert_eq!((session.move_to_lease(), session.next_out), (Some(rollback), 64));
        assert_eq!((session.move_to_lease(), session.next_out), (None, 64));
        for lease in [0, 9] {
            let mut session = RecoveredSession { next_out: 9, lease, ..RecoveredSession::new(0, b"id") };
            assert_eq!(session.move_to_lease().map(|moved| (moved.lost_from, moved.lost_to)), Some((9, 9)));
        }
    }
}
