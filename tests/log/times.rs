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
        let _running = place.start_ready();
        // Of several workers some sessions are handed over.
        for desk in ["DESK", "DESK1", "DESK2"] {
            let party = super::Party { sender: desk, ..PARTY };
            let logged_on_ns = unix_ns();
            let mut peer = Peer::log_on(place.port, party, 1, "");
            assert_not_before(stamp(&peer.logon, 52), logged_on_ns, 1, "a Logon");
            for (round, pause_us) in std::iter::repeat_n(PAUSES_US, ROUNDS).flatten().enumerate() {
                std::thread::sleep(Duration::from_micros(pause_us));
                let sent_ns = unix_ns();
                let what = format!("{wait}, round {round}");
                if round % 3 == 0 {
                    peer.send("1", "112=now|");
                    assert_not_before(stamp(&peer.read(), 52), sent_ns, 1, &what);
                } else {
                    peer.send("D", &format!("11=O{round}|21=1|55=X|54=1|60=20260101-00:00:00|38=1|40=2|44=1|"));
                    let report = peer.read();
                    assert_eq!(report.msg_type(), "8");
                    assert_not_before(stamp(&report, 52), sent_ns, 1, &what);
                    assert_not_before(stamp(&report, 60), sent_ns, 1_000_000, &what);
                }
            }
        }
        assert_journal_times(&place);
    }
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
