//! One seeded world: its two sides, its steps, its faults, and what must hold in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::desk::{Account, Desk, Stray, Strays};
use super::node::VirtualClock;
use super::plan::{Plan, config};
use super::seen::Seen;
use super::side::{Around, Side, Told};
use super::trace::Trace;
use super::venue::Venue;
use super::wire::{Way, Wire};
use crate::journal::simulated::Lie;
use crate::transport::simulated::SimulatedNetwork;

const FAULTS_A_WORLD: u32 = 80;
/// How long the undisturbed world may take to become quiet: steps of a millisecond.
const STEPS_TO_QUIET_MAX: u32 = 60_000;

pub struct World {
    around: Around,
    plan: Plan,
    quiet: Arc<AtomicBool>,
    desk: Side<Desk>,
    venue: Side<Venue>,
    strays: Strays,
}

impl World {
    pub fn new(seed: u64, trace: Trace, lie: Lie) -> Self {
        // The engine's jitter comes from the thread's generator.
        fastrand::seed(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut plan = Plan::new(&mut random);
        if lie != Lie::None {
            plan.sides.iter_mut().for_each(|side| side.is_damaged = false);
        }
        trace.head(|| format!("{plan:?}"));
        let (desk, venue) = (config(&mut random, &plan, 0), config(&mut random, &plan, 1));
        let around = Around {
            random,
            clock: VirtualClock::default(),
            network: SimulatedNetwork::new(seed),
            wire: Wire::watched(trace.clone()),
            trace,
            seen: Seen { worlds: 1, ..Seen::default() },
            is_calm: false,
            is_lossy: Arc::new(AtomicBool::new(
                plan.reset.is_some() || plan.sides.iter().any(|side| side.retention_age.is_some()),
            )),
            next_host: 0,
        };
        let desk = Side::new("desk", desk, &plan, 0, lie);
        let venue = Side::new("venue", venue, &plan, 1, lie);
        around
            .trace
            .head(|| format!("desk {:?}, venue {:?}", desk.node.settings.geometry, venue.node.settings.geometry));
        Self { around, quiet: Arc::default(), desk, venue, strays: Strays::default(), plan }
    }

    pub fn run(mut self) -> Seen {
        self.start_desk();
        self.start_venue();
        for _ in 0..FAULTS_A_WORLD {
            for _ in 0..self.around.random.u32(..self.plan.steps_between_faults_max) {
                self.step();
            }
            self.fault();
        }
        self.come_to_rest();
        self.check_end();
        let seen = &mut self.around.seen;
        let wire = self.around.wire.seen();
        (seen.hash, seen.messages) = (wire.hash, wire.messages);
        (seen.resent, seen.gap_fills, seen.reused) = (wire.resent, wire.gap_fills, wire.resumed);
        seen.handed_over = wire.handed_over;
        seen.resets = wire.ways.values().map(|flow| u64::from(flow.epoch)).sum();
        drop(wire);
        self.around.seen
    }

    /// One part of one engine takes one turn.
    fn step(&mut self) {
        // Mostly moments; now and then so long that heartbeats and timeouts come due.
        let ns = match self.around.random.u8(..) {
            0 => self.around.random.u64(..400_000_000),
            1..20 => self.around.random.u64(..10_000_000),
            _ => self.around.random.u64(..100_000),
        };
        self.advance(ns);
        self.start_those_due();
        let part = self.around.random.u8(..100);
        if self.around.random.bool() {
            self.desk.turn(part, &mut self.around);
        } else {
            self.venue.turn(part, &mut self.around);
        }
        self.end_stopped();
    }

    fn advance(&mut self, ns: u64) {
        self.around.clock.advance(ns);
        self.around.trace.at(self.around.clock.elapsed_ns());
    }

    fn fault(&mut self) {
        let Self { around, desk, venue, .. } = self;
        // A side that does not read for long logs on again and again, and with 789 is sent what it misses each time, until that is
        // recycled.
        for stalled in [&desk.node.stalled, &venue.node.stalled] {
            stalled.set(stalled.get() && around.random.u8(..3) > 0);
        }
        let is_desk = around.random.bool();
        match around.random.u8(..22) {
            21 if is_desk => desk.take_copy(around),
            21 => venue.take_copy(around),
            0..6 if is_desk => desk.crash(around),
            0..6 => venue.crash(around),
            6..11 if is_desk => desk.arm(around),
            6..11 => venue.arm(around),
            11..13 if is_desk => desk.crash_before_sending(around),
            11..13 => venue.crash_before_sending(around),
            13 => {
                around.seen.both_at_once += u64::from(desk.running.is_some() && venue.running.is_some());
                desk.crash(around);
                venue.crash(around);
            }
            14 => {
                around.network.cut_all();
                around.seen.cuts += 1;
                around.trace.say(|| "the network is cut".to_string());
            }
            15 | 16 if is_desk => desk.request_stop(around),
            15 | 16 => venue.request_stop(around),
            18 if is_desk => desk.refuse_archive(around),
            18 => venue.refuse_archive(around),
            17 if is_desk => desk.node.stalled.set(!desk.node.stalled.get()),
            17 => venue.node.stalled.set(!venue.node.stalled.get()),
            _ if is_desk => desk.starve(around),
            _ => venue.starve(around),
        }
    }

    fn start_those_due(&mut self) {
        if self.desk.is_due() {
            self.start_desk();
        }
        if self.venue.is_due() {
            self.start_venue();
        }
    }

    fn start_desk(&mut self) {
        let (sessions, is_lossy) = (self.plan.sessions, Arc::clone(&self.around.is_lossy));
        let (seed, quiet) = (self.around.random.u64(..), Arc::clone(&self.quiet));
        let strays = &self.strays;
        self.desk.start(&mut self.around, |environment| {
            let seed = seed ^ u64::from(environment.journal);
            Desk::new(seed, sessions, Arc::clone(&quiet), Arc::clone(&is_lossy), &environment, Arc::clone(strays))
        });
        self.check_desk_recovered();
    }

    fn start_venue(&mut self) {
        let sessions = if self.plan.news { self.plan.sessions } else { 0 };
        let (seed, quiet) = (self.around.random.u64(..), Arc::clone(&self.quiet));
        self.venue.start(&mut self.around, |environment| {
            let seed = seed ^ u64::from(environment.journal);
            Venue::new(seed, sessions, environment.snapshot_bytes_max, Arc::clone(&quiet))
        });
        self.check_recovered(&self.venue, |desk| ("VENUE".to_string(), desk));
        self.around.seen.both_moved += u64::from(self.venue.has_moved_any() && self.desk.has_moved_any());
    }

    fn end_stopped(&mut self) {
        self.desk.end_stopped(&mut self.around);
        self.venue.end_stopped(&mut self.around);
    }

    fn desk_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.plan.sessions).map(|session| format!("DESK{session}"))
    }

    /// Every number that had left is used up: the next one is beyond it.
    fn check_recovered<A: Told>(&self, side: &Side<A>, way: impl Fn(String) -> Way) {
        if side.running.is_none() {
            return;
        }
        let wire = self.around.wire.seen();
        for name in self.desk_names() {
            let (sender, target) = way(name);
            let Some(flow) = wire.flow(&sender, &target) else { continue };
            let found = side.recovered(&sender, &target);
            let found = found.unwrap_or_else(|| panic!("{sender} sent to {target} and is not in the journal"));
            // A reset that has not left yet begins again at 1, in an epoch that the wire has not seen. A Logon that goes on where the peer
            // expects it may not have left either.
            let resumed_at = flow.lost.filter(|_| !side.has_moved(&sender, &target)).map(|(lost_from, _)| lost_from);
            let next = resumed_at.map_or(flow.next, |lost_from| lost_from.min(flow.next));
            // With resets the witness of the journal compares, by epoch.
            if self.plan.reset.is_none() {
                assert!(
                    found.next_out >= next,
                    "{sender} to {target}: next {} where {} left",
                    found.next_out,
                    next - 1
                );
                let heard = wire.flow(&target, &sender).map_or(1, |flow| flow.next);
                assert!(
                    found.next_in <= heard,
                    "{sender} expects {} of {target}, of which {} came",
                    found.next_in,
                    heard - 1
                );
            }
        }
    }

    fn check_desk_recovered(&self) {
        self.check_recovered(&self.desk, |desk| (desk, "VENUE".to_string()));
        if self.desk.running.is_none() {
            return;
        }
        let wire = self.around.wire.seen();
        for name in self.desk_names() {
            let Some(flow) = wire.flow(&name, "VENUE") else { continue };
            let account = self.account(&name);
            let way = (name.clone(), "VENUE".to_string());
            let is_lost = |number: &&u64| self.plan.reset.is_some() || self.desk.has_lost(&way, **number);
            let kept = flow.orders.values().filter(|number| !is_lost(number)).count() as u64;
            assert!(account.next_order > kept, "{name}: {kept} orders left and are not lost, {account:?}");
        }
    }

    /// Only what a side has said to be lost is answered after all, or comes again.
    fn check_strays(&mut self) {
        let wire = self.around.wire.seen();
        for (journal, session, stray) in self.strays.lock().expect("no panic before").drain(..) {
            self.around.seen.strays += 1;
            let place = Some((usize::from(journal), session));
            let name = self.desk_names().find(|name| self.desk.place(name, "VENUE") == place);
            let name = name.expect("a session of the desk");
            let (out, back) = ((name.clone(), "VENUE".to_string()), ("VENUE".to_string(), name.clone()));
            let may_be = match &stray {
                _ if self.plan.reset.is_some() => self.desk.has_rolled_back(&out) || self.venue.has_rolled_back(&back),
                Stray::Report(cl_ord_id) => {
                    let number = wire.flow(&out.0, &out.1).expect("the desk sent orders").orders[cl_ord_id];
                    self.desk.has_lost(&out, number) || self.venue.may_process_again(&back, number)
                }
                Stray::News(_) => self.venue.has_rolled_back(&back),
            };
            assert!(may_be, "{name}: {stray:?} {:?} {:?}", self.desk.rollbacks, self.venue.rollbacks);
        }
    }

    /// Of a desk that runs.
    fn account(&self, name: &str) -> &Account {
        let (journal, number) = self.desk.place(name, "VENUE").expect("a session that has sent is in the journal");
        &self.desk.application(journal).expect("the desk runs").accounts[number as usize]
    }

    /// Undisturbed, until everything is answered and both sides agree.
    fn come_to_rest(&mut self) {
        self.quiet.store(true, Ordering::Relaxed);
        self.around.is_calm = true;
        self.around.trace.say(|| "no more faults".to_string());
        self.desk.calm();
        self.venue.calm();
        for _ in 0..STEPS_TO_QUIET_MAX {
            self.advance(1_000_000);
            self.start_those_due();
            self.desk.turn_all(&mut self.around);
            self.venue.turn_all(&mut self.around);
            self.end_stopped();
            if self.is_quiet() {
                return;
            }
        }
        panic!("not at rest: {}", self.describe());
    }

    fn is_lossy(&self) -> bool {
        self.around.is_lossy.load(Ordering::Relaxed)
    }

    fn is_quiet(&self) -> bool {
        let (Some(desk), Some(venue)) = (&self.desk.running, &self.venue.running) else { return false };
        let agree = |name: String| {
            let (desk, venue) = (self.desk.numbers(&name, "VENUE"), self.venue.numbers("VENUE", &name));
            let answered = || self.is_lossy() || self.account(&name).unanswered.is_empty();
            desk.zip(venue).is_some_and(|(desk, venue)| desk.0 == venue.1 && desk.1 == venue.0) && answered()
        };
        desk.all_established() && venue.all_established() && self.desk_names().all(agree)
    }

    fn check_end(&mut self) {
        self.check_strays();
        {
            let wire = self.around.wire.seen();
            assert!(wire.rejects.is_empty(), "{:?}", wire.rejects);
            assert!(wire.logout_texts.iter().all(|text| !text.contains("too")), "{:?}", wire.logout_texts);
        }
        for name in self.desk_names() {
            let account = self.account(&name).clone();
            self.around.seen.orders += account.answered;
            if self.is_lossy() {
                continue;
            }
            // What left arrived: the desk counts each order's one report, and refuses a second.
            assert_eq!(account.answered, account.next_order - 1, "{name}: {account:?}");
            let (out, back) = ((name.clone(), "VENUE".to_string()), ("VENUE".to_string(), name.clone()));
            if self.desk.has_rolled_back(&out) || self.venue.has_rolled_back(&back) {
                continue;
            }
            let wire = self.around.wire.seen();
            let flow = wire.flow("VENUE", &name).expect("the venue answered");
            assert_eq!(account.answered, flow.reports.len() as u64, "{name}: reports that left");
            let (journal, number) = self.venue.place("VENUE", &name).expect("the venue answered");
            let told = &self.venue.application(journal).expect("the venue runs").told;
            assert_eq!(account.next_news - 1, told.get(number as usize).copied().unwrap_or(0), "{name}: news");
        }
        self.desk.count_end(&mut self.around.seen);
        self.venue.count_end(&mut self.around.seen);
        let made = self.desk_names().filter(|name| self.venue.place("VENUE", name).is_some()).count() as u64;
        self.around.seen.template_sessions += if self.plan.is_template { made } else { 0 };
    }

    fn describe(&self) -> String {
        let session = |name: String| {
            let (desk, venue) = (self.desk.numbers(&name, "VENUE"), self.venue.numbers("VENUE", &name));
            let account = self.desk.running.as_ref().map(|_| self.account(&name));
            format!("{name}: desk {desk:?} venue {venue:?} {account:?}")
        };
        format!("{:?} {}", self.plan, self.desk_names().map(session).collect::<Vec<_>>().join(", "))
    }
}
