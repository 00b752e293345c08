//! Vector primitives for [`crate::fix`] and [`crate::dictionary`]: find a byte, add bytes up, find a number, tell digits.
//!
//! On x86-64 they use SSE2, which is part of that target's baseline: nothing is detected at run time. Elsewhere
//! eight bytes are taken at a time in a `u64`. The tests hold both forms to the same answers.
//!
//! AVX2 was left out: at the size of an order all bytes are scanned and added up in a few ns, a small part of what
//! decoding costs, and half of that would not pay for a detection and a second form.

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use portable as form;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use sse2 as form;

/// How many bytes [`equal_mask`] looks at: as many as a `u64` has bits.
pub const BLOCK_BYTES: usize = 64;

/// How many bytes [`digits_and_points`] and [`are_within`] look at.
pub const WINDOW_BYTES: usize = 16;

/// How many numbers [`first_equal`] compares.
pub const LANES: usize = 16;

/// A bit for each byte of the block that equals `wanted`, the first byte's lowest.
#[inline(always)]
pub fn equal_mask(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    form::equal_mask(block, wanted)
}

/// The sum of all bytes modulo 256.
#[inline(always)]
pub fn byte_sum(bytes: &[u8]) -> u8 {
    form::byte_sum(bytes)
}

/// Where `wanted` first stands.
#[inline(always)]
pub fn first_equal(numbers: &[u32; LANES], wanted: u32) -> Option<usize> {
    form::first_equal(numbers, wanted)
}

/// A bit for each byte that is a decimal digit and one for each that is a point, the first byte's lowest.
#[inline(always)]
pub fn digits_and_points(window: &[u8; WINDOW_BYTES]) -> (u16, u16) {
    form::digits_and_points(window)
}

/// Whether no byte is less than the one in its place in `least`, or greater than that in `greatest`.
#[inline(always)]
pub fn are_within(window: &[u8; WINDOW_BYTES], least: &[u8; WINDOW_BYTES], greatest: &[u8; WINDOW_BYTES]) -> bool {
    form::are_within(window, least, greatest)
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2 {
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
}

/// Eight bytes at a time. Compiled on x86-64 for the tests alone.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod portable {
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
        let mask = |is_one: fn(&u8) -> bool| {
            window.iter().rev().fold(0, |mask: u16, byte| mask << 1 | u16::from(is_one(byte)))
        };
        (mask(u8::is_ascii_digit), mask(|byte| *byte == b'.'))
    }

    pub(super) fn are_within(
        window: &[u8; WINDOW_BYTES],
        least: &[u8; WINDOW_BYTES],
        greatest: &[u8; WINDOW_BYTES],
    ) -> bool {
        window.iter().zip(least).zip(greatest).all(|((byte, least), greatest)| (least..=greatest).contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_find_every_byte_at_every_place() {
        for at in 0..BLOCK_BYTES {
            for wanted in 0..=255 {
                // The neighbours differ in one bit, which is where carries between bytes would show.
                let mut block = [wanted ^ 1; BLOCK_BYTES];
                block[at] = wanted;
                assert_eq!(form::equal_mask(&block, wanted), 1 << at);
                assert_eq!(portable::equal_mask(&block, wanted), 1 << at);
            }
        }
    }

    #[test]
    fn both_forms_know_every_byte_at_every_place() {
        for at in 0..WINDOW_BYTES {
            for byte in 0..=255u8 {
                let mut window = [b'5'; WINDOW_BYTES];
                window[at] = byte;
                let bit = |is_one: bool| u16::from(is_one) << at;
                let others = !(1 << at);
                let expected = (others | bit(byte.is_ascii_digit()), bit(byte == b'.'));
                assert_eq!(form::digits_and_points(&window), expected);
                assert_eq!(portable::digits_and_points(&window), expected);
                for (least, greatest) in [(b'0', b'9'), (0, 0xff), (b'-', b'-'), (0x7f, 0x80), (b'5', b'5')] {
                    let mut bounds = [[b'5'; WINDOW_BYTES]; 2];
                    (bounds[0][at], bounds[1][at]) = (least, greatest);
                    let expected = (least..=greatest).contains(&byte);
                    assert_eq!(form::are_within(&window, &bounds[0], &bounds[1]), expected);
                    assert_eq!(portable::are_within(&window, &bounds[0], &bounds[1]), expected);
                }
            }
        }
    }

    #[test]
    fn both_forms_agree_on_noise() {
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..2_000 {
            let bytes: Vec<u8> = (0..64 + round % 64).map(|_| random.u8(..4)).collect();
            let block = bytes.first_chunk().unwrap();
            assert_eq!(form::equal_mask(block, 1), portable::equal_mask(block, 1));
            let short = &bytes[..round % 40];
            assert_eq!(form::byte_sum(short), portable::byte_sum(short));
            let window = std::array::from_fn(|_| random.u8(b'-'..=b';'));
            assert_eq!(form::digits_and_points(&window), portable::digits_and_points(&window));
            let (least, greatest) = ([random.u8(..b'2'); WINDOW_BYTES], [random.u8(b'6'..); WINDOW_BYTES]);
            let is_within = portable::are_within(&window, &least, &greatest);
            assert_eq!(form::are_within(&window, &least, &greatest), is_within);
            let numbers = std::array::from_fn(|_| random.u32(..40) << (round % 26));
            let wanted = random.u32(..40) << (round % 26);
            assert_eq!(form::first_equal(&numbers, wanted), portable::first_equal(&numbers, wanted));
        }
    }

    #[test]
    fn sums_wrap_at_256_however_long_the_bytes() {
        for length in 0..600 {
            let bytes = vec![0xff; length];
            let expected = (length * 255) as u8;
            assert_eq!((form::byte_sum(&bytes), portable::byte_sum(&bytes)), (expected, expected));
        }
    }
}
