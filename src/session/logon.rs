//! From a connection to an established session, and resets by ResetSeqNumFlag(141).

use super::demanded_reset::{Demanded, says_too_low};
use super::header::{Header, Number};
use super::outbound::{RefTagId, Refusal, Text, text_with_tag};
use super::{
    Action, DisconnectReason, Disposition, Notice, Now, Numbers, Outbox, Received, RejectReason, Role, RolledBack,
    Session, Settings, State,
};
use crate::dictionary::{Version as ApplVerId, Violation};
use crate::fix::{Message, tags};

/// Logons in session that are answered, with nothing else of the peer between them.
const LOGONS_ANSWERED_MAX: u32 = 3;

/// A Logon that breaks a rule.
enum Fault {
    /// Not worth an answer: the peer is not who it should be, or its clock cannot be believed.
    Silent,
    /// A duplicate of one that was processed before.
    Duplicate,
    /// Answered with a Logout that says this.
    Invalid(&'static str),
    /// The dictionary does not allow it.
    Violation(Violation),
    ResetNotTaken,
    /// Of SendingTime(52).
    Time(RejectReason, Option<u32>),
    TooLow {
        expected: u64,
        received: u64,
    },
    NextExpectedTooHigh {
        next_out: u64,
        next_expected: u64,
    },
}

impl Session {
    /// A connection stands. An initiator sends its Logon; an acceptor waits for one.
    pub fn connected(&mut self, now: Now, out: &mut impl Outbox) {
        assert!(!self.connected, "a session has one connection at a time");
        self.connected = true;
        self.early_request_refused = false;
        self.last_received_ns = now.monotonic_ns;
        self.last_sent_ns = now.monotonic_ns;
        self.phase_deadline_ns = now.monotonic_ns.saturating_add(self.settings.logon_timeout_ns);
        match self.settings.role {
            Role::Acceptor => self.state = State::LogonAwaited,
            Role::Initiator => {
                self.state = State::LogonSent;
                self.set_heart_bt_int(self.settings.heartbeat_interval_s);
                let settings = &self.settings;
                let resets = settings.reset_on_logon || settings.reset_on_logout || settings.reset_on_disconnect;
                let resets = resets || self.reset_unconfirmed;
                if (settings.reset_on_logon || self.reset_unconfirmed) && !self.is_at_start() {
                    self.reset_numbers();
                    out.numbers(self.numbers);
                }
                self.reset_sent = resets && self.is_at_start() && self.version.has_reset_seq_num_flag();
                if !self.write_logon(now, self.reset_sent, out) {
                    self.close(DisconnectReason::BackPressure);
                }
            }
        }
    }

    /// The first message of a connection.
    pub(super) fn receive_first(&mut self, now: Now, message: &Message<'_>, out: &mut impl Outbox) -> Received {
        let header = Header::of(message);
        self.counters.messages_in += 1;
        if header.begin_string != self.version.begin_string() || !header.has_comp_ids_of(&self.identity) {
            self.close(DisconnectReason::InvalidLogon);
            return Received::IGNORED;
        }
        match header.msg_type {
            b"A" => {}
            // Its number is used up: our next Logon's answer follows it.
            b"5" if self.state == State::LogonSent => {
                let counted = header.msg_seq_num == Number::Value(self.numbers.next_in);
                self.numbers.next_in += u64::from(counted);
                if self.reset_sent && says_too_low(message) {
                    self.reset_is_refused();
                }
                self.learn_from_logout(message, out);
                self.close(DisconnectReason::LogonRefusedByPeer);
                return Received::done(counted);
            }
            // To close here would begin a loop: the next Logon of ours has a higher number, and
            // opens a wider gap. It is refused once, and the Logon may still come.
            b"2" if self.state == State::LogonSent && !self.early_request_refused => {
                self.early_request_refused = true;
                return self.refuse_early_request(now, &header, out);
            }
            _ => {
                self.close(DisconnectReason::NotALogon);
                return Received::IGNORED;
            }
        }
        match self.logon_fault(now, &header, message) {
            None => {
                self.logon_pending = true;
                Received { counted: false, disposition: Disposition::Logon }
            }
            Some(fault) => {
                self.answer_fault(now, fault, out);
                Received::IGNORED
            }
        }
    }

    /// A ResendRequest that the peer sends in place of the answer to our Logon.
    fn refuse_early_request(&mut self, now: Now, header: &Header<'_>, out: &mut impl Outbox) -> Received {
        let Some(ref_seq_num) = header.msg_seq_num.value() else {
            self.close(DisconnectReason::NotALogon);
            return Received::IGNORED;
        };
        let counted = ref_seq_num == self.numbers.next_in;
        self.numbers.next_in += u64::from(counted);
        let (ref_msg_type, ref_tag_id, reason) = (header.msg_type, RefTagId::None, RejectReason::Other);
        let text = Some(&b"A Logon is expected before a ResendRequest"[..]);
        let refused = header.bytes;
        self.write_reject(now, &Refusal { ref_seq_num, ref_msg_type, ref_tag_id, reason, text, refused }, out);
        Received::done(counted)
    }

    fn answer_fault(&mut self, now: Now, fault: Fault, out: &mut impl Outbox) {
        let (text, reason) = match fault {
            Fault::Silent => return self.close(DisconnectReason::InvalidLogon),
            Fault::Duplicate => {
                self.counters.duplicates_in += 1;
                return;
            }
            Fault::Invalid(text) => (Text::of(format_args!("{text}")), DisconnectReason::InvalidLogon),
            Fault::Violation(Violation { reason, ref_tag_id }) => {
                (text_with_tag(reason.text(), ref_tag_id.into()), DisconnectReason::InvalidLogon)
            }
            Fault::Time(reason, tag) => (text_with_tag(reason.text(), tag.into()), DisconnectReason::InvalidLogon),
            Fault::ResetNotTaken => {
                self.notice(Notice::ResetNotTaken { times: self.resets_refused });
                (Text::of(format_args!("{}", self.reset_refusal_text())), DisconnectReason::ResetNotTaken)
            }
            Fault::TooLow { expected, received } => {
                self.notice(match received {
                    1 => Notice::BeginsAnewUnsaid { expected },
                    _ => Notice::TooLow { expected, received },
                });
                (too_low_text(expected, received), DisconnectReason::MsgSeqNumTooLow)
            }
            Fault::NextExpectedTooHigh { next_out, next_expected } => {
                self.notice(Notice::NextExpectedTooHigh { next_out, next_expected });
                let text = Text::of(format_args!(
                    "NextExpectedMsgSeqNum(789) too high, expecting at most {next_out} but received {next_expected}"
                ));
                (text, DisconnectReason::NextExpectedTooHigh)
            }
        };
        self.logout_and_close(now, text.bytes(), reason, out);
    }

    fn logon_fault(&mut self, now: Now, header: &Header<'_>, logon: &Message<'_>) -> Option<Fault> {
        if let Some((reason, tag)) = self.sending_time_fault(now, header, false) {
            return Some(if self.settings.explains_refused_time { Fault::Time(reason, tag) } else { Fault::Silent });
        }
        let Some(number) = header.msg_seq_num.value() else {
            self.notice(Notice::MsgSeqNumMissing);
            return Some(Fault::Invalid("MsgSeqNum(34) is missing or invalid"));
        };
        if self.version.has_default_appl_ver_id() {
            match logon.field(tags::DEFAULT_APPL_VER_ID) {
                None if self.settings.role == Role::Acceptor => {
                    // No answer, as from the open-source engines: without it there is no version to answer in.
                    self.notice(Notice::DefaultApplVerIdMissing);
                    return Some(Fault::Silent);
                }
                None => self.peer_appl_ver_id = own_appl_ver_id(&self.settings),
                Some(stated) => match ApplVerId::of_appl_ver_id(stated).and_then(ApplVerId::appl_ver_id) {
                    Some(known) => self.peer_appl_ver_id = known,
                    None => return Some(Fault::Invalid("DefaultApplVerID(1137) is not a version that we know")),
                },
            }
        }
        if let Err(violation) = self.validate(logon)
            && !self.lets_pass(number, violation)
        {
            return Some(Fault::Violation(violation));
        }
        if logon.field(tags::ENCRYPT_METHOD).is_some_and(|method| method != b"0") {
            return Some(Fault::Invalid("EncryptMethod(98) must be 0"));
        }
        if self.settings.role == Role::Acceptor {
            let max = u64::from(self.settings.heart_bt_int_s_max);
            match Number::of(logon.field(tags::HEART_BT_INT)) {
                Number::Value(seconds) if seconds <= max => {}
                Number::Value(_) => return Some(Fault::Invalid("HeartBtInt(108) is too long")),
                Number::Missing => return Some(Fault::Invalid("HeartBtInt(108) is missing")),
                Number::Malformed if logon.int(tags::HEART_BT_INT).flatten().is_some_and(|seconds| seconds < 0) => {
                    return Some(Fault::Invalid("HeartBtInt must not be negative"));
                }
                Number::Malformed => return Some(Fault::Invalid("HeartBtInt(108) is invalid")),
            }
        }
        let reset = self.asks_for_reset(logon);
        if reset && number != 1 {
            return Some(Fault::Invalid("ResetSeqNumFlag(141) requires MsgSeqNum(34) 1"));
        }
        if self.reset_sent && !reset {
            if number != 1 {
                self.reset_is_refused();
                return Some(Fault::Invalid("ResetSeqNumFlag(141) is not confirmed"));
            }
            self.notice(Notice::ResetNotConfirmed);
        }
        if self.has_reset_in_vain(number, logon) {
            return Some(Fault::ResetNotTaken);
        }
        let demanded = self.demands_reset(number, logon);
        let fresh = (reset && !self.reset_sent) || self.resets_at_logon() || demanded == Demanded::Stated;
        let numbers = if fresh { Numbers::default() } else { self.numbers };
        if number < numbers.next_in {
            if header.poss_dup {
                return Some(Fault::Duplicate);
            }
            return Some(Fault::TooLow { expected: numbers.next_in, received: number });
        }
        match self.next_expected_of(logon) {
            Number::Malformed => Some(Fault::Invalid("NextExpectedMsgSeqNum(789) is invalid")),
            Number::Value(0) => Some(Fault::Invalid("NextExpectedMsgSeqNum(789) is invalid")),
            Number::Value(next_expected)
                if !reset
                    && demanded == Demanded::No
                    && next_expected > numbers.next_out
                    && !self.would_learn(next_expected) =>
            {
                Some(Fault::NextExpectedTooHigh { next_out: numbers.next_out, next_expected })
            }
            Number::Value(_) | Number::Missing => None,
        }
    }

    /// The application has accepted the Logon that `receive` has found valid in this step.
    pub fn accept_logon(&mut self, now: Now, logon: &Message<'_>, out: &mut impl Outbox) -> Received {
        let header = Header::of(logon);
        let (true, Some(number)) = (std::mem::take(&mut self.logon_pending), header.msg_seq_num.value()) else {
            return Received::IGNORED;
        };
        let reset = self.asks_for_reset(logon);
        let answered = self.settings.role == Role::Acceptor || (reset && !self.reset_sent);
        self.adopt_heart_bt_int(logon);
        self.demanded = self.demands_reset(number, logon);
        if let Some(next_expected) = self.expects_old_numbers(logon) {
            self.reset_is_refused();
            let fault = Fault::NextExpectedTooHigh { next_out: self.numbers.next_out, next_expected };
            self.answer_fault(now, fault, out);
            return Received::IGNORED;
        }
        if reset || self.reset_sent {
            self.resets_refused = 0;
        }
        (self.last_logon_in, self.logons_in_a_row) = (number, 0);
        let states_reset = self.demanded == Demanded::Stated;
        let begins_alone = self.resets_at_logon() || (states_reset && !self.is_at_start());
        let fresh = (reset && !self.reset_sent) || begins_alone;
        if fresh {
            self.reset_numbers();
        }
        let begins_anew = reset || states_reset;
        let next_expected = self.next_expected_of(logon).value().filter(|_| !begins_anew);
        let resumed = !fresh && answered && next_expected.is_some_and(|number| self.resume_at(number));
        // What came before a reset that we state is none of the new numbers.
        let counted = number == self.numbers.next_in && !states_reset;
        self.numbers.next_in += u64::from(counted);
        if reset {
            self.agree_on_next_out(out);
        }
        if fresh || resumed {
            out.numbers(self.numbers);
        }
        if let Some(expected) = self.stated_next_expected(logon).value().filter(|_| !begins_anew) {
            self.learn_next_out(expected, out);
        }
        let next_out_before = self.numbers.next_out;
        if answered && !self.write_logon(now, begins_anew, out) {
            self.close(DisconnectReason::BackPressure);
            return Received::done(counted);
        }
        self.reset_sent = false;
        self.reset_unconfirmed = false;
        self.state = State::Established;
        self.logged_on = true;
        self.phase_deadline_ns = u64::MAX;
        self.last_received_ns = now.monotonic_ns;
        self.counters.logons += 1;
        self.actions.decide(Action::LoggedOn);
        // The peer's 789 shows what it missed before our Logon. The answer covers the Logon itself, so that a peer
        // which does not count it out of order closes its gap too.
        if let Some(next_expected) = next_expected.filter(|next_expected| *next_expected < next_out_before) {
            self.start_resend(next_expected, self.numbers.next_out - 1);
        }
        if !counted && !states_reset {
            self.held.mark(number);
            // The peer has read, or will read, our 789 and resends by itself.
            if next_expected.is_some() {
                self.expect_resend(now, number);
            } else {
                self.request_resend(now, number, out);
            }
        }
        Received::done(counted)
    }

    /// After a rollback: the peer has not taken what may have left under the numbers from `next_expected` on, so that the session goes
    /// on there and no gap is to be filled. Below the journal's end there are messages to be sent again.
    ///
    /// No new epoch: what was stored before still belongs to these numbers, and must be found when the peer asks for it.
    fn resume_at(&mut self, next_expected: u64) -> bool {
        let Some(RolledBack { journal_end, moved_to }) = self.rolled_back.take() else { return false };
        let Numbers { next_out, epoch, .. } = self.numbers;
        let is_unused = (next_out, epoch) == (moved_to.next_out, moved_to.epoch);
        if !is_unused || !(journal_end..next_out).contains(&next_expected) {
            return false;
        }
        self.numbers.next_out = next_expected;
        self.notice(Notice::Resumed { at: next_expected, instead_of: next_out });
        true
    }

    /// The application has refused the Logon. Its number is not used up: whoever sent it has not been let in, and
    /// must not move the numbers of the session that it names.
    pub fn refuse_logon(&mut self, now: Now, _logon: &Message<'_>, text: &[u8], out: &mut impl Outbox) -> Received {
        if std::mem::take(&mut self.logon_pending) {
            self.logout_and_close(now, text, DisconnectReason::LogonRefused, out);
        }
        Received::IGNORED
    }

    /// A Logon with ResetSeqNumFlag(141) in a session that is logged on: both sides begin anew without a disconnect.
    pub(super) fn receive_reset_in_session(
        &mut self,
        now: Now,
        number: u64,
        logon: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        if self.is_confirmation(number) {
            self.adopt_heart_bt_int(logon);
            return self.receive_confirmation(out);
        }
        if number != 1 {
            let text = b"ResetSeqNumFlag(141) requires MsgSeqNum(34) 1";
            self.logout_and_close(now, text, DisconnectReason::InvalidLogon, out);
            return Received::IGNORED;
        }
        if self.is_answered_enough(number) {
            return Received::IGNORED;
        }
        self.adopt_heart_bt_int(logon);
        self.reset_numbers();
        self.numbers.next_in = 2;
        self.agree_on_next_out(out);
        out.numbers(self.numbers);
        if self.settings.answers_reset_in_session && !self.write_logon(now, true, out) {
            self.close(DisconnectReason::BackPressure);
        }
        Received::COUNTED
    }

    /// A Logon in order, without a reset, in a session that is logged on. The specification is silent; an acceptor
    /// answers it, as the open-source engines do.
    pub(super) fn receive_repeated_logon(&mut self, now: Now, out: &mut impl Outbox) -> Received {
        // A peer that takes our reset, and does not say so.
        if self.is_confirmation(self.numbers.next_in) {
            return self.receive_confirmation(out);
        }
        self.notice(Notice::LogonRepeated);
        let is_answered_enough = self.is_answered_enough(self.numbers.next_in);
        self.count(out);
        if is_answered_enough {
            return Received::COUNTED;
        }
        if self.settings.role == Role::Acceptor && self.state == State::Established {
            self.write_logon(now, false, out);
        }
        Received::COUNTED
    }

    /// Whether a Logon in session is one of so many in a row that the peer may be answering ours:
    /// two sides that do would never end.
    fn is_answered_enough(&mut self, number: u64) -> bool {
        let is_in_a_row = self.numbers.next_in == self.last_logon_in.saturating_add(1);
        self.logons_in_a_row = if is_in_a_row { self.logons_in_a_row.saturating_add(1) } else { 1 };
        self.last_logon_in = number;
        let is_enough = self.logons_in_a_row > LOGONS_ANSWERED_MAX;
        if is_enough {
            self.notice(Notice::LogonsUnanswered);
        }
        is_enough
    }

    pub(super) fn asks_for_reset(&self, logon: &Message<'_>) -> bool {
        self.version.has_reset_seq_num_flag() && logon.flag(tags::RESET_SEQ_NUM_FLAG)
    }

    pub(super) fn uses_next_expected(&self) -> bool {
        self.settings.next_expected_msg_seq_num && self.version.has_next_expected_msg_seq_num()
    }

    /// [`Number::Missing`] too where we do not use it.
    pub(super) fn next_expected_of(&self, logon: &Message<'_>) -> Number {
        if self.uses_next_expected() { self.stated_next_expected(logon) } else { Number::Missing }
    }

    /// What the peer says of it, whether we use it or not.
    pub(super) fn stated_next_expected(&self, logon: &Message<'_>) -> Number {
        if self.version.has_next_expected_msg_seq_num() {
            Number::of(logon.field(tags::NEXT_EXPECTED_MSG_SEQ_NUM))
        } else {
            Number::Missing
        }
    }

    /// An initiator has reset already, when it sent its Logon.
    fn resets_at_logon(&self) -> bool {
        self.settings.role == Role::Acceptor && self.settings.reset_on_logon
    }

    fn adopt_heart_bt_int(&mut self, logon: &Message<'_>) {
        let theirs =
            Number::of(logon.field(tags::HEART_BT_INT)).value().and_then(|seconds| u32::try_from(seconds).ok());
        match (self.settings.role, theirs) {
            (Role::Acceptor, Some(seconds)) if seconds <= self.settings.heart_bt_int_s_max => {
                self.set_heart_bt_int(seconds);
            }
            (Role::Initiator, Some(seconds)) if seconds != self.heart_bt_int_s => {
                self.notice(Notice::HeartBtIntDiffers { ours_s: self.heart_bt_int_s });
            }
            _ => {}
        }
    }

    pub(super) fn is_at_start(&self) -> bool {
        self.numbers.next_out == 1 && self.numbers.next_in == 1
    }

    /// Both numbers to 1 without the peer: an initiator tells it with each Logon until one is answered, since the first may not arrive.
    pub(super) fn reset_alone(&mut self, out: &mut impl Outbox) {
        self.reset_numbers();
        out.numbers(self.numbers);
        self.reset_unconfirmed = self.settings.role == Role::Initiator && self.version.has_reset_seq_num_flag();
    }

    /// Both numbers to 1, in a new epoch. The caller states them to the outbox.
    pub(super) fn reset_numbers(&mut self) {
        let epoch = self.numbers.epoch.saturating_add(1);
        self.numbers = Numbers { next_out: 1, next_in: 1, epoch };
        let messages = self.held.messages_below(u64::MAX);
        if messages > 0 {
            self.counters.held_dropped += messages;
            self.notice(Notice::HeldDropped { messages });
        }
        self.forget_gaps();
        self.counters.resets += 1;
        self.notice(Notice::NumbersReset { epoch });
    }
}

/// What an acceptor that states no version speaks: what we proposed.
fn own_appl_ver_id(settings: &Settings) -> &'static [u8] {
    ApplVerId::of_appl_ver_id(&settings.default_appl_ver_id).and_then(ApplVerId::appl_ver_id).unwrap_or_default()
}

pub(super) fn too_low_text(expected: u64, received: u64) -> Text {
    Text::of(format_args!("MsgSeqNum too low, expecting {expected} but received {received}"))
}
