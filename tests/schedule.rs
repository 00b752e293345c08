//! Two whole engines under a virtual clock, an initiator and an acceptor whose sessions keep schedules: days that end and begin,
//! changes of the clock, days off, resets in session, and crashes and restarts before, at and after all of these.
//!
//! The wire's checker lets numbers begin again only where a Logon says so or where a test has permitted it, at the moment of a
//! period's start. How often a session's numbers have begun again is told by its notices, over all lives of its engine.

use fixring::application::{Application, Delivery, Handle};
use fixring::config::Config;
use fixring::engine::Event;
use fixring::fix::{Message, UtcTimestamp, tags};
use fixring::session::Notice;
use fixring::simulate::wire::Wire;
use fixring::simulate::{Crash, Node, Running, VirtualClock};
use fixring::transport::simulated::{Host, SimulatedNetwork};
use jiff::Timestamp;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// Rounds without any work after which nothing is under way.
const QUIET_ROUNDS: u32 = 4;
const ROUNDS_MAX: u32 = 10_000;

const HOURS: &str = "schedule = { start = \"08:00\", end = \"17:00\", days = \"Mon..Fri\" }";
const RESET: &str = "schedule = { reset = \"17:00\" }";

/// Says one thing at each logon, so that numbers move.
struct Talker;

impl Application for Talker {
    fn on_message(&mut self, _session: &mut Handle<'_>, _message: &Message<'_>, _delivery: Delivery) {}

    fn on_established(&mut self, session: &mut Handle<'_>) {
        let has_headline = &*session.identity().begin_string != b"FIX.4.0";
        let sent = session.send(b"B", |body| {
            if has_headline {
                body.bytes(148, b"news");
            }
            // LinesOfText(33)
            body.uint(33, 1).bytes(tags::TEXT, b"hello");
        });
        assert!(sent.is_ok());
    }
}

struct Side {
    node: Node,
    running: Option<Running<Talker>>,
    resets: u32,
    /// When it was logged on, and when it was no longer.
    log_ons: Vec<String>,
    log_outs: Vec<String>,
}

struct World {
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    random: fastrand::Rng,
    hosts: u32,
    sides: [Side; 2],
}

const DESK: usize = 0;
const VENUE: usize = 1;

impl World {
    /// `desk` and `venue` are what their sessions say beside the identity.
    fn new(desk: &str, venue: &str) -> World {
        fastrand::seed(7);
        let common = "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"16KiB\"\nconnections_max = 8\n\
             pending_connections_max = 4\nlogon_timeout = \"5s\"\nlogout_timeout = \"2s\"\n\
             [persistence]\nring_bytes = \"64KiB\"\nsegment_bytes = \"64KiB\"\nsegments = 4\n[control]\nlisten = \"off\"\n";
        let version = if desk.contains("begin_string") { "" } else { "begin_string = \"FIX.4.4\"\n" };
        let target = if venue.contains("target_comp_id") { "" } else { "target_comp_id = \"DESK\"\n" };
        let desk = format!(
            "{common}[[session]]\nsender_comp_id = \"DESK\"\ntarget_comp_id = \"VENUE\"\nrole = \"initiator\"\n\
             connect = [\"10.0.0.1:9880\"]\nreconnect_min = \"1s\"\nreconnect_max = \"1min\"\nheartbeat_seconds = 3600\n\
             {version}{desk}\n"
        );
        let venue = format!(
            "{common}[[acceptor]]\nlisten = \"10.0.0.1:9880\"\n[[session]]\nsender_comp_id = \"VENUE\"\n\
             {target}{version}{venue}\n"
        );
        let side = |text: &str| Side {
            node: Node::new(Config::parse(text, "world").unwrap_or_else(|error| panic!("{error}\n{text}"))),
            running: None,
            resets: 0,
            log_ons: Vec::new(),
            log_outs: Vec::new(),
        };
        World {
            clock: VirtualClock::default(),
            network: SimulatedNetwork::new(7),
            wire: Wire::default(),
            random: fastrand::Rng::with_seed(7),
            hosts: 0,
            sides: [side(&desk), side(&venue)],
        }
    }

    /// Both keep the same schedule, from this moment on.
    fn both(session: &str, from: &str) -> World {
        let mut world = World::new(session, session);
        world.pass_to(from);
        world.start(VENUE);
        world.start(DESK);
        world
    }

    fn start(&mut self, side: usize) {
        self.hosts += 1;
        let (host, now) = (Host(self.hosts), self.clock.now());
        let running = self.sides[side].node.start(now, &self.network, &self.wire, host, |_| Talker);
        self.sides[side].running = Some(running.expect("a sound volume"));
    }

    fn crash(&mut self, side: usize, crash: Crash) {
        self.listen(side);
        let running = self.sides[side].running.take().expect("it runs");
        self.sides[side].node.crash(running, &self.network, crash, &mut self.random);
    }

    fn stop(&mut self, side: usize) {
        let now = self.clock.now();
        self.sides[side].running.as_mut().expect("it runs").worker.request_stop(now);
        for _ in 0..ROUNDS_MAX {
            self.round();
            self.clock.advance(MS);
            if self.sides[side].running.as_ref().is_some_and(|running| running.worker.is_finished()) {
                return self.crash(side, Crash::Node);
            }
        }
        panic!("the stop does not end");
    }

    /// Nobody runs.
    fn pass_to(&mut self, moment: &str) {
        self.clock.advance(unix_ns(moment) - self.clock.now().utc.unix_ns);
    }

    /// Runs up to this moment, from timer to timer.
    fn run_to(&mut self, moment: &str) {
        let end_ns = unix_ns(moment);
        loop {
            self.settle();
            let now = self.clock.now();
            let left_ns = end_ns.saturating_sub(now.utc.unix_ns);
            if left_ns == 0 {
                return;
            }
            let idle = self.sides.iter().flat_map(|side| &side.running).map(|running| running.worker.idle_ns(now));
            self.clock.advance(idle.min().unwrap_or(u64::MAX).clamp(MS, left_ns.max(MS)).min(left_ns));
        }
    }

    /// Runs at this moment until nothing is under way.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round() == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// A turn of each part of each side.
    fn round(&mut self) -> u32 {
        let now = self.clock.now();
        let mut work = 0;
        for side in [DESK, VENUE] {
            if let Some(running) = &mut self.sides[side].running {
                work += running.worker.turn(now, None);
                let journal = &mut running.journals[0];
                journal.flusher.turn(now.monotonic_ns).expect("a sound volume");
                journal.stager.turn().expect("a sound volume");
            }
            self.listen(side);
        }
        work
    }

    fn listen(&mut self, side: usize) {
        let now = Timestamp::from_nanosecond(i128::from(self.clock.now().utc.unix_ns)).unwrap();
        let time = now.strftime("%a %d %H:%M:%S").to_string();
        let side = &mut self.sides[side];
        for event in side.running.as_mut().map(Running::events).unwrap_or_default() {
            match event {
                Event::Noticed { notice: Notice::NumbersReset { .. }, .. } => side.resets += 1,
                Event::LoggedOn { .. } => side.log_ons.push(time.clone()),
                Event::LoggedOut { .. } => side.log_outs.push(time.clone()),
                _ => {}
            }
        }
    }

    fn numbers(&self, side: usize) -> (u64, u64) {
        self.sides[side].running.as_ref().expect("it runs").worker.numbers(0, 0)
    }

    fn resets(&self) -> [u32; 2] {
        [self.sides[DESK].resets, self.sides[VENUE].resets]
    }

    /// Logged on both, and agreed.
    fn assert_joined(&self, what: &str) {
        for side in &self.sides {
            assert!(side.running.as_ref().is_some_and(Running::all_established), "{what}: {:?}", self.resets());
        }
        let ((desk_out, desk_in), (venue_out, venue_in)) = (self.numbers(DESK), self.numbers(VENUE));
        assert_eq!((desk_out, desk_in), (venue_in, venue_out), "{what}");
    }

    fn assert_parted(&self) {
        let established = |side: &Side| side.running.as_ref().is_some_and(Running::all_established);
        assert!(!self.sides.iter().any(established));
    }
}

fn unix_ns(moment: &str) -> u64 {
    UtcTimestamp::from_unix_ns(moment.parse::<Timestamp>().unwrap().as_nanosecond() as u64).unix_ns
}

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
