//! The processor's own time counter: a few nanoseconds a reading, where a clock of the kernel's costs some twenty.

#![allow(unsafe_code)]

/// The counter of this core, in ticks of a constant rate. Cores' counters are close to one another and not more: differences
/// are taken on one thread.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC is part of every x86-64 processor, and Linux lets user space execute it (PR_SET_TSC is not used here).
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: CNTVCT_EL0 can be read from user space on Linux (arm64's vDSO does it), and reading it touches no memory.
        unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Whether the counter runs at one rate on all cores, in every power state, and the kernel trusts it as its own clock. What is a time
/// must not be made of it otherwise.
pub fn is_steady() -> bool {
    is_invariant() && std::fs::read_to_string(CURRENT_CLOCKSOURCE).is_ok_and(|name| name.trim() == KERNEL_NAME)
}

/// The kernel leaves a clock source that its watchdog finds unsteady.
const CURRENT_CLOCKSOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const KERNEL_NAME: &str = if cfg!(target_arch = "aarch64") { "arch_sys_counter" } else { "tsc" };

#[cfg(target_arch = "x86_64")]
fn is_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    // CPUID 8000_0007H, EDX bit 8: Advanced Power Management Information, "invariant TSC".
    const EXTENDED: u32 = 0x8000_0000;
    const POWER_MANAGEMENT: u32 = 0x8000_0007;
    __cpuid(EXTENDED).eax >= POWER_MANAGEMENT && __cpuid(POWER_MANAGEMENT).edx & (1 << 8) != 0
}

/// The generic timer of the Arm architecture is; elsewhere `ticks` is no counter of the processor's.
#[cfg(not(target_arch = "x86_64"))]
fn is_invariant() -> bool {
    cfg!(target_arch = "aarch64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_a_thread_that_stays_on_its_core_does_not_go_back() {
        let core = core_affinity::get_core_ids().unwrap()[0];
        std::thread::spawn(move || {
            core_affinity::set_for_current(core);
            let mut last = ticks();
            for _ in 0..10_000 {
                let now = ticks();
                assert!(now >= last);
                last = now;
            }
            assert!(last > 0);
        })
        .join()
        .unwrap();
    }
}
