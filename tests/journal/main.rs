//! The journal without an engine: in real directories, and over simulated volumes that crash.

mod crash;
mod failed_sync;
mod files;
mod flush_methods;
mod leases;
mod stale_bytes;
