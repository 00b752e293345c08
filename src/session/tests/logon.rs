use super::*;

fn initiator() -> Settings {
    Settings { role: Role::Initiator, ..Settings::default() }
}

#[test]
fn an_acceptor_answers_with_the_heart_bt_int_that_it_was_offered() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    assert_eq!(desk.heard(), [""; 0], "an acceptor does not speak first");
    assert_eq!(desk.say("35=A|34=1|98=0|108=17"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=17"]);
    assert_eq!(desk.decisions(), [Action::LoggedOn]);
    assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 0 });
    assert_eq!(desk.stated(), [], "ordinary counting needs no statement");
}

#[test]
fn a_first_message_that_is_no_logon_ends_the_connection_without_an_answer() {
    for first in ["35=0|34=1", "35=5|34=1", "35=D|34=1|11=x", "35=2|34=1|7=1|16=0"] {
        let mut desk = Desk::new("FIX.4.4", Settings::default());
        desk.connect();
        assert_eq!(desk.say(first), Received::IGNORED);
        assert_eq!(desk.heard(), [""; 0]);
        assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::NotALogon)]);
        assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::IGNORED, "too late");
        assert_eq!(desk.session.numbers(), Numbers::default());
    }
}

#[test]
fn a_logon_that_breaks_a_rule_is_told_so_and_uses_no_number() {
    let cases = [
        ("35=A|34=1|98=0", "HeartBtInt(108) is missing"),
        ("35=A|34=1|98=0|108=-1", "HeartBtInt must not be negative"),
        ("35=A|34=1|98=0|108=1s", "HeartBtInt(108) is invalid"),
        ("35=A|34=1|98=0|108=99999", "HeartBtInt(108) is too long"),
        ("35=A|34=1|98=1|108=30", "EncryptMethod(98) must be 0"),
        ("35=A|34=2|98=0|108=30|141=Y", "ResetSeqNumFlag(141) requires MsgSeqNum(34) 1"),
        ("35=A|98=0|108=30", "MsgSeqNum(34) is missing or invalid"),
        ("35=A|34=9223372036854775808|98=0|108=30", "MsgSeqNum(34) is missing or invalid"),
    ];
    for (logon, text) in cases {
        assert_logon_is_refused("FIX.4.4", Settings::default(), logon, text);
    }
}

#[test]
fn a_logon_from_a_wrong_party_or_an_unbelievable_clock_gets_no_answer() {
    for logon in [
        "35=A|34=1|98=0|108=30|49=OTHER",
        "35=A|34=1|98=0|108=30|56=OTHER",
        "8=FIX.4.2|35=A|34=1|98=0|108=30",
        "35=A|34=1|98=0|108=30|52=20010101-00:00:00",
        "35=A|34=1|98=0|108=30|52=",
    ] {
        let mut desk = Desk::new("FIX.4.4", Settings::default());
        desk.connect();
        desk.say(logon);
        assert_eq!(desk.heard(), [""; 0], "{logon}");
        assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::InvalidLogon)]);
    }
}

#[test]
fn a_logon_with_a_low_number_is_told_the_expected_one() {
    let mut desk = Desk::established();
    desk.disconnect();
    desk.decisions();
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30");
    assert_eq!(desk.heard(), ["35=5|34=2|58=MsgSeqNum too low, expecting 2 but received 1"]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::MsgSeqNumTooLow)]);
}

#[test]
fn a_logon_beyond_a_gap_is_answered_first_and_the_gap_asked_for_then() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    assert_eq!(desk.say("35=A|34=5|98=0|108=30"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30", "35=2|34=2|7=1|16=0"]);
    assert_eq!(desk.decisions(), [Action::LoggedOn]);
    // The gap fill stops short of the Logon, which was processed and only remains to be counted.
    assert_eq!(desk.say("35=4|34=1|43=Y|36=5|123=Y"), Received::COUNTED);
    assert_eq!(desk.next_in(), 6);
    assert_eq!(desk.stated(), [Numbers { next_out: 3, next_in: 6, epoch: 0 }]);
}

#[test]
fn a_reset_by_the_peer_opens_an_epoch_before_it_is_answered() {
    let mut desk = Desk::established();
    desk.disconnect();
    desk.decisions();
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 2, epoch: 1 }]);
    assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 1 });
}

#[test]
fn a_reset_within_a_session_needs_no_disconnect() {
    let mut desk = Desk::established();
    desk.say("35=0|34=2");
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert_eq!(desk.decisions(), [], "neither logged on again nor out");
    desk.say("35=1|34=2|112=x");
    assert_eq!(desk.heard(), ["35=0|34=2|112=x"]);
}

#[test]
fn fix_4_0_knows_no_reset_flag() {
    let mut desk = Desk::new("FIX.4.0", Settings::default());
    desk.connect();
    desk.say("35=A|34=3|98=0|108=30|141=Y");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30", "35=2|34=2|7=1|16=999999"]);
}

#[test]
fn reset_on_logon_starts_each_logon_afresh() {
    let mut desk = Desk::established_with("FIX.4.4", Settings { reset_on_logon: true, ..Settings::default() });
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30"]);
}

#[test]
fn an_initiator_speaks_first_with_its_credentials() {
    let settings =
        Settings { username: Some(Box::from(&b"desk"[..])), password: Some(Box::from(&b"secret"[..])), ..initiator() };
    let mut desk = Desk::new("FIXT.1.1", settings);
    desk.connect();
    assert_eq!(desk.tape.sent[0].0.kind, OutgoingKind::Logon);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|553=desk|554=secret|1137=9"]);
    assert_eq!(desk.send("too early"), Err(SendError::NotLoggedOn));
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|1137=9"), Received::COUNTED);
    assert_eq!(desk.heard(), [""; 0], "an answer is not answered");
    assert_eq!(desk.send("now"), Ok(2));
}

#[test]
fn fixt_requires_a_default_appl_ver_id_and_an_acceptor_answers_with_its_peer_s() {
    let mut desk = Desk::new("FIXT.1.1", Settings::default());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30");
    assert_eq!(desk.heard(), [""; 0]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::InvalidLogon)]);
    desk.disconnect();
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|1137=7");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|1137=7"]);
    assert_eq!(desk.session.default_appl_ver_id(), Some(&b"7"[..]));
}

#[test]
fn session_status_is_said_where_it_is_asked_for() {
    let settings = Settings { session_status: true, ..Settings::default() };
    let mut desk = Desk::new("FIXT.1.1", settings.clone());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|1137=9");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|1137=9|1409=0"]);
    desk.say("35=0|34=1");
    let text = "MsgSeqNum too low, expecting 2 but received 1";
    assert_eq!(desk.heard(), [format!("35=5|34=2|58={text}|1409=9")]);
    let mut desk = Desk::established_with("FIX.4.4", settings);
    desk.say("35=5|34=2");
    assert_eq!(desk.heard(), ["35=5|34=2"], "no version before FIXT.1.1 has it");
}

#[test]
fn an_initiator_that_is_refused_counts_the_logout() {
    let mut desk = Desk::new("FIX.4.4", initiator());
    desk.connect();
    assert_eq!(desk.say("35=5|34=1|58=no"), Received::COUNTED);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::LogonRefusedByPeer)]);
    assert_eq!(desk.next_in(), 2);
}

#[test]
fn an_initiator_s_reset_is_stated_before_its_logon_and_not_done_twice() {
    let mut desk = Desk::new("FIX.4.4", Settings { reset_on_logon: true, ..initiator() });
    desk.session.renumber(7, 9, &mut desk.tape);
    desk.stated();
    desk.connect();
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 1, epoch: 2 }]);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!((desk.heard(), desk.stated()), (vec![], vec![]));
    assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 2 });
}

#[test]
fn an_unconfirmed_reset_is_taken_by_its_number_or_not_at_all() {
    for (number, state) in [(1, State::Established), (2, State::Disconnected)] {
        let mut desk = Desk::new("FIX.4.4", Settings { reset_on_logon: true, ..initiator() });
        desk.connect();
        desk.say(&format!("35=A|34={number}|98=0|108=30"));
        assert_eq!(desk.session.state(), state);
    }
}

#[test]
fn an_initiator_confirms_a_reset_that_the_acceptor_demands() {
    let mut desk = Desk::new("FIX.4.4", initiator());
    desk.session.renumber(7, 9, &mut desk.tape);
    desk.connect();
    desk.heard();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    assert_eq!(desk.session.state(), State::Established);
}

#[test]
fn a_refused_logon_gets_the_reason_and_moves_no_number() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    let bytes = desk.framed("35=A|34=1|98=0|108=30|141=Y");
    assert_eq!(desk.say_bytes(&bytes, false).disposition, Disposition::Logon);
    let mut index = FieldIndex::with_capacity(64);
    let logon = parse(&bytes, &mut index).unwrap();
    let refused = desk.session.refuse_logon(desk.now, &logon, b"unknown user\x0135=A", &mut desk.tape);
    assert_eq!(refused, Received::IGNORED);
    assert_eq!(desk.heard(), ["35=5|34=1|58=unknown user"], "cut at the delimiter");
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::LogonRefused)]);
    assert_eq!((desk.next_in(), desk.stated()), (1, vec![]));
}

fn with_789() -> Settings {
    Settings { next_expected_msg_seq_num: true, ..Settings::default() }
}

#[test]
fn a_peer_s_next_expected_number_starts_the_resend_without_its_asking() {
    let mut desk = Desk::new("FIX.4.4", with_789());
    desk.session.renumber(9, 4, &mut desk.tape);
    desk.connect();
    assert_eq!(desk.say("35=A|34=4|98=0|108=30|789=6"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=9|98=0|108=30|789=5"]);
    // The Logon itself is covered, for a peer that does not count it out of order.
    assert_eq!(desk.decisions(), [Action::LoggedOn, Action::Resend { begin: 6, end: 9 }]);
}

#[test]
fn a_gap_that_both_next_expected_numbers_show_is_not_asked_for() {
    let mut desk = Desk::new("FIX.4.4", with_789());
    desk.connect();
    desk.say("35=A|34=5|98=0|108=30|789=1");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|789=1"], "no ResendRequest");
    assert_eq!(desk.decisions(), [Action::LoggedOn]);
    desk.say("35=0|34=6");
    assert_eq!(desk.heard(), [""; 0], "nor while the resend is on its way");
    desk.say("35=4|34=1|43=Y|36=6|123=Y");
    assert_eq!(desk.say_held(), [Received::COUNTED]);
    assert_eq!(desk.next_in(), 7);
}

#[test]
fn an_initiator_resends_from_the_acceptor_s_next_expected_number() {
    let mut desk = Desk::new("FIX.4.4", Settings { role: Role::Initiator, ..with_789() });
    desk.session.renumber(9, 4, &mut desk.tape);
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=9|98=0|108=30|789=4"]);
    desk.say("35=A|34=4|98=0|108=30|789=7");
    assert_eq!(desk.decisions(), [Action::LoggedOn, Action::Resend { begin: 7, end: 9 }]);
}

/// A rolled back session: the journal ends before 40, and numbers up to 99 may have left.
fn rolled_back(settings: Settings) -> Desk {
    let mut desk = Desk::new("FIX.4.4", settings);
    desk.session.renumber(100, 7, &mut desk.tape);
    desk.stated();
    desk.session.rolled_back(40);
    desk
}

#[test]
fn a_rolled_back_acceptor_goes_on_where_the_peer_expects_it() {
    for next_expected in [40, 77, 99] {
        let mut desk = rolled_back(with_789());
        desk.connect();
        assert_eq!(desk.say(&format!("35=A|34=7|98=0|108=30|789={next_expected}")), Received::COUNTED);
        assert_eq!(desk.heard(), [format!("35=A|34={next_expected}|98=0|108=30|789=8")]);
        assert_eq!(desk.decisions(), [Action::LoggedOn], "nothing is to be filled");
        // Stated in the epoch of what is stored, which the peer may still ask for.
        assert_eq!(desk.stated(), [Numbers { next_out: next_expected, next_in: 8, epoch: 1 }]);
    }
}

#[test]
fn a_rolled_back_acceptor_fills_up_to_its_own_number_where_the_peer_misses_what_is_stored() {
    for (next_expected, resend) in [(39, Some(39)), (100, None)] {
        let mut desk = rolled_back(with_789());
        desk.connect();
        desk.say(&format!("35=A|34=7|98=0|108=30|789={next_expected}"));
        assert_eq!(desk.heard(), ["35=A|34=100|98=0|108=30|789=8"]);
        let resend = resend.map(|begin| Action::Resend { begin, end: 100 });
        assert_eq!(desk.decisions(), std::iter::once(Action::LoggedOn).chain(resend).collect::<Vec<_>>());
        assert_eq!(desk.stated(), []);
    }
}

#[test]
fn a_rolled_back_session_resumes_only_before_it_has_used_a_number_and_as_an_acceptor_with_789() {
    let mut desk = rolled_back(with_789());
    desk.connect();
    desk.say("35=A|34=3|98=0|108=30|789=77");
    assert_eq!(desk.heard(), ["35=5|34=100|58=MsgSeqNum too low, expecting 7 but received 3"]);
    desk.disconnect();
    desk.decisions();
    desk.connect();
    desk.say("35=A|34=7|98=0|108=30|789=77");
    assert_eq!(desk.heard(), ["35=A|34=101|98=0|108=30|789=8"], "100 may have been taken");
    assert_eq!(desk.decisions(), [Action::LoggedOn, Action::Resend { begin: 77, end: 101 }]);

    let mut desk = rolled_back(Settings { role: Role::Initiator, ..with_789() });
    desk.connect();
    desk.heard();
    desk.say("35=A|34=7|98=0|108=30|789=77");
    assert_eq!(desk.decisions(), [Action::LoggedOn, Action::Resend { begin: 77, end: 100 }]);

    let mut desk = rolled_back(Settings::default());
    desk.connect();
    desk.say("35=A|34=7|98=0|108=30|789=77");
    assert_eq!(desk.heard(), ["35=A|34=100|98=0|108=30"], "where 789 is not agreed it means nothing");
}

#[test]
fn a_reset_outweighs_a_rollback() {
    let mut desk = rolled_back(with_789());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|141=Y|789=77");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y|789=2"]);
    assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 2, epoch: 2 }]);
}

#[test]
fn an_initiator_tells_a_reset_of_its_own_until_a_logon_is_answered() {
    let mut desk = Desk::new("FIX.4.4", Settings { reset_on_logout: true, ..initiator() });
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30");
    desk.say("35=5|34=2");
    desk.disconnect();
    desk.heard();
    for _ in 0..2 {
        desk.connect();
        assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"], "the one before may not have arrived");
        desk.disconnect();
    }
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|141=Y");
    desk.disconnect();
    desk.heard();
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=2|98=0|108=30"]);
}

#[test]
fn a_next_expected_number_beyond_what_was_sent_ends_the_connection() {
    let mut desk = Desk::new("FIX.4.4", with_789());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|789=2");
    let text = "NextExpectedMsgSeqNum(789) too high, expecting at most 1 but received 2";
    assert_eq!(desk.heard(), [format!("35=5|34=1|58={text}")]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::NextExpectedTooHigh)]);
}

#[test]
fn a_logon_in_a_logged_on_session_is_answered_by_an_acceptor_only() {
    let mut desk = Desk::established();
    assert_eq!(desk.say("35=A|34=2|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=2|98=0|108=30"]);
    assert_eq!(desk.decisions(), []);
}

#[test]
fn a_session_whose_logon_finds_no_room_is_closed() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    desk.tape.room = 0;
    assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::BackPressure)]);
    assert_eq!(desk.session.numbers(), Numbers { next_out: 1, next_in: 2, epoch: 0 });
}

#[test]
fn a_logon_whose_time_is_refused_is_told_so_where_that_is_asked_for() {
    for explains_refused_time in [false, true] {
        for role in [Role::Acceptor, Role::Initiator] {
            let mut desk = Desk::new("FIX.4.4", Settings { role, explains_refused_time, ..Settings::default() });
            desk.connect();
            let number = desk.heard().len() + 1;
            let late = desk.time(-121);
            desk.say(&format!("35=A|34=1|98=0|108=30|52={late}"));
            let logout = format!("35=5|34={number}|58=SendingTime accuracy problem");
            assert_eq!(desk.heard(), Vec::from_iter(explains_refused_time.then_some(logout)));
            assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::InvalidLogon)]);
            assert_eq!(desk.next_in(), 1);
        }
    }
}

#[test]
fn an_acceptor_takes_a_long_heart_bt_int_as_far_as_its_bound() {
    let settings = Settings { heart_bt_int_s_max: 86_400, ..Settings::default() };
    let mut desk = Desk::new("FIX.4.4", settings.clone());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=86400");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=86400"]);
    assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + 86_400 * NS_PER_S));
    assert_logon_is_refused("FIX.4.4", settings, "35=A|34=1|98=0|108=86401", "HeartBtInt(108) is too long");
}

#[test]
fn an_initiator_may_propose_no_heartbeats() {
    let mut desk = Desk::new("FIX.4.4", Settings { heartbeat_interval_s: 0, ..initiator() });
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=0"]);
    desk.say("35=A|34=1|98=0|108=0");
    assert_eq!(desk.session.deadline_ns(), None);
}

/// Each reconnection opened a wider gap, which the peer asked for before its Logon, and so on.
#[test]
fn a_resend_request_in_place_of_the_answer_to_our_logon_is_refused_once_and_the_logon_may_still_come() {
    let mut desk = Desk::new("FIX.4.4", initiator());
    desk.connect();
    desk.heard();
    assert_eq!(desk.say("35=2|34=1|7=1|16=0"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=2|45=1|58=A Logon is expected before a ResendRequest|372=2|373=99"]);
    assert_eq!(desk.session.state(), State::LogonSent);
    assert_eq!(desk.say("35=A|34=2|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.session.state(), State::Established);
    // And not twice.
    desk.disconnect();
    desk.decisions();
    desk.connect();
    desk.heard();
    desk.say("35=2|34=3|7=1|16=0");
    assert_eq!(desk.heard().len(), 1);
    desk.say("35=2|34=4|7=1|16=0");
    assert_eq!(desk.heard(), [""; 0]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::NotALogon)]);
}
