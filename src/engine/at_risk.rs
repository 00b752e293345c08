//! What the death of the node would take of one session: counted by the worker at each append, in a few instructions, and told about twice too high at most.
//!
//! To know exactly, each record's fate would have to be followed. Instead a session's unsynced records are kept as two generations: once
//! the older one is synced, the newer one takes its place, and the next record begins another. So what is synced already of
//! the older one is still counted, and nothing that is not synced is ever left out. Who reads the figures compares the
//! end with `synced` first: beyond it everything is safe, and all figures are 0.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::control::SessionCounters;

#[derive(Debug, Default)]
pub(crate) struct AtRisk {
    /// All that this process has appended.
    total: Mark,
    /// Where the older generation begins.
    older: Mark,
    /// Where the newer one begins, if there is one.
    newer: Option<(u64, Mark)>,
    end: u64,
    counters: Arc<CachePadded<SessionCounters>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    unix_ns: u64,
    bytes: u64,
    messages: u64,
}

impl AtRisk {
    pub fn new(counters: Arc<CachePadded<SessionCounters>>) -> Self {
        Self { counters, ..Self::default() }
    }

    /// A message of the session was appended, from `position` to `end`.
    #[inline]
    pub fn append(&mut self, position: u64, end: u64, unix_ns: u64, synced: u64) {
        let here = Mark { unix_ns, ..self.total };
        if synced >= self.end {
            (self.older, self.newer) = (here, None);
        } else {
            match self.newer {
                Some((start, newer)) if start <= synced => (self.older, self.newer) = (newer, Some((position, here))),
                Some(_) => {}
                None => self.newer = Some((position, here)),
            }
        }
        self.total.bytes += end - position;
        self.total.messages += 1;
        self.end = end;
        let counters = &self.counters;
        counters.unsynced_bytes.set(self.total.bytes - self.older.bytes);
        counters.unsynced_messages.set(self.total.messages - self.older.messages);
        counters.unsynced_since_unix_ns.set(self.older.unix_ns);
        counters.unsynced_end.set(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the exact figures, over appends and syncs of any size.
    #[test]
    fn what_is_told_is_never_less_than_what_is_at_risk() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut at_risk = AtRisk::default();
        let mut unsynced: Vec<(u64, u64, u64)> = Vec::new();
        let (mut end, mut synced) = (0, 0);
        for now in 1..50_000 {
            if random.u8(..5) == 0 {
                synced = random.u64(synced..=end);
                unsynced.retain(|(_, end, _)| *end > synced);
                continue;
            }
            // Other sessions' records lie between.
            let position = end + 64 * random.u64(..3);
            end = position + 64 * random.u64(1..5);
            at_risk.append(position, end, now, synced);
            unsynced.push((position, end, now));
            let bytes: u64 = unsynced.iter().map(|(position, end, _)| end - position).sum();
            let counters = &at_risk.counters;
            assert!(counters.unsynced_bytes.value() >= bytes);
            assert!(counters.unsynced_messages.value() >= unsynced.len() as u64);
            assert!(counters.unsynced_since_unix_ns.value() <= unsynced[0].2);
            assert_eq!(counters.unsynced_end.value(), end);
        }
        at_risk.append(end, end + 64, 50_000, end);
        assert_eq!((at_risk.counters.unsynced_bytes.value(), at_risk.counters.unsynced_messages.value()), (64, 1));
    }

    #[test]
    fn under_a_steady_flow_no_more_than_twice_is_told_of_what_is_at_risk_at_most() {
        let mut at_risk = AtRisk::default();
        let mut most = 0;
        for number in 0..10_000 {
            // Each hundred messages a sync of what there was a hundred before: from 100 to 200 are at risk.
            let synced = (number / 100_u64).saturating_sub(1) * 100 * 64;
            at_risk.append(number * 64, (number + 1) * 64, number, synced);
            most = most.max(at_risk.counters.unsynced_messages.value());
        }
        assert!((200..=400).contains(&most), "{most}");
    }
}
