//! The inbound side of a gap: what is missing, what was asked for, and what is held until it closes.
//!
//! A gap is asked for once, up to whatever the peer has last. Where a part of it stays missing for
//! a HeartBtInt(108) without any progress, exactly that part is asked for again, and after so many
//! requests the session ends with a Logout that names it: a peer that never closes a gap would
//! otherwise keep everything behind it unprocessed for ever.

use super::held::First;
use super::outbound::Text;
use super::{DisconnectReason, Notice, Now, Outbox, Session, State};

/// A request that found no room, or a held message that did, is tried again after this.
const RETRY_NS: u64 = 10_000_000;

/// Messages that are missing and have been asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    begin: u64,
    /// Inclusive. When it has come the request is answered, whatever the peer sends beyond.
    end: u64,
    /// Our expected number when progress was last seen.
    next_in: u64,
    /// How often what is missing has been asked for since then.
    requests: u32,
    /// The peer has filled all numbers below this one, held messages among them; 0 where it has
    /// not.
    filled_to: u64,
}

impl Session {
    /// Uses one inbound number up.
    #[inline]
    pub(super) fn count(&mut self, out: &mut impl Outbox) {
        self.numbers.next_in += 1;
        if self.gap.is_some() || !self.held.is_empty() {
            self.advanced(false, out);
        }
    }

    /// The peer has filled all numbers from the expected one up to, but without, `to`. What is held
    /// of them has come all the same and is processed in its turn.
    pub(super) fn fill(&mut self, to: u64, out: &mut impl Outbox) {
        let begin = self.numbers.next_in;
        let messages = self.held.messages_below(to);
        if messages > 0 {
            self.counters.held_filled_over += messages;
            self.notice(Notice::HeldFilledOver { begin, end: to - 1, messages });
            let mut gap = self.gap.unwrap_or(Gap { begin, end: 0, next_in: begin, requests: 0, filled_to: 0 });
            gap.end = gap.end.max(to - 1);
            gap.filled_to = gap.filled_to.max(to);
            self.gap = Some(gap);
        } else {
            self.numbers.next_in = to;
        }
        self.advanced(true, out);
    }

    /// After the expected number has gone up. `stated` is whether it did so otherwise than by one counted message.
    fn advanced(&mut self, mut stated: bool, out: &mut impl Outbox) {
        let filled_to = self.gap.map_or(0, |gap| gap.filled_to);
        loop {
            let next_in = self.numbers.next_in;
            match self.held.first(next_in) {
                First::Mark(number) if number == next_in => {
                    self.held.drop_first();
                    self.numbers.next_in += 1;
                }
                First::Message(number) if number == next_in => break,
                _ if next_in >= filled_to => break,
                First::Mark(number) | First::Message(number) => self.numbers.next_in = number.min(filled_to),
                First::Nothing => self.numbers.next_in = filled_to,
            }
            stated = true;
        }
        if stated {
            out.numbers(self.numbers);
        }
        self.look_at_progress();
    }

    fn look_at_progress(&mut self) {
        let next_in = self.numbers.next_in;
        match &mut self.gap {
            Some(gap) if next_in > gap.end => {
                let (begin, end) = (gap.begin, gap.end);
                self.gap = None;
                self.gap_due_ns = u64::MAX;
                self.notice(Notice::GapClosed { begin, end });
            }
            Some(gap) if next_in != gap.next_in => {
                (gap.next_in, gap.requests) = (next_in, 0);
                self.gap_due_ns = self.last_received_ns.saturating_add(self.gap_wait_ns());
            }
            _ => {}
        }
        // What is held behind a gap that nobody has asked for yet.
        if self.gap.is_none()
            && let First::Mark(number) | First::Message(number) = self.held.first(next_in)
        {
            self.missing_to = self.missing_to.max(number - 1);
        }
    }

    /// `received` has come and is beyond the expected number. Asks for what lies between, once:
    /// while a request is outstanding, [`Session::gap_timer`] asks again.
    pub(super) fn request_resend(&mut self, now: Now, received: u64, out: &mut impl Outbox) {
        let next_in = self.numbers.next_in;
        // Nothing is missing where the expected message is held: the worker has not found room for
        // it yet.
        if self.gap.is_some() || self.held.first(next_in) == First::Message(next_in) {
            return;
        }
        self.counters.gaps += 1;
        self.notice(Notice::GapDetected { expected: next_in, received });
        let has_asked = self.write_resend_request(now, next_in, self.version.end_seq_no_infinity(), out);
        self.expect_resend(now, received);
        match &mut self.gap {
            Some(gap) if has_asked => gap.requests = 1,
            _ => self.gap_due_ns = now.monotonic_ns.saturating_add(RETRY_NS),
        }
    }

    /// What found no room among the held messages, or is missing between them, once nothing else is
    /// asked for: the peer may have nothing new to say that would show the gap.
    pub(super) fn ask_for_missing(&mut self, now: Now, out: &mut impl Outbox) {
        let next_in = self.numbers.next_in;
        let more_held = self.held.first(next_in) == First::Message(next_in);
        if self.state == State::Established && self.gap.is_none() && !more_held {
            self.request_resend(now, self.missing_to + 1, out);
        }
    }

    /// The peer will resend what lies before `received`.
    pub(super) fn expect_resend(&mut self, now: Now, received: u64) {
        let next_in = self.numbers.next_in;
        self.gap = Some(Gap { begin: next_in, end: received - 1, next_in, requests: 0, filled_to: 0 });
        self.gap_due_ns = now.monotonic_ns.saturating_add(self.gap_wait_ns());
    }

    /// How long a gap may stay as it is until it is asked for again.
    fn gap_wait_ns(&self) -> u64 {
        if self.heart_bt_int_ns == 0 { self.settings.resend_request_repeat_ns } else { self.heart_bt_int_ns }
    }

    /// The gap has stayed as it is for its time.
    #[cold]
    pub(super) fn gap_timer(&mut self, now: Now, out: &mut impl Outbox) {
        self.gap_due_ns = u64::MAX;
        let Some(Gap { end, requests, .. }) = self.gap else { return };
        let begin = self.numbers.next_in;
        let end = match self.held.first(begin) {
            // Nothing is missing: the worker has not found room for it yet.
            First::Message(number) if number == begin => return,
            First::Message(number) | First::Mark(number) => number - 1,
            First::Nothing => end,
        };
        if requests >= self.settings.resend_requests_max {
            self.counters.gaps_given_up += 1;
            self.notice(Notice::GapGivenUp { begin, end, requests });
            let text = Text::of(format_args!("Missing MsgSeqNum {begin} to {end}, asked for {requests} times"));
            return self.logout_and_close(now, text.bytes(), DisconnectReason::MessagesMissing, out);
        }
        if !self.write_resend_request(now, begin, end, out) {
            self.gap_due_ns = now.monotonic_ns.saturating_add(RETRY_NS);
            return;
        }
        self.notice(Notice::GapStays { begin, end, requests });
        if let Some(gap) = &mut self.gap {
            gap.requests += 1;
        }
        self.gap_due_ns = now.monotonic_ns.saturating_add(self.gap_wait_ns());
    }

    /// Our newest ResendRequest(2) has not left yet: the peer has all its time from now on.
    pub fn request_is_unsent(&mut self, now: Now) {
        if self.gap.is_some_and(|gap| gap.requests > 0) {
            self.put_gap_off(now);
        }
    }

    /// What is due for a gap waits once more: the peer's answer may be on its way.
    pub(super) fn put_gap_off(&mut self, now: Now) {
        if self.gap_due_ns <= now.monotonic_ns {
            self.gap_due_ns = now.monotonic_ns.saturating_add(self.gap_wait_ns());
        }
    }

    /// After any step that may have closed a gap: copies the next held message that is now in order
    /// into `buffer`, which is cleared first. The worker parses it again and calls `receive` with
    /// it, as a new commit, or [`Session::put_back`]. False when there is none. `buffer` allocates
    /// where it is shorter than a message; make it large enough.
    pub fn take_held(&mut self, buffer: &mut Vec<u8>) -> bool {
        buffer.clear();
        let processing = matches!(self.state, State::Established | State::LogoutSent) && !self.logout_answered;
        if self.held.is_empty() || !processing {
            return false;
        }
        let next_in = self.numbers.next_in;
        if self.held.first(next_in) != First::Message(next_in) {
            return false;
        }
        self.held.copy_first(buffer);
        self.taken = Some(next_in);
        true
    }

    /// The message that `take_held` has handed out found no room. It is handed out again after the
    /// next timer.
    pub fn put_back(&mut self, now: Now) {
        self.taken = None;
        self.gap_due_ns = now.monotonic_ns.saturating_add(RETRY_NS);
    }

    /// What is missing in either direction belongs to one connection, and to one epoch.
    pub(super) fn forget_gaps(&mut self) {
        self.held.clear();
        self.taken = None;
        self.missing_to = 0;
        self.gap = None;
        self.gap_due_ns = u64::MAX;
        self.resend = None;
    }
}
