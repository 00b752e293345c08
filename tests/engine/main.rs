//! Whole engines over a simulated network, clock and volume.

mod closing;
mod fairness;
mod journal_damage;
mod leases;
mod misbehaviour;
#[path = "../peers/mod.rs"]
mod peers;
mod resends;
mod retention;
mod slow_volume;
