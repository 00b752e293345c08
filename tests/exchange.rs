//! The exchange's answers by the standard's own dictionary of every version: a whole engine in one thread, one client, and
//! each message that reaches the client is validated as strictly as the dictionary allows.

#[path = "whole/mod.rs"]
mod whole;

use std::io::IoSlice;
use std::net::SocketAddr;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::dictionary::{Checks, Validator, Version, built_in};
use fixring::engine::Environment;
use fixring::fix::{Encoder, FieldIndex, Framing, Message, Precision, frame, parse};
use fixring::simulate::wire::{Wire, show};
use fixring::simulate::{Crash, Node, Running, VirtualClock};
use fixring::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};
use fixring::transport::{ConnectionId, Receive, Send, Transport};
use whole::WholeVolume;

const LISTEN: &str = "10.0.0.1:9880";
const MS: u64 = 1_000_000;
const MESSAGE_BYTES_MAX: u32 = 2 * 1024;

/// Turns that any answer takes, a restart's new connection included.
const TURNS: u32 = 200;

/// An exchange and its client, with a session of one version.
struct World {
    version: Version,
    validator: Validator,
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    node: Node,
    engine: Running<Exchange>,
    hosts: u32,
    transport: SimulatedTransport,
    connection: ConnectionId,
    next_out: u64,
    received: Vec<u8>,
    _whole: WholeVolume,
}

/// What an answer says, by tag.
type Answer = Vec<(u32, String)>;

fn begin_string(version: Version) -> &'static str {
    if version.needs_transport() { Version::Fixt11.name() } else { version.name() }
}

fn make(environment: Environment) -> Exchange {
    Exchange::new(environment.snapshot_bytes_max)
}

impl World {
    fn new(version: Version) -> Self {
        let default_appl_ver_id = match version.appl_ver_id() {
            Some(id) if version.needs_transport() => {
                format!("default_appl_ver_id = \"{}\"\n", str::from_utf8(id).expect("a digit"))
            }
            _ => String::new(),
        };
        let config = format!(
            "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\n\
             [persistence]\nring_bytes = \"64KiB\"\nsegment_bytes = \"128KiB\"\nsegments = 8\n\
             [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"{LISTEN}\"\n\
             [[session]]\nbegin_string = \"{}\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n\
             held_bytes_max = \"4KiB\"\n{default_appl_ver_id}",
            begin_string(version)
        );
        let validator = if version.needs_transport() {
            Validator::with_transport(built_in(Version::Fixt11), built_in(version), Checks::ALL)
        } else {
            Validator::new(built_in(version), Checks::ALL)
        };
        let (clock, network, wire) = (VirtualClock::default(), SimulatedNetwork::new(1), Wire::default());
        let mut node = Node::new(Config::parse(&config, "exchange").expect("a sound configuration"));
        let _whole = WholeVolume::of(&node);
        let engine = node.start(clock.now(), &network, &wire, Host(0), make).expect("a sound volume");
        let mut transport = network.transport(Host(1), &[]);
        let connection = transport.connect(address()).expect("the engine listens");
        let mut world = Self {
            version,
            validator: validator.expect("a dictionary of the standard"),
            clock,
            network,
            wire,
            node,
            engine,
            hosts: 2,
            transport,
            connection,
            next_out: 1,
            received: Vec::new(),
            _whole,
        };
        world.log_on();
        world
    }

    /// The engine's process dies and comes back; the client logs on anew.
    fn restart(mut self) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        self.node.crash(self.engine, &self.network, Crash::Process, &mut random);
        let host = Host(self.hosts);
        self.engine = self.node.start(self.clock.now(), &self.network, &self.wire, host, make).expect("a sound volume");
        self.hosts += 1;
        self.connection = self.transport.connect(address()).expect("the engine listens");
        self.log_on();
        self
    }

    fn log_on(&mut self) {
        let logon = match self.version.appl_ver_id() {
            Some(id) if self.version.needs_transport() => {
                format!("98=0|108=30|1137={}", str::from_utf8(id).expect("a digit"))
            }
            _ => "98=0|108=30".to_owned(),
        };
        let answer = self.ask("A", &logon).expect("a Logon(A)");
        assert_eq!(value(&answer, 35), Some("A"), "{answer:?}");
    }

    /// Sends a message, which must be valid itself, and waits for the next that comes; `None` where nothing does.
    fn ask(&mut self, msg_type: &str, fields: &str) -> Option<Answer> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX as usize];
        let mut encoder = Encoder::begin(&mut buffer, begin_string(self.version).as_bytes(), msg_type.as_bytes());
        encoder.uint(34, self.next_out).bytes(49, b"DESK");
        encoder.timestamp(52, self.clock.now().utc, Precision::Seconds).bytes(56, b"VENUE");
        for field in fields.split('|') {
            let (tag, value) = field.split_once('=').expect("a tag and a value");
            encoder.bytes(tag.parse().expect("a tag"), value.as_bytes());
        }
        let length = encoder.finish().expect("room");
        self.validate(&buffer[..length]);
        // The network takes a message in pieces.
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match self.transport.send(self.connection, &[IoSlice::new(rest)]) {
                Send::Bytes(count) => rest = &rest[count..],
                refused => panic!("{}: {refused:?} at {}", self.version, show(&buffer[..length])),
            }
        }
        self.next_out += 1;
        (0..TURNS).find_map(|_| {
            self.clock.advance(MS / 20);
            self.engine.turn(self.clock.now());
            self.receive()
        })
    }

    fn receive(&mut self) -> Option<Answer> {
        let mut buffer = [0; 4096];
        while let Receive::Bytes(count) = self.transport.receive(self.connection, &mut buffer) {
            self.received.extend_from_slice(&buffer[..count]);
        }
        let Framing::Complete(frame) = frame(&self.received, MESSAGE_BYTES_MAX) else { return None };
        let bytes: Vec<u8> = self.received.drain(..frame.length as usize).collect();
        Some(self.validate(&bytes))
    }

    fn validate(&self, bytes: &[u8]) -> Answer {
        let mut index = FieldIndex::with_capacity(128);
        let message: Message<'_> = parse(bytes, &mut index).expect("a whole message");
        assert_eq!(self.validator.validate(&message), Ok(()), "{}: {}", self.version, show(bytes));
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
        message.fields().map(|field| (field.tag, text(field.value))).collect()
    }

    /// The fields that the version wants of a request, beside its own.
    fn request(&self, msg_type: &str, own: &str) -> String {
        let has_transact_time = self.version >= Version::Fix42 && msg_type != "H";
        let transact_time = if has_transact_time { "|60=20260105-00:00:00" } else { "" };
        let handl_inst = if matches!(msg_type, "D" | "G") { "|21=1" } else { "" };
        let cxl_type = if msg_type == "F" && self.version == Version::Fix40 { "|125=F" } else { "" };
        format!("{own}|55=ACME|54=1{handl_inst}{cxl_type}{transact_time}")
    }

    fn order_entry(&mut self, msg_type: &str, own: &str) -> Answer {
        let request = self.request(msg_type, own);
        self.ask(msg_type, &request).unwrap_or_else(|| panic!("{}: no answer to {msg_type} {own}", self.version))
    }
}

fn address() -> SocketAddr {
    LISTEN.parse().expect("an address")
}

fn value(answer: &Answer, tag: u32) -> Option<&str> {
    answer.iter().find(|(of, _)| *of == tag).map(|(_, value)| value.as_str())
}

/// The versions of application messages; FIXT.1.1 alone has none.
fn versions() -> impl Iterator<Item = Version> {
    Version::ALL.into_iter().filter(|version| *version != Version::Fixt11)
}

#[test]
fn every_answer_is_valid_in_the_sessions_version() {
    for version in versions() {
        let mut world = World::new(version);
        let statuses = [
            ("D", "11=a|38=100|40=2|44=12.5", "0"),
            ("D", "11=a|38=100|40=2|44=12.5", "8"),
            ("D", "11=zero|38=0|40=2|44=12.5", "8"),
            ("D", "11=b|38=100|40=1", "2"),
            ("D", "11=c|38=100|40=2", "8"),
            ("D", "11=d|38=100|40=2|44=12.5|59=3", "2"),
            ("H", "11=a", "0"),
            ("H", "11=nobody", "8"),
            ("G", "11=a2|41=a|38=200|40=2|44=13", if version <= Version::Fix42 { "5" } else { "0" }),
            ("H", "11=a2", "0"),
            ("F", "11=a3|41=a2|38=200", "4"),
        ];
        for (msg_type, own, ord_status) in statuses {
            let answer = world.order_entry(msg_type, own);
            assert_eq!(value(&answer, 35), Some("8"), "{version}: {msg_type} {own}: {answer:?}");
            assert_eq!(value(&answer, 39), Some(ord_status), "{version}: {msg_type} {own}: {answer:?}");
        }
        for (msg_type, own) in [
            ("F", "11=f|41=a3|38=200"),
            ("F", "11=f|41=nobody|38=200"),
            ("G", "11=g|41=nobody|38=200|40=2|44=13"),
            ("G", "11=g|41=b|38=200|40=2|44=13"),
        ] {
            let answer = world.order_entry(msg_type, own);
            assert_eq!(value(&answer, 35), Some("9"), "{version}: {msg_type} {own}: {answer:?}");
        }
        world.order_entry("D", "11=open|38=100|40=2|44=12.5");
        for own in ["11=b|41=open|38=200|40=2|44=13", "11=h|41=open|38=0|40=2|44=13"] {
            let answer = world.order_entry("G", own);
            assert_eq!(value(&answer, 35), Some("9"), "{version}: {own}: {answer:?}");
        }
    }
}

#[test]
fn what_the_venue_does_not_know_is_refused_in_every_version() {
    for version in versions() {
        let mut world = World::new(version);
        let answer = world.ask("M", "66=list");
        let msg_type = answer.as_ref().and_then(|answer| value(answer, 35));
        assert_eq!(msg_type, Some(if version >= Version::Fix42 { "j" } else { "3" }), "{version}");
        let report = world.order_entry("D", "11=a|38=100|40=2|44=12.5");
        assert_eq!(value(&report, 39), Some("0"), "{version}: the session goes on");
    }
}

/// A report of FIX.4.0 does not say which order it renames: its OrderID(37) does.
#[test]
fn an_order_that_was_renamed_is_known_by_its_new_name_alone_after_a_restart() {
    for version in versions() {
        let mut world = World::new(version);
        let order = world.order_entry("D", "11=a|38=100|40=2|44=12.5");
        world.order_entry("G", "11=b|41=a|38=200|40=2|44=13");
        world.order_entry("D", "11=c|38=100|40=2|44=12.5");
        world.order_entry("F", "11=d|41=c|38=100");
        let mut world = world.restart();
        for gone in ["41=a", "41=c", "41=d"] {
            let answer = world.order_entry("F", &format!("11=x|{gone}|38=100"));
            assert_eq!(value(&answer, 35), Some("9"), "{version}: {gone}: {answer:?}");
        }
        let canceled = world.order_entry("F", "11=e|41=b|38=200");
        assert_eq!((value(&canceled, 35), value(&canceled, 39)), (Some("8"), Some("4")), "{version}: {canceled:?}");
        assert_eq!(value(&canceled, 37), value(&order, 37), "{version}");
    }
}

#[test]
fn an_exec_id_never_comes_again_in_any_version() {
    for version in versions() {
        let mut world = World::new(version);
        let mut exec_ids = std::collections::BTreeSet::new();
        for start in 0..3 {
            for number in 0..20 {
                let report = world.order_entry("D", &format!("11={start}-{number}|38=100|40=2|44=12.5"));
                let exec_id = value(&report, 17).expect("an ExecID(17)").to_owned();
                assert!(exec_ids.insert(exec_id), "{version}: {report:?}");
            }
            world = world.restart();
        }
    }
}
