//! The exclusive use of a data directory: an open-file-description lock on its file `lock`.
//!
//! The kernel drops the lock when the last descriptor of its holder is gone. A process that was killed has one for as long as a
//! thread of it is in a device write, which a driver may let last for half a minute. So a start waits: briefly for a process that is
//! alive, since that one will not go by itself, and long for one that is dying or that cannot be seen, as in another container.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::sys::file;

use super::OpenError;

/// How long a holder that is alive is waited for: it may be at the end of its stop.
pub(super) const LIVE_HOLDER_WAIT: Duration = Duration::from_secs(2);
pub(super) const STEP: Duration = Duration::from_millis(10);
const PID_BYTES_MAX: u64 = 64;

/// Held until it is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Waits a little for one that is just stopping.
    pub fn take(data_dir: &Path) -> Result<Self, OpenError> {
        Self::take_within(data_dir, LIVE_HOLDER_WAIT, |_| ())
    }

    /// Waits so long for a holder that is no living process that can be seen. `waiting` is told once it is clear that the wait may be a long
    /// one, with the id that the holder left.
    pub fn take_within(
        data_dir: &Path,
        timeout: Duration,
        mut waiting: impl FnMut(Option<u32>),
    ) -> Result<Self, OpenError> {
        let path = data_dir.join("lock");
        let failed = |error: io::Error| {
            let mend = "make data_dir writable for this user, or name another in engine.data_dir";
            OpenError::of("take the lock", &path, error, mend)
        };
        let file = file::open_private(&path, true).map_err(failed)?;
        let start = Instant::now();
        let mut is_told = false;
        loop {
            if file::try_lock(&file).map_err(failed)? {
                // Only a hint for whoever is refused; the lock is what counts.
                let pid = format!("{}\n", std::process::id());
                let _ = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
                return Ok(Self { _file: file });
            }
            let pid = file::read_small(&path, PID_BYTES_MAX).ok();
            let pid = pid.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
            let waited = start.elapsed();
            let is_long = waited >= LIVE_HOLDER_WAIT;
            if waited >= timeout || (is_long && is_alive(pid, &file)) {
                return Err(OpenError::InUse { data_dir: data_dir.to_owned(), pid });
            }
            if is_long && !std::mem::replace(&mut is_told, true) {
                waiting(pid);
            }
            std::thread::sleep(STEP);
        }
    }
}

/// Whether this process can be seen to have the lock's file open and not to be dying. Of a process of another PID namespace, or of another
/// user, nothing can be seen: its number may be anybody's here.
fn is_alive(pid: Option<u32>, lock: &File) -> bool {
    let (Some(pid), Ok(lock)) = (pid, lock.metadata()) else { return false };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if status.is_empty() || is_dying(&status) {
        return false;
    }
    // One of our own descriptors is the one that asks.
    let own = usize::from(pid == std::process::id());
    descriptors_of(pid, &lock) > own
}

fn descriptors_of(pid: u32, file: &Metadata) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::metadata(entry.path()).is_ok_and(|other| (other.dev(), other.ino()) == (file.dev(), file.ino()))
    };
    entries.filter(is_it).count()
}

/// A zombie, or one that SIGKILL waits for while it cannot be interrupted: `State`, `SigPnd` and `ShdPnd` of proc(5).
fn is_dying(status: &str) -> bool {
    const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or_default();
    let is_pending = |key: &str| u64::from_str_radix(value(key), 16).is_ok_and(|pending| pending & SIGKILL != 0);
    value("State:").starts_with(['Z', 'X']) || is_pending("SigPnd:") || is_pending("ShdPnd:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_that_cannot_be_seen_is_waited_for_and_the_wait_is_told_with_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let mut holder = Some(DirectoryLock::take(directory.path()).unwrap());
        // Beyond every pid of Linux: as if it were in another PID namespace.
        std::fs::write(directory.path().join("lock"), "4194999\n").unwrap();
        let mut told = Vec::new();
        // It lets go only once it has been waited for.
        let taken = DirectoryLock::take_within(directory.path(), Duration::from_secs(600), |pid| {
            told.push(pid);
            drop(holder.take());
        });
        assert!(taken.is_ok());
        assert_eq!(told, [Some(4_194_999)]);
        let pid = std::fs::read_to_string(directory.path().join("lock")).unwrap();
        assert_eq!(pid, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_living_holder_is_refused_long_before_the_timeout() {
        let directory = tempfile::tempdir().unwrap();
        let holder = DirectoryLock::take(directory.path()).unwrap();
        let refused = DirectoryLock::take_within(directory.path(), Duration::from_secs(1 << 20), |_| ());
        assert!(matches!(refused, Err(OpenError::InUse { pid: Some(pid), .. }) if pid == std::process::id()));
        drop(holder);
    }

    #[test]
    fn a_process_that_sigkill_waits_for_is_dying() {
        let status = |state: &str, own: &str, shared: &str| {
            format!("Name:\tfixring\nState:\t{state}\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n")
        };
        assert!(!is_dying(&status("S (sleeping)", "0000000000000000", "0000000000000000")));
        assert!(!is_dying(&status("D (disk sleep)", "0000000000000000", "0000000000004000")));
        assert!(is_dying(&status("D (disk sleep)", "0000000000000000", "0000000000000100")));
        assert!(is_dying(&status("D (disk sleep)", "0000000000000100", "0000000000000000")));
        assert!(is_dying(&status("Z (zombie)", "0000000000000000", "0000000000000000")));
        assert!(!is_dying("") && !is_dying("SigPnd:\tno number"));
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(!is_dying(&own), "{own}");
    }
}
