//! The other core: one thread that runs the flushers and the floors, one after the other, for the whole benchmark.
//!
//! One and the same thread, because a flusher is woken on the thread that it slept on, and because what the two sides are compared for is then not
//! how fast threads start. While it works the caller's core spins, as a worker's does: a core that sleeps wakes late.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use super::BenchError;
use crate::cli::bench::machine::pin;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Housekeeping {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What a job will answer.
pub(super) struct Answer<T>(Receiver<T>);

impl Housekeeping {
    pub fn start(core: usize) -> Result<Self, BenchError> {
        let (jobs, queue) = channel::<Job>();
        let body = move || {
            pin(core);
            while let Ok(job) = queue.recv() {
                job();
            }
        };
        let thread = std::thread::Builder::new().name("fixring-flush".into()).spawn(body);
        let thread = thread.map_err(|error| BenchError::Io("cannot start a thread".into(), error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has the thread do this when it has done what it was asked before.
    pub fn ask<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let (sender, receiver) = channel();
        let job = Box::new(move || {
            // Whoever asked may have gone, after an error of its own.
            let _ = sender.send(job());
        });
        // A thread that has ended by a panic answers nothing, and that is what the caller is told.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
        Answer(receiver)
    }
}

impl<T> Answer<T> {
    /// Spins until it is there.
    pub fn wait(self) -> Result<T, BenchError> {
        loop {
            match self.0.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(TryRecvError::Disconnected) => {
                    return Err(BenchError::Flusher("the housekeeping thread panicked".into()));
                }
            }
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        // Files are removed after it: nothing is to be written then.
        drop(self.jobs.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_their_order_on_one_thread_and_a_panic_is_an_error() {
        let housekeeping = Housekeeping::start(0).unwrap();
        let first = housekeeping.ask(|| (1, std::thread::current().id()));
        let second = housekeeping.ask(|| (2, std::thread::current().id()));
        let (first, second) = (first.wait().unwrap(), second.wait().unwrap());
        assert_eq!((first.0, second.0, first.1), (1, 2, second.1));
        assert!(housekeeping.ask(|| panic!("a bug")).wait().is_err());
        assert!(housekeeping.ask(|| ()).wait().is_err());
    }
}
