//! One file of the simulated volume, as the page cache, the device's queue and the media each have it.
//!
//! Pages are shared and never changed in place, so that keeping a version, syncing one or losing one moves a pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const SECTOR_BYTES: usize = 512;
/// Of a page that is written again and again before a sync, so many versions on the way are kept to survive a crash.
const VERSIONS_MAX: usize = 6;

/// `None` is a page of zeros.
type Page = Option<Arc<[u8; PAGE_BYTES]>>;

#[derive(Clone)]
pub(super) struct FileImage {
    /// What a read answers.
    cached: Vec<Page>,
    /// What a node finds that comes back.
    durable: Vec<Page>,
    /// What each page was on the media before it was last synced as something else.
    older: Vec<Page>,
    /// Pages that the next sync will bring to the media, with what they held between the last sync and now.
    dirty: BTreeMap<usize, Vec<Page>>,
    /// Pages that the operating system takes for clean after a sync that failed, and that are not on the media.
    lost: BTreeSet<usize>,
}

impl FileImage {
    pub fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let zeros = vec![None; pages];
        Self {
            cached: zeros.clone(),
            durable: zeros.clone(),
            older: zeros,
            dirty: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8], random: &mut fastrand::Rng) {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (page, from) = (at / PAGE_BYTES, at % PAGE_BYTES);
            let (part, after) = rest.split_at(rest.len().min(PAGE_BYTES - from));
            self.write_page(page, from, part, random);
            (at, rest) = (at + part.len(), after);
        }
    }

    fn write_page(&mut self, page: usize, from: usize, part: &[u8], random: &mut fastrand::Rng) {
        let before = self.cached[page].take();
        let is_zero = part.iter().all(|byte| *byte == 0);
        let after = if is_zero && (part.len() == PAGE_BYTES || before.is_none()) {
            None
        } else {
            let mut bytes = match &before {
                Some(before) if part.len() < PAGE_BYTES => Arc::new(**before),
                _ => Arc::new([0; PAGE_BYTES]),
            };
            Arc::get_mut(&mut bytes).expect("it is new")[from..from + part.len()].copy_from_slice(part);
            Some(bytes)
        };
        self.cached[page] = after;
        // Written back whole: a page that was lost before is not any more.
        self.lost.remove(&page);
        match self.dirty.get_mut(&page) {
            None => _ = self.dirty.insert(page, Vec::new()),
            Some(versions) => {
                if versions.len() == VERSIONS_MAX {
                    versions.swap_remove(random.usize(..VERSIONS_MAX));
                }
                versions.push(before);
            }
        }
    }

    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        read(&self.cached, offset, buffer);
    }

    pub fn read_durable(&self, offset: usize, buffer: &mut [u8]) {
        read(&self.durable, offset, buffer);
    }

    pub fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty).into_keys() {
            self.bring(page);
        }
    }

    /// One page to the media.
    fn bring(&mut self, page: usize) {
        if self.durable[page] != self.cached[page] {
            self.older[page] = std::mem::replace(&mut self.durable[page], self.cached[page].clone());
        }
    }

    /// Some pages reach the media, not necessarily in their newest version and not necessarily whole.
    pub fn sync_in_part(&mut self, random: &mut fastrand::Rng) {
        for (page, versions) in &self.dirty {
            if random.bool() {
                self.durable[*page] = survivor(&self.durable[*page], versions, &self.cached[*page], random);
            }
        }
    }

    /// A write that goes to the media itself has gone well: its pages are there.
    pub fn sync_range(&mut self, offset: usize, length: usize) {
        for page in pages_of(offset, length) {
            if self.dirty.remove(&page).is_some() {
                self.bring(page);
            }
        }
    }

    /// A write that goes to the media itself was broken off: what they have of it is all that there is.
    pub fn break_off_range(&mut self, offset: usize, length: usize, random: &mut fastrand::Rng) {
        for page in pages_of(offset, length) {
            if let Some(versions) = self.dirty.remove(&page) {
                self.settle(page, &versions, random);
            }
        }
    }

    /// What Linux does where the device refused: the pages count as clean, so that no later sync tries again.
    pub fn give_up(&mut self) {
        self.lost.extend(std::mem::take(&mut self.dirty).into_keys());
    }

    /// The operating system needs the memory: of what it takes for clean it may have to ask the media again.
    pub fn evict(&mut self, random: &mut fastrand::Rng) {
        self.lost.retain(|page| {
            let stays = random.bool();
            if !stays {
                self.cached[*page] = self.durable[*page].clone();
            }
            stays
        });
    }

    /// The node dies. The number of torn pages.
    pub fn crash(&mut self, random: &mut fastrand::Rng) -> u64 {
        let mut torn = 0;
        for page in std::mem::take(&mut self.lost) {
            self.cached[page] = self.durable[page].clone();
        }
        for (page, versions) in std::mem::take(&mut self.dirty) {
            torn += u64::from(self.settle(page, &versions, random));
        }
        torn
    }

    /// One version of a page is left, or a mix of them by sectors: whether it is one.
    fn settle(&mut self, page: usize, versions: &[Page], random: &mut fastrand::Rng) -> bool {
        // Whole pages most of the time, as a device would; torn ones often enough.
        let is_torn = random.u8(..4) == 0;
        let survives = if is_torn {
            torn_page(&self.durable[page], versions, &self.cached[page], random)
        } else {
            survivor(&self.durable[page], versions, &self.cached[page], random)
        };
        self.durable[page] = survives.clone();
        self.cached[page] = survives;
        is_torn
    }

    /// Everything that the operating system has is on the media, as in a copy that was made of it.
    pub fn settled(&self) -> Self {
        Self { durable: self.cached.clone(), dirty: BTreeMap::new(), lost: BTreeSet::new(), ..self.clone() }
    }

    pub fn reads_as(&self, other: &Self) -> bool {
        self.cached == other.cached
    }

    /// The last write of the page that was synced is lost. Whether that changes anything.
    pub fn go_back(&mut self, offset: usize) -> bool {
        let page = offset / PAGE_BYTES;
        let is_other = self.older[page] != self.cached[page];
        self.durable[page] = self.older[page].clone();
        self.cached[page] = self.older[page].clone();
        self.dirty.remove(&page);
        is_other
    }

    /// Changes a byte wherever it is.
    pub fn corrupt(&mut self, offset: usize, change: impl FnOnce(u8) -> u8) {
        let (page, at) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
        let mut bytes = self.cached[page].as_deref().copied().unwrap_or([0; PAGE_BYTES]);
        bytes[at] = change(bytes[at]);
        let bytes = Some(Arc::new(bytes));
        self.durable[page] = bytes.clone();
        self.cached[page] = bytes;
    }
}

fn pages_of(offset: usize, length: usize) -> std::ops::Range<usize> {
    offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES)
}

fn read(pages: &[Page], offset: usize, buffer: &mut [u8]) {
    let (mut at, mut rest) = (offset, buffer);
    while !rest.is_empty() {
        let (page, from) = (at / PAGE_BYTES, at % PAGE_BYTES);
        let length = rest.len().min(PAGE_BYTES - from);
        let (part, after) = rest.split_at_mut(length);
        match &pages[page] {
            Some(bytes) => part.copy_from_slice(&bytes[from..from + length]),
            None => part.fill(0),
        }
        (at, rest) = (at + length, after);
    }
}

/// The old one, the newest one, or one between.
fn survivor(durable: &Page, versions: &[Page], cached: &Page, random: &mut fastrand::Rng) -> Page {
    match random.usize(..versions.len() + 4) {
        0 | 1 => durable.clone(),
        2 | 3 => cached.clone(),
        version => versions[version - 4].clone(),
    }
}

/// Each sector is of any version.
fn torn_page(durable: &Page, versions: &[Page], cached: &Page, random: &mut fastrand::Rng) -> Page {
    let mut page = [0; PAGE_BYTES];
    for sector in page.chunks_exact_mut(SECTOR_BYTES).enumerate() {
        let (number, target) = sector;
        if let Some(source) = survivor(durable, versions, cached, random) {
            target.copy_from_slice(&source[number * SECTOR_BYTES..][..SECTOR_BYTES]);
        }
    }
    Some(Arc::new(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(image: &FileImage, page: usize) -> [u8; PAGE_BYTES] {
        let mut bytes = [0; PAGE_BYTES];
        image.read(page * PAGE_BYTES, &mut bytes);
        bytes
    }

    #[test]
    fn a_synced_page_survives_and_of_an_unsynced_one_any_version_may_and_any_sector_of_it() {
        let (mut old, mut middle, mut newest, mut torn) = (0, 0, 0, 0);
        for seed in 0..400 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut image = FileImage::new(2 * PAGE_BYTES);
            image.write(0, &[1; 2 * PAGE_BYTES], &mut random);
            image.sync();
            image.write(PAGE_BYTES, &[2; PAGE_BYTES], &mut random);
            image.write(PAGE_BYTES, &[3; PAGE_BYTES], &mut random);
            image.crash(&mut random);
            assert_eq!(page_of(&image, 0), [1; PAGE_BYTES]);
            let bytes = page_of(&image, 1);
            for sector in bytes.chunks_exact(SECTOR_BYTES) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is of one version");
            }
            match bytes[0] {
                _ if bytes.iter().any(|byte| *byte != bytes[0]) => torn += 1,
                1 => old += 1,
                2 => middle += 1,
                _ => newest += 1,
            }
        }
        assert!(old > 50 && middle > 20 && newest > 50 && torn > 50, "{old} {middle} {newest} {torn}");
    }

    #[test]
    fn a_write_to_the_media_needs_no_sync_and_one_that_is_broken_off_leaves_what_the_media_have() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut image = FileImage::new(2 * PAGE_BYTES);
        image.write(0, &[1; PAGE_BYTES], &mut random);
        image.sync_range(0, PAGE_BYTES);
        image.write(PAGE_BYTES, &[2; PAGE_BYTES], &mut random);
        image.break_off_range(PAGE_BYTES, PAGE_BYTES, &mut random);
        let read = page_of(&image, 1);
        image.crash(&mut random);
        assert_eq!((page_of(&image, 0), page_of(&image, 1)), ([1; PAGE_BYTES], read));
    }

    #[test]
    fn after_a_refused_sync_a_page_looks_clean_and_only_writing_it_again_makes_it_durable() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut image = FileImage::new(2 * PAGE_BYTES);
        image.write(0, &[1; 2 * PAGE_BYTES], &mut random);
        image.give_up();
        image.sync();
        assert_eq!(page_of(&image, 0), [1; PAGE_BYTES]);
        image.write(0, &[1], &mut random);
        image.sync();
        image.crash(&mut random);
        assert_eq!((page_of(&image, 0), page_of(&image, 1)), ([1; PAGE_BYTES], [0; PAGE_BYTES]));
    }
}
