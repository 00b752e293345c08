use super::*;

#[test]
fn at_the_end_of_its_hours_a_session_is_logged_out_and_what_is_not_logged_on_is_closed() {
    let mut desk = Desk::established();
    desk.session.end_of_period(desk.now, &mut desk.tape);
    desk.session.end_of_period(desk.now, &mut desk.tape);
    assert_eq!(desk.heard(), ["35=5|34=2|58=Session time has ended"], "once");
    assert_eq!(desk.session.state(), State::LogoutSent);
    assert_eq!(desk.say("35=D|34=2|11=x").disposition, DELIVERED, "until the answer the old numbers go on");

    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    desk.session.end_of_period(desk.now, &mut desk.tape);
    assert_eq!((desk.heard(), desk.decisions()), (vec![], vec![Action::Disconnect(DisconnectReason::OutsideHours)]));
}

#[test]
fn a_period_begins_in_a_new_epoch_also_where_nothing_was_exchanged_and_never_under_a_connection() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    assert!(desk.session.begin_period(false, &mut desk.tape));
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 1, epoch: 1 }]);
    desk.connect();
    assert!(!desk.session.begin_period(false, &mut desk.tape));
    assert_eq!(desk.stated(), []);
}

#[test]
fn a_logon_outside_the_hours_is_answered_and_its_number_is_not_used_up() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    let logon = desk.framed("35=A|34=1|98=0|108=30");
    assert_eq!(desk.say_bytes(&logon, false).disposition, Disposition::Logon);
    let text = b"Session is closed until 2026-01-06T08:00:00Z";
    assert_eq!(desk.session.refuse_outside_hours(desk.now, text, &mut desk.tape), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=5|34=1|58=Session is closed until 2026-01-06T08:00:00Z"]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::OutsideHours)]);
    assert_eq!(desk.next_in(), 1);
    assert_eq!(desk.session.refuse_outside_hours(desk.now, text, &mut desk.tape), Received::IGNORED);
    assert_eq!(desk.heard(), [""; 0], "there is no other Logon to refuse");
}

#[test]
fn a_reset_in_session_is_a_test_request_and_then_logons_both_ways() {
    let mut desk = Desk::established();
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    assert_eq!(desk.heard(), ["35=1|34=2|112=RESET"], "once");
    assert_eq!(desk.say("35=0|34=2"), Received::COUNTED);
    assert_eq!(desk.say("35=D|34=3|11=x"), Received { counted: true, disposition: DELIVERED });
    assert_eq!(desk.heard(), [""; 0], "another heartbeat does not answer it");
    assert_eq!(desk.say("35=0|34=4|112=RESET"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 1, epoch: 1 }]);

    // What the peer had sent before it read our Logon.
    assert_eq!(desk.say("35=D|34=5|11=y"), Received { counted: false, disposition: DELIVERED });
    assert_eq!(desk.say("35=1|34=6|112=you?"), Received::IGNORED);
    assert_eq!(desk.say("35=D|34=6|11=again"), Received::IGNORED, "a number comes once");
    assert_eq!((desk.heard(), desk.next_in()), (vec!["35=0|34=2|112=you?".to_owned()], 1));

    assert!(desk.session.is_resetting());
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert!(!desk.session.is_resetting());
    assert_eq!(desk.session.numbers(), Numbers { next_out: 3, next_in: 2, epoch: 1 });
    assert_eq!(desk.say("35=D|34=2|11=z"), Received { counted: true, disposition: DELIVERED });
    assert_eq!((desk.heard(), desk.stated(), desk.decisions()), (vec![], vec![], vec![]));
}

#[test]
fn a_gap_is_closed_before_a_reset_in_session() {
    let mut desk = Desk::established();
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.say("35=0|34=4|112=RESET");
    assert_eq!(desk.heard(), ["35=1|34=2|112=RESET", "35=2|34=3|7=2|16=0"]);
    desk.say("35=4|34=2|43=Y|36=4|123=Y");
    assert_eq!(desk.say_held(), [Received::COUNTED], "the answer was held, and comes in order");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
}

#[test]
fn a_peer_that_resets_first_is_answered() {
    let mut desk = Desk::established();
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.heard();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert!(!desk.session.is_resetting());
    assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 1 });
}

#[test]
fn an_answer_to_our_reset_that_does_not_begin_at_one_ends_the_session() {
    let mut desk = Desk::established();
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.say("35=0|34=2|112=RESET");
    desk.heard();
    desk.say("35=A|34=3|98=0|108=30|141=Y");
    assert_eq!(desk.heard(), ["35=5|34=2|58=ResetSeqNumFlag(141) requires MsgSeqNum(34) 1"]);
    assert!(!desk.session.is_resetting());
}

#[test]
fn fix_4_0_knows_no_reset_in_session_and_logs_out() {
    let mut desk = Desk::established_with("FIX.4.0", Settings::default());
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    assert_eq!(desk.heard(), ["35=5|34=2|58=Session is reset"]);
    assert_eq!(desk.say("35=5|34=2"), Received::COUNTED);
    desk.disconnect();
    assert!(desk.session.begin_period(true, &mut desk.tape));
}

#[test]
fn an_initiator_asks_for_a_reset_until_it_is_confirmed() {
    let settings = Settings { role: Role::Initiator, ..Settings::default() };
    let mut desk = Desk::new("FIX.4.4", settings);
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30"]);
    desk.disconnect();
    desk.session.begin_period(true, &mut desk.tape);
    for epoch in [1, 2] {
        desk.connect();
        assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
        assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 1, epoch });
        desk.disconnect();
    }
    desk.connect();
    desk.heard();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=2|98=0|108=30"], "it was");
}

/// After a restart nothing remembers whether the peer has confirmed, but that it has sent nothing since.
#[test]
fn an_initiator_that_starts_with_an_unconfirmed_reset_asks_for_it() {
    let settings = Arc::new(Settings { role: Role::Initiator, reset_in_session: true, ..Settings::default() });
    for (next_in, logon) in [(1, "35=A|34=1|98=0|108=30|141=Y"), (9, "35=A|34=2|98=0|108=30")] {
        let mut desk = Desk::new("FIX.4.4", Settings::default());
        let identity = desk.session.identity().clone();
        desk.session = Session::new(Arc::clone(&settings), identity, Numbers { next_out: 2, next_in, epoch: 5 });
        desk.connect();
        assert_eq!(desk.heard(), [logon]);
    }
}

#[test]
fn what_is_invalid_is_rejected_under_an_old_number_too() {
    let mut desk = validation::established("FIX.4.4");
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.say("35=0|34=2|112=RESET");
    desk.heard();
    assert_eq!(desk.say("35=D|34=3|11=a"), Received::IGNORED, "not counted: the numbers that hold are the new ones");
    assert_eq!(desk.heard(), ["35=3|34=2|45=3|58=Required tag missing|371=40|372=D|373=1"]);
    assert!(desk.session.is_resetting());
}
