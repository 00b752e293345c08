//! What a volume's appends cost by each flush method, measured in the data directory itself.
//!
//! It is done once, where a data directory is first opened with `auto`, before its segments are: the volume is quiet then, and the time, at
//! most [`PROBE_TIME_MAX`], is little beside that of zero-writing the first segments. Behind a running engine the two would
//! disturb each other, and the first run would not have the method that the later ones have. It goes through the
//! same calls as the flusher, on a preallocated, zero-written file a method, in alternation, so that a mood of the device
//! meets all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::ring::PAGE_BYTES;

use super::flusher::zero_segment;
use super::pages::Pages;
use super::{FileStorage, FlushMethod, Geometry, OpenError, Reached, Slot, Storage, StorageError};

/// Of all methods together; a round of them that is under way is ended.
const PROBE_TIME_MAX: Duration = Duration::from_millis(300);
const APPENDS_MAX: u32 = 512;
/// Appends of one method before the next has its turn.
const BURST: u32 = 8;
/// A 200-byte order with its header.
const APPEND_BYTES: u64 = 320;
/// In the data directory, while it lasts.
pub(super) const PROBE_DIR: &str = "flush-probe";

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 256 << 10, segment_bytes: 256 << 10, segments: 1 };
const _: () = assert!(APPENDS_MAX as u64 * APPEND_BYTES < GEOMETRY.segment_bytes);

/// What appends of one page at most took, each written and synced before the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figures {
    pub appends: u32,
    pub p50_ns: u64,
    pub p99_ns: u64,
}

/// By method, in the order of [`FlushMethod::ALL`]; or why it cannot be used here.
pub type Measured = [(FlushMethod, Result<Figures, String>); FlushMethod::ALL.len()];

/// Measures all methods in a directory, and leaves nothing there.
pub(super) fn probe(data_dir: &Path) -> Measured {
    let start = Instant::now();
    let directory = data_dir.join(PROBE_DIR);
    // A process that was killed meanwhile has left its own.
    let _ = std::fs::remove_dir_all(&directory);
    let mut files = FlushMethod::ALL.map(|method| (method, ProbeFile::open(&directory, method)));
    loop {
        for (_, file) in &mut files {
            if let Ok(open) = file
                && let Err(error) = open.burst()
            {
                *file = Err(error.to_string());
            }
        }
        let is_done = files.iter().all(|(_, file)| file.as_ref().is_ok_and(ProbeFile::is_done) || file.is_err());
        if is_done || start.elapsed() >= PROBE_TIME_MAX {
            break;
        }
    }
    let measured = files.map(|(method, file)| (method, file.map(|file| file.figures())));
    let _ = std::fs::remove_dir_all(&directory);
    measured
}

struct ProbeFile {
    storage: FileStorage,
    page: Pages,
    appended: u64,
    times_ns: Vec<u64>,
}

const SLOT: Slot = Slot { journal: 0, number: 0 };

impl ProbeFile {
    fn open(directory: &Path, method: FlushMethod) -> Result<Self, String> {
        let storage = FileStorage::open(&directory.join(method.to_string()), GEOMETRY);
        let open = || {
            storage.allocate(true, method)?;
            zero_segment(&storage, GEOMETRY, SLOT).map_err(OpenError::from)
        };
        open().map_err(|error| error.to_string())?;
        Ok(Self {
            storage,
            page: Pages::new(PAGE_BYTES),
            appended: 0,
            times_ns: Vec::with_capacity(APPENDS_MAX as usize),
        })
    }

    fn is_done(&self) -> bool {
        self.times_ns.len() >= APPENDS_MAX as usize
    }

    fn burst(&mut self) -> Result<(), StorageError> {
        for _ in 0..BURST {
            if self.is_done() {
                break;
            }
            self.appended += APPEND_BYTES;
            // As the flusher does: the last page, whole, again with each append.
            let offset = self.appended & !(PAGE_BYTES - 1);
            let page = self.page.bytes_mut();
            page[..(self.appended - offset) as usize].fill(1);
            let start = Instant::now();
            if self.storage.write_pages(SLOT, offset, [&[], page])? == Reached::System {
                self.storage.sync(SLOT)?;
            }
            self.times_ns.push(start.elapsed().as_nanos() as u64);
        }
        Ok(())
    }

    fn figures(mut self) -> Figures {
        self.times_ns.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.times_ns.len() * percent).div_ceil(100);
            self.times_ns.get(rank.saturating_sub(1)).copied().unwrap_or(u64::MAX)
        };
        Figures { appends: self.times_ns.len() as u32, p50_ns: at(50), p99_ns: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_measured_by_every_method_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(PROBE_DIR)).unwrap();
        for (method, measured) in probe(directory.path()) {
            match measured {
                Ok(figures) => {
                    assert!(figures.appends >= BURST && figures.p50_ns <= figures.p99_ns, "{method}: {figures:?}");
                }
                // A filesystem without direct I/O.
                Err(why) => assert!(method == FlushMethod::Dsync && why.contains("O_DIRECT"), "{method}: {why}"),
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_leaves_every_method_unusable_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(PROBE_DIR), "a file in the way").unwrap();
        for (method, measured) in probe(directory.path()) {
            assert!(measured.unwrap_err().contains(PROBE_DIR), "{method}");
        }
    }
}
