//! Two engines whose sessions keep a schedule, and a wall clock that is far ahead for a while: over starts and resets that are still to come.

#[path = "schedule/world.rs"]
mod world;

use fixring::simulate::Crash;
use world::{DESK, S, VENUE, World};

const HOURS: &str = "schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }";
const RESET: &str = "schedule = { reset = \"17:00\" }";
const DAY_NS: i64 = 24 * 3600 * S as i64;

/// What becomes of the engines while the clock is ahead, and when it is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// They die and start again after it was set back and they have seen it.
    RestartAfter,
    /// They are down when it is set back.
    Down,
}

impl World {
    /// The clock is ahead for a while, over starts and resets that are still to come, and is set back.
    fn ahead_and_back(
        &mut self,
        ahead_ns: i64,
        back_ns: i64,
        until_ahead: &str,
        until_back: &str,
        meanwhile: Meanwhile,
    ) {
        self.wire.permit_reset();
        self.clock.set_forward(ahead_ns);
        self.run_to(until_ahead);
        if meanwhile == Meanwhile::Down {
            [DESK, VENUE].into_iter().for_each(|side| self.crash(side, Crash::Process));
        }
        self.clock.set_forward(-back_ns);
        if meanwhile == Meanwhile::Down {
            [VENUE, DESK].into_iter().for_each(|side| self.start(side));
        }
        self.run_to(until_back);
        if meanwhile == Meanwhile::RestartAfter {
            for side in [VENUE, DESK] {
                self.crash(side, Crash::Process);
                self.start(side);
            }
        }
    }
}

#[test]
fn a_clock_that_was_days_ahead_leaves_no_start_undone_and_none_done_twice() {
    for meanwhile in [Meanwhile::Nothing, Meanwhile::RestartAfter, Meanwhile::Down] {
        let mut world = World::both(HOURS, "2026-01-05T07:00:00Z");
        world.wire.permit_reset();
        world.run_to("2026-01-05T10:00:00Z");
        world.assert_joined("Monday");
        let before = world.resets();
        let (ahead, back) = ("2026-01-08T10:05:00Z", "2026-01-05T10:20:00Z");
        world.ahead_and_back(3 * DAY_NS, 3 * DAY_NS, ahead, back, meanwhile);
        let ahead = world.resets();
        assert_eq!(ahead, before.map(|resets| resets + 1), "{meanwhile:?}: Thursday's, by the clock");
        world.run_to("2026-01-05T10:30:00Z");
        world.assert_joined("Monday again");
        assert_eq!(world.resets(), ahead, "{meanwhile:?}: Monday's start was done");
        for (days, day) in (1..).zip(6..10) {
            world.wire.permit_reset();
            world.run_to(&format!("2026-01-{day:02}T08:02:00Z"));
            world.assert_joined("another day");
            assert_eq!(world.resets(), ahead.map(|resets| resets + days), "{meanwhile:?}: each start once");
            assert!(world.numbers(DESK).0 < 5, "{meanwhile:?}: {:?}", world.numbers(DESK));
        }
    }
}

#[test]
fn a_clock_that_is_set_back_between_the_hours_leaves_no_start_undone() {
    for meanwhile in [Meanwhile::Nothing, Meanwhile::RestartAfter] {
        let mut world = World::both(HOURS, "2026-01-05T07:00:00Z");
        world.wire.permit_reset();
        world.run_to("2026-01-05T10:00:00Z");
        // From Thursday morning to Monday evening.
        let back_ns = 3 * DAY_NS - 8 * 3600 * S as i64;
        let (ahead, back) = ("2026-01-08T10:05:00Z", "2026-01-05T18:10:00Z");
        world.ahead_and_back(3 * DAY_NS, back_ns, ahead, back, meanwhile);
        world.assert_parted();
        let before = world.resets();
        for (days, day) in (1..).zip(6..10) {
            world.wire.permit_reset();
            world.run_to(&format!("2026-01-{day:02}T08:02:00Z"));
            world.assert_joined("another day");
            assert_eq!(world.resets(), before.map(|resets| resets + days), "{meanwhile:?}: each start once");
        }
    }
}

#[test]
fn a_clock_that_was_ahead_over_a_reset_in_session_leaves_it_for_its_time() {
    for meanwhile in [Meanwhile::Nothing, Meanwhile::RestartAfter, Meanwhile::Down] {
        let mut world = World::both(RESET, "2026-01-05T12:00:00Z");
        world.run_to("2026-01-05T13:00:00Z");
        world.assert_joined("before");
        world.ahead_and_back(2 * DAY_NS, 2 * DAY_NS, "2026-01-07T13:05:00Z", "2026-01-05T13:20:00Z", meanwhile);
        world.run_to("2026-01-05T16:59:00Z");
        world.assert_joined("before the reset");
        let before = world.resets();
        for (days, day) in (1..).zip(5..9) {
            world.run_to(&format!("2026-01-{day:02}T17:05:00Z"));
            world.assert_joined("after a reset");
            assert_eq!(world.resets(), before.map(|resets| resets + days), "{meanwhile:?}: each reset once");
            assert!(world.numbers(DESK).0 < 5, "{meanwhile:?}: {:?}", world.numbers(DESK));
        }
    }
}
