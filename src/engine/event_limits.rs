//! Keeps what a peer can repeat from filling the log, and the ring to it: the first event of a kind at once, then a count a second.
//!
//! It stands before the ring, so that one session's noise takes no other's place there. Memory: an entry for each kind of each session that
//! has ever been in the log, and of a bounded number of addresses without a session.

use std::collections::{HashMap, VecDeque};

use super::event_kind::{Kind, Subject};

/// How long events of a kind are counted before the count is told.
pub(super) const WINDOW_NS: u64 = 1_000_000_000;
/// Addresses of connections without a session that are told apart; all beyond them share their counts.
const PEERS_MAX: usize = 32;

#[derive(Debug, Default)]
pub(super) struct EventLimits {
    now_ns: u64,
    /// Of [`Subject::Peer`] alone.
    peers: HashMap<Subject, Vec<Entry>>,
    others: HashMap<Subject, Vec<Entry>>,
    /// The kinds that have something counted, in the order in which it is due.
    due: VecDeque<(u64, Kind)>,
}

#[derive(Debug)]
struct Entry {
    what: &'static str,
    /// When the last line, or count, was told.
    told_ns: u64,
    /// Counted since then.
    more: u64,
}

impl EventLimits {
    /// The time of what follows.
    #[inline]
    pub fn at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Whether an event of this kind is told now. Otherwise it is counted.
    pub fn lets_through(&mut self, kind: Kind) -> bool {
        let subject = self.told_apart(kind.subject);
        let now_ns = self.now_ns;
        let entries = self.entries(subject);
        let Some(entry) = entries.iter_mut().find(|entry| entry.what == kind.what) else {
            entries.push(Entry { what: kind.what, told_ns: now_ns, more: 0 });
            return true;
        };
        if entry.more == 0 && now_ns.saturating_sub(entry.told_ns) >= WINDOW_NS {
            entry.told_ns = now_ns;
            return true;
        }
        entry.more += 1;
        if entry.more == 1 {
            self.due.push_back((now_ns.saturating_add(WINDOW_NS), Kind { subject, ..kind }));
        }
        false
    }

    /// A count that is due, with its kind; all of them where the worker ends.
    pub fn next_due(&mut self, ends: bool) -> Option<(Kind, u64)> {
        let (due_ns, kind) = *self.due.front()?;
        if due_ns > self.now_ns && !ends {
            return None;
        }
        self.due.pop_front();
        let now_ns = self.now_ns;
        let entry = self.entries(kind.subject).iter_mut().find(|entry| entry.what == kind.what)?;
        entry.told_ns = now_ns;
        Some((kind, std::mem::take(&mut entry.more)))
    }

    /// The next event of each kind of a subject is told, but where some are counted already.
    pub fn begin_anew(&mut self, subject: Subject) {
        self.entries(subject).retain(|entry| entry.more > 0);
    }

    /// Something is counted and not told.
    #[inline]
    pub fn has_counted(&self) -> bool {
        !self.due.is_empty()
    }

    /// An address has counts of its own where there is room for it.
    fn told_apart(&mut self, subject: Subject) -> Subject {
        if !matches!(subject, Subject::Peer(_)) || self.peers.contains_key(&subject) {
            return subject;
        }
        let now_ns = self.now_ns;
        if self.peers.len() >= PEERS_MAX {
            let is_silent = |entry: &Entry| entry.more == 0 && now_ns.saturating_sub(entry.told_ns) >= WINDOW_NS;
            self.peers.retain(|_, entries| !entries.iter().all(is_silent));
        }
        if self.peers.len() < PEERS_MAX { subject } else { Subject::OtherPeers }
    }

    fn entries(&mut self, subject: Subject) -> &mut Vec<Entry> {
        let entries = if matches!(subject, Subject::Peer(_)) { &mut self.peers } else { &mut self.others };
        entries.entry(subject).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::event::SessionKey;
    use super::super::event_kind::Level;
    use super::*;

    const SECOND: u64 = WINDOW_NS;

    fn session(number: u32, what: &'static str) -> Kind {
        Kind { subject: Subject::Session(SessionKey { journal: 0, number }), level: Level::Warn, what }
    }

    fn peer(address: u32) -> Kind {
        let subject = Subject::Peer(IpAddr::V4(Ipv4Addr::from_bits(address)));
        Kind { subject, level: Level::Warn, what: "refused" }
    }

    #[test]
    fn the_first_is_told_at_once_and_then_a_count_a_second_for_each_session_and_kind() {
        let mut limits = EventLimits::default();
        for second in 10..13 {
            for nth in 0..1_000 {
                limits.at(second * SECOND + nth);
                // Only the very first is told; of the others the count.
                assert_eq!(limits.lets_through(session(1, "garbled")), second == 10 && nth == 0);
                assert_eq!(limits.lets_through(session(1, "rejected")), second == 10 && nth == 0);
            }
            // Another session is another story.
            assert!(limits.lets_through(session(second as u32, "garbled")));
            assert_eq!(limits.next_due(false), None);
            limits.at((second + 1) * SECOND + 2);
            let more = if second == 10 { 999 } else { 1_000 };
            assert_eq!(limits.next_due(false), Some((session(1, "garbled"), more)));
            assert_eq!(limits.next_due(false), Some((session(1, "rejected"), more)));
            assert_eq!(limits.next_due(false), None);
        }
        // After a second of silence the next is told as it is.
        limits.at(20 * SECOND);
        assert!(limits.lets_through(session(1, "garbled")));
        assert!(!limits.has_counted());
    }

    #[test]
    fn what_begins_anew_is_told_again_and_a_count_that_runs_goes_on() {
        let mut limits = EventLimits::default();
        assert!(limits.lets_through(session(1, "refused")) && limits.lets_through(session(1, "garbled")));
        assert!(!limits.lets_through(session(1, "garbled")));
        limits.begin_anew(session(1, "").subject);
        assert!(limits.lets_through(session(1, "refused")) && !limits.lets_through(session(1, "garbled")));
        limits.at(SECOND);
        assert_eq!(limits.next_due(false), Some((session(1, "garbled"), 2)));
    }

    #[test]
    fn what_is_counted_when_the_worker_ends_is_told_then() {
        let mut limits = EventLimits::default();
        assert_eq!((0..3).filter(|_| limits.lets_through(session(1, "garbled"))).count(), 1);
        assert_eq!(limits.next_due(false), None);
        assert_eq!(limits.next_due(true), Some((session(1, "garbled"), 2)));
        assert_eq!(limits.next_due(true), None);
    }

    #[test]
    fn addresses_are_told_apart_up_to_a_bound_and_forgotten_when_they_are_silent() {
        let mut limits = EventLimits::default();
        limits.at(10 * SECOND);
        let told = (0..100_000).filter(|address| limits.lets_through(peer(*address))).count();
        assert_eq!(told, PEERS_MAX + 1, "and one for all the others");
        assert_eq!((limits.peers.len(), limits.others.len(), limits.due.len()), (PEERS_MAX, 1, 1));
        limits.at(11 * SECOND);
        let others = Kind { subject: Subject::OtherPeers, ..peer(0) };
        assert_eq!(limits.next_due(false), Some((others, 100_000 - told as u64)));
        limits.at(13 * SECOND);
        assert!(limits.lets_through(peer(7_000_000)));
        assert_eq!(limits.peers.len(), 1);
    }
}
