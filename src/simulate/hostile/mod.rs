//! Whole workers whose peers are hostile: mutated messages before, during and after the logon and while a connection closes, streams that
//! end or break anywhere, peers that do not read, in both roles; with two workers that hand connections over, slots that are
//! used again, and sessions in every persistence mode.
//!
//! What must hold whatever the peers do:
//! - nothing panics;
//! - a connection that named no session receives nothing, and one that did receives whole messages of that session only;
//! - honest counterparties stay connected, and their orders and TestRequests are answered;
//! - when the hostile ones have gone, so have their connections, and the engine stops cleanly.
//!
//! Everything is decided by [`Choices`]: those of a seed ([`run`], by `tests/hostile.rs`), or those of a fuzzer's bytes ([`play`]). No
//! real file, socket, clock or thread is touched.

mod choices;
mod engine;
mod mutate;
mod peer;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use choices::Choices;
pub use world::Met;

use super::{Failure, IS_SIMULATING, SAID, hold_panics};
use world::World;

/// Runs the world of a seed. The same seed gives the same answer, whatever else runs.
pub fn run(seed: u64) -> Result<Met, Failure> {
    hold_panics();
    IS_SIMULATING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| World::new(Choices::of_seed(seed)).run()));
    IS_SIMULATING.set(false);
    result.map_err(|_| Failure { seed, what: SAID.take(), steps: Vec::new() })
}

/// Runs the world whose choices these bytes are. A rule that is broken is a panic.
pub fn play(bytes: &[u8]) -> Met {
    World::new(Choices::of_bytes(bytes)).run()
}
