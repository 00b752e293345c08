//! How each segment's file begins: which of them have a head, and whose.

use zerocopy::FromBytes;

use crate::sys::ring::{PAGE_BYTES, RingMemory};

use super::super::inspect::next_whole;
use super::super::pages::Pages;
use super::super::record::RawHeader;
use super::super::ring_file::is_of_this_directory;
use super::super::scan::{Incarnations, SegmentSource, record_at};
use super::super::state::{HeadIdentity, head_identity, head_timeline};
use super::super::{Geometry, HEADER_BYTES, Manifest, OpenError, RECORD_ALIGN, Read, Slot, Storage, StorageError};
use super::behind::Behind;

/// How a segment's file begins.
pub(in crate::journal) struct Start {
    /// Whose head its first record says it is, whatever its CRC says.
    identity: Option<HeadIdentity>,
    /// Of its first record, whatever its CRC says; 0 where there is none.
    pub(super) incarnation: u32,
    /// What its head has of its timeline's name, likewise.
    pub(super) timeline: Option<[u8; 4]>,
    /// Zeros, so far as they are looked at.
    pub is_blank: bool,
}

impl Start {
    /// The segment that it says it is, where it says that it is this journal's.
    pub(super) fn segment_of(&self, manifest: &Manifest, journal: u16) -> Option<u64> {
        let identity = self.identity?;
        (identity.uuid == *manifest.uuid.as_bytes() && identity.journal == journal).then_some(identity.segment)
    }
}

/// Of each file so much is looked at.
pub(super) const START_BYTES: usize = 512;
/// Files that are looked at together, at most: a page of memory each.
const TOGETHER_MAX: usize = 1024;

/// How all segments' files begin, by number.
pub(super) fn read_starts<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
) -> Result<Vec<Start>, StorageError> {
    let places: Vec<_> = (0..geometry.segments).map(|number| (Slot { journal, number }, 0)).collect();
    read_pages(storage, &places, |page| {
        let start = &page[..START_BYTES];
        let identity = head_identity(&start[HEADER_BYTES as usize..]).map(|(identity, _)| identity);
        let timeline = head_timeline(&start[HEADER_BYTES as usize..]);
        let incarnation = RawHeader::read_from_prefix(start).map_or(0, |(raw, _)| raw.incarnation.get());
        Start { identity, incarnation, timeline, is_blank: start.iter().all(|byte| *byte == 0) }
    })
}

/// What `look` makes of the page at each place.
pub(super) fn read_pages<S: Storage, R>(
    storage: &S,
    places: &[(Slot, u64)],
    mut look: impl FnMut(&[u8]) -> R,
) -> Result<Vec<R>, StorageError> {
    let mut seen = Vec::with_capacity(places.len());
    let mut pages = Pages::new(places.len().min(TOGETHER_MAX) as u64 * PAGE_BYTES);
    for places in places.chunks(TOGETHER_MAX) {
        let buffers = pages.bytes_mut().chunks_mut(PAGE_BYTES as usize);
        let read = |(&(slot, offset), buffer)| Read { slot, offset, buffer };
        storage.read_all(&mut places.iter().zip(buffers).map(read).collect::<Vec<_>>())?;
        seen.extend(pages.bytes().chunks(PAGE_BYTES as usize).take(places.len()).map(&mut look));
    }
    Ok(seen)
}

/// The segments that begin with a head of ours, newest first. Only what names the segment is looked at.
pub(in crate::journal) fn find_heads<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
) -> Result<Vec<u64>, StorageError> {
    Ok(heads_among(&read_starts(storage, manifest.geometry, journal)?, manifest, journal))
}

/// The segments that were begun, by what their heads say and whatever their CRCs do: the flusher syncs all of a segment before it writes the
/// next. Those of a fenced process are left out.
pub(super) fn claimed_segments(starts: &[Start], manifest: &Manifest, journal: u16) -> Vec<u64> {
    let segments = u64::from(manifest.geometry.segments);
    let incarnations = Incarnations::of(manifest, journal);
    let mut claimed = heads_among(starts, manifest, journal);
    claimed.retain(|segment| {
        let incarnation = starts[(segment % segments) as usize].incarnation;
        !incarnations.is_fenced(incarnation, segment * manifest.geometry.segment_bytes)
    });
    claimed
}

pub(super) fn heads_among(starts: &[Start], manifest: &Manifest, journal: u16) -> Vec<u64> {
    let geometry = manifest.geometry;
    let head = |(start, number): (&Start, u64)| {
        let identity = start.identity?;
        let ours = HeadIdentity { uuid: *manifest.uuid.as_bytes(), journal, segment: identity.segment };
        (identity == ours && may_lie_in(&geometry, identity.segment, number)).then_some(identity.segment)
    };
    let mut heads: Vec<u64> = starts.iter().zip(0..).filter_map(head).collect();
    heads.sort_unstable_by(|a, b| b.cmp(a));
    heads
}

/// Whether a segment's place is the file of this number, so that its positions can be computed.
fn may_lie_in(geometry: &Geometry, segment: u64, number: u64) -> bool {
    segment % u64::from(geometry.segments) == number && segment < u64::MAX / 4 / geometry.segment_bytes
}

/// A segment that says whose it is and is not ours was put there by hand: to pass it over would be to lose what was in ours.
/// Where the ring has the head that should be there instead, a head that is not whole is damage.
pub(super) fn check_ours<S: Storage>(
    segments: &mut SegmentSource<S>,
    starts: &[Start],
    manifest: &Manifest,
    journal: u16,
    in_ring: Option<u64>,
) -> Result<(), OpenError> {
    let geometry = manifest.geometry;
    let in_ring = in_ring.map(|segment| segment % u64::from(geometry.segments));
    for (start, number) in starts.iter().zip(0..) {
        let Some(head) = start.identity else { continue };
        if head.uuid == *manifest.uuid.as_bytes() && head.journal == journal {
            continue;
        }
        let is_whole = may_lie_in(&geometry, head.segment, number)
            && record_at(segments, &geometry, head.segment * geometry.segment_bytes)?.is_some();
        if is_whole || Some(number) != in_ring {
            let why = format!("segment-{number}.seg belongs to another data directory or journal");
            return Err(OpenError::Damaged { journal, why });
        }
    }
    Ok(())
}

/// Without any whole head, the journal can only be one whose first commits never reached the volume: then no later segment holds anything.
pub(super) fn check_new(starts: &[Start], journal: u16) -> Result<(), OpenError> {
    match starts.iter().skip(1).position(|start| !start.is_blank) {
        None => Ok(()),
        Some(at) => {
            let why = format!("no segment has a whole head, but segment-{}.seg is not empty", at + 1);
            Err(OpenError::Damaged { journal, why })
        }
    }
}

/// A first segment without a whole head, in which something proves that it had one, is damaged: to go on as a new journal would begin every
/// session at number 1. What the first process wrote before its first sync may be torn, and proves nothing.
pub(super) fn check_never_headed<S: Storage>(
    segments: &mut SegmentSource<S>,
    manifest: &Manifest,
    journal: u16,
    ring: Option<&RingMemory>,
) -> Result<(), OpenError> {
    let geometry = manifest.geometry;
    let last = manifest.incarnation;
    let was_synced = ring.is_some_and(|ring| {
        is_of_this_directory(ring.identity(), manifest, journal)
            && ring.owner() == u64::from(last)
            && ring.marks().synced > 0
    });
    let earlier = Incarnations::up_to(last.saturating_sub(1));
    let any = Incarnations::up_to(last);
    let mut behind = Behind::default();
    behind.look(segments, &geometry, any, 0)?;
    // One sync covers no more than a ring's length.
    let proof = if manifest.last_use.synced_of(journal).is_some_and(|synced| synced > 0) {
        Some("the manifest says that it was used")
    } else if behind.synced > 0 {
        Some("it holds records that say so")
    } else if was_synced {
        Some("the ring says that it was synced")
    } else if next_whole(segments, &geometry, RECORD_ALIGN, earlier)?.is_some() {
        Some("it holds records of an earlier incarnation")
    } else if geometry.ring_bytes < geometry.segment_bytes
        && next_whole(segments, &geometry, geometry.ring_bytes, any)?.is_some()
    {
        Some("it holds records of a later lap of the ring")
    } else {
        None
    };
    segments.forget();
    match proof {
        None => Ok(()),
        Some(proof) => {
            let why = format!("the head of segment-0.seg is not whole, although {proof}");
            Err(OpenError::Damaged { journal, why })
        }
    }
}
