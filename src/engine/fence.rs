//! Whether the data directory is still this process's.
//!
//! Its lock keeps a second process away, as long as both see the same file. Where they do not (the file was removed, a network filesystem
//! forgot it), the later start has raised the incarnation: in the ring's header, which flusher and worker look at each turn, and in the
//! manifest, which is looked at here since the other may have rings of its own elsewhere. It detects, on one node and after the fact; it
//! prevents nothing, and across nodes nothing but the volume's attachment and a confirmed power fence does.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::journal::{self, FileStorage, Geometry, Manifest, Storage, StorageError};
use crate::sys::ring::Watermarks;

const INTERVAL: Duration = Duration::from_secs(1);

/// For a housekeeping thread.
pub(crate) struct Fence {
    storage: FileStorage,
    incarnation: u32,
    looked: Instant,
    /// What each journal has reached, and where it began; until that is noted.
    begun: Vec<(Watermarks, u64)>,
}

impl Fence {
    pub fn new(data_dir: &Path, incarnation: u32, begun: Vec<(Watermarks, u64)>) -> Self {
        let storage = FileStorage::open(data_dir, Geometry::default());
        Self { storage, incarnation, looked: Instant::now(), begun }
    }

    /// Once the first record of each journal is synced: from then on numbers may leave that only
    /// this start knows of. Nothing depends on it but that the next start sees what the volume has
    /// lost meanwhile.
    pub fn note_reached(&mut self) {
        if self.begun.is_empty() || self.begun.iter().any(|(marks, start)| marks.synced() <= *start) {
            return;
        }
        let reached = self.begun.drain(..).map(|(marks, _)| marks.synced()).collect();
        if let Err(error) = journal::note_reached(&self.storage, self.incarnation, reached) {
            tracing::warn!(%error, "the manifest does not say that this start has begun");
        }
    }

    /// Once an interval. An error where a later start is in the manifest; one that cannot be read shows none.
    pub fn look(&mut self, now: Instant) -> Result<(), StorageError> {
        if now.saturating_duration_since(self.looked) < INTERVAL {
            return Ok(());
        }
        self.looked = now;
        let manifest = self.storage.manifest().ok().flatten().and_then(|bytes| Manifest::of_text(&bytes).ok());
        match manifest {
            Some(manifest) if manifest.incarnation > self.incarnation => Err(fenced("the data directory")),
            _ => Ok(()),
        }
    }
}

/// The storage error that ends a process whose journal another one has taken over.
pub(crate) fn fenced(what: &str) -> StorageError {
    let why = "another process has started on the data directory since, and this one must not release anything more";
    StorageError::new("go on with", what, io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::LastUse;

    #[test]
    fn a_later_start_in_the_manifest_ends_the_process_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(directory.path(), Geometry::default());
        let mut fence = Fence::new(directory.path(), 7, Vec::new());
        let mut now = Instant::now();
        let mut look = |fence: &mut Fence| {
            now += INTERVAL;
            fence.look(now)
        };
        assert!(look(&mut fence).is_ok(), "no manifest");
        let mut manifest = Manifest {
            uuid: uuid::Uuid::from_bytes([1; 16]),
            geometry: Geometry::default(),
            incarnation: 7,
            ring_dir: String::new(),
            numbers_moved: None,
            timeline: uuid::Uuid::from_bytes([1; 16]),
            timeline_from: 0,
            last_use: LastUse::default(),
        };
        storage.replace_manifest(manifest.to_text().as_bytes()).unwrap();
        assert!(look(&mut fence).is_ok());
        manifest.incarnation = 8;
        storage.replace_manifest(manifest.to_text().as_bytes()).unwrap();
        assert!(look(&mut fence).unwrap_err().to_string().contains("another process has started"));
    }
}
