//! A volume in memory that can lose what a real one can lose. For tests, of this crate and of applications.
//!
//! Each file has two images: what the operating system would read back, and what is on stable media. A sync copies one to the other.
//! A crash of the process keeps both; a crash of the node keeps the stable image and, of each 4 KiB page written since, an arbitrary choice
//! of its 512-byte sectors.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Geometry, Slot, Storage, StorageError};

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

#[derive(Clone)]
pub struct SimulatedStorage {
    volume: Arc<Mutex<Volume>>,
}

struct Volume {
    segment_bytes: usize,
    files: BTreeMap<(u16, u32), FileImage>,
    manifest: Option<Vec<u8>>,
    quarantined: BTreeMap<String, Vec<u8>>,
    /// Calls of write, sync, manifest and quarantine until one fails.
    calls_until_failure: Option<u64>,
}

struct FileImage {
    volatile: Vec<u8>,
    stable: Vec<u8>,
    /// Pages that differ, or may.
    dirty: BTreeSet<usize>,
}

impl SimulatedStorage {
    pub fn new(geometry: Geometry) -> Self {
        let segment_bytes = geometry.segment_bytes as usize;
        let mut files = BTreeMap::new();
        for journal in 0..geometry.journals {
            for number in 0..geometry.segments {
                let image = FileImage {
                    volatile: vec![0; segment_bytes],
                    stable: vec![0; segment_bytes],
                    dirty: BTreeSet::new(),
                };
                files.insert((journal, number), image);
            }
        }
        let volume =
            Volume { segment_bytes, files, manifest: None, quarantined: BTreeMap::new(), calls_until_failure: None };
        Self { volume: Arc::new(Mutex::new(volume)) }
    }

    /// The process dies; the operating system keeps what was written. Ends an injected failure.
    pub fn crash_process(&self) {
        self.lock().calls_until_failure = None;
    }

    /// The node dies. Of each page that was written and not synced, each sector may or may not have reached the media. Ends an injected failure.
    pub fn crash_node(&self, random: &mut fastrand::Rng) {
        let mut volume = self.lock();
        volume.calls_until_failure = None;
        for image in volume.files.values_mut() {
            for page in std::mem::take(&mut image.dirty) {
                // Whole pages most of the time, as a device would; torn ones often enough.
                let torn = random.u8(..4) == 0;
                let whole = random.bool();
                for sector in 0..PAGE_BYTES / SECTOR_BYTES {
                    let start = page * PAGE_BYTES + sector * SECTOR_BYTES;
                    let range = start..start + SECTOR_BYTES;
                    if if torn { random.bool() } else { whole } {
                        image.stable[range.clone()].copy_from_slice(&image.volatile[range]);
                    }
                }
                let range = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
                image.volatile[range.clone()].copy_from_slice(&image.stable[range]);
            }
        }
    }

    /// The n-th call from now that changes or syncs something fails with EIO, and so does each after it. 0 is the next.
    pub fn fail_after(&self, calls: u64) {
        self.lock().calls_until_failure = Some(calls);
    }

    /// Changes a byte on the media itself.
    pub fn corrupt(&self, slot: Slot, offset: u64, change: impl FnOnce(u8) -> u8) {
        let mut volume = self.lock();
        let image = volume.file(slot);
        let byte = change(image.volatile[offset as usize]);
        image.volatile[offset as usize] = byte;
        image.stable[offset as usize] = byte;
    }

    pub fn quarantined(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock().quarantined.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self, operation: &'static str) -> Result<MutexGuard<'_, Volume>, StorageError> {
        let mut volume = self.lock();
        match &mut volume.calls_until_failure {
            None => {}
            Some(0) => {
                return Err(StorageError::new(
                    operation,
                    "the simulated volume",
                    io::Error::from_raw_os_error(libc::EIO),
                ));
            }
            Some(calls) => *calls -= 1,
        }
        Ok(volume)
    }
}

impl Volume {
    fn file(&mut self, slot: Slot) -> &mut FileImage {
        self.files.get_mut(&(slot.journal, slot.number)).expect("a slot within the geometry")
    }
}

impl Storage for SimulatedStorage {
    fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut volume = self.changing("write")?;
        let offset = offset as usize;
        assert!(offset + bytes.len() <= volume.segment_bytes, "a write stays in its segment");
        let image = volume.file(slot);
        image.volatile[offset..offset + bytes.len()].copy_from_slice(bytes);
        if !bytes.is_empty() {
            image.dirty.extend(offset / PAGE_BYTES..=(offset + bytes.len() - 1) / PAGE_BYTES);
        }
        Ok(())
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        let mut volume = self.changing("sync")?;
        let image = volume.file(slot);
        for page in std::mem::take(&mut image.dirty) {
            let range = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
            image.stable[range.clone()].copy_from_slice(&image.volatile[range]);
        }
        Ok(())
    }

    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let mut volume = self.lock();
        let offset = offset as usize;
        buffer.copy_from_slice(&volume.file(slot).volatile[offset..offset + buffer.len()]);
        Ok(())
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.lock().manifest.clone())
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError> {
        self.changing("replace the manifest of")?.manifest = Some(bytes.to_vec());
        Ok(())
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.changing("quarantine on")?.quarantined.entry(name.to_owned()).or_default().extend_from_slice(bytes);
        Ok(())
    }
}
