//! Reads a data directory's records from another process, while an engine runs or after: `fixring journal cat`.
//!
//! Segments first, then what the ring's file has beyond them, all by plain reads and checked by CRC. Nothing is locked, mapped or changed.
//! A commit that is just being written is simply not whole yet, and ends the walk.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sys::ring::PAGE_BYTES;

use super::ring_file::ring_path;
use super::scan::{Incarnations, SegmentSource, Source, commit_at, record_at};
use super::state::read_head;
use super::{FileStorage, Geometry, Kind, Manifest, ManifestError, RecordHeader, StorageError};

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

/// All journals' records, one journal after the other, each in order.
pub struct Cat {
    storage: FileStorage,
    manifest: Manifest,
    next_journal: u16,
    walk: Option<Walk>,
    ready: VecDeque<CatRecord>,
}

struct Walk {
    at: u64,
    segments: SegmentSource<FileStorage>,
    ring: Option<RingTail>,
    is_in_ring: bool,
    reader: CommitReader,
}

/// What it takes to name the records of a journal.
struct CommitReader {
    journal: u16,
    incarnations: Incarnations,
    identities: BTreeMap<u32, Box<[u8]>>,
    records: Vec<(u64, RecordHeader)>,
}

/// A ring's file, read without a mapping.
struct RingTail {
    file: File,
    geometry: Geometry,
    window: Vec<u8>,
}

impl Cat {
    pub fn open(data_dir: &Path) -> Result<Self, CatError> {
        // The geometry that matters is the manifest's; it is read through a storage that has no segments yet.
        let manifest = match Manifest::read(&FileStorage::open(data_dir, Geometry::default()))? {
            Some(manifest) => manifest.map_err(CatError::Manifest)?,
            None => return Err(CatError::NoManifest),
        };
        let storage = FileStorage::open(data_dir, manifest.geometry);
        storage.open_segments()?;
        Ok(Self { storage, manifest, next_journal: 0, walk: None, ready: VecDeque::new() })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn advance(&mut self) -> Result<Option<CatRecord>, CatError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            if let Some(walk) = &mut self.walk {
                if !walk.next_commit(&self.manifest.geometry, &mut self.ready)? {
                    self.walk = None;
                }
                continue;
            }
            if self.next_journal == self.manifest.geometry.journals {
                return Ok(None);
            }
            self.walk = Some(Walk::new(&self.storage, &self.manifest, self.next_journal)?);
            self.next_journal += 1;
        }
    }
}

impl Iterator for Cat {
    type Item = Result<CatRecord, CatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            // Not met a second time.
            self.walk = None;
            self.next_journal = self.manifest.geometry.journals;
        }
        next.transpose()
    }
}

impl Walk {
    fn new(storage: &FileStorage, manifest: &Manifest, journal: u16) -> Result<Self, StorageError> {
        let geometry = manifest.geometry;
        let mut segments = SegmentSource::new(storage.clone(), geometry, journal);
        let incarnations = Incarnations::of(manifest, journal);
        let mut records = Vec::new();
        let mut start = 0;
        // The oldest whole head: every later one is reached from it.
        for segment in super::recovery::find_heads(storage, manifest, journal)?.into_iter().rev() {
            let position = segment * geometry.segment_bytes;
            if commit_at(&mut segments, &geometry, position, &mut incarnations.clone(), &mut records)?.is_some() {
                start = position;
                break;
            }
        }
        let path = ring_path(Path::new(&manifest.ring_dir), manifest.uuid, journal);
        let ring = File::open(path).ok().map(|file| RingTail { file, geometry, window: Vec::new() });
        let reader = CommitReader { journal, incarnations, identities: BTreeMap::new(), records };
        Ok(Self { at: start, segments, ring, is_in_ring: false, reader })
    }

    /// Appends the next commit's records to `ready`. `false` at the end.
    fn next_commit(&mut self, geometry: &Geometry, ready: &mut VecDeque<CatRecord>) -> Result<bool, StorageError> {
        if !self.is_in_ring {
            if let Some(end) = self.reader.read_commit(&mut self.segments, geometry, self.at, ready)? {
                self.at = end;
                return Ok(true);
            }
            self.is_in_ring = true;
        }
        let Some(ring) = &mut self.ring else {
            return Ok(false);
        };
        let Some(end) = self.reader.read_commit(ring, geometry, self.at, ready)? else {
            return Ok(false);
        };
        self.at = end;
        Ok(true)
    }
}

impl CommitReader {
    /// The end of the commit at `at`, if it is whole.
    fn read_commit(
        &mut self,
        source: &mut impl Source,
        geometry: &Geometry,
        at: u64,
        ready: &mut VecDeque<CatRecord>,
    ) -> Result<Option<u64>, StorageError> {
        let Some(end) = commit_at(source, geometry, at, &mut self.incarnations, &mut self.records)? else {
            return Ok(None);
        };
        for (position, header) in &self.records {
            if header.kind == Kind::Pad {
                continue;
            }
            // Read and checked once more: in a running engine's ring it may have been overwritten meanwhile.
            let Some((_, payload)) = record_at(source, geometry, *position)? else {
                return Ok(None);
            };
            let record = Self::describe(&mut self.identities, self.journal, *position, header, payload);
            ready.push_back(record);
        }
        Ok(Some(end))
    }

    fn describe(
        identities: &mut BTreeMap<u32, Box<[u8]>>,
        journal: u16,
        position: u64,
        header: &RecordHeader,
        payload: &[u8],
    ) -> CatRecord {
        match header.kind {
            Kind::State => {
                let sessions = read_head(payload).map(|(sessions, _)| sessions).unwrap_or_default();
                identities.extend(sessions.into_iter().map(|session| (session.number, session.identity)));
            }
            Kind::SessionDefined => {
                identities.insert(header.session, payload.into());
            }
            _ => {}
        }
        let is_of_session =
            matches!(header.kind, Kind::Inbound | Kind::Outbound | Kind::Replay | Kind::SessionDefined | Kind::Numbers);
        let identity =
            if is_of_session { identities.get(&header.session).cloned().unwrap_or_default() } else { Box::default() };
        CatRecord { journal, position, header: *header, identity, payload: payload.into() }
    }
}

impl Source for RingTail {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        let offset = position % self.geometry.ring_bytes;
        self.window.resize(bytes.min(self.geometry.ring_bytes - offset) as usize, 0);
        let read = self.file.read_exact_at(&mut self.window, PAGE_BYTES + offset);
        if read.is_err() {
            // A ring that is just being made, or has gone.
            self.window.clear();
        }
        Ok(&self.window)
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
