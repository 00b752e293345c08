//! `fixring journal` on real directories: what each command says beside a running engine, after it, and of a damaged directory.
//!
//! The mutations at the end take a seed (`FIXRING_SEED`), which is printed.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use engine::{Place, SMALL, Setup, forget_its_file};
use fixring::journal::inspect::repair::{Options, Plan, RepairError};
use fixring::journal::inspect::seek::{Wanted, seek};
use fixring::journal::inspect::status::status;
use fixring::journal::inspect::verify::verify;
use fixring::journal::inspect::{Directory, JournalReader, Next, Start};
use fixring::journal::{
    FileStorage, Geometry, Journal, Kind, Manifest, Mode, NewRecord, OpenError, RecoveredSession, Room, Settings, open,
};
use serde_json::Value;
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };
const SESSION: &str = "FIX.4.4:VENUE->DESK";

// ---- beside a running engine, and after

#[test]
fn a_running_engine_can_be_looked_at_with_every_command() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 1);
    trade(&mut client, 2, 40);

    let now = json(&journal(&place, "status", &["--json"], 0));
    assert_eq!((&now["is_running"], &now["pid"]), (&true.into(), &engine.pid().into()), "{now}");
    let session = &now["journals"][0]["sessions"][0];
    assert_eq!(session["session"], SESSION, "{now}");
    // A Logon and 40 orders, each answered.
    assert_eq!((&session["next_out"], &session["next_in"]), (&42.into(), &42.into()), "{now}");
    assert!(now["journals"][0]["ring"]["appended_position"].as_u64() > Some(0), "{now}");
    let last = &now["last_recovery"]["journals"][0];
    assert_eq!((&last["ring"], &last["end_position"]), (&"absent".into(), &0.into()), "{now}");

    let whole = json(&journal(&place, "verify", &["--json"], 0));
    assert_eq!((&whole["is_whole"], &whole["is_running"]), (&true.into(), &true.into()), "{whole}");

    let order = journal(&place, "cat", &["--direction", "in", "--field", "11=A-7", "--pretty"], 0);
    for part in ["ClOrdID(11) = A-7", "MsgType(35) = D  NEW_ORDER_SINGLE", "Side(54) = 1  BUY"] {
        assert!(order.contains(part), "{part}: {order}");
    }
    assert_eq!(order.matches("ClOrdID").count(), 1, "{order}");
    let lines = |more: &[&str]| journal(&place, "cat", more, 0).lines().count();
    assert_eq!(lines(&["--msg-type", "D,A", "--direction", "in"]), 41);
    assert_eq!(lines(&["--grep", r"\|11=A-1[0-9]\|", "--direction", "in"]), 10);
    assert_eq!(lines(&["--from", "1h", "--msg-type", "8"]), 40);
    assert_eq!(lines(&["--to", "1h"]), 0);
    assert_eq!(lines(&["--limit", "3"]), 3);
    assert_eq!(lines(&["--session", SESSION, "--journal", "0", "--direction", "out"]), 41);

    let found = journal(&place, "seek", &["--session", SESSION, "--direction", "out", "--from", "5", "--to", "7"], 0);
    let numbers: Vec<_> = found.lines().map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect();
    assert_eq!(numbers, ["5", "6", "7"], "{found}");
    let none = journal(&place, "seek", &["--session", SESSION, "--direction", "in", "--from", "900"], 2);
    assert!(none.contains("no such message"), "{none}");

    engine.terminate();
    engine.until_ended();
    let after = json(&journal(&place, "status", &["--json"], 0));
    assert_eq!((&after["is_running"], &after["pid"]), (&false.into(), &Value::Null), "{after}");
    let text = journal(&place, "status", &[], 0);
    for part in ["running             no", "appended", SESSION, "last recovery"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut again = place.start_ready();
    let told = json(&journal(&place, "status", &["--json"], 0));
    let last = &told["last_recovery"]["journals"][0];
    assert_eq!(last["clean_stop"], true, "{told}");
    assert_eq!(last["sessions"][0]["next_out"], after["journals"][0]["sessions"][0]["next_out"], "{told}");
    again.kill();
}

#[test]
fn tail_prints_the_last_messages_and_then_what_comes_even_over_a_restart() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 1);
    trade(&mut client, 2, 20);
    let last = journal(&place, "tail", &["-n", "2"], 0);
    assert_eq!(last.lines().count(), 2, "{last}");
    let told: Vec<_> = last.lines().map(|line| line.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(told, ["21 D", "21 8"], "{last}");
    assert_eq!(journal(&place, "tail", &["-n", "0"], 0), "");

    let mut follower = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["journal", "tail", "-f", "-n", "1", "--direction", "in", "--msg-type", "D", "--data-dir"])
        .arg(place.data_dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(follower.stdout.take().unwrap());
    let next_line = || lines.recv_timeout(DEADLINE).expect("a line comes");
    assert!(next_line().contains("|34=21|"));
    // More than the ring holds, so that it goes round while it is followed.
    trade(&mut client, 22, 700);
    for number in 22..722 {
        let line = next_line();
        assert!(line.contains(&format!("|34={number}|")), "{number}: {line}");
    }
    engine.kill();
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 722);
    trade(&mut client, 723, 3);
    for number in 723..726 {
        let line = next_line();
        assert!(line.contains(&format!("|34={number}|")), "{number}: {line}");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    engine.kill();
}

#[test]
fn exports_are_read_by_other_programs() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 1);
    trade(&mut client, 2, 3);
    engine.kill();
    let raw = fixring(&place, "export", &["--format", "fix", "--direction", "in"]).stdout;
    let messages: Vec<_> = String::from_utf8(raw).unwrap().split_inclusive("\x0110=").map(str::to_owned).collect();
    assert_eq!(messages.len(), 5, "four messages, and what follows the last 10=");
    let objects: Vec<Value> =
        journal(&place, "export", &["--format", "json", "--msg-type", "8"], 0).lines().map(json).collect();
    assert_eq!(objects.len(), 3);
    assert_eq!((&objects[0]["direction"], &objects[0]["session"]), (&"out".into(), &SESSION.into()));
    assert_eq!(objects[0]["fields"][2], json(r#"{"tag":35,"value":"8"}"#));
    let table = journal(&place, "export", &["--format", "csv"], 0);
    assert!(table.starts_with("time,session,direction,msg_seq_num,msg_type,flags,message\r\n"), "{table}");
    assert_eq!(table.lines().count(), 9, "{table}");
    let file = place.path().join("export.csv");
    let path = file.to_str().unwrap();
    assert_eq!(journal(&place, "export", &["--format", "csv", "--output", path], 0), "");
    assert_eq!(fs::read_to_string(&file).unwrap(), table);
    assert!(journal(&place, "export", &["--format", "csv", "--output", path], 2).contains("not there yet"));
}

#[test]
fn verify_beside_an_engine_that_laps_it_reports_no_damage() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 1);
    let mut number = 2;
    for _ in 0..12 {
        let verifier = Command::new(env!("CARGO_BIN_EXE_fixring"))
            .args(["journal", "verify", "--data-dir"])
            .arg(place.data_dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        trade(&mut client, number, 150);
        number += 150;
        let output = verifier.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    engine.kill();
    let told = journal(&place, "repair", &[], 0);
    assert!(told.contains("nothing stands in the way"), "{told}");
}

// ---- damage

/// What is damaged, what `verify` then answers, and how the engine would start on it as it is.
struct Damage {
    name: &'static str,
    with_ring: bool,
    does: fn(&Place, &Newest),
    /// A part of what `verify` says, and its status.
    verify: (&'static str, i32),
    starts: Outcome,
    /// A part of the plan; none where nothing stands in the way.
    plan: Option<&'static str>,
    /// Whether a start is held after the repair.
    is_held_then: bool,
    /// What is lost, so that the numbers go back.
    rolls_back: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Ready,
    /// Until `fixring recover` was called.
    Held,
    Refused(i32),
}

/// Where the journal's last segment and a record in its middle lie.
struct Newest {
    slot: u64,
    middle: u64,
    /// The segment before it.
    slot_before: u64,
    middle_before: u64,
}

const DAMAGES: [Damage; 12] = [
    Damage {
        name: "the head of the newest segment, and the ring still has it",
        with_ring: true,
        does: |place, newest| flip(&segment(place, newest.slot), 70),
        verify: ("no head of ours", 1),
        starts: Outcome::Ready,
        plan: Some("again, from the ring"),
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        name: "the head of the newest segment, without a ring",
        with_ring: false,
        does: |place, newest| flip(&segment(place, newest.slot), 200),
        verify: ("although whole commits follow it", 1),
        starts: Outcome::Held,
        plan: None,
        is_held_then: true,
        rolls_back: false,
    },
    Damage {
        name: "a record in the middle, and the ring still has it",
        with_ring: true,
        does: |place, newest| flip(&segment(place, newest.slot), newest.middle + 70),
        verify: ("the CRC of a record fails", 1),
        starts: Outcome::Ready,
        plan: Some("again, from the ring"),
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        name: "a record in the middle, without a ring",
        with_ring: false,
        does: |place, newest| flip(&segment(place, newest.slot), newest.middle + 70),
        verify: ("whole commits follow", 1),
        starts: Outcome::Held,
        plan: None,
        is_held_then: true,
        rolls_back: false,
    },
    Damage {
        name: "a page of zeros",
        with_ring: false,
        does: |place, newest| {
            let file = fs::File::options().write(true).open(segment(place, newest.slot)).unwrap();
            file.write_all_at(&[0; 4096], newest.middle & !4095).unwrap();
        },
        verify: ("are not whole", 1),
        starts: Outcome::Held,
        plan: None,
        is_held_then: true,
        rolls_back: false,
    },
    Damage {
        name: "a record of the segment before, which no start reads",
        with_ring: true,
        does: |place, newest| flip(&segment(place, newest.slot_before), newest.middle_before + 70),
        verify: ("the CRC of a record fails", 1),
        starts: Outcome::Ready,
        plan: None,
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        // Nobody is told of a segment number of fourteen digits.
        name: "the number in the head of a segment",
        with_ring: true,
        does: |place, newest| {
            let path = segment(place, newest.slot_before);
            let mut bytes = fs::read(&path).unwrap();
            bytes[64 + 32 + 5] ^= 0x40;
            fs::write(&path, bytes).unwrap();
        },
        verify: ("a head that is damaged, or of a data directory of other lengths", 1),
        starts: Outcome::Ready,
        plan: Some("its head is damaged"),
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        name: "whose a segment is",
        with_ring: true,
        does: |place, newest| {
            let path = segment(place, newest.slot_before);
            let mut bytes = fs::read(&path).unwrap();
            // Its uuid.
            bytes[64 + 16] ^= 1;
            fs::write(&path, bytes).unwrap();
        },
        verify: ("a head that is damaged", 1),
        starts: Outcome::Refused(3),
        plan: Some("move journal-0/segment-"),
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        name: "a segment that is cut off",
        with_ring: false,
        does: |place, newest| {
            let file = fs::File::options().write(true).open(segment(place, newest.slot)).unwrap();
            file.set_len(newest.middle).unwrap();
        },
        verify: ("are missing at its end", 1),
        starts: Outcome::Refused(3),
        plan: Some("WHAT WAS IN THE MISSING PART IS NOT KNOWN"),
        is_held_then: true,
        rolls_back: true,
    },
    Damage {
        name: "a segment that is missing",
        with_ring: true,
        does: |place, newest| fs::remove_file(segment(place, newest.slot_before)).unwrap(),
        verify: ("is missing", 1),
        starts: Outcome::Refused(4),
        plan: Some("make journal-0/segment-"),
        is_held_then: false,
        rolls_back: false,
    },
    Damage {
        name: "the manifest",
        with_ring: true,
        does: |place, _| flip(&place.data_dir().join("manifest"), 100),
        verify: ("is damaged", 3),
        starts: Outcome::Refused(3),
        plan: Some("write the manifest anew"),
        is_held_then: true,
        rolls_back: false,
    },
    Damage {
        name: "every head",
        with_ring: false,
        does: |place, _| (0..4).for_each(|slot| flip(&segment(place, slot), 70)),
        verify: ("no head of ours", 1),
        starts: Outcome::Refused(3),
        plan: Some("NO STATE IS LEFT"),
        is_held_then: true,
        rolls_back: true,
    },
];

#[test]
fn each_damage_is_told_by_verify_and_mended_by_repair_with_nothing_deleted() {
    // A ring as long as a segment, so that it may still have what a segment has lost.
    let place = Place::new(&Setup { ring_bytes: "256KiB", segment_bytes: "256KiB", ..SMALL });
    let mut engine = place.start_ready();
    let mut client = log_on(place.port, 1);
    trade(&mut client, 2, 700);
    // What a damage hits must be in a segment, and not in the ring alone.
    until_synced(&place);
    engine.kill();
    let before = json(&journal(&place, "status", &["--json"], 0));
    // The outgoing number goes on above the lease where messages are lost; only the other shows it.
    let next_in = |status: &Value| status["journals"][0]["sessions"][0]["next_in"].as_u64();
    let newest = newest_of(&place);
    let whole = place.path().join("whole");
    copy(&place.data_dir(), &whole);
    forget_its_file(&whole.join("manifest"));
    let whole_rings = place.path().join("whole-rings");
    copy(&place.ring_dir(), &whole_rings);
    for damage in DAMAGES {
        let name = damage.name;
        fs::remove_dir_all(place.ring_dir()).unwrap();
        put_back(&whole, &place.data_dir());
        fs::create_dir(place.ring_dir()).unwrap();
        if damage.with_ring {
            copy(&whole_rings, &place.ring_dir());
        }
        (damage.does)(&place, &newest);
        let damaged = contents(&place.data_dir());

        let verified = journal(&place, "verify", &[], damage.verify.1);
        assert!(verified.contains(damage.verify.0), "{name}: {verified}");
        match damage.starts {
            Outcome::Ready => {}
            Outcome::Held => {
                let mut engine = place.start();
                engine.until_logged("is held: ");
                engine.kill();
                // As if it had not been started: the repair shall see by itself that it has to be held.
                fs::copy(whole.join("manifest"), place.data_dir().join("manifest")).unwrap();
            }
            Outcome::Refused(expected) => {
                let (status, log) = place.start().until_ended();
                assert_eq!(status.code(), Some(expected), "{name}: {log}");
            }
        }
        let as_found = contents(&place.data_dir());
        let plan = journal(&place, "repair", &[], if damage.plan.is_some() { 2 } else { 0 });
        assert!(plan.contains(damage.plan.unwrap_or("nothing stands in the way")), "{name}: {plan}");
        assert_eq!(contents(&place.data_dir()), as_found, "{name}: a plan touches nothing");
        let done = journal(&place, "repair", &["--yes"], 0);
        nothing_is_gone(&damaged, &contents(&place.data_dir()), name);
        let again = journal(&place, "repair", &[], 0);
        assert!(again.contains("nothing stands in the way"), "{name}: {done}\n{again}");

        let mut engine = place.start();
        if damage.is_held_then {
            engine.until_logged("is held: ");
            engine.kill();
            free(&place);
            engine = place.start();
        }
        engine.until_ready();
        let after = json(&journal(&place, "status", &["--json"], 0));
        let went_back = next_in(&after) < next_in(&before);
        assert_eq!(went_back, damage.rolls_back, "{name}: {after}");
        if went_back && !plan.contains("NOT KNOWN") {
            assert!(plan.contains("ROLLS BACK"), "{name}: {plan}");
        }
        engine.kill();
    }
}

/// It was taken for a new journal, and every session began at number 1.
#[test]
fn a_first_segment_whose_head_is_damaged_is_not_taken_for_a_new_journal() {
    let place = Place::new(&SMALL);
    for _ in 0..2 {
        let mut engine = place.start_ready();
        engine.terminate();
        engine.until_ended();
    }
    flip(&segment(&place, 0), 100);
    let mut engine = place.start_ready();
    engine.until_logged("the ring had it, and it was written again");
    engine.kill();
    place.is_damaged("the head of its only segment is lost for good");
    flip(&segment(&place, 0), 100);
    fs::remove_dir_all(place.ring_dir()).unwrap();
    let (status, log) = place.start().until_ended();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("the head of segment-0.seg is not whole, although"), "{log}");
}

#[test]
fn repair_refuses_a_directory_in_use_and_a_manifest_without_the_ring_s_place() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    log_on(place.port, 1);
    let refused = journal(&place, "repair", &["--yes"], 3);
    assert!(refused.contains(&format!("process {}", engine.pid())), "{refused}");
    engine.kill();
    fs::remove_file(place.data_dir().join("manifest")).unwrap();
    let without = journal(&place, "repair", &["--yes"], 2);
    assert!(without.contains("--ring-bytes"), "{without}");
    let without = journal(&place, "repair", &["--yes", "--ring-bytes", "262144"], 2);
    assert!(without.contains("--ring-dir"), "{without}");
    let rings = place.ring_dir();
    let done =
        journal(&place, "repair", &["--yes", "--ring-bytes", "262144", "--ring-dir", rings.to_str().unwrap()], 0);
    assert!(done.contains("the directory is held: its manifest was made anew"), "{done}");
    free(&place);
    let mut engine = place.start_ready();
    let told = json(&journal(&place, "status", &["--json"], 0));
    assert_eq!(told["last_recovery"]["journals"][0]["ring"], "accepted", "{told}");
    engine.kill();
}

// ---- the library on small journals

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 128 << 10, segments: 4 };

fn settings(root: &Path) -> Settings {
    Settings {
        data_dir: root.join("data"),
        ring_dir: root.join("ring"),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: fixring::journal::FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    }
}

/// One session's outgoing messages.
fn send(journal: &mut Journal<FileStorage>, session: &mut RecoveredSession, count: u64) {
    for _ in 0..count {
        loop {
            match journal.writer.begin(1024) {
                Room::Ready => break,
                Room::Full => drop(journal.flusher.turn(0).unwrap()),
                Room::RollDue => {
                    if !journal.writer.roll(std::iter::once(session.state()), b"snapshot").unwrap() {
                        journal.flusher.turn(0).unwrap();
                    }
                }
            }
        }
        let new = NewRecord {
            session: session.number,
            msg_seq_num: session.next_out,
            previous: session.last_out,
            ..NewRecord::internal(Kind::Outbound, session.next_out)
        };
        let payload = format!("8=FIX.4.4\x0135=8\x0134={}\x0158={:0200}\x01", session.next_out, 0);
        session.last_out = journal.writer.append_bytes(new, payload.as_bytes()).unwrap();
        session.next_out += 1;
        journal.writer.commit(Mode::Buffered);
    }
}

fn new_session() -> RecoveredSession {
    RecoveredSession::new(0, b"FIX.4.4\x01VENUE\x01\x01\x01DESK\x01\x01")
}

#[test]
fn a_reader_that_is_lapped_says_so_and_goes_on_at_the_oldest_that_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open(&settings(root.path())).unwrap();
    let (journal, mut session) = (&mut opened.journals[0], new_session());
    send(journal, &mut session, 10);
    let directory = Directory::open(&root.path().join("data")).unwrap();
    let mut reader = JournalReader::new(&directory, 0, Start::Oldest).unwrap();
    reader.follow();
    let mut seen = 0;
    let read = |reader: &mut JournalReader, seen: &mut u64| loop {
        match reader.next().unwrap() {
            Next::Record(record) if record.header.kind == Kind::Outbound => {
                *seen += 1;
                assert_eq!(record.header.msg_seq_num, *seen);
            }
            Next::Record(_) => {}
            other => return other,
        }
    };
    assert!(matches!(read(&mut reader, &mut seen), Next::End));
    assert_eq!(seen, 10, "from the ring alone");
    send(journal, &mut session, 4_000);
    let Next::Skipped(skipped) = read(&mut reader, &mut seen) else { panic!("it is lapped, and says so") };
    assert!(skipped.overwritten && skipped.to > skipped.from, "{skipped:?}");
    // The first number behind the hole is whichever was stored there.
    loop {
        if let Next::Record(record) = reader.next().unwrap()
            && record.header.kind == Kind::Outbound
        {
            assert!(record.header.msg_seq_num > 11);
            seen = record.header.msg_seq_num;
            break;
        }
    }
    assert!(matches!(read(&mut reader, &mut seen), Next::End));
    assert_eq!(seen, 4_010);
    drop(opened);
}

#[test]
fn no_damage_makes_any_command_panic_or_loop_and_repair_loses_no_byte() {
    let seed = std::env::var("FIXRING_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    let _ = writeln!(std::io::stderr(), "FIXRING_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let root = tempfile::tempdir().unwrap();
    let mut opened = open(&settings(root.path())).unwrap();
    let mut session = new_session();
    send(&mut opened.journals[0], &mut session, 1_500);
    opened.journals[0].flusher.turn(1).unwrap();
    send(&mut opened.journals[0], &mut session, 5);
    drop(opened);
    let (data_dir, ring_dir) = (root.path().join("data"), root.path().join("ring"));
    let (whole, whole_rings) = (root.path().join("whole"), root.path().join("whole-rings"));
    copy(&data_dir, &whole);
    copy(&ring_dir, &whole_rings);
    let rounds: u32 = std::env::var("FIXRING_MUTATIONS").map_or(60, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        let name = format!("FIXRING_SEED={seed} round {round}");
        put_back(&whole, &data_dir);
        let _ = fs::remove_dir_all(&ring_dir);
        copy(&whole_rings, &ring_dir);
        if random.u8(..3) == 0 {
            fs::remove_dir_all(&ring_dir).unwrap();
        }
        for _ in 0..random.u32(1..6) {
            mutate(&data_dir, &ring_dir, &mut random);
        }
        look_at_everything(&data_dir);
        let damaged = contents(&data_dir);
        let options = Options { ring_bytes: Some(GEOMETRY.ring_bytes), ring_dir: Some(ring_dir.display().to_string()) };
        match Plan::make(&data_dir, &options) {
            Ok(plan) => {
                plan.apply(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
                let plan = Plan::make(&data_dir, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
                let left: Vec<_> = plan.steps.iter().map(|step| step.what.clone()).collect();
                assert!(left.is_empty(), "{name}: {left:?}");
                nothing_is_gone(&damaged, &contents(&data_dir), &name);
                match open(&settings(root.path())) {
                    Ok(_) | Err(OpenError::Held { .. }) => {}
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            // Without a head that says whose the directory is, or with a text that says something else in good order.
            Err(error) => {
                assert!(matches!(error, RepairError::Manifest(_) | RepairError::Directory(_)), "{name}: {error}")
            }
        }
        look_at_everything(&data_dir);
    }
}

fn mutate(data_dir: &Path, ring_dir: &Path, random: &mut fastrand::Rng) {
    let slot = random.u64(..u64::from(GEOMETRY.segments));
    let path = data_dir.join(format!("journal-0/segment-{slot}.seg"));
    let ring = fs::read_dir(ring_dir).ok().and_then(|mut entries| Some(entries.next()?.ok()?.path()));
    let path = match random.u8(..8) {
        0 => data_dir.join("manifest"),
        1 => ring.unwrap_or(path),
        2 => data_dir.join("recovery.json"),
        _ => path,
    };
    let Ok(mut bytes) = fs::read(&path) else { return };
    if bytes.is_empty() {
        return;
    }
    // Mostly where a head or a record's header is.
    let at = match random.u8(..3) {
        0 => random.usize(..bytes.len().min(512)),
        1 => random.usize(..bytes.len()) & !63,
        _ => random.usize(..bytes.len()),
    };
    match random.u8(..6) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes[at] = random.u8(..),
        2 => {
            let end = (at + random.usize(1..8192)).min(bytes.len());
            bytes[at..end].fill(0);
        }
        3 => {
            let end = (at + random.usize(1..256)).min(bytes.len());
            random.fill(&mut bytes[at..end]);
        }
        // Whole records where they do not belong.
        4 => {
            let from = random.usize(..bytes.len()) & !63;
            let length = random.usize(64..4096).min(bytes.len() - from).min(bytes.len() - (at & !63));
            bytes.copy_within(from..from + length, at & !63);
        }
        _ if path.extension().is_some_and(|extension| extension == "seg") => bytes.truncate(at),
        _ => bytes[at] ^= 0xff,
    }
    fs::write(&path, bytes).unwrap();
}

fn look_at_everything(data_dir: &Path) {
    let name = |identity: &[u8]| identity.escape_ascii().to_string();
    let Ok(directory) = Directory::open(data_dir) else { return };
    let told = status(&directory, &name).unwrap();
    serde_json::to_string(&told).unwrap();
    verify(&directory, None, &mut |_, _| {}).unwrap();
    for start in [Start::Oldest, Start::Time(700), Start::Segment(3)] {
        let mut reader = JournalReader::new(&directory, 0, start).unwrap();
        while !matches!(reader.next().unwrap(), Next::End) {}
    }
    for outbound in [true, false] {
        let wanted = Wanted { outbound, from: 1_000, to: 1_400, epoch: None };
        if let Some(found) = seek(&directory, |_| true, wanted).unwrap() {
            assert!(found.records().all(|record| record.is_ok()));
        }
    }
}

// ---- helpers

/// Every byte that was there is where it was, or in quarantine.
fn nothing_is_gone(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>, name: &str) {
    let is_kept = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("quarantine"));
    let mut kept: Vec<&[u8]> = after.iter().filter(|(path, _)| is_kept(path)).map(|(_, bytes)| &bytes[..]).collect();
    kept.sort_by_key(|bytes| bytes.len());
    for (path, old) in before {
        // A manifest that was whole says afterwards that the directory is held.
        let is_whole = path.ends_with("manifest") && Manifest::of_text(old).is_ok();
        if path.ends_with("lock") || is_whole {
            continue;
        }
        let now = after.get(path).map_or(&[][..], Vec::as_slice);
        let first =
            old.iter().zip(now).position(|(old, now)| old != now).or((now.len() < old.len()).then_some(now.len()));
        let Some(first) = first else { continue };
        let last = (first..old.len()).rev().find(|at| now.get(*at) != Some(&old[*at])).unwrap_or(first);
        let changed = &old[first..=last];
        let is_there = kept
            .iter()
            .any(|bytes| bytes.len() >= changed.len() && bytes.windows(changed.len()).any(|part| part == changed));
        assert!(is_there, "{name}: {} changed bytes of {path:?} are not in quarantine", changed.len());
    }
}

fn newest_of(place: &Place) -> Newest {
    let status = json(&journal(place, "status", &["--json"], 0));
    let state = status["journals"][0]["state_position"].as_u64().unwrap();
    let segment_bytes = status["segment_bytes"].as_u64().unwrap();
    let directory = Directory::open(&place.data_dir()).unwrap();
    let middle = |segment: u64| {
        let mut reader = JournalReader::new(&directory, 0, Start::Segment(segment)).unwrap();
        let mut positions = Vec::new();
        while let Next::Record(record) = reader.next().unwrap() {
            if record.position / segment_bytes != segment {
                break;
            }
            positions.push(record.position);
        }
        assert!(positions.len() > 50, "a segment with something in it");
        positions[positions.len() / 2] % segment_bytes
    };
    let segment = state / segment_bytes;
    Newest {
        slot: segment % 4,
        middle: middle(segment),
        slot_before: (segment - 1) % 4,
        middle_before: middle(segment - 1),
    }
}

fn segment(place: &Place, slot: u64) -> PathBuf {
    place.data_dir().join(format!("journal-0/segment-{slot}.seg"))
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x5a], offset).unwrap();
}

/// With the modes of its files, which are for their owner alone.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// In place: a directory that is made anew is known for a copy.
fn put_back(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        match (path.is_dir(), from.join(name).exists()) {
            (true, true) => put_back(&from.join(name), &path),
            (true, false) => fs::remove_dir_all(&path).unwrap(),
            (false, _) => fs::remove_file(&path).unwrap(),
        }
    }
    copy(from, to);
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn log_on(port: u16, number: u64) -> Wire {
    let mut wire = Wire::connect(port).expect("a ready engine listens");
    assert!(wire.send(&PARTY.message("A", number, "", "98=0|108=3600|")));
    assert_eq!(next(&mut wire).msg_type(), "A");
    wire
}

/// Orders with these numbers, each answered before the next.
fn trade(client: &mut Wire, first: u64, count: u64) {
    for number in first..first + count {
        let body = format!("11=A-{number}|55=FIXR|54=1|60=20260105-00:00:00|38=5|40=2|44=1.5|");
        assert!(client.send(&PARTY.message("D", number, "", &body)));
        assert_eq!(next(client).get(11), Some(&format!("A-{number}")[..]));
    }
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

fn lines_of(output: std::process::ChildStdout) -> std::sync::mpsc::Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn fixring(place: &Place, command: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["journal", command, "--data-dir"])
        .arg(place.data_dir())
        .args(more)
        .output()
        .unwrap()
}

/// What it prints, errors behind the rest; it ends with this status.
fn journal(place: &Place, command: &str, more: &[&str], status: i32) -> String {
    let output = fixring(place, command, more);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(status), "{command} {more:?}: {text}");
    text
}

/// The operator says that the numbers are right as they stand.
fn free(place: &Place) {
    let recover = ["recover", "--restored", "--keep-numbers", "--config"];
    let freed = Command::new(env!("CARGO_BIN_EXE_fixring")).args(recover).arg(place.config()).output().unwrap();
    assert!(freed.status.success(), "{}", String::from_utf8_lossy(&freed.stderr));
}

/// Waits until the volume has everything that the engine has appended.
fn until_synced(place: &Place) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status = json(&journal(place, "status", &["--json"], 0));
        let ring = &status["journals"][0]["ring"];
        if ring["synced_position"] == ring["appended_position"] {
            return;
        }
        assert!(Instant::now() < deadline, "{ring}");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
