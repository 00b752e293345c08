//! Connections, as a counterparty lives them: how fixring's own binary makes them, gives them up and makes them again, and
//! which of two it keeps. The counterparty is a plain socket, so that it can be silent, refuse, and break off.

#[path = "initiator/harness.rs"]
#[allow(dead_code, reason = "each test crate uses its own part")]
mod harness;

use std::time::{Duration, Instant};

use fixring::fix::UtcTimestamp;
use harness::{Counterparty, Fixring, Message, is_in_a_file, listener, number, text};
use serde_json::Value;

/// When fixring sent a message, by its own clock: a test's may be late.
fn sent_ms(message: &Message) -> u64 {
    let text = message.field(52).expect("a SendingTime(52)");
    UtcTimestamp::parse(text.as_bytes()).expect("a time").unix_ns / 1_000_000
}

/// When that happened of which a line of the log tells.
fn logged_ms(line: &Value) -> u64 {
    text(line, "timestamp").parse::<jiff::Timestamp>().expect("a time").as_millisecond() as u64
}

/// A pause has at most a quarter of jitter, always taken off.
fn assert_pause(retry_in_ms: u64, bound_ms: u64) {
    assert!((bound_ms * 3 / 4..=bound_ms).contains(&retry_in_ms), "{retry_in_ms} ms for {bound_ms} ms");
}

#[test]
fn the_pause_between_connections_doubles_up_to_its_bound_and_starts_over_after_a_logon() {
    let (listener, address) = listener();
    let mut fixring = Fixring::initiator("", &[address.to_string()], ["100ms", "400ms"], "");
    let mut ended = None::<(Instant, u64)>;
    let mut next_out = 1;
    let mut after = |bound_ms, log_on: bool| {
        let mut peer = Counterparty::accept(&listener, next_out);
        if let Some((at, retry_in_ms)) = ended {
            let waited = at.elapsed();
            assert!(waited >= Duration::from_millis(retry_in_ms), "{waited:?} instead of {retry_in_ms} ms");
        }
        peer.until("A");
        if log_on {
            peer.log_on();
            fixring.until("logged on", |_| true);
            next_out = peer.next_out;
        }
        // Taken before the end: what is measured from here is never shorter than the pause.
        let at = Instant::now();
        drop(peer);
        let retry_in_ms = number(&fixring.until("will connect again", |_| true), "retry_in_ms");
        assert_pause(retry_in_ms, bound_ms);
        ended = Some((at, retry_in_ms));
    };
    for bound_ms in [100, 200, 400, 400] {
        after(bound_ms, false);
    }
    after(100, true);
    after(100, true);
    after(200, false);
    after(400, false);
}

#[test]
fn endpoints_are_tried_in_order_and_from_the_first_again_after_a_logon() {
    // Bound and not listening: nobody else can take the port, and a connection is refused.
    let first = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    first.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let first_address = first.local_addr().unwrap().as_socket().unwrap();
    let (second, second_address) = listener();
    let endpoints = [first_address.to_string(), second_address.to_string()];
    let mut fixring = Fixring::initiator("", &endpoints, ["100ms", "1s"], "");
    for next_out in 1..=2 {
        let mut peer = Counterparty::accept(&second, next_out);
        let failed = fixring.until("cannot connect", |_| true);
        assert_eq!((text(&failed, "address"), number(&failed, "retry_in_ms")), (&*endpoints[0], 0));
        peer.until("A");
        peer.log_on();
        fixring.until("logged on", |_| true);
    }
    first.listen(1).unwrap();
    let mut peer = Counterparty::accept(&first.into(), 3);
    peer.until("A");
}

#[test]
fn a_host_that_does_not_answer_is_given_up_for_the_next_within_the_logon_timeout() {
    // A listener whose queue is full drops what comes: its port is as silent as a host that is down.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    silent.listen(0).unwrap();
    let silent_address = silent.local_addr().unwrap().as_socket().unwrap();
    let _queued = Counterparty::connect(silent_address, 1);
    let (alive, alive_address) = listener();
    let endpoints = [silent_address.to_string(), alive_address.to_string()];
    let engine = "logon_timeout = \"500ms\"\nprobe_timeout = \"400ms\"";
    let mut fixring = Fixring::initiator(engine, &endpoints, ["100ms", "1s"], "");
    let failed = fixring.until("cannot connect", |_| true);
    assert_eq!((text(&failed, "address"), text(&failed, "error")), (&*endpoints[0], "timed out"));
    Counterparty::accept(&alive, 1).until("A");
}

#[test]
fn a_name_is_resolved_and_one_that_cannot_be_is_logged_and_passed_over() {
    let (listener, address) = listener();
    // An empty label: refused by the resolver itself, without asking a name server.
    let endpoints = ["no..host:1".to_owned(), format!("localhost:{}", address.port())];
    let mut fixring = Fixring::initiator("", &endpoints, ["100ms", "1s"], "");
    for next_out in 1..=2 {
        let failed = fixring.until("cannot resolve a name", |_| true);
        assert_eq!(text(&failed, "endpoint"), endpoints[0]);
        let mut peer = Counterparty::accept(&listener, next_out);
        peer.until("A");
        peer.log_on();
        fixring.until("logged on", |_| true);
    }
}

#[test]
fn a_counterparty_that_is_silent_after_the_logon_is_left_in_time_and_tried_again() {
    let (listener, address) = listener();
    let engine = "logon_timeout = \"500ms\"\nprobe_timeout = \"400ms\"";
    let mut fixring = Fixring::initiator(engine, &[address.to_string()], ["100ms", "1s"], "");
    for attempt in 1..=2 {
        let mut peer = Counterparty::accept(&listener, 1);
        let logon = peer.until("A");
        assert_eq!(logon.msg_seq_num(), attempt);
        assert!(peer.until_end().is_empty(), "there is nobody to say anything to");
        let ended = fixring.until("disconnected", |_| true);
        let waited_ms = logged_ms(&ended) - sent_ms(&logon);
        assert!(waited_ms >= 400, "given up after {waited_ms} ms");
        assert!(text(&ended, "why").contains("Logon did not come in time"), "{ended}");
    }
}

#[test]
fn a_refused_logon_is_logged_in_the_peers_words_and_tried_again_after_the_pause() {
    let (listener, address) = listener();
    let mut fixring = Fixring::initiator("", &[address.to_string()], ["200ms", "400ms"], "");
    let mut refused_at = None::<(Instant, u64)>;
    for (attempt, bound_ms) in [(1, 200), (2, 400), (3, 400), (4, 400)] {
        let mut peer = Counterparty::accept(&listener, attempt);
        if let Some((at, retry_in_ms)) = refused_at {
            assert!(at.elapsed() >= Duration::from_millis(retry_in_ms), "after {:?}", at.elapsed());
        }
        assert_eq!(peer.until("A").msg_seq_num(), attempt);
        let reason = format!("MsgSeqNum too low, expecting 5 but received {attempt}");
        let at = Instant::now();
        peer.say(&format!("35=5|58={reason}"));
        let refused = fixring.until("the peer refused our Logon", |_| true);
        assert_eq!((text(&refused, "level"), text(&refused, "text")), ("WARN", &*reason));
        assert_eq!(text(&refused, "session"), "FIX.4.4:US->THEM");
        let retry_in_ms = number(&fixring.until("will connect again", |_| true), "retry_in_ms");
        assert_pause(retry_in_ms, bound_ms);
        assert!(peer.until_end().is_empty(), "a Logout that refuses a Logon is not answered");
        refused_at = Some((at, retry_in_ms));
    }
    // Each Logon has used a number up, so that the fifth is what the peer expects.
    let mut peer = Counterparty::accept(&listener, 5);
    assert_eq!(peer.until("A").msg_seq_num(), 5);
    peer.log_on();
    fixring.until("logged on", |_| true);
}

#[test]
fn a_password_is_sent_and_stays_out_of_the_log_and_the_journal() {
    let (listener, address) = listener();
    let credentials = "username = \"desk-one\"\npassword = \"correct-horse-battery\"\nvalidation = { enabled = false }";
    let mut fixring = Fixring::initiator("", &[address.to_string()], ["100ms", "1s"], credentials);
    let mut peer = Counterparty::accept(&listener, 1);
    // The one file that may hold it.
    std::fs::remove_file(fixring.directory.path().join("fixring.toml")).unwrap();
    let logon = peer.until("A");
    assert_eq!((logon.field(553), logon.field(554)), (Some("desk-one"), Some("correct-horse-battery")));
    // A counterparty's own secrets are no better kept by others than by us.
    peer.say("35=A|98=0|108=30|58=motto-of-a-logon|554=their-own-password");
    fixring.until("logged on", |_| true);
    // It asks for everything: the Logon is filled over and never sent again.
    peer.say("35=2|7=1|16=0");
    assert_eq!(peer.until("4").field(36), Some("2"));
    peer.say("35=3|45=1|58=first line of a reject");
    assert_eq!(text(&fixring.until("the peer's Reject", |_| true), "text"), "first line of a reject");
    let answers = std::thread::spawn(move || {
        peer.until("5");
        peer.say("35=5|58=good\x07bye");
        peer.until_end();
    });
    let (log, directory) = fixring.stop();
    answers.join().unwrap();
    let farewell = log.iter().find(|line| text(line, "message") == "the peer's Logout").expect("a farewell");
    assert_eq!(text(farewell, "text"), "good\x07bye");
    assert!(is_in_a_file(directory.path(), b"desk-one"), "what is stored can be found");
    for secret in ["correct-horse-battery", "their-own-password"] {
        assert!(!is_in_a_file(directory.path(), secret.as_bytes()), "{secret} is stored");
        assert!(!log.iter().any(|line| line.to_string().contains(secret)), "{secret} is logged");
    }
    assert!(!log.iter().any(|line| line.to_string().contains("motto")), "text of a Logon is logged");
}

#[test]
fn a_connection_that_is_reset_in_mid_message_is_made_again_and_the_session_goes_on() {
    let (listener, address) = listener();
    let mut fixring = Fixring::initiator("", &[address.to_string()], ["100ms", "1s"], "");
    let mut peer = Counterparty::accept(&listener, 1);
    peer.until("A");
    peer.log_on();
    fixring.until("logged on", |_| true);
    peer.reset_in_mid_message("35=1|112=never whole");
    let ended = fixring.until("disconnected", |_| true);
    assert!(text(&ended, "why").contains("connection"), "{ended}");
    // The half message used no number.
    let mut peer = Counterparty::accept(&listener, 2);
    assert_eq!(peer.until("A").msg_seq_num(), 2);
    peer.log_on();
    peer.say("35=1|112=whole");
    let answer = peer.until("0");
    assert_eq!((answer.field(112), answer.msg_seq_num()), (Some("whole"), 3));
}

/// Logs a first connection on, and has a second one name the same session once the first has been silent for as long as it
/// takes to be asked for a sign of life.
fn two_logons(probe_timeout_ms: u64) -> (Fixring, Counterparty, Counterparty) {
    let (mut fixring, address) = Fixring::acceptor(&format!("probe_timeout = \"{probe_timeout_ms}ms\""));
    let mut old = Counterparty::connect(address, 1);
    old.log_on();
    old.until("A");
    fixring.until("logged on", |_| true);
    std::thread::sleep(Duration::from_millis(probe_timeout_ms + 10));
    let mut new = Counterparty::connect(address, old.next_out);
    new.log_on();
    (fixring, old, new)
}

#[test]
fn a_second_logon_is_refused_while_the_first_connection_answers() {
    // Time enough to answer, on a busy machine, too.
    let (mut fixring, mut old, mut new) = two_logons(5_000);
    let test = old.until("1");
    old.say(&format!("35=0|112={}", test.field(112).unwrap()));
    assert!(new.until_end().is_empty(), "whoever comes second is told nothing");
    fixring.until("connection refused", |line| text(line, "why").contains("already logged on"));
    old.say("35=1|112=still here");
    assert_eq!(old.until("0").field(112), Some("still here"));
}

#[test]
fn a_second_logon_takes_over_from_a_connection_that_does_not_answer_the_probe() {
    let (mut fixring, mut old, mut new) = two_logons(500);
    let test = old.until("1");
    assert_eq!(test.msg_seq_num(), 2);
    let answer = new.until("A");
    let waited_ms = sent_ms(&answer) - sent_ms(&test);
    assert!(waited_ms >= 450, "let in after {waited_ms} ms");
    assert_eq!(answer.msg_seq_num(), 3, "the same session, its numbers going on");
    assert!(old.until_end().is_empty());
    fixring.until("disconnected", |_| true);
    fixring.until("logged on", |_| true);
    new.say("35=1|112=in its place");
    assert_eq!(new.until("0").field(112), Some("in its place"));
}

const ORDER: &str = "35=D|11=a|55=ACME|54=1|60=20260105-00:00:00|38=100|40=2|44=12.5";
const MODES: [&str; 3] = ["buffered", "flush", "sync"];

fn types(messages: &[Message]) -> String {
    messages.iter().map(Message::msg_type).collect()
}

/// One byte behind a Logout ended the process, and with it every session.
#[test]
fn an_acceptor_discards_what_comes_behind_a_logout_or_a_refused_logon() {
    for mode in MODES {
        let (fixring, address) = Fixring::acceptor_with("", &format!("mode = \"{mode}\""));
        let mut next_out = 1;
        for behind in 0..3 {
            let mut peer = Counterparty::connect(address, next_out);
            peer.log_on();
            peer.until("A");
            let garbled = peer.garbled("35=0");
            let behind = [&b"x"[..], b"\r\n", &garbled][behind];
            peer.say_at_once(&[ORDER, "35=5"], behind);
            assert_eq!(types(&peer.until_end()), "85", "{mode}, {behind:?}");
            next_out = peer.next_out;
            // Without HeartBtInt(108); then with a clock that cannot be believed, which gets no answer.
            let mut refused = Counterparty::connect(address, next_out);
            refused.say_at_once(&["35=A|98=0"], behind);
            assert_eq!(types(&refused.until_end()), "5", "{mode}, {behind:?}");
            let mut stale = Counterparty::connect(address, next_out);
            stale.say_at_once(&["35=A|98=0|108=30|52=20200101-00:00:00"], behind);
            stale.until_end();
        }
        let mut peer = Counterparty::connect(address, next_out);
        peer.log_on();
        peer.until("A");
        peer.say("35=5");
        peer.until_end();
        fixring.stop();
    }
}

/// The same of a venue that an initiator dials.
#[test]
fn an_initiator_discards_what_comes_behind_a_logout_or_a_refused_logon() {
    let (listener, address) = listener();
    let fixring = Fixring::initiator("", &[address.to_string()], ["10ms", "20ms"], "");
    let mut next_out = 1;
    for behind in [&b"x"[..], b"\r\n", b"8=FIX.4.4\x019=5\x0135=0\x0110=000\x01"] {
        // The first message is no Logon(A); then a refusal; then a Logout in a session.
        let mut peer = Counterparty::accept(&listener, next_out);
        peer.until("A");
        peer.say_at_once(&["35=0"], behind);
        peer.until_end();
        let mut peer = Counterparty::accept(&listener, next_out);
        peer.until("A");
        peer.say_at_once(&["35=5|58=not now"], behind);
        peer.until_end();
        next_out = peer.next_out;
        let mut peer = Counterparty::accept(&listener, next_out);
        peer.until("A");
        peer.log_on();
        peer.say_at_once(&["35=5"], behind);
        peer.until("5");
        next_out = peer.next_out;
    }
    let mut peer = Counterparty::accept(&listener, next_out);
    peer.until("A");
    peer.log_on();
    peer.say("35=1|112=still there");
    assert_eq!(peer.until("0").field(112), Some("still there"));
    drop(fixring);
}

/// `Logon, order, Logout`, and the end of the stream in one write got no answer at all.
#[test]
fn a_peer_that_half_closes_is_answered_to_the_end_in_every_mode() {
    for mode in MODES {
        let (_fixring, address) = Fixring::acceptor_with("", &format!("mode = \"{mode}\""));
        let mut peer = Counterparty::connect(address, 1);
        peer.say_at_once(&["35=A|98=0|108=30", ORDER, "35=5"], b"");
        peer.finish();
        assert_eq!(types(&peer.until_end()), "A85", "{mode}");
        // More than one turn takes, and no Logout.
        let mut peer = Counterparty::connect(address, peer.next_out);
        peer.say_at_once(&["35=A|98=0|108=30"], b"");
        peer.say_at_once(&[ORDER; 300], b"");
        peer.finish();
        assert_eq!(types(&peer.until_end()), format!("A{}", "8".repeat(300)), "{mode}");
        let mut refused = Counterparty::connect(address, peer.next_out);
        refused.say_at_once(&["35=A|98=0"], b"");
        refused.finish();
        assert_eq!(types(&refused.until_end()), "5", "{mode}");
    }
}
