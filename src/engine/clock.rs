//! The engine's clock: a reading a turn, after the poll, and one whenever bytes have come.
//!
//! A worker that spins reads its clock millions of times a second, and two calls of clock_gettime(2) cost it some 50 ns in each turn,
//! of which a message pays. So the time is read from the processor's counter where that is [steady](tsc::is_steady), and once a
//! millisecond held to the kernel's clocks, which stay the truth. A start waits for nothing: the kernel's clocks answer
//! alone until the counter's rate is known.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::fix::UtcTimestamp;
use crate::session::Now;
use crate::sys::tsc;

/// How long the kernel's clocks are taken for the time without looking at them. A wall clock that somebody sets is seen within it, and a
/// rate that is wrong by a thousandth makes a microsecond.
const HOLD_NS: u64 = 1_000_000;
/// A rate is measured over so long at least: readings some 50 ns apart make it wrong by a few millionths.
const MEASURE_NS: u64 = 20_000_000;
/// Measured anew after so long, since the kernel's clock is slewed, by up to 500 ppm.
const MEASURE_AGAIN_NS: u64 = 500_000_000;
/// A rate that differs more from the one before is none: the counter has been stopped or changed, or the machine moved.
const RATE_CHANGE_PPM_MAX: u64 = 1_000;
/// After so many of them the counter is not believed any more.
const RATE_CHANGES_MAX: u32 = 8;
/// Within a look the counter and the kernel's clock are read together: further apart, and the
/// thread was kept from its core between.
const LOOK_NS_MAX: u64 = 2_000;
/// A look is tried so often. After that the kernel's clocks are asked again by the next reading.
const LOOKS_MAX: u32 = 4;
/// A rate is in ns per tick, times 2^32.
const RATE_SHIFT: u32 = 32;

/// Where the time comes from. Tests bring their own.
pub trait Clock {
    fn now(&mut self) -> Now;
}

impl<C: Clock> Clock for &mut C {
    #[inline]
    fn now(&mut self) -> Now {
        (**self).now()
    }
}

/// A time that stands still: for whoever drives a worker step by step.
impl Clock for Now {
    #[inline]
    fn now(&mut self) -> Now {
        *self
    }
}

/// CLOCK_MONOTONIC since the clock was made, which never runs backwards, and CLOCK_REALTIME, which does where somebody sets it back.
#[derive(Clone, Debug)]
pub struct SystemClock(Steered<Kernel>);

impl SystemClock {
    #[allow(clippy::new_without_default, reason = "a default clock would hide that it starts at zero")]
    pub fn new() -> Self {
        Self(Steered::new(Kernel(Instant::now()), tsc::is_steady()))
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&mut self) -> Now {
        self.0.now()
    }
}

/// What is read.
trait Sources {
    fn ticks(&mut self) -> u64;
    fn monotonic_ns(&mut self) -> u64;
    fn unix_ns(&mut self) -> u64;
}

#[derive(Clone, Copy, Debug)]
struct Kernel(Instant);

impl Sources for Kernel {
    #[inline]
    fn ticks(&mut self) -> u64 {
        tsc::ticks()
    }

    #[inline]
    fn monotonic_ns(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn unix_ns(&mut self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    }
}

#[derive(Clone, Debug)]
struct Steered<S> {
    sources: S,
    /// The last look at the kernel's clocks.
    base: Reading,
    /// How many ticks after it the next look is due; 0 while the rate is not known.
    hold_ticks: u64,
    rate: u64,
    /// Where the measurement of the next rate began.
    measured_from: Reading,
    rate_changes: u32,
    has_counter: bool,
    /// What was told last.
    last_ns: u64,
    /// What the real time is ahead of the monotonic one. It changes only where somebody sets it: the kernel slews both.
    real_ahead_ns: u64,
}

/// The same moment on both.
#[derive(Clone, Copy, Debug)]
struct Reading {
    ticks: u64,
    ns: u64,
}

impl<S: Sources> Steered<S> {
    fn new(mut sources: S, has_counter: bool) -> Self {
        let reading = Reading { ticks: sources.ticks(), ns: sources.monotonic_ns() };
        let real_ahead_ns = sources.unix_ns().wrapping_sub(reading.ns);
        let mut clock = Self {
            sources,
            base: reading,
            hold_ticks: 0,
            rate: 0,
            measured_from: reading,
            rate_changes: 0,
            has_counter,
            last_ns: reading.ns,
            real_ahead_ns,
        };
        clock.look();
        clock.measured_from = clock.base;
        clock
    }

    #[inline]
    fn now(&mut self) -> Now {
        // A counter that went back is far ahead, modulo 2^64.
        let ticks = self.sources.ticks().wrapping_sub(self.base.ticks);
        if ticks >= self.hold_ticks {
            return self.look();
        }
        // Within `hold_ticks` it cannot overflow, see `measure`.
        self.tell(self.base.ns + ((ticks * self.rate) >> RATE_SHIFT))
    }

    #[inline]
    fn tell(&mut self, ns: u64) -> Now {
        // The counter may have been ahead of the kernel by a few ns when both were held together.
        self.last_ns = self.last_ns.max(ns);
        let unix_ns = self.last_ns.wrapping_add(self.real_ahead_ns);
        Now { monotonic_ns: self.last_ns, utc: UtcTimestamp::from_unix_ns(unix_ns) }
    }

    /// Asks the kernel.
    #[cold]
    #[inline(never)]
    fn look(&mut self) -> Now {
        let mut ns = self.sources.monotonic_ns();
        if !self.has_counter && ns.saturating_sub(self.base.ns) < HOLD_NS {
            return self.tell(ns);
        }
        for _ in 0..LOOKS_MAX {
            let unix_ns = self.sources.unix_ns();
            let after_ns = self.sources.monotonic_ns();
            self.follow_real_time(ns, unix_ns, after_ns);
            let ticks = self.sources.ticks();
            ns = self.sources.monotonic_ns();
            self.base = Reading { ticks, ns };
            // A clock that is behind would stamp an answer with a time from before its request.
            if ns.saturating_sub(after_ns) <= LOOK_NS_MAX {
                if self.has_counter {
                    self.measure();
                }
                return self.tell(ns);
            }
        }
        self.base.ticks = self.base.ticks.wrapping_sub(self.hold_ticks);
        self.tell(ns)
    }

    /// The real time was read between two readings of the monotonic one: what it is ahead lies
    /// between these, however long that took.
    fn follow_real_time(&mut self, before_ns: u64, unix_ns: u64, after_ns: u64) {
        let (least, most) = (unix_ns.wrapping_sub(after_ns), unix_ns.wrapping_sub(before_ns));
        let above = self.real_ahead_ns.wrapping_sub(least) as i64;
        if above < 0 {
            self.real_ahead_ns = least;
        } else if above as u64 > most.wrapping_sub(least) {
            self.real_ahead_ns = most;
        }
    }

    /// Takes the counter's rate from the time since the measurement began, once that is long enough.
    fn measure(&mut self) {
        let Reading { ticks, ns } = self.measured_from;
        let elapsed_ns = self.base.ns.saturating_sub(ns);
        if elapsed_ns < if self.hold_ticks == 0 { MEASURE_NS } else { MEASURE_AGAIN_NS } {
            return;
        }
        self.measured_from = self.base;
        let elapsed_ticks = self.base.ticks.wrapping_sub(ticks);
        let rate = (u128::from(elapsed_ns) << RATE_SHIFT) / u128::from(elapsed_ticks.max(1));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let is_new = self.hold_ticks == 0;
        let is_credible = is_new || rate.abs_diff(self.rate) <= self.rate / 1_000_000 * RATE_CHANGE_PPM_MAX;
        let hold_ticks = (u128::from(HOLD_NS) << RATE_SHIFT) / u128::from(rate.max(1));
        // A product of both is HOLD_NS × 2^32. A counter slower than a tick a microsecond, or faster than one a femtosecond, is none.
        let is_counter = rate < 1_000 << RATE_SHIFT && rate > 1 << (RATE_SHIFT - 20);
        if is_credible && is_counter {
            (self.rate, self.hold_ticks) = (rate, hold_ticks as u64);
            return;
        }
        self.hold_ticks = 0;
        self.rate_changes += 1;
        self.has_counter = self.rate_changes < RATE_CHANGES_MAX;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    const START_UNIX_NS: u64 = 1_790_000_000_000_000_000;

    /// A machine whose clocks are told what to say.
    #[derive(Clone)]
    struct Machine(Rc<State>);

    struct State {
        ns: Cell<u64>,
        /// Of which the counter makes `per_us` a microsecond.
        ticks: Cell<u64>,
        thousandths: Cell<u64>,
        per_us: Cell<u64>,
        real_ahead_ns: Cell<i64>,
        /// What each reading of a clock of the kernel's takes.
        reading_ns: Cell<u64>,
        kernel_readings: Cell<u64>,
        /// In so many readings the thread is kept from its core, for so long.
        stall: Cell<Option<(u64, u64)>>,
    }

    impl Machine {
        fn new() -> Self {
            Self(Rc::new(State {
                ns: Cell::new(5),
                ticks: Cell::new(u64::MAX - 1_000_000),
                thousandths: Cell::new(0),
                per_us: Cell::new(2_596),
                real_ahead_ns: Cell::new(0),
                reading_ns: Cell::new(20),
                kernel_readings: Cell::new(0),
                stall: Cell::new(None),
            }))
        }

        fn pass(&self, ns: u64) {
            self.0.ns.set(self.0.ns.get() + ns);
            let thousandths = self.0.thousandths.get() + ns * self.0.per_us.get();
            self.0.ticks.set(self.0.ticks.get().wrapping_add(thousandths / 1_000));
            self.0.thousandths.set(thousandths % 1_000);
        }

        fn read_kernel(&self) {
            self.pass(self.0.reading_ns.get());
            self.0.kernel_readings.set(self.0.kernel_readings.get() + 1);
        }

        fn stall(&self) {
            match self.0.stall.take() {
                Some((0, ns)) => self.pass(ns),
                Some((left, ns)) => self.0.stall.set(Some((left - 1, ns))),
                None => {}
            }
        }

        fn unix_ns(&self) -> u64 {
            (START_UNIX_NS + self.0.ns.get()).saturating_add_signed(self.0.real_ahead_ns.get())
        }
    }

    impl Sources for Machine {
        fn ticks(&mut self) -> u64 {
            let ticks = self.0.ticks.get();
            self.stall();
            ticks
        }

        fn monotonic_ns(&mut self) -> u64 {
            self.read_kernel();
            let ns = self.0.ns.get();
            self.stall();
            ns
        }

        fn unix_ns(&mut self) -> u64 {
            self.read_kernel();
            let unix_ns = Machine::unix_ns(self);
            self.stall();
            unix_ns
        }
    }

    /// Turns for so long, and answers how far the times told were from the true ones at most, once the clock had a millisecond for it.
    fn run(machine: &Machine, clock: &mut Steered<Machine>, for_ns: u64, random: &mut fastrand::Rng) -> (u64, u64) {
        let end_ns = machine.0.ns.get() + for_ns;
        let settled_ns = machine.0.ns.get() + HOLD_NS + 10_000;
        let (mut monotonic_off, mut utc_off) = (0, 0);
        while machine.0.ns.get() < end_ns {
            machine.pass(random.u64(200..5_000));
            let last_ns = clock.last_ns;
            let now = clock.now();
            assert!(now.monotonic_ns >= last_ns, "it runs backwards");
            if machine.0.ns.get() > settled_ns {
                monotonic_off = monotonic_off.max(now.monotonic_ns.abs_diff(machine.0.ns.get()));
                utc_off = utc_off.max(now.utc.unix_ns.abs_diff(machine.unix_ns()));
            }
        }
        (monotonic_off, utc_off)
    }

    #[test]
    fn the_kernel_is_asked_once_a_millisecond_and_the_time_told_is_its_own() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(1));
        let mut clock = Steered::new(machine.clone(), true);
        let (monotonic_off, utc_off) = run(&machine, &mut clock, 2 * MEASURE_NS, &mut random);
        assert!(monotonic_off <= 100 && utc_off <= 100, "{monotonic_off} {utc_off}");
        let before = machine.0.kernel_readings.get();
        let (monotonic_off, utc_off) = run(&machine, &mut clock, 100 * HOLD_NS, &mut random);
        let readings = machine.0.kernel_readings.get() - before;
        assert!((350..=410).contains(&readings), "{readings}");
        assert!(monotonic_off <= 100 && utc_off <= 100, "{monotonic_off} {utc_off}");
    }

    #[test]
    fn a_wall_clock_that_is_set_is_seen_within_a_millisecond_and_moves_no_deadline() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(2));
        for has_counter in [true, false] {
            let mut clock = Steered::new(machine.clone(), has_counter);
            run(&machine, &mut clock, 2 * MEASURE_NS, &mut random);
            for jump_ns in [3_600_000_000_000, -7_200_000_000_000, 1_000_000_000, 40_000, -40_000] {
                machine.0.real_ahead_ns.set(machine.0.real_ahead_ns.get() + jump_ns);
                let (monotonic_off, utc_off) = run(&machine, &mut clock, 3 * HOLD_NS, &mut random);
                assert!(monotonic_off <= 100 && utc_off <= 100, "{jump_ns}: {monotonic_off} {utc_off}");
            }
        }
    }

    #[test]
    fn a_slewed_clock_is_followed() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(3));
        let mut clock = Steered::new(machine.clone(), true);
        run(&machine, &mut clock, 2 * MEASURE_NS, &mut random);
        // 500 ppm, the most that the kernel slews by.
        machine.0.per_us.set(2_597);
        let (monotonic_off, _) = run(&machine, &mut clock, 2 * MEASURE_AGAIN_NS, &mut random);
        assert!(monotonic_off <= 700, "{monotonic_off}");
    }

    #[test]
    fn a_counter_that_stops_jumps_or_changes_its_rate_makes_no_wrong_time_for_long() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(4));
        let mut clock = Steered::new(machine.clone(), true);
        run(&machine, &mut clock, 2 * MEASURE_NS, &mut random);
        machine.0.ticks.set(machine.0.ticks.get().wrapping_sub(1 << 40));
        let (monotonic_off, _) = run(&machine, &mut clock, 10 * HOLD_NS, &mut random);
        assert!(monotonic_off <= 200, "{monotonic_off}");
        // A machine that moved to one with another counter.
        machine.0.per_us.set(2_000);
        run(&machine, &mut clock, 2 * MEASURE_AGAIN_NS, &mut random);
        let (monotonic_off, _) = run(&machine, &mut clock, 10 * HOLD_NS, &mut random);
        assert!(monotonic_off <= 200, "{monotonic_off}");
        for round in 0..2 * RATE_CHANGES_MAX {
            machine.0.per_us.set(1_000 + u64::from(round % 2) * 1_000);
            run(&machine, &mut clock, 2 * MEASURE_AGAIN_NS, &mut random);
        }
        assert!(!clock.has_counter, "it is not believed for ever");
        let (monotonic_off, utc_off) = run(&machine, &mut clock, 10 * HOLD_NS, &mut random);
        assert!(monotonic_off <= 100 && utc_off <= 100, "{monotonic_off} {utc_off}");
    }

    #[test]
    fn a_thread_that_is_kept_from_its_core_all_the_time_is_right_again_after_a_millisecond() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(5));
        let mut clock = Steered::new(machine.clone(), true);
        for _ in 0..50 {
            run(&machine, &mut clock, 2 * HOLD_NS, &mut random);
            machine.0.reading_ns.set(300_000);
            machine.pass(HOLD_NS);
            let now = clock.now();
            machine.0.reading_ns.set(20);
            assert!(now.monotonic_ns <= machine.0.ns.get());
            let (monotonic_off, utc_off) = run(&machine, &mut clock, 3 * HOLD_NS, &mut random);
            assert!(monotonic_off <= 20_000 && utc_off <= 20_000, "{monotonic_off} {utc_off}");
        }
    }

    /// Under load a worker was kept from its core between the kernel's clock and the counter, and
    /// for the next millisecond its time was as far behind: answers were stamped before their
    /// requests were sent.
    #[test]
    fn a_thread_that_is_kept_from_its_core_within_a_look_is_right_at_its_next_reading() {
        let (machine, mut random) = (Machine::new(), fastrand::Rng::with_seed(6));
        for first in [true, false] {
            for reading in 0..8 {
                let mut clock = Steered::new(machine.clone(), true);
                if !first {
                    run(&machine, &mut clock, 2 * MEASURE_NS, &mut random);
                }
                machine.pass(HOLD_NS);
                machine.0.stall.set(Some((reading, 4_000_000)));
                clock.now();
                machine.0.stall.set(None);
                for _ in 0..100 {
                    machine.pass(random.u64(10..20_000));
                    let now = clock.now();
                    let off = now.monotonic_ns.abs_diff(machine.0.ns.get());
                    let utc_off = now.utc.unix_ns.abs_diff(machine.unix_ns());
                    assert!(off <= 100 && utc_off <= 100, "{first} {reading}: {off} {utc_off}");
                }
            }
        }
    }

    #[test]
    fn the_clock_of_this_machine_agrees_with_its_kernel() {
        let mut clock = SystemClock::new();
        let start = Instant::now();
        let mut last = clock.now();
        while start.elapsed().as_millis() < 60 {
            let before_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
            let now = clock.now();
            assert!(now.monotonic_ns >= last.monotonic_ns);
            // Other work may keep a thread from its core between any two of these readings, for longer and longer.
            assert!(now.utc.unix_ns.abs_diff(before_unix_ns) < 10_000_000_000);
            last = now;
        }
        assert!((0..10_000_000).any(|_| clock.now().monotonic_ns >= 60_000_000));
    }
}
