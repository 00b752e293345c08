//! The outbound side of a gap: stored messages sent again, streamed as the worker stages them.
//!
//! An application message goes out with its own number, PossDupFlag(43), the stored SendingTime(52) as
//! OrigSendingTime(122) and a body that is byte for byte the stored one. Runs of administrative messages, and of
//! numbers that were never used for a message, become one gap fill each.

use super::outbound::Replay;
use super::{Action, BackPressure, Notice, Now, Outbox, Outgoing, OutgoingKind, SendError, Session};
use crate::fix::{SOH, tags, uint_of};

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
    pub fn resend(&mut self, now: Now, stored: &[u8], out: &mut impl Outbox) -> Result<(), BackPressure> {
        let Some(Streaming { next, end, .. }) = self.resend else { return Ok(()) };
        // One that cannot be read is filled over.
        let Some(stored) = Stored::of(stored).filter(|stored| (next..=end).contains(&stored.msg_seq_num)) else {
            return Ok(());
        };
        let number = stored.msg_seq_num;
        // A ResendRequest(2) of ours begins a gap fill of its own. Peers process one ahead of its turn, as they do our
        // Logon(A), but not all count it: QuickFIX/C++ would then take a fill that began before it for a duplicate, and
        // wait for the number until something else came.
        let is_admin = is_admin(stored.msg_type) && !(self.settings.resend_rejects && stored.msg_type == b"3");
        if number > next && (!is_admin || stored.msg_type == b"2") {
            self.write_gap_fill(now, next, number, out)?;
            self.resend_reached(number);
        }
        if is_admin {
            return Ok(());
        }
        let outgoing = Outgoing { msg_seq_num: number, kind: OutgoingKind::Replay };
        let replay = Some(Replay { orig_sending_time: Some(stored.sending_time) });
        match self.write(now, outgoing, stored.msg_type, replay, out, |message| {
            message.raw(stored.body);
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

/// A message of ours as it is stored. Only its header is looked at, which we wrote ourselves: a million of them may be asked for.
#[derive(Debug, PartialEq, Eq)]
struct Stored<'a> {
    msg_type: &'a [u8],
    msg_seq_num: u64,
    sending_time: &'a [u8],
    /// Everything between that header and CheckSum(10).
    body: &'a [u8],
}

impl<'a> Stored<'a> {
    /// `None` where the header cannot be read, or has no number.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.len().checked_sub(TRAILER_BYTES)?;
        let (mut msg_type, mut msg_seq_num, mut sending_time) = (&[][..], None, &[][..]);
        let mut rest = &bytes[..end];
        while let Some((tag, value, after)) = first_field(rest) {
            match tag {
                tags::MSG_TYPE => msg_type = value,
                tags::MSG_SEQ_NUM => msg_seq_num = uint_of(value),
                tags::SENDING_TIME => sending_time = value,
                tag if is_rewritten(tag) => {}
                _ => break,
            }
            rest = after;
        }
        Some(Self { msg_type, msg_seq_num: msg_seq_num?, sending_time, body: rest })
    }
}

/// Tag and value of the first field, and what follows it.
#[inline]
fn first_field(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let mut tag = 0_u32;
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            digit @ b'0'..=b'9' => tag = tag.checked_mul(10)?.checked_add(u32::from(digit - b'0'))?,
            b'=' => break,
            _ => return None,
        }
        at += 1;
    }
    let value = &bytes[at + 1..];
    let length = value.iter().position(|byte| *byte == SOH)?;
    Some((tag, &value[..length], &value[length + 1..]))
}

/// Header fields that `Session::write` renders anew.
fn is_rewritten(tag: u32) -> bool {
    matches!(tag, 8 | 9 | 34 | 35 | 43 | 49 | 50 | 52 | 56 | 57 | 122 | 142 | 143 | 369)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_follows_our_header_byte_for_byte() {
        let bytes = b"8=FIX.4.4\x019=5\x0135=D\x0134=2\x0149=A\x0152=t\x0156=B\x01142=L\x0197=Y\x0111=x\x0195=3\x0196=\x01=\x01\x0149=z\x0110=123\x01";
        let body = b"97=Y\x0111=x\x0195=3\x0196=\x01=\x01\x0149=z\x01";
        assert_eq!(Stored::of(bytes), Some(Stored { msg_type: b"D", msg_seq_num: 2, sending_time: b"t", body }));
    }

    #[test]
    fn a_message_without_a_body_has_an_empty_one() {
        let bytes = b"8=FIX.4.4\x019=5\x0135=n\x0134=2\x0149=A\x0152=t\x0156=B\x0110=123\x01";
        assert_eq!(Stored::of(bytes).map(|stored| stored.body), Some(&b""[..]));
    }

    #[test]
    fn whatever_is_stored_is_read_without_fault_and_nothing_has_a_number_that_does_not_say_one() {
        let bytes = b"8=FIX.4.4\x019=5\x0135=n\x0134=2\x0149=A\x0110=123\x01";
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            let shown = cut.len().saturating_sub(TRAILER_BYTES);
            assert_eq!(
                Stored::of(cut).is_some(),
                cut[..shown].windows(6).any(|field| field == b"\x0134=2\x01"),
                "{length}"
            );
        }
        for bad in [
            &b"34=\x0110=123\x01"[..],
            b"99999999999=1\x0134=2\x0110=123\x01",
            b"=\x01=\x0110=000\x01",
            b"34x2\x0110=123\x01",
        ] {
            assert_eq!(Stored::of(bad), None);
        }
    }
}
