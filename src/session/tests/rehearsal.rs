use super::*;

/// Encodes what is sent, and has no room for it.
struct Nowhere(Vec<u8>);

impl Outbox for Nowhere {
    fn append(
        &mut self,
        _outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        assert!(encode(&mut self.0).is_ok());
        Err(BackPressure)
    }

    fn numbers(&mut self, _numbers: Numbers) {
        panic!("a send that finds no room moves no numbers");
    }
}

#[test]
fn a_rehearsed_message_and_its_answer_leave_the_session_as_it_was() {
    let mut index = FieldIndex::with_capacity(64);
    for script in ["35=D|34=2|11=x", "35=D|34=9|11=x|52=nonsense", "35=0|34=2", "35=D"] {
        let mut desk = Desk::established();
        let bytes = desk.framed(script);
        let message = parse(&bytes, &mut index).unwrap();
        let (numbers, counters) = (desk.session.numbers(), *desk.session.counters());
        desk.session.rehearse(&message);
        let sent = desk.session.send(desk.now, b"8", &mut Nowhere(vec![0; 4_096]), |body| _ = body.bytes(58, b"text"));
        assert_eq!(sent, Err(SendError::BackPressure));
        desk.session.end_rehearsal(counters);
        assert_eq!((desk.session.numbers(), *desk.session.counters()), (numbers, counters), "{script}");
        assert_eq!(desk.session.poll(), None);
        // And it goes on as one that has rehearsed nothing.
        let mut other = Desk::established();
        assert_eq!((desk.say("35=1|34=2|112=x"), desk.heard()), (other.say("35=1|34=2|112=x"), other.heard()));
        assert_eq!(desk.send("text"), other.send("text"));
        assert_eq!(desk.heard(), other.heard());
    }
}
