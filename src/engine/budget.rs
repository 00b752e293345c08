//! Whether the memory that a start takes fits what the process may have, before any of it is
//! touched: the kernel ends a process that goes beyond its cgroup's limit without a word.

use crate::config::{Config, format_bytes};
use crate::journal::{Filesystem, Needed};
use crate::sys::cgroup::{MemoryLimit, memory_limit};
use crate::sys::memory::{address_space_limit, data_limit};

use super::errors::StartError;
use super::start::journal_settings;

/// What an engine touches of private memory beside its rings, at least, and of its program.
const PRIVATE_BYTES: u64 = 24 << 20;
/// A slot, a place in each list of a worker, and its timers.
const CONNECTION_BYTES: u64 = 256;
/// A thread's stack, as the standard library makes it, of which address space is taken whole.
const STACK_BYTES: u64 = 2 << 20;
/// Threads of an engine beside its workers and flushers.
const OTHER_THREADS: u64 = 7;

/// A limit that does not hold what a start takes: the limit, what is taken, and of what.
pub(crate) fn shortage(config: &Config, journals: u16) -> Option<String> {
    let settings = journal_settings(config, journals);
    let needed = Needed::of(&settings);
    let is_memory = |path| matches!(Filesystem::of(path), Ok(Filesystem::Memory(_)));
    let rings = if is_memory(&settings.ring_dir) { needed.rings_bytes } else { 0 };
    let segments = if is_memory(&settings.data_dir) { needed.segments_bytes } else { 0 };
    let workers = u64::from(config.engine.placement.worker_count());
    let tables = workers * u64::from(config.engine.connections_max) * CONNECTION_BYTES;
    let parts = Parts { rings, segments, private: PRIVATE_BYTES + tables };
    if let Some(limit) = memory_limit()
        && let Some(what) = parts.shortage(&limit)
    {
        return Some(what);
    }
    // All rings are mapped, wherever they lie; segments are not.
    let threads = workers + u64::from(journals) + OTHER_THREADS;
    let rings = u64::from(journals) * settings.geometry.ring_bytes;
    let mapped = Parts { rings, segments: 0, private: PRIVATE_BYTES + tables + threads * STACK_BYTES };
    if let Some(what) = address_space_limit().and_then(|limit| mapped.shortage(&limit)) {
        return Some(what);
    }
    // Which shared mappings do not count to.
    let private = Parts { rings: 0, ..mapped };
    data_limit().and_then(|limit| private.shortage(&limit))
}

/// For a start.
pub(super) fn check(config: &Config, journals: u16) -> Result<(), StartError> {
    shortage(config, journals).map_or(Ok(()), |what| Err(StartError::TooLittleMemory { what }))
}

struct Parts {
    rings: u64,
    segments: u64,
    private: u64,
}

impl Parts {
    fn shortage(&self, limit: &MemoryLimit) -> Option<String> {
        const MIB: u64 = 1 << 20;
        let Self { rings, segments, private } = *self;
        let needed = rings.saturating_add(segments).saturating_add(private);
        if needed <= limit.bytes {
            return None;
        }
        let up = |bytes: u64| format_bytes(bytes.next_multiple_of(MIB));
        let mut of =
            vec![format!("{} for rings (persistence.ring_bytes, one ring for each of engine.workers)", up(rings))];
        if segments > 0 {
            of.push(format!("{} for segments in memory (persistence.segments and segment_bytes)", up(segments)));
        }
        of.push(format!("{} for tables and program (engine.connections_max)", up(private)));
        Some(format!(
            "{} of memory are needed at least, and {} allows {}: {}; raise the limit, or lower those keys in a new data directory",
            up(needed),
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
        let parts = Parts { rings: 64 << 20, segments: 0, private: 24 << 20 };
        let limit = |mib: u64| MemoryLimit { bytes: mib << 20, name: "memory.max".into() };
        assert_eq!(parts.shortage(&limit(88)), None);
        let what = parts.shortage(&limit(87)).unwrap();
        for part in ["88MiB of memory are needed", "memory.max allows 87MiB", "64MiB for rings (persistence.ring_bytes"]
        {
            assert!(what.contains(part), "{what}");
        }
        assert!(!what.contains("segments in memory"), "{what}");
        let parts = Parts { segments: 1 << 30, ..parts };
        assert!(parts.shortage(&limit(1000)).unwrap().contains("1GiB for segments in memory"));
    }
}
