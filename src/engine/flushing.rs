//! The flusher's thread, one a journal, so that a journal's sync delays no other's; and how it waits.
//!
//! Between two turns it sleeps until the flush interval is over, or until a commit wakes it that somebody waits for. Where a
//! commit has just been waited for, another is likely to follow: then it stays awake for a while. Where the workers spin and
//! housekeeping has a core to spare for each flusher, it never sleeps: to be woken costs some 5 to 50 µs, a good part of a fast
//! device's sync.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::threads::Signals;
use crate::config::Wait;
use crate::control::counters::FlusherCounters;
use crate::journal::{Flusher, Storage};
use crate::sys::memory::set_timer_slack;

/// How long a flusher stays awake after a commit that was waited for.
const AWAKE_NS: u64 = 2_000_000;
/// Less is not worth a sleep.
const SLEEP_NS_MIN: u64 = 20_000;
/// The kernel's 50 µs would be added to each interval.
const TIMER_SLACK_NS: u64 = 1_000;

/// The clock of the journals: of turns, of syncs, of ages.
pub(crate) fn monotonic_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Whether a flusher may keep a core busy. `strong` says that a session waits for it.
pub(crate) fn never_sleeps(wait: Wait, strong: bool, housekeeping_cores: usize, flushers: usize) -> bool {
    wait == Wait::Spin && strong && housekeeping_cores > flushers
}

/// Carries a journal until the workers are done and everything is synced.
pub(crate) fn run_flusher<S: Storage>(
    flusher: &mut Flusher<S>,
    published: &Arc<CachePadded<FlusherCounters>>,
    slow_ns: u64,
    never_sleeps: bool,
    signals: &Signals,
) {
    // Where it is refused, intervals are a little longer.
    let _ = set_timer_slack(TIMER_SLACK_NS);
    let mut awake_until_ns = 0;
    publish(flusher, published);
    while !signals.fatal.load(Ordering::Acquire) {
        // Read first: what the workers appended before they ended is carried below.
        let ends = signals.workers_done.load(Ordering::Acquire);
        let now_ns = monotonic_ns();
        let was_wanted = flusher.is_wanted();
        let turn = if ends { flusher.drain(now_ns).map(|()| 1) } else { flusher.turn(now_ns) };
        let work = match turn {
            Ok(work) => work,
            Err(error) => return signals.fail(&error),
        };
        if work > 0 {
            if flusher.counters().sync_ns_last.load(Ordering::Relaxed) > slow_ns {
                published.slow_flushes.add(1);
            }
            publish(flusher, published);
        }
        if ends {
            return;
        }
        if work > 0 {
            if was_wanted {
                awake_until_ns = monotonic_ns() + AWAKE_NS;
            }
            continue;
        }
        // Looked at first: what is wanted only after it shortens the rest, or lets nobody sleep. The other way round one commit in a
        // hundred waited for the whole interval.
        let is_wanted = flusher.is_wanted();
        let rest_ns = flusher.rest_ns(now_ns);
        if rest_ns < SLEEP_NS_MIN {
            thread::yield_now();
        } else if is_wanted {
            // Only the least interval is still to be kept.
            thread::sleep(Duration::from_nanos(rest_ns));
        } else if never_sleeps || now_ns < awake_until_ns {
            thread::yield_now();
        } else {
            flusher.sleep(Duration::from_nanos(rest_ns));
        }
    }
}

fn publish<S: Storage>(flusher: &Flusher<S>, published: &FlusherCounters) {
    let counters = flusher.counters();
    published.written_bytes.set(flusher.watermarks().written());
    published.synced_bytes.set(flusher.watermarks().synced());
    published.flushes.set(counters.syncs.load(Ordering::Relaxed));
    published.last_sync_ns.set(counters.sync_ns_last.load(Ordering::Relaxed));
    published.longest_sync_ns.set(counters.sync_ns_max.load(Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;
    use crate::control::StorageCounters;
    use crate::engine::log::EventLog;
    use crate::engine::storage_watch::StorageWatch;
    use crate::journal::simulated::SimulatedStorage;
    use crate::journal::{
        FlushMethod, Geometry, Journal, Kind, Mode, NewRecord, Room, Settings, Slot, StorageError, open_over, prepare,
    };
    use crate::sys::ring::RingMemory;

    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 3 };

    /// A volume whose syncs can be held up.
    #[derive(Clone)]
    struct Gated {
        storage: SimulatedStorage,
        gate: Arc<(Mutex<Gate>, Condvar)>,
    }

    #[derive(Default)]
    struct Gate {
        is_closed: bool,
        waiting: u32,
    }

    impl Gated {
        fn close(&self) {
            self.gate.0.lock().unwrap().is_closed = true;
        }

        fn open(&self) {
            self.gate.0.lock().unwrap().is_closed = false;
            self.gate.1.notify_all();
        }

        fn await_sync(&self) {
            let gate = self.gate.0.lock().unwrap();
            drop(self.gate.1.wait_while(gate, |gate| gate.waiting == 0).unwrap());
        }
    }

    impl Storage for Gated {
        fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
            self.storage.write(slot, offset, bytes)
        }

        fn sync(&self, slot: Slot) -> Result<(), StorageError> {
            let mut gate = self.gate.0.lock().unwrap();
            gate.waiting += 1;
            self.gate.1.notify_all();
            gate = self.gate.1.wait_while(gate, |gate| gate.is_closed).unwrap();
            gate.waiting -= 1;
            drop(gate);
            self.storage.sync(slot)
        }

        fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
            self.storage.read(slot, offset, buffer)
        }

        fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError> {
            self.storage.manifest()
        }

        fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError> {
            self.storage.replace_manifest(bytes)
        }

        fn quarantine(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
            self.storage.quarantine(name, bytes)
        }
    }

    fn journal(storage: &Gated) -> Journal<Gated> {
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            // Only being woken ends a sleep.
            flush_interval_ns: 3_600_000_000_000,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: monotonic_ns,
        };
        let manifest = prepare(storage, &settings).unwrap();
        let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
        open_over(storage, manifest, vec![ring], &settings).unwrap().journals.remove(0)
    }

    fn commit(journal: &mut crate::journal::Writer, mode: Mode) -> u64 {
        while journal.begin(1024) == Room::RollDue {
            assert_eq!(journal.roll(std::iter::empty(), b""), Ok(true));
        }
        journal.append_bytes(NewRecord::internal(Kind::Inbound, 0), b"message").unwrap();
        journal.commit(mode)
    }

    #[test]
    fn a_sync_that_hangs_shows_while_it_hangs_and_what_waited_for_it_is_released_together_after_it() {
        let storage = Gated { storage: SimulatedStorage::new(GEOMETRY), gate: Arc::default() };
        let Journal { mut writer, mut flusher, watermarks, .. } = journal(&storage);
        let (published, watched) = (Arc::default(), Arc::<CachePadded<StorageCounters>>::default());
        let mut watch = StorageWatch::new(Duration::from_millis(50));
        watch.add(0, flusher.counters(), watermarks.clone(), Arc::clone(&watched));
        let signals = Signals::default();
        thread::scope(|scope| {
            scope.spawn(|| run_flusher(&mut flusher, &published, 50_000_000, false, &signals));
            // Each wakes the flusher, which would sleep for an hour.
            for _ in 0..100 {
                let end = commit(&mut writer, Mode::Sync);
                while watermarks.synced() < end {
                    thread::yield_now();
                }
            }
            let before = watermarks.synced();
            storage.close();
            commit(&mut writer, Mode::Sync);
            storage.await_sync();
            let last = (0..5).map(|_| commit(&mut writer, Mode::Sync)).last().unwrap();
            let now_ns = monotonic_ns();
            watch.turn(now_ns, &EventLog::default().port());
            assert_eq!((watched.slow.value(), watermarks.synced()), (0, before));
            // As if a minute had gone by.
            watch.turn(now_ns + 60_000_000_000, &EventLog::default().port());
            assert_eq!(watched.slow.value(), 1);
            assert!(
                watched.in_flight_ns.value() >= 59_000_000_000 && watched.unsynced_age_ns.value() >= 59_000_000_000
            );
            let syncs = published.flushes.value();
            storage.open();
            while watermarks.synced() < last {
                thread::yield_now();
            }
            signals.workers_done.store(true, Ordering::Release);
            while published.synced_bytes.value() < last {
                thread::yield_now();
            }
            assert_eq!(published.flushes.value(), syncs + 2, "the one that hung, and one for all that waited");
        });
    }

    #[test]
    fn a_flusher_keeps_a_core_busy_only_where_workers_do_and_one_is_to_spare() {
        assert!(never_sleeps(Wait::Spin, true, 2, 1));
        assert!(!never_sleeps(Wait::Spin, true, 1, 1));
        assert!(!never_sleeps(Wait::Spin, false, 2, 1));
        assert!(!never_sleeps(Wait::Adaptive, true, 8, 1));
    }
}
