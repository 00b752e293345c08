//! Why an engine does not start, and how one ends that does not stop in order.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::application::RestoreError;
use crate::control::ControlError;
use crate::journal::{OpenError, StorageError, ring_for};
use crate::sys::open_files::is_exhausted;

const OPEN_FILES: &str =
    "raise the limit of open files (ulimit -Hn, LimitNOFILE of systemd, fs.file-max of the machine)";

/// Why an engine does not start. Each says its mend; nothing was changed that the next start would not do as well.
#[derive(Debug)]
pub enum StartError {
    /// The operator's or the environment's, see there.
    Journal(OpenError),
    /// An acceptor's port is taken, or not ours to take.
    Listen {
        place: String,
        address: SocketAddr,
        error: io::Error,
    },
    Control {
        place: String,
        error: ControlError,
    },
    /// Cores that the machine does not have.
    Cores {
        place: String,
        wanted: Vec<usize>,
        available: Vec<usize>,
    },
    /// `lock_memory = true`, and it cannot be done.
    Memory {
        place: String,
        why: String,
    },
    /// More sessions than a journal's ring can state at a segment's head.
    Sessions {
        journal: u16,
        sessions: usize,
        bytes: u64,
        bytes_max: u64,
    },
    /// A session is to live in a journal that the data directory does not have.
    NoSuchJournal {
        place: String,
        journal: u16,
        journals: u16,
    },
    /// A session is to live in another journal than the one that holds it.
    LivesElsewhere {
        place: String,
        session: String,
        configured: u16,
        journal: u16,
    },
    /// The application cannot read its snapshot.
    Application {
        journal: u16,
        error: RestoreError,
    },
    Storage(StorageError),
    Thread(io::Error),
    /// A limit of memory does not hold what the start would touch.
    TooLittleMemory {
        what: String,
    },
    /// A worker's epoll cannot be had.
    Poll(io::Error),
}

/// How a running engine ended, other than by a graceful stop.
#[derive(Debug)]
pub enum EngineError {
    /// The disk failed. Nothing was acknowledged that is not stored.
    Storage(String),
    /// A thread panicked: a bug.
    Panicked { thread: String },
    /// A thread did not come back within a stop's time, though the volume has everything: an
    /// application that does not return.
    Stuck { thread: String },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Listen { place, address, error } => {
                let mend = match error.kind() {
                    _ if is_exhausted(error) => OPEN_FILES,
                    io::ErrorKind::PermissionDenied => {
                        "choose another port, from 1024 up, or grant CAP_NET_BIND_SERVICE"
                    }
                    io::ErrorKind::AddrNotAvailable => "choose an address of this machine (ip address)",
                    _ => "stop what listens there (ss -ltnp) or choose another port",
                };
                write!(f, "{place}: cannot listen on {address}: {error}; {mend}")
            }
            Self::Control { place, error } => write!(f, "{place}: {error}"),
            Self::Cores { place, wanted, available } => {
                write!(f, "{place} = {wanted:?}: this process may use cores {available:?} only; choose from them")
            }
            Self::Memory { place, why } => {
                write!(f, "{place} = true: {why}; or set it to \"auto\", to run without")
            }
            Self::Sessions { journal, sessions, bytes, bytes_max } => write!(
                f,
                "journal {journal}: {sessions} sessions need {bytes} bytes at a segment's head, {bytes_max} are theirs (an eighth of persistence.ring_bytes); configure fewer or spread them over more journals, or choose a ring of at least {} bytes, and with it segment_bytes, for a new data directory",
                ring_for(*bytes)
            ),
            Self::NoSuchJournal { place, journal, journals } => write!(
                f,
                "{place} = {journal}: the data directory has journals 0 to {} for its life, one for each worker that it was created with; use one of them, or a new engine.data_dir with more engine.workers",
                journals.saturating_sub(1)
            ),
            Self::LivesElsewhere { place, session, configured, journal } => write!(
                f,
                "{place}: {session} is to live in journal {configured}, and its numbers and messages are in journal {journal} for the life of the data directory; set journal = {journal} in its [[session]], or name a new engine.data_dir"
            ),
            Self::Application { journal, error } => write!(
                f,
                "journal {journal}: the application cannot read its snapshot ({}); start the application that wrote it, or a new data directory",
                error.0
            ),
            Self::Storage(error) => write!(f, "{error}; {}", error.mend()),
            Self::Thread(error) => write!(
                f,
                "cannot start a thread: {error}; raise the limit of processes (ulimit -u, pids.max of its cgroup)"
            ),
            Self::TooLittleMemory { what } => f.write_str(what),
            Self::Poll(error) => write!(f, "cannot wait for sockets (epoll): {error}; {OPEN_FILES}"),
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(why) => {
                write!(
                    f,
                    "storage failed: {why}; nothing was acknowledged that is not stored. Repair the volume, then start again"
                )
            }
            Self::Panicked { thread } => {
                write!(f, "thread {thread} panicked: this is a bug in fixring or its application")
            }
            Self::Stuck { thread } => write!(
                f,
                "thread {thread} did not come back within engine.stop_timeout, as of an application that does not return: this is a bug in fixring or its application. What was acknowledged is stored"
            ),
        }
    }
}

impl std::error::Error for EngineError {}
