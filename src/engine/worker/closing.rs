//! How connections end, so that nothing is lost of what was committed and nobody's bytes reach another.
//!
//! A connection that had a session ends in steps. Its input is over ([`Worker::end_input`], or the session's own last word):
//! everything that came before has been processed, what comes behind is discarded. What is committed is released in its mode and sent, at most
//! for [`CLOSE_TIMEOUT_NS`]; then the session leaves, our direction of the stream ends, and the peer's end is waited for, at most
//! for [`DRAIN_TIMEOUT_NS`]. A connection that has failed skips all that ([`Worker::cut`]).

use super::Worker;
use crate::application::Application;
use crate::engine::clock::Clock;
use crate::engine::connection::{Connection, Stage};
use crate::engine::event::{DisconnectedWhy, Event, RefusedWhy};
use crate::engine::resend::Budget;
use crate::session::Now;
use crate::transport::{ConnectionId, Receive, Transport};

/// How long a closing connection may take until what is committed is released and its peer has taken it. A peer that does not read, and
/// a volume that does not sync, cost no more than this; a second connection for the session waits for no more than `probe_timeout`.
const CLOSE_TIMEOUT_NS: u64 = 5_000_000_000;
/// How long a peer may take to end its direction when everything is sent.
const DRAIN_TIMEOUT_NS: u64 = 1_000_000_000;
/// Connections that wait for that, at most: the oldest closes for the next.
pub(super) const DRAINING_MAX: usize = 64;

impl<T: Transport, A: Application> Worker<T, A> {
    /// The session is done with its connection: what is pending goes out first.
    pub(super) fn start_closing(&mut self, now: Now, ledger: u32, session: u32, why: DisconnectedWhy) {
        let Some(id) = self.slot(ledger, session).link.connection else { return };
        if self.stage(id).is_none_or(|stage| matches!(stage, Stage::Closing { .. } | Stage::Draining)) {
            return;
        }
        self.set_stage(id, Stage::Closing { ledger, session });
        self.limit_stage(id, now.monotonic_ns + CLOSE_TIMEOUT_NS);
        let key = self.key(ledger, session);
        self.mailbox.events.push(Event::Disconnected { session: key, why });
        // Even with nothing to send: the sending pass is what closes it.
        self.queue_send(ledger, session);
    }

    /// The peer has ended its stream, or sends what cannot be taken, and everything before that has been processed.
    pub(super) fn end_input(&mut self, now: Now, id: ConnectionId, why: DisconnectedWhy) {
        match self.stage(id) {
            Some(Stage::Attached { ledger, session }) => self.start_closing(now, ledger, session, why),
            Some(Stage::Closing { .. }) | None => {}
            Some(Stage::Draining) => drop(self.remove(id)),
            Some(Stage::LogonAwaited | Stage::Challenging { .. } | Stage::Connecting { .. }) => self.cut(now, id, why),
        }
    }

    /// Reads what comes behind the last word, and forgets it.
    pub(super) fn discard_input(&mut self, now: Now, id: ConnectionId, budget: &mut Budget) -> u32 {
        let mut work = 0;
        while !budget.is_spent() {
            let Some(connection) = self.connections.get_mut(id) else { return work };
            connection.buffer.clear();
            match self.transport.receive(id, connection.buffer.space()) {
                Receive::Bytes(count) => {
                    budget.spend(count);
                    self.counters.bytes_in.add(count as u64);
                    work += 1;
                }
                Receive::Nothing => {
                    connection.readable = false;
                    return work;
                }
                Receive::End => {
                    connection.readable = false;
                    if !std::mem::replace(&mut connection.input_ended, true) {
                        work += 1;
                    }
                    self.end_input(now, id, DisconnectedWhy::PeerClosed);
                    return work;
                }
                Receive::Failed(error) => {
                    self.cut(now, id, DisconnectedWhy::Failed(error.kind()));
                    return work + 1;
                }
            }
        }
        work
    }

    /// A closing connection has nothing to send any more.
    pub(super) fn all_sent(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get(id) else { return };
        let Stage::Closing { ledger, session } = connection.stage else { return };
        let has_all = connection.input_ended || !connection.has_sent;
        let slot = self.slot(ledger, session);
        if slot.session.resending().is_some() && slot.link.challenger.is_none() {
            // The peer has asked for it before it ended its stream. One that has connected again asks anew.
            return;
        }
        if has_all {
            self.close_now(now, id);
            return;
        }
        self.transport.finish(id);
        self.set_stage(id, Stage::Draining);
        self.limit_stage(id, now.monotonic_ns + DRAIN_TIMEOUT_NS);
        self.list(id);
        if self.draining.len() == DRAINING_MAX {
            self.close_oldest_draining();
        }
        self.draining.push_back(id);
        self.leave(now, id, ledger, session);
    }

    /// Makes room. `false` where no connection is draining.
    pub(super) fn close_oldest_draining(&mut self) -> bool {
        while let Some(oldest) = self.draining.pop_front() {
            if self.remove(oldest).is_some() {
                return true;
            }
        }
        false
    }

    /// The connection is over at once: it has failed, or its time is up. What it has not taken is left to a resend.
    pub(super) fn cut(&mut self, now: Now, id: ConnectionId, why: DisconnectedWhy) {
        match self.stage(id) {
            Some(Stage::Attached { ledger, session }) => {
                let session = self.key(ledger, session);
                self.mailbox.events.push(Event::Disconnected { session, why });
                self.close_now(now, id);
            }
            Some(Stage::Closing { .. }) => self.close_now(now, id),
            Some(Stage::Draining) => drop(self.remove(id)),
            Some(Stage::LogonAwaited | Stage::Challenging { .. }) => self.refuse(id, RefusedWhy::Closed),
            Some(Stage::Connecting { ledger, session }) => {
                let peer = self.remove(id).map(|connection| connection.peer);
                self.connect_failed(now, ledger, session, peer, std::io::ErrorKind::ConnectionAborted);
            }
            None => {}
        }
    }

    /// Closes a session's connection and tells the session.
    fn close_now(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.remove(id) else { return };
        if let Stage::Attached { ledger, session } | Stage::Closing { ledger, session } = connection.stage {
            self.leave(now, id, ledger, session);
        }
    }

    /// The session has no connection any more.
    fn leave(&mut self, now: Now, id: ConnectionId, ledger: u32, session: u32) {
        let link = &mut self.slot(ledger, session).link;
        if link.connection != Some(id) {
            return;
        }
        link.detach();
        link.disconnect_owed = true;
        let told = self.tell_disconnected(now, ledger, session);
        if told.and_then(|()| self.begin_period_if_due(now, ledger, session)).is_err() {
            self.retry_timer(now, ledger, session);
        }
        self.admit_challenger(now, ledger, session);
        if self.slot(ledger, session).link.initiator.is_some() {
            self.reconnect_later(now, ledger, session);
        }
    }

    pub(super) fn connection_timer(&mut self, clock: &mut impl Clock, due_ns: u64, id: ConnectionId) {
        let now = self.now;
        let is_due = |connection: &&Connection| connection.deadline_ns == due_ns;
        let Some(connection) = self.connections.get(id).filter(is_due) else { return };
        match connection.stage {
            Stage::LogonAwaited => {
                self.counters.logon_timeouts.add(1);
                let why = if connection.logon_waits { RefusedWhy::SessionSlowed } else { RefusedWhy::NoLogonInTime };
                self.refuse(id, why);
            }
            Stage::Challenging { ledger, session } => {
                let Some(old) = self.slot(ledger, session).link.connection else { return };
                let has_ended = self.connections.get(old).is_none_or(|connection| connection.ended);
                let waits = self.input_waits(clock, old);
                let now = self.now;
                if waits && !has_ended {
                    // Its answer may be what waits.
                    self.prove_alive(old);
                } else if self.slot(ledger, session).link.challenger.is_some() {
                    self.cut(now, old, DisconnectedWhy::Replaced);
                }
            }
            Stage::Closing { .. } => self.close_now(now, id),
            Stage::Draining => drop(self.remove(id)),
            Stage::Connecting { ledger, session } => {
                let peer = connection.peer;
                self.remove(id);
                self.connect_failed(now, ledger, session, Some(peer), std::io::ErrorKind::TimedOut);
            }
            Stage::Attached { .. } => {}
        }
    }
}
