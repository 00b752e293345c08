//! Secrets in whatever message, in both directions: the peer gets what is sent, and nothing keeps it.

use std::fs;
use std::path::Path;

use super::engine::{Place, Running, SMALL, Setup};
use super::{PARTY, Peer};

/// In every secret of this test, and nowhere else.
const MARK: &str = "hunter2";
/// As the secrets with a letter behind the mark are stored.
const STARS: &str = "554=********\x01";

fn echo() -> Place {
    let engine = format!("application = \"echo\"\n{}", SMALL.engine);
    let sessions = "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK\"\n\
                    secret_tags = [554, 925, 1402, 1404, 5999]\n[session.validation]\nenabled = false\n";
    Place::new(&Setup { engine: &engine, sessions, ..SMALL })
}

/// Every file below that holds the text.
fn with(text: &str, directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(with(text, &path));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn assert_no_trace(place: &Place, engine: &Running) {
    for directory in [place.data_dir(), place.ring_dir()] {
        assert_eq!(with(MARK, &directory), Vec::<String>::new());
    }
    assert!(!engine.log_text().contains(MARK), "{}", engine.log_text());
}

#[test]
fn no_secret_of_either_direction_is_in_ring_segments_or_log_and_the_peer_gets_it_once() {
    let place = echo();
    let mut engine = place.start_ready();
    let mut peer = Peer::log_on(place.port, PARTY, 1, "554=hunter2a|95=13|96=hunter2|554=x|925=hunter2b|");
    // What can be read comes back with what is secret in it.
    let sent = [
        ("BE", "923=r1|924=1|553=desk|554=hunter2c|925=hunter2d|95=9|96=hunter2|e|"),
        ("D", "11=O1|55=X|554=hunter2f|58=between|554=hunter2g|5999=hunter2h|"),
        ("B", "148=news|1401=9|1402=hunter2|i|1403=8|1404=hunter2j|"),
        ("U1", "58=in no dictionary|925=hunter2k|"),
    ];
    for (msg_type, body) in sent {
        peer.send(msg_type, body);
        // Read by its bytes: a data field may hold the delimiter.
        let text = raw(&mut peer);
        assert!(text.contains(&body.replace('|', "\u{1}")), "{body} {text:?}");
    }
    // What cannot be read is refused without a word of it.
    for (msg_type, body) in [
        ("BE", "923=r1|x|554=hunter2l|"),
        ("D", "11=O2|554=hunter2m|=|"),
        ("D", "11=O3|0554=hunter2n|"),
        ("U2", "1401=99|1402=hunter2o|58=|"),
    ] {
        peer.send(msg_type, body);
        let text = raw(&mut peer);
        assert!(text.contains("\u{1}35=3\u{1}") && !text.contains(MARK), "{text:?}");
    }
    // An administrative message.
    peer.send("1", "112=t|554=hunter2p|");
    assert!(raw(&mut peer).contains("112=t"));
    assert_no_trace(&place, &engine);
    // A message with a secret is not sent again, since without it it would be another.
    peer.send("2", "7=1|16=0|");
    let fill = raw(&mut peer);
    assert!(fill.contains("\u{1}35=4\u{1}") && fill.contains("123=Y") && !fill.contains(MARK), "{fill:?}");
    assert!(fill.contains("\u{1}34=1\u{1}") && fill.contains("\u{1}36=11\u{1}"), "all of it is one gap fill: {fill:?}");
    // The search looks where the messages are.
    assert!(!with(STARS, &place.ring_dir()).is_empty());
    engine.kill();
    assert_no_trace(&place, &engine);

    let mut engine = place.start_ready();
    let mut peer = Peer::log_on(place.port, PARTY, peer.next_out, "554=hunter2q|");
    peer.round_trip();
    drop(peer);
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_no_trace(&place, &engine);
    assert!(!with(STARS, &place.data_dir()).is_empty());
}

/// The next message as it came.
fn raw(peer: &mut Peer) -> String {
    String::from_utf8(peer.wire.read_raw(super::DEADLINE).expect("a message")).unwrap()
}
