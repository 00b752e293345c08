//! One client thread over any number of sessions: an order at a time, orders at a rate, or as many as the window holds.
//!
//! Up to [`READ_IN_TURN_MAX`] sessions are read in turn, more are asked for with epoll. In a closed loop the session that
//! will answer is known, and nothing but its socket is read: the client costs the same for one session and for a thousand.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::orders::Orders;
use super::{BUFFER_BYTES, Client, ClientError, SILENCE_MAX};
use crate::cli::bench::stats::{Latencies, latencies};

/// Up to so many sockets a read of each costs less than asking which of them have something.
const READ_IN_TURN_MAX: usize = 4;
const EVENTS_MAX: usize = 256;
/// Of an open loop: what one turn sends and reads at most, so that the clock is read often.
const DUE_IN_TURN_MAX: u64 = 16;
const READ_IN_TURN_BYTES: usize = 4 * 1024;
/// Between two of its looks at the clock the client sends [`DUE_IN_TURN_MAX`] orders or reads [`READ_IN_TURN_BYTES`]. Where that
/// takes longer it was kept from its core.
pub(in crate::cli::bench) const CLIENT_STALL_NS: u64 = 20_000;
/// Of the rate that is asked for.
const REACHED_MIN: f64 = 0.99;
/// So late may the last answer be after the last order was due, whatever the rate: a stall is no missed rate.
const BEHIND_NS_MAX: u64 = 50_000_000;

/// How the load of a saturation is kept up.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Window {
    /// Sent and not yet answered, at most, over all sessions.
    pub orders: u32,
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Answered {
    pub orders: u64,
    pub elapsed: Duration,
    /// In which the client had neither something to send nor something to read.
    pub idle: Duration,
}

impl Answered {
    pub fn per_second(&self) -> f64 {
        self.orders as f64 / self.elapsed.as_secs_f64()
    }

    /// The part of the time in which the client worked: near 1 it may be the client that is measured.
    pub fn client_busy(&self) -> f64 {
        1.0 - self.idle.as_secs_f64() / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What an open loop found.
pub(in crate::cli::bench) struct OpenLoop {
    pub latencies: Latencies,
    /// Without the orders that were due or in flight while the client was kept from its core, or for as long again, while
    /// what had gathered was worked off.
    pub undisturbed: Latencies,
    pub wanted_per_second: u32,
    pub reached_per_second: f64,
}

impl OpenLoop {
    /// Client or server could not keep the rate: the figures are of another load.
    pub fn missed(&self) -> Option<ClientError> {
        let (wanted, reached) = (self.wanted_per_second, self.reached_per_second);
        (reached < REACHED_MIN * f64::from(wanted)).then_some(ClientError::MissedRate { wanted, reached })
    }
}

struct Session {
    client: Client,
    orders: Orders,
    /// Sent and answered in the present load.
    sent: u64,
    answered: u64,
    /// The kernel said that it has bytes, and they are not all read.
    is_ready: bool,
}

impl Session {
    fn send(&mut self, orders: u64) -> Result<(), ClientError> {
        let bytes = self.orders.next(orders);
        self.client.write(bytes)?;
        self.sent += orders;
        Ok(())
    }

    /// Takes what was received, up to the next answer to an order. Its length is noted for the floor.
    fn take(&mut self) -> Result<bool, ClientError> {
        while let Some(length) = self.client.whole()? {
            let is_answer = self.orders.is_answer(&self.client.received[self.client.start..][..length])?;
            self.client.release(length);
            if is_answer {
                self.client.answer_bytes = length;
                self.answered += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(in crate::cli::bench) struct Fleet {
    sessions: Vec<Session>,
    readiness: Option<Readiness>,
    /// Whose turn it is.
    next: usize,
}

struct Readiness {
    poll: Poll,
    events: Events,
    /// Sessions that are not read to the end.
    ready: Vec<usize>,
}

impl Fleet {
    /// Of clients that are connected and, to an engine, logged on; with the CompIDs of each.
    pub fn new(clients: Vec<(Client, (String, String))>) -> Result<Self, ClientError> {
        let session = |(mut client, (sender, target)): (Client, (String, String))| {
            let orders = Orders::new(&mut client, (&sender, &target));
            Session { client, orders, sent: 0, answered: 0, is_ready: false }
        };
        let sessions: Vec<_> = clients.into_iter().map(session).collect();
        let readiness = if sessions.len() > READ_IN_TURN_MAX { Some(Readiness::of(&sessions)?) } else { None };
        Ok(Self { sessions, readiness, next: 0 })
    }

    /// Bytes of an order, and of the last answer.
    pub fn lengths(&self) -> (usize, usize) {
        let client = &self.sessions[0].client;
        (client.order_bytes, client.answer_bytes)
    }

    /// One order in flight, each session in its turn. An order is made before the clock starts, its answer is checked after it stops.
    pub fn closed_loop(&mut self, warm_up: u32, round_trips: u32) -> Result<Latencies, ClientError> {
        let mut histogram = latencies();
        for number in 0..u64::from(warm_up) + u64::from(round_trips) {
            let at = self.next;
            self.next = if at + 1 == self.sessions.len() { 0 } else { at + 1 };
            let Session { client, orders, .. } = &mut self.sessions[at];
            let order = orders.next(1);
            let start = Instant::now();
            client.write(order)?;
            loop {
                let length = client.receive()?;
                let elapsed = start.elapsed();
                let is_answer = orders.is_answer(&client.received[client.start..][..length])?;
                client.release(length);
                if is_answer {
                    client.answer_bytes = length;
                    if number >= u64::from(warm_up) {
                        histogram.saturating_record(elapsed.as_nanos() as u64);
                    }
                    break;
                }
            }
        }
        Ok(histogram)
    }

    /// Sends at fixed times whatever the answers do, each session in its turn; latency counts from the time at which an
    /// order was to be sent.
    pub fn open_loop(&mut self, rate: u32, orders: u64) -> Result<OpenLoop, ClientError> {
        self.begin();
        let count = self.sessions.len() as u64;
        let due_ns = |order: u64| (u128::from(order) * 1_000_000_000 / u128::from(rate)) as u64;
        let mut found = OpenLoop {
            latencies: latencies(),
            undisturbed: latencies(),
            wanted_per_second: rate,
            reached_per_second: f64::INFINITY,
        };
        let mut watch = Watch::start();
        let (mut sent, mut answered) = (0, 0);
        if orders == 0 {
            return Ok(found);
        }
        while answered < orders {
            let now_ns = watch.now_ns();
            // The first is due at once.
            let due = (u128::from(now_ns) * u128::from(rate) / 1_000_000_000) as u64 + 1;
            let due = due.min(orders).saturating_sub(sent).min(DUE_IN_TURN_MAX);
            if due > 0 {
                if count == 1 {
                    self.sessions[0].send(due)?;
                    watch.now_ns();
                } else {
                    for order in sent..sent + due {
                        self.sessions[(order % count) as usize].send(1)?;
                        watch.now_ns();
                    }
                }
                sent += due;
            }
            answered += self.receive(READ_IN_TURN_BYTES, |at, number| {
                let now_ns = watch.now_ns();
                let due_ns = due_ns(number * count + at as u64);
                let latency_ns = now_ns.saturating_sub(due_ns);
                found.latencies.saturating_record(latency_ns);
                if due_ns >= watch.stalled_until_ns {
                    found.undisturbed.saturating_record(latency_ns);
                }
            })?;
            watch.heard(sent > answered, answered)?;
        }
        if orders > 1 {
            // What is not sent in time is not answered in time either.
            let answered_ns = watch.last_ns.saturating_sub(BEHIND_NS_MAX).max(1);
            found.reached_per_second = (orders - 1) as f64 * 1e9 / answered_ns as f64;
        }
        Ok(found)
    }

    /// Keeps so many orders in flight for so long, then waits for the last answers. A window of fewer orders than there
    /// are sessions moves over them.
    pub fn saturate(&mut self, window: Window) -> Result<Answered, ClientError> {
        self.begin();
        let count = self.sessions.len();
        let total = window.orders as usize;
        // Of each session; 0: the window is smaller than the fleet.
        let share = |at: usize| (total / count + usize::from(at < total % count)) as u64;
        let moves = total < count;
        let mut watch = Watch::start();
        let (mut sent, mut answered, mut idle_ns) = (0u64, 0u64, 0);
        let mut touched: Vec<usize> = (0..if moves { 0 } else { count }).collect();
        let mut idle_since_ns = None;
        loop {
            let now_ns = watch.now_ns();
            idle_ns += idle_since_ns.map_or(0, |since_ns| now_ns - since_ns);
            let is_over = now_ns >= window.duration.as_nanos() as u64;
            let before = (sent, answered);
            if !is_over && moves {
                while sent - answered < u64::from(window.orders) {
                    let session = &mut self.sessions[self.next];
                    if session.sent > session.answered {
                        break;
                    }
                    session.send(1)?;
                    sent += 1;
                    self.next = (self.next + 1) % count;
                }
            }
            for at in touched.drain(..) {
                let session = &mut self.sessions[at];
                let room = share(at) - (session.sent - session.answered);
                // One at a time would measure the client's system calls.
                if !is_over && room >= (share(at) / 4).max(1) {
                    session.send(room)?;
                    sent += room;
                }
            }
            if is_over && sent == answered {
                break;
            }
            answered += self.receive(BUFFER_BYTES, |at, _| {
                if !moves && touched.last() != Some(&at) {
                    touched.push(at);
                }
            })?;
            watch.heard(sent > answered, answered)?;
            idle_since_ns = (before == (sent, answered)).then_some(now_ns);
        }
        Ok(Answered { orders: answered, elapsed: watch.start.elapsed(), idle: Duration::from_nanos(idle_ns) })
    }

    fn begin(&mut self) {
        self.next = 0;
        for session in &mut self.sessions {
            (session.sent, session.answered) = (0, 0);
        }
    }

    /// Reads once what has come, so many bytes of a session at most; calls back for each answer with the session and how many the
    /// session had before. How many they were.
    #[inline]
    fn receive(&mut self, bytes_max: usize, mut answer: impl FnMut(usize, u64)) -> Result<u64, ClientError> {
        let mut answers = 0;
        let mut read = |sessions: &mut [Session], at: usize| {
            let session = &mut sessions[at];
            let has_more = session.client.fill(bytes_max)?;
            while session.take()? {
                answer(at, session.answered - 1);
                answers += 1;
            }
            Ok::<bool, ClientError>(has_more)
        };
        match &mut self.readiness {
            None => {
                for at in 0..self.sessions.len() {
                    read(&mut self.sessions, at)?;
                }
            }
            Some(Readiness { poll, events, ready }) => {
                poll.poll(events, Some(Duration::ZERO))?;
                for event in &*events {
                    let session = &mut self.sessions[event.token().0];
                    if !session.is_ready {
                        session.is_ready = true;
                        ready.push(event.token().0);
                    }
                }
                // A read that was short took all there was, and what comes later is another event; epoll(7).
                let mut at = 0;
                while at < ready.len() {
                    if read(&mut self.sessions, ready[at])? {
                        at += 1;
                    } else {
                        self.sessions[ready[at]].is_ready = false;
                        ready.swap_remove(at);
                    }
                }
            }
        }
        Ok(answers)
    }
}

impl Readiness {
    fn of(sessions: &[Session]) -> Result<Self, ClientError> {
        let poll = Poll::new()?;
        for (at, session) in sessions.iter().enumerate() {
            poll.registry().register(
                &mut SourceFd(&session.client.stream.as_raw_fd()),
                Token(at),
                Interest::READABLE,
            )?;
        }
        Ok(Self { poll, events: Events::with_capacity(EVENTS_MAX), ready: Vec::new() })
    }
}

/// The client's clock: it sees when the client itself was kept from its core, and when the server has fallen silent.
struct Watch {
    start: Instant,
    last_ns: u64,
    /// Orders due before this have waited for the client.
    stalled_until_ns: u64,
    last_answer_ns: u64,
    answered: u64,
}

impl Watch {
    fn start() -> Self {
        Self { start: Instant::now(), last_ns: 0, stalled_until_ns: 0, last_answer_ns: 0, answered: 0 }
    }

    #[inline]
    fn now_ns(&mut self) -> u64 {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        let gap_ns = now_ns - self.last_ns;
        if gap_ns > CLIENT_STALL_NS {
            self.stalled_until_ns = now_ns + gap_ns;
        }
        self.last_ns = now_ns;
        now_ns
    }

    fn heard(&mut self, waits: bool, answered: u64) -> Result<(), ClientError> {
        if answered > self.answered || !waits {
            (self.answered, self.last_answer_ns) = (answered, self.last_ns);
        } else if self.last_ns - self.last_answer_ns > SILENCE_MAX.as_nanos() as u64 {
            return Err(ClientError::Protocol(format!("no answer to order {answered} for {SILENCE_MAX:?}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_missed_below_a_hundredth_of_it_and_not_above() {
        let of = |reached_per_second: f64| {
            let open = OpenLoop {
                latencies: latencies(),
                undisturbed: latencies(),
                wanted_per_second: 1_000,
                reached_per_second,
            };
            open.missed().map(|missed| missed.to_string())
        };
        assert_eq!((of(990.0), of(f64::INFINITY)), (None, None));
        assert!(of(989.0).is_some_and(|missed| missed.contains("989 a second") && missed.contains("lower --rate")));
    }

    #[test]
    fn what_the_client_did_itself_is_no_stall_and_silence_is_told_only_where_an_answer_is_awaited() {
        let mut watch = Watch::start();
        watch.last_ns = watch.start.elapsed().as_nanos() as u64;
        assert!(watch.heard(true, 1).is_ok());
        std::thread::sleep(Duration::from_millis(1));
        let now_ns = watch.now_ns();
        assert!(watch.stalled_until_ns >= now_ns + 1_000_000, "a millisecond's sleep is one");
        watch.last_ns += 2 * SILENCE_MAX.as_nanos() as u64;
        assert!(watch.heard(true, 1).is_err());
        assert!(watch.heard(false, 1).is_ok() && watch.heard(true, 1).is_ok());
    }
}
