//! The runs, in turn: the machine alone, the floors, the engines, and again.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::WireOptions;
use super::report::{Cell, Header, Kind, Latency, Own, Report, SCHEMA, SCHEMA_VERSION, Saturation, Subject};
use super::server::{Contender, Ground, Running, contenders};
use crate::cli::bench::Place;
use crate::cli::bench::client::{Answered, Client, ClientError, Fleet, OpenLoop, Window};
use crate::cli::bench::engine::{EngineHome, EngineProcess, FLUSH_INTERVAL_US, Memory};
use crate::cli::bench::floor::{FloorProcess, FloorSettings};
use crate::cli::bench::machine::{Placement, pin};
use crate::cli::bench::stalls::Stalls;
use crate::cli::bench::stats::{Distribution, Latencies, latencies};
use crate::cli::bench::storage::plan::Method;
use crate::cli::bench::storage::raw::RawFloor;
use crate::cli::bench::volume::Volume;
use crate::cli::progress::Progress;

const WARM_UP_ORDERS_MAX: u32 = 5_000;
/// Of the run that only says how long orders and reports are.
const FIRST_ORDERS: u32 = 100;
/// The bare echo reaches its speed at once.
const FLOOR_SECONDS_MAX: u64 = 5;
/// Before a saturation is measured.
const WARM_UP_TIME: Duration = Duration::from_millis(200);
/// What the engine of a benchmark has: the configuration's default.
const RING_BYTES: f64 = (16 << 20) as f64;
/// An order and its report in the journal, for the raw sync beside it.
const RECORD_BYTES: u64 = 320;
/// The thread that publishes the age at risk does so much more often.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(20);
const SYNCED_WITHIN: Duration = Duration::from_secs(10);

const METRIC_RING_FULL: &str = "fixring_journal_ring_full_total";
const METRIC_APPENDED: &str = "fixring_journal_appended_bytes";
const METRIC_UNSYNCED: &str = "fixring_journal_unsynced_bytes";
const METRIC_AGE_MAX: &str = "fixring_storage_unsynced_age_max_seconds";
const METRIC_MESSAGES_IN: &str = "fixring_worker_messages_in_total";

/// What is done with a server, the same for all of a benchmark.
#[derive(Clone, Copy)]
enum Load {
    Closed { warm_up: u32, orders: u32 },
    Open { warm_up: u32, orders: u32, rate: u32 },
    Saturation { window: u32, seconds: u64, half_load_seconds: Option<u64> },
}

/// Runs of one subject, before they become its figures.
#[derive(Default)]
struct Runs {
    closed: Vec<Latencies>,
    open: Vec<OpenLoop>,
    saturated: Vec<Answered>,
    own: Option<Own>,
    totals: Totals,
}

/// Sums of our own engine, over what was measured and not over what warmed it up.
#[derive(Clone, Copy, Default)]
struct Totals {
    /// What it handed to write calls. Not write_bytes of proc(5): that counts whole folios where a page of one becomes dirty.
    written_bytes: f64,
    appended_bytes: f64,
    ring_full: f64,
}

impl Totals {
    fn of(engine: &EngineProcess) -> Self {
        Self {
            written_bytes: engine.written_bytes().unwrap_or_default() as f64,
            appended_bytes: engine.metric(METRIC_APPENDED).unwrap_or_default(),
            ring_full: engine.metric(METRIC_RING_FULL).unwrap_or_default(),
        }
    }

    fn add(&mut self, after: &Self, before: &Self) {
        self.written_bytes += after.written_bytes - before.written_bytes;
        self.appended_bytes += after.appended_bytes - before.appended_bytes;
        self.ring_full += after.ring_full - before.ring_full;
    }
}

pub(super) fn measure(options: &WireOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    let Some(worker_cores) = placement.worker_cores(options.workers as usize) else {
        return Err(ClientError::Failed(format!(
            "--workers {}: each has a core of its own, and this process may use {}: name at most as many",
            options.workers, machine.cores
        )));
    };
    let warm_up = options.orders.min(WARM_UP_ORDERS_MAX);
    let load = match options.rate {
        _ if options.saturate => {
            Load::Saturation { window: options.window, seconds: options.seconds, half_load_seconds: options.half_load }
        }
        Some(rate) => Load::Open { warm_up, orders: options.orders, rate },
        None => Load::Closed { warm_up, orders: options.orders },
    };
    let contenders = contenders(options);
    let floors = if options.saturate { 1 } else { 2 };
    let steps = options.sessions().len() as u64 * u64::from(options.runs) * (floors + contenders.len() as u64);
    let mut progress = Progress::new("bench wire", steps);
    let mut done = 0;
    let mut lengths = (0, 0);
    let mut cells = Vec::new();
    for sessions in options.sessions() {
        let directory = directory.path().join(format!("sessions-{sessions}"));
        std::fs::create_dir(&directory)?;
        let ground = Ground {
            options,
            placement,
            worker_cores: &worker_cores,
            sessions,
            homes: contenders.iter().map(|_| None).collect(),
            directory,
            starts: 0,
        };
        let mut step = |what: &str| {
            progress.at(done, || format!("{sessions} sessions, {what}"));
            done += 1;
        };
        let mut bench = Bench { ground, contenders: &contenders, load, lengths: (0, 0), step: &mut step };
        cells.push(bench.cell()?);
        lengths = bench.lengths;
    }
    progress.finish();
    let (orders_per_run, seconds_per_run) = match load {
        Load::Saturation { seconds, .. } => (None, Some(seconds)),
        Load::Closed { orders, .. } | Load::Open { orders, .. } => (Some(orders), None),
    };
    let header = Header {
        fixring: env!("CARGO_PKG_VERSION").into(),
        build_profile: if cfg!(debug_assertions) { "development" } else { "release" }.into(),
        time: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        machine,
        volume: Volume::of(directory.path()),
        loop_kind: match load {
            Load::Closed { .. } => "closed loop, one order in flight".into(),
            Load::Open { rate, .. } => format!("open loop at {rate}/s"),
            Load::Saturation { window, half_load_seconds: None, .. } => {
                format!("saturation, {window} orders in flight")
            }
            Load::Saturation { window, half_load_seconds: Some(seconds), .. } => {
                format!("saturation, {window} orders in flight, then {seconds} s of open loop at half of it")
            }
        },
        runs: options.runs,
        orders_per_run,
        seconds_per_run,
        wait: options.wait.clone(),
        flush_interval_us: FLUSH_INTERVAL_US,
        worker_cores,
        client_core: placement.client_core,
        housekeeping_core: placement.housekeeping_core,
        idle_sessions: options.idle_sessions,
        order_bytes: lengths.0,
        report_bytes: lengths.1,
    };
    let mut report = Report { schema: SCHEMA.into(), schema_version: SCHEMA_VERSION, header, cells, goals: Vec::new() };
    report.conclude();
    Ok(report)
}

/// One number of sessions.
struct Bench<'a> {
    ground: Ground<'a>,
    contenders: &'a [Contender],
    load: Load,
    /// Bytes of an order and of a report, by the first contender's.
    lengths: (usize, usize),
    /// Told what comes next.
    step: &'a mut dyn FnMut(&str),
}

impl Bench<'_> {
    fn cell(&mut self) -> Result<Cell, ClientError> {
        self.learn_lengths()?;
        let options = self.ground.options;
        let has_own = self.contenders.iter().any(|contender| contender.mode.is_some());
        let (mut floor, mut synced_floor) = (Runs::default(), Runs::default());
        let mut engines: Vec<Runs> = self.contenders.iter().map(|_| Runs::default()).collect();
        let mut stalls: Option<Stalls> = None;
        let mut raw_sync = latencies();
        for _ in 0..options.runs {
            let found = Stalls::probe(self.ground.worker_cores[0], options.probe_seconds);
            match &mut stalls {
                Some(stalls) => stalls.add(found),
                None => stalls = Some(found),
            }
            if has_own {
                let placement = self.ground.placement;
                raw_syncs(&self.ground.directory, placement, options.probe_seconds, &mut raw_sync)?;
            }
            match self.load {
                Load::Closed { .. } | Load::Open { .. } => {
                    (self.step)("bare TCP");
                    self.run_floor(false, self.load, &mut floor)?;
                    (self.step)("bare TCP with sync");
                    self.run_floor(true, self.load, &mut synced_floor)?;
                }
                Load::Saturation { .. } => {
                    (self.step)("bare TCP");
                    self.run_floor(false, self.load, &mut floor)?;
                }
            }
            for (number, runs) in engines.iter_mut().enumerate() {
                (self.step)(&self.contenders[number].name);
                self.run_engine(number, runs)?;
            }
            let half = engines[0].open.last().filter(|_| matches!(self.load, Load::Saturation { .. }));
            if let Some(half) = half {
                let (rate, orders) = (half.wanted_per_second, half.latencies.len().min(u64::from(u32::MAX)) as u32);
                let load = Load::Open { warm_up: WARM_UP_ORDERS_MAX, orders, rate };
                self.run_floor(false, load, &mut floor)?;
                self.run_floor(true, load, &mut synced_floor)?;
            }
        }
        let stalls = stalls.expect("there is one run at least");
        let mut subjects = vec![
            self.subject(Subject::new(Kind::Floor, "bare TCP"), floor, &stalls),
            self.subject(Subject::new(Kind::FloorWithSync, "bare TCP with sync"), synced_floor, &stalls),
        ];
        for (contender, runs) in self.contenders.iter().zip(engines) {
            let mut subject = Subject::new(Kind::Engine, &contender.name);
            subject.mode.clone_from(&contender.mode);
            subjects.push(self.subject(subject, runs, &stalls));
        }
        let raw_sync = has_own.then(|| Distribution::from(&raw_sync));
        Ok(Cell { sessions: self.ground.sessions, stalls, raw_sync, subjects })
    }

    /// The floor has to use the same bytes.
    fn learn_lengths(&mut self) -> Result<(), ClientError> {
        let contenders = self.contenders;
        let mut running = self.ground.start(0, &contenders[0])?;
        running.fleet.closed_loop(0, FIRST_ORDERS)?;
        self.lengths = running.fleet.lengths();
        Ok(())
    }

    fn run_floor(&self, with_sync: bool, load: Load, runs: &mut Runs) -> Result<(), ClientError> {
        let Ground { placement, worker_cores, sessions, directory, .. } = &self.ground;
        let (order_bytes, report_bytes) = self.lengths;
        let floor = FloorProcess::start(&FloorSettings {
            cores: worker_cores,
            connections: *sessions,
            order_bytes,
            report_bytes,
            sync: with_sync.then_some((directory, placement.housekeeping_core)),
        })?;
        let clients: Result<Vec<_>, ClientError> = (0..*sessions)
            .map(|_| Ok((Client::to_floor(floor.address, order_bytes, report_bytes)?, Default::default())))
            .collect();
        let mut fleet = Fleet::new(clients?)?;
        let load = match load {
            Load::Saturation { window, seconds, .. } => {
                Load::Saturation { window, seconds: seconds.min(FLOOR_SECONDS_MAX), half_load_seconds: None }
            }
            load => load,
        };
        on_core(placement.client_core, || {
            warm_up(&mut fleet, load)?;
            drive(&mut fleet, load, runs)
        })
    }

    fn run_engine(&mut self, number: usize, runs: &mut Runs) -> Result<(), ClientError> {
        self.drive_engine(number, runs).map_err(|error| {
            let ClientError::Protocol(what) = error else { return error };
            let Contender { name, mode, .. } = &self.contenders[number];
            let mode = mode.as_deref().map_or(String::new(), |mode| format!(", {mode}"));
            let log = self.ground.homes[number].as_ref().map_or(String::new(), EngineHome::log);
            ClientError::Protocol(format!("{name}{mode}, {} sessions: {what}\n{}", self.ground.sessions, log.trim()))
        })
    }

    fn drive_engine(&mut self, number: usize, runs: &mut Runs) -> Result<(), ClientError> {
        let contenders = self.contenders;
        let mut running = self.ground.start(number, &contenders[number])?;
        let (client_core, load) = (self.ground.placement.client_core, self.load);
        let Running { fleet, own, .. } = &mut running;
        // What was appended before is none of the run's, and what the run appended is.
        let totals = || own.as_ref().inspect(|engine| until_synced(engine)).map(Totals::of).unwrap_or_default();
        on_core(client_core, || {
            warm_up(fleet, load)?;
            let before = totals();
            drive(fleet, load, runs)?;
            let after = totals();
            runs.totals.add(&after, &before);
            if let Load::Saturation { half_load_seconds: Some(seconds), .. } = load {
                let reached = runs.saturated.last().map_or(0.0, Answered::per_second);
                let rate = ((reached / 2.0) as u32).max(1);
                runs.open.push(fleet.open_loop(rate, u64::from(rate) * seconds)?);
            }
            Ok::<_, ClientError>(())
        })?;
        if let Some(engine) = &running.own {
            note(engine, runs.own.get_or_insert_default());
        }
        Ok(())
    }

    fn subject(&self, mut subject: Subject, mut runs: Runs, stalls: &Stalls) -> Subject {
        let missed = runs
            .open
            .iter()
            .enumerate()
            .filter_map(|(run, open)| open.missed().map(|missed| format!("run {}: {missed}", run + 1)));
        subject.missed = missed.collect();
        if !runs.closed.is_empty() {
            subject.latency = Some(Latency::of(&runs.closed));
        }
        if !runs.open.is_empty() {
            let latency = Some(Latency::of_open(&runs.open, stalls));
            match self.load {
                Load::Saturation { .. } => subject.half_load = latency,
                _ => subject.latency = latency,
            }
        }
        if !runs.saturated.is_empty() {
            let mut saturation = Saturation::of(&runs.saturated);
            if runs.own.is_some() {
                let seconds: f64 = runs.saturated.iter().map(|run| run.elapsed.as_secs_f64()).sum();
                let laps = runs.totals.appended_bytes / RING_BYTES / runs.saturated.len() as f64;
                saturation.volume_bytes_per_second = Some(runs.totals.written_bytes / seconds);
                saturation.laps_of_the_ring_per_run = Some(laps / f64::from(self.ground.options.workers));
                saturation.ring_full = Some(runs.totals.ring_full);
            }
            subject.saturation = Some(saturation);
        }
        subject.own = runs.own.take();
        subject
    }
}

/// Before a run of one server.
fn warm_up(fleet: &mut Fleet, load: Load) -> Result<(), ClientError> {
    match load {
        Load::Closed { warm_up, .. } | Load::Open { warm_up, .. } => fleet.closed_loop(warm_up, 0).map(|_| ()),
        Load::Saturation { window, .. } => {
            fleet.saturate(Window { orders: window, duration: WARM_UP_TIME }).map(|_| ())
        }
    }
}

/// One run of one server.
fn drive(fleet: &mut Fleet, load: Load, runs: &mut Runs) -> Result<(), ClientError> {
    match load {
        Load::Closed { orders, .. } => runs.closed.push(fleet.closed_loop(0, orders)?),
        Load::Open { orders, rate, .. } => runs.open.push(fleet.open_loop(rate, u64::from(orders))?),
        Load::Saturation { window, seconds, .. } => {
            runs.saturated.push(fleet.saturate(Window { orders: window, duration: Duration::from_secs(seconds) })?);
        }
    }
    Ok(())
}

/// On a thread that stays on this core, so that what the caller starts may run elsewhere.
fn on_core<T: Send>(core: usize, run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(core);
            run()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn raw_syncs(
    directory: &Path,
    placement: Placement,
    duration: Duration,
    found: &mut Latencies,
) -> Result<(), ClientError> {
    let took = on_core(placement.housekeeping_core, || {
        let mut raw = RawFloor::open(directory, Method::Fdatasync, RECORD_BYTES)?.map_err(ClientError::Failed)?;
        Ok::<_, ClientError>(raw.run(duration)?)
    })?;
    took.into_iter().for_each(|ns| found.saturating_record(ns));
    Ok(())
}

/// Returns when the volume has everything and the engine says so, or when that takes too long.
fn until_synced(engine: &EngineProcess) {
    let deadline = std::time::Instant::now() + SYNCED_WITHIN;
    while engine.metric(METRIC_UNSYNCED).is_some_and(|bytes| bytes > 0.0) && std::time::Instant::now() < deadline {
        std::thread::sleep(PUBLISHED_WITHIN);
    }
    std::thread::sleep(PUBLISHED_WITHIN);
}

/// What the engine says of the run that has just ended.
fn note(engine: &EngineProcess, own: &mut Own) {
    until_synced(engine);
    if let Some(ages) = engine.metrics(METRIC_AGE_MAX) {
        own.unsynced_age_max_ns.push((ages.into_iter().fold(0.0, f64::max) * 1e9) as u64);
    }
    own.anonymous_kib = engine.memory().map(|Memory { rss_anon_kib, .. }| rss_anon_kib);
    for (worker, messages) in engine.metrics(METRIC_MESSAGES_IN).unwrap_or_default().into_iter().enumerate() {
        match own.messages_in_by_worker.get_mut(worker) {
            Some(sum) => *sum += messages,
            None => own.messages_in_by_worker.push(messages),
        }
    }
}
