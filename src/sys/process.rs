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

/// Ends a child that leads a process group, and all that it has started in it; SIGKILL.
pub fn kill_group(child: &Child) -> io::Result<()> {
    // SAFETY: kill takes no pointer. A negative number names a group; that of a child which has not been waited for is no
    // other's.
    let status = unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn signal(child: &Child, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: kill takes no pointer. The child has not been waited for as long as its handle can still be waited on, so
    // that its number is no other process's.
    let status = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
