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

#[test]
fn a_connection_that_ends_before_the_peer_has_said_a_word_is_a_refusal_too() {
    let mut desk = used("FIX.4.4", resets_on_logon());
    for times in 1..=3 {
        desk.connect();
        desk.say("35=A|34=9|98=0|108=30");
        desk.notices();
        desk.disconnect();
        assert!(desk.notices().contains(&Notice::ResetNotTaken { times }));
    }
    desk.connect();
    desk.heard();
    desk.say("35=A|34=9|98=0|108=30");
    assert!(desk.heard()[0].starts_with("35=5|"));
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
