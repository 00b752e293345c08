//! `fixring bench append`: what an append costs the worker, for each way in which its bytes could reach the volume.
//!
//! The first part shows why the journal has two tiers: a bare pen writes records (a header, 200 bytes, a CRC-32C) into memory,
//! and what carries them to the volume differs from row to row. The second is the journal itself beside its floor, batch
//! for batch in turn, so that both meet the same machine.

mod floor;
mod journal;
mod tiers;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::ClientError;
use super::machine::{Machine, pin};
use super::volume::Volume;
use super::{Place, on_two_cores, print_report, verdict};
use crate::cli::Exit;

/// Measure what an append costs the worker, for each way of its bytes to the volume, beside memcpy and CRC-32C
///
/// One thread appends records of 200 bytes at a steady rate, another carries them to the volume. Eight ways to do that
/// are measured in turn, each for --seconds, an append at a time; a read of the clock is in each figure and printed. Then
/// the journal itself, in batches of 64, in turn with batches of its floor: memcpy and CRC-32C of the same bytes into
/// memory of the same size. Rolls of segments, wraps of the ring and flushes of its last page are among what is timed.
#[derive(clap::Args, Debug)]
pub(crate) struct AppendOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the files go: the volume that is measured [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
    /// Appends a second
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    rate: u32,
    /// How long each way is measured; the journal six times as long
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Of the application's snapshot in each segment's head, which a roll writes beside the states of 64 sessions
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    snapshot_bytes: u32,
    /// The journal and its floor alone, for so many minutes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=10_080))]
    soak: Option<u32>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "0.1 to 600 seconds".into())
}

/// What is appended: the length of an order.
const PAYLOAD_BYTES: usize = 200;
/// Header and payload, to a multiple of a cache line.
const STRIDE_BYTES: u64 = crate::journal::record_bytes(PAYLOAD_BYTES as u64);
const BATCH: u64 = 64;
/// As long as each way is measured, so many times over.
const JOURNAL_TIMES: u32 = 6;
/// Of the rate: below it the figures are of another load.
const REACHED_MIN: f64 = 0.99;
const P50_RATIO_MAX: f64 = 1.5;
const TAIL_DIFFERENCE_NS_MAX: f64 = 200.0;

/// In ns, an append.
#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50_ns: f64,
    p99_ns: f64,
    p999_ns: f64,
    p9999_ns: f64,
    max_ns: f64,
}

#[derive(Debug, Serialize)]
struct Way {
    name: &'static str,
    /// `None` where this filesystem cannot do it.
    append: Option<Percentiles>,
    /// Otherwise the figures are of another load.
    kept_rate: bool,
}

#[derive(Debug, Serialize)]
struct JournalRun {
    seconds: f64,
    appends: u64,
    segments_rolled: u64,
    ring_laps: u64,
    syncs: u64,
    snapshot_bytes: u32,
    /// The longest batch that began a segment, in us.
    longest_roll_us: f64,
    floor: Percentiles,
    journal: Percentiles,
    p50_ratio: f64,
    p999_difference_ns: f64,
    p9999_difference_ns: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    volume: Volume,
    rate: u32,
    record_bytes: usize,
    seconds_a_way: f64,
    clock_read_ns: u64,
    ways: Vec<Way>,
    journal: JournalRun,
}

pub(crate) fn append(options: &AppendOptions) -> Exit {
    on_two_cores("append", options.volume.as_deref(), |place| {
        print_report(options.json, &measure(options, &place)?, table);
        Ok(())
    })
}

fn measure(options: &AppendOptions, place: &Place) -> Result<Report, ClientError> {
    let directory = place.directory.path();
    pin(place.placement.server_core);
    let clock_read_ns = clock_read_ns();
    let mut ways = Vec::new();
    if options.soak.is_none() {
        for tier in &tiers::TIERS {
            let pace = Pace { rate: options.rate, duration: options.seconds };
            let measured = tier.measure(directory, pace, place.placement.housekeeping_core)?;
            let kept_rate = measured.as_ref().is_none_or(|(_, kept_rate)| *kept_rate);
            let append = measured.map(|(taken, _)| percentiles(&taken, 1));
            ways.push(Way { name: tier.name, append, kept_rate });
        }
    }
    let soak = options.soak.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    let pace = Pace { rate: options.rate, duration: soak.unwrap_or(options.seconds * JOURNAL_TIMES) };
    let journal = journal::measure(directory, pace, options.snapshot_bytes, place.placement.housekeeping_core)?;
    Ok(Report {
        machine: place.machine.clone(),
        volume: Volume::of(directory),
        rate: options.rate,
        record_bytes: PAYLOAD_BYTES,
        seconds_a_way: options.seconds.as_secs_f64(),
        clock_read_ns,
        ways,
        journal,
    })
}

/// How often and how long something is done.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate: u32,
    duration: Duration,
}

impl Pace {
    /// Calls `act` at a steady rate, `each` appends a time. One that is late is followed at once by the next. Answers whether the rate was kept.
    fn run(self, each: u64, mut act: impl FnMut(u64)) -> bool {
        let times = u64::from(self.rate) * self.duration.as_millis() as u64 / 1_000 / each;
        let start = Instant::now();
        for time in 0..times {
            let due = Duration::from_nanos(time * each * 1_000_000_000 / u64::from(self.rate));
            while start.elapsed() < due {
                std::hint::spin_loop();
            }
            act(time);
        }
        (times * each) as f64 / start.elapsed().as_secs_f64() >= f64::from(self.rate) * REACHED_MIN
    }
}

fn histogram() -> Histogram<u64> {
    // Up to a minute: what takes longer counts as one.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("three significant digits")
}

fn percentiles(histogram: &Histogram<u64>, each: u64) -> Percentiles {
    let of = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / each as f64;
    Percentiles { p50_ns: of(0.5), p99_ns: of(0.99), p999_ns: of(0.999), p9999_ns: of(0.9999), max_ns: of(1.0) }
}

/// What two reads of the clock lie apart with nothing between them: the median.
fn clock_read_ns() -> u64 {
    let mut apart = histogram();
    for _ in 0..10_000 {
        let start = Instant::now();
        apart.saturating_record(start.elapsed().as_nanos() as u64);
    }
    apart.value_at_quantile(0.5)
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "{}; {} bytes a record, {} appends a second, {} s a way; a read of the clock takes {} ns",
        report.volume.line(),
        report.record_bytes,
        report.rate,
        report.seconds_a_way,
        report.clock_read_ns
    );
    let columns = ["p50", "p99", "p99.9", "p99.99", "max"];
    let cells = |row: &Percentiles| {
        [row.p50_ns, row.p99_ns, row.p999_ns, row.p9999_ns, row.max_ns].map(|ns| format!("{ns:.0}"))
    };
    let new_table = |title: &str| {
        let mut rows = Table::new();
        rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
        rows.set_header(std::iter::once(title).chain(columns));
        rows
    };
    if !report.ways.is_empty() {
        let mut rows = new_table("ns an append, one at a time");
        for way in &report.ways {
            let figures = match &way.append {
                Some(append) => cells(append),
                None => columns.map(|_| "not on this filesystem".into()),
            };
            let missed = if way.kept_rate { "" } else { " (missed the rate)" };
            rows.add_row(std::iter::once(format!("{}{missed}", way.name)).chain(figures));
        }
        let _ = writeln!(text, "{rows}");
    }
    let run = &report.journal;
    let mut rows = new_table("ns an append, in batches of 64");
    for (name, row) in
        [("memcpy and CRC-32C (the floor)", &run.floor), ("the journal, a commit a record", &run.journal)]
    {
        rows.add_row(std::iter::once(name.to_string()).chain(cells(row)));
    }
    let _ = writeln!(text, "{rows}");
    let _ = writeln!(
        text,
        "{} appends in {} s: {} segments, {} laps of the ring, {} syncs; the longest batch with a segment's head (64 sessions and a snapshot of {} bytes) took {:.1} us",
        run.appends,
        run.seconds,
        run.segments_rolled,
        run.ring_laps,
        run.syncs,
        run.snapshot_bytes,
        run.longest_roll_us
    );
    let _ = writeln!(
        text,
        "p50 {:.2} × the floor, at most {P50_RATIO_MAX} ×: {}",
        run.p50_ratio,
        verdict(run.p50_ratio <= P50_RATIO_MAX)
    );
    for (name, difference) in [("p99.9", run.p999_difference_ns), ("p99.99", run.p9999_difference_ns)] {
        let _ = writeln!(
            text,
            "{name} {difference:+.0} ns against the floor's, at most {TAIL_DIFFERENCE_NS_MAX:.0} ns: {}",
            verdict(difference <= TAIL_DIFFERENCE_NS_MAX)
        );
    }
    text
}
