//! What the network saw: every byte that an engine gave to its transport, and the rules that hold for it whatever the engines do.
//!
//! The rules, for each direction of each session and each epoch (an epoch begins with a Logon that says ResetSeqNumFlag(141)):
//! every message is framed and parses, its CheckSum(10) right; a number stands for one message, so that it comes again only
//! with PossDupFlag(43) and the same body; without PossDupFlag(43) numbers only rise; a gap fill covers no application
//! message that was sent before; an ExecID(17) stands for one message of its session.
//!
//! What a node's death has taken is told by [`Wire::rolled_back`]: of those numbers an application message may be filled over, and a
//! Logon may go on among them, at the NextExpectedMsgSeqNum(789) of the peer's Logon or above. What the peer has not taken does not count.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::trace::Trace;
use crate::fix::{FieldIndex, Framing, Message, frame, parse, tags};
use crate::journal::Rollback;
use crate::session::is_admin;
use crate::transport::simulated::SimulatedTransport;
use crate::transport::{Connect, ConnectionId, Ready, Receive, Send, Transport};

/// SenderCompID(49) and TargetCompID(56).
pub type Way = (String, String);

#[derive(Clone, Default)]
pub struct Wire(Rc<RefCell<Seen>>, Trace);

/// A message that an engine gave to its transport whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub way: Way,
    pub msg_seq_num: u64,
    /// The number that the peer awaits next after it.
    pub next: u64,
    /// Of all its bytes.
    pub crc: u32,
    /// The application's messages that it stands for, as a gap fill, and that have left before.
    pub covers: Vec<u64>,
}

#[derive(Default)]
pub struct Seen {
    pub ways: BTreeMap<Way, Flow>,
    /// Of all messages, in their order: two runs of one seed agree in it.
    pub hash: u64,
    pub messages: u64,
    pub resent: u64,
    pub gap_fills: u64,
    /// Reject(3) and BusinessMessageReject(j).
    pub rejects: Vec<String>,
    /// Text(58) of each Logout(5).
    pub logout_texts: Vec<String>,
    /// The journals may no longer hold what is asked for.
    pub forgets: bool,
    /// Connections that went from the worker that accepted them to another.
    pub handed_over: u64,
    /// Logons that went on below a number that was used before, at the peer's NextExpectedMsgSeqNum(789).
    pub resumed: u64,
    /// NextExpectedMsgSeqNum(789) of the newest Logon each way.
    next_expected: BTreeMap<Way, u64>,
    /// By sender and target too: the journals of an engine give them out apart from each other.
    exec_ids: BTreeMap<(Way, Vec<u8>), (u32, u64)>,
    /// Since they were taken last.
    left: Option<Vec<Left>>,
}

/// One direction of one session.
#[derive(Default)]
pub struct Flow {
    pub epoch: u32,
    /// One more than the highest number seen in this epoch.
    pub next: u64,
    /// By number: the message's hash, and whether it is an application message.
    messages: BTreeMap<u64, (u64, bool)>,
    /// ClOrdID(11) of orders, in all epochs, and the number that each had first.
    pub orders: BTreeMap<String, u64>,
    /// ExecID(17) of reports, in all epochs.
    pub reports: BTreeSet<String>,
    pub logouts: u64,
    /// See [`Wire::permit_reset`].
    may_begin_again: bool,
    /// See [`Wire::rolled_back`]; until the next Logon.
    pub lost: Option<(u64, u64)>,
}

impl Wire {
    /// One that remembers what has left until it is taken with [`Wire::take_left`].
    pub fn watched(trace: Trace) -> Self {
        Self(Rc::new(RefCell::new(Seen { left: Some(Vec::new()), ..Seen::default() })), trace)
    }

    pub fn take_left(&self) -> Vec<Left> {
        self.0.borrow_mut().left.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn seen(&self) -> std::cell::Ref<'_, Seen> {
        self.0.borrow()
    }

    /// Each direction's numbers may begin again, by agreement: once, with a Logon whether or not it says ResetSeqNumFlag(141).
    pub fn permit_reset(&self) {
        for flow in self.0.borrow_mut().ways.values_mut() {
            flow.may_begin_again = true;
        }
    }

    /// From now on a gap fill may stand for application messages.
    pub fn let_forget(&self) {
        self.0.borrow_mut().forgets = true;
    }

    /// The sender has lost what it may have sent under these numbers.
    pub fn rolled_back(&self, sender: &str, target: &str, rollback: Rollback) {
        let Rollback { lost_from, lost_to, .. } = rollback;
        let way = (sender.to_string(), target.to_string());
        if let Some(flow) = self.0.borrow_mut().ways.get_mut(&way).filter(|_| lost_from < lost_to) {
            flow.messages.retain(|number, _| !(lost_from..lost_to).contains(number));
            flow.lost = Some((lost_from, lost_to));
        }
    }

    /// Whose message it is.
    fn message(&self, bytes: &[u8]) -> Way {
        let mut index = FieldIndex::with_capacity(128);
        let message = parse(bytes, &mut index).unwrap_or_else(|error| panic!("{error:?}: {}", show(bytes)));
        self.1.say(|| format!("left: {}", show(bytes)));
        self.0.borrow_mut().message(&message)
    }
}

impl Seen {
    pub fn flow(&self, sender: &str, target: &str) -> Option<&Flow> {
        self.ways.get(&(sender.to_string(), target.to_string()))
    }

    fn message(&mut self, message: &Message<'_>) -> Way {
        let text = |tag| String::from_utf8_lossy(message.field(tag).unwrap_or_default()).into_owned();
        let number = |tag| message.uint(tag).flatten();
        let shown = || show(message.bytes());
        self.messages += 1;
        self.hash = message.bytes().iter().fold(self.hash, |hash, byte| mix(hash, u64::from(*byte)));
        let way = (text(tags::SENDER_COMP_ID), text(tags::TARGET_COMP_ID));
        let msg_seq_num = number(tags::MSG_SEQ_NUM).unwrap_or_else(|| panic!("no MsgSeqNum(34): {}", shown()));
        let poss_dup = message.flag(tags::POSS_DUP_FLAG);
        let msg_type = message.msg_type();
        if let Some(left) = &mut self.left {
            let crc = crc_fast::crc32_iscsi(message.bytes());
            left.push(Left { way: way.clone(), msg_seq_num, next: msg_seq_num + 1, crc, covers: Vec::new() });
        }
        let expected = self.next_expected.get(&(way.1.clone(), way.0.clone())).copied();
        if let Some(next_expected) = number(tags::NEXT_EXPECTED_MSG_SEQ_NUM).filter(|_| msg_type == b"A") {
            self.next_expected.insert(way.clone(), next_expected);
        }
        let flow = self.ways.entry(way.clone()).or_default();
        let resets = msg_type == b"A" && message.flag(tags::RESET_SEQ_NUM_FLAG) && !poss_dup;
        // Not always with 1: that Logon may have been stored and never left.
        let begins_again = msg_type == b"A" && !poss_dup && msg_seq_num < flow.next && flow.may_begin_again;
        if resets || begins_again {
            flow.may_begin_again = false;
            assert!(msg_seq_num == 1 || begins_again, "{}", shown());
            flow.epoch += 1;
            flow.next = 1;
            flow.messages.clear();
        }
        if msg_type == b"A"
            && let Some((lost_from, lost_to)) = flow.lost.take()
            && msg_seq_num < flow.next
            && let Some(expected) = expected.filter(|expected| *expected <= msg_seq_num)
            && (lost_from..lost_to).contains(&msg_seq_num)
        {
            self.resumed += 1;
            flow.next = msg_seq_num;
            flow.messages.split_off(&expected);
        }
        let is_gap_fill = msg_type == b"4";
        if is_gap_fill {
            self.gap_fills += 1;
            assert!(poss_dup && message.flag(tags::GAP_FILL_FLAG), "only gap fills: {}", shown());
            let new_seq_no = number(tags::NEW_SEQ_NO).expect("NewSeqNo(36)");
            assert!(new_seq_no > msg_seq_num, "{}", shown());
            let covered = flow.messages.range(msg_seq_num..new_seq_no);
            let lost: Vec<u64> =
                covered.filter(|(_, (_, application))| *application).map(|(number, _)| *number).collect();
            match self.left.as_mut().and_then(|left| left.last_mut()) {
                // Whoever watches knows whether they could have been sent.
                Some(left) => (left.next, left.covers) = (new_seq_no, lost),
                None => assert!(
                    lost.is_empty() || self.forgets,
                    "a gap fill covers the application messages {lost:?}: {}",
                    shown()
                ),
            }
            flow.next = flow.next.max(new_seq_no);
            return way;
        }
        if poss_dup {
            self.resent += 1;
            assert!(!is_admin(msg_type), "an administrative message is never resent: {}", shown());
        } else {
            assert!(msg_seq_num >= flow.next, "{} was the highest number, now: {}", flow.next - 1, shown());
        }
        let hash = hash_of(message);
        let first = *flow.messages.entry(msg_seq_num).or_insert((hash, !is_admin(msg_type)));
        assert_eq!(first.0, hash, "another message under the same number: {}", shown());
        flow.next = flow.next.max(msg_seq_num + 1);
        match msg_type {
            b"D" => {
                let number = *flow.orders.entry(text(tags::CL_ORD_ID)).or_insert(msg_seq_num);
                assert!(number == msg_seq_num || poss_dup, "a ClOrdID(11) comes twice: {}", shown());
            }
            b"8" => {
                flow.reports.insert(text(tags::EXEC_ID));
                let place = (flow.epoch, msg_seq_num);
                let exec_id = (way.clone(), message.field(tags::EXEC_ID).expect("ExecID(17)").to_vec());
                let before = self.exec_ids.entry(exec_id).or_insert(place);
                assert_eq!(*before, place, "an ExecID(17) is used twice: {}", shown());
            }
            b"5" => {
                flow.logouts += 1;
                self.logout_texts.push(text(tags::TEXT));
            }
            b"3" | b"j" => self.rejects.push(shown()),
            _ => {}
        }
        way
    }
}

/// Of what does not change when a message is sent again.
fn hash_of(message: &Message<'_>) -> u64 {
    let constant = message.fields().filter(|field| !matches!(field.tag, 9 | 10 | 43 | 52 | 122));
    constant.fold(7, |hash, field| {
        field.value.iter().fold(mix(hash, u64::from(field.tag)), |hash, byte| mix(hash, u64::from(*byte)))
    })
}

pub fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

pub fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\x01', "|")
}

/// A transport whose bytes go through the [`Wire`], that can stop to read and to accept, and tells of connections to accept
/// once, as an edge-triggered poller does.
pub struct Tapped {
    inner: SimulatedTransport,
    wire: Wire,
    stalled: Rc<Cell<bool>>,
    accept_fails: Rc<Cell<bool>>,
    /// While set, nothing is taken to be sent.
    muted: Rc<Cell<bool>>,
    /// That there are connections to accept; not told again before all are.
    told: bool,
    /// By connection: what is sent of a message that is not whole yet.
    unfinished: BTreeMap<ConnectionId, Vec<u8>>,
    /// By connection: whose messages it has carried, which are one session's for as long as it lives.
    whose: BTreeMap<ConnectionId, Way>,
}

impl Tapped {
    pub fn new(
        inner: SimulatedTransport,
        wire: Wire,
        stalled: Rc<Cell<bool>>,
        accept_fails: Rc<Cell<bool>>,
        muted: Rc<Cell<bool>>,
    ) -> Self {
        Self {
            inner,
            wire,
            stalled,
            accept_fails,
            muted,
            told: false,
            unfinished: BTreeMap::new(),
            whose: BTreeMap::new(),
        }
    }
}

impl Transport for Tapped {
    type Detached = <SimulatedTransport as Transport>::Detached;

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let before = ready.len();
        self.inner.poll(timeout, ready)?;
        if self.told {
            ready.retain(|what| *what != Ready::Acceptable);
        }
        self.told |= ready[before.min(ready.len())..].contains(&Ready::Acceptable);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<Option<(ConnectionId, SocketAddr)>> {
        if self.accept_fails.get() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let accepted = self.inner.accept()?;
        self.told &= accepted.is_some();
        Ok(accepted)
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<ConnectionId> {
        self.inner.connect(address)
    }

    fn connect_result(&mut self, id: ConnectionId) -> Connect {
        self.inner.connect_result(id)
    }

    fn receive(&mut self, id: ConnectionId, buffer: &mut [u8]) -> Receive {
        if self.stalled.get() { Receive::Nothing } else { self.inner.receive(id, buffer) }
    }

    fn send(&mut self, id: ConnectionId, slices: &[IoSlice<'_>]) -> Send {
        if self.muted.get() {
            return Send::Full;
        }
        let sent = self.inner.send(id, slices);
        if let Send::Bytes(count) = sent {
            let stream = self.unfinished.entry(id).or_default();
            stream.extend(slices.iter().flat_map(|slice| slice.iter().copied()).take(count));
            loop {
                let length = match frame(stream, 64 * 1024) {
                    Framing::Complete(frame) => frame.length as usize,
                    Framing::Incomplete => break,
                    Framing::Invalid { why, .. } => panic!("{why:?}: {}", show(stream)),
                };
                let way = self.wire.message(&stream[..length]);
                let first = self.whose.entry(id).or_insert_with(|| way.clone());
                assert_eq!(*first, way, "a message on another's connection: {}", show(&stream[..length]));
                stream.drain(..length);
            }
        }
        sent
    }

    fn finish(&mut self, id: ConnectionId) {
        self.inner.finish(id);
    }

    fn close(&mut self, id: ConnectionId) {
        self.unfinished.remove(&id);
        self.whose.remove(&id);
        self.inner.close(id);
    }

    fn detach(&mut self, id: ConnectionId) -> Option<Self::Detached> {
        self.unfinished.remove(&id);
        self.whose.remove(&id);
        self.wire.0.borrow_mut().handed_over += 1;
        self.inner.detach(id)
    }

    fn attach(&mut self, detached: Self::Detached) -> io::Result<ConnectionId> {
        self.inner.attach(detached)
    }

    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(msg_type: &[u8], msg_seq_num: u64, fields: &[(u32, &[u8])]) -> Vec<u8> {
        let mut buffer = vec![0; 1024];
        let mut encoder = crate::fix::Encoder::begin(&mut buffer, b"FIX.4.4", msg_type);
        encoder.uint(34, msg_seq_num).bytes(49, b"US").bytes(56, b"THEM");
        for (tag, value) in fields {
            encoder.bytes(*tag, value);
        }
        let length = encoder.finish().expect("room");
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn a_message_may_come_again_as_it_was_with_poss_dup_flag() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.message(&message(b"D", 1, &[(43, b"Y"), (11, b"a-1")]));
        wire.message(&message(b"4", 2, &[(43, b"Y"), (123, b"Y"), (36, b"5")]));
        wire.message(&message(b"D", 5, &[(11, b"a-2")]));
        assert_eq!((wire.seen().messages, wire.seen().resent, wire.seen().gap_fills), (4, 1, 1));
    }

    #[test]
    #[should_panic = "another message under the same number"]
    fn a_number_that_stands_for_two_messages_is_found_out() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.message(&message(b"D", 1, &[(43, b"Y"), (11, b"a-2")]));
    }

    #[test]
    #[should_panic = "was the highest number"]
    fn a_number_that_is_too_low_without_poss_dup_flag_is_found_out() {
        let wire = Wire::default();
        wire.message(&message(b"D", 7, &[(11, b"a-1")]));
        wire.message(&message(b"D", 7, &[(11, b"a-1")]));
    }

    #[test]
    #[should_panic = "a gap fill covers"]
    fn a_gap_fill_over_an_order_is_found_out_where_nobody_else_judges_it() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.message(&message(b"4", 1, &[(43, b"Y"), (123, b"Y"), (36, b"2")]));
    }

    fn lost(lost_from: u64, lost_to: u64) -> Rollback {
        Rollback { epoch: 0, lost_from, lost_to, next_in: 1 }
    }

    #[test]
    fn what_is_told_to_be_lost_may_be_filled_over_and_used_again_where_the_peer_expects_it() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.message(&message(b"D", 2, &[(11, b"a-2")]));
        wire.rolled_back("US", "THEM", lost(1, 65));
        wire.message(&message(b"4", 1, &[(43, b"Y"), (123, b"Y"), (36, b"2")]));
        let mut peers = message(b"A", 1, &[(789, b"2")]);
        peers = String::from_utf8(peers).unwrap().replace("49=US", "49=THEM").replace("56=THEM", "56=US").into_bytes();
        let sum = peers[..peers.len() - 7].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let at = peers.len() - 4;
        peers[at..at + 3].copy_from_slice(format!("{sum:03}").as_bytes());
        wire.message(&peers);
        wire.message(&message(b"A", 2, &[]));
        assert_eq!(wire.seen().resumed, 1);
    }

    #[test]
    #[should_panic = "was the highest number"]
    fn a_logon_among_lost_numbers_that_the_peer_has_not_asked_for_is_found_out() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.rolled_back("US", "THEM", lost(1, 65));
        wire.message(&message(b"A", 1, &[]));
    }

    #[test]
    #[should_panic = "a gap fill covers"]
    fn a_gap_fill_over_what_is_not_told_to_be_lost_is_found_out() {
        let wire = Wire::default();
        wire.message(&message(b"D", 1, &[(11, b"a-1")]));
        wire.rolled_back("US", "THEM", lost(2, 65));
        wire.message(&message(b"4", 1, &[(43, b"Y"), (123, b"Y"), (36, b"2")]));
    }
}
