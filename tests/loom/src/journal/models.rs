//! The flusher's sleep, and the question before a segment is overwritten.

use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use loom::thread;

use super::Geometry;
use super::recycling::{Recycler, Recycling};
use super::wanted::Wanted;

const SEGMENT: u64 = 64 << 10;
const GEOMETRY: Geometry = Geometry { ring_bytes: SEGMENT, segment_bytes: SEGMENT, segments: 3 };

/// The worker publishes and begins to wait; the flusher carries what is published, and sleeps where nobody waits. Where a wake is lost, both wait for
/// ever, which loom tells.
pub fn a_sleeping_flusher_is_woken() {
    let wanted = Arc::new(Wanted::default());
    let appended = Arc::new(AtomicU64::new(0));
    let (flusher_wanted, flusher_appended) = (Arc::clone(&wanted), Arc::clone(&appended));
    let flusher = thread::spawn(move || {
        let mut synced = 0;
        while synced < 2 {
            if flusher_wanted.position() > synced {
                let wanted = flusher_wanted.position();
                synced = flusher_appended.load(Acquire);
                assert!(synced >= wanted, "it was woken for what it cannot see");
            } else {
                flusher_wanted.sleep(synced, Duration::MAX);
            }
        }
    });
    for position in 1..=2 {
        appended.store(position, Release);
        wanted.raise(position);
    }
    flusher.join().expect("the flusher");
}

/// A stager reads a segment without a lock and asks afterwards whether it may have been overwritten meanwhile.
pub fn what_is_read_of_a_segment_is_known_to_be_of_its_lap() {
    let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 0);
    // What the first segment's file holds: the number of the lap.
    let file = Arc::new(AtomicU64::new(0));
    let (flusher_recycling, flusher_file) = (std::sync::Arc::clone(&recycling), Arc::clone(&file));
    let flusher = thread::spawn(move || {
        let mut recycler = Recycler::new(flusher_recycling);
        assert!(recycler.may_write(3 * SEGMENT, 0, 0), "nothing holds it");
        flusher_file.store(1, Relaxed);
    });
    let lap = file.load(Relaxed);
    if recycling.oldest_segment() == 0 {
        assert_eq!(lap, 0, "bytes of a later lap are taken for the older segment's");
    }
    flusher.join().expect("the flusher");
}

pub fn an_archived_segment_alone_is_overwritten() {
    let recycling = Recycling::new(GEOMETRY, 3 * SEGMENT, 0);
    recycling.require_archive();
    let file = Arc::new(UnsafeCell::new(0));
    let (archiver_recycling, archiver_file) = (std::sync::Arc::clone(&recycling), Arc::clone(&file));
    let archiver = thread::spawn(move || {
        // Its copy is made before it says so.
        archiver_file.with(|_| ());
        archiver_recycling.set_archived(1);
    });
    let mut recycler = Recycler::new(recycling);
    while !recycler.may_write(3 * SEGMENT, 0, 0) {
        thread::yield_now();
    }
    file.with_mut(|_| ());
    archiver.join().expect("the archiver");
}
