//! The control plane: health and metrics over HTTP, on a thread of its own beside the workers.
//!
//! It reads published counters and takes no lock that a worker takes. It may allocate, wait and speak HTTP; it never
//! touches a session, a connection or a journal.

pub mod counters;
mod health;
mod known_addresses;
mod metrics;
mod server;
pub mod trace;

pub use counters::{
    Counter, JournalCounters, LOG_LINES_LOST, PublishedState, SessionCounters, SessionRegistry, StallCounters,
    StorageCounters, WorkerCounters,
};
pub use health::{Blame, Phase, Shared, WORKER_SILENCE_MAX};
pub use known_addresses::{KnownAddresses, counted_as};
pub use server::{ControlError, ControlServer};
pub use trace::{Stage, WorkerTrace};
