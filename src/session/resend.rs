//! The outbound side of a gap: stored messages sent again, streamed as the worker stages them.
//!
//! An application message goes out with its own number, PossDupFlag(43), the stored SendingTime(52) as
//! OrigSendingTime(122) and a body that is byte for byte the stored one. Runs of administrative messages, and of
//! numbers that were never used for a message, become one gap fill each.

use super::outbound::Replay;
use super::{Action, BackPressure, Notice, Now, Outbox, Outgoing, OutgoingKind, SendError, Session};
use crate::fix::{Message, tags};

/// How often the same ResendRequest(2) restarts a resend that is still being streamed. Further ones are ignored and
/// counted, so that a peer that asks on every message does not keep the resend from ever ending.
const RESEND_RESTARTS_MAX: u32 = 3;

/// `10=ccc|`
const TRAILER_BYTES: usize = 7;

#[derive(Clone, Copy, Debug)]
pub(super) struct Streaming {
    /// The first number that has not been sent again yet.
    next: u64,
    /// Inclusive.
    end: u64,
    /// BeginSeqNo(7) of the newest request.
    asked_begin: u64,
    restarts: u32,
}

impl Session {
    /// Begins a resend. It takes over what an unfinished one still owes.
    pub(super) fn start_resend(&mut self, begin: u64, end: u64) {
        let mut streaming = Streaming { next: begin, end, asked_begin: begin, restarts: 0 };
        if let Some(owed) = self.resend {
            streaming.restarts = owed.restarts + u32::from(owed.asked_begin == begin);
            if streaming.restarts > RESEND_RESTARTS_MAX {
                self.counters.resend_requests_ignored += 1;
                self.notice(Notice::ResendRequestIgnored { begin });
                return;
            }
            streaming.next = begin.min(owed.next);
            streaming.end = end.max(owed.end);
        }
        self.resend = Some(streaming);
        self.actions.decide(Action::Resend { begin: streaming.next, end: streaming.end });
    }

    /// What is still owed of the resend that is being streamed, first and last number. `None` once it has ended, or
    /// a reset or the end of the connection has ended it.
    pub fn resending(&self) -> Option<(u64, u64)> {
        self.resend.map(|streaming| (streaming.next, streaming.end))
    }

    /// One stored message of the range that [`Action::Resend`] named, in ascending order. What lies outside of what
    /// is still owed is skipped. After [`BackPressure`] the same message is offered again.
    ///
    /// A newer [`Action::Resend`] replaces the staging: messages staged for an older one must not be offered.
    pub fn resend(&mut self, now: Now, stored: &Message<'_>, out: &mut impl Outbox) -> Result<(), BackPressure> {
        let Some(Streaming { next, end, .. }) = self.resend else { return Ok(()) };
        let Some(number) = stored.uint(tags::MSG_SEQ_NUM).flatten().filter(|number| (next..=end).contains(number))
        else {
            return Ok(());
        };
        // A ResendRequest(2) of ours begins a gap fill of its own. Peers process one ahead of its turn, as they do our
        // Logon(A), but not all count it: QuickFIX/C++ would then take a fill that began before it for a duplicate, and
        // wait for the number until something else came.
        let is_admin = is_admin(stored.msg_type()) && !(self.settings.resend_rejects && stored.msg_type() == b"3");
        if number > next && (!is_admin || stored.msg_type() == b"2") {
            self.write_gap_fill(now, next, number, out)?;
            self.resend_reached(number);
        }
        if is_admin {
            return Ok(());
        }
        let orig_sending_time = Some(stored.field(tags::SENDING_TIME).unwrap_or_default());
        let body = body_of(stored);
        let outgoing = Outgoing { msg_seq_num: number, kind: OutgoingKind::Replay };
        let replay = Some(Replay { orig_sending_time });
        match self.write(now, outgoing, stored.msg_type(), replay, out, |message| {
            message.raw(body);
        }) {
            Ok(()) => {
                self.counters.messages_resent += 1;
                self.resend_reached(number + 1);
                Ok(())
            }
            // A message that grew beyond the limit by its PossDup fields can never be sent again: it is filled over
            // with its neighbours.
            Err(SendError::TooLong) => Ok(()),
            Err(SendError::BackPressure | SendError::NotLoggedOn) => Err(BackPressure),
        }
    }

    /// All that is stored of the range has been offered. What is left of it is filled.
    pub fn resend_done(&mut self, now: Now, out: &mut impl Outbox) -> Result<(), BackPressure> {
        if let Some(Streaming { next, end, .. }) = self.resend {
            if next <= end {
                self.write_gap_fill(now, next, end + 1, out)?;
            }
            self.resend = None;
        }
        Ok(())
    }

    fn resend_reached(&mut self, next: u64) {
        if let Some(streaming) = &mut self.resend {
            streaming.next = next;
        }
    }

    /// A SequenceReset(4) that fills `begin` up to, but without, `new_seq_no`.
    fn write_gap_fill(
        &mut self,
        now: Now,
        begin: u64,
        new_seq_no: u64,
        out: &mut impl Outbox,
    ) -> Result<(), BackPressure> {
        let outgoing = Outgoing { msg_seq_num: begin, kind: OutgoingKind::Replay };
        let replay = Some(Replay { orig_sending_time: None });
        self.write(now, outgoing, b"4", replay, out, |message| {
            message.uint(tags::NEW_SEQ_NO, new_seq_no).bool(tags::GAP_FILL_FLAG, true);
        })
        .map_err(|_| BackPressure)?;
        self.counters.gap_fills_out += 1;
        Ok(())
    }
}

/// Session-level messages, which are filled over instead of being sent again.
pub fn is_admin(msg_type: &[u8]) -> bool {
    matches!(msg_type, b"0" | b"1" | b"2" | b"3" | b"4" | b"5" | b"A")
}

/// Everything between the header that we wrote ourselves and CheckSum(10).
fn body_of<'a>(stored: &Message<'a>) -> &'a [u8] {
    let bytes = stored.bytes();
    let end = bytes.len().saturating_sub(TRAILER_BYTES);
    let mut at = 0;
    for field in stored.fields() {
        if !is_rewritten(field.tag) {
            break;
        }
        // Tags have no leading zeros, so that their length follows from their value.
        at += field.tag.checked_ilog10().unwrap_or(0) as usize + 1 + 1 + field.value.len() + 1;
    }
    bytes.get(at..end).unwrap_or_default()
}

/// Header fields that `Session::write` renders anew.
fn is_rewritten(tag: u32) -> bool {
    matches!(tag, 8 | 9 | 34 | 35 | 43 | 49 | 50 | 52 | 56 | 57 | 122 | 142 | 143 | 369)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::{FieldIndex, parse};

    #[test]
    fn the_body_is_what_follows_our_header_byte_for_byte() {
        let bytes = b"8=FIX.4.4\x019=5\x0135=D\x0134=2\x0149=A\x0152=t\x0156=B\x01142=L\x0197=Y\x0111=x\x0195=3\x0196=\x01=\x01\x0149=z\x0110=123\x01";
        let mut index = FieldIndex::with_capacity(32);
        let stored = parse(bytes, &mut index).unwrap();
        assert_eq!(body_of(&stored), b"97=Y\x0111=x\x0195=3\x0196=\x01=\x01\x0149=z\x01");
    }

    #[test]
    fn a_message_without_a_body_has_an_empty_one() {
        let bytes = b"8=FIX.4.4\x019=5\x0135=n\x0134=2\x0149=A\x0152=t\x0156=B\x0110=123\x01";
        let mut index = FieldIndex::with_capacity(32);
        assert_eq!(body_of(&parse(bytes, &mut index).unwrap()), b"");
    }
}
