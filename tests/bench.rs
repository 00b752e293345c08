//! The benchmarks of the command line, run tiny, so that they cannot rot. No figure is judged here.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Each has a worker that spins: beside one another they would measure, and miss their rates by, each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wire(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "wire", "--json", "--runs", "1", "--orders", "200"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn has_two_cores() -> bool {
    let enough = core_affinity::get_core_ids().unwrap_or_default().len() >= 2;
    if !enough {
        eprintln!("skipped (a benchmark needs two cores, this machine lets us use one)");
    }
    enough
}

#[test]
fn the_wire_is_measured_beside_its_two_floors() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--idle-sessions", "3"]);
    for run in ["floor", "floor_with_sync", "engine"] {
        for percentile in ["p50_ns", "p99_ns", "p999_ns"] {
            assert!(report[run][percentile].as_u64().is_some_and(|ns| ns > 0), "{run} {percentile}: {report}");
        }
    }
    let ratio = report["engine"]["p50_ns"].as_f64().unwrap() / report["floor"]["p50_ns"].as_f64().unwrap();
    assert!((report["ratio"]["p50"].as_f64().unwrap() - ratio).abs() < 1e-9, "{report}");
    assert!(report["engine_anonymous_kib"].as_u64().is_some_and(|kib| kib > 0), "{report}");
}

#[test]
fn an_open_loop_counts_from_the_intended_time_and_a_missed_rate_fails() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--rate", "500"]);
    assert_eq!(report["loop_kind"], "open at 500/s");
    // 200 orders at a million a second are 0.2 ms: no client on this side of TCP sends that fast.
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "wire", "--runs", "1", "--orders", "20000", "--rate", "1000000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("lower --rate"), "{error}");
}

#[test]
fn a_resend_is_checked_and_measured_beside_another_session() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "resend", "--json", "--messages", "3000", "--orders", "200", "--runs", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["resend"]["messages"], 3000, "{report}");
    for run in ["idle", "meanwhile"] {
        for what in ["p50_ns", "p99_ns", "p999_ns", "round_trips"] {
            assert!(report[run][what].as_u64().is_some_and(|count| count > 0), "{run} {what}: {report}");
        }
    }
    let growth = &report["growth"];
    let kib = |when: &str| growth[when]["vm_rss_kib"].as_u64().unwrap();
    assert_eq!(growth["vm_rss_kib"].as_u64().unwrap(), kib("most") - kib("before"), "{report}");
    assert!(report["slow"]["served_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");
}

#[test]
fn a_start_over_a_dead_processs_journal_is_timed_beside_exec() {
    let _alone = alone();
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "recovery", "--json", "--gib", "0.1", "--runs", "2"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["journal_bytes"], 3 * (64 << 20), "{report}");
    let starts = report["starts"].as_array().unwrap();
    assert_eq!(starts.len(), 2, "{report}");
    for start in starts {
        let [recovered, ready, answered] =
            ["recovered_ms", "ready_ms", "answered_ms"].map(|what| start[what].as_f64().unwrap());
        assert!(0.0 < recovered && recovered <= ready && 0.0 < answered, "{report}");
        assert!(start["floor_ms"].as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn saturation_counts_answers_beside_a_bare_echo() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "wire", "--saturate", "--json", "--runs", "1", "--seconds", "1", "--window", "16"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(figure("engine") > 100.0 && figure("floor") > 100.0, "{report}");
    assert!((figure("share_of_floor") - figure("engine") / figure("floor")).abs() < 1e-9, "{report}");
    // Both directions of all that was answered are on the volume.
    let stored = figure("engine") * (figure("order_bytes") + figure("report_bytes"));
    assert!(figure("volume_bytes_per_second") > stored * 0.9, "{report}");
    assert!(figure("ring_full") >= 0.0, "{report}");
}

#[test]
fn an_append_is_measured_in_every_way_and_beside_its_floor() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["bench", "append", "--json", "--seconds", "0.1", "--rate", "1000"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ways"].as_array().map(Vec::len), Some(8), "{report}");
    assert!(report["ways"][0]["append"]["p50_ns"].as_f64().is_some_and(|ns| ns > 0.0), "{report}");
    // 0.6 s at 1,000 a second, in whole batches of 64, every second of them the floor's.
    assert_eq!(report["journal"]["appends"], 64 * 9, "{report}");
    let p50 = |row: &str| report["journal"][row]["p50_ns"].as_f64().unwrap();
    assert!((report["journal"]["p50_ratio"].as_f64().unwrap() - p50("journal") / p50("floor")).abs() < 1e-9);
}
