//! Shared memory with one writer and one reader, addressed by positions that never go back.
//!
//! The journal's worker holds the [`RingWriter`], its flusher the [`RingReader`]. The memory is a header page and then
//! `ring_bytes` of data; it may be a mapped file, which outlives the process, or anonymous memory, which lives as long as its
//! [`RingKeeper`]. What is in the data is not this module's affair; it keeps the two sides apart:
//!
//! ```text
//!        floor(synced)            appended            floor(synced) + ring_bytes      (floor: to the page)
//! ───────────┼────────────────────────┼──────────────────────────┼──────────────►  position
//!            │  the reader may look   │   the writer may mutate  │
//! ```
//!
//! `appended` is advanced by the writer alone, `written` and `synced` by the reader alone; each lies in its own cache line pair. Each side keeps
//! its own copy of what it advances, so that a foreign write to the mapped header page cannot make the two ranges overlap by
//! moving a side's own mark. The ranges are whole pages at the lower end, because the flusher writes whole pages.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, Weak};

use super::ring_shared::Shared;
use super::sync::Ordering;

/// The header page before the data. Also the unit to which the shared range is rounded.
pub const PAGE_BYTES: u64 = 4096;
/// The caller's own part at the start of the header page: who the ring belongs to.
pub const IDENTITY_BYTES: usize = 128;

// Two cache lines apart: the adjacent-line prefetcher fetches lines in pairs.
const APPENDED_OFFSET: usize = IDENTITY_BYTES;
const WRITTEN_OFFSET: usize = APPENDED_OFFSET + 128;
const SYNCED_OFFSET: usize = WRITTEN_OFFSET + 128;
const OWNER_OFFSET: usize = SYNCED_OFFSET + 128;
const _: () = assert!(OWNER_OFFSET + 8 <= PAGE_BYTES as usize);

/// As much of the header page as [`read_header`] looks at.
pub const HEADER_BYTES_READ: usize = OWNER_OFFSET + 8;

/// The position up to which it was appended and the owner's number, of a header page that was read from the file, without a mapping.
pub fn read_header(header: &[u8; HEADER_BYTES_READ]) -> (u64, u64) {
    let word = |offset: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[offset..offset + 8]);
        u64::from_ne_bytes(bytes)
    };
    (word(APPENDED_OFFSET), word(OWNER_OFFSET))
}

/// The smallest ring: below it, a page's rounding would be a noticeable part.
pub const RING_BYTES_MIN: u64 = 64 * 1024;

/// A ring that nobody writes or reads yet.
pub struct RingMemory {
    shared: Arc<Shared>,
    token: Arc<()>,
}

/// Keeps anonymous ring memory beyond the death of a simulated process.
#[derive(Clone)]
pub struct RingKeeper {
    shared: Arc<Shared>,
    holder: Arc<Mutex<Weak<()>>>,
}

/// The worker's side.
pub struct RingWriter {
    shared: Arc<Shared>,
    _token: Arc<()>,
    appended: u64,
    /// Where mutation ends, from the last look at `synced`.
    limit: u64,
}

/// The flusher's side.
pub struct RingReader {
    shared: Arc<Shared>,
    _token: Arc<()>,
    /// `appended` as last looked at. What else needs it goes by this: the writer's cache line is fetched once a batch.
    seen: u64,
    written: u64,
    synced: u64,
}

/// The three marks, for anyone to read.
#[derive(Clone)]
pub struct Watermarks {
    shared: Arc<Shared>,
}

/// What the header page said when the ring was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub appended: u64,
    pub written: u64,
    pub synced: u64,
}

/// Marks and owner out of a copy of the header page, for those who read the ring's file without mapping it. `None` where it is too short.
pub fn marks_in(header_page: &[u8]) -> Option<(Marks, u64)> {
    let at = |offset: usize| Some(u64::from_ne_bytes(header_page.get(offset..offset + 8)?.try_into().ok()?));
    let marks = Marks { appended: at(APPENDED_OFFSET)?, written: at(WRITTEN_OFFSET)?, synced: at(SYNCED_OFFSET)? };
    Some((marks, at(OWNER_OFFSET)?))
}

impl RingMemory {
    /// Maps a file of exactly one header page and `ring_bytes`. The caller must have made sure that no other process
    /// maps it: it holds the data directory's lock, and the file is its own and private (0600).
    pub fn map(file: &File, ring_bytes: u64) -> io::Result<Self> {
        check_ring_bytes(ring_bytes)?;
        let bytes = PAGE_BYTES + ring_bytes;
        if file.metadata()?.len() != bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the ring's file is not {bytes} bytes long"),
            ));
        }
        Ok(Self::new(Shared::map(file, ring_bytes)?).0)
    }

    /// Anonymous memory, for tests and simulation, with the keeper that can open it again.
    pub fn anonymous(ring_bytes: u64) -> io::Result<(Self, RingKeeper)> {
        check_ring_bytes(ring_bytes)?;
        Ok(Self::new(Shared::anonymous(ring_bytes)?))
    }

    pub fn ring_bytes(&self) -> u64 {
        self.shared.ring_bytes()
    }

    pub fn marks(&self) -> Marks {
        let watermarks = Watermarks { shared: Arc::clone(&self.shared) };
        Marks { appended: watermarks.appended(), written: watermarks.written(), synced: watermarks.synced() }
    }

    pub fn identity(&self) -> &[u8] {
        // SAFETY: the range lies in the mapping, and no writer or reader exists while this value does (they are made by
        // consuming it), so that only `&mut self` methods mutate it.
        unsafe { std::slice::from_raw_parts(self.shared.header(), IDENTITY_BYTES) }
    }

    /// All data, by offset (`position % ring_bytes`).
    pub fn data(&self) -> &[u8] {
        // SAFETY: as in `identity`; the data begins one page into the mapping and is `ring_bytes` long.
        unsafe { std::slice::from_raw_parts(self.shared.data(), self.shared.ring_bytes() as usize) }
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` is the only handle: the token is not cloned before `split`.
        unsafe { std::slice::from_raw_parts_mut(self.shared.data(), self.shared.ring_bytes() as usize) }
    }

    /// Makes the ring empty at `position`, and its owner the given identity and number.
    pub fn reset(&mut self, identity: &[u8; IDENTITY_BYTES], owner: u64, position: u64) {
        self.shared.mark(APPENDED_OFFSET).store(position, Ordering::Relaxed);
        self.shared.mark(WRITTEN_OFFSET).store(position, Ordering::Relaxed);
        self.shared.mark(SYNCED_OFFSET).store(position, Ordering::Relaxed);
        self.shared.mark(OWNER_OFFSET).store(owner, Ordering::Release);
        // SAFETY: the target is the first IDENTITY_BYTES of the mapping, which no mark overlaps, and `&mut self` excludes readers.
        unsafe { std::ptr::copy_nonoverlapping(identity.as_ptr(), self.shared.header(), IDENTITY_BYTES) }
    }

    /// Makes it the ring that an image was taken of: a machine that died had this in its file.
    ///
    /// # Panics
    /// When the data is of another length.
    pub fn put_back(&mut self, identity: &[u8; IDENTITY_BYTES], owner: u64, marks: Marks, data: &[u8]) {
        self.reset(identity, owner, 0);
        for (offset, mark) in
            [(APPENDED_OFFSET, marks.appended), (WRITTEN_OFFSET, marks.written), (SYNCED_OFFSET, marks.synced)]
        {
            self.shared.mark(offset).store(mark, Ordering::Relaxed);
        }
        self.data_mut().copy_from_slice(data);
    }

    /// The owner's number, as [`RingMemory::reset`] last set it.
    pub fn owner(&self) -> u64 {
        self.shared.mark(OWNER_OFFSET).load(Ordering::Acquire)
    }

    /// Keeps the whole ring in memory. Fails where RLIMIT_MEMLOCK is too small.
    pub fn lock(&self) -> io::Result<()> {
        self.shared.lock()
    }

    /// Faults every page in for writing, so that no append meets a page fault.
    pub fn populate(&self) -> io::Result<()> {
        self.shared.populate()
    }

    /// The two sides, both at the position of the last [`RingMemory::reset`].
    ///
    /// # Panics
    /// When the three marks are not equal: then the ring was not reset.
    pub fn split(self) -> (RingWriter, RingReader) {
        let marks = self.marks();
        assert!(marks.appended == marks.written && marks.written == marks.synced, "a ring is split only after a reset");
        let position = marks.appended;
        let limit = floor_page(position) + self.shared.ring_bytes();
        let reader = RingReader {
            shared: Arc::clone(&self.shared),
            _token: Arc::clone(&self.token),
            seen: position,
            written: position,
            synced: position,
        };
        (RingWriter { shared: self.shared, _token: self.token, appended: position, limit }, reader)
    }

    pub fn watermarks(&self) -> Watermarks {
        Watermarks { shared: Arc::clone(&self.shared) }
    }

    fn new(shared: Shared) -> (Self, RingKeeper) {
        let shared = Arc::new(shared);
        let token = Arc::new(());
        let holder = Arc::new(Mutex::new(Arc::downgrade(&token)));
        (Self { shared: Arc::clone(&shared), token }, RingKeeper { shared, holder })
    }
}

impl RingKeeper {
    /// The ring as its last holder left it; `None` while that holder, or a side of its split, still lives.
    pub fn open(&self) -> Option<RingMemory> {
        let mut holder = self.holder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if holder.strong_count() > 0 {
            return None;
        }
        let token = Arc::new(());
        *holder = Arc::downgrade(&token);
        Some(RingMemory { shared: Arc::clone(&self.shared), token })
    }
}

impl RingKeeper {
    /// Makes another the owner while the holder lives, as a second process that maps the same file would.
    pub fn usurp(&self, owner: u64) {
        self.shared.mark(OWNER_OFFSET).store(owner, Ordering::Release);
    }
}

impl RingWriter {
    #[inline]
    pub fn ring_bytes(&self) -> u64 {
        self.shared.ring_bytes()
    }

    #[inline]
    pub fn appended(&self) -> u64 {
        self.appended
    }

    #[inline]
    pub fn written(&self) -> u64 {
        self.shared.mark(WRITTEN_OFFSET).load(Ordering::Acquire)
    }

    #[inline]
    pub fn synced(&self) -> u64 {
        self.shared.mark(SYNCED_OFFSET).load(Ordering::Acquire)
    }

    /// As [`RingMemory::owner`]. Of a cache line that nobody writes while its owner lives.
    #[inline]
    pub fn owner(&self) -> u64 {
        self.shared.mark(OWNER_OFFSET).load(Ordering::Acquire)
    }

    /// Whether everything before `end` may be mutated. Looks at the reader's mark only when its last value is not enough.
    #[inline]
    pub fn has_room(&mut self, end: u64) -> bool {
        if end <= self.limit {
            return true;
        }
        // A mark beyond our own can only be a foreign write to the header page; it gives no room.
        let synced = self.synced();
        if synced <= self.appended {
            self.limit = self.limit.max(floor_page(synced) + self.shared.ring_bytes());
        }
        end <= self.limit
    }

    /// # Panics
    /// When the range is not within `[appended, limit)`, or straddles the end of the ring.
    #[inline]
    pub fn mutable(&mut self, position: u64, length: u64) -> &mut [u8] {
        assert!(position >= self.appended && length <= self.shared.ring_bytes() && position + length <= self.limit);
        let pointer = self.shared.to_write(position, length);
        // SAFETY: `to_write` keeps the range within the data. The reader's slices lie in [floor(synced), appended), of values no newer than ours:
        // its own `synced` is at least the one that `limit` came from, and it sees no `appended` beyond ours. So the ranges are disjoint modulo
        // `ring_bytes`, and `&mut self` excludes the writer's own other slices.
        unsafe { std::slice::from_raw_parts_mut(pointer, length as usize) }
    }

    /// Bytes of any position. What they are worth is the caller's to know: the last `ring_bytes` before its tail hold what it put there.
    ///
    /// # Panics
    /// When the range straddles the end of the ring.
    #[inline]
    pub fn read(&self, position: u64, length: u64) -> &[u8] {
        let pointer = self.shared.to_read(position, length);
        // SAFETY: `to_read` keeps the range within the data. Only the writer mutates data, and only through `&mut self`.
        unsafe { std::slice::from_raw_parts(pointer, length as usize) }
    }

    /// Asks for the cache line of `position`, of any lap, to be written.
    #[inline]
    pub fn prefetch(&self, position: u64) {
        self.shared.prefetch(position);
    }

    /// Gives everything before `position` to the reader.
    ///
    /// # Panics
    /// When it would go back, or beyond what could have been mutated.
    #[inline]
    pub fn publish(&mut self, position: u64) {
        assert!(position >= self.appended && position <= self.limit);
        self.appended = position;
        self.shared.mark(APPENDED_OFFSET).store(position, Ordering::Release);
    }

    pub fn watermarks(&self) -> Watermarks {
        Watermarks { shared: Arc::clone(&self.shared) }
    }
}

impl RingReader {
    pub fn ring_bytes(&self) -> u64 {
        self.shared.ring_bytes()
    }

    /// How far the writer has published. Never less than our own marks.
    pub fn appended(&mut self) -> u64 {
        let appended = self.shared.mark(APPENDED_OFFSET).load(Ordering::Acquire);
        // Beyond these bounds lies only a foreign write to the header page.
        let appended = appended.clamp(self.written, floor_page(self.synced) + self.shared.ring_bytes());
        self.seen = self.seen.max(appended);
        appended
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn synced(&self) -> u64 {
        self.synced
    }

    pub fn owner(&self) -> u64 {
        self.shared.mark(OWNER_OFFSET).load(Ordering::Acquire)
    }

    /// # Panics
    /// When the range is not within `[floor(synced), appended)`, of the last look at `appended`, or straddles the end of the ring.
    pub fn read(&self, position: u64, length: u64) -> &[u8] {
        assert!(
            position >= floor_page(self.synced) && length <= self.shared.ring_bytes() && position + length <= self.seen
        );
        let pointer = self.shared.to_read(position, length);
        // SAFETY: `to_read` keeps the range within the data. It is within [floor(synced), seen), `seen` was published, and what was the writer does not mutate: it
        // never mutates below its `appended`, nor at or beyond floor(synced) + ring_bytes; `synced` moves only by `&mut self`.
        unsafe { std::slice::from_raw_parts(pointer, length as usize) }
    }

    /// # Panics
    /// When the mark would go back, or beyond the last look at `appended`.
    pub fn set_written(&mut self, position: u64) {
        assert!(position >= self.written && position <= self.seen);
        self.written = position;
        self.shared.mark(WRITTEN_OFFSET).store(position, Ordering::Release);
    }

    /// # Panics
    /// When the mark would go back or beyond `written`.
    pub fn set_synced(&mut self, position: u64) {
        assert!(position >= self.synced && position <= self.written);
        self.synced = position;
        self.shared.mark(SYNCED_OFFSET).store(position, Ordering::Release);
    }

    pub fn watermarks(&self) -> Watermarks {
        Watermarks { shared: Arc::clone(&self.shared) }
    }
}

impl Watermarks {
    #[inline]
    pub fn appended(&self) -> u64 {
        self.shared.mark(APPENDED_OFFSET).load(Ordering::Acquire)
    }

    #[inline]
    pub fn written(&self) -> u64 {
        self.shared.mark(WRITTEN_OFFSET).load(Ordering::Acquire)
    }

    #[inline]
    pub fn synced(&self) -> u64 {
        self.shared.mark(SYNCED_OFFSET).load(Ordering::Acquire)
    }
}

#[inline]
fn floor_page(position: u64) -> u64 {
    position & !(PAGE_BYTES - 1)
}

fn check_ring_bytes(ring_bytes: u64) -> io::Result<()> {
    if ring_bytes.is_power_of_two() && (RING_BYTES_MIN..=1 << 40).contains(&ring_bytes) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("a ring of {ring_bytes} bytes: it must be a power of two of at least {RING_BYTES_MIN}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(position: u64) -> (RingWriter, RingReader, RingKeeper) {
        let (mut memory, keeper) = RingMemory::anonymous(RING_BYTES_MIN).unwrap();
        memory.reset(&[7; IDENTITY_BYTES], 3, position);
        let (writer, reader) = memory.split();
        (writer, reader, keeper)
    }

    #[test]
    fn the_reader_sees_what_was_published_and_no_more() {
        let (mut writer, mut reader, _) = ring(100);
        writer.mutable(100, 4).copy_from_slice(b"abcd");
        assert_eq!(reader.appended(), 100);
        writer.publish(104);
        assert_eq!(reader.appended(), 104);
        assert_eq!(reader.read(100, 4), b"abcd");
    }

    #[test]
    fn room_comes_back_only_with_whole_synced_pages() {
        let (mut writer, mut reader, _) = ring(0);
        assert!(writer.has_room(RING_BYTES_MIN));
        assert!(!writer.has_room(RING_BYTES_MIN + 1));
        writer.publish(PAGE_BYTES + 1);
        assert_eq!(reader.appended(), PAGE_BYTES + 1);
        reader.set_written(PAGE_BYTES + 1);
        reader.set_synced(PAGE_BYTES - 1);
        assert!(!writer.has_room(RING_BYTES_MIN + 1));
        reader.set_synced(PAGE_BYTES + 1);
        assert!(writer.has_room(RING_BYTES_MIN + PAGE_BYTES));
        assert!(!writer.has_room(RING_BYTES_MIN + PAGE_BYTES + 1));
    }

    #[test]
    #[should_panic(expected = "position >= self.appended")]
    fn the_writer_cannot_touch_what_it_published() {
        let (mut writer, _reader, _) = ring(0);
        writer.publish(64);
        writer.mutable(0, 64);
    }

    #[test]
    #[should_panic(expected = "straddles")]
    fn no_slice_straddles_the_end_of_the_ring() {
        let (writer, _reader, _) = ring(0);
        writer.read(RING_BYTES_MIN - 8, 16);
    }

    #[test]
    fn kept_memory_opens_again_only_when_both_sides_are_gone() {
        let (mut writer, reader, keeper) = ring(0);
        writer.mutable(0, 1)[0] = 9;
        writer.publish(1);
        assert!(keeper.open().is_none());
        drop(writer);
        assert!(keeper.open().is_none());
        drop(reader);
        let memory = keeper.open().unwrap();
        assert_eq!(memory.data()[0], 9);
        assert_eq!(memory.marks(), Marks { appended: 1, written: 0, synced: 0 });
        assert_eq!((memory.owner(), memory.identity()[0]), (3, 7));
        assert!(keeper.open().is_none());
    }

    #[test]
    fn a_foreign_mark_in_the_header_page_gives_neither_side_more() {
        let (mut writer, mut reader, _) = ring(0);
        writer.shared.mark(SYNCED_OFFSET).store(u64::MAX, Ordering::Relaxed);
        assert!(!writer.has_room(RING_BYTES_MIN + 1));
        writer.shared.mark(APPENDED_OFFSET).store(u64::MAX, Ordering::Relaxed);
        assert_eq!(reader.appended(), RING_BYTES_MIN);
    }
}
