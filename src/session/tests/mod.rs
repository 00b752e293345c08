//! The rules of the session layer, one test a rule: a script says what the peer sends, and what is answered is
//! compared field by field. `|` stands for the delimiter; BeginString(8), BodyLength(9), both CompIDs,
//! SendingTime(52) and CheckSum(10) are filled in where a script leaves them out, and left out of what is compared.

mod demanded_reset;
mod established;
mod from_peer;
mod logon;
mod numbers;
mod options;
mod rehearsal;
mod resend;
mod schedule;
mod timers;
mod validation;

use std::sync::Arc;

use super::*;
use crate::fix::{FieldIndex, Hidden, Overflow, Precision, checksum, parse};

const NS_PER_S: u64 = 1_000_000_000;
/// 2026-01-05T12:00:00Z
const START_NS: u64 = 1_767_614_400 * NS_PER_S;

#[derive(Default)]
struct Tape {
    sent: Vec<(Outgoing, Vec<u8>)>,
    numbers: Vec<Numbers>,
    /// How often the next outgoing number was said to be known.
    known: u32,
    /// How much room a message finds.
    room: usize,
}

impl Outbox for Tape {
    fn append(
        &mut self,
        outgoing: Outgoing,
        encode: impl FnOnce(&mut [u8]) -> Result<usize, Overflow>,
    ) -> Result<(), BackPressure> {
        let mut buffer = vec![0; self.room];
        let length = encode(&mut buffer).map_err(|_| BackPressure)?;
        buffer.truncate(length);
        self.sent.push((outgoing, buffer));
        Ok(())
    }

    /// The tape is what the peer hears.
    fn hidden(&mut self, hidden: &Hidden) {
        let Some((_, message)) = self.sent.last_mut() else { return };
        hidden.put_back(message);
        let trailer_offset = message.len() - "10=000|".len();
        let (summed, trailer) = message.split_at_mut(trailer_offset);
        let sum = format!("{:03}", checksum(summed));
        trailer[3..6].copy_from_slice(sum.as_bytes());
    }

    fn numbers(&mut self, numbers: Numbers) {
        self.numbers.push(numbers);
    }

    fn next_out_is_known(&mut self) {
        self.known += 1;
    }
}

/// An acceptor that answers this Logon with a Logout of this text, and goes on as if it had not come.
fn assert_logon_is_refused(begin_string: &str, settings: Settings, logon: &str, text: &str) {
    let mut desk = Desk::new(begin_string, settings);
    desk.connect();
    assert_eq!(desk.say(logon), Received::IGNORED);
    assert_eq!(desk.heard(), [format!("35=5|34=1|58={text}")]);
    assert_eq!(desk.decisions(), [Action::Disconnect(DisconnectReason::InvalidLogon)]);
    assert_eq!(desk.next_in(), 1);
}

/// A session, "US", with its peer, "THEM", played by the script.
struct Desk {
    session: Session,
    tape: Tape,
    now: Now,
}

const DELIVERED: Disposition = Disposition::Deliver { poss_dup: false, poss_resend: false };
const RESENT: Disposition = Disposition::Deliver { poss_dup: true, poss_resend: false };

impl Desk {
    fn new(begin_string: &str, settings: Settings) -> Self {
        let identity = Identity::new(begin_string.as_bytes(), b"US", b"THEM");
        Self {
            session: Session::new(Arc::new(settings), identity, Numbers::default()),
            tape: Tape { room: 4_096, ..Tape::default() },
            now: Now { monotonic_ns: 7 * NS_PER_S, utc: UtcTimestamp::from_unix_ns(START_NS) },
        }
    }

    /// A FIX.4.4 acceptor, logged on, its answer heard.
    fn established() -> Self {
        Self::established_with("FIX.4.4", Settings::default())
    }

    fn established_with(begin_string: &str, settings: Settings) -> Self {
        let mut desk = Self::new(begin_string, settings);
        desk.connect();
        assert_eq!(desk.say("35=A|34=1|98=0|108=30|1137=9"), Received::COUNTED);
        assert_eq!(desk.session.state(), State::Established);
        desk.heard();
        desk.decisions();
        desk
    }

    fn connect(&mut self) {
        self.session.connected(self.now, &mut self.tape);
    }

    fn disconnect(&mut self) {
        self.session.disconnected(self.now, &mut self.tape);
    }

    fn pass(&mut self, ns: u64) {
        self.now.monotonic_ns += ns;
        self.now.utc.unix_ns += ns;
    }

    fn timer(&mut self) {
        self.session.timer(self.now, &mut self.tape);
    }

    /// The peer sends this. A valid Logon is accepted.
    fn say(&mut self, script: &str) -> Received {
        self.say_bytes(&self.framed(script), true)
    }

    fn say_bytes(&mut self, bytes: &[u8], accept: bool) -> Received {
        let mut index = FieldIndex::with_capacity(64);
        match parse(bytes, &mut index) {
            Ok(message) => match self.session.receive(self.now, &message, &mut self.tape) {
                Received { disposition: Disposition::Logon, counted: false } if accept => {
                    self.session.accept_logon(self.now, &message, &mut self.tape)
                }
                received => received,
            },
            Err(error) => self.session.receive_unparsable(self.now, bytes, error, &mut self.tape),
        }
    }

    /// What is held and in order now, each as it was received.
    fn say_held(&mut self) -> Vec<Received> {
        let mut buffer = Vec::with_capacity(4_096);
        std::iter::from_fn(|| self.session.take_held(&mut buffer).then(|| self.say_bytes(&buffer.clone(), true)))
            .collect()
    }

    fn framed(&self, script: &str) -> Vec<u8> {
        let mut header = String::new();
        let mut begin_string = String::from_utf8(self.session.identity().begin_string.to_vec()).unwrap();
        let mut body = String::new();
        for field in script.split('|') {
            match field.split_once('=') {
                Some(("8", value)) => begin_string = value.to_owned(),
                Some(("35" | "34" | "43" | "97" | "122", _)) => header += &format!("{field}|"),
                _ => body += &format!("{field}|"),
            }
        }
        for (tag, value) in [("49=", "THEM"), ("56=", "US"), ("52=", &self.time(0))] {
            if !body.split('|').any(|field| field.starts_with(tag)) {
                header += &format!("{tag}{value}|");
            }
        }
        // An empty value leaves the field out.
        let text: String =
            (header + &body).split_inclusive('|').filter(|field| *field != "|" && *field != "52=|").collect();
        let whole = format!("8={begin_string}|9={}|{text}", text.len()).replace('|', "\x01");
        format!("{whole}10={:03}\x01", checksum(whole.as_bytes())).into_bytes()
    }

    /// SendingTime(52) so many seconds from now.
    fn time(&self, seconds: i64) -> String {
        let mut text = [0; 27];
        let unix_ns = self.now.utc.unix_ns.saturating_add_signed(seconds * NS_PER_S as i64);
        let length = UtcTimestamp::from_unix_ns(unix_ns).write(&mut text, Precision::Millis);
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    /// What was sent since the last call.
    fn heard(&mut self) -> Vec<String> {
        let mut index = FieldIndex::with_capacity(64);
        let of = |(_, bytes): (Outgoing, Vec<u8>)| {
            assert!(matches!(crate::fix::frame(&bytes, 4_096), crate::fix::Framing::Complete(_)));
            let fields: Vec<String> = parse(&bytes, &mut index)
                .unwrap()
                .fields()
                .filter(|field| !matches!(field.tag, 8 | 9 | 10 | 49 | 52 | 56))
                .map(|field| format!("{}={}", field.tag, String::from_utf8_lossy(field.value)))
                .collect();
            fields.join("|")
        };
        std::mem::take(&mut self.tape.sent).into_iter().map(of).collect()
    }

    fn stated(&mut self) -> Vec<Numbers> {
        std::mem::take(&mut self.tape.numbers)
    }

    /// The actions that are no notices.
    fn decisions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.session.poll()).filter(|action| !matches!(action, Action::Notice(_))).collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.session.poll())
            .filter_map(|action| match action {
                Action::Notice(notice) => Some(notice),
                _ => None,
            })
            .collect()
    }

    fn next_in(&self) -> u64 {
        self.session.numbers().next_in
    }

    fn send(&mut self, text: &str) -> Result<u64, SendError> {
        self.session.send(self.now, b"D", &mut self.tape, |body| {
            body.bytes(58, text.as_bytes());
        })
    }
}
