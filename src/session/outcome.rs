//! What a step of a session yields: outgoing messages by way of the [`Outbox`], a verdict on what was received, and
//! [`Action`]s and [`Notice`]s that wait in a small fixed queue until the worker has drained it.

use super::Numbers;
use crate::fix::{Hidden, Overflow};

/// Where a step's outgoing messages go: the journal's tail. Implemented by the engine's worker, and by tests.
pub trait Outbox {
    /// Encodes one message in place. `encode` gets free space and answers the length written.
    fn append(
        &mut self,
        outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure>;

    /// Values of the message that was appended last were hidden: what is stored has stars in their places, what leaves has them.
    fn hidden(&mut self, _hidden: &Hidden) {}

    /// States the session's numbers where they move otherwise than by one sent message or one counted inbound one
    /// (gap fill, reset, new epoch). They hold at this place in the commit: `next_in` takes account of the message
    /// being received, `next_out` of the messages appended before the call and of none after it.
    ///
    /// A new epoch is synced before anything of the commit is released.
    fn numbers(&mut self, numbers: Numbers);

    /// From the next [`Outbox::numbers`] on, the session's next outgoing number is no longer left to the peer.
    fn next_out_is_known(&mut self) {}
}

/// What is being appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    pub msg_seq_num: u64,
    pub kind: OutgoingKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutgoingKind {
    Application,
    /// An application message after our Logout: stored under its number and not sent on this connection, since after a
    /// Logout nothing new may follow. The peer finds the gap at its next Logon, and the resend brings it.
    Deferred,
    Admin,
    Logon,
    ResendRequest,
    /// Resent, or a gap fill for a resend: takes no new number.
    Replay,
}

/// There is no room now. A value, not an error: nothing was written and no number used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackPressure;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The session is not established, or the Logouts have been exchanged.
    NotLoggedOn,
    /// There is no room now.
    BackPressure,
    /// The message is longer than `message_bytes_max`, so that no room would ever do.
    TooLong,
}

/// What became of a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its MsgSeqNum(34) is used up: the next one is expected.
    pub counted: bool,
    pub disposition: Disposition,
}

impl Received {
    pub(super) const COUNTED: Self = Self { counted: true, disposition: Disposition::Done };
    pub(super) const IGNORED: Self = Self { counted: false, disposition: Disposition::Done };

    pub(super) const fn done(counted: bool) -> Self {
        Self { counted, disposition: Disposition::Done }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Nothing is left to do.
    Done,
    /// Hand it to the application.
    Deliver { poss_dup: bool, poss_resend: bool },
    /// A valid Logon: ask the application, then call `accept_logon` or `refuse_logon` in the same commit.
    Logon,
}

/// What the worker is to do after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    LoggedOn,
    /// Once for each [`Action::LoggedOn`].
    LoggedOut,
    /// Send what is pending, then close, then call `disconnected`.
    Disconnect(DisconnectReason),
    /// Stage what is stored of these numbers, feed it to `resend` in ascending order, then call `resend_done`. A
    /// resend that is still being staged is dropped: this one takes over what it still owed.
    Resend {
        begin: u64,
        /// Inclusive, below `next_out`.
        end: u64,
    },
    Notice(Notice),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisconnectReason {
    /// Logouts were exchanged.
    LoggedOut,
    /// The peer's Logon did not come in time.
    LogonTimeout,
    /// The peer did not answer our Logout in time.
    LogoutTimeout,
    /// The first message was something else.
    NotALogon,
    /// The Logon broke a rule of the session layer.
    InvalidLogon,
    /// Our application refused the Logon.
    LogonRefused,
    /// The peer answered our Logon with a Logout.
    LogonRefusedByPeer,
    /// The session's schedule does not allow it now.
    OutsideHours,
    /// Neither the heartbeat nor the answer to a TestRequest came in time.
    HeartbeatTimeout,
    MsgSeqNumTooLow,
    MsgSeqNumMissing,
    /// NextExpectedMsgSeqNum(789) of the Logon is beyond what we have sent.
    NextExpectedTooHigh,
    /// A message claims to be longer than anything that is read over.
    MessageTooLong,
    /// The peer goes on under old numbers after our ResetSeqNumFlag(141), or has done so before.
    ResetNotTaken,
    /// What was missing did not come, however often it was asked for.
    MessagesMissing,
    /// The journal had no room for a message without which the session cannot go on.
    BackPressure,
}

impl DisconnectReason {
    /// The next connection is likely to end in the same way, however well its logon goes.
    pub fn comes_again(self) -> bool {
        match self {
            Self::MsgSeqNumTooLow
            | Self::MsgSeqNumMissing
            | Self::NextExpectedTooHigh
            | Self::MessageTooLong
            | Self::MessagesMissing
            | Self::ResetNotTaken => true,
            Self::LoggedOut
            | Self::LogonTimeout
            | Self::LogoutTimeout
            | Self::NotALogon
            | Self::InvalidLogon
            | Self::LogonRefused
            | Self::LogonRefusedByPeer
            | Self::OutsideHours
            | Self::HeartbeatTimeout
            | Self::BackPressure => false,
        }
    }
}

/// Something worth a log line. It never holds bytes of a message, so that no secret can slip through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A message is missing and was asked for.
    GapDetected {
        expected: u64,
        received: u64,
    },
    /// Messages `begin` to `end` had been missing and have all come.
    GapClosed {
        begin: u64,
        end: u64,
    },
    /// A part of what was asked for, `begin` to `end`, has not come. It is asked for again, after
    /// so many requests.
    GapStays {
        begin: u64,
        end: u64,
        requests: u32,
    },
    /// The same at the last request. The session ends.
    GapGivenUp {
        begin: u64,
        end: u64,
        requests: u32,
    },
    /// The peer has filled over messages that had come, and were held behind a gap. They are
    /// processed all the same.
    HeldFilledOver {
        begin: u64,
        end: u64,
        messages: u64,
    },
    /// The numbers begin again, and what was held behind a gap cannot come into its order any more.
    HeldDropped {
        messages: u64,
    },
    /// A message beyond a gap did not fit in the queue. The resend will bring it.
    HeldOverflow {
        msg_seq_num: u64,
    },
    TooLow {
        expected: u64,
        received: u64,
    },
    /// The peer's Logout says that it expects a higher number than ours.
    OursTooLow {
        expected: u64,
        next_out: u64,
    },
    /// The peer's Logon has number 1, and we expect a higher one: it begins again and does not say
    /// so.
    BeginsAnewUnsaid {
        expected: u64,
    },
    MsgSeqNumMissing,
    /// We refused a message of the peer.
    RejectSent {
        ref_seq_num: u64,
        ref_tag_id: Option<u32>,
        reason: RejectReason,
    },
    /// The peer's Reject(3) is itself not as the dictionary says. It is not answered.
    InvalidReject {
        ref_tag_id: Option<u32>,
    },
    /// A message is not as the dictionary says, and is taken all the same: the session does not
    /// reject them.
    InvalidAccepted {
        msg_seq_num: u64,
        ref_tag_id: Option<u32>,
        reason: RejectReason,
    },
    /// The peer refused a message of ours. 0 where it does not say which.
    RejectReceived {
        ref_seq_num: u64,
    },
    /// The peer ends the session, or confirms that we do.
    LogoutReceived,
    /// The peer asks for messages that it missed.
    ResendRequested {
        begin: u64,
        end: u64,
    },
    /// The same request came too often while it was being answered.
    ResendRequestIgnored {
        begin: u64,
    },
    /// The peer moved our expected number up by SequenceReset(4) in reset mode.
    SequenceReset {
        from: u64,
        to: u64,
    },
    /// Both numbers are 1 again, in a new epoch.
    NumbersReset {
        epoch: u32,
    },
    /// After a loss of messages the peer's NextExpectedMsgSeqNum(789) says where to go on.
    Resumed {
        at: u64,
        instead_of: u64,
    },
    /// A restored session goes on with the number that the peer said it expects.
    NextOutFromPeer {
        from: u64,
        to: u64,
    },
    /// Nothing came for the heartbeat interval and its margin; a TestRequest is on its way.
    HeartbeatMissed,
    /// The peer lives: something came after our TestRequest.
    TestRequestAnswered,
    /// NextExpectedMsgSeqNum(789) is beyond what we have sent: we have lost messages, or the peer's numbers are wrong.
    NextExpectedTooHigh {
        next_out: u64,
        next_expected: u64,
    },
    /// A Logon over FIXT.1.1 without DefaultApplVerID(1137). It gets no answer.
    DefaultApplVerIdMissing,
    /// We asked for a reset with our Logon, and the answer does not confirm it though its number does.
    ResetNotConfirmed,
    /// Our settings or schedule began the numbers again, and the peer's Logon or Logout shows that
    /// it went on under the old ones.
    ResetNotTaken {
        times: u32,
    },
    /// The peer answered our Logon with another HeartBtInt(108). Ours is kept.
    HeartBtIntDiffers {
        ours_s: u32,
    },
    /// A Logon in an established session.
    LogonRepeated,
    /// So many in a row that they may be answers to ours. No more of them are answered.
    LogonsUnanswered,
    /// A message in another BeginString(8).
    IncorrectBeginString,
    /// No room for an administrative message with this first byte of MsgType(35).
    AdminBackPressure {
        msg_type: u8,
    },
    /// A framed message that could not be read, of which not even its number could.
    Garbled,
}

/// SessionRejectReason(373), as far as it is used here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectReason {
    InvalidTagNumber,
    RequiredTagMissing,
    TagNotDefinedForMessage,
    TagWithoutValue,
    ValueIsIncorrect,
    IncorrectDataFormat,
    CompIdProblem,
    SendingTimeAccuracy,
    InvalidMsgType,
    TagRepeated,
    TagOutOfOrder,
    GroupFieldsOutOfOrder,
    IncorrectNumInGroup,
    InvalidApplicationVersion,
    Other,
}

impl RejectReason {
    pub const fn code(self) -> u32 {
        match self {
            Self::InvalidTagNumber => 0,
            Self::RequiredTagMissing => 1,
            Self::TagNotDefinedForMessage => 2,
            Self::TagWithoutValue => 4,
            Self::ValueIsIncorrect => 5,
            Self::IncorrectDataFormat => 6,
            Self::CompIdProblem => 9,
            Self::SendingTimeAccuracy => 10,
            Self::InvalidMsgType => 11,
            Self::TagRepeated => 13,
            Self::TagOutOfOrder => 14,
            Self::GroupFieldsOutOfOrder => 15,
            Self::IncorrectNumInGroup => 16,
            Self::InvalidApplicationVersion => 18,
            Self::Other => 99,
        }
    }

    /// Text(58), in the words that the open-source engines share.
    pub const fn text(self) -> &'static [u8] {
        match self {
            Self::InvalidTagNumber => b"Invalid tag number",
            Self::RequiredTagMissing => b"Required tag missing",
            Self::TagNotDefinedForMessage => b"Tag not defined for this message type",
            Self::TagWithoutValue => b"Tag specified without a value",
            Self::ValueIsIncorrect => b"Value is incorrect (out of range) for this tag",
            Self::IncorrectDataFormat => b"Incorrect data format for value",
            Self::CompIdProblem => b"CompID problem",
            Self::SendingTimeAccuracy => b"SendingTime accuracy problem",
            Self::InvalidMsgType => b"Invalid MsgType",
            Self::TagRepeated => b"Tag appears more than once",
            Self::TagOutOfOrder => b"Tag specified out of required order",
            Self::GroupFieldsOutOfOrder => b"Out of order repeating group members",
            Self::IncorrectNumInGroup => b"Incorrect NumInGroup count for repeating group",
            Self::InvalidApplicationVersion => b"Invalid/Unsupported Application Version",
            Self::Other => b"Message cannot be processed",
        }
    }
}

/// BusinessRejectReason(380).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusinessRejectReason {
    Other,
    UnknownId,
    UnknownSecurity,
    UnsupportedMessageType,
    ApplicationNotAvailable,
    ConditionallyRequiredFieldMissing,
}

impl BusinessRejectReason {
    pub const fn code(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::UnknownId => 1,
            Self::UnknownSecurity => 2,
            Self::UnsupportedMessageType => 3,
            Self::ApplicationNotAvailable => 4,
            Self::ConditionallyRequiredFieldMissing => 5,
        }
    }

    /// Text(58), in the words that the open-source engines share.
    pub const fn text(self) -> &'static [u8] {
        match self {
            Self::Other => b"Other",
            Self::UnknownId => b"Unknown ID",
            Self::UnknownSecurity => b"Unknown Security",
            Self::UnsupportedMessageType => b"Unsupported Message Type",
            Self::ApplicationNotAvailable => b"Application not available",
            Self::ConditionallyRequiredFieldMissing => b"Conditionally Required Field Missing",
        }
    }
}

/// SessionStatus(1409), as far as we say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SessionStatus {
    Active,
    LoggedOut,
    LogonsNotAllowedNow,
    MsgSeqNumTooLow,
    NextExpectedMsgSeqNumTooHigh,
}

impl SessionStatus {
    pub const fn code(self) -> u32 {
        match self {
            Self::Active => 0,
            Self::LoggedOut => 4,
            Self::LogonsNotAllowedNow => 7,
            Self::MsgSeqNumTooLow => 9,
            Self::NextExpectedMsgSeqNumTooHigh => 10,
        }
    }

    /// What a Logout says that ends the connection for this reason.
    pub const fn of(reason: DisconnectReason) -> Self {
        match reason {
            DisconnectReason::MsgSeqNumTooLow => Self::MsgSeqNumTooLow,
            DisconnectReason::NextExpectedTooHigh => Self::NextExpectedMsgSeqNumTooHigh,
            DisconnectReason::OutsideHours => Self::LogonsNotAllowedNow,
            _ => Self::LoggedOut,
        }
    }
}

/// What a session has seen. Plain numbers; the worker publishes them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    pub messages_in: u64,
    pub messages_out: u64,
    pub application_messages_in: u64,
    pub application_messages_out: u64,
    pub rejects_in: u64,
    pub rejects_out: u64,
    pub garbled: u64,
    pub gaps: u64,
    /// PossDup messages that had been processed before.
    pub duplicates_in: u64,
    pub held: u64,
    pub held_dropped: u64,
    /// Messages that had come although the peer filled over them.
    pub held_filled_over: u64,
    /// Gaps that ended the session, since they did not close.
    pub gaps_given_up: u64,
    pub resend_requests_in: u64,
    pub resend_requests_ignored: u64,
    pub resend_requests_out: u64,
    pub messages_resent: u64,
    pub gap_fills_out: u64,
    pub test_requests_out: u64,
    pub heartbeat_timeouts: u64,
    pub logons: u64,
    pub resets: u64,
    pub back_pressure: u64,
    pub notices_dropped: u64,
}

/// One step yields at most these without a notice: LoggedOn, Resend, LoggedOut and Disconnect, once each.
const DECISIONS_PER_STEP_MAX: usize = 4;
const ACTIONS_MAX: usize = 16;
/// Notices leave room for two steps' decisions, so that nothing but a notice is ever dropped.
const NOTICES_MAX: usize = ACTIONS_MAX - 2 * DECISIONS_PER_STEP_MAX;
const _: () = assert!(NOTICES_MAX >= 4);

/// The queue behind `Session::poll`.
#[derive(Debug)]
pub(super) struct Actions {
    queue: [Action; ACTIONS_MAX],
    head: usize,
    length: usize,
}

impl Actions {
    pub fn new() -> Self {
        Self { queue: [Action::LoggedOut; ACTIONS_MAX], head: 0, length: 0 }
    }

    /// Must have room: the worker drains the queue after each step.
    pub fn decide(&mut self, action: Action) {
        assert!(self.length < ACTIONS_MAX, "the worker has not drained the session's actions");
        self.queue[(self.head + self.length) % ACTIONS_MAX] = action;
        self.length += 1;
    }

    /// False where there was no room.
    pub fn notice(&mut self, notice: Notice) -> bool {
        let room = self.length < NOTICES_MAX;
        if room {
            self.decide(Action::Notice(notice));
        }
        room
    }

    pub fn poll(&mut self) -> Option<Action> {
        if self.length == 0 {
            return None;
        }
        let action = self.queue[self.head];
        self.head = (self.head + 1) % ACTIONS_MAX;
        self.length -= 1;
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_dropped_before_decisions_and_the_order_is_kept() {
        let mut actions = Actions::new();
        let kept = (0..100).filter(|_| actions.notice(Notice::Garbled)).count();
        assert_eq!(kept, NOTICES_MAX);
        actions.decide(Action::LoggedOut);
        for _ in 0..kept {
            assert_eq!(actions.poll(), Some(Action::Notice(Notice::Garbled)));
        }
        assert_eq!(actions.poll(), Some(Action::LoggedOut));
        assert_eq!(actions.poll(), None);
    }
}
