//! The real binary as its operator meets it: signals, names, and what is said where something is
//! missing.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use engine::{Place, Running, SMALL, Setup, free_port};
use wire::{DEADLINE, Party, Read1, Wire};

const CONFIGURATION: i32 = 2;
const STORAGE: i32 = 4;
const SHARED_MEMORY: i32 = 6;

// ---- signals

/// Found in review: a terminal that was closed, or a `kill -HUP` of who meant to have the
/// configuration read again, cut every session off.
#[test]
fn a_signal_that_asks_other_daemons_to_read_again_is_ignored_with_a_line() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(&place, "DESK", "");
    for (number, signal) in ["HUP", "USR1", "USR2"].into_iter().enumerate() {
        signal_of(&engine, signal);
        engine.until_logged(&format!("\"signal\":\"SIG{signal}\""));
        assert_eq!(echo_of(&mut client, "DESK", number as u32 + 2), "again");
    }
    assert!(engine.log_text().contains("the configuration is read at a start alone"), "{}", engine.log_text());
    drop(client);
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

#[test]
fn a_held_engine_ignores_them_too() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    engine.terminate();
    engine.until_ended();
    let data_dir = place.data_dir();
    let held = fixring(&["recover", "--restored", "--hold", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(held.status.code(), Some(1), "{}", said(&held));
    let mut engine = place.start();
    engine.until_logged("waiting for `fixring recover`");
    signal_of(&engine, "HUP");
    engine.until_logged("SIGHUP");
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

// ---- an empty configuration

/// Found in review: an empty file, such as a ConfigMap that was not filled in, ran the exchange
/// that is open to everybody.
#[test]
fn a_configuration_that_sets_nothing_is_said_to_be_empty_by_every_command() {
    let place = Place::new(&SMALL);
    let config = place.config();
    let path = config.to_str().unwrap();
    for (text, what) in [
        ("", "is empty:"),
        (" \n\t\r\n", "is empty:"),
        ("\u{feff}", "is empty:"),
        ("# [engine]\n# workers = 1\n", "is empty but for comments:"),
    ] {
        fs::write(&config, text).unwrap();
        for command in ["run", "check", "schedule", "recover"] {
            let output = fixring(&[command, "--config", path]);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(CONFIGURATION), "{command} {text:?}: {said}");
            assert!(said.contains(path) && said.contains(what) && said.contains("leave --config out"), "{said}");
        }
    }
    // A table without a key is somebody's word, and what is no TOML is said where it stands.
    fs::write(&config, "[engine]\n").unwrap();
    assert_eq!(fixring(&["schedule", "--config", path]).status.code(), Some(0));
    fs::write(&config, "garbage").unwrap();
    assert!(said(&fixring(&["run", "--config", path])).contains("this is not TOML"));
    let directory = fixring(&["run", "--config", place.path().to_str().unwrap()]);
    assert_eq!(directory.status.code(), Some(CONFIGURATION));
    assert!(said(&directory).contains("name the file in it"), "{}", said(&directory));
    fs::remove_file(&config).unwrap();
    let missing = fixring(&["run", "--config", path]);
    assert_eq!(missing.status.code(), Some(CONFIGURATION));
    assert!(said(&missing).contains("name an existing file"), "{}", said(&missing));
}

// ---- who runs no session needs nothing of what sessions need

#[test]
fn schedules_and_numbers_are_shown_without_the_dictionary_and_the_password_that_an_engine_needs() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    engine.terminate();
    engine.until_ended();
    let text = fs::read_to_string(place.config()).unwrap();
    let session = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\nrole = \"initiator\"\n\
        connect = [\"127.0.0.1:1\"]\ndictionary = \"/nowhere/FIX44.xml\"\npassword_file = \"/nowhere/password\"\n\
        schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }\n";
    fs::write(place.config(), text + session).unwrap();
    let config = place.config();
    let with = |command: &str| fixring(&[command, "--config", config.to_str().unwrap()]);
    for command in ["schedule", "recover"] {
        assert_eq!(with(command).status.code(), Some(0), "{command}: {}", said(&with(command)));
    }
    assert!(said(&with("schedule")).contains("FIX.4.4:VENUE->DESK: Mon..Fri"));
    for command in ["run", "check"] {
        let output = with(command);
        assert_eq!(output.status.code(), Some(CONFIGURATION));
        assert!(
            said(&output).contains("/nowhere/FIX44.xml") || said(&output).contains("dictionary"),
            "{}",
            said(&output)
        );
        assert!(said(&output).contains("password_file"), "{}", said(&output));
    }
}

// ---- names

/// Found in review: "DESK/NY" and "DESK" with the SubID "NY" were one name: one metric for two
/// sessions, and `recover` took the first.
#[test]
fn two_sessions_whose_ids_look_alike_have_two_names_everywhere() {
    let place = Place::new(&SMALL);
    let control = free_port();
    let text = fs::read_to_string(place.config()).unwrap();
    let sub_id = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\ntarget_sub_id = \"NY\"\n";
    fs::write(place.config(), text.replace("\"off\"", &format!("\"127.0.0.1:{control}\"")) + sub_id).unwrap();
    let mut engine = place.start_ready();
    let mut slash = log_on(&place, "DESK/NY", "");
    let mut sub = log_on(&place, "DESK", "50=NY|");
    assert_eq!(echo_of(&mut slash, "DESK/NY", 2), "again");
    let names = [r"FIX.4.4:VENUE->DESK\/NY", "FIX.4.4:VENUE->DESK/NY"];
    let metrics = get(control, "/metrics");
    // A label's value has its backslashes doubled.
    for (name, next_in) in [(names[0].replace('\\', "\\\\"), 3), (names[1].to_owned(), 2)] {
        let label = format!("{{session=\"{name}\"}} {next_in}");
        let lines: Vec<&str> = metrics.lines().filter(|line| line.contains(&label)).collect();
        assert!(lines.iter().any(|line| line.contains("next_in")), "{label}: {metrics}");
    }
    for name in names {
        engine.until_logged(&format!("\"session\":{}", serde_json::to_string(name).unwrap()));
    }
    for (wire, name, next_in, header) in [(&mut sub, "DESK", 2, "50=NY|"), (&mut slash, "DESK/NY", 3, "")] {
        assert!(wire.send(&party(name).message("5", next_in, header, "")));
        until(wire, "5");
    }
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));

    let data_dir = place.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    for (name, next_out) in [(names[0], "40"), (names[1], "50")] {
        let set = ["recover", "--data-dir", data_dir, "--session", name, "--next-out", next_out, "--next-in", "7"];
        let output = fixring(&set);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let shown = said(&fixring(&["recover", "--data-dir", data_dir]));
    for (name, next_out) in [(names[0], "40"), (names[1], "50")] {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        assert_eq!(line.and_then(|line| line.split_whitespace().nth(1)), Some(next_out), "{shown}");
    }
    let count = |name| {
        let output = fixring(&["journal", "cat", "--data-dir", data_dir, "--session", name, "--direction", "in"]);
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(names.map(count), [3, 2]);
}

// ---- `check` says what a start does

/// A place whose engine has traded and stopped in order, or was killed.
fn used(kills: bool) -> Place {
    let place = Place::new(&SMALL);
    // So that the application has a state of its own.
    let mut engine = place.start_ready();
    let mut client = log_on(&place, "DESK", "");
    for number in 0..30u32 {
        assert_eq!(echo_of(&mut client, "DESK", number + 2), "again");
    }
    if kills {
        engine.kill();
    } else {
        // Nobody is left whose Logout is waited for.
        drop(client);
        engine.terminate();
        engine.until_ended();
    }
    place
}

fn ring_of(place: &Place) -> PathBuf {
    fs::read_dir(place.ring_dir()).unwrap().next().expect("one ring").unwrap().path()
}

fn segment(place: &Place, number: u32) -> PathBuf {
    place.data_dir().join(format!("journal-0/segment-{number}.seg"))
}

fn configure(place: &Place, from: &str, to: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    fs::write(place.config(), text.replacen(from, to, 1)).unwrap();
}

/// Every file below, with what is in it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).unwrap_or_default())),
        }
    }
    found
}

/// What `check` concludes, and what `run` then does: both have to be the same. Answers what `check`
/// said.
fn check_and_run(name: &str, place: &Place, starts: bool) -> String {
    let before = contents(place.path());
    let config = place.config();
    let checked = fixring(&["check", "--config", config.to_str().unwrap()]);
    let said = said(&checked);
    assert!(contents(place.path()) == before, "{name}: check has changed something");
    let mut engine = place.start();
    let started = until_started(&mut engine);
    engine.kill();
    assert_eq!(started.is_ok(), starts, "{name}: run: {started:?}");
    let expected = if starts { 0 } else { CONFIGURATION };
    assert_eq!(checked.status.code(), Some(expected), "{name}: check: {said}");
    said
}

/// Found in review: `check` found nothing wrong where the start was held or refused.
#[test]
fn check_is_content_exactly_where_a_start_is() {
    type Sabotage = fn(&Place);
    let cases: [(&str, bool, bool, Sabotage, &str); 19] = [
        ("nothing", false, true, |_| {}, "can be gone on with"),
        ("a killed engine", true, true, |_| {}, "can be gone on with"),
        ("no ring after a clean stop", false, true, |place| fs::remove_file(ring_of(place)).unwrap(), "can be gone on"),
        ("no ring after a kill", true, true, |place| fs::remove_file(ring_of(place)).unwrap(), "can be gone on"),
        ("no ring directory", false, true, |place| fs::remove_dir_all(place.ring_dir()).unwrap(), "can be made"),
        ("a ring open to others", false, false, |place| open_to_others(&ring_of(place)), "must be 0600"),
        ("a ring that is a link", false, false, |place| link(&ring_of(place)), "a symbolic link"),
        ("a segment open to others", false, false, |place| open_to_others(&segment(place, 1)), "must be 0600"),
        ("a segment that is gone", false, false, |place| fs::remove_file(segment(place, 1)).unwrap(), "segment-1.seg"),
        ("a segment that was cut", false, false, |place| cut(&segment(place, 0)), "bytes long"),
        ("a lock open to others", false, false, |place| open_to_others(&place.data_dir().join("lock")), "must be 0600"),
        ("what was synced is gone", false, false, |place| lose(place), "a start will hold it"),
        ("a manifest that is damaged", false, false, |place| damage_manifest(place), "manifest"),
        (
            "a manifest that is gone",
            false,
            false,
            |place| fs::remove_file(place.data_dir().join("manifest")).unwrap(),
            "manifest",
        ),
        ("a copy of the directory", false, false, |place| copy(place), "a start will hold it"),
        (
            "another application",
            false,
            false,
            |place| configure(place, "wait =", "application = \"echo\"\nwait ="),
            "the application cannot read its snapshot",
        ),
        ("a ring directory that is a file", false, false, |place| ring_dir_is_a_file(place), "not a directory"),
        (
            "a core that is not there",
            false,
            false,
            |place| configure(place, "wait =", "housekeeping_cores = [4000]\nwait ="),
            "core 4000",
        ),
        (
            "a session that names another journal",
            false,
            false,
            |place| configure(place, "[[session]]", "[[session]]\njournal = 1"),
            "journals 0 to 0",
        ),
    ];
    for (name, kills, starts, sabotage, what) in cases {
        let place = used(kills);
        if !starts {
            place.is_damaged("a start is refused, or held");
        }
        sabotage(&place);
        let said = check_and_run(name, &place, starts);
        assert!(said.contains(what), "{name}: {said}");
    }
}

fn open_to_others(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn link(path: &Path) {
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(path, &elsewhere).unwrap();
    symlink(&elsewhere, path).unwrap();
}

fn cut(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(1 << 19).unwrap();
}

/// The volume has lost what it had acknowledged, and the ring is gone too.
fn lose(place: &Place) {
    fs::remove_file(ring_of(place)).unwrap();
    let file = fs::File::options().write(true).open(segment(place, 0)).unwrap();
    file.write_all_at(&[0; 4096], 4096).unwrap();
}

fn damage_manifest(place: &Place) {
    fs::write(place.data_dir().join("manifest"), "nothing of ours").unwrap();
}

/// Its directories are born at another time.
fn copy(place: &Place) {
    let original = place.path().join("original");
    fs::rename(place.data_dir(), &original).unwrap();
    let done = Command::new("cp").args(["-a"]).args([&original, &place.data_dir()]).status().unwrap();
    assert!(done.success());
}

fn ring_dir_is_a_file(place: &Place) {
    fs::remove_dir_all(place.ring_dir()).unwrap();
    fs::write(place.ring_dir(), "").unwrap();
}

#[test]
fn check_finds_a_directory_a_ring_and_ports_that_are_in_use() {
    let place = Place::new(&SMALL);
    let control = free_port();
    configure(&place, "\"off\"", &format!("\"127.0.0.1:{control}\""));
    let _engine = place.start_ready();
    let check = || {
        let output = fixring(&["check", "--config", place.config().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(CONFIGURATION), "{}", said(&output));
        said(&output)
    };
    let text = check();
    for what in [&format!("{} is taken", place.port), &format!("{control} is taken"), "it is in use by process"] {
        assert!(text.contains(what), "{what}: {text}");
    }
    // The directory's lock is got round, not the ring's.
    fs::remove_file(place.data_dir().join("lock")).unwrap();
    assert!(check().contains("is in use by another process"), "{}", check());
}

// ---- what the system has no more of

/// Found in review: a journal without room and a lock without a descriptor ended with status 3, and
/// what to do about it was to name another directory.
#[test]
fn a_lack_of_descriptors_is_the_environment_s_wherever_it_strikes() {
    let place = Place::new(&SMALL);
    configure(&place, "\"off\"", &format!("\"127.0.0.1:{}\"", free_port()));
    let mut struck = BTreeMap::new();
    // From where the configuration and the log can be opened.
    for limit in 6..60 {
        let limit = format!("--nofile={limit}:{limit}");
        let mut command = Command::new("prlimit");
        command.args([&limit, env!("CARGO_BIN_EXE_fixring"), "run", "--config"]).arg(place.config());
        let mut engine = Running::of(command);
        let Err((status, log)) = until_started(&mut engine) else {
            assert!(struck.len() >= 4, "it strikes in the lock, a segment, a ring and a socket: {struck:#?}");
            return;
        };
        assert_eq!(status, Some(STORAGE), "{limit}: {log}");
        assert!(log.contains("ulimit -Hn"), "{limit}: {log}");
        let what = log.lines().last().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
        struck.insert(what, limit);
    }
    panic!("it never starts: {struck:#?}");
}

/// A command whose directory is a mount of its own.
fn over_mount(place: &Place, mounted: &Path, options: &str, command: &str) -> Option<Command> {
    fs::create_dir_all(mounted).unwrap();
    let namespace = ["--user", "--map-root-user", "--mount"];
    let mount = format!("mount -t tmpfs -o {options} tmpfs '{}'", mounted.display());
    let permitted = Command::new("unshare").args(namespace).args(["sh", "-c", &mount]).output();
    if !permitted.as_ref().is_ok_and(|output| output.status.success()) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {options}: no mount of its own is permitted: {permitted:?}");
        return None;
    }
    let fixring = env!("CARGO_BIN_EXE_fixring");
    let run = format!("{mount} && exec '{fixring}' {command} --config '{}'", place.config().display());
    let mut unshare = Command::new("unshare");
    unshare.args(namespace).args(["sh", "-c", &run]);
    Some(unshare)
}

#[test]
fn a_volume_without_room_or_read_only_is_the_environment_s_wherever_it_strikes_and_check_says_so() {
    let place = Place::new(&SMALL);
    let check = |mounted: &Path, options: &str| {
        over_mount(&place, mounted, options, "check").map(|mut command| command.output().unwrap())
    };
    // An inode for the directory itself, the lock, the manifest, and so on: each start gets one
    // further.
    for inodes in 1..30 {
        let options = format!("nr_inodes={inodes}");
        let (Some(checked), Some(run)) =
            (check(&place.data_dir(), &options), over_mount(&place, &place.data_dir(), &options, "run"))
        else {
            return;
        };
        let started = until_started(&mut Running::of(run));
        let expected = if started.is_ok() { 0 } else { CONFIGURATION };
        assert_eq!(checked.status.code(), Some(expected), "{inodes}: {started:?}: check: {}", said(&checked));
        let Err((status, log)) = started else {
            assert!(inodes > 7, "four segments, their directory, the lock and the manifest");
            break;
        };
        assert_eq!(status, Some(STORAGE), "{inodes}: {log}");
        assert!(log.contains("No space left") && log.contains("make room on the volume"), "{inodes}: {log}");
        assert!(inodes < 29, "{log}");
    }
    let data = place.data_dir();
    let rings = place.ring_dir();
    for (mounted, options, status, mend) in [
        (&data, "ro", STORAGE, "mount it for writing"),
        (&data, "size=1m", STORAGE, "persistence.segments"),
        (&rings, "ro", SHARED_MEMORY, "persistence.ring_dir is read-only"),
        (&rings, "nr_inodes=1", SHARED_MEMORY, "make room in persistence.ring_dir"),
        (&rings, "size=128k", SHARED_MEMORY, "lower persistence.ring_bytes"),
    ] {
        let (Some(checked), Some(run)) = (check(mounted, options), over_mount(&place, mounted, options, "run")) else {
            return;
        };
        assert_eq!(checked.status.code(), Some(CONFIGURATION), "{mounted:?} {options}: {}", said(&checked));
        let (ended, log) = Running::of(run).until_ended();
        assert_eq!(ended.code(), Some(status), "{mounted:?} {options}: {log}");
        assert!(log.contains(mend), "{mounted:?} {options}: {log}");
    }
}

/// Ready, or an error with the status and what was said: held has none.
fn until_started(engine: &mut Running) -> Result<(), (Option<i32>, String)> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let log = engine.log_text();
        if log.contains("\"ready\"") {
            return Ok(());
        }
        if log.contains("waiting for `fixring recover`") {
            return Err((None, log));
        }
        if engine.has_ended() {
            let (status, log) = engine.until_ended();
            return Err((status.code(), log));
        }
        assert!(Instant::now() < deadline, "{log}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// ---- files that are taken away

/// Found in review: an engine whose segments had been removed served on, ready, and the next start
/// had nothing.
#[test]
fn segments_and_rings_that_are_taken_away_under_an_engine_are_said_and_it_is_not_ready() {
    let place = Place::new(&SMALL);
    let control = free_port();
    configure(&place, "\"off\"", &format!("\"127.0.0.1:{control}\""));
    let mut engine = place.start_ready();
    let until_ready_says = |what: &str| {
        let deadline = Instant::now() + DEADLINE;
        while !get(control, "/readyz").contains(what) {
            assert!(Instant::now() < deadline, "{what}: {}", get(control, "/readyz"));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until_ready_says("200 OK");
    for path in [segment(&place, 2), ring_of(&place), place.data_dir().join("lock"), place.data_dir().join("journal-0")]
    {
        let elsewhere = place.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        until_ready_says("503");
        until_ready_says("was removed or moved away under the running engine");
        engine.until_logged("was removed or moved away under the running engine");
        assert!(!get(control, "/metrics").contains("fixring_files_missing 0"));
        fs::rename(&elsewhere, &path).unwrap();
        until_ready_says("200 OK");
        engine.until_logged("in their places again");
    }
    fs::copy(segment(&place, 1), place.path().join("copy")).unwrap();
    fs::rename(place.path().join("copy"), segment(&place, 1)).unwrap();
    until_ready_says("was replaced by another file");
    assert!(get(control, "/livez").contains("200 OK"));
    let mut client = log_on(&place, "DESK", "");
    assert_eq!(echo_of(&mut client, "DESK", 2), "again", "whoever is connected goes on");
    drop(client);
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
}

/// Found in review: a segment that was cut was noticed by nobody before the next start.
#[test]
fn a_segment_that_is_cut_under_an_engine_is_said_and_it_is_not_ready() {
    let place = Place::new(&SMALL);
    place.is_damaged("a segment is cut");
    let control = free_port();
    configure(&place, "\"off\"", &format!("\"127.0.0.1:{control}\""));
    let engine = place.start_ready();
    let said = "was cut to 524288 bytes under the running engine";
    let deadline = Instant::now() + DEADLINE;
    // A segment that is still being zero-written gets its length back, and is cut again.
    while !engine.log_text().contains(said) && Instant::now() < deadline {
        if fs::metadata(segment(&place, 3)).unwrap().len() > 1 << 19 {
            cut(&segment(&place, 3));
        }
        thread::sleep(Duration::from_millis(10));
    }
    engine.until_logged(said);
    let answer = get(control, "/readyz");
    assert!(answer.contains("503") && answer.contains("was cut to"), "{answer}");
}

// ---- a volume that does not answer

/// A library that holds up each fdatasync(2) of the engine while a file exists.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/operator/hang.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hang-{}.so", std::process::id()));
        let mut compile = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
        let output = compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
        let output = output.expect("a C compiler, which links Rust programs too");
        assert!(output.status.success(), "{}", said(&output));
        library
    })
}

fn start_that_may_hang(place: &Place) -> (Running, PathBuf) {
    let hangs = place.path().join("hangs");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["run", "--config"]).arg(place.config());
    command.env("LD_PRELOAD", library()).env("FIXRING_HANGS", &hangs);
    (Running::of(command), hangs)
}

/// Found in review: with a volume that hung, SIGTERM was waited for for ever.
#[test]
fn a_stop_over_a_volume_that_hangs_ends_with_status_4_and_loses_nothing() {
    for mode in ["buffered", "sync"] {
        let place = Place::new(&Setup { mode, ..SMALL });
        configure(&place, "wait =", "logout_timeout = \"200ms\"\nstop_timeout = \"300ms\"\nwait =");
        let (mut engine, hangs) = start_that_may_hang(&place);
        engine.until_ready();
        let mut client = log_on(&place, "DESK", "");
        assert_eq!(echo_of(&mut client, "DESK", 2), "again");
        fs::write(&hangs, "").unwrap();
        // In `sync` it is not answered, but it has come.
        assert!(client.send(&party("DESK").message("1", 3, "", "112=last|")));
        until_stored(&place, "in", 3);
        engine.terminate();
        let (status, log) = engine.until_ended();
        assert_eq!(status.code(), Some(STORAGE), "{mode}: {log}");
        for what in ["nothing has moved on the volume", "engine.stop_timeout", "cannot sync journal 0"] {
            assert!(log.contains(what), "{mode}: {log}");
        }
        fs::remove_file(&hangs).unwrap();
        drop(client);
        // The ring outlives its process, so nothing is lost in either mode: not the answers, nor
        // the Logout, nor what the counterparty has sent.
        let engine = place.start_ready();
        assert!(engine.log_text().contains("the ring was accepted"), "{mode}: {}", engine.log_text());
        let mut wire = Wire::connect(place.port).expect("a ready engine listens");
        assert!(wire.send(&party("DESK").message("A", 4, "", "98=0|108=30|")));
        let answer = until(&mut wire, "A");
        assert_eq!(answer.number(34), 5, "{mode}: {answer:?}");
        assert_eq!(echo_of(&mut wire, "DESK", 5), "again", "{mode}");
    }
}

#[test]
fn a_start_over_a_volume_that_hangs_or_a_directory_in_use_ends_at_sigterm() {
    let place = Place::new(&SMALL);
    let (mut engine, hangs) = start_that_may_hang(&place);
    engine.until_ready();
    engine.kill();
    fs::write(&hangs, "").unwrap();
    let (mut engine, _) = start_that_may_hang(&place);
    let lock = place.data_dir().join("lock");
    let deadline = Instant::now() + DEADLINE;
    while fs::read_to_string(&lock).unwrap_or_default().trim() != engine.pid().to_string() {
        assert!(Instant::now() < deadline, "it does not come as far as the lock: {}", engine.log_text());
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert!(status.code() == Some(0) && log.contains("stopped while starting"), "{status:?}: {log}");
    fs::remove_file(&hangs).unwrap();
    place.start_ready();
}

/// Found in review: a signal between the first worker's start and the end of the whole one ended
/// the process, without a Logout to whoever had logged on meanwhile.
#[test]
fn a_signal_while_the_workers_are_started_logs_out_who_has_logged_on() {
    let place = Place::new(&SMALL);
    configure(&place, "wait =", "workers = 2\nwait =");
    configure(&place, "target_comp_id = \"*\"", "target_comp_id = \"DESK\"\njournal = 0");
    configure(&place, "sender_comp_id = \"*\"", "sender_comp_id = \"VENUE\"");
    configure(&place, "begin_string = \"*\"", "begin_string = \"FIX.4.4\"");
    let hangs = place.path().join("hangs");
    fs::write(&hangs, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["run", "--config"]).arg(place.config());
    // The second worker's poll is not made before the file is gone; the first one runs.
    command.env("LD_PRELOAD", library()).env("FIXRING_HANGS_EPOLL", &hangs).env("FIXRING_HANGS_EPOLL_AT", "2");
    let mut engine = Running::of(command);
    let deadline = Instant::now() + DEADLINE;
    let mut client = loop {
        assert!(Instant::now() < deadline && !engine.has_ended(), "{}", engine.log_text());
        if let Some(client) = Wire::connect(place.port) {
            break client;
        }
    };
    assert!(client.send(&party("DESK").message("A", 1, "", "98=0|108=30|")));
    until(&mut client, "A");
    assert!(!engine.log_text().contains("\"ready\""), "the start has not ended");
    engine.terminate();
    while !engine.log_text().contains("stopping as soon as the start has ended") {
        assert!(Instant::now() < deadline && !engine.has_ended(), "{}", engine.log_text());
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(&hangs).unwrap();
    until(&mut client, "5");
    assert!(client.send(&party("DESK").message("5", 2, "", "")));
    let (status, log) = engine.until_ended();
    assert!(status.code() == Some(0) && log.contains("stopped cleanly"), "{status:?}: {log}");
}

// ---- cores and memory

/// Found in review: on its only core a worker that spun left nothing to its flusher.
#[test]
fn a_worker_that_would_spin_on_its_flusher_s_only_core_parks_and_says_so() {
    let place = Place::new(&Setup { mode: "sync", ..SMALL });
    configure(&place, "wait = \"park\"", "wait = \"spin\"");
    let own = core_affinity::get_core_ids().expect("the cores of this machine")[0].id.to_string();
    let fifo = ["chrt", "-f", "1"];
    let permitted = Command::new("chrt").args(["-f", "1", "true"]).status().is_ok_and(|status| status.success());
    if !permitted {
        let _ = writeln!(std::io::stderr(), "SKIPPED: SCHED_FIFO is not permitted here");
    }
    for policy in [&[][..], &fifo[..if permitted { 3 } else { 0 }]] {
        let mut command = Command::new("taskset");
        command.args(["-c", &own]).args(policy).arg(env!("CARGO_BIN_EXE_fixring")).args(["run", "--config"]);
        command.arg(place.config());
        let mut engine = Running::of(command);
        engine.until_ready();
        engine.until_logged("leaves none to their flushers");
        assert_eq!(engine.log_text().matches("leaves none to their flushers").count(), 1);
        let mut client = Wire::connect(place.port).expect("a ready engine listens");
        assert!(client.send(&party("DESK").message("A", 1, "", "98=0|108=30|141=Y|")));
        until(&mut client, "A");
        drop(client);
        engine.terminate();
        assert_eq!(engine.until_ended().0.code(), Some(0));
    }
    let config = place.config();
    let mut check = Command::new("taskset");
    check.args(["-c", &own, env!("CARGO_BIN_EXE_fixring"), "check", "--config"]).arg(config);
    assert!(said(&check.output().unwrap()).contains("leaves none to their flushers"));
}

/// Found in review: under a limit of memory the kernel ended the start without a word.
#[test]
fn a_start_that_does_not_fit_its_memory_says_how_much_it_needs_and_which_keys_change_it() {
    let place = Place::new(&SMALL);
    configure(&place, "\"256KiB\"", "\"64MiB\"");
    configure(&place, "\"1MiB\"", "\"64MiB\"");
    for limit in ["--as=134217728", "--data=33554432"] {
        let (status, log) = run_limited(&place, limit).until_ended();
        assert_eq!(status.code(), Some(STORAGE), "{limit}: {log}");
        for what in ["of memory are needed at least", "persistence.ring_bytes", "RLIMIT_"] {
            assert!(log.contains(what), "{limit}: {log}");
        }
    }
    assert!(!place.data_dir().exists(), "nothing was touched");
}

fn run_limited(place: &Place, limit: &str) -> Running {
    let mut command = Command::new("prlimit");
    command.args([limit, env!("CARGO_BIN_EXE_fixring"), "run", "--config"]).arg(place.config());
    Running::of(command)
}

/// What a refusal says is needed, in bytes, and the whole text.
fn needed(engine: &mut Running) -> (u64, String) {
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    let (figure, _) = log.lines().last().unwrap().split_once(" of memory are needed at least").expect(&log);
    let (number, unit) = figure.split_at(figure.find(|char: char| !char.is_ascii_digit()).unwrap());
    let shift = ["KiB", "MiB", "GiB"].iter().position(|known| *known == unit).expect(&log);
    (number.parse::<u64>().unwrap() << (10 * (shift + 1)), log)
}

/// Rings, what reads a segment at once and tables each weigh in one of these; the last has two
/// journals, whose segments are mapped.
const WEIGHTS: [(&str, &str, &str, &str); 3] = [
    ("\"32MiB\"", "\"32MiB\"", "fdatasync", "wait = "),
    ("\"256KiB\"", "\"64MiB\"", "fdatasync", "wait = "),
    ("\"1MiB\"", "\"16MiB\"", "msync", "workers = 2\nwait = "),
];

fn weighing((ring, segment, method, engine): (&str, &str, &str, &str)) -> Place {
    let place = Place::new(&SMALL);
    configure(&place, "\"1MiB\"", segment);
    configure(&place, "\"256KiB\"", ring);
    configure(&place, "\"fdatasync\"", &format!("{method:?}"));
    configure(&place, "wait = ", engine);
    place
}

/// Found in review: a start with the address space that it had asked for was aborted, or stood
/// still in the text of a panic.
#[test]
fn the_address_space_that_a_start_asks_for_is_enough() {
    for weights in WEIGHTS {
        let place = weighing(weights);
        // A limit that holds the program alone.
        let too_little = (60..150u64).rev().step_by(10).find_map(|mib| {
            let mut engine = run_limited(&place, &format!("--as={}", mib << 20));
            match until_started(&mut engine) {
                Ok(()) => engine.kill(),
                Err(_) => return Some(engine),
            }
            None
        });
        let (needed_bytes, log) = needed(&mut too_little.expect("some limit is too low"));
        assert_eq!(log.contains("\"msync\""), weights.2 == "msync", "{log}");
        let used = log.split_once("beside ").unwrap().1.split_once(' ').unwrap().0;
        let used: u64 = used.parse().expect(&log);
        // What is in use varies a little from start to start.
        let limit = used + needed_bytes + (1 << 20);
        // The second start reads what the first has left.
        for _ in 0..2 {
            let mut engine = run_limited(&place, &format!("--as={limit}"));
            engine.until_ready();
            engine.terminate();
            assert_eq!(engine.until_ended().0.code(), Some(0), "{}", engine.log_text());
        }
    }
}

/// A cgroup of the test's own with a limit of memory, or `None` where none may be made.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    fn new(limit_bytes: u64) -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own =
            |line: &str, start: &str| line.split_once(start).map(|(_, path)| path.trim_start_matches('/').to_owned());
        let one = cgroups.lines().find_map(|line| own(line, ":memory:"));
        let two = cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_start_matches('/'));
        let roots = [
            one.map(|path| (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")),
            two.map(|path| (Path::new("/sys/fs/cgroup").join(path), "memory.max")),
        ];
        roots.into_iter().flatten().find_map(|(root, file)| {
            let cgroup = Self(root.join(format!("fixring-test-{}-{limit_bytes}", std::process::id())));
            fs::create_dir(&cgroup.0).ok()?;
            fs::write(cgroup.0.join(file), limit_bytes.to_string()).ok()?;
            // Beyond the limit it ends, and is not swapped out.
            let _ = fs::write(cgroup.0.join("memory.swap.max"), "0");
            Some(cgroup)
        })
    }

    fn run(&self, place: &Place) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        command.args([env!("CARGO_BIN_EXE_fixring"), "run", "--config"]).arg(place.config());
        Running::of(command)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        // A process that has ended is in it for a moment.
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Found in review: a start with the memory that it had asked for was killed, since what recovery
/// reads was not counted.
#[test]
fn the_memory_that_a_start_asks_for_in_a_cgroup_is_enough() {
    for weights in WEIGHTS {
        let place = weighing(weights);
        let Some(small) = MemoryCgroup::new(20 << 20) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: no cgroup with a limit of memory may be made");
            return;
        };
        // Rings are counted where they are memory.
        let rings = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::set_permissions(rings.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let ring_dir = format!("ring_dir = {:?}", place.ring_dir());
        configure(&place, &ring_dir, &format!("ring_dir = {:?}", rings.path()));
        let (needed_bytes, log) = needed(&mut small.run(&place));
        assert!(log.contains("memory.") && !log.contains("msync"), "{log}");
        drop(small);
        let enough = MemoryCgroup::new(needed_bytes).expect("as before");
        for _ in 0..2 {
            let mut engine = enough.run(&place);
            engine.until_ready();
            let mut client = log_on(&place, "DESK", "");
            assert_eq!(echo_of(&mut client, "DESK", 2), "again");
            engine.kill();
            fs::remove_dir_all(place.data_dir()).unwrap();
            for ring in fs::read_dir(rings.path()).unwrap() {
                fs::remove_file(ring.unwrap().path()).unwrap();
            }
        }
    }
}

// ---- what the tests stand on

fn party(sender: &'static str) -> Party {
    Party { begin_string: "FIX.4.4", sender, target: "VENUE" }
}

fn log_on(place: &Place, sender: &'static str, header: &str) -> Wire {
    let mut wire = Wire::connect(place.port).expect("a ready engine listens");
    assert!(wire.send(&party(sender).message("A", 1, header, "98=0|108=30|")));
    until(&mut wire, "A");
    wire
}

/// A TestRequest's answer.
fn echo_of(wire: &mut Wire, sender: &'static str, msg_seq_num: u32) -> String {
    assert!(wire.send(&party(sender).message("1", msg_seq_num.into(), "", "112=again|")));
    until(wire, "0").get(112).unwrap_or_default().to_owned()
}

/// Waits until the journal has so many messages of this direction.
fn until_stored(place: &Place, direction: &str, count: usize) {
    let data_dir = place.data_dir();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let cat = fixring(&["journal", "cat", "--data-dir", data_dir.to_str().unwrap(), "--direction", direction]);
        if said(&cat).lines().count() >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{}", said(&cat));
    }
}

fn until(wire: &mut Wire, msg_type: &str) -> wire::Fields {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match wire.read(Duration::from_millis(100)) {
            Read1::Message(message) if message.msg_type() == msg_type => return message,
            Read1::Message(_) => {}
            Read1::Nothing => assert!(Instant::now() < deadline, "no {msg_type} comes"),
            Read1::End => panic!("the engine closed the connection"),
        }
    }
}

fn signal_of(engine: &Running, signal: &str) {
    let done = Command::new("kill").args([&format!("-{signal}"), &engine.pid().to_string()]).status().unwrap();
    assert!(done.success());
}

fn fixring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The body of an answer, and its head.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("health and metrics are served");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
