//! Which cores the calling thread may run on, where that is more than one; a single one is `core_affinity`'s.

use std::io;

/// Lets the calling thread, and threads that it starts, run on these cores alone; sched_setaffinity(2).
pub fn run_on(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a cpu_set_t is an array of integers, of which all zero bits are a value: the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        if *core >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the core is below CPU_SETSIZE, so that its bit lies within the set.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: 0 is the calling thread; the pointer is to a live set of the size that is given.
    let status = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_where_it_is_told_to_and_not_on_a_core_that_is_none() {
        std::thread::spawn(|| {
            let cores: Vec<usize> = core_affinity::get_core_ids().unwrap().iter().map(|core| core.id).collect();
            run_on(&cores[..1]).unwrap();
            assert_eq!(core_affinity::get_core_ids().unwrap().len(), 1);
            assert!(run_on(&[usize::MAX]).is_err());
            assert!(run_on(&[]).is_err());
        })
        .join()
        .unwrap();
    }
}
