//! In the place of fixring's own `journal`: of its sources, what threads share.

#[path = "../../../../src/journal/recycling.rs"]
mod recycling;
#[path = "../../../../src/journal/wanted.rs"]
mod wanted;

pub mod models;

/// As much of the journal's geometry as is asked for here.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub ring_bytes: u64,
    pub segment_bytes: u64,
    pub segments: u32,
}
