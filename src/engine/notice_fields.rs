//! The figures of a notice as fields of its log line, named as the FIX specification and the notice
//! name them.

use crate::fix::Garbled;
use crate::session::Notice;

/// A field that is `None` does not appear.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoticeFields {
    pub expected: Option<u64>,
    pub received: Option<u64>,
    pub begin: Option<u64>,
    /// 0 where the peer asks for all that there is.
    pub end: Option<u64>,
    pub msg_seq_num: Option<u64>,
    pub ref_seq_num: Option<u64>,
    pub ref_tag_id: Option<u32>,
    pub reason: Option<&'static str>,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub epoch: Option<u32>,
    pub next_out: Option<u64>,
    pub next_expected: Option<u64>,
    pub ours_s: Option<u32>,
    pub msg_type: Option<&'static str>,
    /// ResendRequest(2)s for the same gap.
    pub requests: Option<u32>,
    pub messages: Option<u64>,
    pub times: Option<u32>,
}

impl NoticeFields {
    pub fn of(notice: Notice) -> Self {
        let none = Self::default();
        match notice {
            Notice::GapDetected { expected, received } | Notice::TooLow { expected, received } => {
                Self { expected: Some(expected), received: Some(received), ..none }
            }
            Notice::GapClosed { begin, end } | Notice::ResendRequested { begin, end } => {
                Self { begin: Some(begin), end: Some(end), ..none }
            }
            Notice::GapStays { begin, end, requests } | Notice::GapGivenUp { begin, end, requests } => {
                Self { begin: Some(begin), end: Some(end), requests: Some(requests), ..none }
            }
            Notice::HeldFilledOver { begin, end, messages } => {
                Self { begin: Some(begin), end: Some(end), messages: Some(messages), ..none }
            }
            Notice::HeldDropped { messages } => Self { messages: Some(messages), ..none },
            Notice::ResendRequestIgnored { begin } => Self { begin: Some(begin), ..none },
            Notice::HeldOverflow { msg_seq_num } => Self { msg_seq_num: Some(msg_seq_num), ..none },
            Notice::InvalidAccepted { msg_seq_num, ref_tag_id, reason } => {
                let reason = std::str::from_utf8(reason.text()).ok();
                Self { msg_seq_num: Some(msg_seq_num), ref_tag_id, reason, ..none }
            }
            Notice::OursTooLow { expected, next_out } => {
                Self { expected: Some(expected), next_out: Some(next_out), ..none }
            }
            Notice::BeginsAnewUnsaid { expected } => Self { expected: Some(expected), received: Some(1), ..none },
            Notice::ResetNotTaken { times } => Self { times: Some(times), ..none },
            Notice::RejectSent { ref_seq_num, ref_tag_id, reason } => {
                let reason = std::str::from_utf8(reason.text()).ok();
                Self { ref_seq_num: Some(ref_seq_num), ref_tag_id, reason, ..none }
            }
            Notice::InvalidReject { ref_tag_id } => Self { ref_tag_id, ..none },
            Notice::RejectReceived { ref_seq_num } => Self { ref_seq_num: Some(ref_seq_num), ..none },
            Notice::SequenceReset { from, to } | Notice::NextOutFromPeer { from, to } => {
                Self { from: Some(from), to: Some(to), ..none }
            }
            Notice::Resumed { at, instead_of } => Self { from: Some(instead_of), to: Some(at), ..none },
            Notice::NumbersReset { epoch } => Self { epoch: Some(epoch), ..none },
            Notice::NextExpectedTooHigh { next_out, next_expected } => {
                Self { next_out: Some(next_out), next_expected: Some(next_expected), ..none }
            }
            Notice::HeartBtIntDiffers { ours_s } => Self { ours_s: Some(ours_s), ..none },
            Notice::AdminBackPressure { msg_type } => Self { msg_type: Some(admin_name(msg_type)), ..none },
            Notice::MsgSeqNumMissing
            | Notice::LogoutReceived
            | Notice::HeartbeatMissed
            | Notice::TestRequestAnswered
            | Notice::DefaultApplVerIdMissing
            | Notice::ResetNotConfirmed
            | Notice::LogonRepeated
            | Notice::LogonsUnanswered
            | Notice::IncorrectBeginString
            | Notice::Garbled => none,
        }
    }
}

fn admin_name(msg_type: u8) -> &'static str {
    match msg_type {
        b'0' => "Heartbeat",
        b'1' => "TestRequest",
        b'2' => "ResendRequest",
        b'3' => "Reject",
        b'4' => "SequenceReset",
        b'5' => "Logout",
        b'A' => "Logon",
        b'j' => "BusinessMessageReject",
        _ => "other",
    }
}

/// Why a message is garbled, as fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct GarbledFields {
    pub why: &'static str,
    /// CheckSum(10), as the message says and as its bytes add up to.
    pub stated: Option<u8>,
    pub computed: Option<u8>,
}

impl GarbledFields {
    pub fn of(garbled: Garbled) -> Self {
        let (stated, computed) = match garbled {
            Garbled::CheckSum { stated, computed } => (Some(stated), Some(computed)),
            _ => (None, None),
        };
        let why = match garbled {
            Garbled::BeginString => "it does not begin with 8=FIX and a version",
            Garbled::BodyLength => "BodyLength(9) is not its second field, or not a number",
            Garbled::TooLong => "it is longer than message_bytes_max",
            Garbled::Trailer => "CheckSum(10) is not where BodyLength(9) says",
            Garbled::CheckSum { .. } => "CheckSum(10) differs from the sum of its bytes",
            Garbled::MsgType => "MsgType(35) is not its third field",
        };
        Self { why, stated, computed }
    }
}
