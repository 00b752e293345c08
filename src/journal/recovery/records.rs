//! The records after the newest State record, for the application.

use super::super::scan::{SegmentSource, Source, record_at};
use super::super::{Geometry, HEADER_BYTES, Kind, RecordHeader, Storage, StorageError};

/// The records after the newest State record, in order.
pub struct Records<S: Storage> {
    pub(super) source: SegmentSource<S>,
    pub(super) geometry: Geometry,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// A record that [`Records`] reads.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    pub position: u64,
    pub header: RecordHeader,
    pub payload: &'a [u8],
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
