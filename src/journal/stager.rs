//! Reads stored messages back for resends, on a housekeeping core, into buffers of bounded number and size.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sys::ring::Watermarks;

use super::recycling::Recycling;
use super::scan::{SegmentSource, WINDOW_BYTES, record_at};
use super::state::read_head;
use super::{Geometry, Kind, NONE, RecordHeader, Storage, StorageError, flags};

/// Requests that a stager works on side by side, a piece of each in turn.
pub const JOBS_MAX: usize = 16;
/// Payload bytes of one batch, unless a single message is longer.
pub const STAGED_BYTES_MAX: usize = 64 * 1024;

/// The worker's wish: a session's stored messages with `begin <= msg_seq_num <= end`, of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageRequest {
    /// The worker's own; each batch repeats it. A worker that lost interest ignores batches of that token.
    pub token: u64,
    pub session: u32,
    pub begin: u64,
    pub end: u64,
    /// The session's newest Outbound record, where the walk begins.
    pub last_out: u64,
    pub epoch: u32,
    /// What was first sent before this, UTC, is not sent again.
    pub not_before_ns: u64,
}

/// Stored messages in ascending order of MsgSeqNum(34).
#[derive(Clone, Debug, Default)]
pub struct StagedBatch {
    pub token: u64,
    pub session: u32,
    pub entries: Vec<StagedEntry>,
    pub bytes: Vec<u8>,
    pub outcome: Outcome,
    /// With [`Outcome::Done`]: what this resend was to have and does not.
    pub gone: Gone,
    /// On its way back: the worker wants no more of this token.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StagedEntry {
    pub msg_seq_num: u64,
    /// When it was first sent, UTC.
    pub time_ns: u64,
    pub offset: u32,
    pub length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Outcome {
    /// More batches of this token follow.
    More,
    /// What is not among the entries is not in the journal any more.
    #[default]
    Done,
}

/// Numbers that a resend cannot have messages for, by the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Gone {
    /// Their segment was overwritten.
    pub recycled: u64,
    /// They are older than [`StageRequest::not_before_ns`].
    pub aged: u64,
}

impl StagedBatch {
    pub fn messages(&self) -> impl Iterator<Item = (StagedEntry, &[u8])> {
        self.entries.iter().map(|entry| (*entry, self.message(entry)))
    }

    /// Of one of the entries.
    pub fn message(&self, entry: &StagedEntry) -> &[u8] {
        &self.bytes[entry.offset as usize..][..entry.length as usize]
    }

    fn has_room(&self, payload: &[u8]) -> bool {
        self.bytes.is_empty() || self.bytes.len() + payload.len() <= STAGED_BYTES_MAX
    }

    fn push(&mut self, header: &RecordHeader, payload: &[u8]) {
        self.entries.push(StagedEntry {
            msg_seq_num: header.msg_seq_num,
            time_ns: header.time_ns,
            offset: self.bytes.len() as u32,
            length: payload.len() as u32,
        });
        self.bytes.extend_from_slice(payload);
    }
}

/// Batches of one job between stager and worker: one to send from, one to fill. A job has its own, so that a peer that does
/// not read its resend keeps none from the others.
const BATCHES_PER_JOB_MAX: usize = 2;
const BATCHES_MAX: usize = JOBS_MAX * BATCHES_PER_JOB_MAX;
/// Requests that wait for the stager to look.
const REQUESTS_MAX: usize = JOBS_MAX;
/// Records that one turn walks back over.
const WALK_RECORDS_MAX: u32 = 1024;
/// Records that one turn passes over going forward.
const FORWARD_RECORDS_MAX: u32 = 4096;
/// Read at once by a job that goes forward and has the stager for itself.
const FORWARD_BYTES: u64 = 1024 * 1024;

/// The worker's end.
pub struct StagerPort {
    requests: rtrb::Producer<StageRequest>,
    batches: rtrb::Consumer<StagedBatch>,
    returns: rtrb::Producer<StagedBatch>,
}

/// Reads one journal's segments for one worker.
pub struct Stager<S: Storage> {
    source: SegmentSource<S>,
    geometry: Geometry,
    watermarks: Watermarks,
    recycling: Arc<Recycling>,
    /// As last told to `recycling`.
    needed: u64,
    found_max: usize,
    requests: rtrb::Consumer<StageRequest>,
    batches: rtrb::Producer<StagedBatch>,
    returns: rtrb::Consumer<StagedBatch>,
    /// Each is in here until the worker has given back the last of its batches.
    jobs: VecDeque<Job>,
    /// The job that was served last.
    served: Option<u64>,
    /// Made once, then they go round.
    spare_batches: Vec<StagedBatch>,
    spare_found: Vec<VecDeque<(u64, u64)>>,
}

struct Job {
    request: StageRequest,
    /// The first number that has not been streamed.
    begin: u64,
    /// Where the walk goes on; `None` while what was found is streamed.
    walk: Option<u64>,
    /// Of more messages than are kept positions of: where to read on, forward, from before the first of them.
    forward: Option<u64>,
    /// The segments' heads were asked once where that is.
    has_sought: bool,
    /// Number and position of messages to stream, the highest number first.
    found: VecDeque<(u64, u64)>,
    /// Of messages that did not fit: where to walk from for each later part, the lowest numbers last.
    parts: Vec<u64>,
    /// Messages that did not fit, in this walk.
    left_out: usize,
    batches_out: usize,
    is_over: bool,
    /// The lowest number that this walk has met.
    walked_to: u64,
    /// No position below is needed any more. 0 until a walk has ended.
    lowest: u64,
    gone: Gone,
}

impl StagerPort {
    /// The request back, where too many wait.
    pub fn request(&mut self, request: StageRequest) -> Result<(), StageRequest> {
        self.requests.push(request).map_err(|rtrb::PushError::Full(request)| request)
    }

    pub fn take(&mut self) -> Option<StagedBatch> {
        self.batches.pop().ok()
    }

    /// Gives a batch back for reuse. Until then its job has one fewer.
    pub fn recycle(&mut self, batch: StagedBatch) {
        // There are never more batches than the ring holds.
        let _ = self.returns.push(batch);
    }

    /// Gives a batch back and ends its job.
    pub fn give_up(&mut self, mut batch: StagedBatch) {
        batch.given_up = true;
        self.recycle(batch);
    }
}

impl<S: Storage> Stager<S> {
    pub(super) fn new(
        storage: S,
        geometry: Geometry,
        journal: u16,
        watermarks: Watermarks,
        recycling: Arc<Recycling>,
        resend_messages_max: u32,
    ) -> (Self, StagerPort) {
        let (request_in, requests) = rtrb::RingBuffer::new(REQUESTS_MAX);
        let (batches, batch_out) = rtrb::RingBuffer::new(BATCHES_MAX);
        let (return_in, returns) = rtrb::RingBuffer::new(BATCHES_MAX);
        let stager = Self {
            source: SegmentSource::new(storage, geometry, journal),
            geometry,
            watermarks,
            recycling,
            needed: u64::MAX,
            found_max: resend_messages_max.max(1) as usize,
            requests,
            batches,
            returns,
            jobs: VecDeque::with_capacity(JOBS_MAX),
            served: None,
            spare_batches: Vec::with_capacity(BATCHES_MAX),
            spare_found: Vec::with_capacity(JOBS_MAX),
        };
        (stager, StagerPort { requests: request_in, batches: batch_out, returns: return_in })
    }

    /// Walks or streams one bounded piece of one job, of the next that can go on. The answer counts the records looked at; 0 means
    /// that there is nothing to do, or that the worker holds all batches, or that the flusher has not yet carried what is asked for.
    pub fn turn(&mut self) -> Result<u32, StorageError> {
        let work = self.try_turn();
        self.tell_needed();
        work
    }

    fn try_turn(&mut self) -> Result<u32, StorageError> {
        self.take_returns();
        while self.jobs.len() < JOBS_MAX
            && let Ok(request) = self.requests.pop()
        {
            self.jobs.push_back(Job {
                request,
                begin: request.begin,
                walk: Some(request.last_out),
                forward: None,
                has_sought: false,
                found: self.spare_found.pop().unwrap_or_default(),
                parts: Vec::new(),
                left_out: 0,
                batches_out: 0,
                is_over: false,
                walked_to: u64::MAX,
                lowest: 0,
                gone: Gone::default(),
            });
        }
        for _ in 0..self.jobs.len() {
            let Some(mut job) = self.jobs.pop_front() else { break };
            let work = self.serve(&mut job);
            self.jobs.push_back(job);
            match work? {
                0 => {}
                work => return Ok(work),
            }
        }
        Ok(0)
    }

    /// Keeps the flusher from what the jobs have yet to read; for how long is its affair.
    fn tell_needed(&mut self) {
        let jobs = self.jobs.iter().filter(|job| !job.is_over).map(|job| job.lowest);
        let asked = (!self.requests.is_empty()).then_some(0);
        let needed = jobs.chain(asked).min().unwrap_or(u64::MAX);
        if needed != self.needed {
            self.needed = needed;
            self.recycling.set_needed(needed);
        }
    }

    fn take_returns(&mut self) {
        while let Ok(mut batch) = self.returns.pop() {
            if let Some(at) = self.jobs.iter().position(|job| job.request.token == batch.token) {
                let job = &mut self.jobs[at];
                job.batches_out -= 1;
                job.is_over |= batch.given_up;
                if job.is_over
                    && job.batches_out == 0
                    && let Some(mut job) = self.jobs.remove(at)
                {
                    job.found.clear();
                    self.spare_found.push(job.found);
                }
            }
            batch.entries.clear();
            batch.bytes.clear();
            batch.given_up = false;
            batch.gone = Gone::default();
            // A message longer than a batch made it grow.
            batch.bytes.shrink_to(STAGED_BYTES_MAX);
            self.spare_batches.push(batch);
        }
    }

    fn serve(&mut self, job: &mut Job) -> Result<u32, StorageError> {
        if job.is_over {
            return Ok(0);
        }
        if self.served.replace(job.request.token) != Some(job.request.token) {
            // What was read for another job may have been read before this one's records were written.
            self.source.forget();
        }
        let is_alone = self.jobs.is_empty();
        self.source.read_ahead(if job.forward.is_some() && is_alone { FORWARD_BYTES } else { WINDOW_BYTES });
        match (job.forward, job.walk) {
            (Some(at), _) => self.forward(job, at),
            (None, Some(at)) => self.walk(job, at),
            (None, None) => self.stream(job),
        }
    }

    /// Follows the links back and keeps the messages that are asked for, of which those with the lowest numbers where they are too many.
    fn walk(&mut self, job: &mut Job, mut at: u64) -> Result<u32, StorageError> {
        if at != NONE && at >= self.watermarks.written() {
            return Ok(0);
        }
        for work in 0..WALK_RECORDS_MAX {
            let mut record = None;
            if at != NONE && at >= self.recycling.oldest_position() {
                self.source.look_back(at)?;
                record = record_at(&mut self.source, &self.geometry, at)?.map(|(header, _)| header);
            }
            if record.is_none() && at != NONE {
                job.walk_was_cut();
            }
            let wanted = record.filter(|header| is_of(header, &job.request) && header.msg_seq_num >= job.begin);
            // A link that does not lead back would walk in circles.
            let Some(header) = wanted.filter(|header| header.previous == NONE || header.previous < at) else {
                job.end_walk();
                return Ok(work + 1);
            };
            job.walked_to = header.msg_seq_num;
            if header.msg_seq_num <= job.request.end {
                if header.time_ns < job.request.not_before_ns {
                    job.gone.aged += 1;
                } else {
                    job.keep(header.msg_seq_num, at, self.found_max);
                }
            }
            if job.left_out > 0
                && !std::mem::replace(&mut job.has_sought, true)
                && let Some(start) = self.seek(job, at)?
            {
                job.go_forward(start);
                return Ok(work + 1);
            }
            at = header.previous;
        }
        job.walk = Some(at);
        Ok(WALK_RECORDS_MAX)
    }

    /// The start of the newest segment whose head says that nothing of what is asked for had been sent: before that segment there is
    /// none of it. `None` where the heads do not say so.
    fn seek(&mut self, job: &Job, before: u64) -> Result<Option<u64>, StorageError> {
        let segment_bytes = self.geometry.segment_bytes;
        let oldest = self.recycling.oldest_position().div_ceil(segment_bytes);
        let (mut low, mut high) = (oldest, before / segment_bytes);
        if low > high || !self.precedes(low, job)? {
            return Ok(None);
        }
        while low < high {
            let middle = high - (high - low) / 2;
            if self.precedes(middle, job)? {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(Some(low * segment_bytes))
    }

    fn precedes(&mut self, segment: u64, job: &Job) -> Result<bool, StorageError> {
        let StageRequest { session, epoch, .. } = job.request;
        let head = record_at(&mut self.source, &self.geometry, segment * self.geometry.segment_bytes)?;
        let head = head.filter(|(header, _)| header.kind == Kind::State).and_then(|(_, payload)| read_head(payload));
        Ok(head.is_some_and(|(sessions, _)| {
            // One that is not there was defined later.
            let state = sessions.iter().find(|state| state.number == session);
            state.is_none_or(|state| state.epoch < epoch || (state.epoch == epoch && state.next_out <= job.begin))
        }))
    }

    /// Fills one batch from what lies ahead, each record of the journal looked at once.
    fn forward(&mut self, job: &mut Job, mut at: u64) -> Result<u32, StorageError> {
        if job.batches_out == BATCHES_PER_JOB_MAX {
            return Ok(0);
        }
        let mut batch = self.new_batch(job);
        let mut work = 0;
        while work < FORWARD_RECORDS_MAX {
            job.is_over = at > job.request.last_out || job.begin > job.request.end;
            if job.is_over {
                break;
            }
            work += 1;
            // Each by its CRC, so that what has been overwritten or damaged is never read over.
            let Some((header, payload)) = record_at(&mut self.source, &self.geometry, at)? else {
                // The links lead to whatever is left.
                (job.walk, job.walked_to) = (Some(job.request.last_out), u64::MAX);
                break;
            };
            if is_of(&header, &job.request) && (job.begin..=job.request.end).contains(&header.msg_seq_num) {
                if header.time_ns < job.request.not_before_ns {
                    job.gone.aged += 1;
                } else if header.has(flags::SECRET_BLANKED) {
                    // Without its secrets it would be another message.
                } else if !batch.has_room(payload) {
                    break;
                } else {
                    batch.push(&header, payload);
                }
                job.begin = header.msg_seq_num + 1;
            }
            at += header.padded_bytes();
        }
        job.lowest = at;
        job.forward = job.walk.is_none().then_some(at);
        if batch.entries.is_empty() && !job.is_over {
            self.spare_batches.push(batch);
            return Ok(work);
        }
        self.hand_over(job, batch);
        Ok(work)
    }

    fn new_batch(&mut self, job: &Job) -> StagedBatch {
        let spare = self.spare_batches.pop();
        let mut batch = spare
            .unwrap_or_else(|| StagedBatch { bytes: Vec::with_capacity(STAGED_BYTES_MAX), ..StagedBatch::default() });
        batch.token = job.request.token;
        batch.session = job.request.session;
        batch
    }

    fn hand_over(&mut self, job: &mut Job, mut batch: StagedBatch) {
        batch.outcome = if job.is_over { Outcome::Done } else { Outcome::More };
        batch.gone = if job.is_over { job.gone } else { Gone::default() };
        job.batches_out += 1;
        // There are never more batches than the ring holds.
        let _ = self.batches.push(batch);
    }

    /// Fills one batch.
    fn stream(&mut self, job: &mut Job) -> Result<u32, StorageError> {
        if job.batches_out == BATCHES_PER_JOB_MAX {
            return Ok(0);
        }
        let mut batch = self.new_batch(job);
        while let Some(&(msg_seq_num, position)) = job.found.back() {
            let record = record_at(&mut self.source, &self.geometry, position)?;
            // One that was overwritten since the walk is no longer in the journal.
            job.gone.recycled += u64::from(record.is_none());
            let is_sent_again =
                |header: &RecordHeader| is_of(header, &job.request) && !header.has(flags::SECRET_BLANKED);
            if let Some((header, payload)) = record.filter(|(header, _)| is_sent_again(header)) {
                if !batch.has_room(payload) {
                    break;
                }
                batch.push(&header, payload);
            }
            job.found.pop_back();
            job.begin = msg_seq_num + 1;
            job.lowest = position;
        }
        if job.found.is_empty() {
            (job.walk, job.left_out, job.walked_to) = (job.parts.pop(), 0, u64::MAX);
            job.is_over = job.walk.is_none();
        }
        let work = 1 + batch.entries.len() as u32;
        self.hand_over(job, batch);
        Ok(work)
    }
}

impl Job {
    /// The chain goes on where the journal does not: what is asked for below the last number that was met is gone.
    fn walk_was_cut(&mut self) {
        let met = self.walked_to.min(self.request.end.saturating_add(1));
        self.gone.recycled += met.saturating_sub(self.begin);
    }

    /// Instead of the walk, from a segment before all that is wanted.
    fn go_forward(&mut self, start: u64) {
        (self.walk, self.forward, self.lowest) = (None, Some(start), start);
        (self.left_out, self.gone) = (0, Gone::default());
        self.found.clear();
        self.parts.clear();
    }

    fn end_walk(&mut self) {
        self.walk = None;
        // What earlier parts brought is not needed again, and later ones lie behind.
        self.lowest = self.found.back().map_or(self.lowest, |(_, position)| *position);
    }

    /// One more message, of a lower number than those before. Where there are too many the highest is left out, and comes
    /// with a later part: walking once more from each part's highest message finds all of them.
    fn keep(&mut self, msg_seq_num: u64, position: u64, found_max: usize) {
        if self.found.len() == found_max
            && let Some((_, left_out)) = self.found.pop_front()
        {
            if self.left_out.is_multiple_of(found_max) {
                self.parts.push(left_out);
            }
            self.left_out += 1;
        }
        self.found.push_back((msg_seq_num, position));
    }
}

fn is_of(header: &RecordHeader, request: &StageRequest) -> bool {
    header.kind == Kind::Outbound && header.session == request.session && header.epoch == request.epoch
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedStorage;
    use super::super::{FlushMethod, Journal, Mode, NewRecord, RecoveredSession, Room, Settings, open_over, prepare};
    use super::*;
    use crate::sys::ring::RingMemory;

    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 8 };
    /// Of each of two sessions.
    const MESSAGES: u64 = 120;
    const KEPT: u32 = 10;

    /// Two sessions whose messages alternate, over five segments. Answers where each message of the first lies.
    fn journal() -> (Journal<SimulatedStorage>, SimulatedStorage, Vec<u64>) {
        let storage = SimulatedStorage::new(GEOMETRY);
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 0,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: KEPT,
            clock: || 0,
        };
        let manifest = prepare(&storage, &settings).unwrap();
        let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
        let mut journal = open_over(&storage, manifest, vec![ring], &settings).unwrap().journals.remove(0);
        let mut sessions = [0, 1].map(|number| RecoveredSession::new(number, &[number as u8]));
        let mut positions = Vec::new();
        for number in 1..=MESSAGES {
            for session in [0, 1] {
                while journal.writer.begin(4096) != Room::Ready {
                    let states = sessions.iter().filter(|session| session.next_out > 1);
                    let _ = journal.writer.roll(states.map(RecoveredSession::state), b"").unwrap();
                    journal.flusher.drain(0).unwrap();
                }
                if number == 1 {
                    journal.writer.append_session_defined(session, 0, &[session as u8]).unwrap();
                }
                let state = &mut sessions[session as usize];
                let new = NewRecord { session, msg_seq_num: number, ..NewRecord::internal(Kind::Outbound, number) };
                let new = NewRecord { previous: state.last_out, ..new };
                let text = format!("{session}-{number}-{}", "x".repeat(1_000));
                state.last_out = journal.writer.append_bytes(new, text.as_bytes()).unwrap();
                state.next_out = number + 1;
                if session == 0 {
                    positions.push(state.last_out);
                }
                journal.writer.commit(Mode::Buffered);
            }
        }
        journal.flusher.drain(0).unwrap();
        (journal, storage, positions)
    }

    /// The numbers of what comes, each of which has its own text.
    fn staged(journal: &mut Journal<SimulatedStorage>, begin: u64, end: u64, last_out: u64) -> (Vec<u64>, Gone) {
        let request = StageRequest { token: 1, session: 0, begin, end, last_out, epoch: 0, not_before_ns: 0 };
        journal.stager_port.request(request).unwrap();
        let mut numbers = Vec::new();
        for _ in 0..1_000 {
            journal.stager.turn().unwrap();
            while let Some(batch) = journal.stager_port.take() {
                for (entry, bytes) in batch.messages() {
                    assert!(bytes.starts_with(format!("0-{}-x", entry.msg_seq_num).as_bytes()));
                    numbers.push(entry.msg_seq_num);
                }
                let (is_done, gone) = (batch.outcome == Outcome::Done, batch.gone);
                journal.stager_port.recycle(batch);
                if is_done {
                    return (numbers, gone);
                }
            }
        }
        panic!("no end after {numbers:?}");
    }

    #[test]
    fn messages_beyond_what_is_kept_positions_of_come_once_each_and_in_order() {
        let (mut journal, _, positions) = journal();
        let last_out = *positions.last().unwrap();
        for (begin, end) in [(1, MESSAGES), (37, 90), (60, MESSAGES), (115, MESSAGES), (1, 1)] {
            let (numbers, gone) = staged(&mut journal, begin, end, last_out);
            assert_eq!((numbers, gone), ((begin..=end).collect(), Gone::default()));
        }
    }

    /// One record that cannot be read is one number that is missing, not all that follow it.
    #[test]
    fn what_is_damaged_on_the_way_forward_is_left_out_alone() {
        for damaged in [40, 41] {
            let (mut journal, storage, positions) = journal();
            let (slot, offset) = GEOMETRY.slot(0, positions[damaged - 1]);
            // A byte of the payload, of which only the CRC tells, and the header's length.
            let (at, bytes) = if damaged == 40 { (offset + 100, [0xff; 4]) } else { (offset, [0; 4]) };
            storage.write(slot, at, &bytes).unwrap();
            let (numbers, gone) = staged(&mut journal, 30, MESSAGES, *positions.last().unwrap());
            let expected: Vec<u64> = (damaged as u64 + 1..=MESSAGES).collect();
            assert!(numbers.ends_with(&expected), "{numbers:?}");
            assert!(!numbers.contains(&(damaged as u64)));
            assert!(gone.recycled > 0, "it is counted");
        }
    }
}
