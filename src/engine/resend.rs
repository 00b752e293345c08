//! Resends on the worker's side: which sessions wait for the stager, and what it has brought for the others.

use std::collections::VecDeque;

use crate::journal::{JOBS_MAX, StagedBatch};

/// Stored messages that one turn sends again, at most, so that live sessions are not kept waiting.
pub(crate) const RESENDS_PER_TURN_MAX: u32 = 64;
/// Their bytes, give or take one message.
pub(crate) const RESEND_BYTES_PER_TURN_MAX: usize = 16 * 1024;
/// The messages while sessions that owe no resend have sent something lately: their messages wait for what is left of such a turn.
pub(crate) const RESENDS_PER_LIVE_TURN_MAX: u32 = 20;
/// How long a session counts as live after a message.
pub(crate) const LIVE_NS: u64 = 5_000_000;
/// What a message grows by when it is sent again: PossDupFlag(43), OrigSendingTime(122), one more digit of BodyLength(9), and a
/// SendingTime(52) that was shorter.
pub(crate) const RESENT_GROWTH_BYTES: u64 = 64;
/// Of the gap fill that may go before a message, from above.
pub(crate) const GAP_FILL_BYTES: u64 = 512;
/// The messages sent again in one commit take at most so much of the ring, unless it is one.
pub(crate) const RESEND_COMMIT_SHARE: u64 = 32;
/// A session that has so many bytes to send already gets no more of its resend; less where the ring is small.
pub(crate) const RESEND_UNSENT_BYTES_MAX: u64 = 256 * 1024;
/// A resend whose peer does not read it makes room for one that waits, once it has been served for so long.
pub(crate) const RESEND_SLICE_NS: u64 = 1_000_000_000;
/// Sessions that one turn looks at for one that is behind, at most.
pub(crate) const BEHIND_LOOKS_PER_TURN_MAX: usize = 64;
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
    /// When messages may be sent again, while a session is behind.
    pub next_ns: u64,
    /// While live messages wait for the volume.
    pub share: Share,
    behind: Behind,
}

/// Whether there is a session whose connection takes no more and whose next bytes the ring will overwrite before long. A
/// few sessions are looked at in a turn; one that is found counts until all have been looked at again.
#[derive(Default)]
struct Behind {
    at: usize,
    is_found: bool,
    was_found: bool,
}

impl Resends {
    pub fn with_capacity(sessions: usize) -> Self {
        Self {
            waiting: VecDeque::with_capacity(sessions),
            jobs: VecDeque::with_capacity(JOBS_MAX),
            is_crowded: false,
            next_ns: 0,
            share: Share::default(),
            behind: Behind::default(),
        }
    }

    /// Looks at some more of so many sessions.
    pub fn look_for_behind(&mut self, sessions: usize, is_behind: impl Fn(usize) -> bool) -> bool {
        let behind = &mut self.behind;
        for _ in 0..sessions.min(BEHIND_LOOKS_PER_TURN_MAX) {
            if behind.at >= sessions {
                (behind.at, behind.was_found, behind.is_found) = (0, behind.is_found, false);
            }
            behind.is_found |= is_behind(behind.at);
            behind.at += 1;
        }
        behind.is_found || behind.was_found
    }
}

/// What resends may append while the volume is the limit: as much as everybody else. None at all would starve them for as long as the
/// volume is busy, and what they owe would be recycled meanwhile.
#[derive(Default)]
pub(crate) struct Share {
    credit_bytes: u64,
    /// Where the journal ended after the last look.
    end: u64,
}

impl Share {
    /// Whether a turn's worth is due, where the journal ends here.
    pub fn is_due(&mut self, appended: u64) -> bool {
        let others = appended.saturating_sub(std::mem::replace(&mut self.end, appended));
        self.credit_bytes = (self.credit_bytes + others).min(RESEND_BYTES_PER_TURN_MAX as u64);
        self.credit_bytes == RESEND_BYTES_PER_TURN_MAX as u64
    }

    /// What resends have appended, up to here.
    pub fn spend(&mut self, appended: u64) {
        let own = appended.saturating_sub(std::mem::replace(&mut self.end, appended));
        self.credit_bytes = self.credit_bytes.saturating_sub(own);
    }
}

/// What may still be done in a turn.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub messages: u32,
    pub bytes: usize,
}

impl Budget {
    pub fn of_a_turn(others_are_live: bool) -> Self {
        let messages = if others_are_live { RESENDS_PER_LIVE_TURN_MAX } else { RESENDS_PER_TURN_MAX };
        Self { messages, bytes: RESEND_BYTES_PER_TURN_MAX }
    }

    pub fn is_spent(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }

    pub fn spend(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by kills under load: where the volume was always busy, a resend got on by its first few turns in each life of the engine,
    /// until the journal had recycled what it owed.
    #[test]
    fn a_busy_volume_is_shared_in_equal_parts() {
        const TURN: u64 = RESEND_BYTES_PER_TURN_MAX as u64;
        let mut share = Share::default();
        let (mut end, mut own) = (0, 0);
        for _ in 0..1_000 {
            end += TURN / 4;
            if share.is_due(end) {
                (end, own) = (end + TURN, own + TURN);
                share.spend(end);
            }
        }
        assert!((end / 2 - TURN..=end / 2 + TURN).contains(&own), "{own} of {end}");
        assert!(!share.is_due(end), "who appends nothing leaves nothing");
    }
}
