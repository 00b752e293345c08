//! The initiator's application: sends numbered orders and keeps, as durable state, which of them are answered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::side::Told;
use crate::application::{Application, Delivery, Direction, Handle, RestoreError, Rollback, SessionNumber, Sessions};
use crate::engine::Environment;
use crate::fix::{Decimal, Message, Precision, tags};

/// Orders of a session that wait for their answer, at most: what a resend must bring back stays within the segments.
const UNANSWERED_MAX: usize = 16;

/// One session's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The number of the next order. Its id has the incarnation in the upper half.
    pub next_order: u64,
    pub unanswered: BTreeSet<u64>,
    pub answered: u64,
    /// The number of the next News(B) that the venue sends without being asked.
    pub next_news: u64,
}

/// What a desk is told that does not fit what it remembers: after a node has taken something with it, and never else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A report on this order, which is answered already or was lost.
    Report(String),
    /// A News(B) that has come before.
    News(u64),
}

/// By journal and session, of all of a desk's lives. The world says whether they may be.
pub type Strays = Arc<Mutex<Vec<(u16, u32, Stray)>>>;

pub struct Desk {
    pub accounts: Vec<Account>,
    random: fastrand::Rng,
    /// Set while no new orders are sent.
    quiet: Arc<AtomicBool>,
    /// Set where what was not delivered may never be.
    is_lossy: Arc<AtomicBool>,
    journal: u16,
    /// In the ClOrdIDs, so that none is used again after a loss.
    incarnation: u32,
    strays: Strays,
    /// What this life was told is lost, in its place among what it was told of its past.
    pub rollbacks: Vec<(SessionNumber, Rollback)>,
}

impl Desk {
    pub fn new(
        seed: u64,
        sessions: usize,
        quiet: Arc<AtomicBool>,
        is_lossy: Arc<AtomicBool>,
        environment: &Environment,
        strays: Strays,
    ) -> Self {
        let account = Account { next_order: 1, next_news: 1, ..Account::default() };
        Self {
            accounts: vec![account; sessions],
            random: fastrand::Rng::with_seed(seed),
            quiet,
            is_lossy,
            journal: environment.journal,
            incarnation: environment.incarnation,
            strays,
            rollbacks: Vec::new(),
        }
    }

    fn stray(&self, session: SessionNumber, stray: Stray) {
        self.strays.lock().expect("no panic before").push((self.journal, session.0, stray));
    }

    fn report(&mut self, session: SessionNumber, report: &Message<'_>) {
        let shown = || String::from_utf8_lossy(report.bytes()).replace('\x01', "|");
        let cl_ord_id = report.field(tags::CL_ORD_ID).unwrap_or_default();
        let id = id_of(cl_ord_id);
        let id = id.unwrap_or_else(|| panic!("a report on an order that we did not send: {}", shown()));
        assert!(matches!(report.field(tags::ORD_STATUS), Some(b"0" | b"2")), "an order is refused: {}", shown());
        let account = &mut self.accounts[session.0 as usize];
        if account.unanswered.remove(&id) {
            account.answered += 1;
        } else {
            self.stray(session, Stray::Report(String::from_utf8_lossy(cl_ord_id).into_owned()));
        }
    }

    fn news(&mut self, session: SessionNumber, news: &Message<'_>) {
        let number = news.field(tags::TEXT).and_then(id_of).expect("a News(B) is numbered");
        let account = &mut self.accounts[session.0 as usize];
        assert!(number <= account.next_news || self.is_lossy.load(Ordering::Relaxed), "news {number}: {account:?}");
        let came_before = number < account.next_news;
        account.next_news = number + 1;
        if came_before {
            self.stray(session, Stray::News(number));
        }
    }

    fn received(&mut self, session: SessionNumber, message: &Message<'_>) {
        match message.msg_type() {
            b"8" => self.report(session, message),
            b"B" => self.news(session, message),
            other => panic!("{} came", String::from_utf8_lossy(other)),
        }
    }

    fn sent(&mut self, session: SessionNumber, id: u64) {
        let account = &mut self.accounts[session.0 as usize];
        assert_eq!(id & u64::from(u32::MAX), account.next_order, "orders are stored in their order");
        account.next_order += 1;
        account.unanswered.insert(id);
    }

    fn order(&mut self, session: &mut Handle<'_>) {
        let id = u64::from(self.incarnation) << 32 | self.accounts[session.session().0 as usize].next_order;
        let transact_time = session.now().utc;
        let is_market = self.random.bool();
        let text = vec![b'x'; if self.random.u8(..8) == 0 { self.random.usize(1..900) } else { 1 }];
        let cl_ord_id = format!("{}-{id}", session.session().0);
        let sent = session.send(b"D", |body| {
            body.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes()).char(tags::HANDL_INST, b'1');
            body.bytes(tags::SYMBOL, b"ACME").char(tags::SIDE, b'1');
            body.timestamp(tags::TRANSACT_TIME, transact_time, Precision::Millis);
            body.decimal(tags::ORDER_QTY, Decimal::new(100, 0));
            body.char(tags::ORD_TYPE, if is_market { b'1' } else { b'2' });
            body.decimal(tags::PRICE, Decimal::new(1250, 2)).bytes(tags::TEXT, &text);
        });
        if sent.is_ok() {
            self.sent(session.session(), id);
        }
    }
}

/// `<anything>-<id>`
fn id_of(id: &[u8]) -> Option<u64> {
    std::str::from_utf8(id).ok()?.rsplit_once('-')?.1.parse().ok()
}

impl Application for Desk {
    fn on_message(&mut self, session: &mut Handle<'_>, message: &Message<'_>, _delivery: Delivery) {
        self.received(session.session(), message);
    }

    fn on_turn(&mut self, sessions: &mut Sessions<'_>) {
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        for number in sessions.numbers() {
            let Some(mut session) = sessions.handle(number) else { continue };
            let waiting = self.accounts[number.0 as usize].unanswered.len();
            if session.is_established() && waiting < UNANSWERED_MAX && self.random.u8(..3) == 0 {
                for _ in 0..self.random.u8(1..4) {
                    self.order(&mut session);
                }
            }
        }
    }

    fn snapshot(&self, state: &mut Vec<u8>) {
        for account in &self.accounts {
            for word in [account.next_order, account.answered, account.next_news, account.unanswered.len() as u64] {
                state.extend(word.to_le_bytes());
            }
            state.extend(account.unanswered.iter().flat_map(|number| number.to_le_bytes()));
        }
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let (words, _) = state.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().ok_or_else(|| RestoreError("too short".into()));
        for account in &mut self.accounts {
            (account.next_order, account.answered, account.next_news) = (next()?, next()?, next()?);
            account.unanswered = (0..next()?).map(|_| next()).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    fn on_replay(&mut self, session: SessionNumber, _epoch: u32, direction: Direction, message: &Message<'_>) {
        match direction {
            Direction::Inbound => self.received(session, message),
            Direction::Outbound => {
                let id = id_of(message.field(tags::CL_ORD_ID).expect("ClOrdID(11)")).expect("an id");
                self.sent(session, id);
            }
        }
    }

    fn on_rollback(&mut self, session: SessionNumber, rollback: Rollback) {
        self.rollbacks.push((session, rollback));
    }
}

impl Told for Desk {
    fn rollbacks(&self) -> &[(SessionNumber, Rollback)] {
        &self.rollbacks
    }
}
