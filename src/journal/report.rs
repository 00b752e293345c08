//! What the last start found, as a file in the data directory: for whoever asks after the log has gone.
//!
//! It is written before any Logon is answered, and nothing depends on it: a start that cannot write it says so and goes on.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys::file;

use super::{Opened, Phases, RecoveryReport, RingFound, Storage};

/// In the data directory.
pub const REPORT_NAME: &str = "recovery.json";
/// A longer one is not ours.
pub(super) const REPORT_BYTES_MAX: u64 = 256 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryFile {
    /// When it was written, UTC.
    pub time_ns: u64,
    pub incarnation: u32,
    /// How long the recovery of all journals took.
    pub duration_ns: u64,
    pub journals: Vec<JournalRecovery>,
}

/// [`RecoveryReport`] in words that stay, and where each session stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecovery {
    pub journal: u16,
    pub incarnation_before: u32,
    pub clean_stop: bool,
    /// Messages released in a weaker mode than `sync` may be missing.
    pub may_have_lost: bool,
    pub state_position: Option<u64>,
    pub heads_skipped: u32,
    pub end_position: u64,
    /// `absent`, `accepted`, `finished` or `quarantined`.
    pub ring: String,
    /// Of a ring that was quarantined.
    pub ring_why: Option<String>,
    pub commits: u64,
    pub records: u64,
    pub carried_bytes: u64,
    #[serde(default)]
    pub healed_bytes: u64,
    /// What was passed over before the state record.
    #[serde(default)]
    pub unreadable_bytes: u64,
    pub discarded_bytes: u64,
    #[serde(default)]
    pub phases: Phases,
    pub sessions: Vec<SessionRecovery>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecovery {
    pub session: String,
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    pub lease: u64,
    /// When its numbers began; 0 where that is not known.
    pub began_s: u64,
}

impl RecoveryFile {
    /// `name` makes a name of a session's identity.
    pub fn of<S: Storage>(opened: &Opened<S>, time_ns: u64, duration_ns: u64, name: impl Fn(&[u8]) -> String) -> Self {
        let journal = |journal: &super::Journal<S>| {
            let known = journal.recovered.sessions.iter().filter(|session| !session.is_forgotten());
            let sessions = known.map(|session| SessionRecovery {
                session: name(&session.identity),
                next_out: session.next_out,
                next_in: session.next_in,
                epoch: session.epoch,
                lease: session.lease,
                began_s: session.began_s,
            });
            JournalRecovery::of(&journal.recovered.report, sessions.collect())
        };
        let journals = opened.journals.iter().map(journal).collect();
        Self { time_ns, incarnation: opened.incarnation, duration_ns, journals }
    }

    /// Replaces the last one. It is not synced: it may go with the node that it tells of.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let new = data_dir.join(format!("{REPORT_NAME}.new"));
        let mut file = file::open_private(&new, true)?;
        file.set_len(0)?;
        serde_json::to_writer_pretty(io::BufWriter::new(&file), self)?;
        file.write_all(b"\n")?;
        std::fs::rename(&new, data_dir.join(REPORT_NAME))
    }

    pub fn read(data_dir: &Path) -> Option<Self> {
        let bytes = super::inspect::read_bounded(&data_dir.join(REPORT_NAME), REPORT_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }
}

impl JournalRecovery {
    fn of(report: &RecoveryReport, sessions: Vec<SessionRecovery>) -> Self {
        let ring_why = match report.ring {
            RingFound::Quarantined(why) => Some(why.to_owned()),
            _ => None,
        };
        Self {
            journal: report.journal,
            incarnation_before: report.incarnation_before,
            clean_stop: report.clean_stop,
            may_have_lost: report.may_have_lost(),
            state_position: report.state_position,
            heads_skipped: report.heads_skipped,
            end_position: report.end,
            ring: report.ring.name().to_owned(),
            ring_why,
            commits: report.commits,
            records: report.records,
            carried_bytes: report.carried_bytes,
            healed_bytes: report.healed_bytes,
            unreadable_bytes: report.unreadable.map_or(0, |place| place.bytes),
            discarded_bytes: report.discarded_bytes,
            phases: report.phases,
            sessions,
        }
    }
}

impl RingFound {
    /// In one word, for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Accepted => "accepted",
            Self::Finished => "finished",
            Self::Quarantined(_) => "quarantined",
        }
    }
}
