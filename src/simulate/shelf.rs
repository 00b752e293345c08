//! An archive that no machine's death reaches: it keeps every segment that it was given, refuses now and then, and takes its time.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::journal::archive::{ArchiveTarget, Holding, SealedSegment};

/// All archived segments of one engine.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// By journal and name: checksum and bytes.
    segments: BTreeMap<(u16, String), (String, Vec<u8>)>,
    /// So many of the next calls are refused.
    refusals: u32,
}

/// The shelf as one journal's archiver sees it.
pub struct ShelfTarget {
    shelf: Shelf,
    journal: u16,
    /// Never refuses.
    is_patient: bool,
    /// What is copied so far.
    copy: Vec<u8>,
}

impl Shelf {
    pub fn target(&self, journal: u16) -> ShelfTarget {
        ShelfTarget { shelf: self.clone(), journal, is_patient: false, copy: Vec::new() }
    }

    /// A target for a start, which would be refused with it.
    pub fn patient(&self, journal: u16) -> ShelfTarget {
        ShelfTarget { is_patient: true, ..self.target(journal) }
    }

    pub fn refuse(&self, calls: u32) {
        self.lock().refusals = calls;
    }

    pub fn copy(&self, journal: u16, name: &str) -> Option<Vec<u8>> {
        self.lock().segments.get(&(journal, name.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShelfTarget {
    fn admits(&self) -> io::Result<()> {
        let kept = &mut *self.shelf.lock();
        if self.is_patient || kept.refusals == 0 {
            return Ok(());
        }
        kept.refusals -= 1;
        Err(io::Error::other("the archive is away"))
    }
}

impl ArchiveTarget for ShelfTarget {
    fn holding(&mut self, segment: &SealedSegment) -> io::Result<Holding> {
        self.admits()?;
        let is_there = self.shelf.lock().segments.contains_key(&(self.journal, segment.name.clone()));
        Ok(if is_there { Holding::Something } else { Holding::Nothing })
    }

    fn holds(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<bool> {
        let kept = self.shelf.lock();
        let found = kept.segments.get(&(self.journal, segment.name.clone()));
        Ok(found.is_some_and(|(found, _)| found == sha256))
    }

    fn begin(&mut self, _segment: &SealedSegment) -> io::Result<()> {
        self.copy.clear();
        self.admits()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.copy.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, segment: &SealedSegment, sha256: &str, _now_ns: u64) -> Poll<io::Result<()>> {
        if let Err(error) = self.admits() {
            return Poll::Ready(Err(error));
        }
        let copy = (sha256.to_owned(), std::mem::take(&mut self.copy));
        self.shelf.lock().segments.insert((self.journal, segment.name.clone()), copy);
        Poll::Ready(Ok(()))
    }

    fn abandon(&mut self) {
        self.copy.clear();
    }
}
