//! The memory that both sides of a ring share: a header page with the marks, and the data. Who may touch what, and when, is [`super::ring`]'s to
//! know; here is only where it lies. `tests/loom` has its own in this place, which sees every access.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use super::bus_error::{KnownRing, know_ring};
use super::ring::PAGE_BYTES;
use super::sync::AtomicU64;

pub(super) struct Shared {
    /// Of a file, which may be truncated under us. Dropped before the mapping.
    _known: Option<KnownRing>,
    map: MmapRaw,
    ring_bytes: u64,
}

impl Shared {
    /// Maps a file of one header page and `ring_bytes`.
    pub fn map(file: &File, ring_bytes: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len((PAGE_BYTES + ring_bytes) as usize).map_raw(file)?;
        let known = know_ring(map.as_ptr(), map.len());
        Ok(Self { _known: known, map, ring_bytes })
    }

    pub fn anonymous(ring_bytes: u64) -> io::Result<Self> {
        let map = MmapMut::map_anon((PAGE_BYTES + ring_bytes) as usize)?;
        Ok(Self { _known: None, map: MmapRaw::from(map), ring_bytes })
    }

    #[inline]
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    /// Keeps all of it in memory.
    pub fn lock(&self) -> io::Result<()> {
        self.map.lock()
    }

    /// Faults every page in for writing.
    pub fn populate(&self) -> io::Result<()> {
        self.map.advise(memmap2::Advice::PopulateWrite)
    }

    /// The header page, one page long.
    pub fn header(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// A mark of the header page, one of the offsets in [`super::ring`].
    #[inline]
    pub fn mark(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= PAGE_BYTES as usize);
        // SAFETY: all callers pass one of the ring's constants, within the first page, which the mapping always holds.
        let pointer = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: the mapping is page aligned and the offset a multiple of 8; these 8 bytes are only ever accessed as this atomic.
        unsafe { AtomicU64::from_ptr(pointer.cast()) }
    }

    /// The data, `ring_bytes` long.
    #[inline]
    pub fn data(&self) -> *mut u8 {
        // SAFETY: the mapping is one page longer than the data.
        unsafe { self.map.as_mut_ptr().add(PAGE_BYTES as usize) }
    }

    /// Where the bytes of a position lie, `length` of them, for the caller to read.
    ///
    /// # Panics
    /// When the range straddles the end of the ring.
    #[inline]
    pub fn to_read(&self, position: u64, length: u64) -> *const u8 {
        self.locate(position, length)
    }

    /// The same, for the caller to write.
    #[inline]
    pub fn to_write(&self, position: u64, length: u64) -> *mut u8 {
        self.locate(position, length)
    }

    /// Asks for the cache line of `position`, of any lap, to be written.
    #[inline]
    pub fn prefetch(&self, position: u64) {
        let offset = position & (self.ring_bytes - 1);
        super::prefetch::line_for_write(self.data().wrapping_add(offset as usize));
    }

    #[inline]
    fn locate(&self, position: u64, length: u64) -> *mut u8 {
        let offset = position & (self.ring_bytes - 1);
        assert!(length <= self.ring_bytes - offset, "a range straddles the end of the ring");
        // SAFETY: offset < ring_bytes, the length of the data.
        unsafe { self.data().add(offset as usize) }
    }
}
