//! The sum of a message's bytes, and the search for a tag, on the vector primitives of [`crate::sys::simd`].

use crate::sys::simd::{LANES, byte_sum, first_equal};

/// The sum of all bytes modulo 256, as CheckSum(10) wants it.
#[inline]
pub fn checksum(bytes: &[u8]) -> u8 {
    byte_sum(bytes)
}

/// How many tags [`position_of_tag`] compares in one step.
pub(super) const TAGS_A_STEP: usize = LANES;

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
    use super::*;

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
