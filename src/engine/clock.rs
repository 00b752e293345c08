//! The engine's clock: one pair of readings a turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::fix::UtcTimestamp;
use crate::session::Now;

/// Where the time comes from. Tests bring their own.
pub trait Clock {
    fn now(&mut self) -> Now;
}

/// CLOCK_MONOTONIC since the clock was made, and CLOCK_REALTIME.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[allow(clippy::new_without_default, reason = "a default clock would hide that it starts at zero")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&mut self) -> Now {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Now { monotonic_ns: self.start.elapsed().as_nanos() as u64, utc: UtcTimestamp::from_unix_ns(unix_ns) }
    }
}
