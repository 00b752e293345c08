//! The worker meets no page fault in steady state, over laps of the ring and new segments: its memory is there from the start.

mod orders;
#[path = "whole/mod.rs"]
mod whole;

use std::fs;

use fixring::application::Exchange;
use fixring::engine::Engine;

const WARM_UP: u64 = 6_000;
/// Orders of a soak; with their reports 100,000 messages, some hundred laps of the ring.
const SOAK: u64 = 50_000;
/// The kernel may take a page away for reasons of its own, such as compaction, and give it back with a fault. What the engine touches for
/// the first time comes in every soak.
const SOAKS_MAX: u64 = 3;

/// The only worker of this process.
fn worker_thread() -> String {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // The kernel keeps 15 bytes of a thread's name.
    let is_worker =
        |task: &std::path::PathBuf| fs::read_to_string(task.join("comm")).unwrap().starts_with("fixring-worker");
    let workers: Vec<_> = tasks.filter(is_worker).collect();
    assert_eq!(workers.len(), 1, "{workers:?}");
    workers[0].join("stat").display().to_string()
}

/// Minor and major faults of a thread: minflt and majflt of proc_pid_stat(5).
fn faults(stat: &str) -> (u64, u64) {
    let stat = fs::read_to_string(stat).unwrap();
    // The name may hold spaces; it ends with the last parenthesis.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    (fields[7].parse().unwrap(), fields[9].parse().unwrap())
}

#[test]
fn a_worker_in_steady_state_meets_no_page_fault() {
    let directory = whole::Temporary::new();
    let config = orders::small_ring(directory.path(), "");
    let engine = Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max)).unwrap();
    let mut client = orders::Client::logged_on(engine.acceptors()[0]);
    let worker = worker_thread();
    client.orders(0..WARM_UP);
    assert_ne!(faults(&worker), (0, 0), "a start has faults: a count of nothing would prove nothing");

    let mut number = WARM_UP;
    for soak in 1.. {
        let (before, appended) = (faults(&worker), engine.shared().journals()[0].appended_bytes.value());
        client.orders(number..number + SOAK);
        number += SOAK;
        let laps = (engine.shared().journals()[0].appended_bytes.value() - appended) / config.persistence.ring_bytes;
        assert!(laps > 50, "{laps}");
        let after = faults(&worker);
        let faults = (after.0 - before.0, after.1 - before.1);
        if faults == (0, 0) {
            break;
        }
        assert!(soak < SOAKS_MAX, "{faults:?} minor and major faults in {} messages, again", 2 * SOAK);
    }
}
