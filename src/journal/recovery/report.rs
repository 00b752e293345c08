//! What recovery found and did, and in what time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::ring_file::in_words;

/// What recovery found and did, for the log and for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    pub journal: u16,
    /// The one that starts now.
    pub incarnation: u32,
    /// The one before, from the manifest; 0 in a new directory.
    pub incarnation_before: u32,
    /// The process before stopped in order, and nothing was lost since.
    pub clean_stop: bool,
    /// Where the newest State record lies; `None` in a new journal.
    pub state_position: Option<u64>,
    /// Newer segment heads that were not whole.
    pub heads_skipped: u32,
    /// Where the journal goes on.
    pub end: u64,
    pub ring: RingFound,
    /// Read after the State record's own commit.
    pub commits: u64,
    pub records: u64,
    /// What the ring had beyond the segments.
    pub carried_bytes: u64,
    /// Of that, what the segments had had on stable media and lost.
    pub healed_bytes: u64,
    /// What was passed over before the State record: no number depends on it.
    pub unreadable: Option<Unreadable>,
    /// What lay beyond the end and went to quarantine, or what an accepted ring should have had and did not.
    pub discarded_bytes: u64,
    /// Messages that were released in a weaker mode than `sync` may be missing.
    pub lost: bool,
    /// Sessions that therefore go on at their lease, above the journal's end.
    pub sessions_moved: u32,
    /// Of those that lay beyond the end: records of a process that went on after its successor had started.
    pub fenced_bytes: u64,
    pub phases: Phases,
}

/// A place that neither the volume nor the ring has whole, before a newer head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub from: u64,
    pub to: u64,
    /// So many of `[from, to)`: the rest is whole.
    pub bytes: u64,
}

/// How long each part of a recovery took, in the order of the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// The beginning of each segment's file.
    pub heads_ns: u64,
    /// Everything behind the newest state record.
    pub segments_ns: u64,
    /// What the ring had beyond, and what lay beyond the end.
    pub ring_ns: u64,
    /// Writing again and syncing what may never have been synced, and writing what the ring had.
    pub durable_ns: u64,
    /// Looking for segments that are only allocated, and zero-writing the next two if they are.
    pub zeros_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFound {
    /// A new one: the node was lost, or the journal is new.
    Absent,
    /// It continued the segments.
    Accepted,
    /// Of an earlier incarnation, but the segments hold all that it had.
    Finished,
    /// Kept aside, and why.
    Quarantined(&'static str),
}

impl RecoveryReport {
    /// Whether messages that were released in a weaker mode than `sync` may be missing.
    pub fn may_have_lost(&self) -> bool {
        self.lost
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "journal {}: incarnation {}", self.journal, self.incarnation)?;
        if self.incarnation_before == 0 {
            return f.write_str(", a new journal");
        }
        write!(f, " after {}", if self.clean_stop { "a clean stop" } else { "an unclean stop" })?;
        match self.state_position {
            Some(position) => write!(f, ", state at {position}")?,
            None => f.write_str(", no state record yet")?,
        }
        if self.heads_skipped > 0 {
            write!(f, " ({} newer segment heads were not whole)", self.heads_skipped)?;
        }
        write!(f, ", then {} commits of {} records up to {}", self.commits, self.records, self.end)?;
        match self.ring {
            RingFound::Absent => f.write_str("; no ring was found")?,
            RingFound::Accepted => {
                write!(f, "; the ring was accepted, {} carried over from it", in_words(self.carried_bytes))?
            }
            RingFound::Finished => f.write_str("; the ring found had nothing more")?,
            RingFound::Quarantined(why) => write!(f, "; the ring found was quarantined: {why}")?,
        }
        if self.healed_bytes > 0 {
            write!(f, " ({} of it lost by the volume)", in_words(self.healed_bytes))?;
        }
        if let Some(Unreadable { from, to, bytes }) = self.unreadable {
            write!(f, "; {} between {from} and {to} cannot be read", in_words(bytes))?;
        }
        if self.discarded_bytes > 0 {
            write!(f, "; {} discarded", in_words(self.discarded_bytes))?;
        }
        if self.lost {
            write!(f, "; the last messages may be lost, {} sessions go on at their leases", self.sessions_moved)?;
        }
        if self.fenced_bytes > 0 {
            write!(
                f,
                "; {} of them by a process that went on writing after this directory had been taken over",
                in_words(self.fenced_bytes)
            )?;
        }
        Ok(())
    }
}
