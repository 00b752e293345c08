use super::*;

const HEARTBEAT_NS: u64 = 30 * NS_PER_S;
const SILENCE_NS: u64 = 36 * NS_PER_S;

#[test]
fn a_heartbeat_is_sent_exactly_when_nothing_was_sent_for_the_interval() {
    let mut desk = Desk::established();
    assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + HEARTBEAT_NS));
    desk.pass(HEARTBEAT_NS - 1);
    desk.timer();
    assert_eq!(desk.heard(), [""; 0]);
    desk.pass(1);
    desk.timer();
    assert_eq!(desk.heard(), ["35=0|34=2"]);
    desk.pass(NS_PER_S);
    desk.send("x").unwrap();
    desk.heard();
    desk.pass(5 * NS_PER_S);
    desk.say("35=0|34=2");
    assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + 25 * NS_PER_S), "a send puts it off");
}

#[test]
fn silence_is_asked_about_and_then_ends_the_connection() {
    let mut desk = Desk::established();
    desk.pass(SILENCE_NS - 1);
    desk.timer();
    assert_eq!(desk.heard(), ["35=0|34=2"]);
    desk.pass(1);
    desk.timer();
    assert_eq!(desk.heard(), ["35=1|34=3|112=TEST"]);
    desk.pass(SILENCE_NS - 1);
    desk.timer();
    assert_eq!((desk.heard(), desk.decisions()), (vec![], vec![]), "no heartbeat beside an unanswered TestRequest");
    desk.pass(1);
    desk.timer();
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::HeartbeatTimeout)]);
}

#[test]
fn any_message_answers_a_test_request() {
    let mut desk = Desk::established();
    desk.pass(SILENCE_NS);
    desk.timer();
    desk.pass(SILENCE_NS - 1);
    desk.say("35=D|34=2|11=x");
    desk.pass(1);
    desk.timer();
    assert_eq!(desk.decisions(), []);
}

#[test]
fn an_interval_of_zero_means_no_timers() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=0");
    assert_eq!(desk.session.deadline_ns(), None);
    desk.heard();
    desk.pass(1_000_000 * NS_PER_S);
    desk.timer();
    assert_eq!((desk.heard(), desk.session.state()), (vec![], State::Established));
    // A probe needs no heartbeats.
    desk.session.probe(desk.now, &mut desk.tape);
    desk.pass(desk.session.settings().probe_timeout_ns);
    desk.decisions();
    desk.timer();
    assert_eq!(desk.decisions(), [Action::LoggedOut, Action::Disconnect(DisconnectReason::HeartbeatTimeout)]);
}

#[test]
fn a_probe_is_answered_by_a_living_peer() {
    let mut desk = Desk::established();
    desk.session.probe(desk.now, &mut desk.tape);
    assert_eq!(desk.heard(), ["35=1|34=2|112=TEST"]);
    desk.say("35=0|34=2|112=TEST");
    desk.pass(desk.session.settings().probe_timeout_ns);
    desk.timer();
    assert_eq!(desk.session.state(), State::Established);
}

#[test]
fn a_logon_that_does_not_come_ends_the_connection_in_both_roles() {
    for role in [Role::Acceptor, Role::Initiator] {
        let mut desk = Desk::new("FIX.4.4", Settings { role, ..Settings::default() });
        desk.connect();
        let timeout_ns = desk.session.settings().logon_timeout_ns;
        assert_eq!(desk.session.deadline_ns(), Some(desk.now.monotonic_ns + timeout_ns));
        desk.pass(timeout_ns - 1);
        desk.timer();
        assert_eq!(desk.decisions(), []);
        desk.pass(1);
        desk.timer();
        assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::LogonTimeout)]);
        assert_eq!(desk.session.deadline_ns(), None);
    }
}

#[test]
fn a_heartbeat_without_room_is_tried_again() {
    let mut desk = Desk::established();
    desk.pass(HEARTBEAT_NS);
    desk.tape.room = 0;
    desk.timer();
    desk.tape.room = 4_096;
    let deadline = desk.session.deadline_ns().unwrap();
    assert!(deadline > desk.now.monotonic_ns, "no busy loop");
    desk.pass(deadline - desk.now.monotonic_ns);
    desk.timer();
    assert_eq!(desk.heard(), ["35=0|34=2"]);
}
