//! The sequence lease of one session (DESIGN 5): which outgoing numbers are reserved on stable media.
//!
//! A number leaves only if it is below the durable lease or its own commit is on stable media. In both cases recovery finds that it
//! is used up, whatever else a dead node takes with it: numbers below the lease are passed over after a loss, the others are in the
//! journal. So nothing waits for the lease but the commit that would go beyond it, and that one is synced instead.
//!
//! Blocks follow the session's rate, so that a renewal is durable long before the block is used up, and a quiet session leaves a small gap
//! behind. A session whose mode is `sync` needs no lease: none of its messages leaves before it is on stable media.

use crate::config::SEQUENCE_GAP_MIN;
use crate::journal::Mode;

/// What a session reserves beyond its next number, at least.
const LEASE_NUMBERS_MIN: u64 = SEQUENCE_GAP_MIN as u64;
/// Half a block lasts so long at the rate of the block before: longer than a sync that is held up.
const HALF_BLOCK_NS: u64 = 100_000_000;

#[derive(Debug)]
pub(crate) struct Lease {
    /// As the session's newest record states it: numbers below are reserved. 0 where none was taken in this epoch.
    stated: u64,
    /// What of it is known to be on stable media; `u64::MAX` where every commit is synced anyway.
    durable: u64,
    /// Where the commit ends that states `stated`, until that is synced.
    stated_at: Option<u64>,
    /// While the next number is no higher, there is nothing to do.
    watch: u64,
    /// A look is due at the end of the turn.
    is_listed: bool,
    block: u64,
    block_max: u64,
    /// When `stated` was taken, and the next number then.
    taken_ns: u64,
    taken_at: u64,
    /// Messages whose commit had to be synced for want of a lease.
    pub waits: u64,
}

/// What a number beyond the watch asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Look {
    /// The session is to be listed for the end of the turn.
    pub list: bool,
    /// The commit that uses the number has to be on stable media before it leaves.
    pub sync: bool,
}

impl Lease {
    /// As recovery found it: on stable media.
    pub fn new(mode: Mode, recovered: u64, next_out: u64, block_max: u32) -> Self {
        let block_max = u64::from(block_max).max(LEASE_NUMBERS_MIN);
        let mut lease = Self {
            // In `sync` one from an earlier configuration is not carried on.
            stated: if mode == Mode::Sync { 0 } else { recovered },
            durable: if mode == Mode::Sync { u64::MAX } else { recovered },
            stated_at: None,
            watch: 0,
            is_listed: false,
            block: recovered.saturating_sub(next_out).clamp(LEASE_NUMBERS_MIN, block_max),
            block_max,
            taken_ns: 0,
            taken_at: next_out,
            waits: 0,
        };
        lease.set_watch();
        lease
    }

    pub fn stated(&self) -> u64 {
        self.stated
    }

    /// Whether nothing is to be done about a next number. The message path's one question.
    #[inline]
    pub fn is_quiet(&self, next_out: u64) -> bool {
        next_out <= self.watch
    }

    /// Looks closer. `synced` is the journal's mark.
    #[cold]
    pub fn look(&mut self, next_out: u64, synced: u64) -> Look {
        self.settle(synced);
        let sync = next_out > self.durable;
        self.waits += u64::from(sync);
        let list = !self.is_listed && (sync || self.is_due(next_out));
        self.is_listed |= list;
        self.set_watch();
        Look { list, sync }
    }

    /// At the end of the turn: the bound to state for a session that is established, where a renewal is due.
    pub fn renewal(&mut self, next_out: u64, synced: u64, now_ns: u64) -> Option<u64> {
        self.is_listed = false;
        self.settle(synced);
        let stated = self.stated;
        if self.is_due(next_out) {
            self.take(next_out, now_ns);
        }
        self.set_watch();
        (self.stated > stated).then_some(self.stated)
    }

    /// The renewal is part of a commit that ends here.
    pub fn stated_in(&mut self, commit_end: u64) {
        self.stated_at = Some(commit_end);
        self.set_watch();
    }

    /// The session is established from now on: whether it is to be listed for its first renewal.
    pub fn wants_look(&mut self, next_out: u64) -> bool {
        let list = !self.is_listed && !self.is_quiet(next_out);
        self.is_listed |= list;
        list
    }

    /// At the end of the turn, of a session that is not established: it takes no lease, so that numbers move no further if its node dies
    /// again before it has logged on.
    pub fn put_off(&mut self) {
        self.is_listed = false;
        self.set_watch();
    }

    /// A new epoch. Its record holds back everything of the session until it is synced, and what that states with it: the lease is as
    /// good as durable. Without a connection there is nobody to send to, and none is taken.
    pub fn open_epoch(&mut self, next_out: u64, is_connected: bool, now_ns: u64) {
        self.stated = 0;
        self.stated_at = None;
        if self.durable == u64::MAX {
            return;
        }
        if is_connected {
            self.take(next_out, now_ns);
        }
        self.durable = self.stated;
        self.set_watch();
    }

    /// Raises the bound by a block that lasts as long as it should at the rate of the last, and is at most twice that or half of it.
    fn take(&mut self, next_out: u64, now_ns: u64) {
        let used = next_out.saturating_sub(self.taken_at);
        let elapsed_ns = now_ns.saturating_sub(self.taken_ns).max(1);
        let wanted = u128::from(used) * 2 * u128::from(HALF_BLOCK_NS) / u128::from(elapsed_ns);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        self.block = wanted.clamp(self.block / 2, self.block * 2).clamp(LEASE_NUMBERS_MIN, self.block_max);
        (self.taken_ns, self.taken_at) = (now_ns, next_out);
        // Never lowered within an epoch: what was reserved may have been used.
        self.stated = self.stated.max(next_out.saturating_add(self.block));
    }

    fn settle(&mut self, synced: u64) {
        if self.stated_at.is_some_and(|end| synced >= end) {
            self.stated_at = None;
            self.durable = self.durable.max(self.stated);
        }
    }

    /// Half of the block is used, and no renewal is on its way.
    fn is_due(&self, next_out: u64) -> bool {
        self.durable != u64::MAX && self.stated_at.is_none() && next_out > self.renew_at()
    }

    fn renew_at(&self) -> u64 {
        self.stated.saturating_sub(self.block / 2)
    }

    fn set_watch(&mut self) {
        self.watch = match self.durable {
            u64::MAX => u64::MAX,
            durable if self.is_listed || self.stated_at.is_some() => durable,
            durable => durable.min(self.renew_at()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const QUIET: Look = Look { list: false, sync: false };

    /// A session that sends so many a second, whose renewals are on stable media so long after they are stated. Answers how many of
    /// its messages had to wait in each second.
    fn waits_by_second(mut lease: Lease, rate: u64, sync_ns: u64, seconds: u64) -> Vec<u64> {
        let mut next_out = 1;
        let (mut synced, mut stated): (u64, Option<u64>) = (0, None);
        let mut waits = Vec::new();
        for second in 0..seconds {
            let before = lease.waits;
            for at in 0..rate {
                let now_ns = second * SECOND_NS + at * SECOND_NS / rate;
                if stated.is_some_and(|ns| ns + sync_ns <= now_ns) {
                    (synced, stated) = (synced + 1, None);
                }
                next_out += 1;
                if !lease.is_quiet(next_out) {
                    let look = lease.look(next_out, synced);
                    if look.list && lease.renewal(next_out, synced, now_ns).is_some() {
                        lease.stated_in(synced + 1);
                        stated = Some(now_ns);
                    }
                }
                assert!(lease.stated() <= next_out + 16_384);
            }
            waits.push(lease.waits - before);
        }
        waits
    }

    #[test]
    fn a_new_session_is_synced_until_its_first_lease_is() {
        let mut lease = Lease::new(Mode::Buffered, 0, 1, 16_384);
        assert_eq!(lease.look(2, 0), Look { list: true, sync: true });
        assert_eq!(lease.look(3, 0), Look { list: false, sync: true }, "listed once a turn");
        assert_eq!(lease.renewal(3, 0, SECOND_NS), Some(3 + LEASE_NUMBERS_MIN));
        lease.stated_in(640);
        assert!(lease.look(4, 639).sync && !lease.look(4, 640).sync);
        assert!(lease.is_quiet(20) && lease.waits == 3);
    }

    #[test]
    fn one_renewal_is_on_its_way_at_a_time_and_numbers_beyond_the_durable_one_are_synced() {
        let mut lease = Lease::new(Mode::Flush, 65, 1, 16_384);
        assert!(lease.is_quiet(33) && !lease.is_quiet(34));
        assert_eq!(lease.look(34, 0), Look { list: true, sync: false });
        let stated = lease.renewal(34, 0, SECOND_NS).unwrap();
        lease.stated_in(640);
        assert!(lease.is_quiet(65));
        assert!(lease.look(66, 639).sync);
        assert_eq!(lease.renewal(66, 639, SECOND_NS), None);
        assert_eq!((lease.look(66, 640), lease.stated()), (QUIET, stated));
    }

    #[test]
    fn a_session_that_is_not_established_takes_none_and_is_looked_at_again_when_it_is() {
        let mut lease = Lease::new(Mode::Buffered, 64, 64, 16_384);
        assert_eq!(lease.look(65, 0), Look { list: true, sync: true });
        lease.put_off();
        assert_eq!(lease.stated(), 64);
        assert!(lease.wants_look(65) && !lease.wants_look(65));
        assert_eq!(lease.renewal(65, 0, SECOND_NS), Some(65 + LEASE_NUMBERS_MIN));
    }

    #[test]
    fn in_sync_there_is_no_lease_and_none_is_carried_on() {
        let mut lease = Lease::new(Mode::Sync, 500, 10, 16_384);
        assert!(lease.is_quiet(u64::MAX) && lease.stated() == 0 && !lease.wants_look(11));
        assert_eq!(lease.renewal(501, 0, 0), None);
        lease.open_epoch(1, true, 0);
        assert!(lease.stated() == 0 && lease.is_quiet(u64::MAX));
    }

    #[test]
    fn a_new_epoch_has_its_own_lease_at_once_where_there_is_a_connection() {
        let mut lease = Lease::new(Mode::Buffered, 5_000, 4_000, 16_384);
        lease.open_epoch(1, true, 1);
        assert!((65..1_000).contains(&lease.stated()) && lease.is_quiet(2));
        lease.open_epoch(1, false, 2);
        assert_eq!((lease.stated(), lease.is_quiet(2)), (0, false));
    }

    #[test]
    fn blocks_follow_the_rate_and_a_quiet_session_leaves_a_small_gap() {
        let fast = waits_by_second(Lease::new(Mode::Buffered, 0, 1, 16_384), 100_000, 11_000_000, 3);
        assert!(fast[0] > 0 && fast[1..] == [0, 0], "{fast:?}");
        let slow = waits_by_second(Lease::new(Mode::Buffered, 0, 1, 16_384), 50, 11_000_000, 3);
        assert_eq!(slow[1..], [0, 0], "{slow:?}");

        let mut lease = Lease::new(Mode::Buffered, 16_000, 1, 16_384);
        let (mut next_out, mut now_ns) = (1, 0);
        for _ in 0..40 {
            (next_out, now_ns) = (next_out.max(lease.stated()), now_ns + 60 * SECOND_NS);
            if lease.renewal(next_out, u64::MAX, now_ns).is_some() {
                lease.stated_in(0);
            }
        }
        assert_eq!(lease.stated() - next_out, LEASE_NUMBERS_MIN);
    }

    #[test]
    fn no_block_is_longer_than_configured_nor_shorter_than_the_least() {
        for (configured, most) in [(64, 64), (1_000, 1_000), (1, 64)] {
            let mut lease = Lease::new(Mode::Buffered, 0, 1, configured);
            for next_out in (1..100_000).step_by(500) {
                if let Some(stated) = lease.renewal(next_out, u64::MAX, next_out) {
                    assert!(stated <= next_out + most, "{stated} for {next_out}");
                    lease.stated_in(0);
                }
            }
        }
    }
}
