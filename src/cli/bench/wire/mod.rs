//! `fixring bench wire`: order → report over loopback, beside the floors that the wire itself sets.
//!
//! [`server`] has the engines that are measured, [`measure`] takes the runs in turn, [`report`] says what came of them; [`text`], [`html`] and
//! [`markdown`] show it.

mod html;
mod markdown;
mod measure;
mod report;
mod server;
mod text;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::client::ClientError;
use super::{as_json, on_two_cores, print};
use crate::cli::Exit;
use report::Report;
use server::{OtherEngine, other_engine};

/// Measure the round trip of order and report over loopback, beside bare TCP
///
/// Runs in turn, each server in a process of its own that runs only while it is measured: a bare TCP ping-pong of the same bytes over as many
/// connections (the floor), the same with a thread that writes and syncs what the engine journals at the engine's flush interval (the floor
/// with sync), and the engine, which stores both directions, in each --mode. One client thread, the same for all. Each percentile is the median of
/// the runs; its spread is from the least run to the greatest.
///
/// Closed loop unless --rate is given: one order in flight over all sessions, each session in its turn. With --rate latency counts from the intended
/// send time; a run that does not reach the rate is named, and the exit status is 1. With --saturate, as many as --window holds.
///
/// The machine's stalls: before each run a thread reads the clock on the worker's core, where nothing else of ours runs, and every gap between two
/// reads over 5 µs is one. Open loops have a second row without stalls. It leaves out (a) the orders that were due or in flight while the client,
/// which reads the clock all the time, was away from its core for more than 20 µs, and those due for as long again, while what had gathered was worked off;
/// and (b) of the rest, so many of the slowest as stalls of the worker's core meet by the probe: for each gap those due in it, in
/// flight when it comes, or due for as long again. (a) is known order by order; (b) is an expectation, since nobody can watch a core on which the
/// engine runs. The floors are treated alike and stand beside it: what they have left is not the engine's.
#[derive(clap::Args, Debug)]
pub(crate) struct WireOptions {
    /// Write JSON to this file, or to standard output instead of the tables
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Write a page with the curves of all runs
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Make one table in Markdown of reports that --json wrote, instead of measuring
    #[arg(long, value_name = "FILE.json", num_args = 1..=16)]
    markdown: Vec<PathBuf>,
    /// Measure the FIX.4.4 engine that listens there instead of our own
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<SocketAddr>,
    /// What the engine of --connect is called in the report
    #[arg(long, value_name = "NAME", requires = "connect")]
    engine_name: Option<String>,
    /// Measure another FIX.4.4 engine beside our own: a command, started anew for each run, that serves on {port} with its files in {directory}, an empty one
    #[arg(long = "server", value_name = "NAME=COMMAND", value_parser = other_engine, conflicts_with = "connect")]
    servers: Vec<OtherEngine>,
    /// CompIDs with which to log on; with several sessions the first is followed by the session's number, from 1
    #[arg(long, value_name = "SENDER,TARGET", default_value = "CLIENT,VENUE", value_parser = comp_ids)]
    comp_ids: (String, String),
    /// Sessions over which the orders go; several numbers are measured one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: Vec<u32>,
    /// Sessions that log on to the engine beside the measured ones and stay idle
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    idle_sessions: u32,
    /// The engine's workers, each on a core of its own; sessions are spread over them by their identity
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// The engine's persistence modes, each of which is measured: buffered, flush, sync
    #[arg(long, value_name = "MODE,…", value_delimiter = ',', default_value = "buffered", value_parser = ["buffered", "flush", "sync"])]
    mode: Vec<String>,
    /// What the engine's worker does when there is nothing to do
    #[arg(long, default_value = "spin", value_parser = ["spin", "adaptive", "park"])]
    wait: String,
    /// Open loop at so many orders a second, over all sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Instead of round trips: how many orders are answered a second with --window of them in flight
    #[arg(long, conflicts_with_all = ["rate", "orders"])]
    saturate: bool,
    /// After each run of --saturate, so many seconds of open loop at half of what it reached, and the floors at the same rate
    #[arg(long, requires = "saturate", value_name = "S", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    half_load: Option<u64>,
    /// Orders in flight with --saturate, over all sessions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    window: u32,
    /// How long each run of --saturate takes
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Orders of each run
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000_000))]
    orders: u32,
    /// Runs of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    runs: u32,
    /// How long before each run the machine's stalls, and raw syncs of the volume, are measured
    #[arg(long, value_name = "S", default_value = "1", value_parser = probe_time)]
    probe_seconds: Duration,
    /// Where the engine's data and the floor's file go: the volume that is measured [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
}

const PROBE_SECONDS_MAX: f64 = 60.0;
const WORD_BYTES_MAX: usize = 32;
/// Descriptors that client, floor and engine need beside their connections.
const DESCRIPTORS_MORE: u64 = 128;

fn comp_ids(text: &str) -> Result<(String, String), String> {
    let is_comp_id =
        |id: &str| (1..=WORD_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let pair = text.split_once(',').filter(|(sender, target)| is_comp_id(sender) && is_comp_id(target));
    pair.map(|(sender, target)| (sender.into(), target.into()))
        .ok_or_else(|| format!("two CompIDs, SENDER,TARGET, of at most {WORD_BYTES_MAX} letters each"))
}

fn probe_time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.01..=PROBE_SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("a time from 0.01 to {PROBE_SECONDS_MAX} seconds"))
}

/// Why there is no report.
#[derive(Debug)]
enum WireError {
    /// The operator's: what, and the mend.
    Usage(String),
    Client(ClientError),
}

impl From<ClientError> for WireError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl WireOptions {
    /// Each once, in the order given.
    fn modes(&self) -> Vec<String> {
        distinct(&self.mode)
    }

    fn sessions(&self) -> Vec<u32> {
        distinct(&self.sessions)
    }

    /// What a run would find out too late.
    fn check(&self) -> Result<(), WireError> {
        let most = self.sessions.iter().max().copied().unwrap_or(1) + self.idle_sessions;
        let limit = open_files_max();
        if u64::from(most) + DESCRIPTORS_MORE > limit {
            return Err(WireError::Usage(format!(
                "{most} sessions need as many descriptors and {DESCRIPTORS_MORE} more, and this shell allows {limit}: raise it (ulimit -n), or lower --sessions and --idle-sessions"
            )));
        }
        if let Some(directory) = self.volume.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(WireError::Usage(format!(
                "--volume {directory:?} is no directory: name one on the volume that is to be measured"
            )));
        }
        let files = [&self.html, &self.json].into_iter().flatten().filter(|path| path.as_os_str() != "-");
        for path in files {
            // Found now and not at the end.
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| {
                WireError::Usage(format!("{path:?} cannot be written ({error}): name another file"))
            })?;
        }
        Ok(())
    }
}

fn distinct<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(value.clone());
        }
    }
    distinct
}

/// RLIMIT_NOFILE, by proc(5); no limit where the kernel does not tell.
fn open_files_max() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX)
}

pub(crate) fn wire(options: &WireOptions) -> Exit {
    let usage = |error: WireError| {
        error_line!("bench wire: {error}");
        Exit::Configuration
    };
    if !options.markdown.is_empty() {
        return match markdown::table(&options.markdown) {
            Ok(text) => {
                print(&text);
                Exit::Ok
            }
            Err(error) => usage(error),
        };
    }
    if let Err(error) = options.check() {
        return usage(error);
    }
    let mut report = None;
    let exit = on_two_cores("wire", options.volume.as_deref(), |place| {
        report = Some(measure::measure(options, place)?);
        Ok(())
    });
    let Some(report) = report else { return exit };
    if let Err(error) = write(options, &report) {
        error_line!("bench wire: {error}");
        return Exit::Failed;
    }
    let mut exit = exit;
    for missed in report.missed() {
        error_line!("bench wire: {missed}");
        exit = Exit::Failed;
    }
    exit
}

fn write(options: &WireOptions, report: &Report) -> Result<(), ClientError> {
    let json = as_json(report);
    match &options.json {
        Some(path) if path.as_os_str() == "-" => print(&json),
        Some(path) => {
            std::fs::write(path, json)?;
            print(&text::text(report));
        }
        None => print(&text::text(report)),
    }
    if let Some(path) = &options.html {
        std::fs::write(path, html::page(report))?;
    }
    Ok(())
}
