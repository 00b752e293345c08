//! One side of a world: a machine, the engine on it while there is one, and the witnesses of its journals.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::appended::{Appended, Kept};
use super::node::{Crash, Node, Running, VirtualClock};
use super::plan::Plan;
use super::seen::Seen;
use super::shelf::Shelf;
use super::trace::Trace;
use super::wire::{Way, Wire};
use crate::application::{Application, SessionNumber};
use crate::config::{Config, PersistenceMode, SessionConfig};
use crate::engine::{Directory, Environment, Event};
use crate::journal::archive::{ArchiveTurn, SealedSegment};
use crate::journal::simulated::{Effect, Fault, FaultKind, Lie, Operation, Struck, VolumeImage};
use crate::journal::{Geometry, Hold, Mode, RecoveredSession, RecoveryReport, RingFound, Rollback};
use crate::session::{Identity, Notice};
use crate::transport::simulated::{Host, SimulatedNetwork};

/// An engine that is down starts again after so many steps at most.
const STEPS_DOWN_MAX: u32 = 60;
/// So long a flusher gets no turn at most.
const STEPS_STARVED_MAX: u32 = 400;
/// So many copies an archive refuses in a row at most.
const ARCHIVE_REFUSES_MAX: u32 = 8;
/// A fault in a recovery comes within so many calls of the storage.
const RECOVERY_CALLS_MAX: u64 = 80;
/// A fault in a running engine does.
const CALLS_MAX: u64 = 12;
/// A recovery that is crashed at each of its calls has fewer than these.
const LOOP_CALLS_MAX: u64 = 2_000;

/// What both sides share.
pub struct Around {
    pub random: fastrand::Rng,
    pub clock: VirtualClock,
    pub network: SimulatedNetwork,
    pub wire: Wire,
    pub trace: Trace,
    pub seen: Seen,
    /// No more faults.
    pub is_calm: bool,
    /// Messages are lost by design: numbers begin anew now and then, or a segment was recycled before what it held was sent again.
    pub is_lossy: Arc<AtomicBool>,
    pub next_host: u32,
}

/// What an application was told is lost, in all of its life.
pub trait Told: Application {
    fn rollbacks(&self) -> &[(SessionNumber, Rollback)];
}

pub struct Side<A: Told> {
    pub name: &'static str,
    /// See [`SidePlan::is_damaged`](super::plan::SidePlan::is_damaged).
    pub(super) is_damaged: bool,
    /// Somebody has made one of the directory.
    pub(super) copy: Option<VolumeImage>,
    pub node: Node,
    pub running: Option<Running<A>>,
    /// By journal.
    pub(super) witnesses: Vec<Appended>,
    /// By journal, of the engine that ran last.
    pub(super) kept: Vec<Kept>,
    /// What its starts have found lost, in all of its lives, by SenderCompID(49) and TargetCompID(56).
    pub rollbacks: Vec<(Way, Rollback)>,
    /// The lease that the life before has stated last.
    leases: HashMap<Way, u64>,
    sync_failed: bool,
    /// Steps until a dead engine starts again.
    down: u32,
    /// The engine before ended in order.
    stopped_cleanly: bool,
    /// Its flusher gets no turn for so many turns of the worker, so that the ring fills.
    starved: u32,
    /// Turns until it dies in the middle of a clean stop.
    doom: Option<u32>,
}

impl Around {
    /// The process ends at a call, or the device refuses it.
    fn fault(&mut self, after_calls: u64) -> Fault {
        let kind = match self.random.u8(..8) {
            0 | 1 => FaultKind::Eio,
            2 => FaultKind::Enospc,
            _ => FaultKind::Death,
        };
        let effect = [Effect::Nothing, Effect::Part, Effect::Whole][self.random.usize(..3)];
        Fault { after_calls, kind, effect }
    }

    pub(super) fn host(&mut self) -> Host {
        self.next_host += 1;
        Host(self.next_host)
    }

    fn count(&mut self, struck: Struck) {
        let Struck { operation, fault } = struck;
        let seen = &mut self.seen;
        let counter = match (fault.kind, operation) {
            (FaultKind::Death, Operation::Write) => &mut seen.within_a_write,
            (FaultKind::Death, Operation::Sync) => &mut seen.within_a_sync,
            (FaultKind::Death, Operation::Read | Operation::ReadManifest) => &mut seen.within_a_read,
            (FaultKind::Death, Operation::ReplaceManifest) => &mut seen.within_a_manifest,
            (FaultKind::Death, Operation::Quarantine) => &mut seen.within_a_quarantine,
            (FaultKind::Eio, Operation::Write) => &mut seen.eio_writes,
            (FaultKind::Eio, Operation::Sync) => &mut seen.eio_syncs,
            (FaultKind::Eio, Operation::Read | Operation::ReadManifest) => &mut seen.eio_reads,
            (FaultKind::Eio, _) => &mut seen.eio_others,
            (FaultKind::Enospc, _) => &mut seen.enospc,
        };
        *counter += 1;
    }
}

fn some_crash(around: &mut Around) -> Crash {
    [Crash::Process, Crash::Pod, Crash::Node][around.random.usize(..3)]
}

fn way_of(found: &RecoveredSession) -> Way {
    let identity = Identity::from_bytes(&found.identity).expect("an engine names its sessions");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&identity.sender_comp_id), text(&identity.target_comp_id))
}

/// Whether the journal had come to the segment that follows in its place.
fn is_begun_over(segment: &SealedSegment, report: &RecoveryReport, geometry: Geometry) -> bool {
    report.end == (segment.number + u64::from(geometry.segments)) * geometry.segment_bytes
}

/// Its place in the configuration, which the desk's CompID ends with.
fn session_of(way: &Way) -> usize {
    let number = [&way.0, &way.1].into_iter().find_map(|comp_id| comp_id.strip_prefix("DESK")?.parse().ok());
    number.expect("a desk on one side")
}

impl<A: Told> Side<A> {
    pub fn new(name: &'static str, config: Config, world: &Plan, side: usize, lie: Lie) -> Self {
        let plan = &world.sides[side];
        let directory = Directory::new(&config);
        let mode = |number: usize| -> (Way, Mode) {
            let way = if side == 0 {
                (format!("DESK{number}"), "VENUE".into())
            } else {
                ("VENUE".into(), format!("DESK{number}"))
            };
            let identity = Identity::new(world.begin_string.as_bytes(), way.0.as_bytes(), way.1.as_bytes());
            let spec = directory.spec_of(&identity).expect("a session of the configuration");
            (way, spec.mode)
        };
        let modes: HashMap<_, _> = (0..world.sessions).map(mode).collect();
        let retention_ns = plan.retention_age.map_or(0, |age| age.as_nanos() as u64);
        let mut node = Node::with_journals(config, plan.journals);
        node.workers = plan.workers;
        node.archive = plan.archives.then(Shelf::default);
        node.rings_on_volume = plan.rings_on_volume;
        node.rings_survive_node = plan.rings_on_volume;
        node.settings.flush_interval_min_ns = plan.flush_interval_min_ns;
        if plan.writes_through {
            node.storage.write_through();
        }
        node.storage.lie(lie);
        let geometry = node.settings.geometry;
        Self {
            name,
            is_damaged: plan.is_damaged,
            copy: None,
            node,
            running: None,
            witnesses: (0..plan.journals)
                .map(|journal| Appended::new(geometry, journal, modes.clone(), retention_ns))
                .collect(),
            kept: vec![Kept::nothing(); usize::from(plan.journals)],
            rollbacks: Vec::new(),
            leases: HashMap::new(),
            sync_failed: false,
            down: 0,
            stopped_cleanly: false,
            starved: 0,
            doom: None,
        }
    }

    /// Whether a dead engine starts now. Each call is a step.
    pub fn is_due(&mut self) -> bool {
        self.down = self.down.saturating_sub(1);
        self.running.is_none() && self.down == 0
    }

    /// Where a session lives: its journal, and its number there. `None` before it was ever defined.
    pub fn place(&self, sender: &str, target: &str) -> Option<(usize, u32)> {
        let number = |witness: &Appended| witness.session(sender, target);
        self.witnesses.iter().enumerate().find_map(|(journal, witness)| Some((journal, number(witness)?)))
    }

    /// What recovery found of a session, of the engine that runs.
    pub fn recovered(&self, sender: &str, target: &str) -> Option<&RecoveredSession> {
        let (journal, number) = self.place(sender, target)?;
        let recovered = &self.running.as_ref()?.journals[journal].recovered;
        recovered.iter().find(|found| found.number == number)
    }

    /// `(next_out, next_in)` of the engine that runs.
    pub fn numbers(&self, sender: &str, target: &str) -> Option<(u64, u64)> {
        let (journal, number) = self.place(sender, target)?;
        Some(self.running.as_ref()?.numbers(journal, number))
    }

    pub fn application(&self, journal: usize) -> Option<&A> {
        Some(self.running.as_ref()?.application(journal))
    }

    /// Recovers and starts, unless it is made to die on the way; then perhaps again and again.
    pub fn start(&mut self, around: &mut Around, mut make: impl FnMut(Environment) -> A) {
        if !around.is_calm && self.is_damaged && self.start_over_damage(around, &mut make) {
            return;
        }
        let (is_struck, is_loop) = match around.random.u8(..24) {
            _ if around.is_calm => (false, false),
            0 => (true, true),
            1..6 => (true, false),
            _ => (false, false),
        };
        let mut calls = if is_loop { 0 } else { around.random.u64(..RECOVERY_CALLS_MAX) };
        loop {
            if is_struck {
                let fault = around.fault(calls);
                self.node.storage.inject(fault);
            }
            let host = around.host();
            match self.node.start(around.clock.now(), &around.network, &around.wire, host, &mut make) {
                Ok(running) => {
                    if is_loop {
                        around.seen.recovery_loops += 1;
                        self.node.storage.calm();
                    }
                    self.started(running, None, around);
                    return;
                }
                Err(error) => {
                    // Died within its recovery. The next attempt finds what this one left.
                    let struck = self.node.storage.struck();
                    let struck = struck.unwrap_or_else(|| panic!("{} does not recover: {error}", self.name));
                    around.trace.say(|| format!("{}: dies in recovery at {struck:?}", self.name));
                    around.network.crash(host);
                    around.seen.within_recovery += 1;
                    self.struck(struck, around);
                    let crash = some_crash(around);
                    self.lose(crash, around);
                }
            }
            if !is_loop {
                self.down = 1;
                return;
            }
            calls += 1;
            assert!(calls < LOOP_CALLS_MAX, "{}: a recovery has an end", self.name);
        }
    }

    /// `damaged` where the directory was, with the place of a journal that the volume has lost, if
    /// it is one.
    pub(super) fn started(
        &mut self,
        running: Running<A>,
        damaged: Option<Option<(usize, Range<u64>)>>,
        around: &mut Around,
    ) {
        let geometry = self.node.settings.geometry;
        let ring_bytes = geometry.ring_bytes;
        for (journal, carried) in running.journals.iter().enumerate() {
            let (report, kept) = (&carried.report, &self.kept[journal]);
            around.trace.say(|| format!("{}: {report}", self.name));
            assert!(!self.stopped_cleanly || report.clean_stop, "{}: its clean stop is lost: {report}", self.name);
            let hold_max = self.node.config.persistence.recycle_hold_max;
            carried.recycling.set_resend_hold_max(hold_max.as_nanos() as u64);
            // What could not be damaged any more is looked at now and then.
            let is_looked_at = self.is_damaged || around.random.u8(..8) == 0;
            let from = if is_looked_at { 0 } else { report.end.saturating_sub(2 * ring_bytes) };
            // What the ring has is kept, but for what a commit lies over that was open when the
            // process died, or was dropped.
            let oldest_in_ring = (kept.appended() + geometry.commit_bytes_max()).saturating_sub(ring_bytes);
            let outside_ring = if kept.ring_is_lost() { u64::MAX } else { oldest_in_ring };
            let passed_over = report.unreadable.map(|place| place.from..place.to.min(outside_ring));
            assert!(damaged.is_some() || passed_over.is_none(), "{}: an undamaged volume has lost {report}", self.name);
            let place = damaged.as_ref().and_then(Option::as_ref).filter(|(of, _)| *of == journal);
            let excused = [passed_over, place.map(|(_, place)| place.clone())];
            let lost = self.witnesses[journal].recovered(report.end, kept, &self.node.storage, from, &excused);
            if self.witnesses[journal].has_rot() {
                around.is_lossy.store(true, Ordering::Relaxed);
            }
            self.witnesses[journal].go_on(&carried.recovered, &carried.rollbacks);
            around.seen.numbers_compared += carried.recovered.len() as u64;
            assert!(
                !self.stopped_cleanly || !report.may_have_lost(),
                "{}: its clean stop is lost: {report}",
                self.name
            );
            let seen = &mut around.seen;
            seen.commits_lost += lost;
            seen.recoveries += 1;
            seen.rings_accepted += u64::from(report.ring == RingFound::Accepted);
            seen.rings_quarantined += u64::from(matches!(report.ring, RingFound::Quarantined(_)));
            seen.carried_bytes += report.carried_bytes;
            seen.discarded_bytes += report.discarded_bytes;
            seen.heads_skipped += u64::from(report.heads_skipped);
        }
        self.rolled_back(&running, around);
        (self.stopped_cleanly, self.sync_failed) = (false, false);
        self.running = Some(running);
        self.witness(around);
    }

    /// What this start says is lost: told to the application, within its bounds, and the wire knows of it from now on.
    fn rolled_back(&mut self, running: &Running<A>, around: &mut Around) {
        for (journal, carried) in running.journals.iter().enumerate() {
            let told = running.application(journal).rollbacks();
            let fresh = carried.rollbacks.iter().map(|(session, rollback)| (SessionNumber(*session), *rollback));
            assert!(told.ends_with(&fresh.collect::<Vec<_>>()), "{told:?}, not {:?}", carried.rollbacks);
            for found in &carried.recovered {
                let way = way_of(found);
                let (mode, gap_max) = self.mode_and_gap_max(&way);
                let rollback = carried.rollbacks.iter().find(|(session, _)| *session == found.number);
                if let Some((_, rollback)) = rollback {
                    let gap = rollback.lost_to - rollback.lost_from;
                    assert!(gap <= gap_max, "{}: {rollback:?}", self.name);
                    assert!(gap == 0 || mode != PersistenceMode::Sync, "{}: {rollback:?}", self.name);
                    assert_eq!(found.next_out, rollback.lost_to, "{}: {rollback:?}", self.name);
                    around.seen.moved += u64::from(gap > 0);
                    around.wire.rolled_back(&way.0, &way.1, *rollback);
                    around.trace.say(|| format!("{}: {way:?} {rollback:?}", self.name));
                    self.rollbacks.push((way.clone(), *rollback));
                }
                let stated = self.leases.remove(&way).unwrap_or(0);
                if stated > 0 && mode != PersistenceMode::Sync {
                    let is_lost = found.lease < stated;
                    *(if is_lost { &mut around.seen.renewals_lost } else { &mut around.seen.renewals_kept }) += 1;
                }
            }
        }
    }

    /// Of a session, by SenderCompID(49) and TargetCompID(56).
    fn mode_and_gap_max(&self, way: &Way) -> (PersistenceMode, u64) {
        let session = self.session_config(way);
        (session.mode, session.sequence_gap_max.into())
    }

    /// A template stands for all.
    fn session_config(&self, way: &Way) -> &SessionConfig {
        let sessions = &self.node.config.sessions;
        sessions.get(session_of(way)).unwrap_or(&sessions[0])
    }

    /// Something that the session has released may be lost.
    pub fn has_rolled_back(&self, way: &Way) -> bool {
        self.mode_and_gap_max(way).0 != PersistenceMode::Sync && self.rollbacks_of(way).next().is_some()
    }

    /// The session has said that what it sent under this number is lost.
    pub fn has_lost(&self, way: &Way, number: u64) -> bool {
        self.rollbacks_of(way).any(|rollback| (rollback.lost_from..rollback.lost_to).contains(&number))
    }

    /// The session has said that what it received under this number may come again after it was answered.
    pub fn may_process_again(&self, way: &Way, number: u64) -> bool {
        self.has_rolled_back(way) && self.rollbacks_of(way).any(|rollback| rollback.next_in <= number)
    }

    fn rollbacks_of<'a>(&'a self, way: &'a Way) -> impl Iterator<Item = &'a Rollback> {
        self.rollbacks.iter().filter(move |(of, _)| of == way).map(|(_, rollback)| rollback)
    }

    /// Whether the start of the engine that runs has moved the session.
    pub fn has_moved(&self, sender: &str, target: &str) -> bool {
        let Some((journal, number)) = self.place(sender, target) else { return false };
        let rollbacks = self.running.as_ref().map(|running| &running.journals[journal].rollbacks);
        rollbacks.is_some_and(|rollbacks| rollbacks.iter().any(|(session, _)| *session == number))
    }

    /// Whether the start of the engine that runs has moved any.
    pub fn has_moved_any(&self) -> bool {
        let journals = self.running.as_ref().map(|running| &running.journals);
        journals.is_some_and(|journals| journals.iter().any(|journal| journal.report.sessions_moved > 0))
    }

    /// One part takes one turn.
    pub fn turn(&mut self, part: u8, around: &mut Around) {
        match part {
            0..60 => self.worker_turn(around),
            60..85 if self.starved == 0 => self.flusher_turns(around),
            60..85 => {}
            85..97 => self.stager_turns(around),
            _ => self.archiver_turns(around),
        }
    }

    pub fn turn_all(&mut self, around: &mut Around) {
        self.all_workers_turn(around);
        self.flusher_turns(around);
        self.stager_turns(around);
        self.archiver_turns(around);
    }

    /// One of them.
    fn worker_turn(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        let others = running.others.len();
        let at = if others == 0 { 0 } else { around.random.usize(..=others) };
        running.workers().nth(at).expect("one of them").turn(around.clock.now(), None);
        self.worked(around);
    }

    fn all_workers_turn(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        running.workers().for_each(|worker| _ = worker.turn(around.clock.now(), None));
        self.worked(around);
    }

    fn worked(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        let resumed = |event: &Event| matches!(event, Event::Noticed { notice: Notice::Resumed { .. }, .. });
        around.seen.resumed += running.events().iter().filter(|event| resumed(event)).count() as u64;
        self.starved = self.starved.saturating_sub(1);
        self.witness(around);
        if let Some(turns) = &mut self.doom {
            *turns -= 1;
            if *turns == 0 {
                let stops = self.running.as_ref().is_some_and(|running| !running.is_finished());
                around.seen.within_a_stop += u64::from(stops);
                self.crash(around);
            }
        }
    }

    /// Takes down what the last turn has appended, and judges what has left.
    fn witness(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        for (witness, journal) in self.witnesses.iter_mut().zip(&mut running.journals) {
            let before = witness.end();
            witness.witness(&mut journal.flusher);
            if witness.end() > before {
                around.trace.say(|| format!("{}: appended {before}..{}", self.name, witness.end()));
            }
        }
        for (journal, witness) in self.witnesses.iter().enumerate() {
            for (session, numbers) in witness.numbers() {
                assert_eq!(
                    running.numbers(journal, session),
                    numbers,
                    "{}: session {session}, not as stored",
                    self.name
                );
            }
        }
        let now_ns = around.clock.now().utc.unix_ns;
        for left in around.wire.take_left() {
            let place = self.place(&left.way.0, &left.way.1);
            let (journal, _) = place.unwrap_or_else(|| panic!("{left:?} is of no session of {}", self.name));
            let aged = self.witnesses[journal].left(&left, &self.node.storage, now_ns);
            if !left.covers.is_empty() {
                around.trace.say(|| format!("{}: recycled or too old to be sent again: {left:?}", self.name));
                around.seen.recycled_unsent += left.covers.len() as u64 - aged;
                around.seen.aged_unsent += aged;
                around.is_lossy.store(true, Ordering::Relaxed);
            }
        }
    }

    fn flusher_turns(&mut self, around: &mut Around) {
        let now_ns = around.clock.now().monotonic_ns;
        let Some(running) = &mut self.running else { return };
        for journal in 0..running.journals.len() {
            let flusher = &mut running.journals[journal].flusher;
            if let Err(error) = flusher.turn(now_ns) {
                assert!(flusher.turn(u64::MAX).is_err(), "{}: a flusher goes on after {error}", self.name);
                self.fail(&error, around);
                return;
            }
            around.seen.archive_holds += u64::from(running.journals[journal].recycling.hold() == Some(Hold::Archive));
        }
    }

    /// What is archived is what was appended, and nothing is recycled before.
    fn archiver_turns(&mut self, around: &mut Around) {
        let now_ns = around.clock.now().monotonic_ns;
        let geometry = self.node.settings.geometry;
        let Some(running) = &mut self.running else { return };
        for (journal, carried) in running.journals.iter_mut().enumerate() {
            let Some(archiver) = &mut carried.archiver else { continue };
            match archiver.turn(now_ns) {
                Ok(ArchiveTurn::Archived(segment))
                    if !self.witnesses[journal].has_rot() && !is_begun_over(&segment, &carried.report, geometry) =>
                {
                    let copy = self.node.archive.as_ref().and_then(|shelf| shelf.copy(journal as u16, &segment.name));
                    let copy = copy.unwrap_or_else(|| panic!("{}: {segment:?} is not in the archive", self.name));
                    self.witnesses[journal].archived(segment.number, &copy);
                    around.seen.archived += 1;
                    around.trace.say(|| format!("{}: archived {}", self.name, segment.name));
                }
                Ok(ArchiveTurn::Missed(first, last)) => {
                    panic!("{}: segments {first} to {last} were recycled before they were archived", self.name)
                }
                // What is damaged is archived beside what it was, and so is what the process before
                // had begun to write over.
                Ok(ArchiveTurn::Differs(segment))
                    if !self.is_damaged && !is_begun_over(&segment, &carried.report, geometry) =>
                {
                    panic!("{}: the archive has something else as {segment:?}", self.name)
                }
                Ok(ArchiveTurn::Failed { .. }) => around.seen.archive_refusals += 1,
                Ok(_) => {}
                Err(error) => {
                    self.fail(&error, around);
                    return;
                }
            }
        }
    }

    fn stager_turns(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        for journal in &mut running.journals {
            if let Err(error) = journal.stager.turn() {
                self.fail(&error, around);
                return;
            }
        }
    }

    /// An injected fault has struck: the process is dead, or ends because of it.
    fn fail(&mut self, error: &crate::journal::StorageError, around: &mut Around) {
        let struck = self.node.storage.struck();
        let struck = struck.unwrap_or_else(|| panic!("{}: {error} on a sound volume", self.name));
        around.trace.say(|| format!("{}: {struck:?}", self.name));
        self.struck(struck, around);
        if struck.fault.kind != FaultKind::Death {
            // The workers are told a little later. What did not reach the volume is not released meanwhile.
            for _ in 0..around.random.u8(..4) {
                self.worker_turn(around);
            }
        }
        self.crash(around);
    }

    fn struck(&mut self, struck: Struck, around: &mut Around) {
        around.count(struck);
        if struck.fault.kind == FaultKind::Eio && struck.operation == Operation::Sync {
            self.sync_failed = true;
            self.kept.iter_mut().for_each(Kept::sync_failed);
        }
    }

    /// Something will go wrong at one of the next calls of its storage.
    pub fn arm(&mut self, around: &mut Around) {
        let after_calls = around.random.u64(..CALLS_MAX);
        let fault = around.fault(after_calls);
        around.trace.say(|| format!("{}: {fault:?} to come", self.name));
        self.node.storage.inject(fault);
        // One write of many pages, which a crash may tear.
        if around.random.u8(..3) == 0 {
            self.starve(around);
        }
    }

    /// The volume takes nothing for a while.
    pub fn starve(&mut self, around: &mut Around) {
        self.starved = around.random.u32(..STEPS_STARVED_MAX);
        around.trace.say(|| format!("{}: starved", self.name));
    }

    /// The archive refuses for a while.
    pub fn refuse_archive(&mut self, around: &mut Around) {
        if let Some(shelf) = &self.node.archive {
            // Long enough now and then that a segment has to wait for it.
            let copies = if around.random.bool() { 4 } else { ARCHIVE_REFUSES_MAX };
            shelf.refuse(around.random.u32(1..copies));
            around.trace.say(|| format!("{}: the archive is away", self.name));
        }
    }

    pub fn calm(&mut self) {
        self.starved = 0;
        if let Some(shelf) = &self.node.archive {
            shelf.refuse(0);
        }
        self.doom = None;
        self.node.stalled.set(false);
        self.node.storage.calm();
    }

    pub fn request_stop(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        running.workers().for_each(|worker| worker.request_stop(around.clock.now()));
        self.doom = (around.random.u8(..3) == 0).then(|| around.random.u32(1..40));
        around.trace.say(|| format!("{}: asked to stop", self.name));
        self.witness(around);
    }

    /// Ends an engine whose graceful stop is complete. It survives whatever happens to its machine.
    pub fn end_stopped(&mut self, around: &mut Around) {
        let Some(running) = self.running.take_if(|running| running.is_finished()) else { return };
        around.seen.clean_stops += 1;
        self.stopped_cleanly = true;
        let crash = some_crash(around);
        self.end(running, crash, around);
        self.down = around.random.u32(1..STEPS_DOWN_MAX);
    }

    /// The worker's last turn appends what it does, and nothing of it leaves.
    pub fn crash_before_sending(&mut self, around: &mut Around) {
        if self.running.is_some() {
            self.node.muted.set(true);
            self.all_workers_turn(around);
            self.node.muted.set(false);
            around.seen.before_sending += u64::from(self.running.is_some());
            self.crash(around);
        }
    }

    pub fn crash(&mut self, around: &mut Around) {
        let Some(running) = self.running.take() else { return };
        let crash = some_crash(around);
        self.count_crash(crash, around);
        self.end(running, crash, around);
        self.down = around.random.u32(1..STEPS_DOWN_MAX);
    }

    fn end(&mut self, running: Running<A>, crash: Crash, around: &mut Around) {
        let journals = running.journals.iter();
        self.kept = journals.map(|journal| Kept::of(&journal.flusher, self.sync_failed)).collect();
        for journal in 0..running.journals.len() {
            around.seen.ring_full += running.shared.journal(journal).ring_full.value();
            around.seen.held += running.journals[journal].recycling.holds();
        }
        for session in running.shared.sessions.sessions() {
            let number = session.name.chars().rfind(char::is_ascii_digit).expect("DESK0 and so on");
            let desk = format!("DESK{number}");
            let way = if self.name == "desk" { (desk, "VENUE".to_string()) } else { ("VENUE".to_string(), desk) };
            self.leases.insert(way, session.counters.lease.value());
            around.seen.lease_waits += session.counters.lease_waits.value();
        }
        self.doom = None;
        around.trace.say(|| format!("{}: {crash:?} ends, {:?}", self.name, self.kept));
        around.seen.pages_torn += self.node.crash(running, &around.network, crash, &mut around.random);
        self.keep(crash);
    }

    /// A machine on which no engine runs loses what the crash takes.
    fn lose(&mut self, crash: Crash, around: &mut Around) {
        self.count_crash(crash, around);
        around.trace.say(|| format!("{}: {crash:?} ends", self.name));
        around.seen.pages_torn += self.node.lose(crash, &mut around.random);
        self.keep(crash);
    }

    fn keep(&mut self, crash: Crash) {
        let ring_is_lost = crash == Crash::Node || (crash == Crash::Pod && !self.node.rings_on_volume);
        self.kept.iter_mut().for_each(|kept| kept.after(crash, ring_is_lost));
    }

    fn count_crash(&self, crash: Crash, around: &mut Around) {
        let seen = &mut around.seen;
        seen.crashes += 1;
        *match crash {
            Crash::Process => &mut seen.processes,
            Crash::Pod => &mut seen.pods,
            Crash::Node => &mut seen.nodes,
        } += 1;
    }

    pub fn count_end(&self, seen: &mut Seen) {
        let geometry = self.node.settings.geometry;
        for witness in &self.witnesses {
            let rolled = witness.end() / geometry.segment_bytes;
            seen.segments_rolled += rolled;
            seen.segments_recycled += (rolled + 1).saturating_sub(geometry.segments.into());
            seen.commits += witness.count;
            seen.commits_compared += witness.compared;
            seen.below_lease += witness.below_lease;
            seen.releases_buffered += witness.releases[0];
            seen.releases_flush += witness.releases[1];
            seen.releases_sync += witness.releases[2];
        }
        seen.writes_through += u64::from(self.node.storage.writes_through());
        seen.multi_journal += u64::from(self.witnesses.len() > 1);
        seen.multi_worker += u64::from(self.node.workers > 1);
        seen.archives += u64::from(self.node.archive.is_some());
        seen.rings_survived += self.node.rings_survived;
    }
}
