//! What is received in an established session. The order of the checks is the order in which faults are answered:
//! BeginString(8), MsgSeqNum(34), SendingTime(52), CompIDs, then the number against the expected one.

use std::cmp::Ordering;

use super::header::{Header, Number};
use super::logon::too_low_text;
use super::outbound::{RefTagId, Refusal, Text};
use super::outcome::SessionStatus;
use super::schedule::Resetting;
use super::{DisconnectReason, Disposition, Notice, Now, Outbox, Received, RejectReason, Role, Session, State};
use crate::dictionary::Violation;
use crate::fix::{Message, ParseError, SOH, tags, uint_of};

/// Fields that are looked at in a message that cannot be parsed as a whole.
const UNPARSABLE_FIELDS_MAX: usize = 32;
/// Of what stands in the place of a tag and is repeated in RefTagID(371).
const WRITTEN_TAG_DIGITS_MAX: usize = 18;

impl Session {
    /// One whole message from the peer, or from [`Session::take_held`].
    pub fn receive(&mut self, now: Now, message: &Message<'_>, out: &mut impl Outbox) -> Received {
        let received = match self.state {
            State::Established => self.receive_in_session(now, message, out),
            State::LogoutSent if !self.logout_answered => self.receive_in_session(now, message, out),
            State::LogonSent | State::LogonAwaited => self.receive_first(now, message, out),
            State::LogoutSent | State::Disconnected => Received::IGNORED,
        };
        if self.missing_to >= self.numbers.next_in {
            self.ask_for_missing(now, out);
        }
        received
    }

    fn receive_in_session(&mut self, now: Now, message: &Message<'_>, out: &mut impl Outbox) -> Received {
        let header = self.layout.read(message);
        let taken = std::mem::take(&mut self.taken);
        match taken {
            None => self.heard(now),
            Some(_) => self.held.drop_first(),
        }
        let number = match self.check(now, &header, message, taken, out) {
            Ok(number) => number,
            Err(received) => return received,
        };
        if self.resetting != Resetting::No
            && let Some(received) = self.receive_while_resetting(now, &header, number, message, out)
        {
            return received;
        }
        match header.msg_type {
            // One that is sent again, in a resend, ended a session of the past.
            b"5" if !(header.poss_dup && (number < self.numbers.next_in || self.gap.is_some())) => {
                let received = self.receive_logout(now, number, message, out);
                self.learn_from_logout(message, out);
                return received;
            }
            b"A" if self.asks_for_reset(message) && !header.poss_dup => {
                return self.receive_reset_in_session(now, number, message, out);
            }
            b"4" if !message.flag(tags::GAP_FILL_FLAG) => {
                return self.receive_sequence_reset(now, &header, number, message, out);
            }
            _ => {}
        }
        match number.cmp(&self.numbers.next_in) {
            Ordering::Equal => self.receive_in_order(now, &header, number, message, out),
            Ordering::Greater => self.receive_too_high(now, &header, number, message, out),
            // Served whatever its number, as the open-source engines do: to resend moves no number, and the peer gets what
            // it is missing.
            Ordering::Less if header.msg_type == b"2" && !header.poss_dup => {
                self.notice(Notice::TooLow { expected: self.numbers.next_in, received: number });
                self.receive_resend_request(now, &header, number, message, out);
                Received::IGNORED
            }
            Ordering::Less => self.receive_too_low(now, &header, number, out),
        }
    }

    /// Any message shows that the peer lives, so that it answers an outstanding TestRequest too.
    fn heard(&mut self, now: Now) {
        self.last_received_ns = now.monotonic_ns;
        self.counters.messages_in += 1;
        if self.test_request_deadline_ns != u64::MAX {
            self.test_request_deadline_ns = u64::MAX;
            self.notice(Notice::TestRequestAnswered);
        }
    }

    /// `taken` is the number of a message that was held: its SendingTime(52) was checked when it came.
    fn check(
        &mut self,
        now: Now,
        header: &Header<'_>,
        message: &Message<'_>,
        taken: Option<u64>,
        out: &mut impl Outbox,
    ) -> Result<u64, Received> {
        if header.begin_string != self.version.begin_string() {
            self.notice(Notice::IncorrectBeginString);
            self.start_logout(now, b"Incorrect BeginString", out);
            return Err(Received::IGNORED);
        }
        let Some(number) = header.msg_seq_num.value() else {
            self.notice(Notice::MsgSeqNumMissing);
            let text: &[u8] = match header.msg_seq_num {
                Number::Missing => b"Received message without MsgSeqNum",
                _ => b"MsgSeqNum(34) is invalid",
            };
            self.logout_and_close(now, text, DisconnectReason::MsgSeqNumMissing, out);
            return Err(Received::IGNORED);
        };
        // What comes too early is looked at when its turn has come, and a duplicate was looked at in its own.
        if number == self.numbers.next_in
            && let Err(violation) = self.validate(message)
            && !self.lets_pass(number, violation)
        {
            return Err(self.refuse_violation(now, header, number, violation, out));
        }
        // Some engines keep the time of what they send again. It was asked for, or has come before.
        let is_resent = header.poss_dup && (self.gap.is_some() || number < self.numbers.next_in);
        let fault = if taken == Some(number) { None } else { self.sending_time_fault(now, header, is_resent) };
        if let Some((reason, tag)) = fault {
            let received = self.refuse(now, header, number, reason, tag.into(), out);
            if reason == RejectReason::SendingTimeAccuracy {
                self.start_logout(now, b"", out);
            }
            return Err(received);
        }
        if self.settings.check_comp_ids && !header.has_comp_ids_of(&self.identity) {
            // No RefTagID(371): it may be either of the two, and the open-source engines name none.
            let received = self.refuse(now, header, number, RejectReason::CompIdProblem, RefTagId::None, out);
            self.start_logout(now, b"", out);
            return Err(received);
        }
        Ok(number)
    }

    #[inline]
    pub(super) fn validate(&self, message: &Message<'_>) -> Result<(), Violation> {
        match &self.validator {
            Some(validator) => validator.validate(message, self.peer_appl_ver_id),
            None => Ok(()),
        }
    }

    /// Whether a message is taken that is not as the dictionary says.
    #[cold]
    pub(super) fn lets_pass(&mut self, msg_seq_num: u64, violation: Violation) -> bool {
        if self.settings.reject_invalid {
            return false;
        }
        let Violation { reason, ref_tag_id } = violation;
        self.notice(Notice::InvalidAccepted { msg_seq_num, ref_tag_id, reason: reason.into() });
        true
    }

    /// A Reject(3) is never answered with one, lest two engines go on for ever.
    #[cold]
    fn refuse_violation(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        violation: Violation,
        out: &mut impl Outbox,
    ) -> Received {
        let Violation { reason, ref_tag_id } = violation;
        if header.msg_type == b"3" {
            self.counters.rejects_in += 1;
            self.notice(Notice::InvalidReject { ref_tag_id });
            self.count(out);
            return Received::COUNTED;
        }
        self.refuse(now, header, number, reason.into(), ref_tag_id.into(), out)
    }

    /// How far the time of what `is_resent` lies from ours does not matter.
    pub(super) fn sending_time_fault(
        &mut self,
        now: Now,
        header: &Header<'_>,
        is_resent: bool,
    ) -> Option<(RejectReason, Option<u32>)> {
        let Some(text) = header.sending_time else {
            return Some((RejectReason::RequiredTagMissing, Some(tags::SENDING_TIME)));
        };
        let Some(sending_time) = self.sending_time.parse(text) else {
            return Some((RejectReason::IncorrectDataFormat, Some(tags::SENDING_TIME)));
        };
        let tolerance_ns = self.settings.sending_time_tolerance_ns;
        let is_checked = tolerance_ns != 0 && !is_resent;
        let inaccurate = is_checked && sending_time.unix_ns.abs_diff(now.utc.unix_ns) > tolerance_ns;
        inaccurate.then_some((RejectReason::SendingTimeAccuracy, None))
    }

    /// Answers with a Reject(3). A message in order uses its number up, except a SequenceReset(4): its sender may
    /// send it again with a better NewSeqNo(36).
    fn refuse(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        reason: RejectReason,
        ref_tag_id: RefTagId<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        let counted = number == self.numbers.next_in && header.msg_type != b"4";
        if counted {
            self.count(out);
        }
        self.reject(now, header, number, reason, ref_tag_id, out);
        Received::done(counted)
    }

    pub(super) fn reject(
        &mut self,
        now: Now,
        header: &Header<'_>,
        ref_seq_num: u64,
        reason: RejectReason,
        ref_tag_id: RefTagId<'_>,
        out: &mut impl Outbox,
    ) {
        let (ref_msg_type, text, refused) = (header.msg_type, None, header.bytes);
        self.write_reject(now, &Refusal { ref_seq_num, ref_msg_type, ref_tag_id, reason, text, refused }, out);
    }

    fn receive_in_order(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        match header.msg_type {
            // Logons and Logouts that are sent again, where others fill a gap.
            b"0" | b"5" => {}
            b"A" if header.poss_dup => {}
            b"1" => return self.receive_test_request(now, header, number, message, out),
            b"2" => {
                // Counted first: what the answer says of our expected number includes this message.
                self.count(out);
                self.receive_resend_request(now, header, number, message, out);
                return Received::COUNTED;
            }
            b"3" => {
                self.counters.rejects_in += 1;
                let ref_seq_num = message.uint(tags::REF_SEQ_NUM).flatten().unwrap_or(0);
                self.notice(Notice::RejectReceived { ref_seq_num });
            }
            b"4" => return self.receive_gap_fill(now, header, number, message, out),
            b"A" => return self.receive_repeated_logon(now, out),
            _ => {
                self.count(out);
                self.counters.application_messages_in += 1;
                let disposition = Disposition::Deliver { poss_dup: header.poss_dup, poss_resend: header.poss_resend };
                return Received { counted: true, disposition };
            }
        }
        self.count(out);
        Received::COUNTED
    }

    fn receive_test_request(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        match message.field(tags::TEST_REQ_ID) {
            Some(id) => {
                self.count(out);
                self.write_heartbeat(now, Some(id), out);
                Received::COUNTED
            }
            None => {
                let tag = RefTagId::Tag(tags::TEST_REQ_ID);
                self.refuse(now, header, number, RejectReason::RequiredTagMissing, tag, out)
            }
        }
    }

    /// Answers what it asks for, or refuses it. Its own number is the caller's affair.
    fn receive_resend_request(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) {
        self.counters.resend_requests_in += 1;
        let last = self.numbers.next_out - 1;
        let mut number_of = |tag| match Number::of(message.field(tag)) {
            Number::Value(value) => Some(value),
            Number::Missing => {
                self.reject(now, header, number, RejectReason::RequiredTagMissing, RefTagId::Tag(tag), out);
                None
            }
            Number::Malformed => {
                self.reject(now, header, number, RejectReason::IncorrectDataFormat, RefTagId::Tag(tag), out);
                None
            }
        };
        let Some(begin) = number_of(tags::BEGIN_SEQ_NO) else { return };
        let Some(end) = number_of(tags::END_SEQ_NO) else { return };
        // 0 is infinity from FIX.4.2 on. Before it was 999999, which lies beyond `last` or means itself.
        let end = if end == 0 { last } else { end.min(last) };
        if begin == 0 || begin > last || end < begin {
            let tag = if begin == 0 || begin > last { tags::BEGIN_SEQ_NO } else { tags::END_SEQ_NO };
            self.reject(now, header, number, RejectReason::ValueIsIncorrect, RefTagId::Tag(tag), out);
            return;
        }
        self.notice(Notice::ResendRequested { begin, end });
        self.agree_on_next_out(out);
        self.start_resend(begin, end);
    }

    /// SequenceReset(4) in gap-fill mode, in order.
    fn receive_gap_fill(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        match Number::of(message.field(tags::NEW_SEQ_NO)) {
            Number::Value(new) if new > number => {
                self.fill(new, out);
                Received::COUNTED
            }
            new => self.refuse_new_seq_no(now, header, number, new, out),
        }
    }

    /// SequenceReset(4) in reset mode: its own number is of no account, and the expected number never goes down.
    fn receive_sequence_reset(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        let from = self.numbers.next_in;
        match Number::of(message.field(tags::NEW_SEQ_NO)) {
            Number::Value(to) if to >= from => {
                self.notice(Notice::SequenceReset { from, to });
                if to > from {
                    self.fill(to, out);
                }
                Received::IGNORED
            }
            new => self.refuse_new_seq_no(now, header, number, new, out),
        }
    }

    fn refuse_new_seq_no(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        new: Number,
        out: &mut impl Outbox,
    ) -> Received {
        let (reason, tag) = match new {
            Number::Missing => (RejectReason::RequiredTagMissing, RefTagId::Tag(tags::NEW_SEQ_NO)),
            Number::Malformed => (RejectReason::IncorrectDataFormat, RefTagId::Tag(tags::NEW_SEQ_NO)),
            Number::Value(_) => (RejectReason::ValueIsIncorrect, RefTagId::None),
        };
        self.refuse(now, header, number, reason, tag, out)
    }

    fn receive_too_high(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        if !self.takes_reset(now, number, out) {
            return Received::IGNORED;
        }
        if header.msg_type == b"2" {
            // The peer's own gap is answered first: were both sides to wait for the other's resend, none would come.
            self.receive_resend_request(now, header, number, message, out);
            self.held.mark(number);
        } else if self.held.hold(number, message.bytes()) {
            self.counters.held += 1;
        } else {
            self.counters.held_dropped += 1;
            self.missing_to = self.missing_to.max(number);
            self.notice(Notice::HeldOverflow { msg_seq_num: number });
        }
        self.request_resend(now, number, out);
        Received::IGNORED
    }

    fn receive_too_low(&mut self, now: Now, header: &Header<'_>, number: u64, out: &mut impl Outbox) -> Received {
        let expected = self.numbers.next_in;
        if !header.poss_dup {
            self.notice(Notice::TooLow { expected, received: number });
            let text = too_low_text(expected, number);
            self.logout_and_close(now, text.bytes(), DisconnectReason::MsgSeqNumTooLow, out);
            return Received::IGNORED;
        }
        self.counters.duplicates_in += 1;
        if header.msg_type != b"4" && self.settings.check_orig_sending_time {
            self.check_orig_sending_time(now, header, number, out);
        }
        Received::IGNORED
    }

    fn check_orig_sending_time(&mut self, now: Now, header: &Header<'_>, number: u64, out: &mut impl Outbox) {
        let tag = RefTagId::Tag(tags::ORIG_SENDING_TIME);
        let Some(text) = header.orig_sending_time else {
            return self.reject(now, header, number, RejectReason::RequiredTagMissing, tag, out);
        };
        let sending_time = header.sending_time.and_then(|text| self.sending_time.parse(text));
        match self.sending_time.parse(text) {
            None => self.reject(now, header, number, RejectReason::IncorrectDataFormat, tag, out),
            Some(original) if sending_time.is_some_and(|sending_time| original > sending_time) => {
                self.reject(now, header, number, RejectReason::SendingTimeAccuracy, RefTagId::None, out);
                self.start_logout(now, b"", out);
            }
            Some(_) => {}
        }
    }

    /// A Logout is answered whatever its number: a gap before it is asked for at the next logon.
    fn receive_logout(&mut self, now: Now, number: u64, message: &Message<'_>, out: &mut impl Outbox) -> Received {
        self.notice(Notice::LogoutReceived);
        let counted = number == self.numbers.next_in;
        if counted {
            self.count(out);
        }
        self.judge_reset(Some((number, message)));
        let answers_ours = self.state == State::LogoutSent;
        if !answers_ours {
            self.write_logout(now, b"", SessionStatus::LoggedOut, out);
        }
        if self.settings.reset_on_logout {
            self.reset_alone(out);
        }
        if answers_ours || self.settings.role == Role::Acceptor {
            self.close(DisconnectReason::LoggedOut);
        } else {
            // Who began the logout closes the connection once it has our answer; within the timeout we wait for it.
            self.state = State::LogoutSent;
            self.logout_answered = true;
            self.phase_deadline_ns = now.monotonic_ns.saturating_add(self.settings.logout_timeout_ns);
        }
        Received::done(counted)
    }

    /// A framed message that cannot be read as fields. It is refused with a Reject(3) where its header shows that it
    /// is this session's and which number it has; otherwise it is garbled, and uses no number.
    pub fn receive_unparsable(&mut self, now: Now, bytes: &[u8], error: ParseError, out: &mut impl Outbox) -> Received {
        let (reason, tag) = match error {
            ParseError::InvalidTag { offset } => (RejectReason::InvalidTagNumber, written_tag(bytes, offset)),
            ParseError::DataLength { tag } => (RejectReason::IncorrectDataFormat, RefTagId::Tag(tag)),
            ParseError::TooManyFields { .. } => (RejectReason::Other, RefTagId::None),
        };
        self.receive_unread(now, bytes, reason, tag, None, out)
    }

    /// A message of `length` bytes that is longer than `message_bytes_max` and of which `head`
    /// alone was read. It is refused like one that cannot be read as fields.
    pub fn receive_too_long(&mut self, now: Now, head: &[u8], length: u64, out: &mut impl Outbox) -> Received {
        let max = self.settings.message_bytes_max;
        let text = Text::of(format_args!("Message of {length} bytes is longer than the limit of {max}"));
        self.receive_unread(now, head, RejectReason::Other, RefTagId::None, Some(text.bytes()), out)
    }

    /// Ends the session because of a message that is not even read over.
    pub fn refuse_too_long(&mut self, now: Now, length: u64, read_over_bytes_max: u64, out: &mut impl Outbox) {
        let max = self.settings.message_bytes_max;
        let text = Text::of(format_args!(
            "Message of {length} bytes is longer than the limit of {max}, and than the {read_over_bytes_max} that are read over"
        ));
        match self.state {
            State::Established | State::LogoutSent => {
                self.logout_and_close(now, text.bytes(), DisconnectReason::MessageTooLong, out);
            }
            State::LogonSent | State::LogonAwaited => self.close(DisconnectReason::MessageTooLong),
            State::Disconnected => {}
        }
    }

    fn receive_unread(
        &mut self,
        now: Now,
        bytes: &[u8],
        reason: RejectReason,
        tag: RefTagId<'_>,
        text: Option<&[u8]>,
        out: &mut impl Outbox,
    ) -> Received {
        match self.state {
            State::Established => {}
            State::LogoutSent if !self.logout_answered => {}
            State::LogonSent | State::LogonAwaited => {
                self.close(DisconnectReason::NotALogon);
                return Received::IGNORED;
            }
            State::LogoutSent | State::Disconnected => return Received::IGNORED,
        }
        self.heard(now);
        let header = Header::of_fields(bytes, readable_fields(bytes));
        let ours = header.begin_string == self.version.begin_string() && header.has_comp_ids_of(&self.identity);
        let Some(number) = header.msg_seq_num.value().filter(|_| ours) else {
            self.counters.garbled += 1;
            self.notice(Notice::Garbled);
            return Received::IGNORED;
        };
        match number.cmp(&self.numbers.next_in) {
            Ordering::Equal if text.is_none() => self.refuse(now, &header, number, reason, tag, out),
            // It would be as long when it is sent again.
            Ordering::Equal => {
                self.count(out);
                let (ref_msg_type, refused) = (header.msg_type, header.bytes);
                let refusal = Refusal { ref_seq_num: number, ref_msg_type, ref_tag_id: tag, reason, text, refused };
                self.write_reject(now, &refusal, out);
                Received::COUNTED
            }
            // Not held: it would not be readable later either. The resend shows whether it was the line's fault.
            Ordering::Greater => {
                if self.takes_reset(now, number, out) {
                    self.request_resend(now, number, out);
                }
                Received::IGNORED
            }
            Ordering::Less => self.receive_too_low(now, &header, number, out),
        }
    }
}

/// What stands in the place of a tag, if it is a whole number all the same: `-1`, `0`, one with leading zeros.
fn written_tag(bytes: &[u8], offset: u32) -> RefTagId<'_> {
    let field = bytes.get(offset as usize..).unwrap_or_default();
    let text = field.iter().position(|byte| *byte == b'=').map_or(&[][..], |equals| &field[..equals]);
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_number = (1..=WRITTEN_TAG_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if is_number { RefTagId::Written(text) } else { RefTagId::None }
}

/// MsgSeqNum(34) of a message that cannot be parsed, as far as its header can be read. A leading zero in the tag, which makes it invalid,
/// does not hide the number that the Reject(3) names and uses up: the open-source engines read it too.
pub fn msg_seq_num_of_unparsable(bytes: &[u8]) -> Option<u64> {
    Header::of_fields(bytes, readable_fields(bytes)).msg_seq_num.value()
}

/// The fields at the front, as far as they can be read.
fn readable_fields(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    bytes.split(|byte| *byte == SOH).take(UNPARSABLE_FIELDS_MAX).map_while(|field| {
        let equals = field.iter().position(|byte| *byte == b'=')?;
        let tag = uint_of(&field[..equals]).and_then(|tag| u32::try_from(tag).ok())?;
        Some((tag, &field[equals + 1..]))
    })
}
