use super::*;

#[test]
fn an_application_message_in_order_is_counted_and_delivered() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=D|34=2|11=x"), Received { counted: true, disposition: DELIVERED });
    let poss_resend = Disposition::Deliver { poss_dup: false, poss_resend: true };
    assert_eq!(desk.say("35=D|34=3|97=Y|11=x"), Received { counted: true, disposition: poss_resend });
    assert_eq!((desk.next_in(), desk.heard()), (4, vec![]));
}

#[test]
fn a_test_request_is_answered_with_its_id() {
    let mut desk = Desk::established();
    desk.say("35=1|34=2|112=HELLO");
    assert_eq!(desk.heard(), ["35=0|34=2|112=HELLO"]);
    assert_eq!(desk.say("35=1|34=3"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=3|45=3|58=Required tag missing|371=112|372=1|373=1"]);
}

#[test]
fn a_wrong_comp_id_is_rejected_and_the_session_logged_out() {
    for wrong in ["49=WT", "56=SU"] {
        let mut desk = Desk::established();
        assert_eq!(desk.say(&format!("35=D|34=2|11=x|{wrong}")), Received::COUNTED);
        assert_eq!(desk.heard(), ["35=3|34=2|45=2|58=CompID problem|372=D|373=9", "35=5|34=3"]);
        assert_eq!(desk.session.state(), State::LogoutSent);
        desk.say("35=5|34=3");
        assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::LoggedOut)]);
        assert_eq!(desk.heard(), [""; 0]);
    }
}

#[test]
fn another_begin_string_logs_the_session_out() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("8=FIX.4.1|35=1|34=2|112=x"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=5|34=2|58=Incorrect BeginString"]);
    desk.pass(desk.session.settings().logout_timeout_ns);
    desk.timer();
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::LogoutTimeout)]);
}

#[test]
fn a_sending_time_beyond_the_tolerance_is_rejected_and_the_session_logged_out() {
    for seconds in [-121, 121] {
        let mut desk = Desk::established();
        let time = desk.time(seconds);
        assert_eq!(desk.say(&format!("35=0|34=2|52={time}")), Received::COUNTED);
        assert_eq!(desk.heard(), ["35=3|34=2|45=2|58=SendingTime accuracy problem|372=0|373=10", "35=5|34=3"]);
    }
    for seconds in [-120, 120] {
        let mut desk = Desk::established();
        let time = desk.time(seconds);
        assert_eq!(desk.say(&format!("35=0|34=2|52={time}")), Received::COUNTED);
        assert_eq!(desk.heard(), [""; 0], "exactly at the tolerance");
    }
}

#[test]
fn a_missing_or_malformed_sending_time_is_rejected_and_the_session_goes_on() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=0|34=2|52="), Received::COUNTED);
    assert_eq!(desk.say("35=0|34=3|52=yesterday"), Received::COUNTED);
    assert_eq!(
        desk.heard(),
        [
            "35=3|34=2|45=2|58=Required tag missing|371=52|372=0|373=1",
            "35=3|34=3|45=3|58=Incorrect data format for value|371=52|372=0|373=6",
        ]
    );
    assert_eq!(desk.session.state(), State::Established);
}

#[test]
fn a_message_without_a_number_ends_the_session() {
    let (missing, invalid) = ("Received message without MsgSeqNum", "MsgSeqNum(34) is invalid");
    for (message, text) in [("35=0", missing), ("35=0|34=x", invalid), ("35=D|34=99999999999999999999|11=x", invalid)] {
        let mut desk = Desk::established();
        assert_eq!(desk.say(message), Received::IGNORED);
        assert_eq!(desk.heard(), [format!("35=5|34=2|58={text}")]);
        assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::MsgSeqNumMissing)]);
    }
}

#[test]
fn a_reject_of_the_peer_is_counted_and_not_answered() {
    let mut desk = Desk::established();
    desk.notices();
    assert_eq!(desk.say("35=3|34=2|45=1|58=no"), Received::COUNTED);
    assert_eq!(desk.heard(), [""; 0]);
    assert_eq!(desk.notices(), [Notice::RejectReceived { ref_seq_num: 1 }]);
}

#[test]
fn rejects_of_old_versions_lack_the_fields_that_those_lack() {
    let mut desk = Desk::established_with("FIX.4.1", Settings::default());
    desk.say("35=1|34=2");
    assert_eq!(desk.heard(), ["35=3|34=2|45=2|58=Required tag missing (112)"]);
}

#[test]
fn an_acceptor_answers_a_logout_and_closes() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=5|34=2|58=bye"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=5|34=2"]);
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::LoggedOut)]);
    assert_eq!(desk.session.state(), State::Disconnected);
    desk.disconnect();
    assert_eq!(desk.decisions(), [], "all was said before");
}

#[test]
fn a_logout_is_answered_whatever_its_number() {
    for (number, next_in) in [(1, 2), (2, 3), (9, 2)] {
        let mut desk = Desk::established();
        desk.say(&format!("35=5|34={number}"));
        assert_eq!(desk.heard(), ["35=5|34=2"]);
        assert_eq!(desk.next_in(), next_in);
    }
}

#[test]
fn a_logout_that_is_a_duplicate_of_an_old_one_is_ignored() {
    let mut desk = Desk::established();
    let time = desk.time(0);
    assert_eq!(desk.say(&format!("35=5|34=1|43=Y|122={time}")), Received::IGNORED);
    assert_eq!((desk.heard(), desk.session.state()), (vec![], State::Established));
}

#[test]
fn an_initiator_answers_a_logout_and_leaves_the_closing_to_the_peer() {
    let settings = Settings { role: Role::Initiator, ..Settings::default() };
    let timeout_ns = settings.logout_timeout_ns;
    let mut desk = Desk::established_with("FIX.4.4", settings);
    desk.say("35=5|34=2");
    assert_eq!(desk.heard(), ["35=5|34=2"]);
    assert_eq!(desk.decisions(), []);
    assert_eq!(desk.say("35=D|34=3|11=x"), Received::IGNORED);
    desk.pass(timeout_ns);
    desk.timer();
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::LoggedOut)]);
}

#[test]
fn messages_are_processed_until_our_logout_is_answered() {
    let mut desk = Desk::established();
    desk.session.logout(desk.now, b"end of day", &mut desk.tape);
    assert_eq!(desk.heard(), ["35=5|34=2|58=end of day"]);
    assert_eq!(desk.say("35=D|34=2|11=x").disposition, DELIVERED);
    assert_eq!(desk.send("answer"), Ok(3));
    assert_eq!(desk.tape.sent[0].0.kind, OutgoingKind::Deferred, "stored for the next logon");
    desk.heard();
    desk.say("35=1|34=3|112=x");
    assert_eq!(desk.heard(), ["35=0|34=4|112=x"]);
    assert_eq!(desk.say("35=5|34=4"), Received::COUNTED);
    assert_eq!(desk.send("late"), Err(SendError::NotLoggedOn));
    assert_eq!(desk.heard(), [""; 0], "an answer is not answered");
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::LoggedOut)]);
}

#[test]
fn resets_at_logout_and_at_disconnect_open_an_epoch_each() {
    let mut desk = Desk::established_with("FIX.4.4", Settings { reset_on_logout: true, ..Settings::default() });
    desk.say("35=5|34=2");
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 1, epoch: 1 }]);

    let mut desk = Desk::established_with("FIX.4.4", Settings { reset_on_disconnect: true, ..Settings::default() });
    desk.disconnect();
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 1, epoch: 1 }]);
    assert_eq!(desk.decisions(), [Action::LoggedOut]);
    desk.connect();
    desk.disconnect();
    assert_eq!(desk.stated(), [], "nothing to reset");
}

#[test]
fn what_cannot_be_parsed_is_rejected_where_its_number_can_be_read() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=D|34=2|0=x"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=2|45=2|58=Invalid tag number|371=0|372=D|373=0"]);
    assert_eq!(desk.say("35=D|34=3|95=9|96=x"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=3|45=3|58=Incorrect data format for value|371=96|372=D|373=6"]);
    assert_eq!(desk.say("35=D|34=4|-17=x"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=4|45=4|58=Invalid tag number|371=-17|372=D|373=0"]);
    // RefTagID(371) is a number: what is none is not repeated in it, nor what has no end.
    for tag in ["x", "", "-", &"1".repeat(19)] {
        let number = desk.next_in();
        assert_eq!(desk.say(&format!("35=D|34={number}|{tag}=x")), Received::COUNTED);
        assert_eq!(desk.heard(), [format!("35=3|34={number}|45={number}|58=Invalid tag number|372=D|373=0")]);
    }
    for garbled in ["35=D|0=x", "35=D|34=9|49=OTHER|0=x"] {
        assert_eq!(desk.say(garbled), Received::IGNORED);
    }
    assert_eq!((desk.heard(), desk.next_in(), desk.session.counters().garbled), (vec![], 9, 2));
}

#[test]
fn back_pressure_is_a_value_and_uses_no_number() {
    let mut desk = Desk::established();
    desk.tape.room = 50;
    assert_eq!(desk.send("text"), Err(SendError::BackPressure));
    desk.tape.room = 4_096;
    assert_eq!(desk.send("text"), Ok(2));
}

#[test]
fn a_message_beyond_the_limit_is_too_long_however_much_room_there_is() {
    let mut desk = Desk::established_with("FIX.4.4", Settings { message_bytes_max: 200, ..Settings::default() });
    assert_eq!(desk.send(&"x".repeat(200)), Err(SendError::TooLong));
    assert_eq!(desk.session.numbers().next_out, 2);
}

#[test]
fn old_versions_get_whole_seconds() {
    let mut desk = Desk::established_with("FIX.4.1", Settings::default());
    desk.send("x").unwrap();
    let text = String::from_utf8(desk.tape.sent[0].1.clone()).unwrap();
    assert!(text.contains("\x0152=20260105-12:00:00\x01"), "{text:?}");
}

/// What was read of a message of 70,000 bytes.
fn say_too_long(desk: &mut Desk, script: &str) -> Received {
    let head = desk.framed(script);
    desk.session.receive_too_long(desk.now, &head, 70_000, &mut desk.tape)
}

#[test]
fn a_message_that_is_too_long_is_counted_and_rejected_under_the_number_of_its_head() {
    const TEXT: &str = "Message of 70000 bytes is longer than the limit of 65536";
    let last = |begin_string| match begin_string {
        "FIX.4.0" | "FIX.4.1" => "",
        "FIX.4.2" | "FIX.4.3" => "|372=D",
        _ => "|372=D|373=99",
    };
    for begin_string in ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"] {
        let mut desk = Desk::established_with(begin_string, Settings::default());
        assert_eq!(say_too_long(&mut desk, "35=D|34=2|11=x"), Received::COUNTED);
        assert_eq!(desk.heard(), [format!("35=3|34=2|45=2|58={TEXT}{}", last(begin_string))]);
        assert_eq!((desk.session.state(), desk.next_in()), (State::Established, 3));
    }
}

#[test]
fn a_message_that_is_too_long_and_out_of_order_is_treated_as_its_number_says() {
    let mut desk = Desk::established();
    assert_eq!(say_too_long(&mut desk, "35=D|34=4|11=x"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"], "its own place comes by the resend");
    desk.say("35=4|34=2|43=Y|36=4|123=Y");
    assert_eq!(say_too_long(&mut desk, "35=D|34=4|43=Y|122=20260105-00:00:00|11=x"), Received::COUNTED);
    assert_eq!(say_too_long(&mut desk, "35=D|34=4|43=Y|122=20260105-00:00:00|11=x"), Received::IGNORED, "a duplicate");
    assert_eq!((desk.heard().len(), desk.next_in()), (1, 5));
    assert_eq!(say_too_long(&mut desk, "35=D|34=5|49=OTHER|11=x"), Received::IGNORED, "another session's");
    say_too_long(&mut desk, "35=D|34=3|11=x");
    assert_eq!(desk.decisions().last(), Some(&Action::Disconnect(DisconnectReason::MsgSeqNumTooLow)));
}

#[test]
fn a_message_that_is_not_even_read_over_ends_the_session_in_both_roles() {
    let mut desk = Desk::established();
    desk.session.refuse_too_long(desk.now, 999_999_999, 64 << 20, &mut desk.tape);
    let text = "Message of 999999999 bytes is longer than the limit of 65536, and than the 67108864 that are read over";
    assert_eq!(desk.heard(), [format!("35=5|34=2|58={text}")]);
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::MessageTooLong)]);
    let mut desk = Desk::new("FIX.4.4", Settings { role: Role::Initiator, ..Settings::default() });
    desk.connect();
    desk.session.refuse_too_long(desk.now, 999_999_999, 64 << 20, &mut desk.tape);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::MessageTooLong)]);
}

#[test]
fn an_empty_test_req_id_that_no_dictionary_refuses_comes_back_empty() {
    let mut desk = Desk::established();
    desk.say("35=1|34=2|112=");
    assert_eq!(desk.heard(), ["35=0|34=2|112="]);
}
