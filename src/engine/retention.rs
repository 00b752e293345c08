//! What each session keeps in the journal although others append, and who is slowed for it.
//!
//! Segments are a circle: whoever appends much recycles what others have. A session *keeps* the application messages that were sent to it in
//! the last `retention_min`, and those that have not been delivered to it, for `retention_undelivered_max`. Undelivered is what was sent while it had
//! no connection, or to a peer that has been silent since, or is being sent again.
//!
//! A session is *noisy* while it has appended more than its share of the present part of a lap: an eighth of what all may append in it, by
//! the number of sessions that are logged on. What a noisy session has is not kept for it. While the journal's end has come too far from
//! what another session keeps, the messages of noisy sessions are not read and their resends wait: half of the journal is free at
//! once, and another quarter over the time for which a message is kept. The last quarter is for all that is not noisy.
//!
//! So nothing that is kept is recycled, sessions that send little notice nothing, and a message that is never fetched slows others for
//! a bounded time. A session that is alone, or among others that all flood, keeps nothing and is never slowed.

use super::link::Link;
use crate::journal::Geometry;
use crate::session::Session;

/// Sessions that one turn looks at, at most.
const LOOKS_PER_TURN_MAX: usize = 64;
/// A look at all sessions is due after so many parts of the journal.
const LOOK_PARTS: u64 = 64;
/// A peer that has sent nothing for so long after the last message to it may not have read it.
const SILENT_NS: u64 = 1_000_000_000;
/// After a logon the peer asks for what it has missed.
const LOGON_GRACE_NS: u64 = 5_000_000_000;

/// The sessions whose kept messages noisy sessions wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Pressing {
    #[default]
    Nobody,
    /// Itself excepted.
    One(u32),
    Several,
}

/// One journal's.
#[derive(Debug)]
pub(crate) struct Retention {
    /// What lies no further behind the journal's end is surely not recycled.
    reach: u64,
    min_ns: u64,
    undelivered_ns: u64,
    /// Before the journal's end is here, there is nothing to look for.
    look_at: u64,
    /// The present part of a lap, of four, and where it ends.
    part: u32,
    part_end: u64,
    /// What a session may append in a part.
    share: u64,
    pressing: Pressing,
    /// The look at all sessions that is under way: the next one, and what it has found.
    next: usize,
    found: Pressing,
}

/// One session's part of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// The part of a lap that `bytes` were appended in because of the session.
    part: u32,
    bytes: u64,
    /// Of two generations, each as long as a message is kept.
    older: Option<Mark>,
    newer: Option<Mark>,
    last_ns: u64,
    pub logged_on_ns: u64,
    /// The part in which the log was told that the session is slowed.
    pub told: Option<u32>,
}

/// The oldest message of a generation.
#[derive(Clone, Copy, Debug)]
struct Mark {
    position: u64,
    since_ns: u64,
}

impl Retention {
    pub fn new(geometry: Geometry, end: u64, min_ns: u64, undelivered_ns: u64) -> Self {
        let reach = u64::from(geometry.segments - 1) * geometry.segment_bytes;
        let is_off = min_ns == 0 && undelivered_ns == 0;
        Self {
            reach,
            min_ns,
            undelivered_ns,
            look_at: if is_off { u64::MAX } else { 0 },
            part: 0,
            part_end: end + reach / 4,
            share: u64::MAX,
            pressing: Pressing::Nobody,
            next: 0,
            found: Pressing::Nobody,
        }
    }

    /// Whether [`Retention::look`] is to be called. Once a turn.
    #[inline]
    pub fn is_due(&self, appended: u64) -> bool {
        appended >= self.look_at
    }

    pub fn part(&self) -> u32 {
        self.part
    }

    /// Looks at some more of the sessions. `established` of them are logged on.
    #[cold]
    pub fn look<'a>(
        &mut self,
        sessions: impl ExactSizeIterator<Item = (&'a Session, &'a Link)>,
        appended: u64,
        now: crate::session::Now,
        established: u64,
    ) {
        while appended >= self.part_end {
            self.part = self.part.wrapping_add(1);
            self.part_end += self.reach / 4;
        }
        self.share = self.reach / (8 * established.max(1));
        let count = sessions.len();
        let until = count.min(self.next + LOOKS_PER_TURN_MAX);
        for (at, (session, link)) in sessions.enumerate().skip(self.next).take(LOOKS_PER_TURN_MAX) {
            if self.presses(session, link, appended, now) {
                self.found = match self.found {
                    Pressing::Nobody => Pressing::One(at as u32),
                    _ => Pressing::Several,
                };
            }
        }
        self.next = until;
        self.look_at = 0;
        if self.next >= count {
            (self.pressing, self.found, self.next) = (self.found, Pressing::Nobody, 0);
            if self.pressing == Pressing::Nobody {
                self.look_at = appended + self.reach / LOOK_PARTS;
            }
        }
    }

    /// Whether the session's messages wait for another's.
    #[inline]
    pub fn slows(&self, session: u32, kept: &Kept) -> bool {
        self.pressing != Pressing::Nobody && self.pressing != Pressing::One(session) && self.is_noisy(kept)
    }

    fn is_noisy(&self, kept: &Kept) -> bool {
        kept.bytes_in(self.part) > self.share
    }

    /// Because of the session, so many bytes were appended.
    #[inline]
    pub fn count(&self, kept: &mut Kept, bytes: u64) {
        if kept.part != self.part {
            (kept.bytes, kept.part) = (kept.bytes_in(self.part), self.part);
        }
        kept.bytes += bytes;
    }

    /// An application message was sent to the session.
    #[inline]
    pub fn sent(&self, kept: &mut Kept, position: u64, now_ns: u64, is_deliverable: bool) {
        if self.look_at == u64::MAX {
            return;
        }
        kept.last_ns = now_ns;
        let is_new = kept.newer.is_none_or(|newer| now_ns - newer.since_ns >= self.min_ns);
        if is_new || self.is_noisy(kept) {
            self.begin_generation(kept, Mark { position, since_ns: now_ns }, is_deliverable);
        }
    }

    #[cold]
    fn begin_generation(&self, kept: &mut Kept, mark: Mark, is_deliverable: bool) {
        if self.is_noisy(kept) {
            (kept.older, kept.newer) = (None, None);
            return;
        }
        let waits = |older: &Mark| !is_deliverable && mark.since_ns - older.since_ns < self.undelivered_ns;
        if !kept.older.as_ref().is_some_and(waits) {
            kept.older = kept.newer;
        }
        kept.newer = Some(mark);
    }

    /// Whether the journal's end has come too far from what the session keeps.
    fn presses(&self, session: &Session, link: &Link, appended: u64, now: crate::session::Now) -> bool {
        let kept = &link.kept;
        let now_ns = now.monotonic_ns;
        let silent_ns = session.silent_ns(now);
        let is_silent = silent_ns > SILENT_NS && now_ns.saturating_sub(silent_ns) <= kept.last_ns;
        let is_undelivered = link.connection.is_none() || link.resend.is_some() || is_silent;
        if self.is_noisy(kept) && link.resend.is_none() {
            return false;
        }
        let is_fresh = now_ns.saturating_sub(kept.logged_on_ns) < LOGON_GRACE_NS;
        [kept.older, kept.newer].into_iter().flatten().any(|mark| {
            let may_be_asked_for = is_fresh && mark.since_ns < kept.logged_on_ns;
            let hold_ns = match is_undelivered || may_be_asked_for {
                true => self.undelivered_ns.max(self.min_ns),
                false => self.min_ns,
            };
            let age_ns = now_ns.saturating_sub(mark.since_ns);
            let behind = appended.saturating_sub(mark.position);
            // What is gone is kept no longer.
            age_ns < hold_ns && behind <= self.reach && behind > self.free(age_ns, hold_ns)
        })
    }

    /// How far noisy sessions may come from a message of this age.
    fn free(&self, age_ns: u64, hold_ns: u64) -> u64 {
        let grown = u128::from(self.reach / 4) * u128::from(age_ns) / u128::from(hold_ns.max(1));
        self.reach / 2 + grown as u64
    }
}

impl Kept {
    /// Half of what was appended in one part counts in the next.
    fn bytes_in(&self, part: u32) -> u64 {
        match part.wrapping_sub(self.part) {
            0 => self.bytes,
            1 => self.bytes / 2,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1 << 20;
    const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: SEGMENT, segment_bytes: SEGMENT, segments: 9 };
    const S: u64 = 1_000_000_000;

    #[test]
    fn what_is_free_grows_with_the_age_of_what_is_kept() {
        let retention = Retention::new(GEOMETRY, 0, 10 * S, 60 * S);
        let free = |age_s: u64| retention.free(age_s * S, 60 * S) / SEGMENT;
        assert_eq!([free(0), free(30), free(60)], [4, 5, 6]);
    }

    #[test]
    fn a_session_is_noisy_in_a_part_of_a_lap_and_half_of_it_in_the_next() {
        let mut retention = Retention::new(GEOMETRY, 0, 10 * S, 60 * S);
        retention.share = 1_000;
        let mut kept = Kept::default();
        retention.count(&mut kept, 1_000);
        assert!(!retention.is_noisy(&kept));
        retention.count(&mut kept, 1_200);
        assert!(retention.is_noisy(&kept));
        retention.part += 1;
        assert!(retention.is_noisy(&kept));
        retention.part += 1;
        assert!(!retention.is_noisy(&kept));
    }

    #[test]
    fn a_message_is_marked_for_as_long_as_it_is_kept_and_a_noisy_session_s_is_not() {
        let mut retention = Retention::new(GEOMETRY, 0, 10 * S, 60 * S);
        retention.share = 1_000;
        let mut kept = Kept::default();
        let marks = |kept: &Kept| [kept.older, kept.newer].map(|mark| mark.map(|mark| mark.position));
        for second in 1..25 {
            retention.sent(&mut kept, second * 100, second * S, true);
        }
        assert_eq!(marks(&kept), [Some(1_100), Some(2_100)]);
        // While nobody takes them, the oldest stays.
        for second in 25..60 {
            retention.sent(&mut kept, second * 100, second * S, false);
        }
        assert_eq!(marks(&kept), [Some(1_100), Some(5_100)]);
        retention.count(&mut kept, 2_000);
        retention.sent(&mut kept, 6_000, 60 * S, true);
        assert_eq!(marks(&kept), [None, None]);
    }
}
