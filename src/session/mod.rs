//! One FIX session as a state machine: both roles, FIX.4.0 to 4.4 and FIXT.1.1.
//!
//! It does no I/O, reads no clock, starts no thread, and allocates nothing once a [`Session`] exists. The worker calls
//! one method a step with the time as an argument; outgoing messages are encoded straight into its [`Outbox`]; what
//! else is to be done waits in [`Session::poll`] until the worker has drained it. A session knows nothing of sockets,
//! journals or the meaning of application messages.
//!
//! Numbers and epochs: the numbers move by sending and by counting received messages. Whatever else moves them is
//! stated through [`Outbox::numbers`]. Every reset to 1 (ResetSeqNumFlag(141), the `reset_on_…` settings, an
//! operator's [`Session::renumber`]) opens an epoch. A gap fill or a SequenceReset of the peer only raises what we
//! expect and opens none.
//!
//! Where a rule comes from the FIX session layer's text it is named; where that is silent, the behaviour is that of
//! the open-source engines, so that counterparties' certification scripts pass.

mod identity;
mod outcome;
mod settings;
mod version;

pub use identity::{IDENTITY_VALUE_BYTES_MAX, Identity};
pub use outcome::{
    Action, BackPressure, Counters, DisconnectReason, Disposition, Notice, Outbox, Outgoing, OutgoingKind, Received,
    RejectReason, SendError,
};
pub use settings::{Role, Settings};
pub use version::Version;

use std::sync::Arc;

use crate::fix::{Encoder, Message, ParseError, UtcTimestamp};
use outcome::Actions;

/// The time, always an argument. One pair a turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub monotonic_ns: u64,
    pub utc: UtcTimestamp,
}

/// What is sent and what is expected next. Both start at 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    pub next_out: u64,
    pub next_in: u64,
    /// Raised by every reset or lowering of either number.
    pub epoch: u32,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { next_out: 1, next_in: 1, epoch: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No connection, or one that is about to be closed: whatever comes is ignored.
    Disconnected,
    /// An initiator waits for the answer.
    LogonSent,
    /// An acceptor is connected and waits for the first message.
    LogonAwaited,
    Established,
    /// We have sent a Logout. Messages are still processed until it is answered.
    LogoutSent,
}

pub struct Session {
    settings: Arc<Settings>,
    identity: Identity,
    numbers: Numbers,
    state: State,
    counters: Counters,
    actions: Actions,
}

impl Session {
    /// # Panics
    /// Where BeginString(8) of `identity` names no [`Version`]; the configuration has made sure of that.
    pub fn new(settings: Arc<Settings>, identity: Identity, numbers: Numbers) -> Self {
        Self {
            settings,
            identity,
            numbers,
            state: State::Disconnected,
            counters: Counters::default(),
            actions: Actions::new(),
        }
    }
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }
    pub fn state(&self) -> State {
        self.state
    }
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.poll()
    }
    pub fn connected(&mut self, _now: Now, _out: &mut impl Outbox) {
        todo!()
    }
    pub fn receive(&mut self, _now: Now, _message: &Message<'_>, _out: &mut impl Outbox) -> Received {
        todo!()
    }
    pub fn receive_unparsable(
        &mut self,
        _now: Now,
        _bytes: &[u8],
        _error: ParseError,
        _out: &mut impl Outbox,
    ) -> Received {
        todo!()
    }
    pub fn accept_logon(&mut self, _now: Now, _logon: &Message<'_>, _out: &mut impl Outbox) -> Received {
        todo!()
    }
    pub fn refuse_logon(&mut self, _now: Now, _logon: &Message<'_>, _text: &[u8], _out: &mut impl Outbox) -> Received {
        todo!()
    }
    pub fn take_held(&mut self, _buffer: &mut Vec<u8>) -> bool {
        todo!()
    }
    pub fn deadline_ns(&self) -> Option<u64> {
        todo!()
    }
    pub fn timer(&mut self, _now: Now, _out: &mut impl Outbox) {
        todo!()
    }
    pub fn disconnected(&mut self, _now: Now, _out: &mut impl Outbox) {
        todo!()
    }
    pub fn send(
        &mut self,
        _now: Now,
        _msg_type: &[u8],
        _out: &mut impl Outbox,
        _body: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<u64, SendError> {
        todo!()
    }
    pub fn logout(&mut self, _now: Now, _text: &[u8], _out: &mut impl Outbox) {
        todo!()
    }
    pub fn probe(&mut self, _now: Now, _out: &mut impl Outbox) {
        todo!()
    }
    /// An operator's change of the numbers, while disconnected; a new epoch. False while connected.
    pub fn renumber(&mut self, _next_out: u64, _next_in: u64, _out: &mut impl Outbox) -> bool {
        todo!()
    }
    /// The range that is being resent, as [`Action::Resend`] stated it or as far as it is still owed.
    pub fn resending(&self) -> Option<(u64, u64)> {
        todo!()
    }
    pub fn resend(&mut self, _now: Now, _stored: &Message<'_>, _out: &mut impl Outbox) -> Result<(), BackPressure> {
        todo!()
    }
    pub fn resend_done(&mut self, _now: Now, _out: &mut impl Outbox) -> Result<(), BackPressure> {
        todo!()
    }
}
