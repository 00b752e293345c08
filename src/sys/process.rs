//! Signals to a child process that std has no call for.

use std::io;
use std::process::Child;

/// Stops a child where it is; kill(2) with SIGSTOP.
pub fn pause(child: &Child) -> io::Result<()> {
    signal(child, libc::SIGSTOP)
}

/// Lets it go on; SIGCONT.
pub fn resume(child: &Child) -> io::Result<()> {
    signal(child, libc::SIGCONT)
}

fn signal(child: &Child, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill takes no pointer. The child has not been waited for as long as its handle can still be waited on, so
    // that its number is no other process's.
    let status = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
