//! What proves that the manifest is older than the journal: a whole record of an incarnation that it does not know of.
//!
//! A manifest that was put back from a copy names an earlier start as the last one. All that later starts have written would be passed over, the
//! journal would end before it, and numbers that have left would be used again.

use super::super::record::header_at;
use super::super::scan::{SegmentSource, Source, record_at};
use super::super::state::timeline_tag;
use super::super::{HEADER_BYTES, Kind, Manifest, OpenError, RECORD_ALIGN, Storage, StorageError};
use super::heads::Start;

/// A start that the manifest does not know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Newer {
    pub incarnation: u32,
    pub why: String,
}

/// Of what lies beyond the end, so many times the ring's length is checked at most, as in `volume.rs`.
const CHECKED_RINGS_MAX: u64 = 16;

/// The newest start that left a whole head: before anything is made of the others, which may all be gone by then.
pub(super) fn in_heads<S: Storage>(
    segments: &mut SegmentSource<S>,
    starts: &[Start],
    manifest: &Manifest,
    journal: u16,
) -> Result<Option<Newer>, StorageError> {
    let geometry = manifest.geometry;
    let mut newest: Option<(u32, u64)> = None;
    for start in starts.iter().filter(|start| start.incarnation > manifest.incarnation) {
        let Some(segment) = start.segment_of(manifest, journal) else { continue };
        let position = segment.saturating_mul(geometry.segment_bytes);
        // One that does not lie in its own file is none of ours.
        let head = if position < u64::MAX / 4 { record_at(segments, &geometry, position)? } else { None };
        if let Some((header, _)) = head.filter(|(header, _)| header.kind == Kind::State) {
            newest = newest.max(Some((header.incarnation, position)));
        }
    }
    Ok(newest.map(|found| told(manifest, journal, found)))
}

fn told(manifest: &Manifest, journal: u16, (incarnation, position): (u32, u64)) -> Newer {
    let why = format!(
        "journal {journal} has a record of start {incarnation} at {position}, and the manifest knows of {} starts, so the manifest is older than the journal: it was put back from a copy",
        manifest.incarnation
    );
    Newer { incarnation, why }
}

/// The first whole record of a later start between the journal's end and a ring's length ahead, in the same segment. `end` is where a scan up to
/// the manifest's incarnation ends.
pub(super) fn beyond<S: Storage>(
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    journal: u16,
    end: u64,
) -> Result<Option<Newer>, StorageError> {
    let (geometry, last) = (&manifest.geometry, manifest.incarnation);
    let segment_end = (end / geometry.segment_bytes + 1) * geometry.segment_bytes;
    let limit = segment_end.min(end + geometry.ring_bytes);
    let mut checked_bytes = 0;
    let mut at = end;
    while at < limit && checked_bytes <= CHECKED_RINGS_MAX * geometry.ring_bytes {
        let header = header_at(segments.bytes(at, HEADER_BYTES)?, at, limit);
        let header = header.filter(|header| {
            header.incarnation > last
                && (header.kind == Kind::Pad || u64::from(header.length) <= geometry.commit_bytes_max())
        });
        if let Some(header) = header {
            checked_bytes += header.padded_bytes();
            if record_at(segments, geometry, at)?.is_some() {
                return Ok(Some(told(manifest, journal, (header.incarnation, at))));
            }
        }
        at += RECORD_ALIGN;
    }
    Ok(None)
}

/// An error where a segment is of another timeline of this directory: of a branch that a restore has left, or that began with another.
pub(super) fn check_timeline<S: Storage>(
    segments: &mut SegmentSource<S>,
    starts: &[Start],
    manifest: &Manifest,
    journal: u16,
) -> Result<(), OpenError> {
    let geometry = manifest.geometry;
    let ours = timeline_tag(*manifest.timeline.as_bytes());
    // What is older than the timeline is of those before it; what is newer is the manifest's fault.
    let known = manifest.timeline_from..=manifest.incarnation;
    for (number, start) in starts.iter().enumerate() {
        let is_other = start.timeline.is_some_and(|timeline| timeline != ours) && known.contains(&start.incarnation);
        let Some(segment) = start.segment_of(manifest, journal).filter(|_| is_other) else { continue };
        let position = segment.saturating_mul(geometry.segment_bytes);
        if position < u64::MAX / 4 && record_at(segments, &geometry, position)?.is_some() {
            let why = format!("segment-{number}.seg belongs to another timeline of this data directory");
            return Err(OpenError::Damaged { journal, why });
        }
    }
    Ok(())
}
