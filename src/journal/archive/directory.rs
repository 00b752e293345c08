//! An archive that is a directory: a file a segment, with a sidecar for `sha256sum -c` that is also the proof that the file is whole.
//!
//! ```text
//! <directory>/<name of the segment>           the segment's bytes as they are on the volume
//! <directory>/<name of the segment>.sha256    its checksum; written last, so where it is there the copy is whole
//! <directory>/.<uuid>-journal-<n>.partial     a copy that is being made
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use uuid::Uuid;

use super::{ArchiveTarget, SealedSegment, checksum_line};
use crate::sys::file::forget_cached;

/// Synced as often, so that the device never has a whole segment to write at once.
const SYNC_BYTES: u64 = 1 << 20;

pub struct ArchiveDirectory {
    directory: PathBuf,
    partial: PathBuf,
    copy: Option<File>,
    unsynced_bytes: u64,
}

impl ArchiveDirectory {
    /// The directory is not made: where it is missing, what should be mounted there is not.
    pub fn new(directory: &Path, uuid: Uuid, journal: u16) -> Self {
        let partial = directory.join(format!(".{uuid}-journal-{journal:03}.partial"));
        Self { directory: directory.to_owned(), partial, copy: None, unsynced_bytes: 0 }
    }

    fn sidecar(&self, segment: &SealedSegment) -> PathBuf {
        self.directory.join(format!("{}.sha256", segment.name))
    }

    fn complete(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<()> {
        let Some(copy) = self.copy.take() else {
            return Err(io::Error::other("no copy was begun"));
        };
        copy.sync_all()?;
        // A hint: a copy that nobody reads here should not push what is read out of the cache.
        let _ = forget_cached(&copy);
        fs::rename(&self.partial, self.directory.join(&segment.name))?;
        let mut sidecar = create(&self.partial)?;
        sidecar.write_all(checksum_line(sha256, &segment.name).as_bytes())?;
        sidecar.sync_all()?;
        // The copy's name is durable before the proof's is.
        sync_directory(&self.directory)?;
        fs::rename(&self.partial, self.sidecar(segment))?;
        sync_directory(&self.directory)
    }
}

impl ArchiveTarget for ArchiveDirectory {
    fn holds(&mut self, segment: &SealedSegment) -> io::Result<bool> {
        self.sidecar(segment).try_exists().map_err(|error| self.told(error))
    }

    fn begin(&mut self, _segment: &SealedSegment) -> io::Result<()> {
        self.unsynced_bytes = 0;
        self.copy = Some(create(&self.partial).map_err(|error| self.told(error))?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(copy) = &mut self.copy else {
            return Err(io::Error::other("no copy was begun"));
        };
        self.unsynced_bytes += bytes.len() as u64;
        let mut written = copy.write_all(bytes);
        if written.is_ok() && self.unsynced_bytes >= SYNC_BYTES {
            self.unsynced_bytes = 0;
            written = copy.sync_data();
        }
        written.map_err(|error| self.told(error))
    }

    fn finish(&mut self, segment: &SealedSegment, sha256: &str, _now_ns: u64) -> Poll<io::Result<()>> {
        Poll::Ready(self.complete(segment, sha256).map_err(|error| self.told(error)))
    }

    fn abandon(&mut self) {
        if self.copy.take().is_some() {
            // Its space is given back; where that fails the next copy overwrites it.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

impl ArchiveDirectory {
    fn told(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.directory.display()))
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all())
}
