//! What a start would find in a data directory that no engine runs on, with nothing changed: for
//! `fixring check`.
//!
//! It takes the steps of [`super::open`] with the same code, up to the first that would write.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::sys::file;
use crate::sys::ring::{PAGE_BYTES, RingMemory};

use super::archive::overwritten_by_recovery;
use super::flush_note;
use super::held::why_to_hold;
use super::restore::ring_of;
use super::ring_file::ring_path;
use super::writer::sends_bytes;
use super::{FileStorage, FlushMethod, Geometry, LastUse, Manifest, OpenError, RecoveredSession, Settings, Slot};
use super::{device, grow, home, recovery, scan};

/// What the journals of a data directory hold.
pub struct Preview {
    pub journals: Vec<PreviewedJournal>,
    /// How many segments a start was giving the directory when it was cut off. The next one
    /// finishes that first, and the journals are not looked at before.
    pub growing_to: Option<u32>,
}

pub struct PreviewedJournal {
    pub number: u16,
    pub sessions: Vec<RecoveredSession>,
    /// The application's state; empty in a new journal.
    pub snapshot: Vec<u8>,
    /// The segment that recovery would overwrite, which a required archive has to take first.
    pub overwrites: Option<u64>,
}

/// Reads the journals as a start would. Each error is the one that the start would end with.
pub fn preview(settings: &Settings) -> Result<Preview, OpenError> {
    let Settings { data_dir, ring_dir, mut geometry, .. } = settings.clone();
    let (data_dir, ring_dir) = (&*data_dir, &*ring_dir);
    let storage = FileStorage::open(data_dir, geometry);
    let Some(manifest) = Manifest::read(&storage)?.transpose()? else {
        storage.check_unused()?;
        return Ok(Preview { journals: Vec::new(), growing_to: None });
    };
    let held = |why: String| OpenError::Held { data_dir: data_dir.to_owned(), why };
    let check_home =
        |manifest: &Manifest| why_to_hold(manifest, data_dir, ring_dir)?.map_or(Ok(()), |why| Err(held(why)));
    // A start makes more of them, where they are as they should be.
    let growing_to = manifest.last_use.growing_to;
    if growing_to > manifest.geometry.segments {
        let to = Geometry { segments: growing_to, ..manifest.geometry };
        geometry.segments = geometry.segments.min(growing_to);
        check_home(&manifest)?;
        grow::check_resumable(data_dir, &manifest)?;
        Manifest { geometry: to, ..manifest }.check(geometry)?;
        return Ok(Preview { journals: Vec::new(), growing_to: Some(growing_to) });
    }
    geometry.segments = geometry.segments.min(manifest.geometry.segments);
    manifest.check(geometry)?;
    let storage = FileStorage::open(data_dir, geometry);
    check_home(&manifest)?;
    storage.check_lengths(manifest.incarnation)?;
    storage.check_openable(flush_note::expected(data_dir, settings.flush_method))?;
    storage.open_segments()?;
    let last_use = LastUse {
        device: device::identities_below(data_dir),
        home: home::of(data_dir, manifest.geometry.journals),
        ..manifest.last_use.clone()
    };
    let here = Manifest { last_use, ..manifest };
    let mut journals = Vec::new();
    let mut damage = Vec::new();
    for number in 0..here.geometry.journals {
        check_ring(ring_dir, &here, number)?;
        let ring = ring_of(ring_dir, &here, number)?;
        let seen = recovery::see(&storage, &here, number, ring.as_ref())?.map_err(|newer| held(newer.why))?;
        damage.extend(seen.damage);
        let appended = ring.as_ref().map_or(0, |ring: &RingMemory| ring.marks().appended);
        let overwrites = overwritten_by_recovery(&storage, &here, number, appended)?.first().copied();
        journals.push(PreviewedJournal { number, sessions: seen.sessions, snapshot: seen.snapshot, overwrites });
    }
    if damage.is_empty() { Ok(Preview { journals, growing_to: None }) } else { Err(held(damage.join("; "))) }
}

/// A ring's file that is there has to be one that this user can open and nobody else.
fn check_ring(ring_dir: &Path, manifest: &Manifest, journal: u16) -> Result<(), OpenError> {
    let path = ring_path(ring_dir, manifest.timeline, journal);
    match file::open_private(&path, false) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(super::ring_file::failed(&path, journal, "it cannot be opened", error)),
    }
}

/// The files that an engine works with, by the names that the next start will look for: the lock,
/// segments and rings.
pub fn files_in_use(settings: &Settings, timeline: Uuid) -> Vec<PathBuf> {
    let Settings { data_dir, ring_dir, geometry, .. } = settings;
    let storage = FileStorage::open(data_dir, *geometry);
    let mut files = vec![data_dir.join("lock")];
    for journal in 0..geometry.journals {
        files.push(ring_path(ring_dir, timeline, journal));
        files.extend((0..geometry.segments).map(|number| storage.segment_path(Slot { journal, number })));
    }
    files
}

/// What a start takes of the volume and of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Beyond what the directory holds already.
    pub segments_bytes: u64,
    /// Beyond what the rings hold already.
    pub rings_bytes: u64,
    /// Rings that are not there.
    pub ring_files: u64,
    /// Private memory, while the journals are read.
    pub read_bytes: u64,
    /// Private memory, for as long as the engine runs.
    pub tables_bytes: u64,
    /// Address space for segments that are mapped to be written.
    pub mapped_bytes: u64,
}

impl Needed {
    /// Files and directories of the data directory that are not there. Apart from the rest, since a
    /// start has no use for it.
    pub fn files(settings: &Settings) -> u64 {
        FileStorage::open(&settings.data_dir, settings.geometry).missing_files()
    }

    pub fn of(settings: &Settings) -> Self {
        let Settings { data_dir, ring_dir, geometry, .. } = settings;
        let storage = FileStorage::open(data_dir, *geometry);
        let manifest = Manifest::read(&storage).ok().flatten().and_then(Result::ok);
        let ring_bytes = PAGE_BYTES + geometry.ring_bytes;
        let held_bytes = |journal| {
            let timeline = manifest.as_ref().map(|manifest| manifest.timeline);
            timeline.map_or(0, |timeline| file::held_bytes(&ring_path(ring_dir, timeline, journal)))
        };
        let held_bytes: Vec<u64> = (0..geometry.journals).map(held_bytes).collect();
        let missing = held_bytes.iter().map(|held| ring_bytes.saturating_sub(*held));
        let journals = u64::from(geometry.journals);
        let is_mapped = flush_note::expected(data_dir, settings.flush_method) == FlushMethod::Msync;
        let segments_bytes = geometry.segment_bytes.saturating_mul(geometry.segments.into()).saturating_mul(journals);
        Self {
            segments_bytes: storage.missing_bytes(),
            rings_bytes: missing.fold(0, u64::saturating_add),
            ring_files: held_bytes.iter().filter(|held| **held == 0).count() as u64,
            read_bytes: scan::whole_window_bytes(*geometry).saturating_mul(journals),
            tables_bytes: sends_bytes(*geometry).saturating_mul(journals),
            mapped_bytes: if is_mapped { segments_bytes } else { 0 },
        }
    }
}
