//! Memory in whole, aligned pages, as direct I/O wants it: open(2) asks for the alignment of the device's logical blocks, and no
//! device that Linux drives has longer ones than a page.

use std::io;

use memmap2::{Advice, MmapMut};

use crate::sys::ring::PAGE_BYTES;

const PAGE: usize = PAGE_BYTES as usize;
/// From here on huge pages are asked for: a window of a whole segment would take thousands of page faults otherwise.
const HUGE_BYTES: u64 = 2 << 20;

/// Bytes that begin at a page's start. They begin as zeros, which the kernel makes when they are first touched.
pub(super) struct Pages(Option<MmapMut>);

impl Pages {
    /// # Panics
    /// When there is not so much memory.
    pub fn new(bytes: u64) -> Self {
        Self::allocate(bytes).expect("memory")
    }

    /// [`Pages::new`], for so much that a limit may be in its way.
    pub fn allocate(bytes: u64) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let map = (bytes > 0).then(|| MmapMut::map_anon(bytes as usize)).transpose()?;
        if let Some(map) = &map
            && bytes >= HUGE_BYTES
        {
            // A kernel without them has its usual ones.
            let _ = map.advise(Advice::HugePage);
        }
        Ok(Self(map))
    }

    /// Makes it at least so long. What is there stays.
    pub fn grow(&mut self, bytes: u64) {
        if bytes > self.bytes().len() as u64 {
            let mut longer = Self::new(bytes);
            longer.bytes_mut()[..self.bytes().len()].copy_from_slice(self.bytes());
            *self = longer;
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// Whether direct I/O may take the memory and the place as they are.
pub(super) fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    let is_whole = (bytes.len() as u64).is_multiple_of(PAGE_BYTES) && (bytes.as_ptr() as usize).is_multiple_of(PAGE);
    offset.is_multiple_of(PAGE_BYTES) && (is_whole || bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_and_keep_their_content_when_they_grow() {
        let mut pages = Pages::new(1);
        assert_eq!(pages.bytes_mut().len(), PAGE);
        pages.bytes_mut()[7] = 7;
        pages.grow(100_000);
        assert!(is_aligned(PAGE_BYTES, pages.bytes_mut()) && pages.bytes_mut().len() == 25 * PAGE);
        assert_eq!(pages.bytes_mut().iter().map(|byte| u32::from(*byte)).sum::<u32>(), 7);
        assert!(is_aligned(0, &[]));
        assert_eq!(pages.bytes()[7], 7);
        assert!(!is_aligned(1, pages.bytes_mut()) && !is_aligned(0, &pages.bytes_mut()[64..]));
    }
}
