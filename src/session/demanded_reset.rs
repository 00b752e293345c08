//! An acceptor that begins its numbers again by itself (`reset_on_logon`, `reset_on_logout`,
//! `reset_on_disconnect`), and a peer whose Logon does not say ResetSeqNumFlag(141).
//!
//! Such a peer takes our MsgSeqNum(34) 1 for one that is too low, logs out, and comes again, for
//! ever. The answer therefore says ResetSeqNumFlag(141), by which QuickFIX in its three languages
//! begins anew: QuickFIX and QuickFIX/J confirm it by a Logon with ResetSeqNumFlag(141) and
//! MsgSeqNum(34) 1, QuickFIX/Go goes on with number 1. Where numbers are 1 anyway it says so only
//! once the peer has refused an answer without it, since a Logon beyond a gap is answered and the
//! gap asked for. After [`REFUSALS_MAX`] refusals nothing is reset any more, and each Logon is
//! refused with what to change.

use super::from_peer::expected_in;
use super::{DisconnectReason, Notice, Now, Numbers, Outbox, Received, Role, Session};
use crate::fix::{Message, tags};

/// Resets in a row that the peer did not take, until its Logons are refused.
const REFUSALS_MAX: u32 = 3;

pub(super) const REFUSAL_TEXT: &str = "This side begins its numbers again and yours does not take it: send ResetSeqNumFlag(141)=Y \
                                       in the Logon, or have reset_on_logon, reset_on_logout and reset_on_disconnect set to false here";

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
        let begins_anew = settings.reset_on_logon
            || (self.is_at_start() && (settings.reset_on_logout || settings.reset_on_disconnect));
        let may_say_so = settings.role == Role::Acceptor && self.version.has_reset_seq_num_flag();
        if !begins_anew || !may_say_so || self.asks_for_reset(logon) {
            return Demanded::No;
        }
        let goes_on = self.goes_on(number, logon);
        if self.resets_refused > 0 || (goes_on && settings.reset_on_logon && !self.is_at_start()) {
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

    /// The peer has refused our resets, and its Logon would only be answered with another.
    pub(super) fn has_reset_in_vain(&self, number: u64, logon: &Message<'_>) -> bool {
        self.resets_refused >= REFUSALS_MAX && self.goes_on(number, logon) && !self.asks_for_reset(logon)
    }

    /// A Logon with ResetSeqNumFlag(141) that confirms ours: nothing is answered.
    pub(super) fn is_confirmation(&self, number: u64) -> bool {
        self.demanded == Demanded::Stated && self.numbers.next_in == 1 && number == 1
    }

    pub(super) fn receive_confirmation(&mut self, out: &mut impl Outbox) -> Received {
        (self.demanded, self.resets_refused) = (Demanded::No, 0);
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
            self.demanded = Demanded::No;
            return true;
        }
        self.judge_reset(None);
        self.logout_and_close(now, REFUSAL_TEXT.as_bytes(), DisconnectReason::ResetNotTaken, out);
        false
    }

    /// The session ends: whether the peer has taken our reset shows in what it has sent, and in
    /// what its Logout says.
    pub(super) fn judge_reset(&mut self, logout: Option<&Message<'_>>) {
        if std::mem::take(&mut self.demanded) == Demanded::No {
            return;
        }
        let says_too_low = logout.and_then(|logout| logout.field(tags::TEXT)).and_then(expected_in).is_some();
        if says_too_low || self.numbers.next_in == Numbers::default().next_in {
            self.resets_refused = self.resets_refused.saturating_add(1);
            self.notice(Notice::ResetNotTaken { times: self.resets_refused });
        } else {
            self.resets_refused = 0;
        }
    }
}
