//! What a worker has to tell a person: small values in a bounded ring that housekeeping turns into log lines.
//!
//! A worker never formats or writes a log line. When the ring is full an event is dropped and counted: the count is
//! logged with the next one that gets through.

use std::net::SocketAddr;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::fix::Garbled;
use crate::session::{DisconnectReason, Identity, Notice};

/// Events that wait for housekeeping, at most.
const EVENTS_MAX: usize = 4096;

/// Which session an event is about: its ledger and number, as [`Event::SessionKnown`] introduced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub journal: u16,
    pub number: u32,
}

#[derive(Debug)]
pub enum Event {
    /// Names a session. Sent once for each, before anything else about it.
    SessionKnown {
        session: SessionKey,
        identity: Box<Identity>,
    },
    Accepted {
        peer: SocketAddr,
    },
    /// A connection that never came to a session, or was kept out of one.
    Refused {
        peer: SocketAddr,
        why: RefusedWhy,
    },
    LoggedOn {
        session: SessionKey,
    },
    LoggedOut {
        session: SessionKey,
    },
    Disconnected {
        session: SessionKey,
        why: DisconnectedWhy,
    },
    Noticed {
        session: SessionKey,
        notice: Notice,
    },
    Garbled {
        session: Option<SessionKey>,
        peer: SocketAddr,
        why: Garbled,
    },
    ConnectFailed {
        session: SessionKey,
        address: Option<SocketAddr>,
        error: std::io::ErrorKind,
        retry_in_ns: u64,
    },
    ResendStarted {
        session: SessionKey,
        begin: u64,
        end: u64,
    },
    /// The ring of the journal has no room: sockets are not read until it has.
    BackPressure {
        journal: u16,
    },
    PollFailed {
        error: std::io::ErrorKind,
    },
    AcceptFailed {
        error: std::io::ErrorKind,
    },
    /// So many events found the ring full.
    Dropped {
        events: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// Nothing that could become a Logon(A) within the time allowed.
    NoLogonInTime,
    FirstMessageNotLogon,
    Garbled,
    UnknownSession,
    /// The session has a live connection that answered a probe.
    SessionLive,
    /// Templates may not create more sessions.
    TooManySessions,
    /// As many connections as `connections_max` allows, or as many without a Logon as are bounded.
    TooManyConnections,
    Stopping,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectedWhy {
    PeerClosed,
    Failed(std::io::ErrorKind),
    Session(DisconnectReason),
    /// The peer sent a message longer than `message_bytes_max`.
    MessageTooLong,
    /// The peer took its bytes so slowly that the ring has overwritten them.
    SlowConsumer,
    /// Another connection's Logon named this session, and this one did not prove alive.
    Replaced,
    Stopping,
}

/// The worker's end.
pub struct EventSink {
    ring: Producer<Event>,
    dropped: u64,
}

impl EventSink {
    pub fn push(&mut self, event: Event) {
        if self.dropped > 0 && self.ring.push(Event::Dropped { events: self.dropped }).is_ok() {
            self.dropped = 0;
        }
        if self.ring.push(event).is_err() {
            self.dropped += 1;
        }
    }
}

pub fn events() -> (EventSink, Consumer<Event>) {
    let (producer, consumer) = RingBuffer::new(EVENTS_MAX);
    (EventSink { ring: producer, dropped: 0 }, consumer)
}
