//! Acceptors with `reset_on_…` whose peers do not say ResetSeqNumFlag(141). What the peers do is
//! what QuickFIX in C++, Java and Go does.

use super::*;

fn resets_on_logon() -> Settings {
    Settings { reset_on_logon: true, ..Settings::default() }
}

/// Logged on, one message each way, and disconnected.
fn used(begin_string: &str, settings: Settings) -> Desk {
    let mut desk = Desk::established_with(begin_string, settings);
    desk.say("35=D|34=2|11=x");
    desk.send("y").unwrap();
    desk.disconnect();
    desk.heard();
    desk.decisions();
    desk
}

#[test]
fn a_logon_that_goes_on_gets_an_answer_that_says_reset() {
    for begin_string in ["FIX.4.1", "FIX.4.2", "FIX.4.4", "FIXT.1.1"] {
        let mut desk = used(begin_string, resets_on_logon());
        desk.connect();
        assert_eq!(desk.say("35=A|34=3|98=0|108=30|1137=9"), Received::IGNORED);
        let heard = desk.heard();
        assert!(heard.len() == 1 && heard[0].starts_with("35=A|34=1|98=0|108=30|141=Y"), "{heard:?}");
        assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 1, epoch: 2 });
        // QuickFIX and QuickFIX/J reset as well, and say so: that is not answered again.
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y|1137=9"), Received::COUNTED);
        assert_eq!(desk.heard(), [""; 0]);
        assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 2 });
        desk.say("35=1|34=2|112=x");
        assert_eq!(desk.heard(), ["35=0|34=2|112=x"]);
        // A later one is a reset of the peer's own.
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y|1137=9"), Received::COUNTED);
        assert_eq!(desk.heard().len(), 1);
    }
}

#[test]
fn a_peer_that_takes_the_reset_without_a_word_goes_on_with_number_1_or_2() {
    // QuickFIX/Go.
    let mut desk = used("FIX.4.4", resets_on_logon());
    desk.connect();
    desk.say("35=A|34=3|98=0|108=30");
    desk.heard();
    assert_eq!(desk.say("35=D|34=1|11=x"), Received { counted: true, disposition: DELIVERED });
    assert_eq!(desk.heard(), [""; 0]);
    // One that counts its Logon: the gap is asked for as any other.
    let mut desk = used("FIX.4.4", resets_on_logon());
    desk.connect();
    desk.say("35=A|34=3|98=0|108=30");
    desk.heard();
    desk.say("35=D|34=2|11=x");
    desk.say("35=D|34=3|11=y");
    assert_eq!(desk.heard(), ["35=2|34=2|7=1|16=0"]);
    desk.say("35=4|34=1|43=Y|36=2|123=Y");
    assert_eq!((desk.say_held().len(), desk.next_in()), (2, 4));
}

#[test]
fn a_peer_at_number_1_is_answered_as_before() {
    let mut desk = used("FIX.4.4", resets_on_logon());
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30"]);
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
}

#[test]
fn the_peer_s_next_expected_number_belongs_to_the_old_numbers() {
    let settings = Settings { next_expected_msg_seq_num: true, ..resets_on_logon() };
    let mut desk = used("FIX.4.4", settings);
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|789=40");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y|789=1"], "its own number alone is no proof");
    assert_eq!(desk.decisions(), [Action::LoggedOn]);
}

#[test]
fn a_peer_that_goes_on_under_its_old_numbers_sends_nothing_again() {
    let mut desk = used("FIX.4.4", resets_on_logon());
    desk.connect();
    desk.say("35=A|34=3|98=0|108=30");
    desk.heard();
    desk.say("35=D|34=4|11=x");
    let heard = desk.heard();
    assert!(heard.len() == 1 && heard[0].contains("|58=This side begins its numbers again"), "{heard:?}");
    assert_eq!(desk.decisions().last(), Some(&Action::Disconnect(DisconnectReason::ResetNotTaken)));
}

/// Numbers were reset silently and the peer answered "too low", once a second for ever.
#[test]
fn a_peer_that_refuses_every_reset_is_refused_after_three_and_told_what_to_change() {
    for (settings, first_is_silent) in [
        (resets_on_logon(), false),
        (Settings { reset_on_logout: true, ..Settings::default() }, true),
        (Settings { reset_on_disconnect: true, ..Settings::default() }, true),
    ] {
        let mut desk = used("FIX.4.4", settings);
        if first_is_silent && desk.session.settings().reset_on_logout {
            desk.connect();
            desk.say("35=A|34=3|98=0|108=30");
            desk.say("35=5|34=4");
            desk.disconnect();
        }
        for attempt in 0..3 {
            desk.heard();
            desk.notices();
            desk.connect();
            desk.say("35=A|34=5|98=0|108=30");
            let answer = desk.heard().remove(0);
            assert_eq!(answer.contains("|141=Y"), !first_is_silent || attempt > 0, "{answer}");
            desk.say("35=5|34=6|58=MsgSeqNum too low, expecting 4 but received 1");
            desk.disconnect();
            assert!(desk.notices().contains(&Notice::ResetNotTaken { times: attempt + 1 }));
        }
        desk.heard();
        for _ in 0..2 {
            let epoch = desk.session.numbers().epoch;
            desk.connect();
            assert_eq!(desk.say("35=A|34=7|98=0|108=30"), Received::IGNORED);
            let heard = desk.heard();
            assert!(heard.len() == 1 && heard[0].starts_with("35=5|"), "{heard:?}");
            assert!(
                heard[0].contains("send ResetSeqNumFlag(141)=Y") && heard[0].contains("reset_on_logon"),
                "{heard:?}"
            );
            assert!(desk.notices().contains(&Notice::ResetNotTaken { times: 3 }));
            if !desk.session.settings().reset_on_disconnect {
                assert_eq!(desk.session.numbers().epoch, epoch, "nothing is reset any more");
            }
            desk.disconnect();
        }
        // Once the peer does as it was told, all is well.
        desk.connect();
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
        assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    }
}

/// It may have died: that is no refusal, and neither forgives one.
#[test]
fn a_connection_that_ends_before_the_peer_has_said_a_word_says_nothing() {
    for settings in [resets_on_logon(), Settings { reset_by_schedule: true, ..Settings::default() }] {
        let mut desk = used("FIX.4.4", settings);
        desk.session.begin_period(false, &mut desk.tape);
        for flaps_before in [10, 10, 10] {
            for _ in 0..flaps_before {
                desk.connect();
                desk.say("35=A|34=9|98=0|108=30");
                assert!(desk.heard()[0].starts_with("35=A|"));
                desk.notices();
                desk.disconnect();
                assert_eq!(desk.notices(), []);
            }
            desk.connect();
            desk.say("35=A|34=9|98=0|108=30");
            desk.say("35=5|34=10|58=MsgSeqNum too low, expecting 4 but received 1");
            desk.disconnect();
            desk.heard();
        }
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        assert!(desk.heard()[0].starts_with("35=5|"), "three refusals");
    }
}

#[test]
fn a_logout_under_the_old_numbers_is_a_refusal_and_one_under_the_new_is_none() {
    for (logout, is_refusal) in [
        ("35=5|34=10|58=no", true),
        ("35=5|34=1|58=bye", false),
        ("35=5|34=2|58=bye", false),
        ("35=5|34=1|58=Sequence number is lower than 7", true),
    ] {
        let mut desk = used("FIX.4.4", resets_on_logon());
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        desk.notices();
        desk.say(logout);
        desk.disconnect();
        let noticed = desk.notices().contains(&Notice::ResetNotTaken { times: 1 });
        assert_eq!(noticed, is_refusal, "{logout}");
    }
}

/// QuickFIX/Go as an acceptor's peer takes a reset silently; another says a Logon that does not say
/// ResetSeqNumFlag(141). To answer that would begin an exchange without an end.
#[test]
fn a_logon_under_the_new_numbers_confirms_a_reset_whatever_it_says() {
    let mut desk = used("FIX.4.4", resets_on_logon());
    desk.connect();
    desk.say("35=A|34=9|98=0|108=30");
    desk.heard();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::COUNTED);
    assert_eq!((desk.heard(), desk.next_in()), (vec![], 2));
}

/// There is no ResetSeqNumFlag(141) to ask for.
#[test]
fn a_peer_in_fix_4_0_that_goes_on_is_refused_after_three_too() {
    let mut desk = used("FIX.4.0", resets_on_logon());
    for _ in 0..3 {
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        assert_eq!(desk.heard()[0], "35=A|34=1|98=0|108=30");
        desk.say("35=5|34=10|58=MsgSeqNum too low, expecting 4 but received 1");
        desk.disconnect();
        desk.heard();
    }
    desk.connect();
    desk.say("35=A|34=9|98=0|108=30");
    assert!(desk.heard()[0].starts_with("35=5|"));
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30"), Received::COUNTED);
}

fn scheduled() -> Settings {
    Settings { reset_by_schedule: true, reset_in_session: true, ..Settings::default() }
}

/// As with `reset_on_logon`: the numbers began with the day, and the peer's did not.
#[test]
fn a_peer_that_does_not_follow_the_schedule_is_asked_to_and_refused_after_three() {
    let mut desk = used("FIX.4.4", scheduled());
    desk.session.begin_period(false, &mut desk.tape);
    for attempt in 0..3 {
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        let answer = desk.heard().remove(0);
        let expected = ["35=A|34=1|98=0|108=30", "35=A|34=1|98=0|108=30|141=Y"][usize::from(attempt > 0)];
        assert_eq!(answer, expected);
        desk.say("35=5|34=10|58=MsgSeqNum too low, expecting 4 but received 1");
        desk.disconnect();
        desk.heard();
        assert!(desk.notices().contains(&Notice::ResetNotTaken { times: attempt + 1 }));
    }
    for _ in 0..2 {
        let numbers = desk.session.numbers();
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        let heard = desk.heard();
        assert!(heard.len() == 1 && heard[0].contains("|58=This side's schedule has begun"), "{heard:?}");
        assert_eq!(desk.session.numbers().epoch, numbers.epoch, "nothing is reset any more");
        desk.disconnect();
        desk.notices();
    }
    desk.connect();
    assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.say("35=A|34=2|98=0|108=30"), Received::COUNTED, "and all goes on");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y", "35=A|34=2|98=0|108=30"]);
}

#[test]
fn a_peer_that_follows_the_schedule_once_it_is_asked_goes_on() {
    let mut desk = used("FIX.4.4", scheduled());
    desk.session.begin_period(false, &mut desk.tape);
    desk.connect();
    desk.say("35=A|34=9|98=0|108=30");
    desk.say("35=5|34=10|58=MsgSeqNum too low, expecting 4 but received 1");
    desk.disconnect();
    desk.connect();
    desk.heard();
    desk.say("35=A|34=11|98=0|108=30");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
    desk.say("35=A|34=1|98=0|108=30|141=Y");
    desk.say("35=1|34=2|112=x");
    assert_eq!(desk.heard(), ["35=0|34=2|112=x"]);
}

/// What the peer expects is in its Logon: it was refused for that, and came again, for ever.
#[test]
fn a_logon_that_expects_the_old_numbers_is_refused_once_and_then_answered_with_a_reset() {
    for reset_on_logon in [false, true] {
        let mut desk =
            Desk::new("FIX.4.4", Settings { reset_on_logon, next_expected_msg_seq_num: true, ..scheduled() });
        for expected in [
            "35=5|34=1|58=NextExpectedMsgSeqNum(789) too high, expecting at most 1 but received 4",
            "35=A|34=1|98=0|108=30|141=Y|789=1",
        ] {
            desk.connect();
            desk.say("35=A|34=9|98=0|108=30|789=4");
            assert_eq!(desk.heard(), [expected]);
            desk.disconnect();
        }
        // A peer that the application does not let in has no say in it.
        let mut desk =
            Desk::new("FIX.4.4", Settings { reset_on_logon, next_expected_msg_seq_num: true, ..scheduled() });
        for _ in 0..2 {
            desk.connect();
            let logon = desk.framed("35=A|34=9|98=0|108=30|789=4");
            assert_eq!(desk.say_bytes(&logon, false).disposition, Disposition::Logon);
            let text = b"no";
            desk.session.refuse_outside_hours(desk.now, text, &mut desk.tape);
            desk.disconnect();
        }
        assert!(!desk.notices().iter().any(|notice| matches!(notice, Notice::ResetNotTaken { .. })));
    }
}

fn reset_in_session() -> Desk {
    let mut desk = Desk::established_with("FIX.4.4", scheduled());
    desk.session.reset_in_session(desk.now, &mut desk.tape);
    desk.say("35=0|34=2|112=RESET");
    assert_eq!(desk.heard(), ["35=1|34=2|112=RESET", "35=A|34=1|98=0|108=30|141=Y"]);
    desk
}

/// QuickFIX/Go. Everything that it sent from then on was ignored.
#[test]
fn a_peer_that_takes_a_reset_in_session_without_a_word_is_heard() {
    let mut desk = reset_in_session();
    assert_eq!(desk.say("35=D|34=3|11=old"), Received { counted: false, disposition: DELIVERED });
    assert_eq!(desk.say("35=D|34=1|11=x"), Received { counted: true, disposition: DELIVERED });
    assert!(!desk.session.is_resetting());
    desk.say("35=1|34=2|112=x");
    assert_eq!((desk.heard(), desk.next_in()), (vec!["35=0|34=2|112=x".to_owned()], 3));
    // Its Logon is the answer to ours, and is not answered.
    let mut desk = reset_in_session();
    assert!(desk.say("35=A|34=1|98=0|108=30").counted);
    assert!(!desk.session.is_resetting());
    desk.say("35=1|34=2|112=x");
    assert_eq!((desk.heard(), desk.next_in()), (vec!["35=0|34=2|112=x".to_owned()], 3));
}

#[test]
fn a_peer_that_refuses_a_reset_in_session_is_asked_again_at_its_logon() {
    for logout in ["35=5|34=3|58=no", "35=5|34=3|58=MsgSeqNum too low, expecting 3 but received 1"] {
        let mut desk = reset_in_session();
        desk.say(logout);
        desk.disconnect();
        desk.connect();
        desk.heard();
        desk.say("35=A|34=4|98=0|108=30");
        assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"], "{logout}");
    }
}

/// The peer has died before its own reset was durable, and goes on under the old numbers.
#[test]
fn a_reset_in_session_that_the_peer_has_lost_is_said_once_more() {
    let mut desk = reset_in_session();
    desk.disconnect();
    desk.connect();
    desk.heard();
    desk.say("35=A|34=4|98=0|108=30");
    assert!(desk.heard()[0].starts_with("35=A|34=2|98=0|108=30"));
    desk.say("35=5|34=5|58=MsgSeqNum too low, expecting 3 but received 2");
    desk.disconnect();
    desk.connect();
    desk.heard();
    desk.say("35=A|34=6|98=0|108=30");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
}

#[test]
fn a_gap_before_a_first_logon_is_asked_for_as_ever() {
    let mut desk = Desk::new("FIX.4.4", resets_on_logon());
    desk.connect();
    desk.say("35=A|34=5|98=0|108=30");
    assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30", "35=2|34=2|7=1|16=0"]);
    desk.say("35=4|34=1|43=Y|36=6|123=Y");
    desk.disconnect();
    assert!(!desk.notices().iter().any(|notice| matches!(notice, Notice::ResetNotTaken { .. })));
}

#[test]
fn a_venue_that_expects_no_answer_to_its_reset_in_session_gets_none() {
    for role in [Role::Acceptor, Role::Initiator] {
        let settings = Settings { role, answers_reset_in_session: false, ..Settings::default() };
        let mut desk = Desk::new("FIX.4.4", settings);
        desk.connect();
        desk.say("35=A|34=1|98=0|108=30");
        desk.say("35=D|34=2|11=x");
        desk.send("y").unwrap();
        desk.heard();
        desk.stated();
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|141=Y"), Received::COUNTED);
        assert_eq!(desk.heard(), [""; 0]);
        assert_eq!(desk.stated(), [Numbers { next_out: 1, next_in: 2, epoch: 1 }]);
        assert_eq!(desk.send("z"), Ok(1));
        assert_eq!(desk.say("35=D|34=2|11=x"), Received { counted: true, disposition: DELIVERED });
        // A Logon that opens a connection is answered all the same.
        if role == Role::Acceptor {
            desk.disconnect();
            desk.connect();
            desk.heard();
            desk.say("35=A|34=1|98=0|108=30|141=Y");
            assert_eq!(desk.heard(), ["35=A|34=1|98=0|108=30|141=Y"]);
        }
    }
}

/// A peer that answers every Logon and one that does too would go on at the speed of the line.
#[test]
fn logons_that_answer_logons_come_to_an_end() {
    for (logon, in_a_row) in [("35=A|34=1|98=0|108=30|141=Y", true), ("35=A|98=0|108=30", false)] {
        let mut desk = Desk::established();
        for round in 0..2 {
            let mut answers = 0;
            for _ in 0..10 {
                let number = if in_a_row { String::new() } else { format!("|34={}", desk.next_in()) };
                desk.say(&format!("{logon}{number}"));
                answers += desk.heard().len();
                desk.notices();
            }
            assert_eq!(answers, 3, "round {round}");
            // Anything else shows that the peer does not only answer.
            let number = desk.next_in();
            assert_eq!(desk.say(&format!("35=1|34={number}|112=x")), Received::COUNTED);
            assert!(desk.heard()[0].starts_with("35=0|"));
        }
    }
}

#[test]
fn an_initiator_whose_reset_is_not_taken_says_what_to_change() {
    for (answer, reason) in [
        ("35=A|34=9|98=0|108=30", DisconnectReason::InvalidLogon),
        ("35=5|34=9|58=MsgSeqNum too low, expecting 7 but received 1", DisconnectReason::LogonRefusedByPeer),
    ] {
        let mut desk = Desk::new("FIX.4.4", Settings { role: Role::Initiator, ..resets_on_logon() });
        for times in 1..=3 {
            desk.connect();
            assert!(desk.heard()[0].contains("|141=Y"));
            desk.say(answer);
            let mut actions: Vec<_> = std::iter::from_fn(|| desk.session.poll()).collect();
            actions.retain(|action| !matches!(action, Action::Notice(Notice::NumbersReset { .. })));
            let expected = [Action::Disconnect(reason), Action::Notice(Notice::ResetNotTaken { times })];
            assert_eq!(actions.len(), 2, "{actions:?}");
            assert!(expected.iter().all(|action| actions.contains(action)), "{actions:?}");
            desk.disconnect();
            desk.heard();
        }
    }
}

#[test]
fn a_peer_that_begins_again_without_a_word_is_told_apart_from_one_that_is_too_low() {
    for (number, notice) in
        [(1, Notice::BeginsAnewUnsaid { expected: 3 }), (2, Notice::TooLow { expected: 3, received: 2 })]
    {
        let mut desk = used("FIX.4.4", Settings::default());
        desk.connect();
        desk.notices();
        desk.say(&format!("35=A|34={number}|98=0|108=30"));
        assert_eq!(desk.notices(), [notice]);
        assert_eq!(desk.heard(), [format!("35=5|34=3|58=MsgSeqNum too low, expecting 3 but received {number}")]);
    }
}
