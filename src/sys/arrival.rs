//! When bytes came to a socket, by the kernel's own clock: a figure that does not contain how long their reader was kept
//! from its core.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// A control message of the one kind that is asked for: its header, a timespec, and room to tell that there was more.
const CONTROL_WORDS: usize = 8;

/// Has the kernel note the time of what arrives from now on; SO_TIMESTAMPNS of socket(7).
pub fn note(socket: &TcpStream) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the pointer is to a live integer of the length given.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads, and says when the last of these bytes arrived, in ns since 1970. `None` where the kernel did not note it.
pub fn read(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr is integers and pointers, of which all zero bits are a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the descriptor is open; the header points to one live slice of `buffer` and to `control`, with their lengths,
    // both borrowed mutably by this function until it returns.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    Ok((count, arrival_ns(&control)))
}

/// Of `struct cmsghdr` with `struct timespec` on a 64-bit machine: length, level and type, seconds, nanoseconds.
fn arrival_ns(control: &[u64; CONTROL_WORDS]) -> Option<u64> {
    let kind = u64::from(libc::SOL_SOCKET as u32) | u64::from(libc::SCM_TIMESTAMPNS as u32) << 32;
    (control[0] == 32 && control[1] == kind).then(|| control[2] * 1_000_000_000 + control[3])
}

const _: () =
    assert!(size_of::<libc::cmsghdr>() == 16 && size_of::<libc::timespec>() == 16 && cfg!(target_endian = "little"));

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn what_arrives_has_the_time_at_which_it_came_and_not_that_at_which_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reader = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut writer, _) = listener.accept().unwrap();
        note(&reader).unwrap();
        let now_ns = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let mut buffer = [0; 16];
        // The first socket of a machine that asks for times has them after a moment only.
        for attempt in 0.. {
            let before_ns = now_ns();
            writer.write_all(b"bytes").unwrap();
            let after_ns = now_ns();
            std::thread::sleep(std::time::Duration::from_millis(20));
            let (count, arrival_ns) = read(&reader, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"bytes");
            if let Some(at) = arrival_ns {
                // Loopback delivers within the call that sends.
                assert!((before_ns..=after_ns).contains(&at), "{before_ns} {at} {after_ns}");
                break;
            }
            assert!(attempt < 100, "the kernel notes times");
        }
        drop(writer);
        assert_eq!(read(&reader, &mut buffer).unwrap().0, 0);
    }
}
