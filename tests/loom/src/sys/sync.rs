//! In the place of fixring's `sys/sync.rs`: loom's atomics.
//!
//! loom takes sequentially consistent loads and stores for acquire and release, and knows only fences that are more. So each such access has its
//! fence here, as C++ compilers make them on processors with weaker orders: behind a store, and before a load.

pub use loom::sync::atomic::{Ordering, fence};
pub use loom::thread::{Thread, current};

use Ordering::{AcqRel, Acquire, Release, SeqCst};

/// A timeout never comes to the rescue of whoever was not woken: loom then says that nobody can go on.
pub fn park_timeout(_timeout: std::time::Duration) {
    loom::thread::park();
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub struct $name(loom::sync::atomic::$name);

        impl $name {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                if order != SeqCst {
                    return self.0.load(order);
                }
                fence(SeqCst);
                self.0.load(Acquire)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                if order != SeqCst {
                    return self.0.store(value, order);
                }
                self.0.store(value, Release);
                fence(SeqCst);
            }

            #[allow(dead_code, reason = "not each type is swapped")]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                if order != SeqCst {
                    return self.0.swap(value, order);
                }
                fence(SeqCst);
                let before = self.0.swap(value, AcqRel);
                fence(SeqCst);
                before
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicU64, u64);

impl AtomicU64 {
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }
}
