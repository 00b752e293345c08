//! What bounds a resend from outside: the volume read in order, and a bare connection that carries as many bytes out of a file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::super::client::ClientError;
use super::super::machine::{Placement, pin};
use crate::sys::file;

/// Of the journal's files, at most.
const READ_BYTES_MAX: u64 = 1 << 30;
const DIRECT_BYTES: usize = 4 << 20;
const COPY_BYTES: usize = 256 << 10;
/// Fewer measure the connection's beginning.
const SENT_BYTES_MIN: u64 = 64 << 20;

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Floors {
    /// The journal's files one after the other, past the page cache. `None` where the filesystem has no direct I/O.
    pub volume_mb_per_s: Option<f64>,
    /// From a file in the page cache through a TCP connection on loopback, each end on the core of the measured one.
    pub loopback_mb_per_s: f64,
}

/// Of the segments of a journal whose engine is gone.
pub(super) fn measure(journal: &Path, placement: Placement, bytes: u64) -> Result<Floors, ClientError> {
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(journal)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    let volume_mb_per_s = read_direct(&segments).ok();
    let first = segments.first().ok_or_else(|| ClientError::Protocol(format!("{journal:?} has no segments")))?;
    let loopback_mb_per_s = through_loopback(first, placement, bytes.max(SENT_BYTES_MIN))?;
    Ok(Floors { volume_mb_per_s, loopback_mb_per_s })
}

fn read_direct(segments: &[PathBuf]) -> io::Result<f64> {
    // Aligned to a page, as direct I/O wants it.
    let mut buffer = memmap2::MmapMut::map_anon(DIRECT_BYTES)?;
    let (start, mut total) = (Instant::now(), 0);
    for path in segments {
        let file = file::open_private_direct(path, false)?;
        let mut offset = 0;
        while total < READ_BYTES_MAX {
            let count = file.read_at(&mut buffer, offset)? as u64;
            if count == 0 {
                break;
            }
            (offset, total) = (offset + count, total + count);
        }
    }
    Ok(total as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn through_loopback(path: &Path, placement: Placement, bytes: u64) -> Result<f64, ClientError> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let mut receiver = TcpStream::connect(address)?;
    let (sender, _) = listener.accept()?;
    let file = File::open(path)?;
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || {
            pin(placement.server_core);
            send(&file, sender, bytes)
        });
        let mut buffer = vec![0; COPY_BYTES];
        let (start, mut received) = (Instant::now(), 0);
        while received < bytes {
            match receiver.read(&mut buffer)? {
                0 => break,
                count => received += count as u64,
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        sent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(received as f64 / 1e6 / seconds)
    })
}

/// The file over and over, until so many bytes are sent.
fn send(file: &File, mut stream: TcpStream, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let (mut left, mut offset) = (bytes, 0);
    while left > 0 {
        let wanted = left.min(buffer.len() as u64) as usize;
        let count = file.read_at(&mut buffer[..wanted], offset)?;
        if count == 0 {
            if offset == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset = 0;
            continue;
        }
        stream.write_all(&buffer[..count])?;
        offset += count as u64;
        left -= count as u64;
    }
    Ok(())
}
