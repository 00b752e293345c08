//! `fixring bench storage`: what each persistence mode costs on a volume, beside what the volume itself costs.
//!
//! The real journal is driven, without a network: [`drive`] is the worker, the flusher turns in the engine's own shell. [`raw`] has the floors.
//! Both take turns in short slices, as [`plan`] shares them out, so that whatever the volume does meets both. [`report`] says what came of it
//! and what follows; [`text`], [`html`] and [`compare`] show it.

mod compare;
mod drive;
mod housekeeping;
mod html;
pub(super) mod plan;
pub(super) mod raw;
mod report;
mod text;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use jiff::Timestamp;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use super::machine::{Machine, Placement, pin};
use super::volume::{Made, Volume};
use super::{goal, page, plot, print, stats, table};
use crate::cli::Exit;
use crate::cli::progress::bar_style;
use crate::config::format_bytes;
use crate::journal::{Geometry, OpenError, StorageError};
use crate::sys::file;
use drive::{Bed, Place, Tally};
use housekeeping::Housekeeping;
use plan::{CellPlan, Load, METHODS, Method, Plan};
use raw::{RawFloor, RawThroughput};
use report::{Cell, Floor, Header, Raw, Report, SCHEMA, SCHEMA_VERSION};
use stats::{Distribution, Latencies, latencies, time_in_words};

/// Measure what each persistence mode costs on a volume, beside the volume's own floor
///
/// The journal is driven as a worker drives it, without a network: 200-byte messages of up to 64 sessions, one commit each. For each mode (buffered,
/// flush, sync) and method (fdatasync, dsync, msync): sessions that wait for each of their messages, steady rates (latency counts from the intended
/// time), and as much as goes in. Between the slices of each cell the same volume is measured with bare system calls: one durable page of 4 KiB after
/// the other. Files go to a new directory in --data-dir and are removed at the end, after an error and after SIGINT too.
#[derive(clap::Args, Debug)]
pub(crate) struct StorageOptions {
    /// A directory on the volume that is to be measured; made where it does not exist, and then
    /// removed at the end
    #[arg(long, value_name = "DIR", required_unless_present = "compare")]
    data_dir: Option<PathBuf>,
    /// Write JSON to this file, or to standard output instead of the tables
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "compare")]
    json: Option<PathBuf>,
    /// Write a page with the curves of all percentiles
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Put two reports of --json side by side instead of measuring
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"], conflicts_with = "data_dir")]
    compare: Option<Vec<PathBuf>>,
    /// Fewer loads, and 0.4 seconds of each unless --seconds says otherwise
    #[arg(long)]
    quick: bool,
    /// Time of each cell [default: 2.4]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,
    /// Only these methods
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<Method>,
    /// Where the rings go [default: /dev/shm, or beside the data where it is too small]
    #[arg(long, value_name = "DIR")]
    ring_dir: Option<PathBuf>,
    /// A power of two; a segment is four times as long
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = ring_bytes)]
    ring_bytes: u64,
}

const SECONDS: f64 = 2.4;
const SECONDS_QUICK: f64 = 0.4;
const SECONDS_MAX: f64 = 3_600.0;
const RINGS_PER_SEGMENT: u64 = 4;
const SEGMENTS: u32 = 3;
/// Throughput in big writes is measured for so long in each round.
const BIG_SLICE_MAX: Duration = Duration::from_millis(100);
/// A slow volume may take so many times as long as planned, and so much more; then the rest is left out.
const OVERTIME: u32 = 2;
const OVERTIME_MORE: Duration = Duration::from_secs(30);
/// What a rate may be behind at the end of a slice beside the flusher's interval: so many p99 of a raw sync, and this part of the slice.
const BEHIND_SYNCS: u32 = 4;
const BEHIND_DIVISOR: u32 = 50;

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.01..=SECONDS_MAX).contains(seconds));
    seconds.ok_or_else(|| format!("a time from 0.01 to {SECONDS_MAX} seconds"))
}

fn ring_bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse::<u64>().ok().filter(|bytes| bytes.is_power_of_two() && (1 << 18..=1 << 28).contains(bytes));
    bytes.ok_or_else(|| "a power of two from 262144 (256 KiB) to 268435456 (256 MiB)".into())
}

/// Why there is no report.
#[derive(Debug)]
enum BenchError {
    /// The operator's: what, and the mend.
    Usage(String),
    Interrupted,
    Io(String, io::Error),
    Open(Method, OpenError),
    Storage(StorageError),
    Flusher(String),
    /// The journal was opened again without its ring, and did not have everything that was synced.
    Lost {
        method: Method,
        end: u64,
        found: u64,
    },
}

pub(crate) fn storage(options: &StorageOptions) -> Exit {
    let result = match (&options.compare, &options.data_dir) {
        (Some(files), _) => compare::compare(&files[0], &files[1], options.html.as_deref()),
        (None, Some(data_dir)) => run(options, data_dir),
        (None, None) => Err(BenchError::Usage("--data-dir names the volume that is to be measured".into())),
    };
    match result {
        Ok(()) => Exit::Ok,
        Err(error) => {
            error_line!("bench storage: {error}");
            match error {
                BenchError::Usage(_) => Exit::Configuration,
                BenchError::Storage(_) | BenchError::Flusher(_) => Exit::Storage,
                _ => Exit::Failed,
            }
        }
    }
}

fn run(options: &StorageOptions, data_dir: &Path) -> Result<(), BenchError> {
    let Some(placement) = Placement::here() else {
        let text = "it needs two cores: worker and flusher turn beside each other, and on one core that measures the scheduler";
        return Err(BenchError::Usage(text.into()));
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| BenchError::Io(format!("cannot catch signal {signal}"), error))?;
    }
    // Four minutes of measurement are not to end at a path that cannot be written.
    let files = [&options.json, &options.html].map(|path| path.as_deref().filter(|path| *path != Path::new("-")));
    for path in files.into_iter().flatten() {
        let is_new = !path.exists();
        let tried = fs::OpenOptions::new().create(true).append(true).open(path);
        tried.map_err(|error| BenchError::Usage(format!("{path:?} cannot be written: {error}")))?;
        if is_new {
            // Nothing is left of a run that fails.
            let _ = fs::remove_file(path);
        }
    }
    let report = measure(options, data_dir, placement, &stop)?;
    let [json, html] = files;
    let text = || serde_json::to_string(&report).expect("a report of numbers and texts") + "\n";
    for (path, content) in [(json, &text as &dyn Fn() -> String), (html, &|| html::page(&report))] {
        let Some(path) = path else { continue };
        fs::write(path, content()).map_err(|error| BenchError::Io(format!("cannot write {path:?}"), error))?;
    }
    let is_json = options.json.as_deref() == Some(Path::new("-"));
    print(&if is_json { text() } else { text::text(&report) });
    Ok(())
}

fn measure(
    options: &StorageOptions,
    data_dir: &Path,
    placement: Placement,
    stop: &AtomicBool,
) -> Result<Report, BenchError> {
    // Before this thread is pinned and sees one core only.
    let machine = Machine::here();
    let methods: Vec<_> =
        METHODS.into_iter().filter(|method| options.methods.is_empty() || options.methods.contains(method)).collect();
    let geometry = Geometry {
        journals: 1,
        ring_bytes: options.ring_bytes,
        segment_bytes: options.ring_bytes * RINGS_PER_SEGMENT,
        segments: SEGMENTS,
    };
    // Dropped after what lies in it.
    let _made = Made::directory(data_dir).map_err(|error| {
        BenchError::Usage(format!(
            "--data-dir {data_dir:?} cannot be made: {error}; name a directory that this user can make"
        ))
    })?;
    let directory = directory_in(data_dir, geometry, methods.len() as u64)?;
    let mut notes = Vec::new();
    let volume = Volume::of(data_dir);
    if volume.is_memory() {
        notes.push(format!(
            "{data_dir:?} is on {}: memory, no volume; a node's death takes all of it whatever the mode",
            volume.filesystem
        ));
    }
    let rings =
        Rings::choose(options.ring_dir.as_deref(), directory.path(), geometry, methods.len() as u64, &mut notes)?;
    let place = Place { data: directory.path().to_owned(), rings: rings.path.clone(), geometry };
    let seconds = options.seconds.unwrap_or(if options.quick { SECONDS_QUICK } else { SECONDS });
    let mut bench = Bench::open(&place, placement.housekeeping_core, &methods, seconds, options.quick)?;
    for line in &notes {
        error_line!("bench storage: {line}");
    }
    error_line!(
        "bench storage: {} cells in {} rounds of {}, about {} s",
        bench.plan.cells.len(),
        bench.plan.rounds,
        time_in_words(bench.plan.slice.as_nanos() as u64),
        bench.duration().as_secs() + 1
    );
    pin(placement.server_core);
    bench.run(stop)?;
    bench.check()?;
    let header = Header {
        fixring: env!("CARGO_PKG_VERSION").into(),
        time: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        machine,
        volume,
        ring_dir: rings.shown.display().to_string(),
        ring_filesystem: Volume::of(&rings.shown).filesystem,
        worker_core: placement.server_core,
        flusher_core: placement.housekeeping_core,
        ring_bytes: geometry.ring_bytes,
        segment_bytes: geometry.segment_bytes,
        segments: geometry.segments,
        flush_interval_us: drive::FLUSH_INTERVAL.as_micros() as u64,
        payload_bytes: drive::PAYLOAD_BYTES as u64,
        record_bytes: drive::RECORD_BYTES,
        seconds,
        rounds: bench.plan.rounds,
    };
    Ok(bench.report(header, notes))
}

/// A new directory on the volume, which has room for everything that goes there. Gone with the value.
fn directory_in(data_dir: &Path, geometry: Geometry, methods: u64) -> Result<TempDir, BenchError> {
    if !data_dir.is_dir() {
        return Err(BenchError::Usage(format!(
            "--data-dir {data_dir:?} is no directory: name one on the volume that is to be measured"
        )));
    }
    let segments_bytes = geometry.segment_bytes * u64::from(geometry.segments);
    // A ring may have to go there too. A sixteenth more for what filesystems keep of their own.
    let needed_bytes = (methods * (segments_bytes + geometry.ring_bytes + raw::FILE_BYTES) + raw::FILE_BYTES) / 16 * 17;
    let space = file::space(data_dir).map_err(|error| BenchError::Io(format!("cannot look at {data_dir:?}"), error))?;
    if space.free_bytes < needed_bytes {
        return Err(BenchError::Usage(format!(
            "--data-dir {data_dir:?} has {} free, {} are needed: name a larger volume, lower --ring-bytes, or choose one --method",
            format_bytes(space.free_bytes >> 20 << 20),
            format_bytes(needed_bytes.next_multiple_of(1 << 20)),
        )));
    }
    let directory = tempfile::Builder::new().prefix("fixring-bench-").tempdir_in(data_dir);
    directory.map_err(|error| BenchError::Usage(format!("--data-dir {data_dir:?} cannot be written to: {error}")))
}

/// Where the rings are.
struct Rings {
    path: PathBuf,
    /// Whose directory that is.
    shown: PathBuf,
    /// Gone with the value; `None` beside the data.
    _directory: Option<TempDir>,
}

const SHARED_MEMORY: &str = "/dev/shm";

impl Rings {
    fn choose(
        wanted: Option<&Path>,
        data: &Path,
        geometry: Geometry,
        methods: u64,
        notes: &mut Vec<String>,
    ) -> Result<Self, BenchError> {
        let shared = wanted.unwrap_or(Path::new(SHARED_MEMORY));
        let needed_bytes = methods * (geometry.ring_bytes + (1 << 20));
        let has_room = file::space(shared).is_ok_and(|space| space.free_bytes >= needed_bytes);
        let directory = tempfile::Builder::new().prefix("fixring-bench-").tempdir_in(shared);
        match (directory, wanted) {
            (Ok(directory), _) if has_room => {
                Ok(Self { path: directory.path().to_owned(), shown: shared.to_owned(), _directory: Some(directory) })
            }
            (Ok(_), Some(wanted)) => Err(BenchError::Usage(format!(
                "--ring-dir {wanted:?} has less than the {} that are needed: enlarge it or lower --ring-bytes",
                format_bytes(needed_bytes)
            ))),
            (Err(error), Some(wanted)) => {
                Err(BenchError::Usage(format!("--ring-dir {wanted:?} cannot be written to: {error}")))
            }
            (_, None) => {
                notes.push(format!(
                    "{SHARED_MEMORY} has no {} for the rings, so they lie on the volume: each message is written twice; enlarge it or name a --ring-dir",
                    format_bytes(needed_bytes)
                ));
                Ok(Self { path: data.join("rings"), shown: data.to_owned(), _directory: None })
            }
        }
    }
}

/// Everything that is measured, and what was found so far.
struct Bench {
    plan: Plan,
    beds: Vec<Bed>,
    /// Empty only while the other core has them.
    floors: Vec<RawFloor>,
    /// Of the beds and floors; by cell and by these in `beside`.
    methods: Vec<Method>,
    refused: Vec<(Method, String)>,
    /// `None` only while the other core has it.
    throughput: Option<RawThroughput>,
    /// Of the whole run, by method.
    overall: Vec<Latencies>,
    tallies: Vec<Tally>,
    beside: Vec<Vec<Latencies>>,
    housekeeping: Housekeeping,
}

impl Bench {
    fn open(
        place: &Place,
        flusher_core: usize,
        wanted: &[Method],
        seconds: f64,
        quick: bool,
    ) -> Result<Self, BenchError> {
        let failed = |error| BenchError::Io(format!("cannot measure {:?}", place.data), error);
        let (mut beds, mut floors, mut methods, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for method in wanted {
            match RawFloor::open(&place.data, *method, drive::RECORD_BYTES).map_err(failed)? {
                Ok(floor) => {
                    floors.push(floor);
                    beds.push(Bed::open(place, *method)?);
                    methods.push(*method);
                }
                Err(why) => refused.push((*method, why)),
            }
        }
        let plan = Plan::new(&methods, seconds, quick);
        Ok(Self {
            throughput: Some(RawThroughput::open(&place.data).map_err(failed)?),
            overall: methods.iter().map(|_| latencies()).collect(),
            tallies: plan.cells.iter().map(|_| Tally::new()).collect(),
            beside: plan.cells.iter().map(|_| methods.iter().map(|_| latencies()).collect()).collect(),
            housekeeping: Housekeeping::start(flusher_core)?,
            plan,
            beds,
            floors,
            methods,
            refused,
        })
    }

    fn duration(&self) -> Duration {
        let big = self.plan.slice.min(BIG_SLICE_MAX) * self.plan.rounds;
        self.plan.duration(self.methods.len() as u32) + big
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<(), BenchError> {
        for bed in &mut self.beds {
            bed.settle(stop)?;
        }
        let deadline = Instant::now() + self.duration() * OVERTIME + OVERTIME_MORE;
        let slices = u64::from(self.plan.rounds) * self.plan.cells.len() as u64;
        let style = bar_style("{bar:30} {percent:>3} %, {left}: {msg}");
        let bar = ProgressBar::new(slices).with_style(style);
        for _ in 0..self.plan.rounds {
            self.big_slice()?;
            for number in 0..self.plan.cells.len() {
                if stop.load(Ordering::Relaxed) {
                    return Err(BenchError::Interrupted);
                }
                let cell = self.plan.cells[number];
                bar.set_message(format!("{} by {}, {}", cell.mode, cell.method, cell.load));
                // What was given up once would only take as long again.
                if Instant::now() < deadline && !self.tallies[number].is_given_up {
                    self.slice(number, cell, stop)?;
                }
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The floors, and one slice of the cell.
    fn slice(&mut self, number: usize, cell: CellPlan, stop: &AtomicBool) -> Result<(), BenchError> {
        let floor_slice = self.plan.floor_slice(cell.load);
        let mut floors = std::mem::take(&mut self.floors);
        let answer = self.housekeeping.ask(move || {
            let took: io::Result<Vec<_>> = floors.iter_mut().map(|floor| floor.run(floor_slice)).collect();
            (floors, took)
        });
        let (floors, took) = answer.wait()?;
        self.floors = floors;
        let each = self.overall.iter_mut().zip(&mut self.beside[number]);
        for (took, (overall, beside)) in took.map_err(floor_failed)?.into_iter().zip(each) {
            for ns in took {
                overall.saturating_record(ns);
                beside.saturating_record(ns);
            }
        }
        let bed =
            self.beds.iter_mut().find(|bed| bed.method == cell.method).expect("a bed for each method of the plan");
        bed.run(cell, self.plan.slice, &mut self.tallies[number], &self.housekeeping, stop)
    }

    fn big_slice(&mut self) -> Result<(), BenchError> {
        let duration = self.plan.slice.min(BIG_SLICE_MAX);
        let mut throughput = self.throughput.take().expect("it comes back at the end of each slice");
        let answer = self.housekeeping.ask(move || {
            let result = throughput.run(duration);
            (throughput, result)
        });
        let (throughput, result) = answer.wait()?;
        self.throughput = Some(throughput);
        result.map_err(floor_failed)
    }

    /// Each journal has everything that it said was on stable media.
    fn check(&mut self) -> Result<(), BenchError> {
        self.beds.drain(..).try_for_each(Bed::check)
    }

    fn report(&self, header: Header, notes: Vec<String>) -> Report {
        let measured = self.methods.iter().zip(&self.overall);
        let measured = measured.map(|(method, all)| Raw { method: *method, refused: None, latency: all.into() });
        let refused = self.refused.iter().map(|(method, why)| Raw {
            method: *method,
            refused: Some(why.clone()),
            latency: Distribution::default(),
        });
        let mut raw: Vec<_> = measured.chain(refused).collect();
        raw.sort_by_key(|raw| raw.method);
        let mut report = Report {
            schema: SCHEMA.into(),
            schema_version: SCHEMA_VERSION,
            header,
            raw,
            raw_bytes_per_second: self.throughput.as_ref().map_or(0.0, RawThroughput::bytes_per_second),
            cells: (0..self.plan.cells.len()).map(|number| self.cell(number)).collect(),
            goals: Vec::new(),
            verdict: String::new(),
            notes,
        };
        report.conclude();
        report
    }

    fn cell(&self, number: usize) -> Cell {
        let (plan, tally) = (self.plan.cells[number], &self.tallies[number]);
        let floors = self.methods.iter().zip(&self.beside[number]);
        let seconds = tally.measured.as_secs_f64().max(1e-9);
        Cell {
            plan,
            missed: self.missed(number),
            latency: (&tally.latencies).into(),
            age: (&tally.ages).into(),
            age_ns_max: tally.age_ns_max.max(tally.ages.max()),
            messages_at_risk_max: tally.messages_at_risk_max,
            messages_per_second: tally.released as f64 / seconds,
            syncs_per_second: tally.syncs_per_second(),
            written_bytes: tally.bytes,
            floors: floors.map(|(method, beside)| Floor { method: *method, latency: beside.into() }).collect(),
        }
    }

    fn missed(&self, number: usize) -> Option<String> {
        let (plan, tally) = (self.plan.cells[number], &self.tallies[number]);
        if tally.is_given_up {
            return Some("the load was given up: a message waited for seconds".into());
        }
        if tally.slices < self.plan.rounds {
            let (slices, rounds) = (tally.slices, self.plan.rounds);
            return Some(format!(
                "{slices} of {rounds} slices were measured: the volume is too slow for the time that was planned"
            ));
        }
        let Load::Rate { .. } = plan.load else { return None };
        let at = self.methods.iter().position(|method| *method == plan.method)?;
        let sync = Duration::from_nanos(self.beside[number][at].value_at_quantile(0.99));
        let allowed = drive::FLUSH_INTERVAL + sync * BEHIND_SYNCS + self.plan.slice / BEHIND_DIVISOR;
        let behind = tally.overrun / tally.slices;
        let words = |time: Duration| time_in_words(time.as_nanos() as u64);
        (behind > allowed).then(|| {
            format!(
                "the rate was missed: the volume was {} behind at the end of a slice, more than {}",
                words(behind),
                words(allowed)
            )
        })
    }
}

fn floor_failed(error: io::Error) -> BenchError {
    BenchError::Io("cannot write the floor's file".into(), error)
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Flusher(text) => f.write_str(text),
            Self::Interrupted => f.write_str("interrupted; its files are removed"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Open(method, error) => write!(f, "the journal by {method}: {error}"),
            Self::Storage(error) => error.fmt(f),
            Self::Lost { method, end, found } => {
                write!(
                    f,
                    "the journal by {method} was synced to {end} and is found to {found}: the volume lost what it confirmed, or this is a bug"
                )
            }
        }
    }
}
