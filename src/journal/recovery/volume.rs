//! What recovery changes on the volume: everything before the end is durable afterwards, and nothing is left beyond it.

use std::collections::VecDeque;

use crate::sys::ring::{PAGE_BYTES, RingMemory};

use super::super::flusher::{ZEROED_MARK, Zeroing, zero_segment};
use super::super::pages::Pages;
use super::super::record::header_at;
use super::super::scan::{Incarnations, SegmentSource, Source, record_at};
use super::super::{Geometry, HEADER_BYTES, Kind, Manifest, RECORD_ALIGN, RecordHeader, Slot, Storage, StorageError};
use super::Found;
use super::heads::{START_BYTES, Start, read_pages};

/// The flusher's first write begins at the start of the page that the journal ends in, and takes it from the ring.
pub(in crate::journal) fn refill_last_page<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    found: &Found<S>,
    ring: &mut RingMemory,
) -> Result<(), StorageError> {
    let from = found.end & !(PAGE_BYTES - 1);
    let bytes = (found.end - from) as usize;
    if bytes > 0 {
        let (slot, offset) = manifest.geometry.slot(found.journal, from);
        let at = (from % manifest.geometry.ring_bytes) as usize;
        storage.read(slot, offset, &mut ring.data_mut()[at..at + bytes])?;
    }
    Ok(())
}

/// Of a whole segment so much is read at once.
const READ_BYTES: u64 = 1 << 20;
/// Of what lies beyond the end, so many times the ring's length is checked at most; more can only be made to look like records.
const CHECKED_RINGS_MAX: u64 = 16;

/// Copies what lies beyond the end and still parses, up to the last such record, and then clears it: a peer chose what is in those bytes, and
/// no later scan shall come upon them. The bytes that it copied, and how many of them are records of a fenced process.
///
/// The flusher syncs one segment before it writes the next, so they lie in the end's own segment, less than a ring's length ahead.
pub(super) fn quarantine_beyond<S: Storage>(
    storage: &S,
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    journal: u16,
    end: u64,
) -> Result<(u64, u64), StorageError> {
    let geometry = manifest.geometry;
    let incarnations = Incarnations::of(manifest, journal);
    let mut fenced_bytes = 0;
    let segment_end = (end / geometry.segment_bytes + 1) * geometry.segment_bytes;
    let limit = segment_end.min(end + geometry.ring_bytes);
    // Bytes that look like headers of long records, one after the other, would cost their length each.
    let mut checked_bytes = 0;
    let mut found_end = end;
    let mut at = end;
    while at < limit {
        let header = header_at(segments.bytes(at, HEADER_BYTES)?, at, limit);
        // An older incarnation's was beyond an earlier end already, and put aside then: unless it was written since.
        let is_fenced = |header: &RecordHeader| incarnations.is_fenced(header.incarnation, at);
        let Some(header) = header.filter(|header| header.incarnation == manifest.incarnation || is_fenced(header))
        else {
            at += RECORD_ALIGN;
            continue;
        };
        // Between records lie bytes of earlier laps, among them headers that the end of a payload has changed: their lengths are anything.
        if header.kind != Kind::Pad && u64::from(header.length) > geometry.commit_bytes_max() {
            at += RECORD_ALIGN;
            continue;
        }
        checked_bytes += header.padded_bytes();
        if checked_bytes > CHECKED_RINGS_MAX * geometry.ring_bytes {
            found_end = limit;
            break;
        }
        if record_at(segments, &geometry, at)?.is_some() {
            fenced_bytes += if is_fenced(&header) { header.padded_bytes() } else { 0 };
            found_end = at + header.padded_bytes();
            at = found_end;
        } else {
            at += RECORD_ALIGN;
        }
    }
    if found_end == end {
        return Ok((0, 0));
    }
    let mut bytes = vec![0; (found_end - end) as usize];
    let (slot, offset) = geometry.slot(journal, end);
    storage.read(slot, offset, &mut bytes)?;
    let name = format!("journal-{journal}-beyond-{end}-of-incarnation-{}", manifest.incarnation);
    storage.quarantine(&name, &bytes)?;
    bytes.fill(0);
    storage.write(slot, offset, &bytes)?;
    storage.sync(slot)?;
    segments.forget();
    Ok((found_end - end, fenced_bytes))
}

/// What was read may so far be in the page cache alone, even where a sync failed and the next one would say nothing of it: a lost pod
/// leaves that to the next one on its node. So what may never have been synced is written again. Nothing before the last segment can need
/// it: the flusher syncs each before it writes the next.
pub(super) fn make_durable<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    synced: u64,
    end: u64,
) -> Result<(), StorageError> {
    let mut bytes = Vec::new();
    let last_segment = end.saturating_sub(1) / geometry.segment_bytes * geometry.segment_bytes;
    let mut at = synced.max(last_segment);
    while at < end {
        let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
        let to = end.min(lap_end);
        let (slot, offset) = geometry.slot(journal, at);
        bytes.resize((to - at) as usize, 0);
        storage.read(slot, offset, &mut bytes)?;
        storage.write(slot, offset, &bytes)?;
        storage.sync(slot)?;
        at = to;
    }
    storage.sync(geometry.slot(journal, end.saturating_sub(1)).0)
}

/// Writes `[from, to)` of the ring to the segments. Each segment is synced before the next is written, as the flusher does.
pub(super) fn carry_over<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    ring: &RingMemory,
    from: u64,
    to: u64,
) -> Result<(), StorageError> {
    let mut at = from;
    while at < to {
        let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
        let end = to.min(lap_end);
        let offset_in_ring = (at % geometry.ring_bytes) as usize;
        let (slot, offset) = geometry.slot(journal, at);
        storage.write(slot, offset, &ring.data()[offset_in_ring..][..(end - at) as usize])?;
        storage.sync(slot)?;
        at = end;
    }
    Ok(())
}

/// Zero-writes the segment that is written now and the one after it where they were only allocated; the others are left for later.
/// `starts` is how the files began before anything was written from `written_from` on.
pub(super) fn zero_ahead<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    starts: &[Start],
    (written_from, end): (u64, u64),
) -> Result<VecDeque<Zeroing>, StorageError> {
    let count = u64::from(geometry.segments);
    let first = end / geometry.segment_bytes;
    let before = first - (written_from / geometry.segment_bytes).min(first);
    let ahead = (0..count).filter_map(|ahead| {
        let number = ((first + ahead) % count) as u32;
        let is_known = !starts[number as usize].is_blank && ahead != 0 && ahead + before < count;
        (!is_known).then_some((ahead, Slot { journal, number }))
    });
    let ahead: Vec<_> = ahead.collect();
    // A segment with neither a beginning nor the mark of zero-writing at its end holds nothing.
    let last_page = geometry.segment_bytes - PAGE_BYTES;
    let places: Vec<_> = ahead.iter().flat_map(|(_, slot)| [(*slot, 0), (*slot, last_page)]).collect();
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let seen = read_pages(storage, &places, |page| {
        (is_zero(&page[..START_BYTES]), is_zero(&page[page.len() - ZEROED_MARK.len()..]))
    })?;
    let mut unzeroed = VecDeque::new();
    for ((ahead, slot), seen) in ahead.into_iter().zip(seen.chunks(2)) {
        if !(seen[0].0 && seen[1].1) {
            continue;
        }
        // The journal has been through it, so that it holds something unless the file is a new one.
        // Messages may be left between a beginning and an end that the volume has lost.
        if first + ahead >= count && !is_all_zeros(storage, geometry, slot)? {
            continue;
        }
        if ahead < 2 {
            zero_segment(storage, geometry, slot)?;
        } else {
            unzeroed.push_back(Zeroing { number: slot.number, offset: 0 });
        }
    }
    Ok(unzeroed)
}

fn is_all_zeros<S: Storage>(storage: &S, geometry: Geometry, slot: Slot) -> Result<bool, StorageError> {
    let mut pages = Pages::new(READ_BYTES.min(geometry.segment_bytes));
    let mut offset = 0;
    while offset < geometry.segment_bytes {
        let bytes = (geometry.segment_bytes - offset).min(READ_BYTES);
        let chunk = &mut pages.bytes_mut()[..bytes as usize];
        storage.read(slot, offset, chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += bytes;
    }
    Ok(true)
}
