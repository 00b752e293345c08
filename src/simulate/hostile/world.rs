//! One hostile world: its engine, its peers, what they do, and what must hold.

use super::choices::Choices;
use super::engine::{Engine, VENUES};
use super::peer::{Line, Party, field, script};
use crate::simulate::VirtualClock;
use crate::transport::Transport;
use crate::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};

const PEERS: Host = Host(100);
/// The hostile venue and the honest one.
const VENUE_HOSTS: [Host; 2] = [Host(101), Host(102)];
/// CompIDs that hostile peers dial in with; the last one is in no configuration.
const BAD: [(&str, &str); 6] =
    [("BAD0", "VENUE"), ("BAD1", "VENUE"), ("BADA", "HALL"), ("BADB", "HALL"), ("BADC", "HALL"), ("BAD0", "NOWHERE")];
/// Hostile peers that dial in.
const HOSTILE: usize = 8;
/// An honest peer waits no longer for an answer, in steps of the world: each gives some part of the engine a turn.
const WAIT_STEPS_MAX: u32 = 4_000;
/// Turns of a millisecond, when the hostile peers have gone: more than any connection may take to close.
const CALM_MS: u32 = 7_000;
const STOP_MS_MAX: u32 = 2_000;

/// What a world, or many, met. One that never met the hard cases proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    pub connections: u64,
    pub half_closed: u64,
    pub broken_off: u64,
    pub heard_by_hostile: u64,
    pub answers: u64,
    pub garbled: u64,
    pub logons: u64,
    /// On the worker that has no listener.
    pub handed_over: u64,
    pub logons_refused: u64,
    pub rejects: u64,
    pub gaps: u64,
    pub resent: u64,
    /// Initiators' connections to the hostile venue.
    pub dialled: u64,
}

impl Met {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.fields().into_iter().zip(other.clone().fields()) {
            *sum += *more;
        }
    }

    /// Each with its name.
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        const NAMES: [&str; 13] = [
            "connections",
            "half closed",
            "broken off",
            "heard by hostile peers",
            "answers to honest peers",
            "garbled messages",
            "logons",
            "logons on another worker",
            "logons refused",
            "rejects",
            "gaps",
            "messages resent",
            "connections of initiators",
        ];
        NAMES.into_iter().zip(self.clone().fields().map(|field| *field)).collect()
    }

    fn fields(&mut self) -> [&mut u64; 13] {
        [
            &mut self.connections,
            &mut self.half_closed,
            &mut self.broken_off,
            &mut self.heard_by_hostile,
            &mut self.answers,
            &mut self.garbled,
            &mut self.logons,
            &mut self.handed_over,
            &mut self.logons_refused,
            &mut self.rejects,
            &mut self.gaps,
            &mut self.resent,
            &mut self.dialled,
        ]
    }
}

struct Hostile {
    party: Party,
    line: Option<Line>,
}

/// A counterparty that keeps to the protocol: one that dials in and sends orders, or a venue that sends TestRequests.
struct Honest {
    party: Party,
    line: Option<Line>,
    is_venue: bool,
    /// The ClOrdID(11) or TestReqID(112) that is to come back, and since which step.
    awaited: Option<(String, u32)>,
    is_logged_on: bool,
    asked: u64,
    answered: u64,
}

pub struct World {
    choices: Choices,
    clock: VirtualClock,
    engine: Engine,
    transport: SimulatedTransport,
    venues: [SimulatedTransport; 2],
    hostile: Vec<Hostile>,
    /// The hostile venue that an initiator dials.
    venue: Hostile,
    honest: Vec<Honest>,
    met: Met,
    step: u32,
}

impl World {
    pub fn new(mut choices: Choices) -> Self {
        fastrand::seed(choices.seed);
        let (clock, network) = (VirtualClock::default(), SimulatedNetwork::new(choices.seed));
        let transport = network.transport(PEERS, &[]);
        let listening = |at: usize| network.transport(VENUE_HOSTS[at], &[VENUES[at].parse().expect("an address")]);
        let venues = [listening(0), listening(1)];
        let engine = Engine::new(&mut choices, clock.now(), &network);
        let hostile = (0..HOSTILE).map(|_| Hostile { party: Party::new("", ""), line: None }).collect();
        let venue = Hostile { party: Party::new("THEM0", "US"), line: None };
        let honest = [("GOOD0", "VENUE", false), ("GOOD1", "VENUE", false), ("THEM1", "US", true)];
        let honest = honest.map(|(comp_id, target, is_venue)| Honest::new(Party::new(comp_id, target), is_venue));
        let honest = honest.into();
        Self { choices, clock, engine, transport, venues, hostile, venue, honest, met: Met::default(), step: 0 }
    }

    pub fn run(mut self) -> Met {
        self.let_the_honest_in();
        while self.choices.next_step() {
            self.step += 1;
            self.take_step();
        }
        self.calm_down();
        self.stop();
        self.met
    }

    fn let_the_honest_in(&mut self) {
        let address = super::engine::LISTEN.parse().expect("an address");
        for honest in self.honest.iter_mut().filter(|honest| !honest.is_venue) {
            let mut line = Line::to_acceptor(self.transport.connect(address).expect("the engine listens"));
            line.say(&honest.party.message(self.clock.now(), b"A", &[(98, "0"), (108, "0")]));
            honest.line = Some(line);
        }
        for _ in 0..WAIT_STEPS_MAX {
            self.clock.advance(1_000_000);
            self.engine.turn_all(self.clock.now());
            self.accept();
            self.honest_turn();
            if self.honest.iter().all(|honest| honest.is_logged_on) {
                return;
            }
        }
        panic!("the honest counterparties are not logged on");
    }

    /// Some part of the engine takes a turn, or a peer does something.
    fn take_step(&mut self) {
        let ns = match self.choices.below(64) {
            0 => self.choices.below(300) * 1_000_000,
            1..8 => self.choices.below(5_000) * 1_000,
            _ => self.choices.below(100) * 1_000,
        };
        self.clock.advance(ns as u64);
        let (now, number) = (self.clock.now(), self.choices.below(2));
        match self.choices.below(16) {
            0..6 => self.engine.work(number, now),
            6 => self.engine.glance(number, now),
            7..9 => self.engine.flush(number, now),
            9 => self.engine.stage(number),
            10..14 => self.hostile_step(),
            14 => self.venue_step(),
            _ => self.accept(),
        }
        self.honest_turn();
    }

    fn hostile_step(&mut self) {
        let at = self.choices.below(HOSTILE);
        let (hostile, choices) = (&mut self.hostile[at], &mut self.choices);
        let Some(line) = &mut hostile.line else {
            let (comp_id, target) = *choices.of(&BAD);
            hostile.party = Party::new(comp_id, target);
            let address = super::engine::LISTEN.parse().expect("an address");
            hostile.line = Some(Line::to_acceptor(self.transport.connect(address).expect("the engine listens")));
            self.met.connections += 1;
            return;
        };
        let expected = self.engine.next_in(&hostile.party.session());
        let closes = misbehave(choices, line, &mut hostile.party, &self.clock, expected, &mut self.met);
        line.send(&mut self.transport);
        self.met.heard_by_hostile += line.receive(&mut self.transport).len() as u64;
        if closes || (line.has_ended && choices.one_in(3)) {
            self.transport.close(line.id);
            hostile.line = None;
        }
    }

    fn venue_step(&mut self) {
        let Hostile { party, line } = &mut self.venue;
        let Some(venue) = line else { return };
        let expected = self.engine.next_in(&party.session());
        let closes = misbehave(&mut self.choices, venue, party, &self.clock, expected, &mut self.met);
        venue.send(&mut self.venues[0]);
        self.met.heard_by_hostile += venue.receive(&mut self.venues[0]).len() as u64;
        if closes || venue.has_ended {
            self.venues[0].close(venue.id);
            *line = None;
        }
    }

    /// Each venue accepts one connection.
    fn accept(&mut self) {
        if let Ok(Some((id, _))) = self.venues[0].accept() {
            self.met.dialled += 1;
            let line = Line::of_initiator(id, &self.venue.party.target, &self.venue.party.comp_id);
            if let Some(old) = self.venue.line.replace(line) {
                self.venues[0].close(old.id);
            }
        }
        if let Ok(Some((id, _))) = self.venues[1].accept() {
            let honest = self.honest.iter_mut().find(|honest| honest.is_venue).expect("an honest venue");
            assert!(honest.line.is_none(), "the honest venue's connection was given up");
            honest.line = Some(Line::of_initiator(id, &honest.party.target, &honest.party.comp_id));
        }
    }

    fn honest_turn(&mut self) {
        for honest in &mut self.honest {
            let transport = if honest.is_venue { &mut self.venues[1] } else { &mut self.transport };
            honest.turn(&self.clock, transport, self.step);
        }
    }

    /// The hostile peers go, and their connections with them.
    fn calm_down(&mut self) {
        let lines = self.hostile.iter_mut().filter_map(|hostile| hostile.line.take());
        lines.for_each(|line| self.transport.close(line.id));
        let before: Vec<u64> = self.honest.iter().map(|honest| honest.answered).collect();
        for _ in 0..CALM_MS {
            self.step += 1;
            self.clock.advance(1_000_000);
            self.engine.turn_all(self.clock.now());
            self.accept();
            if let Some(line) = self.venue.line.take() {
                self.venues[0].close(line.id);
            }
            self.honest_turn();
        }
        for (honest, before) in self.honest.iter().zip(before) {
            assert!(honest.answered > before, "{} is answered", honest.party.comp_id);
            assert!(self.engine.is_established(&honest.party.session()), "{}", honest.party.comp_id);
            self.met.answers += honest.answered;
        }
        let workers = self.engine.shared.workers();
        let sum = |of: fn(&crate::control::WorkerCounters) -> u64| workers.iter().map(|worker| of(worker)).sum::<u64>();
        let open = sum(|worker| worker.connections_open.value());
        // One of an initiator's attempts may be on its way.
        let honest = self.honest.len() as u64;
        assert!((honest..=honest + 1).contains(&open), "{open} connections are open, and {honest} are in use");
        assert_eq!(sum(|worker| worker.connections_pending.value()), 0, "connections that have not logged on");
        self.met.garbled = sum(|worker| worker.garbled.value());
        self.met.logons = sum(|worker| worker.logons.value());
        self.met.handed_over = workers[1].logons.value();
        self.met.logons_refused = sum(|worker| worker.logons_refused.value());
        self.met.rejects = sum(|worker| worker.rejects_sent.value());
        self.met.gaps = sum(|worker| worker.sequence_gaps.value());
        self.met.resent = sum(|worker| worker.messages_resent.value());
    }

    fn stop(&mut self) {
        let now = self.clock.now();
        self.engine.workers.iter_mut().for_each(|worker| worker.request_stop(now));
        for _ in 0..STOP_MS_MAX {
            self.clock.advance(1_000_000);
            self.engine.turn_all(self.clock.now());
            self.honest_turn();
            if self.engine.workers.iter().all(|worker| worker.is_finished()) {
                return;
            }
        }
        panic!("the engine does not stop");
    }
}

/// One act of a hostile peer. Returns whether it closes its connection.
fn misbehave(
    choices: &mut Choices,
    line: &mut Line,
    party: &mut Party,
    clock: &VirtualClock,
    expected: u64,
    met: &mut Met,
) -> bool {
    if choices.below(4) > 0 {
        let bytes = script(choices, party, clock.now(), expected, line.has_said);
        line.say(&bytes);
    }
    if choices.one_in(24) {
        line.reads = !line.reads;
    }
    if choices.one_in(8) {
        line.finish();
        met.half_closed += 1;
    }
    let closes = choices.one_in(16);
    met.broken_off += u64::from(closes);
    closes
}

impl Honest {
    fn new(party: Party, is_venue: bool) -> Self {
        Self { party, line: None, is_venue, awaited: None, is_logged_on: false, asked: 0, answered: 0 }
    }

    fn turn(&mut self, clock: &VirtualClock, transport: &mut SimulatedTransport, step: u32) {
        let Some(line) = &mut self.line else { return };
        for message in line.receive(transport) {
            let answer = match field(&message, "35") {
                "A" => {
                    self.is_logged_on = true;
                    if self.is_venue {
                        line.say(&self.party.message(clock.now(), b"A", &[(98, "0"), (108, "0")]));
                    }
                    continue;
                }
                "1" => {
                    let id = field(&message, "112").to_string();
                    line.say(&self.party.message(clock.now(), b"0", &[(112, &id)]));
                    continue;
                }
                "5" => {
                    line.say(&self.party.message(clock.now(), b"5", &[]));
                    self.is_logged_on = false;
                    self.awaited = None;
                    continue;
                }
                "8" => field(&message, "11"),
                "0" => field(&message, "112"),
                _ => panic!("{} is told {message}", self.party.comp_id),
            };
            assert!(answer.is_empty() || answer.starts_with(&self.party.comp_id), "another's: {message}");
            // A hostile peer's order may have met an earlier one: then this is no answer.
            if self.awaited.as_ref().is_some_and(|(awaited, _)| answer == awaited) {
                self.awaited = None;
                self.answered += 1;
            }
        }
        if let Some((awaited, since)) = &self.awaited {
            assert!(step - since < WAIT_STEPS_MAX, "{awaited} is not answered");
        } else if self.is_logged_on {
            self.asked += 1;
            let id = format!("{}-{}", self.party.comp_id, self.asked);
            let question = if self.is_venue {
                self.party.message(clock.now(), b"1", &[(112, &id)])
            } else {
                self.party.order(clock.now(), &id)
            };
            line.say(&question);
            self.awaited = Some((id, step));
        }
        line.send(transport);
        assert!(!line.has_ended || !self.is_logged_on, "{} was disconnected", self.party.comp_id);
    }
}
