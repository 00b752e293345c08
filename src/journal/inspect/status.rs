//! What a data directory holds and where each session stands: `fixring journal status`.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::super::recovery::Scan;
use super::super::report::RecoveryFile;
use super::super::ring_file::RingIdentity;
use super::super::scan::{Incarnations, Source, record_at};
use super::super::{FORMAT_VERSION, Manifest, RecoveredSession, StorageError};
use super::files::{RingTail, SegmentFiles, SlotHead};
use super::{Directory, Holder, JournalReader, Next, Start};
use crate::journal::flusher::ZEROED_MARK;

/// All of it, in names that stay: `--json` prints this.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub data_dir: String,
    pub uuid: String,
    pub format_version: u32,
    /// Of the last process that opened the directory.
    pub incarnation: u32,
    pub ring_dir: String,
    pub ring_bytes: u64,
    pub segment_bytes: u64,
    pub segments: u32,
    /// Whether a process holds the lock; `None` where that cannot be seen.
    pub is_running: Option<bool>,
    pub pid: Option<u32>,
    pub journals: Vec<JournalStatus>,
    pub quarantined: Vec<Quarantined>,
    pub last_recovery: Option<RecoveryFile>,
}

#[derive(Clone, Debug, Serialize)]
pub struct JournalStatus {
    pub journal: u16,
    /// The oldest head that is whole.
    pub oldest_position: Option<u64>,
    pub oldest_time_ns: Option<u64>,
    /// The newest head that is whole: where a recovery begins.
    pub state_position: Option<u64>,
    /// The end of the last whole commit.
    pub end_position: u64,
    pub newest_time_ns: Option<u64>,
    /// Whole commits and their records since the newest head.
    pub commits: u64,
    pub records: u64,
    pub ring: Option<RingStatus>,
    /// By slot.
    pub segments: Vec<SegmentStatus>,
    pub sessions: Vec<SessionStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RingStatus {
    /// Whether it is this journal's and of the last incarnation, so that its marks count.
    pub is_current: bool,
    /// What is wrong with it otherwise.
    pub why: Option<String>,
    pub incarnation: u64,
    pub appended_position: u64,
    pub written_position: u64,
    pub synced_position: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct SegmentStatus {
    pub slot: u32,
    pub file_bytes: Option<u64>,
    /// `data`, `empty` (zero-written), `allocated`, `missing`, `foreign` or `unreadable`.
    pub state: &'static str,
    /// What it holds.
    pub segment: Option<u64>,
    pub first_position: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    pub session: String,
    pub number: u32,
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    /// Reserved bound of outgoing numbers; 0 where none is.
    pub lease: u64,
    pub last_out_time_ns: Option<u64>,
    pub last_in_time_ns: Option<u64>,
    /// When its numbers began, in s of Unix time.
    pub began_s: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Quarantined {
    pub name: String,
    pub bytes: u64,
    pub modified_s: Option<u64>,
}

/// More entries of the quarantine are not listed.
const QUARANTINED_MAX: usize = 1_000;
/// How many records are read for the first that has a time.
const FIRST_RECORDS_MAX: u32 = 1_000;

/// What a scan from the newest whole head to the end says, as recovery would.
pub(in crate::journal) struct Standing {
    pub scan: Scan,
    /// Where the segments end; the rest is in the ring alone.
    pub segments_end: u64,
    pub sources: Sources,
}

/// Both tiers, to look records up in.
pub(in crate::journal) struct Sources {
    pub segments: SegmentFiles,
    pub ring: Option<RingTail>,
}

impl Sources {
    pub fn new(directory: &Directory, journal: u16) -> Self {
        let manifest = directory.manifest();
        Self { segments: directory.segments(journal), ring: RingTail::open(manifest, journal) }
    }

    /// When the record at a position was stored, if it is whole.
    pub fn time_ns(&mut self, manifest: &Manifest, position: u64) -> Result<Option<u64>, StorageError> {
        let geometry = &manifest.geometry;
        if let Some((header, _)) = record_at(&mut self.segments, geometry, position)? {
            return Ok(Some(header.time_ns).filter(|time_ns| *time_ns > 0));
        }
        let Some(ring) = &mut self.ring else { return Ok(None) };
        Ok(record_at(ring, geometry, position)?.map(|(header, _)| header.time_ns).filter(|time_ns| *time_ns > 0))
    }
}

/// A piece of the ring, copied at once, so that what is checked is what is read.
struct Copied {
    bytes: Vec<u8>,
    start: u64,
}

impl Source for Copied {
    fn bytes(&mut self, position: u64, bytes: u64) -> Result<&[u8], StorageError> {
        let end = self.start + self.bytes.len() as u64;
        if position < self.start || position >= end {
            return Ok(&[]);
        }
        let rest = &self.bytes[(position - self.start) as usize..];
        Ok(&rest[..rest.len().min(bytes as usize)])
    }
}

impl Copied {
    fn of(ring: &mut RingTail, manifest: &Manifest, from: u64, to: u64) -> Result<Self, StorageError> {
        let ring_bytes = manifest.geometry.ring_bytes;
        let mut bytes = Vec::new();
        let mut at = from;
        // A ring's length at most, so at most one turn more than there are windows in it.
        while at < to && to - from <= ring_bytes {
            let lap_end = (at / ring_bytes + 1) * ring_bytes;
            let piece = ring.bytes(at, (to - at).min(lap_end - at))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        Ok(Self { bytes, start: from })
    }
}

/// Scans a journal from its newest whole head to its end.
pub(in crate::journal) fn standing(directory: &Directory, journal: u16) -> Result<Standing, StorageError> {
    let manifest = directory.manifest();
    let geometry = manifest.geometry;
    let mut sources = Sources::new(directory, journal);
    let mut scan = Scan::new(geometry, Incarnations::of(manifest, journal));
    for segment in sources.segments.segments(manifest.uuid)?.into_iter().rev() {
        scan.at = segment * geometry.segment_bytes;
        scan.incarnations.newest = 0;
        scan.run(&mut sources.segments)?;
        if scan.state_position.is_some() {
            break;
        }
    }
    if scan.state_position.is_none() {
        scan.at = 0;
    }
    let segments_end = scan.at;
    if let Some(ring) = &mut sources.ring
        && let Some(header) = ring.refresh(manifest, journal)
        && header.is_current(manifest)
        && header.marks.synced <= scan.at
    {
        let mut copied = Copied::of(ring, manifest, scan.at, header.marks.appended)?;
        scan.run(&mut copied)?;
    }
    Ok(Standing { scan, segments_end, sources })
}

pub fn status(directory: &Directory, name: &dyn Fn(&[u8]) -> String) -> Result<Status, StorageError> {
    let manifest = directory.manifest();
    let geometry = manifest.geometry;
    let holder = directory.holder();
    let mut journals = Vec::new();
    for journal in 0..geometry.journals {
        journals.push(journal_status(directory, journal, name)?);
    }
    Ok(Status {
        data_dir: directory.data_dir().display().to_string(),
        uuid: manifest.uuid.to_string(),
        format_version: FORMAT_VERSION,
        incarnation: manifest.incarnation,
        ring_dir: manifest.ring_dir.clone(),
        ring_bytes: geometry.ring_bytes,
        segment_bytes: geometry.segment_bytes,
        segments: geometry.segments,
        is_running: match holder {
            Holder::Nobody => Some(false),
            Holder::Process(_) => Some(true),
            Holder::Unknown => None,
        },
        pid: match holder {
            Holder::Process(pid) => pid,
            Holder::Nobody | Holder::Unknown => None,
        },
        journals,
        quarantined: quarantined(directory),
        last_recovery: RecoveryFile::read(directory.data_dir()),
    })
}

/// The identities of all sessions.
pub fn identities(directory: &Directory) -> Result<Vec<Box<[u8]>>, StorageError> {
    let mut found = Vec::new();
    for journal in 0..directory.manifest().geometry.journals {
        let sessions = standing(directory, journal)?.scan.sessions.into_values();
        found.extend(sessions.filter(|session| !session.is_forgotten()).map(|session| session.identity));
    }
    Ok(found)
}

fn journal_status(
    directory: &Directory,
    journal: u16,
    name: &dyn Fn(&[u8]) -> String,
) -> Result<JournalStatus, StorageError> {
    let manifest = directory.manifest();
    let Standing { scan, mut sources, .. } = standing(directory, journal)?;
    let mut sessions = Vec::new();
    for session in scan.sessions.values().filter(|session| !session.is_forgotten()) {
        sessions.push(session_status(&mut sources, manifest, session, name)?);
    }
    let segments = (0..manifest.geometry.segments)
        .map(|slot| segment_status(&mut sources.segments, manifest, slot))
        .collect::<Result<Vec<_>, _>>()?;
    let mut oldest = JournalReader::new(directory, journal, Start::Oldest)?;
    let mut oldest_position = None;
    let mut oldest_time_ns = None;
    for _ in 0..FIRST_RECORDS_MAX {
        let Next::Record(record) = oldest.next()? else { break };
        oldest_position.get_or_insert(record.position);
        if record.header.time_ns > 0 {
            oldest_time_ns = Some(record.header.time_ns);
            break;
        }
    }
    let times = sessions.iter().flat_map(|session| [session.last_out_time_ns, session.last_in_time_ns]);
    Ok(JournalStatus {
        journal,
        oldest_position: oldest_position.filter(|_| scan.state_position.is_some()),
        oldest_time_ns,
        state_position: scan.state_position,
        end_position: scan.at,
        newest_time_ns: times.flatten().max(),
        commits: scan.commits,
        records: scan.record_count,
        ring: sources.ring.as_mut().and_then(|ring| ring_status(ring, manifest, journal)),
        segments,
        sessions,
    })
}

fn session_status(
    sources: &mut Sources,
    manifest: &Manifest,
    session: &RecoveredSession,
    name: &dyn Fn(&[u8]) -> String,
) -> Result<SessionStatus, StorageError> {
    Ok(SessionStatus {
        session: name(&session.identity),
        number: session.number,
        next_out: session.next_out,
        next_in: session.next_in,
        epoch: session.epoch,
        lease: session.lease,
        last_out_time_ns: sources.time_ns(manifest, session.last_out)?,
        last_in_time_ns: sources.time_ns(manifest, session.last_in)?,
        began_s: Some(session.began_s).filter(|began_s| *began_s > 0),
    })
}

fn ring_status(ring: &mut RingTail, manifest: &Manifest, journal: u16) -> Option<RingStatus> {
    let header = ring.refresh(manifest, journal)?;
    let why = match header.identity {
        RingIdentity::Blank => Some("it was never used".to_owned()),
        RingIdentity::Foreign(why) => Some(why.to_owned()),
        RingIdentity::EarlierBoot => Some("it is of an earlier boot, or of another machine".to_owned()),
        RingIdentity::OtherHome => Some("it serves another data directory, of which this is a copy".to_owned()),
        RingIdentity::Ours if header.owner != u64::from(manifest.incarnation) => {
            Some(format!("it is of incarnation {}", header.owner))
        }
        RingIdentity::Ours if !header.is_current(manifest) => Some("its marks contradict each other".to_owned()),
        RingIdentity::Ours => None,
    };
    Some(RingStatus {
        is_current: why.is_none(),
        why,
        incarnation: header.owner,
        appended_position: header.marks.appended,
        written_position: header.marks.written,
        synced_position: header.marks.synced,
    })
}

pub(super) fn segment_status(
    segments: &mut SegmentFiles,
    manifest: &Manifest,
    slot: u32,
) -> Result<SegmentStatus, StorageError> {
    let head = segments.head(manifest.uuid, slot)?;
    let segment = match head {
        SlotHead::Ours { segment } => Some(segment),
        _ => None,
    };
    let state = match head {
        SlotHead::Missing => "missing",
        SlotHead::Ours { .. } => "data",
        SlotHead::Foreign { .. } => "foreign",
        SlotHead::Unreadable => "unreadable",
        SlotHead::Blank => {
            let mut end = [0; ZEROED_MARK.len()];
            segments.read(slot, manifest.geometry.segment_bytes - end.len() as u64, &mut end)?;
            if end == ZEROED_MARK { "empty" } else { "allocated" }
        }
    };
    let first_position = segment.map(|segment| segment * manifest.geometry.segment_bytes);
    Ok(SegmentStatus { slot, file_bytes: segments.file_bytes(slot), state, segment, first_position })
}

fn quarantined(directory: &Directory) -> Vec<Quarantined> {
    let Ok(entries) = std::fs::read_dir(directory.data_dir().join("quarantine")) else { return Vec::new() };
    let of = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok()?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some(Quarantined {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: metadata.len(),
            modified_s: modified.map(|time| time.as_secs()),
        })
    };
    let mut found: Vec<_> = entries.flatten().filter_map(of).take(QUARANTINED_MAX).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}
