//! What a killed engine finds in its journal is what it counted while it lived: whatever a counterparty sends, each number that a
//! recovery finds (the next one out, the next one expected, the epoch) is the number that the session had.
//!
//! A world is one session, as an acceptor or an initiator, in a version, a mode and with settings that its seed chooses, and a counterparty
//! that sends what no honest one would: messages whose fields are doubled, moved, left out, or named and valued in odd ways, and messages of
//! which single bytes are changed. In between the engine is killed with its ring kept, killed with its ring lost, or stopped.
//!
//! `FIXRING_NUMBERS_WORLDS` sets how many worlds there are (120), `FIXRING_NUMBERS_SEED` the first one's seed. A failure names its world's.

#[path = "whole/mod.rs"]
mod whole;

use std::io::IoSlice;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::fix::{Precision, checksum};
use fixring::session::Numbers;
use fixring::simulate::wire::{Wire, show};
use fixring::simulate::{Crash, Node, Running, VirtualClock};
use fixring::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};
use fixring::transport::{ConnectionId, Receive, Send, Transport};
use whole::WholeVolume;

const WORLDS: u64 = 120;
const STEPS: u32 = 150;
const LISTEN: &str = "10.0.0.1:9880";
const MS: u64 = 1_000_000;
/// Turns in which an initiator comes back and an acceptor takes a connection.
const TURNS_TO_CONNECT_MAX: u32 = 400;
/// Messages that a session holds beyond a gap, at most, and the marks beside them.
const HELD_MAX: u64 = 8 + 4;

#[test]
fn recovered_numbers_are_the_live_ones_whatever_a_counterparty_sends() {
    let number_of = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let worlds = number_of("FIXRING_NUMBERS_WORLDS").unwrap_or(WORLDS);
    let first = number_of("FIXRING_NUMBERS_SEED").unwrap_or(0);
    let mut seen = Seen::default();
    for seed in first..first + worlds {
        let world = std::panic::AssertUnwindSafe(|| World::new(seed).run());
        match std::panic::catch_unwind(world) {
            Ok(one) => seen.add(&one),
            Err(panic) => {
                eprintln!("FIXRING_NUMBERS_SEED={seed} FIXRING_NUMBERS_WORLDS=1 shows it again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{seen:?}");
    if worlds >= WORLDS {
        assert!(seen.kills > 500 && seen.moved > 5_000 && seen.unreadable > 300 && seen.epochs > 100, "{seen:?}");
    }
}

/// That the worlds met what they are to meet.
#[derive(Debug, Default)]
struct Seen {
    kills: u64,
    /// Messages by which a number moved.
    moved: u64,
    /// Messages that were answered though they could not be parsed.
    unreadable: u64,
    epochs: u64,
}

impl Seen {
    fn add(&mut self, one: &Seen) {
        self.kills += one.kills;
        self.moved += one.moved;
        self.unreadable += one.unreadable;
        self.epochs += one.epochs;
    }
}

struct World {
    random: fastrand::Rng,
    begin_string: &'static str,
    is_initiator: bool,
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    node: Node,
    running: Option<Running<Exchange>>,
    hosts: u32,
    peer: SimulatedTransport,
    connection: Option<ConnectionId>,
    received: Vec<u8>,
    last_sent: String,
    /// Where the last start has moved the next number, after a loss, and in which epoch.
    moved_to: Option<(u32, u64)>,
    seen: Seen,
    whole: WholeVolume,
}

/// One field as it is written, without the delimiter.
type Field = Vec<u8>;

impl World {
    fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let versions = ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"];
        let begin_string = versions[random.usize(..versions.len())];
        let is_initiator = random.bool();
        let config = config(&mut random, begin_string, is_initiator);
        let network = SimulatedNetwork::new(seed);
        let listens: Vec<_> = is_initiator.then(|| LISTEN.parse().expect("an address")).into_iter().collect();
        let wire = Wire::default();
        wire.let_forget();
        let node = Node::new(config);
        let mut world = Self {
            whole: WholeVolume::of(&node),
            begin_string,
            is_initiator,
            clock: VirtualClock::default(),
            peer: network.transport(Host(0), &listens),
            network,
            wire,
            node,
            running: None,
            hosts: 0,
            connection: None,
            received: Vec::new(),
            last_sent: String::new(),
            moved_to: None,
            seen: Seen::default(),
            random,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.hosts += 1;
        let make = |environment: fixring::engine::Environment| Exchange::new(environment.snapshot_bytes_max);
        let (now, host) = (self.clock.now(), Host(self.hosts));
        let running = self.node.start(now, &self.network, &self.wire, host, make);
        self.running = Some(running.expect("a sound volume"));
    }

    fn run(mut self) -> Seen {
        for _ in 0..STEPS {
            self.wire.permit_reset();
            match self.random.u8(..24) {
                0 => self.kill(),
                1 => self.disconnect(),
                2 => self.clock.advance(self.random.u64(..2_000) * MS),
                _ => self.say_something(),
            }
        }
        self.kill();
        self.seen
    }

    fn running(&mut self) -> &mut Running<Exchange> {
        self.running.as_mut().expect("it runs")
    }

    fn numbers(&mut self) -> Numbers {
        self.running().worker.session_numbers(0, 0)
    }

    fn turns(&mut self, count: u32) {
        for _ in 0..count {
            self.clock.advance(MS / 20);
            let now = self.clock.now();
            self.running().turn(now);
        }
    }

    /// However the engine ends, its journal has the numbers that it had.
    fn kill(&mut self) {
        let how = self.random.u8(..3);
        if how == 2 {
            let now = self.clock.now();
            self.running().worker.request_stop(now);
            while !self.running().worker.is_finished() {
                self.clock.advance(MS);
                self.turns(1);
            }
        }
        let live = self.numbers();
        let crash = if how == 1 { Crash::Node } else { Crash::Process };
        if crash == Crash::Node {
            let is_synced = |running: &mut Running<Exchange>| {
                let marks = running.journals[0].flusher.watermarks();
                marks.synced() == marks.appended()
            };
            while !is_synced(self.running()) {
                self.clock.advance(MS);
                let now_ns = self.clock.now().monotonic_ns;
                self.running().journals[0].flusher.turn(now_ns).expect("a sound volume");
            }
        }
        let running = self.running.take().expect("it runs");
        self.node.crash(running, &self.network, crash, &mut self.random);
        self.disconnect();
        self.start();
        let found = self.running().journals[0].recovered[0].clone();
        // Without its ring a session goes on at its lease; where it was before is told beside, until it has sent something.
        let next_out = match found.rollback {
            Some(rollback) if self.moved_to != Some((live.epoch, live.next_out)) => rollback.lost_from,
            _ => found.next_out,
        };
        let recovered = Numbers { next_out, next_in: found.next_in, epoch: found.epoch };
        assert_eq!(recovered, live, "{crash:?}, {}, after {}", self.begin_string, self.last_sent);
        self.whole.assert_whole();
        let moved = found.rollback.filter(|rollback| rollback.lost_from < rollback.lost_to);
        self.moved_to = moved.map(|rollback| (found.epoch, rollback.lost_to));
        if let Some(rollback) = found.rollback {
            self.wire.rolled_back("US", "THEM", rollback);
        }
        self.seen.kills += 1;
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.peer.close(connection);
        }
        self.received.clear();
        self.turns_if_running(20);
    }

    fn turns_if_running(&mut self, count: u32) {
        if self.running.is_some() {
            self.turns(count);
        }
    }

    /// Connects and logs on, mostly as one should.
    fn connect(&mut self) {
        if self.is_initiator {
            for _ in 0..TURNS_TO_CONNECT_MAX {
                self.turns(1);
                if let Ok(Some((id, _))) = self.peer.accept() {
                    self.connection = Some(id);
                    break;
                }
            }
        } else {
            let address = LISTEN.parse().expect("an address");
            self.connection = self.peer.connect(address).ok();
        }
        self.turns(20);
        let (next_in, odd) = (self.numbers().next_in, self.random.u8(..6) == 0);
        let number = if odd { self.number() } else { next_in.to_string() };
        let mut logon = self.header("A", &number);
        logon.extend(self.logon_fields().into_iter().map(field));
        if odd && self.random.bool() {
            self.mutate(&mut logon);
        }
        self.send(&logon);
    }

    fn logon_fields(&mut self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("98", "0".to_string()), ("108", "30".to_string())];
        if self.begin_string == "FIXT.1.1" {
            fields.push(("1137", "9".to_string()));
        }
        if self.random.u8(..8) == 0 {
            fields.push(("141", "Y".to_string()));
        }
        if self.random.u8(..4) == 0 {
            let next_out = self.numbers().next_out;
            let expected = if self.random.bool() { next_out.to_string() } else { self.number() };
            fields.push(("789", expected));
        }
        fields
    }

    fn header(&mut self, msg_type: &str, number: &str) -> Vec<Field> {
        let mut time = [0; 27];
        let length = self.clock.now().utc.write(&mut time, Precision::Seconds);
        let time = String::from_utf8_lossy(&time[..length]).into_owned();
        [("35", msg_type), ("34", number), ("49", "THEM"), ("52", &time), ("56", "US")]
            .map(|(tag, value)| field((tag, value.to_string())))
            .into()
    }

    /// What stands for MsgSeqNum(34) or NewSeqNo(36): mostly what is due.
    fn number(&mut self) -> String {
        let next_in = self.numbers().next_in;
        match self.random.u8(..32) {
            0..22 => next_in.to_string(),
            22..25 => (next_in + self.random.u64(1..6)).to_string(),
            25 => format!("00{next_in}"),
            26 => next_in.saturating_sub(self.random.u64(1..4)).to_string(),
            27 => (next_in + 9_000_000).to_string(),
            _ => ODD_NUMBERS[self.random.usize(..ODD_NUMBERS.len())].to_string(),
        }
    }

    fn say_something(&mut self) {
        self.drain();
        if self.connection.is_none() {
            return self.connect();
        }
        let mut fields = self.message();
        if self.random.u8(..10) == 0 {
            let at = self.random.usize(5..=fields.len());
            fields.insert(at, field(("43", "Y".to_string())));
        }
        if self.random.u8(..5) < 3 {
            for _ in 0..self.random.u32(1..3) {
                self.mutate(&mut fields);
            }
        }
        self.send(&fields);
    }

    /// A message that is right, or nearly.
    fn message(&mut self) -> Vec<Field> {
        const KINDS: [&str; 14] = ["0", "0", "1", "2", "3", "4", "4", "D", "D", "D", "B", "A", "5", "ZZ"];
        let kind = KINDS[self.random.usize(..KINDS.len())];
        // The session ends with it; the others are to have their turn.
        let kind = if kind == "5" && self.random.u8(..4) > 0 { "0" } else { kind };
        let number = self.number();
        let mut fields = self.header(kind, &number);
        let body: Vec<(&str, String)> = match kind {
            "1" => vec![("112", "T".into())],
            "2" => vec![("7", self.random.u32(..9).to_string()), ("16", self.random.u32(..9).to_string())],
            "3" => vec![("45", "1".into())],
            "4" => {
                let new = if self.random.u8(..3) == 0 { self.number() } else { self.above() };
                let mode = [("123", "Y".to_string()), ("123", "N".to_string()), ("36", new.clone())];
                match self.random.u8(..4) {
                    0 => vec![("36", new)],
                    1 => vec![mode[1].clone(), ("36", new)],
                    _ => vec![mode[0].clone(), ("36", new)],
                }
            }
            "A" => self.logon_fields(),
            "B" => vec![("148", "h".into()), ("95", "5".into()), ("96", "a\x0134=9".into()), ("33", "1".into())],
            "D" => [("11", "a"), ("21", "1"), ("55", "ACME"), ("54", "1"), ("60", "20260105-00:00:00"), ("38", "100")]
                .into_iter()
                .chain([("40", "2"), ("44", "12.5")])
                .map(|(tag, value)| (tag, value.to_string()))
                .collect(),
            _ => Vec::new(),
        };
        fields.extend(body.into_iter().map(field));
        fields
    }

    fn above(&mut self) -> String {
        (self.numbers().next_in + self.random.u64(1..5)).to_string()
    }

    /// One change that an honest counterparty would not make.
    fn mutate(&mut self, fields: &mut Vec<Field>) {
        if fields.len() < 2 {
            return;
        }
        // MsgType(35) stays the third field mostly: what is not framed is not read.
        let first = usize::from(self.random.u8(..8) > 0);
        let at = self.random.usize(first..fields.len());
        let odd = ODD_NUMBERS[self.random.usize(..ODD_NUMBERS.len())].as_bytes();
        match self.random.u8(..14) {
            0 | 1 => fields[at].insert(0, b'0'),
            2 => {
                let equals = fields[at].iter().position(|byte| *byte == b'=').map_or(0, |equals| equals + 1);
                fields[at].truncate(equals);
                fields[at].extend_from_slice(odd);
            }
            3 => {
                let equals = fields[at].iter().position(|byte| *byte == b'=').map_or(0, |equals| equals + 1);
                fields[at].insert(equals, [b'0', b'-', b'+', b' '][self.random.usize(..4)]);
            }
            4 => {
                let moved = fields.remove(at);
                let to = self.random.usize(1..=fields.len());
                fields.insert(to, moved);
            }
            5 => {
                fields.remove(at);
            }
            6 => fields.insert(at, GARBAGE[self.random.usize(..GARBAGE.len())].into()),
            // Another number beside the first, before or behind it.
            7..10 => {
                let tag = ["34", "034", "36", "0034", "043", "0123"][self.random.usize(..6)];
                let number = if self.random.bool() { self.number() } else { String::from_utf8_lossy(odd).into_owned() };
                fields.insert(at, format!("{tag}={number}").into());
            }
            10 => fields.splice(at..at, [b"95=4".to_vec(), b"96=\x0134=".to_vec()]).for_each(drop),
            11 => fields.extend((0..self.random.usize(..700)).map(|_| b"5000=1".to_vec())),
            12 => {
                let byte = self.random.usize(..fields[at].len().max(1));
                if let Some(byte) = fields[at].get_mut(byte) {
                    *byte = self.random.u8(..);
                }
            }
            _ => {
                let byte = self.random.usize(..=fields[at].len());
                fields[at].truncate(byte);
            }
        }
    }

    fn send(&mut self, fields: &[Field]) {
        let body: Vec<u8> = fields.iter().flat_map(|field| field.iter().copied().chain([1])).collect();
        let mut message = format!("8={}\x019={}\x01", self.begin_string, body.len()).into_bytes();
        message.extend(body);
        message.extend(format!("10={:03}\x01", checksum(&message)).into_bytes());
        if self.random.u8(..40) == 0 {
            let at = self.random.usize(..message.len());
            message[at] = self.random.u8(..);
        }
        self.last_sent = show(&message);
        let before = self.numbers();
        let Some(connection) = self.connection else { return };
        let mut rest = &message[..];
        while !rest.is_empty() {
            match self.peer.send(connection, &[IoSlice::new(rest)]) {
                Send::Bytes(count) => rest = &rest[count..],
                Send::Full => self.turns(5),
                Send::Failed(_) => break,
            }
        }
        self.turns(30);
        let after = self.numbers();
        self.seen.moved += u64::from(after != before);
        self.seen.epochs += u64::from(after.epoch - before.epoch);
        // Nothing but the fields that say so lets the expected number leap.
        let may_leap = self.last_sent.contains("36=") || after.epoch != before.epoch;
        assert!(
            may_leap || after.next_in <= before.next_in + 1 + HELD_MAX,
            "{before:?} became {after:?} by {}",
            self.last_sent
        );
    }

    fn drain(&mut self) {
        let Some(connection) = self.connection else { return };
        let mut buffer = [0; 4096];
        loop {
            match self.peer.receive(connection, &mut buffer) {
                Receive::Bytes(count) => self.received.extend_from_slice(&buffer[..count]),
                Receive::Nothing => break,
                Receive::End | Receive::Failed(_) => {
                    self.disconnect();
                    break;
                }
            }
        }
        let text = show(&self.received);
        self.seen.unreadable += text.matches("58=Invalid tag number").count() as u64;
        self.received.clear();
    }
}

const ODD_NUMBERS: [&str; 14] = [
    "",
    "0",
    "1",
    "-1",
    "+3",
    " 2",
    "2 ",
    "1e3",
    "9000000",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999",
];

const GARBAGE: [&[u8]; 10] =
    [b"x", b"=5", b"34", b"34=", b"0=1", b"-34=5", b"34 =5", b"+34=5", b"\x01", b"18446744073709551650=7"];

fn field((tag, value): (&str, String)) -> Field {
    format!("{tag}={value}").into_bytes()
}

fn config(random: &mut fastrand::Rng, begin_string: &str, is_initiator: bool) -> Config {
    let mode = ["buffered", "flush", "sync"][random.usize(..3)];
    let mut session = format!(
        "[[session]]\nbegin_string = \"{begin_string}\"\nsender_comp_id = \"US\"\ntarget_comp_id = \"THEM\"\n\
         mode = \"{mode}\"\nheld_messages_max = 8\nheld_bytes_max = \"4KiB\"\n"
    );
    if is_initiator {
        session += &format!(
            "role = \"initiator\"\nconnect = [\"{LISTEN}\"]\nreconnect_min = \"1ms\"\nreconnect_max = \"2ms\"\n\
             heartbeat_seconds = 30\n"
        );
    }
    let resets = ["", "", "", "reset_on_logon = true\n", "reset_on_logout = true\n", "reset_on_disconnect = true\n"];
    // The wire's checker has to know a reset by a message: an acceptor's own says nothing, and FIX.4.0 has no ResetSeqNumFlag(141).
    let resets_max = if begin_string == "FIX.4.0" { 3 } else { 4 + 2 * usize::from(is_initiator) };
    let resets = resets[random.usize(..resets_max)];
    session += resets;
    if begin_string >= "FIX.4.4" && random.bool() {
        session += "next_expected_msg_seq_num = true\n";
    }
    if random.bool() {
        session += "[session.validation]\nenabled = false\n";
    }
    let acceptor = if is_initiator { String::new() } else { format!("[[acceptor]]\nlisten = \"{LISTEN}\"\n") };
    let text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\nconnections_max = 64\n\
         pending_connections_max = 16\nlogon_timeout = \"1s\"\nlogout_timeout = \"500ms\"\nprobe_timeout = \"200ms\"\n\
         [persistence]\nring_bytes = \"64KiB\"\nsegment_bytes = \"64KiB\"\nsegments = 4\n\
         [control]\nlisten = \"off\"\n{acceptor}{session}"
    );
    Config::parse(&text, "world").unwrap_or_else(|error| panic!("{error}\n{text}"))
}
