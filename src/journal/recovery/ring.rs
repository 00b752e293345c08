//! The ring that the process before has left: what the segments do not hold is read from it, whether it was never carried there or is there
//! no more.

use crate::sys::ring::{Marks, PAGE_BYTES, RingMemory};

use super::super::inspect::next_whole;
use super::super::ring_file::{RingIdentity, read_identity};
use super::super::scan::{Incarnations, RingSource, SegmentSource, commit_at, record_at};
use super::super::state::head_identity;
use super::super::{Geometry, Kind, Manifest, RECORD_ALIGN, Storage, StorageError};
use super::{RingFound, Scan};

/// A journal's ring, as it lies there.
pub(super) struct FoundRing<'a> {
    identity: RingIdentity,
    marks: Marks,
    owner: u64,
    /// Of the manifest's last start.
    is_last: bool,
    ring: &'a RingMemory,
}

impl<'a> FoundRing<'a> {
    pub fn new(manifest: &Manifest, journal: u16, ring: &'a RingMemory) -> Self {
        let identity = read_identity(ring.identity(), manifest, journal);
        let owner = ring.owner();
        Self { identity, marks: ring.marks(), owner, is_last: owner == u64::from(manifest.incarnation), ring }
    }

    /// Its data by position. A CRC covers position and incarnation, so that what is whole there is
    /// ours wherever its marks stand. Left alone is a ring that says that it is another journal's,
    /// and one of an earlier start: the journal may have gone on elsewhere, at an earlier position.
    pub fn source(&self) -> Option<RingSource<'a>> {
        let is_usable = match self.identity {
            RingIdentity::Blank | RingIdentity::Ours | RingIdentity::EarlierBoot => true,
            RingIdentity::Foreign(why) => why.contains("damaged"),
            RingIdentity::OtherHome => false,
        };
        (is_usable && self.is_last).then_some(RingSource { data: self.ring.data(), start: 0, end: u64::MAX / 2 })
    }

    fn has_sane_marks(&self) -> bool {
        let Marks { appended, written, synced } = self.marks;
        synced <= written
            && written <= appended
            && appended - (synced & !(PAGE_BYTES - 1)) <= self.ring.ring_bytes()
            && appended < u64::MAX / 4
    }

    /// Its marks count: it is ours, of the last incarnation, and no mark contradicts another.
    pub fn is_current(&self) -> bool {
        self.identity == RingIdentity::Ours && self.has_sane_marks() && self.is_last
    }

    /// Everything before was on stable media, if it says so.
    pub fn synced(&self) -> Option<u64> {
        self.is_current().then_some(self.marks.synced)
    }

    /// What it is, where the segments are whole up to `segments_end` and with it the journal up to `end`; and how many bytes it should have had and
    /// has not.
    pub fn judge(&self, manifest: &Manifest, segments_end: u64, end: u64) -> (RingFound, u64) {
        let refuse = |why| (RingFound::Quarantined(why), 0);
        match self.identity {
            RingIdentity::Blank => return (RingFound::Absent, 0),
            RingIdentity::Foreign(why) => return refuse(why),
            // Its directory has it locked, or will want it.
            RingIdentity::OtherHome => return refuse("it serves another data directory, of which this is a copy"),
            // No page of it was ever synced, so that each may be of another time.
            RingIdentity::EarlierBoot if self.marks.appended <= end => return (RingFound::Finished, 0),
            RingIdentity::EarlierBoot => return refuse("it is of an earlier boot, or of another machine"),
            RingIdentity::Ours => {}
        }
        let appended = self.marks.appended;
        if !self.has_sane_marks() {
            return refuse("its marks contradict each other");
        }
        if !self.is_last {
            // A start that died between the manifest and the ring leaves this; everything in it was carried over before.
            let is_finished = self.owner < u64::from(manifest.incarnation) && appended <= end;
            return if is_finished {
                (RingFound::Finished, 0)
            } else {
                refuse("it is of another incarnation than the manifest's last")
            };
        }
        if appended < segments_end {
            return refuse("it ends before the segments do");
        }
        if end == segments_end && appended > segments_end {
            return refuse("it does not continue the segments");
        }
        (RingFound::Accepted, appended.saturating_sub(end))
    }

    /// The segment whose head lies at its beginning, if that is whole.
    pub fn headed_segment(&self, manifest: &Manifest, journal: u16) -> Option<u64> {
        let geometry = manifest.geometry;
        let mut source = self.source()?;
        let (identity, _) = head_identity(self.ring.data().get(super::super::HEADER_BYTES as usize..)?)?;
        let is_ours = identity.uuid == *manifest.uuid.as_bytes() && identity.journal == journal;
        let segment = Some(identity.segment).filter(|one| is_ours && *one < u64::MAX / 4 / geometry.segment_bytes)?;
        let head = record_at(&mut source, &geometry, segment * geometry.segment_bytes).ok()??.0;
        (head.kind == Kind::State).then_some(segment)
    }
}

/// Reads commits until neither segments nor ring have a whole one. The ranges that came from the ring are added to `from_ring`.
pub(super) fn read_on<S: Storage>(
    scan: &mut Scan,
    segments: &mut SegmentSource<S>,
    mut ring: Option<RingSource>,
    from_ring: &mut Vec<(u64, u64)>,
) -> Result<(), StorageError> {
    loop {
        scan.run(segments)?;
        let from = scan.at;
        if let Some(ring) = &mut ring {
            scan.run(ring)?;
        }
        if scan.at == from {
            return Ok(());
        }
        from_ring.push((from, scan.at));
    }
}

/// What lies between a place that cannot be read and the head that recovery goes on from instead.
#[derive(Default)]
pub(super) struct Between {
    /// Ranges of commits that only the ring has, oldest first.
    pub from_ring: Vec<(u64, u64)>,
    /// What neither has.
    pub missing_bytes: u64,
}

/// Looks for every whole commit of `[from, to)`.
pub(super) fn read_between<S: Storage>(
    segments: &mut SegmentSource<S>,
    mut ring: Option<RingSource>,
    geometry: &Geometry,
    incarnations: Incarnations,
    (from, to): (u64, u64),
) -> Result<Between, StorageError> {
    let mut between = Between::default();
    let mut records = Vec::new();
    let mut at = from;
    while at < to {
        if let Some(end) = commit_at(segments, geometry, at, &mut incarnations.clone(), &mut records)? {
            at = end;
            continue;
        }
        let in_ring = match &mut ring {
            Some(ring) => commit_at(ring, geometry, at, &mut incarnations.clone(), &mut records)?,
            None => None,
        };
        let Some(end) = in_ring else {
            let next = next_of_either(segments, ring.as_mut(), geometry, incarnations, at + RECORD_ALIGN)?.min(to);
            between.missing_bytes += next - at;
            at = next;
            continue;
        };
        match between.from_ring.last_mut().filter(|(_, last)| *last == at) {
            Some((_, last)) => *last = end,
            None => between.from_ring.push((at, end)),
        }
        at = end;
    }
    Ok(between)
}

/// Where the first whole commit from `from` on begins, or the segment ends.
fn next_of_either<S: Storage>(
    segments: &mut SegmentSource<S>,
    ring: Option<&mut RingSource>,
    geometry: &Geometry,
    incarnations: Incarnations,
    from: u64,
) -> Result<u64, StorageError> {
    let segment_end = from.div_ceil(geometry.segment_bytes) * geometry.segment_bytes;
    let in_segments = next_whole(segments, geometry, from, incarnations)?;
    let in_ring = ring.map(|ring| next_whole(ring, geometry, from, incarnations)).transpose()?.flatten();
    Ok(in_segments.into_iter().chain(in_ring).fold(segment_end, u64::min))
}

pub(super) fn quarantine_ring<S: Storage>(storage: &S, journal: u16, ring: &RingMemory) -> Result<(), StorageError> {
    let Marks { appended, synced, .. } = ring.marks();
    let name = format!("journal-{journal}-ring-of-incarnation-{}-from-{synced}-to-{appended}", ring.owner());
    storage.quarantine(&name, ring.data())
}

/// What lies in the segments where the ring has something whole, before it is written over. `ranges` are those of [`read_on`].
pub(super) fn quarantine_unread<S: Storage>(
    storage: &S,
    geometry: Geometry,
    journal: u16,
    (from, to): (u64, u64),
) -> Result<(), StorageError> {
    let mut at = from;
    while at < to {
        let end = to.min((at / geometry.segment_bytes + 1) * geometry.segment_bytes);
        let (slot, offset) = geometry.slot(journal, at);
        let mut bytes = vec![0; (end - at) as usize];
        storage.read(slot, offset, &mut bytes)?;
        storage.quarantine(&format!("journal-{journal}-damaged-at-{at}"), &bytes)?;
        at = end;
    }
    Ok(())
}
