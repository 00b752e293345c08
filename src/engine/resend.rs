//! Resends on the worker's side: what is asked of the stager, and the batches that come back, worked off a few a turn.

use std::collections::VecDeque;

use crate::journal::StagedBatch;

/// Stored messages that one turn sends again, at most, so that live sessions are not kept waiting.
pub(crate) const RESENDS_PER_TURN_MAX: u32 = 16;

/// A resend that a session is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResendJob {
    /// Tells its batches from those of a resend that was given up.
    pub token: u64,
}

/// A batch on the way through its session.
pub(crate) struct Resending {
    pub batch: StagedBatch,
    pub next_entry: usize,
}

/// Batches in the order in which they came. The stager's own bound bounds it.
pub(crate) type ResendQueue = VecDeque<Resending>;
