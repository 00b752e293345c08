//! A worker's whole turn: an order received, stored, processed, answered, and its report given to the connection.
//!
//! The connection is a buffer, so that what is counted is the engine's own share of a round trip: from recv returned to send called,
//! with the bookkeeping that follows. Turns that find nothing are counted apart.

use std::cell::RefCell;
use std::hint::black_box;
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

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 32 << 20, segment_bytes: 32 << 20, segments: 3 };
const UNIX_NS: u64 = 1_790_000_000_123_000_000;

/// One connection, accepted at once: what it brings next, and how much it has taken.
#[derive(Default)]
struct Wire {
    accepted: bool,
    inbound: Vec<u8>,
    sent: usize,
}

struct OneConnection(Rc<RefCell<Wire>>);

impl Transport for OneConnection {
    type Detached = ();

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if !self.0.borrow().accepted {
            ready.push(Ready::Acceptable);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        let is_first = !std::mem::replace(&mut self.0.borrow_mut().accepted, true);
        Ok(is_first.then_some((ConnectionId(0), SocketAddr::from(([127, 0, 0, 1], 1)))))
    }

    fn connect(&mut self, _address: SocketAddr) -> io::Result<ConnectionId> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn connect_result(&mut self, _id: ConnectionId) -> Connect {
        Connect::Pending
    }

    fn receive(&mut self, _id: ConnectionId, buffer: &mut [u8]) -> Receive {
        let inbound = &mut self.0.borrow_mut().inbound;
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

    fn close(&mut self, _id: ConnectionId) {}

    fn detach(&mut self, _id: ConnectionId) {}

    fn attach(&mut self, (): ()) -> io::Result<ConnectionId> {
        Ok(ConnectionId(0))
    }

    fn stop_listening(&mut self) {}
}

/// A worker with one session and what carries its journal.
struct Venue {
    worker: Worker<OneConnection, Exchange>,
    flusher: Flusher<SimulatedStorage>,
    wire: Rc<RefCell<Wire>>,
    now: Now,
    // Kept so that the worker's ends do not see them abandoned.
    _housekeeping: (Box<dyn std::any::Any>, Box<dyn std::any::Any>),
}

impl Venue {
    fn new() -> Self {
        let config = "[[acceptor]]\nlisten = \"127.0.0.1:1\"\n[[session]]\nbegin_string = \"FIX.4.4\"\n\
                      sender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK1\"\n";
        let config = Config::parse(config, "bench").expect("the configuration is right");
        let engine = &config.engine;
        let limits = Limits {
            message_bytes_max: engine.message_bytes_max,
            commit_bytes_max: engine.commit_bytes_max,
            connections_max: 8,
            pending_connections_max: 8,
            template_sessions_max: 0,
            logon_timeout_ns: 1_000_000_000,
            probe_timeout_ns: 1_000_000_000,
            stop_timeout_ns: 1_000_000_000,
            retention_age_ns: 0,
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
        let (sink, told) = events();
        let (resolve, requests) = rtrb::RingBuffer::new(16);
        let (answers, resolved) = rtrb::RingBuffer::new(16);
        let mailbox = Mailbox { events: sink, resolve, resolved, hand_over_to: vec![None], handed_over: Vec::new() };
        let now = Now { monotonic_ns: 1_000_000_000, utc: UtcTimestamp::from_unix_ns(UNIX_NS) };
        let wire = Rc::<RefCell<Wire>>::default();
        let worker = Worker::new(
            0,
            OneConnection(Rc::clone(&wire)),
            vec![adopted],
            vec![0],
            Arc::new(Directory::new(&config)),
            Arc::clone(&shared),
            limits,
            mailbox,
            shared.worker(0),
            now,
        );
        let _housekeeping: (Box<dyn std::any::Any>, Box<dyn std::any::Any>) =
            (Box::new(told), Box::new((requests, answers, journal.stager)));
        Self { worker, flusher: journal.flusher, wire, now, _housekeeping }
    }

    fn logged_on() -> Self {
        let mut venue = Self::new();
        venue.answer(&message(b"A", 1, |body| {
            body.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, 30);
        }));
        venue
    }

    /// Gives the worker a message and turns it until the answer is sent.
    fn answer(&mut self, message: &[u8]) {
        let sent = {
            let mut wire = self.wire.borrow_mut();
            wire.inbound.extend_from_slice(message);
            wire.sent
        };
        self.worker.turn(self.now, None);
        let mut turns = 0;
        while self.wire.borrow().sent == sent {
            // Of the first messages some wait for a lease.
            self.flusher.turn(self.now.monotonic_ns).expect("a sound volume");
            self.worker.turn(self.now, None);
            turns += 1;
            assert!(turns < 16, "the message is answered");
        }
    }
}

/// A turn that finds nothing, of a worker with a connection that brought something lately.
pub fn idle(times: u64) {
    let mut venue = Venue::logged_on();
    let work: u32 = (0..times + 2).map(|_| venue.worker.turn(black_box(venue.now), None)).sum();
    assert!(work <= 1, "at most the lease is stated");
}

/// An order received to report sent.
pub fn order_to_report(times: u64) {
    let mut venue = Venue::logged_on();
    for number in 2..times + 2 {
        // Each has a name of its own, or it would be refused.
        let cl_ord_id = format!("ORD-20260921-{number:08}");
        let order = message(b"D", number, |body| {
            body.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes())
                .bytes(1, b"ACCOUNT-7")
                .char(21, b'1')
                .bytes(tags::SYMBOL, b"EURUSD")
                .char(tags::SIDE, b'1')
                .timestamp(tags::TRANSACT_TIME, UtcTimestamp::from_unix_ns(UNIX_NS), Precision::Millis)
                .uint(tags::ORDER_QTY, 1_000_000)
                .char(tags::ORD_TYPE, b'2')
                .bytes(tags::PRICE, b"1.084325")
                .char(tags::TIME_IN_FORCE, b'0');
        });
        venue.answer(&order);
    }
    // The first of these walks the last order's way once more.
    let sent = venue.wire.borrow().sent;
    (0..3).for_each(|_| _ = venue.worker.turn(venue.now, None));
    assert_eq!(venue.worker.numbers(0, 0), (times + 2, times + 2), "each order has its report");
    assert_eq!(venue.wire.borrow().sent, sent, "and one only");
}

fn message(msg_type: &[u8], number: u64, fill: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
    let mut buffer = vec![0; 512];
    let mut message = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
    message
        .bytes(tags::SENDER_COMP_ID, b"DESK1")
        .bytes(tags::TARGET_COMP_ID, b"VENUE")
        .uint(tags::MSG_SEQ_NUM, number)
        .timestamp(tags::SENDING_TIME, UtcTimestamp::from_unix_ns(UNIX_NS), Precision::Millis);
    fill(&mut message);
    let length = message.finish().expect("the buffer is large enough");
    buffer.truncate(length);
    buffer
}
