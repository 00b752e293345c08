//! What is measured: the cells, in the order of the table, and how the time is shared out between them and the floors.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::bench::stats::thousands;
use crate::journal::{FlushMethod, Mode};

/// When a message is released; [`Mode`] with a form in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReleaseMode {
    Buffered,
    Flush,
    Sync,
}

/// How bytes come to stable media; [`FlushMethod`] with a form in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli::bench) enum Method {
    Fdatasync,
    Dsync,
    Msync,
}

/// How messages come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Load {
    /// So many sessions, each of which appends its next message when its last is released.
    Closed { sessions: u32 },
    /// So many messages a second, whatever becomes of them; latency counts from the intended time.
    Rate { per_second: u32 },
    /// As fast as they are taken.
    Saturation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct CellPlan {
    pub mode: ReleaseMode,
    pub method: Method,
    pub load: Load,
}

/// The cells and the time of each.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub cells: Vec<CellPlan>,
    pub rounds: u32,
    pub slice: Duration,
}

pub(super) const METHODS: [Method; 3] = [Method::Fdatasync, Method::Dsync, Method::Msync];
pub(super) const MODES: [ReleaseMode; 3] = [ReleaseMode::Buffered, ReleaseMode::Flush, ReleaseMode::Sync];
/// The rate at which the age of what is at risk has a goal.
pub(super) const GOAL_RATE: u32 = 100_000;
pub(super) const GOAL_SESSIONS: u32 = 64;
/// A cell and its floors take turns this often: drift of the volume, a burst credit for one, meets both.
const SLICE_MAX: Duration = Duration::from_millis(400);
/// A saturated session mix in `flush` and `sync` waits with so many messages at most; `buffered` fills the ring.
pub(super) const SATURATION_WAITING_MAX: u32 = 1_024;

impl Plan {
    pub fn new(methods: &[Method], seconds: f64, quick: bool) -> Self {
        let mut cells = Vec::new();
        for mode in MODES {
            for method in methods {
                // A direct write is durable when it returns: there is no `written` before `synced`.
                if mode == ReleaseMode::Flush && *method == Method::Dsync {
                    continue;
                }
                cells.extend(loads(mode, quick).into_iter().map(|load| CellPlan { mode, method: *method, load }));
            }
        }
        let rounds = (seconds / SLICE_MAX.as_secs_f64()).ceil().max(1.0);
        Self { cells, rounds: rounds as u32, slice: Duration::from_secs_f64(seconds / rounds) }
    }

    /// All slices, without what goes before and after.
    pub fn duration(&self, methods: u32) -> Duration {
        let slices = self.cells.iter().map(|cell| self.slice + self.floor_slice(cell.load) * methods + SLICE_COST);
        slices.sum::<Duration>() * self.rounds
    }

    /// How long each raw method is measured before a slice: longer where a goal compares the two.
    pub fn floor_slice(&self, load: Load) -> Duration {
        match load {
            Load::Closed { .. } => self.slice / 4,
            Load::Rate { .. } | Load::Saturation => self.slice / 16,
        }
    }
}

/// Threads that start and end, the last messages of a slice.
const SLICE_COST: Duration = Duration::from_millis(5);

fn loads(mode: ReleaseMode, quick: bool) -> Vec<Load> {
    let closed: &[u32] = match (mode, quick) {
        // Nobody waits in `buffered`: a closed loop would be saturation.
        (ReleaseMode::Buffered, _) => &[],
        (ReleaseMode::Flush, _) => &[1, GOAL_SESSIONS],
        (ReleaseMode::Sync, true) => &[1, GOAL_SESSIONS],
        (ReleaseMode::Sync, false) => &[1, 16, GOAL_SESSIONS],
    };
    let rates: &[u32] = if quick { &[10_000, GOAL_RATE] } else { &[1_000, 10_000, GOAL_RATE] };
    let closed = closed.iter().map(|sessions| Load::Closed { sessions: *sessions });
    let rates = rates.iter().map(|per_second| Load::Rate { per_second: *per_second });
    closed.chain(rates).chain([Load::Saturation]).collect()
}

impl From<ReleaseMode> for Mode {
    fn from(mode: ReleaseMode) -> Self {
        match mode {
            ReleaseMode::Buffered => Self::Buffered,
            ReleaseMode::Flush => Self::Flush,
            ReleaseMode::Sync => Self::Sync,
        }
    }
}

impl From<Method> for FlushMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Fdatasync => Self::Fdatasync,
            Method::Dsync => Self::Dsync,
            Method::Msync => Self::Msync,
        }
    }
}

impl fmt::Display for ReleaseMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buffered => "buffered",
            Self::Flush => "flush",
            Self::Sync => "sync",
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        FlushMethod::from(*self).fmt(f)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { sessions: 1 } => f.write_str("1 session, idle"),
            Self::Closed { sessions } => write!(f, "{sessions} sessions"),
            Self::Rate { per_second } => write!(f, "{}/s", thousands(u64::from(*per_second))),
            Self::Saturation => f.write_str("saturation"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_and_method_has_its_loads_and_the_default_ends_in_four_minutes() {
        let plan = Plan::new(&METHODS, 2.4, false);
        for mode in MODES {
            for method in METHODS {
                let cells = plan.cells.iter().filter(|cell| (cell.mode, cell.method) == (mode, method)).count();
                assert_eq!(cells > 0, (mode, method) != (ReleaseMode::Flush, Method::Dsync), "{mode} {method}");
            }
        }
        let goal = |mode, load| plan.cells.iter().any(|cell| cell.mode == mode && cell.load == load);
        assert!(goal(ReleaseMode::Sync, Load::Closed { sessions: 1 }));
        assert!(goal(ReleaseMode::Sync, Load::Closed { sessions: GOAL_SESSIONS }));
        assert!(goal(ReleaseMode::Buffered, Load::Rate { per_second: GOAL_RATE }));
        // What remains is for the files' zeros and the check at the end.
        assert!(plan.duration(3) < Duration::from_secs(195), "{:?}", plan.duration(3));
        assert!(Plan::new(&METHODS, 0.3, true).duration(3) < Duration::from_secs(25));
    }
}
