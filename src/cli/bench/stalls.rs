//! The machine's own stalls: a thread that does nothing but read the clock, on a core where nothing of ours runs meanwhile.
//!
//! The gap between two of its reads is how long something else had the core: an interrupt, another thread, the hypervisor. No engine
//! on that core can be better than that, and no benchmark of it says so unless it looks.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::pin;

/// A gap from here on is counted as a stall: reading the clock takes hundredths of it.
const STALL_NS_MIN: u64 = 5_000;
/// Gaps that are kept one by one; more only add to the sums.
const GAPS_MAX: usize = 1 << 20;

/// What one core did to a thread that never stopped asking.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stalls {
    pub core: usize,
    pub seconds: f64,
    pub clock_reads: u64,
    pub gaps_over_5_us: u64,
    pub gaps_over_50_us: u64,
    pub gaps_over_500_us: u64,
    pub longest_us: f64,
    /// Of the gaps over 5 µs.
    pub gap_p50_us: f64,
    pub gap_p99_us: f64,
    /// The part of the time that they took together.
    pub share_of_time: f64,
    #[serde(skip)]
    gaps_ns: Vec<u64>,
}

impl Stalls {
    /// Asks for so long, on that core.
    pub fn probe(core: usize, duration: Duration) -> Self {
        let probe = move || {
            pin(core);
            let mut stalls = Self { core, gaps_ns: Vec::with_capacity(4_096), ..Self::default() };
            let start = Instant::now();
            let (mut last_ns, end_ns) = (0, duration.as_nanos() as u64);
            while last_ns < end_ns {
                let now_ns = start.elapsed().as_nanos() as u64;
                let gap_ns = now_ns - last_ns;
                if gap_ns > STALL_NS_MIN && stalls.gaps_ns.len() < GAPS_MAX {
                    stalls.gaps_ns.push(gap_ns);
                }
                stalls.clock_reads += 1;
                last_ns = now_ns;
            }
            stalls.seconds = last_ns as f64 / 1e9;
            stalls
        };
        // A thread of its own: the caller stays on its core.
        let mut stalls = std::thread::spawn(probe).join().expect("a thread that reads a clock does not panic");
        stalls.conclude();
        stalls
    }

    /// Adds what another probe of the same core found.
    pub fn add(&mut self, other: Self) {
        self.core = other.core;
        self.seconds += other.seconds;
        self.clock_reads += other.clock_reads;
        self.gaps_ns.extend(other.gaps_ns);
        self.conclude();
    }

    fn conclude(&mut self) {
        self.gaps_ns.sort_unstable();
        let over = |us: u64| self.gaps_ns.iter().filter(|gap_ns| **gap_ns > us * 1_000).count() as u64;
        let at = |quantile: f64| {
            let at = (self.gaps_ns.len() as f64 * quantile) as usize;
            self.gaps_ns.get(at.min(self.gaps_ns.len().saturating_sub(1))).map_or(0.0, |gap_ns| *gap_ns as f64 / 1e3)
        };
        (self.gaps_over_5_us, self.gaps_over_50_us, self.gaps_over_500_us) = (over(5), over(50), over(500));
        (self.gap_p50_us, self.gap_p99_us, self.longest_us) = (at(0.5), at(0.99), at(1.0));
        let sum_ns: u64 = self.gaps_ns.iter().sum();
        self.share_of_time = sum_ns as f64 / 1e9 / self.seconds.max(f64::MIN_POSITIVE);
    }

    /// The part of orders, evenly spread over time, that stalls of this core are expected to meet: those due during a stall; those
    /// in flight when it comes, each `latency_ns` long; and at half load those that wait for as long again behind what the stall
    /// has gathered.
    pub fn share_of_orders(&self, latency_ns: u64) -> f64 {
        let met_ns: u64 = self.gaps_ns.iter().map(|gap_ns| 2 * gap_ns + latency_ns).sum();
        (met_ns as f64 / 1e9 / self.seconds.max(f64::MIN_POSITIVE)).min(1.0)
    }

    pub fn line(&self) -> String {
        format!(
            "the machine alone, core {}, {:.1} s of reading the clock: {} gaps over 5 µs, {} over 50, {} over 500, the longest {:.0} µs; {:.3} % of the time",
            self.core,
            self.seconds,
            self.gaps_over_5_us,
            self.gaps_over_50_us,
            self.gaps_over_500_us,
            self.longest_us,
            self.share_of_time * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(gaps_ns: &[u64], seconds: f64) -> Stalls {
        let mut stalls = Stalls { seconds, gaps_ns: gaps_ns.to_vec(), ..Stalls::default() };
        stalls.conclude();
        stalls
    }

    #[test]
    fn gaps_are_counted_by_size_and_add_up() {
        let mut stalls = of(&[600_000, 6_000, 60_000], 1.0);
        assert_eq!((stalls.gaps_over_5_us, stalls.gaps_over_50_us, stalls.gaps_over_500_us), (3, 2, 1));
        assert_eq!((stalls.longest_us, stalls.gap_p50_us), (600.0, 60.0));
        stalls.add(of(&[7_000], 1.0));
        assert_eq!((stalls.gaps_over_5_us, stalls.seconds), (4, 2.0));
        assert!((stalls.share_of_time - 0.000_336_5).abs() < 1e-9);
    }

    #[test]
    fn a_stall_meets_twice_its_length_and_what_was_in_flight_and_never_more_than_all() {
        assert!((of(&[100_000; 10], 1.0).share_of_orders(10_000) - 0.002_1).abs() < 1e-9);
        assert_eq!(of(&[900_000_000], 1.0).share_of_orders(0), 1.0);
        assert_eq!(of(&[], 0.0).share_of_orders(10), 0.0);
    }

    #[test]
    fn a_probe_reads_the_clock_for_as_long_as_it_was_told() {
        let core = crate::cli::bench::machine::cores()[0];
        let stalls = Stalls::probe(core, Duration::from_millis(5));
        assert!(stalls.seconds >= 0.005 && stalls.clock_reads > 0, "{stalls:?}");
    }
}
