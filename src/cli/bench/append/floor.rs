//! A pen without a journal: the bytes of a record into a ring, and their CRC-32C.

use super::{PAYLOAD_BYTES, STRIDE_BYTES};
use crate::journal::HEADER_BYTES;
use crate::sys::ring::RingWriter;

/// Writes records like the journal's in length: header, payload, checksum.
pub(super) struct Pen {
    ring: RingWriter,
    record: [u8; HEADER_BYTES as usize + PAYLOAD_BYTES],
    at: u64,
}

impl Pen {
    pub fn new(ring: RingWriter) -> Self {
        let at = ring.appended();
        let mut record = [0; HEADER_BYTES as usize + PAYLOAD_BYTES];
        for (number, byte) in record[HEADER_BYTES as usize..].iter_mut().enumerate() {
            *byte = number as u8;
        }
        Self { ring, record, at }
    }

    /// A whole record: position and number into its header, all of it into the ring, a checksum over it.
    #[inline]
    pub fn append(&mut self, number: u64) {
        self.wrap();
        self.record[8..16].copy_from_slice(&number.to_le_bytes());
        self.record[16..24].copy_from_slice(&self.at.to_le_bytes());
        let space = self.ring.mutable(self.at, STRIDE_BYTES);
        let record = &mut space[..self.record.len()];
        record.copy_from_slice(&self.record);
        let crc = crc_fast::crc32_iscsi(&record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        self.at += STRIDE_BYTES;
        self.ring.publish(self.at);
    }

    /// Nothing but the payload and its checksum.
    #[inline]
    pub fn append_payload(&mut self) -> u32 {
        self.wrap();
        let space = self.ring.mutable(self.at, STRIDE_BYTES);
        let payload = &mut space[HEADER_BYTES as usize..][..PAYLOAD_BYTES];
        payload.copy_from_slice(std::hint::black_box(&self.record[HEADER_BYTES as usize..]));
        let crc = crc_fast::crc32_iscsi(payload);
        self.at += STRIDE_BYTES;
        crc
    }

    /// Gives what was written to the reader.
    pub fn publish(&mut self) {
        self.ring.publish(self.at);
    }

    /// No record straddles the end of a lap. Waits where the volume lags by a whole lap: then that is what an append costs.
    #[inline]
    fn wrap(&mut self) {
        let lap_end = (self.at | (self.ring.ring_bytes() - 1)) + 1;
        if self.at + STRIDE_BYTES > lap_end {
            self.at = lap_end;
        }
        while !self.ring.has_room(self.at + STRIDE_BYTES) {
            std::hint::spin_loop();
        }
    }
}
