//! An allocator that counts, for tests which prove that a path allocates nothing. The engine does not use it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, with a count. A test binary makes it its `#[global_allocator]`.
pub struct Counting;

static ALL_THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static THIS_THREAD: Cell<u64> = const { Cell::new(0) };
}

impl Counting {
    /// Allocations and reallocations of all threads but those of this one.
    pub fn on_other_threads() -> u64 {
        ALL_THREADS.load(Ordering::SeqCst) - Self::on_this_thread()
    }

    pub fn on_this_thread() -> u64 {
        THIS_THREAD.get()
    }

    fn count() {
        ALL_THREADS.fetch_add(1, Ordering::SeqCst);
        // A thread whose locals are gone is ending: it is no part of any measured path.
        let _ = THIS_THREAD.try_with(|count| count.set(count.get() + 1));
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged, whose contract is the same; counting touches
// neither the layout nor the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller promises what `GlobalAlloc::alloc` asks for, and so does the system's allocator ask.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` or `realloc` above, which are the system's, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the pointer came from the system's allocator with this layout; the caller promises the size.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}
