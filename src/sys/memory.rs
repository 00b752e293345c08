//! Memory that stays resident, and timers that wake on time.

#![allow(unsafe_code)]

use std::io;

use super::cgroup::MemoryLimit;

/// What became of [`lock_all`].
#[derive(Debug)]
pub enum Locked {
    All,
    /// RLIMIT_MEMLOCK is smaller than what we may come to use, so that locking would make a later allocation fail. Nothing was locked.
    LimitTooLow {
        limit_bytes: u64,
    },
    Refused(io::Error),
}

/// Whether [`lock_all`] may lock what it will come to: RLIMIT_MEMLOCK is unlimited, or CAP_IPC_LOCK exceeds it. [`Locked::All`] says so.
///
/// A finite limit is left alone even if it would do now: with MCL_FUTURE, each later `mmap` beyond it fails.
pub fn may_lock_all() -> Locked {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit of ours.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    if status != 0 {
        return Locked::Refused(io::Error::last_os_error());
    }
    if limit.rlim_cur != libc::RLIM_INFINITY && !has_ipc_lock() {
        return Locked::LimitTooLow { limit_bytes: limit.rlim_cur };
    }
    Locked::All
}

/// Locks all present and future memory of the process, where [`may_lock_all`] says that it may. Pages are locked as they come into use (MCL_ONFAULT,
/// mlockall(2)): a thousand idle sessions' buffers stay untouched.
pub fn lock_all() -> Locked {
    match may_lock_all() {
        Locked::All => {}
        not_permitted => return not_permitted,
    }
    // SAFETY: takes no pointers; it changes residency, not contents.
    let status = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if status == 0 { Locked::All } else { Locked::Refused(io::Error::last_os_error()) }
}

/// What RLIMIT_AS of setrlimit(2) leaves of address space, beyond what the process has mapped
/// already. `None` without a limit.
pub fn address_space_limit() -> Option<MemoryLimit> {
    left_of(libc::RLIMIT_AS, "VmSize:", "RLIMIT_AS (ulimit -v)")
}

/// What RLIMIT_DATA leaves of private memory. Shared mappings do not count to it.
pub fn data_limit() -> Option<MemoryLimit> {
    left_of(libc::RLIMIT_DATA, "VmData:", "RLIMIT_DATA (ulimit -d)")
}

/// Has all threads to come share the memory allocator's arenas that there are: the GNU C library
/// reserves 64 MiB of address space for each new one, where there is still so much.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: M_ARENA_MAX of mallopt(3) takes one integer and changes no memory that was handed
        // out.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

fn left_of(resource: libc::__rlimit_resource_t, key: &str, name: &str) -> Option<MemoryLimit> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let used = kib.unwrap_or(0) << 10;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit of ours.
    let status = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then(|| MemoryLimit {
        bytes: limit.rlim_cur.saturating_sub(used),
        name: format!("{name} of {} bytes, beside {used} that are in use,", limit.rlim_cur),
    })
}

/// Whether the process may lock more than RLIMIT_MEMLOCK says: CAP_IPC_LOCK of capabilities(7), by proc(5).
fn has_ipc_lock() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    effective.is_some_and(|effective| effective >> CAP_IPC_LOCK & 1 == 1)
}

/// Lets the calling thread's sleeps and waits end within `slack_ns` of their time (the default is 50 µs).
pub fn set_timer_slack(slack_ns: u64) -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and no pointer.
    let status = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns as libc::c_ulong) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl std::fmt::Display for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all memory is locked"),
            Self::LimitTooLow { limit_bytes } => {
                write!(
                    f,
                    "memory is not locked: RLIMIT_MEMLOCK is {limit_bytes} bytes; raise it to unlimited (ulimit -l, or CAP_IPC_LOCK)"
                )
            }
            Self::Refused(error) => write!(f, "memory is not locked: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_slack_is_set_for_this_thread() {
        set_timer_slack(1_000).unwrap();
        // SAFETY: PR_GET_TIMERSLACK takes no argument.
        let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
        assert_eq!(slack, 1_000);
    }
}
