//! What the worker waits for, and how it wakes the flusher.
//!
//! A commit that somebody waits for costs the worker one exchange in a cache line of their own, and a system call only where the flusher
//! has gone to sleep. A buffered commit does not come here.

use std::sync::OnceLock;
use std::time::Duration;

use crate::sys::sync::{AtomicBool, AtomicU64, Ordering, Thread, current, park_timeout};

/// Shared by a writer and its flusher.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    position: AtomicU64,
    sleeps: AtomicBool,
    flusher: OnceLock<Thread>,
}

impl Wanted {
    /// The worker waits until this position is as durable as can be.
    #[inline]
    pub fn raise(&self, position: u64) {
        // Both sides store, then load what the other stores: in sequentially consistent order one of them sees it.
        self.position.store(position, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// How far it waits.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    /// Sleeps until something beyond `synced` is wanted, at most so long. Sometimes shorter, for no reason.
    ///
    /// # Panics
    /// When another thread has slept here: it would be woken instead.
    pub fn sleep(&self, synced: u64, timeout: Duration) {
        let sleeper = self.flusher.get_or_init(current);
        assert_eq!(sleeper.id(), current().id(), "a flusher sleeps on one thread");
        self.sleeps.store(true, Ordering::SeqCst);
        if self.position() <= synced {
            park_timeout(timeout);
        }
        self.sleeps.store(false, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        // Of the commits of one batch the first wakes.
        if self.sleeps.swap(false, Ordering::SeqCst)
            && let Some(flusher) = self.flusher.get()
        {
            flusher.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn whoever_sleeps_is_woken_by_what_is_wanted_and_by_no_other_commit() {
        let wanted = Arc::new(Wanted::default());
        let other = Arc::clone(&wanted);
        let thread = thread::spawn(move || {
            // No time limits in effect: only being woken ends this.
            for position in 1..=1_000 {
                while other.position() < position {
                    other.sleep(position - 1, Duration::from_secs(3_600));
                }
            }
        });
        while !thread.is_finished() {
            let position = wanted.position();
            wanted.raise(position + 1);
        }
        thread.join().unwrap();
    }

    #[test]
    fn what_is_wanted_already_lets_nobody_sleep() {
        let wanted = Wanted::default();
        wanted.raise(64);
        wanted.sleep(63, Duration::MAX);
        assert!(!wanted.sleeps.load(Ordering::Relaxed));
    }
}
