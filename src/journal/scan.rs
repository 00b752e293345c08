//! Walks records and commits over bytes that may be anything.

use std::sync::Arc;

use crate::sys::ring::PAGE_BYTES;

use super::pages::Pages;
use super::record::{header_at, is_valid};
use super::{Geometry, HEADER_BYTES, Kind, Manifest, Read, RecordHeader, Storage, StorageError, flags};

/// Read from a segment in one call. A walk backwards finds the records before it in the same window.
pub(super) const WINDOW_BYTES: u64 = 256 * 1024;
/// The longest window; longer than a segment of the default geometry.
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// A long window is read in such pieces at the same time.
const PIECE_BYTES: usize = 1024 * 1024;

/// What [`SegmentSource::in_whole`] reads at once.
pub(super) fn whole_window_bytes(geometry: Geometry) -> u64 {
    geometry.segment_bytes.min(WINDOW_BYTES_MAX)
}

/// Bytes of a journal by position.
pub(super) trait Source {
    /// The bytes from `position` on: `bytes` of them, or fewer where the source ends. `bytes` never crosses the end of a lap.
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError>;
}

/// The segments, through a window of bounded size. A clone begins with the same window.
#[derive(Clone)]
pub(super) struct SegmentSource<S> {
    storage: S,
    geometry: Geometry,
    journal: u16,
    /// What is read forward at once.
    ahead_bytes: u64,
    /// Whole pages, so that a direct read needs no other memory between.
    window: Arc<Pages>,
    window_start: u64,
    window_bytes: usize,
}

impl<S: Storage> SegmentSource<S> {
    pub fn new(storage: S, geometry: Geometry, journal: u16) -> Self {
        Self {
            storage,
            geometry,
            journal,
            ahead_bytes: WINDOW_BYTES,
            window: Arc::new(Pages::new(0)),
            window_start: 0,
            window_bytes: 0,
        }
    }

    /// For who will want the rest of a segment: reads it at once, where it is not very long.
    pub fn in_whole(storage: S, geometry: Geometry, journal: u16) -> Self {
        Self { ahead_bytes: whole_window_bytes(geometry), ..Self::new(storage, geometry, journal) }
    }

    /// The same window with what lies before `end`, to which nothing has happened; what is read next is read as usual.
    pub fn up_to(&self, end: u64) -> Self {
        let window_bytes = self.window_bytes.min(end.saturating_sub(self.window_start) as usize);
        Self { ahead_bytes: WINDOW_BYTES, window_bytes, ..self.clone() }
    }

    /// How much is read at once, going forward.
    pub fn read_ahead(&mut self, bytes: u64) {
        self.ahead_bytes = bytes;
    }

    /// Forgets what was read, since the volume may have changed.
    pub fn forget(&mut self) {
        self.window_bytes = 0;
    }

    /// A window that has `position` near its end, for a walk backwards.
    pub fn look_back(&mut self, position: u64) -> Result<(), StorageError> {
        if self.holds(position, HEADER_BYTES) {
            return Ok(());
        }
        let segment_start = position - position % self.geometry.segment_bytes;
        let start = position.saturating_sub(WINDOW_BYTES * 7 / 8).max(segment_start);
        self.load(start, WINDOW_BYTES)
    }

    fn holds(&self, position: u64, bytes: u64) -> bool {
        position >= self.window_start && position + bytes <= self.window_start + self.window_bytes as u64
    }

    /// A window that holds so many bytes from `from` on, or all to the segment's end.
    fn load(&mut self, from: u64, bytes: u64) -> Result<(), StorageError> {
        let start = from & !(PAGE_BYTES - 1);
        let (slot, offset) = self.geometry.slot(self.journal, start);
        let bytes = (from - start + bytes).next_multiple_of(PAGE_BYTES).min(self.geometry.segment_bytes - offset);
        self.forget();
        if Arc::get_mut(&mut self.window).is_none_or(|pages| (pages.bytes().len() as u64) < bytes) {
            let no_memory = |error| StorageError::new("read", format!("journal {}", self.journal), error);
            self.window = Arc::new(Pages::allocate(bytes).map_err(no_memory)?);
        }
        let window = Arc::get_mut(&mut self.window).expect("another one was made where it is shared");
        let buffer = &mut window.bytes_mut()[..bytes as usize];
        if buffer.len() <= PIECE_BYTES {
            self.storage.read(slot, offset, buffer)?;
        } else {
            let pieces = buffer.chunks_mut(PIECE_BYTES).zip(0..);
            let piece = |(buffer, piece)| Read { slot, offset: offset + piece * PIECE_BYTES as u64, buffer };
            self.storage.read_all(&mut pieces.map(piece).collect::<Vec<_>>())?;
        }
        (self.window_start, self.window_bytes) = (start, bytes as usize);
        Ok(())
    }
}

impl<S: Storage> Source for SegmentSource<S> {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        if !self.holds(position, bytes) {
            self.load(position, bytes.max(self.ahead_bytes))?;
        }
        let rest = &self.window.bytes()[(position - self.window_start) as usize..self.window_bytes];
        Ok(&rest[..rest.len().min(bytes as usize)])
    }
}

/// A ring's data, of which `[start, end)` counts.
pub(super) struct RingSource<'a> {
    pub data: &'a [u8],
    pub start: u64,
    pub end: u64,
}

impl Source for RingSource<'_> {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        if position < self.start || position >= self.end {
            return Ok(&[]);
        }
        let bytes = bytes.min(self.end - position) as usize;
        let rest = &self.data[(position % self.data.len() as u64) as usize..];
        Ok(&rest[..rest.len().min(bytes)])
    }
}

/// The whole, valid record at `position`, with its payload (of a Pad: none).
pub(super) fn record_at<'a>(
    source: &'a mut impl Source,
    geometry: &Geometry,
    position: u64,
) -> Result<Option<(RecordHeader, &'a [u8])>, StorageError> {
    if !position.is_multiple_of(super::RECORD_ALIGN) || position > u64::MAX / 2 {
        return Ok(None);
    }
    let lap_end = (position / geometry.ring_bytes + 1) * geometry.ring_bytes;
    let Some(header) = header_at(source.bytes(position, HEADER_BYTES)?, position, lap_end) else {
        return Ok(None);
    };
    let length = u64::from(header.length);
    // Only a Pad may be longer than a commit; its payload is not looked at.
    let bytes = match header.kind {
        Kind::Pad => HEADER_BYTES,
        _ if length > geometry.commit_bytes_max() => return Ok(None),
        _ => length,
    };
    let record = source.bytes(position, bytes)?;
    if record.len() as u64 != bytes || !is_valid(record, position, &header) {
        return Ok(None);
    }
    Ok(Some((header, &record[HEADER_BYTES as usize..])))
}

/// Which incarnations a scan accepts next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incarnations {
    /// That of the newest commit so far: what is older was fenced.
    pub newest: u32,
    /// The manifest's last: nothing newer was ever started.
    pub last: u32,
    /// Where that one began. What an older one wrote there or beyond was written by a process that did not know that it was over.
    pub last_start: u64,
}

impl Incarnations {
    /// Nothing is read yet.
    pub fn of(manifest: &Manifest, journal: u16) -> Self {
        Self { newest: 0, last: manifest.incarnation, last_start: manifest.start_of(journal) }
    }

    /// All up to this one, wherever the newest began: for who looks at what a recovery would not read.
    pub fn up_to(last: u32) -> Self {
        Self { newest: 0, last, last_start: u64::MAX }
    }

    /// Whether a commit of this incarnation may follow at this position.
    pub fn accept(&self, incarnation: u32, position: u64) -> bool {
        incarnation >= self.newest && incarnation <= self.last && !self.is_fenced(incarnation, position)
    }

    pub fn is_fenced(&self, incarnation: u32, position: u64) -> bool {
        incarnation < self.last && position >= self.last_start
    }
}

/// The whole commit at `position`: fills `records` and answers its end. `None` where there is none, or one of a fenced incarnation.
pub(super) fn commit_at(
    source: &mut impl Source,
    geometry: &Geometry,
    position: u64,
    incarnations: &mut Incarnations,
    records: &mut Vec<(u64, RecordHeader)>,
) -> Result<Option<u64>, StorageError> {
    records.clear();
    let mut at = position;
    let incarnation = loop {
        // Commits are at most a quarter of a lap and do not leave it: so the walk is bounded, whatever the bytes say.
        if at / geometry.ring_bytes != position / geometry.ring_bytes {
            return Ok(None);
        }
        let Some((header, _)) = record_at(source, geometry, at)? else {
            return Ok(None);
        };
        let is_first = records.is_empty();
        let belongs = u64::from(header.commit_offset) == at - position
            && (is_first || header.incarnation == records[0].1.incarnation)
            && (is_first || header.kind != Kind::Pad);
        if !belongs || !incarnations.accept(header.incarnation, position) {
            return Ok(None);
        }
        records.push((at, header));
        at += header.padded_bytes();
        if header.has(flags::COMMIT_END) {
            break header.incarnation;
        }
    };
    incarnations.newest = incarnation;
    Ok(Some(at))
}
