//! Conformance to the FIX session protocol: short scenarios, each about one rule, run over TCP against an acceptor. The
//! acceptor is this engine (`tests/conformance.rs`) or a counterparty's (`fixring certify`).
//!
//! The scenarios are the files of `tests/conformance/`, built into the binary; the README there is the reference of their
//! form. [`script`] reads them, [`runner`] plays them, [`report`] says what came of it.
//!
//! Nothing here uses the engine's own codec or session: were the two to share code, they would agree on a mistake. Nothing
//! here is fast, either: it blocks, allocates and waits, and belongs to no worker.

mod compose;
pub(crate) mod html;
pub mod library;
mod player;
pub mod report;
pub mod runner;
pub mod script;
mod versions;
mod wire;

pub use report::Report;
pub use runner::{Case, Failure, Outcome, Target, Verdict, play, reach, send_order};
pub use script::{Feature, Scenario, ScriptError};
pub use versions::{VERSIONS, Versions};
