//! A data directory that is older than its last use is held until the operator has spoken, and its sessions then go on without a reset:
//! the real binary, with a copy of the directory put back in its place.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use engine::{Place, Running, SMALL, Setup, free_port};
use fixring::journal::{
    Decision, FileStorage, Geometry, Kind, Mode, NewRecord, Recovered, RecoveredSession, Room, Said, Settings,
    Standings, decide, open, why_held,
};
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const FAILED: i32 = 1;
const CONFIGURATION: i32 = 2;
const DATA_DIRECTORY: i32 = 3;

const SESSION: &str = "FIX.4.4:VENUE->DESK";

/// The counterparty: it remembers both numbers and never resets.
struct Desk {
    party: Party,
    wire: Option<Wire>,
    next_out: u64,
    expected: u64,
}

impl Desk {
    fn new(sender: &'static str) -> Self {
        let party = Party { begin_string: "FIX.4.4", sender, target: "VENUE" };
        Self { party, wire: None, next_out: 1, expected: 1 }
    }

    /// Sends a Logon(A); the answer, whatever it is.
    fn connect(&mut self, port: u16) -> Fields {
        self.wire = Wire::connect(port);
        assert!(self.wire.is_some(), "a ready engine listens");
        self.send("A", "98=0|108=3600|");
        self.next()
    }

    /// The answer is in order.
    fn log_on(&mut self, port: u16) {
        let answer = self.connect(port);
        assert_eq!((answer.msg_type(), answer.number(34)), ("A", self.expected), "{answer:?}");
        assert!(!answer.is_set(141), "no reset: {answer:?}");
        self.expected += 1;
    }

    fn send(&mut self, msg_type: &str, body: &str) {
        assert!(self.wire.as_mut().unwrap().send(&self.party.message(msg_type, self.next_out, "", body)));
        self.next_out += 1;
    }

    /// TestRequests, each answered in order.
    fn talk(&mut self, count: u32) {
        for at in 0..count {
            self.send("1", &format!("112=T{at}|"));
            let answer = self.next();
            assert_eq!((answer.msg_type(), answer.number(34)), ("0", self.expected), "{answer:?}");
            assert_eq!(answer.get(112), Some(format!("T{at}").as_str()));
            self.expected += 1;
        }
    }

    /// Answers the engine's ResendRequest(2): there was nothing but administrative messages.
    fn fill(&mut self, request: &Fields) {
        assert_eq!(request.msg_type(), "2", "{request:?}");
        let begin = request.number(7);
        let time = wire::utc_now();
        let body = format!("123=Y|36={}|", self.next_out);
        let fill = self.party.message("4", begin, &format!("43=Y|122={time}|"), &body);
        assert!(self.wire.as_mut().unwrap().send(&fill));
    }

    fn next(&mut self) -> Fields {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.wire.as_mut().unwrap().read(Duration::from_millis(100)) {
                Read1::Message(message) => return message,
                Read1::Nothing => assert!(Instant::now() < deadline, "nothing comes"),
                Read1::End => panic!("the engine closed the connection"),
            }
        }
    }

    fn until_closed(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while !matches!(self.wire.as_mut().unwrap().read(Duration::from_millis(100)), Read1::End) {
            assert!(Instant::now() < deadline, "the engine does not close");
        }
        self.wire = None;
    }
}

/// A place whose health can be asked for.
fn place() -> (Place, u16) {
    let place = Place::new(&SMALL);
    let control = free_port();
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replace("listen = \"off\"", &format!("listen = \"127.0.0.1:{control}\""));
    fs::write(place.config(), text.replace("allow_tmpfs = true", "allow_tmpfs = true\nsequence_gap_max = 64")).unwrap();
    (place, control)
}

/// The parties talk, the directory is copied, they go on, the engine dies, and the copy is put back.
fn restored(desks: &mut [&mut Desk]) -> (Place, u16) {
    let (place, control) = place();
    let mut engine = place.start_ready();
    for desk in desks.iter_mut() {
        desk.log_on(place.port);
        desk.talk(3);
        desk.wire = None;
    }
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    let copy = place.path().join("copy");
    copy_directory(&place.data_dir(), &copy);
    let mut engine = place.start_ready();
    for desk in desks.iter_mut() {
        desk.log_on(place.port);
        // More than a lease reserves.
        desk.talk(1_000);
    }
    engine.kill();
    fs::remove_dir_all(place.data_dir()).unwrap();
    fs::rename(copy, place.data_dir()).unwrap();
    (place, control)
}

fn copy_directory(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a"]).arg(from).arg(to).status().expect("cp runs");
    assert!(status.success());
}

fn request(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Starts the engine and waits until it says that it is held.
fn start_held(place: &Place, control: u16) -> Running {
    let engine = place.start();
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "{}", engine.log_text());
        match request(control, "/readyz") {
            Some((503, reason)) if reason.starts_with("held") => return engine,
            Some((200, _)) => panic!("ready:\n{}", engine.log_text()),
            // It is starting.
            _ => std::thread::yield_now(),
        }
    }
}

fn recover(place: &Place, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["recover", "--config"]).arg(place.config()).args(more).output().unwrap()
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn assert_status(output: &Output, status: i32) -> String {
    let text = text_of(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    text
}

#[test]
fn an_older_copy_is_held_and_goes_on_with_the_numbers_that_the_operator_says() {
    let mut desk = Desk::new("DESK");
    let (place, control) = restored(&mut [&mut desk]);
    let engine = start_held(&place, control);
    assert_eq!(request(control, "/livez").unwrap().0, 200);
    assert!(request(control, "/readyz").unwrap().1.contains("fixring recover --restored"));
    let metrics = request(control, "/metrics").unwrap().1;
    assert!(metrics.contains("\nfixring_held 1\n") && metrics.contains("\nfixring_ready 0\n"), "{metrics}");
    assert!(Wire::connect(place.port).is_none(), "a held engine takes no session over");
    engine.until_logged("older copy");

    // Neither the numbers nor a start without the operator's word that it is restored.
    let numbers =
        ["--session", SESSION, "--next-out", &desk.expected.to_string(), "--next-in", &desk.next_out.to_string()];
    let refused = assert_status(&recover(&place, &numbers), DATA_DIRECTORY);
    assert!(refused.contains("is held"), "{refused}");
    let listed = assert_status(&recover(&place, &["--restored"]), FAILED);
    assert!(listed.contains(SESSION) && listed.contains("undecided") && listed.contains("executed again"), "{listed}");
    let check = Command::new(env!("CARGO_BIN_EXE_fixring")).args(["check", "--config"]).arg(place.config()).output();
    assert!(text_of(&check.unwrap()).contains("it is held: "));
    assert_eq!(request(control, "/readyz").unwrap().0, 503);

    let freed = assert_status(&recover(&place, &[&["--restored"], &numbers[..]].concat()), 0);
    assert!(freed.contains("not held"), "{freed}");
    engine.until_ready();
    assert_eq!(request(control, "/readyz").unwrap().0, 200);
    desk.log_on(place.port);
    desk.talk(3);
    // What was stated counts for later starts too.
    drop(engine);
    let _engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(1);
    place.assert_whole();
}

#[test]
fn the_next_number_comes_from_the_peers_logout_also_after_a_restart() {
    let mut desk = Desk::new("DESK");
    let (place, _) = restored(&mut [&mut desk]);
    let said = assert_status(&recover(&place, &["--restored", "--from-peer"]), 0);
    assert!(said.contains("next out from the peer"), "{said}");
    let mut engine = place.start_ready();
    engine.kill();
    let mut engine = place.start_ready();
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));

    let engine = place.start_ready();
    let answer = desk.connect(place.port);
    assert_eq!(answer.msg_type(), "A");
    let (expected, received) = (desk.expected, answer.number(34));
    assert!(received < expected, "the copy is older: {answer:?}");
    // It has lost our messages too, and asks for them.
    let request = desk.next();
    desk.fill(&request);
    desk.send("5", &format!("58=MsgSeqNum too low, expecting {expected} but received {received}|"));
    desk.until_closed();
    desk.log_on(place.port);
    desk.talk(2);
    engine.until_logged("goes on with the number that the peer expects");
    place.assert_whole();
}

#[test]
fn a_directory_is_held_until_each_session_has_been_spoken_of() {
    let (mut desk, mut other) = (Desk::new("DESK"), Desk::new("OTHER"));
    let (place, control) = restored(&mut [&mut desk, &mut other]);
    let engine = start_held(&place, control);
    let of = |desk: &Desk| [desk.expected.to_string(), desk.next_out.to_string()];
    let [next_out, next_in] = of(&desk);
    let one = ["--restored", "--session", SESSION, "--next-out", &next_out, "--next-in", &next_in];
    let still = assert_status(&recover(&place, &one), FAILED);
    assert!(still.contains("  decided") && still.contains("undecided"), "{still}");
    let [next_out, next_in] = of(&other);
    let two = ["--restored", "--session", "FIX.4.4:VENUE->OTHER", "--next-out", &next_out, "--next-in", &next_in];
    assert_status(&recover(&place, &two), 0);
    engine.until_ready();
    for desk in [&mut desk, &mut other] {
        desk.log_on(place.port);
        desk.talk(1);
    }
}

/// It was said to hold segments but no manifest.
#[test]
fn a_directory_that_is_not_there_or_none_of_ours_is_said_to_be_so_and_nothing_is_made() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("empty")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for (name, what) in [("gone", "does not exist"), ("empty", "holds no data directory"), ("file", "is no directory")]
    {
        for more in [&[][..], &["--restored", "--hold"], &["--restored", "--keep-numbers"]] {
            let mut recover = Command::new(env!("CARGO_BIN_EXE_fixring"));
            recover.args(["recover", "--data-dir"]).arg(root.path().join(name)).args(more);
            let text = assert_status(&recover.output().unwrap(), DATA_DIRECTORY);
            assert!(text.contains(what) && text.contains("name the directory that engine.data_dir names"), "{text}");
        }
    }
    assert!(!root.path().join("gone").exists());
    assert_eq!(fs::read_dir(root.path().join("empty")).unwrap().count(), 0);
}

#[test]
fn an_operator_holds_a_directory_and_frees_it_with_the_numbers_as_they_stand() {
    let (place, control) = place();
    let mut desk = Desk::new("DESK");
    let engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(2);
    // In use: nothing of this is possible.
    assert_status(&recover(&place, &["--restored", "--keep-numbers"]), DATA_DIRECTORY);
    assert_status(&recover(&place, &["--restored", "--hold"]), DATA_DIRECTORY);
    desk.talk(1);
    drop(engine);
    assert_status(&recover(&place, &["--restored", "--hold"]), FAILED);
    let engine = start_held(&place, control);
    assert_status(&recover(&place, &["--restored", "--keep-numbers"]), 0);
    engine.until_ready();
    desk.log_on(place.port);
    desk.talk(1);
}

#[test]
fn the_numbers_of_an_ordinary_stopped_directory_can_be_set() {
    let (place, _) = place();
    let mut desk = Desk::new("DESK");
    let mut engine = place.start_ready();
    desk.log_on(place.port);
    engine.kill();
    let set = ["--session", SESSION, "--next-out", "500", "--next-in", "700"];
    let wrong: [&[&str]; 6] = [
        &["--session", "FIX.4.4:VENUE->NOBODY", "--next-out", "1", "--next-in", "1"],
        &["--session", SESSION],
        &["--session", SESSION, "--next-out", "5"],
        &["--session", SESSION, "--next-out", "0", "--next-in", "1"],
        &[&set[..], &set].concat(),
        &["--keep-numbers"],
    ];
    for arguments in wrong {
        assert_status(&recover(&place, arguments), CONFIGURATION);
    }
    let said = assert_status(&recover(&place, &set), 0);
    assert!(said.contains("500") && said.contains("700"), "{said}");
    let _engine = place.start_ready();
    (desk.expected, desk.next_out) = (500, 700);
    desk.log_on(place.port);
    desk.talk(2);
    let missing = place.path().join("missing");
    let output = recover(&place, &["--data-dir", missing.to_str().unwrap()]);
    assert_status(&output, DATA_DIRECTORY);
}

/// A session in `sync` that has talked; the engine was killed, or stopped in order.
fn talked(is_stopped: bool) -> (Place, u16, Desk) {
    let control = free_port();
    let place = Place::new(&Setup { mode: "sync", ..SMALL });
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("listen = \"off\"", &format!("listen = \"127.0.0.1:{control}\""))).unwrap();
    let mut desk = Desk::new("DESK");
    let mut engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(200);
    if is_stopped {
        engine.terminate();
        // Its Logout.
        desk.expected += 1;
        assert_eq!(engine.until_ended().0.code(), Some(0));
    } else {
        engine.kill();
    }
    (place, control, desk)
}

/// Changes the first segment: `change` gets what it holds.
fn damage(place: &Place, change: impl FnOnce(&mut Vec<u8>)) {
    let path = place.data_dir().join("journal-0/segment-0.seg");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

/// Where a record lies that is about the tenth of the session.
const EARLY: usize = 4_096 + 1_024;

/// 207 numbers had left, one bit was flipped, and the next Logon had number 4.
#[test]
fn a_bit_that_the_volume_has_lost_is_read_from_the_ring() {
    for is_stopped in [false, true] {
        for at in [100, 200, EARLY] {
            let (place, control, mut desk) = talked(is_stopped);
            damage(&place, |bytes| bytes[at] ^= 4);
            let engine = place.start_ready();
            engine.until_logged("the volume has lost what was synced to it");
            let metrics = request(control, "/metrics").unwrap().1;
            let healed =
                metrics.lines().find_map(|line| line.strip_prefix("fixring_recovery_healed_bytes{journal=\"0\"} "));
            assert!(healed.unwrap_or_else(|| panic!("{metrics}")).parse::<u64>().unwrap() > 0, "{metrics}");
            desk.log_on(place.port);
            desk.talk(2);
            drop(engine);
            // It is whole again.
            let engine = place.start_ready();
            desk.log_on(place.port);
            assert!(!engine.log_text().contains("the volume has lost"), "{}", engine.log_text());
            drop(engine);
        }
    }
}

#[test]
fn a_bit_that_is_lost_for_good_holds_the_directory_and_recover_knows_what_is_proven() {
    for is_stopped in [false, true] {
        let (place, control, mut desk) = talked(is_stopped);
        damage(&place, |bytes| bytes[EARLY] ^= 4);
        fs::remove_dir_all(place.ring_dir()).unwrap();
        let engine = start_held(&place, control);
        engine.until_logged("cannot be read from position");
        let reason = request(control, "/readyz").unwrap().1;
        assert!(reason.contains("cannot be read from position"), "{reason}");
        assert!(engine.log_text().contains("\"ERROR\""), "{}", engine.log_text());
        let check =
            Command::new(env!("CARGO_BIN_EXE_fixring")).args(["check", "--config"]).arg(place.config()).output();
        assert!(text_of(&check.unwrap()).contains("it is held: journal 0 cannot be read"));
        let shown = assert_status(&recover(&place, &["--restored"]), FAILED);
        assert!(shown.contains(&format!("  {}  ", desk.expected)), "{} is proven: {shown}", desk.expected);
        assert_status(&recover(&place, &["--restored", "--keep-numbers"]), 0);
        engine.until_ready();
        desk.log_on(place.port);
        desk.talk(2);
        drop(engine);
        let _engine = place.start_ready();
        desk.log_on(place.port);
    }
}

/// 49 of 80 such starts were ready with all sessions at number 1.
#[test]
fn random_bytes_in_the_head_of_the_only_segment_never_begin_at_number_1() {
    let (place, _, mut desk) = talked(false);
    let whole = fs::read(place.data_dir().join("journal-0/segment-0.seg")).unwrap();
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let at = random.usize(..512 - 64);
        damage(&place, |bytes| {
            bytes[..4_096].copy_from_slice(&whole[..4_096]);
            random.fill(&mut bytes[at..at + 64]);
        });
        let engine = place.start_ready();
        desk.log_on(place.port);
        drop(engine);
    }
    // Without a ring nothing but the records behind tells.
    damage(&place, |bytes| bytes[..64].fill(0x5a));
    fs::remove_dir_all(place.ring_dir()).unwrap();
    let (status, log) = place.start().until_ended();
    assert_eq!(status.code(), Some(DATA_DIRECTORY), "{log}");
    let repaired = Command::new(env!("CARGO_BIN_EXE_fixring"))
        .args(["journal", "repair", "--yes", "--data-dir"])
        .arg(place.data_dir())
        .output()
        .unwrap();
    assert!(text_of(&repaired).contains("the directory is held"), "{}", text_of(&repaired));
    let held = place.start();
    held.until_logged("is held: journal 0 was repaired");
}

/// 621 numbers had left, and the copy of the same start went on at 22.
#[test]
fn a_copy_of_the_same_start_goes_on_by_the_ring_or_is_held() {
    for keeps_ring in [true, false] {
        let control = free_port();
        let place = Place::new(&Setup { mode: "sync", ..SMALL });
        let text = fs::read_to_string(place.config()).unwrap();
        fs::write(place.config(), text.replace("listen = \"off\"", &format!("listen = \"127.0.0.1:{control}\"")))
            .unwrap();
        let mut desk = Desk::new("DESK");
        let mut engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(20);
        let files = (0..4).map(|slot| place.data_dir().join(format!("journal-0/segment-{slot}.seg")));
        let copy: Vec<_> = files.map(|path| (fs::read(&path).unwrap(), path)).collect();
        // Beyond what the ring holds, in the second round.
        desk.talk(if keeps_ring { 300 } else { 1_200 });
        engine.kill();
        // In place, so that the directories do not tell.
        copy.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
        if keeps_ring {
            let _engine = place.start_ready();
            desk.log_on(place.port);
            desk.talk(1);
        } else {
            place.is_damaged("it is held for what the copy lacks and its ring does not have any more");
            let engine = start_held(&place, control);
            engine.until_logged("the ring says that it was synced up to");
        }
    }
}

/// One journal of three segments, under this directory.
fn tiny_journal(root: &Path) -> Settings {
    Settings {
        data_dir: root.join("data"),
        ring_dir: root.join("ring"),
        geometry: Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 3 },
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: fixring::journal::FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    }
}

/// Where a segment ends just there, its head takes the application's state as of now, not as of the
/// head before.
#[test]
fn numbers_that_need_a_new_segment_bring_the_applications_state_along() {
    let root = tempfile::tempdir().unwrap();
    let settings = tiny_journal(root.path());
    let mut opened = open(&settings).unwrap();
    let journal = &mut opened.journals[0];
    assert_eq!(journal.writer.begin(64), Room::RollDue);
    let session = RecoveredSession {
        next_out: 7,
        next_in: 9,
        epoch: 1,
        ..RecoveredSession::new(0, b"FIX.4.4\x01VENUE\x01\x01\x01DESK\x01\x01")
    };
    assert_eq!(journal.writer.roll(std::iter::once(session.state()), b"old"), Ok(true));
    // To the last record that fits the segment.
    while journal.writer.appended() < settings.geometry.segment_bytes - 64 {
        assert_eq!(journal.writer.begin(64), Room::Ready);
        journal.writer.append_bytes(NewRecord::internal(Kind::Replay, 0), b"").unwrap();
        journal.writer.commit(Mode::Buffered);
        journal.flusher.drain(0).unwrap();
    }
    drop(opened);
    let said = [Said { journal: 0, number: 0, decision: Decision::Numbers { next_out: 70, next_in: 90 } }];
    let mut records = 0;
    let snapshot = |recovered: &Recovered<FileStorage>| {
        let mut replay = recovered.replay();
        while replay.next().map_err(|error| error.to_string())?.is_some() {
            records += 1;
        }
        Ok(b"new".to_vec())
    };
    decide(&settings, &said, true, 5_000_000_000, snapshot, |_, _, _, _| Ok(())).unwrap();
    assert!(records > 900, "{records}");
    assert_eq!(why_held(&settings.data_dir).unwrap(), None);
    let standings = Standings::read(&settings.data_dir, None).unwrap();
    let now = &standings.sessions[0].session;
    assert_eq!((now.next_out, now.next_in, now.epoch, now.began_s), (70, 90, 2, 5));
    let opened = open(&settings).unwrap();
    assert_eq!(opened.journals[0].recovered.snapshot, b"new");
    assert!(opened.journals[0].recovered.report.clean_stop);
}

/// Sessions of a template lived as long as the data directory.
#[test]
fn a_session_that_is_forgotten_frees_its_place_and_begins_anew_if_it_returns() {
    let (place, _) = place();
    let text = fs::read_to_string(place.config()).unwrap();
    fs::write(place.config(), text.replace("template_sessions_max = 16", "template_sessions_max = 2")).unwrap();
    let [mut desk, mut other, mut late] = ["DESK", "OTHER", "LATE"].map(Desk::new);
    let mut engine = place.start_ready();
    for desk in [&mut desk, &mut other] {
        desk.log_on(place.port);
        desk.talk(3);
        desk.wire = None;
    }
    late.wire = Wire::connect(place.port);
    late.send("A", "98=0|108=3600|");
    late.until_closed();
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));

    assert_status(&recover(&place, &["--forget", "FIX.4.4:VENUE->NOBODY"]), CONFIGURATION);
    let said = assert_status(&recover(&place, &["--forget", SESSION]), 0);
    assert!(!said.contains(SESSION) && said.contains("OTHER"), "{said}");
    assert_status(&recover(&place, &["--forget", SESSION]), CONFIGURATION);

    // Over a crash, with and without the ring, and past a segment's head.
    late = Desk::new("LATE");
    for round in 0..3 {
        let mut engine = place.start_ready();
        late.log_on(place.port);
        late.talk(2_000);
        other.log_on(place.port);
        other.talk(3);
        (late.wire, other.wire) = (None, None);
        match round {
            0 => engine.kill(),
            _ => {
                engine.terminate();
                assert_eq!(engine.until_ended().0.code(), Some(0));
            }
        }
        let said = assert_status(&recover(&place, &[]), 0);
        assert!(!said.contains(SESSION) && said.contains("LATE"), "{said}");
        if round == 1 {
            fs::remove_dir_all(place.ring_dir()).unwrap();
            fs::create_dir(place.ring_dir()).unwrap();
        }
    }

    assert_status(&recover(&place, &["--forget", "FIX.4.4:VENUE->LATE"]), 0);
    let _engine = place.start_ready();
    desk = Desk::new("DESK");
    desk.log_on(place.port);
    // What was sent under the same numbers before is another session's.
    desk.send("2", "7=1|16=0|");
    let fill = desk.next();
    assert_eq!((fill.msg_type(), fill.number(34), fill.number(36)), ("4", 1, 2), "{fill:?}");
    desk.talk(2);
    other.log_on(place.port);
    other.talk(1);
}

/// Whatever dies while a session is forgotten: it is there as it was, or not at all.
#[test]
fn a_session_is_forgotten_whole_or_not_at_all() {
    let root = tempfile::tempdir().unwrap();
    let settings = tiny_journal(root.path());
    let mut opened = open(&settings).unwrap();
    let journal = &mut opened.journals[0];
    assert_eq!(journal.writer.begin(64), Room::RollDue);
    let identities = ["DESK", "OTHER"].map(|desk| format!("FIX.4.4\x01VENUE\x01\x01\x01{desk}\x01\x01"));
    let sessions: Vec<_> = (0..)
        .zip(&identities)
        .map(|(number, identity)| RecoveredSession {
            next_out: 7,
            ..RecoveredSession::new(number, identity.as_bytes())
        })
        .collect();
    assert_eq!(journal.writer.roll(sessions.iter().map(RecoveredSession::state), b""), Ok(true));
    journal.flusher.drain(0).unwrap();
    drop(opened);
    let forget = [Said { journal: 0, number: 0, decision: Decision::Forget }];
    // A held directory: the decision that is left frees it, and a forgotten session needs none.
    decide(&settings, &forget, true, 1, |_| Ok(Vec::new()), |_, _, _, _| Ok(())).unwrap();
    assert!(why_held(&settings.data_dir).unwrap().is_some());
    let keep = [Said { journal: 0, number: 1, decision: Decision::Keep }];
    decide(&settings, &keep, true, 1, |_| Ok(Vec::new()), |_, _, _, _| Ok(())).unwrap();
    assert_eq!(why_held(&settings.data_dir).unwrap(), None);
    for has_ring in [true, false, true] {
        if !has_ring {
            fs::remove_dir_all(&settings.ring_dir).unwrap();
            fs::create_dir(&settings.ring_dir).unwrap();
        }
        let standings = Standings::read(&settings.data_dir, None).unwrap();
        let known: Vec<_> = standings.sessions.iter().map(|standing| standing.session.number).collect();
        assert_eq!(known, [1]);
        let opened = open(&settings).unwrap();
        let recovered = &opened.journals[0].recovered.sessions;
        assert!(recovered[0].is_forgotten() && recovered[0].epoch == 1 && recovered[0].next_out == 1, "{recovered:?}");
        assert!(!recovered[1].is_forgotten() && recovered[1].next_out == 7, "{recovered:?}");
    }
}
