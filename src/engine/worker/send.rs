//! The sending passes: each session with something new, or something that waited, gives its connection what is released.
//!
//! The first comes as soon as the turn has read, the second looks at what was queued since: by timers, and by the application's own turn.

use super::Worker;
use crate::application::Application;
use crate::control;
use crate::engine::connection::Stage;
use crate::engine::event::DisconnectedWhy;
use crate::engine::link::{Flushed, Sent};
use crate::journal::Mode;
use crate::session::Now;
use crate::transport::Transport;

/// Sessions that stand first in the list of those to send to, which this turn has looked at and which wait. Where all of them wait for a mark of
/// the journal, later turns leave them until one moves: with hundreds in `sync`, or hundreds of Logons whose epoch is on its way to the
/// volume, each turn would walk over all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    count: usize,
    /// Where the oldest begins of what they wait with.
    from: u64,
    /// `written` and `synced` when they were looked at.
    marks: [u64; 2],
    /// None waits for its next turn only.
    is_settled: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { count: 0, from: u64::MAX, marks: [0; 2], is_settled: false }
    }
}

impl Waiting {
    /// A turn's first look.
    fn begin(&mut self, marks: [u64; 2]) {
        if !self.is_settled || self.marks != marks {
            *self = Self { marks, is_settled: true, ..Self::default() };
        }
    }
}

impl<T: Transport, A: Application> Worker<T, A> {
    /// The session is looked at in the next sending pass.
    pub(super) fn queue_send(&mut self, ledger: u32, session: u32) {
        let desk = &mut self.desks[ledger as usize];
        if !std::mem::replace(&mut desk.queued[session as usize], true) {
            desk.to_send.push(session);
        }
    }

    /// Takes over which sessions the last commits sent something in.
    pub(super) fn collect_touched(&mut self, ledger: usize) {
        let desk = &mut self.desks[ledger];
        for session in desk.ledger.commit.touched.drain(..) {
            if !std::mem::replace(&mut desk.queued[session as usize], true) {
                desk.to_send.push(session);
            }
        }
    }

    /// Once a turn.
    pub(super) fn send(&mut self, now: Now, ledger: u32) -> u32 {
        let desk = &mut self.desks[ledger as usize];
        if desk.ledger.writer.is_fenced() {
            self.is_fenced = true;
            return 0;
        }
        if desk.to_send.is_empty() {
            // The marks are in a line that the flusher writes.
            desk.waiting = Waiting::default();
        } else {
            let writer = &desk.ledger.writer;
            desk.waiting.begin([Mode::Flush, Mode::Sync].map(|mode| writer.watermark(mode)));
        }
        self.send_queued(now, ledger)
    }

    /// Looks at what was queued since this turn looked last.
    pub(super) fn send_queued(&mut self, now: Now, ledger: u32) -> u32 {
        if self.is_fenced {
            return 0;
        }
        let mut work = 0;
        let mut waiting = self.desks[ledger as usize].waiting;
        while let Some(session) = self.desks[ledger as usize].to_send.get(waiting.count).copied() {
            let (bytes, waits) = self.send_session(now, ledger, session);
            work += u32::from(bytes > 0);
            if waits {
                let unsent = self.slot(ledger, session).link.unsent_from();
                waiting.from = waiting.from.min(unsent.unwrap_or(u64::MAX));
                waiting.is_settled &= bytes == 0;
                waiting.count += 1;
                continue;
            }
            let desk = &mut self.desks[ledger as usize];
            desk.queued[session as usize] = false;
            desk.to_send.swap_remove(waiting.count);
        }
        let desk = &mut self.desks[ledger as usize];
        desk.waiting = waiting;
        let writer = &mut desk.ledger.writer;
        // What waits for its release must not be overwritten as soon as it is released, before it could be sent: the peer is not slow.
        writer.keep_from(waiting.from.min(writer.appended()));
        work
    }

    /// Answers the bytes sent, and whether the session waits for a release or its next turn: a full socket is told by readiness instead.
    fn send_session(&mut self, now: Now, ledger: u32, session: u32) -> (usize, bool) {
        self.trace.at(control::Stage::Release);
        self.trace.of(self.desks[ledger as usize].journal, session);
        let ledger_ref = &mut self.desks[ledger as usize].ledger;
        let link = &mut ledger_ref.slots[session as usize].link;
        let Some(id) = link.connection else { return (0, false) };
        // Readiness says when it takes more: until then each report to a peer that does not read would cost a call for nothing.
        let is_full = self.connections.get(id).is_some_and(|connection| connection.socket_full);
        let (sent, flushed) = match is_full {
            false => link.flush(&ledger_ref.writer, &mut self.transport, &self.trace),
            true if link.fell_behind(&ledger_ref.writer) => (Sent::default(), Flushed::FellBehind),
            true => return (0, false),
        };
        let bytes = sent.bytes;
        if bytes > 0 {
            self.counters.bytes_out.add(bytes as u64);
            self.counters.messages_out.add(sent.messages);
            if let Some(connection) = self.connections.get_mut(id) {
                connection.has_sent = true;
            }
        }
        match flushed {
            Flushed::Everything => {
                if matches!(self.stage(id), Some(Stage::Closing { .. })) {
                    self.all_sent(now, id);
                }
                (bytes, false)
            }
            Flushed::AwaitingRelease | Flushed::TurnIsOver => (bytes, true),
            Flushed::SocketFull => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.socket_full = true;
                }
                (bytes, false)
            }
            Flushed::FellBehind => {
                self.counters.slow_consumer_disconnects.add(1);
                self.cut(now, id, DisconnectedWhy::SlowConsumer);
                (bytes, false)
            }
            Flushed::Failed(error) => {
                self.cut(now, id, DisconnectedWhy::Failed(error.kind()));
                (bytes, false)
            }
        }
    }
}
