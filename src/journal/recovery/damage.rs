//! Whether a journal's end is one: what proves that it had gone further, on stable media, than it can be read now.
//!
//! A journal legitimately ends at the first commit that is not whole, since what was never synced may be torn. Where something proves that the place had
//! been synced, the volume has lost it, or the directory is an older copy; numbers beyond it have left.

use super::super::scan::SegmentSource;
use super::super::{Manifest, Storage, StorageError};
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
    let proof = proof(manifest, journal, ring, &later, &behind, end);
    let Some(proof) = proof else { return Ok(None) };
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
    if let Some(synced) = ring.and_then(|ring| ring.synced(manifest)).filter(|synced| *synced > end) {
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
