//! An acceptor that begins its numbers again by itself (`reset_on_logon`, `reset_on_logout`,
//! `reset_on_disconnect`, a schedule), and a peer whose Logon does not say ResetSeqNumFlag(141).
//!
//! Such a peer takes our MsgSeqNum(34) 1 for one that is too low, logs out, and comes again, for
//! ever. The answer therefore says ResetSeqNumFlag(141), by which QuickFIX in its three languages
//! begins anew: QuickFIX and QuickFIX/J confirm it by a Logon with ResetSeqNumFlag(141) and
//! MsgSeqNum(34) 1, QuickFIX/Go goes on with number 1. Where numbers are 1 anyway it says so only
//! once the peer has refused an answer without it, since a Logon beyond a gap is answered and the
//! gap asked for. After [`REFUSALS_MAX`] refusals nothing is reset any more, and each Logon is
//! refused with what to change.
//!
//! Only what the peer says is a refusal: that our number is too low, that it expects a higher one
//! (NextExpectedMsgSeqNum(789)), or a message under its old numbers. A connection that merely ends
//! says nothing.

use super::from_peer::expected_in;
use super::{DisconnectReason, Notice, Now, Numbers, Outbox, Received, Role, Session};
use crate::fix::{Message, tags};

/// Resets in a row that the peer did not take, until its Logons are refused.
const REFUSALS_MAX: u32 = 3;

const REFUSAL_TEXT: &str = "This side begins its numbers again and yours does not take it: send ResetSeqNumFlag(141)=Y \
                            in the Logon, or have reset_on_logon, reset_on_logout and reset_on_disconnect set to false here";

const SCHEDULE_REFUSAL_TEXT: &str = "This side's schedule has begun the numbers again and yours does not take it: send \
                                     ResetSeqNumFlag(141)=Y in the Logon, or have both sides begin at the same times";

/// Of a reset of ours that the peer did not ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Demanded {
    #[default]
    No,
    /// Our numbers are 1 and the peer's are not; nothing says so yet.
    Silently,
    /// Our Logon has said ResetSeqNumFlag(141).
    Stated,
}

impl Session {
    /// What the answer to a Logon, which is valid and not accepted yet, does with the numbers.
    pub(super) fn demands_reset(&self, number: u64, logon: &Message<'_>) -> Demanded {
        let settings = &self.settings;
        let resets = settings.reset_on_logout || settings.reset_on_disconnect || settings.reset_by_schedule;
        // In this epoch the peer has said nothing: it may not know of it.
        let has_begun_anew = resets && self.numbers.next_in == 1 && !self.next_out_from_peer;
        let begins_anew = settings.reset_on_logon || has_begun_anew || self.resets_refused > 0;
        if settings.role != Role::Acceptor || !begins_anew || self.asks_for_reset(logon) {
            return Demanded::No;
        }
        let goes_on = self.goes_on(number, logon);
        let is_to_be_said = self.resets_refused > 0 || (goes_on && settings.reset_on_logon && !self.is_at_start());
        if is_to_be_said && self.version.has_reset_seq_num_flag() {
            Demanded::Stated
        } else if goes_on {
            Demanded::Silently
        } else {
            Demanded::No
        }
    }

    /// The peer's numbers are not 1.
    fn goes_on(&self, number: u64, logon: &Message<'_>) -> bool {
        number > 1 || self.stated_next_expected(logon).value().is_some_and(|expected| expected > 1)
    }

    /// What the peer expects, where our numbers have begun again, nothing has said so, and it would
    /// find ours too low. It is judged once the application has let the peer in: whoever it refuses
    /// has no say in the numbers.
    pub(super) fn expects_old_numbers(&self, logon: &Message<'_>) -> Option<u64> {
        let next_expected = self.next_expected_of(logon).value().filter(|_| self.demanded == Demanded::Silently)?;
        (next_expected > self.numbers.next_out && !self.would_learn(next_expected)).then_some(next_expected)
    }

    /// The peer has refused our resets, and its Logon would only be answered with another.
    pub(super) fn has_reset_in_vain(&self, number: u64, logon: &Message<'_>) -> bool {
        let is_in_vain = self.settings.role == Role::Acceptor && self.resets_refused >= REFUSALS_MAX;
        is_in_vain && self.goes_on(number, logon) && !self.asks_for_reset(logon)
    }

    /// What the peer is told then.
    pub(super) fn reset_refusal_text(&self) -> &'static str {
        let settings = &self.settings;
        if settings.reset_on_logon || settings.reset_on_logout || settings.reset_on_disconnect {
            REFUSAL_TEXT
        } else {
            SCHEDULE_REFUSAL_TEXT
        }
    }

    /// A Logon that confirms ours with ResetSeqNumFlag(141): nothing is answered.
    pub(super) fn is_confirmation(&self, number: u64) -> bool {
        self.demanded == Demanded::Stated && self.numbers.next_in == 1 && number == 1
    }

    pub(super) fn receive_confirmation(&mut self, out: &mut impl Outbox) -> Received {
        self.reset_is_taken();
        self.numbers.next_in = 2;
        self.agree_on_next_out(out);
        out.numbers(self.numbers);
        Received::COUNTED
    }

    /// `number` is beyond the expected one. After a reset that we have stated the peer begins with
    /// 1, or with 2 where it counts its Logon: anything else goes on under the old numbers, of
    /// which everything would be asked for again. False where the session ends.
    pub(super) fn takes_reset(&mut self, now: Now, number: u64, out: &mut impl Outbox) -> bool {
        if self.demanded != Demanded::Stated || self.numbers.next_in != 1 {
            return true;
        }
        if number == 2 {
            self.reset_is_taken();
            return true;
        }
        self.reset_is_refused();
        self.logout_and_close(now, self.reset_refusal_text().as_bytes(), DisconnectReason::ResetNotTaken, out);
        false
    }

    /// The session ends, by a Logout of the peer with this number where there is one.
    pub(super) fn judge_reset(&mut self, logout: Option<(u64, &Message<'_>)>) {
        if self.demanded == Demanded::No {
            return;
        }
        let has_begun_anew = self.numbers.next_in > Numbers::default().next_in;
        let is_refused = logout.is_some_and(|(number, logout)| {
            says_too_low(logout) || (self.demanded == Demanded::Stated && !has_begun_anew && number > 2)
        });
        if is_refused {
            self.reset_is_refused();
        } else if has_begun_anew {
            self.reset_is_taken();
        } else {
            self.demanded = Demanded::No;
        }
    }

    pub(super) fn reset_is_taken(&mut self) {
        (self.demanded, self.resets_refused) = (Demanded::No, 0);
    }

    pub(super) fn reset_is_refused(&mut self) {
        self.demanded = Demanded::No;
        self.resets_refused = self.resets_refused.saturating_add(1);
        self.notice(Notice::ResetNotTaken { times: self.resets_refused });
    }
}

/// Whether a Logout says that our number is too low.
pub(super) fn says_too_low(logout: &Message<'_>) -> bool {
    logout.field(tags::TEXT).is_some_and(|text| {
        let has = |words: &[u8]| text.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words));
        expected_in(text).is_some() || has(b"too low") || has(b"lower than")
    })
}
