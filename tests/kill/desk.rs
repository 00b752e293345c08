//! A counterparty of the real binary that counts its numbers and never resets them.

use std::time::{Duration, Instant};

use super::wire::{DEADLINE, Fields, Party, Read1, Wire};

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

/// The counterparty, which never resets.
#[derive(Default)]
pub struct Desk {
    pub wire: Option<Wire>,
    pub sent: u64,
    pub received: u64,
}

impl Desk {
    pub fn log_on(&mut self, port: u16) {
        self.wire = Wire::connect(port);
        self.send("A", "98=0|108=3600|");
        let answer = self.next();
        assert_eq!((answer.msg_type(), answer.number(34)), ("A", self.received), "{answer:?}");
    }

    pub fn send(&mut self, msg_type: &str, body: &str) {
        self.sent += 1;
        let message = PARTY.message(msg_type, self.sent, "", body);
        assert!(self.wire.as_mut().expect("a ready engine listens").send(&message));
    }

    pub fn next(&mut self) -> Fields {
        self.received += 1;
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.wire.as_mut().unwrap().read(Duration::from_millis(100)) {
                Read1::Message(message) => return message,
                Read1::Nothing => assert!(Instant::now() < deadline, "nothing comes"),
                Read1::End => panic!("the engine closed the connection"),
            }
        }
    }

    /// TestRequests, each answered in order.
    pub fn talk(&mut self, count: u32) {
        for _ in 0..count {
            self.send("1", "112=still there|");
            let answer = self.next();
            assert_eq!((answer.msg_type(), answer.number(34)), ("0", self.received), "{answer:?}");
        }
    }
}
