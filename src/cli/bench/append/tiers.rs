//! Eight ways from the pen to the volume.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memmap2::{MmapOptions, MmapRaw};

use super::floor::Pen;
use super::{Pace, histogram};
use crate::cli::bench::machine::pin;
use crate::sys::file;
use crate::sys::ring::{IDENTITY_BYTES, PAGE_BYTES, RingMemory, RingReader, RingWriter};

/// Of the ring where there is one, and of the pen's own segment otherwise.
const RING_BYTES: u64 = 16 << 20;
/// Written round and round, as segments are recycled.
const SEGMENT_BYTES: u64 = 64 << 20;
const SHARED_MEMORY: &str = "/dev/shm";

pub(super) struct Tier {
    pub name: &'static str,
    /// Where the pen writes.
    memory: Memory,
    carry: Carry,
    interval: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Anonymous,
    /// tmpfs
    Shared,
    /// The segment itself is mapped, and the pen writes into it.
    Segment,
}

/// What brings the bytes to the volume.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carry {
    Nothing,
    Msync,
    SyncFileRange,
    CopyAndMsync,
    WriteAndFdatasync,
    DirectAndDsync,
}

const MS: Duration = Duration::from_millis(1);

#[rustfmt::skip]
pub(super) const TIERS: [Tier; 8] = [
    Tier { name: "plain memory, nothing flushed", memory: Memory::Anonymous, carry: Carry::Nothing, interval: MS },
    Tier { name: "mapped segment, msync each 10 ms", memory: Memory::Segment, carry: Carry::Msync, interval: Duration::from_millis(10) },
    Tier { name: "mapped segment, sync_file_range each 10 ms", memory: Memory::Segment, carry: Carry::SyncFileRange, interval: Duration::from_millis(10) },
    Tier { name: "mapped segment, the kernel's own write-back", memory: Memory::Segment, carry: Carry::Nothing, interval: MS },
    Tier { name: "ring, copied into a mapped segment, msync each 1 ms", memory: Memory::Anonymous, carry: Carry::CopyAndMsync, interval: MS },
    Tier { name: "ring, pwrite and fdatasync each 1 ms", memory: Memory::Anonymous, carry: Carry::WriteAndFdatasync, interval: MS },
    Tier { name: "ring, O_DIRECT|O_DSYNC each 1 ms", memory: Memory::Anonymous, carry: Carry::DirectAndDsync, interval: MS },
    Tier { name: "ring on tmpfs, pwrite and fdatasync each 1 ms", memory: Memory::Shared, carry: Carry::WriteAndFdatasync, interval: MS },
];

impl Tier {
    /// ns of each append, and whether the rate was kept; `None` where the filesystem or the machine cannot do it.
    pub fn measure(&self, directory: &Path, pace: Pace, core: usize) -> io::Result<Option<(Histogram<u64>, bool)>> {
        let path = directory.join("segment");
        let measured = self.try_measure(&path, pace, core);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match measured {
            // open(2): the filesystem does not support O_DIRECT.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && self.carry == Carry::DirectAndDsync => {
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.memory == Memory::Shared => Ok(None),
            other => other.map(Some),
        }
    }

    fn try_measure(&self, path: &Path, pace: Pace, core: usize) -> io::Result<(Histogram<u64>, bool)> {
        let (writer, reader) = self.memory(path)?;
        let carrier = Carrier::new(self.carry, path, reader)?;
        let stop = Arc::new(AtomicBool::new(false));
        let carrying = {
            let (stop, interval) = (Arc::clone(&stop), self.interval);
            std::thread::spawn(move || {
                pin(core);
                carrier.run(interval, &stop)
            })
        };
        let mut pen = Pen::new(writer);
        let mut taken = histogram();
        let kept_rate = pace.run(1, |number| {
            // A carrier that failed gives no room any more.
            if number.is_multiple_of(1024) && carrying.is_finished() {
                return;
            }
            let start = Instant::now();
            pen.append(number);
            taken.saturating_record(start.elapsed().as_nanos() as u64);
        });
        stop.store(true, Ordering::Release);
        carrying.join().map_err(|_| io::Error::other("the carrying thread panicked"))??;
        Ok((taken, kept_rate))
    }

    /// The memory that the pen writes, faulted in for writing.
    fn memory(&self, path: &Path) -> io::Result<(RingWriter, RingReader)> {
        let mut ring = match self.memory {
            Memory::Anonymous => RingMemory::anonymous(RING_BYTES)?.0,
            Memory::Shared => RingMemory::map(&tempfile_of(Path::new(SHARED_MEMORY), RING_BYTES)?, RING_BYTES)?,
            Memory::Segment => {
                let segment = written_file(path)?;
                RingMemory::map(&segment, SEGMENT_BYTES)?
            }
        };
        ring.populate()?;
        ring.reset(&[0; IDENTITY_BYTES], 0, 0);
        Ok(ring.split())
    }
}

/// An unnamed file that goes with its mapping.
fn tempfile_of(directory: &Path, ring_bytes: u64) -> io::Result<File> {
    let ring = tempfile::tempfile_in(directory)?;
    file::allocate(&ring, PAGE_BYTES + ring_bytes)?;
    Ok(ring)
}

/// A segment with written extents, so that a sync has no metadata to commit. A page longer, for a ring's header.
fn written_file(path: &Path) -> io::Result<File> {
    let segment = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < PAGE_BYTES + SEGMENT_BYTES {
        let bytes = (PAGE_BYTES + SEGMENT_BYTES - at).min(zeros.len() as u64);
        segment.write_all_at(&zeros[..bytes as usize], at)?;
        at += bytes;
    }
    segment.sync_all()?;
    Ok(segment)
}

/// The other thread's part.
struct Carrier {
    ring: RingReader,
    target: Target,
    page: Box<Page>,
}

enum Target {
    None,
    /// A second mapping of what the pen writes: msync(2) and write-back go by the file.
    Same(MmapRaw),
    SameFile(File),
    Copy {
        segment: RingWriter,
        marks: RingReader,
        mapping: MmapRaw,
    },
    File {
        segment: File,
        syncs: bool,
    },
}

/// Direct writes want aligned memory.
#[repr(align(4096))]
struct Page([u8; PAGE_BYTES as usize]);

impl Carrier {
    fn new(carry: Carry, path: &Path, ring: RingReader) -> io::Result<Self> {
        let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let target = match carry {
            Carry::Nothing => Target::None,
            Carry::Msync => Target::Same(MmapOptions::new().map_raw(&open(0)?)?),
            Carry::SyncFileRange => Target::SameFile(open(0)?),
            Carry::CopyAndMsync => {
                let segment = written_file(path)?;
                let mut memory = RingMemory::map(&segment, SEGMENT_BYTES)?;
                memory.populate()?;
                memory.reset(&[0; IDENTITY_BYTES], 0, 0);
                let (writer, marks) = memory.split();
                Target::Copy { segment: writer, marks, mapping: MmapOptions::new().map_raw(&segment)? }
            }
            Carry::WriteAndFdatasync => Target::File { segment: written_file(path)?, syncs: true },
            Carry::DirectAndDsync => {
                drop(written_file(path)?);
                Target::File { segment: open(libc::O_DIRECT | libc::O_DSYNC)?, syncs: false }
            }
        };
        Ok(Self { ring, target, page: Box::new(Page([0; PAGE_BYTES as usize])) })
    }

    fn run(mut self, interval: Duration, stop: &AtomicBool) -> io::Result<()> {
        // The stop is read first: what was appended before it is still carried.
        loop {
            let is_over = stop.load(Ordering::Acquire);
            let appended = self.ring.appended();
            while self.ring.synced() < appended {
                self.carry(appended)?;
            }
            if is_over {
                return Ok(());
            }
            std::thread::sleep(interval);
        }
    }

    /// Up to `appended` or the end of the lap, from the start of the page that was reached.
    fn carry(&mut self, appended: u64) -> io::Result<()> {
        let from = self.ring.synced() & !(PAGE_BYTES - 1);
        let lap_end = (from / self.ring.ring_bytes() + 1) * self.ring.ring_bytes();
        let to = appended.min(lap_end);
        let whole = to & !(PAGE_BYTES - 1);
        let offset = from % SEGMENT_BYTES;
        match &mut self.target {
            Target::None => {}
            Target::Same(mapping) => mapping.flush_range((PAGE_BYTES + offset) as usize, (to - from) as usize)?,
            Target::SameFile(segment) => file::start_write_back(segment, PAGE_BYTES + offset, to - from)?,
            Target::Copy { segment, marks, mapping } => {
                if !segment.has_room(from + (to - from).next_multiple_of(PAGE_BYTES)) {
                    return Err(io::Error::other("the copy's own marks stand still"));
                }
                segment.mutable(from, to - from).copy_from_slice(self.ring.read(from, to - from));
                mapping.flush_range((PAGE_BYTES + offset) as usize, (to - from) as usize)?;
                // The last page is written again, so it stays the copy's own.
                segment.publish(whole);
                // The marks go by the last look at what is published.
                marks.appended();
                marks.set_written(whole);
                marks.set_synced(whole);
            }
            Target::File { segment, syncs } => {
                if whole > from {
                    segment.write_all_at(self.ring.read(from, whole - from), offset)?;
                }
                if to > whole {
                    let filled = (to - whole) as usize;
                    self.page.0[..filled].copy_from_slice(self.ring.read(whole, to - whole));
                    segment.write_all_at(&self.page.0, whole % SEGMENT_BYTES)?;
                }
                if *syncs {
                    segment.sync_data()?;
                }
            }
        }
        self.ring.set_written(to);
        self.ring.set_synced(to);
        Ok(())
    }
}
