//! How many files, and so connections, the process may have open.

use std::io;

/// RLIMIT_NOFILE of getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// In force.
    pub soft: u64,
    /// How far the process may raise it by itself.
    pub hard: u64,
}

pub fn limits() -> io::Result<OpenFiles> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit of ours.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(OpenFiles { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Whether an error is that the process, or the machine, may open no more files.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Raises the soft limit to the hard one, and answers it. The soft limit is low for the sake of programs that use select(2), which we
/// do not.
pub fn raise() -> io::Result<u64> {
    let OpenFiles { soft, hard } = limits()?;
    if soft < hard {
        let limit = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: the pointer is to a live rlimit of ours.
        let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = raise().unwrap();
        assert_eq!(limits().unwrap(), OpenFiles { soft: hard, hard });
    }
}
