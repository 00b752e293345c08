use super::*;

#[test]
fn a_rehearsed_message_leaves_the_session_as_it_was() {
    let mut index = FieldIndex::with_capacity(64);
    for script in ["35=D|34=2|11=x", "35=D|34=9|11=x|52=nonsense", "35=0|34=2", "35=D"] {
        let mut desk = Desk::established();
        let bytes = desk.framed(script);
        let message = parse(&bytes, &mut index).unwrap();
        let (numbers, counters) = (desk.session.numbers(), *desk.session.counters());
        for room in [0, 20, 4_096] {
            desk.session.rehearse(desk.now, &message, &mut vec![0; room]);
        }
        assert_eq!((desk.session.numbers(), *desk.session.counters()), (numbers, counters), "{script}");
        assert_eq!(desk.session.poll(), None);
        // And it goes on as one that has rehearsed nothing.
        let mut other = Desk::established();
        assert_eq!((desk.say("35=1|34=2|112=x"), desk.heard()), (other.say("35=1|34=2|112=x"), other.heard()));
        assert_eq!(desk.send("text"), other.send("text"));
        assert_eq!(desk.heard(), other.heard());
    }
}

#[test]
fn a_session_that_is_not_established_rehearses_nothing() {
    let mut desk = Desk::new("FIX.4.4", Settings::default());
    let bytes = desk.framed("35=D|34=2|11=x");
    let mut index = FieldIndex::with_capacity(64);
    let message = parse(&bytes, &mut index).unwrap();
    let mut space = vec![0; 4_096];
    desk.session.rehearse(desk.now, &message, &mut space);
    assert!(space.iter().all(|byte| *byte == 0) && desk.session.poll().is_none());
}
