//! The counterparty of the kill test: a FIX client that remembers everything it ever sent or saw, and checks each
//! message of the engine against that memory.

#![allow(dead_code, reason = "the kill test and the power cut use it, each its part")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use super::wire::{DEADLINE, Fields, Party, Read1, Wire, utc_now};

/// How far back a deliberate ResendRequest(2) reaches: well within the segments.
const ASK_AGAIN_MAX: u64 = 30;

pub struct Client {
    party: Party,
    port: u16,
    wire: Option<Wire>,
    /// MsgSeqNum(34) of our next message.
    next_out: u64,
    /// Of the engine's next message.
    expected: u64,
    /// Our orders by number, as they are to be sent again; what is not here was an administrative message.
    orders_sent: BTreeMap<u64, Sent>,
    /// Everything that came, by number.
    received: BTreeMap<u64, Received>,
    /// Numbers that gap fills covered and that no message of ours to see has had.
    filled: BTreeSet<u64>,
    /// By ClOrdID(11): the number of the report.
    answers: BTreeMap<String, Option<u64>>,
    ids: HashSet<String>,
    answered: u64,
    logged_on: bool,
    logged_out: bool,
    /// A resend up to infinity is under way on this connection.
    gap_asked: bool,
}

struct Sent {
    sending_time: String,
    body: String,
}

struct Received {
    /// As it came first.
    message: Fields,
    is_application: bool,
}

/// An order whose report we have.
pub struct AnsweredOrder<'a> {
    pub msg_seq_num: u64,
    /// What followed the header, with `|` for the delimiter.
    pub body: &'a str,
}

impl Client {
    pub fn new(party: Party, port: u16) -> Self {
        Self {
            party,
            port,
            wire: None,
            next_out: 1,
            expected: 1,
            orders_sent: BTreeMap::new(),
            received: BTreeMap::new(),
            filled: BTreeSet::new(),
            answers: BTreeMap::new(),
            ids: HashSet::new(),
            answered: 0,
            logged_on: false,
            logged_out: false,
            gap_asked: false,
        }
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    pub fn unanswered(&self) -> u64 {
        self.answers.len() as u64 - self.answered
    }

    /// What the engine has acknowledged, from this number on: orders whose reports came.
    pub fn answered_orders(&self, from: u64) -> impl Iterator<Item = AnsweredOrder<'_>> {
        let is_answered = |body: &str| {
            let cl_ord_id = body.split('|').find_map(|field| field.strip_prefix("11="));
            cl_ord_id.and_then(|id| self.answers.get(id)).is_some_and(Option::is_some)
        };
        let answered = self.orders_sent.range(from..).filter(move |(_, sent)| is_answered(&sent.body));
        answered.map(|(number, sent)| AnsweredOrder { msg_seq_num: *number, body: &sent.body })
    }

    /// Every message of the engine's that had a number, as it came first.
    pub fn received(&self) -> impl Iterator<Item = (u64, &Fields)> {
        self.received.iter().map(|(number, received)| (*number, &received.message))
    }

    /// Connects and sends the Logon(A), without waiting for the answer.
    pub fn connect(&mut self) {
        (self.logged_on, self.logged_out, self.gap_asked) = (false, false, false);
        self.wire = Wire::connect(self.port);
        assert!(self.wire.is_some(), "a ready engine listens");
        self.send_admin("A", "98=0|108=3600|");
    }

    pub fn log_on(&mut self) {
        self.connect();
        self.until("the logon", |client| client.logged_on);
    }

    /// Asks for messages that came before, which must come again as they were.
    pub fn ask_again(&mut self) {
        let last = self.expected - 1;
        let first = last.saturating_sub(ASK_AGAIN_MAX).max(1);
        if last >= first && !self.gap_asked {
            self.send_admin("2", &format!("7={first}|16={last}|"));
        }
    }

    pub fn send_order(&mut self) {
        let cl_ord_id = format!("K-{}", self.answers.len());
        let body = format!("11={cl_ord_id}|21=1|55=FIXR|54=1|60={}|38=100|40=2|44=10.25|59=0|", utc_now());
        self.answers.insert(cl_ord_id, None);
        self.orders_sent.insert(self.next_out, Sent { sending_time: utc_now(), body: body.clone() });
        let message = self.party.message("D", self.next_out, "", &body);
        self.next_out += 1;
        self.write(&message);
    }

    /// Handles what comes, until `reached` says so; the deadline is a failure.
    pub fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !reached(self) {
            assert!(!self.logged_out, "the engine logged out while we waited for {what}");
            assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}; {} unanswered", self.unanswered());
            match self.wire.as_mut().expect("connected").read(Duration::from_millis(100)) {
                Read1::Message(message) => self.receive(&message),
                Read1::Nothing => {}
                Read1::End => panic!("the engine closed the connection while we waited for {what}"),
            }
        }
    }

    /// Handles what is there by now. Never waits.
    pub fn pump(&mut self) {
        while let Some(Read1::Message(message)) = self.wire.as_mut().map(|wire| wire.read(Duration::ZERO)) {
            self.receive(&message);
        }
    }

    /// Handles what comes for so long. `false` when the connection is over.
    pub fn pump_for(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.wire.as_mut().map(|wire| wire.read(left)) {
                Some(Read1::Message(message)) => self.receive(&message),
                Some(Read1::Nothing) => return true,
                Some(Read1::End) | None => return false,
            }
            if left.is_zero() {
                return true;
            }
        }
    }

    /// After a kill: what the engine had released before it died still counts.
    pub fn drain(&mut self) {
        while let Some(wire) = &mut self.wire {
            match wire.read(DEADLINE) {
                Read1::Message(message) => self.receive(&message),
                Read1::End => self.wire = None,
                Read1::Nothing => panic!("a dead process holds its connection open"),
            }
        }
    }

    pub fn log_out(&mut self) {
        self.send_admin("5", "");
        let deadline = Instant::now() + DEADLINE;
        while !self.logged_out {
            assert!(Instant::now() < deadline, "the Logout(5) is not answered");
            if let Read1::Message(message) = self.wire.as_mut().expect("connected").read(DEADLINE) {
                self.receive(&message);
            }
        }
        self.wire = None;
    }

    /// Every order has exactly one report (a second one is found when it comes), and no number is missing.
    pub fn check_complete(&self) {
        let unanswered: Vec<_> = self.answers.iter().filter(|(_, report)| report.is_none()).collect();
        assert!(unanswered.is_empty(), "orders without a report: {unanswered:?}");
        for number in 1..self.expected {
            assert!(
                self.received.contains_key(&number) || self.filled.contains(&number),
                "number {number} was passed over"
            );
        }
    }

    fn receive(&mut self, message: &Fields) {
        let number = message.number(34);
        let poss_dup = message.is_set(43);
        let msg_type = message.msg_type();
        assert!(
            number >= self.expected || poss_dup,
            "number {number} is too low, {} was expected, and no PossDup: {message:?}",
            self.expected
        );
        if number > self.expected && !self.gap_asked {
            self.gap_asked = true;
            let first = self.expected;
            self.send_admin("2", &format!("7={first}|16=0|"));
        }
        if msg_type == "4" {
            return self.gap_fill(message);
        }
        let content = message.content();
        match self.received.get(&number) {
            Some(before) => {
                assert!(poss_dup, "number {number} came twice without PossDup: {message:?}");
                assert_eq!(before.message.content(), content, "number {number} was used again for something else");
            }
            None => {
                assert!(!self.filled.contains(&number), "number {number} was gap-filled before: {message:?}");
                let is_application = !["0", "1", "2", "3", "4", "5", "A"].contains(&msg_type);
                self.received.insert(number, Received { message: message.clone(), is_application });
                self.process(message);
            }
        }
        if number == self.expected {
            self.advance(number + 1);
        }
    }

    fn gap_fill(&mut self, message: &Fields) {
        let (number, next) = (message.number(34), message.number(36));
        assert!(message.is_set(123), "numbers are never reset: {message:?}");
        assert!(next > number, "a gap fill that fills nothing: {message:?}");
        for filled in number..next {
            match self.received.get(&filled) {
                Some(before) => {
                    assert!(!before.is_application, "number {filled} held {:?}: {message:?}", before.message)
                }
                None => drop(self.filled.insert(filled)),
            }
        }
        if number <= self.expected && next > self.expected {
            self.advance(next);
        }
    }

    fn advance(&mut self, next: u64) {
        self.expected = next;
        // Messages that came early come again, since we asked up to infinity: nothing is skipped here.
        if self.received.last_key_value().is_none_or(|(last, _)| *last < next) {
            self.gap_asked = false;
        }
    }

    /// What a message means to us, the first time that it comes.
    fn process(&mut self, message: &Fields) {
        match message.msg_type() {
            "A" => {
                assert!(!message.is_set(141), "the engine resets numbers: {message:?}");
                self.logged_on = true;
            }
            "0" => {}
            "1" => {
                let body = format!("112={}|", message.get(112).unwrap_or_default());
                self.send_admin("0", &body);
            }
            "2" => self.resend(message.number(7), message.number(16)),
            "5" => self.logged_out = true,
            "8" => self.report(message),
            _ => panic!("unexpected: {message:?}"),
        }
    }

    fn report(&mut self, message: &Fields) {
        let number = message.number(34);
        assert_eq!(message.get(150), Some("0"), "the order was not simply accepted: {message:?}");
        let cl_ord_id = message.get(11).expect("ClOrdID(11)");
        let answer =
            self.answers.get_mut(cl_ord_id).unwrap_or_else(|| panic!("an order that we never sent: {message:?}"));
        assert_eq!(*answer, None, "order {cl_ord_id} is answered a second time: {message:?}");
        *answer = Some(number);
        self.answered += 1;
        for tag in [37, 17] {
            let id = message.get(tag).unwrap_or_else(|| panic!("no field {tag} in {message:?}"));
            // ExecIDs and OrderIDs are counted apart only by us.
            assert!(self.ids.insert(format!("{tag}={id}")), "{tag}={id} was given out before: {message:?}");
        }
    }

    /// Answers the engine's ResendRequest(2).
    fn resend(&mut self, begin: u64, end: u64) {
        let forgotten = self.answered_orders(begin).next();
        if let Some(AnsweredOrder { msg_seq_num, body }) = forgotten {
            panic!("the engine asks again from {begin} on and has answered {msg_seq_num} already: {body}");
        }
        let last = if end == 0 { self.next_out - 1 } else { end.min(self.next_out - 1) };
        let mut number = begin;
        while number <= last {
            let message = match self.orders_sent.get(&number) {
                Some(Sent { sending_time, body }) => {
                    let header = format!("43=Y|122={sending_time}|");
                    let message = self.party.message("D", number, &header, body);
                    number += 1;
                    message
                }
                None => {
                    let next = self.orders_sent.range(number..=last).next().map_or(last + 1, |(next, _)| *next);
                    let header = format!("43=Y|122={}|", utc_now());
                    let message = self.party.message("4", number, &header, &format!("123=Y|36={next}|"));
                    number = next;
                    message
                }
            };
            self.write(&message);
        }
    }

    fn send_admin(&mut self, msg_type: &str, body: &str) {
        let message = self.party.message(msg_type, self.next_out, "", body);
        self.next_out += 1;
        self.write(&message);
    }

    fn write(&mut self, message: &[u8]) {
        // Where the engine is dead the message is lost on the way; it will ask.
        if let Some(wire) = &mut self.wire {
            wire.send(message);
        }
    }
}
