//! Latencies as histograms while they are measured, and as percentiles in the report.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const HISTOGRAM_NS_MAX: u64 = 600_000_000_000;
/// Points of a curve for each nine.
const POINTS_PER_NINE: u32 = 10;
/// Nines of a curve at most: no run is so long that it has more.
const NINES_MAX: u32 = 7;
pub(super) const CURVE_POINTS_MAX: usize = (POINTS_PER_NINE * NINES_MAX) as usize + 2;

/// Of one kind of latency, in ns.
pub(super) type Latencies = Histogram<u32>;

pub(super) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, 3).expect("the bounds are in order")
}

/// The median of what the runs have at this quantile.
pub(super) fn median_at(runs: &[Histogram<u64>], quantile: f64) -> u64 {
    let mut values: Vec<u64> = runs.iter().map(|run| run.value_at_quantile(quantile)).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Percentiles in ns, and the curve through all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Distribution {
    pub count: u64,
    pub mean_ns: f64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
    /// Percentile and ns, ten points a nine, up to the nines that the count gives.
    pub curve: Vec<(f64, u64)>,
}

impl From<&Latencies> for Distribution {
    fn from(histogram: &Latencies) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        let nines = (histogram.len() as f64).log10().min(f64::from(NINES_MAX));
        let points = (nines * f64::from(POINTS_PER_NINE)) as u32;
        let quantiles = (0..=points).map(|point| 1.0 - 10f64.powf(-f64::from(point) / f64::from(POINTS_PER_NINE)));
        let mut curve: Vec<_> = quantiles.map(|quantile| (rounded(quantile * 100.0), at(quantile))).collect();
        curve.push((100.0, histogram.max()));
        Self {
            count: histogram.len(),
            mean_ns: rounded(histogram.mean()),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            p9999_ns: at(0.9999),
            max_ns: histogram.max(),
            curve,
        }
    }
}

impl Distribution {
    /// Operations a second of one who does them one after the other.
    pub fn per_second_in_turn(&self) -> f64 {
        if self.mean_ns > 0.0 { 1e9 / self.mean_ns } else { 0.0 }
    }

    /// What is wrong with one that came from a file.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.curve.len() > CURVE_POINTS_MAX {
            return Err("a curve has too many points");
        }
        if !self.mean_ns.is_finite() || self.mean_ns < 0.0 {
            return Err("a mean is no time");
        }
        let is_percentile = |(percentile, _): &(f64, u64)| (0.0..=100.0).contains(percentile);
        if !self.curve.iter().all(is_percentile) {
            return Err("a curve has a percentile beyond 0 to 100");
        }
        let rises = self.curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
        if !rises { Err("a curve goes back") } else { Ok(()) }
    }
}

/// To what a file need not be longer for: no nine of a curve is lost.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// A time in words, with three digits.
pub(super) fn time_in_words(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", three_digits(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(ns as f64 / 1e6)),
        _ => format!("{} s", three_digits(ns as f64 / 1e9)),
    }
}

/// 1234567 as 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn three_digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_the_maximum_and_has_no_more_nines_than_the_count_gives() {
        let mut histogram = latencies();
        (1..=1_000).for_each(|value| histogram.record(value * 1_000).unwrap());
        let distribution = Distribution::from(&histogram);
        assert_eq!((distribution.count, distribution.max_ns), (1_000, histogram.max()));
        assert_eq!(distribution.check(), Ok(()));
        // Three nines, ten points each, from 0 on, and the maximum.
        assert_eq!(distribution.curve.len(), 32);
        assert_eq!(distribution.curve.last(), Some(&(100.0, histogram.max())));
        assert!((495_000..=505_000).contains(&distribution.p50_ns));
        assert!((distribution.per_second_in_turn() - 1e9 / 500_500.0).abs() < 20.0);
    }

    #[test]
    fn nothing_measured_has_no_curve_and_a_wrong_one_is_refused() {
        let mut empty = Distribution::from(&latencies());
        assert_eq!((empty.count, empty.curve.len(), empty.check()), (0, 0, Ok(())));
        empty.curve = vec![(50.0, 2), (99.0, 1)];
        assert!(empty.check().is_err());
        empty.curve = vec![(101.0, 2)];
        assert!(empty.check().is_err());
        empty.curve = vec![(1.0, 1); CURVE_POINTS_MAX + 1];
        assert!(empty.check().is_err());
    }

    #[test]
    fn times_have_three_digits() {
        let of = [(7, "7 ns"), (1_500, "1.50 µs"), (12_345, "12.3 µs"), (999_000, "999 µs"), (2_100_000_000, "2.10 s")];
        assert!(of.iter().all(|(ns, text)| time_in_words(*ns) == *text));
    }

    #[test]
    fn numbers_are_grouped_in_threes() {
        let of = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        assert!(of.iter().all(|(number, text)| thousands(*number) == *text));
    }
}
