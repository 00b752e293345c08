//! Watches the flushers from outside: a write that does not return can tell nobody itself.
//!
//! It raises the storage alarm while a write and its sync take longer than the bound, and until the next that does not; and it publishes how
//! old the oldest byte is that a dead node would take. The thread that gives it its turns touches no volume and writes no log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::log::LogPort;
use crate::control::StorageCounters;
use crate::journal::FlusherCounters;
use crate::sys::ring::Watermarks;

/// Of a volume that stays slow, so often at most is said that it is.
const WARNING_INTERVAL_NS: u64 = 10_000_000_000;

pub(crate) struct StorageWatch {
    slow_ns: u64,
    journals: Vec<Watched>,
}

struct Watched {
    number: u16,
    flusher: Arc<FlusherCounters>,
    marks: Watermarks,
    published: Arc<CachePadded<StorageCounters>>,
    is_slow: bool,
    warned_ns: Option<u64>,
    /// Alarms since then.
    unsaid: u64,
}

impl StorageWatch {
    pub fn new(slow: Duration) -> Self {
        Self { slow_ns: slow.as_nanos() as u64, journals: Vec::new() }
    }

    pub fn add(
        &mut self,
        number: u16,
        flusher: Arc<FlusherCounters>,
        marks: Watermarks,
        published: Arc<CachePadded<StorageCounters>>,
    ) {
        self.journals.push(Watched { number, flusher, marks, published, is_slow: false, warned_ns: None, unsaid: 0 });
    }

    /// Looks at all journals, by the journals' clock.
    pub fn turn(&mut self, now_ns: u64, log: &LogPort) {
        for journal in &mut self.journals {
            journal.look(now_ns, self.slow_ns, log);
        }
    }
}

impl Watched {
    fn look(&mut self, now_ns: u64, slow_ns: u64, log: &LogPort) {
        let since_ns = self.flusher.in_flight_since_ns.load(Ordering::Acquire);
        let in_flight_ns = if since_ns == 0 { 0 } else { now_ns.saturating_sub(since_ns) };
        let last_ns = self.flusher.sync_ns_last.load(Ordering::Relaxed);
        let is_slow = in_flight_ns > slow_ns || last_ns > slow_ns;
        self.published.slow.set(u64::from(is_slow));
        self.published.in_flight_ns.set(in_flight_ns);
        self.publish_age(now_ns);
        let begins = is_slow && !self.is_slow;
        self.is_slow = is_slow;
        if begins || in_flight_ns > slow_ns {
            self.warn(now_ns, in_flight_ns.max(last_ns), slow_ns, begins, log);
        }
    }

    fn publish_age(&self, now_ns: u64) {
        // `synced` last: read the other way round, a flush in between would show less than there is.
        let as_of_ns = self.flusher.synced_as_of_ns.load(Ordering::Acquire);
        let synced = self.marks.synced();
        let is_at_risk = as_of_ns > 0 && self.marks.appended() > synced;
        let age_ns = if is_at_risk { now_ns.saturating_sub(as_of_ns) } else { 0 };
        self.published.unsynced_age_ns.set(age_ns);
        self.published.unsynced_age_max_ns.raise(age_ns);
        self.published.unsynced_age_max_ns.raise(self.flusher.unsynced_age_ns_max.load(Ordering::Relaxed));
    }

    fn warn(&mut self, now_ns: u64, took_ns: u64, slow_ns: u64, begins: bool, log: &LogPort) {
        if self.warned_ns.is_some_and(|warned_ns| now_ns.saturating_sub(warned_ns) < WARNING_INTERVAL_NS) {
            self.unsaid += u64::from(begins);
            return;
        }
        let (took_ms, alarm_ms) = (took_ns / 1_000_000, slow_ns / 1_000_000);
        let (journal, unsaid) = (self.number, self.unsaid);
        log.say(move || {
            tracing::warn!(
                journal,
                took_ms,
                alarm_ms,
                unsaid,
                "the volume is slow (persistence.storage_latency_alarm): sessions in sync wait for it"
            );
        });
        (self.warned_ns, self.unsaid) = (Some(now_ns), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::log::EventLog;
    use crate::sys::ring::{IDENTITY_BYTES, RING_BYTES_MIN, RingMemory};

    const MS: u64 = 1_000_000;

    #[test]
    fn the_alarm_is_up_while_a_write_hangs_and_until_one_is_fast_again() {
        let (mut ring, _keeper) = RingMemory::anonymous(RING_BYTES_MIN).unwrap();
        ring.reset(&[0; IDENTITY_BYTES], 1, 0);
        let (mut writer, mut reader) = ring.split();
        let flusher = Arc::new(FlusherCounters::default());
        let published = Arc::<CachePadded<StorageCounters>>::default();
        let mut watch = StorageWatch::new(Duration::from_millis(50));
        watch.add(0, Arc::clone(&flusher), writer.watermarks(), Arc::clone(&published));
        let mut look = |now_ms: u64| {
            watch.turn(now_ms * MS, &EventLog::default().port());
            (published.slow.value(), published.in_flight_ns.value() / MS, published.unsynced_age_ns.value() / MS)
        };
        assert_eq!(look(10), (0, 0, 0));
        // What the start has written, nothing of which is released before it is synced.
        writer.publish(64);
        assert_eq!(look(15), (0, 0, 0));
        // Everything up to 20 ms was synced; then a write begins at 30 and hangs.
        flusher.synced_as_of_ns.store(20 * MS, Ordering::Relaxed);
        flusher.in_flight_since_ns.store(30 * MS, Ordering::Relaxed);
        assert_eq!(look(80), (0, 50, 60));
        assert_eq!(look(81), (1, 51, 61));
        assert_eq!(look(900), (1, 870, 880));
        // It returns.
        flusher.in_flight_since_ns.store(0, Ordering::Relaxed);
        flusher.sync_ns_last.store(871 * MS, Ordering::Relaxed);
        let appended = reader.appended();
        reader.set_written(appended);
        reader.set_synced(appended);
        assert_eq!(look(910), (1, 0, 0));
        // The next begins, and is as fast as it should be.
        flusher.in_flight_since_ns.store(920 * MS, Ordering::Relaxed);
        assert_eq!(look(921), (1, 1, 0));
        flusher.in_flight_since_ns.store(0, Ordering::Relaxed);
        flusher.sync_ns_last.store(2 * MS, Ordering::Relaxed);
        assert_eq!(look(923), (0, 0, 0));
        assert_eq!(published.unsynced_age_max_ns.value(), 880 * MS);
    }
}
