//! The journal: every message in both directions, in a ring of shared memory that a flusher carries to segments on a volume.
//!
//! The worker appends ([`Writer`]), a housekeeping thread carries ([`Flusher`]) and reads back for resends ([`Stager`]), start-up
//! recovers ([`open`]), what is complete may be archived ([`archive`]), and another process may look on ([`inspect`]). All of these are step functions over [`Storage`]; threads and clocks belong to the engine.
//! Nothing here knows FIX: payloads are bytes, an identity is bytes, and what a number means is the caller's affair.
//!
//! # Format, version 2
//!
//! A *position* is a byte offset in the journal that never goes back. The byte at position `p` lies in the ring at `p % ring_bytes`, and on
//! the volume in segment `p / segment_bytes`, that is in file `segment-<(p / segment_bytes) % segments>.seg` at `p % segment_bytes`.
//! `ring_bytes` divides `segment_bytes`; all three are fixed when the data directory is created. All integers are little-endian.
//!
//! A *record* begins at a multiple of 64:
//!
//! ```text
//!  0               4               8       9      10      12              16
//! ┌───────────────┬───────────────┬───────┬───────┬───────┬───────────────┐
//! │ length        │ crc32c        │ kind  │ flags │ origin│ session       │  length: header and payload, without padding
//! │               │               │       │       │journal│               │
//! ├───────────────┴───────────────┼───────┴───────┴───────┴───────────────┤
//! │ msg_seq_num                   │ time_ns (UTC)                         │ 16
//! ├───────────────────────────────┼───────────────────────────────────────┤
//! │ previous (position)           │ origin_position                       │ 32
//! ├───────────────┬───────────────┼───────────────────┬───────────────────┤
//! │ incarnation   │ epoch         │ commit_offset     │ unsynced_steps    │ 48
//! ├───────────────┴───────────────┴───────────────────┴───────────────────┤
//! │ payload … and padding to a multiple of 64                             │ 64
//! └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! `crc32c` is the CRC-32C (ISCSI) of the payload (of a Pad: of nothing), exclusive-or a mix of position, length and the CRC-32C of header
//! bytes 8 to 64: so every byte counts, and a record of an earlier lap is none. `previous` is the session's newest earlier Inbound or Outbound record, each in its own chain.
//!
//! `unsynced_steps` says how far before the record the journal was known to be synced, in steps of 64 bytes, plus one; 0, as in version 1, says nothing.
//! A whole record behind a damaged one thereby proves whether the damaged one had been on stable media.
//!
//! A *commit* is a run of records, each with its distance from the first in `commit_offset`, the last with COMMIT_END.
//! A commit straddles neither the end of the ring nor, therefore, of a segment: a Pad, a commit of its own, fills what is left.
//! The first commit of each segment is one State record (its payload: `state.rs`), the first commit of each incarnation otherwise one IncarnationStart.
//! Along the positions the incarnation never decreases. An IncarnationStart may say that from there on each session's next outgoing number is its
//! lease, where that is higher; before it is on the volume the manifest says so.
//!
//! A segment has no other header. The ring's file has a page before the data (`sys/ring.rs`; the first 128 bytes: `ring_file.rs`).
//! The manifest is a text (`manifest.rs`).

pub mod archive;
pub mod cat;
mod device;
mod file_storage;
mod filesystem;
mod flush_method;
mod flush_note;
mod flusher;
mod grow;
mod held;
mod home;
pub mod inspect;
mod lock;
mod manifest;
mod open;
mod pages;
mod preview;
mod probe;
mod rate;
mod record;
mod recovery;
mod recycling;
pub mod report;
mod restore;
mod ring_file;
mod scan;
mod segment_file;
pub mod simulated;
mod stager;
mod state;
mod storage;
mod wanted;
mod writer;

pub use file_storage::{FileStorage, stranger_in};
pub use filesystem::{Allowed, Filesystem};
pub use flush_method::{FlushChoice, FlushMethod};
pub(crate) use flush_note::mount_of;
pub use flush_note::{Chosen, FlushNote, MethodFigures};
pub use flusher::{Flusher, FlusherCounters};
pub use held::{why_held, why_to_hold};
pub use lock::DirectoryLock;
pub use manifest::{LastUse, Manifest, ManifestError, journal_of};
pub use open::{Journal, OpenError, Opened, Settings, note_ends, note_reached, open, open_over, open_with, prepare};
pub use preview::{Needed, Preview, PreviewedJournal, files_in_use, preview};
pub use rate::FillRate;
pub(crate) use record::header_at;
pub use record::{HEADER_BYTES, Kind, NONE, Origin, RECORD_ALIGN, RecordHeader, flags, record_bytes};
pub use recovery::{Phases, PlacedRollback, Records, Recovered, RecoveryReport, RingFound, StoredRecord, Unreadable};
pub use recycling::{Hold, Recycling};
pub use restore::{Decision, RestoreFault, Said, Standing, Standings, decide, hold};
pub(crate) use ring_file::{as_of_earlier_boot, in_words};
pub use stager::{Gone, JOBS_MAX, Outcome, StageRequest, StagedBatch, StagedEntry, Stager, StagerPort};
pub use state::{
    IncarnationStart, NUMBERS_BYTES, RecoveredSession, Rollback, SessionState, StateTooLarge, StoredNumbers,
};
pub use storage::{Reached, Read, Slot, Storage, StorageError};
pub use writer::{AppendError, NewRecord, Room, Sendable, Writer};

/// The version in the manifest, in every segment's head and in the ring's.
pub const FORMAT_VERSION: u32 = 2;
/// The oldest version that is read. In version 1 records do not say how far the journal was synced.
pub const FORMAT_VERSION_MIN: u32 = 1;

/// When a commit is released, by rising strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Mode {
    /// Once it is whole in the ring.
    #[default]
    Buffered = 0,
    /// Once the operating system has it.
    Flush = 1,
    /// Once it is on stable media.
    Sync = 2,
}

/// The sizes that a data directory fixes at its creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    pub journals: u16,
    /// A power of two.
    pub ring_bytes: u64,
    /// A multiple of `ring_bytes`.
    pub segment_bytes: u64,
    /// Segments of one journal.
    pub segments: u32,
}

/// A segment is overwritten while the one before it holds the newest synced head: one to read, one to write, one between.
pub const SEGMENTS_MIN: u32 = 3;
/// A Pad's length is a u32.
pub const RING_BYTES_MAX: u64 = 1 << 31;
/// One journal's files at most; the slot's number is decimal in their names.
pub const SEGMENTS_MAX: u32 = 100_000;
pub const JOURNALS_MAX: u16 = 256;

/// The smallest ring in which states of so many bytes fit a segment's head.
pub fn ring_for(states_bytes: u64) -> u64 {
    let fits = |ring_bytes: &u64| {
        Geometry { journals: 1, ring_bytes: *ring_bytes, segment_bytes: *ring_bytes, segments: 3 }.sessions_bytes_max()
            >= states_bytes
    };
    (crate::sys::ring::RING_BYTES_MIN.ilog2()..u64::BITS - 1).map(|bits| 1 << bits).find(fits).unwrap_or(u64::MAX)
}

impl Geometry {
    /// The most that one commit may take: a quarter of the ring, so that a segment's end, a head and a commit fit it together.
    pub const fn commit_bytes_max(&self) -> u64 {
        self.ring_bytes / 4
    }

    /// The most that an application's snapshot may take of a segment's head: half of it.
    pub const fn snapshot_bytes_max(&self) -> u64 {
        self.commit_bytes_max() / 2
    }

    /// The most that all sessions' states ([`SessionState::bytes`]) may take of a segment's head: what the snapshot leaves.
    pub const fn sessions_bytes_max(&self) -> u64 {
        self.commit_bytes_max() - self.snapshot_bytes_max() - HEADER_BYTES - state::HEAD_BYTES
    }

    /// What is wrong with it, and the mend.
    pub fn check(&self) -> Result<(), String> {
        use crate::sys::ring::RING_BYTES_MIN;
        if !self.ring_bytes.is_power_of_two() || !(RING_BYTES_MIN..=RING_BYTES_MAX).contains(&self.ring_bytes) {
            return Err(format!(
                "persistence.ring_bytes is {}: make it a power of two from 64KiB to 2GiB",
                self.ring_bytes
            ));
        }
        if self.segment_bytes == 0
            || !self.segment_bytes.is_multiple_of(self.ring_bytes)
            || self.segment_bytes > 1 << 40
        {
            return Err(format!(
                "persistence.segment_bytes is {}: make it a multiple of persistence.ring_bytes ({}), at most 1TiB",
                self.segment_bytes, self.ring_bytes
            ));
        }
        if !(SEGMENTS_MIN..=SEGMENTS_MAX).contains(&self.segments) {
            return Err(format!("persistence.segments is {}: make it {SEGMENTS_MIN} to {SEGMENTS_MAX}", self.segments));
        }
        if !(1..=JOURNALS_MAX).contains(&self.journals) {
            return Err(format!("{} journals: make it 1 to {JOURNALS_MAX}", self.journals));
        }
        Ok(())
    }

    /// Where the byte at `position` lies on the volume.
    pub(crate) fn slot(&self, journal: u16, position: u64) -> (Slot, u64) {
        let segment = position / self.segment_bytes;
        let number = (segment % u64::from(self.segments)) as u32;
        (Slot { journal, number }, position % self.segment_bytes)
    }

    /// The oldest position whose segment is not overwritten while `newest` is written.
    pub fn oldest_position(&self, newest: u64) -> u64 {
        let segment = newest / self.segment_bytes;
        (segment + 1).saturating_sub(u64::from(self.segments)) * self.segment_bytes
    }
}

impl Default for Geometry {
    fn default() -> Self {
        Self { journals: 1, ring_bytes: 16 << 20, segment_bytes: 16 << 20, segments: 64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_that_cannot_work_is_refused_with_the_key() {
        let good = Geometry::default();
        assert_eq!(good.check(), Ok(()));
        let bad = [
            (Geometry { ring_bytes: 3 << 20, ..good }, "ring_bytes"),
            (Geometry { ring_bytes: 1 << 32, ..good }, "ring_bytes"),
            (Geometry { segment_bytes: (64 << 20) + 4096, ..good }, "segment_bytes"),
            (Geometry { segments: 2, ..good }, "segments"),
            (Geometry { journals: 0, ..good }, "journals"),
        ];
        for (geometry, key) in bad {
            assert!(geometry.check().unwrap_err().contains(key));
        }
    }

    #[test]
    fn the_oldest_position_leaves_out_the_segment_being_overwritten() {
        let geometry = Geometry { journals: 1, ring_bytes: 1 << 16, segment_bytes: 1 << 16, segments: 3 };
        assert_eq!(geometry.oldest_position(3 * (1 << 16) - 1), 0);
        assert_eq!(geometry.oldest_position(3 * (1 << 16)), 1 << 16);
    }
}
