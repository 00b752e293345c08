//! The floor: a bare TCP server that knows no FIX. It answers so many bytes with so many bytes, spinning.
//!
//! It runs as a process of its own, like the engine, with a thread on each core where the engine has a worker, and the connections
//! shared out among them. A few connections are read in turn, more are asked for with epoll, as an engine does. With a sync
//! interval it has a thread beside it that writes and syncs what the engine would have journaled, on the core and at the
//! interval of the engine's flusher: the same disturbance, without the engine.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::engine::FLUSH_INTERVAL_US;
use super::machine::pin;
use crate::cli::Exit;

/// In one write, at most.
const ANSWERS_MAX: usize = 64;
const REQUEST_BUFFER_BYTES: usize = 64 * 1024;
/// Up to so many connections a read of each costs less than asking which of them have something.
const READ_IN_TURN_MAX: usize = 4;
const EVENTS_MAX: usize = 256;
/// The file that the syncing thread writes round and round, written before it starts.
const SYNC_FILE_BYTES: usize = 64 << 20;
/// The most that one turn of the syncing thread writes.
const SYNC_WRITE_BYTES_MAX: usize = 1 << 20;
/// Header and alignment that the journal adds to the two messages of a round trip, on average.
const JOURNAL_OVERHEAD_BYTES: usize = 2 * (64 + 32);

/// Internal: one side of `fixring bench wire`
#[derive(clap::Args, Debug)]
pub(crate) struct FloorOptions {
    #[arg(long)]
    request_bytes: usize,
    #[arg(long)]
    answer_bytes: usize,
    /// One thread on each.
    #[arg(long, required = true, value_delimiter = ',')]
    cores: Vec<usize>,
    #[arg(long, default_value_t = 1)]
    connections: usize,
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

/// What the floor's process is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloorSettings<'a> {
    pub cores: &'a [usize],
    pub connections: u32,
    pub order_bytes: usize,
    pub report_bytes: usize,
    /// The directory in which a thread beside it writes and syncs, and its core.
    pub sync: Option<(&'a Path, usize)>,
}

/// The floor's server, killed when dropped.
pub(super) struct FloorProcess {
    child: Child,
    pub address: SocketAddr,
}

impl FloorProcess {
    pub fn start(settings: &FloorSettings<'_>) -> io::Result<Self> {
        let FloorSettings { cores, connections, order_bytes, report_bytes, sync } = *settings;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "floor"]);
        let mut option = |name: &str, value: String| {
            command.arg(format!("--{name}")).arg(value);
        };
        let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
        option("request-bytes", order_bytes.to_string());
        option("answer-bytes", report_bytes.to_string());
        option("cores", cores.join(","));
        option("connections", connections.to_string());
        if let Some((directory, core)) = sync {
            option("journal-bytes", (order_bytes + report_bytes + JOURNAL_OVERHEAD_BYTES).to_string());
            option("sync-file", directory.join("floor").display().to_string());
            option("sync-interval-us", FLUSH_INTERVAL_US.to_string());
            option("sync-core", core.to_string());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is a pipe");
        let mut floor = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse().map_err(|_| io::Error::other("the floor's server did not start"))?;
        floor.address.set_port(port);
        Ok(floor)
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn floor(options: &FloorOptions) -> Exit {
    match serve(options) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            error_line!("the floor's server failed: {error}");
            Exit::Failed
        }
    }
}

/// Round trips of each thread, for the syncing thread.
type Trips = Arc<Vec<CachePadded<AtomicU64>>>;

/// Serves its connections to their ends. The port goes to standard output first.
fn serve(options: &FloorOptions) -> io::Result<()> {
    let trips: Trips = Arc::new(options.cores.iter().map(|_| CachePadded::default()).collect());
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
    print_line!("{}", listener.local_addr()?.port());
    let mut shares: Vec<Vec<Connection>> = options.cores.iter().map(|_| Vec::new()).collect();
    for number in 0..options.connections {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let thread = number % shares.len();
        shares[thread].push(Connection { stream, pending: 0, is_open: true });
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .zip(&options.cores)
            .zip(&*trips)
            .map(|((connections, core), trips)| {
                scope.spawn(move || {
                    pin(*core);
                    Server::new(options, connections, trips).serve()
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the floor's threads do not panic"))
    })
}

struct Connection {
    stream: TcpStream,
    /// Bytes that are not answered.
    pending: usize,
    is_open: bool,
}

/// One thread's connections.
struct Server<'a> {
    connections: Vec<Connection>,
    request_bytes: usize,
    answer_bytes: usize,
    request: Vec<u8>,
    /// Requests that came together are answered together, as an engine does.
    answers: Vec<u8>,
    trips: &'a AtomicU64,
}

impl<'a> Server<'a> {
    fn new(options: &FloorOptions, connections: Vec<Connection>, trips: &'a AtomicU64) -> Self {
        Self {
            connections,
            request_bytes: options.request_bytes,
            answer_bytes: options.answer_bytes,
            request: vec![0; REQUEST_BUFFER_BYTES],
            answers: vec![b'x'; options.answer_bytes * ANSWERS_MAX],
            trips,
        }
    }

    fn serve(mut self) -> io::Result<()> {
        let mut open = self.connections.len();
        if open <= READ_IN_TURN_MAX {
            while open > 0 {
                for at in 0..self.connections.len() {
                    self.turn(at, &mut open)?;
                }
            }
            return Ok(());
        }
        let mut poll = Poll::new()?;
        for (at, connection) in self.connections.iter().enumerate() {
            let descriptor = connection.stream.as_raw_fd();
            poll.registry().register(&mut SourceFd(&descriptor), Token(at), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        while open > 0 {
            poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                // A read that was short took all there was, and what comes later is another event; epoll(7).
                while self.turn(event.token().0, &mut open)? == REQUEST_BUFFER_BYTES {}
            }
        }
        Ok(())
    }

    /// Reads once and answers what is whole. How many bytes were read.
    #[inline]
    fn turn(&mut self, at: usize, open: &mut usize) -> io::Result<usize> {
        let connection = &mut self.connections[at];
        if !connection.is_open {
            return Ok(0);
        }
        let read = match connection.stream.read(&mut self.request) {
            Ok(0) => {
                connection.is_open = false;
                *open -= 1;
                return Ok(0);
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::hint::spin_loop();
                return Ok(0);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                connection.is_open = false;
                *open -= 1;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        connection.pending += read;
        while connection.pending >= self.request_bytes {
            let whole = (connection.pending / self.request_bytes).min(ANSWERS_MAX);
            connection.pending -= whole * self.request_bytes;
            write_spinning(&mut connection.stream, &self.answers[..whole * self.answer_bytes])?;
            self.trips.store(self.trips.load(Ordering::Relaxed) + whole as u64, Ordering::Relaxed);
        }
        Ok(read)
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

fn sync_forever(file: &std::fs::File, trips: &[CachePadded<AtomicU64>], bytes_per_trip: u64, interval: Duration) {
    let bytes = vec![b'y'; SYNC_WRITE_BYTES_MAX];
    let (mut seen, mut offset) = (0, 0);
    loop {
        let now: u64 = trips.iter().map(|trips| trips.load(Ordering::Relaxed)).sum();
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
                error_line!("the floor's syncing thread cannot write: {written:?}");
                std::process::exit(i32::from(Exit::Storage as u8));
            }
            offset += due;
            seen = now;
        }
        std::thread::sleep(interval);
    }
}
