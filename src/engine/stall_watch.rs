//! Watches the workers from outside: one that does not come back from an application, or from the kernel, can tell nobody itself.
//!
//! It goes by the turns that a worker counts and by the [`WorkerTrace`] that it writes, and touches nothing of the worker's. The
//! thread that gives it its turns writes no log. The turns also serve to find out what a worker's longest turn was spent on.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::event::SessionKey;
use super::log::LogPort;
use crate::control::trace::TracedSession;
use crate::control::{Shared, Stage, StallCounters, WorkerCounters, WorkerTrace};

/// Of a worker that stalls again and again, so often at most is said that it does.
const WARNING_INTERVAL_NS: u64 = 10_000_000_000;

pub(crate) struct StallWatch {
    alarm_ns: u64,
    log: LogPort,
    shared: Arc<Shared>,
    workers: Vec<Watched>,
    last_look_ns: Option<u64>,
}

struct Watched {
    counters: Arc<CachePadded<WorkerCounters>>,
    trace: Arc<CachePadded<WorkerTrace>>,
    published: Arc<CachePadded<StallCounters>>,
    turns: u64,
    /// When the turn that is under way was first seen.
    since_ns: u64,
    is_stalled: bool,
    /// The beginning of this stall was logged.
    is_said: bool,
    warned_ns: Option<u64>,
    /// Stalls since then that were not logged.
    unsaid: u64,
    /// The turn that was under way at the last look, and where it was.
    sample: (u64, Stage, Option<TracedSession>),
    /// Two looks have met it.
    is_sample_long: bool,
    longest_ns: u64,
}

impl StallWatch {
    pub fn new(alarm: Duration, shared: &Arc<Shared>, log: LogPort) -> Self {
        let workers = (0..shared.workers().len()).map(|number| Watched {
            counters: shared.worker(number),
            trace: shared.trace(number),
            published: shared.stall(number),
            turns: 0,
            since_ns: 0,
            is_stalled: false,
            is_said: false,
            warned_ns: None,
            unsaid: 0,
            sample: (0, Stage::Idle, None),
            is_sample_long: false,
            longest_ns: 0,
        });
        let workers = workers.collect();
        Self { alarm_ns: alarm.as_nanos() as u64, log, shared: Arc::clone(shared), workers, last_look_ns: None }
    }

    /// Looks at all workers. `name` says what a session is called.
    pub fn turn(&mut self, now_ns: u64, name: impl Fn(SessionKey) -> Arc<str>) {
        let name =
            |session: Option<TracedSession>| session.map(|(journal, number)| name(SessionKey { journal, number }));
        // Whatever kept us from looking, a process that was stopped or a machine that was, kept the workers too.
        let was_kept = self.last_look_ns.is_none_or(|last_ns| now_ns.saturating_sub(last_ns) > self.alarm_ns / 2);
        self.last_look_ns = Some(now_ns);
        for (number, worker) in self.workers.iter_mut().enumerate() {
            worker.look(number, now_ns, self.alarm_ns, was_kept, &name, &self.log);
            if let Some((took, stage, session)) = worker.longest() {
                self.shared.set_blame(number, took, stage, name(session).as_deref().unwrap_or_default());
            }
        }
    }
}

impl Watched {
    fn look(
        &mut self,
        number: usize,
        now_ns: u64,
        alarm_ns: u64,
        was_kept: bool,
        name: &impl Fn(Option<TracedSession>) -> Option<Arc<str>>,
        log: &LogPort,
    ) {
        let turns = self.counters.turns.value();
        let (stage, session) = (self.trace.stage(), self.trace.session());
        // Before its first turn a worker takes its journals over; after its last it is gone.
        let moves = turns != self.turns || turns == 0 || stage == Stage::Ended;
        if moves {
            if std::mem::replace(&mut self.is_stalled, false) {
                self.goes_on(number, now_ns, log);
            }
            (self.turns, self.since_ns) = (turns, now_ns);
        } else if was_kept && !self.is_stalled {
            self.since_ns = now_ns;
        }
        let took_ns = now_ns.saturating_sub(self.since_ns);
        if took_ns > alarm_ns {
            self.published.stalled_ns.set(took_ns);
            self.published.longest_stall_ns.raise(took_ns);
            if !std::mem::replace(&mut self.is_stalled, true) {
                self.published.stalls.add(1);
                self.stalls(number, now_ns, took_ns, stage, name(session), log);
            }
        }
    }

    fn stalls(
        &mut self,
        worker: usize,
        now_ns: u64,
        took_ns: u64,
        stage: Stage,
        session: Option<Arc<str>>,
        log: &LogPort,
    ) {
        self.is_said = self.warned_ns.is_none_or(|warned_ns| now_ns.saturating_sub(warned_ns) >= WARNING_INTERVAL_NS);
        if !self.is_said {
            self.unsaid += 1;
            return;
        }
        let (took_ms, stage, unsaid) = (took_ns / 1_000_000, stage.name(), self.unsaid);
        log.say(move || {
            tracing::warn!(
                worker,
                stage,
                session = session.as_deref(),
                took_ms,
                unsaid,
                "a worker does not finish its turn (engine.stall_alarm): its sessions wait"
            );
        });
        (self.warned_ns, self.unsaid) = (Some(now_ns), 0);
    }

    fn goes_on(&mut self, worker: usize, now_ns: u64, log: &LogPort) {
        let took_ns = now_ns.saturating_sub(self.since_ns);
        self.published.longest_stall_ns.raise(took_ns);
        self.published.stalled_ns.set(0);
        if self.is_said {
            log.say(move || tracing::warn!(worker, took_ms = took_ns / 1_000_000, "the worker goes on"));
        }
    }

    /// What the longest turn was spent on, where there is a new one.
    fn longest(&mut self) -> Option<(Duration, Option<Stage>, Option<TracedSession>)> {
        let (turn, sampled, session) = self.sample;
        // The counted turns are whole: the next is under way, unless the worker is still between the two.
        let stage = self.trace.stage();
        let turn_now = self.counters.turns.value() + u64::from(stage != Stage::Idle);
        let seen = (turn_now, stage, self.trace.session());
        // A stage that outlasted a look is what the turn is spent on, whatever a later look meets at its end.
        if seen == self.sample {
            self.is_sample_long = true;
        } else if turn_now != turn || !self.is_sample_long {
            (self.sample, self.is_sample_long) = (seen, false);
        }
        let longest = self.trace.longest().filter(|longest| longest.ns > self.longest_ns)?;
        self.longest_ns = longest.ns;
        // Stamps know; without them we may have looked while it lasted.
        let blame = longest.blame.or_else(|| (turn == longest.turn).then_some((sampled, session)));
        let (stage, session) = blame.map_or((None, None), |(stage, session)| (Some(stage), session));
        Some((Duration::from_nanos(longest.ns), stage, session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Blame;
    use crate::engine::log::EventLog;

    const MS: u64 = 1_000_000;

    fn name(session: SessionKey) -> Arc<str> {
        assert_eq!(session, SessionKey { journal: 0, number: 3 });
        "FIX.4.4:VENUE->DESK".into()
    }

    fn look_until(watch: &mut StallWatch, from_ms: u64, to_ms: u64) {
        (from_ms..to_ms).step_by(2).for_each(|ms| watch.turn(ms * MS, name));
    }

    #[test]
    fn a_worker_that_stands_still_is_counted_once_and_its_stage_is_the_longest_turn_s() {
        let shared = Shared::new(1, 1);
        let (worker, trace, stall) = (shared.worker(0), shared.trace(0), shared.stall(0));
        let mut watch = StallWatch::new(Duration::from_millis(100), &shared, EventLog::default().port());
        // It has not begun.
        look_until(&mut watch, 0, 500);
        worker.turns.set(1);
        look_until(&mut watch, 500, 590);
        assert_eq!((stall.stalls.value(), shared.blames()), (0, vec![Blame::default()]));
        // The second turn does not end.
        trace.begin_turn();
        trace.of(0, 3);
        trace.at(Stage::Application);
        look_until(&mut watch, 590, 900);
        assert_eq!(stall.stalls.value(), 1);
        assert!((380 * MS..=400 * MS).contains(&stall.stalled_ns.value()), "{}", stall.stalled_ns.value());
        // One look meets it at its end.
        trace.at(Stage::Encode);
        look_until(&mut watch, 900, 902);
        // It does, and the third says how long it was.
        trace.at(Stage::Idle);
        trace.begin_turn();
        trace.took(&worker, 2, 310 * MS);
        worker.turns.set(3);
        look_until(&mut watch, 902, 950);
        assert_eq!((stall.stalls.value(), stall.stalled_ns.value()), (1, 0));
        assert!(stall.longest_stall_ns.value() >= 398 * MS);
        let took = Duration::from_millis(310);
        let session = name(SessionKey { journal: 0, number: 3 }).to_string();
        assert_eq!(shared.blames(), [Blame { took, stage: Some(Stage::Application), session }]);
        // A longer one that nobody saw: not even its stage is known.
        trace.at(Stage::Send);
        trace.took(&worker, 900, 320 * MS);
        worker.turns.set(901);
        look_until(&mut watch, 950, 960);
        assert_eq!(shared.blames()[0].stage, None);
    }

    #[test]
    fn a_worker_that_was_kept_together_with_its_watch_is_not_blamed() {
        let shared = Shared::new(1, 1);
        shared.worker(0).turns.set(7);
        let mut watch = StallWatch::new(Duration::from_millis(100), &shared, EventLog::default().port());
        look_until(&mut watch, 0, 50);
        // The whole process was stopped for a minute.
        look_until(&mut watch, 60_000, 60_090);
        assert_eq!(shared.stall(0).stalls.value(), 0);
        look_until(&mut watch, 60_090, 60_200);
        assert_eq!(shared.stall(0).stalls.value(), 1);
    }

    #[test]
    fn a_worker_that_has_ended_is_no_stall() {
        let shared = Shared::new(1, 1);
        shared.worker(0).turns.set(7);
        let mut watch = StallWatch::new(Duration::from_millis(100), &shared, EventLog::default().port());
        look_until(&mut watch, 0, 50);
        shared.trace(0).at(Stage::Ended);
        look_until(&mut watch, 50, 1_000);
        assert_eq!(shared.stall(0).stalls.value(), 0);
    }
}
