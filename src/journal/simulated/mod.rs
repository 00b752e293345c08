//! A volume in memory that can lose what a real one can lose, and fail as a real one can fail. For tests, of this crate and of
//! applications, and for `fixring simulate`.
//!
//! Each file has two images by pages of 4 KiB: what the operating system would read back, and what is on stable media. A sync brings one to
//! the other. The death of a process, or of its pod, keeps both. The death of the node keeps what is on stable media and, of each page
//! written since, any version that it has had, or a mix of them by sectors of 512 bytes. The manifest and what is in quarantine are
//! files too: a name that was not synced may be the old one again.
//!
//! A [`Fault`] strikes at one call, before it, within it or after it. After a sync that failed, the operating system takes the pages for clean
//! though they are not on the media, and may forget them (`fsync(2)`, NOTES: what a failed call leaves is not to be relied on).

mod image;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::piece_name;
use super::{Geometry, Reached, Slot, Storage, StorageError};
use image::FileImage;

#[derive(Clone)]
pub struct SimulatedStorage {
    volume: Arc<Mutex<Volume>>,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Write,
    Sync,
    Read,
    ReadManifest,
    ReplaceManifest,
    Quarantine,
}

/// Something that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many calls go well before. One that strikes no read waits for the first call after them that is none.
    pub after_calls: u64,
    pub kind: FaultKind,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process ends within the call. Nothing that it calls afterwards happens, until a crash is declared.
    Death,
    /// The device refuses. Later calls go well, which is the danger.
    Eio,
    /// There is no room. Strikes nothing that only reads or syncs.
    Enospc,
}

/// How much of the call has happened, whatever its caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Nothing,
    Part,
    Whole,
}

/// A fault that has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struck {
    pub operation: Operation,
    pub fault: Fault,
}

/// A volume that does not keep its word, to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lie {
    #[default]
    None,
    /// A sync is acknowledged and brings nothing to the media.
    Sync,
    /// A write is acknowledged and happens only with the next one.
    Write,
}

/// All of a volume as it was at one time: to be put back, in whole or in part, or to be used as another volume.
#[derive(Clone)]
pub struct VolumeImage {
    files: BTreeMap<Slot, FileImage>,
    manifest: Named,
    quarantined: BTreeMap<String, Named>,
}

struct Volume {
    segment_bytes: usize,
    files: BTreeMap<Slot, FileImage>,
    manifest: Named,
    quarantined: BTreeMap<String, Named>,
    fault: Option<Fault>,
    struck: Option<Struck>,
    /// Every call fails: the process that makes it is dead.
    is_dead: bool,
    /// Calls of write, sync, manifest and quarantine until one fails, and then all.
    changes_until_failure: Option<u64>,
    writes_through: bool,
    lie: Lie,
    withheld: Option<(Slot, u64, Vec<u8>)>,
    /// For what a fault leaves of the call that it strikes.
    random: fastrand::Rng,
}

/// A small file that is replaced in whole.
#[derive(Clone, Default)]
struct Named {
    cached: Option<Vec<u8>>,
    durable: Option<Vec<u8>>,
}

/// How one call goes.
enum Course {
    Well,
    Fails(StorageError, Effect, FaultKind),
}

impl SimulatedStorage {
    pub fn new(geometry: Geometry) -> Self {
        let segment_bytes = geometry.segment_bytes as usize;
        let slots = (0..geometry.journals)
            .flat_map(|journal| (0..geometry.segments).map(move |number| Slot { journal, number }));
        let volume = Volume {
            segment_bytes,
            files: slots.map(|slot| (slot, FileImage::new(segment_bytes))).collect(),
            manifest: Named::default(),
            quarantined: BTreeMap::new(),
            fault: None,
            struck: None,
            is_dead: false,
            changes_until_failure: None,
            writes_through: false,
            lie: Lie::None,
            withheld: None,
            random: fastrand::Rng::with_seed(1),
        };
        Self { volume: Arc::new(Mutex::new(volume)) }
    }

    /// The process dies; the operating system keeps what was written. Ends an injected failure.
    pub fn crash_process(&self) {
        let volume = &mut *self.lock();
        volume.calm();
        volume.withheld = None;
        for image in volume.files.values_mut() {
            image.evict(&mut volume.random);
        }
    }

    /// The node dies. Of each page that was written and not synced, any version may survive, or each sector of any of them. Ends an
    /// injected failure. The number of torn pages.
    pub fn crash_node(&self, random: &mut fastrand::Rng) -> u64 {
        let volume = &mut *self.lock();
        volume.calm();
        volume.withheld = None;
        volume.manifest.crash(random);
        for named in volume.quarantined.values_mut() {
            named.crash(random);
        }
        volume.quarantined.retain(|_, named| named.cached.is_some());
        volume.files.values_mut().map(|image| image.crash(random)).sum()
    }

    /// The n-th call from now that changes or syncs something fails with EIO, and so does each after it. 0 is the next.
    pub fn fail_after(&self, calls: u64) {
        self.lock().changes_until_failure = Some(calls);
    }

    /// One fault at a time; an earlier one that has not struck is forgotten.
    pub fn inject(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    /// The fault that has struck since this was asked last, if any.
    pub fn struck(&self) -> Option<Struck> {
        self.lock().struck.take()
    }

    /// Nothing that was injected strikes any more.
    pub fn calm(&self) {
        self.lock().calm();
    }

    pub fn lie(&self, lie: Lie) {
        self.lock().lie = lie;
    }

    /// What the node would find if it died now and nothing else survived.
    pub fn read_durable(&self, slot: Slot, offset: u64, buffer: &mut [u8]) {
        self.lock().file(slot).read_durable(offset as usize, buffer);
    }

    /// What the operating system would answer, whatever is wrong with the volume.
    pub fn read_cached(&self, slot: Slot, offset: u64, buffer: &mut [u8]) {
        self.lock().file(slot).read(offset as usize, buffer);
    }

    /// Changes a byte on the media itself.
    pub fn corrupt(&self, slot: Slot, offset: u64, change: impl FnOnce(u8) -> u8) {
        self.lock().file(slot).corrupt(offset as usize, change);
    }

    /// All of it, with what is not on the media yet.
    pub fn image(&self) -> VolumeImage {
        let volume = self.lock();
        let (files, manifest) = (volume.files.clone(), volume.manifest.clone());
        VolumeImage { files, manifest, quarantined: volume.quarantined.clone() }
    }

    /// A copy of its files, as one reads them, all of it on the media.
    pub fn copy(&self) -> VolumeImage {
        let mut image = self.image();
        image.files.values_mut().for_each(|file| *file = file.settled());
        image.manifest.sync();
        image
    }

    pub fn put_back(&self, image: &VolumeImage) {
        let volume = &mut *self.lock();
        volume.files.clone_from(&image.files);
        volume.manifest.clone_from(&image.manifest);
        volume.quarantined.clone_from(&image.quarantined);
    }

    /// Whether that changes anything.
    pub fn put_back_segment(&self, image: &VolumeImage, slot: Slot) -> bool {
        let volume = &mut *self.lock();
        let is_other = !volume.file(slot).reads_as(&image.files[&slot]);
        volume.files.insert(slot, image.files[&slot].clone());
        is_other
    }

    /// Whether that changes anything.
    pub fn put_back_manifest(&self, image: &VolumeImage) -> bool {
        let volume = &mut *self.lock();
        let is_other = volume.manifest.cached != image.manifest.cached;
        volume.manifest.clone_from(&image.manifest);
        is_other && image.manifest.cached.is_some()
    }

    /// Segments and what is in quarantine read as in the image.
    pub fn is_as(&self, image: &VolumeImage) -> bool {
        let volume = self.lock();
        volume.files.iter().all(|(slot, file)| file.reads_as(&image.files[slot]))
            && volume.quarantined.keys().eq(image.quarantined.keys())
    }

    /// The whole file reads as zeros.
    pub fn lose_segment(&self, slot: Slot) {
        let volume = &mut *self.lock();
        let bytes = volume.segment_bytes;
        volume.files.insert(slot, FileImage::new(bytes));
    }

    /// A page reads as before it was last synced. Whether that changes anything.
    pub fn go_back(&self, slot: Slot, offset: u64) -> bool {
        self.lock().file(slot).go_back(offset as usize)
    }

    pub fn quarantined(&self) -> BTreeMap<String, Vec<u8>> {
        let volume = self.lock();
        let bytes = |named: &Named| named.cached.clone().unwrap_or_default();
        volume.quarantined.iter().map(|(name, named)| (name.clone(), bytes(named))).collect()
    }

    /// From now on a write is on the media when it returns, as with O_DIRECT and O_DSYNC.
    pub fn write_through(&self) {
        self.lock().writes_through = true;
    }

    pub fn writes_through(&self) -> bool {
        self.lock().writes_through
    }

    fn put(&self, slot: Slot, offset: u64, runs: [&[u8]; 2]) -> Result<Reached, StorageError> {
        let volume = &mut *self.lock();
        let length = runs.iter().map(|run| run.len()).sum();
        let (result, length) = match volume.course(Operation::Write) {
            Course::Well if volume.lie == Lie::Write => {
                if let Some((slot, offset, bytes)) = volume.withheld.replace((slot, offset, runs.concat())) {
                    volume.write(slot, offset, &bytes);
                }
                return Ok(volume.reached());
            }
            Course::Well => (Ok(volume.reached()), length),
            Course::Fails(error, Effect::Nothing, _) => return Err(error),
            // A write is cut between sectors: neither a device nor the copy into a page ends within one.
            Course::Fails(error, Effect::Part, _) => {
                let end = offset as usize + volume.random.usize(..=length);
                (Err(error), (end / image::SECTOR_BYTES * image::SECTOR_BYTES).saturating_sub(offset as usize))
            }
            Course::Fails(error, Effect::Whole, _) => (Err(error), length),
        };
        let first = runs[0].len().min(length);
        volume.write(slot, offset, &runs[0][..first]);
        volume.write(slot, offset + first as u64, &runs[1][..length - first]);
        if volume.writes_through && volume.lie != Lie::Sync {
            let image = volume.files.get_mut(&slot).expect("a slot within the geometry");
            match result {
                Ok(_) => image.sync_range(offset as usize, length),
                Err(_) => image.break_off_range(offset as usize, length, &mut volume.random),
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Volume {
    fn reached(&self) -> Reached {
        if self.writes_through { Reached::Media } else { Reached::System }
    }

    fn calm(&mut self) {
        (self.fault, self.struck, self.changes_until_failure, self.is_dead) = (None, None, None, false);
    }

    fn file(&mut self, slot: Slot) -> &mut FileImage {
        self.files.get_mut(&slot).expect("a slot within the geometry")
    }

    fn course(&mut self, operation: Operation) -> Course {
        let error =
            |number| StorageError::new(operation.verb(), "the simulated volume", io::Error::from_raw_os_error(number));
        if self.is_dead {
            return Course::Fails(error(libc::EIO), Effect::Nothing, FaultKind::Death);
        }
        if operation.changes() {
            match &mut self.changes_until_failure {
                None => {}
                Some(0) => return Course::Fails(error(libc::EIO), Effect::Nothing, FaultKind::Death),
                Some(calls) => *calls -= 1,
            }
        }
        let Some(fault) = &mut self.fault else { return Course::Well };
        if fault.after_calls > 0 {
            fault.after_calls -= 1;
            return Course::Well;
        }
        let fault = *fault;
        if fault.kind == FaultKind::Enospc && !operation.takes_room() {
            return Course::Well;
        }
        self.fault = None;
        self.is_dead = fault.kind == FaultKind::Death;
        self.struck = Some(Struck { operation, fault });
        let number = if fault.kind == FaultKind::Enospc { libc::ENOSPC } else { libc::EIO };
        Course::Fails(error(number), fault.effect, fault.kind)
    }

    fn write(&mut self, slot: Slot, offset: u64, bytes: &[u8]) {
        let offset = offset as usize;
        assert!(offset + bytes.len() <= self.segment_bytes, "a write stays in its segment");
        let image = self.files.get_mut(&slot).expect("a slot within the geometry");
        image.write(offset, bytes, &mut self.random);
    }
}

impl Named {
    fn crash(&mut self, random: &mut fastrand::Rng) {
        if random.bool() {
            self.durable.clone_from(&self.cached);
        }
        self.cached.clone_from(&self.durable);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.cached);
    }
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Read => "read",
            Self::ReadManifest => "read the manifest of",
            Self::ReplaceManifest => "replace the manifest of",
            Self::Quarantine => "quarantine on",
        }
    }

    fn changes(self) -> bool {
        !matches!(self, Self::Read | Self::ReadManifest)
    }

    fn takes_room(self) -> bool {
        matches!(self, Self::Write | Self::ReplaceManifest | Self::Quarantine)
    }
}

impl Storage for SimulatedStorage {
    fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.put(slot, offset, [bytes, &[]]).map(drop)
    }

    /// One call of the device for both runs, so that a fault may strike between them.
    fn write_pages(&self, slot: Slot, offset: u64, pages: [&[u8]; 2]) -> Result<Reached, StorageError> {
        self.put(slot, offset, pages)
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        let volume = &mut *self.lock();
        let course = volume.course(Operation::Sync);
        let lies = volume.lie == Lie::Sync;
        let image = volume.files.get_mut(&slot).expect("a slot within the geometry");
        match course {
            Course::Well if lies => Ok(()),
            Course::Well => {
                image.sync();
                Ok(())
            }
            Course::Fails(error, effect, kind) => {
                match effect {
                    Effect::Nothing => {}
                    Effect::Part => image.sync_in_part(&mut volume.random),
                    Effect::Whole => image.sync(),
                }
                if kind == FaultKind::Eio {
                    image.give_up();
                }
                Err(error)
            }
        }
    }

    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let volume = &mut *self.lock();
        match volume.course(Operation::Read) {
            Course::Well => {
                volume.file(slot).read(offset as usize, buffer);
                Ok(())
            }
            Course::Fails(error, ..) => Err(error),
        }
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let volume = &mut *self.lock();
        match volume.course(Operation::ReadManifest) {
            Course::Well => Ok(volume.manifest.cached.clone()),
            Course::Fails(error, ..) => Err(error),
        }
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError> {
        let volume = &mut *self.lock();
        let course = volume.course(Operation::ReplaceManifest);
        let (result, effect) = match course {
            Course::Well => (Ok(()), Effect::Whole),
            Course::Fails(error, effect, _) => (Err(error), effect),
        };
        // The new file is whole and synced before it gets the name; only the name may be lost.
        if effect != Effect::Nothing {
            volume.manifest.cached = Some(bytes.to_vec());
        }
        if effect == Effect::Whole {
            volume.manifest.sync();
        }
        result
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let volume = &mut *self.lock();
        let course = volume.course(Operation::Quarantine);
        let (result, effect) = match course {
            Course::Well => (Ok(()), Effect::Whole),
            Course::Fails(error, effect, _) => (Err(error), effect),
        };
        let length = match effect {
            Effect::Nothing => return result,
            Effect::Part => volume.random.usize(..=bytes.len()),
            Effect::Whole => bytes.len(),
        };
        let named = volume.quarantined.entry(piece_name(name, bytes)).or_default();
        named.cached = Some(bytes[..length].to_vec());
        if effect == Effect::Whole {
            named.sync();
        }
        result
    }
}
