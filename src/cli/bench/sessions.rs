//! `fixring bench sessions`: thousands of sessions on one worker: their logons, their memory, and what they cost the active ones.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::ClientError;
use super::desk::{Came, Desk, HEART_BT_INT_S, is_of};
use super::engine::{EngineProcess, EngineSettings};
use super::machine::{Machine, Placement, pin};
use super::{Place, on_two_cores, print_report};
use crate::cli::Exit;
use crate::sys::open_files;

/// Log thousands of sessions on to one worker, and measure what they cost
///
/// First one session alone measures its round trip. Then all others connect and log on, as sessions that the engine has never seen; each
/// then has its place in the journal. The round trip is measured again, with one message in flight, by 1, 10, 100 and 1,000
/// sessions in turn, while all others are idle. Last, all connections are cut at once and all sessions log on again. Round trips count
/// until the kernel has the report (SO_TIMESTAMPNS).
#[derive(clap::Args, Debug)]
pub(crate) struct SessionsOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Sessions that are logged on at a time
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=25_000))]
    sessions: u32,
    /// Round trips of each measurement
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
    orders: u32,
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

/// Files of this process beside its connections.
const OTHER_FILES: u64 = 64;
/// Logons that are not answered yet, at most.
const IN_FLIGHT_MAX: usize = 512;
const LOGON_TIMEOUT: Duration = Duration::from_secs(30);
const ACTIVE: [u32; 4] = [1, 10, 100, 1_000];
/// Each session's first messages wait for a sequence lease.
const WARM_UP_PER_SESSION: u32 = 3;

#[derive(Clone, Copy, Debug, Serialize)]
struct Logons {
    sessions: u32,
    seconds: f64,
    per_s: f64,
}

#[derive(Debug, Serialize)]
struct RoundTrips {
    active: u32,
    idle: u32,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    /// Against the first session before the others came.
    p50_ratio: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    placement: Placement,
    mode: String,
    wait: String,
    cold: Logons,
    again: Logons,
    /// What the engine's process grew by for each session, without what the kernel keeps for its socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_session: Option<u64>,
    round_trips: Vec<RoundTrips>,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_turn_ms: Option<f64>,
}

pub(crate) fn sessions(options: &SessionsOptions) -> Exit {
    on_two_cores("sessions", options.volume.as_deref(), |place| {
        print_report(options.json, &measure(options, place)?, table);
        Ok(())
    })
}

fn measure(options: &SessionsOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    let needed = u64::from(options.sessions) + OTHER_FILES;
    let allowed = open_files::raise()?;
    if allowed < needed {
        return Err(ClientError::Failed(format!(
            "{needed} open files are needed and {allowed} are allowed: raise the hard limit (ulimit -Hn {needed}), or lower --sessions"
        )));
    }
    let settings =
        EngineSettings { mode: &options.mode, wait: &options.wait, sessions_max: options.sessions + 64, segments: 8 };
    let engine = EngineProcess::start(directory.path(), placement, &settings)?;
    pin(placement.client_core);

    let mut desks = VecDeque::with_capacity(options.sessions as usize);
    desks.push_back(Desk::log_on(engine.address, name(0))?);
    let mut round_trips = vec![measure_active(options, &mut desks, 1, 0)?];
    let before = engine.memory();
    let cold = log_on(engine.address, &mut desks, 1..options.sessions)?;
    let after = engine.memory();
    let bytes_per_session = before
        .zip(after)
        .map(|(before, after)| after.vm_rss_kib.saturating_sub(before.vm_rss_kib) * 1024 / u64::from(cold.sessions));
    for active in ACTIVE.into_iter().filter(|active| *active <= options.sessions) {
        round_trips.push(measure_active(options, &mut desks, active, options.sessions - active)?);
    }
    let alone_ns = round_trips[0].p50_ns.max(1);
    round_trips.iter_mut().for_each(|row| row.p50_ratio = row.p50_ns as f64 / alone_ns as f64);

    desks.clear();
    let since = Instant::now();
    while engine.metric("fixring_worker_connections_open").is_some_and(|open| open > 0.0) {
        if since.elapsed() > LOGON_TIMEOUT {
            return Err(ClientError::Failed("the engine did not notice that all connections are gone".into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let again = log_on(engine.address, &mut desks, 0..options.sessions)?;
    Ok(Report {
        machine,
        placement,
        mode: options.mode.clone(),
        wait: options.wait.clone(),
        cold,
        again,
        bytes_per_session,
        round_trips,
        longest_turn_ms: engine.longest_turn_ms(),
    })
}

fn name(number: u32) -> String {
    format!("DESK{number}")
}

/// Connects and logs on all of them, some hundreds at a time.
fn log_on(
    address: SocketAddr,
    desks: &mut VecDeque<Desk>,
    numbers: std::ops::Range<u32>,
) -> Result<Logons, ClientError> {
    let start = Instant::now();
    let sessions = numbers.len() as u32;
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
    for number in numbers {
        let mut desk = Desk::connect(address, name(number))?;
        desk.logon(HEART_BT_INT_S);
        desk.flush()?;
        in_flight.push_back(desk);
        if in_flight.len() == IN_FLIGHT_MAX {
            desks.extend(answered(&mut in_flight)?);
        }
    }
    while !in_flight.is_empty() {
        desks.extend(answered(&mut in_flight)?);
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Logons { sessions, seconds, per_s: f64::from(sessions) / seconds })
}

/// Waits until the oldest is logged on.
fn answered(in_flight: &mut VecDeque<Desk>) -> Result<Option<Desk>, ClientError> {
    let Some(mut desk) = in_flight.pop_front() else { return Ok(None) };
    let since = Instant::now();
    let mut is_logged_on = false;
    while !is_logged_on {
        match desk.read(|message| is_logged_on |= is_of(message, b"A"))? {
            Came::Bytes(_) => {}
            Came::Nothing if since.elapsed() < LOGON_TIMEOUT => std::thread::yield_now(),
            came => return Err(ClientError::Protocol(format!("a Logon was not answered: {came:?}"))),
        }
    }
    Ok(Some(desk))
}

/// One message in flight, by the first so many sessions in turn.
fn measure_active(
    options: &SessionsOptions,
    desks: &mut VecDeque<Desk>,
    active: u32,
    idle: u32,
) -> Result<RoundTrips, ClientError> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order");
    for desk in desks.iter_mut().take(active as usize) {
        desk.note_arrivals()?;
        for _ in 0..WARM_UP_PER_SESSION {
            desk.round_trip()?;
        }
    }
    for order in 0..options.orders {
        histogram.saturating_record(desks[(order % active) as usize].round_trip()?);
    }
    let of = |quantile: f64| histogram.value_at_quantile(quantile);
    Ok(RoundTrips { active, idle, p50_ns: of(0.5), p99_ns: of(0.99), p999_ns: of(0.999), p50_ratio: 1.0 })
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let Logons { sessions, seconds, per_s } = report.cold;
    let _ = writeln!(
        text,
        "mode {}, wait {}; server on core {}, client on {}, flusher on {}",
        report.mode,
        report.wait,
        report.placement.server_core,
        report.placement.client_core,
        report.placement.housekeeping_core
    );
    let _ = writeln!(text, "{sessions} new sessions logged on in {seconds:.2} s: {per_s:.0} a second");
    let Logons { sessions, seconds, per_s } = report.again;
    let _ = writeln!(text, "{sessions} known ones logged on again in {seconds:.2} s: {per_s:.0} a second");
    if let Some(bytes) = report.bytes_per_session {
        let _ = writeln!(text, "{:.1} KiB of the engine's memory a session, logged on and idle", bytes as f64 / 1024.0);
    }
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["active", "idle", "p50 µs", "p99 µs", "p99.9 µs", "p50 ÷ one session alone"]);
    for row in &report.round_trips {
        let ratio = format!("{:.2}", row.p50_ratio);
        rows.add_row([
            row.active.to_string(),
            row.idle.to_string(),
            us(row.p50_ns),
            us(row.p99_ns),
            us(row.p999_ns),
            ratio,
        ]);
    }
    let _ = writeln!(text, "{rows}");
    if let Some(longest_turn_ms) = report.longest_turn_ms {
        let _ = writeln!(text, "longest turn of the worker: {longest_turn_ms:.2} ms");
    }
    text
}
