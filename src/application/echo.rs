//! `application = "echo"`: returns every application message to its sender, the body unchanged,
//! empty fields included.
//!
//! A message with PossResend(97) that has been returned before is not returned again. What only a venue sends, in answer
//! to something, is refused instead, or left alone: two echoes would send it to and fro for ever.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Application, BusinessRejectReason, Delivery, Direction, Handle, RestoreError, SendError, SessionNumber};
use crate::fix::{Message, tags};

/// How many messages are remembered at most, of all sessions of a journal together: the newest.
const REMEMBERED_MAX: usize = 4_096;
const IDENTITY_BYTES: usize = size_of::<u64>();

/// Sends back what comes. A message that finds no room is not returned; the count says so.
#[derive(Debug)]
pub struct Echo {
    pub not_returned: u64,
    seen: Seen,
}

/// The newest messages by identity, in a memory made once.
#[derive(Debug)]
struct Seen {
    identities: HashSet<u64>,
    oldest_first: VecDeque<u64>,
    identities_max: usize,
}

impl Echo {
    /// One whose snapshot takes at most `snapshot_bytes_max`.
    pub fn new(snapshot_bytes_max: u32) -> Self {
        let identities_max = REMEMBERED_MAX.min(snapshot_bytes_max as usize / IDENTITY_BYTES);
        let seen = Seen {
            identities: HashSet::with_capacity(2 * identities_max),
            oldest_first: VecDeque::with_capacity(identities_max),
            identities_max,
        };
        Self { not_returned: 0, seen }
    }
}

impl Seen {
    /// False where it is there already.
    fn insert(&mut self, identity: u64) -> bool {
        if self.identities_max == 0 || !self.identities.insert(identity) {
            return false;
        }
        if self.oldest_first.len() == self.identities_max
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.identities.remove(&oldest);
        }
        self.oldest_first.push_back(identity);
        true
    }
}

/// ClOrdID(11) where there is one, otherwise the whole body. Where the session's numbers begin anew, so does this.
fn identity(session: SessionNumber, epoch: u32, message: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (session, epoch).hash(&mut hasher);
    match message.field(tags::CL_ORD_ID) {
        Some(cl_ord_id) => cl_ord_id.hash(&mut hasher),
        None => {
            message.msg_type().hash(&mut hasher);
            for field in message.fields().filter(|field| !is_header_or_trailer(field.tag)) {
                (field.tag, field.value).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// Standard header and trailer fields that the session writes itself or that have the route; all others are the body.
fn is_header_or_trailer(tag: u32) -> bool {
    matches!(
        tag,
        tags::BEGIN_STRING
            | tags::BODY_LENGTH
            | tags::MSG_TYPE
            | tags::MSG_SEQ_NUM
            | tags::POSS_DUP_FLAG
            | tags::POSS_RESEND
            | tags::SENDER_COMP_ID
            | tags::SENDER_SUB_ID
            | tags::SENDER_LOCATION_ID
            | tags::TARGET_COMP_ID
            | tags::TARGET_SUB_ID
            | tags::TARGET_LOCATION_ID
            | tags::SENDING_TIME
            | tags::ORIG_SENDING_TIME
            | tags::LAST_MSG_SEQ_NUM_PROCESSED
            | tags::SIGNATURE_LENGTH
            | tags::SIGNATURE
            | tags::CHECK_SUM
    )
}

impl Application for Echo {
    fn has_turn(&self) -> bool {
        false
    }

    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        let returned: Result<u64, SendError> = match message.msg_type() {
            // An answer to an answer would be answered in turn.
            b"j" => return,
            // ExecutionReport and OrderCancelReject.
            b"8" | b"9" => session.reject(message, BusinessRejectReason::UnsupportedMessageType, ""),
            msg_type => {
                let is_new = self.seen.insert(identity(session.session(), session.epoch(), message));
                if delivery.poss_resend && !is_new {
                    return;
                }
                session.send(msg_type, |body| {
                    if delivery.poss_resend {
                        body.bool(tags::POSS_RESEND, true);
                    }
                    for field in message.fields().filter(|field| !is_header_or_trailer(field.tag)) {
                        body.received(field);
                    }
                })
            }
        };
        if returned.is_err() {
            self.not_returned += 1;
        }
    }

    fn snapshot(&self, state: &mut Vec<u8>) {
        state.extend(self.seen.oldest_first.iter().flat_map(|identity| identity.to_le_bytes()));
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let (identities, rest) = state.as_chunks::<IDENTITY_BYTES>();
        if !rest.is_empty() {
            return Err(RestoreError(format!("{} bytes are no whole number of identities", state.len())));
        }
        for identity in identities {
            self.seen.insert(u64::from_le_bytes(*identity));
        }
        Ok(())
    }

    fn on_replay(&mut self, session: SessionNumber, epoch: u32, direction: Direction, message: &Message<'_>) {
        if direction == Direction::Inbound {
            self.seen.insert(identity(session, epoch, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_for_the_newest_and_no_memory_is_made_anew() {
        let mut seen = Echo::new(8 * IDENTITY_BYTES as u32).seen;
        let capacities = |seen: &Seen| (seen.identities.capacity(), seen.oldest_first.capacity());
        let before = capacities(&seen);
        for identity in 0..1_000 {
            assert!(seen.insert(identity));
            assert!(!seen.insert(identity));
        }
        assert!(!seen.insert(992) && seen.insert(991), "eight are remembered");
        assert_eq!(capacities(&seen), before);
    }

    #[test]
    fn a_snapshot_brings_back_what_was_seen() {
        let mut echo = Echo::new(1_024);
        (0..10).for_each(|identity| _ = echo.seen.insert(identity));
        let mut state = Vec::new();
        echo.snapshot(&mut state);
        let mut restored = Echo::new(1_024);
        restored.restore(&state).unwrap();
        assert!((0..10).all(|identity| !restored.seen.insert(identity)));
        assert!(restored.restore(&state[1..]).is_err());
    }
}
