//! Messages that are longer than `message_bytes_max`: they are read over, so that the session goes
//! on.
//!
//! BodyLength(9) says where such a message ends. Its head alone is kept; what follows is added up
//! and forgotten as it comes, so that any message takes the same memory. At its end the trailer
//! shows whether it was a message. If it was, the session counts its number, as far as the head
//! shows that it is the session's, and rejects it. If it was not, it is garbled as any other, and
//! uses no number. What claims to be longer than [`READ_OVER_BYTES_MAX`] ends the session with a
//! Logout that names the limit.

use std::ops::ControlFlow;

use super::Worker;
use super::receive::Next;
use crate::application::Application;
use crate::engine::connection::{ReadOver, ReceiveBuffer, Stage};
use crate::engine::event::{Event, RefusedWhy};
use crate::engine::ledger::Full;
use crate::engine::resend::Budget;
use crate::fix::{Garbled, MESSAGE_END_BYTES, SOH, checksum, stated_checksum, stated_length};
use crate::session::Now;
use crate::transport::{ConnectionId, Transport};

/// What is kept of such a message. The shortest `message_bytes_max` is as long, so that it is
/// always there.
const HEAD_BYTES: usize = 1_024;
/// Beyond it nothing is read over: four times the longest message that may be configured.
const READ_OVER_BYTES_MAX: u64 = 64 << 20;

/// `Break` says what becomes of the connection's buffer, `Continue` that the next message may be
/// looked for.
type Flow = ControlFlow<Next>;

impl<T: Transport, A: Application> Worker<T, A> {
    /// What begins at the buffer's front is too long. `skip` bytes lead to what may be another
    /// message, should it be none.
    #[cold]
    pub(super) fn too_long(
        &mut self,
        now: Now,
        id: ConnectionId,
        buffer: &mut ReceiveBuffer,
        skip: u32,
        budget: &mut Budget,
    ) -> Flow {
        let (ledger, session) = match self.stage(id) {
            Some(Stage::Attached { ledger, session }) => (ledger, session),
            Some(Stage::LogonAwaited | Stage::Challenging { .. }) => {
                self.refuse(id, RefusedWhy::TooLong);
                return Flow::Break(Next::Gone);
            }
            Some(Stage::Closing { .. } | Stage::Draining | Stage::Connecting { .. }) => {
                return Flow::Break(Next::Discard);
            }
            None => return Flow::Break(Next::Gone),
        };
        let filled = buffer.filled();
        let length = match stated_length(filled) {
            Ok(None) => return Flow::Break(Next::Message),
            Ok(Some(length)) => length,
            Err(why) => {
                self.garbled(id, why);
                buffer.consume(skip as usize);
                return Flow::Continue(());
            }
        };
        if length > READ_OVER_BYTES_MAX {
            let refused = self.step_session(now, ledger, session, |session, out| {
                session.refuse_too_long(now, length, READ_OVER_BYTES_MAX, out);
            });
            if refused == Err(Full) {
                self.back_pressure(ledger);
                return Flow::Break(Next::Later);
            }
            self.tell_too_long(id, ledger, session, length);
            return Flow::Break(Next::Discard);
        }
        if filled.len() < HEAD_BYTES {
            return Flow::Break(Next::Message);
        }
        let head = &filled[..HEAD_BYTES];
        // Whole fields.
        let end = head.iter().rposition(|byte| *byte == SOH).map_or(0, |last| last + 1);
        let over = ReadOver { length, left: length - MESSAGE_END_BYTES as u64, sum: 0, head: head[..end].into() };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.over = Some(Box::new(over));
        }
        self.tell_too_long(id, ledger, session, length);
        self.read_over(now, id, buffer, budget)
    }

    /// Goes on with a message that is read over.
    #[cold]
    pub(super) fn read_over(
        &mut self,
        now: Now,
        id: ConnectionId,
        buffer: &mut ReceiveBuffer,
        budget: &mut Budget,
    ) -> Flow {
        if budget.is_spent() {
            return Flow::Break(Next::Later);
        }
        let Some(connection) = self.connections.get_mut(id) else { return Flow::Break(Next::Gone) };
        let Some(mut over) = connection.over.take() else { return Flow::Continue(()) };
        let filled = buffer.filled();
        let count = filled.len().min(usize::try_from(over.left).unwrap_or(usize::MAX));
        over.sum = over.sum.wrapping_add(checksum(&filled[..count]));
        over.left -= count as u64;
        budget.spend(count);
        buffer.consume(count);
        let end = buffer.filled().first_chunk::<MESSAGE_END_BYTES>().filter(|_| over.left == 0);
        let Some(end) = end else {
            connection.over = Some(over);
            // The peer can send nothing else meanwhile, and on a slow line it takes longer than a
            // heartbeat.
            if let Some(Stage::Attached { ledger, session }) = self.stage(id).filter(|_| count > 0) {
                self.slot(ledger, session).session.input_waits(now);
            }
            return Flow::Break(if budget.is_spent() { Next::Later } else { Next::Message });
        };
        let computed = over.sum.wrapping_add(end[0]);
        match stated_checksum(end) {
            None => {
                self.garbled(id, Garbled::Trailer);
                // What else is there may begin another message.
                buffer.consume(1);
                return Flow::Continue(());
            }
            Some(stated) if stated != computed => {
                self.garbled(id, Garbled::CheckSum { stated, computed });
                buffer.consume(MESSAGE_END_BYTES);
                return Flow::Continue(());
            }
            Some(_) => {}
        }
        if let Some(Stage::Attached { ledger, session }) = self.stage(id)
            && self.step_too_long(now, ledger, session, &over.head, over.length) == Err(Full)
        {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.over = Some(over);
            }
            self.back_pressure(ledger);
            return Flow::Break(Next::Later);
        }
        buffer.consume(MESSAGE_END_BYTES);
        Flow::Continue(())
    }

    fn tell_too_long(&mut self, id: ConnectionId, ledger: u32, session: u32, bytes: u64) {
        self.counters.messages_too_long.add(1);
        let Some(peer) = self.connections.get(id).map(|connection| connection.peer) else { return };
        let (session, message_bytes_max) = (self.key(ledger, session), self.limits.message_bytes_max);
        self.mailbox.events.push(Event::MessageTooLong { session, peer, bytes, message_bytes_max });
    }
}
