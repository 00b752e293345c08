//! What the settings switch on and off.

use super::*;

#[test]
fn last_msg_seq_num_processed_stands_in_every_header_of_a_version_that_has_it() {
    let settings = Settings { last_msg_seq_num_processed: true, ..Settings::default() };
    let mut desk = Desk::new("FIX.4.2", settings.clone());
    desk.connect();
    desk.say("35=A|34=1|98=0|108=30");
    desk.say("35=1|34=2|112=x");
    desk.send("order").unwrap();
    assert_eq!(desk.heard(), ["35=A|34=1|369=1|98=0|108=30", "35=0|34=2|369=2|112=x", "35=D|34=3|369=2|58=order"]);
    let mut desk = Desk::established_with("FIX.4.1", settings);
    desk.send("order").unwrap();
    assert_eq!(desk.heard(), ["35=D|34=2|58=order"]);
}

/// What is said of the present does not belong to the message that is sent again.
#[test]
fn a_resent_message_says_what_is_processed_now() {
    let settings = Settings { last_msg_seq_num_processed: true, ..Settings::default() };
    let mut desk = Desk::established_with("FIX.4.4", settings);
    desk.send("order").unwrap();
    let (_, stored) = desk.tape.sent.pop().unwrap();
    desk.say("35=0|34=2");
    desk.say("35=2|34=3|7=2|16=0");
    desk.session.resend(desk.now, &stored, &mut desk.tape).unwrap();
    assert_eq!(desk.heard(), ["35=D|34=2|43=Y|122=20260105-12:00:00.000|369=3|58=order"]);
}

#[test]
fn a_reject_is_filled_over_or_sent_again() {
    for (resend_rejects, resent) in [
        (false, "35=4|34=2|43=Y|122=20260105-12:00:00.000|36=3|123=Y"),
        (true, "35=3|34=2|43=Y|122=20260105-12:00:00.000|45=2|58=Required tag missing|371=112|372=1|373=1"),
    ] {
        let mut desk = Desk::established_with("FIX.4.4", Settings { resend_rejects, ..Settings::default() });
        desk.say("35=1|34=2");
        let (_, stored) = desk.tape.sent.pop().unwrap();
        desk.say("35=2|34=3|7=2|16=2");
        desk.session.resend(desk.now, &stored, &mut desk.tape).unwrap();
        desk.session.resend_done(desk.now, &mut desk.tape).unwrap();
        assert_eq!(desk.heard(), [resent]);
    }
}

#[test]
fn comp_ids_may_be_left_unchecked_once_logged_on() {
    let mut desk = Desk::established_with("FIX.4.4", Settings { check_comp_ids: false, ..Settings::default() });
    assert_eq!(desk.say("35=0|34=2|49=OTHER|56=ELSE"), Received::COUNTED);
    assert_eq!(desk.heard(), [""; 0]);
}

#[test]
fn a_duplicate_without_orig_sending_time_may_be_let_pass() {
    let settings = Settings { check_orig_sending_time: false, ..Settings::default() };
    let mut desk = Desk::established_with("FIX.4.4", settings);
    assert_eq!(desk.say("35=0|34=1|43=Y"), Received::IGNORED);
    assert_eq!((desk.heard(), desk.session.counters().duplicates_in), (vec![], 1));
}

/// QuickFIX's acceptance suites ask so, and what is asked for does no harm.
#[test]
fn a_resend_request_is_served_whatever_its_number_and_counted_only_in_its_turn() {
    let mut desk = Desk::established();
    desk.say("35=0|34=2");
    desk.decisions();
    assert_eq!(desk.say("35=2|34=1|7=1|16=0"), Received::IGNORED);
    assert_eq!(desk.decisions(), [Action::Resend { begin: 1, end: 1 }]);
    assert_eq!(desk.session.state(), State::Established);
    assert_eq!(desk.next_in(), 3);
    // A duplicate was answered in its own time.
    assert_eq!(desk.say("35=2|34=1|43=Y|122=20260105-12:00:00|7=1|16=0"), Received::IGNORED);
    assert_eq!(desk.decisions(), []);
}
