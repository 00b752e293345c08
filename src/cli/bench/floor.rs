//! The floor: a bare TCP server that knows no FIX. It answers so many bytes with so many bytes, spinning.
//!
//! It runs as a process of its own, like the engine, on the core where the engine's worker would be. With a sync
//! interval it has a thread beside it that writes and syncs what the engine would have journaled, on the core and at the
//! interval of the engine's flusher: the same disturbance, without the engine.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::machine::pin;
use crate::cli::Exit;

/// In one write, at most.
const ANSWERS_MAX: usize = 64;
/// The file that the syncing thread writes round and round, written before it starts.
const SYNC_FILE_BYTES: usize = 64 << 20;
/// The most that one turn of the syncing thread writes.
const SYNC_WRITE_BYTES_MAX: usize = 1 << 20;

/// Internal: one side of `fixring bench wire`
#[derive(clap::Args, Debug)]
pub(crate) struct FloorOptions {
    #[arg(long)]
    request_bytes: usize,
    #[arg(long)]
    answer_bytes: usize,
    #[arg(long)]
    core: usize,
    /// Bytes that a journal would hold for one round trip.
    #[arg(long, default_value_t = 0)]
    journal_bytes: u64,
    /// Writes and syncs in this file at this interval, in microseconds, on this core.
    #[arg(long, requires_all = ["sync_interval_us", "sync_core"])]
    sync_file: Option<PathBuf>,
    #[arg(long)]
    sync_interval_us: Option<u64>,
    #[arg(long)]
    sync_core: Option<usize>,
}

pub(crate) fn floor(options: &FloorOptions) -> Exit {
    match serve(options) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("the floor's server failed: {error}");
            Exit::Failed
        }
    }
}

/// Serves one connection to its end. The port goes to standard output first.
fn serve(options: &FloorOptions) -> io::Result<()> {
    let trips = Arc::new(AtomicU64::new(0));
    if let (Some(path), Some(interval_us), Some(core)) =
        (&options.sync_file, options.sync_interval_us, options.sync_core)
    {
        let file = prepare(path)?;
        let (trips, bytes) = (Arc::clone(&trips), options.journal_bytes);
        std::thread::spawn(move || {
            pin(core);
            sync_forever(&file, &trips, bytes, Duration::from_micros(interval_us));
        });
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    println!("{}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    pin(options.core);
    let mut request = vec![0; 64 * 1024];
    // Requests that came together are answered together, as an engine does.
    let answers = vec![b'x'; options.answer_bytes * ANSWERS_MAX];
    let mut pending = 0;
    loop {
        match stream.read(&mut request) {
            Ok(0) => return Ok(()),
            Ok(count) => pending += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
        while pending >= options.request_bytes {
            let whole = (pending / options.request_bytes).min(ANSWERS_MAX);
            pending -= whole * options.request_bytes;
            write_spinning(&mut stream, &answers[..whole * options.answer_bytes])?;
            trips.store(trips.load(Ordering::Relaxed) + whole as u64, Ordering::Relaxed);
        }
    }
}

fn write_spinning(stream: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Written extents, so that a sync has no metadata to commit, as the engine's segments have.
fn prepare(path: &Path) -> io::Result<std::fs::File> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.write_all(&vec![0; SYNC_FILE_BYTES])?;
    file.sync_all()?;
    Ok(file)
}

fn sync_forever(file: &std::fs::File, trips: &AtomicU64, bytes_per_trip: u64, interval: Duration) {
    let bytes = vec![b'y'; SYNC_WRITE_BYTES_MAX];
    let (mut seen, mut offset) = (0, 0);
    loop {
        let now = trips.load(Ordering::Relaxed);
        let due = ((now - seen) * bytes_per_trip).min(SYNC_WRITE_BYTES_MAX as u64);
        if due > 0 {
            // Whole pages, as the flusher writes them.
            let due = due.next_multiple_of(4096).min(SYNC_WRITE_BYTES_MAX as u64);
            if offset + due > SYNC_FILE_BYTES as u64 {
                offset = 0;
            }
            let written = file.write_all_at(&bytes[..due as usize], offset).and_then(|()| file.sync_data());
            if written.is_err() {
                // Without its disturbance the floor would flatter itself.
                eprintln!("the floor's syncing thread cannot write: {written:?}");
                std::process::exit(i32::from(Exit::Storage as u8));
            }
            offset += due;
            seen = now;
        }
        std::thread::sleep(interval);
    }
}
