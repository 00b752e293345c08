//! Whether the memory that a start takes fits what the process may have, before any of it is
//! touched: the kernel ends a process that goes beyond its cgroup's limit without a word.

use crate::config::{Config, format_bytes};
use crate::journal::{Filesystem, Needed};
use crate::sys::cgroup::{MemoryLimit, memory_limit};
use crate::sys::memory::{address_space_limit, data_limit, share_arenas};

use super::errors::StartError;
use super::start::journal_settings;

/// What an engine touches of private memory beside what is counted here, and of its program.
const PRIVATE_BYTES: u64 = 28 << 20;
/// A slot, a place in each list of a worker, and its timers.
const CONNECTION_BYTES: u64 = 256;
/// A thread's stack, as the standard library makes it, of which address space is taken whole.
const STACK_BYTES: u64 = 2 << 20;
/// Threads of an engine beside its workers and flushers, with the few that only a start has.
const OTHER_THREADS: u64 = 9;
/// What serves health and metrics.
const CONTROL_THREADS: u64 = 2;

/// A limit that does not hold what a start takes: the limit, what is taken, and of what.
///
/// Segments on a volume do not count to a cgroup's limit, mapped or not: the kernel charges what it
/// keeps of them in its page cache, and takes it back where the limit is met. They are never
/// locked. A mapping takes its whole length of address space.
pub(crate) fn shortage(config: &Config, journals: u16) -> Option<String> {
    let settings = journal_settings(config, journals);
    let needed = Needed::of(&settings);
    let is_memory = |path| matches!(Filesystem::of(path), Ok(Filesystem::Memory(_)));
    let workers = u64::from(config.engine.placement.worker_count());
    let tables = needed.tables_bytes + workers * u64::from(config.engine.connections_max) * CONNECTION_BYTES;
    let private = PRIVATE_BYTES + tables;
    let touched = Parts {
        rings: if is_memory(&settings.ring_dir) { needed.rings_bytes } else { 0 },
        segments: if is_memory(&settings.data_dir) { needed.segments_bytes } else { 0 },
        mapped_segments: 0,
        read: needed.read_bytes,
        private,
    };
    if let Some(what) = memory_limit().and_then(|limit| touched.shortage(&limit)) {
        return Some(what);
    }
    let control = if config.control.listen.is_some() { CONTROL_THREADS } else { 0 };
    let threads = workers + u64::from(journals) + OTHER_THREADS + control;
    // All rings are mapped, wherever they lie.
    let mapped = Parts {
        rings: u64::from(journals) * settings.geometry.ring_bytes,
        segments: 0,
        mapped_segments: needed.mapped_bytes,
        read: needed.read_bytes,
        private: private + threads * STACK_BYTES,
    };
    if let Some(what) = address_space_limit().and_then(|limit| mapped.shortage(&limit)) {
        return Some(what);
    }
    // Which shared mappings do not count to.
    let private = Parts { rings: 0, mapped_segments: 0, ..mapped };
    data_limit().and_then(|limit| private.shortage(&limit))
}

/// For a start.
pub(super) fn check(config: &Config, journals: u16) -> Result<(), StartError> {
    if let Some(what) = shortage(config, journals) {
        return Err(StartError::TooLittleMemory { what });
    }
    if address_space_limit().is_some() {
        share_arenas();
    }
    Ok(())
}

struct Parts {
    rings: u64,
    segments: u64,
    /// By `flush_method = "msync"`.
    mapped_segments: u64,
    /// While a start reads the newest segment of each journal.
    read: u64,
    private: u64,
}

impl Parts {
    fn shortage(&self, limit: &MemoryLimit) -> Option<String> {
        const MIB: u64 = 1 << 20;
        let Self { rings, segments, mapped_segments, read, private } = *self;
        let parts = [
            (rings, "rings (persistence.ring_bytes, one ring for each of engine.workers)"),
            (segments, "segments in memory (persistence.segments and segment_bytes)"),
            (mapped_segments, "segments that are mapped (persistence.flush_method = \"msync\")"),
            (read, "the newest segment of each journal, which a start reads at once (persistence.segment_bytes)"),
            (private, "tables and program (persistence.ring_bytes and engine.connections_max)"),
        ];
        let sum = |bytes: fn(u64) -> u64| parts.iter().fold(0u64, |sum, part| sum.saturating_add(bytes(part.0)));
        if sum(|bytes| bytes) <= limit.bytes {
            return None;
        }
        // Each part is rounded up, so that what is named adds up to what is asked for.
        let up = |bytes: u64| bytes.checked_next_multiple_of(MIB).unwrap_or(u64::MAX);
        let needed = sum(up);
        let named = parts.iter().filter(|(bytes, _)| *bytes > 0);
        let of: Vec<String> = named.map(|(bytes, what)| format!("{} for {what}", format_bytes(up(*bytes)))).collect();
        Some(format!(
            "{} of memory are needed at least, and {} allows {}: {}; raise the limit, or lower those keys in a new data directory",
            format_bytes(needed),
            limit.name,
            format_bytes(limit.bytes),
            of.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_told_with_what_is_needed_and_the_keys_that_change_it() {
        let parts = Parts { rings: 64 << 20, segments: 0, mapped_segments: 0, read: 0, private: 24 << 20 };
        let limit = |mib: u64| MemoryLimit { bytes: mib << 20, name: "memory.max".into() };
        assert_eq!(parts.shortage(&limit(88)), None);
        // What is rounded for the reader refuses nothing that fits.
        let odd = Parts { read: 1, ..parts };
        assert_eq!(odd.shortage(&MemoryLimit { bytes: (88 << 20) + 1, name: "memory.max".into() }), None);
        let what = parts.shortage(&limit(87)).unwrap();
        for part in ["88MiB of memory are needed", "memory.max allows 87MiB", "64MiB for rings (persistence.ring_bytes"]
        {
            assert!(what.contains(part), "{what}");
        }
        assert!(!what.contains("segments in memory") && !what.contains("msync") && !what.contains("reads"), "{what}");
        let parts = Parts { segments: 1 << 30, read: 1, ..parts };
        let what = parts.shortage(&limit(1000)).unwrap();
        assert!(what.contains("1GiB for segments in memory") && what.contains("1MiB for the newest segment"), "{what}");
        assert!(Parts { rings: u64::MAX, ..parts }.shortage(&limit(1000)).is_some());
    }
}
