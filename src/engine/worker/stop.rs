//! The graceful stop: Logout to every session, a bounded wait for the answers, a clean-stop record, everything synced.

use super::Worker;
use crate::application::Application;
use crate::engine::connection::Stage;
use crate::engine::event::{DisconnectedWhy, RefusedWhy};
use crate::journal::{Mode, Room};
use crate::session::{Now, State};
use crate::transport::{ConnectionId, Transport};

/// How far the stop has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    #[default]
    Running,
    /// Logouts are out; their answers are awaited until the deadline.
    LoggingOut {
        deadline_ns: u64,
        /// Not all are out: the journal had no room.
        logouts_owed: bool,
    },
    /// No connection has a session; the clean-stop records wait for room, then for the volume.
    Syncing,
    Finished,
}

impl Stop {
    pub fn is_requested(self) -> bool {
        self != Stop::Running
    }
}

impl<T: Transport, A: Application> Worker<T, A> {
    /// Starts the graceful stop. The turns that follow carry it out.
    pub fn request_stop(&mut self, now: Now) {
        if self.stop.is_requested() {
            return;
        }
        self.now = now;
        self.mailbox.events.at(now);
        let deadline_ns = now.monotonic_ns + self.limits.stop_timeout_ns;
        self.stop = Stop::LoggingOut { deadline_ns, logouts_owed: true };
        self.transport.stop_listening();
        self.acceptable = false;
        for id in self.open_connections() {
            match self.stage(id) {
                Some(Stage::LogonAwaited | Stage::Challenging { .. }) => self.refuse(id, RefusedWhy::Stopping),
                Some(Stage::Connecting { .. }) => drop(self.remove(id)),
                Some(Stage::Attached { .. } | Stage::Closing { .. } | Stage::Draining) | None => {}
            }
        }
        self.log_out(now);
    }

    /// Sends a Logout wherever none has been sent, as far as the journal has room, and closes what is not logged on.
    fn log_out(&mut self, now: Now) {
        let mut owed = false;
        for id in self.open_connections() {
            let Some(Stage::Attached { ledger, session }) = self.stage(id) else { continue };
            match self.slot(ledger, session).session.state() {
                State::Established => {
                    let text = &b"engine stops"[..];
                    let sent = self.step_session(now, ledger, session, |session, out| session.logout(now, text, out));
                    owed |= sent.is_err();
                }
                State::LogoutSent => {}
                State::LogonSent | State::LogonAwaited | State::Disconnected => {
                    self.cut(now, id, DisconnectedWhy::Stopping);
                }
            }
        }
        if let Stop::LoggingOut { logouts_owed, .. } = &mut self.stop {
            *logouts_owed = owed;
        }
    }

    /// The stop is complete: every journal ends with a clean-stop record on stable media.
    pub fn is_finished(&self) -> bool {
        self.stop == Stop::Finished
    }

    pub(super) fn stop_turn(&mut self, now: Now) -> u32 {
        match self.stop {
            Stop::Running | Stop::Finished => return 0,
            Stop::LoggingOut { deadline_ns, logouts_owed } => {
                // Those that drain have nothing to do but to see the peer close.
                let busy = self.connections_open as usize > self.draining.len();
                if busy && now.monotonic_ns < deadline_ns {
                    if logouts_owed {
                        self.log_out(now);
                    }
                    return 0;
                }
                for id in self.open_connections() {
                    if self.stage(id) != Some(Stage::Draining) {
                        self.cut(now, id, DisconnectedWhy::Stopping);
                    }
                }
                self.stop = Stop::Syncing;
            }
            Stop::Syncing => {}
        }
        let stopped = |worker: &Self| worker.desks.iter().filter(|desk| desk.ledger.stopped).count() as u32;
        let before = stopped(self);
        for ledger in 0..self.desks.len() {
            self.stop_ledger(now, ledger as u32);
        }
        let mut work = stopped(self) - before;
        let synced = |desk: &super::Desk<A>| {
            desk.ledger.stopped && desk.ledger.writer.watermark(Mode::Sync) >= desk.ledger.writer.appended()
        };
        if self.desks.iter().all(synced) {
            self.stop = Stop::Finished;
            work += 1;
        }
        // Without work the shell lets the flusher run, which may have no other core.
        work
    }

    /// Writes the clean-stop record, once every session knows that its connection is gone.
    fn stop_ledger(&mut self, now: Now, ledger: u32) {
        if self.desks[ledger as usize].ledger.stopped {
            return;
        }
        for session in 0..self.desks[ledger as usize].ledger.slots.len() as u32 {
            if self.tell_disconnected(now, ledger, session).is_err() {
                return;
            }
        }
        let ledger = &mut self.desks[ledger as usize].ledger;
        if ledger.open().is_ok() {
            ledger.commit.open = false;
            ledger.writer.abandon();
            ledger.stopped = ledger.writer.clean_stop(now.utc.unix_ns) == Room::Ready;
        }
    }

    fn open_connections(&self) -> Vec<ConnectionId> {
        self.connections.ids().collect()
    }
}
