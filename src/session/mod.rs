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

mod demanded_reset;
mod from_peer;
mod gap;
mod header;
mod held;
mod identity;
mod inbound;
mod logon;
mod outbound;
mod outcome;
mod rehearsal;
mod resend;
mod schedule;
mod settings;
mod timers;
mod validation;
mod version;

pub(crate) use identity::write_party;
pub use identity::{IDENTITY_VALUE_BYTES_MAX, Identity};
pub use inbound::msg_seq_num_of_unparsable;
pub use outcome::{
    Action, BackPressure, BusinessRejectReason, Counters, DisconnectReason, Disposition, Notice, Outbox, Outgoing,
    OutgoingKind, Received, RejectReason, SendError,
};
pub use resend::is_admin;
pub use settings::{Role, Settings};
pub use validation::{MessageValidator, Validators};
pub use version::Version;

use std::sync::Arc;

use crate::fix::UtcTimestamp;
use demanded_reset::Demanded;
use gap::Gap;
use header::{HeaderLayout, SendingTimeParser};
use held::Held;
use outbound::{OutboundHeader, precision_of};
use outcome::{Actions, SessionStatus};
use resend::Streaming;
use schedule::Resetting;

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

/// See [`Session::rolled_back`]. It holds as long as no number has been used since.
#[derive(Clone, Copy, Debug)]
struct RolledBack {
    journal_end: u64,
    moved_to: Numbers,
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

/// MsgSeqNum(34) and its kin are refused beyond this, so that no sum of them can overflow.
pub const MSG_SEQ_NUM_MAX: u64 = i64::MAX as u64;

/// See the module's header.
#[derive(Debug)]
pub struct Session {
    // Touched by every message.
    numbers: Numbers,
    state: State,
    version: Version,
    last_received_ns: u64,
    last_sent_ns: u64,
    /// Of a TestRequest that has not been answered; `u64::MAX` where there is none.
    test_request_deadline_ns: u64,
    gap: Option<Gap>,
    /// When the gap is looked at again; `u64::MAX` where there is none.
    gap_due_ns: u64,
    /// The message that `take_held` has just handed out.
    taken: Option<u64>,
    /// The highest number that is known to be missing and not covered by a request, since the
    /// message found no room to be held or lies between held ones; 0 where there is none.
    missing_to: u64,
    resetting: Resetting,
    layout: HeaderLayout,
    sending_time: SendingTimeParser,
    header: OutboundHeader,
    validator: Option<Arc<MessageValidator>>,
    /// The DefaultApplVerID(1137) of the peer's Logon, FIXT.1.1 alone.
    peer_appl_ver_id: &'static [u8],
    writes_last_processed: bool,
    counters: Counters,

    // Touched seldom.
    settings: Arc<Settings>,
    identity: Identity,
    heart_bt_int_s: u32,
    heart_bt_int_ns: u64,
    margin_ns: u64,
    /// Of the wait for a Logon or a Logout; `u64::MAX` where there is none.
    phase_deadline_ns: u64,
    /// No heartbeat or TestRequest before this, because the last one found no room.
    retry_ns: u64,
    /// From `connected` to `disconnected`.
    connected: bool,
    /// From [`Action::LoggedOn`] to [`Action::LoggedOut`].
    logged_on: bool,
    /// `receive` has found a valid Logon, and the application has not spoken yet.
    logon_pending: bool,
    /// Our Logon asked for a reset, and we have reset already.
    reset_sent: bool,
    /// The numbers have begun again by an in-session reset, and no Logon of the peer has confirmed it: an initiator's next Logon
    /// asks for it anew.
    reset_unconfirmed: bool,
    /// Whether our numbers have begun again at this Logon although the peer had not asked for it.
    demanded: Demanded,
    /// How often in a row the peer has not taken that.
    resets_refused: u32,
    /// The number of the peer's newest Logon, and how many have come in a row since its first.
    last_logon_in: u64,
    logons_in_a_row: u32,
    /// The peer of an initiator has sent a ResendRequest before its Logon, and got its Reject.
    early_request_refused: bool,
    /// We have answered the peer's Logout and wait for it to close.
    logout_answered: bool,
    rolled_back: Option<RolledBack>,
    /// The operator has left our next number to the peer, and it has not said it yet.
    next_out_from_peer: bool,
    held: Held,
    resend: Option<Streaming>,
    actions: Actions,
}

impl Session {
    /// # Panics
    /// Where BeginString(8) of `identity` names no [`Version`]; whoever made the identity has checked that.
    pub fn new(settings: Arc<Settings>, identity: Identity, numbers: Numbers) -> Self {
        let version =
            Version::of_begin_string(&identity.begin_string).expect("an identity names a known BeginString(8)");
        Self {
            numbers,
            state: State::Disconnected,
            version,
            last_received_ns: 0,
            last_sent_ns: 0,
            test_request_deadline_ns: u64::MAX,
            gap: None,
            gap_due_ns: u64::MAX,
            taken: None,
            missing_to: 0,
            resetting: Resetting::No,
            layout: HeaderLayout::default(),
            sending_time: SendingTimeParser::new(),
            header: OutboundHeader::of(&identity, precision_of(version, settings.precision)),
            validator: settings.validators.of(version),
            peer_appl_ver_id: b"",
            writes_last_processed: settings.last_msg_seq_num_processed && version.has_last_msg_seq_num_processed(),
            counters: Counters::default(),
            heart_bt_int_s: 0,
            heart_bt_int_ns: 0,
            margin_ns: 0,
            phase_deadline_ns: u64::MAX,
            retry_ns: 0,
            connected: false,
            logged_on: false,
            logon_pending: false,
            reset_sent: false,
            // Where the peer has said nothing in this epoch, or what it said is lost, it may not know of it.
            reset_unconfirmed: (settings.reset_in_session || settings.reset_on_logout || settings.reset_on_disconnect)
                && settings.role == Role::Initiator
                && version.has_reset_seq_num_flag()
                && numbers.next_in == 1,
            demanded: Demanded::No,
            resets_refused: 0,
            last_logon_in: 0,
            logons_in_a_row: 0,
            early_request_refused: false,
            logout_answered: false,
            rolled_back: None,
            next_out_from_peer: false,
            held: Held::with_capacity(settings.held_messages_max, settings.held_bytes_max),
            resend: None,
            actions: Actions::new(),
            settings,
            identity,
        }
    }

    /// The next number has been moved up from `journal_end`, since what is not stored may have left under the numbers between. Of a
    /// session that has just been made.
    pub fn rolled_back(&mut self, journal_end: u64) {
        self.rolled_back = Some(RolledBack { journal_end, moved_to: self.numbers });
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

    /// The HeartBtInt(108) in force, once logged on.
    pub fn heart_bt_int_s(&self) -> u32 {
        self.heart_bt_int_s
    }

    /// DefaultApplVerID(1137) of the peer's Logon, FIXT.1.1 alone.
    pub fn default_appl_ver_id(&self) -> Option<&'static [u8]> {
        (!self.peer_appl_ver_id.is_empty()).then_some(self.peer_appl_ver_id)
    }

    /// What the worker is to do, oldest first. Drained after each step, until `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.poll()
    }

    /// The connection is gone, by whomever.
    pub fn disconnected(&mut self, _now: Now, out: &mut impl Outbox) {
        if !std::mem::take(&mut self.connected) {
            return;
        }
        self.leave();
        self.judge_reset(None);
        self.logon_pending = false;
        self.reset_sent = false;
        self.logout_answered = false;
        self.test_request_deadline_ns = u64::MAX;
        self.retry_ns = 0;
        self.forget_gaps();
        if self.settings.reset_on_disconnect && !self.is_at_start() {
            self.reset_alone(out);
        }
    }

    /// An operator's change of the numbers: a new epoch. False, and nothing done, while there is a connection or where
    /// a number is out of range.
    pub fn renumber(&mut self, next_out: u64, next_in: u64, out: &mut impl Outbox) -> bool {
        let valid = |number| (1..=MSG_SEQ_NUM_MAX).contains(&number);
        if self.connected || !valid(next_out) || !valid(next_in) {
            return false;
        }
        self.numbers = Numbers { next_out, next_in, epoch: self.numbers.epoch.saturating_add(1) };
        self.reset_is_taken();
        out.numbers(self.numbers);
        true
    }

    /// From our side the connection is over: what comes now is ignored.
    fn close(&mut self, reason: DisconnectReason) {
        if self.state != State::Disconnected {
            self.leave();
            self.actions.decide(Action::Disconnect(reason));
        }
    }

    fn leave(&mut self) {
        self.state = State::Disconnected;
        self.phase_deadline_ns = u64::MAX;
        self.resend = None;
        self.resetting = Resetting::No;
        if std::mem::take(&mut self.logged_on) {
            self.actions.decide(Action::LoggedOut);
        }
    }
}

#[cfg(test)]
mod tests;
