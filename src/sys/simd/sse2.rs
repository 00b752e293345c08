//! SSE2, which is part of the baseline of x86-64.

use std::arch::x86_64::{
    __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmpeq_epi32, _mm_cvtsi128_si64, _mm_min_epu8, _mm_movemask_epi8,
    _mm_or_si128, _mm_packs_epi16, _mm_packs_epi32, _mm_sad_epu8, _mm_set_epi64x, _mm_set1_epi8, _mm_set1_epi32,
    _mm_setr_epi32, _mm_setzero_si128, _mm_sub_epi8, _mm_subs_epu8, _mm_unpackhi_epi64,
};

use super::{BLOCK_BYTES, LANES, WINDOW_BYTES};

#[inline(always)]
pub(super) fn equal_mask(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    // SAFETY: the callee's only requirement is its target feature, SSE2 (Rust Reference, "The target_feature
    // attribute"), and this module exists only where the whole program is compiled for processors that have it.
    unsafe { equal_mask_sse2(block, wanted) }
}

#[inline(always)]
pub(super) fn byte_sum(bytes: &[u8]) -> u8 {
    // SAFETY: as in `equal_mask`, the callee requires SSE2 and nothing else.
    unsafe { byte_sum_sse2(bytes) }
}

#[inline(always)]
pub(super) fn first_equal(numbers: &[u32; LANES], wanted: u32) -> Option<usize> {
    // SAFETY: as in `equal_mask`, the callee requires SSE2 and nothing else.
    unsafe { first_equal_sse2(numbers, wanted) }
}

#[inline(always)]
pub(super) fn digits_and_points(window: &[u8; WINDOW_BYTES]) -> (u16, u16) {
    // SAFETY: as in `equal_mask`, the callee requires SSE2 and nothing else.
    unsafe { digits_and_points_sse2(window) }
}

#[inline(always)]
pub(super) fn are_within(
    window: &[u8; WINDOW_BYTES],
    least: &[u8; WINDOW_BYTES],
    greatest: &[u8; WINDOW_BYTES],
) -> bool {
    // SAFETY: as in `equal_mask`, the callee requires SSE2 and nothing else.
    unsafe { are_within_sse2(window, least, greatest) }
}

/// Compiles to one unaligned load.
#[inline]
#[target_feature(enable = "sse2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    let number = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal_mask_sse2(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    let wanted = _mm_set1_epi8(wanted as i8);
    let (quarters, _) = block.as_chunks::<16>();
    let mut mask = 0;
    for (at, quarter) in quarters.iter().enumerate() {
        let bits = _mm_movemask_epi8(_mm_cmpeq_epi8(load(quarter), wanted));
        mask |= u64::from(bits as u16) << (16 * at);
    }
    mask
}

#[inline]
#[target_feature(enable = "sse2")]
fn byte_sum_sse2(bytes: &[u8]) -> u8 {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let mut lanes = _mm_setzero_si128();
    for chunk in chunks {
        // A lane that wraps loses multiples of 256 only.
        lanes = _mm_add_epi8(lanes, load(chunk));
    }
    let mut sum = 0;
    if !rest.is_empty() {
        match bytes.last_chunk::<16>() {
            // The last 16 bytes, those already added shifted out.
            Some(last) => {
                let number = u128::from_le_bytes(*last) >> (8 * (16 - rest.len()));
                lanes = _mm_add_epi8(lanes, load(&number.to_le_bytes()));
            }
            None => sum = rest.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)),
        }
    }
    let halves = _mm_sad_epu8(lanes, _mm_setzero_si128());
    let high = _mm_unpackhi_epi64(halves, halves);
    let total = _mm_cvtsi128_si64(halves).wrapping_add(_mm_cvtsi128_si64(high));
    (total as u8).wrapping_add(sum)
}

#[inline]
#[target_feature(enable = "sse2")]
fn first_equal_sse2(numbers: &[u32; LANES], wanted: u32) -> Option<usize> {
    let wanted = _mm_set1_epi32(wanted as i32);
    let quarter = |at: usize| {
        let lane = |number: usize| numbers[4 * at + number] as i32;
        _mm_cmpeq_epi32(_mm_setr_epi32(lane(0), lane(1), lane(2), lane(3)), wanted)
    };
    // Narrowed twice, a lane that is all ones stays so: one byte a number.
    let low = _mm_packs_epi32(quarter(0), quarter(1));
    let high = _mm_packs_epi32(quarter(2), quarter(3));
    let mask = _mm_movemask_epi8(_mm_packs_epi16(low, high));
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}

#[inline]
#[target_feature(enable = "sse2")]
fn digits_and_points_sse2(window: &[u8; WINDOW_BYTES]) -> (u16, u16) {
    let bytes = load(window);
    // What is less than the digit 0 wraps to more than 9.
    let numbers = _mm_sub_epi8(bytes, _mm_set1_epi8(b'0' as i8));
    let digits = _mm_cmpeq_epi8(_mm_min_epu8(numbers, _mm_set1_epi8(9)), numbers);
    let points = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'.' as i8));
    (_mm_movemask_epi8(digits) as u16, _mm_movemask_epi8(points) as u16)
}

#[inline]
#[target_feature(enable = "sse2")]
fn are_within_sse2(window: &[u8; WINDOW_BYTES], least: &[u8; WINDOW_BYTES], greatest: &[u8; WINDOW_BYTES]) -> bool {
    let bytes = load(window);
    // Differences that stop at zero.
    let beyond = _mm_or_si128(_mm_subs_epu8(load(least), bytes), _mm_subs_epu8(bytes, load(greatest)));
    _mm_movemask_epi8(_mm_cmpeq_epi8(beyond, _mm_setzero_si128())) == 0xffff
}
