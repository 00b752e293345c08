//! An archive that is a directory: a file a segment, with a sidecar for `sha256sum -c` that is also the proof that the file is whole.
//!
//! ```text
//! <directory>/<name of the segment>           the segment's bytes as they are on the volume
//! <directory>/<name of the segment>.sha256    its checksum; written last, so where it is there the copy is whole
//! <directory>/.<timeline>-journal-<n>.partial a copy that is being made
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use uuid::Uuid;

use super::{ArchiveTarget, Holding, SealedSegment, checksum_line};
use crate::sys::file::{forget_cached, read_small};

/// Synced as often, so that the device never has a whole segment to write at once.
const SYNC_BYTES: u64 = 1 << 20;
/// A checksum and a name.
const PROOF_BYTES_MAX: u64 = 1024;

pub struct ArchiveDirectory {
    directory: PathBuf,
    partial: PathBuf,
    segment_bytes: u64,
    copy: Option<File>,
    unsynced_bytes: u64,
}

impl ArchiveDirectory {
    /// The directory is not made: where it is missing, what should be mounted there is not.
    pub fn new(directory: &Path, timeline: Uuid, journal: u16, segment_bytes: u64) -> Self {
        let partial = directory.join(format!(".{timeline}-journal-{journal:03}.partial"));
        Self { directory: directory.to_owned(), partial, segment_bytes, copy: None, unsynced_bytes: 0 }
    }

    fn sidecar(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.sha256"))
    }

    /// Whether there is a copy of this name whose proof says that it has these bytes, and that has
    /// lost none of them since.
    fn has(&self, name: &str, sha256: &str) -> io::Result<bool> {
        let proof = match read_small(&self.sidecar(name), PROOF_BYTES_MAX) {
            Ok(proof) => proof,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if proof != checksum_line(sha256, name).as_bytes() {
            return Ok(false);
        }
        match fs::metadata(self.directory.join(name)) {
            Ok(copy) => Ok(copy.is_file() && copy.len() == self.segment_bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
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
        fs::rename(&self.partial, self.sidecar(&segment.name))?;
        sync_directory(&self.directory)
    }
}

impl ArchiveTarget for ArchiveDirectory {
    fn holding(&mut self, segment: &SealedSegment) -> io::Result<Holding> {
        let is_there = self.sidecar(&segment.name).try_exists().map_err(|error| self.told(error))?;
        Ok(if is_there { Holding::Something } else { Holding::Nothing })
    }

    fn holds(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<bool> {
        let has = |name: &str| self.has(name, sha256).map_err(|error| self.told(error));
        Ok(has(&segment.name)? || has(&segment.beside(sha256))?)
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
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let why = format!("{} is not a regular file: move it away", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|directory| directory.sync_all())
}
