//! Which scenarios are played, against whom, and what came of each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::player::Player;
use super::script::{Action, Feature, Scenario, Step};
use super::wire::Wire;
use crate::dictionary::Version;

/// More connections at a time would be a load test.
pub const CONCURRENCY_MAX: usize = 64;

/// The acceptor that is looked at, and who we are to it.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    pub version: Version,
    /// Ours.
    pub sender_comp_id: String,
    pub target_comp_id: String,
    pub has: Vec<Feature>,
    /// The session has never logged on before, so that its numbers are 1.
    pub is_new: bool,
    pub username: Option<String>,
    pub password: Option<String>,
    /// HeartBtInt(108) where a scenario is about time.
    pub heartbeat_s: u32,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// One scenario to be played.
pub struct Case<'a> {
    pub scenario: &'a Scenario,
    pub target: Target,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Passed,
    Failed(Failure),
    /// And why.
    Skipped(String),
}

/// The step at which a scenario ended, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub line: u32,
    pub step: String,
    pub what: String,
    /// What was sent and received, in order.
    pub transcript: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    pub rule: String,
    pub source: String,
    pub version: Version,
    pub verdict: Verdict,
    pub took: Duration,
}

impl Target {
    /// What the scenarios' sessions need that ResetSeqNumFlag(141) cannot give, FIX.4.0 not having it.
    fn can_start_at_1(&self, scenario: &Scenario) -> bool {
        let starts = |action: &Action| matches!(action, Action::Connect | Action::Logon(_));
        let starts = scenario.steps.iter().filter(|step| step.connection == 'A' && starts(&step.action)).count();
        self.resets_itself() || self.version > Version::Fix40 || (self.is_new && starts <= 1)
    }

    pub(super) fn resets_itself(&self) -> bool {
        self.has.contains(&Feature::Reset)
    }

    /// Why a scenario is not played here.
    fn skip_reason(&self, scenario: &Scenario) -> Option<String> {
        if !scenario.versions.has(self.version) {
            return Some(format!("the rule is about {}", scenario.versions));
        }
        if let Some(reason) = scenario.skip_reason(self.version) {
            return Some(reason.to_string());
        }
        if let Some(missing) = scenario.needs.iter().find(|need| !self.has.contains(need)) {
            return Some(format!("needs {missing}, and --has does not name it: {}", missing.meaning()));
        }
        if !self.can_start_at_1(scenario) {
            return Some("FIX.4.0 has no ResetSeqNumFlag(141): needs reset, or a new session".to_string());
        }
        None
    }
}

/// Whether the acceptor can be reached at all.
pub fn reach(address: &str, timeout: Duration) -> Result<(), String> {
    Wire::connect(address, timeout).map(drop)
}

/// Logs on, sends one order, waits for its ExecutionReport(8) and logs out. Answers what was sent
/// and received, in order, and what went wrong where something did.
pub fn send_order(target: &Target, fields: &[(u32, String)]) -> (Vec<String>, Result<(), String>) {
    let mut player = Player::new(target);
    let steps = Step::of_order(fields);
    let result = player.play_steps(&steps).map_err(|(_, what)| what);
    (player.into_transcript(), result)
}

/// Plays all, at most `concurrency` at a time, and tells each outcome as it comes. The outcomes are in the order of the
/// cases.
pub fn play(cases: &[Case<'_>], concurrency: usize, tell: &(impl Fn(&Outcome) + Sync)) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(cases.len()));
    let worker = || {
        while let Some((at, case)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, cases.get(at)?)))
        {
            let outcome = play_one(case);
            tell(&outcome);
            outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((at, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..concurrency.clamp(1, CONCURRENCY_MAX).min(cases.len().max(1)) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn play_one(case: &Case<'_>) -> Outcome {
    let Case { scenario, target } = case;
    let begun = Instant::now();
    let verdict = match target.skip_reason(scenario) {
        Some(reason) => Verdict::Skipped(reason),
        None => match Player::new(target).play(&scenario.steps) {
            Ok(()) => Verdict::Passed,
            Err(failure) => Verdict::Failed(failure),
        },
    };
    Outcome {
        name: scenario.name.clone(),
        rule: scenario.rule.clone(),
        source: scenario.source.clone(),
        version: target.version,
        verdict,
        took: begun.elapsed(),
    }
}
