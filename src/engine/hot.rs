//! Which connections are read in every turn without asking for readiness, and whether that pays.
//!
//! To try a socket that has nothing costs about as much as to ask epoll for all of them. So up to [`HOT_MAX`] connections are
//! tried in each turn, and readiness of the others is asked for now and then only. That is right as long as nearly all messages
//! come from those few: each of the others' waits for some turns. Where more connections take part, the list is *crowded*: then
//! readiness is asked for in each turn and names whom to read. The list goes on remembering who brought bytes last, and
//! is used again once that would have hit for long enough.

use crate::transport::ConnectionId;

/// Connections that are tried in each turn, at most.
pub(crate) const HOT_MAX: usize = 4;
/// What a message from outside the list weighs against one from within: it waits for half of [`super::worker`]'s poll interval, of
/// turns that try a few sockets each, where the others gain less than one call of epoll.
const MISS_WEIGHT: u32 = 16;
/// Two misses may be a change of the active ones; a third within as many hits is not.
const CROWDED_FROM: u32 = 2 * MISS_WEIGHT + 1;
/// How much is remembered: after so many hits in a row the list is used again.
const MISSES_MAX: u32 = 128;

#[derive(Debug)]
pub(crate) struct Hot {
    /// Who brought bytes last stands last.
    ids: Vec<ConnectionId>,
    misses: u32,
    is_crowded: bool,
}

impl Hot {
    pub fn new() -> Self {
        Self { ids: Vec::with_capacity(HOT_MAX), misses: 0, is_crowded: false }
    }

    /// Each turn asks for readiness, and no connection is tried without it.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// How many are tried in each turn.
    #[inline]
    pub fn len(&self) -> usize {
        if self.is_crowded { 0 } else { self.ids.len() }
    }

    #[inline]
    pub fn get(&self, at: usize) -> Option<ConnectionId> {
        self.ids.get(at).copied()
    }

    /// The connection is closed, or has brought nothing for long.
    pub fn remove(&mut self, id: ConnectionId) {
        self.ids.retain(|hot| *hot != id);
    }

    /// The connection brought bytes, all that there were. Answers one that is no longer tried in each turn, and has to be looked at
    /// once more. Where the list has become crowded that is so of all in it.
    #[inline]
    pub fn brought(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        if self.ids.last() == Some(&id) && !self.is_crowded {
            self.misses = self.misses.saturating_sub(1);
            return None;
        }
        self.take(id)
    }

    fn take(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        if let Some(at) = self.ids.iter().position(|hot| *hot == id) {
            self.ids[at..].rotate_left(1);
            self.misses = self.misses.saturating_sub(1);
            self.is_crowded &= self.misses > 0;
            return None;
        }
        let mut evicted = None;
        if self.ids.len() == HOT_MAX {
            evicted = Some(self.ids.remove(0));
            self.misses = (self.misses + MISS_WEIGHT).min(MISSES_MAX);
            self.is_crowded |= self.misses >= CROWDED_FROM;
        }
        self.ids.push(id);
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(slot: u32) -> ConnectionId {
        ConnectionId::new(slot, 0)
    }

    fn bring(hot: &mut Hot, ids: impl IntoIterator<Item = u32>) {
        for id in ids {
            let _ = hot.brought(id_of(id));
        }
    }

    #[test]
    fn as_many_active_connections_as_the_list_holds_are_tried_in_each_turn() {
        let mut hot = Hot::new();
        for _ in 0..100 {
            bring(&mut hot, 0..HOT_MAX as u32);
        }
        assert!(!hot.is_crowded() && hot.len() == HOT_MAX);
    }

    #[test]
    fn one_active_connection_more_makes_it_crowded_and_few_for_long_enough_uncrowd_it() {
        let mut hot = Hot::new();
        bring(&mut hot, (0..=HOT_MAX as u32).cycle().take(10));
        assert!(hot.is_crowded() && hot.len() == 0);
        bring(&mut hot, (0..2).cycle().take(40));
        assert!(hot.is_crowded(), "not after a moment's calm");
        bring(&mut hot, (0..2).cycle().take(2 * MISSES_MAX as usize));
        assert!(!hot.is_crowded() && hot.len() == HOT_MAX);
    }

    #[test]
    fn connections_that_seldom_bring_something_do_not_make_it_crowded() {
        let mut hot = Hot::new();
        for rare in 0..1_000 {
            bring(&mut hot, (0..3).cycle().take(30));
            bring(&mut hot, [10 + rare]);
            assert!(!hot.is_crowded(), "{rare}");
        }
    }

    #[test]
    fn who_was_silent_longest_makes_room() {
        let mut hot = Hot::new();
        bring(&mut hot, [0, 1, 2, 3, 0]);
        assert_eq!(hot.brought(id_of(4)), Some(id_of(1)));
        hot.remove(id_of(2));
        assert_eq!(hot.brought(id_of(5)), None);
    }
}
