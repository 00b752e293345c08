//! A data directory that may be older than its last use: restored from a snapshot, or a copy put in its place.
//!
//! Its counterparties have seen sequence numbers that it knows nothing of, beyond what any lease covers. So nobody takes its sessions over:
//! it is *held*, durably, until `fixring recover` has said for each session what its numbers are.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sys::file;
use crate::sys::ring::{HEADER_BYTES_READ, PAGE_BYTES, read_header};

use super::file_storage::manifest_path;
use super::ring_file::{RingIdentity, look, read_identity, ring_path};
use super::scan::{RingSource, record_at};
use super::{FileStorage, Geometry, LastUse, Manifest, OpenError, RECORD_ALIGN, Storage, StorageError};
use super::{device, home};

/// Why a data directory is held, by its manifest; `None` where it is not, or where there is none. For those who look on.
pub fn why_held(data_dir: &Path) -> Result<Option<String>, OpenError> {
    let manifest = Manifest::read(&FileStorage::open(data_dir, Geometry::default()))?.transpose()?;
    Ok(manifest.map(|manifest| manifest.last_use.held).filter(|why| !why.is_empty()))
}

/// An error where the directory is held, or has to be from now on.
pub(super) fn refuse(
    storage: &FileStorage,
    manifest: &mut Manifest,
    data_dir: &Path,
    ring_dir: &Path,
) -> Result<(), OpenError> {
    if manifest.last_use.held.is_empty()
        && let Some(why) = why_to_hold(manifest, data_dir, ring_dir)?
    {
        hold(storage, manifest, why)?;
    }
    match &manifest.last_use.held {
        why if why.is_empty() => Ok(()),
        why => Err(OpenError::Held { data_dir: data_dir.to_owned(), why: why.clone() }),
    }
}

/// Why the next start would hold a directory that is not held; `None` where it would not. An error where an engine works with its rings:
/// nothing is written then, not even into a copy. Changes nothing.
pub fn why_to_hold(manifest: &Manifest, data_dir: &Path, ring_dir: &Path) -> Result<Option<String>, OpenError> {
    let now = LastUse {
        device: device::identities_below(data_dir),
        home: home::of(data_dir, manifest.geometry.journals),
        ..manifest.last_use.clone()
    };
    let here = Manifest { last_use: now, ..manifest.clone() };
    let mut serves_another = None;
    for journal in 0..manifest.geometry.journals {
        let path = ring_path(ring_dir, manifest.timeline, journal);
        let Some(found) = look(&path, &here, journal) else { continue };
        if found.is_locked {
            // Its holder may just be ending, as it would be told after the directory's own lock.
            lock_of_another(&path)?;
        }
        if found.identity == RingIdentity::OtherHome {
            serves_another.get_or_insert(path);
        }
    }
    let serves_another = serves_another.map(|path| {
        format!("the ring {path:?} serves another data directory, of which this is a copy or which is a copy of this")
    });
    Ok(newer_ring(&here, ring_dir)
        .or_else(|| other_device(&manifest.last_use, &here.last_use.device))
        .or_else(|| other_home(&manifest.last_use, &here.last_use.home))
        .or_else(|| other_file(&manifest.last_use, data_dir))
        .or(serves_another))
}

fn lock_of_another(path: &Path) -> Result<(), OpenError> {
    // What cannot be opened is said where it is to be used.
    file::open_private(path, false).map_or(Ok(()), |file| super::ring_file::lock(path, &file))
}

/// Durable: the ring that shows it may be gone at the next start.
pub(super) fn hold(storage: &impl Storage, manifest: &mut Manifest, why: String) -> Result<(), StorageError> {
    manifest.last_use.held = why;
    manifest.last_use.decided.clear();
    manifest.write(storage)
}

/// A ring of this directory's that a later incarnation used than the directory knows of. The owner's number in its header proves nothing by
/// itself, since no CRC covers it; a record of a later incarnation does.
fn newer_ring(manifest: &Manifest, ring_dir: &Path) -> Option<String> {
    (0..manifest.geometry.journals).find_map(|journal| {
        let path = ring_path(ring_dir, manifest.timeline, journal);
        let file = file::open_to_read(&path).ok()?;
        let mut header = [0; HEADER_BYTES_READ];
        file.read_exact_at(&mut header, 0).ok()?;
        let (appended, owner) = read_header(&header);
        let identity = read_identity(&header, manifest, journal);
        let is_of_it = identity.is_of_this_directory() || identity == RingIdentity::OtherHome;
        if !is_of_it || owner <= u64::from(manifest.incarnation) {
            return None;
        }
        let mut data = vec![0; usize::try_from(manifest.geometry.ring_bytes).ok()?];
        file.read_exact_at(&mut data, PAGE_BYTES).ok()?;
        let newer = newest_record(&data, &manifest.geometry, appended).filter(|newest| *newest > manifest.incarnation)?;
        Some(format!(
            "start {newer} has written to the ring {path:?} and the directory knows of {} starts, so it is an older copy",
            manifest.incarnation
        ))
    })
}

/// The incarnation of the newest whole record in a ring's data.
pub(super) fn newest_record(data: &[u8], geometry: &Geometry, appended: u64) -> Option<u32> {
    let start = appended.saturating_sub(geometry.ring_bytes);
    let mut ring = RingSource { data, start, end: appended };
    let last = appended.checked_sub(RECORD_ALIGN)? / RECORD_ALIGN;
    let steps = (start.div_ceil(RECORD_ALIGN)..=last).rev().map(|step| step * RECORD_ALIGN);
    steps.into_iter().find_map(|at| record_at(&mut ring, geometry, at).ok()?.map(|(header, _)| header.incarnation))
}

fn other_device(last_use: &LastUse, now: &[String]) -> Option<String> {
    device::differ(&last_use.device, now).then(|| {
        format!(
            "it was last used on another volume ({} then, {} now), so it is restored from a snapshot, or a copy",
            last_use.device.join(", "),
            now.join(", ")
        )
    })
}

fn other_home(last_use: &LastUse, now: &[String]) -> Option<String> {
    let (journal, before, now) = home::differ(&last_use.home, now)?;
    Some(format!(
        "its directory journal-{journal} is not the one that was last used ({before} then, {now} now), so it is a copy, or was put back from one"
    ))
}

/// A copy of an earlier start whose files were put into the directories that it was made of: its
/// manifest lies in another file than it was written to, or in the file of a later one.
fn other_file(last_use: &LastUse, data_dir: &Path) -> Option<String> {
    let now = home::name(&std::fs::metadata(manifest_path(data_dir)).ok()?);
    let (_, before, now) = home::differ(std::slice::from_ref(&last_use.born), std::slice::from_ref(&now))?;
    Some(format!(
        "its file manifest is not the one that was written last ({before} then, {now} now), so it is an older one, put back from a copy"
    ))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_directory_on_another_volume_says_both() {
        let last_use = LastUse { device: vec!["serial=vol-a".to_owned()], ..LastUse::default() };
        let why = other_device(&last_use, &["serial=vol-b".to_owned()]).unwrap();
        assert!(why.contains("serial=vol-a then") && why.contains("serial=vol-b now"), "{why}");
        assert_eq!(other_device(&last_use, &last_use.device), None);
    }

    #[test]
    fn a_missing_short_or_foreign_ring_is_none_of_a_later_start() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = Manifest {
            uuid: Uuid::from_bytes([3; 16]),
            geometry: Geometry::default(),
            incarnation: 1,
            ring_dir: String::new(),
            numbers_moved: None,
            timeline: Uuid::from_bytes([3; 16]),
            timeline_from: 0,
            last_use: LastUse::default(),
        };
        assert_eq!(newer_ring(&manifest, directory.path()), None);
        let path = ring_path(directory.path(), manifest.timeline, 0);
        for bytes in [vec![], vec![0xff; 100], vec![0xff; 4096]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(newer_ring(&manifest, directory.path()), None);
        }
    }
}
