//! Copies each sealed segment to an archive before it is recycled, one bounded turn at a time, on a housekeeping thread of its own.
//!
//! A segment is *sealed* once all of it and the next one's head are synced: it will not change until a later lap overwrites it. The archiver goes
//! through sealed segments in their order. It reads without a lock; afterwards [`Recycling`] says whether the flusher can have overwritten
//! what was read. Then the copy is thrown away and the segment counts as missed; where the archive is required that cannot
//! happen, since the flusher waits.
//!
//! What is archived already an [`ArchiveTarget`] tells by a proof that is durable only after the copy, so that a restart neither forgets
//! a segment nor copies it twice. (A command may be called twice for one, when the process dies between its success and the proof.) A name alone
//! proves nothing: what has it is compared by its checksum, and a segment that differs is stored beside it. The name holds the timeline, so
//! that a restored directory never finds the segments of the branch that it left under the names of its own.

mod command;
mod directory;

use std::io;
use std::sync::Arc;
use std::task::Poll;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::sys::ring::Watermarks;

pub use command::ArchiveCommand;
pub use directory::ArchiveDirectory;

use super::recovery::find_heads;
use super::recycling::Recycling;
use super::scan::{SegmentSource, record_at};
use super::{Geometry, Journal, Manifest, Storage, StorageError};

/// What one turn reads and passes on: short enough for the volume to serve the flusher in between.
const CHUNK_BYTES: u64 = 256 * 1024;
const RETRY_NS_MIN: u64 = 1_000_000_000;
const RETRY_NS_MAX: u64 = 30_000_000_000;

/// Where sealed segments go. Any error is tried again later, from the segment's beginning.
pub trait ArchiveTarget: Send {
    /// What it has of the segment already.
    fn holding(&mut self, segment: &SealedSegment) -> io::Result<Holding>;
    /// Whether it has just these bytes under the segment's name, or under [`SealedSegment::beside`].
    fn holds(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<bool>;
    /// Begins a copy, and forgets an unfinished one.
    fn begin(&mut self, segment: &SealedSegment) -> io::Result<()>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ready when the copy and its proof are durable. Until then it is asked again.
    fn finish(&mut self, segment: &SealedSegment, sha256: &str, now_ns: u64) -> Poll<io::Result<()>>;
    /// Drops what was begun.
    fn abandon(&mut self);
}

/// What a target has under a segment's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    Nothing,
    /// Something, which is compared by its checksum before it is taken for the segment.
    Something,
    /// The segment. What says so belongs to this timeline, and to no other.
    Whole,
}

/// A segment that will not change until it is recycled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    pub number: u64,
    /// Whose segment, in which timeline, which, where it begins in the journal, and which incarnation began the next one. In the order of the
    /// journal where the names of one timeline are sorted.
    pub name: String,
}

impl SealedSegment {
    /// Its name where something else has the one that it should have.
    pub fn beside(&self, sha256: &str) -> String {
        let stem = self.name.strip_suffix(".seg").unwrap_or(&self.name);
        format!("{stem}-sha256-{}.seg", &sha256[..sha256.len().min(16)])
    }
}

/// Archives one journal.
pub struct Archiver<S: Storage> {
    source: Source<S>,
    watermarks: Watermarks,
    recycling: Arc<Recycling>,
    target: Box<dyn ArchiveTarget>,
    is_required: bool,
    /// The segment that is, or will be, archived next.
    next: u64,
    /// What the process before may have begun to write over when it ended: what lies there now is
    /// not the segment any more.
    begun_over: Option<u64>,
    copy: Option<Copying>,
    failures_in_a_row: u32,
    retry_at_ns: u64,
}

/// What a turn did.
#[derive(Debug)]
pub enum ArchiveTurn {
    /// Nothing is sealed that is not archived, or a failure is waited out.
    Idle,
    /// A piece of a copy. The next one may follow.
    Worked,
    /// The target works by itself.
    Waits,
    /// It had this segment already.
    Known(SealedSegment),
    Archived(SealedSegment),
    /// It has something else under this segment's name, which stays there. The segment is archived beside it.
    Differs(SealedSegment),
    /// These segments, first and last, were recycled before they were archived.
    Missed(u64, u64),
    Failed {
        segment: SealedSegment,
        error: io::Error,
        retry_in_ns: u64,
    },
}

impl<S: Storage> Journal<S> {
    /// An archiver for this journal. Where it is required the flusher waits for it from now on.
    pub fn archiver(&self, uuid: Uuid, target: Box<dyn ArchiveTarget>, is_required: bool) -> Archiver<S> {
        if is_required {
            self.recycling.require_archive();
        }
        Archiver {
            source: Source::new(self.storage.clone(), self.writer.geometry(), (uuid, self.timeline), self.number),
            watermarks: self.watermarks.clone(),
            recycling: Arc::clone(&self.recycling),
            target,
            is_required,
            next: self.recycling.oldest_segment(),
            begun_over: self.begun_over(),
            copy: None,
            failures_in_a_row: 0,
            retry_at_ns: 0,
        }
    }

    /// Where the journal ends with a segment, its next write goes to the beginning of the oldest
    /// one.
    fn begun_over(&self) -> Option<u64> {
        let (end, geometry) = (self.watermarks.synced(), self.writer.geometry());
        let ends_with_segment = end.is_multiple_of(geometry.segment_bytes);
        let next = (end / geometry.segment_bytes).checked_sub(geometry.segments.into());
        next.filter(|next| ends_with_segment && *next == self.recycling.oldest_segment())
    }
}

impl<S: Storage> Archiver<S> {
    /// Looks for the next sealed segment, or copies a piece of it.
    ///
    /// An error is the volume's, and final; a target that fails is an [`ArchiveTurn::Failed`], and is tried again.
    pub fn turn(&mut self, now_ns: u64) -> Result<ArchiveTurn, StorageError> {
        if let Some(missed) = self.pass_over_recycled() {
            return Ok(missed);
        }
        if self.copy.is_none() {
            if self.next >= self.sealed_end() || now_ns < self.retry_at_ns {
                return Ok(ArchiveTurn::Idle);
            }
            let segment = self.source.sealed(self.next)?;
            let is_begun_over = self.begun_over == Some(self.next) && !self.source.has_head(self.next)?;
            match self.target.holding(&segment) {
                Ok(Holding::Nothing) if is_begun_over => {
                    self.passed(segment.number);
                    return Ok(ArchiveTurn::Missed(segment.number, segment.number));
                }
                Ok(holding) if holding == Holding::Whole || is_begun_over => {
                    self.passed(segment.number);
                    return Ok(ArchiveTurn::Known(segment));
                }
                Ok(holding) => self.copy = Some(Copying::new(segment, holding)),
                Err(error) => return Ok(self.failed(segment, error, now_ns)),
            }
        }
        let Some(copy) = &mut self.copy else { return Ok(ArchiveTurn::Idle) };
        let step = copy.step(&mut self.source, &mut *self.target, now_ns)?;
        // Looked at after what was read, and after what a command may have read.
        if let Some(missed) = self.pass_over_recycled() {
            return Ok(missed);
        }
        Ok(match step {
            Step::Copied => ArchiveTurn::Worked,
            Step::Differs(segment) => ArchiveTurn::Differs(segment),
            Step::Known(segment) => {
                self.copy = None;
                self.passed(segment.number);
                ArchiveTurn::Known(segment)
            }
            Step::Waits => ArchiveTurn::Waits,
            Step::Done(segment) => {
                self.copy = None;
                self.passed(segment.number);
                ArchiveTurn::Archived(segment)
            }
            Step::Failed(segment, error) => self.failed(segment, error, now_ns),
        })
    }

    /// Sealed segments that are not archived.
    pub fn lag_segments(&self) -> u64 {
        self.sealed_end().saturating_sub(self.next)
    }

    /// Whether the flusher waits for it.
    pub fn is_waited_for(&self) -> bool {
        self.recycling.hold() == Some(super::Hold::Archive)
    }

    /// Drops an unfinished copy, for the end of the process. The next start begins it anew.
    pub fn abandon(&mut self) {
        if self.copy.take().is_some() {
            self.target.abandon();
        }
    }

    /// The first segment that is not sealed: the newest one that has something synced.
    fn sealed_end(&self) -> u64 {
        self.watermarks.synced().saturating_sub(1) / self.source.geometry.segment_bytes
    }

    fn pass_over_recycled(&mut self) -> Option<ArchiveTurn> {
        let oldest = self.recycling.oldest_segment();
        if self.next >= oldest {
            return None;
        }
        self.abandon();
        let missed = ArchiveTurn::Missed(self.next, oldest - 1);
        // Which is no success: what failed waits on.
        self.next = oldest;
        Some(missed)
    }

    fn passed(&mut self, segment: u64) {
        self.next = segment + 1;
        (self.failures_in_a_row, self.retry_at_ns) = (0, 0);
        if self.is_required {
            self.recycling.set_archived(self.next);
        }
    }

    fn failed(&mut self, segment: SealedSegment, error: io::Error, now_ns: u64) -> ArchiveTurn {
        self.copy = None;
        self.target.abandon();
        let retry_in_ns = (RETRY_NS_MIN << self.failures_in_a_row.min(10)).min(RETRY_NS_MAX);
        self.failures_in_a_row += 1;
        self.retry_at_ns = now_ns + retry_in_ns;
        ArchiveTurn::Failed { segment, error, retry_in_ns }
    }
}

/// The segments that recovery overwrites when it carries a ring to the segments, oldest first.
pub(crate) fn overwritten_by_recovery<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring_appended: u64,
) -> Result<Vec<u64>, StorageError> {
    let geometry = manifest.geometry;
    let mut heads = find_heads(storage, manifest, journal)?;
    heads.retain(|segment| (segment + u64::from(geometry.segments)) * geometry.segment_bytes < ring_appended);
    heads.reverse();
    Ok(heads)
}

/// Before recovery carries a ring to the segments and in doing so overwrites the journal's oldest
/// ones: archives those that the target does not have. `pause` is called between steps and returns
/// the time in ns.
pub fn archive_before_recovery<S: Storage>(
    storage: &S,
    manifest: &Manifest,
    journal: u16,
    ring_appended: u64,
    target: &mut dyn ArchiveTarget,
    mut pause: impl FnMut() -> u64,
) -> Result<Vec<SealedSegment>, ArchiveError> {
    let mut archived = Vec::new();
    let mut source = Source::new(storage.clone(), manifest.geometry, (manifest.uuid, manifest.timeline), journal);
    for number in overwritten_by_recovery(storage, manifest, journal, ring_appended)? {
        let segment = source.sealed(number)?;
        let holding = target.holding(&segment).map_err(|error| ArchiveError::Target(segment.clone(), error))?;
        if holding == Holding::Whole {
            continue;
        }
        let mut copy = Copying::new(segment, holding);
        loop {
            match copy.step(&mut source, target, pause())? {
                Step::Copied | Step::Waits | Step::Differs(_) => {}
                Step::Known(_) => break,
                Step::Done(segment) => {
                    archived.push(segment);
                    break;
                }
                Step::Failed(segment, error) => {
                    target.abandon();
                    return Err(ArchiveError::Target(segment, error));
                }
            }
        }
    }
    Ok(archived)
}

#[derive(Debug)]
pub enum ArchiveError {
    Target(SealedSegment, io::Error),
    Storage(StorageError),
}

impl From<StorageError> for ArchiveError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// One journal's segments, to be copied.
struct Source<S> {
    storage: S,
    geometry: Geometry,
    uuid: Uuid,
    timeline: Uuid,
    journal: u16,
    chunk: Box<[u8]>,
}

impl<S: Storage> Source<S> {
    fn new(storage: S, geometry: Geometry, (uuid, timeline): (Uuid, Uuid), journal: u16) -> Self {
        let chunk = vec![0; CHUNK_BYTES.min(geometry.segment_bytes) as usize].into_boxed_slice();
        Self { storage, geometry, uuid, timeline, journal, chunk }
    }

    fn sealed(&mut self, number: u64) -> Result<SealedSegment, StorageError> {
        let position = number * self.geometry.segment_bytes;
        let mut segments = SegmentSource::new(self.storage.clone(), self.geometry, self.journal);
        let next = position + self.geometry.segment_bytes;
        // A damaged head is no reason to keep the segment from the archive.
        let incarnation = record_at(&mut segments, &self.geometry, next)?.map_or(0, |(header, _)| header.incarnation);
        let prefix = prefix(self.uuid, self.timeline, self.journal);
        let name = format!("{prefix}{number:012}-position-{position:020}-incarnation-{incarnation:010}.seg");
        Ok(SealedSegment { number, name })
    }

    fn has_head(&mut self, number: u64) -> Result<bool, StorageError> {
        let position = number * self.geometry.segment_bytes;
        let mut segments = SegmentSource::new(self.storage.clone(), self.geometry, self.journal);
        Ok(record_at(&mut segments, &self.geometry, position)?.is_some())
    }

    fn read(&mut self, number: u64, offset: u64) -> Result<&[u8], StorageError> {
        let (slot, _) = self.geometry.slot(self.journal, number * self.geometry.segment_bytes);
        let bytes = (self.geometry.segment_bytes - offset).min(CHUNK_BYTES) as usize;
        self.storage.read(slot, offset, &mut self.chunk[..bytes])?;
        Ok(&self.chunk[..bytes])
    }
}

/// A copy that is being made, or that is first looked for.
struct Copying {
    segment: SealedSegment,
    /// The target has something under its name: only the checksum is made, until that is compared.
    is_compared: bool,
    has_begun: bool,
    offset: u64,
    hash: Sha256,
    /// Once everything is read.
    sha256: Option<String>,
}

enum Step {
    Copied,
    Waits,
    Known(SealedSegment),
    Differs(SealedSegment),
    Done(SealedSegment),
    Failed(SealedSegment, io::Error),
}

impl Copying {
    fn new(segment: SealedSegment, holding: Holding) -> Self {
        let is_compared = holding != Holding::Nothing;
        Self { segment, is_compared, has_begun: false, offset: 0, hash: Sha256::new(), sha256: None }
    }

    fn step<S: Storage>(
        &mut self,
        source: &mut Source<S>,
        target: &mut dyn ArchiveTarget,
        now_ns: u64,
    ) -> Result<Step, StorageError> {
        let step = match &self.sha256 {
            Some(sha256) if self.is_compared => match target.holds(&self.segment, sha256) {
                Ok(true) => Ok(Step::Known(self.segment.clone())),
                Ok(false) => {
                    let found = self.segment.clone();
                    self.segment.name = found.beside(sha256);
                    (self.is_compared, self.offset, self.sha256) = (false, 0, None);
                    Ok(Step::Differs(found))
                }
                Err(error) => Err(error),
            },
            Some(sha256) => match target.finish(&self.segment, sha256, now_ns) {
                Poll::Pending => return Ok(Step::Waits),
                Poll::Ready(result) => result.map(|()| Step::Done(self.segment.clone())),
            },
            None => {
                let segment_bytes = source.geometry.segment_bytes;
                let chunk = source.read(self.segment.number, self.offset)?;
                self.hash.update(chunk);
                self.offset += chunk.len() as u64;
                if self.offset == segment_bytes {
                    self.sha256 = Some(hexadecimal(&std::mem::take(&mut self.hash).finalize()));
                }
                if self.is_compared {
                    return Ok(Step::Copied);
                }
                let begun =
                    if std::mem::replace(&mut self.has_begun, true) { Ok(()) } else { target.begin(&self.segment) };
                begun.and_then(|()| target.write(chunk)).map(|()| Step::Copied)
            }
        };
        Ok(step.unwrap_or_else(|error| Step::Failed(self.segment.clone(), error)))
    }
}

/// How the names of a journal's segments begin, up to their number.
fn prefix(uuid: Uuid, timeline: Uuid, journal: u16) -> String {
    format!("{uuid}-timeline-{timeline}-journal-{journal:03}-segment-")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As `sha256sum -c` checks it.
fn checksum_line(sha256: &str, name: &str) -> String {
    format!("{sha256}  {name}\n")
}

#[cfg(test)]
mod tests;
