//! A disk with a volatile write cache: what a guest wrote since its last flush is in memory alone, and a power cut decides
//! about each sector of it.
//!
//! A device owes its user exactly one thing: what was written before a flush is there after it. Everything else it may
//! do in any order: at the cut, each 512-byte sector that was not flushed holds what it held before, or any of the
//! versions written since. A page of eight sectors is torn by that without further ado.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub const SECTOR_BYTES: u64 = 512;
/// A real cache is full at some point, too: then the disk writes all of it back of its own accord.
const CACHE_BYTES_MAX: u64 = 256 << 20;

pub struct Disk {
    inner: Mutex<Inner>,
}

struct Inner {
    /// What survives a cut for certain.
    image: File,
    bytes: u64,
    /// Writes since the last flush, in the order in which they came.
    unflushed: Vec<Write>,
    /// By sector: the indices of the writes that touch it, rising.
    versions: HashMap<u64, Vec<u32>>,
    unflushed_bytes: u64,
    fault: Option<Fault>,
    lies: bool,
    flush_time: Duration,
    is_off: bool,
    counts: Counts,
}

struct Write {
    offset: u64,
    bytes: Vec<u8>,
}

/// What was asked of the disk since it was powered on.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    pub writes: u64,
    pub flushes: u64,
    /// Writes with FUA.
    pub fua: u64,
    /// Requests that a fault refused.
    pub refused: u64,
}

/// How a disk fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One write, then all is well again.
    OneWrite,
    /// One flush.
    OneFlush,
    /// Every write from now on, with EIO: the medium has turned read-only.
    EveryWrite,
    /// Every write from now on, with ENOSPC: a thin volume whose pool is full.
    NoSpace,
    /// Everything: the volume is detached.
    Everything,
}

/// What survives of the writes that were not flushed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Survival {
    Nothing,
    /// The cache reached the medium just in time.
    Everything,
    /// So many writes in the order in which they came, and the sectors of the next up to some point.
    Prefix {
        writes: f64,
    },
    /// Each sector for itself: its newest version with this probability, an older one as often as not otherwise.
    Sectors {
        newest: f64,
    },
}

/// What a cut did.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Sectors that had been written since the last flush.
    pub unflushed: u64,
    /// That hold the newest version now.
    pub newest: u64,
    /// That hold an older unflushed version.
    pub older: u64,
    /// That are as they were.
    pub lost: u64,
}

impl Disk {
    pub fn open(image: &Path) -> io::Result<Self> {
        let image = File::options().read(true).write(true).open(image)?;
        let bytes = image.metadata()?.len() / SECTOR_BYTES * SECTOR_BYTES;
        let inner = Inner {
            image,
            bytes,
            unflushed: Vec::new(),
            versions: HashMap::new(),
            unflushed_bytes: 0,
            fault: None,
            lies: false,
            flush_time: Duration::ZERO,
            is_off: false,
            counts: Counts::default(),
        };
        Ok(Self { inner: Mutex::new(inner) })
    }

    pub fn bytes(&self) -> u64 {
        self.inner().bytes
    }

    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// From now on the disk fails like this; `None`: it is mended.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.inner().fault = fault;
    }

    /// Whether flushes are answered and not done.
    pub fn set_lies(&self, lies: bool) {
        self.inner().lies = lies;
    }

    /// How long a flush is under way before it has its effect: the longer, the more is at stake at a cut.
    pub fn set_flush_time(&self, flush_time: Duration) {
        self.inner().flush_time = flush_time;
    }

    /// Whether a cut would find nothing to decide about.
    pub fn is_flushed(&self) -> bool {
        self.inner().versions.is_empty()
    }

    /// From now on nothing is answered and nothing reaches the medium.
    pub fn power_off(&self) {
        self.inner().is_off = true;
    }

    pub fn is_off(&self) -> bool {
        self.inner().is_off
    }

    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner().read(offset, buffer)
    }

    pub fn write(&self, offset: u64, bytes: Vec<u8>, fua: bool) -> io::Result<()> {
        self.inner().write(offset, bytes, fua)
    }

    pub fn flush(&self) -> io::Result<()> {
        // What was written before it is in the cache by now: its client's requests come one after the other.
        let flush_time = self.inner().flush_time;
        std::thread::sleep(flush_time);
        let mut inner = self.inner();
        inner.check_power()?;
        inner.counts.flushes += 1;
        match inner.fault {
            Some(Fault::OneFlush) => {
                inner.fault = None;
                return Err(inner.refuse(libc::EIO));
            }
            Some(Fault::Everything) => return Err(inner.refuse(libc::EIO)),
            _ => {}
        }
        if inner.lies { Ok(()) } else { inner.destage() }
    }

    /// What the cut has done to a disk that is off: the cache is lost but for what survives by chance. The power is on again, and
    /// the disk in order.
    pub fn cut(&self, survival: Survival, random: &mut fastrand::Rng) -> io::Result<Cut> {
        let mut inner = self.inner();
        let cut = inner.decide(survival, random)?;
        inner.forget();
        (inner.fault, inner.lies, inner.is_off, inner.counts) = (None, false, false, Counts::default());
        Ok(cut)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Survival {
    pub fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(..8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 | 3 => Self::Prefix { writes: random.f64() },
            _ => Self::Sectors { newest: random.f64() },
        }
    }
}

impl Inner {
    fn refuse(&mut self, errno: i32) -> io::Error {
        self.counts.refused += 1;
        io::Error::from_raw_os_error(errno)
    }

    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        self.check_power()?;
        let length = length as u64;
        let fits = offset.is_multiple_of(SECTOR_BYTES)
            && length.is_multiple_of(SECTOR_BYTES)
            && offset.checked_add(length).is_some_and(|end| end <= self.bytes);
        if fits { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(offset, buffer.len())?;
        if self.fault == Some(Fault::Everything) {
            return Err(self.refuse(libc::EIO));
        }
        self.image.read_exact_at(buffer, offset)?;
        for (sector, into) in (offset / SECTOR_BYTES..).zip(buffer.chunks_exact_mut(SECTOR_BYTES as usize)) {
            if let Some(newest) = self.versions.get(&sector).and_then(|writes| writes.last()) {
                into.copy_from_slice(self.version(sector, *newest));
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>, fua: bool) -> io::Result<()> {
        self.counts.writes += 1;
        self.counts.fua += u64::from(fua);
        self.check(offset, bytes.len())?;
        match self.fault {
            Some(Fault::OneWrite) => {
                self.fault = None;
                return Err(self.refuse(libc::EIO));
            }
            Some(Fault::EveryWrite | Fault::Everything) => return Err(self.refuse(libc::EIO)),
            Some(Fault::NoSpace) => return Err(self.refuse(libc::ENOSPC)),
            Some(Fault::OneFlush) | None => {}
        }
        let sectors = offset / SECTOR_BYTES..(offset + bytes.len() as u64) / SECTOR_BYTES;
        if fua && !self.lies {
            for sector in sectors {
                self.versions.remove(&sector);
            }
            return self.image.write_all_at(&bytes, offset);
        }
        let number = u32::try_from(self.unflushed.len()).expect("the cache is bounded");
        for sector in sectors {
            self.versions.entry(sector).or_default().push(number);
        }
        self.unflushed_bytes += bytes.len() as u64;
        self.unflushed.push(Write { offset, bytes });
        if self.unflushed_bytes > CACHE_BYTES_MAX { self.destage() } else { Ok(()) }
    }

    fn version(&self, sector: u64, write: u32) -> &[u8] {
        let write = &self.unflushed[write as usize];
        &write.bytes[(sector * SECTOR_BYTES - write.offset) as usize..][..SECTOR_BYTES as usize]
    }

    /// Everything reaches the medium.
    fn destage(&mut self) -> io::Result<()> {
        for (sector, writes) in &self.versions {
            if let Some(newest) = writes.last() {
                self.image.write_all_at(self.version(*sector, *newest), sector * SECTOR_BYTES)?;
            }
        }
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.unflushed.clear();
        self.versions.clear();
        self.unflushed_bytes = 0;
    }

    fn decide(&self, survival: Survival, random: &mut fastrand::Rng) -> io::Result<Cut> {
        let mut cut = Cut::default();
        // The order of a hash map is not the seed's; that of the sectors is.
        let mut sectors: Vec<u64> = self.versions.keys().copied().collect();
        sectors.sort_unstable();
        let prefix = match survival {
            Survival::Prefix { writes } => (self.unflushed.len() as f64 * writes) as u32,
            _ => 0,
        };
        let torn_at = random.u64(..=64);
        for sector in sectors {
            let writes = &self.versions[&sector];
            let Some(newest) = writes.last().copied() else { continue };
            let chosen = match survival {
                Survival::Nothing => None,
                Survival::Everything => Some(newest),
                Survival::Prefix { .. } => {
                    let reached = |write: &u32| {
                        let start = self.unflushed[*write as usize].offset / SECTOR_BYTES;
                        *write < prefix || (*write == prefix && sector - start < torn_at)
                    };
                    writes.iter().copied().rfind(reached)
                }
                Survival::Sectors { newest: share } if random.f64() < share => Some(newest),
                Survival::Sectors { .. } => {
                    let older = &writes[..writes.len() - 1];
                    (!older.is_empty() && random.bool()).then(|| older[random.usize(..older.len())])
                }
            };
            cut.unflushed += 1;
            match chosen {
                None => cut.lost += 1,
                Some(write) => {
                    self.image.write_all_at(self.version(sector, write), sector * SECTOR_BYTES)?;
                    if write == newest {
                        cut.newest += 1;
                    } else {
                        cut.older += 1;
                    }
                }
            }
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: u64 = 64;

    fn disk() -> (tempfile::NamedTempFile, Disk) {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(SECTORS * SECTOR_BYTES).unwrap();
        let disk = Disk::open(image.path()).unwrap();
        (image, disk)
    }

    fn fill(disk: &Disk, sector: u64, sectors: u64, byte: u8) {
        disk.write(sector * SECTOR_BYTES, vec![byte; (sectors * SECTOR_BYTES) as usize], false).unwrap();
    }

    fn sector(disk: &Disk, sector: u64) -> u8 {
        let mut bytes = [0; SECTOR_BYTES as usize];
        disk.read(sector * SECTOR_BYTES, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "no sector is torn");
        bytes[0]
    }

    #[test]
    fn what_was_flushed_or_written_through_survives_every_cut() {
        for seed in 0..50 {
            let (_image, disk) = disk();
            let mut random = fastrand::Rng::with_seed(seed);
            fill(&disk, 0, 8, 1);
            disk.flush().unwrap();
            fill(&disk, 8, 1, 1);
            disk.write(8 * SECTOR_BYTES, vec![2; SECTOR_BYTES as usize], true).unwrap();
            fill(&disk, 20, 8, 3);
            let cut = disk.cut(Survival::random(&mut random), &mut random).unwrap();
            assert_eq!((cut.unflushed, cut.newest + cut.older + cut.lost), (8, 8));
            assert!((0..8).all(|at| sector(&disk, at) == 1));
            assert_eq!(sector(&disk, 8), 2);
            assert!((20..28).all(|at| [0, 3].contains(&sector(&disk, at))));
        }
    }

    #[test]
    fn a_sector_that_was_not_flushed_may_hold_any_version_of_it_and_a_page_any_mixture() {
        let mut seen = std::collections::HashSet::new();
        let mut torn = 0;
        for seed in 0..200 {
            let (_image, disk) = disk();
            let mut random = fastrand::Rng::with_seed(seed);
            fill(&disk, 0, 8, 1);
            disk.flush().unwrap();
            (2..5).for_each(|byte| fill(&disk, 0, 8, byte));
            assert_eq!(sector(&disk, 0), 4, "the cache answers reads");
            disk.cut(Survival::random(&mut random), &mut random).unwrap();
            let page: Vec<u8> = (0..8).map(|at| sector(&disk, at)).collect();
            torn += u32::from(page.iter().any(|byte| *byte != page[0]));
            seen.extend(page);
        }
        assert_eq!(seen, (1..5).collect());
        assert!(torn > 50, "{torn} of 200 pages are torn");
    }

    #[test]
    fn a_disk_without_power_takes_nothing_and_keeps_what_is_decided_at_the_cut() {
        let (_image, disk) = disk();
        fill(&disk, 0, 1, 1);
        disk.power_off();
        assert!(disk.write(0, vec![2; SECTOR_BYTES as usize], true).is_err());
        assert!(disk.flush().is_err() && disk.is_off());
        let cut = disk.cut(Survival::Everything, &mut fastrand::Rng::with_seed(0)).unwrap();
        assert_eq!((cut.unflushed, cut.newest, sector(&disk, 0)), (1, 1, 1));
    }

    #[test]
    fn a_disk_that_lies_has_nothing_after_the_cut_that_it_said_it_had() {
        let (_image, disk) = disk();
        disk.set_lies(true);
        fill(&disk, 0, 1, 1);
        disk.flush().unwrap();
        disk.write(0, vec![2; SECTOR_BYTES as usize], true).unwrap();
        let cut = disk.cut(Survival::Nothing, &mut fastrand::Rng::with_seed(0)).unwrap();
        assert_eq!((cut.unflushed, cut.lost, sector(&disk, 0)), (1, 1, 0));
    }

    #[test]
    fn faults_refuse_what_they_say_and_nothing_else() {
        let (_image, disk) = disk();
        let write = || disk.write(0, vec![1; SECTOR_BYTES as usize], false);
        let read = || disk.read(0, &mut [0; SECTOR_BYTES as usize]);
        let outcomes = |fault| {
            disk.set_fault(Some(fault));
            [write().is_ok(), write().is_ok(), disk.flush().is_ok(), disk.flush().is_ok(), read().is_ok()]
        };
        assert_eq!(outcomes(Fault::OneWrite), [false, true, true, true, true]);
        assert_eq!(outcomes(Fault::OneFlush), [true, true, false, true, true]);
        assert_eq!(outcomes(Fault::EveryWrite), [false, false, true, true, true]);
        assert_eq!(outcomes(Fault::Everything), [false; 5]);
        disk.set_fault(Some(Fault::NoSpace));
        assert_eq!(write().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert!(disk.write(1, vec![0; SECTOR_BYTES as usize], false).is_err(), "only whole sectors");
        assert!(disk.read(SECTORS * SECTOR_BYTES, &mut [0; SECTOR_BYTES as usize]).is_err());
    }
}
