//! `fixring demo`: the engine's main job, seen in a minute.
//!
//! A venue (this executable's `run`, as a child process) and a client (this library as an initiator, in this process)
//! trade over TCP at a steady rate. Half way the venue is killed with SIGKILL and started again; the sessions recover
//! by resend and gap fill, and the end is counted order by order. Everything lies in one temporary directory, rings
//! included, which is gone afterwards; SIGINT and SIGTERM clean up as well.

mod trader;
mod venue;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Exit;
use crate::config::{Config, ConfigErrors, PersistenceMode};
use crate::engine::{Engine, EngineError, StartError};
use trader::{Flow, Plan, Tally, Trader};
use venue::Venue;

/// How often the main thread looks at the flow. The kill falls within so much of its moment.
const WATCH_INTERVAL: Duration = Duration::from_millis(2);
/// Nothing may stand still for longer: a logon, a report, a restart.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The same sizes on both sides: small enough for any temporary directory, large enough that nothing waits for room.
const JOURNAL: &str = "ring_bytes = \"4MiB\"\nsegment_bytes = \"16MiB\"\nsegments = 4\nflush_method = \"fdatasync\"\n";

#[derive(Args, Debug)]
pub(super) struct DemoOptions {
    /// Orders to send
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    orders: u32,
    /// Orders a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// The venue's persistence mode; the client's is always buffered
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Mode::Buffered)]
    mode: Mode,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Mode {
    Buffered,
    Flush,
    Sync,
}

/// The outcome, under the keys that `--json` prints.
#[derive(Serialize, Debug)]
struct Outcome {
    orders_sent: u64,
    reports_received: u64,
    lost: u64,
    duplicates_without_poss_dup: u64,
    recovery_ms: f64,
    round_trip_ns: RoundTrip,
}

#[derive(Serialize, Debug)]
struct RoundTrip {
    p50: u64,
    p99: u64,
    p999: u64,
}

/// Why a demo came to no outcome.
#[derive(Debug)]
enum DemoError {
    Interrupted,
    Io(&'static str, io::Error),
    /// The temporary directory's path cannot stand in a configuration.
    PathNotText,
    Config(ConfigErrors),
    Client(StartError),
    ClientEnded(EngineError),
    /// The venue ended by itself; the last lines that it logged.
    VenueEnded(String),
    Stalled {
        waiting_for: &'static str,
        said: String,
    },
}

pub(super) fn demo(options: &DemoOptions) -> Exit {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            error_line!("cannot catch signal {signal}: {error}");
            return Exit::Internal;
        }
    }
    let outcome = match run(options, &stop) {
        Ok(outcome) => outcome,
        Err(error) => {
            error_line!("demo: {error}");
            return Exit::Failed;
        }
    };
    if options.json {
        print_line!("{}", serde_json::to_string(&outcome).expect("numbers alone"));
    } else {
        print_line!("{}", outcome.table(options));
    }
    if outcome.lost == 0 && outcome.duplicates_without_poss_dup == 0 { Exit::Ok } else { Exit::Failed }
}

fn run(options: &DemoOptions, stop: &AtomicBool) -> Result<Outcome, DemoError> {
    let directory = tempfile::Builder::new().prefix("fixring-demo-").tempdir();
    let directory = directory.map_err(|error| DemoError::Io("cannot make a temporary directory", error))?;
    let cores = Cores::of_machine();
    let port = venue::free_port().ok_or_else(|| DemoError::Io("no port", io::ErrorKind::AddrInUse.into()))?;
    let mut venue = Venue::new(directory.path(), &venue_config(options, directory.path(), &cores, port)?)?;
    venue.start()?;

    let config = client_config(directory.path(), &cores, port)?;
    let plan = Plan {
        orders: options.orders,
        interval_ns: 1_000_000_000 / u64::from(options.rate),
        shares_core: cores.client.worker == cores.client.housekeeping,
    };
    let flow = Arc::new(Flow::default());
    let (trader, tally) = Trader::new(plan, Arc::clone(&flow));
    let mut trader = Some(trader);
    // One journal, so one application.
    let client = Engine::start(&config, |_| trader.take().expect("one journal")).map_err(DemoError::Client)?;

    let mut watch = Watch::new(options.orders, stop);
    let middle = u64::from(options.orders / 2);
    // On a busy machine the first report may come after all that.
    let flows = |flow: &Flow| flow.sent() >= middle && flow.answered() > 0;
    watch.until("orders to flow", &flow, &mut venue, flows)?;
    let killed_at = Instant::now();
    venue.kill().map_err(|error| DemoError::Io("cannot kill the venue", error))?;
    watch.bar.set_message("killed, starting again");
    venue.start()?;
    watch.until("the logon after the kill", &flow, &mut venue, |flow| flow.logons() >= 2)?;
    watch.bar.set_message("recovered");
    // Whoever loses an order must come to its table as well: what stands still is counted, not waited for.
    let everything = |flow: &Flow| flow.sent().min(flow.answered()) == u64::from(plan.orders);
    match watch.until("the reports", &flow, &mut venue, everything) {
        Ok(()) | Err(DemoError::Stalled { .. }) => {}
        Err(error) => return Err(error),
    }
    watch.bar.finish_and_clear();

    // The Logouts pass each other behind everything that was sent: what comes twice has come by then.
    client.stop();
    client.wait().map_err(DemoError::ClientEnded)?;
    venue.kill().map_err(|error| DemoError::Io("cannot stop the venue", error))?;
    let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let recovered_at = flow.second_logon().expect("waited for above");
    Ok(Outcome::of(&tally, recovered_at.saturating_duration_since(killed_at)))
}

/// Waits for the flow, shows how it goes, and sees when it cannot go on.
struct Watch<'a> {
    bar: ProgressBar,
    stop: &'a AtomicBool,
}

impl<'a> Watch<'a> {
    fn new(orders: u32, stop: &'a AtomicBool) -> Self {
        // On standard error, and hidden where that is no terminal.
        let bar = ProgressBar::new(orders.into());
        let style = "{bar:40} {pos}/{len} orders answered, {per_sec}  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a template that is tried by every run"));
        Self { bar, stop }
    }

    fn until(
        &mut self,
        waiting_for: &'static str,
        flow: &Flow,
        venue: &mut Venue,
        reached: impl Fn(&Flow) -> bool,
    ) -> Result<(), DemoError> {
        let mut last = (flow.progress(), Instant::now());
        while !reached(flow) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(DemoError::Interrupted);
            }
            if let Some(said) = venue.ended() {
                return Err(DemoError::VenueEnded(said));
            }
            let progress = flow.progress();
            if progress != last.0 {
                last = (progress, Instant::now());
            } else if last.1.elapsed() > STALL_MAX {
                return Err(DemoError::Stalled { waiting_for, said: venue.last_words() });
            }
            self.bar.set_position(flow.answered());
            std::thread::sleep(WATCH_INTERVAL);
        }
        Ok(())
    }
}

/// Which side runs where: workers spin on cores of their own, and the rest shares what is left.
struct Cores {
    venue: Placement,
    client: Placement,
}

struct Placement {
    worker: Option<usize>,
    housekeeping: Option<usize>,
}

impl Cores {
    fn of_machine() -> Self {
        let cores: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        let place = |worker: usize, housekeeping: usize| Placement {
            worker: Some(cores[worker]),
            housekeeping: Some(cores[housekeeping]),
        };
        match cores.len() {
            0 | 1 => Self {
                venue: Placement { worker: None, housekeeping: None },
                client: Placement { worker: None, housekeeping: None },
            },
            // The client's core, not the venue's, bears the flushers.
            2 | 3 => Self { venue: place(1, 0), client: place(0, 0) },
            count => Self { venue: place(count - 1, 0), client: place(count - 2, 1) },
        }
    }
}

impl Placement {
    fn to_toml(&self) -> String {
        match (self.worker, self.housekeeping) {
            (Some(worker), Some(housekeeping)) => {
                format!("cores = [{worker}]\nhousekeeping_cores = [{housekeeping}]\nwait = \"spin\"\n")
            }
            _ => "workers = 1\nwait = \"adaptive\"\n".into(),
        }
    }
}

fn venue_config(options: &DemoOptions, directory: &Path, cores: &Cores, port: u16) -> Result<String, DemoError> {
    let mode = match options.mode {
        Mode::Buffered => PersistenceMode::Buffered,
        Mode::Flush => PersistenceMode::Flush,
        Mode::Sync => PersistenceMode::Sync,
    };
    let mode = format!("{mode:?}").to_lowercase();
    let (data, rings) = (toml_path(directory, "venue")?, toml_path(directory, "venue-rings")?);
    let placement = cores.venue.to_toml();
    Ok(format!(
        "[engine]\ndata_dir = {data}\n{placement}application = \"exchange\"\n\
         [persistence]\nallow_tmpfs = true\nmode = \"{mode}\"\nring_dir = {rings}\n{JOURNAL}\
         [control]\nlisten = \"off\"\n\
         [[acceptor]]\nlisten = \"127.0.0.1:{port}\"\n\
         [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n"
    ))
}

fn client_config(directory: &Path, cores: &Cores, port: u16) -> Result<Config, DemoError> {
    let (data, rings) = (toml_path(directory, "client")?, toml_path(directory, "client-rings")?);
    let placement = cores.client.to_toml();
    // It connects again at once, so that the time to recover is the venue's and not the pause between attempts.
    let text = format!(
        "[engine]\ndata_dir = {data}\n{placement}\
         [persistence]\nallow_tmpfs = true\nring_dir = {rings}\n{JOURNAL}flush_interval = \"20ms\"\n\
         [control]\nlisten = \"off\"\n\
         [[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"DESK\"\ntarget_comp_id = \"VENUE\"\n\
         role = \"initiator\"\nconnect = [\"127.0.0.1:{port}\"]\nreconnect_min = \"5ms\"\nreconnect_max = \"5ms\"\n"
    );
    Config::parse(&text, "the demo's client").map_err(DemoError::Config)
}

fn toml_path(directory: &Path, name: &str) -> Result<String, DemoError> {
    let path = directory.join(name).into_os_string().into_string().map_err(|_| DemoError::PathNotText)?;
    Ok(toml::Value::String(path).to_string())
}

impl Outcome {
    fn of(tally: &Tally, recovery: Duration) -> Self {
        let percentile = |percent| tally.round_trip.value_at_percentile(percent);
        Self {
            orders_sent: tally.sent(),
            reports_received: tally.reports,
            lost: tally.sent() - tally.answered(),
            duplicates_without_poss_dup: tally.duplicates,
            recovery_ms: (recovery.as_secs_f64() * 10_000.0).round() / 10.0,
            round_trip_ns: RoundTrip { p50: percentile(50.0), p99: percentile(99.0), p999: percentile(99.9) },
        }
    }

    fn table(&self, options: &DemoOptions) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        let us = |ns: u64| format!("{:.1} µs", ns as f64 / 1_000.0);
        let mode = options.mode.to_possible_value().expect("no mode is hidden");
        table.set_header([format!("{} orders a second, {}", options.rate, mode.get_name()), String::new()]);
        let rows = [
            ("orders sent", self.orders_sent.to_string()),
            ("reports received", self.reports_received.to_string()),
            ("lost", self.lost.to_string()),
            ("duplicates without PossDup", self.duplicates_without_poss_dup.to_string()),
            ("from kill -9 to logged on again", format!("{:.1} ms", self.recovery_ms)),
            ("round trip p50", us(self.round_trip_ns.p50)),
            ("round trip p99", us(self.round_trip_ns.p99)),
            ("round trip p99.9", us(self.round_trip_ns.p999)),
        ];
        for (what, value) in rows {
            table.add_row([what.to_string(), value]);
        }
        table.column_mut(1).expect("two columns").set_cell_alignment(CellAlignment::Right);
        table
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted; everything is cleaned up"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::PathNotText => f.write_str("the temporary directory's path is not UTF-8: set TMPDIR to another"),
            Self::Config(errors) => errors.fmt(f),
            Self::Client(error) => write!(f, "the client does not start: {error}"),
            Self::ClientEnded(error) => write!(f, "the client ended: {error}"),
            Self::VenueEnded(said) => write!(f, "the venue ended by itself; its last words:\n{said}"),
            Self::Stalled { waiting_for, said } => {
                let seconds = STALL_MAX.as_secs();
                write!(
                    f,
                    "nothing moved for {seconds} s while waiting for {waiting_for}; the venue's last words:\n{said}"
                )
            }
        }
    }
}
