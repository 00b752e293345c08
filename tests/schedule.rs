//! Two whole engines under a virtual clock, an initiator and an acceptor whose sessions keep schedules: days that end and begin,
//! changes of the clock, days off, resets in session, and crashes and restarts before, at and after all of these.
//!
//! The wire's checker lets numbers begin again only where a Logon says so or where a test has permitted it, at the moment of a
//! period's start. How often a session's numbers have begun again is told by its notices, over all lives of its engine.

#[path = "schedule/world.rs"]
mod world;

use fixring::simulate::Crash;
use world::{DESK, MS, S, VENUE, World};

const HOURS: &str = "schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }";
const RESET: &str = "schedule = { reset = \"17:00\" }";

#[test]
fn a_week_of_days_that_end_and_begin_with_numbers_from_one() {
    let mut world = World::both(HOURS, "2026-01-05T00:00:00Z");
    for day in 5..=9 {
        world.run_to(&format!("2026-01-{day:02}T07:59:59Z"));
        world.assert_parted();
        world.wire.permit_reset();
        world.run_to(&format!("2026-01-{day:02}T08:00:05Z"));
        world.assert_joined("in the morning");
        assert_eq!(world.numbers(DESK), (3, 3), "a Logon and a News(B) each");
        world.run_to(&format!("2026-01-{day:02}T16:59:59Z"));
        world.assert_joined("in the afternoon");
        world.run_to(&format!("2026-01-{day:02}T17:00:05Z"));
        world.assert_parted();
        assert!(world.numbers(VENUE) > (3, 3), "they begin again at the next start, not before");
    }
    world.run_to("2026-01-12T07:59:59Z");
    assert_eq!(world.resets(), [5, 5]);
    let times = ["Mon 05 08:00:00", "Tue 06 08:00:00", "Wed 07 08:00:00", "Thu 08 08:00:00", "Fri 09 08:00:00"];
    assert_eq!(world.sides[DESK].log_ons, times);
    assert_eq!(world.sides[DESK].log_outs, times.map(|time| time.replace("08:", "17:")));
    let said = world.wire.seen().logout_texts.clone();
    // Whoever has the other's Logout first answers it.
    assert!(
        said.len() == 10 && said.iter().all(|text| text.is_empty() || text == "Session time has ended"),
        "{said:?}"
    );
}

#[test]
fn a_restart_within_the_hours_goes_on_with_the_numbers() {
    let mut world = World::both(HOURS, "2026-01-05T07:00:00Z");
    world.run_to("2026-01-05T09:00:00Z");
    let (mut minute, mut numbers) = (0, world.numbers(DESK));
    for crash in [Some(Crash::Process), None, Some(Crash::Process), None] {
        for side in [DESK, VENUE] {
            match crash {
                Some(crash) => world.crash(side, crash),
                None => world.stop(side),
            }
            world.clock.advance(S);
            world.start(side);
            minute += 3;
            world.run_to(&format!("2026-01-05T10:{minute:02}:00Z"));
            world.assert_joined("after a restart");
            assert!(world.numbers(DESK) > numbers);
            numbers = world.numbers(DESK);
        }
    }
    assert_eq!(world.resets(), [1, 1]);
}

#[test]
fn a_start_that_nobody_was_there_for_is_made_up_for_once() {
    let mut world = World::both(HOURS, "2026-01-05T07:00:00Z");
    world.run_to("2026-01-05T12:00:00Z");
    world.crash(DESK, Crash::Process);
    world.stop(VENUE);
    world.pass_to("2026-01-06T10:00:00Z");
    world.wire.permit_reset();
    for hour in 11..15 {
        world.start(VENUE);
        world.start(DESK);
        world.run_to(&format!("2026-01-06T{hour}:00:00Z"));
        world.assert_joined("after a restart");
        assert_eq!(world.resets(), [2, 2]);
        world.stop(DESK);
        world.crash(VENUE, Crash::Process);
    }
}

#[test]
fn hours_follow_daylight_saving() {
    let hours = HOURS.replace("days", "zone = \"America/New_York\", days");
    let mut world = World::both(&hours, "2026-03-06T00:00:00Z");
    for day in 6..=10 {
        world.wire.permit_reset();
        world.run_to(&format!("2026-03-{day:02}T23:00:00Z"));
    }
    let times = ["Fri 06 13:00:00", "Mon 09 12:00:00", "Tue 10 12:00:00"];
    assert_eq!(world.sides[VENUE].log_ons, times);
    assert_eq!(world.sides[VENUE].log_outs, ["Fri 06 22:00:00", "Mon 09 21:00:00", "Tue 10 21:00:00"]);
    assert_eq!(world.resets(), [3, 3]);
}

/// In the night of 1 November 2026 01:30 comes twice in New York, and with it, at a careless engine, a second reset.
#[test]
fn a_start_that_the_clock_repeats_resets_once() {
    let hours = "schedule = { start = \"01:30\", end = \"01:30\", zone = \"America/New_York\" }";
    let mut world = World::both(hours, "2026-10-31T12:00:00Z");
    world.run_to("2026-11-01T05:29:59Z");
    world.assert_joined("the day before");
    let before = world.resets();
    world.wire.permit_reset();
    world.run_to("2026-11-01T05:30:20Z");
    world.assert_joined("the first 01:30");
    world.run_to("2026-11-01T06:40:00Z");
    world.assert_joined("the second 01:30");
    for side in [DESK, VENUE] {
        world.crash(side, Crash::Process);
        world.start(side);
    }
    world.run_to("2026-11-01T08:00:00Z");
    assert_eq!(world.resets(), before.map(|resets| resets + 1));
    assert_eq!(world.sides[DESK].log_ons.len(), 3, "a restart's among them: {:?}", world.sides[DESK].log_ons);
}

#[test]
fn a_template_s_sessions_keep_its_schedule() {
    let mut world = World::new(HOURS, &format!("target_comp_id = \"*\"\n{HOURS}"));
    world.pass_to("2026-01-05T07:00:00Z");
    world.start(VENUE);
    world.start(DESK);
    world.run_to("2026-01-05T12:00:00Z");
    world.assert_joined("a session that a Logon has made");
    let before = world.sides[VENUE].resets;
    assert_eq!(before, 0, "its numbers began with it");
    world.stop(VENUE);
    world.start(VENUE);
    world.run_to("2026-01-05T18:00:00Z");
    world.assert_parted();
    world.wire.permit_reset();
    world.run_to("2026-01-06T12:00:00Z");
    world.assert_joined("the next day");
    assert_eq!(world.sides[VENUE].resets, before + 1);
}

#[test]
fn no_session_on_a_day_off() {
    let hours = HOURS.replace("days", "days_off = [\"2026-01-06\"], days");
    let mut world = World::both(&hours, "2026-01-05T00:00:00Z");
    for day in 5..=7 {
        world.wire.permit_reset();
        world.run_to(&format!("2026-01-{day:02}T20:00:00Z"));
    }
    assert_eq!(world.sides[DESK].log_ons, ["Mon 05 08:00:00", "Wed 07 08:00:00"]);
    assert_eq!(world.resets(), [2, 2]);
}

/// A day follows the day before without a pause: Logout, reset and Logon, with a crash of either side after each round of it.
#[test]
fn a_day_without_a_pause_begins_once_whenever_an_engine_dies() {
    let hours = "schedule = { start = \"17:00\", end = \"17:00\" }";
    for rounds in 0..30 {
        for side in [DESK, VENUE] {
            for crash in [Crash::Process, Crash::Node] {
                let mode = if crash == Crash::Node { "mode = \"sync\"\n" } else { "" };
                let mut world = World::both(&format!("{mode}{hours}"), "2026-01-05T12:00:00Z");
                world.run_to("2026-01-05T16:59:59.999Z");
                world.assert_joined("before");
                let before = world.resets();
                world.wire.permit_reset();
                for _ in 0..rounds {
                    // The new day's Logon comes a tenth of a second after the old day's Logout.
                    world.clock.advance(5 * MS);
                    world.round();
                }
                let what = format!("{rounds} rounds, side {side}, {crash:?}");
                world.crash(side, crash);
                world.start(side);
                world.run_to("2026-01-05T17:05:00Z");
                world.assert_joined(&what);
                assert!(world.numbers(DESK).0 < 7, "{what}: {:?}", world.numbers(DESK));
                // A reset that a node took with it was never released, and comes again.
                if crash == Crash::Process {
                    assert_eq!(world.resets(), before.map(|resets| resets + 1), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_reset_in_session_needs_no_disconnect_and_comes_once_a_day() {
    for by in ["initiator", "acceptor"] {
        let schedule = RESET.replace(" }", &format!(", reset_by = \"{by}\" }}"));
        let mut world = World::both(&schedule, "2026-01-05T12:00:00Z");
        world.run_to("2026-01-05T16:59:59Z");
        world.assert_joined("before");
        let before = world.resets();
        for day in 5..8 {
            world.run_to(&format!("2026-01-{day:02}T17:00:02Z"));
            world.assert_joined("after the reset");
            assert_eq!(world.numbers(DESK), (2, 2), "a Logon each");
            world.run_to(&format!("2026-01-{:02}T16:00:00Z", day + 1));
        }
        assert_eq!(world.resets(), before.map(|resets| resets + 3));
        assert_eq!(world.sides[DESK].log_ons.len(), 1, "the connection stood all the while");
        // And a restart does not reset again.
        world.crash(DESK, Crash::Process);
        world.stop(VENUE);
        world.start(VENUE);
        world.start(DESK);
        world.run_to("2026-01-08T16:30:00Z");
        world.assert_joined("after the restart");
        assert_eq!(world.resets(), before.map(|resets| resets + 3));
    }
}

#[test]
fn a_reset_in_session_that_a_crash_interrupts_comes_to_the_same_end() {
    for rounds in 0..30 {
        for side in [DESK, VENUE] {
            let mut world = World::both(RESET, "2026-01-05T12:00:00Z");
            world.run_to("2026-01-05T16:59:59.999Z");
            world.assert_joined("before");
            for _ in 0..rounds {
                world.clock.advance(MS);
                world.round();
            }
            world.crash(side, Crash::Process);
            world.start(side);
            world.run_to("2026-01-05T17:05:00Z");
            let what = format!("{rounds} rounds, side {side}");
            world.assert_joined(&what);
            assert!(world.numbers(DESK).0 < 7 && world.numbers(DESK).1 < 7, "{what}: {:?}", world.numbers(DESK));
        }
    }
}

#[test]
fn a_reset_in_session_that_meets_no_connection_is_made_at_the_logon() {
    let mut world = World::both(RESET, "2026-01-05T12:00:00Z");
    world.run_to("2026-01-05T16:00:00Z");
    world.stop(DESK);
    world.run_to("2026-01-05T18:00:00Z");
    assert_eq!(world.numbers(VENUE), (1, 1), "at once where there is no connection");
    world.start(DESK);
    world.run_to("2026-01-05T18:05:00Z");
    world.assert_joined("after the Logon");
    assert_eq!(world.numbers(DESK), (3, 3));
}

#[test]
fn fix_4_0_logs_out_and_on_for_a_reset_in_session() {
    let mut world = World::both(&format!("begin_string = \"FIX.4.0\"\n{RESET}"), "2026-01-05T12:00:00Z");
    world.run_to("2026-01-05T16:59:59Z");
    let before = world.resets();
    world.wire.permit_reset();
    world.run_to("2026-01-05T17:00:10Z");
    world.assert_joined("after the reset");
    assert_eq!(world.resets(), before.map(|resets| resets + 1));
    assert_eq!(world.sides[DESK].log_ons.len(), 2);
    assert!(world.wire.seen().logout_texts.contains(&"Session is reset".to_string()));
}

#[test]
fn a_logon_outside_the_hours_is_told_until_when() {
    let mut world = World::new("reset_on_logon = true", HOURS);
    world.start(VENUE);
    world.start(DESK);
    world.run_to("2026-01-05T00:10:00Z");
    world.assert_parted();
    let texts = world.wire.seen().logout_texts.clone();
    assert!(
        texts.len() > 5 && texts.iter().all(|text| text == "Session is closed until 2026-01-05T08:00:00Z"),
        "{texts:?}"
    );
    assert_eq!(world.numbers(VENUE).1, 1, "what was refused is not counted");
    world.wire.permit_reset();
    world.run_to("2026-01-05T08:02:00Z");
    world.assert_joined("within the hours");
}

#[test]
fn a_clock_that_is_set_is_noticed_and_resets_nothing_twice() {
    let mut world = World::both(HOURS, "2026-01-05T02:00:00Z");
    world.run_to("2026-01-05T03:00:00Z");
    world.assert_parted();
    world.clock.set_forward(7 * 3600 * S as i64);
    world.wire.permit_reset();
    world.run_to("2026-01-05T10:01:05Z");
    world.assert_joined("it is ten now");
    assert_eq!(world.resets(), [1, 1]);
    // Back to before the start: out of hours, and in again without another reset.
    world.clock.set_forward(-(3 * 3600 * S as i64));
    world.run_to("2026-01-05T07:10:00Z");
    world.assert_parted();
    world.run_to("2026-01-05T08:02:00Z");
    world.assert_joined("in hours again");
    assert_eq!(world.resets(), [1, 1]);
}
