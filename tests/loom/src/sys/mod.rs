//! In the place of fixring's own `sys`: its ring, over memory and atomics that loom watches.

#[path = "../../../../src/sys/ring.rs"]
pub mod ring;
mod ring_shared;
pub mod sync;
