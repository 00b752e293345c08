//! One exchange under test, and peers that do what a test tells them.
#![allow(dead_code, reason = "each test crate uses its own part")]

use std::io::IoSlice;
use std::net::SocketAddr;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::engine::Event;
use fixring::fix::{Encoder, Framing, Precision, frame};
use fixring::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};
use fixring::transport::{ConnectionId, Receive, Send, Transport};

use fixring::simulate::wire::{Wire, show};
use fixring::simulate::{Crash, Node, Running, VirtualClock};

#[path = "../whole/mod.rs"]
pub mod whole;

use whole::WholeVolume;

pub const LISTEN: &str = "10.0.0.1:9880";
pub const MS: u64 = 1_000_000;

/// An exchange with a small ring: DESK0 and DESK1 are configured, DESK and a letter are made from a template.
pub const CONFIG: &str = r#"
[engine]
message_bytes_max = "2KiB"
commit_bytes_max = "8KiB"
connections_max = 64
pending_connections_max = 16
template_sessions_max = 2
logon_timeout = "1s"
logout_timeout = "500ms"
probe_timeout = "200ms"
[persistence]
ring_bytes = "64KiB"
segment_bytes = "128KiB"
segments = 8
retention_min = "0s"
retention_undelivered_max = "0s"
[control]
listen = "off"
[[acceptor]]
listen = "10.0.0.1:9880"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "VENUE"
target_comp_id = "DESK0"
held_bytes_max = "4KiB"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "VENUE"
target_comp_id = "DESK1"
held_bytes_max = "4KiB"
[[session]]
begin_string = "FIX.4.4"
sender_comp_id = "HALL"
target_comp_id = "*"
held_bytes_max = "4KiB"
"#;

/// The engine under test and the network around it.
pub struct World {
    pub clock: VirtualClock,
    pub network: SimulatedNetwork,
    pub wire: Wire,
    pub node: Node,
    pub engine: Running<Exchange>,
    /// The flusher gets no turn while this is false.
    pub flushes: bool,
    /// Nor the stager while this is.
    pub stages: bool,
    next_host: u32,
    /// The last to go.
    _whole: WholeVolume,
}

impl World {
    pub fn new() -> Self {
        Self::with_config(CONFIG)
    }

    pub fn with_config(config: &str) -> Self {
        let (clock, network, wire) = (VirtualClock::default(), SimulatedNetwork::new(1), Wire::default());
        let mut node = Node::new(Config::parse(config, "engine").expect("a sound configuration"));
        let make = |environment: fixring::engine::Environment| Exchange::new(environment.snapshot_bytes_max);
        let engine = node.start(clock.now(), &network, &wire, Host(0), make).expect("a sound volume");
        let _whole = WholeVolume::of(&node);
        Self { clock, network, wire, node, engine, flushes: true, stages: true, next_host: 1, _whole }
    }

    pub fn restart(mut self) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        self.node.crash(self.engine, &self.network, Crash::Process, &mut random);
        let make = |environment: fixring::engine::Environment| Exchange::new(environment.snapshot_bytes_max);
        let host = Host(self.next_host);
        self.engine = self.node.start(self.clock.now(), &self.network, &self.wire, host, make).expect("a sound volume");
        self.next_host += 1;
        self
    }

    /// Twenty turns a millisecond: a busy worker looks for new connections in every sixteenth.
    pub fn pass_ms(&mut self, ms: u64) {
        for _ in 0..20 * ms {
            self.clock.advance(MS / 20);
            self.engine.worker.turn(self.clock.now(), None);
            if self.flushes {
                self.engine.journals[0].flusher.turn(self.clock.now().monotonic_ns).expect("a sound volume");
            }
            if self.stages {
                self.engine.journals[0].stager.turn().expect("a sound volume");
            }
        }
    }

    pub fn peer(&mut self, comp_id: &str, target_comp_id: &str) -> Peer {
        let transport = self.network.transport(Host(self.next_host), &[]);
        self.next_host += 1;
        Peer {
            transport,
            connection: None,
            clock: self.clock.clone(),
            comp_id: comp_id.into(),
            target_comp_id: target_comp_id.into(),
            next_out: 1,
            received: Vec::new(),
        }
    }

    /// A peer of VENUE's that is logged on.
    pub fn logged_on(&mut self, comp_id: &str) -> Peer {
        let mut peer = self.peer(comp_id, "VENUE");
        peer.connect();
        peer.logon();
        self.pass_ms(5);
        assert_eq!(types(&peer.receive()), "A");
        peer
    }

    /// [`World::logged_on`], and busy for so long that its lease has room for hundreds of messages more.
    pub fn warmed_up(&mut self, comp_id: &str) -> Peer {
        let mut peer = self.logged_on(comp_id);
        let mut answers = Vec::new();
        for number in 0..600 {
            let order = peer.order(&format!("w{number}"));
            peer.send_bytes(&order);
            if number % 20 == 19 {
                self.pass_ms(1);
                answers.extend(peer.receive());
            }
        }
        self.pass_ms(5);
        answers.extend(peer.receive());
        assert_eq!(types(&answers), "8".repeat(600));
        peer
    }

    pub fn events(&mut self) -> Vec<String> {
        let told = |event: Event| match event {
            Event::Refused { why, .. } => Some(format!("refused: {why:?}")),
            Event::Disconnected { why, .. } => Some(format!("disconnected: {why:?}")),
            _ => None,
        };
        self.engine.events().into_iter().filter_map(told).collect()
    }
}

/// A counterparty that does what a test tells it, and nothing by itself.
pub struct Peer {
    pub transport: SimulatedTransport,
    pub connection: Option<ConnectionId>,
    pub clock: VirtualClock,
    pub comp_id: String,
    pub target_comp_id: String,
    pub next_out: u64,
    pub received: Vec<u8>,
}

impl Peer {
    pub fn connect(&mut self) {
        self.received.clear();
        let address: SocketAddr = LISTEN.parse().expect("an address");
        self.connection = Some(self.transport.connect(address).expect("the engine listens"));
    }

    pub fn disconnect(&mut self) {
        self.transport.close(self.connection.take().expect("a connection"));
    }

    pub fn message(&mut self, msg_type: &[u8], fields: &[(u32, &str)]) -> Vec<u8> {
        let mut buffer = vec![0; 16 * 1024];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        encoder.uint(34, self.next_out).bytes(49, self.comp_id.as_bytes());
        encoder.timestamp(52, self.clock.now().utc, Precision::Millis).bytes(56, self.target_comp_id.as_bytes());
        for (tag, value) in fields {
            encoder.bytes(*tag, value.as_bytes());
        }
        let length = encoder.finish().expect("room");
        buffer.truncate(length);
        self.next_out += 1;
        buffer
    }

    /// As much of the bytes as the connection takes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> usize {
        let connection = self.connection.expect("a connection");
        let mut sent = 0;
        while sent < bytes.len() {
            match self.transport.send(connection, &[IoSlice::new(&bytes[sent..])]) {
                Send::Bytes(count) => sent += count,
                Send::Full | Send::Failed(_) => break,
            }
        }
        sent
    }

    pub fn send(&mut self, msg_type: &[u8], fields: &[(u32, &str)]) {
        let message = self.message(msg_type, fields);
        assert_eq!(self.send_bytes(&message), message.len(), "the connection takes a message");
    }

    pub fn logon(&mut self) {
        self.send(b"A", &[(98, "0"), (108, "30")]);
    }

    pub fn order(&mut self, cl_ord_id: &str) -> Vec<u8> {
        let time = "20260105-00:00:00";
        let instruction = [(11, cl_ord_id), (55, "ACME"), (54, "1"), (60, time), (38, "100"), (40, "2"), (44, "12.5")];
        self.message(b"D", &instruction)
    }

    /// The whole messages that have come.
    pub fn receive(&mut self) -> Vec<String> {
        let Some(connection) = self.connection else { return Vec::new() };
        let mut buffer = [0; 4096];
        while let Receive::Bytes(count) = self.transport.receive(connection, &mut buffer) {
            self.received.extend_from_slice(&buffer[..count]);
        }
        let mut messages = Vec::new();
        while let Framing::Complete(frame) = frame(&self.received, 16 * 1024) {
            messages.push(show(&self.received[..frame.length as usize]));
            self.received.drain(..frame.length as usize);
        }
        messages
    }

    /// The engine has closed the connection, and everything before that is read.
    pub fn is_closed(&mut self) -> bool {
        let connection = self.connection.expect("a connection");
        matches!(self.transport.receive(connection, &mut [0]), Receive::End)
    }
}

/// MsgType(35) of each.
pub fn types(messages: &[String]) -> String {
    let msg_type =
        |message: &String| message.split("|35=").nth(1).and_then(|rest| rest.split('|').next()).map(String::from);
    messages.iter().filter_map(msg_type).collect()
}
