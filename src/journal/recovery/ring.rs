//! The ring that the process before has left: whether it goes on where the segments end.

use crate::sys::ring::{Marks, PAGE_BYTES, RingMemory};

use super::super::ring_file::{RingIdentity, read_identity};
use super::super::scan::RingSource;
use super::super::{Manifest, Storage, StorageError};
use super::{RingFound, Scan};

/// Reads the ring on from where the segments end, if it continues them. The bytes that it added, and those that it should have had.
pub(super) fn read_ring(
    scan: &mut Scan,
    manifest: &Manifest,
    journal: u16,
    ring: &RingMemory,
) -> Result<(RingFound, u64, u64), StorageError> {
    let refuse = |why| Ok((RingFound::Quarantined(why), 0, 0));
    match read_identity(ring.identity(), manifest, journal) {
        RingIdentity::Blank => return Ok((RingFound::Absent, 0, 0)),
        RingIdentity::Foreign(why) => return refuse(why),
        // Its directory has it locked, or will want it.
        RingIdentity::OtherHome => return refuse("it serves another data directory, of which this is a copy"),
        // No page of it was ever synced, so that each may be of another time.
        RingIdentity::EarlierBoot if ring.marks().appended <= scan.at => return Ok((RingFound::Finished, 0, 0)),
        RingIdentity::EarlierBoot => return refuse("it is of an earlier boot, or of another machine"),
        RingIdentity::Ours => {}
    }
    let segments_end = scan.at;
    let Marks { appended, written, synced } = ring.marks();
    let is_sane = synced <= written
        && written <= appended
        && appended - (synced & !(PAGE_BYTES - 1)) <= ring.ring_bytes()
        && appended < u64::MAX / 4;
    if !is_sane {
        return refuse("its marks contradict each other");
    }
    if ring.owner() != u64::from(manifest.incarnation) {
        // A start that died between the manifest and the ring leaves this; everything in it was carried over before.
        let is_finished = ring.owner() < u64::from(manifest.incarnation) && appended <= segments_end;
        return if is_finished {
            Ok((RingFound::Finished, 0, 0))
        } else {
            refuse("it is of another incarnation than the manifest's last")
        };
    }
    if synced > segments_end {
        return refuse("there is a gap between the segments' end and what it still holds");
    }
    if appended < segments_end {
        return refuse("it ends before the segments do");
    }
    let mut source = RingSource { data: ring.data(), start: segments_end, end: appended };
    scan.run(&mut source)?;
    if scan.at == segments_end && appended > segments_end {
        return refuse("it does not continue the segments");
    }
    Ok((RingFound::Accepted, scan.at - segments_end, appended - scan.at))
}

pub(super) fn quarantine_ring<S: Storage>(storage: &S, journal: u16, ring: &RingMemory) -> Result<(), StorageError> {
    let Marks { appended, synced, .. } = ring.marks();
    let name = format!("journal-{journal}-ring-of-incarnation-{}-from-{synced}-to-{appended}", ring.owner());
    storage.quarantine(&name, ring.data())
}
