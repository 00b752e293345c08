//! Standard error behind a bounded queue: whoever logs leaves a line there and goes on, and one thread writes.
//!
//! The reader of a log may be gone (a closed pipe), full (a file on a full volume) or stalled (a pipe that nobody empties). None of
//! that reaches the engine: a line that cannot be written, or finds the queue full, is dropped and counted, and the count is a line of its
//! own when writing works again. Nothing here waits for the reader but the writing thread, and [`Outlet::finish`] up to a bound.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::control::LOG_LINES_LOST;
use crate::sys::cores::run_on;

/// What waits to be written, at most: some seconds of a busy log.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Beyond that there is room for errors and last words, which a stalled reader may still read when it goes on.
const URGENT_BYTES_MAX: usize = 64 << 10;
/// What a line takes beside its bytes, about.
const LINE_BYTES: usize = 64;
/// A descriptor that somebody made non-blocking is tried again after this.
const WOULD_BLOCK_NAP: Duration = Duration::from_millis(5);

/// The process's log lines on their way to standard error.
#[derive(Clone)]
pub(super) struct Outlet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do for the writing thread, or it has nothing left.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// A line has left the queue and is not written yet.
    is_writing: bool,
    /// Lines lost that no line has told of.
    lost: u64,
    /// Where the writing thread is to run from now on.
    cores: Option<Vec<usize>>,
}

impl Outlet {
    /// Starts the thread that writes to standard error.
    pub fn to_stderr() -> io::Result<Self> {
        // A descriptor of our own: the lock of std's handle would be held for as long as a write takes.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::to(stderr)
    }

    fn to(mut output: impl Write + Send + 'static) -> io::Result<Self> {
        let outlet = Self(Arc::default());
        let shared = Arc::clone(&outlet.0);
        thread::Builder::new().name("fixring-stderr".into()).spawn(move || shared.write_for_ever(&mut output))?;
        Ok(outlet)
    }

    /// Leaves a line, its end included. Never waits for the reader.
    pub fn push(&self, line: &[u8], is_urgent: bool) {
        let bytes_max = if is_urgent { QUEUE_BYTES_MAX + URGENT_BYTES_MAX } else { QUEUE_BYTES_MAX };
        let mut queue = self.0.lock();
        if queue.bytes + line.len() + LINE_BYTES > bytes_max {
            queue.lose();
            return;
        }
        queue.bytes += line.len() + LINE_BYTES;
        queue.lines.push_back(line.into());
        drop(queue);
        self.0.changed.notify_all();
    }

    /// Lets the writing thread run on these cores from now on.
    pub fn run_on(&self, cores: &[usize]) {
        self.0.lock().cores = Some(cores.to_vec());
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than this.
    pub fn finish(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut queue = self.0.lock();
        while !queue.lines.is_empty() || queue.is_writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, output: &mut impl Write) {
        let mut is_torn = false;
        loop {
            let line = self.next();
            // What was written of a line before its end failed is no part of the next one.
            if is_torn {
                is_torn = write_whole(output, b"\n").is_err();
            }
            let written = if is_torn { Err(true) } else { write_whole(output, &line) };
            let lost = match written {
                Ok(()) => std::mem::take(&mut self.lock().lost),
                Err(torn) => {
                    is_torn = torn;
                    self.lock().lose();
                    0
                }
            };
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    "log lines were lost: whoever reads standard error was gone, full or too slow"
                );
            }
        }
    }

    /// The oldest line; waits for one.
    fn next(&self) -> Box<[u8]> {
        let mut queue = self.lock();
        loop {
            if let Some(cores) = queue.cores.take().filter(|cores| !cores.is_empty()) {
                // Where it is refused, the thread runs where the kernel puts it.
                let _ = run_on(&cores);
            }
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len() + LINE_BYTES;
                queue.is_writing = true;
                return line;
            }
            queue.is_writing = false;
            self.changed.notify_all();
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn lose(&mut self) {
        self.lost += 1;
        LOG_LINES_LOST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The error says whether a part of it was written.
fn write_whole(output: &mut impl Write, bytes: &[u8]) -> Result<(), bool> {
    let mut left = bytes;
    while !left.is_empty() {
        match output.write(left) {
            Ok(count) if count > 0 => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_NAP),
            Ok(_) | Err(_) => return Err(left.len() < bytes.len()),
        }
    }
    Ok(())
}

/// One line for the queue: a subscriber writes each of its lines by one call.
pub(super) struct Line<'a> {
    outlet: &'a Outlet,
    is_urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.outlet.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Outlet {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { outlet: self, is_urgent: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        // The line that tells of lost ones comes when the queue may still be full.
        let is_urgent = *metadata.level() == Level::ERROR || metadata.target() == module_path!();
        Line { outlet: self, is_urgent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that is full until it is told otherwise, and one that stands still.
    #[derive(Clone, Default)]
    struct Reader(Arc<(Mutex<ReaderState>, Condvar)>);

    #[derive(Default)]
    struct ReaderState {
        is_full: bool,
        is_stalled: bool,
        refused: u64,
        has: Vec<u8>,
    }

    impl Reader {
        fn set(&self, change: impl FnOnce(&mut ReaderState)) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn until(&self, holds: impl Fn(&ReaderState) -> bool) {
            let state = self.0.0.lock().unwrap();
            drop(self.0.1.wait_while(state, |state| !holds(state)).unwrap());
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().has.clone()).unwrap()
        }
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.is_stalled).unwrap();
            if state.is_full {
                state.refused += 1;
                self.0.1.notify_all();
                return Err(io::ErrorKind::StorageFull.into());
            }
            // In pieces, as a pipe may take it.
            let count = bytes.len().min(5);
            state.has.extend_from_slice(&bytes[..count]);
            self.0.1.notify_all();
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_reader_does_not_take_is_lost_and_the_rest_is_whole() {
        let reader = Reader::default();
        reader.set(|state| state.is_full = true);
        let outlet = Outlet::to(reader.clone()).unwrap();
        outlet.push(b"first\n", false);
        reader.until(|state| state.refused == 1);
        outlet.finish(Duration::from_secs(60));
        reader.set(|state| state.is_full = false);
        outlet.push(b"second\n", false);
        outlet.push(b"third, which is longer\n", false);
        outlet.finish(Duration::from_secs(60));
        assert_eq!(reader.text(), "second\nthird, which is longer\n");
        assert!(LOG_LINES_LOST.load(std::sync::atomic::Ordering::Relaxed) >= 1);
    }

    #[test]
    fn a_stalled_reader_holds_nobody_and_finds_what_there_was_room_for_and_the_last_words() {
        let reader = Reader::default();
        reader.set(|state| state.is_stalled = true);
        let outlet = Outlet::to(reader.clone()).unwrap();
        let line = [b'x'; 1023];
        let lines = 2 * QUEUE_BYTES_MAX / line.len();
        (0..lines).for_each(|_| outlet.push(&[&line[..], b"\n"].concat(), false));
        outlet.push(b"the last word\n", true);
        // It does not wait for ever.
        outlet.finish(Duration::from_millis(1));
        reader.set(|state| state.is_stalled = false);
        outlet.finish(Duration::from_secs(60));
        let text = reader.text();
        let found = text.lines().count();
        assert!(text.ends_with("\nthe last word\n") && found > QUEUE_BYTES_MAX / 1200 && found < lines, "{found}");
        assert_eq!(outlet.0.lock().bytes, 0);
    }

    #[test]
    fn a_line_that_was_torn_is_no_part_of_the_next() {
        struct Tears(Arc<Mutex<Vec<u8>>>, u32);
        impl Write for Tears {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                match self.1 {
                    1 => {
                        self.0.lock().unwrap().extend_from_slice(&bytes[..3]);
                        Ok(3)
                    }
                    2 | 3 => Err(io::ErrorKind::StorageFull.into()),
                    _ => {
                        self.0.lock().unwrap().extend_from_slice(bytes);
                        Ok(bytes.len())
                    }
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let has = Arc::<Mutex<Vec<u8>>>::default();
        let outlet = Outlet::to(Tears(Arc::clone(&has), 0)).unwrap();
        outlet.push(b"first\n", false);
        outlet.push(b"second\n", false);
        outlet.push(b"third\n", false);
        outlet.finish(Duration::from_secs(60));
        assert_eq!(has.lock().unwrap().as_slice(), b"fir\nthird\n");
    }
}
