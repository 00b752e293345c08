//! Messages against the dictionary: what is refused, in which words, by version.

use super::*;
use crate::dictionary::{self, Checks, FixtValidator, Validator, built_in};

fn validating(begin_string: &str) -> Settings {
    let version = Version::of_begin_string(begin_string.as_bytes()).unwrap();
    let validator = match version {
        Version::Fixt11 => {
            let applications = [built_in(dictionary::Version::Fix50Sp2)];
            let transport = built_in(dictionary::Version::Fixt11);
            MessageValidator::Fixt(FixtValidator::new(transport, &applications, Checks::ALL).unwrap())
        }
        _ => {
            let dictionary = built_in(begin_string.parse().unwrap());
            MessageValidator::Whole(Box::new(Validator::new(dictionary, Checks::ALL).unwrap()))
        }
    };
    let mut settings = Settings::default();
    settings.validators.set(version, Arc::new(validator));
    settings
}

pub(super) fn established(begin_string: &str) -> Desk {
    let settings = validating(begin_string);
    let logon = if begin_string == "FIXT.1.1" { "35=A|34=1|98=0|108=30|1137=9" } else { "35=A|34=1|98=0|108=30" };
    let mut desk = Desk::new(begin_string, settings);
    desk.connect();
    assert_eq!(desk.say(logon), Received::COUNTED);
    desk.heard();
    desk.decisions();
    desk
}

const ORDER: &str = "11=a|21=1|55=X|54=1|38=1|40=1";

#[test]
fn a_message_as_the_dictionary_says_is_delivered() {
    for begin_string in ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"] {
        let mut desk = established(begin_string);
        let transact_time = if begin_string >= "FIX.4.2" { "|60=20260105-12:00:00" } else { "" };
        let received = desk.say(&format!("35=D|34=2|{ORDER}{transact_time}"));
        assert_eq!((received.counted, received.disposition), (true, DELIVERED), "{begin_string}: {:?}", desk.heard());
    }
}

#[test]
fn a_violation_is_rejected_with_what_the_version_may_say_and_uses_its_number() {
    let cases = [
        // Unknown field, in the words and fields of each version.
        ("FIX.4.0", "35=0|34=2|999=x", "35=3|34=2|45=2|58=Invalid tag number (999)"),
        ("FIX.4.1", "35=0|34=2|999=x", "35=3|34=2|45=2|58=Invalid tag number (999)"),
        ("FIX.4.2", "35=0|34=2|999=x", "35=3|34=2|45=2|58=Invalid tag number|371=999|372=0|373=0"),
        ("FIX.4.4", "35=0|34=2|999=x", "35=3|34=2|45=2|58=Invalid tag number|371=999|372=0|373=0"),
        ("FIXT.1.1", "35=0|34=2|999=x", "35=3|34=2|45=2|58=Invalid tag number|371=999|372=0|373=0"),
        // FIX.4.2 has no SessionRejectReason(373) beyond 11.
        ("FIX.4.2", "35=0|34=2|112=a|112=b", "35=3|34=2|45=2|58=Tag appears more than once|371=112|372=0"),
        ("FIX.4.3", "35=0|34=2|112=a|112=b", "35=3|34=2|45=2|58=Tag appears more than once|371=112|372=0|373=13"),
        ("FIX.4.4", "35=*|34=2", "35=3|34=2|45=2|58=Invalid MsgType|372=*|373=11"),
        ("FIX.4.4", "35=0|34=2|55=X", "35=3|34=2|45=2|58=Tag not defined for this message type|371=55|372=0|373=2"),
        ("FIX.4.4", "35=0|34=2|112=", "35=3|34=2|45=2|58=Tag specified without a value|371=112|372=0|373=4"),
        ("FIX.4.4", "35=D|34=2|11=a", "35=3|34=2|45=2|58=Required tag missing|371=40|372=D|373=1"),
        (
            "FIXT.1.1",
            "35=D|34=2|1128=77|11=a",
            "35=3|34=2|45=2|58=Invalid/Unsupported Application Version|371=1128|372=D|373=18",
        ),
    ];
    for (begin_string, message, reject) in cases {
        let mut desk = established(begin_string);
        assert_eq!(desk.say(message), Received::COUNTED, "{begin_string} {message}");
        assert_eq!(desk.heard(), [reject], "{begin_string} {message}");
        assert_eq!(desk.session.state(), State::Established);
    }
}

#[test]
fn a_reject_goes_back_the_way_that_the_message_came() {
    let mut desk = established("FIX.4.4");
    desk.say("35=0|34=2|115=A|116=B|144=C|999=x");
    assert_eq!(desk.heard(), ["35=3|34=2|128=A|129=B|145=C|45=2|58=Invalid tag number|371=999|372=0|373=0"]);
    desk.say("35=0|34=3|128=A|129=|999=x");
    assert_eq!(desk.heard(), ["35=3|34=3|115=A|45=3|58=Tag specified without a value|371=129|372=0|373=4"]);
    // FIX.4.0 has no LocationIDs.
    let mut desk = established("FIX.4.0");
    desk.say("35=0|34=2|115=A|144=C");
    assert_eq!(desk.heard(), ["35=3|34=2|128=A|45=2|58=Invalid tag number (144)"]);
}

/// A venue's fields that no dictionary has must not cost its messages: `reject_invalid = false`.
#[test]
fn an_invalid_message_is_taken_with_a_note_where_the_session_does_not_reject_them() {
    for begin_string in ["FIX.4.2", "FIX.4.4", "FIXT.1.1"] {
        let mut settings = validating(begin_string);
        settings.reject_invalid = false;
        let mut desk = Desk::new(begin_string, settings);
        desk.connect();
        // A Logon too.
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|1137=9|999=x"), Received::COUNTED);
        assert_eq!(desk.session.state(), State::Established);
        desk.heard();
        desk.notices();
        let received = desk.say(&format!("35=D|34=2|{ORDER}|999=x"));
        assert_eq!((received.counted, received.disposition), (true, DELIVERED), "{begin_string}");
        let noticed = desk.notices();
        let [Notice::InvalidAccepted { msg_seq_num: 2, .. }] = noticed[..] else { panic!("{noticed:?}") };
        assert_eq!(desk.say("35=0|34=3|112="), Received::COUNTED);
        assert_eq!(desk.say("35=*|34=4").disposition, DELIVERED);
        assert_eq!(desk.heard(), [""; 0]);
        // What the session itself cannot do without is asked for as ever.
        desk.say("35=1|34=5");
        assert_eq!(desk.heard().len(), 1);
        assert_eq!(desk.next_in(), 6);
    }
}

/// Two engines that each find fault with the other's Reject would never stop.
#[test]
fn an_invalid_reject_is_not_answered_with_one() {
    let mut desk = established("FIX.4.4");
    desk.notices();
    assert_eq!(desk.say("35=3|34=2|45=1|999=x"), Received::COUNTED);
    assert_eq!(desk.heard(), [""; 0]);
    assert_eq!(desk.notices(), [Notice::InvalidReject { ref_tag_id: Some(999) }]);
}

#[test]
fn a_message_beyond_a_gap_is_checked_when_its_turn_has_come() {
    let mut desk = established("FIX.4.4");
    assert_eq!(desk.say("35=0|34=3|999=x"), Received::IGNORED);
    assert_eq!(desk.heard(), ["35=2|34=2|7=2|16=0"]);
    assert_eq!(desk.say("35=0|34=2|43=Y|122=20260105-12:00:00"), Received::COUNTED);
    assert_eq!(desk.say_held(), [Received::COUNTED]);
    assert_eq!(desk.heard(), ["35=3|34=3|45=3|58=Invalid tag number|371=999|372=0|373=0"]);
    assert_eq!(desk.next_in(), 4);
}

#[test]
fn an_invalid_logon_is_told_why_and_uses_no_number() {
    for (begin_string, logon, text) in [
        ("FIX.4.4", "35=A|34=1|108=30", "Required tag missing (98)"),
        ("FIX.4.4", "35=A|34=1|98=0|108=30|999=x", "Invalid tag number (999)"),
        ("FIXT.1.1", "35=A|34=1|98=0|108=30|1137=77", "DefaultApplVerID(1137) is not a version that we know"),
    ] {
        assert_logon_is_refused(begin_string, validating(begin_string), logon, text);
    }
}

#[test]
fn a_header_without_its_comp_ids_is_a_matter_of_the_dictionary_where_there_is_one() {
    let mut desk = established("FIX.4.4");
    let bytes = desk.framed("35=0|34=2");
    let text = String::from_utf8(bytes).unwrap().replace("56=US\x01", "");
    let (head, rest) = text.split_once("35=").unwrap();
    let body = format!("35={}", rest.rsplit_once("10=").unwrap().0);
    let begin = head.split_once('\x01').unwrap().0;
    let whole = format!("{begin}\x019={}\x01{body}", body.len());
    let bytes = format!("{whole}10={:03}\x01", checksum(whole.as_bytes())).into_bytes();
    assert_eq!(desk.say_bytes(&bytes, true), Received::COUNTED);
    assert_eq!(desk.heard(), ["35=3|34=2|45=2|58=Required tag missing|371=56|372=0|373=1"]);
}

#[test]
fn an_application_refuses_in_the_words_of_the_version() {
    for (begin_string, refusal) in [
        ("FIX.4.0", "35=3|34=2|45=2|58=Unsupported message type"),
        ("FIX.4.2", "35=j|34=2|45=2|58=Unsupported Message Type|372=D|380=3"),
        ("FIXT.1.1", "35=j|34=2|45=2|58=Unsupported Message Type|372=D|380=3"),
    ] {
        let mut desk = established(begin_string);
        let bytes = desk.framed(&format!("35=D|34=2|{ORDER}"));
        let mut index = FieldIndex::with_capacity(64);
        let order = parse(&bytes, &mut index).unwrap();
        let reason = BusinessRejectReason::UnsupportedMessageType;
        let sent = desk.session.business_message_reject(desk.now, &order, reason, b"", &mut desk.tape);
        assert_eq!(sent, Ok(2));
        assert_eq!(desk.heard(), [refusal]);
        assert_eq!(desk.session.numbers().next_out, 3);
    }
}
