//! `fixring bench wire`: order → report over loopback, beside the floors that the wire itself sets.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::{Client, ClientError, Load};
use super::engine::{EngineProcess, EngineSettings, FLUSH_INTERVAL_US, Memory};
use super::machine::{Machine, Placement, pin};
use super::saturation::saturate;
use super::{Place, on_two_cores};
use crate::cli::Exit;
use crate::sys::process;

/// Measure the round trip of order and report over loopback, beside bare TCP
///
/// Five runs of each, in turn: a bare TCP ping-pong of the same bytes (the floor), the same with a thread that writes
/// and syncs what the engine journals at the engine's flush interval (the floor with sync), and the engine, which
/// stores both directions; it is stopped (SIGSTOP) while the floors run. Each percentile is the median of the runs. Closed loop unless --rate is given; then latency
/// counts from the intended send time.
#[derive(clap::Args, Debug)]
pub(crate) struct WireOptions {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Measure the FIX.4.4 engine that listens there instead of our own
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<SocketAddr>,
    /// CompIDs with which to log on to the engine of --connect
    #[arg(long, value_name = "SENDER,TARGET", default_value = "CLIENT,VENUE", value_parser = comp_ids)]
    pub comp_ids: (String, String),
    /// What the engine of --connect is called in the report
    #[arg(long, value_name = "NAME", requires = "connect")]
    engine_name: Option<String>,
    /// Instead of round trips: how many orders are answered a second with --window of them in flight
    #[arg(long, conflicts_with_all = ["rate", "orders", "idle_sessions"])]
    saturate: bool,
    /// Orders in flight with --saturate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub window: u32,
    /// How long each run of --saturate takes
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Open loop at so many orders a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Round trips of each run
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..))]
    orders: u32,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    pub runs: u32,
    /// The engine's persistence mode
    #[arg(long, default_value = "buffered", value_parser = ["buffered", "flush", "sync"])]
    pub mode: String,
    /// What the engine's worker does when there is nothing to do
    #[arg(long, default_value = "spin", value_parser = ["spin", "adaptive", "park"])]
    pub wait: String,
    /// Sessions that log on to the engine beside the measured one and stay idle
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=3_000))]
    idle_sessions: u32,
    /// Where the engine's data and the floor's file go: the volume that is measured [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
}

pub(super) const HEART_BT_INT_S: u64 = 60;
/// Header and alignment that the journal adds to the two messages of a round trip, on average.
const JOURNAL_OVERHEAD_BYTES: usize = 2 * (64 + 32);

impl WireOptions {
    /// What somebody else's engine is called.
    pub fn engine_name_or(&self, address: SocketAddr) -> String {
        self.engine_name.clone().unwrap_or_else(|| address.to_string())
    }
}

fn comp_ids(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(',').filter(|(sender, target)| !sender.is_empty() && !target.is_empty());
    pair.map(|(sender, target)| (sender.into(), target.into())).ok_or_else(|| "two CompIDs, SENDER,TARGET".into())
}

/// Percentiles in ns; of several runs the median of each, and how far the runs' p50 lie apart.
#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    p9999_ns: u64,
    max_ns: u64,
    p50_spread_ns: u64,
}

#[derive(Debug, Serialize)]
struct Ratio {
    p50: f64,
    /// Against the floor with sync on fewer than four cores, where the flusher has no core of its own.
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    placement: Placement,
    engine_name: String,
    mode: String,
    wait: String,
    loop_kind: String,
    orders_per_run: u32,
    runs: u32,
    order_bytes: usize,
    report_bytes: usize,
    idle_sessions: u32,
    floor: Percentiles,
    floor_with_sync: Percentiles,
    engine: Percentiles,
    ratio: Ratio,
    /// Anonymous resident memory of the engine's process, all sessions logged on.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_anonymous_kib: Option<u64>,
}

pub(crate) fn wire(options: &WireOptions) -> Exit {
    on_two_cores("wire", options.volume.as_deref(), |place| {
        if options.saturate {
            return saturate(options, place);
        }
        print(options, &measure(options, place)?);
        Ok(())
    })
}

fn measure(options: &WireOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    let comp_ids = (options.comp_ids.0.as_str(), options.comp_ids.1.as_str());
    let own = match options.connect {
        Some(_) => None,
        None => Some(EngineProcess::start(
            directory.path(),
            placement,
            &EngineSettings {
                mode: &options.mode,
                wait: &options.wait,
                sessions_max: options.idle_sessions + 16,
                segments: 4,
            },
        )?),
    };
    let address = options.connect.or(own.as_ref().map(|own| own.address)).expect("one of the two is there");
    // Idle sessions log on before the client is pinned, and stay until the end.
    let idle: Result<Vec<_>, _> = (0..options.idle_sessions)
        .map(|number| Client::to_engine(address, (&format!("IDLE{number}"), comp_ids.1), HEART_BT_INT_S))
        .collect();
    let idle = idle?;
    pin(placement.client_core);

    let load = Load { warm_up: options.orders.min(5_000), round_trips: options.orders, rate: options.rate };
    // The first engine run is thrown away but for the lengths that the floor has to use.
    let mut first = Client::to_engine(address, comp_ids, HEART_BT_INT_S)?;
    first.run(Load { warm_up: 0, round_trips: 100, rate: None }, comp_ids)?;
    let (order_bytes, report_bytes) = (first.order_bytes, first.answer_bytes);
    drop(first);

    let (mut floors, mut synced_floors, mut engines) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        // A worker that spins would take half of the core that the floor is measured on.
        own.as_ref().map_or(Ok(()), |own| process::pause(&own.child))?;
        for (sync, results) in [(false, &mut floors), (true, &mut synced_floors)] {
            let floor = FloorProcess::start(directory.path(), placement, order_bytes, report_bytes, sync)?;
            let mut client = Client::to_floor(floor.address, order_bytes, report_bytes)?;
            results.push(client.run(load, comp_ids)?);
        }
        own.as_ref().map_or(Ok(()), |own| process::resume(&own.child))?;
        let mut client = reconnect(address, comp_ids)?;
        engines.push(client.run(load, comp_ids)?);
    }
    let engine_anonymous_kib =
        own.as_ref().and_then(EngineProcess::memory).map(|Memory { rss_anon_kib, .. }| rss_anon_kib);
    drop(idle);
    let (floor, floor_with_sync, engine) = (median(&floors), median(&synced_floors), median(&engines));
    // How somebody else's engine is set up is not ours to say.
    let foreign = options.connect.map(|_| "unknown");
    let p99_floor = if machine.cores < 4 { floor_with_sync.p99_ns } else { floor.p99_ns };
    Ok(Report {
        placement,
        engine_name: options
            .connect
            .map_or_else(|| format!("fixring {}", env!("CARGO_PKG_VERSION")), |at| options.engine_name_or(at)),
        mode: foreign.unwrap_or(&options.mode).into(),
        wait: foreign.unwrap_or(&options.wait).into(),
        loop_kind: options.rate.map_or_else(|| "closed".into(), |rate| format!("open at {rate}/s")),
        orders_per_run: options.orders,
        runs: options.runs,
        order_bytes,
        report_bytes,
        idle_sessions: options.idle_sessions,
        ratio: Ratio { p50: engine.p50_ns as f64 / floor.p50_ns as f64, p99: engine.p99_ns as f64 / p99_floor as f64 },
        floor,
        floor_with_sync,
        engine,
        engine_anonymous_kib,
        machine,
    })
}

/// The last connection's end may not have reached the engine yet: it refuses a second Logon until it has.
pub(super) fn reconnect(address: SocketAddr, comp_ids: (&str, &str)) -> Result<Client, ClientError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match Client::to_engine(address, comp_ids, HEART_BT_INT_S) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
}

fn median(runs: &[Histogram<u64>]) -> Percentiles {
    let of = |quantile: f64| {
        let mut values: Vec<u64> = runs.iter().map(|run| run.value_at_quantile(quantile)).collect();
        values.sort_unstable();
        values
    };
    let middle = |values: Vec<u64>| values[values.len() / 2];
    let p50 = of(0.5);
    Percentiles {
        p50_spread_ns: p50[p50.len() - 1] - p50[0],
        p50_ns: middle(p50),
        p99_ns: middle(of(0.99)),
        p999_ns: middle(of(0.999)),
        p9999_ns: middle(of(0.9999)),
        max_ns: middle(of(1.0)),
    }
}

/// The floor's server, killed when dropped.
pub(super) struct FloorProcess {
    child: Child,
    pub address: SocketAddr,
}

impl FloorProcess {
    pub fn start(
        directory: &Path,
        placement: Placement,
        order_bytes: usize,
        report_bytes: usize,
        sync: bool,
    ) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "floor"]);
        let mut option = |name: &str, value: String| {
            command.arg(format!("--{name}")).arg(value);
        };
        option("request-bytes", order_bytes.to_string());
        option("answer-bytes", report_bytes.to_string());
        option("core", placement.server_core.to_string());
        if sync {
            option("journal-bytes", (order_bytes + report_bytes + JOURNAL_OVERHEAD_BYTES).to_string());
            option("sync-file", directory.join("floor").display().to_string());
            option("sync-interval-us", FLUSH_INTERVAL_US.to_string());
            option("sync-core", placement.housekeeping_core.to_string());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("standard output is a pipe")).read_line(&mut line)?;
        let port: u16 = line.trim().parse().map_err(|_| io::Error::other("the floor's server did not start"))?;
        Ok(Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn print(options: &WireOptions, report: &Report) {
    let text = if options.json {
        serde_json::to_string_pretty(report).expect("a report of numbers and texts") + "\n"
    } else {
        table(report)
    };
    // A reader that has gone away changes nothing of the outcome.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "{}: {} → {} bytes, {} loop, mode {}, wait {}, {} orders a run, median of {} runs; server on core {}, client on {}, flusher on {}",
        report.engine_name,
        report.order_bytes,
        report.report_bytes,
        report.loop_kind,
        report.mode,
        report.wait,
        report.orders_per_run,
        report.runs,
        report.placement.server_core,
        report.placement.client_core,
        report.placement.housekeeping_core,
    );
    let us = |ns: u64| format!("{:.2}", ns as f64 / 1000.0);
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["µs", "p50", "p99", "p99.9", "p99.99", "max", "p50 spread"]);
    for (name, row) in
        [("bare TCP", report.floor), ("bare TCP with sync", report.floor_with_sync), ("engine", report.engine)]
    {
        let numbers = [row.p50_ns, row.p99_ns, row.p999_ns, row.p9999_ns, row.max_ns, row.p50_spread_ns];
        rows.add_row(std::iter::once(name.to_string()).chain(numbers.map(us)));
    }
    let _ = writeln!(text, "{rows}");
    let against = if report.machine.cores < 4 { "bare TCP with sync" } else { "bare TCP" };
    let _ = writeln!(text, "p50 {:.2} × bare TCP, p99 {:.2} × {against}", report.ratio.p50, report.ratio.p99);
    if let Some(kib) = report.engine_anonymous_kib {
        let _ = writeln!(
            text,
            "engine: {:.1} MiB of anonymous memory with {} idle sessions",
            kib as f64 / 1024.0,
            report.idle_sessions
        );
    }
    text
}
