//! What a worker has to tell a person: small values in a bounded ring that housekeeping turns into log lines.
//!
//! A worker never formats or writes a log line. What repeats is counted instead (`super::event_limits`). When the ring is full an event is
//! dropped and counted too: the count is logged with the next one that gets through.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use rtrb::{Consumer, Producer, RingBuffer};

use super::event_kind::{Kind, Subject};
use super::event_limits::EventLimits;
use crate::control::WorkerCounters;
use crate::fix::{Garbled, Message, SecretTags, UtcTimestamp, tags};
use crate::session::{DisconnectReason, Identity, Notice, Now, State};

/// Events that wait for housekeeping, at most.
const EVENTS_MAX: usize = 4096;
/// An initiator's pause that is long enough to tell what comes after it apart from what was before.
const PAUSE_NS_MIN: u64 = 40_000_000;
/// Counts that are told a turn, at most.
const COUNTS_PER_TURN_MAX: usize = 8;
/// What is kept of a peer's Text(58). An event is copied through a ring, so that it must stay small.
const PEER_TEXT_BYTES_MAX: usize = 128;

/// Which session an event is about: its ledger and number, as [`Event::SessionKnown`] introduced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub journal: u16,
    pub number: u32,
}

/// An event and when it happened: the log is written later.
#[derive(Debug)]
pub struct Told {
    pub at: UtcTimestamp,
    pub event: Event,
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
    /// A Logon(A) for a session that no configuration has; the refusal follows. `None` where it named none in full.
    UnknownSession {
        peer: SocketAddr,
        named: Option<Box<Identity>>,
    },
    /// The first Logon(A) of a session that a template would have made. There is no session, and the connection is closed.
    FirstLogonRefused {
        peer: SocketAddr,
        named: Box<Identity>,
        why: DisconnectReason,
        /// What a Logout(5) would have said.
        text: Box<[u8]>,
    },
    LoggedOn {
        session: SessionKey,
        /// `None` where the connection has gone already.
        peer: Option<SocketAddr>,
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
    /// Why the peer refuses something or leaves, in its own words.
    PeerSaid {
        session: SessionKey,
        text: PeerText,
    },
    /// An initiator's connection has ended: the next attempt comes after this.
    ReconnectIn {
        session: SessionKey,
        retry_in_ns: u64,
    },
    /// A session with a schedule may be logged on now; also told at the start.
    HoursBegan {
        session: SessionKey,
        /// s of Unix time.
        until_s: Option<u64>,
    },
    /// It may not.
    HoursEnded {
        session: SessionKey,
        until_s: Option<u64>,
    },
    Garbled {
        session: Option<SessionKey>,
        peer: SocketAddr,
        why: Garbled,
    },
    /// It is read over, or the session ends.
    MessageTooLong {
        session: SessionKey,
        peer: SocketAddr,
        bytes: u64,
        message_bytes_max: u32,
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
    /// A gap fill stood for what a resend was to have.
    ResendIncomplete {
        session: SessionKey,
        /// Numbers whose segment was overwritten.
        recycled: u64,
        /// Messages that were too old to be sent again.
        aged: u64,
    },
    /// The session's messages wait, so that what other sessions have is not recycled.
    Slowed {
        session: SessionKey,
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
    /// So many more of a kind came within a second of the last that was told.
    Repeated {
        kind: Kind,
        more: u64,
    },
    /// So many events found the ring full.
    Dropped {
        events: u64,
    },
}

/// Text(58) of a message in which a peer gives a reason, cut at a bound. No other message yields one: a Logon(A) least of
/// all, for what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerText {
    pub of: TextOf,
    bytes: [u8; PEER_TEXT_BYTES_MAX],
    length: u8,
}

const _: () = assert!(PEER_TEXT_BYTES_MAX <= u8::MAX as usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextOf {
    /// A Logout(5) in answer to our Logon(A).
    LogonRefused,
    Logout,
    Reject,
    BusinessMessageReject,
}

impl PeerText {
    /// `state` is the session's when the message came. A text that is secret is none.
    #[inline]
    pub fn of(message: &Message<'_>, state: State, secrets: &SecretTags) -> Option<Self> {
        let of = match message.msg_type() {
            b"5" if state == State::LogonSent => TextOf::LogonRefused,
            b"5" => TextOf::Logout,
            b"3" => TextOf::Reject,
            b"j" => TextOf::BusinessMessageReject,
            _ => return None,
        };
        let text = message.field(tags::TEXT).filter(|_| !secrets.of(message.msg_type()).contains(&tags::TEXT))?;
        let length = text.len().min(PEER_TEXT_BYTES_MAX);
        let mut bytes = [0; PEER_TEXT_BYTES_MAX];
        bytes[..length].copy_from_slice(&text[..length]);
        Some(Self { of, bytes, length: length as u8 })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedWhy {
    /// Nothing that could become a Logon(A) within the time allowed.
    NoLogonInTime,
    /// Its Logon has come and was not read in time, since its session is slowed.
    SessionSlowed,
    FirstMessageNotLogon,
    Garbled,
    /// It is longer than `message_bytes_max`.
    TooLong,
    UnknownSession,
    /// The session has a live connection that answered a probe.
    SessionLive,
    /// Templates may not create more sessions.
    TooManySessions,
    /// As many connections as `connections_max` allows, or as many without a Logon as are bounded.
    TooManyConnections,
    /// It had no Logon yet, and a newer connection took its place.
    MadeRoom,
    Stopping,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectedWhy {
    PeerClosed,
    Failed(std::io::ErrorKind),
    Session(DisconnectReason),
    /// The peer took its bytes so slowly that the ring has overwritten them.
    SlowConsumer,
    /// Another connection's Logon named this session, and this one did not prove alive.
    Replaced,
    Stopping,
}

/// The worker's end.
pub struct EventSink {
    ring: Producer<Told>,
    dropped: u64,
    limits: EventLimits,
    now: Now,
    counters: Arc<CachePadded<WorkerCounters>>,
}

impl EventSink {
    /// The time of what follows.
    #[inline]
    pub fn at(&mut self, now: Now) {
        self.now = now;
        self.limits.at(now.monotonic_ns);
    }

    /// Tells what was counted, where it is due. Once a turn.
    #[inline]
    pub fn turn(&mut self) {
        if self.limits.has_counted() || self.dropped > 0 {
            self.tell_counts();
        }
    }

    #[cold]
    fn tell_counts(&mut self) {
        self.tell_dropped();
        for _ in 0..COUNTS_PER_TURN_MAX {
            let Some((kind, more)) = self.limits.next_due(false) else { break };
            self.hand(Event::Repeated { kind, more });
        }
    }

    pub fn push(&mut self, event: Event) {
        // After a pause of our own an initiator's next attempt is told as the first was: the pause keeps the log from being filled.
        let paused = match event {
            Event::ReconnectIn { session, retry_in_ns } | Event::ConnectFailed { session, retry_in_ns, .. } => {
                (retry_in_ns >= PAUSE_NS_MIN).then_some(session)
            }
            _ => None,
        };
        match event.kind() {
            Some(kind) if !self.limits.lets_through(kind) => self.counters.log_events_counted.add(1),
            _ => self.hand(event),
        }
        if let Some(session) = paused {
            self.limits.begin_anew(Subject::Session(session));
        }
    }

    fn hand(&mut self, event: Event) {
        self.tell_dropped();
        let stands_for = if let Event::Repeated { more, .. } = event { more } else { 1 };
        if self.ring.push(Told { at: self.now.utc, event }).is_err() {
            self.dropped += stands_for;
            self.counters.log_events_dropped.add(stands_for);
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = Event::Dropped { events: self.dropped };
        if self.dropped > 0 && self.ring.push(Told { at: self.now.utc, event: dropped }).is_ok() {
            self.dropped = 0;
        }
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        while let Some((kind, more)) = self.limits.next_due(true) {
            self.hand(Event::Repeated { kind, more });
        }
        self.tell_dropped();
    }
}

/// A worker's events: its end, and the log's.
pub fn events(counters: Arc<CachePadded<WorkerCounters>>) -> (EventSink, Consumer<Told>) {
    let (producer, consumer) = RingBuffer::new(EVENTS_MAX);
    let now = Now { monotonic_ns: 0, utc: UtcTimestamp::default() };
    (EventSink { ring: producer, dropped: 0, limits: EventLimits::default(), now, counters }, consumer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{Encoder, FieldIndex, parse};

    fn text_of(msg_type: &[u8], text: &str, state: State) -> Option<(TextOf, Vec<u8>)> {
        let mut buffer = [0; 1_024];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        encoder.uint(tags::MSG_SEQ_NUM, 1).bytes(tags::TEXT, text.as_bytes());
        let length = encoder.finish().unwrap();
        let mut index = FieldIndex::with_capacity(16);
        let message = parse(&buffer[..length], &mut index).unwrap();
        PeerText::of(&message, state, &SecretTags::default()).map(|text| (text.of, text.bytes().to_vec()))
    }

    #[test]
    fn a_reason_is_taken_from_the_messages_that_give_one_and_from_no_other() {
        let of = |msg_type: &[u8], state| text_of(msg_type, "why", state).map(|(of, _)| of);
        assert_eq!(of(b"5", State::LogonSent), Some(TextOf::LogonRefused));
        assert_eq!(of(b"5", State::Established), Some(TextOf::Logout));
        assert_eq!(of(b"3", State::Established), Some(TextOf::Reject));
        assert_eq!(of(b"j", State::Established), Some(TextOf::BusinessMessageReject));
        for msg_type in [&b"A"[..], b"0", b"8", b"D", b"BE"] {
            assert_eq!(of(msg_type, State::LogonSent), None, "{msg_type:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let (_, bytes) = text_of(b"3", &"x".repeat(500), State::Established).unwrap();
        assert_eq!(bytes, [b'x'; PEER_TEXT_BYTES_MAX]);
    }

    fn drained(ring: &mut Consumer<Told>) -> Vec<String> {
        std::iter::from_fn(|| ring.pop().ok()).map(|told| format!("{:?}", told.event)).collect()
    }

    fn at(monotonic_ns: u64) -> Now {
        Now { monotonic_ns, utc: UtcTimestamp::from_unix_ns(1_790_000_000_000_000_000 + monotonic_ns) }
    }

    #[test]
    fn an_event_keeps_its_time_however_long_nobody_reads_it() {
        let (mut sink, mut ring) = events(Arc::default());
        let session = SessionKey { journal: 0, number: 1 };
        for second in 1..=3 {
            sink.at(at(second * 10_000_000_000));
            sink.turn();
            sink.push(Event::ResendStarted { session, begin: second, end: second });
        }
        let times: Vec<u64> = std::iter::from_fn(|| ring.pop().ok()).map(|told| told.at.unix_s()).collect();
        assert_eq!(times, [1_790_000_010, 1_790_000_020, 1_790_000_030]);
    }

    #[test]
    fn one_session_s_noise_takes_no_other_s_place_in_the_ring() {
        let counters = Arc::<CachePadded<WorkerCounters>>::default();
        let (mut sink, mut ring) = events(Arc::clone(&counters));
        let loud = SessionKey { journal: 0, number: 1 };
        let peer = SocketAddr::from(([127, 0, 0, 1], 9880));
        // Nobody reads the ring meanwhile.
        for nth in 0..100 * EVENTS_MAX as u64 {
            sink.at(at(nth * 1_000));
            sink.turn();
            sink.push(Event::Garbled { session: Some(loud), peer, why: Garbled::Trailer });
        }
        let quiet = SessionKey { journal: 0, number: 2 };
        sink.push(Event::LoggedOn { session: quiet, peer: None });
        let told = drained(&mut ring);
        assert_eq!(counters.log_events_dropped.value(), 0);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("LoggedOn") && told[1].contains("number: 2"), "{told:?}");
        sink.at(at(3_000_000_000));
        sink.turn();
        let told = drained(&mut ring);
        assert_eq!(counters.log_events_counted.value(), 100 * EVENTS_MAX as u64 - 1);
        assert!(told.len() == 1 && told[0].contains(&format!("more: {}", 100 * EVENTS_MAX - 1)), "{told:?}");
    }

    #[test]
    fn what_finds_the_ring_full_is_counted_and_the_count_is_told() {
        let counters = Arc::<CachePadded<WorkerCounters>>::default();
        let (mut sink, mut ring) = events(Arc::clone(&counters));
        for number in 0..EVENTS_MAX as u32 + 10 {
            sink.push(Event::LoggedOn { session: SessionKey { journal: 0, number }, peer: None });
        }
        assert_eq!(counters.log_events_dropped.value(), 10);
        assert_eq!(drained(&mut ring).len(), EVENTS_MAX);
        // Without another event.
        sink.at(at(1));
        sink.turn();
        assert_eq!(drained(&mut ring), ["Dropped { events: 10 }"]);
    }
}
