//! The real binary, killed with SIGKILL right after a message that it could not parse: it goes on with the number that it counted.
//!
//! A message may be readable for its number alone.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use engine::{Place, SMALL, Setup};
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

/// The header's start in place of `34=2`, and the number that the session expects after it.
const CASES: [(&str, u64); 6] = [
    ("034=2|", 3),
    ("034=002|", 3),
    ("034=2|34=9000000|", 3),
    ("34=2|034=9000000|", 3),
    ("034=9000000|34=2|", 2),
    ("x|34=2|", 2),
];

#[test]
fn the_number_of_a_message_that_cannot_be_parsed_is_the_same_after_a_kill() {
    for mode in ["buffered", "sync"] {
        for (numbers, expected) in CASES {
            let place = Place::new(&Setup { mode, ..SMALL });
            let mut engine = place.start_ready();
            let mut wire = Wire::connect(place.port).expect("the engine listens");
            assert!(wire.send(&PARTY.message("A", 1, "", "98=0|108=3600|")));
            assert_eq!(next(&mut wire).msg_type(), "A");
            assert!(wire.send(&unreadable(numbers)));
            // Its answer says that it has been taken: one to a number beyond 2 is a ResendRequest(2), and to none this.
            assert!(wire.send(&PARTY.message("1", expected, "", "112=taken|")));
            while next(&mut wire).get(112) != Some("taken") {}
            engine.kill();
            place.start_and_log_on(expected + 1, numbers);
            place.assert_whole();
        }
    }
}

/// `journal verify` over what ResetSeqNumFlag(141) leaves, between connections and within one, and over a session that goes on below its
/// lease where its peer says that it may.
#[test]
fn resets_and_a_resumed_session_leave_a_journal_that_is_whole() {
    let sessions = "[[session]]\nbegin_string = \"*\"\nsender_comp_id = \"*\"\ntarget_comp_id = \"*\"\n\
                    next_expected_msg_seq_num = true\n";
    let place = Place::new(&Setup { sessions, ..SMALL });
    let mut engine = place.start_ready();
    for reset in ["", "141=Y|"] {
        let mut wire = Wire::connect(place.port).expect("the engine listens");
        assert!(wire.send(&PARTY.message("A", 1, "", &format!("98=0|108=3600|789=1|{reset}"))));
        assert_eq!(next(&mut wire).msg_type(), "A");
        for number in 2..6 {
            assert!(wire.send(&PARTY.message("1", number, "", "112=x|")));
            assert_eq!(next(&mut wire).msg_type(), "0");
        }
        assert!(wire.send(&PARTY.message("A", 1, "", "98=0|108=3600|141=Y|")));
        assert_eq!(next(&mut wire).number(34), 1);
        assert!(wire.send(&PARTY.message("1", 2, "", "112=x|")));
        assert_eq!(next(&mut wire).number(34), 2);
        assert!(wire.send(&PARTY.message("5", 3, "", "")));
        assert_eq!(next(&mut wire).number(34), 3);
        assert!(matches!(wire.read(DEADLINE), Read1::End));
        place.assert_whole();
    }
    engine.kill();
    std::fs::remove_dir_all(place.ring_dir()).expect("the node takes its ring along");
    std::fs::create_dir(place.ring_dir()).expect("another node's");
    let mut engine = place.start_ready();
    let mut wire = Wire::connect(place.port).expect("the engine listens");
    assert!(wire.send(&PARTY.message("A", 4, "", "98=0|108=3600|789=4|")));
    assert_eq!(next(&mut wire).number(34), 4, "it goes on where we say");
    engine.terminate();
    assert!(engine.until_ended().0.success());
    place.assert_whole();
}

impl Place {
    /// A Logon with the number that is expected is answered, and nothing is asked for.
    fn start_and_log_on(&self, expected: u64, what: &str) {
        let _engine = self.start_ready();
        let mut wire = Wire::connect(self.port).expect("the engine listens");
        assert!(wire.send(&PARTY.message("A", expected, "", "98=0|108=3600|")));
        let logon = next(&mut wire);
        assert_eq!(logon.msg_type(), "A", "{what}: {logon:?}");
        assert!(wire.send(&PARTY.message("1", expected + 1, "", "112=after|")));
        let answer = next(&mut wire);
        assert_eq!(answer.get(112), Some("after"), "{what}: {answer:?}");
    }
}

fn unreadable(numbers: &str) -> Vec<u8> {
    let time = wire::utc_now();
    let body = format!("35=0|{numbers}49=DESK|56=VENUE|52={time}|").replace('|', "\x01");
    let mut message = format!("8=FIX.4.4\x019={}\x01{body}", body.len()).into_bytes();
    let sum = message.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    message.extend_from_slice(format!("10={sum:03}\x01").as_bytes());
    message
}

fn next(wire: &mut Wire) -> Fields {
    match wire.read(DEADLINE) {
        Read1::Message(fields) => fields,
        other => panic!("{other:?} where a message is due"),
    }
}
