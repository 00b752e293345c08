//! Initiators: names resolved on housekeeping, endpoints tried in order, a pause between rounds.

use std::io;
use std::net::SocketAddr;

use super::Worker;
use crate::application::Application;
use crate::engine::connection::Stage;
use crate::engine::event::Event;
use crate::engine::initiate::{Attempt, Begin, ResolveRequest, Resolved};
use crate::engine::timers::Timer;
use crate::session::Now;
use crate::transport::{ConnectionId, Transport};

/// How long a connect that found no room in the journal waits.
const RETRY_NS: u64 = 10_000_000;

impl<T: Transport, A: Application> Worker<T, A> {
    /// The next attempt of an initiator, if it is waiting for one.
    pub(super) fn connect(&mut self, now: Now, ledger: u32, session: u32) {
        // Where the hours keep it from dialling, their start brings it back.
        if self.stop.is_requested() || self.is_closed(now, ledger, session) {
            return;
        }
        let Some(initiator) = &mut self.slot(ledger, session).link.initiator else { return };
        if initiator.attempt != Attempt::Waiting {
            return;
        }
        match initiator.begin() {
            Begin::Connect(address) => self.connect_to(now, ledger, session, address),
            Begin::Resolve(endpoint) => {
                let request = ResolveRequest { ledger, session, endpoint };
                if self.mailbox.resolve.push(request).is_err() {
                    self.connect_failed(now, ledger, session, None, io::ErrorKind::WouldBlock);
                }
            }
        }
    }

    pub(super) fn resolved(&mut self, now: Now, resolved: Resolved) {
        let Resolved { ledger, session, addresses } = resolved;
        let Some(initiator) = &mut self.slot(ledger, session).link.initiator else { return };
        if initiator.attempt != Attempt::Resolving {
            return;
        }
        initiator.attempt = Attempt::Waiting;
        if initiator.resolved(addresses) {
            self.connect(now, ledger, session);
        } else {
            self.connect_failed(now, ledger, session, None, io::ErrorKind::NotFound);
        }
    }

    fn connect_to(&mut self, now: Now, ledger: u32, session: u32, address: SocketAddr) {
        match self.transport.connect(address) {
            Ok(id) => self.insert(now, id, address, Stage::Connecting { ledger, session }),
            Err(error) => self.connect_failed(now, ledger, session, Some(address), error.kind()),
        }
    }

    /// The connection stands: the session sends its Logon.
    pub(super) fn connected(&mut self, now: Now, id: ConnectionId, ledger: u32, session: u32) {
        if self.is_closed(now, ledger, session) {
            self.remove(id);
            if let Some(initiator) = &mut self.slot(ledger, session).link.initiator {
                initiator.attempt = Attempt::Waiting;
            }
            return;
        }
        if self.attach(now, id, ledger, session).is_err() {
            self.remove(id);
            if let Some(initiator) = &mut self.slot(ledger, session).link.initiator {
                initiator.attempt = Attempt::Waiting;
            }
            self.timers.push(now.monotonic_ns + RETRY_NS, Timer::Connect { ledger, session });
            return;
        }
        if let Some(initiator) = &mut self.slot(ledger, session).link.initiator {
            initiator.attempt = Attempt::Connected;
        }
        self.list(id);
    }

    pub(super) fn connect_failed(
        &mut self,
        now: Now,
        ledger: u32,
        session: u32,
        address: Option<SocketAddr>,
        error: io::ErrorKind,
    ) {
        self.counters.connects_failed.add(1);
        let Some(initiator) = &mut self.slot(ledger, session).link.initiator else { return };
        let retry_in_ns = initiator.failed(true);
        let session_key = self.key(ledger, session);
        self.mailbox.events.push(Event::ConnectFailed { session: session_key, address, error, retry_in_ns });
        self.timers.push(now.monotonic_ns + retry_in_ns, Timer::Connect { ledger, session });
    }

    /// After a connection that stood.
    pub(super) fn reconnect_later(&mut self, now: Now, ledger: u32, session: u32) {
        let Some(initiator) = &mut self.slot(ledger, session).link.initiator else { return };
        let retry_in_ns = initiator.failed(false);
        if self.is_closed(now, ledger, session) {
            return;
        }
        if !self.stop.is_requested() {
            let session = self.key(ledger, session);
            self.mailbox.events.push(Event::ReconnectIn { session, retry_in_ns });
        }
        self.timers.push(now.monotonic_ns + retry_in_ns, Timer::Connect { ledger, session });
    }
}
