//! Looks at a data directory from another process, while an engine runs or after: what `fixring journal` shows, checks and mends.
//!
//! Everything is a plain read, checked by CRC; nothing is locked or mapped, and nothing is written but by [`repair`]. What a running
//! engine overwrites under the reader is seen by the same CRCs, which cover the position: it is read again, and then it is either whole, or
//! of a later lap and said to be gone. No byte is trusted, neither a length nor a link nor a count.

pub(in crate::journal) mod files;
mod reader;
pub mod repair;
pub mod seek;
pub mod status;
pub mod verify;

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::file;

use super::{Manifest, ManifestError, RecordHeader, StorageError, device, grow, home};

pub use files::SlotHead;
pub(in crate::journal) use reader::next_whole;
pub use reader::{JournalReader, Merged, Next, Skipped, Start};

/// A record as it is stored.
#[derive(Clone, Debug)]
pub struct CatRecord {
    pub journal: u16,
    pub position: u64,
    pub header: RecordHeader,
    /// Empty for records of no session.
    pub identity: Box<[u8]>,
    pub payload: Box<[u8]>,
}

#[derive(Debug)]
pub enum CatError {
    /// There is no data directory here.
    NoManifest,
    Manifest(ManifestError),
    Storage(StorageError),
}

/// A data directory whose manifest was read.
#[derive(Clone, Debug)]
pub struct Directory {
    data_dir: PathBuf,
    /// Where a growth was cut off, as it will be.
    manifest: Manifest,
    growing: Option<Growing>,
}

/// A directory that was being given more segments when its start was cut off (`grow.rs`).
#[derive(Clone, Debug)]
struct Growing {
    from: u32,
    /// By journal, then by the new number.
    places: Arc<Vec<Places>>,
}

/// Where each segment's file is; `None` where there is none yet.
type Places = Vec<Option<PathBuf>>;

/// Who holds the directory's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// The pid that the file names; `None` where it names none.
    Process(Option<u32>),
    /// The lock cannot be looked at.
    Unknown,
}

/// A manifest is a few hundred bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

impl Directory {
    pub fn open(data_dir: &Path) -> Result<Self, CatError> {
        let bytes = read_bounded(&data_dir.join("manifest"), MANIFEST_BYTES_MAX)?.ok_or(CatError::NoManifest)?;
        let mut manifest = Manifest::of_text(&bytes).map_err(CatError::Manifest)?;
        // As a start would see it: a ring that serves the original is none of a copy's.
        manifest.last_use.device = device::identities_below(data_dir);
        manifest.last_use.home = home::of(data_dir, manifest.geometry.journals);
        let (from, to) = (manifest.geometry.segments, manifest.last_use.growing_to);
        let growing = (to > from).then(|| Growing { from, places: Arc::new(grow::places(data_dir, &manifest)) });
        manifest.geometry.segments = from.max(to);
        Ok(Self { growing, ..Self::of(data_dir, manifest) })
    }

    fn of(data_dir: &Path, manifest: Manifest) -> Self {
        Self { data_dir: data_dir.to_owned(), manifest, growing: None }
    }

    /// Whether its files are on the way to new places.
    pub fn is_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// The manifest as it is on the volume.
    fn stored_manifest(&self) -> Manifest {
        let mut manifest = self.manifest.clone();
        if let Some(growing) = &self.growing {
            manifest.geometry.segments = growing.from;
        }
        manifest
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn holder(&self) -> Holder {
        holder(&self.data_dir)
    }

    /// The same directory with its manifest as it is now: a start raises the incarnation.
    fn refreshed(&self) -> Self {
        Self::open(&self.data_dir).unwrap_or_else(|_| self.clone())
    }

    fn segments(&self, journal: u16) -> files::SegmentFiles {
        let files = files::SegmentFiles::new(&self.data_dir, self.manifest.geometry, journal);
        match &self.growing {
            Some(growing) => files.at(growing.places[usize::from(journal)].clone()),
            None => files,
        }
    }
}

/// Whether a process runs here, by its lock.
pub fn holder(data_dir: &Path) -> Holder {
    let path = data_dir.join("lock");
    let lock = match file::open_to_read(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Holder::Nobody,
        Err(_) => return Holder::Unknown,
    };
    match file::is_locked(&lock) {
        Ok(true) => {
            let text = read_bounded(&path, 64).ok().flatten().unwrap_or_default();
            Holder::Process(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()))
        }
        Ok(false) => Holder::Nobody,
        Err(_) => Holder::Unknown,
    }
}

/// A small file's bytes; `None` where there is none, nor a directory that could hold it.
pub(in crate::journal) fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StorageError> {
    let read = |file: File| {
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes).map(|_| bytes)
    };
    match file::open_to_read(path).and_then(read) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(StorageError::new("read", path.display().to_string(), error)),
    }
}

impl fmt::Display for CatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoManifest => f.write_str("this is no fixring data directory: it has no file `manifest`"),
            Self::Manifest(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CatError {}

impl From<StorageError> for CatError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
