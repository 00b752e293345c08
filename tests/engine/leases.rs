//! The sequence lease in a whole engine: its node dies at each step of a session's life, over several renewals, and what it sends next is
//! never below what has left.

use fixring::application::{Application, Delivery, Handle, Rollback, SessionNumber, Sessions};
use fixring::config::Config;
use fixring::fix::Message;
use fixring::session::Notice;
use fixring::transport::simulated::{Host, SimulatedNetwork};

use crate::peers::whole::WholeVolume;
use crate::peers::{MS, Peer, types};
use fixring::simulate::wire::Wire;
use fixring::simulate::{Crash, Node, Running, VirtualClock};

/// Sends one message a turn once it is logged on, so that a lease is used up soon.
#[derive(Default)]
struct Ticker {
    left: u32,
    rollbacks: Vec<(SessionNumber, Rollback)>,
    /// Rollbacks that were known when the first message was sent.
    known_at_first_message: Option<usize>,
}

impl Application for Ticker {
    fn on_message(&mut self, _session: &mut Handle<'_>, _message: &Message<'_>, _delivery: Delivery) {}

    fn on_rollback(&mut self, session: SessionNumber, rollback: Rollback) {
        self.rollbacks.push((session, rollback));
    }

    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        for number in sessions.numbers() {
            let Some(mut session) = sessions.handle(number).filter(Handle::is_established) else { continue };
            if self.left > 0
                && session.send(b"B", |body| _ = body.bytes(148, b"tick").uint(33, 1).bytes(58, b"x")).is_ok()
            {
                self.left -= 1;
                self.known_at_first_message.get_or_insert(self.rollbacks.len());
            }
        }
    }
}

const NUMBERS: u32 = 230;
/// What is sent while the volume does not answer: two seconds of 10,000 a second.
const STALL_NUMBERS: u32 = 20_000;

fn config(mode: &str, gap_max: u32, next_expected: bool) -> Config {
    let text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\n[persistence]\nring_bytes = \"64KiB\"\n\
         segment_bytes = \"64KiB\"\nsegments = 4\nflush_interval = \"50us\"\nmode = \"{mode}\"\nsequence_gap_max = {gap_max}\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"10.0.0.1:9880\"\n[[session]]\nbegin_string = \"FIX.4.4\"\n\
         sender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\nnext_expected_msg_seq_num = {next_expected}\n"
    );
    Config::parse(&text, "leases").unwrap_or_else(|error| panic!("{error}"))
}

/// An engine and its peer, one step at a time.
struct World {
    clock: VirtualClock,
    network: SimulatedNetwork,
    wire: Wire,
    node: Node,
    engine: Option<Running<Ticker>>,
    hosts: u32,
    steps_left: u32,
    /// Messages that the application sends.
    numbers: u32,
    _whole: WholeVolume,
}

impl World {
    fn new(config: Config, steps: u32) -> Self {
        Self::with_numbers(config, steps, NUMBERS)
    }

    fn with_numbers(config: Config, steps: u32, numbers: u32) -> Self {
        let (clock, network) = (VirtualClock::default(), SimulatedNetwork::new(1));
        let node = Node::new(config);
        let wire = Wire::default();
        let _whole = WholeVolume::of(&node);
        let mut world = Self { clock, network, wire, node, engine: None, hosts: 0, steps_left: steps, numbers, _whole };
        world.start();
        world
    }

    fn host(&mut self) -> Host {
        self.hosts += 1;
        Host(self.hosts)
    }

    fn start(&mut self) {
        let host = self.host();
        let numbers = self.numbers;
        let make = |_| Ticker { left: numbers, ..Ticker::default() };
        let engine = self.node.start(self.clock.now(), &self.network, &self.wire, host, make);
        let engine = engine.expect("a sound volume");
        for (_, rollback) in &engine.journals[0].rollbacks {
            self.wire.rolled_back("VENUE", "DESK", *rollback);
        }
        self.engine = Some(engine);
    }

    fn peer(&mut self) -> Peer {
        let host = self.host();
        Peer {
            transport: self.network.transport(host, &[]),
            connection: None,
            clock: self.clock.clone(),
            comp_id: "DESK".into(),
            target_comp_id: "VENUE".into(),
            next_out: 1,
            received: Vec::new(),
        }
    }

    /// One step of the worker or of the flusher. False once there is none left.
    fn step(&mut self, of_worker: bool) -> bool {
        if self.steps_left == 0 {
            return false;
        }
        self.steps_left -= 1;
        self.clock.advance(MS / 20);
        let engine = self.engine.as_mut().expect("it runs");
        if of_worker {
            engine.worker.turn(self.clock.now(), None);
        } else {
            engine.journals[0].flusher.turn(self.clock.now().monotonic_ns).expect("a sound volume");
        }
        true
    }

    fn node_dies(&mut self, random: &mut fastrand::Rng) {
        let engine = self.engine.take().expect("it runs");
        self.node.crash(engine, &self.network, Crash::Node, random);
    }

    /// One more than the highest number that has left.
    fn left(&self) -> u64 {
        self.wire.seen().flow("VENUE", "DESK").map_or(1, |flow| flow.next)
    }
}

/// As far as `steps` go: a logon and some hundred messages, each flushed after two turns of the worker.
fn live(world: &mut World, peer: &mut Peer) {
    peer.connect();
    peer.logon();
    let mut step = 0;
    while world.step(step % 3 != 2) {
        step += 1;
        peer.receive();
    }
}

#[test]
fn no_number_that_has_left_is_used_again_wherever_the_node_dies() {
    let mut seen = (0, 0, 0);
    for mode in ["buffered", "flush"] {
        for steps in 0..400 {
            let random = &mut fastrand::Rng::with_seed(steps.into());
            let mut world = World::new(config(mode, 64, false), steps);
            let mut peer = world.peer();
            live(&mut world, &mut peer);
            let left = world.left();
            world.node_dies(random);
            world.start();
            let engine = world.engine.as_ref().expect("it runs");
            let found = engine.journals[0].recovered.iter().find(|session| session.number == 0);
            let (next_out, lease) = found.map_or((1, 0), |found| (found.next_out, found.lease));
            assert!(next_out >= left, "{mode} after {steps} steps: goes on at {next_out}, {} left", left - 1);
            let rollbacks = engine.journals[0].rollbacks.clone();
            assert!(rollbacks.iter().all(|(_, rollback)| rollback.lost_to - rollback.lost_from <= 64), "{rollbacks:?}");
            assert_eq!(engine.worker.application(0).rollbacks.len(), rollbacks.len());
            let moved = rollbacks.iter().any(|(_, rollback)| rollback.lost_from < rollback.lost_to);
            seen = (seen.0 + u32::from(moved), seen.1.max(lease), seen.2 + u32::from(!moved));

            // A second death before the session has logged on again moves nothing further.
            world.steps_left = steps % 7;
            while world.step(world.steps_left.is_multiple_of(2)) {}
            world.node_dies(random);
            world.start();
            let found = world.engine.as_ref().and_then(|engine| engine.journals[0].recovered.first());
            assert_eq!(found.map_or(1, |found| found.next_out), next_out, "{mode} after {steps} steps");
        }
    }
    assert!(seen.0 > 300 && seen.1 > 3 * 64 && seen.2 > 0, "{seen:?}");
}

#[test]
fn in_sync_a_node_s_death_moves_nothing_and_no_lease_is_taken() {
    for steps in (0..400).step_by(7) {
        let mut world = World::new(config("sync", 64, false), steps);
        let mut peer = world.peer();
        live(&mut world, &mut peer);
        let left = world.left();
        world.node_dies(&mut fastrand::Rng::with_seed(steps.into()));
        world.start();
        let engine = world.engine.as_ref().expect("it runs");
        for found in &engine.journals[0].recovered {
            assert!(found.next_out >= left && found.lease == 0, "{found:?}");
        }
        assert!(engine.journals[0].rollbacks.iter().all(|(_, rollback)| rollback.lost_from == rollback.lost_to));
    }
}

/// The peer finds a gap and gets a gap fill; or with 789 there is none.
#[test]
fn a_rolled_back_session_goes_on_by_a_gap_fill_or_where_the_peer_expects_it() {
    for next_expected in [false, true] {
        let mut world = World::new(config("buffered", 64, next_expected), 250);
        let mut peer = world.peer();
        live(&mut world, &mut peer);
        let expected = world.left();
        world.node_dies(&mut fastrand::Rng::with_seed(1));
        world.start();
        let (_, rollback) = world.engine.as_ref().expect("it runs").journals[0].rollbacks[0];
        assert!(rollback.lost_from < expected && expected < rollback.lost_to, "{rollback:?} {expected}");

        let next_out = peer.next_out;
        let mut peer = world.peer();
        peer.next_out = next_out;
        peer.connect();
        let state = expected.to_string();
        let logon = [(98, "0"), (108, "30"), (789, &*state)];
        peer.send(b"A", if next_expected { &logon } else { &logon[..2] });
        world.steps_left = 60;
        let mut heard = Vec::new();
        let mut step = 0;
        let mut asked = false;
        while world.step(step % 3 != 2) {
            step += 1;
            world.engine.as_mut().expect("it runs").journals[0].stager.turn().expect("a sound volume");
            heard.extend(peer.receive());
            if !asked && !next_expected && !heard.is_empty() {
                asked = true;
                peer.send(b"2", &[(7, &state), (16, "0")]);
            }
        }
        let logon_number = format!("|34={}|", if next_expected { expected } else { rollback.lost_to });
        assert!(types(&heard[..1]) == "A" && heard[0].contains(&logon_number), "{heard:?}");
        let fill = heard.iter().find(|message| message.contains("|35=4|"));
        assert_eq!(fill.is_none(), next_expected, "{heard:?}");
        if let Some(fill) = fill {
            let to = format!("|34={expected}|43=Y|");
            assert!(fill.contains(&to) && fill.contains("|123=Y|"), "{fill}");
        }
        assert!(!heard.iter().any(|message| message.contains("|35=5|")), "{heard:?}");
        let engine = world.engine.as_mut().expect("it runs");
        assert_eq!(engine.worker.application(0).known_at_first_message, Some(1), "told before the first message");
        let resumed = engine
            .events()
            .into_iter()
            .any(|event| matches!(event, fixring::engine::Event::Noticed { notice: Notice::Resumed { .. }, .. }));
        assert_eq!(resumed, next_expected);
        let counters = engine.shared.journal(0);
        assert_eq!(counters.sessions_rolled_back.value(), 1);
        assert_eq!(counters.numbers_passed_over.value(), rollback.lost_to - rollback.lost_from);
    }
}

/// A volume froze for two seconds, and sessions in buffered waited for it after 64 numbers, with the ring empty.
#[test]
fn a_volume_that_freezes_for_two_seconds_delays_no_session_in_buffered() {
    let text = "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\n[persistence]\nsegments = 3\n[control]\nlisten = \"off\"\n\
                [[acceptor]]\nlisten = \"10.0.0.1:9880\"\n[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\n\
                target_comp_id = \"DESK\"\n";
    // It freezes as soon as the session is logged on, or in the middle of its life.
    for numbers_before in [0_u32, 1_000, 30_000] {
        let mut world = World::with_numbers(Config::parse(text, "leases").unwrap(), u32::MAX, u32::MAX);
        let mut peer = world.peer();
        peer.connect();
        peer.logon();
        let mut received = 0;
        while received < 1 + u64::from(numbers_before) {
            world.step(true);
            received += peer.receive().len() as u64;
            world.step(false);
        }
        // The renewal that is under way becomes durable.
        for _ in 0..100 {
            world.step(false);
        }
        let before = received;
        for turn in 1..=u64::from(STALL_NUMBERS) {
            world.clock.advance(MS / 10);
            world.engine.as_mut().expect("it runs").worker.turn(world.clock.now(), None);
            received += peer.receive().len() as u64;
            assert!(received + 2 >= before + turn, "message {turn} of the stall waits, after {numbers_before}");
        }
    }
}
