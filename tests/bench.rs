//! The benchmarks of the command line, run tiny, so that they cannot rot. No figure is judged here.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Each has a worker that spins: beside one another they would measure, and miss their rates by, each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench_wire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["bench", "wire", "--probe-seconds", "0.02"]);
    if !arguments.contains(&"--runs") {
        command.args(["--runs", "1"]);
    }
    command.args(arguments).output().unwrap()
}

fn wire(arguments: &[&str]) -> Value {
    let output = bench_wire(&[&["--json"], arguments].concat());
    // A busy machine misses any rate: that is said, and everything is measured all the same.
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || error.contains("lower --rate"), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The subject of a kind, the engine in a mode, of the cell with so many sessions.
fn subject<'a>(report: &'a Value, sessions: u64, kind: &str, mode: Option<&str>) -> &'a Value {
    let cells = report["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["sessions"] == sessions).unwrap_or_else(|| panic!("{report}"));
    let fits = |subject: &&Value| subject["kind"] == kind && mode.is_none_or(|mode| subject["mode"] == mode);
    cell["subjects"].as_array().unwrap().iter().find(fits).unwrap_or_else(|| panic!("{kind} {mode:?}: {report}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn has_two_cores() -> bool {
    let enough = core_affinity::get_core_ids().unwrap_or_default().len() >= 2;
    if !enough {
        eprintln!("skipped (a benchmark needs two cores, this machine lets us use one)");
    }
    enough
}

#[test]
fn the_wire_is_measured_beside_its_two_floors_with_the_age_at_risk_and_the_machines_stalls() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--orders", "200", "--idle-sessions", "3"]);
    for kind in ["floor", "floor_with_sync", "engine"] {
        let latency = &subject(&report, 1, kind, None)["latency"];
        let [p50, p99, p999] = ["p50_ns", "p99_ns", "p999_ns"].map(|percentile| number(&latency[percentile]));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{kind}: {report}");
        assert_eq!(latency["run_distributions"][0]["count"], 200, "{kind}: {report}");
    }
    let own = &subject(&report, 1, "engine", Some("buffered"))["own"];
    assert!(number(&own["anonymous_kib"]) > 0.0 && number(&own["unsynced_age_max_ns"][0]) > 0.0, "{report}");
    let cell = &report["cells"][0];
    assert!(number(&cell["raw_sync"]["p999_ns"]) > 0.0 && number(&cell["stalls"]["clock_reads"]) > 0.0, "{report}");
    let goals = report["goals"].as_array().unwrap();
    let ratio = number(&subject(&report, 1, "engine", None)["latency"]["p50_ns"])
        / number(&subject(&report, 1, "floor", None)["latency"]["p50_ns"]);
    assert_eq!(goals[0]["found"], format!("{ratio:.2} ×"), "{report}");
    assert!(goals.iter().any(|goal| goal["what"].as_str().unwrap().contains("at risk")), "{report}");
}

#[test]
fn sessions_modes_and_workers_give_one_report_and_one_page_with_a_curve_for_each_run() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let [json, html] = ["a.json", "a.html"].map(|name| directory.path().join(name).display().to_string());
    let output = bench_wire(&[
        "--orders",
        "100",
        "--sessions",
        "1,7",
        "--mode",
        "buffered,sync",
        "--workers",
        "2",
        "--wait",
        "adaptive",
        "--json",
        &json,
        "--html",
        &html,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("7 sessions"), "{text}");
    let shares = text.contains("Workers share a core");
    assert_eq!(shares, core_affinity::get_core_ids().unwrap().len() < 4, "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for sessions in [1, 7] {
        for mode in ["buffered", "sync"] {
            let engine = subject(&report, sessions, "engine", Some(mode));
            assert_eq!(engine["latency"]["run_distributions"][0]["count"], 100, "{report}");
            let by_worker = engine["own"]["messages_in_by_worker"].as_array().unwrap();
            assert_eq!(by_worker.len(), 2, "{report}");
        }
    }
    // Seven names of one kind do not all go to one worker.
    let shared = subject(&report, 7, "engine", Some("buffered"));
    assert!(
        shared["own"]["messages_in_by_worker"].as_array().unwrap().iter().all(|count| number(count) > 0.0),
        "{report}"
    );
    let page = std::fs::read_to_string(&html).unwrap();
    assert_eq!(page.matches("<path class=\"e0 run\"").count(), 2, "{page}");
    assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    // The same report as a table.
    let output = bench_wire(&["--markdown", &json, &json]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("| engine |") && text.matches("\n| fixring").count() == 2,
        "{text}"
    );
}

#[test]
fn an_open_loop_counts_from_the_intended_time_and_a_missed_rate_is_reported_and_fails() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--orders", "200", "--rate", "500", "--sessions", "1,7"]);
    assert_eq!(report["header"]["loop_kind"], "open loop at 500/s");
    for sessions in [1, 7] {
        let latency = &subject(&report, sessions, "engine", None)["latency"];
        assert_eq!(latency["run_distributions"][0]["count"], 200, "{report}");
        let without = &latency["without_stalls"];
        assert!((0.0..=1.0).contains(&number(&without["client_share"])), "{report}");
        assert!(number(&without["p999_ns"]) <= number(&latency["max_ns"]), "{report}");
    }
    // They are due within 0.4 s, and no worker answers that many in half a second.
    let output = bench_wire(&["--orders", "400000", "--rate", "1000000", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("lower --rate"), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!subject(&report, 1, "engine", None)["missed"].as_array().unwrap().is_empty(), "{report}");
}

#[test]
fn another_engine_is_started_for_each_run_in_an_empty_directory_and_measured_by_the_same_client() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("engine");
    let text = format!(
        "#!/bin/sh\n[ ! -e $2/data ] || exit 9\ncat >$2/fixring.toml <<END\n[engine]\ndata_dir = \"$2/data\"\n[persistence]\nallow_tmpfs = true\n\
         ring_dir = \"$2\"\nsegments = 3\n[control]\nlisten = \"127.0.0.1:0\"\n[[acceptor]]\nlisten = \"127.0.0.1:$1\"\nEND\n\
         exec {} run --config $2/fixring.toml\n",
        env!("CARGO_BIN_EXE_fixring")
    );
    std::fs::write(&script, text).unwrap();
    let other = format!("another|one=sh {} {{port}} {{directory}}", script.display());
    let report = wire(&["--orders", "100", "--runs", "2", "--server", &other]);
    let engines = report["cells"][0]["subjects"].as_array().unwrap();
    let another = engines.iter().find(|engine| engine["name"] == "another|one").unwrap();
    assert_eq!(another["latency"]["run_distributions"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!((&another["mode"], &another["own"]), (&Value::Null, &Value::Null), "{report}");

    let output = bench_wire(&["--orders", "100", "--server", "none=/no/such/engine {port}"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("none: cannot start"), "{error}");
}

#[test]
fn what_a_wire_benchmark_cannot_do_is_said_with_the_mend_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "{\"schema\":\"else\"}").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &str); 16] = [
        (&["--sessions", "0"], "1..=10000"),
        (&["--sessions", "1,99999999999"], "1..=10000"),
        (&["--sessions", ""], "invalid value"),
        (&["--rate", "0"], "1..=1000000"),
        (&["--workers", "0"], "1..=64"),
        (&["--orders", "99"], "100..=1000000000"),
        (&["--window", "0", "--saturate"], "1..=1024"),
        (&["--runs", "0"], "1..=101"),
        (&["--mode", "buffered,fast"], "possible values: buffered, flush, sync"),
        (&["--half-load"], "--saturate"),
        (&["--probe-seconds", "inf"], "a time from 0.01"),
        (&["--comp-ids", "A,\u{1}"], "two CompIDs"),
        (&["--server", "name=command"], "{port}"),
        (&["--volume", file], "is no directory: name one"),
        (&["--html", "/no such directory/a.html"], "name another file"),
        (&["--markdown", file], "give a file that --json of this benchmark wrote"),
    ];
    for (arguments, mend) in cases {
        let output =
            Command::new(env!("CARGO_BIN_EXE_fixring")).args(["bench", "wire"]).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(mend), "{arguments:?}: {error}");
    }
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
fn saturation_counts_answers_beside_a_bare_echo_and_half_of_it_is_an_open_loop() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--saturate", "--seconds", "1", "--window", "16", "--half-load", "1"]);
    let engine = subject(&report, 1, "engine", None);
    let saturation = &engine["saturation"];
    let (answered, floor) = (
        number(&saturation["answered_per_second"]),
        number(&subject(&report, 1, "floor", None)["saturation"]["answered_per_second"]),
    );
    assert!(answered > 0.0 && floor > 0.0, "{report}");
    // Both directions of all that was answered are on the volume, each with its record's header.
    let stored = answered * (number(&report["header"]["order_bytes"]) + number(&report["header"]["report_bytes"]));
    assert!(stored > 0.0 && number(&saturation["volume_bytes_per_second"]) > stored, "{report}");
    assert!(number(&saturation["ring_full"]) >= 0.0, "{report}");
    assert!((0.0..=1.0).contains(&number(&saturation["client_busy_share"])), "{report}");
    let half = |kind: &str| number(&subject(&report, 1, kind, None)["half_load"]["rate_per_second"]);
    for kind in ["floor", "floor_with_sync", "engine"] {
        assert!((half(kind) - answered / 2.0).abs() <= 1.0, "{kind}: {report}");
    }
}

#[test]
fn a_window_is_spread_over_few_sessions_and_moves_over_many() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = wire(&["--saturate", "--seconds", "1", "--window", "16", "--sessions", "7,40"]);
    for sessions in [7, 40] {
        for kind in ["floor", "engine"] {
            let saturation = &subject(&report, sessions, kind, None)["saturation"];
            assert!(number(&saturation["answered_per_second"]) > 0.0, "{report}");
        }
    }
}

/// 273 MB stayed in the temporary directory, and the engine with it, where a benchmark was
/// interrupted.
#[test]
fn an_interrupted_benchmark_leaves_neither_files_nor_rings_nor_processes() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    for (signal, number) in [("-TERM", 15), ("-INT", 2)] {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = Command::new(env!("CARGO_BIN_EXE_fixring"))
            .args(["bench", "wire", "--orders", "1000000000", "--runs", "1", "--probe-seconds", "0.02"])
            .env("TMPDIR", directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = bench.id().to_string();
        // The engine that is asked how long its messages are, or the floor after it, with the
        // engine's files.
        let config = until(|| {
            let scratch = std::fs::read_dir(directory.path()).unwrap().next()?.unwrap().path();
            let config = std::fs::read_to_string(scratch.join("sessions-1/engine-0/fixring.toml")).ok()?;
            scratch.join("sessions-1/engine-0/data/manifest").exists().then_some(config)
        });
        let rings = config.split("ring_dir = \"").nth(1).unwrap().split('"').next().unwrap();
        let children = until(|| Some(children_of(&pid)).filter(|children| !children.is_empty()));
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(bench.wait().unwrap().signal(), Some(number));
        let error = std::io::read_to_string(bench.stderr.take().unwrap()).unwrap();
        assert!(error.contains("interrupted; its files are removed"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{error}");
        assert!(!std::path::Path::new(rings).exists(), "{rings} stays");
        for child in children {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            assert!(state.is_empty() || state.contains(") Z "), "{state}");
        }
    }
}

#[test]
fn a_simulation_that_is_interrupted_says_how_far_it_came() {
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["simulate", "--seeds", "1000000000", "--threads", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(simulation.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("seeds 0 to "));
    assert!(Command::new("kill").args(["-INT", &simulation.id().to_string()]).status().unwrap().success());
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(last.ends_with(": interrupted, and every rule held so far"), "{last}");
    assert_eq!(simulation.wait().unwrap().code(), Some(1));
}

/// Waits for it. Only a failure takes so long.
fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn children_of(pid: &str) -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let of_task = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let texts: Vec<String> = tasks.filter_map(Result::ok).map(of_task).collect();
    texts.iter().flat_map(|text| text.split_whitespace()).map(String::from).collect()
}

#[test]
fn the_codec_is_measured_beside_a_vector_scan() {
    let _alone = alone();
    let output =
        Command::new(env!("CARGO_BIN_EXE_fixring")).args(["bench", "codec", "--json", "--runs", "1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = report["messages"].as_array().unwrap();
    let sizes: Vec<_> = messages.iter().map(|row| (row["bytes"].as_u64(), row["fields"].as_u64())).collect();
    assert_eq!(sizes[..2], [(Some(200), Some(19)), (Some(269), Some(25))], "{report}");
    assert_eq!(sizes[2].1, Some(1_410), "{report}");
    for row in messages {
        let ns = |routine: &str| row[routine]["ns"].as_f64().unwrap();
        for routine in ["floor", "decode", "decode_and_validate", "encode", "encode_from_template"] {
            assert!(ns(routine) > 0.0, "{routine}: {row}");
            let ratio = row[routine]["ratio_to_floor"].as_f64().unwrap();
            assert!((ratio - ns(routine) / ns("floor")).abs() < 1e-9, "{routine}: {row}");
        }
    }
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

/// Found in review: on a new volume the directory had to be made by hand.
#[test]
fn a_storage_benchmark_makes_its_directory_and_removes_it() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let volume = tempfile::tempdir().unwrap();
    let made = volume.path().join("not/yet");
    let output = storage(&["--data-dir", made.to_str().unwrap(), "--method", "fdatasync"]).args(TINY).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 0, "it was not there before");
    let beneath_a_file = volume.path().join("file");
    std::fs::write(&beneath_a_file, "").unwrap();
    let output = storage(&["--data-dir", beneath_a_file.join("x").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be made"), "{output:?}");
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

fn bench(name: &str, arguments: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fixring")).args(["bench", name, "--json"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_session_is_measured_beside_each_kind_of_peer_that_misbehaves() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = bench("storm", &["--orders", "100", "--runs", "1", "--rate", "1000", "--messages", "500"]);
    let disturbed = report["disturbed"].as_array().unwrap();
    let names: Vec<_> = disturbed.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["stuck", "dead", "resends", "logons", "flood"]);
    for row in disturbed {
        let ratio = row["p99_ns"].as_f64().unwrap() / report["undisturbed"]["p99_ns"].as_f64().unwrap();
        assert!((row["p99_ratio"].as_f64().unwrap() - ratio).abs() < 1e-9, "{report}");
        assert!(row["per_s"].as_f64().is_some_and(|per_s| per_s > 0.0), "{report}");
    }
}

#[test]
fn a_crowd_of_sessions_logs_on_twice_and_is_measured() {
    if !has_two_cores() {
        return;
    }
    let _alone = alone();
    let report = bench("sessions", &["--sessions", "200", "--orders", "200", "--wait", "park"]);
    assert_eq!((&report["cold"]["sessions"], &report["again"]["sessions"]), (&199.into(), &200.into()), "{report}");
    let active: Vec<_> = report["round_trips"].as_array().unwrap().iter().map(|row| row["active"].as_u64()).collect();
    assert_eq!(active, [Some(1), Some(1), Some(10), Some(100)], "{report}");
    assert!(report["bytes_per_session"].as_u64().is_some_and(|bytes| bytes > 0), "{report}");
}
