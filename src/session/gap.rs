//! The inbound side of a gap: what is missing, what was asked for, and what is held until it closes.

use super::held::First;
use super::{Notice, Now, Outbox, Session, State};

/// Messages that are missing and have been asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    begin: u64,
    /// Inclusive. When it has come the request is answered, whatever the peer sends beyond.
    end: u64,
    asked_ns: u64,
    /// Our expected number when the request was sent, or when progress was last seen.
    next_in: u64,
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

    /// After the expected number has gone up. `stated` is whether it did so otherwise than by one counted message.
    pub(super) fn advanced(&mut self, stated: bool, out: &mut impl Outbox) {
        let mut stated = stated;
        while self.held.first(self.numbers.next_in) == First::Mark(self.numbers.next_in) {
            self.held.drop_first();
            self.numbers.next_in += 1;
            stated = true;
        }
        if stated {
            out.numbers(self.numbers);
        }
        if let Some(Gap { begin, end, .. }) = self.gap.filter(|gap| self.numbers.next_in > gap.end) {
            self.gap = None;
            self.notice(Notice::GapClosed { begin, end });
        }
    }

    /// `received` has come and is beyond the expected number. Asks for what lies between, once: while the request is
    /// outstanding it is repeated only after a time without any progress.
    pub(super) fn request_resend(&mut self, now: Now, received: u64, out: &mut impl Outbox) {
        let next_in = self.numbers.next_in;
        let repeat_ns = self.settings.resend_request_repeat_ns;
        match &mut self.gap {
            Some(gap) if gap.next_in != next_in => {
                gap.next_in = next_in;
                gap.asked_ns = now.monotonic_ns;
                return;
            }
            Some(gap) if now.monotonic_ns.saturating_sub(gap.asked_ns) < repeat_ns => return,
            Some(_) => {}
            None => {
                self.counters.gaps += 1;
                self.notice(Notice::GapDetected { expected: next_in, received });
            }
        }
        if self.write_resend_request(now, next_in, out) {
            self.expect_resend(now, received);
        } else {
            // The next message beyond the gap tries again.
            self.gap = None;
        }
    }

    /// What found no room among the held messages, once they are used up and nothing else is asked for: the peer may
    /// have nothing new to say that would show the gap before its next heartbeat.
    pub(super) fn ask_for_overflowed(&mut self, now: Now, out: &mut impl Outbox) {
        let next_in = self.numbers.next_in;
        let more_held = self.held.first(next_in) == First::Message(next_in);
        if self.state == State::Established && self.gap.is_none() && !more_held {
            self.request_resend(now, self.overflowed + 1, out);
        }
    }

    /// The peer will resend what lies before `received`.
    pub(super) fn expect_resend(&mut self, now: Now, received: u64) {
        let next_in = self.numbers.next_in;
        self.gap = Some(Gap { begin: next_in, end: received - 1, asked_ns: now.monotonic_ns, next_in });
    }

    /// After any step that may have closed a gap: copies the next held message that is now in order into `buffer`,
    /// which is cleared first. The worker parses it again and calls `receive` with it, as a new commit.
    /// False when there is none. `buffer` allocates where it is shorter than a message; make it large enough.
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
        self.held.take(buffer);
        self.taken = Some(next_in);
        true
    }

    /// What is missing in either direction belongs to one connection, and to one epoch.
    pub(super) fn forget_gaps(&mut self) {
        self.held.clear();
        self.taken = None;
        self.overflowed = 0;
        self.gap = None;
        self.resend = None;
    }
}
