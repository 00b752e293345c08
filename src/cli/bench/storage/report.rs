//! What the benchmark found, in the form of its JSON, and what follows from it: goals and the verdict.

use serde::{Deserialize, Serialize};

use super::goal::Goal;
use super::plan::{CellPlan, GOAL_RATE, GOAL_SESSIONS, Load, MODES, Method, ReleaseMode};
use super::stats::{Distribution, thousands, time_in_words};
use crate::cli::bench::machine::Machine;
use crate::cli::bench::volume::Volume;

pub(super) const SCHEMA: &str = "fixring bench storage";
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Of one session that waits for each of its messages.
const IDLE_P50_RATIO_MAX: f64 = 1.10;
const IDLE_P99_RATIO_MAX: f64 = 1.25;
/// Of 64 that wait together.
const MANY_P50_RATIO_MAX: f64 = 1.6;
const MANY_THROUGHPUT_RATIO_MIN: f64 = 20.0;
/// Of the oldest message at risk: so many p99.9 of one raw sync, and so much more.
const AGE_SYNCS_MAX: f64 = 2.0;
const AGE_MORE_NS: f64 = 1e6;
/// What a mode and method should write of a ring's size at least, so that wraps, rolls and recycling are in its figures.
pub(super) const RINGS_MIN: f64 = 20.0;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub schema: String,
    pub schema_version: u32,
    pub header: Header,
    pub raw: Vec<Raw>,
    /// Of big writes, on stable media.
    pub raw_bytes_per_second: f64,
    pub cells: Vec<Cell>,
    pub goals: Vec<Goal>,
    pub verdict: String,
    /// Worth one line each.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub fixring: String,
    pub time: String,
    pub machine: Machine,
    pub volume: Volume,
    pub ring_dir: String,
    pub ring_filesystem: String,
    pub worker_core: usize,
    pub flusher_core: usize,
    pub ring_bytes: u64,
    pub segment_bytes: u64,
    pub segments: u32,
    pub flush_interval_us: u64,
    pub payload_bytes: u64,
    pub record_bytes: u64,
    /// Of each cell.
    pub seconds: f64,
    pub rounds: u32,
}

/// A raw method over the whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Raw {
    pub method: Method,
    /// Why the filesystem does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub latency: Distribution,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cell {
    #[serde(flatten)]
    pub plan: CellPlan,
    /// Why its rate was not kept, or why it was not measured: its figures are of another load then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// From the intended time to the release.
    pub latency: Distribution,
    /// From the append to stable media.
    pub age: Distribution,
    /// The oldest message that was not durable, at any moment.
    pub age_ns_max: u64,
    pub messages_at_risk_max: u64,
    pub messages_per_second: f64,
    pub syncs_per_second: f64,
    pub written_bytes: u64,
    /// The raw methods in the slices before and after this cell's.
    pub floors: Vec<Floor>,
}

/// A raw method beside one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Floor {
    pub method: Method,
    pub latency: Distribution,
}

impl Report {
    pub fn cell(&self, mode: ReleaseMode, method: Method, load: Load) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.plan == CellPlan { mode, method, load })
    }

    /// Every load of a mode, in the order of the table.
    pub fn loads(&self, mode: ReleaseMode) -> Vec<Load> {
        let mut loads = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.plan.mode == mode) {
            if !loads.contains(&cell.plan.load) {
                loads.push(cell.plan.load);
            }
        }
        loads.sort_unstable();
        loads
    }

    /// The raw method that is fastest over the whole run.
    pub fn best_raw(&self) -> Option<&Raw> {
        self.raw.iter().filter(|raw| raw.latency.count > 0).min_by_key(|raw| raw.latency.p50_ns)
    }

    /// What one would configure for a mode on this volume: the method with which one durable message is fastest, or with which the least is
    /// at risk where nobody waits.
    pub fn best_method(&self, mode: ReleaseMode) -> Option<Method> {
        let of = |load: Load, key: fn(&Cell) -> u64| {
            let cells = self.cells.iter().filter(|cell| cell.plan.mode == mode && cell.plan.load == load);
            let cells = cells.filter(|cell| cell.missed.is_none() && cell.latency.count > 0);
            cells.min_by_key(|cell| key(cell)).map(|cell| cell.plan.method)
        };
        let rates = self.loads(mode).into_iter().filter(|load| matches!(load, Load::Rate { .. })).rev();
        let by_age = rates.into_iter().find_map(|load| of(load, |cell| cell.age.p999_ns));
        let by_latency = of(Load::Closed { sessions: 1 }, |cell| cell.latency.p50_ns);
        match mode {
            ReleaseMode::Sync => by_latency.or(by_age),
            ReleaseMode::Buffered | ReleaseMode::Flush => by_age.or(by_latency),
        }
        .or_else(|| self.cells.iter().find(|cell| cell.plan.mode == mode).map(|cell| cell.plan.method))
    }

    /// What goals and verdict say, from what was measured.
    pub fn conclude(&mut self) {
        self.goals = vec![self.idle_goal(), self.many_goal(), self.age_goal()];
        let modes = MODES.into_iter().rev().filter_map(|mode| self.mode_verdict(mode));
        let said: Vec<_> = modes.collect();
        self.verdict = if said.is_empty() {
            "Nothing was measured.".into()
        } else {
            format!("On this volume {}.", said.join("; "))
        };
        let little = self.little_written();
        if !little.is_empty() {
            self.notes.push(format!(
                "fewer than {RINGS_MIN:.0} laps of the ring were written in {}: raise --seconds for figures with every wrap and roll in them",
                little.join(", ")
            ));
        }
    }

    pub fn written_bytes(&self) -> u64 {
        self.cells.iter().map(|cell| cell.written_bytes).fold(0, u64::saturating_add)
    }

    /// The modes and methods that did not write enough, and how much they wrote.
    fn little_written(&self) -> Vec<String> {
        let mut little = Vec::new();
        for mode in MODES {
            for method in self.raw.iter().map(|raw| raw.method) {
                let cells = self.cells.iter().filter(|cell| (cell.plan.mode, cell.plan.method) == (mode, method));
                let written = cells.map(|cell| cell.written_bytes).reduce(u64::saturating_add);
                let laps = written.map(|bytes| bytes as f64 / self.header.ring_bytes.max(1) as f64);
                if let Some(laps) = laps.filter(|laps| *laps < RINGS_MIN) {
                    little.push(format!("{mode} by {method} ({laps:.1})"));
                }
            }
        }
        little
    }

    fn idle_goal(&self) -> Goal {
        let what = format!(
            "sync, one session, idle: p50 at most {IDLE_P50_RATIO_MAX:.2} × the best raw method, p99 at most {IDLE_P99_RATIO_MAX:.2} ×"
        );
        let cell = self.measured(ReleaseMode::Sync, Load::Closed { sessions: 1 });
        let Some((cell, floor)) = cell.and_then(|cell| Some((cell, cell.best_floor()?))) else {
            return Goal::unknown(what);
        };
        let p50 = ratio(cell.latency.p50_ns, floor.latency.p50_ns);
        let p99 = ratio(cell.latency.p99_ns, floor.latency.p99_ns);
        let found = format!(
            "p50 {} by {}, {p50:.2} × {} of raw {}; p99 {}, {p99:.2} × {}",
            time_in_words(cell.latency.p50_ns),
            cell.plan.method,
            time_in_words(floor.latency.p50_ns),
            floor.method,
            time_in_words(cell.latency.p99_ns),
            time_in_words(floor.latency.p99_ns),
        );
        Goal { what, holds: Some(p50 <= IDLE_P50_RATIO_MAX && p99 <= IDLE_P99_RATIO_MAX), found }
    }

    fn many_goal(&self) -> Goal {
        let what = format!(
            "sync, {GOAL_SESSIONS} sessions: p50 at most {MANY_P50_RATIO_MAX:.1} × the best raw method, throughput at least {MANY_THROUGHPUT_RATIO_MIN:.0} × one raw sync a message"
        );
        let cell = self.measured(ReleaseMode::Sync, Load::Closed { sessions: GOAL_SESSIONS });
        let Some((cell, floor)) = cell.and_then(|cell| Some((cell, cell.best_floor()?))) else {
            return Goal::unknown(what);
        };
        let p50 = ratio(cell.latency.p50_ns, floor.latency.p50_ns);
        let throughput = cell.messages_per_second / floor.latency.per_second_in_turn().max(1e-9);
        let found = format!(
            "p50 {} by {}, {p50:.2} × {} of raw {}; {}/s, {throughput:.1} × {}/s",
            time_in_words(cell.latency.p50_ns),
            cell.plan.method,
            time_in_words(floor.latency.p50_ns),
            floor.method,
            thousands(cell.messages_per_second as u64),
            thousands(floor.latency.per_second_in_turn() as u64),
        );
        Goal { what, holds: Some(p50 <= MANY_P50_RATIO_MAX && throughput >= MANY_THROUGHPUT_RATIO_MIN), found }
    }

    fn age_goal(&self) -> Goal {
        let what = format!(
            "buffered, {}/s: no message at risk is older than {AGE_SYNCS_MAX:.0} × the p99.9 of one raw sync plus 1 ms",
            thousands(u64::from(GOAL_RATE))
        );
        let cell = self.measured(ReleaseMode::Buffered, Load::Rate { per_second: GOAL_RATE });
        let Some((cell, raw)) = cell.zip(self.best_raw()) else { return Goal::unknown(what) };
        let bound_ns = raw.latency.p999_ns as f64 * AGE_SYNCS_MAX + AGE_MORE_NS;
        let found = format!(
            "the oldest was {} by {} (p99.9 {}), the bound is {}: p99.9 of raw {} is {}{}",
            time_in_words(cell.age_ns_max),
            cell.plan.method,
            time_in_words(cell.age.p999_ns),
            time_in_words(bound_ns as u64),
            raw.method,
            time_in_words(raw.latency.p999_ns),
            cell.missed.as_ref().map(|_| "; the rate was missed").unwrap_or_default(),
        );
        Goal { what, holds: Some(cell.missed.is_none() && cell.age_ns_max as f64 <= bound_ns), found }
    }

    fn measured(&self, mode: ReleaseMode, load: Load) -> Option<&Cell> {
        self.cell(mode, self.best_method(mode)?, load).filter(|cell| cell.latency.count > 0)
    }

    /// Which loads a mode holds with its best method, and what is at risk then.
    fn mode_verdict(&self, mode: ReleaseMode) -> Option<String> {
        let method = self.best_method(mode)?;
        let cells = || self.cells.iter().filter(|cell| (cell.plan.mode, cell.plan.method) == (mode, method));
        let rates = || cells().filter(|cell| matches!(cell.plan.load, Load::Rate { .. }));
        let missed = rates().filter(|cell| cell.missed.is_some()).min_by_key(|cell| cell.plan.load);
        // A rate that holds above one that does not is luck.
        let is_below = |cell: &&Cell| missed.is_none_or(|missed| cell.plan.load < missed.plan.load);
        let held = rates().filter(is_below).max_by_key(|cell| cell.plan.load);
        let mut said = Vec::new();
        if let Some(cell) = held {
            said.push(match mode {
                ReleaseMode::Buffered => {
                    format!("holds {} with p99 {}", cell.plan.load, time_in_words(cell.latency.p99_ns))
                }
                _ => format!(
                    "holds {} with p50 {} and p99 {}",
                    cell.plan.load,
                    time_in_words(cell.latency.p50_ns),
                    time_in_words(cell.latency.p99_ns)
                ),
            });
        }
        let many = cells().filter(|cell| cell.latency.count > 0);
        let many = many.filter(|cell| matches!(cell.plan.load, Load::Closed { sessions } if sessions > 1));
        if let Some(cell) = many.max_by_key(|cell| cell.plan.load).filter(|_| mode == ReleaseMode::Sync) {
            said.push(format!(
                "carries {} that wait for each message at {}/s with p99 {}",
                cell.plan.load,
                thousands(cell.messages_per_second as u64),
                time_in_words(cell.latency.p99_ns)
            ));
        }
        if let Some(cell) = missed {
            said.push(format!("does not hold {}", cell.plan.load));
        }
        if said.is_empty() {
            return None;
        }
        let risk = match (mode, held) {
            (ReleaseMode::Sync, _) => ", and nothing is at risk".to_string(),
            (_, Some(cell)) => format!(
                ", and a node's death takes the last {} at most, {} messages",
                time_in_words(cell.age_ns_max),
                thousands(cell.messages_at_risk_max)
            ),
            (_, None) => String::new(),
        };
        Some(format!("{mode} by {method} {}{risk}", said.join(", ")))
    }

    /// What is wrong with one that came from a file.
    pub fn check(&self) -> Result<(), String> {
        const CELLS_MAX: usize = 512;
        const TEXT_BYTES_MAX: usize = 8 * 1024;
        if self.cells.len() > CELLS_MAX
            || self.raw.len() > CELLS_MAX
            || self.goals.len() > CELLS_MAX
            || self.notes.len() > CELLS_MAX
        {
            return Err(format!("it has more than {CELLS_MAX} cells, methods, goals or notes"));
        }
        if self.cells.iter().any(|cell| cell.floors.len() > CELLS_MAX) {
            return Err(format!("a cell has more than {CELLS_MAX} floors"));
        }
        let floors = self.cells.iter().flat_map(|cell| &cell.floors).map(|floor| &floor.latency);
        let cells = self.cells.iter().flat_map(|cell| [&cell.latency, &cell.age]);
        for distribution in self.raw.iter().map(|raw| &raw.latency).chain(cells).chain(floors) {
            distribution.check()?;
        }
        let numbers = self.cells.iter().flat_map(|cell| [cell.messages_per_second, cell.syncs_per_second]);
        if numbers
            .chain([self.raw_bytes_per_second, self.header.seconds])
            .any(|number| !number.is_finite() || number < 0.0)
        {
            return Err("a rate is no number".into());
        }
        let texts = self.header.lines().into_iter().map(|(_, text)| text.len()).chain([self.verdict.len()]);
        let goals = self.goals.iter().flat_map(|goal| [goal.what.len(), goal.found.len()]);
        let missed = self.cells.iter().filter_map(|cell| cell.missed.as_ref()).chain(&self.notes);
        let missed = missed.chain(self.raw.iter().filter_map(|raw| raw.refused.as_ref())).map(String::len);
        if texts.chain(goals).chain(missed).any(|bytes| bytes > TEXT_BYTES_MAX) {
            return Err(format!("a text is longer than {TEXT_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

impl Cell {
    /// Its median by the raw one beside it; nothing of `buffered`, which does not wait for the volume.
    pub fn p50_of_raw(&self) -> String {
        let floor = self.best_floor().filter(|_| self.plan.mode != ReleaseMode::Buffered);
        floor.map(|floor| format!("{:.2}", ratio(self.latency.p50_ns, floor.latency.p50_ns))).unwrap_or_default()
    }

    /// Beside it, the raw method that was fastest.
    pub fn best_floor(&self) -> Option<&Floor> {
        self.floors.iter().filter(|floor| floor.latency.count > 0).min_by_key(|floor| floor.latency.p50_ns)
    }
}

impl Header {
    /// Each thing that two runs may differ in, and what it is.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { machine, volume, .. } = self;
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        vec![
            ("fixring", self.fixring.clone()),
            ("time", self.time.clone()),
            ("CPU", format!("{}, {} cores (isolated: {})", machine.cpu, machine.cores, machine.isolated_cores)),
            (
                "kernel",
                format!("Linux {}, governor {}, clock {}", machine.kernel, machine.governor, machine.clock_source),
            ),
            ("directory", volume.directory.clone()),
            ("filesystem", volume.filesystem.clone()),
            ("mount options", volume.mount_options.clone()),
            ("device", format!("{} ({}), model {}", volume.device, volume.source, volume.model)),
            ("rotational", volume.rotational.clone()),
            ("scheduler", volume.scheduler.clone()),
            ("write cache", volume.write_cache.clone()),
            ("logical block", format!("{} bytes", volume.logical_block_bytes)),
            ("space", format!("{} free of {}", mib(volume.free_bytes), mib(volume.total_bytes))),
            ("ring", format!("{} in {} ({})", mib(self.ring_bytes), self.ring_dir, self.ring_filesystem)),
            ("segments", format!("{} of {}", self.segments, mib(self.segment_bytes))),
            (
                "records",
                format!(
                    "{} bytes of payload, {} in the journal, flush interval {} µs",
                    self.payload_bytes, self.record_bytes, self.flush_interval_us
                ),
            ),
            ("cores", format!("worker {}, flusher and floors {}", self.worker_core, self.flusher_core)),
            ("time of a cell", format!("{:.1} s in {} slices", self.seconds, self.rounds)),
        ]
    }
}

fn ratio(value: u64, floor: u64) -> f64 {
    value as f64 / floor.max(1) as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::plan::METHODS;
    use super::super::plan::Plan;
    use super::super::stats::latencies;
    use super::*;

    fn around(ns: u64) -> Distribution {
        let mut histogram = latencies();
        (0..1_000).for_each(|number| histogram.record(ns + ns * number / 1_000).unwrap());
        (&histogram).into()
    }

    /// A run in which everything holds: a raw sync takes 100 to 200 µs, dsync is the best of the journal's methods.
    pub(crate) fn sample() -> Report {
        sample_of(&METHODS)
    }

    pub(crate) fn sample_of(methods: &[Method]) -> Report {
        let machine = Machine {
            cpu: "a CPU".into(),
            cores: 4,
            kernel: "6.18".into(),
            governor: "unknown".into(),
            clock_source: "tsc".into(),
            isolated_cores: "none".into(),
        };
        let header = Header {
            fixring: "0.1.0".into(),
            time: "2026-01-01 00:00:00 UTC".into(),
            machine,
            volume: Volume::of(std::path::Path::new("no such directory")),
            ring_dir: "/dev/shm".into(),
            ring_filesystem: "tmpfs".into(),
            worker_core: 3,
            flusher_core: 0,
            ring_bytes: 16 << 20,
            segment_bytes: 64 << 20,
            segments: 3,
            flush_interval_us: 1_000,
            payload_bytes: 200,
            record_bytes: 320,
            seconds: 2.4,
            rounds: 6,
        };
        let us = |method: Method| match method {
            Method::Fdatasync => 105_000,
            Method::Dsync => 101_000,
            Method::Msync => 300_000,
        };
        let cell = |plan: CellPlan| Cell {
            plan,
            missed: None,
            latency: around(if plan.mode == ReleaseMode::Buffered { 100 } else { us(plan.method) }),
            age: around(us(plan.method)),
            age_ns_max: 1_150_000,
            messages_at_risk_max: 115,
            messages_per_second: 200_000.0,
            syncs_per_second: 9_000.0,
            written_bytes: 1 << 30,
            floors: methods
                .iter()
                .map(|method| Floor { method: *method, latency: around(us(*method) - 1_000) })
                .collect(),
        };
        let mut report = Report {
            schema: SCHEMA.into(),
            schema_version: SCHEMA_VERSION,
            header,
            raw: METHODS.map(|method| Raw { method, refused: None, latency: around(us(method) - 1_000) }).into(),
            raw_bytes_per_second: 1e9,
            cells: Plan::new(methods, 2.4, false).cells.into_iter().map(cell).collect(),
            goals: Vec::new(),
            verdict: String::new(),
            notes: Vec::new(),
        };
        report.conclude();
        report
    }

    fn change(report: &mut Report, mode: ReleaseMode, load: Load, change: fn(&mut Cell)) {
        let cells = report.cells.iter_mut().filter(|cell| (cell.plan.mode, cell.plan.load) == (mode, load));
        cells.for_each(change);
        report.conclude();
    }

    fn holds(report: &Report) -> [Option<bool>; 3] {
        [0, 1, 2].map(|goal: usize| report.goals[goal].holds)
    }

    #[test]
    fn a_run_within_its_bounds_holds_and_the_verdict_names_method_rate_and_risk() {
        let report = sample();
        assert_eq!(holds(&report), [Some(true); 3], "{:?}", report.goals);
        assert_eq!(report.notes, Vec::<String>::new());
        for part in [
            "sync by dsync holds 100,000/s",
            "carries 64 sessions",
            "flush by fdatasync holds 100,000/s",
            "buffered by dsync",
            "takes the last 1.15 ms at most, 115 messages",
        ] {
            assert!(report.verdict.contains(part), "{part}: {}", report.verdict);
        }
    }

    #[test]
    fn each_bound_that_is_passed_fails_its_own_goal_alone() {
        let idle = Load::Closed { sessions: 1 };
        let many = Load::Closed { sessions: GOAL_SESSIONS };
        let rate = Load::Rate { per_second: GOAL_RATE };
        type Case = (ReleaseMode, Load, fn(&mut Cell), usize);
        let cases: [Case; 6] = [
            (ReleaseMode::Sync, idle, |cell| cell.latency.p50_ns = cell.latency.p50_ns * 115 / 100, 0),
            (ReleaseMode::Sync, idle, |cell| cell.latency.p99_ns = cell.latency.p99_ns * 130 / 100, 0),
            (ReleaseMode::Sync, many, |cell| cell.latency.p50_ns = cell.latency.p50_ns * 165 / 100, 1),
            (ReleaseMode::Sync, many, |cell| cell.messages_per_second = 100_000.0, 1),
            (ReleaseMode::Buffered, rate, |cell| cell.age_ns_max = 1_500_000, 2),
            (ReleaseMode::Buffered, rate, |cell| cell.missed = Some("too slow".into()), 2),
        ];
        for (mode, load, with, goal) in cases {
            let mut report = sample();
            change(&mut report, mode, load, with);
            let mut expected = [Some(true); 3];
            expected[goal] = Some(false);
            assert_eq!(holds(&report), expected, "{mode} {load}: {:?}", report.goals);
        }
    }

    #[test]
    fn a_missed_rate_is_in_the_verdict_and_what_was_not_measured_has_none() {
        let mut report = sample();
        change(&mut report, ReleaseMode::Sync, Load::Rate { per_second: GOAL_RATE }, |cell| {
            cell.missed = Some("slow".into())
        });
        assert!(report.verdict.contains("holds 10,000/s"), "{}", report.verdict);
        assert!(report.verdict.contains("does not hold 100,000/s"), "{}", report.verdict);
        report.cells.clear();
        report.conclude();
        assert_eq!(holds(&report), [None; 3]);
        assert_eq!(report.verdict, "Nothing was measured.");
    }

    #[test]
    fn too_little_written_for_a_ring_s_laps_is_said_by_mode_and_method() {
        let mut report = sample();
        let little = |cell: &mut Cell| cell.written_bytes = 8 << 20;
        report.cells.iter_mut().filter(|cell| cell.plan.method == Method::Msync).for_each(little);
        report.conclude();
        let note = "in buffered by msync (2.0), flush by msync (3.0), sync by msync (3.5): raise --seconds";
        assert!(report.notes.len() == 1 && report.notes[0].contains(note), "{:?}", report.notes);
    }
}
