use super::*;

#[test]
fn a_low_number_without_poss_dup_ends_the_session() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=D|34=1|11=x"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"]);
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::MsgSeqNumTooLow)]);
}

#[test]
fn a_duplicate_is_ignored_where_its_times_are_in_order() {
    let mut desk = Desk::established();
    let earlier = desk.time(-1);
    assert_eq!(desk.say(&format!("35=D|34=1|43=Y|122={earlier}|11=x")), Received::IGNORED);
    assert_eq!(desk.say("35=4|34=1|43=Y|36=9|123=Y"), Received::IGNORED, "a gap fill needs no OrigSendingTime(122)");
    assert_eq!((desk.heard(), desk.next_in()), (vec![], 2));
    assert_eq!(desk.session.counters().duplicates_in, 2);
}

#[test]
fn a_duplicate_without_orig_sending_time_is_rejected_and_uses_no_number() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=D|34=1|43=Y|11=x"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=3|34=2|45=1|58=Required tag missing|371=122|372=D|373=1"]);
    assert_eq!((desk.session.state(), desk.next_in()), (State::Established, 2));
}

#[test]
fn a_duplicate_that_was_first_sent_after_it_was_sent_logs_the_session_out() {
    let mut desk = Desk::established();
    let later = desk.time(10);
    desk.say(&format!("35=D|34=1|43=Y|122={later}|11=x"));
    assert_eq!(desk.heard(), ["35=3|34=2|45=1|58=SendingTime accuracy problem|372=D|373=10", "35=5|34=3"]);
}

#[test]
fn a_gap_is_asked_for_once_and_what_was_held_follows_in_order() {
    let mut desk = Desk::established();
    for number in [5, 6, 4] {
        assert_eq!(desk.say(&format!("35=D|34={number}|11=x")), Received::IGNORED);
    }
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"], "one request");
    let time = desk.time(0);
    assert_eq!(desk.say(&format!("35=D|34=2|43=Y|122={time}|11=x")), Received { counted: true, disposition: RESENT });
    assert_eq!(desk.say_held(), [], "3 is still missing");
    desk.say("35=4|34=3|43=Y|36=4|123=Y");
    assert_eq!(desk.say_held(), [Received { counted: true, disposition: DELIVERED }; 3]);
    assert_eq!(desk.next_in(), 7);
    assert_eq!(desk.session.counters().messages_in, 6, "held messages count once");
}

#[test]
fn a_second_gap_is_asked_for_after_the_first_has_closed() {
    let mut desk = Desk::established();
    desk.say("35=0|34=4");
    desk.say("35=4|34=2|43=Y|36=4|123=Y");
    assert_eq!(desk.say_held(), [Received::COUNTED]);
    desk.heard();
    desk.say("35=0|34=9");
    assert_eq!(desk.heard(), ["35=2|34=3|7=5|16=0"]);
}

#[test]
fn a_request_that_brings_nothing_is_repeated_after_a_while() {
    let mut desk = Desk::established();
    let repeat_ns = desk.session.settings().resend_request_repeat_ns;
    desk.say("35=0|34=4");
    desk.pass(repeat_ns - 1);
    desk.say("35=0|34=5");
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"]);
    desk.pass(1);
    desk.say("35=0|34=6");
    assert_eq!(desk.heard(), ["35=2|34=3|7=2|16=0"]);
}

#[test]
fn what_does_not_fit_beyond_a_gap_is_dropped_and_asked_for_again() {
    let mut desk = Desk::established_with("FIX.4.4", Settings { held_messages_max: 2, ..Settings::default() });
    for number in 3..=6 {
        desk.say(&format!("35=0|34={number}"));
    }
    assert_eq!(desk.session.counters().held_dropped, 2);
    desk.say("35=0|34=2|43=Y");
    desk.heard();
    assert_eq!(desk.say_held().len(), 2);
    // At once: a peer with nothing more to say would show the gap with its next heartbeat only.
    assert_eq!(desk.heard(), ["35=2|34=3|7=5|16=0"]);
    desk.say("35=0|34=7");
    assert_eq!(desk.heard(), Vec::<String>::new());
    for number in 5..=6 {
        desk.say(&format!("35=0|34={number}|43=Y"));
    }
    assert_eq!((desk.next_in(), desk.say_held().len(), desk.heard()), (7, 1, vec![]));
}

#[test]
fn a_held_message_is_not_late_by_the_time_that_it_was_held() {
    let mut desk = Desk::established();
    desk.say("35=D|34=3|11=x");
    desk.pass(600 * NS_PER_S);
    desk.say("35=4|34=2|43=Y|36=3|123=Y");
    assert_eq!(desk.say_held(), [Received { counted: true, disposition: DELIVERED }]);
}

#[test]
fn a_resend_request_beyond_a_gap_is_answered_before_the_gap_is_asked_for() {
    let mut desk = Desk::established();
    desk.send("one").unwrap();
    desk.heard();
    assert_eq!(desk.say("35=2|34=4|7=1|16=0"), Received::IGNORED);
    assert_eq!(desk.decisions(), [Action::Resend { begin: 1, end: 2 }]);
    assert_eq!(desk.heard(), ["35=2|34=3|7=2|16=0"]);
    // It is not answered twice.
    desk.say("35=4|34=2|43=Y|36=4|123=Y");
    assert_eq!((desk.next_in(), desk.say_held(), desk.decisions()), (5, vec![], vec![]));
}

#[test]
fn a_gap_fill_raises_the_expected_number() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=4|34=2|36=20|123=Y"), Received::COUNTED);
    assert_eq!(desk.stated(), [Numbers { next_out: 2, next_in: 20, epoch: 0 }]);
    desk.say("35=1|34=20|112=x");
    assert_eq!(desk.heard(), ["35=0|34=2|112=x"]);
}

#[test]
fn a_gap_fill_beyond_a_gap_waits_and_a_low_one_is_too_low() {
    let mut desk = Desk::established();
    desk.say("35=4|34=10|36=20|123=Y");
    desk.say("35=1|34=20|112=x");
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"]);
    let mut desk = Desk::established();
    desk.say("35=4|34=1|36=20|123=Y");
    assert_eq!(desk.heard(), ["35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"]);
}

#[test]
fn a_gap_fill_that_fills_nothing_is_rejected_and_may_come_again() {
    let mut desk = Desk::established();
    for new in [1, 2] {
        assert_eq!(desk.say(&format!("35=4|34=2|36={new}|123=Y")), Received::IGNORED);
    }
    let text = "58=Value is incorrect (out of range) for this tag|372=4|373=5";
    assert_eq!(desk.heard(), [format!("35=3|34=2|45=2|{text}"), format!("35=3|34=3|45=2|{text}")]);
    assert_eq!(desk.say("35=4|34=2|36=3|123=Y"), Received::COUNTED);
}

#[test]
fn a_sequence_reset_ignores_its_own_number_and_never_lowers_ours() {
    let mut desk = Desk::established();
    desk.say("35=4|34=0|36=1");
    desk.say("35=4|34=99|36=1|123=N");
    let text = "58=Value is incorrect (out of range) for this tag|372=4|373=5";
    assert_eq!(desk.heard(), [format!("35=3|34=2|45=0|{text}"), format!("35=3|34=3|45=99|{text}")]);
    assert_eq!(desk.say("35=4|34=0|36=2"), Received::IGNORED);
    assert_eq!((desk.next_in(), desk.stated(), desk.heard()), (2, vec![], vec![]));
    assert_eq!(desk.say("35=4|34=0|36=20"), Received::IGNORED);
    assert_eq!(desk.stated(), [Numbers { next_out: 4, next_in: 20, epoch: 0 }]);
}

#[test]
fn a_sequence_reset_without_its_new_number_is_rejected() {
    let mut desk = Desk::established();
    desk.say("35=4|34=2|123=Y");
    desk.say("35=4|34=2|36=x");
    assert_eq!(
        desk.heard(),
        [
            "35=3|34=2|45=2|58=Required tag missing|371=36|372=4|373=1",
            "35=3|34=3|45=2|58=Incorrect data format for value|371=36|372=4|373=6",
        ]
    );
}

#[test]
fn numbers_at_the_end_of_their_range_overflow_nothing() {
    let mut desk = Desk::established();
    desk.say(&format!("35=4|34=0|36={}", MSG_SEQ_NUM_MAX + 1));
    assert_eq!(desk.next_in(), 2, "beyond the range");
    desk.say(&format!("35=4|34=0|36={MSG_SEQ_NUM_MAX}"));
    assert_eq!(desk.say(&format!("35=0|34={MSG_SEQ_NUM_MAX}")), Received::COUNTED);
    desk.say("35=0|34=5");
    assert_eq!(desk.session.state(), State::Disconnected, "nothing is left to count");
}

#[test]
fn an_operator_renumbers_only_without_a_connection() {
    let mut desk = Desk::established();
    assert!(!desk.session.renumber(5, 6, &mut desk.tape));
    desk.disconnect();
    assert!(!desk.session.renumber(0, 6, &mut desk.tape));
    assert!(desk.session.renumber(5, 6, &mut desk.tape));
    assert_eq!(desk.stated(), [Numbers { next_out: 5, next_in: 6, epoch: 1 }]);
}
