use super::*;

/// Has sent application messages 2, 3, 5 and 6, with a Heartbeat between them, and is then asked to resend.
fn asked(request: &str) -> (Desk, Vec<Vec<u8>>) {
    let mut desk = Desk::established();
    desk.send("two").unwrap();
    desk.send("three").unwrap();
    desk.say("35=1|34=2|112=x");
    desk.send("five").unwrap();
    desk.send("six").unwrap();
    let stored = std::mem::take(&mut desk.tape.sent).into_iter().map(|(_, bytes)| bytes).collect();
    desk.pass(NS_PER_S);
    desk.say(request);
    (desk, stored)
}

fn stream(desk: &mut Desk, stored: &[Vec<u8>]) -> Result<(), BackPressure> {
    for message in stored {
        desk.session.resend(desk.now, message, &mut desk.tape)?;
    }
    desk.session.resend_done(desk.now, &mut desk.tape)
}

const ORIG: &str = "122=20260105-12:00:00.000";
const NEW: &str = "122=20260105-12:00:01.000";

#[test]
fn a_resend_keeps_the_body_and_fills_over_administrative_messages() {
    let (mut desk, stored) = asked("35=2|34=3|7=1|16=0");
    assert_eq!(desk.decisions(), [Action::Resend { begin: 1, end: 6 }]);
    stream(&mut desk, &stored).unwrap();
    assert!(desk.tape.sent.iter().all(|(outgoing, _)| outgoing.kind == OutgoingKind::Replay));
    assert_eq!(
        desk.heard(),
        [
            format!("35=4|34=1|43=Y|{NEW}|36=2|123=Y"),
            format!("35=D|34=2|43=Y|{ORIG}|58=two"),
            format!("35=D|34=3|43=Y|{ORIG}|58=three"),
            format!("35=4|34=4|43=Y|{NEW}|36=5|123=Y"),
            format!("35=D|34=5|43=Y|{ORIG}|58=five"),
            format!("35=D|34=6|43=Y|{ORIG}|58=six"),
        ]
    );
    assert_eq!((desk.session.numbers().next_out, desk.session.resending()), (7, None));
}

/// A peer ends the session over an OrigSendingTime(122) after SendingTime(52), and would at each
/// resend until the clock had caught up.
#[test]
fn a_clock_that_was_set_back_makes_no_original_time_after_its_sending_time() {
    for (set_back_ns, precision, orig) in [
        (3_600 * NS_PER_S, Precision::Millis, "20260105-11:00:01.000"),
        (NS_PER_S + 1, Precision::Millis, "20260105-11:59:59.999"),
        (NS_PER_S, Precision::Millis, "20260105-12:00:00.000"),
        (NS_PER_S - 1, Precision::Millis, "20260105-12:00:00.000"),
        (NS_PER_S / 2, Precision::Seconds, "20260105-12:00:00.000"),
        (NS_PER_S + 1, Precision::Seconds, "20260105-11:59:59"),
    ] {
        let (mut desk, stored) = asked("35=2|34=3|7=2|16=2");
        desk.session.header = OutboundHeader::of(desk.session.identity(), precision);
        desk.now.utc.unix_ns -= set_back_ns;
        stream(&mut desk, &stored).unwrap();
        assert_eq!(desk.heard(), [format!("35=D|34=2|43=Y|122={orig}|58=two")]);
    }
}

/// QuickFIX/C++ counted our Logon(A), which had come beyond the gap, as soon as the gap was closed; it had answered our
/// ResendRequest(2) on arrival and not kept it. One fill over both began below what it expected, so that it took the
/// fill for a duplicate and stood still until our next heartbeat.
#[test]
fn a_resend_request_of_ours_begins_a_gap_fill_of_its_own() {
    let mut desk = Desk::established();
    desk.timer();
    desk.send("two").unwrap();
    desk.session.logout(desk.now, b"", &mut desk.tape);
    desk.say("35=5|34=2");
    desk.disconnect();
    desk.connect();
    desk.say("35=A|34=9|98=0|108=30");
    desk.pass(30 * NS_PER_S);
    desk.timer();
    let stored: Vec<Vec<u8>> = desk.tape.sent.iter().map(|(_, bytes)| bytes.clone()).collect();
    let sent: Vec<String> = desk.heard().iter().map(|message| message[..4].to_owned()).collect();
    assert_eq!(sent, ["35=D", "35=5", "35=A", "35=2", "35=2"], "the second one since nothing has come");
    desk.say("35=2|34=10|7=1|16=0");
    stream(&mut desk, &stored).unwrap();
    let fills: Vec<String> = desk.heard().into_iter().filter(|message| message.starts_with("35=4")).collect();
    let fill = |number, new_seq_no| format!("35=4|34={number}|43=Y|122=20260105-12:00:30.000|36={new_seq_no}|123=Y");
    assert_eq!(fills, [fill(1, 2), fill(3, 5), fill(5, 6), fill(6, 7)]);
}

#[test]
fn a_resend_of_a_part_stays_within_it() {
    let (mut desk, stored) = asked("35=2|34=3|7=3|16=4");
    stream(&mut desk, &stored).unwrap();
    assert_eq!(desk.heard(), [format!("35=D|34=3|43=Y|{ORIG}|58=three"), format!("35=4|34=4|43=Y|{NEW}|36=5|123=Y")]);
}

#[test]
fn messages_that_are_no_longer_stored_are_filled_over() {
    let (mut desk, _) = asked("35=2|34=3|7=2|16=5");
    stream(&mut desk, &[]).unwrap();
    assert_eq!(desk.heard(), [format!("35=4|34=2|43=Y|{NEW}|36=6|123=Y")]);
}

#[test]
fn an_end_beyond_what_was_sent_means_the_last() {
    for end in [0, 7, 999_999, MSG_SEQ_NUM_MAX] {
        let (mut desk, _) = asked(&format!("35=2|34=3|7=2|16={end}"));
        assert_eq!(desk.decisions(), [Action::Resend { begin: 2, end: 6 }]);
    }
}

#[test]
fn a_request_for_what_was_never_sent_is_rejected() {
    for (range, tag) in [("7=0|16=0", 7), ("7=7|16=0", 7), ("7=5|16=4", 16)] {
        let (mut desk, _) = asked(&format!("35=2|34=3|{range}"));
        let text = "58=Value is incorrect (out of range) for this tag";
        assert_eq!(desk.heard(), [format!("35=3|34=7|45=3|{text}|371={tag}|372=2|373=5")]);
        assert_eq!((desk.decisions(), desk.next_in()), (vec![], 4));
    }
}

#[test]
fn a_malformed_request_is_rejected() {
    for (range, answer) in [
        ("16=0", "58=Required tag missing|371=7|372=2|373=1"),
        ("7=1", "58=Required tag missing|371=16|372=2|373=1"),
        ("7=x|16=0", "58=Incorrect data format for value|371=7|372=2|373=6"),
    ] {
        let (mut desk, _) = asked(&format!("35=2|34=3|{range}"));
        assert_eq!(desk.heard(), [format!("35=3|34=7|45=3|{answer}")]);
    }
}

#[test]
fn back_pressure_in_a_resend_loses_and_repeats_nothing() {
    let (mut desk, stored) = asked("35=2|34=3|7=1|16=0");
    for message in &stored {
        desk.tape.room = 0;
        let refused = desk.session.resend(desk.now, message, &mut desk.tape);
        desk.tape.room = 4_096;
        if refused.is_err() {
            desk.session.resend(desk.now, message, &mut desk.tape).unwrap();
        }
    }
    desk.session.resend_done(desk.now, &mut desk.tape).unwrap();
    let numbers: Vec<u64> = desk.tape.sent.iter().map(|(outgoing, _)| outgoing.msg_seq_num).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_gap_fill_that_found_room_is_not_repeated_when_its_message_found_none() {
    let mut desk = Desk::established();
    desk.say("35=1|34=2|112=x");
    desk.send(&"x".repeat(500)).unwrap();
    let (_, stored) = desk.tape.sent.pop().unwrap();
    desk.heard();
    desk.say("35=2|34=3|7=1|16=0");
    desk.tape.room = 300;
    assert_eq!(desk.session.resend(desk.now, &stored, &mut desk.tape), Err(BackPressure));
    assert_eq!(desk.session.resending(), Some((3, 3)));
    desk.tape.room = 4_096;
    desk.session.resend(desk.now, &stored, &mut desk.tape).unwrap();
    let numbers: Vec<u64> = desk.tape.sent.iter().map(|(outgoing, _)| outgoing.msg_seq_num).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn a_newer_request_takes_over_what_an_unfinished_resend_owes() {
    let (mut desk, stored) = asked("35=2|34=3|7=2|16=5");
    desk.session.resend(desk.now, &stored[0], &mut desk.tape).unwrap();
    desk.heard();
    desk.decisions();
    desk.say("35=2|34=4|7=6|16=0");
    assert_eq!(desk.decisions(), [Action::Resend { begin: 3, end: 6 }], "2 is done, 3 to 5 are owed, 6 is asked for");
    stream(&mut desk, &stored).unwrap();
    assert_eq!(desk.heard().len(), 4);
}

#[test]
fn the_same_request_restarts_an_unfinished_resend_only_so_often() {
    let (mut desk, _) = asked("35=2|34=3|7=1|16=0");
    for number in 4..20 {
        desk.say(&format!("35=2|34={number}|7=1|16=0"));
    }
    assert_eq!(desk.session.counters().resend_requests_ignored, 13, "all but the first and three repetitions");
    stream(&mut desk, &[]).unwrap();
    desk.decisions();
    desk.say("35=2|34=20|7=1|16=0");
    assert_eq!(desk.decisions().len(), 1, "a finished one may be asked for again");
}

#[test]
fn new_messages_may_go_out_between_resent_ones() {
    let (mut desk, stored) = asked("35=2|34=3|7=5|16=0");
    desk.send("seven").unwrap();
    stream(&mut desk, &stored).unwrap();
    assert_eq!(
        desk.heard(),
        [
            "35=D|34=7|58=seven".to_owned(),
            format!("35=D|34=5|43=Y|{ORIG}|58=five"),
            format!("35=D|34=6|43=Y|{ORIG}|58=six")
        ]
    );
}

#[test]
fn a_reset_or_the_end_of_the_connection_ends_a_resend() {
    let (mut desk, stored) = asked("35=2|34=3|7=1|16=0");
    desk.say("35=A|34=1|98=0|108=30|141=Y");
    desk.heard();
    stream(&mut desk, &stored).unwrap();
    assert_eq!(desk.heard(), [""; 0]);

    let (mut desk, stored) = asked("35=2|34=3|7=1|16=0");
    desk.disconnect();
    stream(&mut desk, &stored).unwrap();
    assert_eq!(desk.heard(), [""; 0]);
}
