//! The worker: a loop that owns sessions, their connections, their timers and one or more journals.
//!
//! [`Worker::turn`] is one pass of that loop, a step function over a transport and a clock: it
//! never blocks but in the transport's poll, takes bounded batches of everything, and answers how
//! much it did. It reads the clock after the poll and whenever bytes have come, so that nothing is
//! handled with a time from before it was sent. Threads, pinning and waiting are the shell's affair
//! (`super::threads`). Nothing that a worker owns is shared; other threads reach it through bounded
//! rings ([`Mailbox`]) and read the counters that it publishes.

mod closing;
mod connect;
mod first_logon;
mod hours;
mod newcomers;
mod pending;
mod receive;
mod resend;
mod send;
mod step;
mod stop;
mod too_long;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use rtrb::{Consumer, Producer};

use super::clock::Clock;
use super::connection::{Connections, ReceiveBuffer, Stage};
use super::directory::Directory;
use super::event::{Event, EventSink, SessionKey};
use super::hot::Hot;
use super::initiate::{ResolveRequest, Resolved};
use super::ledger::{Ledger, Slot};
use super::resend::Resends;
use super::timers::Timers;
use crate::application::Application;
use crate::control::{self, JournalCounters, Shared, WorkerCounters, WorkerTrace};
use crate::fix::FieldIndex;
use crate::journal::StagerPort;
use crate::session::{Identity, Now, Numbers};
use crate::transport::{ConnectionId, Ready, Transport};
use pending::Pending;
use send::Waiting;
use stop::Stop;

/// A hot connection that brought nothing for so many turns is left to readiness.
const HOT_TURNS_MAX: u64 = 20_000;
/// While there are hot connections, readiness of the others is asked for every so many turns.
const POLL_TURNS: u64 = 16;
/// And before more than so many messages, give or take a turn: turns that work are longer than turns that look.
const MESSAGES_PER_POLL_MAX: u32 = 16;
/// While sessions are slowed it is looked so often whether they may go on.
const SLOWED_SLEEP_MAX: Duration = Duration::from_millis(1);
/// Due timers worked off a turn, at most. Each may be a heartbeat, with a call of the operating system.
const TIMERS_PER_TURN_MAX: u32 = 8;

/// The bounds that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub message_bytes_max: u32,
    pub commit_bytes_max: u32,
    pub connections_max: u32,
    /// Connections that have not logged on.
    pub pending_connections_max: u32,
    /// And of them, those of one address.
    pub pending_connections_per_address_max: u32,
    /// Sessions that templates may create, in all of a journal.
    pub template_sessions_max: u32,
    pub logon_timeout_ns: u64,
    pub probe_timeout_ns: u64,
    /// How long a graceful stop waits for the peers' Logouts.
    pub stop_timeout_ns: u64,
    /// Messages that were first sent longer ago are not sent again; 0 sends all that are there.
    pub retention_age_ns: u64,
    /// For how long a session keeps what was sent to it, and what was not delivered, although others append.
    pub retention_min_ns: u64,
    pub retention_undelivered_max_ns: u64,
}

/// A connection on its way to the worker that owns its session, with what it has sent so far.
pub struct HandOver<D> {
    pub detached: D,
    pub peer: SocketAddr,
    pub received: Box<[u8]>,
}

/// The bounded rings between a worker and the threads around it.
pub struct Mailbox<D> {
    pub events: EventSink,
    pub resolve: Producer<ResolveRequest>,
    pub resolved: Consumer<Resolved>,
    /// By the number of the other worker; our own place stays empty.
    pub hand_over_to: Vec<Option<Producer<HandOver<D>>>>,
    pub handed_over: Vec<Consumer<HandOver<D>>>,
}

/// A journal that a worker adopts.
pub struct Adopted<A> {
    pub number: u16,
    pub writer: crate::journal::Writer,
    pub incarnation: u32,
    pub application: A,
    pub sessions: Vec<crate::journal::RecoveredSession>,
    pub staging: StagerPort,
    pub counters: Arc<CachePadded<JournalCounters>>,
}

struct Desk<A> {
    ledger: Ledger<A>,
    journal: u16,
    staging: StagerPort,
    by_identity: HashMap<Identity, u32>,
    resends: Resends,
    counters: Arc<CachePadded<JournalCounters>>,
    template_sessions: u32,
    /// Sessions with records to send, or waiting for their release. Each at most once: see `queued`.
    to_send: Vec<u32>,
    queued: Vec<bool>,
    waiting: Waiting,
    /// A message that came found no room in the ring, and there has been none since.
    full: bool,
}

pub struct Worker<T: Transport, A> {
    number: u32,
    transport: T,
    desks: Vec<Desk<A>>,
    /// Which of our desks has a journal, by the journal's number; `None` for other workers' journals.
    desk_of_journal: Vec<Option<u32>>,
    /// Which worker has a journal.
    worker_of_journal: Vec<u32>,
    directory: Arc<Directory>,
    shared: Arc<Shared>,
    limits: Limits,
    mailbox: Mailbox<T::Detached>,
    counters: Arc<CachePadded<WorkerCounters>>,
    trace: Arc<CachePadded<WorkerTrace>>,

    connections: Connections,
    connections_open: u32,
    pending: Pending,
    /// Connections that wait for the end of the peer's stream, the oldest first.
    draining: VecDeque<ConnectionId>,
    /// Buffers of closed connections.
    spare_buffers: Vec<ReceiveBuffer>,
    /// Connections that may have bytes, each at most once; whose turn it is comes first.
    readable: VecDeque<ConnectionId>,
    /// The same of connections without a session.
    newcomers: VecDeque<ConnectionId>,
    hot: Hot,
    /// What may still be taken in this turn, of all connections together.
    messages_left: u32,
    /// Connections that were not read in the last pass, so that what other sessions have is not recycled.
    slowed: u32,
    /// Since readiness was asked for.
    messages_unpolled: u32,
    polled_turn: u64,
    acceptable: bool,
    /// A timer will make it so, after a failure.
    accept_is_due: bool,
    ready: Vec<Ready>,

    timers: Timers,
    index: FieldIndex,
    held: Vec<u8>,
    /// Whose message came last, by ledger and session.
    last_message: Option<(u32, u32)>,
    /// When a session that owes no resend has sent something.
    live_ns: u64,
    next_token: u64,
    turns: u64,
    /// What the clock said last. It is read again whenever something may have come since.
    now: Now,
    last_turn_ns: u64,
    was_busy: bool,
    stop: Stop,
    is_fenced: bool,
}

impl<T: Transport, A: Application> Worker<T, A> {
    #[allow(clippy::too_many_arguments, reason = "made in one place, from parts that are made there")]
    pub fn new(
        number: u32,
        transport: T,
        adopted: Vec<Adopted<A>>,
        worker_of_journal: Vec<u32>,
        directory: Arc<Directory>,
        shared: Arc<Shared>,
        limits: Limits,
        mailbox: Mailbox<T::Detached>,
        counters: Arc<CachePadded<WorkerCounters>>,
        now: Now,
    ) -> Self {
        let fields_max = limits.message_bytes_max / 4;
        let mut desk_of_journal = vec![None; worker_of_journal.len()];
        for (desk, journal) in adopted.iter().enumerate() {
            desk_of_journal[usize::from(journal.number)] = Some(desk as u32);
        }
        let mut worker = Self {
            number,
            transport,
            desks: Vec::with_capacity(adopted.len()),
            desk_of_journal,
            worker_of_journal,
            directory,
            trace: shared.trace(number as usize),
            shared,
            limits,
            mailbox,
            counters,
            connections: Connections::with_capacity(limits.connections_max),
            connections_open: 0,
            pending: Pending::with_capacity(limits.pending_connections_max),
            draining: VecDeque::with_capacity(closing::DRAINING_MAX),
            spare_buffers: Vec::new(),
            readable: VecDeque::with_capacity(limits.connections_max as usize),
            newcomers: VecDeque::with_capacity(limits.pending_connections_max as usize),
            hot: Hot::new(),
            messages_left: 0,
            slowed: 0,
            messages_unpolled: 0,
            polled_turn: 0,
            acceptable: false,
            accept_is_due: false,
            ready: Vec::with_capacity(limits.connections_max as usize + 1),
            timers: Timers::with_capacity(4 * limits.connections_max + 64),
            index: FieldIndex::with_capacity(fields_max),
            held: Vec::with_capacity(limits.message_bytes_max as usize),
            last_message: None,
            live_ns: 0,
            next_token: 0,
            turns: 0,
            now,
            last_turn_ns: now.monotonic_ns,
            was_busy: false,
            stop: Stop::default(),
            is_fenced: false,
        };
        worker.mailbox.events.at(now);
        for journal in adopted {
            worker.adopt(now, journal);
        }
        worker
    }

    /// One pass of the loop. `timeout` is how long the transport may wait where there is nothing to do; `None` does not
    /// wait. Answers the work done: 0 means that the shell may wait.
    pub fn turn(&mut self, mut clock: impl Clock, timeout: Option<Duration>) -> u32 {
        self.turns += 1;
        self.trace.begin_turn();
        let mut work = self.look_for_readiness(timeout);
        // After the poll, in which the thread may have slept.
        let began = self.look_at(&mut clock);
        self.mailbox.events.turn();
        work += self.take_mail(began);
        // Answers leave before anything else is looked after.
        work += self.answer(&mut clock);
        self.trace.at(control::Stage::Timers);
        work += self.fire_timers(&mut clock);
        let now = self.now;
        for desk in 0..self.desks.len() {
            if self.desks[desk].full || self.desks[desk].ledger.application.has_turn() {
                let has_room = self.desks[desk].ledger.application_turn(now);
                self.desks[desk].full &= !has_room;
                self.collect_touched(desk);
                self.after_application(now, desk as u32);
            }
            work += self.desks[desk].ledger.renew_leases(now);
            work += self.send_queued(now, desk as u32);
        }
        self.trace.at(control::Stage::Resend);
        work += self.resend(now);
        work += self.newcomers(&mut clock);
        work += self.stop_turn(self.now);
        if work == 0 && self.was_busy {
            self.rehearse(self.now);
        }
        self.end_turn(began, work);
        work
    }

    /// A turn that looks at the hot connections alone, between two whole ones that found nothing: a
    /// message waits for half of an idle turn, and everything else can wait for a few of them. The
    /// clock is read only where bytes have come. Answers `None` where no connection is hot.
    pub fn glance(&mut self, mut clock: impl Clock) -> Option<u32> {
        if self.hot.len() == 0 {
            return None;
        }
        self.turns += 1;
        self.trace.begin_turn();
        let work = self.answer(&mut clock);
        if work > 0 {
            self.end_turn(self.now, work);
        } else {
            self.trace.at(control::Stage::Idle);
        }
        Some(work)
    }

    fn answer(&mut self, clock: &mut impl Clock) -> u32 {
        self.look_at_retention(self.now);
        let mut work = self.read(clock);
        for desk in 0..self.desks.len() as u32 {
            work += self.send(self.now, desk);
        }
        work
    }

    /// Reads the clock: what has come by now is not handled with an earlier time.
    #[inline]
    pub(super) fn look_at(&mut self, clock: &mut impl Clock) -> Now {
        self.now = clock.now();
        self.mailbox.events.at(self.now);
        self.now
    }

    /// What the clock said last.
    pub fn now(&self) -> Now {
        self.now
    }

    fn look_at_retention(&mut self, now: Now) {
        for desk in &mut self.desks {
            let ledger = &mut desk.ledger;
            let appended = ledger.writer.appended();
            if ledger.commit.retention.is_due(appended) {
                let sessions = ledger.slots.iter().map(|slot| (&slot.session, &slot.link));
                let established = self.counters.sessions_established.value();
                ledger.commit.retention.look(sessions, appended, now, established);
            }
        }
    }

    fn end_turn(&mut self, began: Now, work: u32) {
        self.trace.at(control::Stage::Publish);
        self.publish(began, work);
        if work > 0 {
            // The next message comes from a kernel that has been through the caches since.
            self.desks.iter_mut().for_each(|desk| desk.ledger.writer.warm());
        }
        self.trace.at(control::Stage::Idle);
    }

    /// How long the shell may wait after a turn without work, until a timer is due.
    pub fn idle_ns(&self, now: Now) -> u64 {
        self.timers.next_ns().map_or(u64::MAX, |deadline_ns| deadline_ns.saturating_sub(now.monotonic_ns))
    }

    /// Outputs, or input that found no room, wait for the flusher.
    pub fn awaits_flush(&self) -> bool {
        self.stop == Stop::Syncing || self.desks.iter().any(|desk| desk.full || !desk.to_send.is_empty())
    }

    /// A resend waits, for the stager or its peer, or is being sent.
    pub fn awaits_stager(&self) -> bool {
        self.desks.iter().any(|desk| !desk.resends.jobs.is_empty() || !desk.resends.waiting.is_empty())
    }

    /// Another process has taken a journal of ours over. Nothing of it leaves any more, and the process must end.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn trace(&self) -> &WorkerTrace {
        &self.trace
    }

    /// The ledger's application, for tests.
    pub fn application(&self, desk: usize) -> &A {
        &self.desks[desk].ledger.application
    }

    /// Numbers of a session, for tests and drills: `(next_out, next_in)`.
    pub fn numbers(&self, desk: usize, session: u32) -> (u64, u64) {
        let numbers = self.session_numbers(desk, session);
        (numbers.next_out, numbers.next_in)
    }

    /// [`Worker::numbers`], with the epoch.
    pub fn session_numbers(&self, desk: usize, session: u32) -> Numbers {
        self.desks[desk].ledger.slots[session as usize].session.numbers()
    }

    fn take_mail(&mut self, now: Now) -> u32 {
        let mut work = 0;
        while let Ok(resolved) = self.mailbox.resolved.pop() {
            self.resolved(now, resolved);
            work += 1;
        }
        work
    }

    /// Another thread has left something, which wakes nobody.
    fn has_mail(&self) -> bool {
        !self.mailbox.resolved.is_empty() || self.mailbox.handed_over.iter().any(|from| !from.is_empty())
    }

    fn look_for_readiness(&mut self, timeout: Option<Duration>) -> u32 {
        let skip = self.hot.len() > 0
            && timeout.is_none()
            && self.turns - self.polled_turn < POLL_TURNS
            && self.messages_unpolled < MESSAGES_PER_POLL_MAX;
        if skip {
            return 0;
        }
        (self.polled_turn, self.messages_unpolled) = (self.turns, 0);
        // What is known to be readable does not wait for more.
        let is_idle = self.readable.len() <= self.slowed as usize
            && self.newcomers.is_empty()
            && !self.acceptable
            && (timeout.is_none() || !self.has_mail());
        let timeout_max = if self.slowed > 0 { SLOWED_SLEEP_MAX } else { Duration::MAX };
        let timeout = timeout.filter(|_| is_idle).map(|timeout| timeout.min(timeout_max));
        self.trace.at(if timeout.is_some() { control::Stage::Sleep } else { control::Stage::Poll });
        if let Err(error) = self.transport.poll(timeout, &mut self.ready) {
            self.mailbox.events.push(Event::PollFailed { error: error.kind() });
        }
        if timeout.is_some() {
            self.trace.at(control::Stage::Poll);
        }
        let mut ready = std::mem::take(&mut self.ready);
        let work = ready.len() as u32;
        for what in ready.drain(..) {
            match what {
                Ready::Acceptable => self.acceptable = true,
                Ready::Connection { id, readable, writable, ended } => {
                    self.connection_ready(id, readable, writable, ended);
                }
            }
        }
        self.ready = ready;
        work
    }

    fn connection_ready(&mut self, id: ConnectionId, readable: bool, writable: bool, ended: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.ended |= ended;
        let stage = connection.stage;
        let was_full = writable && std::mem::replace(&mut connection.socket_full, false);
        if readable || (writable && matches!(stage, Stage::Connecting { .. })) {
            self.list(id);
        }
        if was_full && let Stage::Attached { ledger, session } | Stage::Closing { ledger, session } = stage {
            self.queue_send(ledger, session);
        }
    }

    fn slot(&mut self, ledger: u32, session: u32) -> &mut Slot {
        &mut self.desks[ledger as usize].ledger.slots[session as usize]
    }

    fn key(&self, ledger: u32, session: u32) -> SessionKey {
        SessionKey { journal: self.desks[ledger as usize].journal, number: session }
    }

    /// In the first turn that finds nothing: the next message meets warm caches.
    fn rehearse(&mut self, now: Now) {
        if let Some((ledger, session)) = self.last_message {
            let ledger = &mut self.desks[ledger as usize].ledger;
            ledger.rehearse(now, session, &mut self.index, &mut self.held);
        }
    }

    fn publish(&mut self, began: Now, work: u32) {
        self.counters.turns.set(self.turns);
        if work > 0 {
            self.counters.busy_turns.add(1);
            for desk in &self.desks {
                desk.counters.appended_bytes.set(desk.ledger.writer.appended());
            }
        }
        // From a busy turn's clock to the next: what a message that came at the wrong moment had to
        // wait. After an idle turn the thread may have slept on purpose; a busy one reads its clock
        // behind the poll in which it slept.
        if self.was_busy {
            self.trace.took(&self.counters, self.turns - 1, began.monotonic_ns.saturating_sub(self.last_turn_ns));
        }
        self.was_busy = work > 0;
        self.last_turn_ns = began.monotonic_ns;
    }
}
