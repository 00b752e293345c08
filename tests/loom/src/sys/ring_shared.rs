//! In the place of fixring's `sys/ring_shared.rs`: the same memory, of which loom is told who touches what. Two sides that touch one cell, one of
//! them writing, and that nothing orders, are a failure.

use std::fs::File;
use std::io;

use loom::cell::UnsafeCell;

use super::ring::PAGE_BYTES;
use super::sync::AtomicU64;

/// What is told apart. The models write whole cells.
pub const CELL_BYTES: u64 = 16 * 1024;

pub(super) struct Shared {
    marks: Vec<AtomicU64>,
    cells: Vec<UnsafeCell<()>>,
    memory: *mut u8,
    ring_bytes: u64,
}

// SAFETY: the models' threads run one at a time, and what they touch is told to loom, which fails where nothing orders it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        let bytes = std::ptr::slice_from_raw_parts_mut(self.memory, (PAGE_BYTES + self.ring_bytes) as usize);
        // SAFETY: it is what `anonymous` has leaked, and no slice of it outlives the ring's sides, which share this value.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

impl Shared {
    pub fn map(_file: &File, _ring_bytes: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn anonymous(ring_bytes: u64) -> io::Result<Self> {
        let memory = vec![0u8; (PAGE_BYTES + ring_bytes) as usize].into_boxed_slice();
        Ok(Self {
            marks: (0..4).map(|_| AtomicU64::new(0)).collect(),
            cells: (0..ring_bytes / CELL_BYTES).map(|_| UnsafeCell::new(())).collect(),
            memory: Box::into_raw(memory).cast(),
            ring_bytes,
        })
    }

    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes
    }

    pub fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn populate(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn header(&self) -> *mut u8 {
        self.memory
    }

    pub fn mark(&self, offset: usize) -> &AtomicU64 {
        &self.marks[offset / 128 - 1]
    }

    pub fn data(&self) -> *mut u8 {
        self.memory.wrapping_add(PAGE_BYTES as usize)
    }

    pub fn to_read(&self, position: u64, length: u64) -> *const u8 {
        let (pointer, cells) = self.locate(position, length);
        cells.iter().for_each(|cell| cell.with(|_| ()));
        pointer
    }

    pub fn to_write(&self, position: u64, length: u64) -> *mut u8 {
        let (pointer, cells) = self.locate(position, length);
        cells.iter().for_each(|cell| cell.with_mut(|_| ()));
        pointer
    }

    pub fn prefetch(&self, _position: u64) {}

    fn locate(&self, position: u64, length: u64) -> (*mut u8, &[UnsafeCell<()>]) {
        let offset = position & (self.ring_bytes - 1);
        assert!(offset.is_multiple_of(CELL_BYTES) && length.is_multiple_of(CELL_BYTES), "the models touch whole cells");
        let cells = &self.cells[(offset / CELL_BYTES) as usize..][..(length / CELL_BYTES) as usize];
        (self.data().wrapping_add(offset as usize), cells)
    }
}
