//! A process that goes on after another one has taken its data directory over: it releases nothing more, and what it still wrote is
//! recognised and put aside, never taken for the journal's.

#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Place, Running, SMALL, Setup, free_port};
use fixring::journal::{
    FileStorage, Geometry, Journal, Kind, Mode, NewRecord, Opened, RecoveredSession, Room, Settings, open,
};
use wire::{DEADLINE, Fields, Party, Read1, Wire};

const STORAGE: i32 = 4;
const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

// ---- the journal

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 128 << 10, segments: 3 };

/// With rings of its own: nothing in shared memory tells the one of the other.
fn open_with_ring(root: &Path, ring: &str) -> Opened<FileStorage> {
    // What the lock prevents. It was removed, or a filesystem has forgotten it.
    let _ = fs::remove_file(root.join("data/lock"));
    open(&Settings {
        data_dir: root.join("data"),
        ring_dir: root.join(ring),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: fixring::journal::FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    })
    .unwrap()
}

/// Commits and carries messages of session 1 under the next numbers.
fn send(journal: &mut Journal<FileStorage>, count: u64, text: &str) {
    for _ in 0..count {
        while journal.writer.begin(1024) != Room::Ready {
            let states = journal.recovered.sessions.iter().map(RecoveredSession::state);
            journal.writer.roll(states, b"").unwrap();
        }
        if journal.recovered.sessions.is_empty() {
            journal.writer.append_session_defined(1, 0, b"FIX.4.4\x01VENUE").unwrap();
            journal.recovered.sessions.push(RecoveredSession::new(1, b"FIX.4.4\x01VENUE"));
        }
        let session = &mut journal.recovered.sessions[0];
        let new = NewRecord {
            session: 1,
            msg_seq_num: session.next_out,
            previous: session.last_out,
            ..NewRecord::internal(Kind::Outbound, 0)
        };
        session.last_out = journal.writer.append_bytes(new, text.as_bytes()).unwrap();
        session.next_out += 1;
        journal.writer.commit(Mode::Buffered);
    }
    journal.flusher.drain(0).unwrap();
}

/// The texts of the journal's messages, in order.
fn texts(opened: &Opened<FileStorage>) -> Vec<String> {
    let mut records = opened.journals[0].recovered.replay();
    let mut texts = Vec::new();
    while let Some(record) = records.next().unwrap() {
        if record.header.kind == Kind::Outbound {
            texts.push(String::from_utf8(record.payload.to_vec()).unwrap());
        }
    }
    texts
}

fn quarantined(root: &Path) -> String {
    let files =
        fs::read_dir(root.join("data/quarantine")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

/// The stale process writes last, over the beginning of its successor: before the manifest kept where that began, its records continued
/// the journal without a fault and came back as if they had been acknowledged.
#[test]
fn what_a_stale_process_wrote_over_its_successors_start_is_not_resurrected() {
    let root = tempfile::tempdir().unwrap();
    let mut stale = open_with_ring(root.path(), "ring-1");
    send(&mut stale.journals[0], 5, "before");
    let mut successor = open_with_ring(root.path(), "ring-2");
    send(&mut successor.journals[0], 3, "successor");
    send(&mut stale.journals[0], 40, "stale");
    drop((stale, successor));

    let opened = open_with_ring(root.path(), "ring-3");
    let report = &opened.journals[0].recovered.report;
    assert_eq!(texts(&opened), ["before"; 5], "{report}");
    assert_eq!(opened.journals[0].recovered.sessions[0].next_out, 6);
    assert!(
        report.fenced_bytes > 0 && report.to_string().contains("after this directory had been taken over"),
        "{report}"
    );
    assert!(quarantined(root.path()).contains("stale"));
    drop(opened);
    let again = open_with_ring(root.path(), "ring-4");
    assert_eq!((texts(&again), again.journals[0].recovered.report.fenced_bytes), (vec!["before".into(); 5], 0));
}

#[test]
fn what_a_stale_process_wrote_beyond_its_successor_is_put_aside() {
    let root = tempfile::tempdir().unwrap();
    let mut stale = open_with_ring(root.path(), "ring-1");
    send(&mut stale.journals[0], 5, "before");
    let mut successor = open_with_ring(root.path(), "ring-2");
    send(&mut stale.journals[0], 200, "stale");
    send(&mut successor.journals[0], 3, "successor");
    drop((stale, successor));

    let opened = open_with_ring(root.path(), "ring-3");
    let report = &opened.journals[0].recovered.report;
    let expected = [["before"; 5].as_slice(), &["successor"; 3]].concat();
    assert_eq!(texts(&opened), expected, "{report}");
    assert!(report.fenced_bytes > 0, "{report}");
    assert!(quarantined(root.path()).contains("stale"));
}

/// It may even have begun a later segment, whose head is whole.
#[test]
fn a_segment_that_a_stale_process_began_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let mut stale = open_with_ring(root.path(), "ring-1");
    send(&mut stale.journals[0], 5, "before");
    let mut successor = open_with_ring(root.path(), "ring-2");
    send(&mut successor.journals[0], 3, "successor");
    while stale.journals[0].writer.appended() < GEOMETRY.segment_bytes + 4096 {
        send(&mut stale.journals[0], 1, "stale");
    }
    drop((stale, successor));
    let opened = open_with_ring(root.path(), "ring-3");
    let report = &opened.journals[0].recovered.report;
    assert_eq!((texts(&opened), report.heads_skipped), (vec!["before".into(); 5], 1), "{report}");
}

// ---- the real binary

fn log_on(port: u16, number: u64) -> Wire {
    let mut wire = Wire::connect(port).expect("a ready engine listens");
    assert!(wire.send(&PARTY.message("A", number, "", "98=0|108=3600|")));
    assert_eq!(next(&mut wire).expect("an answer").msg_type(), "A");
    wire
}

/// `None` where the engine has closed.
fn next(wire: &mut Wire) -> Option<Fields> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match wire.read(Duration::from_millis(100)) {
            Read1::Message(message) => return Some(message),
            Read1::Nothing => assert!(Instant::now() < deadline, "nothing comes"),
            Read1::End => return None,
        }
    }
}

fn ends_by_storage(mut engine: Running) {
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    assert!(log.contains("incarnation") || log.contains("another process has started"), "{log}");
}

#[test]
fn a_process_whose_ring_has_another_owner_answers_nothing_more_and_ends() {
    for mode in ["buffered", "sync"] {
        let place = Place::new(&Setup { mode, ..SMALL });
        let engine = place.start_ready();
        let mut wire = log_on(place.port, 1);
        let ring = fs::read_dir(place.ring_dir()).unwrap().next().unwrap().unwrap().path();
        // The owner's place in the header page.
        fs::File::options().write(true).open(ring).unwrap().write_all_at(&77u64.to_le_bytes(), 512).unwrap();
        let _ = wire.send(&PARTY.message("1", 2, "", "112=after the fence|"));
        assert_eq!(next(&mut wire), None, "in {mode}");
        ends_by_storage(engine);
    }
}

/// Somebody has removed the lock's file, and the second process has rings elsewhere: the manifest alone tells.
#[test]
fn a_process_that_another_one_has_started_over_ends_by_itself() {
    let place = Place::new(&SMALL);
    let first = place.start_ready();
    drop(log_on(place.port, 1));
    fs::remove_file(place.data_dir().join("lock")).unwrap();
    let port = free_port();
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replace(&place.port.to_string(), &port.to_string());
    let text = text.replace(place.ring_dir().to_str().unwrap(), place.path().join("rings-2").to_str().unwrap());
    fs::write(place.config(), text).unwrap();
    let second = place.start_ready();
    ends_by_storage(first);
    // The session goes on with the one that is in charge.
    drop(log_on(port, 2));
    drop(second);
}
