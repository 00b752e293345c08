//! The benchmarks of the command line, run tiny, so that they cannot rot. No figure is judged here.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
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
    assert!(report["floors"]["loopback_mb_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
    assert!(report["resend"]["journal_mb_per_s"].as_f64() > report["resend"]["megabytes_per_s"].as_f64(), "{report}");
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
    assert_eq!(report["journal_bytes"], 7 * (16 << 20), "{report}");
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

fn storage(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["bench", "storage"]).args(arguments);
    command
}

/// As small as it goes: a ring of 1 MiB, a twentieth of a second for each cell.
const TINY: [&str; 5] = ["--quick", "--seconds", "0.05", "--ring-bytes", "1048576"];

#[test]
fn storage_is_measured_in_every_mode_and_method_beside_the_raw_floor_and_leaves_nothing() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let json = directory.path().join("a.json").display().to_string();
    let html = directory.path().join("a.html").display().to_string();
    let data_dir = volume.display().to_string();
    let output = storage(&["--data-dir", &data_dir, "--json", &json, "--html", &html]).args(TINY).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("On this volume"), "{text}");
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0, "the benchmark left files");

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let raw = report["raw"].as_array().unwrap();
    let has = |method: &str| raw.iter().any(|raw| raw["method"] == method && raw["refused"].is_null());
    assert!(has("fdatasync"), "{report}");
    let cells = report["cells"].as_array().unwrap();
    for (mode, loads) in [("buffered", 3), ("flush", 5), ("sync", 5)] {
        for method in ["fdatasync", "dsync", "msync"].into_iter().filter(|method| has(method)) {
            let count = cells.iter().filter(|cell| cell["mode"] == mode && cell["method"] == method).count();
            assert_eq!(count, if (mode, method) == ("flush", "dsync") { 0 } else { loads }, "{mode} {method}");
        }
    }
    let floors = cells.iter().flat_map(|cell| cell["floors"].as_array().unwrap());
    assert!(floors.map(|floor| &floor["latency"]).all(|floor| floor["p50_ns"].as_u64().unwrap() > 0), "{report}");
    assert_eq!(report["goals"].as_array().unwrap().len(), 3);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && !page.contains("<script") && !page.contains("http"), "{page}");

    // The report is what --compare reads.
    let output = storage(&["--compare", &json, &json, "--html", &html]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("the same: fixring, time") && !text.contains("differs"), "{text}");
    assert!(std::fs::read_to_string(&html).unwrap().contains("side by side"));
}

#[test]
fn a_storage_benchmark_that_is_interrupted_removes_its_files() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let volume = tempfile::tempdir().unwrap();
    let rings = tempfile::tempdir().unwrap();
    let mut child = storage(&["--seconds", "600", "--ring-bytes", "1048576"])
        .arg("--data-dir")
        .arg(volume.path())
        .arg("--ring-dir")
        .arg(rings.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its plan is the first that it says, when all of its files are there.
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("cells in"), "{line}");
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 1);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 0, "files stay on the volume");
    assert_eq!(std::fs::read_dir(rings.path()).unwrap().count(), 0, "rings stay in memory");
}

#[test]
fn a_storage_benchmark_that_cannot_be_made_says_what_to_mend_and_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "{\"schema\":\"else\",\"schema_version\":1}").unwrap();
    let (path, file) = (directory.path().to_str().unwrap(), file.to_str().unwrap());
    let cases: [(&[&str], &str); 6] = [
        (&["--data-dir", file], "is no directory: name one"),
        (&["--data-dir", path, "--html", "/no such directory/a.html"], "cannot be written"),
        (&["--data-dir", path, "--ring-dir", "/no such directory"], "--ring-dir"),
        (&["--data-dir", path, "--ring-bytes", "1000000"], "a power of two"),
        (&["--data-dir", path, "--seconds", "inf"], "a time from"),
        (&["--compare", file, file], "is a report of something else"),
    ];
    for (arguments, mend) in cases {
        let output = storage(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        // On a single core the volume is not even looked at.
        assert!(error.contains(mend) || error.contains("two cores"), "{arguments:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
}
