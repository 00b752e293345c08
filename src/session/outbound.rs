//! Writing messages: the header that is ours, the administrative messages, the application's sends.

use std::fmt::{self, Write as _};

use super::resend::is_admin;
use super::{
    BackPressure, BusinessRejectReason, DisconnectReason, Identity, Notice, Now, Outbox, Outgoing, OutgoingKind,
    RejectReason, Role, SendError, Session, SessionStatus, State, Version,
};
use crate::fix::{Encoder, Field, HeaderTemplate, Hidden, Message, Precision, UtcTimestamp, raw_field, tags};

/// Text(58), at most. What we are given to say is cut there.
const TEXT_BYTES_MAX: usize = 256;
/// RefMsgType(372) is left out where the refused MsgType(35) is longer.
const REF_MSG_TYPE_BYTES_MAX: usize = 16;
/// TestReqID(112) of our TestRequests. Any message answers one, so that a constant does.
const TEST_REQ_ID: &[u8] = b"TEST";

/// The header that is ours, rendered once.
#[derive(Debug)]
pub(super) struct OutboundHeader {
    template: HeaderTemplate,
    /// SenderCompID(49) and SenderSubID(50).
    sender: Box<[u8]>,
    /// TargetCompID(56) and TargetSubID(57).
    target: Box<[u8]>,
    /// SenderLocationID(142) and TargetLocationID(143).
    locations: Box<[u8]>,
    precision: Precision,
}

impl OutboundHeader {
    pub fn of(identity: &Identity, precision: Precision) -> Self {
        let sender = rendered([(49, &identity.sender_comp_id), (50, &identity.sender_sub_id)]);
        let target = rendered([(56, &identity.target_comp_id), (57, &identity.target_sub_id)]);
        let locations = rendered([(142, &identity.sender_location_id), (143, &identity.target_location_id)]);
        let behind = [&*target, &*locations].concat();
        let template = HeaderTemplate::new(&identity.begin_string, &sender, &behind, precision);
        Self { template, sender, target, locations, precision }
    }

    /// Begins a message. The header's fields after MsgType(35) are in the order of their tags, as the open-source
    /// engines write them.
    #[inline]
    fn begin<'b>(
        &mut self,
        buffer: &'b mut [u8],
        msg_type: &[u8],
        msg_seq_num: u64,
        sending_time: UtcTimestamp,
    ) -> Encoder<'b> {
        Encoder::begin_from(buffer, &mut self.template, msg_type, msg_seq_num, sending_time)
    }

    /// Begins a message that is sent again.
    fn begin_replay<'b>(
        &self,
        buffer: &'b mut [u8],
        version: Version,
        msg_type: &[u8],
        msg_seq_num: u64,
        sending_time: UtcTimestamp,
        replay: Replay<'_>,
    ) -> Encoder<'b> {
        let mut encoder = Encoder::begin(buffer, version.begin_string(), msg_type);
        encoder.uint(tags::MSG_SEQ_NUM, msg_seq_num).bool(tags::POSS_DUP_FLAG, true).raw(&self.sender);
        encoder.timestamp(tags::SENDING_TIME, sending_time, self.precision).raw(&self.target);
        // A clock that was set back since may be behind the stored time, and a peer ends the
        // session over an OrigSendingTime(122) after SendingTime(52).
        let latest = self.precision.cut(sending_time);
        let is_later = |text: &&[u8]| UtcTimestamp::parse(text).is_some_and(|original| original > latest);
        match replay.orig_sending_time.filter(|text| !is_later(text)) {
            Some(text) => encoder.bytes(tags::ORIG_SENDING_TIME, text),
            None => encoder.timestamp(tags::ORIG_SENDING_TIME, sending_time, self.precision),
        };
        encoder.raw(&self.locations);
        encoder
    }
}

/// The fields whose values are not empty.
fn rendered(fields: [(u32, &[u8]); 2]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    for (tag, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        bytes.extend_from_slice(format!("{tag}=").as_bytes());
        bytes.extend_from_slice(value);
        bytes.push(crate::fix::SOH);
    }
    bytes.into_boxed_slice()
}

/// A short text composed on the stack.
pub(super) struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: usize,
}

impl Text {
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; TEXT_BYTES_MAX], length: 0 };
        // What does not fit is cut.
        let _ = text.write_fmt(arguments);
        text
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = part.len().min(room.len());
        room[..length].copy_from_slice(&part.as_bytes()[..length]);
        self.length += length;
        if length == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// RefTagID(371): the field to blame.
#[derive(Clone, Copy)]
pub(super) enum RefTagId<'a> {
    None,
    Tag(u32),
    /// Something that is no tag, as the peer wrote it; a whole number, since the field is one.
    Written(&'a [u8]),
}

impl From<Option<u32>> for RefTagId<'_> {
    fn from(tag: Option<u32>) -> Self {
        tag.map_or(Self::None, Self::Tag)
    }
}

/// What a Reject(3) says.
pub(super) struct Refusal<'a> {
    pub ref_seq_num: u64,
    pub ref_msg_type: &'a [u8],
    pub ref_tag_id: RefTagId<'a>,
    pub reason: RejectReason,
    /// Says more than the reason's own words.
    pub text: Option<&'a [u8]>,
    /// The refused message, whose route the answer goes back.
    pub refused: &'a [u8],
}

/// What an answer's route says, in the order of its tags, and which field of the asking message has it: on whose behalf that
/// came is to whom the answer is delivered, and the other way round.
const ROUTE: [(u32, u32); 6] = [
    (tags::ON_BEHALF_OF_COMP_ID, tags::DELIVER_TO_COMP_ID),
    (tags::ON_BEHALF_OF_SUB_ID, tags::DELIVER_TO_SUB_ID),
    (tags::DELIVER_TO_COMP_ID, tags::ON_BEHALF_OF_COMP_ID),
    (tags::DELIVER_TO_SUB_ID, tags::ON_BEHALF_OF_SUB_ID),
    (tags::ON_BEHALF_OF_LOCATION_ID, tags::DELIVER_TO_LOCATION_ID),
    (tags::DELIVER_TO_LOCATION_ID, tags::ON_BEHALF_OF_LOCATION_ID),
];

/// Appends the route of `refused`, reversed.
fn reverse_route(body: &mut Encoder<'_>, refused: &[u8], version: Version) {
    for (tag, asked_by) in ROUTE {
        let is_known =
            version.has_location_ids() || !matches!(tag, tags::ON_BEHALF_OF_LOCATION_ID | tags::DELIVER_TO_LOCATION_ID);
        if let Some(value) = raw_field(refused, asked_by).filter(|value| !value.is_empty() && is_known) {
            body.bytes(tag, value);
        }
    }
}

/// A reason with the field to blame, for where the message has no field of its own for that.
pub(super) fn text_with_tag(reason: &[u8], ref_tag_id: RefTagId<'_>) -> Text {
    let reason = str::from_utf8(reason).unwrap_or_default();
    match ref_tag_id {
        RefTagId::None => Text::of(format_args!("{reason}")),
        RefTagId::Tag(tag) => Text::of(format_args!("{reason} ({tag})")),
        RefTagId::Written(tag) => Text::of(format_args!("{reason} ({})", tag.escape_ascii())),
    }
}

/// What makes a message a resent one.
#[derive(Clone, Copy)]
pub(super) struct Replay<'a> {
    /// `None` stands for the new SendingTime(52).
    pub orig_sending_time: Option<&'a [u8]>,
}

impl Session {
    /// Sends one application message. Header, number and trailer are ours; `body` appends the rest, what there is of
    /// optional header fields first. Answers its MsgSeqNum(34).
    ///
    /// Session-level types are not to be sent by this: a resend would fill them over.
    ///
    /// While our Logout waits for its answer the peer's messages are still processed, so that they may have to be
    /// answered: what is sent then is [`OutgoingKind::Deferred`].
    pub fn send(
        &mut self,
        now: Now,
        msg_type: &[u8],
        out: &mut impl Outbox,
        body: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<u64, SendError> {
        let kind = match self.state {
            State::Established => OutgoingKind::Application,
            State::LogoutSent if !self.logout_answered => OutgoingKind::Deferred,
            _ => return Err(SendError::NotLoggedOn),
        };
        debug_assert!(!is_admin(msg_type), "session-level messages are the session's own");
        let number = self.numbers.next_out;
        self.write_new(now, kind, msg_type, out, body)?;
        self.counters.application_messages_out += 1;
        Ok(number)
    }

    /// Writes a message under the next number and uses the number up.
    #[inline]
    fn write_new(
        &mut self,
        now: Now,
        kind: OutgoingKind,
        msg_type: &[u8],
        out: &mut impl Outbox,
        body: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<(), SendError> {
        let outgoing = Outgoing { msg_seq_num: self.numbers.next_out, kind };
        self.write(now, outgoing, msg_type, None, out, body)?;
        self.numbers.next_out += 1;
        Ok(())
    }

    /// Writes a message.
    #[inline]
    pub(super) fn write(
        &mut self,
        now: Now,
        outgoing: Outgoing,
        msg_type: &[u8],
        replay: Option<Replay<'_>>,
        out: &mut impl Outbox,
        body: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<(), SendError> {
        let (version, header) = (self.version, &mut self.header);
        let message_bytes_max = self.settings.message_bytes_max as usize;
        // What is sent again is stored already, and whatever had secrets is not sent again.
        let secret = if replay.is_none() { self.settings.secrets.of(msg_type) } else { &[] };
        let mut hidden = Hidden::default();
        let last_processed = self.writes_last_processed.then(|| self.numbers.next_in - 1);
        let mut too_long = false;
        let appended = out.append(outgoing, |buffer| {
            let roomy = buffer.len() >= message_bytes_max;
            let room = buffer.len().min(message_bytes_max);
            let (buffer, msg_seq_num) = (&mut buffer[..room], outgoing.msg_seq_num);
            let mut encoder = match replay {
                None => header.begin(buffer, msg_type, msg_seq_num, now.utc),
                Some(replay) => header.begin_replay(buffer, version, msg_type, msg_seq_num, now.utc, replay),
            };
            encoder.hide(secret);
            if let Some(last_processed) = last_processed {
                encoder.uint(tags::LAST_MSG_SEQ_NUM_PROCESSED, last_processed);
            }
            body(&mut encoder);
            let written = encoder.finish_hiding(&mut hidden);
            too_long = roomy && written.is_err();
            written
        });
        match appended {
            Ok(()) => {
                if !hidden.is_empty() {
                    out.hidden(&hidden);
                }
                self.last_sent_ns = now.monotonic_ns;
                self.counters.messages_out += 1;
                Ok(())
            }
            Err(BackPressure) if too_long => Err(SendError::TooLong),
            Err(BackPressure) => {
                self.counters.back_pressure += 1;
                Err(SendError::BackPressure)
            }
        }
    }

    /// False where there was no room; a notice says so, and each caller knows what that means for it.
    pub(super) fn write_admin(
        &mut self,
        now: Now,
        msg_type: u8,
        out: &mut impl Outbox,
        body: impl FnOnce(&mut Encoder<'_>),
    ) -> bool {
        let kind = match msg_type {
            b'A' => OutgoingKind::Logon,
            b'2' => OutgoingKind::ResendRequest,
            _ => OutgoingKind::Admin,
        };
        let written = self.write_new(now, kind, &[msg_type], out, body).is_ok();
        if !written {
            self.notice(Notice::AdminBackPressure { msg_type });
        }
        written
    }

    pub(super) fn write_logon(&mut self, now: Now, reset: bool, out: &mut impl Outbox) -> bool {
        let settings = self.settings.clone();
        let (version, next_in, heart_bt_int_s) = (self.version, self.numbers.next_in, self.heart_bt_int_s);
        let next_expected = self.uses_next_expected();
        // An acceptor speaks as its counterparty does.
        let appl_ver_id = match self.settings.role {
            Role::Acceptor if !self.peer_appl_ver_id.is_empty() => self.peer_appl_ver_id,
            _ => &settings.default_appl_ver_id,
        };
        let credentials = self.state == State::LogonSent && version.has_username();
        self.write_admin(now, b'A', out, |body| {
            body.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, u64::from(heart_bt_int_s));
            if reset {
                body.bool(tags::RESET_SEQ_NUM_FLAG, true);
            }
            if let Some(username) = settings.username.as_deref().filter(|_| credentials) {
                body.bytes(tags::USERNAME, username);
            }
            if let Some(password) = settings.password.as_deref().filter(|_| credentials) {
                body.bytes(tags::PASSWORD, password);
            }
            if next_expected {
                body.uint(tags::NEXT_EXPECTED_MSG_SEQ_NUM, next_in);
            }
            if version.has_default_appl_ver_id() {
                body.bytes(tags::DEFAULT_APPL_VER_ID, appl_ver_id);
            }
            if settings.session_status && version.has_session_status() {
                body.uint(tags::SESSION_STATUS, u64::from(SessionStatus::Active.code()));
            }
        })
    }

    /// `text` may be empty. It is cut at [`TEXT_BYTES_MAX`] and at a delimiter.
    pub(super) fn write_logout(&mut self, now: Now, text: &[u8], status: SessionStatus, out: &mut impl Outbox) -> bool {
        let text = text.split(|byte| *byte == crate::fix::SOH).next().unwrap_or_default();
        let text = &text[..text.len().min(TEXT_BYTES_MAX)];
        let states = self.settings.session_status && self.version.has_session_status();
        self.write_admin(now, b'5', out, |body| {
            if !text.is_empty() {
                body.bytes(tags::TEXT, text);
            }
            if states {
                body.uint(tags::SESSION_STATUS, u64::from(status.code()));
            }
        })
    }

    pub(super) fn write_reject(&mut self, now: Now, refusal: &Refusal<'_>, out: &mut impl Outbox) {
        let &Refusal { ref_seq_num, ref_msg_type, ref_tag_id, reason, text, refused } = refusal;
        let text = text.unwrap_or(reason.text());
        let version = self.version;
        let tag = if let RefTagId::Tag(tag) = ref_tag_id { Some(tag) } else { None };
        self.notice(Notice::RejectSent { ref_seq_num, ref_tag_id: tag, reason });
        let sent = self.write_admin(now, b'3', out, |body| {
            reverse_route(body, refused, version);
            body.uint(tags::REF_SEQ_NUM, ref_seq_num);
            if !version.has_session_reject_reason() {
                body.bytes(tags::TEXT, text_with_tag(text, ref_tag_id).bytes());
                return;
            }
            body.bytes(tags::TEXT, text);
            match ref_tag_id {
                RefTagId::None => {}
                RefTagId::Tag(tag) => _ = body.uint(tags::REF_TAG_ID, u64::from(tag)),
                RefTagId::Written(text) => _ = body.bytes(tags::REF_TAG_ID, text),
            }
            if !ref_msg_type.is_empty() && ref_msg_type.len() <= REF_MSG_TYPE_BYTES_MAX {
                body.bytes(tags::REF_MSG_TYPE, ref_msg_type);
            }
            if version.has_session_reject_reason_of(reason.code()) {
                body.uint(tags::SESSION_REJECT_REASON, u64::from(reason.code()));
            }
        });
        self.counters.rejects_out += u64::from(sent);
    }

    /// The application's refusal of a message that the session layer has found in order: a BusinessMessageReject(j), or
    /// where the version has none, a Reject(3) with the same words. Answers its MsgSeqNum(34).
    pub fn business_message_reject(
        &mut self,
        now: Now,
        refused: &Message<'_>,
        reason: BusinessRejectReason,
        text: &[u8],
        out: &mut impl Outbox,
    ) -> Result<u64, SendError> {
        let version = self.version;
        let ref_seq_num = refused.uint(tags::MSG_SEQ_NUM).flatten().unwrap_or(0);
        // The old versions' words differ by a capital, in the open-source engines and in what asks for exactly theirs.
        let text = match reason {
            _ if !text.is_empty() => text,
            BusinessRejectReason::UnsupportedMessageType if !version.has_business_message_reject() => {
                b"Unsupported message type"
            }
            _ => reason.text(),
        };
        if !version.has_business_message_reject() {
            if !matches!(self.state, State::Established | State::LogoutSent) || self.logout_answered {
                return Err(SendError::NotLoggedOn);
            }
            let number = self.numbers.next_out;
            self.write_new(now, OutgoingKind::Admin, b"3", out, |body| {
                reverse_route(body, refused.bytes(), version);
                body.uint(tags::REF_SEQ_NUM, ref_seq_num).bytes(tags::TEXT, text);
            })?;
            self.counters.rejects_out += 1;
            return Ok(number);
        }
        self.send(now, b"j", out, |body| {
            reverse_route(body, refused.bytes(), version);
            body.uint(tags::REF_SEQ_NUM, ref_seq_num).bytes(tags::TEXT, text);
            let ref_msg_type = refused.msg_type();
            if ref_msg_type.len() <= REF_MSG_TYPE_BYTES_MAX {
                body.bytes(tags::REF_MSG_TYPE, ref_msg_type);
            }
            body.uint(tags::BUSINESS_REJECT_REASON, u64::from(reason.code()));
        })
    }

    pub(super) fn write_heartbeat(&mut self, now: Now, test_req_id: Option<&[u8]>, out: &mut impl Outbox) -> bool {
        self.write_admin(now, b'0', out, |body| {
            // An empty one too, where a dictionary does not refuse it: the peer waits for what it
            // has sent.
            if let Some(value) = test_req_id {
                body.received(Field { tag: tags::TEST_REQ_ID, value });
            }
        })
    }

    pub(super) fn write_test_request(&mut self, now: Now, out: &mut impl Outbox) -> bool {
        let sent = self.write_admin(now, b'1', out, |body| {
            body.bytes(tags::TEST_REQ_ID, TEST_REQ_ID);
        });
        self.counters.test_requests_out += u64::from(sent);
        sent
    }

    pub(super) fn write_resend_request(&mut self, now: Now, begin: u64, end: u64, out: &mut impl Outbox) -> bool {
        let sent = self.write_admin(now, b'2', out, |body| {
            body.uint(tags::BEGIN_SEQ_NO, begin).uint(tags::END_SEQ_NO, end);
        });
        self.counters.resend_requests_out += u64::from(sent);
        sent
    }

    /// Sends a Logout and waits for its answer within the timeout. Nothing where one has been sent already.
    pub(super) fn start_logout(&mut self, now: Now, text: &[u8], out: &mut impl Outbox) {
        if self.state != State::Established {
            return;
        }
        if self.write_logout(now, text, SessionStatus::LoggedOut, out) {
            self.state = State::LogoutSent;
            self.phase_deadline_ns = now.monotonic_ns.saturating_add(self.settings.logout_timeout_ns);
        } else {
            self.close(DisconnectReason::BackPressure);
        }
    }

    /// Sends a Logout, unless one has been sent already, and does not wait for its answer.
    pub(super) fn logout_and_close(&mut self, now: Now, text: &[u8], reason: DisconnectReason, out: &mut impl Outbox) {
        if self.state != State::LogoutSent {
            self.write_logout(now, text, SessionStatus::of(reason), out);
        }
        self.close(reason);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        if !self.actions.notice(notice) {
            self.counters.notices_dropped += 1;
        }
    }
}

/// Whole seconds for versions that know no fraction.
pub(super) fn precision_of(version: Version, configured: Precision) -> Precision {
    if version.has_fractions_of_seconds() { configured } else { Precision::Seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composed_text_is_cut_and_not_refused() {
        let text = Text::of(format_args!("{}", "x".repeat(1_000)));
        assert_eq!(text.bytes().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn the_header_is_rendered_in_the_order_of_tags_and_without_what_is_not_configured() {
        let mut identity = Identity::new(b"FIX.4.4", b"US", b"THEM");
        identity.target_sub_id = Box::from(&b"SUB"[..]);
        let header = OutboundHeader::of(&identity, Precision::Millis);
        assert_eq!(&*header.sender, b"49=US\x01");
        assert_eq!(&*header.target, b"56=THEM\x0157=SUB\x01");
        assert!(header.locations.is_empty());
    }
}
