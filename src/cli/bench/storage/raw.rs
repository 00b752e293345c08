//! The floors: what one durable page costs on this volume with bare system calls, one after the other.
//!
//! Each method has a file of its own, allocated and written with zeros as a segment is, and appends to it as a journal does: a page is
//! written again for each record until it is full, then comes the next.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::drive::clock_ns;
use super::plan::Method;
use crate::sys::file;
use crate::sys::mapped_file::MappedFile;

const PAGE_BYTES: usize = 4096;
pub(super) const FILE_BYTES: u64 = 16 << 20;
/// Of one write where the volume's throughput is measured.
const BIG_BYTES: usize = 1 << 20;
/// Where direct writes are refused, so many big ones are synced together.
const BIG_WRITES_PER_SYNC: u64 = 8;

/// One method's file.
pub(in crate::cli::bench) struct RawFloor {
    way: Way,
    page: AlignedBytes,
    /// Writes of one page until it is full.
    records_per_page: u64,
    writes: u64,
}

enum Way {
    Fdatasync(File),
    Dsync(File),
    Msync(MappedFile),
}

impl RawFloor {
    /// `Ok(Err(why))` where the filesystem does not have the method.
    pub fn open(directory: &Path, method: Method, record_bytes: u64) -> io::Result<Result<Self, String>> {
        let path = directory.join(format!("raw-{method}"));
        let file = zero_written(&path)?;
        let way = match method {
            Method::Fdatasync => Ok(Way::Fdatasync(file)),
            Method::Dsync => open_direct(&path, libc::O_DSYNC).map(Way::Dsync),
            Method::Msync => MappedFile::map(&file, FILE_BYTES).map(Way::Msync),
        };
        let refused = |error: io::Error| match method {
            Method::Dsync => format!("the filesystem refuses O_DIRECT: {error}"),
            _ => format!("the filesystem refuses a shared mapping: {error}"),
        };
        let mut floor = match way {
            Ok(way) => Self {
                way,
                page: AlignedBytes::new(PAGE_BYTES),
                records_per_page: (PAGE_BYTES as u64 / record_bytes).max(1),
                writes: 0,
            },
            Err(error) if is_refusal(&error) => return Ok(Err(refused(error))),
            Err(error) => return Err(error),
        };
        // Some refuse only the write.
        match floor.write_page() {
            Ok(()) => Ok(Ok(floor)),
            Err(error) if is_refusal(&error) => Ok(Err(refused(error))),
            Err(error) => Err(error),
        }
    }

    /// One durable page after the other for so long, at least one. The answer is what each took, in ns.
    pub fn run(&mut self, duration: Duration) -> io::Result<Vec<u64>> {
        let start = Instant::now();
        let mut took = Vec::with_capacity(4_096);
        loop {
            let before_ns = clock_ns();
            self.write_page()?;
            took.push(clock_ns() - before_ns);
            if start.elapsed() >= duration {
                return Ok(took);
            }
        }
    }

    fn write_page(&mut self) -> io::Result<()> {
        let record = self.writes % self.records_per_page;
        let offset = self.writes / self.records_per_page * PAGE_BYTES as u64 % FILE_BYTES;
        self.writes += 1;
        let page = self.page.bytes_mut();
        // Bytes that are there already might be written by nobody.
        let record_at = record as usize * (PAGE_BYTES / self.records_per_page as usize);
        page[record_at..record_at + 8].copy_from_slice(&self.writes.to_le_bytes());
        match &mut self.way {
            Way::Fdatasync(file) => {
                file.write_all_at(page, offset)?;
                file.sync_data()
            }
            Way::Dsync(file) => file.write_all_at(page, offset),
            Way::Msync(mapped) => {
                mapped.write(offset, page)?;
                mapped.sync()
            }
        }
    }
}

/// The volume's throughput in big writes, on stable media.
pub(super) struct RawThroughput {
    file: File,
    is_direct: bool,
    bytes: AlignedBytes,
    writes: u64,
    elapsed: Duration,
}

impl RawThroughput {
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("raw-big");
        let buffered = zero_written(&path)?;
        let mut bytes = AlignedBytes::new(BIG_BYTES);
        bytes.bytes_mut().fill(b'x');
        // Of a filesystem that takes O_DIRECT and refuses the write too.
        let direct = open_direct(&path, 0).and_then(|file| file.write_all_at(bytes.bytes(), 0).map(|()| file));
        let (file, is_direct) = direct.map_or((buffered, false), |direct| (direct, true));
        Ok(Self { file, is_direct, bytes, writes: 0, elapsed: Duration::ZERO })
    }

    pub fn run(&mut self, duration: Duration) -> io::Result<()> {
        let start = Instant::now();
        loop {
            for _ in 0..if self.is_direct { 1 } else { BIG_WRITES_PER_SYNC } {
                let offset = self.writes * BIG_BYTES as u64 % FILE_BYTES;
                self.file.write_all_at(self.bytes.bytes(), offset)?;
                self.writes += 1;
            }
            if !self.is_direct {
                self.file.sync_data()?;
            }
            if start.elapsed() >= duration {
                break;
            }
        }
        if self.is_direct {
            // What a volatile cache holds is not on the volume yet.
            self.file.sync_data()?;
        }
        self.elapsed += start.elapsed();
        Ok(())
    }

    pub fn bytes_per_second(&self) -> f64 {
        (self.writes * BIG_BYTES as u64) as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

fn zero_written(path: &Path) -> io::Result<File> {
    let file = file::open_private(path, true)?;
    match file::allocate(&file, FILE_BYTES) {
        Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
        _ => {}
    }
    let zeros = vec![0; BIG_BYTES];
    for offset in (0..FILE_BYTES).step_by(BIG_BYTES) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

fn open_direct(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | flags).open(path)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENODEV | libc::ENOSYS))
}

/// Bytes from a page's start on, as direct writes want them.
struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBytes {
    fn new(length: usize) -> Self {
        let bytes = vec![0; length + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES);
        assert!(start < PAGE_BYTES, "a page's start lies within a page");
        Self { bytes, start, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::METHODS;
    use super::*;

    #[test]
    fn each_method_writes_what_it_counts_or_is_refused_by_the_filesystem() {
        let directory = tempfile::tempdir().unwrap();
        for method in METHODS {
            let mut floor = match RawFloor::open(directory.path(), method, 320).unwrap() {
                Ok(floor) => floor,
                Err(why) => {
                    error_line!("skipped {method} ({why})");
                    continue;
                }
            };
            let mut took = Vec::new();
            while floor.writes < 14 {
                took.extend(floor.run(Duration::ZERO).unwrap());
            }
            // The first was the trial. Twelve records of 320 bytes fill a page: the thirteenth went to the second.
            assert_eq!(took.len(), 13, "{method}");
            let written = std::fs::read(directory.path().join(format!("raw-{method}"))).unwrap();
            assert_eq!((written[0], written[341], written[PAGE_BYTES]), (1, 2, 13), "{method}");
        }
    }

    #[test]
    fn throughput_is_of_whole_writes() {
        let directory = tempfile::tempdir().unwrap();
        let mut throughput = RawThroughput::open(directory.path()).unwrap();
        throughput.run(Duration::ZERO).unwrap();
        assert!(throughput.writes > 0 && throughput.bytes_per_second() > 0.0);
    }
}
