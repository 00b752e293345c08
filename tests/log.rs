//! The real binary and whoever reads its log: gone, full, stalled, closed; and what a peer can make it write.

#[path = "kill/engine.rs"]
mod engine;
#[path = "log/secrets.rs"]
mod secrets;
#[path = "log/times.rs"]
mod times;
#[path = "kill/wire.rs"]
mod wire;

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use engine::{Place, SMALL, Setup, free_port};
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };
const PORT_TAKEN: i32 = 5;
/// More than any of the engine's own files has in these tests.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A logged-on counterparty.
struct Peer {
    party: Party,
    wire: Wire,
    next_out: u64,
    /// The engine's.
    logon: Fields,
}

impl Peer {
    /// Logs on, which waits for the engine to be ready.
    fn log_on(port: u16, party: Party, next_out: u64, body: &str) -> Self {
        let deadline = Instant::now() + DEADLINE;
        let wire = loop {
            match Wire::connect(port) {
                Some(wire) => break wire,
                None => assert!(Instant::now() < deadline, "nothing listens"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut peer = Self { party, wire, next_out, logon: Fields(Vec::new()) };
        peer.send("A", &format!("98=0|108=3600|{body}"));
        peer.logon = peer.read();
        assert_eq!(peer.logon.msg_type(), "A");
        peer
    }

    fn send(&mut self, msg_type: &str, body: &str) {
        assert!(self.wire.send(&self.party.message(msg_type, self.next_out, "", body)));
        self.next_out += 1;
    }

    fn read(&mut self) -> Fields {
        match self.wire.read(DEADLINE) {
            Read1::Message(fields) => fields,
            other => panic!("no message but {other:?}"),
        }
    }

    /// Everything that was sent before is processed when this returns.
    fn round_trip(&mut self) {
        self.send("1", "112=round trip|");
        while self.read().get(112) != Some("round trip") {}
    }
}

/// The engine with standard error of our choice. It is killed when its owner goes.
struct Engine(Child);

impl Engine {
    fn start(place: &Place, stderr: impl Into<Stdio>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
        command.args(["run", "--config"]).arg(place.config());
        Self::of(command, stderr)
    }

    fn of(mut command: Command, stderr: impl Into<Stdio>) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().expect("the binary starts"))
    }

    fn terminate(&self) {
        let done = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill runs");
        assert!(done.success());
    }

    fn until_ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the engine does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A place with metrics, and their port.
fn place_with_metrics(setup: &Setup<'_>) -> (Place, u16) {
    let place = Place::new(setup);
    let port = free_port();
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replace("[control]\nlisten = \"off\"", &format!("[control]\nlisten = \"127.0.0.1:{port}\""));
    fs::write(place.config(), text).unwrap();
    (place, port)
}

/// A figure of the metrics; 0 where there is none yet.
fn metric(port: u16, name: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the control plane listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default() as u64
}

/// The log line as JSON has it.
fn field(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// How many events of a kind the log tells of, each or in a count, and in how many lines.
fn told(log: &str, what: &str) -> (u64, u64) {
    let lines = log.lines().filter(|line| line.contains(what));
    lines.fold((0, 0), |(events, lines), line| {
        let is_count = line.contains(" more in the last second");
        (events + if is_count { field(line, "more").unwrap() } else { 1 }, lines + 1)
    })
}

fn trade_and_stop(place: &Place, engine: &mut Engine) {
    let mut peer = Peer::log_on(place.port, PARTY, 1, "");
    for order in 1..=20 {
        peer.send("D", &format!("11=O{order}|21=1|55=X|54=1|60=20260101-00:00:00|38=1|40=2|44=1|"));
        assert_eq!(peer.read().msg_type(), "8");
    }
    drop(peer);
    engine.terminate();
    assert_eq!(engine.until_ended().code(), Some(0));
}

#[test]
fn a_reader_that_is_gone_from_the_start_or_later_changes_nothing() {
    let (place, control) = place_with_metrics(&SMALL);
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut engine = Engine::start(&place, writer);
    drop(Peer::log_on(place.port, Party { sender: "OTHER", ..PARTY }, 1, ""));
    let deadline = Instant::now() + DEADLINE;
    while metric(control, "fixring_log_lines_lost_total") == 0 {
        assert!(Instant::now() < deadline, "lines that nobody read are counted");
    }
    trade_and_stop(&place, &mut engine);

    let place = Place::new(&SMALL);
    let (mut reader, writer) = pipe().unwrap();
    let mut engine = Engine::start(&place, writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 1);
    drop(reader);
    trade_and_stop(&place, &mut engine);
}

#[test]
fn a_full_volume_below_the_log_stops_neither_start_nor_sessions_nor_stop() {
    let place = Place::new(&SMALL);
    let mut engine = Engine::start(&place, File::options().write(true).open("/dev/full").unwrap());
    trade_and_stop(&place, &mut engine);
    // A log file that may grow no further. The limit is the process's, so that all of its files have to be smaller.
    let place = Place::new(&SMALL);
    let log = place.path().join("log");
    File::create(&log).unwrap().set_len(FILE_BYTES_MAX).unwrap();
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--fsize={FILE_BYTES_MAX}"))
        .arg(env!("CARGO_BIN_EXE_fixring"))
        .args(["run", "--config"])
        .arg(place.config());
    trade_and_stop(&place, &mut Engine::of(command, File::options().append(true).open(&log).unwrap()));
    assert_eq!(fs::metadata(&log).unwrap().len(), FILE_BYTES_MAX);
    let place = Place::new(&SMALL);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" run --config \"$1\" 2>&-", env!("CARGO_BIN_EXE_fixring")]).arg(place.config());
    trade_and_stop(&place, &mut Engine::of(command, Stdio::null()));
}

/// The pipe's buffer is full, so that the first line already waits.
#[test]
fn a_reader_that_stands_still_holds_neither_sessions_nor_the_stop_and_finds_the_lines_when_it_goes_on() {
    let place = Place::new(&SMALL);
    let (mut reader, mut writer) = pipe().unwrap();
    let filling = vec![b'x'; pipe_bytes()];
    writer.write_all(&filling).unwrap();
    let mut engine = Engine::start(&place, writer);
    trade_and_stop(&place, &mut engine);

    let (mut again, mut writer) = pipe().unwrap();
    writer.write_all(&filling).unwrap();
    let mut engine = Engine::start(&place, writer);
    let peer = Peer::log_on(place.port, PARTY, 22, "");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        again.read_to_string(&mut text).map(|_| text)
    });
    drop(peer);
    engine.terminate();
    assert_eq!(engine.until_ended().code(), Some(0));
    let text = reading.join().unwrap().unwrap();
    for line in ["\"ready\"", "\"logged on\"", "\"stopped cleanly\""] {
        assert!(text.contains(line), "{line}: {}", &text[filling.len()..]);
    }
    // Nobody read while the first one ran.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.len(), filling.len());
}

#[test]
fn the_last_word_of_a_start_that_fails_is_read_and_waits_for_no_reader() {
    let place = Place::new(&SMALL);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let (status, log) = place.start().until_ended();
    assert_eq!(status.code(), Some(PORT_TAKEN), "{log}");
    assert!(log.contains("acceptor[0].listen") || log.contains(&place.port.to_string()), "{log}");
    let (_stalled, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; pipe_bytes()]).unwrap();
    assert_eq!(Engine::start(&place, writer).until_ended().code(), Some(PORT_TAKEN));
}

#[test]
fn a_command_whose_output_nobody_reads_ends_as_it_would_have() {
    let place = Place::new(&SMALL);
    let mut engine = Engine::start(&place, Stdio::null());
    trade_and_stop(&place, &mut engine);
    let (config, data_dir) = (place.config(), place.data_dir());
    let (config, data_dir) = (config.to_str().unwrap(), data_dir.to_str().unwrap());
    for arguments in [
        &["recover", "--data-dir", data_dir][..],
        &["recover", "--config", config, "--session", "nobody", "--keep-numbers"],
        &["check", "--config", config],
        &["schedule", "--config", config],
        &["journal", "status", "--data-dir", data_dir],
        &["journal", "verify", "--data-dir", data_dir],
        &["journal", "cat", "--data-dir", data_dir],
        &["journal", "tail", "--config", config],
        &["dictionary", "show", "FIX.4.4", "54"],
        &["simulate", "--seed", "1"],
    ] {
        let run = |stdout: Stdio, stderr: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
            command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr).status().unwrap().code()
        };
        let closed = || {
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            Stdio::from(writer)
        };
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let expected = run(Stdio::null(), Stdio::null());
        // Which is what is asked for, not a refusal of how it is asked for.
        assert_eq!(expected == Some(2), arguments.contains(&"nobody"), "{arguments:?}: {expected:?}");
        for found in [run(closed(), closed()), run(full(), full())] {
            // Some say that they could not write; none panics, and none dies of it.
            let says_so =
                !["recover", "check", "simulate"].contains(&arguments[0]) && found.is_some_and(|code| code < 101);
            assert!(found == expected || says_so, "{arguments:?}: {found:?} where it is {expected:?} with a reader");
        }
    }
}

/// One peer that is logged on repeats all that is refused; another one logs on meanwhile.
#[test]
fn a_peer_that_repeats_itself_is_told_of_once_and_then_in_counts() {
    const EACH: u64 = 20_000;
    let (place, control) = place_with_metrics(&SMALL);
    let mut engine = place.start_ready();
    let began = Instant::now();
    let mut peer = Peer::log_on(place.port, PARTY, 1, "");
    let mut garbled = PARTY.message("0", 2, "", "");
    let sum = garbled.len() - 2;
    garbled[sum] = if garbled[sum] == b'0' { b'1' } else { b'0' };
    for _ in 0..EACH / 100 {
        assert!(peer.wire.send(&garbled.repeat(100)));
    }
    for _ in 0..EACH / 100 {
        let rejected: Vec<u8> = (0..100).flat_map(|at| PARTY.message("0", peer.next_out + at, "", "4711=x|")).collect();
        peer.next_out += 100;
        assert!(peer.wire.send(&rejected));
        (0..100).for_each(|_| assert_eq!(peer.read().msg_type(), "3"));
    }
    peer.round_trip();
    drop(Peer::log_on(place.port, Party { sender: "QUIET", ..PARTY }, 1, ""));
    engine.until_logged("\"message\":\"disconnected\",\"session\":\"FIX.4.4:VENUE->QUIET\"");
    assert_eq!(metric(control, "fixring_worker_garbled_total"), EACH);
    assert_eq!(metric(control, "fixring_worker_log_events_dropped_total"), 0);
    assert!(metric(control, "fixring_worker_log_events_counted_total") > EACH);
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    let lines_max = 2 + began.elapsed().as_secs();
    for what in ["garbled message ignored", "a message of the peer was rejected"] {
        let (events, lines) = told(&log, what);
        assert_eq!(events, EACH, "{what}: every one is told or counted:\n{log}");
        assert!(lines <= lines_max, "{lines} lines, {lines_max} at most:\n{log}");
    }
    assert_eq!(told(&log, "\"message\":\"logged on\",\"session\":\"FIX.4.4:VENUE->QUIET\""), (1, 1), "{log}");
}

#[test]
fn strangers_that_come_again_and_again_are_told_of_once_and_then_in_counts() {
    const TIMES: u64 = 300;
    let sessions = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n";
    let place = Place::new(&Setup { sessions, ..SMALL });
    let mut engine = place.start_ready();
    let began = Instant::now();
    let long = "x".repeat(4_000);
    for _ in 0..TIMES {
        let mut wire = Wire::connect(place.port).unwrap();
        let unknown = Party { sender: "STRANGER", ..PARTY };
        assert!(wire.send(&unknown.message("A", 1, "", &format!("98=0|108=3600|50={long}|"))));
        assert!(matches!(wire.read(DEADLINE), Read1::End));
    }
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    let lines_max = 2 + began.elapsed().as_secs();
    for what in ["a Logon names a session that is not configured", "no session is configured for its"] {
        let (events, lines) = told(&log, what);
        assert_eq!(events, TIMES, "{what}:\n{log}");
        assert!(lines <= lines_max, "{lines} lines, {lines_max} at most:\n{log}");
    }
    assert!(log.lines().all(|line| line.len() < 1_000), "a name that a stranger gives is cut:\n{log}");
}

/// What a pipe holds before a writer waits.
fn pipe_bytes() -> usize {
    64 << 10
}
