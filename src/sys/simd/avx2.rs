//! AVX2, and what bit operations every processor has that has it.

use std::arch::x86_64::{
    __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_unpackhi_epi64, _mm256_add_epi8, _mm256_add_epi32,
    _mm256_and_si256, _mm256_andnot_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmpeq_epi8, _mm256_cmpeq_epi32, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_min_epu32, _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_sllv_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_sub_epi32, _mm256_subs_epu8, _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi32, _mm256_xor_si256,
};
use std::sync::atomic::{AtomicU8, Ordering};

use super::{BLOCK_BYTES, KEYS_A_STEP, Positions, ShortKeySet, Span, equal_mask_from, positions_by_masks};

/// The fewest bytes that are added up here.
pub(super) const SUM_BYTES_MIN: usize = 64;
const VECTOR_BYTES: usize = 32;

/// Whether this processor has all that the functions here require.
#[inline(always)]
pub(super) fn is_there() -> bool {
    const UNKNOWN: u8 = 0;
    const MISSING: u8 = 1;
    const THERE: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
    #[cold]
    fn detect() -> u8 {
        let is_there = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        let state = if is_there { THERE } else { MISSING };
        STATE.store(state, Ordering::Relaxed);
        state
    }
    match STATE.load(Ordering::Relaxed) {
        UNKNOWN => detect() == THERE,
        state => state == THERE,
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; VECTOR_BYTES]) -> __m256i {
    // SAFETY: the reference is to 32 bytes that can be read, and the instruction asks for no alignment (Intel Intrinsics
    // Guide, _mm256_loadu_si256).
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_numbers(numbers: &[u32; KEYS_A_STEP]) -> __m256i {
    // SAFETY: as in `load`: eight numbers of four bytes are 32.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_numbers(numbers: &mut [u32; KEYS_A_STEP], vector: __m256i) {
    // SAFETY: the reference is to 32 bytes that can be written, nobody else has one to them, any bytes are numbers, and the
    // instruction asks for no alignment (Intel Intrinsics Guide, _mm256_storeu_si256).
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_spans(spans: &mut [Span; KEYS_A_STEP], first: __m256i, second: __m256i) {
    let ([low, high], _) = spans.as_chunks_mut::<{ KEYS_A_STEP / 2 }>() else { return };
    // SAFETY: as in `store_numbers`: four spans, which are two numbers each in the order of C, are 32 bytes.
    unsafe { _mm256_storeu_si256(low.as_mut_ptr().cast(), first) };
    // SAFETY: the same.
    unsafe { _mm256_storeu_si256(high.as_mut_ptr().cast(), second) };
}

/// The same sixteen bytes in both halves.
#[inline]
#[target_feature(enable = "avx2")]
fn load_table(table: &[u8; 16]) -> __m256i {
    // SAFETY: as in `load`, with 16 bytes (Intel Intrinsics Guide, _mm_loadu_si128).
    let half = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
    _mm256_broadcastsi128_si256(half)
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal_mask(block: &[u8; BLOCK_BYTES], wanted: __m256i) -> u64 {
    let ([low, high], _) = block.as_chunks() else { return 0 };
    let bits = |half: &[u8; VECTOR_BYTES]| _mm256_movemask_epi8(_mm256_cmpeq_epi8(load(half), wanted)) as u32;
    u64::from(bits(low)) | u64::from(bits(high)) << 32
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_lanes(lanes: __m256i) -> u8 {
    let sums = _mm256_sad_epu8(lanes, _mm256_setzero_si256());
    let halves = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    _mm_cvtsi128_si64(_mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves))) as u8
}

/// The last 32 bytes with zeros in the place of those that are not among the last `rest`, which are fewer than 32.
#[inline]
#[target_feature(enable = "avx2")]
fn load_rest(bytes: &[u8], rest: usize) -> __m256i {
    const ZEROS_AND_ONES: [u8; 2 * VECTOR_BYTES] = {
        let mut bytes = [0; 2 * VECTOR_BYTES];
        let mut at = VECTOR_BYTES;
        while at < bytes.len() {
            bytes[at] = 0xff;
            at += 1;
        }
        bytes
    };
    match (bytes.last_chunk(), ZEROS_AND_ONES[rest % VECTOR_BYTES..].first_chunk()) {
        (Some(last), Some(mask)) => _mm256_and_si256(load(last), load(mask)),
        _ => _mm256_setzero_si256(),
    }
}

/// Of at least [`SUM_BYTES_MIN`] bytes.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn byte_sum(bytes: &[u8]) -> u8 {
    let (chunks, rest) = bytes.as_chunks();
    // A lane that wraps loses multiples of 256 only.
    let lanes = chunks.iter().fold(load_rest(bytes, rest.len()), |lanes, chunk| _mm256_add_epi8(lanes, load(chunk)));
    sum_of_lanes(lanes)
}

/// Of at least [`SUM_BYTES_MIN`] bytes.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn count_and_sum(bytes: &[u8], wanted: u8) -> (u32, u8) {
    let wanted_lanes = _mm256_set1_epi8(wanted as i8);
    let (chunks, rest) = bytes.as_chunks();
    let mut lanes = load_rest(bytes, rest.len());
    let mut count = 0;
    let (blocks, odd) = chunks.as_chunks::<2>();
    for [low, high] in blocks {
        let (low, high) = (load(low), load(high));
        let bits = |half: __m256i| _mm256_movemask_epi8(_mm256_cmpeq_epi8(half, wanted_lanes)) as u32;
        count += (u64::from(bits(low)) | u64::from(bits(high)) << 32).count_ones();
        lanes = _mm256_add_epi8(lanes, _mm256_add_epi8(low, high));
    }
    for chunk in odd {
        lanes = _mm256_add_epi8(lanes, load(chunk));
    }
    let scanned = bytes.len() - bytes.len() % BLOCK_BYTES;
    count += equal_mask_from(bytes, scanned, wanted, |block| equal_mask(block, wanted_lanes)).count_ones();
    (count, sum_of_lanes(lanes))
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn positions(bytes: &[u8], from: usize, wanted: u8, positions: &mut Positions) -> usize {
    let wanted_lanes = _mm256_set1_epi8(wanted as i8);
    positions_by_masks(bytes, from, wanted, positions, |block| equal_mask(block, wanted_lanes))
}

/// What [`super::short_keys`] is asked.
pub(super) struct Steps<'a> {
    pub bytes: &'a [u8],
    pub positions: &'a Positions,
    pub count: usize,
    pub set: &'a ShortKeySet,
}

impl Steps<'_> {
    /// Eight keys a step. `Ok` is how many of the fields have been read, and none of the others has been looked at; `Err` is
    /// where `doubtful` stopped.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn run(
        &self,
        keys: &mut [u32],
        spans: &mut [Span],
        doubtful: &mut dyn FnMut(usize) -> Option<(u32, Span)>,
    ) -> Result<usize, usize> {
        let &Self { bytes, positions, count, set: [hundreds, tens, ones] } = self;
        // No closure is handed to what is not compiled for AVX2: neither would be inlined into the other.
        if bytes.len() < size_of::<u32>() || bytes.len() > u32::MAX as usize {
            return Ok(0);
        }
        let limit = (bytes.len() - size_of::<u32>()) as u32;
        let zero = _mm256_setzero_si256();
        let all_ones = _mm256_set1_epi32(-1);
        let limit_lanes = _mm256_set1_epi32(limit as i32);
        let equals = _mm256_set1_epi8(b'=' as i8);
        let nines = _mm256_set1_epi8(9);
        let [hundreds, tens, ones] = [load_table(hundreds), load_table(tens), load_table(ones)];
        let (steps_before, _) = positions.as_chunks();
        let (steps_of_ends, _) = positions[1..].as_chunks();
        let steps_of_keys = keys.as_chunks_mut::<KEYS_A_STEP>().0.iter_mut().zip(spans.as_chunks_mut().0);
        let mut at = 0;
        for (((keys, spans), before), ends) in steps_of_keys.zip(steps_before).zip(steps_of_ends) {
            if at >= count {
                break;
            }
            let starts = _mm256_sub_epi32(load_numbers(before), all_ones);
            let safe = _mm256_min_epu32(starts, limit_lanes);
            let mut offsets = [0; KEYS_A_STEP];
            store_numbers(&mut offsets, safe);
            // One load each: a gather is no faster on the processors that have a quick one, and many times slower on those
            // that guard it against sampling.
            let word = |lane: usize| {
                let offset = offsets[lane] as usize;
                // SAFETY: the offset is the least of two numbers of which one is `limit`, four less than the bytes' length,
                // so that four bytes from there on are within them.
                let word = unsafe { bytes.get_unchecked(offset..offset + size_of::<u32>()) };
                word.first_chunk().map_or(0, |word| i32::from_le_bytes(*word))
            };
            let words = _mm256_setr_epi32(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7));
            // All bits of the bytes before the first `=`, of which there may be none.
            let equal = _mm256_cmpeq_epi8(words, equals);
            let before_equal = _mm256_andnot_si256(equal, _mm256_add_epi32(equal, all_ones));
            let digits = _mm256_and_si256(_mm256_xor_si256(words, _mm256_set1_epi8(b'0' as i8)), before_equal);
            // How many they are, less than zero: each byte of all ones is -1.
            let minus_count =
                _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), before_equal), _mm256_set1_epi16(1));
            // The last digit in the top byte.
            let shift = _mm256_add_epi32(_mm256_slli_epi32::<3>(minus_count), _mm256_set1_epi32(32));
            let aligned = _mm256_sllv_epi32(digits, shift);
            let pairs = _mm256_maddubs_epi16(aligned, _mm256_set1_epi16(0x010a));
            let key = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_0064));
            // Not zero where a byte is no digit, or the three digits share a class.
            let beyond_nine = _mm256_subs_epu8(digits, nines);
            let of_set = _mm256_and_si256(
                _mm256_and_si256(
                    _mm256_shuffle_epi8(hundreds, aligned),
                    _mm256_srli_epi32::<8>(_mm256_shuffle_epi8(tens, aligned)),
                ),
                _mm256_srli_epi32::<16>(_mm256_shuffle_epi8(ones, aligned)),
            );
            let of_set = _mm256_and_si256(of_set, _mm256_set1_epi32(0xff00));
            let is_right = _mm256_cmpeq_epi32(_mm256_or_si256(beyond_nine, of_set), zero);
            // A first digit of zero or none at all, and no `=` among the four bytes.
            let is_wrong = _mm256_or_si256(
                _mm256_cmpeq_epi32(_mm256_slli_epi32::<24>(digits), zero),
                _mm256_cmpeq_epi32(before_equal, all_ones),
            );
            let is_right = _mm256_andnot_si256(is_wrong, _mm256_and_si256(is_right, _mm256_cmpeq_epi32(safe, starts)));
            let right = _mm256_movemask_ps(_mm256_castsi256_ps(is_right)) as u32;

            store_numbers(keys, key);
            let offsets = _mm256_sub_epi32(_mm256_sub_epi32(starts, all_ones), minus_count);
            let ends = load_numbers(ends);
            let low = _mm256_unpacklo_epi32(offsets, ends);
            let high = _mm256_unpackhi_epi32(offsets, ends);
            store_spans(
                spans,
                _mm256_permute2x128_si256::<0x20>(low, high),
                _mm256_permute2x128_si256::<0x31>(low, high),
            );

            let doubts = !right & (1u32 << (count - at).min(KEYS_A_STEP)).wrapping_sub(1);
            if doubts != 0 {
                ask(doubts, at, keys, spans, doubtful)?;
            }
            at += KEYS_A_STEP;
        }
        Ok(at.min(count))
    }
}

/// Asks for the fields of a step that are in doubt; `Err` is the first that there is no answer to.
#[cold]
#[inline(never)]
fn ask(
    mut doubts: u32,
    at: usize,
    keys: &mut [u32; KEYS_A_STEP],
    spans: &mut [Span; KEYS_A_STEP],
    doubtful: &mut dyn FnMut(usize) -> Option<(u32, Span)>,
) -> Result<(), usize> {
    while doubts != 0 {
        let lane = doubts.trailing_zeros() as usize % KEYS_A_STEP;
        let Some(found) = doubtful(at + lane) else { return Err(at + lane) };
        (keys[lane], spans[lane]) = found;
        doubts &= doubts - 1;
    }
    Ok(())
}
