//! Start-up: lock, manifest, files and rings, then recovery of each journal, then the new incarnation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use uuid::Uuid;

use crate::sys::file;
use crate::sys::ring::{RingMemory, Watermarks};

use super::device;
use super::file_storage::stranger_in;
use super::flush_note;
use super::flusher::Carry;
use super::grow::{Growth, grow};
use super::held;
use super::home;
use super::lock::{DirectoryLock, LIVE_HOLDER_WAIT};
use super::manifest::LastUse;
use super::recovery::{self, Found};
use super::recycling::Recycling;
use super::ring_file::{self, RingIdentity, identity_of, is_of_this_directory, open_ring, ring_path};
use super::storage::of_environment;
use super::wanted::Wanted;
use super::writer::Resume;
use super::{
    Chosen, FileStorage, FlushChoice, FlushMethod, Flusher, Geometry, Manifest, ManifestError, Recovered,
    RecoveryReport, RingFound, Stager, StagerPort, Storage, StorageError, Writer,
};

/// What the configuration says of the journals.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub ring_dir: PathBuf,
    pub geometry: Geometry,
    /// The longest that the flusher rests while there is something to carry.
    pub flush_interval_ns: u64,
    /// The shortest time between two device writes, even while sessions wait: what the volume's IOPS allow.
    pub flush_interval_min_ns: u64,
    pub flush_method: FlushChoice,
    /// The longest payload of a record.
    pub message_bytes_max: u32,
    /// Positions that the stager keeps of one request at a time; it walks once more for the rest.
    pub resend_messages_max: u32,
    /// A monotonic clock in ns, to time syncs.
    pub clock: fn() -> u64,
}

/// All journals of a data directory, recovered and ready.
pub struct Opened<S: Storage> {
    pub uuid: Uuid,
    /// The unbroken history that this start goes on with, or begins.
    pub timeline: Uuid,
    pub incarnation: u32,
    pub journals: Vec<Journal<S>>,
    /// Held until the process is done with the directory. `None` over a storage that is not a directory.
    pub lock: Option<DirectoryLock>,
    /// How it is made durable. `None` over a storage that is not a directory.
    pub flush: Option<Chosen>,
    /// What became of a raised number of segments.
    pub growth: Option<String>,
    /// Worth one warning each.
    pub warnings: Vec<String>,
}

/// One journal's parts, each for the thread that owns it.
pub struct Journal<S: Storage> {
    pub number: u16,
    /// The worker's.
    pub writer: Writer,
    /// The worker's.
    pub stager_port: StagerPort,
    /// Housekeeping's.
    pub flusher: Flusher<S>,
    /// Housekeeping's.
    pub stager: Stager<S>,
    /// For whoever looks on.
    pub watermarks: Watermarks,
    /// What lets the oldest segment be overwritten.
    pub recycling: Arc<Recycling>,
    pub(super) storage: S,
    pub(super) timeline: Uuid,
    pub recovered: Recovered<S>,
}

/// Why the journals cannot be opened. All but `Storage` are for the operator to mend, and say how.
#[derive(Debug)]
pub enum OpenError {
    Manifest(ManifestError),
    InUse {
        data_dir: PathBuf,
        pid: Option<u32>,
    },
    /// Another process works with a ring that this directory names as its own.
    RingInUse {
        ring: PathBuf,
    },
    /// It may be older than its last use: nobody takes its sessions over before the operator has spoken.
    Held {
        data_dir: PathBuf,
        why: String,
    },
    Directory(String),
    Ring(String),
    Volume(String),
    /// A segment that recovery would overwrite is not archived, and has to be.
    Archive(String),
    Damaged {
        journal: u16,
        why: String,
    },
    Storage(StorageError),
}

/// Incarnations that a new timeline passes over, for the starts of the branch that it leaves. That it has a name of its own is what counts.
const LOST_STARTS: u32 = 500;

/// Opens a data directory, or creates it.
pub fn open(settings: &Settings) -> Result<Opened<FileStorage>, OpenError> {
    open_with(settings, LIVE_HOLDER_WAIT, |_| (), |_, _, _| Ok(()))
}

/// [`open`], which waits so long for a dead process to let go of the directory; `waiting` is told once, with the process's id. `before` is
/// called before recovery carries what the rings hold to the segments, which may overwrite the oldest one of each journal.
pub fn open_with(
    settings: &Settings,
    lock_timeout: Duration,
    waiting: impl FnMut(Option<u32>),
    before: impl FnOnce(&FileStorage, &Manifest, &[RingMemory]) -> Result<(), OpenError>,
) -> Result<Opened<FileStorage>, OpenError> {
    settings.geometry.check().map_err(|why| OpenError::Manifest(ManifestError::Geometry(why)))?;
    let data_dir = &settings.data_dir;
    file::create_private_directory(data_dir).map_err(|error| {
        OpenError::of("make", data_dir, error, "name a directory that this user can make in engine.data_dir")
    })?;
    if let Some(name) = stranger_in(data_dir) {
        return Err(OpenError::Directory(format!(
            "data_dir {data_dir:?} holds {name:?} and no manifest, so it is no data directory of fixring: name a new or an empty one in engine.data_dir"
        )));
    }
    let lock = DirectoryLock::take_within(data_dir, lock_timeout, waiting)?;
    let chosen = flush_note::settle(data_dir, settings.flush_method);
    let (settings, growth) = grown(settings, chosen.method)?;
    let (settings, data_dir) = (&settings, &settings.data_dir);
    let storage = FileStorage::open(data_dir, settings.geometry);
    let is_new = storage.manifest()?.is_none();
    if is_new {
        // The manifest comes last, so that a directory with one has all its segments.
        storage.check_unused()?;
        storage.allocate(true, chosen.method)?;
        // A start that was killed may have made the directory and no more.
        let above = file::parent_of(data_dir);
        file::sync_names(above).map_err(|error| StorageError::new("sync", above.display().to_string(), error))?;
    }
    let mut manifest = prepare(&storage, settings)?;
    if !is_new {
        held::refuse(&storage, &mut manifest, data_dir, &settings.ring_dir)?;
    }
    let mut opened = open_files(&storage, manifest, settings, (!is_new).then_some(&chosen), None, before)?;
    opened.lock = Some(lock);
    opened.flush = Some(chosen);
    opened.growth = growth;
    Ok(opened)
}

/// What the configuration says, as far as the directory can follow it now, and what there is to say
/// of that.
fn grown(settings: &Settings, method: FlushMethod) -> Result<(Settings, Option<String>), OpenError> {
    let mut settings = settings.clone();
    let wanted = settings.geometry.segments;
    let growth = grow(&settings.data_dir, &settings.ring_dir, settings.geometry, method, &mut || Ok(()))?;
    let said = match growth {
        Growth::Unasked => None,
        Growth::Grown { from } => {
            Some(format!("the data directory had {from} segments a journal and has {wanted} now"))
        }
        Growth::Later { why } => {
            let storage = FileStorage::open(&settings.data_dir, settings.geometry);
            if let Some(manifest) = Manifest::read(&storage)? {
                settings.geometry.segments = manifest?.geometry.segments;
            }
            let now = settings.geometry.segments;
            Some(format!("persistence.segments is {wanted}, and the data directory stays at {now} for now: {why}"))
        }
    };
    Ok((settings, said))
}

/// What follows the manifest: segments, rings, recovery. `chosen` is how the segments are opened, where they are not open yet.
/// `begins` is the timeline that begins with this start, where one does.
pub(super) fn open_files(
    storage: &FileStorage,
    mut manifest: Manifest,
    settings: &Settings,
    chosen: Option<&Chosen>,
    begins: Option<Uuid>,
    before: impl FnOnce(&FileStorage, &Manifest, &[RingMemory]) -> Result<(), OpenError>,
) -> Result<Opened<FileStorage>, OpenError> {
    if let Some(chosen) = chosen {
        storage.check_lengths(manifest.incarnation)?;
        storage.allocate(false, chosen.method)?;
        if chosen.before == Some(FlushMethod::Dsync) {
            storage.forget_cached()?;
        }
    }
    manifest.last_use.device = device::identities_below(&settings.data_dir);
    manifest.last_use.home = home::of(&settings.data_dir, manifest.geometry.journals);
    let mut rings = Vec::new();
    let mut warnings = Vec::new();
    let mut moves = Vec::new();
    for journal in 0..manifest.geometry.journals {
        let mut path = ring_path(&settings.ring_dir, manifest.timeline, journal);
        if let Some(timeline) = begins {
            let new = ring_path(&settings.ring_dir, timeline, journal);
            let found = ring_file::look(&path, &manifest, journal);
            if found.is_none_or(|found| found.identity == RingIdentity::OtherHome) {
                // It serves the directory that this one is a copy of, and is left to it.
                path = new;
            } else {
                moves.push((path.clone(), new));
            }
        }
        let (ring, lock_error) = open_ring(&path, &manifest, journal)?;
        if let Some(error) = lock_error {
            warnings.push(format!("the ring of journal {journal} is not locked in memory ({error}): raise RLIMIT_MEMLOCK, or the kernel may swap it"));
        }
        rings.push(ring);
    }
    before(storage, &manifest, &rings)?;
    let mut opened = open_in(storage, manifest, rings, settings, begins)?;
    for (from, to) in moves {
        // A start that dies before this leaves a ring in which nothing was appended.
        std::fs::rename(&from, &to).map_err(|error| {
            OpenError::Ring(format!("ring {from:?} cannot be renamed to {to:?}: {error}; see that persistence.ring_dir is shared memory that this user can write to"))
        })?;
    }
    opened.warnings.extend(warnings);
    Ok(opened)
}

/// Reads the manifest, or writes the first one. A manifest that this configuration does not fit is refused before anything is touched.
pub fn prepare(storage: &impl Storage, settings: &Settings) -> Result<Manifest, OpenError> {
    if let Some(manifest) = Manifest::read(storage)? {
        let manifest = manifest?;
        manifest.check(settings.geometry)?;
        if !manifest.last_use.held.is_empty() {
            return Err(OpenError::Held { data_dir: settings.data_dir.clone(), why: manifest.last_use.held });
        }
        return Ok(manifest);
    }
    settings.geometry.check().map_err(ManifestError::Geometry)?;
    let uuid = Uuid::new_v4();
    let manifest = Manifest {
        uuid,
        timeline: uuid,
        timeline_from: 0,
        geometry: settings.geometry,
        incarnation: 0,
        ring_dir: ring_dir_text(settings),
        numbers_moved: Some(Vec::new()),
        last_use: LastUse::default(),
    };
    manifest.write(storage)?;
    Ok(manifest)
}

/// Writes down up to where each journal was synced when its engine stopped, under the directory's lock: a later start that cannot read as far knows
/// that the volume has lost something.
pub fn note_ends(data_dir: &Path, incarnation: u32, ends: Vec<u64>) -> Result<(), OpenError> {
    let storage = FileStorage::open(data_dir, Geometry::default());
    let mut manifest = Manifest::read(&storage)?.ok_or(ManifestError::Missing)??;
    if manifest.incarnation == incarnation {
        manifest.last_use.ends = ends;
        manifest.write(&storage)?;
    }
    Ok(())
}

/// Writes down up to where each journal is synced, soon after its engine's first record is. Nothing
/// of this start leaves before that record is synced, and a later start that does not find it knows
/// that the volume has lost it.
pub fn note_reached(storage: &FileStorage, incarnation: u32, reached: Vec<u64>) -> Result<(), OpenError> {
    let mut manifest = Manifest::read(storage)?.ok_or(ManifestError::Missing)??;
    if manifest.incarnation == incarnation {
        manifest.last_use.reached = reached;
        manifest.write(storage)?;
    }
    Ok(())
}

/// [`open`] over any storage and rings: recovers each journal and starts the next incarnation. All are looked at before anything is changed: where
/// one is damaged, the directory is held from now on. One that is held already is opened, since that is how the operator's word is carried out.
///
/// # Panics
/// When there is not one ring a journal, of the manifest's length.
pub fn open_over<S: Storage>(
    storage: &S,
    manifest: Manifest,
    rings: Vec<RingMemory>,
    settings: &Settings,
) -> Result<Opened<S>, OpenError> {
    open_in(storage, manifest, rings, settings, None)
}

/// [`open_over`], in the timeline that begins with this start, where one does.
fn open_in<S: Storage>(
    storage: &S,
    mut manifest: Manifest,
    mut rings: Vec<RingMemory>,
    settings: &Settings,
    begins: Option<Uuid>,
) -> Result<Opened<S>, OpenError> {
    let geometry = manifest.geometry;
    assert_eq!(rings.len(), usize::from(geometry.journals), "one ring a journal");
    assert!(rings.iter().all(|ring| ring.ring_bytes() == geometry.ring_bytes), "rings of the manifest's length");
    if u64::from(settings.message_bytes_max) > geometry.commit_bytes_max() / 2 {
        let why = format!(
            "message_bytes_max is {}, more than an eighth of persistence.ring_bytes ({}): raise ring_bytes or lower message_bytes_max",
            settings.message_bytes_max, geometry.ring_bytes
        );
        return Err(ManifestError::Geometry(why).into());
    }
    let mut looks = Vec::new();
    while looks.len() < rings.len() {
        let journal = looks.len() as u16;
        match recovery::look(storage, &manifest, journal, Some(&rings[looks.len()]), settings.clock)? {
            Ok(look) => looks.push(look),
            // Each time a later one, and no more of them than were started within a segment.
            Err(newer) => {
                manifest.know_of(newer.incarnation);
                if manifest.last_use.held.is_empty() {
                    return Err(held_for(storage, &mut manifest, settings, newer.why));
                }
                // The operator has spoken of it. What was read with less knowledge is read again.
                looks.clear();
            }
        }
    }
    let damage: Vec<&str> = looks.iter().filter_map(recovery::Look::damage).collect();
    // Of a held directory the operator has spoken.
    if !damage.is_empty() && manifest.last_use.held.is_empty() {
        return Err(held_for(storage, &mut manifest, settings, damage.join("; ")));
    }
    let newest = newest_in_rings(&manifest, &rings);
    if newest > manifest.incarnation && manifest.last_use.held.is_empty() {
        let why = format!(
            "start {newest} has written to its ring and the manifest knows of {} starts, so it is an older copy, or a copy of it is in use",
            manifest.incarnation
        );
        return Err(held_for(storage, &mut manifest, settings, why));
    }
    let mut found = Vec::new();
    for (look, ring) in looks.into_iter().zip(&rings) {
        found.push(recovery::recover(storage, &manifest, look, ring, settings.clock)?);
    }
    // Everything that any ring had beyond its segments is on stable media by now, so the rings may
    // change owner. A restored directory does not know how often its lost branch was started.
    let starts = if begins.is_some() { 1 + LOST_STARTS } else { 1 };
    let incarnation =
        newest.checked_add(starts).ok_or_else(|| ManifestError::Damaged("its incarnation cannot rise".to_owned()))?;
    let moved = found.iter().filter(|found| found.recovered.report.may_have_lost()).map(|found| found.journal);
    let numbers_moved = Some(moved.collect());
    let starts = found.iter().map(|found| found.end).collect();
    let last_use = LastUse { starts, reached: Vec::new(), ends: Vec::new(), ..manifest.last_use };
    let timeline = begins.unwrap_or(manifest.timeline);
    let timeline_from = if begins.is_some() { incarnation } else { manifest.timeline_from };
    let ring_dir = ring_dir_text(settings);
    let manifest = Manifest { incarnation, ring_dir, numbers_moved, timeline, timeline_from, last_use, ..manifest };
    manifest.write(storage)?;
    let mut journals = Vec::new();
    for (found, mut ring) in found.into_iter().zip(rings.drain(..)) {
        forget_other_branch(&found.recovered.report, &mut ring);
        recovery::refill_last_page(storage, &manifest, &found, &mut ring)?;
        ring.reset(&identity_of(&manifest, found.journal), u64::from(incarnation), found.end);
        journals.push(assemble(storage, &manifest, found, ring, settings));
    }
    let Manifest { uuid, timeline, .. } = manifest;
    Ok(Opened { uuid, timeline, incarnation, journals, lock: None, flush: None, growth: None, warnings: Vec::new() })
}

/// Holds the directory from now on. The error that says why, or that this could not be written.
fn held_for(storage: &impl Storage, manifest: &mut Manifest, settings: &Settings, why: String) -> OpenError {
    match held::hold(storage, manifest, why.clone()) {
        Ok(()) => OpenError::Held { data_dir: settings.data_dir.clone(), why },
        Err(error) => error.into(),
    }
}

/// Whole records of a ring that was not accepted may be of a branch that the journal did not go on
/// with: of before a loss, or of a time when the directory was on another node. No later recovery
/// shall read them as what the volume has lost.
fn forget_other_branch(report: &RecoveryReport, ring: &mut RingMemory) {
    if matches!(report.ring, RingFound::Finished | RingFound::Quarantined(_)) {
        ring.data_mut().fill(0);
    }
}

/// Where the directory is an older copy, a ring may know a later incarnation than the manifest; no
/// number is given out twice.
fn newest_in_rings(manifest: &Manifest, rings: &[RingMemory]) -> u32 {
    let newer = rings.iter().zip(0..).filter_map(|(ring, journal)| {
        let is_newer =
            is_of_this_directory(ring.identity(), manifest, journal) && ring.owner() > u64::from(manifest.incarnation);
        is_newer.then(|| held::newest_record(ring.data(), &manifest.geometry, ring.marks().appended)).flatten()
    });
    newer.fold(manifest.incarnation, u32::max)
}

fn assemble<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    found: Found<S>,
    ring: RingMemory,
    settings: &Settings,
) -> Journal<S> {
    let geometry = manifest.geometry;
    let resume = Resume {
        geometry,
        uuid: *manifest.uuid.as_bytes(),
        timeline: *manifest.timeline.as_bytes(),
        journal: found.journal,
        incarnation: manifest.incarnation,
        message_bytes_max: settings.message_bytes_max,
        headed_segment: found.headed_segment,
        after_clean_stop: found.recovered.report.clean_stop,
        numbers_moved: found.recovered.report.may_have_lost(),
    };
    let recycling = Recycling::new(geometry, found.end, manifest.last_use.first_segment(found.journal));
    let carry = Carry {
        storage: storage.clone(),
        geometry,
        journal: found.journal,
        incarnation: manifest.incarnation,
        flush_interval_ns: settings.flush_interval_ns,
        flush_interval_min_ns: settings.flush_interval_min_ns,
        clock: settings.clock,
        unzeroed: found.unzeroed,
        recycling: Arc::clone(&recycling),
    };
    let wanted = Arc::new(CachePadded::new(Wanted::default()));
    let watermarks = ring.watermarks();
    let (ring_writer, ring_reader) = ring.split();
    let (stager, stager_port) = Stager::new(
        storage.clone(),
        geometry,
        found.journal,
        watermarks.clone(),
        Arc::clone(&recycling),
        settings.resend_messages_max,
    );
    let mut recovered = found.recovered;
    recovered.report.incarnation = manifest.incarnation;
    Journal {
        number: found.journal,
        writer: Writer::new(ring_writer, &resume, Arc::clone(&wanted)),
        stager_port,
        flusher: Flusher::new(ring_reader, carry, wanted),
        stager,
        watermarks,
        recycling,
        storage: storage.clone(),
        timeline: manifest.timeline,
        recovered,
    }
}

fn ring_dir_text(settings: &Settings) -> String {
    settings.ring_dir.to_string_lossy().into_owned()
}

impl OpenError {
    /// What comes of an error over a directory or file of the data directory. The environment's is
    /// a storage error; any other is the operator's, who is told what to name instead.
    pub(super) fn of(operation: &'static str, path: &Path, error: io::Error, mend: &str) -> Self {
        match of_environment(&error) {
            Some(_) => StorageError::new(operation, path.display().to_string(), error).into(),
            None => Self::Directory(format!("cannot {operation} {path:?}: {error}; {mend}")),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(error) => error.fmt(f),
            Self::InUse { data_dir, pid: Some(pid) } => {
                write!(
                    f,
                    "data directory {data_dir:?} is in use by process {pid}: stop that one, or name another engine.data_dir"
                )
            }
            Self::InUse { data_dir, pid: None } => {
                write!(
                    f,
                    "data directory {data_dir:?} is in use by another process: stop that one, or name another engine.data_dir"
                )
            }
            Self::RingInUse { ring } => {
                write!(
                    f,
                    "ring {ring:?} is in use by another process (fuser {}): an engine runs over this data directory whose lock was got round, since the file `lock` was removed, or over the one that this is a copy of. Stop it; or, to use a copy beside its original, give the copy a timeline of its own with `fixring recover --restored`, with its own --data-dir",
                    ring.display()
                )
            }
            Self::Held { data_dir, why } => {
                write!(
                    f,
                    "data directory {data_dir:?} is held: {why}. Its sequence numbers may be older than what the counterparties have seen: say what they are with `fixring recover --restored --data-dir {}`",
                    data_dir.display()
                )
            }
            Self::Directory(text) | Self::Ring(text) | Self::Volume(text) | Self::Archive(text) => f.write_str(text),
            Self::Damaged { journal, why } => {
                write!(
                    f,
                    "journal {journal} is damaged ({why}): `fixring journal repair` says what can be saved; otherwise restore the data directory from its volume snapshot, or move it aside to start anew"
                )
            }
            Self::Storage(error) => write!(f, "{error}; {}", error.mend()),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<ManifestError> for OpenError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
