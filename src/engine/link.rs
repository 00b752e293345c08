//! What joins a session to its journal and its connection: positions, the cursor of unsent bytes, the mode.
//!
//! The journal is the send buffer. A link holds no copy of what it sends: it remembers the position of the first record
//! that its connection has not taken whole, and walks on from there. A peer that reads slowly is a cursor that lags; one
//! whose cursor falls out of the ring is disconnected and recovers by resend.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::at_risk::AtRisk;
use super::hours::Hours;
use super::initiate::Initiator;
use super::lease::Lease;
use super::ledger::Commit;
use super::resend::ResendJob;
use super::retention::Kept;
use crate::control::{Stage, WorkerTrace};
use crate::fix::{Hidden, Overflow};
use crate::journal::{Kind, Mode, NONE, NewRecord, Sendable, StoredNumbers, Writer, flags};
use crate::session::{BackPressure, Now, Numbers, Outbox, Outgoing, OutgoingKind};
use crate::transport::{ConnectionId, Send, Transport};

/// Messages that one call of the operating system sends, at most.
const SLICES_MAX: usize = 32;
/// Bytes that one session sends a turn, at most, give or take one call: a peer that reads again after a long pause must not
/// make the other sessions wait for all that the ring holds for it.
const SEND_BYTES_PER_TURN_MAX: usize = 64 * 1024;
/// The same of a session whose resend is being sent, of which there is always more.
const RESEND_SEND_BYTES_PER_TURN_MAX: usize = 32 * 1024;

pub(crate) struct Link {
    pub number: u32,
    pub mode: Mode,
    pub epoch: u32,
    /// Until the journal is synced beyond this nothing of the session leaves, not even what later commits of a weaker mode hold:
    /// where this process's start is stated, or since then the newest epoch or lowering of the numbers.
    pub waits_for: Option<u64>,
    pub lease: Lease,
    /// One more than the highest number that a record of the session has used.
    pub next_out: u64,
    /// What the records of the session say that it expects next.
    pub next_in: u64,
    /// By a Numbers record behind its newest inbound one, which then says nothing of it.
    pub next_in_is_stated: bool,
    pub identity_bytes: Box<[u8]>,
    /// The newest records of the session in the journal, or [`NONE`].
    pub last_out: u64,
    pub last_in: u64,
    pub at_risk: AtRisk,
    pub kept: Kept,
    /// When the session's numbers began, in s of Unix time; see [`crate::journal::SessionState`].
    pub began_s: u64,
    /// As the journal has it; the session itself decides by its own.
    pub next_out_from_peer: bool,
    pub hours: Option<Box<Hours>>,
    pub connection: Option<ConnectionId>,
    /// The connection is gone and the session has not been told yet, for want of room in the journal.
    pub disconnect_owed: bool,
    queue: SendQueue,
    /// The newest ResendRequest(2) that was appended for this connection.
    resend_request_at: Option<u64>,
    /// Messages with secrets as they go out, by the positions of their records, oldest first; the journal holds them blanked. No more than
    /// the ring has room for: what it overwrites ends the connection.
    secret_sends: VecDeque<(u64, Box<[u8]>)>,
    /// It is among the sessions whose application has asked to log them out.
    pub is_asked: bool,
    /// The deadline that is in the worker's heap for this session, or `u64::MAX`.
    pub timer_ns: u64,
    pub resend: Option<ResendJob>,
    /// The session is in the queue of those that wait for the stager, perhaps for a resend that is over.
    pub resend_waits: bool,
    /// A fresh connection whose Logon names this live session, waiting for the old one to prove alive.
    pub challenger: Option<ConnectionId>,
    pub initiator: Option<Initiator>,
}

/// The records that the connection has not taken yet: a chain in the journal, oldest first.
#[derive(Clone, Copy, Debug, Default)]
struct SendQueue {
    head: Option<u64>,
    /// Bytes of the head's payload that are sent.
    head_sent: usize,
    tail: Option<u64>,
}

/// What [`Link::flush`] gave to the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub bytes: usize,
    /// Whose last byte was among them.
    pub messages: u64,
}

/// How far [`Link::flush`] came.
#[derive(Debug)]
pub(crate) enum Flushed {
    Everything,
    /// The next record's commit is not as durable yet as its mode demands.
    AwaitingRelease,
    /// There is more, for the next turn.
    TurnIsOver,
    /// The operating system takes no more now.
    SocketFull,
    /// The ring has overwritten what was to be sent next.
    FellBehind,
    Failed(io::Error),
}

impl Link {
    pub fn new(number: u32, mode: Mode, identity_bytes: Box<[u8]>) -> Self {
        Self {
            number,
            mode,
            epoch: 0,
            waits_for: None,
            lease: Lease::new(mode, 0, u32::MAX),
            next_out: 1,
            next_in: 1,
            next_in_is_stated: false,
            identity_bytes,
            last_out: NONE,
            last_in: NONE,
            at_risk: AtRisk::default(),
            kept: Kept::default(),
            began_s: 0,
            next_out_from_peer: false,
            hours: None,
            connection: None,
            disconnect_owed: false,
            queue: SendQueue::default(),
            resend_request_at: None,
            secret_sends: VecDeque::new(),
            is_asked: false,
            timer_ns: u64::MAX,
            resend: None,
            resend_waits: false,
            challenger: None,
            initiator: None,
        }
    }

    /// The session's newest inbound record is marked as counted, under the number that it has.
    #[inline]
    pub fn counted(&mut self, msg_seq_num: u64) {
        if !self.next_in_is_stated {
            self.next_in = msg_seq_num.saturating_add(1);
        }
    }

    pub fn attach(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
        self.queue = SendQueue::default();
    }

    /// The connection is gone. What it has not taken stays in the journal, for a resend.
    pub fn detach(&mut self) {
        self.connection = None;
        self.queue = SendQueue::default();
        self.resend_request_at = None;
        self.secret_sends.clear();
        self.resend = None;
    }

    /// How far the cursor lags behind the journal's end; 0 when everything is sent.
    pub fn unsent_bytes(&self, writer: &Writer) -> u64 {
        self.queue.head.map_or(0, |head| writer.appended().saturating_sub(head))
    }

    /// The oldest record that the connection has not taken whole.
    pub fn unsent_from(&self) -> Option<u64> {
        self.queue.head
    }

    /// Whether our newest ResendRequest(2) has not left whole yet.
    pub fn resend_request_is_unsent(&self) -> bool {
        matches!((self.queue.head, self.resend_request_at), (Some(head), Some(request)) if head <= request)
    }

    /// The ring has overwritten what was to be sent next.
    pub fn fell_behind(&self, writer: &Writer) -> bool {
        self.queue.head.is_some_and(|head| !writer.is_in_ring(head))
    }

    /// Sends what is released, as far as the connection takes it. Answers what it sent and why it stopped.
    pub fn flush<T: Transport>(&mut self, writer: &Writer, transport: &mut T, trace: &WorkerTrace) -> (Sent, Flushed) {
        let mut total = Sent::default();
        let Some(connection) = self.connection else { return (total, Flushed::Everything) };
        if let Some(position) = self.waits_for {
            // Commits are synced whole, so that a mark beyond the record's start is one beyond its commit.
            if writer.watermark(Mode::Sync) > position {
                self.waits_for = None;
            } else if self.queue.head.is_some() {
                return (total, Flushed::AwaitingRelease);
            }
        }
        let bytes_max = if self.resend.is_some() { RESEND_SEND_BYTES_PER_TURN_MAX } else { SEND_BYTES_PER_TURN_MAX };
        loop {
            let Some(head) = self.queue.head else { return (total, Flushed::Everything) };
            let first = match self.sendable(writer, head) {
                Sendable::Payload(bytes) => &bytes[self.queue.head_sent..],
                Sendable::Held => return (total, Flushed::AwaitingRelease),
                Sendable::Gone => return (total, Flushed::FellBehind),
            };
            let second = self.after(writer, head);
            trace.at(Stage::Send);
            let (offered, sending) = match second {
                // One answer to one message: most sends of a session that is not flooded.
                None => (first.len(), transport.send(connection, &[IoSlice::new(first)])),
                Some(second) => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let Some(count) = self.gather(writer, first, second, &mut slices) else {
                        return (total, Flushed::FellBehind);
                    };
                    (usize::MAX, transport.send(connection, &slices[..count]))
                }
            };
            let sent = match sending {
                Send::Bytes(sent) => sent,
                Send::Full => return (total, Flushed::SocketFull),
                Send::Failed(error) => return (total, Flushed::Failed(error)),
            };
            total.bytes += sent;
            if sent == offered {
                self.queue = SendQueue::default();
                self.secret_sends.clear();
                total.messages += 1;
                return (total, Flushed::Everything);
            }
            total.messages += self.advance(writer, sent);
            // Where less was taken than offered, too: only a refusal arms the readiness that brings us back.
            if total.bytes >= bytes_max && self.queue.head.is_some() {
                return (total, Flushed::TurnIsOver);
            }
        }
    }

    /// Adds to `first` what may leave after it, from `next` on, as far as the slices go. `None` where the ring has overwritten it.
    fn gather<'a>(
        &'a self,
        writer: &'a Writer,
        first: &'a [u8],
        next: u64,
        slices: &mut [IoSlice<'a>; SLICES_MAX],
    ) -> Option<usize> {
        slices[0] = IoSlice::new(first);
        let (mut count, mut next) = (1, Some(next));
        while let Some(position) = next
            && count < SLICES_MAX
        {
            match self.sendable(writer, position) {
                Sendable::Payload(bytes) => slices[count] = IoSlice::new(bytes),
                Sendable::Held => break,
                Sendable::Gone => return None,
            }
            count += 1;
            next = self.after(writer, position);
        }
        Some(count)
    }

    /// Answers how many messages have gone out whole.
    fn advance(&mut self, writer: &Writer, mut sent: usize) -> u64 {
        let mut messages = 0;
        while let Some(head) = self.queue.head {
            let Sendable::Payload(bytes) = self.sendable(writer, head) else { return messages };
            let left = bytes.len() - self.queue.head_sent;
            if sent < left {
                self.queue.head_sent += sent;
                return messages;
            }
            sent -= left;
            messages += 1;
            self.queue.head_sent = 0;
            self.queue.head = self.after(writer, head);
            if self.secret_sends.front().is_some_and(|(position, _)| *position == head) {
                self.secret_sends.pop_front();
            }
        }
        self.queue.tail = None;
        messages
    }

    fn after(&self, writer: &Writer, position: u64) -> Option<u64> {
        if self.queue.tail == Some(position) { None } else { writer.next_send(position) }
    }

    #[inline]
    fn sendable<'a>(&'a self, writer: &'a Writer, position: u64) -> Sendable<'a> {
        let sendable = writer.sendable(position);
        if self.secret_sends.is_empty() { sendable } else { self.in_the_clear(position, sendable) }
    }

    #[cold]
    fn in_the_clear<'a>(&'a self, position: u64, sendable: Sendable<'a>) -> Sendable<'a> {
        let found = self.secret_sends.binary_search_by_key(&position, |(position, _)| *position);
        match (found, sendable) {
            (Ok(at), Sendable::Payload(_)) => Sendable::Payload(&self.secret_sends[at].1),
            (_, sendable) => sendable,
        }
    }
}

/// Where a session's outgoing messages go: the journal's tail, chained for the connection.
pub(crate) struct LinkOutbox<'a> {
    writer: &'a mut Writer,
    link: &'a mut Link,
    commit: &'a mut Commit,
    now: Now,
}

impl<'a> LinkOutbox<'a> {
    pub fn new(writer: &'a mut Writer, link: &'a mut Link, commit: &'a mut Commit, now: Now) -> Self {
        Self { writer, link, commit, now }
    }

    fn record(&self, kind: Kind, msg_seq_num: u64, sends: bool) -> NewRecord {
        NewRecord {
            kind,
            session: self.link.number,
            msg_seq_num,
            time_ns: self.now.utc.unix_ns,
            epoch: self.link.epoch,
            previous: if kind == Kind::Outbound { self.link.last_out } else { NONE },
            origin: None,
            sent_after: if sends { self.link.queue.tail } else { None },
            flags: 0,
        }
    }

    fn appended(&mut self, position: u64, kind: Kind, msg_seq_num: u64, sends: bool) {
        self.commit.appended = true;
        self.commit.mode = self.commit.mode.max(self.link.mode);
        if kind == Kind::Outbound {
            self.link.last_out = position;
            self.link.next_out = msg_seq_num + 1;
            let (end, synced) = (self.writer.tail(), self.writer.watermark(Mode::Sync));
            self.link.at_risk.append(position, end, self.now.utc.unix_ns, synced);
        }
        // Of a Replay too: a gap fill's NewSeqNo(36) says that all before it is used.
        if !self.link.lease.is_quiet(self.link.next_out) {
            self.look_at_lease();
        }
        if sends {
            let queue = &mut self.link.queue;
            queue.head = queue.head.or(Some(position));
            queue.tail = Some(position);
            self.commit.touched.push(self.link.number);
        }
    }

    #[cold]
    fn look_at_lease(&mut self) {
        let look = self.link.lease.look(self.link.next_out, self.writer.watermark(Mode::Sync));
        if look.sync {
            self.commit.mode = Mode::Sync;
        }
        if look.list {
            self.commit.leases.push(self.link.number);
        }
    }
}

impl Outbox for LinkOutbox<'_> {
    fn append(
        &mut self,
        outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        let kind = if outgoing.kind == OutgoingKind::Replay { Kind::Replay } else { Kind::Outbound };
        let sends = self.link.connection.is_some() && outgoing.kind != OutgoingKind::Deferred;
        let record = self.record(kind, outgoing.msg_seq_num, sends);
        let caller = self.commit.trace.stage();
        self.commit.trace.at(Stage::Encode);
        let rehearses = self.commit.rehearses;
        let appended = self.writer.append(record, |space| {
            let length = encode(space);
            self.commit.trace.at(Stage::JournalOut);
            if rehearses { Err(Overflow) } else { length }
        });
        let Ok(position) = appended else {
            self.commit.trace.at(caller);
            return Err(BackPressure);
        };
        if matches!(outgoing.kind, OutgoingKind::Application | OutgoingKind::Deferred) {
            let is_deliverable = sends && self.link.resend.is_none();
            self.commit.retention.sent(&mut self.link.kept, position, self.now.monotonic_ns, is_deliverable);
        } else if outgoing.kind == OutgoingKind::ResendRequest {
            self.link.resend_request_at = Some(position);
        }
        self.appended(position, kind, outgoing.msg_seq_num, sends);
        self.commit.trace.at(caller);
        Ok(())
    }

    fn hidden(&mut self, hidden: &Hidden) {
        let position = self.link.last_out;
        self.writer.mark_secret_blanked(position);
        if self.link.queue.tail == Some(position) {
            let clear = super::secrets::clear_form(self.writer.payload(position), hidden);
            self.link.secret_sends.push_back((position, clear));
        }
    }

    fn numbers(&mut self, numbers: Numbers) {
        let Numbers { next_out, next_in, epoch } = numbers;
        let opens_epoch = epoch != self.link.epoch;
        // A new epoch, or a number that was passed over and is used after all, is on stable media before anything of its commit is
        // released, whatever the mode.
        let is_synced_first = opens_epoch || next_out < self.link.next_out;
        if is_synced_first {
            self.commit.mode = Mode::Sync;
        }
        if opens_epoch {
            self.link.epoch = epoch;
            self.link.began_s = self.now.utc.unix_s();
            self.link.lease.open_epoch(next_out, self.link.connection.is_some());
        }
        self.link.next_out = next_out;
        (self.link.next_in, self.link.next_in_is_stated) = (next_in, true);
        let stored = StoredNumbers { next_out, next_in, epoch, lease: self.link.lease.stated() };
        let flags = if self.link.next_out_from_peer { flags::NEXT_OUT_FROM_PEER } else { 0 };
        let time_ns = self.now.utc.unix_ns;
        let appended = self.writer.append_flagged_numbers(self.link.number, time_ns, stored, flags);
        let position = appended.expect("the room that a commit reserves holds the session's own records");
        if is_synced_first {
            self.link.waits_for = Some(position);
        }
        self.commit.appended = true;
        self.commit.mode = self.commit.mode.max(self.link.mode);
    }

    fn next_out_is_known(&mut self) {
        self.link.next_out_from_peer = false;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::journal::simulated::SimulatedStorage;
    use crate::journal::{FlushMethod, Geometry, Room, Settings, open_over, prepare};
    use crate::sys::ring::RingMemory;
    use crate::transport::{Connect, Ready, Receive};

    /// A connection whose peer reads faster than we can send.
    struct Bottomless {
        received: usize,
    }

    impl Transport for Bottomless {
        type Detached = ();

        fn send(&mut self, _id: ConnectionId, slices: &[IoSlice<'_>]) -> Send {
            let bytes = slices.iter().map(|slice| slice.len()).sum();
            self.received += bytes;
            Send::Bytes(bytes)
        }

        fn poll(&mut self, _timeout: Option<Duration>, _ready: &mut Vec<Ready>) -> io::Result<()> {
            Ok(())
        }

        fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
            Ok(None)
        }

        fn connect(&mut self, _address: SocketAddr) -> io::Result<ConnectionId> {
            Ok(ConnectionId::new(0, 0))
        }

        fn connect_result(&mut self, _id: ConnectionId) -> Connect {
            Connect::Established
        }

        fn receive(&mut self, _id: ConnectionId, _buffer: &mut [u8]) -> Receive {
            Receive::Nothing
        }

        fn finish(&mut self, _id: ConnectionId) {}

        fn close(&mut self, _id: ConnectionId) {}

        fn detach(&mut self, _id: ConnectionId) -> Option<()> {
            Some(())
        }

        fn attach(&mut self, (): ()) -> io::Result<ConnectionId> {
            Ok(ConnectionId::new(0, 0))
        }

        fn stop_listening(&mut self) {}
    }

    #[test]
    fn a_peer_that_takes_everything_takes_so_much_a_turn() {
        const MESSAGE_BYTES: usize = 4 << 10;
        const MESSAGES: usize = 100;
        const RESEND_REQUEST: usize = 50;
        let geometry = Geometry { journals: 1, ring_bytes: 1 << 20, segment_bytes: 1 << 20, segments: 3 };
        let storage = SimulatedStorage::new(geometry);
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: 0,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: MESSAGE_BYTES as u32,
            resend_messages_max: 10,
            clock: || 0,
        };
        let manifest = prepare(&storage, &settings).unwrap();
        let ring = RingMemory::anonymous(geometry.ring_bytes).unwrap().0;
        let mut writer = open_over(&storage, manifest, vec![ring], &settings).unwrap().journals.remove(0).writer;
        assert_eq!(writer.begin(64), Room::RollDue);
        assert_eq!(writer.roll(std::iter::empty(), b""), Ok(true));

        let mut link = Link::new(0, Mode::Buffered, Box::default());
        link.attach(ConnectionId::new(0, 0));
        for number in 0..MESSAGES {
            assert_eq!(writer.begin(2 * MESSAGE_BYTES as u32), Room::Ready);
            let new = NewRecord { sent_after: link.queue.tail, ..NewRecord::internal(Kind::Outbound, 0) };
            let position = writer.append_bytes(new, &[b'x'; MESSAGE_BYTES]).unwrap();
            writer.commit(Mode::Buffered);
            link.queue.head = link.queue.head.or(Some(position));
            link.queue.tail = Some(position);
            if number == RESEND_REQUEST {
                link.resend_request_at = Some(position);
            }
        }
        assert!(link.resend_request_is_unsent());
        let (mut transport, trace) = (Bottomless { received: 0 }, WorkerTrace::default());
        let mut total = Sent::default();
        for turn in 1.. {
            let (sent, flushed) = link.flush(&writer, &mut transport, &trace);
            (total.bytes, total.messages) = (total.bytes + sent.bytes, total.messages + sent.messages);
            assert_eq!(link.resend_request_is_unsent(), total.messages as usize <= RESEND_REQUEST, "{total:?}");
            if matches!(flushed, Flushed::Everything) {
                assert!(turn > 2, "{total:?} in {turn} turns");
                break;
            }
            assert!(matches!(flushed, Flushed::TurnIsOver), "{flushed:?}");
            let bounds = SEND_BYTES_PER_TURN_MAX..SEND_BYTES_PER_TURN_MAX + SLICES_MAX * MESSAGE_BYTES;
            assert!(bounds.contains(&sent.bytes), "{sent:?}");
        }
        assert_eq!((total.bytes, transport.received), (MESSAGES * MESSAGE_BYTES, MESSAGES * MESSAGE_BYTES));
        assert_eq!(total.messages as usize, MESSAGES);
    }
}
