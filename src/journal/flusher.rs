//! Carries the ring to the segments, one bounded turn at a time, on a housekeeping core.
//!
//! A turn writes what was appended since the last, makes it `written`, syncs it, makes it `synced`. It writes whole pages from a page's
//! start: nothing is read before it is written, and direct I/O can do the same. Turns are bounded above by the flush interval and below by its
//! minimum: between the two, one is due as soon as somebody waits. Two rules keep recovery simple:
//! one sync covers one segment only, so a segment's head is never on the volume before all of the segment before it; and after
//! any error nothing is written or acknowledged again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sys::ring::{PAGE_BYTES, RingReader, Watermarks};

use super::pages::Pages;
use super::recycling::{Recycler, Recycling};
use super::wanted::Wanted;
use super::{Geometry, Reached, Slot, Storage, StorageError};

/// How much of a fresh segment is zero-written in one turn: short enough not to hold up what is appended meanwhile.
const ZERO_CHUNK_BYTES: u64 = 256 * 1024;
/// Between two looks at what came while commits are waited for, about a microsecond, and how many looks there are at most.
const GATHER_SPINS: u32 = 64;
const GATHER_LOOKS_MAX: u32 = 16;
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
    flush_interval_min_ns: u64,
    /// When the flusher last looked at what is appended, and wrote it; `None` before the first.
    last_write_ns: Option<u64>,
    /// The same of any write, zeros included.
    last_device_ns: Option<u64>,
    wanted: Arc<CachePadded<Wanted>>,
    counters: Arc<FlusherCounters>,
    clock: fn() -> u64,
    /// The last page, as far as it is filled, padded with zeros.
    page: Pages,
    unzeroed: VecDeque<Zeroing>,
    zeros: Pages,
    turns: u32,
    recycler: Recycler,
}

/// Published by the flusher, read by metrics.
#[derive(Debug, Default)]
pub struct FlusherCounters {
    pub bytes_written: AtomicU64,
    pub syncs: AtomicU64,
    /// A write and its sync.
    pub sync_ns_last: AtomicU64,
    pub sync_ns_max: AtomicU64,
    /// Segments that are not yet zero-written.
    pub segments_unzeroed: AtomicU32,
    /// The incarnation that the ring belongs to, as last seen.
    pub incarnation: AtomicU32,
    /// When the write began that is under way, by the journal's clock; 0 where none is. It tells of one that does not return.
    pub in_flight_since_ns: AtomicU64,
    /// Everything that was appended before this moment of the journal's clock is synced; 0 until everything was for the first time,
    /// before which nothing of this process is released.
    pub synced_as_of_ns: AtomicU64,
    /// The greatest age that anything appended had reached when it was synced, at most.
    pub unsynced_age_ns_max: AtomicU64,
    /// A storage error was met: nothing is carried any more.
    pub failed: AtomicBool,
}

impl FlusherCounters {
    /// A write is under way, and may not return.
    fn begin_write(&self, now_ns: u64) {
        self.in_flight_since_ns.store(now_ns.max(1), Ordering::Release);
    }

    fn end_write(&self) {
        self.in_flight_since_ns.store(0, Ordering::Release);
    }
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
    pub flush_interval_min_ns: u64,
    pub clock: fn() -> u64,
    pub unzeroed: VecDeque<Zeroing>,
    pub recycling: Arc<Recycling>,
}

impl<S: Storage> Flusher<S> {
    /// Writes and syncs what is due. The answer counts the pieces of work done; 0 means that the thread may [`Flusher::sleep`].
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

    /// Carries everything that is appended now, whatever the interval. For the end of the process, when no resend goes on. What an archive
    /// holds back stays in the ring.
    pub fn drain(&mut self, now_ns: u64) -> Result<(), StorageError> {
        self.recycler.end_resends();
        while self.ring.synced() < self.ring.appended() {
            (self.last_write_ns, self.last_device_ns) = (None, None);
            self.turn(now_ns)?;
            if self.recycler.is_held() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the worker waits for `written` or `synced`, so that the interval does not count.
    pub fn is_wanted(&self) -> bool {
        self.wanted.position() > self.ring.synced()
    }

    /// How long nothing comes due, unless somebody begins to wait.
    pub fn rest_ns(&self, now_ns: u64) -> u64 {
        let left = |last: Option<u64>, ns: u64| last.map_or(0, |last| ns.saturating_sub(now_ns.saturating_sub(last)));
        let least = left(self.last_device_ns, self.flush_interval_min_ns);
        if self.is_wanted() {
            return least;
        }
        match left(self.last_write_ns, self.flush_interval_ns) {
            0 => self.flush_interval_ns.max(least),
            left => left.max(least),
        }
    }

    /// Lets the calling thread, always the same, sleep until the worker begins to wait, or so long.
    pub fn sleep(&self, timeout: Duration) {
        self.wanted.sleep(self.ring.synced(), timeout);
    }

    pub fn watermarks(&self) -> Watermarks {
        self.ring.watermarks()
    }

    /// What is appended from `from` on, as far as the lap of the ring goes. For a witness in the same thread.
    ///
    /// # Panics
    /// When it is carried away already.
    pub(crate) fn appended_from(&mut self, from: u64) -> &[u8] {
        let lap_end = (from / self.geometry.ring_bytes + 1) * self.geometry.ring_bytes;
        let end = self.ring.appended().min(lap_end);
        self.ring.read(from, end - from)
    }

    pub fn counters(&self) -> Arc<FlusherCounters> {
        Arc::clone(&self.counters)
    }

    pub(super) fn new(ring: RingReader, carry: Carry<S>, wanted: Arc<CachePadded<Wanted>>) -> Self {
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
            flush_interval_min_ns: carry.flush_interval_min_ns,
            last_write_ns: None,
            last_device_ns: None,
            wanted,
            counters: Arc::new(counters),
            clock: carry.clock,
            page: Pages::new(PAGE_BYTES),
            unzeroed: carry.unzeroed,
            zeros: Pages::new(ZERO_CHUNK_BYTES),
            turns: 0,
            recycler: Recycler::new(carry.recycling),
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
        // What is appended is looked at only where something follows from it: the worker writes that cache line at every commit.
        if self.is_due(now_ns) {
            work += self.carry_all(now_ns)?;
        }
        let may_zero = work == 0 || (self.flush_interval_min_ns == 0 && self.turns.is_multiple_of(TURNS_PER_CHUNK));
        if !self.unzeroed.is_empty() && may_zero && is_over(self.last_device_ns, now_ns, self.flush_interval_min_ns) {
            self.last_device_ns = Some(now_ns);
            self.zero_chunk()?;
            work += 1;
        }
        Ok(work)
    }

    fn is_due(&self, now_ns: u64) -> bool {
        is_over(self.last_device_ns, now_ns, self.flush_interval_min_ns)
            && (is_over(self.last_write_ns, now_ns, self.flush_interval_ns) || self.is_wanted())
    }

    /// Lets what comes at the same time come along: the first of several sessions that send at once would have a device write of its own, and
    /// the others would wait for that one and for the next.
    fn gather(&mut self) -> u64 {
        let mut appended = self.ring.appended();
        for _ in 0..GATHER_LOOKS_MAX {
            (0..GATHER_SPINS).for_each(|_| std::hint::spin_loop());
            let now = self.ring.appended();
            if now == appended {
                break;
            }
            appended = now;
        }
        appended
    }

    fn carry_all(&mut self, now_ns: u64) -> Result<u32, StorageError> {
        let appended = if self.is_wanted() { self.gather() } else { self.ring.appended() };
        let mut work = 0;
        // Where there is nothing, too: a flusher that never sleeps would look in each of its turns, and the worker fetch that cache line
        // back for each commit.
        self.last_write_ns = Some(now_ns);
        if appended > self.ring.synced() {
            self.last_device_ns = Some(now_ns);
        }
        // A turn crosses at most the ring's length, hence at most one segment's end.
        while self.ring.synced() < appended {
            let synced = self.ring.synced();
            if !self.recycler.may_write(synced, appended - synced, now_ns) {
                break;
            }
            self.carry(appended)?;
            work += 1;
            if self.flush_interval_min_ns > 0 {
                break;
            }
        }
        if self.ring.synced() == appended {
            // What is new since was appended after the look before this one, at the earliest.
            let as_of_ns = self.counters.synced_as_of_ns.load(Ordering::Relaxed);
            if work > 0 && as_of_ns > 0 {
                let age_ns = (self.clock)().saturating_sub(as_of_ns);
                self.counters.unsynced_age_ns_max.fetch_max(age_ns, Ordering::Relaxed);
            }
            self.counters.synced_as_of_ns.store(now_ns, Ordering::Release);
        }
        Ok(work)
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
        let whole_pages = if whole > from { self.ring.read(from, whole - from) } else { &[] };
        let mut last_page: &[u8] = &[];
        if to > whole {
            // What lies behind `to` in its page is the worker's, who writes it now.
            let filled = (to - whole) as usize;
            let page = self.page.bytes_mut();
            page[..filled].copy_from_slice(self.ring.read(whole, to - whole));
            page[filled..].fill(0);
            last_page = page;
        }
        let start_ns = (self.clock)();
        self.counters.begin_write(start_ns);
        let reached = self.storage.write_pages(slot, offset, [whole_pages, last_page])?;
        self.ring.set_written(to);
        if reached == Reached::System {
            self.storage.sync(slot)?;
        }
        self.ring.set_synced(to);
        self.counters.end_write();
        let sync_ns = (self.clock)().saturating_sub(start_ns);
        self.counters.sync_ns_last.store(sync_ns, Ordering::Relaxed);
        self.counters.sync_ns_max.fetch_max(sync_ns, Ordering::Relaxed);
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes_written.fetch_add(to - from, Ordering::Relaxed);
        Ok(())
    }

    fn zero_chunk(&mut self) -> Result<(), StorageError> {
        let Some(zeroing) = self.unzeroed.front_mut() else {
            return Ok(());
        };
        self.counters.begin_write((self.clock)());
        let slot = Slot { journal: self.journal, number: zeroing.number };
        write_zeros(&self.storage, self.geometry, slot, &mut zeroing.offset, self.zeros.bytes_mut())?;
        // Each chunk is synced, so that the first sync of a message does not meet a segment's worth of zeros.
        self.storage.sync(slot)?;
        self.counters.end_write();
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

/// Whether so long has gone by since.
fn is_over(last_ns: Option<u64>, now_ns: u64, ns: u64) -> bool {
    last_ns.is_none_or(|last_ns| now_ns.saturating_sub(last_ns) >= ns)
}

/// Zero-writes a whole segment that holds nothing.
pub(super) fn zero_segment<S: Storage>(storage: &S, geometry: Geometry, slot: Slot) -> Result<(), StorageError> {
    let mut zeros = Pages::new(ZERO_CHUNK_BYTES);
    let mut offset = 0;
    while offset < geometry.segment_bytes {
        write_zeros(storage, geometry, slot, &mut offset, zeros.bytes_mut())?;
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
    use super::super::{FlushMethod, Journal, Kind, Mode, NewRecord, Room, Settings, open_over, prepare};
    use super::*;
    use crate::sys::ring::RingMemory;

    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 4 };

    fn journal(storage: &SimulatedStorage) -> Journal<SimulatedStorage> {
        journal_with(storage, 0)
    }

    fn journal_with(storage: &SimulatedStorage, flush_interval_min_ns: u64) -> Journal<SimulatedStorage> {
        journal_over(storage, RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0, flush_interval_min_ns)
    }

    fn journal_over(
        storage: &SimulatedStorage,
        ring: RingMemory,
        flush_interval_min_ns: u64,
    ) -> Journal<SimulatedStorage> {
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 1_000,
            flush_interval_min_ns,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        let manifest = prepare(storage, &settings).unwrap();
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
    fn writes_are_the_least_interval_apart_even_while_commits_wait_and_the_next_takes_all_of_them() {
        let mut journal = journal_with(&SimulatedStorage::new(GEOMETRY), 300);
        // The zeros are device writes, too.
        let mut now_ns = 0;
        while journal.flusher.counters().segments_unzeroed.load(Ordering::Relaxed) > 0 {
            assert_eq!(journal.flusher.turn(now_ns).unwrap(), 1);
            assert_eq!(journal.flusher.turn(now_ns + 299).unwrap(), 0);
            now_ns += 300;
        }
        let start_ns = now_ns;
        let first = commit(&mut journal, Mode::Sync);
        journal.flusher.turn(start_ns).unwrap();
        assert_eq!(journal.watermarks.synced(), first);
        commit(&mut journal, Mode::Sync);
        journal.flusher.turn(start_ns + 299).unwrap();
        let last = commit(&mut journal, Mode::Flush);
        assert_eq!((journal.watermarks.synced(), journal.flusher.rest_ns(start_ns + 299)), (first, 1));
        let syncs = journal.flusher.counters().syncs.load(Ordering::Relaxed);
        journal.flusher.turn(start_ns + 300).unwrap();
        assert_eq!(journal.watermarks.synced(), last);
        assert_eq!(journal.flusher.counters().syncs.load(Ordering::Relaxed), syncs + 1);
        // Nobody waits: the interval counts.
        commit(&mut journal, Mode::Buffered);
        assert_eq!(journal.flusher.rest_ns(start_ns + 400), 900);
        assert_eq!(journal.flusher.turn(start_ns + 1_299).unwrap(), 0);
        assert_eq!(journal.flusher.turn(start_ns + 1_300).unwrap(), 1);
    }

    #[test]
    fn what_is_synced_is_told_as_of_the_look_that_saw_it() {
        let mut journal = journal(&SimulatedStorage::new(GEOMETRY));
        let as_of =
            |journal: &Journal<SimulatedStorage>| journal.flusher.counters().synced_as_of_ns.load(Ordering::Relaxed);
        journal.flusher.turn(2_000).unwrap();
        assert_eq!(as_of(&journal), 2_000);
        commit(&mut journal, Mode::Buffered);
        journal.flusher.turn(5_000).unwrap();
        assert_eq!(as_of(&journal), 5_000);
        // Within the interval it does not look, and so cannot tell.
        journal.flusher.turn(5_999).unwrap();
        assert_eq!((as_of(&journal), journal.flusher.rest_ns(5_999)), (5_000, 1));
    }

    #[test]
    fn a_ring_that_another_process_owns_is_carried_no_further() {
        let storage = SimulatedStorage::new(GEOMETRY);
        let (ring, keeper) = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap();
        let mut journal = journal_over(&storage, ring, 0);
        let first = commit(&mut journal, Mode::Sync);
        journal.flusher.turn(1).unwrap();
        commit(&mut journal, Mode::Sync);
        keeper.usurp(2);
        assert!(journal.flusher.turn(2).unwrap_err().to_string().contains("incarnation 2 owns the ring"));
        assert_eq!(journal.watermarks.synced(), first);
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
