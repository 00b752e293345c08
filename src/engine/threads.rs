//! The shells: threads that pin themselves, read the clock, call a step function and wait when it had nothing to do.
//!
//! Workers turn on their cores; the flushers (`super::flushing`), the stagers, the resolver and the log live on housekeeping cores. Nothing
//! here decides anything about FIX or the journal.

use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use rtrb::{Consumer, Producer};

use super::archive::RecycleWatch;
use super::clock::Clock;
use super::fence::{Fence, fenced};
use super::initiate::{ResolveRequest, Resolved};
use super::presence::Presence;
use super::worker::Worker;
use crate::application::Application;
use crate::config::Wait;
use crate::control::Stage;
use crate::journal::{Stager, Storage, StorageError};
use crate::sys::cores::run_on;
use crate::sys::memory::set_timer_slack;
use crate::transport::Transport;

/// An adaptive worker turns for so long without work before it sleeps in the poller.
const ADAPTIVE_SPIN: Duration = Duration::from_micros(200);
/// So many times between two turns that found nothing the hot connections alone are looked at.
const GLANCES: u32 = 7;
/// A worker that waits for its flusher, and may run on the same core, naps from then on: where all
/// cores are busy the flusher finds none while the worker turns, and a yield does not give it one.
const FLUSH_TURNING: Duration = Duration::from_micros(50);
/// A nap is an eighth of what the wait has taken so far, so that it adds little to the sync of an
/// idle machine.
const FLUSH_NAP_PART: u64 = 8;
const FLUSH_NAP_MAX_NS: u64 = 100_000;
const WORKER_SLACK_NS: u64 = 1_000;
/// The longest sleep of a worker: mail from other threads and the stop wait no longer.
const SLEEP_MAX: Duration = Duration::from_millis(10);
/// The same while a staged resend is awaited.
const SLEEP_AWAITING: Duration = Duration::from_millis(1);
const STAGER_NAP_MAX: Duration = Duration::from_micros(500);
/// The first nap after work, each further one twice as long: a worker that sends what is staged wants the next of it soon.
const STAGER_NAP_MIN: Duration = Duration::from_micros(30);
const STAGER_SLACK_NS: u64 = 5_000;
const RESOLVER_NAP: Duration = Duration::from_millis(5);

/// Flags that all threads of an engine see.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Workers stop gracefully.
    pub stop: AtomicBool,
    /// Workers are gone: flushers carry what is left and end, as do the others.
    pub workers_done: AtomicBool,
    /// Flushers are gone too: nobody waits for the archive.
    pub archive_ends: AtomicBool,
    /// A storage error, or a bug in housekeeping: everything ends at once, nothing more is released.
    pub fatal: AtomicBool,
    /// The log is the last to end.
    pub log_ends: AtomicBool,
    why: Mutex<Option<String>>,
}

impl Signals {
    pub fn fail(&self, error: &StorageError) {
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.get_or_insert_with(|| error.to_string());
        drop(why);
        self.fatal.store(true, Ordering::Release);
    }

    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_over(&self) -> bool {
        self.workers_done.load(Ordering::Acquire) || self.fatal.load(Ordering::Acquire)
    }
}

/// Ends the engine where a housekeeping thread panics. Workers would not notice: they would go on until a ring that nobody
/// carries is full, and then wait for ever.
pub(crate) struct FatalOnPanic<'a>(pub &'a Signals);

impl Drop for FatalOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fatal.store(true, Ordering::Release);
        }
    }
}

/// Starts a thread on these cores; anywhere where there are none.
pub(crate) fn spawn(
    name: String,
    cores: &[usize],
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let cores = cores.to_vec();
    thread::Builder::new().name(name).spawn(move || {
        let pinned = match cores[..] {
            [] => true,
            [id] => core_affinity::set_for_current(CoreId { id }),
            _ => run_on(&cores).is_ok(),
        };
        if !pinned {
            let cores = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            tracing::warn!(cores, "cannot pin the thread to its cores: it runs where the kernel puts it");
        }
        body();
    })
}

/// Whether two threads on these cores may be kept from running by one another; an empty list is any
/// core.
pub(crate) fn share_a_core(one: &[usize], other: &[usize]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|core| other.contains(core))
}

/// Turns a worker until its graceful stop is complete. `shares_core` is whether one of its flushers
/// may run on a core of its own.
pub(crate) fn run_worker<T: Transport, A: Application>(
    worker: &mut Worker<T, A>,
    clock: &mut impl Clock,
    wait: Wait,
    shares_core: bool,
    signals: &Signals,
) {
    if shares_core {
        // Where it is refused, naps are longer by the default of 50 µs.
        let _ = set_timer_slack(WORKER_SLACK_NS);
    }
    let mut idle_since: Option<u64> = None;
    let mut timeout = None;
    while !worker.is_finished() && !signals.fatal.load(Ordering::Relaxed) {
        if signals.stop.load(Ordering::Relaxed) {
            worker.request_stop(clock.now());
        }
        let work = worker.turn(&mut *clock, timeout);
        if worker.is_fenced() {
            worker.trace().at(Stage::Ended);
            return signals.fail(&fenced("the ring"));
        }
        if work > 0 {
            idle_since = None;
            timeout = None;
            continue;
        }
        let now = worker.now();
        let idle_ns = now.monotonic_ns - *idle_since.get_or_insert(now.monotonic_ns);
        let sleeps = match wait {
            Wait::Spin => false,
            Wait::Adaptive => idle_ns > ADAPTIVE_SPIN.as_nanos() as u64,
            Wait::Park => true,
        };
        // A commit is on its way to the volume, and nothing wakes us when it is there.
        let naps = shares_core && idle_ns > FLUSH_TURNING.as_nanos() as u64;
        if (sleeps || naps) && worker.awaits_flush() {
            timeout = None;
            if naps {
                thread::sleep(Duration::from_nanos((idle_ns / FLUSH_NAP_PART).min(FLUSH_NAP_MAX_NS)));
            } else {
                thread::yield_now();
            }
            continue;
        }
        if !sleeps {
            // Without a pause: each is a call of the operating system at least, and a message waits for half of it.
            for _ in 0..GLANCES {
                match worker.glance(&mut *clock) {
                    Some(0) => {}
                    Some(_) => {
                        idle_since = None;
                        break;
                    }
                    None => break,
                }
            }
        }
        timeout = sleeps.then(|| {
            let bound = if worker.awaits_stager() { SLEEP_AWAITING } else { SLEEP_MAX };
            bound.min(Duration::from_nanos(worker.idle_ns(now)))
        });
    }
    worker.trace().at(Stage::Ended);
}

/// Serves resends until the workers are done, looks after what they and the archive keep from being overwritten, and now and then
/// whether the directory is still ours.
pub(crate) fn run_stagers<S: Storage>(
    stagers: &mut [Stager<S>],
    watches: &mut [RecycleWatch],
    fence: &mut Fence,
    presence: &mut Presence,
    signals: &Signals,
) {
    // Without it the naps are longer by the default, 50 µs.
    let _ = set_timer_slack(STAGER_SLACK_NS);
    let mut nap = STAGER_NAP_MIN;
    while !signals.is_over() {
        if let Err(error) = fence.look(Instant::now()) {
            return signals.fail(&error);
        }
        fence.note_reached();
        presence.look(Instant::now());
        let mut work = 0;
        for watch in watches.iter_mut() {
            if let Err(error) = watch.look(signals.stop.load(Ordering::Acquire)) {
                return signals.fail(&error);
            }
        }
        for stager in stagers.iter_mut() {
            match stager.turn() {
                Ok(done) => work += done,
                Err(error) => return signals.fail(&error),
            }
        }
        if work == 0 {
            thread::sleep(nap);
            nap = (nap * 2).min(STAGER_NAP_MAX);
        } else {
            nap = STAGER_NAP_MIN;
        }
    }
}

/// Resolves initiators' host names, one after the other: this thread alone may wait for a name server.
pub(crate) fn run_resolver(workers: &mut [(Consumer<ResolveRequest>, Producer<Resolved>)], signals: &Signals) {
    while !signals.is_over() {
        let mut work = 0;
        for (requests, answers) in workers.iter_mut() {
            // An answer that found no room would leave its initiator waiting for ever.
            while !answers.is_full()
                && let Ok(request) = requests.pop()
            {
                let resolved = request.endpoint.to_socket_addrs();
                if let Err(error) = &resolved {
                    tracing::warn!(endpoint = &*request.endpoint, %error, "cannot resolve a name");
                }
                let addresses = resolved.map(Iterator::collect).unwrap_or_default();
                let (ledger, session) = (request.ledger, request.session);
                // It has room, and we are its only producer.
                let _ = answers.push(Resolved { ledger, session, addresses });
                work += 1;
            }
        }
        if work == 0 {
            thread::sleep(RESOLVER_NAP);
        }
    }
}
