//! The exit statuses of the binary. Scripts and probes branch on them, so a number never changes its meaning.

use std::process::ExitCode;

/// How the process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done; after `run`, a clean stop that logged every session out and synced the journal.
    Ok = 0,
    /// The command ran, and what it was to show does not hold: `demo` lost a message, a drill failed.
    Failed = 1,
    /// The operator's: wrong usage or configuration, or a finding of `check`. Nothing was touched.
    Configuration = 2,
    /// The data directory is in use by another process, or it is not ours. Nothing was touched.
    DataDirectory = 3,
    /// The environment's: a read, write or sync failed, or the volume is full. What was not stored was not
    /// acknowledged.
    Storage = 4,
    /// An acceptor's or the control plane's port is taken.
    PortTaken = 5,
    /// Shared memory for the rings is missing, too small or not ours.
    SharedMemory = 6,
    /// Ours: an assertion failed. The number is EX_SOFTWARE of sysexits(3).
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
