//! From accepted connections and received bytes to steps of sessions.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::{HOT_TURNS_MAX, HandOver, Worker};
use crate::application::Application;
use crate::control;
use crate::engine::clock::Clock;
use crate::engine::connection::{Connection, ReceiveBuffer, Stage};
use crate::engine::event::{DisconnectedWhy, Event, RefusedWhy};
use crate::engine::hot::HOT_MAX;
use crate::engine::ledger::Full;
use crate::engine::resend::Budget;
use crate::engine::timers::Timer;
use crate::fix::{Framing, Garbled, frame};
use crate::session::{Now, Role, State};
use crate::transport::{Connect, ConnectionId, Receive, Transport};

/// Reads of one connection a turn, at most: others have their turn too.
const READS_PER_TURN_MAX: u32 = 4;
/// Messages of all connections a turn, at most: what was answered waits for the turn's end.
const MESSAGES_PER_TURN_MAX: u32 = 64;
/// Messages and bytes of one connection a turn, at most and give or take a message, while others are active. Without that a peer
/// that floods would have its reads' worth of the smallest messages, thousands of steps, before anybody else's turn.
const MESSAGES_AMONG_OTHERS_MAX: u32 = 8;
const BYTES_AMONG_OTHERS_MAX: usize = 16 * 1024;
/// A connection's buffer is faulted in while there are fewer: with thousands, most of them idle, they would be the most of the memory.
const FAULTED_IN_MAX: u32 = 64;
/// Buffers of closed connections that are kept for the next ones.
const SPARE_BUFFERS_MAX: usize = 64;

/// Whether the next message of the buffer may be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Message,
    /// Not now: no room in the journal, the connection waits for something, or it has had its turn.
    Later,
    /// The connection is closing: what comes is discarded.
    Discard,
    /// The connection is gone or has gone elsewhere.
    Gone,
}

impl<T: Transport, A: Application> Worker<T, A> {
    pub(super) fn accepted(&mut self, now: Now, id: ConnectionId, peer: SocketAddr) {
        self.counters.connections_accepted.add(1);
        if self.let_in(now, id, peer) {
            self.mailbox.events.push(Event::Accepted { peer });
        }
    }

    /// `false` where there are too many connections or the engine stops; then this one is closed.
    fn let_in(&mut self, now: Now, id: ConnectionId, peer: SocketAddr) -> bool {
        if self.connections_open >= self.limits.connections_max {
            self.close_oldest_draining();
        }
        if !self.stop.is_requested() {
            self.make_room(peer.ip());
        }
        let too_many = self.connections_open >= self.limits.connections_max
            || self.pending.len() >= self.limits.pending_connections_max;
        if too_many || self.stop.is_requested() {
            let why = if too_many { RefusedWhy::TooManyConnections } else { RefusedWhy::Stopping };
            self.counters.connections_refused.add(1);
            self.mailbox.events.push(Event::Refused { peer, why });
            self.transport.close(id);
            return false;
        }
        self.insert(now, id, peer, Stage::LogonAwaited);
        true
    }

    pub(super) fn take_over(&mut self, now: Now, hand_over: HandOver<T::Detached>) {
        let HandOver { detached, peer, received } = hand_over;
        match self.transport.attach(detached) {
            Ok(id) => {
                let has_room = self.let_in(now, id, peer)
                    && self.connections.get_mut(id).is_some_and(|connection| connection.buffer.fill(&received));
                if !has_room {
                    self.refuse(id, RefusedWhy::TooManyConnections);
                }
            }
            Err(error) => self.mailbox.events.push(Event::AcceptFailed { error: error.kind() }),
        }
    }

    pub(super) fn insert(&mut self, now: Now, id: ConnectionId, peer: SocketAddr, stage: Stage) {
        let buffer = match self.spare_buffers.pop() {
            Some(mut buffer) => {
                buffer.clear();
                buffer
            }
            // Out of memory or of mappings: the first read finds no room, which closes the connection.
            None => ReceiveBuffer::new(self.limits.message_bytes_max).unwrap_or_default(),
        };
        if self.connections_open < FAULTED_IN_MAX {
            buffer.fault_in();
        }
        let connection = Connection {
            id,
            peer,
            stage,
            deadline_ns: u64::MAX,
            buffer,
            over: None,
            readable: false,
            listed: false,
            ended: false,
            input_ended: false,
            logon_waits: false,
            has_sent: false,
            socket_full: false,
            last_bytes_turn: self.turns,
        };
        self.connections.insert(connection);
        self.list(id);
        self.connections_open += 1;
        if stage == Stage::LogonAwaited {
            self.pending.insert(id, peer.ip(), self.shared.known_addresses.knows(peer.ip()));
        }
        // For an initiator too: the operating system would try a host that does not answer for two minutes.
        self.limit_stage(id, now.monotonic_ns + self.limits.logon_timeout_ns);
        self.publish_connections();
    }

    /// The connection's stage may last until then.
    pub(super) fn limit_stage(&mut self, id: ConnectionId, deadline_ns: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.deadline_ns = deadline_ns;
        self.timers.push(deadline_ns, Timer::Connection { id });
    }

    pub(super) fn stage(&self, id: ConnectionId) -> Option<Stage> {
        self.connections.get(id).map(|connection| connection.stage)
    }

    pub(super) fn set_stage(&mut self, id: ConnectionId, stage: Stage) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let before = std::mem::replace(&mut connection.stage, stage);
        if before.is_pending() && !stage.is_pending() {
            self.pending.remove(id);
            self.publish_connections();
        }
    }

    /// Takes a connection out of the table, closes it, and leaves its session as it is.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let mut connection = self.connections.take(id)?;
        self.transport.close(id);
        self.forget(&mut connection);
        Some(connection)
    }

    fn forget(&mut self, connection: &mut Connection) {
        let id = connection.id;
        self.hot.remove(id);
        if connection.listed {
            self.readable.retain(|listed| *listed != id);
            self.newcomers.retain(|listed| *listed != id);
        }
        if connection.stage == Stage::Draining {
            self.draining.retain(|draining| *draining != id);
        }
        self.connections_open -= 1;
        self.pending.remove(id);
        self.keep_spare(std::mem::take(&mut connection.buffer));
        self.publish_connections();
    }

    pub(super) fn publish_connections(&self) {
        self.counters.connections_open.set(u64::from(self.connections_open));
        self.counters.connections_pending.set(u64::from(self.pending.len()));
    }

    /// Reads from hot connections, then from those that readiness named, each in its turn.
    pub(super) fn read(&mut self, clock: &mut impl Clock) -> u32 {
        let mut work = 0;
        self.messages_left = MESSAGES_PER_TURN_MAX;
        self.slowed = 0;
        let budget = if self.is_one_alone() { Budget::alone() } else { Budget::among_others() };
        for at in (0..self.hot.len()).rev() {
            // A connection that closes takes itself out of the list.
            let Some(id) = self.hot.get(at) else { continue };
            let Some(connection) = self.connections.get(id) else {
                self.hot.remove(id);
                continue;
            };
            if self.turns - connection.last_bytes_turn > HOT_TURNS_MAX {
                self.hot.remove(id);
                self.list(id);
            } else if !connection.listed {
                work += self.read_within(clock, id, budget);
            }
        }
        for _ in 0..self.readable.len() {
            if self.messages_left == 0 {
                break;
            }
            let Some(id) = self.readable.pop_front() else { break };
            work += self.read_within(clock, id, budget);
            self.list_again(id);
        }
        work
    }

    /// At most one connection is known to be active.
    fn is_one_alone(&self) -> bool {
        match (self.hot.len(), self.readable.len()) {
            (0, 0 | 1) | (1, 0) => !self.hot.is_crowded(),
            (1, 1) => self.hot.get(0) == self.readable.front().copied(),
            _ => false,
        }
    }

    /// Reads from a connection as far as its budget and what is left of the turn's go.
    pub(super) fn read_within(&mut self, clock: &mut impl Clock, id: ConnectionId, budget: Budget) -> u32 {
        let given = budget.messages.min(self.messages_left);
        let mut budget = Budget { messages: given, ..budget };
        let work = self.read_connection(clock, id, &mut budget);
        let taken = given - budget.messages;
        self.messages_left -= taken;
        self.messages_unpolled += taken;
        work + taken
    }

    /// The connection is looked at in the next turn, whether or not readiness names it.
    pub(super) fn list(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.readable = true;
        if !std::mem::replace(&mut connection.listed, true) {
            let list = if connection.stage.is_pending() { &mut self.newcomers } else { &mut self.readable };
            list.push_back(id);
        }
    }

    /// A connection was taken from its list and looked at: behind the others, if there may be more of it.
    pub(super) fn list_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.listed = false;
        if connection.readable {
            self.list(id);
        }
    }

    /// Reads and works off whole messages, as far as the budget goes. Answers how often bytes came.
    pub(super) fn read_connection(&mut self, clock: &mut impl Clock, id: ConnectionId, budget: &mut Budget) -> u32 {
        let mut now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return 0 };
        match connection.stage {
            Stage::LogonAwaited | Stage::Attached { .. } => {}
            Stage::Connecting { ledger, session } => {
                connection.readable = false;
                now = self.look_at(clock);
                self.look_at_connect(now, id, ledger, session);
                return 1;
            }
            Stage::Challenging { .. } => {
                // It is looked at again when it is admitted.
                connection.readable = false;
                return 0;
            }
            Stage::Closing { .. } | Stage::Draining => return self.discard_input(now, id, budget),
        }
        // What an earlier turn left in the buffer comes first.
        let is_empty = connection.buffer.filled().is_empty();
        let mut next = if is_empty { Next::Message } else { self.consume(now, id, budget) };
        let mut work = 0;
        for _ in 0..READS_PER_TURN_MAX {
            if next != Next::Message {
                break;
            }
            let Some(connection) = self.connections.get_mut(id) else { return work };
            let space = connection.buffer.space();
            let wanted = space.len().min(budget.bytes);
            self.trace.at(control::Stage::Receive);
            match self.transport.receive(id, &mut space[..wanted]) {
                Receive::Bytes(count) => {
                    connection.buffer.received(count);
                    connection.last_bytes_turn = self.turns;
                    self.counters.bytes_in.add(count as u64);
                    work += 1;
                    // They may have been sent since the turn began, and no answer is older than its
                    // request.
                    now = self.look_at(clock);
                    self.prove_alive(id);
                    next = self.consume(now, id, budget);
                    if next == Next::Message && count < wanted {
                        self.drained(id);
                        return work;
                    }
                }
                Receive::Nothing => {
                    connection.readable = false;
                    return work;
                }
                Receive::End => {
                    (connection.readable, connection.input_ended) = (false, true);
                    let now = self.look_at(clock);
                    self.end_input(now, id, DisconnectedWhy::PeerClosed);
                    return work + 1;
                }
                Receive::Failed(error) => {
                    let now = self.look_at(clock);
                    self.cut(now, id, DisconnectedWhy::Failed(error.kind()));
                    return work + 1;
                }
            }
        }
        if next == Next::Discard {
            work += self.discard_input(now, id, budget);
        }
        work
    }

    fn look_at_connect(&mut self, now: Now, id: ConnectionId, ledger: u32, session: u32) {
        match self.transport.connect_result(id) {
            Connect::Pending => {}
            Connect::Established => self.connected(now, id, ledger, session),
            Connect::Failed(error) => {
                let peer = self.remove(id).map(|connection| connection.peer);
                self.connect_failed(now, ledger, session, peer, error.kind());
            }
        }
    }

    /// The connection brought bytes, and all that there were: the next turn's try, or readiness, brings more.
    fn drained(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.readable = connection.ended;
        if !matches!(connection.stage, Stage::Attached { .. }) {
            return;
        }
        let was_crowded = self.hot.is_crowded();
        let evicted = self.hot.brought(id);
        if was_crowded {
            return;
        }
        if let Some(evicted) = evicted {
            self.list(evicted);
        }
        if self.hot.is_crowded() {
            for at in 0..HOT_MAX {
                self.hot.get(at).into_iter().for_each(|id| self.list(id));
            }
        }
    }

    /// Works off the whole messages in the connection's buffer, as far as the budget goes.
    fn consume(&mut self, now: Now, id: ConnectionId, budget: &mut Budget) -> Next {
        let Some(connection) = self.connections.get_mut(id) else { return Next::Gone };
        // The buffer is out of the table while its messages are worked on.
        let mut buffer = std::mem::take(&mut connection.buffer);
        let mut next = Next::Message;
        if connection.over.is_some()
            && let ControlFlow::Break(then) = self.read_over(now, id, &mut buffer, budget)
        {
            self.give_back(id, buffer);
            return then;
        }
        while next == Next::Message {
            self.trace.at(control::Stage::Frame);
            if budget.is_spent() {
                next = Next::Later;
                break;
            }
            match frame(buffer.filled(), self.limits.message_bytes_max) {
                Framing::Complete(frame) => {
                    let length = frame.length as usize;
                    next = self.message(now, id, &buffer.filled()[..length], &buffer);
                    if next == Next::Message {
                        budget.spend(length);
                        buffer.consume(length);
                    }
                }
                Framing::Incomplete => break,
                Framing::Invalid { skip, why: Garbled::TooLong } => {
                    if let ControlFlow::Break(then) = self.too_long(now, id, &mut buffer, skip, budget) {
                        next = then;
                        break;
                    }
                }
                Framing::Invalid { skip, why } => {
                    budget.spend(skip as usize);
                    next = self.garbled(id, why);
                    buffer.consume(skip as usize);
                }
            }
            if next == Next::Message {
                next = match self.stage(id) {
                    Some(Stage::Closing { .. } | Stage::Draining) => Next::Discard,
                    Some(_) => Next::Message,
                    None => Next::Gone,
                };
            }
        }
        self.give_back(id, buffer);
        next
    }

    fn give_back(&mut self, id: ConnectionId, buffer: ReceiveBuffer) {
        match self.connections.get_mut(id) {
            Some(connection) => connection.buffer = buffer,
            None => self.keep_spare(buffer),
        }
    }

    /// Keeps a closed connection's memory for the next one. While its messages are worked on a connection has none.
    fn keep_spare(&mut self, buffer: ReceiveBuffer) {
        if buffer.has_memory() && self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            self.spare_buffers.push(buffer);
        }
    }

    pub(super) fn garbled(&mut self, id: ConnectionId, why: Garbled) -> Next {
        self.counters.garbled.add(1);
        let Some(connection) = self.connections.get(id) else { return Next::Gone };
        let peer = connection.peer;
        match connection.stage {
            Stage::Attached { ledger, session } => {
                let session = Some(self.key(ledger, session));
                self.mailbox.events.push(Event::Garbled { session, peer, why });
                Next::Message
            }
            Stage::LogonAwaited | Stage::Challenging { .. } => {
                self.refuse(id, RefusedWhy::Garbled);
                Next::Gone
            }
            Stage::Closing { .. } | Stage::Draining | Stage::Connecting { .. } => Next::Message,
        }
    }

    fn message(&mut self, now: Now, id: ConnectionId, bytes: &[u8], buffer: &ReceiveBuffer) -> Next {
        match self.stage(id) {
            // The answers to our own Logon and Logout are taken: neither waits for as long as a
            // session may be slowed.
            Some(Stage::Attached { ledger, session })
                if self.desks[ledger as usize].ledger.slows(session)
                    && self.slot(ledger, session).session.state() == State::Established =>
            {
                self.slow(ledger, session);
                Next::Later
            }
            Some(Stage::Attached { ledger, session }) => match self.step_inbound(now, ledger, session, bytes) {
                Ok(()) => Next::Message,
                Err(Full) => {
                    self.back_pressure(ledger);
                    Next::Later
                }
            },
            Some(Stage::LogonAwaited) => self.first_message(now, id, bytes, buffer),
            Some(Stage::Challenging { .. }) => Next::Later,
            // The session has said its last word.
            Some(Stage::Closing { .. } | Stage::Draining | Stage::Connecting { .. }) => Next::Message,
            None => Next::Gone,
        }
    }

    /// The first message of an accepted connection: a Logon(A) that names a session, or the end.
    fn first_message(&mut self, now: Now, id: ConnectionId, bytes: &[u8], buffer: &ReceiveBuffer) -> Next {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(named) = directory.peer_of_logon(bytes, &mut self.index) else {
            self.refuse(id, RefusedWhy::FirstMessageNotLogon);
            return Next::Gone;
        };
        let resolved = named.as_ref().and_then(|named| directory.resolve(named, Role::Acceptor));
        let Some((identity, spec)) = resolved else {
            self.counters.logons_refused.add(1);
            if let Some(Connection { peer, .. }) = self.connections.get(id) {
                let (peer, named) = (*peer, named.map(Box::new));
                self.mailbox.events.push(Event::UnknownSession { peer, named });
            }
            self.refuse(id, RefusedWhy::UnknownSession);
            return Next::Gone;
        };
        let journal = spec.journal_of(&identity, self.worker_of_journal.len() as u16);
        let Some(ledger) = self.desk_of_journal[usize::from(journal)] else {
            return self.hand_over(id, self.worker_of_journal[usize::from(journal)], buffer);
        };
        let Some(session) = self.desks[ledger as usize].by_identity.get(&identity).copied() else {
            return self.first_logon(now, id, ledger, (identity, spec), bytes);
        };
        if self.desks[ledger as usize].ledger.slows(session) {
            self.slow(ledger, session);
            if let Some(connection) = self.connections.get_mut(id) {
                connection.logon_waits = true;
            }
            return Next::Later;
        }
        if self.slot(ledger, session).link.connection.is_some() {
            return self.challenge(now, id, ledger, session);
        }
        match self.attach(now, id, ledger, session) {
            Ok(()) => self.message(now, id, bytes, buffer),
            Err(Full) => {
                self.back_pressure(ledger);
                Next::Later
            }
        }
    }

    fn hand_over(&mut self, id: ConnectionId, worker: u32, buffer: &ReceiveBuffer) -> Next {
        let target = self.mailbox.hand_over_to.get_mut(worker as usize).and_then(Option::as_mut);
        let Some(target) = target.filter(|target| !target.is_full()) else {
            // As many hand-overs wait as the ring holds: the peer comes again.
            self.refuse(id, RefusedWhy::TooManyConnections);
            return Next::Gone;
        };
        let received = buffer.filled().into();
        let Some(mut connection) = self.connections.take(id) else { return Next::Gone };
        if let Some(detached) = self.transport.detach(id) {
            // The ring had room, and we are its only producer.
            let _ = target.push(HandOver { detached, peer: connection.peer, received });
        }
        self.forget(&mut connection);
        Next::Gone
    }

    /// Another connection is the session's: ask it to prove that it lives, and decide when it has or has not. One that is
    /// closing is only waited for: a peer may log on again right after its Logout, before our answer is released.
    fn challenge(&mut self, now: Now, id: ConnectionId, ledger: u32, session: u32) -> Next {
        let probe_timeout_ns = self.limits.probe_timeout_ns;
        let slot = self.slot(ledger, session);
        let (live, challenged) = (slot.link.connection, slot.link.challenger.is_some());
        let established = slot.session.state() == State::Established;
        // One that has been heard within the time that a probe would take needs none.
        let proven = established && slot.session.silent_ns(now) < probe_timeout_ns;
        let closing = live.is_some_and(|live| matches!(self.stage(live), Some(Stage::Closing { .. })));
        let probes = established && !closing;
        if challenged || !(closing || (probes && !proven)) {
            self.counters.logons_refused.add(1);
            self.refuse(id, RefusedWhy::SessionLive);
            return Next::Gone;
        }
        if probes && self.step_session(now, ledger, session, |session, out| session.probe(now, out)) == Err(Full) {
            self.back_pressure(ledger);
            return Next::Later;
        }
        self.set_stage(id, Stage::Challenging { ledger, session });
        self.limit_stage(id, now.monotonic_ns + probe_timeout_ns);
        self.slot(ledger, session).link.challenger = Some(id);
        if closing {
            // It may have waited for a resend alone.
            self.queue_send(ledger, session);
        }
        Next::Later
    }

    /// Bytes on the live connection decide a challenge in its favour.
    pub(super) fn prove_alive(&mut self, id: ConnectionId) {
        let Some(Stage::Attached { ledger, session }) = self.stage(id) else { return };
        if let Some(challenger) = self.slot(ledger, session).link.challenger.take() {
            self.counters.logons_refused.add(1);
            self.refuse(challenger, RefusedWhy::SessionLive);
        }
    }

    /// The challenger's turn: its Logon is still in its buffer.
    pub(super) fn admit_challenger(&mut self, now: Now, ledger: u32, session: u32) {
        if let Some(challenger) = self.slot(ledger, session).link.challenger.take() {
            self.set_stage(challenger, Stage::LogonAwaited);
            self.limit_stage(challenger, now.monotonic_ns + self.limits.logon_timeout_ns);
            self.list(challenger);
        }
    }

    /// Closes a connection that has no session.
    pub(super) fn refuse(&mut self, id: ConnectionId, why: RefusedWhy) {
        if let Some(connection) = self.remove(id) {
            if let Stage::Challenging { ledger, session } = connection.stage {
                self.slot(ledger, session).link.challenger = None;
            }
            self.mailbox.events.push(Event::Refused { peer: connection.peer, why });
        }
    }

    /// A session's message waits. The log is told once a part of a lap.
    fn slow(&mut self, ledger: u32, session: u32) {
        self.slowed += 1;
        let part = self.desks[ledger as usize].ledger.commit.retention.part();
        if self.slot(ledger, session).link.kept.told.replace(part) != Some(part) {
            let session = self.key(ledger, session);
            self.desks[ledger as usize].counters.sessions_slowed.add(1);
            self.mailbox.events.push(Event::Slowed { session });
        }
    }

    pub(super) fn back_pressure(&mut self, ledger: u32) {
        let desk = &mut self.desks[ledger as usize];
        if !desk.full {
            desk.full = true;
            desk.counters.ring_full.add(1);
            let journal = desk.journal;
            self.counters.back_pressure.add(1);
            self.mailbox.events.push(Event::BackPressure { journal });
        }
    }
}

impl Budget {
    /// Of a connection that has the turn for itself.
    fn alone() -> Self {
        Self { messages: MESSAGES_PER_TURN_MAX, bytes: usize::MAX }
    }

    pub(super) fn among_others() -> Self {
        Self { messages: MESSAGES_AMONG_OTHERS_MAX, bytes: BYTES_AMONG_OTHERS_MAX }
    }
}
