//! Memory that is there before it is needed: the first touch of a page is a page fault, and costs a message that meets it some
//! hundred nanoseconds, or a disk's access where the page is the program's own.

#![allow(unsafe_code)]

use std::fs;
use std::hint::black_box;
use std::io;

use super::cgroup::memory_limit;

/// Of a larger mapping nothing is faulted in: it may be a reservation that is never used up.
const MAPPING_BYTES_MAX: usize = 256 << 20;
/// What is faulted in at once: between two pieces, who wants to map memory gets his turn.
const PIECE_BYTES: usize = 2 << 20;
/// The deepest that a worker's calls go, with room to spare.
const STACK_BYTES: usize = 256 << 10;

/// What became of [`faulted_in`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefaulted {
    /// Private memory that can be written: heap, stacks, tables.
    pub memory_bytes: u64,
    /// Program and libraries.
    pub program_bytes: u64,
    /// The cgroup's limit does not hold all of it, so that nothing was faulted in.
    pub is_too_much: bool,
    /// Mappings that the kernel refused to fault in, or that were too large.
    pub left_out: u32,
}

/// Faults in all private memory of the process, and the program with its libraries: MADV_POPULATE_WRITE and
/// MADV_POPULATE_READ of madvise(2), which change nothing of what the memory holds and need no permission.
///
/// What is shared, such as a ring or a mapped segment, is left to its owner. `shared_bytes` of it
/// are memory that stays: the rings.
pub fn faulted_in(shared_bytes: u64) -> io::Result<Prefaulted> {
    let mut done = Prefaulted::default();
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mappings: Vec<Mapping> = maps.lines().filter_map(Mapping::of).collect();
    // Beyond the limit the kernel ends the process, which runs well on what it comes to touch.
    if let Some(limit) = memory_limit() {
        let private = mappings.iter().filter(|mapping| mapping.bytes() <= MAPPING_BYTES_MAX);
        let bytes = private.fold(0u64, |sum, mapping| sum.saturating_add(mapping.bytes() as u64));
        if bytes.saturating_add(shared_bytes) > limit.bytes {
            return Ok(Prefaulted { is_too_much: true, ..done });
        }
    }
    for mapping in mappings {
        let (advice, bytes) = match mapping.kind {
            Kind::Memory => (libc::MADV_POPULATE_WRITE, &mut done.memory_bytes),
            Kind::Program => (libc::MADV_POPULATE_READ, &mut done.program_bytes),
        };
        if mapping.bytes() <= MAPPING_BYTES_MAX && populate(&mapping, advice) {
            *bytes += mapping.bytes() as u64;
        } else {
            done.left_out += 1;
        }
    }
    Ok(done)
}

/// Touches the calling thread's stack, deeper than its calls will go.
#[inline(never)]
pub fn touch_stack() {
    let mut stack = [0u8; STACK_BYTES];
    black_box(&mut stack);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Memory,
    Program,
}

/// A line of /proc/self/maps, where it is of a kind that is faulted in.
#[derive(PartialEq, Eq, Debug)]
struct Mapping {
    start: usize,
    end: usize,
    kind: Kind,
}

impl Mapping {
    /// `start-end perms offset device inode path`, see proc_pid_maps(5).
    fn of(line: &str) -> Option<Self> {
        let mut parts = line.split_ascii_whitespace();
        let (start, end) = parts.next()?.split_once('-')?;
        let permissions = parts.next()?;
        let inode = parts.nth(2)?;
        let path = parts.next().unwrap_or("");
        let address = |text: &str| usize::from_str_radix(text, 16).ok();
        let kind = match permissions {
            // The main thread's stack grows by itself, and is no worker's.
            "rw-p" if path != "[stack]" => Kind::Memory,
            "r--p" | "r-xp" if inode != "0" => Kind::Program,
            _ => return None,
        };
        Some(Self { start: address(start)?, end: address(end)?, kind }).filter(|mapping| mapping.start < mapping.end)
    }

    fn bytes(&self) -> usize {
        self.end - self.start
    }
}

/// `false` where the kernel refuses: an older one than Linux 5.14, a limit, or a mapping that is gone meanwhile.
fn populate(mapping: &Mapping, advice: libc::c_int) -> bool {
    (mapping.start..mapping.end).step_by(PIECE_BYTES).all(|start| {
        let bytes = PIECE_BYTES.min(mapping.end - start);
        // SAFETY: MADV_POPULATE_READ and MADV_POPULATE_WRITE fault pages in as a read or a write of one byte that changes nothing would, and
        // alter no contents (madvise(2)). A range that is not mapped, or not so, is an error of the call; no memory is dereferenced here.
        let status = unsafe { libc::madvise(start as *mut libc::c_void, bytes, advice) };
        status == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_by_what_they_are() {
        let of = |line: &str| Mapping::of(line).map(|mapping| (mapping.bytes(), mapping.kind));
        assert_eq!(of("7f0000000000-7f0000002000 rw-p 00000000 00:00 0 "), Some((0x2000, Kind::Memory)));
        assert_eq!(of("5500000000-5500021000 rw-p 00000000 00:00 0    [heap]"), Some((0x21000, Kind::Memory)));
        assert_eq!(
            of("5500000000-5500001000 r-xp 00001000 fe:00 77   /usr/bin/fixring"),
            Some((0x1000, Kind::Program))
        );
        // The ring, a guard page, the stack of the main thread, the vDSO, and what is no mapping.
        assert_eq!(of("7f0000000000-7f0001001000 rw-s 00000000 00:19 5 /dev/shm/fixring-1.ring"), None);
        assert_eq!(of("7f0000000000-7f0000001000 ---p 00000000 00:00 0 "), None);
        assert_eq!(of("7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]"), None);
        assert_eq!(of("7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0 [vdso]"), None);
        assert_eq!(of("7ffc00000000-zz rw-p 00000000 00:00 0"), None);
        assert_eq!(of("nonsense"), None);
    }

    #[test]
    fn memory_that_nobody_has_touched_is_there_afterwards() {
        const BYTES: usize = 8 << 20;
        let memory = memmap2::MmapMut::map_anon(BYTES).unwrap();
        let resident_kib = || {
            let start = format!("{:x}-", memory.as_ptr() as usize);
            let maps = fs::read_to_string("/proc/self/smaps").unwrap();
            // Neighbouring anonymous memory may be one mapping with ours: at least so much of it is resident.
            let mapping = maps.split("VmFlags").find(|mapping| mapping.lines().any(|line| line.starts_with(&start)));
            let line = mapping.and_then(|mapping| mapping.lines().find(|line| line.starts_with("Rss:")))?;
            line.split_ascii_whitespace().nth(1)?.parse::<usize>().ok()
        };
        let before = resident_kib();
        let done = faulted_in(0).unwrap();
        assert!(done.memory_bytes >= BYTES as u64 && done.program_bytes > 0, "{done:?}");
        if let (Some(before), Some(after)) = (before, resident_kib()) {
            assert!(after >= before.max(BYTES >> 10), "{before} {after}");
        }
        assert!(memory.iter().all(|byte| *byte == 0));
        touch_stack();
    }
}
