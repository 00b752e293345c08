//! Resends on the worker's side: which sessions wait for the stager, and what it has brought for the others.

use std::collections::VecDeque;

use crate::journal::{JOBS_MAX, StagedBatch};

/// Stored messages that one turn sends again, at most, so that live sessions are not kept waiting.
pub(crate) const RESENDS_PER_TURN_MAX: u32 = 16;
/// Their bytes, give or take one message.
pub(crate) const RESEND_BYTES_PER_TURN_MAX: usize = 16 * 1024;
/// A session that has so many bytes to send already gets no more of its resend; less where the ring is small.
pub(crate) const RESEND_UNSENT_BYTES_MAX: u64 = 256 * 1024;
/// A resend whose peer does not read it makes room for one that waits, once it has been served for so long.
pub(crate) const RESEND_SLICE_NS: u64 = 1_000_000_000;
/// Waiting sessions that one turn looks at, at most.
pub(crate) const WAITING_LOOKS_PER_TURN_MAX: usize = 16;

/// A resend that a session is in the middle of. What it still owes is the session's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResendJob {
    /// For a place at the stager, or for its peer to read.
    Waiting,
    /// The token tells its batches from those of a resend that was given up.
    Asked { token: u64 },
}

/// A resend that the stager works on, or has brought.
pub(crate) struct Resending {
    pub token: u64,
    pub session: u32,
    pub since_ns: u64,
    /// Being sent, and the one after it.
    batches: [Option<StagedBatch>; 2],
    /// Of the first batch.
    pub next_entry: usize,
}

impl Resending {
    pub fn new(token: u64, session: u32, since_ns: u64) -> Self {
        Self { token, session, since_ns, batches: [None, None], next_entry: 0 }
    }

    pub fn batch(&self) -> Option<&StagedBatch> {
        self.batches[0].as_ref()
    }

    pub fn push(&mut self, batch: StagedBatch) {
        let place = self.batches.iter_mut().find(|place| place.is_none());
        *place.expect("the stager has two batches out for a job, at most") = Some(batch);
    }

    /// The first batch, worked off.
    pub fn pop(&mut self) -> Option<StagedBatch> {
        self.next_entry = 0;
        self.batches.rotate_left(1);
        self.batches[1].take()
    }
}

/// The resends of one journal.
pub(crate) struct Resends {
    /// Sessions, each at most once (`Link::resend_waits`).
    pub waiting: VecDeque<u32>,
    /// Whose turn it is comes first.
    pub jobs: VecDeque<Resending>,
    /// A session that could be served found no place.
    pub is_crowded: bool,
}

impl Resends {
    pub fn with_capacity(sessions: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(sessions), jobs: VecDeque::with_capacity(JOBS_MAX), is_crowded: false }
    }
}

/// What a turn may still send again.
pub(crate) struct Budget {
    pub messages: u32,
    pub bytes: usize,
}

impl Budget {
    pub fn of_a_turn() -> Self {
        Self { messages: RESENDS_PER_TURN_MAX, bytes: RESEND_BYTES_PER_TURN_MAX }
    }

    pub fn is_spent(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    pub fn spend(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
