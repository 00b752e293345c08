//! A session's schedule as its worker sees it: how it stands now, and what that asks of the session.
//!
//! Nothing here remembers what has been done. What is due follows from the time and from when the session's numbers began,
//! which the journal keeps; so it is done once, whatever clocks and processes do in between, and what a crash or a full
//! journal has kept from being done is still due at the next look.

use std::sync::Arc;

use jiff::Timestamp;

use crate::schedule::{Event, ResetBy, Schedule, Standing, What};
use crate::session::{Now, Role};

const NS_PER_S: u64 = 1_000_000_000;
/// A worker's timers are monotonic. It looks at the wall clock at least so often, so that a clock that was set is noticed.
const LOOK_NS_MAX: u64 = 60 * NS_PER_S;
/// While something is due that has to wait: for a Logout's answer, for room in the journal.
const LOOK_WAITING_NS: u64 = 100_000_000;
/// Where the peer begins an in-session reset its clock says when, and may be fast.
const EARLY_S_MAX: u64 = 120;
/// A clock that is set back by less is one that was a little fast: what it has begun counts.
const SET_BACK_S_MAX: u64 = 120;

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Hours {
    schedule: Arc<Schedule>,
    role: Role,
    standing: Standing,
    /// The standing holds from here up to `until_s`. Nothing has been asked of the schedule where they are the same.
    from_s: u64,
    until_s: u64,
    /// The hours have begun, and an initiator has not been sent off since.
    pub dial_owed: bool,
    /// An in-session reset that we began is to be complete by then, on the monotonic clock.
    pub reset_deadline_ns: u64,
}

/// What a schedule asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    Nothing,
    /// The connection is one of a period that is over.
    LogOut,
    /// There is no connection, and the numbers are those of a period that is over. `is_told` is whether the peer has to be told.
    Begin {
        is_told: bool,
    },
    ResetInSession,
}

impl Hours {
    pub fn new(schedule: Arc<Schedule>, role: Role) -> Self {
        let standing = Standing { period: None, boundary: None, next: None };
        Self { schedule, role, standing, from_s: 0, until_s: 0, dial_owed: true, reset_deadline_ns: u64::MAX }
    }

    /// Brings the standing up to date; asks the calendar only where the time has left what it said. `true` where the session
    /// has come into its hours, out of them, or into the next.
    pub fn look(&mut self, now: Now) -> bool {
        let now_s = now.utc.unix_s();
        if (self.from_s..self.until_s).contains(&now_s) {
            return false;
        }
        let is_first = self.until_s == 0;
        let before = self.standing.period;
        self.standing = self.schedule.standing(now_s);
        (self.from_s, self.until_s) = (now_s, self.standing.next.map_or(u64::MAX, |next| next.at_s));
        let has_changed = is_first || before != self.standing.period;
        self.dial_owed |= has_changed;
        has_changed
    }

    pub fn is_open(&self) -> bool {
        self.standing.period.is_some()
    }

    /// When the hours end that have begun, or begin that have ended.
    pub fn until_s(&self) -> Option<u64> {
        match self.standing.period {
            Some(period) => Some(period.end_s).filter(|end_s| *end_s != u64::MAX),
            None => self.standing.next.map(|next| next.at_s),
        }
    }

    /// What the peer is told outside the hours; `None` within them.
    pub fn closed_text(&self) -> Option<String> {
        if self.is_open() {
            return None;
        }
        Some(match self.until_s() {
            Some(until_s) => format!("Session is closed until {}", utc_text(until_s)),
            None => "Session is closed".into(),
        })
    }

    /// `began_s` is when the session's numbers began.
    pub fn duty(&self, began_s: u64, is_connected: bool) -> Duty {
        if !self.is_open() {
            return if is_connected { Duty::LogOut } else { Duty::Nothing };
        }
        let Some(Event { at_s, what }) = self.standing.boundary else { return Duty::Nothing };
        let is_in_session = what == What::Reset;
        let early_s = if is_in_session && !self.begins_resets() { EARLY_S_MAX } else { 0 };
        if began_s.saturating_add(early_s) >= at_s {
            return Duty::Nothing;
        }
        match (is_connected, is_in_session) {
            (false, _) => Duty::Begin { is_told: is_in_session },
            (true, false) => Duty::LogOut,
            (true, true) if self.begins_resets() => Duty::ResetInSession,
            // It is the peer's to begin. If it does not, the numbers begin again when the connection has ended.
            (true, true) => Duty::Nothing,
        }
    }

    /// Whether numbers that began at `began_s` were begun by a clock that was far ahead and has been set back since: for a start or a reset that
    /// is still to come, and before which they are used. They then count as begun now. So what is done is not done again at once, and what is to
    /// come is done in its time. Where the next start is the one that they were begun for, and nothing can be exchanged before it, it is done.
    pub fn were_begun_ahead(&self, began_s: u64, now: Now) -> bool {
        if began_s <= now.utc.unix_s().saturating_add(SET_BACK_S_MAX) {
            return false;
        }
        let begun_for = self.schedule.standing(began_s).boundary;
        let ours = if self.is_open() { self.standing.boundary } else { self.standing.next };
        begun_for.map(|event| event.at_s) != ours.map(|event| event.at_s)
    }

    /// How long until the next look.
    pub fn next_look_ns(&self, now: Now, is_waiting: bool) -> u64 {
        let until_ns = self.until_s.saturating_mul(NS_PER_S).saturating_sub(now.utc.unix_ns);
        until_ns.min(if is_waiting { LOOK_WAITING_NS } else { LOOK_NS_MAX })
    }

    fn begins_resets(&self) -> bool {
        match self.schedule.reset_by() {
            Some(ResetBy::Initiator) => self.role == Role::Initiator,
            Some(ResetBy::Acceptor) => self.role == Role::Acceptor,
            None => false,
        }
    }
}

/// `2026-11-25T13:00:00Z`
pub(crate) fn utc_text(at_s: u64) -> String {
    let second = i64::try_from(at_s).unwrap_or(i64::MAX).min(Timestamp::MAX.as_second());
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string()
}
