//! The sequence lease of one session (DESIGN 5): which outgoing numbers are reserved on stable media.
//!
//! A number leaves only if it is below the durable lease or its own commit is on stable media. In both cases recovery finds that it
//! is used up, whatever else a dead node takes with it: numbers below the lease are passed over after a loss, the others are in the
//! journal. So nothing waits for the lease but the commit that would go beyond it, and that one is synced instead.
//!
//! Each block is `sequence_gap_max` numbers long and is renewed when a quarter of it is used. So a volume that does not answer delays
//! nobody for the other three quarters, whatever the session did before: neither its first burst nor one after an idle hour. A session
//! whose mode is `sync` needs no lease: none of its messages leaves before it is on stable media.

use crate::config::SEQUENCE_GAP_MIN;
use crate::journal::Mode;

/// A block has so many parts; when the first is used, the next block is taken.
const BLOCK_PARTS: u64 = 4;

const _: () = assert!(SEQUENCE_GAP_MIN as u64 >= BLOCK_PARTS);

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
    /// Numbers that are reserved at a time.
    block: u64,
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
    pub fn new(mode: Mode, recovered: u64, block: u32) -> Self {
        let mut lease = Self {
            // In `sync` one from an earlier configuration is not carried on.
            stated: if mode == Mode::Sync { 0 } else { recovered },
            durable: if mode == Mode::Sync { u64::MAX } else { recovered },
            stated_at: None,
            watch: 0,
            is_listed: false,
            block: block.max(SEQUENCE_GAP_MIN).into(),
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
    pub fn renewal(&mut self, next_out: u64, synced: u64) -> Option<u64> {
        self.is_listed = false;
        self.settle(synced);
        let stated = self.stated;
        if self.is_due(next_out) {
            self.take(next_out);
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
    pub fn open_epoch(&mut self, next_out: u64, is_connected: bool) {
        self.stated = 0;
        self.stated_at = None;
        if self.durable == u64::MAX {
            return;
        }
        if is_connected {
            self.take(next_out);
        }
        self.durable = self.stated;
        self.set_watch();
    }

    /// Raises the bound to a block beyond the next number.
    fn take(&mut self, next_out: u64) {
        // Never lowered within an epoch: what was reserved may have been used.
        self.stated = self.stated.max(next_out.saturating_add(self.block));
    }

    fn settle(&mut self, synced: u64) {
        if self.stated_at.is_some_and(|end| synced >= end) {
            self.stated_at = None;
            self.durable = self.durable.max(self.stated);
        }
    }

    /// The first part of the block is used, and no renewal is on its way.
    fn is_due(&self, next_out: u64) -> bool {
        self.durable != u64::MAX && self.stated_at.is_none() && next_out > self.renew_at()
    }

    fn renew_at(&self) -> u64 {
        self.stated.saturating_sub(self.block - self.block / BLOCK_PARTS)
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

    const QUIET: Look = Look { list: false, sync: false };

    /// The ends of two turns of a volume that answers: what was stated is synced, and what that made due is stated and synced.
    fn volume_answers(lease: &mut Lease, next_out: u64, synced: &mut u64) {
        for _ in 0..2 {
            *synced += 1;
            lease.look(next_out, *synced);
            if lease.renewal(next_out, *synced).is_some() {
                lease.stated_in(*synced + 1);
            }
        }
        *synced += 1;
        lease.look(next_out, *synced);
    }

    /// Uses so many numbers while the volume does not answer, and returns how many of them had to wait.
    fn waits_in_a_stall(lease: &mut Lease, next_out: &mut u64, synced: u64, numbers: u64) -> u64 {
        let before = lease.waits;
        for _ in 0..numbers {
            *next_out += 1;
            if !lease.is_quiet(*next_out)
                && lease.look(*next_out, synced).list
                && lease.renewal(*next_out, synced).is_some()
            {
                lease.stated_in(synced + 1);
            }
        }
        lease.waits - before
    }

    #[test]
    fn a_new_session_is_synced_until_its_first_lease_is() {
        let mut lease = Lease::new(Mode::Buffered, 0, 64);
        assert_eq!(lease.look(2, 0), Look { list: true, sync: true });
        assert_eq!(lease.look(3, 0), Look { list: false, sync: true }, "listed once a turn");
        assert_eq!(lease.renewal(3, 0), Some(3 + 64));
        lease.stated_in(640);
        assert!(lease.look(4, 639).sync && !lease.look(4, 640).sync);
        assert_eq!(lease.renewal(4, 640), None, "the block is hardly used");
        assert!(lease.is_quiet(19) && !lease.is_quiet(20) && lease.waits == 3);
    }

    #[test]
    fn one_renewal_is_on_its_way_at_a_time_and_numbers_beyond_the_durable_one_are_synced() {
        let mut lease = Lease::new(Mode::Flush, 65, 64);
        assert!(lease.is_quiet(17) && !lease.is_quiet(18));
        assert_eq!(lease.look(18, 0), Look { list: true, sync: false });
        let stated = lease.renewal(18, 0).unwrap();
        lease.stated_in(640);
        assert!(lease.is_quiet(65));
        assert!(lease.look(66, 639).sync);
        assert_eq!(lease.renewal(66, 639), None);
        assert_eq!((lease.look(34, 640), lease.stated()), (QUIET, stated));
    }

    #[test]
    fn a_session_that_is_not_established_takes_none_and_is_looked_at_again_when_it_is() {
        let mut lease = Lease::new(Mode::Buffered, 64, 64);
        assert_eq!(lease.look(65, 0), Look { list: true, sync: true });
        lease.put_off();
        assert_eq!(lease.stated(), 64);
        assert!(lease.wants_look(65) && !lease.wants_look(65));
        assert_eq!(lease.renewal(65, 0), Some(65 + 64));
    }

    #[test]
    fn in_sync_there_is_no_lease_and_none_is_carried_on() {
        let mut lease = Lease::new(Mode::Sync, 500, 16_384);
        assert!(lease.is_quiet(u64::MAX) && lease.stated() == 0 && !lease.wants_look(11));
        assert_eq!(lease.renewal(501, 0), None);
        lease.open_epoch(1, true);
        assert!(lease.stated() == 0 && lease.is_quiet(u64::MAX));
    }

    #[test]
    fn a_new_epoch_has_its_own_lease_at_once_where_there_is_a_connection() {
        let mut lease = Lease::new(Mode::Buffered, 50_000, 1_000);
        lease.open_epoch(1, true);
        assert!(lease.stated() == 1_001 && lease.is_quiet(2));
        lease.open_epoch(1, false);
        assert_eq!((lease.stated(), lease.is_quiet(2)), (0, false));
    }

    /// A volume that froze for 2 s delayed sessions after 64 numbers.
    #[test]
    fn a_volume_that_does_not_answer_delays_nobody_for_three_quarters_of_a_block() {
        const BLOCK: u64 = 65_536;
        let mut lease = Lease::new(Mode::Buffered, 0, BLOCK as u32);
        let (mut next_out, mut synced) = (1, 0);
        assert!(lease.wants_look(next_out) && lease.renewal(next_out, synced).is_some());
        lease.stated_in(1);
        // It freezes at once, and again wherever the block before was left.
        for used_before in [0, 1, BLOCK / 4 - 1, BLOCK / 4, BLOCK / 2, BLOCK * 3 / 4] {
            volume_answers(&mut lease, next_out, &mut synced);
            assert_eq!(waits_in_a_stall(&mut lease, &mut next_out, synced, used_before), 0, "{used_before}");
            volume_answers(&mut lease, next_out, &mut synced);
            assert_eq!(waits_in_a_stall(&mut lease, &mut next_out, synced, BLOCK * 3 / 4), 0, "{used_before}");
            assert!(lease.stated() <= next_out + BLOCK, "{used_before}");
        }
        assert!(waits_in_a_stall(&mut lease, &mut next_out, synced, BLOCK) > 0, "and it is bounded");
    }

    #[test]
    fn no_block_is_longer_than_configured_nor_shorter_than_the_least() {
        for (configured, most) in [(64, 64), (1_000, 1_000), (1, 64)] {
            let mut lease = Lease::new(Mode::Buffered, 0, configured);
            for next_out in (1..100_000).step_by(500) {
                if let Some(stated) = lease.renewal(next_out, u64::MAX) {
                    assert_eq!(stated, next_out + most, "for {next_out}");
                    lease.stated_in(0);
                }
            }
        }
    }
}
