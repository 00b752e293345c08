//! What a session does because nothing happens. All times are monotonic.

use super::{DisconnectReason, Notice, Now, Outbox, Session, State};

const NS_PER_S: u64 = 1_000_000_000;
/// A heartbeat or TestRequest that found no room is tried again after this.
const RETRY_NS: u64 = 10_000_000;

impl Session {
    /// When `timer` is to be called next, on the monotonic clock.
    ///
    /// Cheap to read. Ordinary traffic (`receive`, `send`, `resend`, `timer`) moves it only later, so that a worker
    /// may correct its queue when the old deadline comes. It may move earlier in `connected`, `accept_logon`,
    /// `logout`, `probe` and in any step that yields an action, a notice included.
    pub fn deadline_ns(&self) -> Option<u64> {
        let deadline = match self.state {
            State::Established => {
                self.heartbeat_due_ns().min(self.silence_due_ns()).min(self.gap_due_ns).max(self.retry_ns)
            }
            State::Disconnected | State::LogonSent | State::LogonAwaited | State::LogoutSent => self.phase_deadline_ns,
        };
        (deadline != u64::MAX).then_some(deadline)
    }

    /// To be called when the deadline has come; earlier does no harm.
    pub fn timer(&mut self, now: Now, out: &mut impl Outbox) {
        match self.state {
            State::Disconnected => {}
            State::LogonSent | State::LogonAwaited => {
                if now.monotonic_ns >= self.phase_deadline_ns {
                    self.close(DisconnectReason::LogonTimeout);
                }
            }
            State::LogoutSent => {
                if now.monotonic_ns >= self.phase_deadline_ns {
                    let answered = self.logout_answered;
                    self.close(if answered { DisconnectReason::LoggedOut } else { DisconnectReason::LogoutTimeout });
                }
            }
            State::Established => self.established_timer(now, out),
        }
    }

    fn established_timer(&mut self, now: Now, out: &mut impl Outbox) {
        if now.monotonic_ns < self.retry_ns {
            return;
        }
        if now.monotonic_ns >= self.silence_due_ns() {
            if self.test_request_deadline_ns != u64::MAX {
                self.counters.heartbeat_timeouts += 1;
                self.close(DisconnectReason::HeartbeatTimeout);
                return;
            }
            self.notice(Notice::HeartbeatMissed);
            if self.write_test_request(now, out) {
                self.test_request_deadline_ns = now.monotonic_ns.saturating_add(self.silence_ns());
            } else {
                self.retry_ns = now.monotonic_ns.saturating_add(RETRY_NS);
            }
        }
        if now.monotonic_ns >= self.gap_due_ns {
            self.gap_timer(now, out);
            if self.state != State::Established {
                return;
            }
        }
        if now.monotonic_ns >= self.heartbeat_due_ns() && !self.write_heartbeat(now, None, out) {
            self.retry_ns = now.monotonic_ns.saturating_add(RETRY_NS);
        }
    }

    /// Sends a TestRequest now and gives the peer `probe_timeout_ns` to show that it lives. Used before a second
    /// Logon for this session is let in.
    pub fn probe(&mut self, now: Now, out: &mut impl Outbox) {
        if self.state == State::Established && self.write_test_request(now, out) {
            let deadline = now.monotonic_ns.saturating_add(self.settings.probe_timeout_ns);
            self.test_request_deadline_ns = self.test_request_deadline_ns.min(deadline);
        }
    }

    /// Sends a Logout and waits for the answer. Before the session is established the connection is closed at once.
    pub fn logout(&mut self, now: Now, text: &[u8], out: &mut impl Outbox) {
        match self.state {
            State::Established => self.start_logout(now, text, out),
            State::LogonSent | State::LogonAwaited => self.close(DisconnectReason::LoggedOut),
            State::LogoutSent | State::Disconnected => {}
        }
    }

    /// Whether [`Session::timer`] would hold the peer's silence against it now.
    pub fn is_silence_due(&self, now: Now) -> bool {
        self.state == State::Established && now.monotonic_ns >= self.silence_due_ns()
    }

    /// Whether [`Session::timer`] would ask for a gap again now, or end the session for it.
    pub fn is_gap_due(&self, now: Now) -> bool {
        self.state == State::Established && now.monotonic_ns >= self.gap_due_ns
    }

    /// The peer has sent something that is not read yet. That is no silence, and since it may be
    /// the answer, no TestRequest(1) is outstanding: our own heartbeats go on. It may be what is
    /// missing, too.
    pub fn input_waits(&mut self, now: Now) {
        self.put_gap_off(now);
        self.last_received_ns = now.monotonic_ns;
        self.test_request_deadline_ns = u64::MAX;
    }

    /// How long nothing has come.
    pub fn silent_ns(&self, now: Now) -> u64 {
        now.monotonic_ns.saturating_sub(self.last_received_ns)
    }

    pub(super) fn set_heart_bt_int(&mut self, seconds: u32) {
        self.heart_bt_int_s = seconds;
        self.heart_bt_int_ns = u64::from(seconds) * NS_PER_S;
        self.margin_ns = self.heart_bt_int_ns / 100 * u64::from(self.settings.test_request_margin_percent);
    }

    /// None while a TestRequest is unanswered: it was our last sign of life, and what follows is an answer or the end.
    fn heartbeat_due_ns(&self) -> u64 {
        if self.heart_bt_int_ns == 0 || self.test_request_deadline_ns != u64::MAX {
            u64::MAX
        } else {
            self.last_sent_ns.saturating_add(self.heart_bt_int_ns)
        }
    }

    /// When silence becomes a TestRequest, or an unanswered one a disconnect.
    fn silence_due_ns(&self) -> u64 {
        if self.test_request_deadline_ns != u64::MAX {
            self.test_request_deadline_ns
        } else if self.heart_bt_int_ns == 0 {
            u64::MAX
        } else {
            self.last_received_ns.saturating_add(self.silence_ns())
        }
    }

    fn silence_ns(&self) -> u64 {
        self.heart_bt_int_ns.saturating_add(self.margin_ns)
    }
}
