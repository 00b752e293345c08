//! What the journal asks of a volume. Six calls, and two more made of them, so that a test can be the volume.

use std::fmt;
use std::io;

/// One segment's file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    pub journal: u16,
    pub number: u32,
}

/// One read of several.
pub struct Read<'a> {
    pub slot: Slot,
    pub offset: u64,
    pub buffer: &'a mut [u8],
}

/// How far a write has come when it returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The operating system has it; a sync brings it further.
    System,
    /// It is on stable media.
    Media,
}

/// A volume that holds one data directory. Handles are cheap to clone and may be used from several threads.
///
/// Every slot is `segment_bytes` long from the start. Any error is fatal to the one who meets it: the journal never tries again,
/// since after a failed sync nobody knows what the device holds.
pub trait Storage: Clone + Send + 'static {
    fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;
    /// The flusher's write: two runs of whole pages, the second behind the first, from a page's start. Either may be empty. A volume that can do both in one
    /// call, or bring them to stable media by writing them, does so.
    fn write_pages(&self, slot: Slot, offset: u64, pages: [&[u8]; 2]) -> Result<Reached, StorageError> {
        for (bytes, offset) in [(pages[0], offset), (pages[1], offset + pages[0].len() as u64)] {
            if !bytes.is_empty() {
                self.write(slot, offset, bytes)?;
            }
        }
        Ok(Reached::System)
    }
    /// Returns when everything written to the slot is on stable media.
    fn sync(&self, slot: Slot) -> Result<(), StorageError>;
    /// Fills `buffer`.
    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError>;
    /// Fills all buffers. A volume that serves several reads at once in less time than one after the other does so.
    fn read_all(&self, reads: &mut [Read<'_>]) -> Result<(), StorageError> {
        reads.iter_mut().try_for_each(|read| self.read(read.slot, read.offset, read.buffer))
    }
    /// `None` in a new data directory.
    fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError>;
    /// What names the file that the next manifest is written to, and no copy of it; empty where
    /// nothing does.
    fn next_manifest(&self) -> Result<String, StorageError> {
        Ok(String::new())
    }
    /// Replaces the manifest in whole, durably.
    fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError>;
    /// Keeps bytes that are not part of the journal, for whoever investigates, under the name and their CRC. Durable. What is there already is kept
    /// once: a start that is refused may be tried for ever.
    fn quarantine(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError>;
}

/// The file of a piece in quarantine.
pub(super) fn piece_name(name: &str, bytes: &[u8]) -> String {
    format!("{name}-crc32c-{:08x}", crc_fast::crc32_iscsi(bytes))
}

/// The environment's fault: the disk is gone, full, or not what it was.
#[derive(Debug)]
pub struct StorageError {
    /// What was tried.
    pub operation: &'static str,
    /// On what.
    pub target: String,
    pub source: io::Error,
}

impl StorageError {
    pub fn new(operation: &'static str, target: impl Into<String>, source: io::Error) -> Self {
        Self { operation, target: target.into(), source }
    }

    /// What the operator can do about it.
    pub fn mend(&self) -> &'static str {
        of_environment(&self.source).unwrap_or(match self.source.kind() {
            io::ErrorKind::PermissionDenied => "let the user of fixring read and write it, then start again",
            io::ErrorKind::NotFound => "put it back where it was, then start again",
            _ => "see the kernel's log (dmesg) and repair the volume, then start again",
        })
    }
}

/// What to do about an error that is nobody's choice: there is no room, no descriptor, no memory,
/// or the device fails. `None` where what was named is at fault, such as a path or its permissions.
pub(super) fn of_environment(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            return Some(
                "the process may open no more files: raise the hard limit (ulimit -Hn, LimitNOFILE of systemd) or lower persistence.segments, then start again",
            );
        }
        Some(libc::ENFILE) => {
            return Some("the machine may open no more files: raise fs.file-max (sysctl), then start again");
        }
        Some(libc::EIO) => return Some("see the kernel's log (dmesg) and repair the volume, then start again"),
        _ => {}
    }
    Some(match error.kind() {
        io::ErrorKind::StorageFull => "make room on the volume (see df, and df -i for inodes), then start again",
        io::ErrorKind::QuotaExceeded => {
            "raise the quota of this user on the volume (quota -v) or make room, then start again"
        }
        io::ErrorKind::FileTooLarge => {
            "raise the limit of a file's size (ulimit -f), or lower persistence.segment_bytes in a new data directory"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the volume is read-only: see in the kernel's log (dmesg) why, repair it and mount it for writing"
        }
        io::ErrorKind::OutOfMemory => "give the process more memory, then start again",
        _ => return None,
    })
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.operation, self.target, self.source)
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_environment_has_its_own_remedy_and_none_is_sent_to_the_wrong_place() {
        let mend = |code| StorageError::new("write", "x", io::Error::from_raw_os_error(code)).mend();
        let cases = [
            (libc::ENOSPC, "make room on the volume"),
            (libc::EDQUOT, "quota"),
            (libc::EFBIG, "ulimit -f"),
            (libc::EROFS, "mount it for writing"),
            (libc::EMFILE, "ulimit -Hn"),
            (libc::ENFILE, "fs.file-max"),
            (libc::ENOMEM, "memory"),
            (libc::EIO, "dmesg"),
            (libc::EACCES, "let the user"),
            (libc::ENOENT, "put it back"),
        ];
        for (code, what) in cases {
            assert!(mend(code).contains(what), "{code}: {}", mend(code));
            let is_environment = of_environment(&io::Error::from_raw_os_error(code)).is_some();
            assert_eq!(is_environment, ![libc::EACCES, libc::ENOENT].contains(&code), "{code}");
        }
    }
}
