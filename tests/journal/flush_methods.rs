//! The journal in a real directory, by each method of making it durable.

use std::path::Path;

use fixring::journal::{
    FileStorage, FlushMethod, Geometry, Journal, Kind, Mode, NONE, NewRecord, OpenError, Opened, RingFound, Room,
    Settings, open,
};

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 128 << 10, segments: 3 };

fn settings(root: &Path, method: FlushMethod) -> Settings {
    Settings {
        data_dir: root.join("data"),
        ring_dir: root.join("ring"),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: method.into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    }
}

/// `None` where the filesystem of the temporary directory has no direct I/O, which must be said with the mend.
fn open_by(root: &Path, method: FlushMethod) -> Option<Opened<FileStorage>> {
    match open(&settings(root, method)) {
        Ok(opened) => Some(opened),
        Err(OpenError::Volume(text)) if method == FlushMethod::Dsync => {
            assert!(text.contains("refuses O_DIRECT") && text.contains("\"fdatasync\""), "{text}");
            None
        }
        Err(error) => panic!("{method}: {error}"),
    }
}

fn send(journal: &mut Journal<FileStorage>, numbers: std::ops::Range<u64>) {
    for msg_seq_num in numbers {
        loop {
            match journal.writer.begin(4096) {
                Room::Ready => break,
                Room::Full => drop(journal.flusher.turn(0).unwrap()),
                Room::RollDue => assert!(journal.writer.roll(std::iter::empty(), b"").unwrap()),
            }
        }
        let new = NewRecord {
            kind: Kind::Inbound,
            session: 1,
            msg_seq_num,
            time_ns: 0,
            epoch: 0,
            previous: NONE,
            origin: None,
            sent_after: None,
            flags: 0,
        };
        journal.writer.append_bytes(new, &payload(msg_seq_num)).unwrap();
        let end = journal.writer.commit(Mode::Sync);
        // Short turns: tail pages are written again and again.
        if msg_seq_num % 8 == 0 {
            journal.flusher.turn(0).unwrap();
            assert_eq!(journal.watermarks.synced(), end);
        }
    }
}

fn payload(msg_seq_num: u64) -> Vec<u8> {
    let length = 1 + (msg_seq_num * 37 % 1500) as usize;
    (0..length).map(|at| (at as u64 + msg_seq_num) as u8).collect()
}

/// Numbers that recovery reads after the newest segment's head, each with its whole payload.
fn stored(journal: &Journal<FileStorage>) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut records = journal.recovered.replay();
    while let Some(record) = records.next().unwrap() {
        if record.header.kind == Kind::Inbound {
            assert_eq!(record.payload, payload(record.header.msg_seq_num));
            numbers.push(record.header.msg_seq_num);
        }
    }
    numbers
}

/// Every order of two methods, over laps, rolls and recycled segments; the ring is lost each time, so that only what the method brought to
/// the volume counts.
#[test]
fn what_one_method_stored_another_recovers() {
    for first in FlushMethod::ALL {
        for second in FlushMethod::ALL {
            let root = tempfile::tempdir().unwrap();
            let mut next = 1;
            for method in [first, second, first] {
                let Some(mut opened) = open_by(root.path(), method) else { continue };
                let journal = &mut opened.journals[0];
                let found = stored(journal);
                assert!(found.is_sorted() && found.last().is_none_or(|last| *last == next - 1), "{first} {second}");
                assert_eq!(found.is_empty(), next == 1);
                // More than the three segments hold.
                send(journal, next..next + 601);
                next += 601;
                journal.flusher.drain(0).unwrap();
                drop(opened);
                std::fs::remove_dir_all(root.path().join("ring")).unwrap();
            }
        }
    }
}

#[test]
fn what_only_the_ring_held_is_carried_over_by_each_method() {
    for method in FlushMethod::ALL {
        let root = tempfile::tempdir().unwrap();
        let Some(mut opened) = open_by(root.path(), method) else { continue };
        send(&mut opened.journals[0], 1..8);
        drop(opened);
        let mut opened = open_by(root.path(), method).unwrap();
        assert_eq!(opened.journals[0].recovered.report.ring, RingFound::Accepted, "{method}");
        assert!(opened.journals[0].recovered.report.carried_bytes > 0, "{method}");
        assert_eq!(stored(&opened.journals[0]), (1..8).collect::<Vec<_>>(), "{method}");
        send(&mut opened.journals[0], 8..20);
        opened.journals[0].flusher.drain(0).unwrap();
    }
}

#[test]
fn a_direct_method_has_nothing_written_that_is_not_synced() {
    let root = tempfile::tempdir().unwrap();
    for method in FlushMethod::ALL {
        let Some(mut opened) = open_by(root.path(), method) else { continue };
        let journal = &mut opened.journals[0];
        send(journal, 1..40);
        let marks = &journal.watermarks;
        assert!(marks.written() == marks.synced() && marks.synced() < marks.appended(), "{method}");
    }
}
