//! The acceptor's application: the exchange, which in some worlds also tells numbered news that nobody asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::side::Told;
use crate::application::{
    Application, Delivery, Direction, Exchange, Handle, RestoreError, Rollback, SessionNumber, Sessions,
};
use crate::fix::{Message, tags};

/// News to a peer from one order of its to the next, at most: what a peer that does not read misses must still be in the
/// segments when it comes back. None after a start, until it is heard.
const NEWS_MAX: u32 = 12;

pub struct Venue {
    exchange: Exchange,
    /// By session: how many were told. Empty where none are.
    pub told: Vec<u64>,
    /// By session: how many may be told before the next order.
    left: Vec<u32>,
    random: fastrand::Rng,
    quiet: Arc<AtomicBool>,
    /// What this life was told is lost, in its place among what it was told of its past.
    pub rollbacks: Vec<(SessionNumber, Rollback)>,
}

impl Venue {
    pub fn new(seed: u64, sessions: usize, snapshot_bytes_max: u32, quiet: Arc<AtomicBool>) -> Self {
        let exchange = Exchange::new(snapshot_bytes_max / 2);
        Self {
            exchange,
            told: vec![0; sessions],
            left: vec![0; sessions],
            random: fastrand::Rng::with_seed(seed),
            quiet,
            rollbacks: Vec::new(),
        }
    }
}

impl Application for Venue {
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, delivery: Delivery) {
        if let Some(left) = self.left.get_mut(session.session().0 as usize) {
            *left = NEWS_MAX;
        }
        self.exchange.on_message(session, message, delivery);
    }

    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        if self.quiet.load(Ordering::Relaxed) || self.told.is_empty() {
            return;
        }
        for number in sessions.numbers() {
            let Some(mut session) = sessions.handle(number) else { continue };
            let left = &mut self.left[number.0 as usize];
            if !session.is_established() || *left == 0 || self.random.u8(..6) != 0 {
                continue;
            }
            let told = &mut self.told[number.0 as usize];
            let text = format!("news-{}", *told + 1);
            // Headline(148), and a group of one line of text.
            let sent = session.send(b"B", |body| {
                body.bytes(148, b"news").uint(33, 1).bytes(tags::TEXT, text.as_bytes());
            });
            if sent.is_ok() {
                *told += 1;
                *left -= 1;
            }
        }
    }

    fn snapshot(&self, state: &mut Vec<u8>) {
        state.extend(self.told.iter().flat_map(|told| told.to_le_bytes()));
        self.exchange.snapshot(state);
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let (told, exchange) = state.split_at(8 * self.told.len());
        for (target, word) in self.told.iter_mut().zip(told.as_chunks::<8>().0) {
            *target = u64::from_le_bytes(*word);
        }
        self.exchange.restore(exchange)
    }

    fn on_replay(&mut self, session: SessionNumber, epoch: u32, direction: Direction, message: &Message<'_>) {
        if direction == Direction::Outbound && message.msg_type() == b"B" {
            self.told[session.0 as usize] += 1;
        }
        self.exchange.on_replay(session, epoch, direction, message);
    }

    fn on_rollback(&mut self, session: SessionNumber, rollback: Rollback) {
        self.rollbacks.push((session, rollback));
    }
}

impl Told for Venue {
    fn rollbacks(&self) -> &[(SessionNumber, Rollback)] {
        &self.rollbacks
    }
}
