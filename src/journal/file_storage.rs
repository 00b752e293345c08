//! [`Storage`] in a directory.
//!
//! ```text
//! <data_dir>/lock                          held while a process runs; holds its pid
//! <data_dir>/manifest
//! <data_dir>/journal-<n>/segment-<k>.seg   k < segments
//! <data_dir>/journal-<n>/archived          what an archive command was given last (`archive/command.rs`)
//! <data_dir>/flush-method                  a note, see `flush_note.rs`
//! <data_dir>/quarantine/…                  only where recovery put something aside
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::sys::file;

use super::flush_note::{NOTE, NOTE_NEW};
use super::home;
use super::pages::Pages;
use super::probe::PROBE_DIR;
use super::ring_file::in_words;
use super::segment_file::{self, Bounce, SegmentFile};
use super::storage::piece_name;
use super::{
    FlushMethod, Geometry, HEADER_BYTES, ManifestError, OpenError, Reached, Read, Slot, Storage, StorageError,
};

/// A manifest is a few hundred bytes, and 20 more a journal.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// Threads that read at the same time, at most. A start has nothing else to do.
const READERS_MAX: usize = 16;
/// A thread costs as much as so many small reads.
const READS_PER_THREAD_MIN: usize = 2;

#[derive(Clone)]
pub struct FileStorage {
    inner: Arc<Inner>,
}

struct Inner {
    data_dir: PathBuf,
    geometry: Geometry,
    /// By journal, then by number. Empty until [`FileStorage::open_segments`].
    segments: std::sync::OnceLock<Vec<Vec<SegmentFile>>>,
}

pub(super) fn manifest_path(data_dir: &Path) -> PathBuf {
    data_dir.join("manifest")
}

pub(super) fn journal_dir(data_dir: &Path, journal: u16) -> PathBuf {
    data_dir.join(format!("journal-{journal}"))
}

pub(super) fn segment_path(data_dir: &Path, journal: u16, number: u32) -> PathBuf {
    journal_dir(data_dir, journal).join(format!("segment-{number}.seg"))
}

impl FileStorage {
    /// The directory alone: its manifest can be read. Segments follow with [`FileStorage::allocate`] or [`FileStorage::open_segments`].
    pub fn open(data_dir: &Path, geometry: Geometry) -> Self {
        Self {
            inner: Arc::new(Inner { data_dir: data_dir.to_owned(), geometry, segments: std::sync::OnceLock::new() }),
        }
    }

    /// Of a directory that was used: a segment that is shorter than it was made has lost its end, whatever that held. One that nothing was ever
    /// written to may be short where the node died at its creation.
    pub(super) fn check_lengths(&self, incarnation: u32) -> Result<(), OpenError> {
        let geometry = self.inner.geometry;
        for journal in 0..geometry.journals {
            for number in 0..geometry.segments {
                // A file that is missing is said where it is opened.
                let Ok(file) = file::open_to_read(&self.segment_path(Slot { journal, number })) else { continue };
                let bytes = file.metadata().map_or(geometry.segment_bytes, |metadata| metadata.len());
                if bytes >= geometry.segment_bytes {
                    continue;
                }
                let mut start = [0; HEADER_BYTES as usize];
                let is_used = file.read_at(&mut start, 0).is_ok() && start.iter().any(|byte| *byte != 0);
                if is_used || incarnation > 1 {
                    let needed = geometry.segment_bytes;
                    let why = format!("segment-{number}.seg is {bytes} bytes long, and a segment has {needed}");
                    return Err(OpenError::Damaged { journal, why });
                }
            }
        }
        Ok(())
    }

    /// Opens every segment's file for writing by `method`, creates those that are missing where `create` is set, and takes the space of all of them.
    /// Where there is too little of it, nothing is taken: a volume that is filled to the last byte stops others too.
    pub fn allocate(&self, create: bool, method: FlushMethod) -> Result<(), OpenError> {
        let geometry = self.inner.geometry;
        let missing_bytes = self.missing_bytes();
        let free_bytes = match file::space(&self.inner.data_dir) {
            Ok(space) if space.free_bytes < missing_bytes => {
                return Err(self.no_room(missing_bytes, space.free_bytes, &io::ErrorKind::StorageFull.into()));
            }
            Ok(space) => space.free_bytes,
            Err(_) => 0,
        };
        let mut segments = Vec::new();
        for journal in 0..geometry.journals {
            let directory = self.journal_dir(journal);
            if create {
                file::create_private_directory(&directory)
                    .map_err(|error| OpenError::of("make", &directory, error, "let this user write to data_dir"))?;
            }
            let mut files = Vec::new();
            for number in 0..geometry.segments {
                let path = self.segment_path(Slot { journal, number });
                files.push(segment_file::open(&path, create, method).map_err(|error| unusable(&path, method, error))?);
            }
            segments.push(files);
        }
        let is_whole = |file: &File| {
            let metadata = file.metadata();
            metadata.is_ok_and(|found| {
                found.len() >= geometry.segment_bytes && found.blocks() * 512 >= geometry.segment_bytes
            })
        };
        // A start over segments that are all there has nothing to allocate, nor a directory to sync.
        let incomplete: Vec<&File> = segments.iter().flatten().filter(|file| !is_whole(file)).collect();
        let is_changed = create || !incomplete.is_empty();
        for file in incomplete {
            match file::allocate(file, geometry.segment_bytes) {
                Ok(()) => {}
                // A filesystem without allocation (overlay, some network ones): zero-writing takes the space instead.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    let lengthen = || {
                        if file.metadata()?.len() < geometry.segment_bytes {
                            file.set_len(geometry.segment_bytes)
                        } else {
                            Ok(())
                        }
                    };
                    lengthen().map_err(|error| self.not_allocated(missing_bytes, free_bytes, error))?;
                }
                Err(error) => return Err(self.not_allocated(missing_bytes, free_bytes, error)),
            }
        }
        if is_changed {
            for journal in 0..geometry.journals {
                sync_directory(&self.journal_dir(journal))?;
            }
            sync_directory(&self.inner.data_dir)?;
        }
        let bounce = Bounce::new(Pages::new(0).into());
        let mut opened = Vec::new();
        for (journal, files) in (0..geometry.journals).zip(segments) {
            let open = |(number, file)| {
                let path = self.segment_path(Slot { journal, number });
                SegmentFile::new(file, method, geometry.segment_bytes, &bounce)
                    .map_err(|error| unusable(&path, method, error))
            };
            let files = (0..geometry.segments).zip(files).map(open).collect::<Result<Vec<_>, _>>()?;
            // One speaks for all, which lie in one directory.
            if let Some(first) = files.first() {
                let path = self.segment_path(Slot { journal, number: 0 });
                first.check().map_err(|error| unusable(&path, method, error))?;
            }
            opened.push(files);
        }
        self.hold(opened);
        Ok(())
    }

    /// Whether each segment's file can be opened as a start with this method does it. Nothing is
    /// kept open.
    pub(super) fn check_openable(&self, method: FlushMethod) -> Result<(), OpenError> {
        let geometry = self.inner.geometry;
        for journal in 0..geometry.journals {
            for number in 0..geometry.segments {
                let path = self.segment_path(Slot { journal, number });
                let failed = |error| unusable(&path, method, error);
                let file = segment_file::open(&path, false, method).map_err(failed)?;
                if number == 0 && method == FlushMethod::Dsync {
                    let bounce = Bounce::new(Pages::new(0).into());
                    let segment = SegmentFile::new(file, method, geometry.segment_bytes, &bounce);
                    segment.and_then(|segment| segment.check()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// What the segments still want of the volume.
    pub(super) fn missing_bytes(&self) -> u64 {
        let geometry = self.inner.geometry;
        let missing = |slot: Slot| geometry.segment_bytes.saturating_sub(file::held_bytes(&self.segment_path(slot)));
        (0..geometry.journals)
            .flat_map(|journal| (0..geometry.segments).map(move |number| Slot { journal, number }))
            .map(missing)
            .fold(0, u64::saturating_add)
    }

    /// How many files and directories a start makes of what is not there, up to the new manifest.
    pub(super) fn missing_files(&self) -> u64 {
        let Inner { data_dir, geometry, .. } = &*self.inner;
        let all = (0..geometry.journals)
            .flat_map(|journal| (0..geometry.segments).map(move |number| Slot { journal, number }));
        let segments = all.map(|slot| self.segment_path(slot));
        let directories = (0..geometry.journals).map(|journal| self.journal_dir(journal));
        let others = [data_dir.clone(), data_dir.join("lock"), data_dir.join("manifest")];
        // A manifest is written beside the one that it replaces.
        1 + segments.chain(directories).chain(others).filter(|path| !path.exists()).count() as u64
    }

    /// Opens the segments for reading alone.
    pub fn open_segments(&self) -> Result<(), StorageError> {
        let geometry = self.inner.geometry;
        let open = |slot: Slot| {
            let path = self.segment_path(slot);
            let file = file::open_to_read(&path);
            file.map(SegmentFile::Cached).map_err(|error| StorageError::new("open", path.display().to_string(), error))
        };
        let segments = (0..geometry.journals)
            .map(|journal| (0..geometry.segments).map(|number| open(Slot { journal, number })).collect())
            .collect::<Result<Vec<Vec<_>>, _>>()?;
        self.hold(segments);
        Ok(())
    }

    /// Makes the next reads ask the device, whatever another process may have read into the page cache while ours wrote past it.
    pub fn forget_cached(&self) -> Result<(), StorageError> {
        for (journal, files) in (0..).zip(self.inner.segments.get().into_iter().flatten()) {
            for (number, file) in (0..).zip(files) {
                file.forget_cached()
                    .map_err(|error| self.failed("drop the cache of", Slot { journal, number }, error))?;
            }
        }
        Ok(())
    }

    /// Whether a segment file is there that holds something, which without a manifest is nobody's.
    pub fn check_unused(&self) -> Result<(), OpenError> {
        let mut start = [0; 64];
        for number in 0..self.inner.geometry.segments {
            let path = self.segment_path(Slot { journal: 0, number });
            let holds = file::open_to_read(&path).and_then(|file| file.read_exact_at(&mut start, 0)).is_ok()
                && start.iter().any(|byte| *byte != 0);
            if holds {
                return Err(ManifestError::Missing.into());
            }
        }
        Ok(())
    }

    fn hold(&self, segments: Vec<Vec<SegmentFile>>) {
        assert!(self.inner.segments.set(segments).is_ok(), "the segments are opened once");
    }

    fn manifest_path(&self) -> PathBuf {
        manifest_path(&self.inner.data_dir)
    }

    pub(super) fn journal_dir(&self, journal: u16) -> PathBuf {
        journal_dir(&self.inner.data_dir, journal)
    }

    pub(super) fn segment_path(&self, slot: Slot) -> PathBuf {
        segment_path(&self.inner.data_dir, slot.journal, slot.number)
    }

    fn file(&self, slot: Slot) -> &SegmentFile {
        let segments = self.inner.segments.get().expect("the segments are open");
        &segments[usize::from(slot.journal)][slot.number as usize]
    }

    fn failed(&self, operation: &'static str, slot: Slot, error: io::Error) -> StorageError {
        StorageError::new(operation, self.segment_path(slot).display().to_string(), error)
    }

    /// Other limits than the room of the volume have remedies of their own.
    fn not_allocated(&self, needed_bytes: u64, free_bytes: u64, error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::StorageFull => self.no_room(needed_bytes, free_bytes, &error),
            _ => StorageError::new("allocate the segments in", self.inner.data_dir.display().to_string(), error).into(),
        }
    }

    fn no_room(&self, needed_bytes: u64, free_bytes: u64, error: &io::Error) -> OpenError {
        let data_dir = &self.inner.data_dir;
        let needed = in_words(needed_bytes);
        let free = in_words(free_bytes);
        OpenError::Volume(format!(
            "data_dir {data_dir:?} has {free} free, {needed} are needed for its segments ({error}): enlarge the volume, or lower persistence.segments or segment_bytes in a new data directory"
        ))
    }
}

fn unusable(path: &Path, method: FlushMethod, error: io::Error) -> OpenError {
    if method == FlushMethod::Dsync && error.kind() == io::ErrorKind::InvalidInput {
        return OpenError::Volume(format!(
            "segment {path:?}: its filesystem or device refuses O_DIRECT ({error}), which persistence.flush_method = \"dsync\" needs: set it to \"auto\" or \"fdatasync\""
        ));
    }
    match error.raw_os_error() {
        Some(_) => StorageError::new("open", path.display().to_string(), error).into(),
        // Found by us, with what to do about it.
        None => OpenError::Volume(format!("segment {path:?}: {error}")),
    }
}

/// What lies in a directory without a manifest and is not of our making, if anything: then the directory is somebody
/// else's. A file system's own entries and hidden ones are let pass, since a volume's root may have them.
pub fn stranger_in(data_dir: &Path) -> Option<String> {
    if data_dir.join("manifest").exists() {
        return None;
    }
    let names =
        std::fs::read_dir(data_dir).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_ours = |name: &str| {
        ["lock", "manifest.new", "quarantine", "recovery.json", "recovery.json.new", NOTE, NOTE_NEW, PROBE_DIR]
            .contains(&name)
            || name.strip_prefix("journal-").is_some_and(|number| number.parse::<u16>().is_ok())
    };
    names.filter(|name| !is_ours(name) && name != "lost+found" && !name.starts_with('.')).min()
}

impl Storage for FileStorage {
    fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.file(slot).write(offset, bytes).map_err(|error| self.failed("write", slot, error))
    }

    fn write_pages(&self, slot: Slot, offset: u64, pages: [&[u8]; 2]) -> Result<Reached, StorageError> {
        self.file(slot).write_pages(offset, pages).map_err(|error| self.failed("write", slot, error))
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        self.file(slot).sync().map_err(|error| self.failed("sync", slot, error))
    }

    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.file(slot).read(offset, buffer).map_err(|error| self.failed("read", slot, error))
    }

    /// On several threads: a device is far from busy with the small reads of one.
    fn read_all(&self, reads: &mut [Read<'_>]) -> Result<(), StorageError> {
        let helpers = (reads.len() / READS_PER_THREAD_MIN).min(READERS_MAX).saturating_sub(1);
        let reads = Mutex::new(reads.iter_mut());
        let serve = || {
            loop {
                let next = reads.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(read) = next else { return Ok(()) };
                self.read(read.slot, read.offset, read.buffer)?;
            }
        };
        thread::scope(|scope| {
            // Where a thread cannot be had, the others read its share.
            let helpers: Vec<_> = (0..helpers)
                .filter_map(|_| thread::Builder::new().name("fixring-read".into()).spawn_scoped(scope, serve).ok())
                .collect();
            helpers.into_iter().map(|helper| helper.join()).fold(serve(), |so_far, result| {
                so_far.and(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        })
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let path = self.manifest_path();
        match file::read_small(&path, MANIFEST_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::new("read", path.display().to_string(), error)),
        }
    }

    /// Its time of birth, which a rename keeps.
    fn next_manifest(&self) -> Result<String, StorageError> {
        let path = new_of(&self.manifest_path());
        let file = file::open_private(&path, true).and_then(|file| file.metadata());
        file.map(|found| home::name(&found))
            .map_err(|error| StorageError::new("write", path.display().to_string(), error))
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError> {
        replace(&self.manifest_path(), bytes)
    }

    fn quarantine(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let directory = self.inner.data_dir.join("quarantine");
        let path = directory.join(piece_name(name, bytes));
        let keep = || {
            file::create_private_directory(&directory)?;
            let file = file::open_private(&path, true)?;
            // A start that was refused, or died within the write, has left it here, whole or in part.
            let mut found = vec![0; bytes.len()];
            let is_there = file.metadata()?.len() == bytes.len() as u64
                && file.read_exact_at(&mut found, 0).is_ok()
                && found == bytes;
            if !is_there {
                file.set_len(0)?;
                file.write_all_at(bytes, 0)?;
            }
            file.sync_all()
        };
        keep().map_err(|error| StorageError::new("quarantine to", path.display().to_string(), error))?;
        sync_directory(&directory)?;
        sync_directory(&self.inner.data_dir)
    }
}

/// Makes these the bytes of a small file of ours, durably, or leaves the file as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let new = new_of(path);
    let replace = || {
        let mut file = file::open_private(&new, true)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    replace().map_err(|error| StorageError::new("replace", path.display().to_string(), error))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// What a file's next bytes are written to before it gets the name.
fn new_of(path: &Path) -> PathBuf {
    path.with_extension("new")
}

fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StorageError::new("sync", path.display().to_string(), error))
}
