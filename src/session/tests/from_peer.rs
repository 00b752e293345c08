//! A restored session's next outgoing number, from the peer.

use super::*;

fn restored(role: Role, begin_string: &str) -> Desk {
    let mut desk = Desk::new(begin_string, Settings { role, ..Settings::default() });
    let identity = desk.session.identity().clone();
    let settings = Arc::new(desk.session.settings().clone());
    desk.session = Session::new(settings, identity, Numbers { next_out: 5, next_in: 4, epoch: 2 });
    desk.session.take_next_out_from_peer();
    desk
}

const LEARNED: Notice = Notice::NextOutFromPeer { from: 5, to: 123 };

#[test]
fn an_acceptor_takes_the_number_that_the_peers_logon_expects_and_answers_with_it() {
    let mut desk = restored(Role::Acceptor, "FIX.4.4");
    desk.connect();
    assert_eq!(desk.say("35=A|34=4|98=0|108=30|789=123"), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=A|34=123|98=0|108=30"]);
    assert_eq!(desk.stated(), [Numbers { next_out: 123, next_in: 5, epoch: 3 }]);
    assert!(desk.notices().contains(&LEARNED));
    assert_eq!((desk.session.state(), desk.tape.known), (State::Established, 1));
    // Once: a second Logon that asks for more is refused as ever.
    assert!(!desk.session.takes_next_out_from_peer());
}

#[test]
fn an_initiator_takes_the_number_from_the_text_of_the_logout_and_goes_on_with_it() {
    let mut desk = restored(Role::Initiator, "FIX.4.2");
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=5|98=0|108=30"]);
    desk.say("35=5|34=4|58=MsgSeqNum too low, expecting 123 but received 5");
    assert_eq!(desk.stated(), [Numbers { next_out: 123, next_in: 5, epoch: 3 }]);
    desk.disconnect();
    desk.connect();
    assert_eq!(desk.heard(), ["35=A|34=123|98=0|108=30"]);
    assert_eq!(desk.say("35=A|34=5|98=0|108=30"), Received::COUNTED);
    assert_eq!(desk.session.state(), State::Established);
}

#[test]
fn an_acceptor_whose_answer_was_too_low_takes_the_number_from_the_logout() {
    let mut desk = restored(Role::Acceptor, "FIX.4.4");
    desk.connect();
    desk.say("35=A|34=4|98=0|108=30");
    assert_eq!(desk.heard(), ["35=A|34=5|98=0|108=30"]);
    assert!(desk.session.takes_next_out_from_peer());
    desk.say("35=5|34=5|58=MsgSeqNum too low, expecting 123 but received 5");
    assert_eq!(desk.session.numbers(), Numbers { next_out: 123, next_in: 6, epoch: 3 });
    assert_eq!(desk.stated().last(), Some(&desk.session.numbers()));
}

#[test]
fn a_peer_is_not_believed_backwards_nor_too_far_ahead_nor_without_the_operators_word() {
    for text in ["expecting 4 but received 5", "expecting 5", "expecting 2000000000", "expecting 9223372036854775808"] {
        let mut desk = restored(Role::Initiator, "FIX.4.2");
        desk.connect();
        desk.say(&format!("35=5|34=4|58=MsgSeqNum too low, {text}"));
        assert_eq!(desk.session.numbers(), Numbers { next_out: 6, next_in: 5, epoch: 2 }, "{text}");
        assert!(desk.session.takes_next_out_from_peer(), "{text}");
    }
    let mut desk = Desk::new("FIX.4.2", Settings { role: Role::Initiator, ..Settings::default() });
    desk.connect();
    desk.say("35=5|34=1|58=MsgSeqNum too low, expecting 123 but received 1");
    assert_eq!(desk.session.numbers(), Numbers { next_out: 2, next_in: 2, epoch: 0 });
}

#[test]
fn a_resend_request_or_a_reset_shows_that_the_peer_takes_our_numbers() {
    let mut desk = restored(Role::Acceptor, "FIX.4.4");
    desk.connect();
    desk.say("35=A|34=4|98=0|108=30");
    assert!(desk.session.takes_next_out_from_peer());
    desk.say("35=2|34=5|7=3|16=0");
    assert_eq!(desk.stated(), [Numbers { next_out: 6, next_in: 6, epoch: 2 }]);
    assert!(!desk.session.takes_next_out_from_peer());

    let mut desk = restored(Role::Acceptor, "FIX.4.4");
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|141=Y");
    assert!(!desk.session.takes_next_out_from_peer());
    assert_eq!(desk.stated().last(), Some(&Numbers { next_out: 1, next_in: 2, epoch: 3 }));
}

#[test]
fn a_reset_that_a_schedule_makes_alone_leaves_the_number_to_the_peer() {
    let mut desk = restored(Role::Acceptor, "FIX.4.4");
    assert!(desk.session.begin_period(false, &mut desk.tape));
    assert!(desk.session.takes_next_out_from_peer());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30|789=9");
    assert_eq!(desk.session.numbers(), Numbers { next_out: 10, next_in: 2, epoch: 4 });
}

/// Each connection ended so, and the log had no more than the peer's words at INFO.
#[test]
fn a_peer_that_expects_more_than_was_sent_is_told_apart_whichever_side_it_is() {
    for role in [Role::Acceptor, Role::Initiator] {
        let mut desk = Desk::new("FIX.4.4", Settings { role, ..Settings::default() });
        desk.connect();
        if role == Role::Acceptor {
            desk.say("35=A|34=1|98=0|108=30");
        }
        let next_in = desk.next_in();
        desk.notices();
        desk.say(&format!("35=5|34={next_in}|58=MsgSeqNum too low, expecting 50 but received 1"));
        let noticed =
            desk.notices().into_iter().any(|notice| matches!(notice, Notice::OursTooLow { expected: 50, .. }));
        assert!(noticed, "{role:?}");
        assert_eq!(desk.session.numbers().epoch, 0, "nothing is moved without the operator's word");
    }
    let mut desk = Desk::established();
    desk.say("35=5|34=2|58=MsgSeqNum too low, expecting 1 but received 9");
    assert!(
        !desk.notices().iter().any(|notice| matches!(notice, Notice::OursTooLow { .. })),
        "that is no loss of ours"
    );
}
