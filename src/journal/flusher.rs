//! Carries the ring to the segments, one bounded turn at a time, on a housekeeping core.
//!
//! A turn writes what was appended since the last, makes it `written`, syncs it, makes it `synced`. It writes whole pages from a page's
//! start: nothing is read before it is written, and a direct method could do the same. Two rules keep recovery simple:
//! one sync covers one segment only, so a segment's head is never on the volume before all of the segment before it; and after
//! any error nothing is written or acknowledged again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::sys::ring::{PAGE_BYTES, RingReader, Watermarks};

use super::{Geometry, Slot, Storage, StorageError};

/// How much of a fresh segment is zero-written in one turn: short enough not to hold up what is appended meanwhile.
const ZERO_CHUNK_BYTES: u64 = 1024 * 1024;
/// Even under load, one turn in so many zero-writes a chunk.
const TURNS_PER_CHUNK: u32 = 16;
/// The last bytes of a segment that was zero-written and never yet used to its end.
pub(super) const ZEROED_MARK: [u8; 8] = *b"ZEROED\n\0";

/// Carries one journal.
pub struct Flusher<S: Storage> {
    storage: S,
    ring: RingReader,
    geometry: Geometry,
    journal: u16,
    incarnation: u32,
    flush_interval_ns: u64,
    /// When the last write began; `None` before the first.
    last_write_ns: Option<u64>,
    wanted: Arc<AtomicU64>,
    counters: Arc<FlusherCounters>,
    clock: fn() -> u64,
    /// The last page, as far as it is filled, padded with zeros.
    page: Box<[u8; PAGE_BYTES as usize]>,
    unzeroed: VecDeque<Zeroing>,
    zeros: Box<[u8]>,
    turns: u32,
}

/// Published by the flusher, read by metrics.
#[derive(Debug, Default)]
pub struct FlusherCounters {
    pub bytes_written: AtomicU64,
    pub syncs: AtomicU64,
    pub sync_ns_last: AtomicU64,
    pub sync_ns_max: AtomicU64,
    /// Segments that are not yet zero-written.
    pub segments_unzeroed: AtomicU32,
    /// The incarnation that the ring belongs to, as last seen.
    pub incarnation: AtomicU32,
    /// A storage error was met: nothing is carried any more.
    pub failed: AtomicBool,
}

/// A segment that is being zero-written.
pub(super) struct Zeroing {
    pub number: u32,
    pub offset: u64,
}

/// What recovery hands to a new flusher.
pub(super) struct Carry<S> {
    pub storage: S,
    pub geometry: Geometry,
    pub journal: u16,
    pub incarnation: u32,
    pub flush_interval_ns: u64,
    pub clock: fn() -> u64,
    pub unzeroed: VecDeque<Zeroing>,
}

impl<S: Storage> Flusher<S> {
    /// Writes and syncs what is due. The answer counts the pieces of work done; 0 means that the thread may sleep until the
    /// flush interval is over or [`Flusher::is_wanted`].
    ///
    /// After an error, which includes the discovery that another incarnation owns the ring, each further turn is an error too.
    pub fn turn(&mut self, now_ns: u64) -> Result<u32, StorageError> {
        if self.counters.failed.load(Ordering::Relaxed) {
            return Err(StorageError::new(
                "go on with",
                self.name(),
                io::Error::other("an earlier storage error is final"),
            ));
        }
        let result = self.try_turn(now_ns);
        if result.is_err() {
            self.counters.failed.store(true, Ordering::Release);
        }
        result
    }

    /// Carries everything that is appended now, whatever the interval. For the end of the process.
    pub fn drain(&mut self, now_ns: u64) -> Result<(), StorageError> {
        while self.ring.synced() < self.ring.appended() {
            self.last_write_ns = None;
            self.turn(now_ns)?;
        }
        Ok(())
    }

    /// Whether the worker waits for `written` or `synced`, so that the interval does not count.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > self.ring.synced()
    }

    pub fn watermarks(&self) -> Watermarks {
        self.ring.watermarks()
    }

    /// What is appended from `from` on, as far as the lap of the ring goes. For a witness in the same thread.
    ///
    /// # Panics
    /// When it is carried away already.
    pub(crate) fn appended_from(&self, from: u64) -> &[u8] {
        let lap_end = (from / self.geometry.ring_bytes + 1) * self.geometry.ring_bytes;
        self.ring.read(from, self.ring.appended().min(lap_end) - from)
    }

    pub fn counters(&self) -> Arc<FlusherCounters> {
        Arc::clone(&self.counters)
    }

    pub(super) fn new(ring: RingReader, carry: Carry<S>, wanted: Arc<AtomicU64>) -> Self {
        let counters = FlusherCounters::default();
        counters.incarnation.store(carry.incarnation, Ordering::Relaxed);
        counters.segments_unzeroed.store(carry.unzeroed.len() as u32, Ordering::Relaxed);
        Self {
            storage: carry.storage,
            ring,
            geometry: carry.geometry,
            journal: carry.journal,
            incarnation: carry.incarnation,
            flush_interval_ns: carry.flush_interval_ns,
            last_write_ns: None,
            wanted,
            counters: Arc::new(counters),
            clock: carry.clock,
            page: Box::new([0; PAGE_BYTES as usize]),
            unzeroed: carry.unzeroed,
            zeros: vec![0; ZERO_CHUNK_BYTES as usize].into_boxed_slice(),
            turns: 0,
        }
    }

    fn try_turn(&mut self, now_ns: u64) -> Result<u32, StorageError> {
        let owner = self.ring.owner();
        self.counters.incarnation.store(owner as u32, Ordering::Relaxed);
        if owner != u64::from(self.incarnation) {
            let why = format!("incarnation {owner} owns the ring, this process is {}", self.incarnation);
            return Err(StorageError::new("go on with", self.name(), io::Error::other(why)));
        }
        self.turns = self.turns.wrapping_add(1);
        let mut work = 0;
        let appended = self.ring.appended();
        if appended > self.ring.synced() && self.is_due(now_ns) {
            self.last_write_ns = Some(now_ns);
            // A turn crosses at most the ring's length, hence at most one segment's end.
            while self.ring.synced() < appended {
                self.carry(appended)?;
                work += 1;
            }
        }
        if !self.unzeroed.is_empty() && (work == 0 || self.turns.is_multiple_of(TURNS_PER_CHUNK)) {
            self.zero_chunk()?;
            work += 1;
        }
        Ok(work)
    }

    fn is_due(&self, now_ns: u64) -> bool {
        let is_over = |last: u64| now_ns.saturating_sub(last) >= self.flush_interval_ns;
        self.last_write_ns.is_none_or(is_over) || self.is_wanted()
    }

    /// Writes and syncs up to `appended`, or to the end of the segment or of the ring's lap.
    fn carry(&mut self, appended: u64) -> Result<(), StorageError> {
        let from = self.ring.written() & !(PAGE_BYTES - 1);
        // A lap's end is also where a segment may end.
        let lap_end = (from / self.geometry.ring_bytes + 1) * self.geometry.ring_bytes;
        let to = appended.min(lap_end);
        let whole = to & !(PAGE_BYTES - 1);
        let (slot, offset) = self.geometry.slot(self.journal, from);
        self.unzeroed.retain(|zeroing| zeroing.number != slot.number);
        if whole > from {
            self.storage.write(slot, offset, self.ring.read(from, whole - from))?;
        }
        if to > whole {
            let filled = (to - whole) as usize;
            self.page[..filled].copy_from_slice(self.ring.read(whole, to - whole));
            self.page[filled..].fill(0);
            self.storage.write(slot, offset + (whole - from), &self.page[..])?;
        }
        self.ring.set_written(to);
        self.sync(slot)?;
        self.ring.set_synced(to);
        self.counters.bytes_written.fetch_add(to - from, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        let start_ns = (self.clock)();
        self.storage.sync(slot)?;
        let sync_ns = (self.clock)().saturating_sub(start_ns);
        self.counters.sync_ns_last.store(sync_ns, Ordering::Relaxed);
        self.counters.sync_ns_max.fetch_max(sync_ns, Ordering::Relaxed);
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn zero_chunk(&mut self) -> Result<(), StorageError> {
        let Some(zeroing) = self.unzeroed.front_mut() else {
            return Ok(());
        };
        let slot = Slot { journal: self.journal, number: zeroing.number };
        write_zeros(&self.storage, self.geometry, slot, &mut zeroing.offset, &mut self.zeros)?;
        // Each chunk is synced, so that the first sync of a message does not meet a segment's worth of zeros.
        self.storage.sync(slot)?;
        if zeroing.offset == self.geometry.segment_bytes {
            self.unzeroed.pop_front();
        }
        self.counters.segments_unzeroed.store(self.unzeroed.len() as u32, Ordering::Relaxed);
        Ok(())
    }

    fn name(&self) -> String {
        format!("journal {}", self.journal)
    }
}

/// Zero-writes a whole segment that holds nothing.
pub(super) fn zero_segment<S: Storage>(storage: &S, geometry: Geometry, slot: Slot) -> Result<(), StorageError> {
    let mut zeros = vec![0; ZERO_CHUNK_BYTES as usize];
    let mut offset = 0;
    while offset < geometry.segment_bytes {
        write_zeros(storage, geometry, slot, &mut offset, &mut zeros)?;
    }
    storage.sync(slot)
}

/// One chunk from `offset` on, the last with the mark.
fn write_zeros<S: Storage>(
    storage: &S,
    geometry: Geometry,
    slot: Slot,
    offset: &mut u64,
    zeros: &mut [u8],
) -> Result<(), StorageError> {
    let bytes = (geometry.segment_bytes - *offset).min(zeros.len() as u64) as usize;
    let is_last = *offset + bytes as u64 == geometry.segment_bytes;
    let (chunk, mark_at) = (&mut zeros[..bytes], bytes - ZEROED_MARK.len());
    if is_last {
        chunk[mark_at..].copy_from_slice(&ZEROED_MARK);
    }
    let written = storage.write(slot, *offset, chunk);
    chunk[mark_at..].fill(0);
    *offset += bytes as u64;
    written
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedStorage;
    use super::super::{Journal, Kind, Mode, NewRecord, Room, Settings, open_over, prepare};
    use super::*;
    use crate::sys::ring::RingMemory;

    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 4 };

    fn journal(storage: &SimulatedStorage) -> Journal<SimulatedStorage> {
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 1_000,
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        let manifest = prepare(storage, &settings).unwrap();
        let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
        open_over(storage, manifest, vec![ring], &settings).unwrap().journals.remove(0)
    }

    fn commit(journal: &mut Journal<SimulatedStorage>, mode: Mode) -> u64 {
        while journal.writer.begin(1024) == Room::RollDue {
            assert_eq!(journal.writer.roll(std::iter::empty(), b""), Ok(true));
        }
        journal.writer.append_bytes(NewRecord::internal(Kind::Inbound, 0), b"message").unwrap();
        journal.writer.commit(mode)
    }

    #[test]
    fn writes_are_an_interval_apart_unless_a_commit_waits() {
        let mut journal = journal(&SimulatedStorage::new(GEOMETRY));
        let first = commit(&mut journal, Mode::Buffered);
        journal.flusher.turn(10_000).unwrap();
        assert_eq!(journal.watermarks.synced(), first);
        let second = commit(&mut journal, Mode::Buffered);
        journal.flusher.turn(10_999).unwrap();
        assert_eq!(journal.watermarks.synced(), first);
        journal.flusher.turn(11_000).unwrap();
        assert_eq!(journal.watermarks.synced(), second);
        let third = commit(&mut journal, Mode::Sync);
        assert!(journal.flusher.is_wanted());
        journal.flusher.turn(11_001).unwrap();
        assert_eq!((journal.watermarks.synced(), journal.flusher.is_wanted()), (third, false));
    }

    #[test]
    fn after_one_error_nothing_is_written_or_acknowledged_again() {
        let storage = SimulatedStorage::new(GEOMETRY);
        let mut journal = journal(&storage);
        commit(&mut journal, Mode::Buffered);
        storage.fail_after(0);
        assert!(journal.flusher.turn(1).is_err());
        storage.crash_process();
        assert!(journal.flusher.turn(1_000_000).is_err());
        assert_eq!(journal.watermarks.synced(), 0);
        assert!(journal.flusher.counters().failed.load(Ordering::Relaxed));
    }

    #[test]
    fn fresh_segments_are_zero_written_behind_the_work_and_a_used_one_never_is() {
        let storage = SimulatedStorage::new(GEOMETRY);
        let mut journal = journal(&storage);
        let unzeroed =
            |journal: &Journal<SimulatedStorage>| journal.flusher.counters().segments_unzeroed.load(Ordering::Relaxed);
        assert_eq!(unzeroed(&journal), 2);
        // The worker is ahead of the zeros and uses segment 2, the first of the two.
        while journal.writer.appended() < 2 * GEOMETRY.segment_bytes + 4096 {
            commit(&mut journal, Mode::Sync);
            journal.flusher.try_turn(0).unwrap();
            journal.flusher.turns = 0;
        }
        assert_eq!(unzeroed(&journal), 2);
        while journal.flusher.turn(u64::MAX).unwrap() > 0 {}
        assert_eq!(unzeroed(&journal), 0);
        let mut start = [0; 64];
        storage.read(Slot { journal: 0, number: 2 }, 0, &mut start).unwrap();
        assert_eq!(start[8], Kind::State as u8);
        let mut end = [0; 8];
        storage.read(Slot { journal: 0, number: 3 }, GEOMETRY.segment_bytes - 8, &mut end).unwrap();
        assert_eq!(end, ZEROED_MARK);
    }
}
