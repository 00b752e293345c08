//! Whole engines in one thread, crashed at seeded moments, and everything that they promise checked.
//!
//! A world is a network, a clock and two sides, an initiator and an acceptor, each a machine with a simulated volume and an engine of one
//! or several journals and workers. In each step one of the parts takes a turn: a worker, a flusher, a stager, of either engine; or something
//! goes wrong: an engine dies between two turns, between its commit and its send, at any call of its storage (before it, within it or after
//! it), in a clean stop, within its recovery, or within each call of a recovery in turn; a device refuses a call or has no room; the network is cut, a
//! node stops reading, a flusher gets no turn, an archive refuses. After the faults the world runs undisturbed until both sides are logged on, agree in their
//! numbers, and every order is answered.
//!
//! What must hold is told by checkers that know nothing of who did what:
//! - `wire.rs` looks at the bytes that leave: a number stands for one message, and none is too low without PossDupFlag(43);
//! - `appended.rs` keeps every commit's hash beside the journal and judges by the volume itself: what leaves was as safe as its mode asks, what is
//!   recovered is a prefix of whole commits, on the media, and holds all that may not be lost; a session's numbers are what its records add up to
//!   and above everything that has left, in each epoch; what is archived is what was appended;
//! - `desk.rs` counts what its application receives, and the world compares both sides at the end.
//!
//! Processes, pods and nodes die in every persistence mode. Nothing that leaves can be lost with the number that it used: it is on the media, or
//! a lease above it is. What `buffered` and `flush` lose with a node is held against what the application was told is lost; in
//! `sync` nothing is. Called by `fixring simulate` and by tests. No real file,
//! socket, clock or thread is touched, and everything random comes from the seed.

mod appended;
mod damage;
mod desk;
pub mod hostile;
mod node;
mod plan;
mod seen;
mod shelf;
mod side;
mod trace;
mod venue;
pub mod wire;
mod world;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

pub use crate::journal::simulated::Lie;
pub use node::{Carried, Crash, Node, Running, VirtualClock};
pub use seen::{Seen, is_rare};
use trace::Trace;
use world::World;

/// A seed whose world broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    /// Which rule, and where.
    pub what: String,
    /// The last steps before, oldest first; empty unless they were asked for.
    pub steps: Vec<String>,
}

/// Runs one world. The same seed gives the same answer, whatever else runs.
pub fn run(seed: u64) -> Result<Seen, Failure> {
    run_planned(seed, false)
}

/// [`run`], with the last steps before a failure.
pub fn run_traced(seed: u64) -> Result<Seen, Failure> {
    run_planned(seed, true)
}

/// In some worlds the volumes lie. No engine can do anything about that, but a checker has to see it: one that does not would not see an engine
/// that forgets to sync either.
fn run_planned(seed: u64, traced: bool) -> Result<Seen, Failure> {
    let lie = match fastrand::Rng::with_seed(seed ^ LIES).u8(..32) {
        0 => Lie::Sync,
        1 => Lie::Write,
        _ => Lie::None,
    };
    match run_over(seed, lie, traced) {
        result if lie == Lie::None => result,
        Err(failure) if tells_of_a_lie(&failure.what) => {
            let (syncs, writes) = (u64::from(lie == Lie::Sync), u64::from(lie == Lie::Write));
            Ok(Seen { worlds: 1, lies_of_syncs: syncs, lies_of_writes: writes, ..Seen::default() })
        }
        Err(failure) => Err(failure),
        Ok(_) => {
            Err(Failure { seed, what: format!("the volumes lied, {lie:?}, and no checker saw it"), steps: Vec::new() })
        }
    }
}

const LIES: u64 = 0x11e5;

/// Whether a broken rule is one that a volume breaks which acknowledges what it has not done.
pub fn tells_of_a_lie(what: &str) -> bool {
    let told = [
        "on the media",
        "was there",
        "is not there any more",
        "must have survived",
        "was released",
        "no commit",
        "is lost",
        "has lost its lease",
        "has left",
        "add up to",
    ];
    told.iter().any(|told| what.contains(told))
}

/// [`run`] over volumes that do not keep their word.
pub fn run_over(seed: u64, lie: Lie, traced: bool) -> Result<Seen, Failure> {
    hold_panics();
    let trace = if traced { Trace::kept() } else { Trace::default() };
    IS_SIMULATING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, trace.clone(), lie).run()));
    IS_SIMULATING.set(false);
    result.map_err(|_| Failure { seed, what: SAID.take(), steps: trace.lines() })
}

thread_local! {
    static IS_SIMULATING: Cell<bool> = const { Cell::new(false) };
    /// By the last panic in this thread.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A rule that is broken, in the engine or in a checker, is a panic in the simulating thread: kept for the report. All others are shown as ever.
fn hold_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if IS_SIMULATING.get() {
                SAID.set(panic.to_string());
            } else {
                report(panic);
            }
        }));
    });
}
