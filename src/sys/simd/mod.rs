//! Vector primitives for [`crate::fix`] and [`crate::dictionary`]: find a byte, add bytes up, find a number, tell digits,
//! read many short decimal keys at once.
//!
//! On x86-64 they use SSE2, which is part of that target's baseline, and for whole messages AVX2 where the processor has
//! it, which is found out at run time. Elsewhere eight bytes are taken at a time in a `u64`. The tests hold all forms to
//! the same answers.

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod avx2;
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod portable;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod sse2;
#[cfg(test)]
mod tests;

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

/// How many bytes one call of [`positions`] looks at. A multiple of a block.
pub const SCAN_BYTES: usize = 512;
const _: () = assert!(SCAN_BYTES.is_multiple_of(BLOCK_BYTES));

/// How many keys [`short_keys`] reads in one step.
pub const KEYS_A_STEP: usize = 8;

/// The offset before the first field, those of the delimiters, and room for a whole step of [`short_keys`].
pub type Positions = [u32; 1 + SCAN_BYTES + KEYS_A_STEP];

/// Where a value lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    pub offset: u32,
    pub end: u32,
}

/// Keys of up to three digits: of each place's digits, the hundreds first, a bit for each class of keys that has it there. A key
/// is in the set where its three digits share a class.
pub type ShortKeySet = [[u8; 16]; 3];

/// The vector instructions that whole messages are read with here.
pub fn instructions() -> &'static str {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    return if avx2::is_there() { "AVX2" } else { "SSE2" };
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    return "no vector instructions";
}

/// A bit for each byte of the block that equals `wanted`, the first byte's lowest.
#[inline(always)]
pub fn equal_mask(block: &[u8; BLOCK_BYTES], wanted: u8) -> u64 {
    form::equal_mask(block, wanted)
}

/// The bytes from `from` on that are as many as a block, and fewer where the bytes end: their [`equal_mask`].
#[inline(always)]
fn equal_mask_from(bytes: &[u8], from: usize, wanted: u8, equal_mask: impl Fn(&[u8; BLOCK_BYTES]) -> u64) -> u64 {
    let rest = bytes.get(from..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return equal_mask(block);
    }
    match bytes.last_chunk() {
        // The last block of longer bytes is read to its end, over bytes already seen, whose bits are shifted out.
        Some(block) => equal_mask(block).checked_shr((BLOCK_BYTES - rest.len()) as u32).unwrap_or(0),
        None => {
            let mut block = [!wanted; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            equal_mask(&block)
        }
    }
}

/// The sum of all bytes modulo 256.
#[inline(always)]
pub fn byte_sum(bytes: &[u8]) -> u8 {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    if bytes.len() >= avx2::SUM_BYTES_MIN && avx2::is_there() {
        // SAFETY: the callee's only requirement is its target features, and the processor has them.
        return unsafe { avx2::byte_sum(bytes) };
    }
    form::byte_sum(bytes)
}

/// How many bytes equal `wanted`, and the sum of all bytes modulo 256: what a reader of a message cannot do without, and
/// nothing else. For benchmarks.
#[inline(always)]
pub fn count_and_sum(bytes: &[u8], wanted: u8) -> (u32, u8) {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    if bytes.len() >= avx2::SUM_BYTES_MIN && avx2::is_there() {
        // SAFETY: the callee's only requirement is its target features, and the processor has them.
        return unsafe { avx2::count_and_sum(bytes, wanted) };
    }
    let masks = (0..bytes.len()).step_by(BLOCK_BYTES);
    let masks = masks.map(|from| equal_mask_from(bytes, from, wanted, |block| form::equal_mask(block, wanted)));
    (masks.map(u64::count_ones).sum(), form::byte_sum(bytes))
}

/// Writes the offsets of all bytes that equal `wanted` among the [`SCAN_BYTES`] from `from` on, in ascending order and from the second
/// place on; answers how many they are. What lies behind them may have been written over.
#[inline(always)]
pub fn positions(bytes: &[u8], from: usize, wanted: u8, positions: &mut Positions) -> usize {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    if avx2::is_there() {
        // SAFETY: the callee's only requirement is its target features, and the processor has them.
        return unsafe { avx2::positions(bytes, from, wanted, positions) };
    }
    positions_by_masks(bytes, from, wanted, positions, |block| form::equal_mask(block, wanted))
}

#[inline(always)]
fn positions_by_masks(
    bytes: &[u8],
    from: usize,
    wanted: u8,
    positions: &mut Positions,
    equal_mask: impl Fn(&[u8; BLOCK_BYTES]) -> u64,
) -> usize {
    let until = bytes.len().min(from.saturating_add(SCAN_BYTES));
    let (mut count, mut base) = (0, from);
    while base < until {
        let mut mask = equal_mask_from(bytes, base, wanted, &equal_mask);
        // No block before this one had more bytes than places.
        let Some(places) = positions[1 + count..].first_chunk_mut::<BLOCK_BYTES>() else { break };
        let found = mask.count_ones() as usize;
        let mut put = |place: &mut u32| {
            *place = base as u32 + mask.trailing_zeros();
            mask &= mask.wrapping_sub(1);
        };
        // Eight whether there are so many or not: a guess that is never wrong costs less than a loop's end.
        let (first, rest) = places.split_at_mut(8);
        first.iter_mut().for_each(&mut put);
        if found > 8 {
            rest[..found - 8].iter_mut().for_each(&mut put);
        }
        count += found;
        base += BLOCK_BYTES;
    }
    count
}

/// Reads `key=` at the front of `count` fields, of which number `n` begins behind the position `n` and ends at the next. A
/// key is a decimal number without leading zeros.
///
/// Whatever is not beyond doubt a key of one to three digits that is not in `set` is asked for: `doubtful` gets the field's
/// number, and answers key and span, or none to stop there. The answer is how many fields have been read.
#[inline(always)]
pub fn short_keys(
    bytes: &[u8],
    positions: &Positions,
    count: usize,
    keys: &mut [u32],
    spans: &mut [Span],
    set: &ShortKeySet,
    doubtful: &mut dyn FnMut(usize) -> Option<(u32, Span)>,
) -> usize {
    let mut read = 0;
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    if avx2::is_there() {
        let steps = avx2::Steps { bytes, positions, count, set };
        // SAFETY: the callee's only requirement is its target features, and the processor has them.
        match unsafe { steps.run(keys, spans, doubtful) } {
            Ok(number) => read = number,
            Err(number) => return number,
        }
    }
    let _ = set;
    for (number, (key, span)) in keys.iter_mut().zip(spans).enumerate().take(count).skip(read) {
        let Some(found) = doubtful(number) else { return number };
        (*key, *span) = found;
    }
    count
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
