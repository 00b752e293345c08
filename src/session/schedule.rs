//! What a schedule asks of a session. The session knows no calendar: its worker says when.
//!
//! Two ways begin the numbers again. Between connections it is done at once, [`Session::begin_period`]. In session it takes
//! the exchange that FIX describes for sessions without a pause, [`Session::reset_in_session`]: a TestRequest whose answer
//! shows that the peer has all that we have sent, then Logons with ResetSeqNumFlag(141) and MsgSeqNum(34) 1 both ways.
//! What the peer still sends under its old numbers before it answers is processed and not counted: the numbers that are
//! stored are the new ones from our Logon on, so that a crash at any point finds either the old or the new.

use super::demanded_reset::Demanded;
use super::header::Header;
use super::{DisconnectReason, Disposition, Now, Outbox, Received, Role, Session, State};
use crate::dictionary::Violation;
use crate::fix::{Message, tags};

/// TestReqID(112) of the TestRequest before a reset. Unlike that of a probe, it has to come back itself.
const RESET_TEST_REQ_ID: &[u8] = b"RESET";

/// How far a reset in session has come that we began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resetting {
    No,
    /// Our TestRequest is to be answered.
    Testing,
    /// Our Logon is to be answered. Until then the peer may go on with its old numbers, of which this one is next.
    Sent {
        old_next_in: u64,
    },
}

impl Session {
    /// The session's hours have ended. Where it is logged on it sends a Logout and waits for the answer.
    pub fn end_of_period(&mut self, now: Now, out: &mut impl Outbox) {
        match self.state {
            State::Established => self.start_logout(now, b"Session time has ended", out),
            State::LogonSent | State::LogonAwaited => self.close(DisconnectReason::OutsideHours),
            State::LogoutSent | State::Disconnected => {}
        }
    }

    /// Both numbers begin again, in a new epoch also where nothing was exchanged: it says when they began. `is_told` is
    /// whether the peer has to be told by ResetSeqNumFlag(141), when an initiator logs on next. False, and nothing done,
    /// while there is a connection.
    pub fn begin_period(&mut self, is_told: bool, out: &mut impl Outbox) -> bool {
        if self.connected {
            return false;
        }
        self.reset_numbers();
        self.reset_is_taken();
        out.numbers(self.numbers);
        self.reset_unconfirmed =
            is_told && self.settings.role == Role::Initiator && self.version.has_reset_seq_num_flag();
        true
    }

    /// A Logon that is valid and comes outside the session's hours; in place of `accept_logon`. Its number is not used up.
    pub fn refuse_outside_hours(&mut self, now: Now, text: &[u8], out: &mut impl Outbox) -> Received {
        if std::mem::take(&mut self.logon_pending) {
            self.logout_and_close(now, text, DisconnectReason::OutsideHours, out);
        }
        Received::IGNORED
    }

    /// Begins a reset without a disconnect. FIX.4.0 has no ResetSeqNumFlag(141): there the session logs out, and the numbers
    /// begin again between the connections.
    pub fn reset_in_session(&mut self, now: Now, out: &mut impl Outbox) {
        if self.state != State::Established || self.resetting != Resetting::No {
            return;
        }
        if !self.version.has_reset_seq_num_flag() {
            return self.start_logout(now, b"Session is reset", out);
        }
        let sent = self.write_admin(now, b'1', out, |body| {
            body.bytes(tags::TEST_REQ_ID, RESET_TEST_REQ_ID);
        });
        if sent {
            self.counters.test_requests_out += 1;
            self.resetting = Resetting::Testing;
        }
    }

    /// A reset in session that we began is not complete.
    pub fn is_resetting(&self) -> bool {
        self.resetting != Resetting::No
    }

    /// While a reset in session is under way. `None` leaves the message to the ordinary rules.
    pub(super) fn receive_while_resetting(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Option<Received> {
        let resets = header.msg_type == b"A" && !header.poss_dup && self.asks_for_reset(message);
        match self.resetting {
            Resetting::No => None,
            // The peer was first: we answer it.
            Resetting::Testing if resets => {
                self.resetting = Resetting::No;
                None
            }
            Resetting::Testing => {
                let answers = header.msg_type == b"0" && message.field(tags::TEST_REQ_ID) == Some(RESET_TEST_REQ_ID);
                let is_whole = number == self.numbers.next_in && self.gap.is_none() && self.resend.is_none();
                if !answers || !is_whole || self.state != State::Established {
                    return None;
                }
                self.count(out);
                self.send_reset(now, out);
                Some(Received::COUNTED)
            }
            // QuickFIX/Go does not say so in the Logon that answers ours.
            Resetting::Sent { .. } if number == 1 && (resets || (header.msg_type == b"A" && !header.poss_dup)) => {
                self.end_reset();
                self.numbers.next_in = 2;
                self.agree_on_next_out(out);
                Some(Received::COUNTED)
            }
            // QuickFIX/Go begins anew and does not say so. The old numbers are higher: ours of the
            // TestRequest had been answered under one.
            Resetting::Sent { .. } if number == 1 && !header.poss_dup => {
                self.end_reset();
                None
            }
            // One with another number is refused as always.
            Resetting::Sent { .. } if resets || header.msg_type == b"5" => None,
            Resetting::Sent { old_next_in } if number == old_next_in => {
                self.resetting = Resetting::Sent { old_next_in: old_next_in + 1 };
                Some(self.receive_under_old_number(now, header, number, message, out))
            }
            Resetting::Sent { .. } => Some(Received::IGNORED),
        }
    }

    fn send_reset(&mut self, now: Now, out: &mut impl Outbox) {
        let old_next_in = self.numbers.next_in;
        self.reset_numbers();
        out.numbers(self.numbers);
        if self.write_logon(now, true, out) {
            self.resetting = Resetting::Sent { old_next_in };
            self.reset_unconfirmed = self.settings.role == Role::Initiator;
            if self.settings.role == Role::Acceptor {
                self.demanded = Demanded::Stated;
            }
        } else {
            self.close(DisconnectReason::BackPressure);
        }
    }

    /// The peer has taken our reset.
    fn end_reset(&mut self) {
        self.resetting = Resetting::No;
        self.reset_unconfirmed = false;
        self.reset_is_taken();
    }

    /// Sent before the peer has read our Logon. What it asks to be sent again is gone.
    fn receive_under_old_number(
        &mut self,
        now: Now,
        header: &Header<'_>,
        number: u64,
        message: &Message<'_>,
        out: &mut impl Outbox,
    ) -> Received {
        match header.msg_type {
            b"1" => {
                self.write_heartbeat(now, message.field(tags::TEST_REQ_ID), out);
                Received::IGNORED
            }
            b"0" | b"2" | b"3" | b"4" | b"A" => Received::IGNORED,
            _ if let Err(violation) = self.validate(message)
                && !self.lets_pass(number, violation) =>
            {
                let Violation { reason, ref_tag_id } = violation;
                self.reject(now, header, number, reason.into(), ref_tag_id.into(), out);
                Received::IGNORED
            }
            _ => {
                self.counters.application_messages_in += 1;
                let disposition = Disposition::Deliver { poss_dup: header.poss_dup, poss_resend: header.poss_resend };
                Received { counted: false, disposition }
            }
        }
    }
}
