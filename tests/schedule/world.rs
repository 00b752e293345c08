//! Two engines under a virtual clock whose sessions keep schedules, and what the tests of schedules do with them.

#![allow(dead_code, reason = "two tests use it, each its part")]

use fixring::application::{Application, Delivery, Handle};
use fixring::config::Config;
use fixring::engine::Event;
use fixring::fix::{Message, UtcTimestamp, tags};
use fixring::session::Notice;
use fixring::simulate::wire::Wire;
use fixring::simulate::{Crash, Node, Running, VirtualClock};
use fixring::transport::simulated::{Host, SimulatedNetwork};
use jiff::Timestamp;

pub const MS: u64 = 1_000_000;
pub const S: u64 = 1_000 * MS;
/// Rounds without any work after which nothing is under way.
const QUIET_ROUNDS: u32 = 4;
const ROUNDS_MAX: u32 = 10_000;

/// Says one thing at each logon, so that numbers move.
pub struct Talker;

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

#[path = "../whole/mod.rs"]
mod whole;

pub struct Side {
    pub node: Node,
    pub running: Option<Running<Talker>>,
    pub resets: u32,
    /// When it was logged on, and when it was no longer.
    pub log_ons: Vec<String>,
    pub log_outs: Vec<String>,
    _whole: whole::WholeVolume,
}

pub struct World {
    pub clock: VirtualClock,
    pub network: SimulatedNetwork,
    pub wire: Wire,
    pub random: fastrand::Rng,
    pub hosts: u32,
    pub sides: [Side; 2],
}

pub const DESK: usize = 0;
pub const VENUE: usize = 1;

impl World {
    /// `desk` and `venue` are what their sessions say beside the identity.
    pub fn new(desk: &str, venue: &str) -> World {
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
        let side = |text: &str| {
            let node = Node::new(Config::parse(text, "world").unwrap_or_else(|error| panic!("{error}\n{text}")));
            Side {
                _whole: whole::WholeVolume::of(&node),
                node,
                running: None,
                resets: 0,
                log_ons: Vec::new(),
                log_outs: Vec::new(),
            }
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
    pub fn both(session: &str, from: &str) -> World {
        let mut world = World::new(session, session);
        world.pass_to(from);
        world.start(VENUE);
        world.start(DESK);
        world
    }

    pub fn start(&mut self, side: usize) {
        self.hosts += 1;
        let (host, now) = (Host(self.hosts), self.clock.now());
        let running = self.sides[side].node.start(now, &self.network, &self.wire, host, |_| Talker);
        self.sides[side].running = Some(running.expect("a sound volume"));
    }

    pub fn crash(&mut self, side: usize, crash: Crash) {
        self.listen(side);
        let running = self.sides[side].running.take().expect("it runs");
        self.sides[side].node.crash(running, &self.network, crash, &mut self.random);
    }

    pub fn stop(&mut self, side: usize) {
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
    pub fn pass_to(&mut self, moment: &str) {
        self.clock.advance(unix_ns(moment) - self.clock.now().utc.unix_ns);
    }

    /// Runs up to this moment, from timer to timer.
    pub fn run_to(&mut self, moment: &str) {
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
    pub fn settle(&mut self) {
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
    pub fn round(&mut self) -> u32 {
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

    pub fn listen(&mut self, side: usize) {
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

    pub fn numbers(&self, side: usize) -> (u64, u64) {
        self.sides[side].running.as_ref().expect("it runs").worker.numbers(0, 0)
    }

    pub fn resets(&self) -> [u32; 2] {
        [self.sides[DESK].resets, self.sides[VENUE].resets]
    }

    /// The session may be logged on now.
    pub fn is_open(&self, side: usize) -> bool {
        let schedule = self.sides[side].node.config.sessions[0].schedule.as_ref().expect("a schedule");
        schedule.period_at(self.clock.now().utc.unix_s()).is_some()
    }

    pub fn are_joined(&self) -> bool {
        self.sides.iter().all(|side| side.running.as_ref().is_some_and(Running::all_established))
    }

    /// Logged on both, and agreed.
    pub fn assert_joined(&self, what: &str) {
        for side in &self.sides {
            assert!(side.running.as_ref().is_some_and(Running::all_established), "{what}: {:?}", self.resets());
        }
        let ((desk_out, desk_in), (venue_out, venue_in)) = (self.numbers(DESK), self.numbers(VENUE));
        assert_eq!((desk_out, desk_in), (venue_in, venue_out), "{what}");
    }

    pub fn assert_parted(&self) {
        let established = |side: &Side| side.running.as_ref().is_some_and(Running::all_established);
        assert!(!self.sides.iter().any(established));
    }
}

pub fn unix_ns(moment: &str) -> u64 {
    UtcTimestamp::from_unix_ns(moment.parse::<Timestamp>().unwrap().as_nanosecond() as u64).unix_ns
}
