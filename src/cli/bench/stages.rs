//! `fixring bench stages`: what each stage of an order's way through the engine takes, and the engine's own share of a round trip.
//!
//! Orders go one at a time over loopback through a whole engine in this process, whose worker stamps every stage with the
//! processor's time counter. What the stamps themselves cost is in the figures: about one reading a stage.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::client::{Client, ClientError, Fleet};
use super::machine::{Machine, Placement, pin};
use super::scratch::Scratch;
use super::{Place, on_two_cores, print, print_report, verdict};
use crate::application::Exchange;
use crate::cli::Exit;
use crate::config::Config;
use crate::control::Stage;
use crate::control::trace::{Distribution, STAGES, Stamps};
use crate::engine::Engine;
use crate::sys::tsc::ticks;

/// Measure what each stage of an order takes in the engine
///
/// Runs an engine in this process, its worker on one core, the client on another. The cumulative column counts from the bytes
/// received (recv has returned) to the report's send (before it is called): the engine's own share, whose goal is p50 ≤ 600 ns and p99 ≤ 1.5 µs.
#[derive(clap::Args, Debug)]
pub(crate) struct StagesOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Round trips that are measured
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    orders: u32,
    /// What the engine's worker does when there is nothing to do
    #[arg(long, default_value = "spin", value_parser = ["spin", "adaptive", "park"])]
    wait: String,
    /// Where the engine's data go [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
    /// Leave the stamps off and print nothing but that all were answered: for counting what the worker does without them
    #[arg(long)]
    no_stamps: bool,
}

const COMP_IDS: (&str, &str) = ("CLIENT", "VENUE");
const HEART_BT_INT_S: u64 = 60;
const OWN_SHARE_P50_NS: u64 = 600;
const OWN_SHARE_P99_NS: u64 = 1_500;
/// How often the counter is read to see what a reading takes.
const STAMP_READINGS: u64 = 100_000;

/// From the bytes received to the report's send, in the order of the path; what belongs to the journal's in side stands where it happens.
const OWN: [Stage; 9] = [
    Stage::Frame,
    Stage::Decode,
    Stage::JournalIn,
    Stage::Session,
    Stage::Application,
    Stage::Encode,
    Stage::JournalOut,
    Stage::Commit,
    Stage::Release,
];

#[derive(Debug, Serialize)]
struct StageRow {
    stage: &'static str,
    p50_ns: u64,
    p99_ns: u64,
    /// The p50 of this stage and all before it, from the bytes received on.
    #[serde(skip_serializing_if = "Option::is_none")]
    cumulative_p50_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
struct OwnShare {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    goal_p50_ns: u64,
    goal_p99_ns: u64,
    holds: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    placement: Placement,
    wait: String,
    orders: u64,
    /// Turns that received more than one message, or whose report went out in another.
    turns_left_out: u64,
    /// One reading of the counter; there is one a stage.
    stamp_ns: f64,
    stages: Vec<StageRow>,
    own_share: OwnShare,
    round_trip_p50_ns: u64,
    round_trip_p99_ns: u64,
}

pub(crate) fn stages(options: &StagesOptions) -> Exit {
    on_two_cores("stages", options.volume.as_deref(), |place| {
        match measure(options, place)? {
            None => print(&format!("{} orders answered, without stamps\n", options.orders)),
            Some(report) => print_report(options.json, &report, table),
        }
        Ok(())
    })
}

fn measure(options: &StagesOptions, place: Place) -> Result<Option<Report>, ClientError> {
    let Place { machine, placement, directory } = place;
    let shared_memory = Scratch::new(Some(Path::new("/dev/shm"))).ok();
    let ring_dir = shared_memory.as_ref().map_or(directory.path(), |rings| rings.path());
    let config = configuration(directory.path(), ring_dir, placement, &options.wait);
    let config = Config::parse(&config, "bench stages").map_err(|errors| ClientError::Failed(errors.to_string()))?;
    let engine = Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max));
    let engine = engine.map_err(|error| ClientError::Failed(error.to_string()))?;
    let trace = engine.shared().trace(0);
    pin(placement.client_core);
    let client = Client::to_engine(engine.acceptors()[0], COMP_IDS, HEART_BT_INT_S)?;
    let comp_ids = (COMP_IDS.0.to_owned(), COMP_IDS.1.to_owned());
    let mut fleet = Fleet::new(vec![(client, comp_ids)])?;
    fleet.closed_loop(options.orders.min(5_000), 0)?;
    if !options.no_stamps {
        trace.start_stamps();
    }
    let round_trips = fleet.closed_loop(0, options.orders)?;
    drop(fleet);
    engine.stop();
    engine.wait().map_err(|error| ClientError::Failed(error.to_string()))?;
    let Some(stamps) = trace.stamps() else { return Ok(None) };
    let (stages, own_share) = figures(stamps);
    Ok(Some(Report {
        machine,
        placement,
        wait: options.wait.clone(),
        orders: stamps.own_share().count(),
        turns_left_out: stamps.turns_left_out(),
        stamp_ns: stamp_ns(stamps),
        stages,
        own_share,
        round_trip_p50_ns: round_trips.value_at_quantile(0.5),
        round_trip_p99_ns: round_trips.value_at_quantile(0.99),
    }))
}

fn configuration(data: &Path, ring_dir: &Path, placement: Placement, wait: &str) -> String {
    let Placement { server_core, housekeeping_core, .. } = placement;
    format!(
        "[engine]\ndata_dir = {data:?}\ncores = [{server_core}]\nhousekeeping_cores = [{housekeeping_core}]\nwait = \"{wait}\"\n\
         template_sessions_max = 16\nconnections_max = 16\npending_connections_max = 16\n\
         [persistence]\nallow_tmpfs = true\nring_dir = {ring_dir:?}\nsegments = 4\nflush_method = \"fdatasync\"\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"127.0.0.1:0\"\n\
         [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n",
        data = data.join("data"),
    )
}

fn figures(stamps: &Stamps) -> (Vec<StageRow>, OwnShare) {
    let ns_per_tick = stamps.ns_per_tick();
    let ns = |distribution: &Distribution, quantile| (distribution.quantile(quantile) as f64 * ns_per_tick) as u64;
    let mut rows = Vec::new();
    let mut cumulative_ns = 0;
    let row = |stage: Stage, cumulative_p50_ns| {
        let distribution = stamps.stage(stage);
        StageRow {
            stage: stage.name(),
            p50_ns: ns(distribution, 0.5),
            p99_ns: ns(distribution, 0.99),
            cumulative_p50_ns,
        }
    };
    rows.push(row(Stage::Receive, None));
    for stage in OWN {
        cumulative_ns += ns(stamps.stage(stage), 0.5);
        rows.push(row(stage, Some(cumulative_ns)));
    }
    rows.push(row(Stage::Send, None));
    let named: Vec<&str> = rows.iter().map(|row| row.stage).collect();
    // Of a message's turn, but not of its way.
    rows.extend(STAGES.into_iter().filter(|stage| !named.contains(&stage.name())).map(|stage| row(stage, None)));
    rows.retain(|row| row.p99_ns > 0);
    let own = stamps.own_share();
    let (p50_ns, p99_ns) = (ns(own, 0.5), ns(own, 0.99));
    let own_share = OwnShare {
        p50_ns,
        p99_ns,
        p999_ns: ns(own, 0.999),
        goal_p50_ns: OWN_SHARE_P50_NS,
        goal_p99_ns: OWN_SHARE_P99_NS,
        holds: p50_ns <= OWN_SHARE_P50_NS && p99_ns <= OWN_SHARE_P99_NS,
    };
    (rows, own_share)
}

fn stamp_ns(stamps: &Stamps) -> f64 {
    let begin = ticks();
    for _ in 0..STAMP_READINGS {
        std::hint::black_box(ticks());
    }
    ticks().saturating_sub(begin) as f64 * stamps.ns_per_tick() / STAMP_READINGS as f64
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "{} orders, closed loop, buffered, wait {}; worker on core {}, client on {}; {} turns left out; a stamp takes {:.0} ns",
        report.orders,
        report.wait,
        report.placement.server_core,
        report.placement.client_core,
        report.turns_left_out,
        report.stamp_ns,
    );
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["ns", "p50", "p99", "since receive"]);
    for row in &report.stages {
        let cumulative = row.cumulative_p50_ns.map(|ns| ns.to_string()).unwrap_or_default();
        rows.add_row([row.stage.to_owned(), row.p50_ns.to_string(), row.p99_ns.to_string(), cumulative]);
    }
    rows.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let _ = writeln!(text, "{rows}");
    let own = &report.own_share;
    for (name, ns, goal_ns) in [("p50", own.p50_ns, own.goal_p50_ns), ("p99", own.p99_ns, own.goal_p99_ns)] {
        let verdict = verdict(ns <= goal_ns);
        let _ = writeln!(text, "own share, recv returned to send called: {name} {ns} ns (goal ≤ {goal_ns}: {verdict})");
    }
    let _ = writeln!(
        text,
        "own share p99.9 {} ns; whole round trip, stamps on: p50 {} ns, p99 {} ns",
        own.p999_ns, report.round_trip_p50_ns, report.round_trip_p99_ns
    );
    text
}
