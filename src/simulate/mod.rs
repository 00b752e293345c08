//! Whole engines in one thread, crashed at seeded moments.

mod desk;
mod node;
mod venue;
pub mod wire;
mod world;

pub use node::{Crash, Node, Running, VirtualClock};
pub use world::{Seen, World};
