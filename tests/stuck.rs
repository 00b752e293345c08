//! Sessions that would stand still for ever, or come and go for ever, and do not: fixring's own
//! binary in both roles. The counterparty is a plain socket that does what other engines were seen
//! to do.

#[path = "initiator/harness.rs"]
#[allow(dead_code, reason = "each test crate uses its own part")]
mod harness;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use harness::{Came, Counterparty, DEADLINE, Fixring, Message, listener, number, text};

/// HeartBtInt(108) where a test waits for it. Elsewhere it is so long that a peer is never called
/// silent that was only kept from its core.
const SHORT_S: u32 = 2;
const LONG_S: u32 = 60;
/// A peer that waits while HeartBtInt(108) is short says something after so much silence.
const SILENCE: Duration = Duration::from_millis(200);

/// fixring in one role, and how its counterparty reaches it.
struct Side {
    fixring: Fixring,
    listener: Option<TcpListener>,
    address: SocketAddr,
    heartbeat_s: u32,
}

impl Side {
    /// `session` are lines of its session.
    fn acceptor(session: &str, heartbeat_s: u32) -> Self {
        let (fixring, address) = Fixring::acceptor_with("", session);
        Self { fixring, listener: None, address, heartbeat_s }
    }

    fn initiator(session: &str, heartbeat_s: u32) -> Self {
        let (listener, address) = listener();
        let more = format!("heartbeat_seconds = {heartbeat_s}\n{session}");
        let fixring = Fixring::initiator("", &[address.to_string()], ["100ms", "30s"], &more);
        Self { fixring, listener: Some(listener), address, heartbeat_s }
    }

    fn both(session: &str, heartbeat_s: u32) -> [Self; 2] {
        [Self::acceptor(session, heartbeat_s), Self::initiator(session, heartbeat_s)]
    }

    fn is_initiator(&self) -> bool {
        self.listener.is_some()
    }

    /// A connection that is logged on. The Logon of the counterparty has this number.
    fn log_on(&mut self, next_out: u64) -> Counterparty {
        let mut peer = match &self.listener {
            Some(listener) => Counterparty::accept(listener, next_out),
            None => Counterparty::connect(self.address, next_out),
        };
        if self.is_initiator() {
            peer.until("A");
        }
        peer.say(&format!("35=A|98=0|108={}", self.heartbeat_s));
        if !self.is_initiator() {
            peer.until("A");
        }
        self.fixring.until("logged on", |_| true);
        peer
    }
}

fn order(cl_ord_id: &str) -> String {
    format!("35=D|11={cl_ord_id}|55=ACME|54=1|60=20260105-00:00:00|38=100|40=2|44=12.5")
}

fn first_of(peer: &mut Counterparty) -> harness::Message {
    match peer.next_within(Duration::from_secs(120)) {
        harness::Came::Message(message) => message,
        came => panic!("{came:?}"),
    }
}

/// The peer says this under a number that it has used before.
fn say_again(peer: &mut Counterparty, msg_seq_num: u64, script: &str) {
    let next_out = std::mem::replace(&mut peer.next_out, msg_seq_num);
    peer.say(script);
    peer.next_out = next_out;
}

/// What fixring says up to its next message of this type, for which the peer waits with heartbeats.
fn heard_until(peer: &mut Counterparty, msg_type: &str) -> Vec<Message> {
    let deadline = Instant::now() + DEADLINE;
    let mut heard = Vec::new();
    while Instant::now() < deadline {
        match peer.next_within(SILENCE) {
            Came::Message(message) => heard.push(message),
            Came::NothingInTime => peer.say("35=0"),
            Came::End => break,
        }
        if heard.last().is_some_and(|message| message.msg_type() == msg_type) {
            return heard;
        }
    }
    panic!("no message of type {msg_type}: {heard:?}");
}

/// QuickFIX/J with NextExpectedMsgSeqNum(789): of 4 to 9 it resent 4 to 7, went on with live
/// orders, and was never asked again.
#[test]
fn a_resend_that_stops_short_is_asked_for_again_and_what_waited_behind_it_is_executed() {
    for mut side in Side::both("", SHORT_S) {
        let mut peer = side.log_on(1);
        peer.next_out = 10;
        peer.say("35=0");
        let request = peer.until("2");
        assert_eq!((request.field(7), request.field(16)), (Some("2"), Some("0")));
        say_again(&mut peer, 2, "35=4|43=Y|122=20260105-00:00:00|36=8|123=Y");
        peer.say(&order("eleven"));
        peer.say(&order("twelve"));
        let request = heard_until(&mut peer, "2").pop().expect("a ResendRequest");
        assert_eq!((request.field(7), request.field(16)), (Some("8"), Some("9")), "exactly the hole");
        side.fixring.until("sequence gap: what was asked for has not all come; the rest is asked for again", |line| {
            text(line, "level") == "WARN"
        });
        say_again(&mut peer, 8, "35=4|43=Y|122=20260105-00:00:00|36=10|123=Y");
        assert_eq!(peer.until("8").field(11), Some("eleven"));
        assert_eq!(peer.until("8").field(11), Some("twelve"));
    }
}

#[test]
fn a_hole_that_is_never_filled_ends_the_session_and_the_next_one_finds_it_again() {
    for mut side in Side::both("resend_requests_max = 2", SHORT_S) {
        for first in [4, 50] {
            let mut peer = side.log_on(first);
            // Only heartbeats come.
            let heard = heard_until(&mut peer, "5");
            let requests: Vec<_> = heard.iter().filter(|message| message.msg_type() == "2").collect();
            let asked: Vec<_> = requests.iter().map(|request| (request.field(7), request.field(16))).collect();
            let end = (first - 1).to_string();
            assert_eq!(asked, [(Some("1"), Some("0")), (Some("1"), Some(&*end))]);
            let logout = heard.last().expect("the Logout");
            assert_eq!(logout.field(58), Some(&*format!("Missing MsgSeqNum 1 to {end}, asked for 2 times")));
            peer.until_end();
        }
    }
}

/// A peer that does not send stale orders again fills over them, although they came behind a gap.
#[test]
fn orders_that_came_behind_a_gap_and_are_filled_over_are_executed() {
    for mut side in Side::both("", LONG_S) {
        let mut peer = side.log_on(1);
        peer.next_out = 7;
        for number in 8..=14 {
            peer.next_out = number;
            peer.say(&order(&format!("o{number}")));
        }
        peer.until("2");
        say_again(&mut peer, 2, "35=4|43=Y|122=20260105-00:00:00|36=15|123=Y");
        for number in 8..=14 {
            assert_eq!(peer.until("8").field(11), Some(&*format!("o{number}")));
        }
        side.fixring.until(
            "the peer's gap fill covers messages that it had sent before; they are processed all the same",
            |line| text(line, "level") == "WARN",
        );
        peer.say(&order("next"));
        assert_eq!(peer.until("8").field(11), Some("next"));
    }
}

/// One report of 70,000 bytes locked its session out: closed, logged on, asked for again, closed.
#[test]
fn a_message_above_the_limit_is_rejected_and_the_session_goes_on() {
    for mut side in Side::both("", LONG_S) {
        let mut peer = side.log_on(1);
        peer.say(&format!("35=B|148=long|33=1|58={}", "x".repeat(100_000)));
        peer.say(&order("next"));
        let reject = peer.until("3");
        assert_eq!(reject.field(45), Some("2"));
        let said = reject.field(58).expect("a Text(58)");
        assert!(
            said.starts_with("Message of 100") && said.ends_with(" bytes is longer than the limit of 65536"),
            "{said}"
        );
        assert_eq!(peer.until("8").field(11), Some("next"));
        let what = "a message is longer than engine.message_bytes_max: it is read over and not processed";
        let line = side.fixring.until(what, |line| text(line, "level") == "WARN");
        assert_eq!(number(&line, "message_bytes_max"), 65_536);
        assert!(number(&line, "bytes") > 100_000 && text(&line, "session").contains("US->THEM"), "{line}");
    }
}

#[test]
fn an_initiator_whose_session_ends_by_such_a_message_each_time_waits_longer_each_time() {
    let mut side = Side::initiator("", LONG_S);
    for (number_of_logon, bound_ms) in [(1, 100), (2, 200), (3, 400)] {
        let mut peer = side.log_on(number_of_logon);
        peer.say_at_once(&[], b"8=FIX.4.4\x019=999999999\x0135=8\x01");
        let logout = peer.until("5");
        assert!(logout.field(58).is_some_and(|said| said.contains("65536") && said.contains("67108864")), "{logout:?}");
        drop(peer);
        let pause_ms = number(&side.fixring.until("will connect again", |_| true), "retry_in_ms");
        assert!((bound_ms * 3 / 4..=bound_ms).contains(&pause_ms), "{pause_ms} ms for {bound_ms} ms");
    }
}

/// What a counterparty of an acceptor makes of an answer that says ResetSeqNumFlag(141) without
/// having been asked.
enum Takes {
    /// QuickFIX and QuickFIX/J: a Logon that says the same.
    Confirming,
    /// QuickFIX/Go: its next number is 1.
    Silently,
}

#[test]
fn an_acceptor_that_resets_at_each_logon_and_a_counterparty_that_does_not_say_so_come_together() {
    for takes in [Takes::Confirming, Takes::Silently] {
        let mut side = Side::acceptor("reset_on_logon = true", LONG_S);
        let mut peer = side.log_on(1);
        peer.say(&order("one"));
        peer.until("8");
        peer.say("35=5");
        peer.until_end();
        let next_out = peer.next_out;
        let mut peer = Counterparty::connect(side.address, next_out);
        peer.say("35=A|98=0|108=30");
        let logon = peer.until("A");
        assert_eq!((logon.msg_seq_num(), logon.field(141)), (1, Some("Y")));
        peer.next_out = 1;
        if let Takes::Confirming = takes {
            peer.say("35=A|98=0|108=30|141=Y");
        }
        peer.say(&order("two"));
        let report = peer.until("8");
        assert_eq!((report.field(11), report.msg_seq_num()), (Some("two"), 2), "nothing else was sent");
    }
}

#[test]
fn a_counterparty_that_takes_no_reset_is_refused_in_the_end_and_both_sides_are_told_what_to_change() {
    let mut side = Side::acceptor("reset_on_logon = true", LONG_S);
    let mut next_out = 1;
    for attempt in 0..5 {
        let mut peer = Counterparty::connect(side.address, next_out + 2);
        peer.say("35=A|98=0|108=30");
        if attempt < 3 {
            peer.until("A");
            peer.say("35=5|58=MsgSeqNum too low, expecting 40 but received 1");
        } else {
            let heard = peer.until_end();
            assert_eq!(heard.len(), 1, "{heard:?}");
            let said = heard[0].field(58).expect("a Text(58)");
            assert!(said.contains("send ResetSeqNumFlag(141)=Y") && said.contains("reset_on_logon"), "{said}");
        }
        if attempt == 0 {
            side.fixring.until_part("the peer does not take it that our numbers begin again");
        }
        peer.until_end();
        next_out = peer.next_out;
    }
}

/// The same by a schedule: fixring's day has begun, and the counterparty's numbers go on.
#[test]
fn a_counterparty_that_does_not_follow_the_schedule_is_told_what_to_change() {
    let mut side = Side::acceptor("schedule = { start = \"00:00:00\", end = \"00:00:00\", zone = \"UTC\" }", LONG_S);
    for attempt in 0..5 {
        // One that dies does not refuse.
        let mut peer = Counterparty::connect(side.address, 40);
        peer.say("35=A|98=0|108=30");
        assert_eq!(first_of(&mut peer).msg_type(), if attempt < 3 { "A" } else { "5" });
        peer.finish();
        peer.until_end();
        let mut peer = Counterparty::connect(side.address, 40);
        peer.say("35=A|98=0|108=30");
        if attempt < 3 {
            let logon = peer.until("A");
            assert_eq!((logon.msg_seq_num() > 3, logon.field(141)), (false, (attempt > 0).then_some("Y")));
            peer.say("35=5|58=MsgSeqNum too low, expecting 40 but received 1");
            peer.until_end();
            if attempt == 0 {
                side.fixring.until_part("the peer does not take it that our numbers begin again");
            }
        } else {
            let heard = peer.until_end();
            assert_eq!(heard.len(), 1, "{heard:?}");
            let said = heard[0].field(58).expect("a Text(58)");
            assert!(said.contains("schedule") && said.contains("send ResetSeqNumFlag(141)=Y"), "{said}");
        }
    }
    let mut peer = Counterparty::connect(side.address, 1);
    peer.say("35=A|98=0|108=30|141=Y");
    assert_eq!(peer.until("A").field(141), Some("Y"));
    peer.say(&order("a"));
    assert_eq!(peer.until("8").field(11), Some("a"));
}

#[test]
fn a_venue_resets_in_session_and_gets_no_answer_where_it_expects_none() {
    for mut side in Side::both("answer_in_session_reset = false", LONG_S) {
        let mut peer = side.log_on(1);
        peer.say(&order("one"));
        peer.until("8");
        peer.next_out = 1;
        peer.say("35=A|98=0|108=60|141=Y");
        peer.say(&order("two"));
        let report = peer.until("8");
        assert_eq!((report.field(11), report.msg_seq_num()), (Some("two"), 1));
    }
}

#[test]
fn a_resend_request_in_place_of_a_logon_is_refused_once_on_one_connection() {
    let mut side = Side::initiator("", LONG_S);
    let listener = side.listener.as_ref().expect("an initiator's counterparty listens");
    let mut peer = Counterparty::accept(listener, 1);
    let logon = peer.until("A");
    peer.say("35=2|7=1|16=0");
    let reject = peer.until("3");
    assert_eq!((logon.msg_seq_num(), reject.msg_seq_num(), reject.field(45)), (1, 2, Some("1")));
    peer.say("35=A|98=0|108=60");
    side.fixring.until("logged on", |_| true);
    peer.say(&order("a"));
    assert_eq!(peer.until("8").field(11), Some("a"));
}

#[test]
fn a_test_request_with_an_empty_id_is_answered_with_an_empty_one_where_values_may_be_absent() {
    for mut side in Side::both("[session.validation]\nvalues_present = false", LONG_S) {
        let mut peer = side.log_on(1);
        peer.say("35=1|112=");
        loop {
            let heartbeat = peer.until("0");
            if heartbeat.field(112).is_some() {
                assert_eq!(heartbeat.field(112), Some(""));
                break;
            }
        }
    }
}

/// Some engines send their old administrative messages again, where others fill a gap, and under
/// their old times: each cost a connection.
#[test]
fn a_resend_of_everything_that_was_ever_said_closes_the_gap() {
    for mut side in Side::both("", LONG_S) {
        let mut peer = side.log_on(1);
        peer.next_out = 6;
        peer.say(&order("six"));
        peer.until("2");
        let again = "43=Y|122=20200105-00:00:00";
        for (number, script) in [
            (2, format!("35=A|{again}|98=0|108=30|52=20200105-00:00:00")),
            (3, format!("35=5|{again}|52=20200105-00:00:00")),
            (4, format!("35=D|{again}|{}|52=20200105-00:00:00", order("four").trim_start_matches("35=D|"))),
            (5, format!("35=0|{again}|52=20200105-00:00:00")),
        ] {
            say_again(&mut peer, number, &script);
        }
        for cl_ord_id in ["four", "six"] {
            let report = first_of(&mut peer);
            assert_eq!((report.msg_type(), report.field(11)), ("8", Some(cl_ord_id)), "nothing else was said");
        }
    }
}

/// Two sides that answer each Logon would go on at the speed of the line.
#[test]
fn a_counterparty_that_answers_logons_with_logons_is_not_answered_for_ever() {
    for mut side in Side::both("", LONG_S) {
        let mut peer = side.log_on(1);
        for _ in 0..10 {
            say_again(&mut peer, 1, "35=A|98=0|108=60|141=Y");
        }
        peer.next_out = 2;
        peer.say("35=1|112=end");
        let mut answers = 0;
        loop {
            let message = first_of(&mut peer);
            match message.msg_type() {
                "A" => answers += 1,
                "0" => break assert_eq!(message.field(112), Some("end")),
                _ => panic!("{message:?}"),
            }
        }
        assert_eq!(answers, 3);
        side.fixring.until("the peer answers each Logon with a Logon; it gets no further answer", |_| true);
    }
}
