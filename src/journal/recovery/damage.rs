//! Whether a journal's end is one: what proves that it had gone further, on stable media, than it can be read now.
//!
//! A journal legitimately ends at the first commit that is not whole, since what was never synced may be torn. Where something proves that the place had
//! been synced, the volume has lost it, or the directory is an older copy; numbers beyond it have left.

use super::super::record::{header_at, is_valid};
use super::super::scan::{Incarnations, SegmentSource, Source, record_at};
use super::super::{Geometry, HEADER_BYTES, Kind, Manifest, RecordHeader, Storage, StorageError};
use super::Scan;
use super::behind::Behind;
use super::heads::{Start, claimed_segments};
use super::ring::FoundRing;

/// Where a journal ends, and what proves that it had gone on.
#[derive(Clone, Debug)]
pub(in crate::journal) struct Damage {
    pub why: String,
    pub behind: Behind,
}

/// `None` where nothing proves that the journal went on behind the scan's end.
pub(super) fn look<S: Storage>(
    manifest: &Manifest,
    journal: u16,
    starts: &[Start],
    segments: &SegmentSource<S>,
    ring: Option<&FoundRing<'_>>,
    scan: &Scan,
) -> Result<Option<Damage>, StorageError> {
    let (geometry, end) = (manifest.geometry, scan.at);
    // The window of the one that is replayed from stays.
    let mut segments = segments.clone();
    let mut behind = Behind::default();
    behind.look(&mut segments, &geometry, scan.incarnations, end)?;
    if let Some(mut source) = ring.and_then(FoundRing::source) {
        behind.look(&mut source, &geometry, scan.incarnations, end)?;
    }
    // One that is a lap ahead or more would have left others behind it: its number is damaged.
    let last = end / geometry.segment_bytes + u64::from(geometry.segments);
    let is_later = |segment: &u64| segment * geometry.segment_bytes > end && *segment < last;
    let later: Vec<u64> = claimed_segments(starts, manifest, journal).into_iter().filter(is_later).collect();
    let proof = match proof(manifest, journal, ring, &later, &behind, end) {
        Some(proof) => proof,
        None => match almost_whole(&mut segments, &geometry, scan.incarnations, end)? {
            Some(position) => format!("the record at {position} is whole but for one bit, as no write is torn"),
            None => return Ok(None),
        },
    };
    for segment in later {
        behind.look(&mut segments, &geometry, scan.incarnations, segment * geometry.segment_bytes)?;
    }
    let (slot, offset) = geometry.slot(journal, end);
    let records = match behind.records {
        0 => String::new(),
        records => format!("; {records} whole records lie behind it"),
    };
    let why = format!(
        "journal {journal} cannot be read from position {end} on (byte {offset} of segment-{}.seg), although {proof}, and the ring does not have what is missing{records}",
        slot.number
    );
    Ok(Some(Damage { why, behind }))
}

/// So much of a record is tried, since each bit costs a CRC.
const TRIED_BYTES_MAX: u64 = 4096;
/// The least that a device writes as a whole.
const SECTOR_BYTES: u64 = 512;

/// Where in the commit at `end` a record lies of which one bit is another than it was. A write is
/// torn between sectors, so that one was there.
fn almost_whole<S: Storage>(
    segments: &mut SegmentSource<S>,
    geometry: &Geometry,
    incarnations: Incarnations,
    end: u64,
) -> Result<Option<u64>, StorageError> {
    let lap_end = (end / geometry.ring_bytes + 1) * geometry.ring_bytes;
    let mut at = end;
    while at < lap_end
        && let Some((header, _)) = record_at(segments, geometry, at)?
        && u64::from(header.commit_offset) == at - end
        && header.kind != Kind::Pad
    {
        at += header.padded_bytes();
    }
    if at >= lap_end {
        return Ok(None);
    }
    let mut bytes = segments.bytes(at, TRIED_BYTES_MAX.min(lap_end - at))?.to_vec();
    let mut bits = HEADER_BYTES * 8;
    if let Some(header) = header_at(&bytes, at, lap_end) {
        bits = (8 * u64::from(header.length)).min(8 * bytes.len() as u64);
    }
    for bit in 0..bits {
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        bytes[byte] ^= mask;
        let header = header_at(&bytes, at, lap_end);
        let is_whole =
            |header: &RecordHeader| incarnations.accept(header.incarnation, at) && is_valid(&bytes, at, header);
        // The delimiter that ends a message is one bit, and a sector may be missing of which it has
        // no other byte.
        let is_alone = |header: &RecordHeader| {
            byte as u64 + 1 == u64::from(header.length) && (at + byte as u64).is_multiple_of(SECTOR_BYTES)
        };
        if header.is_some_and(|header| is_whole(&header) && !is_alone(&header)) {
            return Ok(Some(at));
        }
        bytes[byte] ^= mask;
    }
    Ok(None)
}

fn proof(
    manifest: &Manifest,
    journal: u16,
    ring: Option<&FoundRing<'_>>,
    later: &[u64],
    behind: &Behind,
    end: u64,
) -> Option<String> {
    if let Some(synced) = manifest.last_use.synced_of(journal).filter(|synced| *synced > end) {
        return Some(format!("the manifest says that it was synced up to {synced}"));
    }
    if let Some(synced) = ring.and_then(|ring| ring.synced()).filter(|synced| *synced > end) {
        return Some(format!("the ring says that it was synced up to {synced}"));
    }
    if behind.synced > end {
        return Some(format!(
            "the record at {} says that it was synced up to {}",
            behind.synced_said_at, behind.synced
        ));
    }
    // The newest comes first.
    let segment = later.first()?;
    Some(format!("segment {segment} was begun, which follows what is synced"))
}
