//! Connections that have no session yet: accepted, handed over, and their first messages read, a step a turn.
//!
//! To accept a connection, to read its Logon, to refuse or to close it each takes as long as several messages of those that
//! are logged on. And each holds a place, of which there are so many in all and for one address (`pending.rs`). So live traffic goes first, and a turn takes one such step after it: whoever comes in thousands, or comes, is
//! refused and comes again, adds no more than that to anybody's turn. A worker that has nothing else to do turns fast enough for some
//! ten thousand steps a second.

use std::net::IpAddr;

use super::{Limits, Worker};
use crate::application::Application;
use crate::engine::clock::Clock;
use crate::engine::connection::Stage;
use crate::engine::event::{Event, RefusedWhy};
use crate::engine::resend::Budget;
use crate::engine::timers::Timer;
use crate::transport::{ConnectionId, Transport};

/// Steps of connections without a session a turn, at most.
const STEPS_PER_TURN_MAX: u32 = 1;
/// Connections that have brought nothing after all are looked at without a step, so many a turn at most.
const LOOKS_PER_TURN_MAX: usize = 4;
/// The pause after a failure to accept.
const ACCEPT_RETRY_NS: u64 = 100_000_000;

impl<T: Transport, A: Application> Worker<T, A> {
    /// The turn's steps of connections without a session. Answers how many there were.
    pub(super) fn newcomers(&mut self, clock: &mut impl Clock) -> u32 {
        let mut steps = 0;
        while steps < STEPS_PER_TURN_MAX {
            // By turns, so that neither a crowd at the door nor one inside that trickles keeps the other out.
            let accepts_first = self.turns.is_multiple_of(2);
            let step = self.take_handed_over(clock)
                || (accepts_first && self.accept(clock))
                || self.read_newcomer(clock)
                || (!accepts_first && self.accept(clock));
            if !step {
                break;
            }
            steps += 1;
        }
        steps
    }

    /// Where another connection would be one too many, the one goes that has waited longest for its Logon: of the same address where that
    /// has its share, otherwise of all. One whose Logon challenges a live session stays until that is decided.
    pub(super) fn make_room(&mut self, address: IpAddr) {
        let Limits { connections_max, pending_connections_max, pending_connections_per_address_max, .. } = self.limits;
        let connections = &self.connections;
        let may_go =
            |id: ConnectionId| connections.get(id).is_some_and(|connection| connection.stage == Stage::LogonAwaited);
        let is_full = self.connections_open >= connections_max || self.pending.len() >= pending_connections_max;
        let leaves = match self.pending.of(address) >= pending_connections_per_address_max {
            true => self.pending.oldest_of(address, may_go),
            false if is_full => self.pending.oldest(may_go),
            false => None,
        };
        if let Some(id) = leaves {
            self.counters.connections_displaced.add(1);
            self.refuse(id, RefusedWhy::MadeRoom);
        }
    }

    /// A counterparty has logged on over this connection.
    pub(super) fn remember_address(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(id) {
            self.shared.known_addresses.remember(connection.peer.ip());
        }
    }

    fn take_handed_over(&mut self, clock: &mut impl Clock) -> bool {
        for from in 0..self.mailbox.handed_over.len() {
            if let Ok(hand_over) = self.mailbox.handed_over[from].pop() {
                let now = self.look_at(clock);
                self.take_over(now, hand_over);
                return true;
            }
        }
        false
    }

    fn accept(&mut self, clock: &mut impl Clock) -> bool {
        if !self.acceptable {
            return false;
        }
        match self.transport.accept() {
            Ok(Some((id, peer))) => {
                let now = self.look_at(clock);
                self.accepted(now, id, peer);
                true
            }
            Ok(None) => {
                self.acceptable = false;
                false
            }
            Err(error) => {
                // Out of descriptors, or the peer was gone before we came. Readiness is told once, and others may
                // wait behind this one: the listener is asked again, after a pause.
                self.mailbox.events.push(Event::AcceptFailed { error: error.kind() });
                self.acceptable = false;
                if !std::mem::replace(&mut self.accept_is_due, true) {
                    self.timers.push(self.now.monotonic_ns + ACCEPT_RETRY_NS, Timer::Accept);
                }
                true
            }
        }
    }

    fn read_newcomer(&mut self, clock: &mut impl Clock) -> bool {
        for _ in 0..self.newcomers.len().min(LOOKS_PER_TURN_MAX) {
            let Some(id) = self.newcomers.pop_front() else { return false };
            // Its Logon. What has come behind waits for the next turn.
            let mut budget = Budget { messages: 1, ..Budget::among_others() };
            let work = self.read_connection(clock, id, &mut budget);
            self.list_again(id);
            if work > 0 || budget.messages == 0 {
                return true;
            }
        }
        false
    }
}
