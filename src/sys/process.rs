//! Signals to a child process that std has no call for.

use std::fs;
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

/// Our own children, by proc(5); none where it does not tell.
pub fn children() -> Vec<u32> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let of_task = |task: io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("children")).ok();
    let text: Vec<String> = tasks.filter_map(of_task).collect();
    text.iter().flat_map(|pids| pids.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Ends a process, and the group that it leads, if it does; SIGKILL. One that has ended is not
/// missed.
pub fn kill(pid: u32) {
    for target in [pid as libc::pid_t, -(pid as libc::pid_t)] {
        // SAFETY: kill takes no pointer.
        unsafe { libc::kill(target, libc::SIGKILL) };
    }
}

/// It exists and has not ended yet: a zombie writes nothing any more.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // Behind the name, which may hold anything, in parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_found_killed_and_seen_to_be_gone() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(children().contains(&pid) && is_alive(pid));
        kill(pid);
        child.wait().unwrap();
        assert!(!children().contains(&pid) && !is_alive(pid));
    }
}
