//! The only unsafe code: mapped memory, vector instructions, file and process calls that std has no safe form of.
//!
//! Each unsafe block does one thing and proves it. What is exported is safe: no caller can alias memory,
//! overrun a buffer or use a closed descriptor through it. Nothing here knows of records, sessions or FIX.
#![allow(unsafe_code)]

#[doc(hidden)]
pub mod allocations;
pub mod arrival;
pub mod bus_error;
pub mod cgroup;
pub mod cores;
pub mod file;
pub mod mapped_file;
pub mod memory;
pub mod open_files;
pub mod prefault;
pub mod prefetch;
pub mod process;
pub mod ring;
mod ring_shared;
pub mod simd;
pub mod sync;
pub mod tsc;
