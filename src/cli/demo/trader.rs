//! The client of the demo: an application that sends orders at a steady rate and counts what comes back.
//!
//! Order `n` is due `n` intervals after the first logon, whatever happens: an order that falls due while the session is
//! down is sent late. A round trip counts from the moment when its order was due, so a slow venue cannot hide behind
//! a client that waits for it. What the kill touched is left out of the round trips, since its figure is the
//! time to recover: orders that were due before the present logon, and those that were in flight at the kill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::application::{Application, Delivery, Handle, SessionNumber, Sessions};
use crate::fix::{Decimal, Message, Precision, tags};

/// Orders of one turn, at most: what fell due while the session was down goes out in bursts of so many.
const ORDERS_PER_TURN_MAX: u32 = 64;
/// What the venue has not taken may not grow into the ring: then the next orders are late, and count as such.
const UNSENT_BYTES_MAX: u64 = 1 << 20;
const ROUND_TRIP_NS_MAX: u64 = 60_000_000_000;

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub orders: u32,
    pub interval_ns: u64,
    /// The worker's core is the flushers' too: between orders it is theirs.
    pub shares_core: bool,
}

/// What the main thread sees while it goes on.
#[derive(Default)]
pub(super) struct Flow {
    sent: AtomicU64,
    answered: AtomicU64,
    logons: AtomicU64,
    second_logon: OnceLock<Instant>,
}

/// What has come of each order.
pub(super) struct Tally {
    orders: Vec<Order>,
    answered: u64,
    /// ExecutionReports(8) that accept an order, the first for each.
    pub reports: u64,
    /// Further ones about the same order, not marked as possible duplicates.
    pub duplicates: u64,
    pub round_trip: Histogram<u64>,
}

#[derive(Clone, Copy)]
struct Order {
    /// Which logon it was sent under.
    logon: u64,
    answered: bool,
}

pub(super) struct Trader {
    plan: Plan,
    flow: Arc<Flow>,
    tally: Arc<Mutex<Tally>>,
    clock: Instant,
    /// When order 0 was due.
    start_ns: Option<u64>,
    /// Of the present logon.
    logon_ns: u64,
    logon: u64,
    next_order: u32,
}

impl Flow {
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub fn logons(&self) -> u64 {
        self.logons.load(Ordering::Acquire)
    }

    pub fn second_logon(&self) -> Option<Instant> {
        self.second_logon.get().copied()
    }

    /// Changes as long as anything goes on.
    pub fn progress(&self) -> u64 {
        self.sent() + self.answered() + self.logons()
    }
}

impl Tally {
    pub fn sent(&self) -> u64 {
        self.orders.len() as u64
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }
}

impl Trader {
    pub fn new(plan: Plan, flow: Arc<Flow>) -> (Self, Arc<Mutex<Tally>>) {
        let tally = Arc::new(Mutex::new(Tally {
            orders: Vec::with_capacity(plan.orders as usize),
            answered: 0,
            reports: 0,
            duplicates: 0,
            round_trip: Histogram::new_with_bounds(1, ROUND_TRIP_NS_MAX, 3).expect("bounds in order"),
        }));
        let trader = Self {
            plan,
            flow,
            tally: Arc::clone(&tally),
            clock: Instant::now(),
            start_ns: None,
            logon_ns: 0,
            logon: 0,
            next_order: 0,
        };
        (trader, tally)
    }

    fn now_ns(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn due_ns(&self, order: u32) -> u64 {
        self.start_ns.unwrap_or(0) + u64::from(order) * self.plan.interval_ns
    }

    /// Sends the next order. `false` where the session takes none now.
    fn send_order(&mut self, session: &mut Handle<'_>) -> bool {
        let transact_time = session.now().utc;
        let cl_ord_id = self.next_order.to_string();
        let sent = session.send(b"D", |body| {
            body.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes()).char(tags::HANDL_INST, b'1');
            body.bytes(tags::SYMBOL, b"FIXR").char(tags::SIDE, b'1');
            body.timestamp(tags::TRANSACT_TIME, transact_time, Precision::Millis);
            body.uint(tags::ORDER_QTY, 100).char(tags::ORD_TYPE, b'2').decimal(tags::PRICE, Decimal::new(10125, 2));
        });
        if sent.is_err() {
            return false;
        }
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.orders.push(Order { logon: self.logon, answered: false });
        self.next_order += 1;
        self.flow.sent.store(tally.sent(), Ordering::Release);
        true
    }
}

impl Application for Trader {
    fn on_established(&mut self, _session: &mut Handle<'_>) {
        self.logon_ns = self.now_ns();
        self.start_ns.get_or_insert(self.logon_ns);
        self.logon += 1;
        if self.logon == 2 {
            let _ = self.flow.second_logon.set(Instant::now());
        }
        self.flow.logons.store(self.logon, Ordering::Release);
    }

    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        if self.start_ns.is_none()
            || self.next_order == self.plan.orders
            || self.now_ns() < self.due_ns(self.next_order)
        {
            if self.plan.shares_core {
                std::thread::yield_now();
            }
            return;
        }
        let Some(mut session) = sessions.handle(SessionNumber(0)) else { return };
        for _ in 0..ORDERS_PER_TURN_MAX {
            let is_due = self.next_order < self.plan.orders && self.now_ns() >= self.due_ns(self.next_order);
            if !is_due || session.unsent_bytes() > UNSENT_BYTES_MAX || !self.send_order(&mut session) {
                return;
            }
        }
    }

    fn on_message(&mut self, _session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        let is_new = message.msg_type() == b"8" && message.char(tags::EXEC_TYPE) == Some(Some(b'0'));
        let Some(Some(number)) = message.uint(tags::CL_ORD_ID) else { return };
        let received_ns = self.now_ns();
        let due_ns = self.due_ns(number as u32);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(order) = tally.orders.get_mut(number as usize) else { return };
        let first = !order.answered;
        order.answered |= is_new;
        let untouched = order.logon == self.logon && due_ns >= self.logon_ns && !delivery.poss_dup;
        if !first {
            // A report about an order that was answered before: also a rejection of its second coming.
            tally.duplicates += u64::from(!delivery.poss_dup);
        } else if is_new {
            tally.answered += 1;
            tally.reports += 1;
            if untouched {
                tally.round_trip.saturating_record(received_ns - due_ns);
            }
            self.flow.answered.store(tally.answered, Ordering::Release);
        }
    }
}
