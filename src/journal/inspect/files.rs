//! Segments and ring as files that another process may be writing: by plain reads, through windows of bounded size.
//!
//! A file that is missing or too short reads as zeros, so that a damaged directory can be looked at like a whole one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::sys::file;
use crate::sys::ring::{IDENTITY_BYTES, Marks, PAGE_BYTES, marks_in};

use super::super::file_storage::segment_path;
use super::super::record::{header_at, is_valid};
use super::super::ring_file::{RingIdentity, read_identity, ring_path};
use super::super::scan::Source;
use super::super::state::{HEAD_BYTES, head_identity};
use super::super::{Geometry, HEADER_BYTES, Manifest, StorageError};

/// Read in one call.
const WINDOW_BYTES: u64 = 256 * 1024;
/// Of a segment, enough to say whether it was ever used; as recovery looks at it.
const START_BYTES: usize = 512;

/// What the beginning of a segment's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotHead {
    Missing,
    /// Zeros: never used.
    Blank,
    /// Of this journal, and of a segment that belongs here. Whether it is whole is another question.
    Ours {
        segment: u64,
    },
    /// Of another data directory, another journal, or another slot of this one.
    Foreign {
        uuid: Uuid,
        journal: u16,
        segment: u64,
    },
    /// Not zeros, and no head.
    Unreadable,
}

/// Bytes that were read together, by position.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    fn holds(&self, position: u64, bytes: u64) -> bool {
        let end = self.start + self.bytes.len() as u64;
        position >= self.start && position.checked_add(bytes).is_some_and(|wanted| wanted <= end)
    }

    fn from(&self, position: u64, bytes: u64) -> &[u8] {
        let rest = &self.bytes[(position - self.start) as usize..];
        &rest[..rest.len().min(bytes as usize)]
    }
}

/// One journal's segments.
pub(in crate::journal) struct SegmentFiles {
    data_dir: PathBuf,
    geometry: Geometry,
    journal: u16,
    /// Where each file is, in a directory whose growth was cut off.
    places: Option<Vec<Option<PathBuf>>>,
    /// The file that was read last.
    open: Option<(u32, File)>,
    window: Window,
}

impl SegmentFiles {
    pub fn new(data_dir: &Path, geometry: Geometry, journal: u16) -> Self {
        Self { data_dir: data_dir.to_owned(), geometry, journal, places: None, open: None, window: Window::default() }
    }

    /// With its files where they are. One that is not made yet reads as a blank one.
    pub fn at(self, places: Vec<Option<PathBuf>>) -> Self {
        Self { places: Some(places), ..self }
    }

    /// Forgets what was read, since it may have changed.
    pub fn forget(&mut self) {
        self.window.bytes.clear();
    }

    /// A window that has `position` near its end, for a walk backwards.
    pub fn look_back(&mut self, position: u64) -> Result<(), StorageError> {
        if self.window.holds(position, HEADER_BYTES) {
            return Ok(());
        }
        let segment_start = position - position % self.geometry.segment_bytes;
        self.load(position.saturating_sub(WINDOW_BYTES * 7 / 8).max(segment_start), WINDOW_BYTES)
    }

    /// Length of a slot's file.
    pub fn file_bytes(&self, number: u32) -> Option<u64> {
        if self.is_to_come(number) {
            return Some(self.geometry.segment_bytes);
        }
        file::open_to_read(&self.path(number)).and_then(|file| file.metadata()).ok().map(|metadata| metadata.len())
    }

    /// Fills `buffer` from a slot's file, with zeros where it has nothing. The answer is `false` where there is no such file.
    pub fn read(&mut self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<bool, StorageError> {
        buffer.fill(0);
        if self.is_to_come(number) {
            return Ok(true);
        }
        let path = self.path(number);
        let failed = |error| StorageError::new("read", path.display().to_string(), error);
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            self.open = None;
            match file::open_to_read(&path) {
                Ok(file) => self.open = Some((number, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
        }
        let Some((_, file)) = &self.open else { return Ok(false) };
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(true)
    }

    pub fn slot_of(&self, segment: u64) -> u32 {
        (segment % u64::from(self.geometry.segments)) as u32
    }

    pub fn head(&mut self, manifest_uuid: Uuid, number: u32) -> Result<SlotHead, StorageError> {
        let mut start = [0; START_BYTES];
        if !self.read(number, 0, &mut start)? {
            return Ok(SlotHead::Missing);
        }
        Ok(self.head_in(manifest_uuid, number, &start))
    }

    /// Whether a slot's file begins with the whole head of this segment, wherever that belongs. If
    /// not, what it says of itself may be what the damage is.
    pub fn is_head_whole(&mut self, number: u32, segment: u64) -> Result<bool, StorageError> {
        let mut bytes = vec![0; self.geometry.commit_bytes_max().min(self.geometry.segment_bytes) as usize];
        self.read(number, 0, &mut bytes)?;
        let Some(position) = segment.checked_mul(self.geometry.segment_bytes) else { return Ok(false) };
        let header = header_at(&bytes, position, position.saturating_add(bytes.len() as u64));
        Ok(header.is_some_and(|header| is_valid(&bytes, position, &header)))
    }

    fn head_in(&self, manifest_uuid: Uuid, number: u32, start: &[u8; START_BYTES]) -> SlotHead {
        const _: () = assert!(HEADER_BYTES as usize + HEAD_BYTES as usize <= START_BYTES);
        if start.iter().all(|byte| *byte == 0) {
            return SlotHead::Blank;
        }
        let Some((identity, _)) = head_identity(&start[HEADER_BYTES as usize..]) else {
            return SlotHead::Unreadable;
        };
        let segment = identity.segment;
        let is_here = self.slot_of(segment) == number && segment < u64::MAX / 4 / self.geometry.segment_bytes;
        let is_ours = identity.uuid == *manifest_uuid.as_bytes() && identity.journal == self.journal;
        if is_ours && is_here {
            SlotHead::Ours { segment }
        } else {
            SlotHead::Foreign { uuid: Uuid::from_bytes(identity.uuid), journal: identity.journal, segment }
        }
    }

    /// The segments that begin with a head of ours, in ascending order.
    pub fn segments(&mut self, manifest_uuid: Uuid) -> Result<Vec<u64>, StorageError> {
        let mut found = Vec::new();
        for number in 0..self.geometry.segments {
            if let SlotHead::Ours { segment } = self.head(manifest_uuid, number)? {
                found.push(segment);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn is_to_come(&self, number: u32) -> bool {
        self.places.as_ref().is_some_and(|places| places[number as usize].is_none())
    }

    fn path(&self, number: u32) -> PathBuf {
        let place = self.places.as_ref().and_then(|places| places[number as usize].clone());
        place.unwrap_or_else(|| self.own_path(number))
    }

    fn own_path(&self, number: u32) -> PathBuf {
        segment_path(&self.data_dir, self.journal, number)
    }

    fn load(&mut self, start: u64, bytes: u64) -> Result<(), StorageError> {
        let (slot, offset) = self.geometry.slot(self.journal, start);
        let bytes = bytes.min(self.geometry.segment_bytes - offset);
        let mut window = std::mem::take(&mut self.window.bytes);
        window.resize(bytes as usize, 0);
        self.read(slot.number, offset, &mut window)?;
        self.window = Window { bytes: window, start };
        Ok(())
    }
}

impl Source for SegmentFiles {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        if !self.window.holds(position, bytes) {
            self.load(position, bytes.max(WINDOW_BYTES))?;
        }
        Ok(self.window.from(position, bytes))
    }
}

/// A ring's header page as it was at one moment.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct RingHeader {
    pub identity: RingIdentity,
    pub marks: Marks,
    /// The incarnation that it belongs to.
    pub owner: u64,
}

impl RingHeader {
    /// Whether its marks say where the journal ends: it is ours, of the last incarnation, and no mark contradicts another.
    pub fn is_current(&self, manifest: &Manifest) -> bool {
        let Marks { appended, written, synced } = self.marks;
        self.identity == RingIdentity::Ours
            && self.owner == u64::from(manifest.incarnation)
            && synced <= written
            && written <= appended
            && appended - (synced & !(PAGE_BYTES - 1)) <= manifest.geometry.ring_bytes
            && appended < u64::MAX / 4
    }
}

/// A ring's file, read without a mapping.
pub(in crate::journal) struct RingTail {
    file: File,
    geometry: Geometry,
    window: Window,
    /// Nothing is read from here on.
    limit: u64,
}

impl RingTail {
    pub fn open(manifest: &Manifest, journal: u16) -> Option<Self> {
        let path = ring_path(Path::new(&manifest.ring_dir), manifest.timeline, journal);
        let file = file::open_to_read(&path).ok()?;
        Some(Self { file, geometry: manifest.geometry, window: Window::default(), limit: 0 })
    }

    /// Reads the header anew, forgets what was read of the data, and lets it be read up to `appended`.
    pub fn refresh(&mut self, manifest: &Manifest, journal: u16) -> Option<RingHeader> {
        self.window.bytes.clear();
        self.limit = 0;
        let mut page = [0; PAGE_BYTES as usize];
        self.file.read_exact_at(&mut page, 0).ok()?;
        let identity = read_identity(&page[..IDENTITY_BYTES], manifest, journal);
        let (marks, owner) = marks_in(&page)?;
        let header = RingHeader { identity, marks, owner };
        if header.is_current(manifest) {
            self.limit = marks.appended;
        }
        Some(header)
    }
}

impl Source for RingTail {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        let bytes = bytes.min(self.limit.saturating_sub(position));
        if bytes == 0 {
            return Ok(&[]);
        }
        if !self.window.holds(position, bytes) {
            let offset = position % self.geometry.ring_bytes;
            let wanted = bytes.max(WINDOW_BYTES).min(self.limit - position).min(self.geometry.ring_bytes - offset);
            self.window.start = position;
            self.window.bytes.resize(wanted as usize, 0);
            if self.file.read_exact_at(&mut self.window.bytes, PAGE_BYTES + offset).is_err() {
                // A ring that is just being made, or has gone.
                self.window.bytes.clear();
            }
        }
        Ok(self.window.from(position, bytes))
    }
}
