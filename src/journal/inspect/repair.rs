//! Makes a directory that cannot be opened open again, and deletes nothing: `fixring journal repair`.
//!
//! First a plan, from looking alone. What stands in the way is moved or copied to `quarantine/`, each piece with a note that says what it
//! is, why it was moved and how to put it back. Where the ring still holds what the segments have lost, it is written from there, and
//! nothing is lost at all. Otherwise the plan says where the journal will end and which numbers a peer may have seen beyond.

mod apply;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::record::header_at;
use super::super::scan::{Incarnations, commit_at};
use super::super::{Geometry, Kind, Manifest, RECORD_ALIGN, StorageError, flags, grow};
use super::files::{RingHeader, RingTail, SegmentFiles, SlotHead};
use super::reader::next_whole;
use super::status::{Standing, standing};
use super::{CatError, Directory, Holder, holder};

pub use apply::ApplyError;

/// What the operator adds where the directory does not say it any more.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// persistence.ring_bytes, for a manifest that is lost.
    pub ring_bytes: Option<u64>,
    /// persistence.ring_dir, likewise.
    pub ring_dir: Option<String>,
}

/// What a repair would do.
pub struct Plan {
    data_dir: PathBuf,
    manifest: Manifest,
    pub steps: Vec<Step>,
    /// One a journal, as it will be afterwards.
    pub outlooks: Vec<Outlook>,
}

#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub what: String,
    /// What is wrong.
    pub why: String,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Manifest,
    /// A file that is missing or too short.
    Lengthen {
        journal: u16,
        slot: u32,
    },
    /// The whole file goes to quarantine, an empty one takes its place.
    Move {
        journal: u16,
        slot: u32,
    },
    /// `[from, to)` is written from the ring, after what is there has been copied.
    Heal {
        journal: u16,
        from: u64,
        to: u64,
    },
}

/// Where a journal will go on.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub journal: u16,
    pub end_position: u64,
    /// No state is left: it begins at number 1 for every session.
    pub starts_anew: bool,
    /// A segment, or a part of one, is not there, and no ring says that nothing of the end was in it.
    pub is_uncertain: bool,
    pub sessions: Vec<SessionOutlook>,
}

#[derive(Clone, Debug)]
pub struct SessionOutlook {
    /// Empty where no definition is left.
    pub identity: Box<[u8]>,
    pub number: u32,
    pub next_out: u64,
    pub next_in: u64,
    pub epoch: u32,
    /// Outgoing numbers below it are passed over by a start that finds the newest messages lost.
    pub lease: u64,
    /// What records that will not be part of the journal any more say that it had reached: then the numbers roll back.
    pub seen: Option<Seen>,
}

impl Outlook {
    /// The numbers may be lower than those that have left.
    pub fn is_lower(&self) -> bool {
        self.starts_anew || self.is_uncertain || self.sessions.iter().any(|session| session.seen.is_some())
    }
}

/// The highest numbers among records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub epoch: u32,
    pub next_out: u64,
    pub next_in: u64,
}

/// Why there is no plan. Each says its mend.
#[derive(Debug)]
pub enum RepairError {
    InUse(Option<u32>),
    Directory(CatError),
    /// The manifest is lost and cannot be made anew.
    Manifest(String),
    /// Its files are on the way to new places.
    Growing(u32),
}

impl Plan {
    /// Looks at the directory and changes nothing.
    pub fn make(data_dir: &Path, options: &Options) -> Result<Self, RepairError> {
        let mut looks = 0;
        while let Holder::Process(pid) = holder(data_dir) {
            looks += 1;
            if looks == HOLDER_LOOKS_MAX {
                return Err(RepairError::InUse(pid));
            }
            std::thread::sleep(HOLDER_LOOK_STEP);
        }
        let mut steps = Vec::new();
        let directory = match Directory::open(data_dir) {
            Ok(directory) => directory,
            Err(CatError::Manifest(super::super::ManifestError::Damaged(why))) => {
                let manifest = manifest::rebuild(data_dir, options).map_err(RepairError::Manifest)?;
                steps.push(manifest::step(&manifest, format!("it is damaged ({why})")));
                Directory::of(data_dir, manifest)
            }
            Err(CatError::NoManifest) if data_dir.join("journal-0").is_dir() => {
                let manifest = manifest::rebuild(data_dir, options).map_err(RepairError::Manifest)?;
                steps.push(manifest::step(&manifest, "it is missing".to_owned()));
                Directory::of(data_dir, manifest)
            }
            Err(error) => return Err(RepairError::Directory(error)),
        };
        let growing = directory.growing.as_ref().map(|_| directory.manifest.geometry.segments);
        let mut plan =
            Self { data_dir: data_dir.to_owned(), manifest: directory.stored_manifest(), steps, outlooks: Vec::new() };
        if let Some(count) = growing {
            plan.steps = unmovable(data_dir, &plan.manifest);
            if plan.steps.is_empty() {
                return Err(RepairError::Growing(count));
            }
        }
        for journal in 0..directory.manifest.geometry.journals {
            let mut look = Look::new(&directory, journal);
            let mut steps = Vec::new();
            let mut outlook = look.journal(&mut steps).map_err(|error| RepairError::Directory(error.into()))?;
            // A start finishes the growth first: the rest can be seen to after it.
            if growing.is_none() {
                plan.steps.append(&mut steps);
            }
            outlook.is_uncertain |= growing.is_some();
            plan.outlooks.push(outlook);
        }
        Ok(plan)
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Why a start has to be held after it: what is repaired may be less than what has left, and the steps take away what would show it.
    pub fn why_held(&self) -> Option<String> {
        if self.steps.iter().any(|step| matches!(step.action, Action::Manifest)) {
            return Some("its manifest was made anew, and nothing says whether it was held, or restored".to_owned());
        }
        let outlook = self.outlooks.iter().find(|outlook| outlook.is_lower())?;
        (!self.is_empty()).then(|| {
            format!(
                "journal {} was repaired and goes on at position {}, and what it does not hold any more may have left",
                outlook.journal, outlook.end_position
            )
        })
    }
}

/// What stands in the way of a growth that was cut off.
fn unmovable(data_dir: &Path, manifest: &Manifest) -> Vec<Step> {
    let step = |(journal, slot): (u16, u32)| Step {
        what: format!("move journal-{journal}/segment-{slot}.seg to quarantine, and put an empty one in its place"),
        why: "how it begins cannot be read, so the start that gives the directory more segments cannot move it"
            .to_owned(),
        action: Action::Move { journal, slot },
    };
    grow::unreadable(data_dir, manifest).into_iter().map(step).collect()
}

/// A killed process may still be in a device write, and its lock held until that returns.
const HOLDER_LOOKS_MAX: u32 = 100;
const HOLDER_LOOK_STEP: Duration = Duration::from_millis(10);

/// So much of a slot without a head is searched for links, and so many laps are tried.
const LINKED_BYTES_MAX: u64 = 1 << 20;
const LAPS_MAX: usize = 16;

/// A journal as the plan finds it.
struct Look<'a> {
    directory: &'a Directory,
    journal: u16,
    geometry: Geometry,
    segments: SegmentFiles,
    /// What leaves the journal.
    seen: BTreeMap<u32, (Seen, Box<[u8]>)>,
}

impl<'a> Look<'a> {
    fn new(directory: &'a Directory, journal: u16) -> Self {
        let geometry = directory.manifest.geometry;
        Self { directory, journal, geometry, segments: directory.segments(journal), seen: BTreeMap::new() }
    }

    fn journal(&mut self, steps: &mut Vec<Step>) -> Result<Outlook, StorageError> {
        let manifest = &self.directory.manifest;
        let Standing { scan, segments_end, sources } = standing(self.directory, self.journal)?;
        let mut ring = sources.ring;
        let header = ring.as_mut().and_then(|ring| ring.refresh(manifest, self.journal));
        let header = header.filter(|header| header.is_current(manifest));
        let mut heads = Vec::new();
        for slot in 0..self.geometry.segments {
            heads.push((slot, self.segments.head(manifest.uuid, slot)?));
        }
        let steps_before = steps.len();
        self.files(&heads, steps);
        let is_foreign = |(_, head): &(u32, SlotHead)| matches!(head, SlotHead::Foreign { .. });
        let is_missing = steps.len() > steps_before || heads.iter().any(is_foreign);
        let mut end = scan.at;
        let healed = match (header, &mut ring) {
            (Some(header), Some(ring)) if header.marks.synced > segments_end => {
                self.heal(segments_end, header, ring, steps)?
            }
            _ => None,
        };
        let newest = scan.state_position.map(|position| position / self.geometry.segment_bytes);
        if healed.is_none() {
            self.salvage_torn(&heads, newest)?;
        }
        let moves = self.moves(&heads, newest, healed)?;
        for (slot, why) in moves {
            let name = self.name(slot);
            self.salvage_slot(slot, newest)?;
            steps.push(Step {
                what: format!("move {name} to quarantine, and put an empty one in its place"),
                why,
                action: Action::Move { journal: self.journal, slot },
            });
        }
        if let Some(healed) = healed {
            end = healed;
        } else if scan.state_position.is_some() {
            self.salvage_beyond(scan.at, header)?;
        }
        let starts_anew = scan.state_position.is_none() && healed.is_none();
        let mut sessions: Vec<_> = scan
            .sessions
            .values()
            .filter(|session| !session.is_forgotten())
            .map(|session| SessionOutlook {
                identity: session.identity.clone(),
                number: session.number,
                next_out: session.next_out,
                next_in: session.next_in,
                epoch: session.epoch,
                lease: session.lease,
                seen: None,
            })
            .collect();
        for (number, (seen, identity)) in std::mem::take(&mut self.seen) {
            match sessions.iter_mut().find(|session| session.number == number) {
                Some(session) => {
                    let now = Seen { epoch: session.epoch, next_out: session.next_out, next_in: session.next_in };
                    let is_beyond = seen.epoch > now.epoch
                        || (seen.epoch == now.epoch && (seen.next_out > now.next_out || seen.next_in > now.next_in));
                    session.seen = is_beyond.then_some(seen);
                }
                None => sessions.push(SessionOutlook {
                    identity,
                    number,
                    next_out: 1,
                    next_in: 1,
                    epoch: 0,
                    lease: 0,
                    seen: Some(seen),
                }),
            }
        }
        let is_uncertain = is_missing && header.is_none_or(|header| header.marks.appended != end);
        Ok(Outlook { journal: self.journal, end_position: end, starts_anew, is_uncertain, sessions })
    }

    /// Files that are missing or too short.
    fn files(&self, heads: &[(u32, SlotHead)], steps: &mut Vec<Step>) {
        for (slot, head) in heads {
            let bytes = self.segments.file_bytes(*slot).unwrap_or(0);
            if bytes >= self.geometry.segment_bytes {
                continue;
            }
            let name = self.name(*slot);
            let (what, why) = match head {
                SlotHead::Missing => (format!("make {name}, empty"), "it is missing".to_owned()),
                _ => (
                    format!("lengthen {name} with zeros; what it holds stays"),
                    format!("it is {bytes} bytes long, and a segment has {}", self.geometry.segment_bytes),
                ),
            };
            steps.push(Step { what, why, action: Action::Lengthen { journal: self.journal, slot: *slot } });
        }
    }

    /// Where the ring has what the segments do not, up to what was synced: then it is written from there, and the ring goes on behind it.
    fn heal(
        &mut self,
        from: u64,
        header: RingHeader,
        ring: &mut RingTail,
        steps: &mut Vec<Step>,
    ) -> Result<Option<u64>, StorageError> {
        let mut incarnations = Incarnations::up_to(self.directory.manifest.incarnation);
        let mut records = Vec::new();
        let mut at = from;
        while at < header.marks.synced {
            let Some(end) = commit_at(ring, &self.geometry, at, &mut incarnations, &mut records)? else {
                return Ok(None);
            };
            if (records[0].1.kind == Kind::State) != at.is_multiple_of(self.geometry.segment_bytes) {
                return Ok(None);
            }
            at = end;
        }
        steps.push(Step {
            what: format!(
                "write {} bytes of journal {} from position {from} on again, from the ring; what is there is copied to quarantine",
                at - from,
                self.journal
            ),
            why: "the segments are not whole there, and the ring still is".to_owned(),
            action: Action::Heal { journal: self.journal, from, to: at },
        });
        Ok(Some(header.marks.appended))
    }

    /// The slots that stand in the way of a start, or hold what a start would overwrite unseen.
    fn moves(
        &mut self,
        heads: &[(u32, SlotHead)],
        newest: Option<u64>,
        healed: Option<u64>,
    ) -> Result<Vec<(u32, String)>, StorageError> {
        let mut moves = Vec::new();
        for (slot, head) in heads {
            match head {
                SlotHead::Foreign { segment, .. } if !self.segments.is_head_whole(*slot, *segment)? => {
                    moves.push((*slot, "its head is damaged, or of a data directory of other lengths".to_owned()));
                }
                SlotHead::Foreign { uuid, journal, segment } => {
                    let why = format!("it is segment {segment} of journal {journal} of data directory {uuid}");
                    moves.push((*slot, why));
                }
                SlotHead::Ours { .. } | SlotHead::Unreadable if newest.is_none() && healed.is_none() => {
                    moves.push((*slot, "no segment of the journal has a whole head, and it is not empty".to_owned()));
                }
                _ => {}
            }
        }
        Ok(moves)
    }

    /// Notes the whole commits behind the journal's end in its last segment. They stay there: a start that is held goes by them.
    fn salvage_beyond(&mut self, end: u64, header: Option<RingHeader>) -> Result<(), StorageError> {
        if header.is_some_and(|header| header.marks.appended <= end) || end.is_multiple_of(self.geometry.segment_bytes)
        {
            return Ok(());
        }
        self.segments.forget();
        self.salvage(end).map(drop)
    }

    /// Notes what lies behind newer heads that are not whole. They stay there too.
    fn salvage_torn(&mut self, heads: &[(u32, SlotHead)], newest: Option<u64>) -> Result<(), StorageError> {
        let Some(newest) = newest else { return Ok(()) };
        for (_, head) in heads {
            if let SlotHead::Ours { segment } = head
                && *segment > newest
            {
                self.segments.forget();
                self.salvage(segment * self.geometry.segment_bytes)?;
            }
        }
        Ok(())
    }

    /// What the records of a slot say, whichever lap they are of.
    fn salvage_slot(&mut self, slot: u32, newest: Option<u64>) -> Result<(), StorageError> {
        let (segments, segment_bytes) = (u64::from(self.geometry.segments), self.geometry.segment_bytes);
        let candidates = match newest {
            Some(newest) => {
                let lap = newest - newest % segments + u64::from(slot);
                [lap.checked_sub(segments), Some(lap), lap.checked_add(segments)].into_iter().flatten().collect()
            }
            None => self.laps_by_links(slot)?,
        };
        for segment in candidates.into_iter().filter(|segment| *segment < u64::MAX / 4 / segment_bytes) {
            self.segments.forget();
            self.salvage(segment * segment_bytes)?;
        }
        Ok(())
    }

    /// Which segments a slot without a head may hold: a record's link leads to a position shortly before its own. Its CRC then tells.
    fn laps_by_links(&mut self, slot: u32) -> Result<BTreeSet<u64>, StorageError> {
        let (segments, segment_bytes) = (u64::from(self.geometry.segments), self.geometry.segment_bytes);
        let mut found = BTreeSet::from([u64::from(slot)]);
        let mut bytes = vec![0; LINKED_BYTES_MAX.min(segment_bytes) as usize];
        self.segments.read(slot, 0, &mut bytes)?;
        for (step, chunk) in bytes.chunks_exact(RECORD_ALIGN as usize).enumerate() {
            let offset = step as u64 * RECORD_ALIGN;
            let Some(header) = header_at(chunk, offset, segment_bytes) else { continue };
            if matches!(header.kind, Kind::Inbound | Kind::Outbound) && header.previous < u64::MAX / 4 {
                let linked = header.previous / segment_bytes;
                found.extend([linked, linked + 1].into_iter().filter(|one| one % segments == u64::from(slot)));
            }
            if found.len() >= LAPS_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Notes the numbers of all whole commits from `from` on in its segment. The end of the last.
    fn salvage(&mut self, from: u64) -> Result<u64, StorageError> {
        let segment_end = (from / self.geometry.segment_bytes + 1) * self.geometry.segment_bytes;
        let any = Incarnations::up_to(self.directory.manifest.incarnation);
        let mut records = Vec::new();
        let (mut at, mut found_end) = (from, from);
        while at < segment_end {
            let mut incarnations = any;
            if let Some(end) = commit_at(&mut self.segments, &self.geometry, at, &mut incarnations, &mut records)? {
                for (position, header) in std::mem::take(&mut records) {
                    self.note(position, &header)?;
                }
                (at, found_end) = (end, end);
                continue;
            }
            match next_whole(&mut self.segments, &self.geometry, at + RECORD_ALIGN, any)? {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(found_end)
    }

    fn note(&mut self, position: u64, header: &super::super::RecordHeader) -> Result<(), StorageError> {
        let (next_out, next_in) = match header.kind {
            Kind::Outbound => (header.msg_seq_num.saturating_add(1), 1),
            Kind::Inbound if header.has(flags::COUNTED) => (1, header.msg_seq_num.saturating_add(1)),
            Kind::SessionDefined => (1, 1),
            _ => return Ok(()),
        };
        let entry = self.seen.entry(header.session).or_default();
        if header.kind == Kind::SessionDefined {
            let payload = super::super::scan::record_at(&mut self.segments, &self.geometry, position)?;
            entry.1 = payload.map_or_else(Box::default, |(_, payload)| payload.into());
        }
        let seen = &mut entry.0;
        if header.epoch > seen.epoch {
            *seen = Seen { epoch: header.epoch, next_out: 1, next_in: 1 };
        }
        if header.epoch == seen.epoch {
            seen.next_out = seen.next_out.max(next_out);
            seen.next_in = seen.next_in.max(next_in);
        }
        Ok(())
    }

    fn name(&self, slot: u32) -> String {
        format!("journal-{}/segment-{slot}.seg", self.journal)
    }
}

impl std::fmt::Display for RepairError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Growing(count) => write!(
                f,
                "it was being given {count} segments when its start ended: start fixring once, which finishes that, and look again"
            ),
            Self::InUse(Some(pid)) => write!(f, "process {pid} runs on it: stop that one first"),
            Self::InUse(None) => f.write_str("another process runs on it: stop that one first"),
            Self::Directory(error) => error.fmt(f),
            Self::Manifest(why) => write!(f, "its manifest cannot be made anew: {why}"),
        }
    }
}

impl std::error::Error for RepairError {}
