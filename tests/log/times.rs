//! Times: no answer is stamped before its request was sent, however the worker waits.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fixring::fix::UtcTimestamp;

use super::engine::{Place, SMALL, Setup};
use super::wire::Fields;
use super::{PARTY, Peer};

/// A worker sleeps in its poll for 10 ms at most: pauses of all lengths up to more than that.
const PAUSES_US: [u64; 12] = [0, 15_000, 300, 9_000, 50, 4_000, 12_000, 1_000, 7_000, 2_500, 11_000, 600];
const ROUNDS: usize = 5;

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn stamp(fields: &Fields, tag: u32) -> u64 {
    let text = fields.get(tag).unwrap_or_else(|| panic!("no {tag} in {fields:?}"));
    UtcTimestamp::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is no time")).unix_ns
}

/// The clocks of a process and of its peer are read some hundred ns apart, and a message is longer
/// under way.
fn assert_not_before(stamped_ns: u64, sent_ns: u64, precision_ns: u64, what: &str) {
    let sent_ns = sent_ns / precision_ns * precision_ns;
    assert!(stamped_ns >= sent_ns, "{what} is stamped {} ns before its request was sent", sent_ns - stamped_ns);
}

/// A worker that slept read its clock before its poll: 193 of 200 answers were stamped before their
/// requests, by 9 ms at the median.
#[test]
fn no_answer_is_stamped_before_its_request_however_the_worker_waits() {
    for (wait, workers) in [("adaptive", 1), ("park", 1), ("spin", 1), ("park", 2)] {
        let engine = format!("{}workers = {workers}\n", SMALL.engine);
        let sessions = format!("{}sending_time_precision = \"nanoseconds\"\n", SMALL.sessions);
        let place = Place::new(&Setup { engine: &engine, sessions: &sessions, ..SMALL });
        let text = std::fs::read_to_string(place.config()).unwrap();
        std::fs::write(place.config(), text.replace("wait = \"park\"", &format!("wait = \"{wait}\""))).unwrap();
        let running = place.start_ready();
        // Of several workers some sessions are handed over.
        for desk in ["DESK", "DESK1", "DESK2"] {
            let party = super::Party { sender: desk, ..PARTY };
            let logged_on_ns = unix_ns();
            let mut peer = Peer::log_on(place.port, party, 1, "");
            assert_not_before(stamp(&peer.logon, 52), logged_on_ns, 1, "a Logon");
            let mut last = peer.logon.clone();
            for (round, pause_us) in std::iter::repeat_n(PAUSES_US, ROUNDS).flatten().enumerate() {
                std::thread::sleep(Duration::from_micros(pause_us));
                let what = format!("{wait}, round {round}");
                last = ask(&mut peer, round, &last, &what);
            }
            std::thread::sleep(Duration::from_millis(3));
            let logged_out_ns = unix_ns();
            peer.send("5", "");
            let logout = peer.read();
            assert_eq!(logout.msg_type(), "5");
            assert_not_before(stamp(&logout, 52), logged_out_ns, 1, "a Logout");
            for (event, since_ns) in [("logged on", logged_on_ns), ("disconnected", logged_out_ns)] {
                let line = format!("\"message\":\"{event}\",\"session\":\"FIX.4.4:VENUE->{desk}\"");
                running.until_logged(&line);
                let text = running.log_text();
                let line = text.lines().find(|found| found.contains(&line)).unwrap();
                let at = line.strip_prefix("{\"timestamp\":\"").and_then(|rest| rest.split('"').next()).unwrap();
                let at: jiff::Timestamp = at.parse().unwrap();
                assert_not_before(at.as_nanosecond() as u64, since_ns, 1_000, line);
            }
        }
        assert_journal_times(&place);
    }
}

/// Asks for something that is answered, each round for something else, and returns the answer.
/// `last` is the answer before.
fn ask(peer: &mut Peer, round: usize, last: &Fields, what: &str) -> Fields {
    let order = format!("11=O{round}|21=1|55=X|54=1|60=20260101-00:00:00|38=1|40=2|44=1|");
    let resend = format!("7={0}|16={0}|", last.number(34));
    // What comes behind an order is asked for again in the round after it.
    let (msg_type, body, answer) = match round % 6 {
        0 => ("1", "112=now|".into(), "0"),
        1 => ("D", order, "8"),
        2 => ("2", resend, "8"),
        3 => ("D", format!("{order}4711=x|"), "3"),
        4 => ("8", "37=o|17=e|150=0|39=0|55=X|54=1|151=1|14=0|6=0|".into(), "j"),
        // An administrative message is not sent again, but filled over.
        _ => ("2", "7=1|16=1|".into(), "4"),
    };
    let sent_ns = unix_ns();
    peer.send(msg_type, &body);
    let answered = peer.read();
    assert_eq!(answered.msg_type(), answer, "{what}: {answered:?}");
    assert_not_before(stamp(&answered, 52), sent_ns, 1, what);
    if msg_type == "2" {
        let original = stamp(&answered, 122);
        assert!(original <= stamp(&answered, 52), "{what}: {answered:?}");
        assert!(answer == "4" || original == stamp(last, 52), "{what}: {answered:?}, first sent as {last:?}");
    } else if answer == "8" {
        assert_not_before(stamp(&answered, 60), sent_ns, 1_000_000, what);
    }
    answered
}

/// In the journal too no message came before it was sent. Our own SendingTime(52) has milliseconds.
fn assert_journal_times(place: &Place) {
    let mut cat = Command::new(env!("CARGO_BIN_EXE_fixring"));
    let output =
        cat.args(["journal", "export", "--format", "csv", "--data-dir"]).arg(place.data_dir()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut seen = 0;
    for row in text.lines().filter(|row| row.contains("|49=DESK")) {
        let (time, message) = row.split_once(',').unwrap();
        let sent = message.split('|').find_map(|field| field.strip_prefix("52=")).unwrap();
        let stored: jiff::Timestamp = time.parse().unwrap();
        let sent_ns = UtcTimestamp::parse(sent.as_bytes()).unwrap().unix_ns;
        assert_not_before(stored.as_nanosecond() as u64, sent_ns, 1_000_000, row);
        seen += 1;
    }
    assert!(seen > PAUSES_US.len(), "{text}");
}
