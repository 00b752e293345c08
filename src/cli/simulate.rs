//! `fixring simulate`: runs seeded worlds of two engines that crash, and says what was met and whether any rule was broken.
//!
//! Exit status: 0 where every rule held, 1 where one did not or the run was interrupted, 2 for
//! wrong usage.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Exit;
use super::progress::Progress;
use crate::simulate::{Failure, Seen, run, run_traced};

/// Failing seeds that are listed; the run ends at so many.
const FAILURES_MAX: usize = 10;
const THREADS_MAX: u64 = 1_024;
/// So many worlds meet everything that there is to meet; a run of as many that does not has failed.
const SEEDS_DEFAULT: u64 = 200;

/// Crash two engines again and again in a simulated world, and check that nothing is lost, doubled or released too early
///
/// Each seed is a world of its own: an initiator and an acceptor with their journals on simulated volumes, in all three modes, crashed at
/// seeded moments: their processes, pods and nodes, between any two steps, within writes and syncs, within recovery. The same seed is the
/// same world, on any machine. One seed is about 120 crashes, so `--seeds 9000` makes about 1,000,000.
///
/// Exit status: 0 where every rule held, 1 where one did not or the run was interrupted, 2 for
/// wrong usage.
#[derive(clap::Args, Debug)]
pub(super) struct SimulateOptions {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = SEEDS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first one's seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_seed: u64,
    /// One world again, and the last steps before the rule that it breaks
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "first_seed", "threads"])]
    seed: Option<u64>,
    /// Worlds at a time; by default as many as there are cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX))]
    threads: Option<u64>,
}

pub(super) fn simulate(options: &SimulateOptions) -> Exit {
    match options.seed {
        Some(seed) => one(seed),
        None => many(options),
    }
}

fn one(seed: u64) -> Exit {
    print_line!("seed {seed}");
    match run_traced(seed) {
        Ok(seen) => {
            print_line!("{}\nseed {seed}: every rule held", table(&seen));
            Exit::Ok
        }
        Err(failure) => {
            for step in &failure.steps {
                print_line!("{step}");
            }
            print_line!("{}", failure.what);
            print_line!("seed {seed}: FAILED");
            Exit::Failed
        }
    }
}

/// What the threads share.
#[derive(Default)]
struct Run {
    next: AtomicU64,
    ends: AtomicBool,
    seen: Mutex<Seen>,
    failures: Mutex<Vec<Failure>>,
}

impl Run {
    fn work(&self, first: u64, seeds: u64) {
        while !self.ends.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= seeds {
                return;
            }
            match run(first + at) {
                Ok(seen) => self.seen.lock().unwrap_or_else(PoisonError::into_inner).add(&seen),
                Err(failure) => self.failed(failure),
            }
        }
    }

    fn failed(&self, failure: Failure) {
        let seed = failure.seed;
        print_line!(
            "seed {seed} FAILED: {}\n  again, with its last steps: fixring simulate --seed {seed}",
            failure.what
        );
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(failure);
        if failures.len() >= FAILURES_MAX {
            self.ends.store(true, Ordering::Relaxed);
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn many(options: &SimulateOptions) -> Exit {
    let (first, seeds) = (options.first_seed, options.seeds);
    if first.checked_add(seeds).is_none() {
        error_line!(
            "--first-seed {first} and --seeds {seeds} go beyond the last seed, {}: lower one of them",
            u64::MAX
        );
        return Exit::Configuration;
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let threads = options.threads.unwrap_or(cores).min(seeds);
    let (run, start) = (Run::default(), Instant::now());
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
            error_line!("cannot catch signal {signal}: {error}");
            return Exit::Internal;
        }
    }
    print_line!("seeds {first} to {} on {threads} threads", first + seeds - 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run.work(first, seeds))).collect();
        let mut progress = Progress::new("simulate", seeds);
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            // A world that has begun is ended: a few more moments.
            run.ends.fetch_or(interrupted.load(Ordering::Relaxed), Ordering::Relaxed);
            let done = run.next.load(Ordering::Relaxed).saturating_sub(threads).min(seeds);
            progress.at(done, || format!("{} crashes", run.seen().crashes));
        }
        progress.finish();
    });
    let seen = run.seen();
    print_line!("{}", table(&seen));
    let failures = run.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = format!("{} crashes in {} worlds, {:.1} s", seen.crashes, seen.worlds, start.elapsed().as_secs_f64());
    if failures.is_empty() && interrupted.load(Ordering::Relaxed) {
        print_line!("{took}: interrupted, and every rule held so far");
        return Exit::Failed;
    }
    let never_met = if seeds < SEEDS_DEFAULT { Vec::new() } else { seen.never_met() };
    if failures.is_empty() && !never_met.is_empty() {
        print_line!("{took}: FAILED, since these worlds never met: {}", never_met.join("; "));
        return Exit::Failed;
    }
    if failures.is_empty() {
        print_line!("{took}: every rule held");
        return Exit::Ok;
    }
    let seeds: Vec<_> = failures.iter().map(|failure| failure.seed.to_string()).collect();
    print_line!("{took}: FAILED in seeds {}", seeds.join(" "));
    Exit::Failed
}

fn table(seen: &Seen) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["met", "times"]);
    for (name, count) in seen.rows() {
        table.add_row([name.to_string(), count.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
