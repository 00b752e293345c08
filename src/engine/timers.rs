//! Deadlines of sessions and connections on the monotonic clock.
//!
//! A heap that is corrected lazily: ordinary traffic only moves a session's deadline later, and costs nothing here. The
//! entry comes up at the old time, is found early, and goes back in with the new one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::transport::ConnectionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Session {
        ledger: u32,
        session: u32,
    },
    /// An initiator's next attempt to connect.
    Connect {
        ledger: u32,
        session: u32,
    },
    /// A look at a session's schedule.
    Hours {
        ledger: u32,
        session: u32,
    },
    /// The listeners, after a failure to accept.
    Accept,
    /// A connection without a session, or one that is closing.
    Connection {
        id: ConnectionId,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Timers(BinaryHeap<Reverse<(u64, Timer)>>);

impl Timers {
    pub fn with_capacity(timers_max: u32) -> Self {
        Self(BinaryHeap::with_capacity(timers_max as usize))
    }

    pub fn push(&mut self, deadline_ns: u64, timer: Timer) {
        self.0.push(Reverse((deadline_ns, timer)));
    }

    /// The next timer that is due.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<(u64, Timer)> {
        let Reverse((deadline_ns, _)) = self.0.peek()?;
        if *deadline_ns > now_ns {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    pub fn next_ns(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((deadline_ns, _))| *deadline_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_the_order_of_their_deadlines_and_not_before() {
        let mut timers = Timers::with_capacity(4);
        let timer = |session| Timer::Session { ledger: 0, session };
        for (deadline_ns, session) in [(30, 3), (10, 1), (20, 2)] {
            timers.push(deadline_ns, timer(session));
        }
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.next_ns(), Some(10));
        assert_eq!(timers.pop_due(25), Some((10, timer(1))));
        assert_eq!(timers.pop_due(25), Some((20, timer(2))));
        assert_eq!(timers.pop_due(25), None);
    }
}
