//! One record: its header on the ring and on the volume, and the checks that any byte of it must pass.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// No position: the end of a chain of links, or a record without an origin.
pub const NONE: u64 = u64::MAX;
/// Records begin at multiples of this.
pub const RECORD_ALIGN: u64 = 64;
/// Bytes of a record's header; the payload follows.
pub const HEADER_BYTES: u64 = size_of::<RawHeader>() as u64;

/// The header as it is stored. The diagram is in the module header of [`crate::journal`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub length: U32,
    pub crc32c: U32,
    pub kind: u8,
    pub flags: u8,
    pub origin_journal: U16,
    pub session: U32,
    pub msg_seq_num: U64,
    pub time_ns: U64,
    pub previous: U64,
    pub origin_position: U64,
    pub incarnation: U32,
    pub epoch: U32,
    pub commit_offset: U32,
    pub unsynced_steps: U32,
}

pub(super) const CRC_OFFSET: usize = std::mem::offset_of!(RawHeader, crc32c);
/// Where the bytes begin that the CRC covers.
pub(super) const COVERED_OFFSET: usize = CRC_OFFSET + 4;
pub(super) const FLAGS_OFFSET: usize = std::mem::offset_of!(RawHeader, flags);

const _: () = assert!(HEADER_BYTES == RECORD_ALIGN, "so that the room before a boundary always holds a Pad's header");
const _: () = assert!(COVERED_OFFSET == std::mem::offset_of!(RawHeader, kind));

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Fills the room before a boundary. Its payload is whatever lay there.
    Pad = 1,
    /// A message as it was received.
    Inbound = 2,
    /// A message that took a new MsgSeqNum(34).
    Outbound = 3,
    /// Sent, but no new number was taken: a resent message or a gap fill. Not in the chain of `previous`.
    Replay = 4,
    /// Payload: the identity that this session number stands for from here on.
    SessionDefined = 5,
    /// Payload: [`super::StoredNumbers`], which override what the messages' records say.
    Numbers = 6,
    /// The first commit of an incarnation. Payload: where it starts, and how the one before it ended.
    IncarnationStart = 7,
    /// The head of a segment: every session's state and the application's snapshot.
    State = 8,
    /// The engine stopped in order; nothing of this incarnation follows.
    CleanStop = 9,
}

/// Bits of [`RecordHeader::flags`].
pub mod flags {
    /// The last record of its commit.
    pub const COMMIT_END: u8 = 1;
    /// The inbound message's MsgSeqNum(34) is used up.
    pub const COUNTED: u8 = 2;
    /// The application saw the inbound message.
    pub const DELIVERED: u8 = 4;
    /// Passwords in the payload were overwritten before it was stored.
    pub const SECRET_BLANKED: u8 = 8;
    /// Of a Numbers record: the session's next outgoing number is left to its peer.
    pub const NEXT_OUT_FROM_PEER: u8 = 16;
    /// Of a Numbers record: there is no such session any more. Its number is not given out again.
    pub const FORGOTTEN: u8 = 32;
    /// Of a Numbers record: the session's numbers count as begun at its time, although it opens no epoch.
    pub const BEGAN: u8 = 64;
}

/// The record of another journal that caused this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub journal: u16,
    pub position: u64,
}

/// A header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Header and payload, without the padding behind them.
    pub length: u32,
    pub kind: Kind,
    pub flags: u8,
    pub session: u32,
    pub msg_seq_num: u64,
    /// When the message was received or sent, UTC.
    pub time_ns: u64,
    /// The session's previous record in the same direction.
    pub previous: u64,
    pub origin: Option<Origin>,
    pub incarnation: u32,
    pub epoch: u32,
    /// Bytes from the commit's first record to this one.
    pub commit_offset: u32,
    /// How far before this record the journal was known to be synced when its commit was opened, in steps of [`RECORD_ALIGN`], plus one. 0 where
    /// the record does not say, as in format version 1.
    pub unsynced_steps: u32,
}

impl RecordHeader {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn payload_bytes(&self) -> u64 {
        u64::from(self.length) - HEADER_BYTES
    }

    /// The position up to which the journal was on stable media when this record, which lies at `position`, was appended: so where a record
    /// is whole and one before that position is not, the volume has lost what it had. `None` where the record does not say.
    pub fn synced_before(&self, position: u64) -> Option<u64> {
        position.checked_sub(u64::from(self.unsynced_steps.checked_sub(1)?) * RECORD_ALIGN)
    }

    /// Bytes to the next record.
    pub fn padded_bytes(&self) -> u64 {
        align(u64::from(self.length))
    }
}

/// Bytes that a record with this payload takes. What a worker sums up for [`super::Writer::begin`].
pub const fn record_bytes(payload_bytes: u64) -> u64 {
    align(HEADER_BYTES + payload_bytes)
}

pub(super) const fn align(bytes: u64) -> u64 {
    (bytes + RECORD_ALIGN - 1) & !(RECORD_ALIGN - 1)
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Pad,
            2 => Self::Inbound,
            3 => Self::Outbound,
            4 => Self::Replay,
            5 => Self::SessionDefined,
            6 => Self::Numbers,
            7 => Self::IncarnationStart,
            8 => Self::State,
            9 => Self::CleanStop,
            _ => return None,
        })
    }
}

impl RawHeader {
    /// `None` where a field has a value that is never written.
    pub fn decode(&self) -> Option<RecordHeader> {
        let kind = Kind::of(self.kind)?;
        if u64::from(self.length.get()) < HEADER_BYTES {
            return None;
        }
        let origin_position = self.origin_position.get();
        let origin = (origin_position != NONE)
            .then_some(Origin { journal: self.origin_journal.get(), position: origin_position });
        Some(RecordHeader {
            length: self.length.get(),
            kind,
            flags: self.flags,
            session: self.session.get(),
            msg_seq_num: self.msg_seq_num.get(),
            time_ns: self.time_ns.get(),
            previous: self.previous.get(),
            origin,
            incarnation: self.incarnation.get(),
            epoch: self.epoch.get(),
            commit_offset: self.commit_offset.get(),
            unsynced_steps: self.unsynced_steps.get(),
        })
    }
}

/// The check of a record that lies at `position`, of which `covered` is what it covers: of a Pad the header, otherwise all.
///
/// The payload's CRC-32C, over which a mix of position, length and the header's CRC-32C is laid. The CRC instruction's latency bounds
/// a short record, so two chains that run beside each other are faster than one over both.
#[inline]
pub(super) fn record_crc(position: u64, length: u64, covered: &[u8]) -> u32 {
    let (header, payload) = covered.split_at(HEADER_BYTES as usize);
    let header_crc = crc_fast::crc32_iscsi(&header[COVERED_OFFSET..]);
    crc_fast::crc32_iscsi(payload) ^ seed(position, length, header_crc)
}

#[inline]
fn seed(position: u64, length: u64, header_crc: u32) -> u32 {
    // The finaliser of splitmix64. A length is below 2^31.
    let mut mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (length << 32 | u64::from(header_crc));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 32) as u32
}

/// The header at `position` if its fields could be ours and the record would lie before `end`; its CRC is not looked at.
pub(crate) fn header_at(bytes: &[u8], position: u64, end: u64) -> Option<RecordHeader> {
    let (raw, _) = RawHeader::read_from_prefix(bytes).ok()?;
    let header = raw.decode()?;
    let fits = position.checked_add(header.padded_bytes()).is_some_and(|next| next <= end);
    fits.then_some(header)
}

/// Whether `bytes`, which begin with the record of `header`, hold it whole. They must hold `header.length` bytes, or a Pad's header.
pub(super) fn is_valid(bytes: &[u8], position: u64, header: &RecordHeader) -> bool {
    let Some((raw, _)) = RawHeader::ref_from_prefix(bytes).ok() else {
        return false;
    };
    let covered_bytes = if header.kind == Kind::Pad { HEADER_BYTES } else { u64::from(header.length) };
    let Some(covered) = bytes.get(..covered_bytes as usize) else { return false };
    raw.crc32c.get() == record_crc(position, u64::from(header.length), covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(position: u64, payload: &[u8]) -> Vec<u8> {
        let raw = RawHeader {
            length: U32::new(HEADER_BYTES as u32 + payload.len() as u32),
            crc32c: U32::ZERO,
            kind: Kind::Outbound as u8,
            flags: flags::COMMIT_END,
            origin_journal: U16::ZERO,
            session: U32::new(7),
            msg_seq_num: U64::new(42),
            time_ns: U64::new(1),
            previous: U64::new(NONE),
            origin_position: U64::new(NONE),
            incarnation: U32::new(1),
            epoch: U32::ZERO,
            commit_offset: U32::ZERO,
            unsynced_steps: U32::new(3),
        };
        let mut bytes = raw.as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        let crc = record_crc(position, bytes.len() as u64, &bytes);
        bytes[CRC_OFFSET..COVERED_OFFSET].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_record_is_valid_at_its_own_position_only() {
        let bytes = record(640, b"8=FIX.4.4");
        let header = header_at(&bytes, 640, 4096).unwrap();
        assert!(is_valid(&bytes, 640, &header));
        for lap in 1..100 {
            assert!(!is_valid(&bytes, 640 + lap * 65_536, &header));
        }
    }

    #[test]
    fn a_record_says_how_far_the_journal_was_synced() {
        let header = header_at(&record(640, b"8=FIX.4.4"), 640, 4096).unwrap();
        assert_eq!(header.synced_before(640), Some(512));
        assert_eq!(header.synced_before(64), None, "further back than there is anything");
        assert_eq!(RecordHeader { unsynced_steps: 0, ..header }.synced_before(640), None);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = record(0, b"8=FIX.4.4\x019=5\x01");
        for bit in 0..bytes.len() * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            let seen = header_at(&torn, 0, 4096).is_none_or(|header| !is_valid(&torn, 0, &header));
            assert!(seen, "bit {bit}");
        }
    }

    #[test]
    fn a_length_beyond_the_boundary_or_the_bytes_is_no_record() {
        let bytes = record(0, &[1; 100]);
        assert!(header_at(&bytes, 0, 128).is_none());
        let header = header_at(&bytes, 0, 192).unwrap();
        assert!(!is_valid(&bytes[..100], 0, &header));
        assert!(header_at(&bytes[..63], 0, 192).is_none());
        assert!(header_at(&bytes, u64::MAX - 64, u64::MAX).is_none());
    }
}
