//! What whole records say that lie behind a place that cannot be read: how far the journal was synced when they were appended, and which
//! numbers its sessions had reached.

use std::collections::BTreeMap;

use super::super::record::header_at;
use super::super::scan::{Incarnations, Source, record_at};
use super::super::{
    Geometry, HEADER_BYTES, Kind, RECORD_ALIGN, RecordHeader, RecoveredSession, StorageError, StoredNumbers, flags,
};

/// So many times the ring's length is checked at most, however many bytes look like headers of long records.
const CHECKED_RINGS_MAX: u64 = 16;
/// So far behind the place is looked at least, however short the ring is.
const LOOKED_BYTES_MIN: u64 = 64 << 20;

/// Lower bounds, from whole records that a scan does not reach.
#[derive(Clone, Debug, Default)]
pub(in crate::journal) struct Behind {
    pub records: u64,
    /// The highest position that any of them proves to have been synced, and where that one lies.
    pub synced: u64,
    pub synced_said_at: u64,
    /// By number.
    pub sessions: BTreeMap<u32, Reached>,
}

/// The highest numbers that a session is proven to have reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::journal) struct Reached {
    pub epoch: u32,
    pub next_out: u64,
    pub next_in: u64,
    pub lease: u64,
    /// Where its definition is among the records.
    pub identity: Option<Box<[u8]>>,
}

impl Behind {
    /// Looks at each whole record from `from` on in its segment that may follow what `incarnations` has seen.
    pub fn look(
        &mut self,
        source: &mut impl Source,
        geometry: &Geometry,
        incarnations: Incarnations,
        from: u64,
    ) -> Result<(), StorageError> {
        let segment_end = (from / geometry.segment_bytes + 1) * geometry.segment_bytes;
        let limit = segment_end.min(from + LOOKED_BYTES_MIN.max(4 * geometry.ring_bytes));
        let mut checked_bytes = 0;
        let mut at = from;
        while at < limit && checked_bytes <= CHECKED_RINGS_MAX * geometry.ring_bytes {
            let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
            let header = header_at(source.bytes(at, HEADER_BYTES)?, at, lap_end);
            let Some(header) = header.filter(|header| incarnations.accept(header.incarnation, at)) else {
                at += RECORD_ALIGN;
                continue;
            };
            checked_bytes += if header.kind == Kind::Pad { HEADER_BYTES } else { header.padded_bytes() };
            match record_at(source, geometry, at)? {
                Some((header, payload)) => {
                    self.note(geometry, at, &header, payload);
                    at += header.padded_bytes();
                }
                None => at += RECORD_ALIGN,
            }
        }
        Ok(())
    }

    fn note(&mut self, geometry: &Geometry, at: u64, header: &RecordHeader, payload: &[u8]) {
        self.records += 1;
        // Room in the ring is given out again only once what it held is synced.
        let by_room = (at + header.padded_bytes()).saturating_sub(geometry.ring_bytes);
        let synced = header.synced_before(at).unwrap_or(0).max(by_room);
        if synced > self.synced {
            (self.synced, self.synced_said_at) = (synced, at);
        }
        let number = u64::saturating_add;
        let reached = match header.kind {
            Kind::Outbound => Reached { next_out: number(header.msg_seq_num, 1), ..Reached::default() },
            Kind::Inbound if header.has(flags::COUNTED) => {
                Reached { next_in: number(header.msg_seq_num, 1), ..Reached::default() }
            }
            Kind::SessionDefined => Reached { identity: Some(payload.into()), ..Reached::default() },
            Kind::Numbers if !header.has(flags::FORGOTTEN) => match StoredNumbers::of(payload) {
                Some(StoredNumbers { next_out, next_in, lease, .. }) => {
                    Reached { next_out, next_in, lease, ..Reached::default() }
                }
                None => return,
            },
            _ => return,
        };
        self.sessions.entry(header.session).or_default().raise(Reached { epoch: header.epoch, ..reached });
    }
}

impl Reached {
    fn raise(&mut self, other: Self) {
        if other.epoch > self.epoch {
            *self = Self { epoch: other.epoch, identity: self.identity.take(), ..Self::default() };
        }
        if other.epoch == self.epoch {
            self.next_out = self.next_out.max(other.next_out);
            self.next_in = self.next_in.max(other.next_in);
            self.lease = self.lease.max(other.lease);
        }
        self.identity = self.identity.take().or(other.identity);
    }

    /// Raises a session's numbers to these. Whether they were lower.
    pub fn apply(&self, session: &mut RecoveredSession) -> bool {
        if self.epoch < session.epoch {
            return false;
        }
        let before = (session.epoch, session.next_out, session.next_in, session.lease);
        if self.epoch > session.epoch {
            (session.epoch, session.next_out, session.next_in, session.lease) = (self.epoch, 1, 1, 0);
        }
        session.next_out = session.next_out.max(self.next_out);
        session.next_in = session.next_in.max(self.next_in);
        session.lease = session.lease.max(self.lease);
        before != (session.epoch, session.next_out, session.next_in, session.lease)
    }
}
