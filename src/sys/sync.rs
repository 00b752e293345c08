//! The atomics, and the sleep, of what threads share without a lock: std's. `tests/loom` has its own in this place and compiles the same protocols
//! with them ([`super::ring`], and of the journal `wanted` and `recycling`), to try every order in which threads may see each other.

pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
pub use std::thread::{Thread, current, park_timeout};
