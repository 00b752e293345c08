//! A file that is written through a shared mapping.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

/// A shared mapping of a whole file, for writing alone: what it holds is read through the file.
///
/// No reference into the mapping is ever made, so that other processes, which may read the file, share nothing of ours.
/// A page that the device cannot bring or take raises SIGBUS in whoever touches it.
pub struct MappedFile {
    map: MmapRaw,
    /// What was written since the last sync. Its lock also keeps two writers apart.
    dirty: Mutex<Range<u64>>,
}

impl MappedFile {
    /// Maps the first `bytes` of a file that is at least so long and stays so. The caller must have made sure that no other process
    /// writes it: it holds the data directory's lock, and the file is private (0600).
    pub fn map(file: &File, bytes: u64) -> io::Result<Self> {
        if file.metadata()?.len() < bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than its mapping"));
        }
        let map = MmapOptions::new().len(bytes as usize).map_raw(file)?;
        // Under mlockall(2) the journal's whole volume would come to stay in memory.
        let _ = map.unlock();
        Ok(Self { map, dirty: Mutex::new(0..0) })
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.map.len() as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a write beyond the mapping's end"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: offset <= end <= the mapping's length.
        let target = unsafe { self.map.as_mut_ptr().add(offset as usize) };
        // SAFETY: the target range is within the mapping, which is writable and outlives the call. `bytes` is a live slice, and cannot overlap it: no
        // reference into the mapping exists. The lock is held, so that no other thread writes it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        *dirty = if dirty.is_empty() { offset..end } else { dirty.start.min(offset)..dirty.end.max(end) };
        Ok(())
    }

    /// Returns when everything written is on stable media: msync(2) with MS_SYNC. Where nothing was written by us, what an earlier process left is
    /// synced, as fdatasync(2) would.
    pub fn sync(&self) -> io::Result<()> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let range = if dirty.is_empty() { 0..self.map.len() as u64 } else { dirty.clone() };
        self.map.flush_range(range.start as usize, (range.end - range.start) as usize)?;
        *dirty = 0..0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_written_through_the_mapping_is_read_through_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let mapped = MappedFile::map(&file, 8192).unwrap();
        mapped.write(4000, b"across two pages, more or less").unwrap();
        mapped.sync().unwrap();
        mapped.sync().unwrap();
        let mut read = [0; 6];
        file.read_exact_at(&mut read, 4000).unwrap();
        assert_eq!(&read, b"across");
        assert!(mapped.write(8190, b"beyond").is_err() && mapped.write(8192, b"").is_ok());
        assert!(MappedFile::map(&file, 8193).is_err());
    }
}
