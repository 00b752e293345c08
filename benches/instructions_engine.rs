//! A worker's turn among many sessions, for counting its instructions: what an order and its report cost when 1, 10, 100 or 1,000
//! sessions are active, and when 10,000 others are idle.
//!
//! `BENCH=instructions_engine scripts/instructions` counts, as with `benches/instructions.rs`. The connections are buffers that tell
//! readiness once, as epoll does. One order is on its way at a time, of the active sessions in turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fixring::application::Exchange;
use fixring::config::Config;
use fixring::control::Shared;
use fixring::engine::{Adopted, Directory, Limits, Mailbox, Worker, events};
use fixring::fix::{Encoder, Precision, UtcTimestamp, tags};
use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{self, FlushMethod, Flusher, Geometry};
use fixring::session::Now;
use fixring::sys::ring::RingMemory;
use fixring::transport::{Connect, ConnectionId, Ready, Receive, Send, Transport};

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 20, segment_bytes: 64 << 20, segments: 3 };
const UNIX_NS: u64 = 1_790_000_000_123_000_000;
const TIMES_MAX: u64 = 20_000;
/// A turn a µs: as a busy worker's.
const TURN_NS: u64 = 1_000;
/// Until its first leases are durable, each message of a session waits for the volume.
const WARM_UP: u64 = 4;

/// Sessions that are active, and beside them idle ones.
const CASES: [(&str, u32, u32); 6] = [
    ("engine_turn_1_session", 1, 0),
    ("engine_turn_10_sessions", 10, 0),
    ("engine_turn_100_sessions", 100, 0),
    ("engine_turn_1000_sessions", 1_000, 0),
    ("engine_turn_1_session_10000_idle", 1, 10_000),
    ("engine_turn_1000_sessions_10000_idle", 1_000, 10_000),
];

/// All connections: what each brings next, and how much all have taken.
#[derive(Default)]
struct Wire {
    at_the_door: VecDeque<ConnectionId>,
    inbound: Vec<Vec<u8>>,
    ready: Vec<ConnectionId>,
    sent: usize,
}

struct Crowd(Rc<RefCell<Wire>>);

impl Transport for Crowd {
    type Detached = ();

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let wire = &mut *self.0.borrow_mut();
        if !wire.at_the_door.is_empty() {
            ready.push(Ready::Acceptable);
        }
        let connection = |id| Ready::Connection { id, readable: true, writable: false, ended: false };
        ready.extend(wire.ready.drain(..).map(connection));
        Ok(())
    }

    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        let next = self.0.borrow_mut().at_the_door.pop_front();
        Ok(next.map(|id| (id, SocketAddr::from(([127, 0, 0, 1], 1)))))
    }

    fn connect(&mut self, _address: SocketAddr) -> io::Result<ConnectionId> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn connect_result(&mut self, _id: ConnectionId) -> Connect {
        Connect::Pending
    }

    fn receive(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Receive {
        let inbound = &mut self.0.borrow_mut().inbound[id.slot()];
        if inbound.is_empty() {
            return Receive::Nothing;
        }
        let count = inbound.len();
        buffer[..count].copy_from_slice(inbound);
        inbound.clear();
        Receive::Bytes(count)
    }

    fn send(&mut self, _id: ConnectionId, slices: &[IoSlice<'_>]) -> Send {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.0.borrow_mut().sent += bytes;
        Send::Bytes(bytes)
    }

    fn finish(&mut self, _id: ConnectionId) {}

    fn close(&mut self, _id: ConnectionId) {}

    fn detach(&mut self, _id: ConnectionId) -> Option<()> {
        Some(())
    }

    fn attach(&mut self, (): ()) -> io::Result<ConnectionId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stop_listening(&mut self) {}
}

struct Venue {
    worker: Worker<Crowd, Exchange>,
    flusher: Flusher<SimulatedStorage>,
    wire: Rc<RefCell<Wire>>,
    now: Now,
    next_out: Vec<u64>,
    // Kept so that the worker's ends do not see them abandoned.
    _housekeeping: (Box<dyn std::any::Any>, Box<dyn std::any::Any>),
}

impl Venue {
    fn new(sessions: u32) -> Self {
        let config = "[[acceptor]]\nlisten = \"127.0.0.1:1\"\n[[session]]\nbegin_string = \"FIX.4.4\"\n\
                      sender_comp_id = \"VENUE\"\ntarget_comp_id = \"*\"\n";
        let config = Config::parse(config, "bench").expect("the configuration is right");
        let engine = &config.engine;
        let limits = Limits {
            message_bytes_max: engine.message_bytes_max,
            commit_bytes_max: engine.commit_bytes_max,
            connections_max: sessions,
            pending_connections_max: sessions,
            pending_connections_per_address_max: sessions,
            template_sessions_max: sessions,
            logon_timeout_ns: 10_000_000_000,
            probe_timeout_ns: 1_000_000_000,
            stop_timeout_ns: 1_000_000_000,
            retention_age_ns: 0,
            retention_min_ns: 10_000_000_000,
            retention_undelivered_max_ns: 300_000_000_000,
        };
        let storage = SimulatedStorage::new(GEOMETRY);
        let settings = journal::Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 0,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: engine.message_bytes_max,
            resend_messages_max: 1,
            clock: || 0,
        };
        let manifest = journal::prepare(&storage, &settings).expect("a new volume");
        let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).expect("memory").0;
        let opened = journal::open_over(&storage, manifest, vec![ring], &settings).expect("it opens");
        let incarnation = opened.incarnation;
        let journal = opened.journals.into_iter().next().expect("one journal");
        let shared = Shared::new(1, 1);
        let adopted = Adopted {
            number: 0,
            writer: journal.writer,
            incarnation,
            application: Exchange::new(GEOMETRY.snapshot_bytes_max() as u32),
            sessions: journal.recovered.sessions,
            staging: journal.stager_port,
            counters: shared.journal(0),
        };
        let (sink, told) = events(shared.worker(0));
        let (resolve, requests) = rtrb::RingBuffer::new(16);
        let (answers, resolved) = rtrb::RingBuffer::new(16);
        let mailbox = Mailbox { events: sink, resolve, resolved, hand_over_to: vec![None], handed_over: Vec::new() };
        let now = Now { monotonic_ns: 1_000_000_000, utc: UtcTimestamp::from_unix_ns(UNIX_NS) };
        let wire = Rc::<RefCell<Wire>>::default();
        wire.borrow_mut().inbound.resize_with(sessions as usize, Vec::new);
        let worker = Worker::new(
            0,
            Crowd(Rc::clone(&wire)),
            vec![adopted],
            vec![0],
            Arc::new(Directory::new(&config)),
            Arc::clone(&shared),
            limits,
            mailbox,
            shared.worker(0),
            now,
        );
        let next_out = vec![1; sessions as usize];
        Self {
            worker,
            flusher: journal.flusher,
            wire,
            now,
            next_out,
            _housekeeping: (Box::new(told), Box::new((requests, answers, journal.stager))),
        }
    }

    fn turn(&mut self) {
        let unix_ns = self.now.utc.unix_ns + TURN_NS;
        self.now = Now { monotonic_ns: self.now.monotonic_ns + TURN_NS, utc: UtcTimestamp::from_unix_ns(unix_ns) };
        self.worker.turn(self.now, None);
    }

    /// Gives the worker a message of a session and turns it until the answer is sent.
    fn answer(&mut self, session: u32, msg_type: &[u8], fill: impl FnOnce(&mut Encoder<'_>)) {
        let number = &mut self.next_out[session as usize];
        let mut buffer = [0; 512];
        let mut message = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        let mut comp_id = *b"DESK00000";
        digits(&mut comp_id[4..], session.into());
        message
            .bytes(tags::SENDER_COMP_ID, &comp_id)
            .bytes(tags::TARGET_COMP_ID, b"VENUE")
            .uint(tags::MSG_SEQ_NUM, *number)
            .timestamp(tags::SENDING_TIME, self.now.utc, Precision::Millis);
        fill(&mut message);
        let length = message.finish().expect("the buffer is large enough");
        *number += 1;
        let id = ConnectionId::new(session, 0);
        let sent = {
            let wire = &mut *self.wire.borrow_mut();
            wire.inbound[session as usize].extend_from_slice(&buffer[..length]);
            wire.ready.push(id);
            wire.sent
        };
        for turns in 0.. {
            self.turn();
            if self.wire.borrow().sent > sent {
                return;
            }
            // Of the first messages some wait for a lease.
            self.flusher.turn(self.now.monotonic_ns).expect("a sound volume");
            assert!(turns < 32, "the message is answered");
        }
    }

    fn order(&mut self, session: u32) {
        let mut cl_ord_id = *b"ORD-00000-00000000";
        digits(&mut cl_ord_id[4..9], session.into());
        digits(&mut cl_ord_id[10..], self.next_out[session as usize]);
        self.answer(session, b"D", |body| {
            body.bytes(tags::CL_ORD_ID, &cl_ord_id)
                .char(21, b'1')
                .bytes(tags::SYMBOL, b"EURUSD")
                .char(tags::SIDE, b'1')
                .bytes(tags::TRANSACT_TIME, b"20260921-14:13:20.123")
                .uint(tags::ORDER_QTY, 1_000_000)
                .char(tags::ORD_TYPE, b'2')
                .bytes(tags::PRICE, b"1.084325");
        });
    }
}

fn digits(target: &mut [u8], mut number: u64) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// So many orders and their reports, of the active sessions in turn.
fn turns(active: u32, idle: u32, times: u64) {
    let mut venue = Venue::new(active + idle);
    for session in 0..active + idle {
        venue.wire.borrow_mut().at_the_door.push_back(ConnectionId::new(session, 0));
        venue.answer(session, b"A", |body| {
            body.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, 3_600);
        });
    }
    for _ in 0..WARM_UP {
        (0..active).for_each(|session| venue.order(session));
        venue.flusher.turn(venue.now.monotonic_ns).expect("a sound volume");
    }
    for time in 0..times {
        venue.order((time % u64::from(active)) as u32);
    }
    let (next_out, next_in) = venue.worker.numbers(0, 0);
    assert_eq!(next_out, next_in, "each order has its report");
    assert_eq!(next_in, 2 + WARM_UP + times.div_ceil(active.into()));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [list] if list == "--list" => CASES.iter().for_each(|(name, ..)| println!("{name}")),
        [count, name, times] if count == "--count" => {
            let case = CASES.iter().find(|(case, ..)| case == name).expect("a case of --list");
            let times = times.parse().ok().filter(|times| (1..=TIMES_MAX).contains(times));
            turns(case.1, case.2, times.expect("a number of times, at most 20,000"));
        }
        _ => CASES.iter().for_each(|(name, active, idle)| {
            turns((*active).min(20), (*idle).min(20), 3);
            println!("{name}: ok");
        }),
    }
}
