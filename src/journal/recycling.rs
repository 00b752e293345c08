//! Who lets the oldest segment be overwritten: what flusher, stager and archiver tell each other of it.
//!
//! Segments are a circle, so the one that is overwritten next is always the oldest. Before its first write into it the flusher asks
//! here. An archive that is required holds it for as long as it takes; a resend that still reads from it, for a bounded time. While it is held
//! the ring takes what is appended, and a full ring is back-pressure on the sockets.

use std::sync::Arc;

use super::Geometry;
use crate::sys::sync::{AtomicU8, AtomicU64, Ordering, fence};

/// Why the flusher does not go on to the next segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Hold {
    /// A resend needs what the oldest segment holds.
    Resend = 1,
    /// The oldest segment is not archived, and has to be.
    Archive = 2,
}

/// Shared by one journal's flusher, stager and archiver; each number has one writer.
#[derive(Debug)]
pub struct Recycling {
    geometry: Geometry,
    /// Segments before it are gone, since there were fewer files when they were overwritten.
    first: u64,
    /// The flusher's: the newest segment that it may have written into.
    entered: AtomicU64,
    /// The archiver's: every segment before this one is archived. `u64::MAX` where nobody waits for that.
    archived: AtomicU64,
    /// The stager's: the lowest position that a resend may still read. `u64::MAX` where there is none.
    needed: AtomicU64,
    resend_hold_ns_max: AtomicU64,
    /// The flusher's: a [`Hold`], or 0.
    hold: AtomicU8,
    holds: AtomicU64,
    holds_expired: AtomicU64,
}

impl Recycling {
    /// Nothing holds the flusher, until it is asked for. `end` is where the journal goes on.
    pub(super) fn new(geometry: Geometry, end: u64, first: u64) -> Arc<Self> {
        Arc::new(Self {
            geometry,
            first,
            entered: AtomicU64::new(end.saturating_sub(1) / geometry.segment_bytes),
            archived: AtomicU64::new(u64::MAX),
            needed: AtomicU64::new(u64::MAX),
            resend_hold_ns_max: AtomicU64::new(0),
            hold: AtomicU8::new(0),
            holds: AtomicU64::new(0),
            holds_expired: AtomicU64::new(0),
        })
    }

    /// A segment waits to be overwritten for so long, at most, while a resend reads it. 0 lets no resend hold anything.
    pub fn set_resend_hold_max(&self, ns: u64) {
        self.resend_hold_ns_max.store(ns, Ordering::Relaxed);
    }

    /// From now on no segment is overwritten that is not before the last [`Recycling::set_archived`].
    pub fn require_archive(&self) {
        // What is gone is waited for no more.
        self.archived.store(self.first, Ordering::Release);
    }

    /// All segments before `segment` are archived.
    pub fn set_archived(&self, segment: u64) {
        self.archived.store(segment, Ordering::Release);
    }

    pub(super) fn set_needed(&self, position: u64) {
        self.needed.store(position, Ordering::Release);
    }

    /// The oldest segment that the flusher has surely not written into again. Whoever has read from a segment and finds it no
    /// older than this afterwards has read nothing of a later lap.
    pub fn oldest_segment(&self) -> u64 {
        // After the reads before it.
        fence(Ordering::SeqCst);
        (self.entered.load(Ordering::SeqCst) + 1).saturating_sub(self.geometry.segments.into()).max(self.first)
    }

    /// Where that segment begins.
    pub fn oldest_position(&self) -> u64 {
        self.oldest_segment() * self.geometry.segment_bytes
    }

    /// What the flusher waits for now.
    pub fn hold(&self) -> Option<Hold> {
        match self.hold.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Hold::Resend),
            _ => Some(Hold::Archive),
        }
    }

    /// How often the flusher had to wait.
    pub fn holds(&self) -> u64 {
        self.holds.load(Ordering::Relaxed)
    }

    /// How often it went on although a resend still needed the segment.
    pub fn holds_expired(&self) -> u64 {
        self.holds_expired.load(Ordering::Relaxed)
    }
}

/// The flusher's side.
pub(super) struct Recycler {
    recycling: Arc<Recycling>,
    /// What lies before may be written without asking.
    free_end: u64,
    /// When the segment at `free_end` was first held.
    held_since_ns: Option<u64>,
}

impl Recycler {
    pub fn new(recycling: Arc<Recycling>) -> Self {
        let free_end = (recycling.entered.load(Ordering::Relaxed) + 1) * recycling.geometry.segment_bytes;
        Self { recycling, free_end, held_since_ns: None }
    }

    /// Whether the bytes at `position` may be written now. `waiting_bytes` are in the ring and not yet synced.
    #[inline]
    pub fn may_write(&mut self, position: u64, waiting_bytes: u64, now_ns: u64) -> bool {
        position < self.free_end || self.may_enter(position / self.geometry().segment_bytes, waiting_bytes, now_ns)
    }

    /// From now on none holds anything.
    pub fn end_resends(&self) {
        self.recycling.set_resend_hold_max(0);
    }

    pub fn is_held(&self) -> bool {
        self.held_since_ns.is_some()
    }

    fn may_enter(&mut self, segment: u64, waiting_bytes: u64, now_ns: u64) -> bool {
        let oldest = segment.checked_sub(self.geometry().segments.into());
        let hold = oldest.and_then(|oldest| self.hold(oldest, waiting_bytes, now_ns));
        let recycling = &*self.recycling;
        recycling.hold.store(hold.map_or(0, |hold| hold as u8), Ordering::Relaxed);
        if hold.is_some() {
            if self.held_since_ns.is_none() {
                self.held_since_ns = Some(now_ns);
                recycling.holds.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        self.held_since_ns = None;
        self.free_end = (segment + 1) * recycling.geometry.segment_bytes;
        recycling.entered.store(segment, Ordering::SeqCst);
        // Before the writes that follow it.
        fence(Ordering::SeqCst);
        true
    }

    fn hold(&self, oldest: u64, waiting_bytes: u64, now_ns: u64) -> Option<Hold> {
        let recycling = &*self.recycling;
        if recycling.archived.load(Ordering::Acquire) <= oldest {
            return Some(Hold::Archive);
        }
        let hold_ns_max = recycling.resend_hold_ns_max.load(Ordering::Relaxed);
        let oldest_end = (oldest + 1) * recycling.geometry.segment_bytes;
        if hold_ns_max == 0 || recycling.needed.load(Ordering::Acquire) >= oldest_end {
            return None;
        }
        let held_ns = self.held_since_ns.map_or(0, |since_ns| now_ns.saturating_sub(since_ns));
        // Resends pause while so much waits for the volume: to hold on would gain nothing, and cost the other sessions.
        if held_ns < hold_ns_max && waiting_bytes <= recycling.geometry.ring_bytes / 4 {
            return Some(Hold::Resend);
        }
        recycling.holds_expired.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn geometry(&self) -> &Geometry {
        &self.recycling.geometry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 10;
    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: SEGMENT, segment_bytes: SEGMENT, segments: 3 };

    #[test]
    fn a_lap_of_free_segments_asks_nobody() {
        let recycling = Recycling::new(GEOMETRY, 0, 0);
        recycling.require_archive();
        recycling.set_resend_hold_max(1);
        recycling.set_needed(0);
        let mut recycler = Recycler::new(Arc::clone(&recycling));
        assert!((0..3).all(|segment| recycler.may_write(segment * SEGMENT, 0, 0)));
        assert_eq!((recycling.holds(), recycling.oldest_segment()), (0, 0));
        assert!(!recycler.may_write(3 * SEGMENT, 0, 0));
    }

    #[test]
    fn what_is_gone_is_not_waited_for() {
        let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 2);
        recycling.require_archive();
        let mut recycler = Recycler::new(Arc::clone(&recycling));
        assert!(recycler.may_write(3 * SEGMENT, 0, 0) && recycler.may_write(4 * SEGMENT, 0, 0));
        assert!(!recycler.may_write(5 * SEGMENT, 0, 0));
    }

    #[test]
    fn a_required_archive_holds_the_oldest_segment_for_as_long_as_it_takes() {
        let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 0);
        recycling.require_archive();
        let mut recycler = Recycler::new(Arc::clone(&recycling));
        for now_ns in [0, 1_000_000_000_000] {
            assert!(!recycler.may_write(3 * SEGMENT, SEGMENT, now_ns));
        }
        assert_eq!((recycling.hold(), recycling.holds(), recycling.oldest_segment()), (Some(Hold::Archive), 1, 0));
        recycling.set_archived(1);
        assert!(recycler.may_write(3 * SEGMENT, SEGMENT, 0) && recycler.may_write(4 * SEGMENT - 64, SEGMENT, 0));
        assert_eq!((recycling.hold(), recycling.oldest_segment()), (None, 1));
        assert!(!recycler.may_write(4 * SEGMENT, 0, 0));
    }

    #[test]
    fn a_resend_holds_what_it_needs_up_to_its_bound() {
        let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 0);
        recycling.set_needed(SEGMENT - 64);
        let mut recycler = Recycler::new(Arc::clone(&recycling));
        recycling.set_resend_hold_max(100);
        assert!(!recycler.may_write(3 * SEGMENT, 64, 1_000));
        assert!(!recycler.may_write(3 * SEGMENT, 64, 1_099) && recycler.is_held());
        assert_eq!((recycling.hold(), recycling.holds_expired()), (Some(Hold::Resend), 0));
        assert!(recycler.may_write(3 * SEGMENT, 64, 1_100) && !recycler.is_held());
        assert_eq!((recycling.holds(), recycling.holds_expired()), (1, 1));
        // The next segment has its own bound, and is held no longer than it is needed.
        recycling.set_needed(SEGMENT);
        assert!(!recycler.may_write(4 * SEGMENT, 64, 1_200));
        recycling.set_needed(2 * SEGMENT);
        assert!(recycler.may_write(4 * SEGMENT, 64, 1_201));
        assert_eq!((recycling.holds(), recycling.holds_expired()), (2, 1));
    }

    #[test]
    fn a_resend_holds_nothing_once_the_ring_fills_or_where_it_may_not() {
        for (hold_ns_max, waiting_bytes, expired) in [(0, 64, 0), (100, SEGMENT / 4 + 64, 1)] {
            let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 0);
            recycling.set_needed(0);
            recycling.set_resend_hold_max(hold_ns_max);
            assert!(Recycler::new(Arc::clone(&recycling)).may_write(3 * SEGMENT, waiting_bytes, 0));
            assert_eq!((recycling.holds(), recycling.holds_expired()), (0, expired));
        }
    }
}
