//! The engine's memory: locked where that is required, and faulted in before a worker's first turn.

use std::time::Instant;

use super::errors::StartError;
use crate::config::{Config, LockMemory};
use crate::sys::memory::{Locked, lock_all};
use crate::sys::prefault::{Prefaulted, faulted_in, touch_stack};

/// With `lock_memory = true` the whole process is locked, or the engine does not start. With `"auto"` that is left to whoever
/// owns the process (`fixring run` does it): an engine in somebody's program locks no memory unasked.
pub(super) fn lock_if_required(config: &Config) -> Result<(), StartError> {
    if config.engine.lock_memory != LockMemory::Always {
        return Ok(());
    }
    match lock_all() {
        Locked::All => Ok(()),
        not_locked => {
            Err(StartError::Memory { place: config.place_of("engine.lock_memory"), why: not_locked.to_string() })
        }
    }
}

/// For a worker's thread, once everything that it works with is made: its stack, receive tables,
/// timers, mailboxes, index, books, what the stager hands it, and the code of paths that it has not
/// walked yet. The rings of all workers, `rings_bytes`, are there already.
pub(super) fn fault_in(worker: usize, rings_bytes: u64) {
    let began = Instant::now();
    touch_stack();
    match faulted_in(rings_bytes) {
        Ok(Prefaulted { is_too_much: true, .. }) => tracing::warn!(
            worker,
            "memory is not faulted in, since the limit of its cgroup (memory.max) would not hold it: a message that first touches a page waits for \
             it. Raise the limit, or set engine.lock_memory = false"
        ),
        Ok(Prefaulted { memory_bytes, program_bytes, left_out, .. }) => {
            tracing::debug!(
                worker,
                memory_bytes,
                program_bytes,
                left_out,
                took_ms = began.elapsed().as_millis() as u64,
                "memory is faulted in"
            );
        }
        Err(error) => tracing::debug!(worker, %error, "memory is not faulted in"),
    }
}
