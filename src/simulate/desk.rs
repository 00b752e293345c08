//! The initiator's application: sends numbered orders and keeps, as durable state, which of them are answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::application::{Application, Delivery, Direction, Handle, RestoreError, SessionNumber, Sessions};
use crate::fix::{Decimal, Message, Precision, tags};

/// Orders of a session that wait for their answer, at most: what a resend must bring back stays within the segments.
const UNANSWERED_MAX: usize = 16;

/// One session's ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The number of the next order.
    pub next_order: u64,
    pub unanswered: BTreeSet<u64>,
    pub answered: u64,
    /// The number of the next News(B) that the venue sends without being asked.
    pub next_news: u64,
}

pub struct Desk {
    pub accounts: Vec<Account>,
    random: fastrand::Rng,
    /// Set while no new orders are sent.
    quiet: Arc<AtomicBool>,
    /// Set where what was not delivered may never be.
    is_lossy: Arc<AtomicBool>,
}

impl Desk {
    pub fn new(seed: u64, sessions: usize, quiet: Arc<AtomicBool>, is_lossy: Arc<AtomicBool>) -> Self {
        let account = Account { next_order: 1, next_news: 1, ..Account::default() };
        Self { accounts: vec![account; sessions], random: fastrand::Rng::with_seed(seed), quiet, is_lossy }
    }

    fn report(&mut self, session: SessionNumber, report: &Message<'_>) {
        let shown = || String::from_utf8_lossy(report.bytes()).replace('\x01', "|");
        let number = number_of(report.field(tags::CL_ORD_ID).unwrap_or_default());
        let number = number.unwrap_or_else(|| panic!("a report on an order that we did not send: {}", shown()));
        assert!(matches!(report.field(tags::ORD_STATUS), Some(b"0" | b"2")), "an order is refused: {}", shown());
        let account = &mut self.accounts[session.0 as usize];
        assert!(account.unanswered.remove(&number), "answered before, or never sent: {} {account:?}", shown());
        account.answered += 1;
    }

    fn news(&mut self, session: SessionNumber, news: &Message<'_>) {
        let number = news.field(tags::TEXT).and_then(number_of).expect("a News(B) is numbered");
        let account = &mut self.accounts[session.0 as usize];
        let missing = number > account.next_news && self.is_lossy.load(Ordering::Relaxed);
        assert!(number == account.next_news || missing, "news {number}: {account:?}");
        account.next_news = number + 1;
    }

    fn received(&mut self, session: SessionNumber, message: &Message<'_>) {
        match message.msg_type() {
            b"8" => self.report(session, message),
            b"B" => self.news(session, message),
            other => panic!("{} came", String::from_utf8_lossy(other)),
        }
    }

    fn sent(&mut self, session: SessionNumber, number: u64) {
        let account = &mut self.accounts[session.0 as usize];
        assert_eq!(number, account.next_order, "orders are stored in their order");
        account.next_order += 1;
        account.unanswered.insert(number);
    }

    fn order(&mut self, session: &mut Handle<'_>) {
        let number = self.accounts[session.session().0 as usize].next_order;
        let transact_time = session.now().utc;
        let is_market = self.random.bool();
        let text = vec![b'x'; if self.random.u8(..8) == 0 { self.random.usize(1..900) } else { 1 }];
        let cl_ord_id = format!("{}-{number}", session.session().0);
        let sent = session.send(b"D", |body| {
            body.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes()).char(tags::HANDL_INST, b'1');
            body.bytes(tags::SYMBOL, b"ACME").char(tags::SIDE, b'1');
            body.timestamp(tags::TRANSACT_TIME, transact_time, Precision::Millis);
            body.decimal(tags::ORDER_QTY, Decimal::new(100, 0));
            body.char(tags::ORD_TYPE, if is_market { b'1' } else { b'2' });
            body.decimal(tags::PRICE, Decimal::new(1250, 2)).bytes(tags::TEXT, &text);
        });
        if sent.is_ok() {
            self.sent(session.session(), number);
        }
    }
}

/// `<anything>-<number>`
fn number_of(id: &[u8]) -> Option<u64> {
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
                let number = number_of(message.field(tags::CL_ORD_ID).expect("ClOrdID(11)")).expect("a number");
                self.sent(session, number);
            }
        }
    }
}
