//! The counterparties: one end of a connection, which checks whose bytes come, and what hostile and honest ones do with theirs.

use std::io::IoSlice;

use super::choices::Choices;
use super::mutate::{mutate, rubbish};
use crate::fix::{Encoder, FieldIndex, Framing, Precision, frame, parse, tags};
use crate::session::Now;
use crate::simulate::wire::show;
use crate::transport::simulated::SimulatedTransport;
use crate::transport::{ConnectionId, Receive, Send, Transport};

/// As the engine's configuration has it.
const MESSAGE_BYTES_MAX: u32 = 2 * 1024;
/// Messages that a hostile peer writes at once, at most.
const SCRIPT_MESSAGES_MAX: usize = 4;

/// Which session a connection has named, as far as it has.
enum Named {
    /// The first message is not whole yet.
    Undecided(Vec<u8>),
    Nobody,
    Session {
        sender: Vec<u8>,
        target: Vec<u8>,
    },
}

/// A counterparty's end of a connection.
pub struct Line {
    pub id: ConnectionId,
    named: Named,
    unsent: Vec<u8>,
    received: Vec<u8>,
    pub reads: bool,
    pub has_said: bool,
    pub has_ended: bool,
    /// End our direction when everything is sent.
    finishes: bool,
}

impl Line {
    pub fn to_acceptor(id: ConnectionId) -> Self {
        Self::new(id, Named::Undecided(Vec::new()))
    }

    /// One that the engine's session `sender` to `target` has made.
    pub fn of_initiator(id: ConnectionId, sender: &str, target: &str) -> Self {
        Self::new(id, Named::Session { sender: sender.into(), target: target.into() })
    }

    fn new(id: ConnectionId, named: Named) -> Self {
        let (unsent, received) = (Vec::new(), Vec::new());
        Self { id, named, unsent, received, reads: true, has_said: false, has_ended: false, finishes: false }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.has_said = true;
        self.unsent.extend_from_slice(bytes);
    }

    pub fn finish(&mut self) {
        self.finishes = true;
    }

    /// Sends what the connection takes.
    pub fn send(&mut self, transport: &mut SimulatedTransport) {
        while !self.unsent.is_empty() {
            let Send::Bytes(count) = transport.send(self.id, &[IoSlice::new(&self.unsent)]) else { return };
            self.learn_name(count);
            self.unsent.drain(..count);
        }
        if self.finishes {
            transport.finish(self.id);
        }
    }

    /// Reads the first message of an accepted connection as the engine reads it.
    fn learn_name(&mut self, count: usize) {
        let Named::Undecided(said) = &mut self.named else { return };
        said.extend_from_slice(&self.unsent[..count]);
        let length = match frame(said, MESSAGE_BYTES_MAX) {
            Framing::Incomplete => return,
            Framing::Invalid { .. } => 0,
            Framing::Complete(frame) => frame.length as usize,
        };
        let mut index = FieldIndex::with_capacity(512);
        let logon = parse(&said[..length], &mut index).ok().filter(|message| message.msg_type() == b"A");
        let field = |tag| logon.as_ref().and_then(|logon| logon.field(tag));
        self.named = match (field(tags::TARGET_COMP_ID), field(tags::SENDER_COMP_ID)) {
            (Some(sender), Some(target)) => Named::Session { sender: sender.to_vec(), target: target.to_vec() },
            _ => Named::Nobody,
        };
    }

    /// The whole messages that have come, all of which must be the session's that the connection has named.
    pub fn receive(&mut self, transport: &mut SimulatedTransport) -> Vec<String> {
        let mut buffer = [0; 4096];
        while self.reads && !self.has_ended {
            match transport.receive(self.id, &mut buffer) {
                Receive::Bytes(count) => self.received.extend_from_slice(&buffer[..count]),
                Receive::Nothing => break,
                Receive::End | Receive::Failed(_) => self.has_ended = true,
            }
        }
        let mut messages = Vec::new();
        loop {
            let length = match frame(&self.received, 64 * 1024) {
                Framing::Complete(frame) => frame.length as usize,
                Framing::Incomplete => return messages,
                Framing::Invalid { why, .. } => panic!("{why:?} from the engine: {}", show(&self.received)),
            };
            self.check(&self.received[..length]);
            messages.push(show(&self.received[..length]));
            self.received.drain(..length);
        }
    }

    fn check(&self, bytes: &[u8]) {
        let Named::Session { sender, target } = &self.named else {
            panic!("a connection that named no session received {}", show(bytes));
        };
        let mut index = FieldIndex::with_capacity(512);
        let message = parse(bytes, &mut index).expect("the engine's messages can be read");
        let is_theirs =
            message.field(tags::SENDER_COMP_ID) == Some(sender) && message.field(tags::TARGET_COMP_ID) == Some(target);
        assert!(is_theirs, "the connection of {} received {}", String::from_utf8_lossy(target), show(bytes));
    }
}

pub fn field<'a>(message: &'a str, tag: &str) -> &'a str {
    let start = format!("{tag}=");
    message.split('|').find_map(|field| field.strip_prefix(&*start)).unwrap_or("")
}

/// Who speaks to whom, and the next number to say.
pub struct Party {
    pub comp_id: String,
    pub target: String,
    pub next_out: u64,
}

impl Party {
    pub fn new(comp_id: &str, target: &str) -> Self {
        Self { comp_id: comp_id.into(), target: target.into(), next_out: 1 }
    }

    /// The name of the engine's session.
    pub fn session(&self) -> String {
        format!("FIX.4.4:{}->{}", self.target, self.comp_id)
    }

    pub fn message(&mut self, now: Now, msg_type: &[u8], fields: &[(u32, &str)]) -> Vec<u8> {
        let mut buffer = vec![0; 4 * 1024];
        let mut encoder = Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        encoder.uint(tags::MSG_SEQ_NUM, self.next_out).bytes(tags::SENDER_COMP_ID, self.comp_id.as_bytes());
        encoder.timestamp(tags::SENDING_TIME, now.utc, Precision::Millis);
        encoder.bytes(tags::TARGET_COMP_ID, self.target.as_bytes());
        for (tag, value) in fields {
            encoder.bytes(*tag, value.as_bytes());
        }
        let length = encoder.finish().expect("room");
        buffer.truncate(length);
        self.next_out += 1;
        buffer
    }

    pub fn order(&mut self, now: Now, cl_ord_id: &str) -> Vec<u8> {
        let time = "20260105-00:00:00";
        let instruction = [(11, cl_ord_id), (55, "ACME"), (54, "1"), (60, time), (38, "100"), (40, "2"), (44, "12.5")];
        self.message(now, b"D", &instruction)
    }
}

/// What a hostile peer writes at once. `expected` is the number that the engine would take next.
pub fn script(choices: &mut Choices, party: &mut Party, now: Now, expected: u64, has_said: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !choices.one_in(8) {
        party.next_out = expected;
    }
    let begins = !has_said && !choices.one_in(8);
    for at in 0..=choices.below(SCRIPT_MESSAGES_MAX) {
        let kind = if begins && at == 0 { 0 } else { choices.below(12) };
        let number = party.next_out.to_string();
        let mut message = match kind {
            0 => match choices.below(4) {
                0 => {
                    party.next_out = 1;
                    party.message(now, b"A", &[(98, "0"), (108, "0"), (141, "Y")])
                }
                1 => party.message(now, b"A", &[(98, "0"), (108, "1"), (789, "1")]),
                2 => party.message(now, b"A", &[(98, "0")]),
                _ => party.message(now, b"A", &[(98, "0"), (108, "30")]),
            },
            1..5 => {
                let cl_ord_id = format!("{}-{number}", party.comp_id);
                party.order(now, &cl_ord_id)
            }
            5 => party.message(now, b"0", &[]),
            6 => party.message(now, b"1", &[(112, "whether you are there")]),
            7 => party.message(now, b"2", &[(7, "1"), (16, "0")]),
            8 => party.message(now, b"4", &[(123, "Y"), (36, &(party.next_out + 2).to_string())]),
            9 => party.message(now, b"4", &[(36, &(party.next_out + 3).to_string())]),
            10 => party.message(now, b"5", &[]),
            _ => rubbish(choices),
        };
        if choices.one_in(3) {
            mutate(choices, &mut message);
        }
        bytes.extend(message);
    }
    if choices.one_in(6) {
        bytes.extend(rubbish(choices));
    }
    if choices.one_in(8) {
        bytes.truncate(1 + choices.below(bytes.len()));
    }
    bytes
}
