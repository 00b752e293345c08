//! What the engine runs: the [`Application`] trait and the two applications that come with it.
//!
//! An application lives on a worker, one instance a journal, and is called from the worker's loop only: it needs no
//! lock and must not block. What it sends while it handles a message is stored in one commit with that message: after a
//! crash either all of it is there or none. It sends through the [`Handle`] that a callback gets; a send that finds no
//! room answers [`SendError::BackPressure`], a value to act on, not an error.

mod echo;
mod exchange;

pub use crate::engine::{Handle, Sessions};
pub use crate::journal::Rollback;
pub use crate::session::{BusinessRejectReason, SendError};
pub use echo::Echo;
pub use exchange::Exchange;

use crate::fix::Message;

/// A session's number in its journal, for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub u32);

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Delivery {
    /// PossDupFlag(43): it was sent before under the same MsgSeqNum(34), and this session has not processed it.
    pub poss_dup: bool,
    /// PossResend(97): the same content may have come under another MsgSeqNum(34).
    pub poss_resend: bool,
}

/// Which way a stored message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// Why a logon is refused; the text goes to the peer in the Logout(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub text: String,
}

/// A snapshot that this application cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError(pub String);

/// The business on top of the sessions. Every method but the first has a default that does nothing.
pub trait Application: Send {
    /// An application message, in order, its number counted. What is sent here is one commit with the message.
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery);

    /// A valid Logon(A) has come; the session is not established yet and nothing can be sent.
    fn on_logon(&mut self, session: &mut Handle<'_>, logon: &Message<'_>) -> Result<(), Refusal> {
        let _ = (session, logon);
        Ok(())
    }

    /// Both Logons have been exchanged: sending is possible from here on.
    fn on_established(&mut self, session: &mut Handle<'_>) {
        let _ = session;
    }

    /// The session has ended, by Logout(5) or because its connection did.
    fn on_logout(&mut self, session: &mut Handle<'_>) {
        let _ = session;
    }

    /// Called once in each turn of the worker, for sends that no message causes. Keep it to nanoseconds.
    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        let _ = sessions;
    }

    /// Whether [`Application::on_turn`] has anything to do now: where it has not, the turn saves the commit that would be opened for it.
    fn has_turn(&self) -> bool {
        true
    }

    /// Called now and then when the worker has nothing to do, with the message of `session` that came last, which has been handled:
    /// what is sent here is encoded as ever and then answered with [`SendError::BackPressure`]. To send what the next such message
    /// would be answered with brings the code and data for it into the processor's caches. The application's state has to
    /// stay as it is.
    fn rehearse(&mut self, session: &mut Handle<'_>, message: &Message<'_>) {
        let _ = (session, message);
    }

    /// A node has died and may have taken the end of the journal with it: told of each session, before the first message after the
    /// start, and told again in its place among [`Application::on_replay`] where a later start reads it back.
    ///
    /// Outgoing messages with numbers from [`Rollback::lost_from`] up to, but without, [`Rollback::lost_to`] may have reached the
    /// peer and are not stored; the session goes on at `lost_to`, or at the peer's NextExpectedMsgSeqNum(789) between the two. In `sync`
    /// the two are equal. Inbound messages from `next_in` on may come again, with PossDupFlag(43), though they were processed before.
    fn on_rollback(&mut self, session: SessionNumber, rollback: Rollback) {
        let _ = (session, rollback);
    }

    /// Appends the application's state to `state`, for the journal's state record. Called on the worker at each new
    /// segment: keep it small, it is a pause. At most [`crate::engine::Environment::snapshot_bytes_max`]; beyond, the worker
    /// panics.
    fn snapshot(&self, state: &mut Vec<u8>) {
        let _ = state;
    }

    /// Takes back what [`Application::snapshot`] wrote, at start-up, before any other call.
    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let _ = state;
        Ok(())
    }

    /// After [`Application::restore`]: each application message that was stored after the snapshot, in order. `epoch` is
    /// the session's at that time, see [`Handle::epoch`].
    fn on_replay(&mut self, session: SessionNumber, epoch: u32, direction: Direction, message: &Message<'_>) {
        let _ = (session, epoch, direction, message);
    }
}
