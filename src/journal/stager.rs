//! Reads stored messages back for resends, on a housekeeping core, into buffers of bounded number and size.

use std::collections::VecDeque;

use crate::sys::ring::Watermarks;

use super::scan::{SegmentSource, record_at};
use super::{Geometry, Kind, NONE, RecordHeader, Storage, StorageError};

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
}

/// Stored messages in ascending order of MsgSeqNum(34).
#[derive(Clone, Debug, Default)]
pub struct StagedBatch {
    pub token: u64,
    pub session: u32,
    pub entries: Vec<StagedEntry>,
    pub bytes: Vec<u8>,
    pub outcome: Outcome,
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
    /// The bound of messages a request was reached: ask again from `begin`.
    Truncated { begin: u64 },
}

impl StagedBatch {
    pub fn messages(&self) -> impl Iterator<Item = (StagedEntry, &[u8])> {
        self.entries.iter().map(|entry| (*entry, &self.bytes[entry.offset as usize..][..entry.length as usize]))
    }
}

/// Batches between stager and worker at any time.
const BATCHES_MAX: usize = 4;
/// Requests that wait for the stager.
const REQUESTS_MAX: usize = 1024;
/// Records that one turn walks back over.
const WALK_RECORDS_MAX: u32 = 1024;

/// The worker's end.
pub struct StagerPort {
    requests: rtrb::Producer<StageRequest>,
    batches: rtrb::Consumer<StagedBatch>,
    returns: rtrb::Producer<StagedBatch>,
}

/// Reads one journal's segments for one worker. Requests are served one after the other.
pub struct Stager<S: Storage> {
    source: SegmentSource<S>,
    geometry: Geometry,
    watermarks: Watermarks,
    resend_messages_max: usize,
    requests: rtrb::Consumer<StageRequest>,
    batches: rtrb::Producer<StagedBatch>,
    returns: rtrb::Consumer<StagedBatch>,
    /// Batches that were not yet made; they are made once and then go round.
    unmade: usize,
    job: Option<Job>,
    /// Number and position of messages to stream, the highest number first.
    found: VecDeque<(u64, u64)>,
}

struct Job {
    request: StageRequest,
    /// Where the walk goes on; `None` when it is over.
    walk: Option<u64>,
    /// The lowest number that the bound pushed out.
    truncated: Option<u64>,
}

impl StagerPort {
    /// The request back, where too many wait.
    pub fn request(&mut self, request: StageRequest) -> Result<(), StageRequest> {
        self.requests.push(request).map_err(|rtrb::PushError::Full(request)| request)
    }

    pub fn take(&mut self) -> Option<StagedBatch> {
        self.batches.pop().ok()
    }

    /// Gives a batch back for reuse. Until then the stager has one fewer.
    pub fn recycle(&mut self, batch: StagedBatch) {
        // There are never more batches than the ring holds.
        let _ = self.returns.push(batch);
    }
}

impl<S: Storage> Stager<S> {
    pub(super) fn new(
        storage: S,
        geometry: Geometry,
        journal: u16,
        watermarks: Watermarks,
        resend_messages_max: u32,
    ) -> (Self, StagerPort) {
        let (request_in, requests) = rtrb::RingBuffer::new(REQUESTS_MAX);
        let (batches, batch_out) = rtrb::RingBuffer::new(BATCHES_MAX);
        let (return_in, returns) = rtrb::RingBuffer::new(BATCHES_MAX);
        let resend_messages_max = resend_messages_max.max(1) as usize;
        let stager = Self {
            source: SegmentSource::new(storage, geometry, journal),
            geometry,
            watermarks,
            resend_messages_max,
            requests,
            batches,
            returns,
            unmade: BATCHES_MAX,
            job: None,
            found: VecDeque::new(),
        };
        (stager, StagerPort { requests: request_in, batches: batch_out, returns: return_in })
    }

    /// Walks or streams one bounded piece. The answer counts the records looked at; 0 means that there is nothing to do, or that the
    /// worker holds all batches, or that the flusher has not yet carried what is asked for.
    pub fn turn(&mut self) -> Result<u32, StorageError> {
        let Some(mut job) = self.job.take().or_else(|| self.next_job()) else {
            return Ok(0);
        };
        let result = match job.walk {
            Some(at) => self.walk(&mut job, at),
            None => self.stream(&mut job),
        };
        let (is_over, work) = result?;
        if !is_over {
            self.job = Some(job);
        }
        Ok(work)
    }

    fn next_job(&mut self) -> Option<Job> {
        let request = self.requests.pop().ok()?;
        self.source.forget();
        self.found.clear();
        Some(Job { request, walk: Some(request.last_out), truncated: None })
    }

    /// Follows the links back and keeps the messages that are asked for, of which those with the lowest numbers where they are too many.
    fn walk(&mut self, job: &mut Job, mut at: u64) -> Result<(bool, u32), StorageError> {
        let request = job.request;
        if at != NONE && at >= self.watermarks.written() {
            return Ok((false, 0));
        }
        for work in 0..WALK_RECORDS_MAX {
            if at == NONE || at < self.geometry.oldest_position(self.watermarks.appended()) {
                job.walk = None;
                return Ok((false, work + 1));
            }
            self.source.look_back(at)?;
            let record = record_at(&mut self.source, &self.geometry, at)?.map(|(header, _)| header);
            let wanted = record.filter(|header| is_of(header, &request) && header.msg_seq_num >= request.begin);
            // A link that does not lead back would walk in circles.
            let Some(header) = wanted.filter(|header| header.previous == NONE || header.previous < at) else {
                job.walk = None;
                return Ok((false, work + 1));
            };
            if header.msg_seq_num <= request.end {
                if self.found.len() == self.resend_messages_max {
                    job.truncated = self.found.pop_front().map(|(msg_seq_num, _)| msg_seq_num);
                }
                self.found.push_back((header.msg_seq_num, at));
            }
            at = header.previous;
        }
        job.walk = Some(at);
        Ok((false, WALK_RECORDS_MAX))
    }

    /// Fills one batch.
    fn stream(&mut self, job: &mut Job) -> Result<(bool, u32), StorageError> {
        let Some(mut batch) = self.free_batch() else {
            return Ok((false, 0));
        };
        batch.token = job.request.token;
        batch.session = job.request.session;
        while let Some(&(_, position)) = self.found.back() {
            // A record that was overwritten meanwhile is no longer in the journal.
            if let Some((header, payload)) =
                record_at(&mut self.source, &self.geometry, position)?.filter(|(header, _)| is_of(header, &job.request))
            {
                if !batch.bytes.is_empty() && batch.bytes.len() + payload.len() > STAGED_BYTES_MAX {
                    break;
                }
                let entry = StagedEntry {
                    msg_seq_num: header.msg_seq_num,
                    time_ns: header.time_ns,
                    offset: batch.bytes.len() as u32,
                    length: payload.len() as u32,
                };
                batch.bytes.extend_from_slice(payload);
                batch.entries.push(entry);
            }
            self.found.pop_back();
        }
        let is_over = self.found.is_empty();
        batch.outcome = match job.truncated {
            _ if !is_over => Outcome::More,
            Some(begin) => Outcome::Truncated { begin },
            None => Outcome::Done,
        };
        let work = 1 + batch.entries.len() as u32;
        // There are never more batches than the ring holds.
        let _ = self.batches.push(batch);
        Ok((is_over, work))
    }

    fn free_batch(&mut self) -> Option<StagedBatch> {
        if let Ok(mut batch) = self.returns.pop() {
            batch.entries.clear();
            batch.bytes.clear();
            // A message longer than a batch made it grow.
            batch.bytes.shrink_to(STAGED_BYTES_MAX);
            return Some(batch);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(StagedBatch { bytes: Vec::with_capacity(STAGED_BYTES_MAX), ..StagedBatch::default() })
    }
}

fn is_of(header: &RecordHeader, request: &StageRequest) -> bool {
    header.kind == Kind::Outbound && header.session == request.session && header.epoch == request.epoch
}
