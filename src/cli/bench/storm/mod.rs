//! `fixring bench storm`: what peers that misbehave cost a session that does not.

mod disturb;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use self::disturb::Disturbance;
use super::client::ClientError;
use super::desk::Desk;
use super::engine::{EngineProcess, EngineSettings};
use super::machine::{Machine, Placement, pin};
use super::stats::median_at;
use super::{Place, on_two_cores, print_report, verdict};
use crate::cli::Exit;

/// Measure one session's round trip while other peers misbehave
///
/// A session sends an order at a steady rate, one at a time, and its round trip is measured undisturbed, and then beside each disturbance in
/// turn, several times over: a peer that does not read, dead peers, resends of everything, connections that come and go, and a flood.
/// One thread does it all: between two measured orders it takes small steps of the disturbance, so that each measured order
/// finds the engine in the middle of it, and the disturbance takes no processor from the client while that waits. A round trip counts until
/// the kernel has the report (SO_TIMESTAMPNS), so that it does not contain how long the flusher kept the client from a core that they share.
/// Goal: beside each disturbance p99 is at most twice that of the same run undisturbed; the median of the runs is judged.
#[derive(clap::Args, Debug)]
pub(crate) struct StormOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Measured orders a second
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    rate: u32,
    /// Measured orders of each run, undisturbed and beside each disturbance
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..))]
    orders: u32,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    runs: u32,
    /// Stored messages that each of the resends asks for
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    messages: u32,
    /// Only this disturbance: stuck, dead, resends, logons or flood
    #[arg(long, value_name = "NAME", value_parser = ["stuck", "dead", "resends", "logons", "flood"])]
    only: Option<String>,
    /// The engine's persistence mode
    #[arg(long, default_value = "buffered", value_parser = ["buffered", "flush", "sync"])]
    mode: String,
    /// What the engine's worker does when there is nothing to do
    #[arg(long, default_value = "spin", value_parser = ["spin", "adaptive", "park"])]
    wait: String,
    /// Where the engine's data goes [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
}

const P99_RATIO_MAX: f64 = 2.0;
const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;
const WARM_UP_ORDERS: u32 = 2_000;
/// Between two parts of a run: what a disturbance has left in sockets and queues is done with.
const CALM: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
}

#[derive(Debug, Serialize)]
struct Disturbed {
    name: &'static str,
    what: &'static str,
    #[serde(flatten)]
    percentiles: Percentiles,
    /// Against the same run undisturbed; the median of the runs.
    p99_ratio: f64,
    p99_ratio_least: f64,
    p99_ratio_most: f64,
    /// What the disturbance did a second.
    per_s: f64,
    unit: &'static str,
    holds: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    placement: Placement,
    mode: String,
    wait: String,
    rate: u32,
    orders_per_run: u32,
    runs: u32,
    undisturbed: Percentiles,
    disturbed: Vec<Disturbed>,
    p99_ratio_max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_turn_ms: Option<f64>,
}

/// The runs beside one disturbance.
#[derive(Default)]
struct Runs {
    histograms: Vec<Histogram<u64>>,
    ratios: Vec<f64>,
    done: u64,
    seconds: f64,
}

pub(crate) fn storm(options: &StormOptions) -> Exit {
    on_two_cores("storm", options.volume.as_deref(), |place| {
        print_report(options.json, &measure(options, place)?, table);
        Ok(())
    })
}

fn measure(options: &StormOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    let settings = EngineSettings { mode: &options.mode, wait: &options.wait, sessions_max: 512, segments: 64 };
    let engine = EngineProcess::start(directory.path(), placement, &settings)?;
    let mut measured = Desk::log_on(engine.address, "MEASURED")?;
    measured.note_arrivals()?;
    pin(placement.client_core);
    // Only a storm of resends needs what is stored for it.
    let stores = options.only.as_deref().is_none_or(|only| only == "resends");
    let mut disturbances = disturb::all(engine.address, if stores { options.messages } else { 64 })?;
    disturbances.retain(|disturbance| options.only.as_deref().is_none_or(|only| only == disturbance.name()));
    for _ in 0..WARM_UP_ORDERS.min(options.orders) {
        measured.round_trip()?;
    }

    let mut undisturbed = Vec::new();
    let mut runs: Vec<Runs> = disturbances.iter().map(|_| Runs::default()).collect();
    for run in 0..options.runs {
        let calm = drive(options, &mut measured, None)?;
        let calm_p99 = calm.value_at_quantile(0.99).max(1);
        undisturbed.push(calm);
        // Another comes first in each run, so that none is always measured beside the same leavings.
        for at in 0..disturbances.len() {
            let at = (at + run as usize) % disturbances.len();
            let (disturbance, runs) = (&mut disturbances[at], &mut runs[at]);
            let (before, start) = (disturbance.done(), Instant::now());
            let histogram = drive(options, &mut measured, Some(disturbance.as_mut()))?;
            runs.seconds += start.elapsed().as_secs_f64();
            runs.done += disturbance.done() - before;
            if disturbance.done() == before {
                return Err(ClientError::Failed(format!("{} did nothing: {}", disturbance.name(), disturbance.what())));
            }
            runs.ratios.push(histogram.value_at_quantile(0.99) as f64 / calm_p99 as f64);
            runs.histograms.push(histogram);
            settle(disturbance.as_mut(), &mut measured)?;
        }
    }

    let disturbed = disturbances.iter().zip(runs).map(|(disturbance, mut runs)| {
        runs.ratios.sort_by(f64::total_cmp);
        let p99_ratio = runs.ratios[runs.ratios.len() / 2];
        Disturbed {
            name: disturbance.name(),
            what: disturbance.what(),
            percentiles: median(&runs.histograms),
            p99_ratio,
            p99_ratio_least: runs.ratios[0],
            p99_ratio_most: runs.ratios[runs.ratios.len() - 1],
            per_s: runs.done as f64 / runs.seconds,
            unit: disturbance.unit(),
            holds: p99_ratio <= P99_RATIO_MAX,
        }
    });
    Ok(Report {
        disturbed: disturbed.collect(),
        undisturbed: median(&undisturbed),
        longest_turn_ms: engine.longest_turn_ms(),
        machine,
        placement,
        mode: options.mode.clone(),
        wait: options.wait.clone(),
        rate: options.rate,
        orders_per_run: options.orders,
        runs: options.runs,
        p99_ratio_max: P99_RATIO_MAX,
    })
}

/// The measured orders, each when it is due, and steps of the disturbance between them.
fn drive(
    options: &StormOptions,
    measured: &mut Desk,
    mut disturbance: Option<&mut dyn Disturbance>,
) -> Result<Histogram<u64>, ClientError> {
    let interval = Duration::from_nanos(1_000_000_000 / u64::from(options.rate));
    let mut histogram = Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, 3).expect("the bounds are in order");
    let mut due = Instant::now();
    for _ in 0..options.orders {
        // One that was late moves those after it: a closed loop has no intended times.
        due = due.max(Instant::now() - interval) + interval;
        let mut steps = 0;
        while Instant::now() < due {
            match &mut disturbance {
                Some(disturbance) if steps < disturbance.steps_max() => {
                    disturbance.step()?;
                    steps += 1;
                }
                _ => std::thread::yield_now(),
            }
        }
        histogram.saturating_record(measured.round_trip()?);
    }
    Ok(histogram)
}

/// How long it may take until what was asked for is there.
const OWED_MAX: Duration = Duration::from_secs(30);

/// Lets what is on its way come to its end. A peer that reads goes on reading meanwhile.
fn settle(disturbance: &mut dyn Disturbance, measured: &mut Desk) -> Result<(), ClientError> {
    let reads = disturbance.steps_max() == u32::MAX;
    let start = Instant::now();
    // What a peer has asked for and does not read while another storm blows makes it slow, and it is disconnected.
    while disturbance.is_owed() && start.elapsed() < OWED_MAX {
        disturbance.drain()?;
    }
    disturbance.drain()?;
    let start = Instant::now();
    while start.elapsed() < CALM {
        if reads && start.elapsed() < CALM / 2 {
            disturbance.drain()?;
        } else {
            measured.round_trip()?;
        }
    }
    Ok(())
}

fn median(runs: &[Histogram<u64>]) -> Percentiles {
    let of = |quantile| median_at(runs, quantile);
    Percentiles { p50_ns: of(0.5), p99_ns: of(0.99), p999_ns: of(0.999), max_ns: of(1.0) }
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "one session at {} orders a second, mode {}, wait {}, {} orders a run, median of {} runs; server on core {}, client and disturbances on {}, flusher on {}",
        report.rate,
        report.mode,
        report.wait,
        report.orders_per_run,
        report.runs,
        report.placement.server_core,
        report.placement.client_core,
        report.placement.housekeeping_core,
    );
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["µs", "p50", "p99", "p99.9", "max", "p99 ÷ undisturbed (least to most)", "beside"]);
    let numbers = |of: &Percentiles| [of.p50_ns, of.p99_ns, of.p999_ns, of.max_ns].map(us);
    let calm = std::iter::once("undisturbed".to_string()).chain(numbers(&report.undisturbed));
    rows.add_row(calm.chain(["".into(), "".into()]));
    for row in &report.disturbed {
        let ratio = format!("{:.2} ({:.2} to {:.2})", row.p99_ratio, row.p99_ratio_least, row.p99_ratio_most);
        let beside = format!("{:.0} {} a second", row.per_s, row.unit);
        rows.add_row(std::iter::once(row.name.to_string()).chain(numbers(&row.percentiles)).chain([ratio, beside]));
    }
    let _ = writeln!(text, "{rows}");
    for row in &report.disturbed {
        let Disturbed { name, what, p99_ratio, holds, .. } = row;
        let _ = writeln!(text, "{name}: {what}");
        let _ = writeln!(
            text,
            "  p99 {p99_ratio:.2} × undisturbed, goal {:.1} ×: {}",
            report.p99_ratio_max,
            verdict(*holds)
        );
    }
    if let Some(longest_turn_ms) = report.longest_turn_ms {
        let _ = writeln!(text, "longest turn of the worker: {longest_turn_ms:.2} ms, start and resends included");
    }
    text
}
