//! `fixring bench wire --saturate`: how many orders a second are answered when they are never waited for.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

use super::client::{Answered, Client, ClientError, Load, Window};
use super::engine::{EngineProcess, EngineSettings};
use super::machine::{Machine, pin};
use super::wire::{FloorProcess, HEART_BT_INT_S, WireOptions, reconnect};
use super::{Place, verdict};
use crate::sys::process;

const ANSWERED_MIN: f64 = 500_000.0;
/// Of what a bare echo of the same bytes answers.
const SHARE_MIN: f64 = 1.0 / 3.0;
const LAPS_MIN: f64 = 20.0;
/// What the engine of a benchmark has: the configuration's default.
const RING_BYTES: f64 = (16 << 20) as f64;
/// The bare echo reaches its speed at once.
const FLOOR_SECONDS_MAX: u64 = 5;
const METRIC_RING_FULL: &str = "fixring_journal_ring_full_total";

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    engine_name: String,
    mode: String,
    window: u32,
    seconds: u64,
    runs: u32,
    order_bytes: usize,
    report_bytes: usize,
    /// Orders answered a second: the median of the runs.
    floor: f64,
    engine: f64,
    engine_least: f64,
    engine_most: f64,
    share_of_floor: f64,
    /// Of our own engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_bytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    laps_of_the_ring: Option<f64>,
    /// How often the ring was full, so that the volume set the pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    ring_full: Option<f64>,
}

pub(super) fn saturate(options: &WireOptions, place: Place) -> Result<(), ClientError> {
    let report = measure(options, place)?;
    let text = if options.json {
        serde_json::to_string_pretty(&report).expect("a report of numbers and texts") + "\n"
    } else {
        table(&report)
    };
    // A reader that has gone away changes nothing of the outcome.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn measure(options: &WireOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    let comp_ids = (options.comp_ids.0.as_str(), options.comp_ids.1.as_str());
    let settings = EngineSettings { mode: &options.mode, wait: &options.wait, sessions_max: 16, segments: 4 };
    let own = match options.connect {
        Some(_) => None,
        None => Some(EngineProcess::start(directory.path(), placement, &settings)?),
    };
    let address = options.connect.or(own.as_ref().map(|own| own.address)).expect("one of the two is there");
    pin(placement.client_core);
    let mut first = Client::to_engine(address, comp_ids, HEART_BT_INT_S)?;
    first.run(Load { warm_up: 0, round_trips: 1_000, rate: None }, comp_ids)?;
    first.saturate(Window { orders: options.window, duration: Duration::from_millis(200) }, comp_ids)?;
    let order_bytes = first.order_bytes;
    let report_bytes = first.answer_bytes;
    drop(first);
    let written = || own.as_ref().and_then(EngineProcess::volume_bytes);
    let ring_full = || own.as_ref().and_then(|own| own.metric(METRIC_RING_FULL));
    let full_before = ring_full();
    let (mut floors, mut engines, mut volume_bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.runs {
        // A worker that spins would take half of the core that the floor is measured on.
        own.as_ref().map_or(Ok(()), |own| process::pause(&own.child))?;
        let floor = FloorProcess::start(directory.path(), placement, order_bytes, report_bytes, false)?;
        let mut client = Client::to_floor(floor.address, order_bytes, report_bytes)?;
        let duration = Duration::from_secs(options.seconds.min(FLOOR_SECONDS_MAX));
        floors.push(client.saturate(Window { orders: options.window, duration }, comp_ids)?);
        drop((client, floor));
        own.as_ref().map_or(Ok(()), |own| process::resume(&own.child))?;
        let mut client = reconnect(address, comp_ids)?;
        let before = written();
        let duration = Duration::from_secs(options.seconds);
        engines.push(client.saturate(Window { orders: options.window, duration }, comp_ids)?);
        volume_bytes += written().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
    }
    let (floor, engine) = (sorted(&floors), sorted(&engines));
    let seconds: f64 = engines.iter().map(|run| run.elapsed.as_secs_f64()).sum();
    let of_own = |figure: f64| own.as_ref().map(|_| figure);
    Ok(Report {
        engine_name: options
            .connect
            .map_or_else(|| format!("fixring {}", env!("CARGO_PKG_VERSION")), |at| options.engine_name_or(at)),
        mode: options.connect.map_or(options.mode.as_str(), |_| "unknown").into(),
        window: options.window,
        seconds: options.seconds,
        runs: options.runs,
        order_bytes,
        report_bytes,
        share_of_floor: engine[engine.len() / 2] / floor[floor.len() / 2],
        floor: floor[floor.len() / 2],
        engine: engine[engine.len() / 2],
        engine_least: engine[0],
        engine_most: engine[engine.len() - 1],
        volume_bytes_per_second: of_own(volume_bytes as f64 / seconds),
        laps_of_the_ring: of_own(volume_bytes as f64 / RING_BYTES / f64::from(options.runs)),
        ring_full: ring_full().zip(full_before).map(|(after, before)| after - before),
        machine,
    })
}

/// Orders a second, rising.
fn sorted(runs: &[Answered]) -> Vec<f64> {
    let mut rates: Vec<f64> = runs.iter().map(Answered::per_second).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "{}: {} → {} bytes, {} orders in flight, mode {}, {} s a run, median of {} runs",
        report.engine_name,
        report.order_bytes,
        report.report_bytes,
        report.window,
        report.mode,
        report.seconds,
        report.runs
    );
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["", "orders answered a second"]);
    rows.add_row(["bare TCP".to_string(), format!("{:.0}", report.floor)]);
    rows.add_row(["engine".to_string(), format!("{:.0}", report.engine)]);
    let _ = writeln!(text, "{rows}");
    let _ = writeln!(text, "runs of the engine: {:.0} to {:.0}", report.engine_least, report.engine_most);
    if let (Some(volume), Some(laps)) = (report.volume_bytes_per_second, report.laps_of_the_ring) {
        let full = report.ring_full.unwrap_or_default();
        let limit = if full > 0.0 { "the volume's" } else { "the engine's" };
        let _ = writeln!(
            text,
            "{:.1} MB/s to the volume, {laps:.0} laps of the ring a run; the ring was full {full:.0} times: the limit is {limit}",
            volume / 1e6
        );
    }
    let _ = writeln!(text, "at least {ANSWERED_MIN:.0} a second: {}", verdict(report.engine >= ANSWERED_MIN));
    let _ = writeln!(
        text,
        "{:.2} of bare TCP, at least a third: {}",
        report.share_of_floor,
        verdict(report.share_of_floor >= SHARE_MIN)
    );
    if let Some(laps) = report.laps_of_the_ring {
        let _ = writeln!(text, "at least {LAPS_MIN:.0} laps of the ring a run: {}", verdict(laps >= LAPS_MIN));
    }
    text
}
