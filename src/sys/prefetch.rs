//! Asks the processor for memory that will be needed soon. A hint: nothing is read, written or waited for.

#![allow(unsafe_code)]

/// What a cache line holds on the processors that FIX runs on.
pub const LINE_BYTES: usize = 64;

/// The line where `place` begins, to be written.
#[inline(always)]
pub fn for_write<T>(place: &T) {
    line_for_write((&raw const *place).cast());
}

/// All lines of `place`, to be written.
#[inline(always)]
pub fn all_for_write<T>(place: &T) {
    let start: *const u8 = (&raw const *place).cast();
    for offset in (0..size_of::<T>()).step_by(LINE_BYTES) {
        line_for_write(start.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn line_for_write(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a prefetch accesses no memory that the program could see, and faults on no address (PREFETCHW in the processors'
    // manuals; those that do not know it take it for a NOP).
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) fn line_for_write(place: *const u8) {
    // SAFETY: PRFM accesses no memory that the program could see, and generates no fault (Arm ARM, "Prefetch memory").
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(super) fn line_for_write(_place: *const u8) {}
