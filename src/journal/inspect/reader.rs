//! Reads a journal's records in order, from its segments and then from what the ring has beyond them, while they may be written.

use std::collections::{BTreeMap, VecDeque};

use super::super::record::header_at;
use super::super::scan::{Incarnations, Source, commit_at, record_at};
use super::super::state::read_head;
use super::super::{Geometry, Kind, RECORD_ALIGN, RecordHeader, StorageError};
use super::files::{RingTail, SegmentFiles};
use super::{CatRecord, Directory};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest head that is whole.
    Oldest,
    /// At the newest head before which no message is younger than this, by its stored time in ns.
    Time(u64),
    /// At a segment's head.
    Segment(u64),
}

/// What a reader comes upon.
#[derive(Debug)]
pub enum Next {
    Record(CatRecord),
    /// Positions that cannot be read. Reading goes on behind them.
    Skipped(Skipped),
    /// There is nothing whole further on, so far.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub journal: u16,
    pub from: u64,
    pub to: u64,
    /// The engine has overwritten them meanwhile; otherwise they are damaged.
    pub overwritten: bool,
}

/// What stands where nothing whole was found.
enum Behind {
    /// It was read after all.
    Read,
    Hole(Skipped),
    Nothing,
}

/// One journal's records, each checked.
pub struct JournalReader {
    directory: Directory,
    journal: u16,
    segments: SegmentFiles,
    ring: Option<RingTail>,
    at: u64,
    commits: CommitReader,
    ready: VecDeque<CatRecord>,
    follows: bool,
}

/// What it takes to name the records of a journal.
struct CommitReader {
    journal: u16,
    geometry: Geometry,
    incarnations: Incarnations,
    identities: BTreeMap<u32, Box<[u8]>>,
    records: Vec<(u64, RecordHeader)>,
}

/// Of a commit that is whole in neither, so often both are read again before it counts as gone: between two reads the flusher may carry it
/// and the worker may lap it.
const LOOKS_MAX: u32 = 3;
/// How many commits of a segment are looked at for its first time.
const TIME_COMMITS_MAX: u32 = 64;
/// A walk for the next record checks no more than so many times the ring's length, since any bytes may look like headers.
const CHECKED_RINGS_MAX: u64 = 4;

impl JournalReader {
    pub fn new(directory: &Directory, journal: u16, start: Start) -> Result<Self, StorageError> {
        let manifest = directory.manifest();
        let commits = CommitReader {
            journal,
            geometry: manifest.geometry,
            incarnations: Incarnations::of(manifest, journal),
            identities: BTreeMap::new(),
            records: Vec::new(),
        };
        let mut reader = Self {
            directory: directory.clone(),
            journal,
            segments: directory.segments(journal),
            ring: RingTail::open(manifest, journal),
            at: 0,
            commits,
            ready: VecDeque::new(),
            follows: false,
        };
        reader.at = reader.start(start)?;
        Ok(reader)
    }

    /// The segments that begin with a head of the journal's, in ascending order.
    pub fn segments(directory: &Directory, journal: u16) -> Result<Vec<u64>, StorageError> {
        directory.segments(journal).segments(directory.manifest().uuid)
    }

    /// [`Next::End`] is not the last word: more may come.
    pub fn follow(&mut self) {
        self.follows = true;
    }

    /// Where the next commit is looked for.
    pub fn position(&self) -> u64 {
        self.at
    }

    #[expect(clippy::should_implement_trait, reason = "it goes on after its end")]
    pub fn next(&mut self) -> Result<Next, StorageError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Next::Record(record));
            }
            if self.read_on()? {
                continue;
            }
            match self.look_behind()? {
                Behind::Read => {}
                Behind::Hole(skipped) => return Ok(Next::Skipped(skipped)),
                Behind::Nothing => return Ok(Next::End),
            }
        }
    }

    /// Where a whole head stands from which everything that is asked for can be reached.
    fn start(&mut self, start: Start) -> Result<u64, StorageError> {
        let segment_bytes = self.directory.manifest().geometry.segment_bytes;
        let segments = self.segments.segments(self.directory.manifest().uuid)?;
        match start {
            Start::Segment(segment) => return Ok(segment * segment_bytes),
            Start::Oldest => {
                for segment in segments {
                    if self.has_head(segment * segment_bytes)? {
                        return Ok(segment * segment_bytes);
                    }
                }
            }
            Start::Time(time_ns) => {
                let mut oldest = None;
                for segment in segments.into_iter().rev() {
                    let position = segment * segment_bytes;
                    if !self.has_head(position)? {
                        continue;
                    }
                    oldest = Some(position);
                    if self.first_time_ns(position)?.is_some_and(|first_ns| first_ns < time_ns) {
                        break;
                    }
                }
                if let Some(position) = oldest {
                    return Ok(position);
                }
            }
        }
        Ok(0)
    }

    fn has_head(&mut self, position: u64) -> Result<bool, StorageError> {
        let mut incarnations = Incarnations { newest: 0, ..self.commits.incarnations };
        let geometry = self.commits.geometry;
        Ok(commit_at(&mut self.segments, &geometry, position, &mut incarnations, &mut self.commits.records)?.is_some())
    }

    fn first_time_ns(&mut self, position: u64) -> Result<Option<u64>, StorageError> {
        let mut incarnations = Incarnations { newest: 0, ..self.commits.incarnations };
        let (geometry, mut at) = (self.commits.geometry, position);
        for _ in 0..TIME_COMMITS_MAX {
            let records = &mut self.commits.records;
            let Some(end) = commit_at(&mut self.segments, &geometry, at, &mut incarnations, records)? else { break };
            if let Some((_, header)) = records.iter().find(|(_, header)| header.time_ns > 0) {
                return Ok(Some(header.time_ns));
            }
            at = end;
        }
        Ok(None)
    }

    /// Reads the commit at hand, from wherever it is whole.
    fn read_on(&mut self) -> Result<bool, StorageError> {
        if self.read_segments()? {
            return Ok(true);
        }
        if self.follows {
            self.refresh();
        }
        let manifest = self.directory.manifest();
        if let Some(ring) = &mut self.ring
            && ring.refresh(manifest, self.journal).is_some()
        {
            let end = self.commits.read(ring, self.at, &mut self.ready)?;
            return Ok(self.go_on(end));
        }
        Ok(false)
    }

    fn read_segments(&mut self) -> Result<bool, StorageError> {
        let mut end = self.commits.read(&mut self.segments, self.at, &mut self.ready)?;
        if end.is_none() {
            // What was read ahead may have been written since.
            self.segments.forget();
            end = self.commits.read(&mut self.segments, self.at, &mut self.ready)?;
        }
        Ok(self.go_on(end))
    }

    fn go_on(&mut self, end: Option<u64>) -> bool {
        if let Some(end) = end {
            self.at = end;
        }
        end.is_some()
    }

    /// A start of the engine meanwhile raised the incarnation and may have made a new ring.
    fn refresh(&mut self) {
        let directory = self.directory.refreshed();
        if self.ring.is_none() || directory.manifest().incarnation != self.directory.manifest().incarnation {
            self.ring = RingTail::open(directory.manifest(), self.journal);
        }
        self.commits.incarnations.last = directory.manifest().incarnation;
        self.directory = directory;
    }

    /// Whether there should be something at hand where nothing whole was found; if so, it goes on behind the hole.
    fn look_behind(&mut self) -> Result<Behind, StorageError> {
        let geometry = self.commits.geometry;
        let mut looks = 0;
        let segments = loop {
            let manifest = self.directory.manifest();
            let header = self.ring.as_mut().and_then(|ring| ring.refresh(manifest, self.journal));
            let header = header.filter(|header| header.is_current(manifest));
            let segments = self.segments.segments(manifest.uuid)?;
            let newest = segments.last().map_or(0, |segment| segment * geometry.segment_bytes);
            let synced = header.map_or(newest, |header| header.marks.synced);
            if self.at >= synced.max(newest) && (self.follows || header.is_some()) {
                // Beyond what must be whole: the end, or a commit that is just being written.
                return Ok(Behind::Nothing);
            }
            if self.read_on()? {
                return Ok(Behind::Read);
            }
            looks += 1;
            if looks == LOOKS_MAX {
                break segments;
            }
        };
        let newest = segments.last().map_or(0, |segment| segment * geometry.segment_bytes);
        let overwritten = self.at < geometry.oldest_position(newest);
        let from = self.at;
        let mut next = if overwritten { None } else { self.next_whole(from + RECORD_ALIGN)? };
        for head in segments.into_iter().map(|segment| segment * geometry.segment_bytes) {
            if next.is_none() && head > from && self.has_head(head)? {
                next = Some(head);
            }
        }
        let Some(to) = next else { return Ok(Behind::Nothing) };
        self.at = to;
        Ok(Behind::Hole(Skipped { journal: self.journal, from, to, overwritten }))
    }

    fn next_whole(&mut self, from: u64) -> Result<Option<u64>, StorageError> {
        next_whole(&mut self.segments, &self.commits.geometry, from, self.commits.incarnations)
    }
}

/// The first whole commit from `from` on in the same segment that the incarnations allow.
pub(in crate::journal) fn next_whole(
    source: &mut impl Source,
    geometry: &Geometry,
    from: u64,
    incarnations: Incarnations,
) -> Result<Option<u64>, StorageError> {
    let segment_end = ((from - 1) / geometry.segment_bytes + 1) * geometry.segment_bytes;
    let mut records = Vec::new();
    let mut checked_bytes = 0;
    let mut at = from;
    while at < segment_end {
        let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
        if let Some(header) = header_at(source.bytes(at, super::super::HEADER_BYTES)?, at, lap_end)
            && header.commit_offset == 0
            && (incarnations.newest..=incarnations.last).contains(&header.incarnation)
        {
            checked_bytes += header.padded_bytes();
            if commit_at(source, geometry, at, &mut incarnations.clone(), &mut records)?.is_some() {
                return Ok(Some(at));
            }
            if checked_bytes > CHECKED_RINGS_MAX * geometry.ring_bytes {
                return Ok(None);
            }
        }
        at += RECORD_ALIGN;
    }
    Ok(None)
}

impl CommitReader {
    /// The end of the commit at `at`, if it is whole; then its records are in `ready`.
    fn read(
        &mut self,
        source: &mut impl Source,
        at: u64,
        ready: &mut VecDeque<CatRecord>,
    ) -> Result<Option<u64>, StorageError> {
        let mut incarnations = self.incarnations;
        let Some(end) = commit_at(source, &self.geometry, at, &mut incarnations, &mut self.records)? else {
            return Ok(None);
        };
        // A segment begins with its head, and nothing else does.
        if (self.records[0].1.kind == Kind::State) != at.is_multiple_of(self.geometry.segment_bytes) {
            return Ok(None);
        }
        let before = ready.len();
        for (position, header) in &self.records {
            if header.kind == Kind::Pad {
                continue;
            }
            // Read and checked once more: in a running engine's ring it may have been overwritten meanwhile.
            let Some((_, payload)) = record_at(source, &self.geometry, *position)? else {
                ready.truncate(before);
                return Ok(None);
            };
            ready.push_back(Self::describe(&mut self.identities, self.journal, *position, header, payload));
        }
        self.incarnations = incarnations;
        Ok(Some(end))
    }

    fn describe(
        identities: &mut BTreeMap<u32, Box<[u8]>>,
        journal: u16,
        position: u64,
        header: &RecordHeader,
        payload: &[u8],
    ) -> CatRecord {
        match header.kind {
            Kind::State => {
                let sessions = read_head(payload).map(|(sessions, _)| sessions).unwrap_or_default();
                // Records of one that was forgotten since keep its name.
                let known = sessions.into_iter().filter(|session| !session.is_forgotten());
                identities.extend(known.map(|session| (session.number, session.identity)));
            }
            Kind::SessionDefined => {
                identities.insert(header.session, payload.into());
            }
            _ => {}
        }
        let is_of_session =
            matches!(header.kind, Kind::Inbound | Kind::Outbound | Kind::Replay | Kind::SessionDefined | Kind::Numbers);
        let identity =
            if is_of_session { identities.get(&header.session).cloned().unwrap_or_default() } else { Box::default() };
        CatRecord { journal, position, header: *header, identity, payload: payload.into() }
    }
}

/// All journals' records, in the order of their times where two journals have records at hand.
pub struct Merged {
    readers: Vec<(JournalReader, Option<CatRecord>)>,
}

impl Merged {
    pub fn new(readers: Vec<JournalReader>) -> Self {
        Self { readers: readers.into_iter().map(|reader| (reader, None)).collect() }
    }

    /// [`JournalReader::follow`], all of them.
    pub fn follow(&mut self) {
        self.readers.iter_mut().for_each(|(reader, _)| reader.follow());
    }

    #[expect(clippy::should_implement_trait, reason = "it goes on after its end")]
    pub fn next(&mut self) -> Result<Next, StorageError> {
        for (reader, waiting) in &mut self.readers {
            while waiting.is_none() {
                match reader.next()? {
                    Next::Record(record) => *waiting = Some(record),
                    Next::Skipped(skipped) => return Ok(Next::Skipped(skipped)),
                    Next::End => break,
                }
            }
        }
        let times = self.readers.iter().enumerate();
        let first = times.filter_map(|(at, (_, waiting))| Some((waiting.as_ref()?.header.time_ns, at))).min();
        Ok(match first.and_then(|(_, at)| self.readers[at].1.take()) {
            Some(record) => Next::Record(record),
            None => Next::End,
        })
    }
}
