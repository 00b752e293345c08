//! Eight bytes at a time. Compiled on x86-64 for the tests alone.

use super::{BLOCK_BYTES, LANES, WINDOW_BYTES};

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7f * ONES;

pub(super) fn equal_mask(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().rev().fold(0, |mask, word| {
        let difference = u64::from_le_bytes(*word) ^ (u64::from(wanted) * ONES);
        // The top bit of each byte that is zero, and of no other.
        let zeros = !(((difference & LOW_BITS) + LOW_BITS) | difference | LOW_BITS);
        // The multiplication gathers the eight bits in the top byte, the first byte's lowest.
        mask << 8 | (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

pub(super) fn byte_sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

pub(super) fn first_equal(numbers: &[u32; LANES], wanted: u32) -> Option<usize> {
    numbers.iter().position(|number| *number == wanted)
}

pub(super) fn digits_and_points(window: &[u8; WINDOW_BYTES]) -> (u16, u16) {
    let mask =
        |is_one: fn(&u8) -> bool| window.iter().rev().fold(0, |mask: u16, byte| mask << 1 | u16::from(is_one(byte)));
    (mask(u8::is_ascii_digit), mask(|byte| *byte == b'.'))
}

pub(super) fn are_within(
    window: &[u8; WINDOW_BYTES],
    least: &[u8; WINDOW_BYTES],
    greatest: &[u8; WINDOW_BYTES],
) -> bool {
    window.iter().zip(least).zip(greatest).all(|((byte, least), greatest)| (least..=greatest).contains(&byte))
}
