//! Memory in whole, aligned pages, as direct I/O wants it: open(2) asks for the alignment of the device's logical blocks, and no
//! device that Linux drives has longer ones than a page.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::sys::ring::PAGE_BYTES;

const PAGE: usize = PAGE_BYTES as usize;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

const _: () = assert!(align_of::<Page>() == PAGE && size_of::<Page>() == PAGE);

/// Bytes that begin at a page's start. They begin as zeros.
pub(super) struct Pages(Vec<Page>);

impl Pages {
    pub fn new(bytes: u64) -> Self {
        let mut pages = Self(Vec::new());
        pages.grow(bytes);
        pages
    }

    /// Makes it at least so long. What is there stays.
    pub fn grow(&mut self, bytes: u64) {
        let count = bytes.div_ceil(PAGE_BYTES) as usize;
        if count > self.0.len() {
            self.0.resize_with(count, Page::new_zeroed);
        }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
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
        assert!(!is_aligned(1, pages.bytes_mut()) && !is_aligned(0, &pages.bytes_mut()[64..]));
    }
}
