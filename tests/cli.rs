//! The real binary: what wrong input gets, how it stops, and what it never shows.
//!
//! Each fault of the operator's or the machine's is one line that says the mend, the documented status, and nothing
//! touched. Where this machine does not allow a case, the test says why past the harness's capture.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use engine::{Place, Running, SMALL, Setup, free_port};
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const CONFIGURATION: i32 = 2;
const DATA_DIRECTORY: i32 = 3;
const PORT_TAKEN: i32 = 5;
const SHARED_MEMORY: i32 = 6;

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };
const SESSION: &str = "FIX.4.4:VENUE->DESK";

// ---- what wrong input gets

#[test]
fn a_broken_configuration_names_the_line_and_the_mend_and_makes_nothing() {
    let place = Place::new(&SMALL);
    let text = fs::read_to_string(place.config()).unwrap();
    let cases = [
        (text.replace("wait =", "wiat ="), "wiat", "wait"),
        (text.replace("\"park\"", "\"sleep\""), "engine.wait", "park"),
        (text.replace("\"256KiB\"", "\"300KiB\""), "ring_bytes", "power of two"),
        (text.replace("[control]", "[control"), "fixring.toml:", "]"),
    ];
    for (text, names, mend) in cases {
        fs::write(place.config(), text).unwrap();
        let line = refused(place.start(), CONFIGURATION);
        assert!(line.contains(names) && line.contains(mend), "{line}");
        assert!(line.contains("fixring.toml:"), "{line}");
    }
    fs::remove_file(place.config()).unwrap();
    assert!(refused(place.start(), CONFIGURATION).contains("--config"));
    assert!(!place.data_dir().exists() && !place.ring_dir().exists());
}

#[test]
fn a_data_directory_in_use_is_refused_and_its_engine_goes_on() {
    let place = Place::new(&SMALL);
    let first = place.start_ready();
    let mut client = log_on(place.port, "");
    let text = fs::read_to_string(place.config()).unwrap();
    let other = place.path().join("other.toml");
    fs::write(&other, text.replace(&place.port.to_string(), &free_port().to_string())).unwrap();
    let line = refused(start_with(&other), DATA_DIRECTORY);
    assert!(line.contains(&format!("in use by process {}", first.pid())) && line.contains("engine.data_dir"), "{line}");
    assert!(client.send(&PARTY.message("1", 2, "", "112=still there|")));
    assert_eq!(next(&mut client).get(112), Some("still there"));
}

#[test]
fn a_journal_of_a_newer_format_is_not_touched() {
    let place = used_place();
    let manifest = place.data_dir().join("manifest");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("format_version = 2"), "{text}");
    let text = text.replace("format_version = 2", "format_version = 3");
    let body = &text[..text.rfind("# crc32c = ").expect("the manifest closes with its CRC")];
    place.is_damaged("its manifest is of a version that this build refuses");
    fs::write(&manifest, format!("{body}# crc32c = {:08x}\n", crc_fast::crc32_iscsi(body.as_bytes()))).unwrap();
    let before = contents(place.path());
    let line = refused(place.start(), DATA_DIRECTORY);
    assert!(line.contains("format version 3") && line.contains("run a newer fixring"), "{line}");
    assert_eq!(changed(&before, &contents(place.path())), [place.data_dir().join("lock")]);
}

#[test]
fn a_segment_of_another_data_directory_is_not_taken_for_ours() {
    let (place, other) = (used_place(), used_place());
    let segment = "journal-0/segment-0.seg";
    place.is_damaged("a foreign segment stands in the place of its own");
    fs::copy(other.data_dir().join(segment), place.data_dir().join(segment)).unwrap();
    let before = contents(place.path());
    let line = refused(place.start(), DATA_DIRECTORY);
    assert!(line.contains("segment-0.seg belongs to another data directory"), "{line}");
    assert_eq!(changed(&before, &contents(place.path())), [place.data_dir().join("lock")]);
}

#[test]
fn a_ring_that_is_a_link_or_open_to_others_is_refused() {
    let place = used_place();
    let ring = ring_of(&place);
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o644)).unwrap();
    let line = refused(place.start(), SHARED_MEMORY);
    assert!(line.contains("0600"), "{line}");
    let elsewhere = place.path().join("elsewhere");
    fs::set_permissions(&ring, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&ring, &elsewhere).unwrap();
    symlink(&elsewhere, &ring).unwrap();
    let before = contents(&place.data_dir());
    let line = refused(place.start(), SHARED_MEMORY);
    assert!(line.contains(ring.to_str().unwrap()), "{line}");
    assert_eq!(changed(&before, &contents(&place.data_dir())), [place.data_dir().join("lock")]);
}

#[test]
fn a_ring_of_another_data_directory_is_put_aside_and_not_read() {
    let (place, other) = (used_place(), used_place());
    fs::copy(ring_of(&other), ring_of(&place)).unwrap();
    let engine = place.start_ready();
    engine.until_logged("quarantined: it belongs to another data directory");
    assert!(fs::read_dir(place.data_dir().join("quarantine")).unwrap().next().is_some());
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let place = Place::new(&SMALL);
    let _taken = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let line = refused(place.start(), PORT_TAKEN);
    assert!(line.contains("acceptor[0].listen") && line.contains(&place.port.to_string()), "{line}");
    assert!(line.contains("choose another port"), "{line}");
    assert!(!place.data_dir().exists() && !place.ring_dir().exists());
}

#[test]
fn too_little_shared_memory_says_what_is_needed_and_what_there_is() {
    let place = Place::new(&SMALL);
    fs::create_dir(place.ring_dir()).unwrap();
    // A mount of its own namespace, which goes with the process.
    let namespace = ["--user", "--map-root-user", "--mount"];
    let mount = format!("mount -t tmpfs -o size=128k tmpfs '{}'", place.ring_dir().display());
    let permitted = Command::new("unshare").args(namespace).args(["sh", "-c", &mount]).output();
    if !permitted.as_ref().is_ok_and(|output| output.status.success()) {
        return skip(
            "too little shared memory",
            &format!("a namespace with a mount of its own is not permitted: {permitted:?}"),
        );
    }
    let mut command = Command::new("unshare");
    let run =
        format!("{mount} && exec '{}' run --config '{}'", env!("CARGO_BIN_EXE_fixring"), place.config().display());
    command.args(namespace).args(["sh", "-c", &run]);
    let line = refused(Running::of(command), SHARED_MEMORY);
    assert!(line.contains("128 KiB free of 128 KiB") && line.contains("260 KiB are needed"), "{line}");
    assert!(line.contains("persistence.ring_bytes"), "{line}");
}

#[test]
fn a_directory_without_permission_is_named() {
    let place = Place::new(&SMALL);
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let text = fs::read_to_string(place.config()).unwrap();
    let data_dir = closed.join("data");
    let config = place.path().join("closed.toml");
    fs::write(&config, text.replace(place.data_dir().to_str().unwrap(), data_dir.to_str().unwrap())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    if fs::create_dir(&data_dir).is_ok() {
        fs::remove_dir(&data_dir).unwrap();
        // This user may write anywhere. In a user namespace without a mapping nobody may.
        if !Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|status| status.success()) {
            return skip("no permission", "this user may write anywhere, and no user namespace is permitted");
        }
        command = Command::new("unshare");
        command.args(["--user", env!("CARGO_BIN_EXE_fixring")]);
    }
    command.args(["run", "--config"]).arg(&config);
    let line = refused(Running::of(command), DATA_DIRECTORY);
    assert!(line.contains(data_dir.to_str().unwrap()) && line.contains("ermission denied"), "{line}");
}

// ---- how it stops, and what it says

#[test]
fn sigterm_logs_out_ends_with_0_and_the_next_start_knows_of_it() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, "");
    engine.terminate();
    let logout = next(&mut client);
    assert_eq!(logout.msg_type(), "5", "{logout:?}");
    assert!(client.send(&PARTY.message("5", 2, "", "")));
    assert!(matches!(client.read(DEADLINE), Read1::End));
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped cleanly"), "{log}");
    let engine = place.start_ready();
    engine.until_logged("after a clean stop");
}

#[test]
fn logs_are_json_lines_where_nobody_watches() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    drop(log_on(place.port, ""));
    engine.terminate();
    let (_, log) = engine.until_ended();
    assert!(log.lines().count() >= 4, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["message"].is_string() && line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(log.contains(SESSION), "{log}");
}

#[test]
fn secrets_of_a_logon_are_in_no_log_and_no_file() {
    // Without a dictionary's help: it would refuse what FIX.4.4 does not know, before anything could be done with it.
    let unchecked = "[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n\
                     validation = { enabled = false }\n";
    let place = Place::new(&Setup { sessions: unchecked, ..SMALL });
    let mut engine = start_loud(&place);
    let mut wire = log_on(place.port, "95=10|96=raw_s3cr3t|553=desk-user|554=pass_s3cr3t|925=next_s3cr3t|");
    // A UserRequest(BE) brings a new one.
    assert!(wire.send(&PARTY.message("BE", 2, "", "923=1|924=3|553=desk-user|554=old_s3cr3t|925=new_s3cr3t|")));
    // Those that the session does not expect: with fields that cannot be read, and one of a session that is unknown.
    assert!(wire.send(&PARTY.message("A", 3, "", "98=0|108=3600|x=1|554=odd_s3cr3t|")));
    assert!(wire.send(&PARTY.message("A", 4, "", "98=0|108=3600|554=second_s3cr3t|")));
    while !matches!(wire.read(Duration::from_secs(1)), Read1::End | Read1::Nothing) {}
    let mut stranger = Wire::connect(place.port).expect("it listens");
    let unknown = Party { begin_string: "FIX.9.9", ..PARTY };
    assert!(stranger.send(&unknown.message("A", 1, "", "98=0|108=3600|554=stranger_s3cr3t|")));
    assert!(matches!(stranger.read(DEADLINE), Read1::End));
    engine.terminate();
    let (_, log) = engine.until_ended();
    assert!(!log.contains("s3cr3t"), "{log}");
    let files = contents(place.path());
    assert!(files.values().any(|bytes| find(bytes, b"desk-user")), "the Logon(A) is stored");
    for (path, bytes) in files {
        assert!(!find(&bytes, b"s3cr3t"), "a secret stands in {path:?}");
    }
    let output = journal_cat(&place.data_dir(), &[]);
    let logon = output.lines().find(|line| line.contains("|35=A|") && line.contains(" < ")).expect("the Logon(A)");
    assert!(logon.contains(" C-B ") && logon.contains("553=desk-user|554="), "{logon}");
}

#[test]
fn the_password_of_an_initiator_is_sent_and_stored_nowhere() {
    let venue = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = venue.local_addr().unwrap().port();
    let sessions = format!(
        "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"DESK\"\ntarget_comp_id = \"VENUE\"\n\
         role = \"initiator\"\nconnect = [\"127.0.0.1:{port}\"]\nusername = \"desk-user\"\npassword_env = \"SECRET_OF_TEST\"\n"
    );
    let place = Place::new(&Setup { sessions: &sessions, ..SMALL });
    let text = fs::read_to_string(place.config()).unwrap();
    let acceptor = format!("[[acceptor]]\nlisten = \"127.0.0.1:{}\"\n", place.port);
    fs::write(place.config(), text.replace(&acceptor, "")).unwrap();
    let mut engine = start_loud(&place);
    let mut logon = [0; 512];
    let count = venue.accept().unwrap().0.read(&mut logon).unwrap();
    assert!(find(&logon[..count], b"\x01554=initiator_s3cr3t\x01"), "{}", logon[..count].escape_ascii());
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
    for (path, bytes) in contents(place.path()) {
        assert!(!find(&bytes, b"s3cr3t"), "the password stands in {path:?}");
    }
}

// ---- journal cat, demo, examples

#[test]
fn journal_cat_shows_messages_while_the_engine_runs_and_after() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, "");
    assert!(client.send(&PARTY.message("D", 2, "", "11=A-1|55=FIXR|54=1|60=20260105-00:00:00|38=5|40=2|44=1.5|")));
    assert_eq!(next(&mut client).get(11), Some("A-1"));
    let running = journal_cat(&place.data_dir(), &["--session", SESSION]);
    let is = |line: &str, direction: &str, kind: &str| {
        line.contains(&format!(" {direction} {SESSION} ")) && line.contains(&format!("|35={kind}|"))
    };
    let expected = [("<", "A", "C--"), ("> ", "A", "---"), ("<", "D", "CD-"), ("> ", "8", "---")];
    assert_eq!(running.lines().count(), expected.len(), "{running}");
    for (line, (direction, kind, flags)) in running.lines().zip(expected) {
        let direction = format!("{:<2}", direction.trim());
        assert!(is(line, &direction, kind) && line.contains(&format!(" {flags} ")), "{line}");
    }
    engine.terminate();
    engine.until_ended();
    let after = journal_cat(&place.data_dir(), &["--all"]);
    for what in ["incarnation 1 starts, after no clean stop", "session 0 is defined", "clean stop", "|35=5|"] {
        assert!(after.contains(what), "{what}: {after}");
    }
}

#[test]
fn journal_commands_find_the_configured_and_the_default_directory() {
    let place = used_place();
    let (config, data_dir) = (place.config(), place.data_dir());
    let named = fixring(&["journal", "tail", "--data-dir", data_dir.to_str().unwrap()]);
    let configured = fixring(&["journal", "tail", "--config", config.to_str().unwrap()]);
    symlink(&data_dir, place.path().join("fixring-data")).unwrap();
    let mut journal = Command::new(env!("CARGO_BIN_EXE_fixring"));
    let default = journal.args(["journal", "tail"]).current_dir(place.path()).output().unwrap();
    for output in [&configured, &default] {
        assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
        assert_eq!(output.stdout, named.stdout);
    }
    // Elsewhere there is none, and the line says what is missed.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut journal = Command::new(env!("CARGO_BIN_EXE_fixring"));
    let output = journal.args(["journal", "status"]).current_dir(elsewhere.path()).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(DATA_DIRECTORY), "{line}");
    assert!(line.starts_with("fixring-data: ") && line.contains("engine.data_dir"), "{line}");
}

#[test]
fn journal_cat_refuses_what_is_no_data_directory_and_names_the_sessions_it_has() {
    let place = used_place();
    let cat = |data_dir: &Path, more: &[&str]| {
        fixring(&[&["journal", "cat", "--data-dir", data_dir.to_str().unwrap()], more].concat())
    };
    for directory in [place.path().join("missing"), place.path().to_path_buf()] {
        let output = cat(&directory, &[]);
        assert_eq!(output.status.code(), Some(DATA_DIRECTORY));
        let line = one_line(&output.stderr);
        assert!(line.contains(directory.to_str().unwrap()) && line.contains("engine.data_dir"), "{line}");
    }
    let output = cat(&place.data_dir(), &["--session", "FIX.4.4:VENUE->NOBODY"]);
    assert_eq!(output.status.code(), Some(CONFIGURATION));
    assert!(one_line(&output.stderr).contains(SESSION));
    assert_eq!(cat(&place.data_dir(), &["--journal", "1"]).status.code(), Some(CONFIGURATION));
}

#[test]
fn the_demo_loses_nothing_says_so_in_json_and_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["demo", "--orders", "600", "--rate", "1000", "--json"])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&outcome["orders_sent"], &outcome["reports_received"]), (&600.into(), &600.into()), "{outcome}");
    assert_eq!((&outcome["lost"], &outcome["duplicates_without_poss_dup"]), (&0.into(), &0.into()), "{outcome}");
    assert!(outcome["recovery_ms"].as_f64().unwrap() > 0.0, "{outcome}");
    let percentile = |name: &str| outcome["round_trip_ns"][name].as_u64().unwrap();
    assert!(0 < percentile("p50") && percentile("p50") <= percentile("p99"), "{outcome}");
    assert!(percentile("p99") <= percentile("p999"), "{outcome}");
    assert_eq!(outcome.as_object().unwrap().len(), 6, "{outcome}");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "the demo leaves files behind");
}

#[test]
fn an_interrupted_demo_leaves_no_process_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["demo", "--rate", "100"]).env("TMPDIR", directory.path());
    let mut demo = Running::of(command);
    let venue_lock = || -> Option<String> {
        let demo = fs::read_dir(directory.path()).ok()?.next()?.ok()?;
        fs::read_to_string(demo.path().join("venue/lock")).ok().filter(|pid| pid.ends_with('\n'))
    };
    let deadline = Instant::now() + DEADLINE;
    let venue = loop {
        match venue_lock() {
            Some(pid) => break pid,
            None => assert!(Instant::now() < deadline, "the venue does not start"),
        }
    };
    demo.terminate();
    let (status, said) = demo.until_ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    assert!(!Path::new("/proc").join(venue.trim()).exists(), "the venue goes on");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "the demo leaves files behind");
}

#[test]
fn the_examples_talk_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut acceptor = Command::new(example("acceptor"))
        .args([&address, directory.path().join("acceptor").to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(acceptor.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.contains(&address), "{line}");
    let initiator = Command::new(example("initiator"))
        .args([&address, directory.path().join("initiator").to_str().unwrap()])
        .output()
        .unwrap();
    // Its standard input ends: that stops it as Enter does.
    drop(acceptor.stdin.take());
    let text = String::from_utf8(initiator.stdout).unwrap();
    assert!(initiator.status.success() && text.contains("|35=8|") && text.contains("|150=F|"), "{text}");
    assert!(acceptor.wait().unwrap().success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("from FIX.4.4:VENUE->DESK"), "{rest}");
}

// ---- what the tests stand on

/// A data directory that has been used and stopped cleanly.
fn used_place() -> Place {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    drop(log_on(place.port, ""));
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    place
}

fn ring_of(place: &Place) -> PathBuf {
    fs::read_dir(place.ring_dir()).unwrap().next().expect("one ring").unwrap().path()
}

fn start_with(config: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["run", "--config"]).arg(config);
    Running::of(command)
}

/// With everything that could be logged, and the password of the initiator's test.
fn start_loud(place: &Place) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["run", "--config"]).arg(place.config());
    command.env("FIXRING_LOG", "trace").env("SECRET_OF_TEST", "initiator_s3cr3t");
    let engine = Running::of(command);
    engine.until_ready();
    engine
}

/// The engine ends at once with this status, and the one line that it says is answered.
fn refused(mut engine: Running, status: i32) -> String {
    let (ended, log) = engine.until_ended();
    assert_eq!(ended.code(), Some(status), "{log}");
    one_line(log.as_bytes())
}

fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).trim_end().to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn log_on(port: u16, more: &str) -> Wire {
    let mut wire = Wire::connect(port).expect("a ready engine listens");
    assert!(wire.send(&PARTY.message("A", 1, "", &format!("98=0|108=3600|{more}"))));
    assert_eq!(next(&mut wire).msg_type(), "A");
    wire
}

fn next(wire: &mut Wire) -> Fields {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match wire.read(Duration::from_millis(100)) {
            Read1::Message(message) => return message,
            Read1::Nothing => assert!(Instant::now() < deadline, "nothing comes"),
            Read1::End => panic!("the engine closed the connection"),
        }
    }
}

fn fixring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring")).args(arguments).output().unwrap()
}

fn journal_cat(data_dir: &Path, more: &[&str]) -> String {
    let output = fixring(&[&["journal", "cat", "--data-dir", data_dir.to_str().unwrap()], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An example's program; `cargo test` builds them, unless it is asked for one test alone.
fn example(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_fixring")).parent().unwrap().join("examples").join(name);
    if !path.exists() {
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--offline", "--example", name]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        assert!(command.status().unwrap().success());
    }
    path
}

/// Every file below, with what is in it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn changed(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    before
        .keys()
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Counted by whoever reads the run, with its reason.
fn skip(case: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {case}: {reason}");
}

// ---- what schedules mean

#[test]
fn schedules_are_printed_in_utc_and_local_time_for_people_and_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("fixring.toml");
    let session = |target: &str, rest: &str| {
        format!(
            "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"{target}\"\n{rest}\n"
        )
    };
    let hours = "schedule = { start = \"08:00\", end = \"17:00\", zone = \"America/New_York\", days = \"Mon..Fri\" }";
    fs::write(&config, session("*", hours) + &session("DESK2", "")).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
        command.arg("schedule").arg("--config").arg(&config).args(["--from", "2026-03-06T14:00:00Z"]).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["--days", "4"]);
    assert!(text.contains("FIX.4.4:VENUE->*: Mon..Fri, 08:00:00 to 17:00:00, America/New_York: open"), "{text}");
    assert!(text.contains("2026-03-06T22:00:00Z") && text.contains("2026-03-06 17:00:00 EST"), "{text}");
    assert!(text.contains("2026-03-09T12:00:00Z") && text.contains("2026-03-09 08:00:00 EDT"), "{text}");
    assert!(text.contains("FIX.4.4:VENUE->DESK2: no schedule: non-stop, never reset"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&run(&["--days", "4", "--json"])).unwrap();
    let events = json[0]["events"].as_array().unwrap();
    assert_eq!(events.len(), 4, "an end, a start, an end, and the start of the fifth day: {events:?}");
    assert_eq!(events[1]["utc"], "2026-03-09T12:00:00Z");
    assert_eq!((&json[0]["open"], &json[1]["schedule"]), (&true.into(), &serde_json::Value::Null));

    fs::write(&config, session("DESK1", &hours.replace("New_York", "Newyork"))).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_fixring")).arg("schedule").arg("--config").arg(&config).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(CONFIGURATION));
    assert!(error.contains("fixring.toml:5:") && error.contains("did you mean \"America/New_York\"?"), "{error}");
}
