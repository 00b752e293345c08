//! The two passes over all bytes of a message, where its delimiters are and what its bytes add up to, and the search
//! for a tag, on the vector primitives of [`crate::sys::simd`].

use super::SOH;
use crate::sys::simd::{byte_sum, equal_mask, first_equal};

/// The bytes that one step of the scan looks at: as many as a `u64` has bits.
const BLOCK_BYTES: usize = 64;

/// Iterates over the offsets of all delimiters, in ascending order.
pub(super) struct Delimiters<'a> {
    bytes: &'a [u8],
    /// Where the block of `mask` begins.
    base: usize,
    /// A bit for each delimiter of the block that is still to be answered.
    mask: u64,
}

impl<'a> Delimiters<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::from(bytes, 0)
    }

    /// Those at or after `offset`.
    #[inline(always)]
    pub(super) fn from(bytes: &'a [u8], offset: usize) -> Self {
        let base = offset - offset % BLOCK_BYTES;
        let mask = mask_at(bytes, base) & (u64::MAX << (offset % BLOCK_BYTES));
        Self { bytes, base, mask }
    }
}

impl Iterator for Delimiters<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            // A base at or beyond the end answers an empty mask, so this ends.
            if self.bytes.len().saturating_sub(self.base) <= BLOCK_BYTES {
                return None;
            }
            self.base += BLOCK_BYTES;
            self.mask = mask_at(self.bytes, self.base);
        }
        let offset = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(offset)
    }
}

/// The delimiters of the block at `base`, which may reach beyond the bytes' end.
#[inline(always)]
fn mask_at(bytes: &[u8], base: usize) -> u64 {
    if let Some(block) = bytes.get(base..).and_then(<[u8]>::first_chunk) {
        return equal_mask(block, SOH);
    }
    let rest = bytes.len().saturating_sub(base);
    if rest == 0 {
        return 0;
    }
    match bytes.last_chunk() {
        // The last block of a longer message is read to its end, over bytes already seen, whose bits are shifted out.
        Some(block) => equal_mask(block, SOH) >> (BLOCK_BYTES - rest),
        None => {
            let mut block = [0; BLOCK_BYTES];
            block[..rest].copy_from_slice(&bytes[base..]);
            equal_mask(&block, SOH)
        }
    }
}

/// The sum of all bytes modulo 256, as CheckSum(10) wants it.
#[inline]
pub fn checksum(bytes: &[u8]) -> u8 {
    byte_sum(bytes)
}

/// How many tags [`position_of_tag`] compares in one step.
pub(super) const TAGS_A_STEP: usize = 16;

/// Where `tag` first stands among `tags`.
#[inline]
pub(super) fn position_of_tag(tags: &[u32], tag: u32) -> Option<usize> {
    let (steps, rest) = tags.as_chunks::<TAGS_A_STEP>();
    for (number, step) in steps.iter().enumerate() {
        if let Some(position) = first_equal(step, tag) {
            return Some(number * TAGS_A_STEP + position);
        }
    }
    let position = rest.iter().position(|candidate| *candidate == tag)?;
    Some(steps.len() * TAGS_A_STEP + position)
}

#[cfg(test)]
mod tests {
    use super::super::SOH;
    use super::*;

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..length).map(|_| if random.u8(..) < 40 { SOH } else { random.u8(..) }).collect()
    }

    #[test]
    fn every_delimiter_is_found_at_every_length() {
        for length in 0..300 {
            let bytes = noise(length, length as u64);
            let expected: Vec<usize> = (0..length).filter(|at| bytes[*at] == SOH).collect();
            assert_eq!(Delimiters::new(&bytes).collect::<Vec<_>>(), expected, "length {length}");
        }
    }

    #[test]
    fn a_scan_may_begin_anywhere() {
        let bytes = noise(200, 7);
        for offset in 0..=bytes.len() {
            let delimiters = Delimiters::from(&bytes, offset);
            let expected: Vec<usize> = (offset..bytes.len()).filter(|at| bytes[*at] == SOH).collect();
            assert_eq!(delimiters.collect::<Vec<_>>(), expected, "offset {offset}");
        }
    }

    #[test]
    fn a_tag_is_found_at_its_first_place() {
        let tags: Vec<u32> = (0..50).map(|at| at % 40 + 1).collect();
        for length in 0..tags.len() {
            for tag in 0..60 {
                let tags = &tags[..length];
                assert_eq!(position_of_tag(tags, tag), tags.iter().position(|candidate| *candidate == tag));
            }
        }
    }
}
