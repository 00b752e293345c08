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
    /// The environment's: a read, write or sync failed, also of a mapped page (SIGBUS), or the
    /// volume is full or read-only, or the system has no file descriptor, thread or memory left.
    /// What was not stored was not acknowledged.
    Storage = 4,
    /// An acceptor's or the control plane's port is taken.
    PortTaken = 5,
    /// Shared memory for the rings is missing, too small or not ours, or was taken away from the running engine (SIGBUS).
    SharedMemory = 6,
    /// Ours: an assertion failed. The number is EX_SOFTWARE of sysexits(3).
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// For `--help`: the statuses of `run`, and whose move it is.
pub(super) const STATUSES_OF_RUN: &str = "\
Exit status:
   0  stopped in order: every session logged out, everything synced
   2  wrong usage or configuration; nothing was touched
   3  the data directory is in use, damaged or not ours; nothing was touched
   4  storage: a read, write or sync failed, or the volume is full or read-only; or the system
      has no file descriptor, thread or memory left. Nothing was acknowledged that is not stored
      as its session's mode promises. Repair the volume or raise the limit, start again
   5  an acceptor's or the control plane's port is taken
   6  shared memory for the rings is missing or too small, or was taken away while the engine ran
  70  a bug in fixring or in its application";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_run_names_each_status_that_run_can_end_with() {
        let named: Vec<u8> = STATUSES_OF_RUN.lines().filter_map(|line| line.get(..4)?.trim().parse().ok()).collect();
        let all = [
            Exit::Ok,
            Exit::Configuration,
            Exit::DataDirectory,
            Exit::Storage,
            Exit::PortTaken,
            Exit::SharedMemory,
            Exit::Internal,
        ];
        assert_eq!(named, all.map(|exit| exit as u8));
    }
}
