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

/// QuickFIX/J resends 4 to 7 of 4 to 9 and goes on with live orders: without another request
/// everything behind waits for ever.
#[test]
fn a_resend_that_stops_short_is_asked_for_again_exactly() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=0|34=10"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"]);
    for number in 2..=7 {
        desk.pass(NS_PER_S);
        desk.say(&format!("35=D|34={number}|43=Y|122={}|11=x", desk.time(-1)));
    }
    for number in [11, 12] {
        desk.say(&format!("35=D|34={number}|11=x"));
    }
    desk.notices();
    // The time runs from the last progress.
    assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + 30 * NS_PER_S - 6 * NS_PER_S), "the heartbeat");
    desk.pass(30 * NS_PER_S - 1);
    desk.timer();
    assert_eq!(desk.heard(), ["35=0|34=3"]);
    desk.pass(1);
    desk.say("35=0|34=13");
    desk.timer();
    assert_eq!(desk.heard(), ["35=2|34=4|7=8|16=9"], "the hole, and nothing of what is held behind it");
    assert_eq!(desk.notices(), [Notice::GapStays { begin: 8, end: 9, requests: 0 }]);
    desk.say(&format!("35=D|34=8|43=Y|122={}|11=x", desk.time(-1)));
    desk.say("35=4|34=9|43=Y|36=10|123=Y");
    assert_eq!((desk.say_held().len(), desk.next_in()), (4, 14));
    assert_eq!(desk.notices(), [Notice::GapClosed { begin: 2, end: 9 }]);
    desk.pass(10 * NS_PER_S);
    assert!(desk.session.deadline_ns() > Some(desk.now.monotonic_ns), "nothing is asked any more");
}

/// Plays a gap from 2 to 4 of which nothing comes, until the session ends.
fn play_a_gap_that_stays(desk: &mut Desk, end_seq_no: &str) {
    desk.say("35=0|34=5");
    let mut heard = desk.heard();
    for number in 6..30 {
        desk.pass(30 * NS_PER_S);
        desk.say(&format!("35=0|34={number}"));
        desk.timer();
        heard.extend(desk.heard().into_iter().filter(|message| !message.starts_with("35=0")));
        desk.notices();
        if desk.session.state() == State::Disconnected {
            break;
        }
    }
    assert_eq!(heard.len(), 6, "{heard:?}");
    assert!(heard[0].ends_with(&format!("|7=2|16={end_seq_no}")), "{heard:?}");
    assert!(heard[1..5].iter().all(|request| request.ends_with("|7=2|16=4")), "{heard:?}");
    assert!(heard[5].ends_with("|58=Missing MsgSeqNum 2 to 4, asked for 5 times"), "{heard:?}");
    assert_eq!((desk.session.counters().gaps_given_up, desk.next_in()), (1, 2));
}

#[test]
fn a_gap_that_never_closes_ends_the_session_with_a_logout_that_names_it() {
    play_a_gap_that_stays(&mut Desk::established(), "0");
    play_a_gap_that_stays(&mut Desk::established_with("FIX.4.1", Settings::default()), "999999");
    let mut initiator = Desk::new("FIX.4.4", Settings { role: Role::Initiator, ..Settings::default() });
    initiator.connect();
    initiator.say("35=A|34=1|98=0|108=30");
    initiator.heard();
    play_a_gap_that_stays(&mut initiator, "0");
    // The next connection finds it again.
    initiator.disconnect();
    initiator.connect();
    initiator.heard();
    initiator.say("35=A|34=40|98=0|108=30");
    assert!(initiator.heard()[0].ends_with("|7=2|16=0"));
    initiator.notices();
    initiator.pass(30 * NS_PER_S);
    initiator.timer();
    assert!(initiator.heard()[0].ends_with("|7=2|16=39"), "also of a Logon that is the last that came");
}

#[test]
fn a_gap_is_asked_for_again_although_nothing_more_comes_where_there_are_no_heartbeats() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    desk.say("35=A|34=4|98=0|108=0");
    desk.heard();
    let wait_ns = desk.session.settings().resend_request_repeat_ns;
    assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + wait_ns));
    desk.pass(wait_ns);
    desk.timer();
    assert_eq!(desk.heard(), ["35=2|34=3|7=1|16=3"]);
}

#[test]
fn a_resend_that_the_peer_s_789_promised_and_that_never_begins_is_asked_for() {
    let settings = Settings { next_expected_msg_seq_num: true, ..Settings::default() };
    let mut desk = Desk::new("FIX.4.4", settings);
    desk.connect();
    desk.say("35=A|34=10|98=0|108=30|789=1");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|789=1"]);
    desk.say("35=D|34=11|11=x");
    assert_eq!(desk.heard(), Vec::<String>::new());
    desk.pass(30 * NS_PER_S);
    desk.timer();
    assert_eq!(desk.heard()[0], "35=2|34=2|7=1|16=9");
}

#[test]
fn a_gap_fill_that_stops_short_is_asked_for_again_and_each_progress_gives_the_peer_its_time_anew() {
    let mut desk = Desk::established();
    desk.say("35=D|34=9|11=x");
    desk.heard();
    for from in 2..6 {
        desk.pass(30 * NS_PER_S - 1);
        desk.say(&format!("35=4|34={from}|43=Y|36={}|123=Y", from + 1));
        desk.timer();
        assert!(desk.heard().iter().all(|message| message.starts_with("35=0")), "{from}");
    }
    desk.pass(30 * NS_PER_S);
    desk.timer();
    assert!(desk.heard()[0].ends_with("|7=6|16=8"));
}

#[test]
fn a_request_that_found_no_room_is_made_again_by_the_timer() {
    let mut desk = Desk::established();
    desk.tape.room = 0;
    desk.say("35=D|34=4|11=x");
    assert_eq!(desk.heard(), Vec::<String>::new());
    desk.pass(NS_PER_S);
    desk.timer();
    desk.tape.room = 4_096;
    desk.pass(NS_PER_S);
    desk.timer();
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=3"]);
}

#[test]
fn what_has_not_left_yet_is_no_request_of_which_the_peer_knows() {
    let mut desk = Desk::established();
    desk.say("35=D|34=4|11=x");
    assert_eq!(desk.tape.sent[0].0.kind, OutgoingKind::ResendRequest);
    desk.heard();
    let asked = |desk: &mut Desk, is_unsent| {
        desk.pass(30 * NS_PER_S);
        if is_unsent {
            desk.session.request_is_unsent(desk.now);
        }
        desk.timer();
        desk.say("35=0|34=5");
        desk.heard().iter().filter(|message| message.starts_with("35=2")).count()
    };
    for _ in 0..5 {
        assert_eq!(asked(&mut desk, true), 0, "however long it takes");
    }
    assert_eq!(asked(&mut desk, false), 1, "it has left, and its time is over");
}

#[test]
fn a_second_gap_among_the_held_messages_is_asked_for_as_soon_as_the_first_has_closed() {
    let mut desk = Desk::established();
    for number in [4, 5, 8] {
        desk.say(&format!("35=0|34={number}"));
    }
    desk.heard();
    desk.say("35=4|34=2|43=Y|36=4|123=Y");
    assert_eq!(desk.say_held().len(), 2);
    assert_eq!(desk.heard(), ["35=2|34=3|7=6|16=0"]);
    assert_eq!(desk.session.counters().gaps, 2);
}

/// A peer that does not send stale orders again fills over them, although they have come.
#[test]
fn held_messages_that_the_peer_fills_over_are_processed_in_their_order() {
    for reset in ["123=Y", "123=N"] {
        let mut desk = Desk::established();
        for number in [4, 5, 8] {
            desk.say(&format!("35=D|34={number}|11=x"));
        }
        desk.heard();
        desk.notices();
        desk.stated();
        let fill = format!("35=4|34=2|43=Y|36=15|{reset}");
        desk.say(&fill);
        assert!(desk.notices().contains(&Notice::HeldFilledOver { begin: 2, end: 14, messages: 3 }), "{reset}");
        assert_eq!(desk.stated().last().map(|numbers| numbers.next_in), Some(4), "{reset}");
        assert_eq!(desk.say_held(), [Received { counted: true, disposition: DELIVERED }; 3], "{reset}");
        let next_in: Vec<u64> = desk.stated().iter().map(|numbers| numbers.next_in).collect();
        assert_eq!(next_in, [8, 15], "what is not there is filled");
        assert_eq!((desk.next_in(), desk.session.counters().held_filled_over), (15, 3));
        assert_eq!(desk.say("35=D|34=15|11=x"), Received { counted: true, disposition: DELIVERED });
        assert_eq!(desk.heard(), Vec::<String>::new());
    }
}

#[test]
fn a_held_message_that_found_no_room_stays_and_is_handed_out_again() {
    let mut desk = Desk::established();
    desk.say("35=D|34=3|11=x");
    desk.heard();
    desk.say("35=4|34=2|43=Y|36=3|123=Y");
    let mut buffer = Vec::with_capacity(4_096);
    assert!(desk.session.take_held(&mut buffer));
    desk.session.put_back(desk.now);
    assert!(desk.session.deadline_ns() < Some(desk.now.monotonic_ns + NS_PER_S), "it is looked at soon");
    // What comes meanwhile is not taken for it.
    assert_eq!(desk.say("35=D|34=4|11=y"), Received::IGNORED);
    desk.pass(NS_PER_S);
    desk.timer();
    assert_eq!(desk.heard(), Vec::<String>::new(), "nothing is missing");
    assert_eq!((desk.say_held().len(), desk.next_in()), (2, 5));
}

#[test]
fn messages_that_are_held_when_the_numbers_begin_again_are_lost_and_the_log_says_so() {
    let mut desk = Desk::established();
    desk.say("35=D|34=4|11=x");
    desk.notices();
    desk.say("35=A|34=1|98=0|108=30|141=Y");
    assert!(desk.notices().contains(&Notice::HeldDropped { messages: 1 }));
    assert_eq!((desk.session.counters().held_dropped, desk.next_in()), (1, 2));
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

/// Engines that send their old administrative messages again, instead of filling over them. Each
/// Logout cost a connection, and each Logon was answered.
#[test]
fn an_old_logon_and_an_old_logout_in_a_resend_are_counted_and_no_more() {
    for role in [Role::Acceptor, Role::Initiator] {
        let mut desk = Desk::new("FIX.4.4", Settings { role, ..Settings::default() });
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        assert_eq!(desk.heard().last().map(String::as_str), Some("35=2|34=2|7=1|16=0"));
        for script in [
            "35=A|34=1|43=Y|98=0|108=30|141=Y",
            "35=0|34=2|43=Y",
            "35=5|34=3|43=Y|58=MsgSeqNum too low, expecting 9 but received 1",
            "35=A|34=4|43=Y|98=0|108=30",
            "35=3|34=5|43=Y|45=1",
            "35=5|34=6|43=Y",
            "35=D|34=7|43=Y|11=x",
        ] {
            assert!(desk.say(script).counted, "{script}");
            desk.notices();
        }
        assert_eq!(desk.say("35=4|34=8|43=Y|36=9|123=Y"), Received::COUNTED);
        assert_eq!((desk.heard(), desk.next_in()), (vec![], 10));
        assert_eq!(desk.session.state(), State::Established);
        // Without a gap a Logout is one, whatever it says of itself.
        desk.say("35=5|34=10|43=Y");
        assert!(desk.heard()[0].starts_with("35=5|"));
    }
}

/// The time of what was asked for was refused, one message a connection.
#[test]
fn what_is_sent_again_under_its_old_time_is_taken_where_it_was_asked_for() {
    let mut desk = Desk::established();
    desk.say("35=D|34=4|11=x");
    desk.heard();
    let old = desk.time(-100_000);
    for number in [2, 3] {
        let received = desk.say(&format!("35=D|34={number}|43=Y|11=x|52={old}|122={old}"));
        assert_eq!(received, Received { counted: true, disposition: RESENT });
    }
    desk.say_held();
    // The request was open-ended.
    assert_eq!(desk.say(&format!("35=D|34=4|43=Y|11=x|52={old}|122={old}")), Received::IGNORED);
    assert_eq!((desk.heard(), desk.next_in()), (vec![], 5));
    // What nobody has asked for is checked as ever.
    desk.say(&format!("35=D|34=5|43=Y|11=x|52={old}|122={old}"));
    assert_eq!(desk.heard().len(), 2, "a Reject and a Logout");
}
