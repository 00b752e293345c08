//! One seeded world: its nodes, its steps, its faults, and what must hold in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::application::Application;
use crate::config::Config;
use crate::transport::simulated::{Host, SimulatedNetwork};

use super::desk::Desk;
use super::node::{Crash, Node, Running, VirtualClock};
use super::venue::Venue;
use super::wire::Wire;

const FAULTS_A_WORLD: u32 = 60;
const STEPS_BETWEEN_FAULTS_MAX: u32 = 250;
/// In a few worlds, so that their journals go round.
const STEPS_BETWEEN_FAULTS_LONG_MAX: u32 = 1_500;
/// An engine that is down starts again after so many steps at most.
const STEPS_DOWN_MAX: u32 = 60;
/// All segments of a journal together.
const JOURNAL_KIB_MIN: u64 = 512;
/// How long the undisturbed world may take to become quiet: steps of a millisecond.
const STEPS_TO_QUIET_MAX: u32 = 60_000;

/// What the worlds met.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub worlds: u64,
    pub crashes: u64,
    pub pods: u64,
    pub nodes: u64,
    pub within_a_flush: u64,
    pub within_recovery: u64,
    pub clean_stops: u64,
    pub cuts: u64,
    pub orders: u64,
    pub messages: u64,
    pub resent: u64,
    pub gap_fills: u64,
    pub resets: u64,
    pub ring_full: u64,
    pub segments_rolled: u64,
    pub segments_recycled: u64,
    pub hash: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.crashes += other.crashes;
        self.pods += other.pods;
        self.nodes += other.nodes;
        self.within_a_flush += other.within_a_flush;
        self.within_recovery += other.within_recovery;
        self.clean_stops += other.clean_stops;
        self.cuts += other.cuts;
        self.orders += other.orders;
        self.messages += other.messages;
        self.resent += other.resent;
        self.gap_fills += other.gap_fills;
        self.resets += other.resets;
        self.ring_full += other.ring_full;
        self.segments_rolled += other.segments_rolled;
        self.segments_recycled += other.segments_recycled;
        self.hash ^= other.hash;
    }
}

/// What the seed decides for the whole world.
#[derive(Clone, Debug)]
struct Plan {
    sessions: usize,
    begin_string: &'static str,
    resets: bool,
    news: bool,
    steps_between_faults_max: u32,
    /// The gravest crash that the weakest mode of each side's sessions survives: desk, venue.
    worst: [Crash; 2],
}

/// One side of the world: a machine, and the engine on it while there is one.
struct Side<A: Application> {
    name: &'static str,
    node: Node,
    running: Option<Running<A>>,
    worst: Crash,
    /// Steps until a dead engine starts again.
    down: u32,
    /// The engine before ended in order.
    stopped_cleanly: bool,
    /// Its flusher gets no turn, so that the ring fills.
    starved: bool,
}

pub struct World {
    random: fastrand::Rng,
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    plan: Plan,
    quiet: Arc<AtomicBool>,
    next_host: u32,
    desk: Side<Desk>,
    venue: Side<Venue>,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        // The engine's jitter comes from the thread's generator.
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let modes = [random.usize(..3), random.usize(..3)];
        let resets = random.u8(..8) == 0;
        let plan = Plan {
            sessions: random.usize(1..4),
            begin_string: ["FIX.4.2", "FIX.4.4", "FIXT.1.1"][random.usize(..3)],
            resets,
            news: random.bool(),
            steps_between_faults_max: match random.u8(..10) {
                0 => STEPS_BETWEEN_FAULTS_LONG_MAX,
                _ => STEPS_BETWEEN_FAULTS_MAX,
            },
            worst: modes.map(|mode| [Crash::Process, Crash::Pod, Crash::Node][mode]),
        };
        let desk = config(&mut random, &plan, modes[0], true);
        let venue = config(&mut random, &plan, modes[1], false);
        Self {
            clock: VirtualClock::default(),
            network: SimulatedNetwork::new(seed),
            wire: Wire::default(),
            quiet: Arc::default(),
            next_host: 0,
            desk: Side::new("desk", desk, plan.worst[0]),
            venue: Side::new("venue", venue, plan.worst[1]),
            seen: Seen { worlds: 1, ..Seen::default() },
            plan,
            random,
        }
    }

    pub fn run(mut self) -> Seen {
        self.start_desk();
        self.start_venue();
        for _ in 0..FAULTS_A_WORLD {
            for _ in 0..self.random.u32(..self.plan.steps_between_faults_max) {
                self.step();
            }
            self.fault();
        }
        self.come_to_rest();
        self.check_end();
        let wire = self.wire.seen();
        (self.seen.hash, self.seen.messages) = (wire.hash, wire.messages);
        (self.seen.resent, self.seen.gap_fills) = (wire.resent, wire.gap_fills);
        self.seen.resets = wire.ways.values().map(|flow| u64::from(flow.epoch)).sum();
        drop(wire);
        self.seen
    }

    /// One part of one engine takes one turn.
    fn step(&mut self) {
        // Mostly moments; now and then so long that heartbeats and timeouts come due.
        self.clock.advance(match self.random.u8(..) {
            0 => self.random.u64(..400_000_000),
            1..20 => self.random.u64(..10_000_000),
            _ => self.random.u64(..100_000),
        });
        if self.desk.is_due() {
            self.start_desk();
        }
        if self.venue.is_due() {
            self.start_venue();
        }
        let part = self.random.u8(..100);
        if self.random.bool() {
            self.desk.turn(part, &self.clock);
        } else {
            self.venue.turn(part, &self.clock);
        }
        self.end_stopped();
    }

    fn fault(&mut self) {
        match self.random.u8(..20) {
            0..5 => self.crash_desk(false),
            5..10 => self.crash_venue(false),
            10 => self.crash_desk(true),
            11 => self.crash_venue(true),
            12..14 => {
                self.network.cut_all();
                self.seen.cuts += 1;
            }
            14 => self.desk.request_stop(&self.clock),
            15 => self.venue.request_stop(&self.clock),
            16 => self.desk.node.stalled.set(!self.desk.node.stalled.get()),
            17 => self.venue.node.stalled.set(!self.venue.node.stalled.get()),
            18 => self.desk.starved = !self.desk.starved,
            _ => self.venue.starved = !self.venue.starved,
        }
    }

    fn crash_desk(&mut self, within_a_flush: bool) {
        let crash = self.desk.crash(within_a_flush, &self.clock, &self.network, &mut self.random, &mut self.seen);
        self.count_crash(crash);
    }

    fn crash_venue(&mut self, within_a_flush: bool) {
        let crash = self.venue.crash(within_a_flush, &self.clock, &self.network, &mut self.random, &mut self.seen);
        self.count_crash(crash);
    }

    fn count_crash(&mut self, crash: Option<Crash>) {
        self.seen.crashes += u64::from(crash.is_some());
        self.seen.pods += u64::from(crash == Some(Crash::Pod));
        self.seen.nodes += u64::from(crash == Some(Crash::Node));
    }

    fn start_desk(&mut self) {
        let (sessions, resets) = (self.plan.sessions, self.plan.resets);
        let (seed, quiet) = (self.random.u64(..), Arc::clone(&self.quiet));
        let host = self.host();
        let recovery = self.injected_failure();
        self.desk.start(&self.clock, &self.network, &self.wire, host, recovery, &mut self.seen, |_| {
            Desk::new(seed, sessions, quiet, resets)
        });
        self.check_desk_recovered();
    }

    fn start_venue(&mut self) {
        let sessions = if self.plan.news { self.plan.sessions } else { 0 };
        let (seed, quiet) = (self.random.u64(..), Arc::clone(&self.quiet));
        let host = self.host();
        let recovery = self.injected_failure();
        self.venue.start(&self.clock, &self.network, &self.wire, host, recovery, &mut self.seen, |environment| {
            Venue::new(seed, sessions, environment.snapshot_bytes_max, quiet)
        });
        self.check_recovered(false);
    }

    fn host(&mut self) -> Host {
        self.next_host += 1;
        Host(self.next_host)
    }

    fn injected_failure(&mut self) -> Option<u64> {
        (!self.quiet.load(Ordering::Relaxed) && self.random.u8(..6) == 0).then(|| self.random.u64(..6))
    }

    fn end_stopped(&mut self) {
        self.desk.end_stopped(&self.network, &mut self.random, &mut self.seen);
        self.venue.end_stopped(&self.network, &mut self.random, &mut self.seen);
    }

    /// Every number that had left is stored: the next one is beyond it.
    fn check_recovered(&self, is_desk: bool) {
        let recovered = if is_desk {
            self.desk.running.as_ref().map(|running| &running.recovered)
        } else {
            self.venue.running.as_ref().map(|running| &running.recovered)
        };
        let Some(recovered) = recovered else { return };
        let wire = self.wire.seen();
        for session in 0..self.plan.sessions {
            let (desk, venue) = (format!("DESK{session}"), "VENUE".to_string());
            let flow = if is_desk { wire.flow(&desk, &venue) } else { wire.flow(&venue, &desk) };
            let Some(flow) = flow else { continue };
            let found = recovered.iter().find(|found| found.number == session as u32);
            let found = found.unwrap_or_else(|| panic!("session {session} sent and is not in the journal"));
            // A reset that has not left yet begins again at 1, in an epoch that the wire has not seen.
            if !self.plan.resets {
                assert!(found.next_out >= flow.next, "{desk}: next {} where {} left", found.next_out, flow.next - 1);
            }
        }
    }

    fn check_desk_recovered(&self) {
        self.check_recovered(true);
        let Some(running) = &self.desk.running else { return };
        let accounts = &running.worker.application(0).accounts;
        let wire = self.wire.seen();
        for (session, account) in accounts.iter().enumerate() {
            let Some(flow) = wire.flow(&format!("DESK{session}"), "VENUE") else { continue };
            let sent = flow.orders.len() as u64;
            assert!(account.next_order > sent, "session {session}: {sent} orders left, {account:?}");
        }
    }

    /// Undisturbed, until everything is answered and both sides agree.
    fn come_to_rest(&mut self) {
        self.quiet.store(true, Ordering::Relaxed);
        self.desk.undisturbed();
        self.venue.undisturbed();
        for _ in 0..STEPS_TO_QUIET_MAX {
            self.clock.advance(1_000_000);
            if self.desk.is_due() {
                self.start_desk();
            }
            if self.venue.is_due() {
                self.start_venue();
            }
            self.desk.turn_all(&self.clock);
            self.venue.turn_all(&self.clock);
            self.end_stopped();
            if self.is_quiet() {
                return;
            }
        }
        panic!("not at rest: {}", self.describe());
    }

    fn is_quiet(&self) -> bool {
        let (Some(desk), Some(venue)) = (&self.desk.running, &self.venue.running) else { return false };
        let agree = |session| {
            let (out, awaited) = (desk.worker.numbers(0, session), venue.worker.numbers(0, session));
            out.0 == awaited.1 && out.1 == awaited.0
        };
        let answered = |account: &super::desk::Account| account.unanswered.is_empty() || self.plan.resets;
        desk.all_established()
            && venue.all_established()
            && (0..self.plan.sessions as u32).all(agree)
            && desk.worker.application(0).accounts.iter().all(answered)
    }

    fn check_end(&mut self) {
        let (Some(desk), Some(venue)) = (&self.desk.running, &self.venue.running) else { panic!("both run") };
        let wire = self.wire.seen();
        assert!(wire.rejects.is_empty(), "{:?}", wire.rejects);
        let told = &venue.worker.application(0).told;
        for (session, account) in desk.worker.application(0).accounts.iter().enumerate() {
            self.seen.orders += account.answered;
            if self.plan.resets {
                continue;
            }
            let name = format!("DESK{session}");
            // What left arrived: the desk counts each order's one report, and refuses a second.
            assert_eq!(account.answered, account.next_order - 1, "{name}: {account:?}");
            let flow = wire.flow("VENUE", &name).expect("the venue answered");
            assert_eq!(account.answered, flow.reports.len() as u64, "{name}: reports that left");
            assert_eq!(account.next_news - 1, told.get(session).copied().unwrap_or(0), "{name}: news");
        }
        for (rolled, segments) in [desk.segments(&self.desk.node), venue.segments(&self.venue.node)] {
            self.seen.segments_rolled += rolled;
            self.seen.segments_recycled += (rolled + 1).saturating_sub(segments);
        }
    }

    fn describe(&self) -> String {
        let numbers = |side: &str, numbers: Option<Vec<(u64, u64)>>| format!("{side}: {numbers:?}");
        let sessions = || 0..self.plan.sessions as u32;
        let desk = self.desk.running.as_ref().map(|desk| sessions().map(|at| desk.worker.numbers(0, at)).collect());
        let venue = self.venue.running.as_ref().map(|venue| sessions().map(|at| venue.worker.numbers(0, at)).collect());
        let accounts = self.desk.running.as_ref().map(|desk| &desk.worker.application(0).accounts);
        format!("{:?} {} {} {accounts:?}", self.plan, numbers("desk", desk), numbers("venue", venue))
    }
}

impl<A: Application> Running<A> {
    /// How many segments the journal has come through, and how many there are.
    fn segments(&self, node: &Node) -> (u64, u64) {
        let geometry = node.settings.geometry;
        (self.flusher.watermarks().appended() / geometry.segment_bytes, geometry.segments.into())
    }
}

impl<A: Application> Side<A> {
    fn new(name: &'static str, config: Config, worst: Crash) -> Self {
        Self { name, node: Node::new(config), running: None, worst, down: 0, stopped_cleanly: false, starved: false }
    }

    fn is_due(&mut self) -> bool {
        self.down = self.down.saturating_sub(1);
        self.running.is_none() && self.down == 0
    }

    #[allow(clippy::too_many_arguments, reason = "the world's parts, which the caller holds")]
    fn start(
        &mut self,
        clock: &VirtualClock,
        network: &SimulatedNetwork,
        wire: &Wire,
        host: Host,
        failure: Option<u64>,
        seen: &mut Seen,
        make: impl FnOnce(crate::engine::Environment) -> A,
    ) {
        if let Some(calls) = failure {
            self.node.storage.fail_after(calls);
        }
        self.running = self.node.start(clock.now(), network, wire, host, make);
        self.node.storage.crash_process();
        let Some(running) = &self.running else {
            // Died within its recovery. The next attempt finds what this one left.
            seen.within_recovery += 1;
            seen.crashes += 1;
            self.down = 1;
            return;
        };
        assert!(!self.stopped_cleanly || running.report.clean_stop, "{}: {}", self.name, running.report);
        self.stopped_cleanly = false;
    }

    fn turn(&mut self, part: u8, clock: &VirtualClock) {
        let Some(running) = &mut self.running else { return };
        let now = clock.now();
        match part {
            0..60 => _ = running.worker.turn(now, None),
            60..85 if !self.starved => {
                running.flusher.turn(now.monotonic_ns).expect("a sound volume");
            }
            60..85 => {}
            _ => _ = running.stager.turn().expect("a sound volume"),
        }
    }

    fn turn_all(&mut self, clock: &VirtualClock) {
        if let Some(running) = &mut self.running {
            running.turn(clock.now());
        }
    }

    fn undisturbed(&mut self) {
        self.starved = false;
        self.node.stalled.set(false);
    }

    fn request_stop(&mut self, clock: &VirtualClock) {
        if let Some(running) = &mut self.running {
            running.worker.request_stop(clock.now());
        }
    }

    /// Ends an engine whose graceful stop is complete. It survives whatever happens to its machine.
    fn end_stopped(&mut self, network: &SimulatedNetwork, random: &mut fastrand::Rng, seen: &mut Seen) {
        let Some(running) = self.running.take_if(|running| running.worker.is_finished()) else { return };
        seen.clean_stops += 1;
        seen.ring_full += running.shared.journal(0).ring_full.value();
        let crash = [Crash::Process, Crash::Pod, Crash::Node][random.usize(..3)];
        self.node.crash(running, network, crash, random);
        self.down = random.u32(1..STEPS_DOWN_MAX);
        self.stopped_cleanly = true;
    }

    fn crash(
        &mut self,
        within_a_flush: bool,
        clock: &VirtualClock,
        network: &SimulatedNetwork,
        random: &mut fastrand::Rng,
        seen: &mut Seen,
    ) -> Option<Crash> {
        let mut running = self.running.take()?;
        if within_a_flush {
            self.node.storage.fail_after(random.u64(..3));
            let failed = running.flusher.drain(clock.now().monotonic_ns).is_err();
            seen.within_a_flush += u64::from(failed);
            // What did not reach the volume is not released either.
            running.worker.turn(clock.now(), None);
        }
        let crash = match random.u8(..3) {
            0 => Crash::Process,
            1 => Crash::Pod.min(self.worst),
            _ => self.worst,
        };
        seen.ring_full += running.shared.journal(0).ring_full.value();
        self.node.crash(running, network, crash, random);
        self.down = random.u32(1..STEPS_DOWN_MAX);
        Some(crash)
    }
}

/// A small engine: rings wrap, segments are recycled, queues overflow.
fn config(random: &mut fastrand::Rng, plan: &Plan, mode: usize, is_desk: bool) -> Config {
    const MODES: [&str; 3] = ["buffered", "flush", "sync"];
    let ring_kib = [64, 64, 64, 128, 256][random.usize(..5)];
    let segment_kib = ring_kib * random.u64(1..3);
    // A resend must find what a peer has missed meanwhile, see `UNANSWERED_MAX` and `NEWS_MAX`: with less than this it may
    // have been recycled, which is a loss by design.
    let segments = (JOURNAL_KIB_MIN.div_ceil(segment_kib) as u32).max(4) + random.u32(..2);
    let flush_us = [50, 1_000, 5_000][random.usize(..3)];
    let mut text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"{}KiB\"\nconnections_max = 64\n\
         pending_connections_max = 16\nlogon_timeout = \"1s\"\nlogout_timeout = \"500ms\"\nprobe_timeout = \"200ms\"\n\
         [persistence]\nmode = \"{}\"\nring_bytes = \"{ring_kib}KiB\"\nsegment_bytes = \"{segment_kib}KiB\"\n\
         segments = {segments}\nflush_interval = \"{flush_us}us\"\n[control]\nlisten = \"off\"\n",
        random.u32(8..17),
        MODES[mode],
    );
    if !is_desk {
        text += "[[acceptor]]\nlisten = \"10.0.0.1:9880\"\n";
    }
    for session in 0..plan.sessions {
        // A session may be stronger than the rest.
        let mode = if random.u8(..3) == 0 { random.usize(mode..3) } else { mode };
        let next_expected = plan.begin_string != "FIX.4.2" && random.bool();
        text += &format!(
            "[[session]]\nbegin_string = \"{}\"\nmode = \"{}\"\nheartbeat_seconds = 1\nheld_messages_max = {}\n\
             held_bytes_max = \"4KiB\"\nnext_expected_msg_seq_num = {next_expected}\n",
            plan.begin_string,
            MODES[mode],
            random.u32(1..12),
        );
        text += &if is_desk {
            format!(
                "role = \"initiator\"\nsender_comp_id = \"DESK{session}\"\ntarget_comp_id = \"VENUE\"\n\
                 connect = [\"10.0.0.1:9880\"]\nreconnect_min = \"5ms\"\nreconnect_max = \"50ms\"\nreset_on_logon = {}\n",
                plan.resets,
            )
        } else {
            format!("role = \"acceptor\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK{session}\"\n")
        };
    }
    Config::parse(&text, "world").unwrap_or_else(|error| panic!("{error}\n{text}"))
}
