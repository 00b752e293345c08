//! What a session is told at its birth and never changes.

use std::fmt;

use super::Validators;
use crate::fix::{DataFields, Precision, SecretTags};

/// Who dials, and who sends the first Logon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Acceptor,
    Initiator,
}

/// One session's rules. Shared by all sessions of a template.
#[derive(Clone)]
pub struct Settings {
    pub role: Role,
    /// HeartBtInt(108) that an initiator proposes. An acceptor follows its peer's. 0 means no heartbeats.
    pub heartbeat_interval_s: u32,
    /// An acceptor refuses a longer HeartBtInt(108).
    pub heart_bt_int_s_max: u32,
    pub logon_timeout_ns: u64,
    pub logout_timeout_ns: u64,
    /// How far SendingTime(52) may lie from our clock, either way. 0 leaves it unchecked.
    pub sending_time_tolerance_ns: u64,
    /// What is added to the heartbeat interval before silence is a TestRequest, and again before it is a disconnect.
    pub test_request_margin_percent: u32,
    /// How long a probe's TestRequest may stay unanswered, see [`super::Session::probe`].
    pub probe_timeout_ns: u64,
    /// What stays missing is asked for again after a HeartBtInt(108) without progress; where that
    /// is 0, after this.
    pub resend_request_repeat_ns: u64,
    /// How often the same missing messages are asked for. Then the session ends.
    pub resend_requests_max: u32,
    /// An in-session Logon with ResetSeqNumFlag(141) is answered with one.
    pub answers_reset_in_session: bool,
    /// A Logon whose SendingTime(52) is refused is answered with a Logout that says so.
    pub explains_refused_time: bool,
    pub reset_on_logon: bool,
    pub reset_on_logout: bool,
    pub reset_on_disconnect: bool,
    /// A schedule resets the session by ResetSeqNumFlag(141): see [`super::Session::reset_in_session`].
    pub reset_in_session: bool,
    /// A schedule begins the numbers again, in session or between connections.
    pub reset_by_schedule: bool,
    /// Send and use NextExpectedMsgSeqNum(789), FIX.4.4 and later.
    pub next_expected_msg_seq_num: bool,
    /// Messages beyond a gap that are kept until it closes. More are dropped: the resend brings them.
    pub held_messages_max: u32,
    pub held_bytes_max: u32,
    /// What a message is checked by before anything is done with it.
    pub validators: Validators,
    /// A message that is not as the dictionary says is refused. Otherwise it is noted and taken.
    pub reject_invalid: bool,
    /// Fields that may hold the delimiter and that only the session's own dictionary declares as
    /// such; unset where there are none.
    pub data_fields: Option<DataFields>,
    /// A message whose CompIDs are not the session's is refused, and ends it.
    pub check_comp_ids: bool,
    /// A PossDup of a processed message must have an OrigSendingTime(122) that is not later than its SendingTime(52).
    pub check_orig_sending_time: bool,
    /// Say LastMsgSeqNumProcessed(369) in each header, FIX.4.2 and later.
    pub last_msg_seq_num_processed: bool,
    /// Say SessionStatus(1409) in Logon and Logout, FIXT.1.1.
    pub session_status: bool,
    /// Send a Reject(3) again where it is asked for, instead of filling its place.
    pub resend_rejects: bool,
    /// DefaultApplVerID(1137) of a FIXT.1.1 session. "9" is FIX50SP2.
    pub default_appl_ver_id: Box<[u8]>,
    /// Username(553) and Password(554) of an initiator.
    pub username: Option<Box<[u8]>>,
    pub password: Option<Box<[u8]>>,
    /// Fields whose values are neither stored nor logged.
    pub secrets: SecretTags,
    /// SendingTime(52)'s digits. Versions before FIX.4.2 know whole seconds only, whatever this says.
    pub precision: Precision,
    /// An outgoing message is at most this long.
    pub message_bytes_max: u32,
}

const NS_PER_S: u64 = 1_000_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::Acceptor,
            heartbeat_interval_s: 30,
            heart_bt_int_s_max: 3_600,
            logon_timeout_ns: 10 * NS_PER_S,
            logout_timeout_ns: 2 * NS_PER_S,
            sending_time_tolerance_ns: 120 * NS_PER_S,
            test_request_margin_percent: 20,
            probe_timeout_ns: 2 * NS_PER_S,
            resend_request_repeat_ns: 30 * NS_PER_S,
            resend_requests_max: 5,
            answers_reset_in_session: true,
            explains_refused_time: false,
            reset_on_logon: false,
            reset_on_logout: false,
            reset_on_disconnect: false,
            reset_in_session: false,
            reset_by_schedule: false,
            next_expected_msg_seq_num: false,
            held_messages_max: 1_024,
            held_bytes_max: 256 * 1_024,
            validators: Validators::default(),
            reject_invalid: true,
            data_fields: None,
            check_comp_ids: true,
            check_orig_sending_time: true,
            last_msg_seq_num_processed: false,
            session_status: false,
            resend_rejects: false,
            default_appl_ver_id: Box::from(&b"9"[..]),
            username: None,
            password: None,
            secrets: SecretTags::default(),
            precision: Precision::Millis,
            message_bytes_max: 64 * 1_024,
        }
    }
}

/// Only what cannot hold a secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("role", &self.role)
            .field("heartbeat_interval_s", &self.heartbeat_interval_s)
            .field("next_expected_msg_seq_num", &self.next_expected_msg_seq_num)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        let settings = Settings { password: Some(Box::from(&b"hunter2"[..])), ..Settings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!format!("{settings:?}").contains("104"), "nor as a list of bytes");
    }
}
