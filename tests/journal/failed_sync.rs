//! A sync that failed, and the next process on the same node.
//!
//! Linux tells a failed write-back once, to whoever syncs next, and keeps the page as if it were clean: it reads well, no later
//! sync writes it, and it goes with the node. The process that was told ends; the one after it knows nothing of it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex};

use fixring::journal::{
    Geometry, Journal, Kind, Mode, NONE, NewRecord, Room, Settings, Slot, Storage, StorageError, open_over, prepare,
};
use fixring::sys::ring::RingMemory;

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 4 };
const PAGE_BYTES: usize = 4096;

/// A kernel's page cache over a medium.
#[derive(Clone, Default)]
struct Node(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    cached: HashMap<Slot, Vec<u8>>,
    medium: HashMap<Slot, Vec<u8>>,
    dirty: BTreeSet<(u32, usize)>,
    manifest: Option<Vec<u8>>,
    syncs_fail: bool,
}

impl Node {
    fn cut_power(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.cached = inner.medium.clone();
        inner.dirty.clear();
    }
}

impl Storage for Node {
    fn write(&self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut inner = self.0.lock().unwrap();
        let offset = offset as usize;
        let file = inner.cached.entry(slot).or_insert_with(|| vec![0; GEOMETRY.segment_bytes as usize]);
        file[offset..offset + bytes.len()].copy_from_slice(bytes);
        let pages = offset / PAGE_BYTES..(offset + bytes.len()).div_ceil(PAGE_BYTES);
        inner.dirty.extend(pages.map(|page| (slot.number, page)));
        Ok(())
    }

    fn sync(&self, slot: Slot) -> Result<(), StorageError> {
        let inner = &mut *self.0.lock().unwrap();
        let (written, others) = std::mem::take(&mut inner.dirty).into_iter().partition(|page| page.0 == slot.number);
        inner.dirty = others;
        if inner.syncs_fail {
            return Err(StorageError::new("sync", "the node", io::Error::from_raw_os_error(libc::EIO)));
        }
        let medium = inner.medium.entry(slot).or_insert_with(|| vec![0; GEOMETRY.segment_bytes as usize]);
        let written: BTreeSet<(u32, usize)> = written;
        for (_, page) in written {
            let range = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
            medium[range.clone()].copy_from_slice(&inner.cached[&slot][range]);
        }
        Ok(())
    }

    fn read(&self, slot: Slot, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        match self.0.lock().unwrap().cached.get(&slot) {
            Some(file) => buffer.copy_from_slice(&file[offset as usize..][..buffer.len()]),
            None => buffer.fill(0),
        }
        Ok(())
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().unwrap().manifest.clone())
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<(), StorageError> {
        self.0.lock().unwrap().manifest = Some(bytes.to_vec());
        Ok(())
    }

    fn quarantine(&self, _: &str, _: &[u8]) -> Result<(), StorageError> {
        Ok(())
    }
}

/// With a ring of its own, as after the loss of the pod.
fn open(node: &Node) -> Journal<Node> {
    let settings = Settings {
        data_dir: "node".into(),
        ring_dir: "node".into(),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: fixring::journal::FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 10,
        clock: || 0,
    };
    let manifest = prepare(node, &settings).unwrap();
    let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
    open_over(node, manifest, vec![ring], &settings).unwrap().journals.remove(0)
}

fn send(journal: &mut Journal<Node>, number: u64) {
    while journal.writer.begin(1024) == Room::RollDue {
        journal.writer.roll(std::iter::empty(), b"").unwrap();
    }
    if number == 1 {
        journal.writer.append_session_defined(0, 0, b"VENUE").unwrap();
    }
    let new = NewRecord { msg_seq_num: number, previous: NONE, ..NewRecord::internal(Kind::Outbound, 0) };
    journal.writer.append_bytes(new, &[b'm'; 300]).unwrap();
    journal.writer.commit(Mode::Sync);
}

fn next_out(journal: &Journal<Node>) -> u64 {
    journal.recovered.sessions[0].next_out
}

/// Found by thinking the loss of a pod through after the failure of a sync: the next engine took the journal for what the page
/// cache said, counted on it, and lost it with the node.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again_before_anybody_counts_on_it() {
    let node = Node::default();
    let mut journal = open(&node);
    // The last page that is synced, and some more, shall be part of it.
    for number in 1..=20 {
        send(&mut journal, number);
        journal.flusher.turn(number).unwrap();
    }
    node.0.lock().unwrap().syncs_fail = true;
    for number in 21..=60 {
        send(&mut journal, number);
    }
    assert!(journal.flusher.turn(100).is_err());
    drop(journal);

    node.0.lock().unwrap().syncs_fail = false;
    let journal = open(&node);
    let counted_on = next_out(&journal);
    assert_eq!(counted_on, 61, "the page cache still has them");
    drop(journal);
    node.cut_power();
    assert_eq!(next_out(&open(&node)), counted_on);
}

/// Found by the simulator: a process stopped in order, the sync of its last records failed, and its pod was gone with the ring. The next
/// took the clean stop in the page cache for proof that all before it was synced, and lost it with the node.
#[test]
fn a_clean_stop_that_failed_to_be_synced_is_written_again_too() {
    let node = Node::default();
    let mut journal = open(&node);
    for number in 1..=20 {
        send(&mut journal, number);
        journal.flusher.turn(number).unwrap();
    }
    node.0.lock().unwrap().syncs_fail = true;
    for number in 21..=60 {
        send(&mut journal, number);
    }
    assert!(matches!(journal.writer.clean_stop(0), Room::Ready));
    assert!(journal.flusher.turn(100).is_err());
    drop(journal);

    node.0.lock().unwrap().syncs_fail = false;
    let journal = open(&node);
    assert!(journal.recovered.report.clean_stop, "{}", journal.recovered.report);
    let counted_on = next_out(&journal);
    assert_eq!(counted_on, 61, "the page cache still has them");
    drop(journal);
    node.cut_power();
    assert_eq!(next_out(&open(&node)), counted_on);
}
