//! SIGBUS: what touching a mapped page raises when its file or its device no longer backs it.
//!
//! Nobody can go on from there: the store that faulted is half of something. What can be done is to end at once with a word
//! and a status instead of by a signal, so that whoever restarts us can tell a lost volume from a bug. A signal's disposition is
//! the process's, so a library leaves it alone: only who owns the process calls [`end_on_bus_error`].

#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A memory error of the hardware, in what was touched; sigaction(2).
const BUS_MCEERR_AR: libc::c_int = 4;

/// As many rings as a data directory may have.
const RINGS_MAX: usize = 256;

/// How long the last line waits for the reader of standard error, at most.
const LAST_LINE_MS_MAX: libc::c_int = 1_000;

/// How the process ends: one line for standard error, and the status.
#[derive(Clone, Debug)]
pub struct Ending {
    pub line: String,
    pub status: u8,
}

struct Endings {
    ring: Ending,
    elsewhere: Ending,
}

struct Range {
    /// 0: free.
    start: AtomicUsize,
    bytes: AtomicUsize,
}

static ENDINGS: OnceLock<Endings> = OnceLock::new();
static RINGS: [Range; RINGS_MAX] =
    [const { Range { start: AtomicUsize::new(0), bytes: AtomicUsize::new(0) } }; RINGS_MAX];

/// A mapped ring that is known here as long as this value lives.
pub(super) struct KnownRing(&'static Range);

/// From now on SIGBUS ends the process: where a ring was touched, and where any other mapped file was (a segment, or the
/// executable itself). A SIGBUS that somebody sent, or that tells of a bug, keeps its default action. The endings of the first call hold.
pub fn end_on_bus_error(ring: Ending, elsewhere: Ending) -> io::Result<()> {
    ENDINGS.get_or_init(|| Endings { ring, elsewhere });
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    // SAFETY: a sigaction is integers, a set of signals and an optional pointer, of which all zero bits are a value: an empty set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // On the alternate stack that std gives its threads, where there is one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the action lives over the call and names a handler of the type that SA_SIGINFO asks for, which only makes calls that
    // signal-safety(7) lists; no old action is asked for.
    let status = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a ring's mapping known. `None` where there are too many: its SIGBUS then counts as any other file's.
pub(super) fn know_ring(start: *const u8, bytes: usize) -> Option<KnownRing> {
    let take =
        |range: &&Range| range.start.compare_exchange(0, start as usize, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let range = RINGS.iter().find(take)?;
    range.bytes.store(bytes, Ordering::Release);
    Some(KnownRing(range))
}

impl Drop for KnownRing {
    fn drop(&mut self) {
        self.0.bytes.store(0, Ordering::Release);
        self.0.start.store(0, Ordering::Release);
    }
}

fn is_in_a_ring(address: usize) -> bool {
    RINGS.iter().any(|range| {
        let start = range.start.load(Ordering::Acquire);
        address.wrapping_sub(start) < range.bytes.load(Ordering::Acquire)
    })
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t, which nobody else refers to.
    let info = unsafe { &*info };
    let is_a_page = matches!(info.si_code, libc::BUS_ADRERR | libc::BUS_OBJERR | BUS_MCEERR_AR);
    let Some(endings) = ENDINGS.get().filter(|_| is_a_page) else {
        return die_of(signal);
    };
    // SAFETY: for these codes of SIGBUS the union holds si_addr; sigaction(2).
    let address = unsafe { info.si_addr() } as usize;
    let ending = if is_in_a_ring(address) { &endings.ring } else { &endings.elsewhere };
    let line = ending.line.as_bytes();
    // Where the reader of standard error stands still, a write would wait for it for ever.
    let mut stderr = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer is to one live pollfd, as the count says; poll(2) is one of the calls that signal-safety(7) lists.
    let ready = unsafe { libc::poll(&raw mut stderr, 1, LAST_LINE_MS_MAX) };
    if ready > 0 {
        // SAFETY: the pointer and the length are those of a string that lives as long as the process.
        unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    }
    // SAFETY: takes a number. Neither destructors nor exit handlers run, which could touch the same page.
    unsafe { libc::_exit(ending.status.into()) };
}

/// The default action, when the handler has returned.
fn die_of(signal: libc::c_int) {
    // SAFETY: SIG_DFL is a disposition that every signal but SIGKILL and SIGSTOP takes.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: takes a number; the signal is blocked until the handler returns.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_rings_as_long_as_the_ring_is_known() {
        let memory = [0u8; 4096];
        let start = memory.as_ptr() as usize;
        assert!(!is_in_a_ring(start) && !is_in_a_ring(0));
        let known = know_ring(memory.as_ptr(), memory.len());
        assert!(is_in_a_ring(start) && is_in_a_ring(start + 4095));
        assert!(!is_in_a_ring(start - 1) && !is_in_a_ring(start + 4096));
        drop(known);
        assert!(!is_in_a_ring(start));
    }
}
