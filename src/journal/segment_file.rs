//! A segment's file, opened as its flush method needs it.
//!
//! Buffered and direct calls never meet on one file within a process: with `dsync` every call of ours, reads of the stager and of recovery
//! included, goes past the page cache, so that nothing depends on how well a filesystem keeps the two coherent (open(2) says not to
//! rely on it). What an earlier process left in the page cache, a direct call writes out and drops before it goes to the
//! device. The other way round, [`SegmentFile::forget_cached`] drops what another process may have read there meanwhile.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::file;
use crate::sys::mapped_file::MappedFile;
use crate::sys::ring::PAGE_BYTES;

use super::FlushMethod;
use super::pages::{Pages, is_aligned};
use super::storage::Reached;

pub(super) enum SegmentFile {
    /// By way of the page cache.
    Cached(File),
    Direct(DirectFile),
    /// Written through a mapping, and read through the page cache, which are one.
    Mapped {
        file: File,
        map: MappedFile,
    },
}

pub(super) struct DirectFile {
    file: File,
    bounce: Bounce,
}

/// Aligned memory for calls whose own is not. One for all files of a directory.
pub(super) type Bounce = Arc<Mutex<Pages>>;

/// Opens a segment for writing, or makes it.
pub(super) fn open(path: &Path, create: bool, method: FlushMethod) -> io::Result<File> {
    match method {
        FlushMethod::Fdatasync | FlushMethod::Msync => file::open_private(path, create),
        FlushMethod::Dsync => file::open_private_direct(path, create),
    }
}

impl SegmentFile {
    /// Of a file that is opened for the method, and `bytes` long.
    pub fn new(file: File, method: FlushMethod, bytes: u64, bounce: &Bounce) -> io::Result<Self> {
        match method {
            FlushMethod::Fdatasync => Ok(Self::Cached(file)),
            FlushMethod::Dsync => Ok(Self::Direct(DirectFile { file, bounce: Arc::clone(bounce) })),
            FlushMethod::Msync => {
                let map = MappedFile::map(&file, bytes)?;
                Ok(Self::Mapped { file, map })
            }
        }
    }

    /// Some filesystems and devices let a file be opened for direct calls and refuse its use.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::Direct(direct) => direct.read(0, &mut [0; 1]),
            Self::Cached(_) | Self::Mapped { .. } => Ok(()),
        }
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Cached(file) => file.write_all_at(bytes, offset),
            Self::Direct(direct) => direct.write(offset, bytes),
            Self::Mapped { map, .. } => map.write(offset, bytes),
        }
    }

    pub fn write_pages(&self, offset: u64, pages: [&[u8]; 2]) -> io::Result<Reached> {
        match self {
            Self::Cached(file) => {
                file::write_all_vectored_at(file, &mut pages.map(IoSlice::new), offset)?;
                Ok(Reached::System)
            }
            Self::Direct(direct) => {
                direct.write_pages(offset, pages)?;
                Ok(Reached::Media)
            }
            Self::Mapped { map, .. } => {
                map.write(offset, pages[0])?;
                map.write(offset + pages[0].len() as u64, pages[1])?;
                Ok(Reached::System)
            }
        }
    }

    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Cached(file) => file.sync_data(),
            // Nothing of ours is in the page cache; what an earlier process left there may be.
            Self::Direct(direct) => direct.file.sync_data(),
            Self::Mapped { map, .. } => map.sync(),
        }
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Cached(file) | Self::Mapped { file, .. } => file.read_exact_at(buffer, offset),
            Self::Direct(direct) => direct.read(offset, buffer),
        }
    }

    /// Makes the next reads ask the device.
    pub fn forget_cached(&self) -> io::Result<()> {
        match self {
            Self::Cached(file) | Self::Mapped { file, .. } => file::forget_cached(file),
            Self::Direct(_) => Ok(()),
        }
    }
}

impl DirectFile {
    fn bounce(&self) -> MutexGuard<'_, Pages> {
        self.bounce.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_pages(&self, offset: u64, pages: [&[u8]; 2]) -> io::Result<()> {
        if pages.iter().all(|bytes| is_aligned(offset, bytes)) {
            return file::write_all_vectored_at(&self.file, &mut pages.map(IoSlice::new), offset);
        }
        self.write(offset, pages[0])?;
        self.write(offset + pages[0].len() as u64, pages[1])
    }

    /// What is not whole pages is read, changed and written back: recovery alone has such bytes, and nobody writes beside it.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if is_aligned(offset, bytes) {
            return self.file.write_all_at(bytes, offset);
        }
        let (start, skip) = (offset - offset % PAGE_BYTES, (offset % PAGE_BYTES) as usize);
        let mut bounce = self.bounce();
        let pages = whole_pages(&mut bounce, skip + bytes.len());
        if pages.len() != bytes.len() {
            self.file.read_exact_at(pages, start)?;
        }
        pages[skip..skip + bytes.len()].copy_from_slice(bytes);
        self.file.write_all_at(pages, start)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if is_aligned(offset, buffer) {
            return self.file.read_exact_at(buffer, offset);
        }
        let (start, skip) = (offset - offset % PAGE_BYTES, (offset % PAGE_BYTES) as usize);
        let mut bounce = self.bounce();
        let pages = whole_pages(&mut bounce, skip + buffer.len());
        self.file.read_exact_at(pages, start)?;
        buffer.copy_from_slice(&pages[skip..skip + buffer.len()]);
        Ok(())
    }
}

fn whole_pages(bounce: &mut Pages, bytes: usize) -> &mut [u8] {
    let whole_bytes = bytes.next_multiple_of(PAGE_BYTES as usize);
    bounce.grow(whole_bytes as u64);
    &mut bounce.bytes_mut()[..whole_bytes]
}
