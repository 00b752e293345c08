//! The journal in a real directory with a real ring: what an operator meets.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use fixring::journal::cat::Cat;
use fixring::journal::{
    FileStorage, FlushMethod, Geometry, Journal, Kind, ManifestError, Mode, NewRecord, OpenError, Opened, RingFound,
    Room, Settings, open, record_bytes,
};

const GEOMETRY: Geometry = Geometry { journals: 2, ring_bytes: 64 << 10, segment_bytes: 128 << 10, segments: 3 };

fn settings(root: &Path) -> Settings {
    Settings {
        data_dir: root.join("data"),
        ring_dir: root.join("ring"),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    }
}

fn open_in(root: &Path) -> Opened<FileStorage> {
    open(&settings(root)).unwrap()
}

fn refused(settings: &Settings) -> OpenError {
    match open(settings) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// Commits `count` messages of session 1, which the first commit defines.
fn send(journal: &mut Journal<FileStorage>, count: u64) {
    let mut session = journal.recovered.sessions.first().cloned();
    for _ in 0..count {
        loop {
            match journal.writer.begin(1024) {
                Room::Ready => break,
                Room::Full => drop(journal.flusher.turn(0).unwrap()),
                Room::RollDue => {
                    journal.writer.roll(session.iter().map(|session| session.state()), b"snapshot").unwrap();
                }
            }
        }
        let session = session.get_or_insert_with(|| {
            journal.writer.append_session_defined(1, 0, b"FIX.4.4\x01VENUE").unwrap();
            fixring::journal::RecoveredSession::new(1, b"FIX.4.4\x01VENUE")
        });
        let new = NewRecord {
            session: 1,
            msg_seq_num: session.next_out,
            previous: session.last_out,
            ..NewRecord::internal(Kind::Outbound, 0)
        };
        session.last_out =
            journal.writer.append_bytes(new, format!("message {}", session.next_out).as_bytes()).unwrap();
        session.next_out += 1;
        journal.writer.commit(Mode::Buffered);
    }
    journal.recovered.sessions = session.into_iter().collect();
}

/// The numbers of all messages that `cat` shows, of one journal.
fn shown(root: &Path, journal: u16) -> Vec<u64> {
    let records = Cat::open(&root.join("data")).unwrap().map(Result::unwrap);
    let messages = records.filter(|record| record.journal == journal && record.header.kind == Kind::Outbound);
    messages
        .map(|record| {
            assert_eq!(*record.identity, *b"FIX.4.4\x01VENUE");
            assert_eq!(*record.payload, *format!("message {}", record.header.msg_seq_num).as_bytes());
            record.header.msg_seq_num
        })
        .collect()
}

/// `fallocate` takes what there is before it fails, and the volume stayed full to the last byte.
#[test]
fn segments_that_do_not_fit_on_the_volume_take_nothing_of_it() {
    let root = tempfile::tempdir().unwrap();
    let geometry = Geometry { segment_bytes: 1 << 36, segments: 65_536, ..GEOMETRY };
    let error = refused(&Settings { geometry, ..settings(root.path()) });
    assert!(matches!(error, OpenError::Volume(_)), "{error}");
    assert!(error.to_string().contains("are needed for its segments"), "{error}");
    let left: Vec<_> =
        std::fs::read_dir(root.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

#[test]
fn a_directory_that_holds_other_files_is_not_made_a_data_directory() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::write(data_dir.join("passwd"), "").unwrap();
    let error = refused(&settings(root.path()));
    assert!(matches!(error, OpenError::Directory(_)), "{error}");
    assert!(error.to_string().contains("\"passwd\""), "{error}");
    assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 1);
    // What a volume's root may hold is let pass.
    std::fs::rename(data_dir.join("passwd"), data_dir.join("lost+found")).unwrap();
    open_in(root.path());
}

#[test]
fn what_only_the_ring_holds_is_carried_over_after_the_death_of_the_process() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open_in(root.path());
    assert_eq!(opened.incarnation, 1);
    assert!(!opened.journals[0].recovered.report.may_have_lost());
    send(&mut opened.journals[0], 10);
    opened.journals[0].flusher.drain(0).unwrap();
    send(&mut opened.journals[0], 10);
    send(&mut opened.journals[1], 5);
    assert_eq!(shown(root.path(), 0), (1..=20).collect::<Vec<_>>(), "cat reads the segments, then the ring");
    drop(opened);

    let opened = open_in(root.path());
    assert_eq!(opened.incarnation, 2);
    let report = &opened.journals[0].recovered.report;
    assert_eq!((report.ring, report.clean_stop), (RingFound::Accepted, false));
    assert_eq!(report.carried_bytes, 10 * record_bytes(10));
    assert!(!report.may_have_lost());
    assert_eq!(opened.journals[0].recovered.sessions[0].next_out, 21);
    assert_eq!(opened.journals[1].recovered.sessions[0].next_out, 6);
    assert_eq!(shown(root.path(), 0), (1..=20).collect::<Vec<_>>());
    assert!(report.to_string().contains("the ring was accepted, 1 KiB carried over"), "{report}");
}

#[test]
fn segments_go_round_and_the_oldest_messages_with_them() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open_in(root.path());
    let journal = &mut opened.journals[0];
    send(journal, 5_000);
    assert!(journal.writer.appended() > 4 * GEOMETRY.segment_bytes);
    while journal.writer.clean_stop(0) != Room::Ready {
        journal.flusher.turn(0).unwrap();
    }
    journal.flusher.drain(0).unwrap();
    drop(opened);
    // The node is lost with its rings.
    std::fs::remove_dir_all(root.path().join("ring")).unwrap();
    let numbers = shown(root.path(), 0);
    assert!(numbers.len() > 1_000 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert_eq!(numbers.last(), Some(&5_000));
    let opened = open_in(root.path());
    let report = &opened.journals[0].recovered.report;
    assert_eq!((report.clean_stop, report.may_have_lost(), report.ring), (true, false, RingFound::Absent));
    assert_eq!(opened.journals[0].recovered.sessions[0].next_out, 5_001);
    assert_eq!(opened.journals[0].recovered.snapshot, b"snapshot");
}

#[test]
fn files_are_private_and_leave_nothing_outside_their_directories() {
    let root = tempfile::tempdir().unwrap();
    let opened = open_in(root.path());
    let mode = |path: &str| root.path().join(path).metadata().unwrap().mode() & 0o777;
    let ring = format!("ring/fixring-{}-1.ring", opened.uuid);
    assert_eq!([mode("data"), mode("ring"), mode("data/journal-0")], [0o700; 3]);
    assert_eq!(
        [mode(&ring), mode("data/manifest"), mode("data/lock"), mode("data/journal-1/segment-2.seg")],
        [0o600; 4]
    );
    assert_eq!(root.path().join(ring).metadata().unwrap().len(), (64 << 10) + 4096);
}

#[test]
fn a_second_process_is_refused_and_told_who_is_there() {
    let root = tempfile::tempdir().unwrap();
    let _opened = open_in(root.path());
    let error = refused(&settings(root.path()));
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
}

#[test]
fn a_configuration_that_does_not_fit_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    drop(open_in(root.path()));
    let manifest = std::fs::read(root.path().join("data/manifest")).unwrap();
    let other = Settings { geometry: Geometry { segment_bytes: 256 << 10, ..GEOMETRY }, ..settings(root.path()) };
    let error = refused(&other);
    assert!(matches!(error, OpenError::Manifest(ManifestError::Differs { fixed: 131_072, .. })), "{error}");
    assert_eq!(std::fs::read(root.path().join("data/manifest")).unwrap(), manifest);
    assert_eq!(std::fs::metadata(root.path().join("data/journal-0/segment-0.seg")).unwrap().len(), 131_072);

    std::fs::remove_file(root.path().join("data/journal-0/segment-1.seg")).unwrap();
    assert!(refused(&settings(root.path())).to_string().contains("segment-1.seg"));
    assert!(!root.path().join("data/journal-0/segment-1.seg").exists());
}

#[test]
fn segments_without_a_manifest_are_never_taken_for_a_new_directory() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open_in(root.path());
    send(&mut opened.journals[0], 1);
    opened.journals[0].flusher.drain(0).unwrap();
    drop(opened);
    std::fs::remove_file(root.path().join("data/manifest")).unwrap();
    assert!(matches!(refused(&settings(root.path())), OpenError::Manifest(ManifestError::Missing)));
}

#[test]
fn a_ring_of_another_directory_is_put_aside_and_the_segments_count() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open_in(root.path());
    send(&mut opened.journals[0], 3);
    opened.journals[0].flusher.drain(0).unwrap();
    let ring = |journal: u16| root.path().join(format!("ring/fixring-{}-{journal}.ring", opened.uuid));
    let (first, second) = (ring(0), ring(1));
    drop(opened);
    std::fs::copy(second, first).unwrap();
    let opened = open_in(root.path());
    let report = &opened.journals[0].recovered.report;
    assert!(matches!(report.ring, RingFound::Quarantined(why) if why.contains("another data directory")), "{report}");
    assert_eq!(opened.journals[0].recovered.sessions[0].next_out, 4);
    assert_eq!(std::fs::read_dir(root.path().join("data/quarantine")).unwrap().count(), 1);
}

/// Every byte of ring and segments may be anything: an answer or an error, never a panic, and never more than was there.
#[test]
fn no_corruption_panics_or_invents_messages() {
    let seeds = match std::env::var("FIXRING_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("FIXRING_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..60_u64,
    };
    let root = tempfile::tempdir().unwrap();
    for seed in seeds {
        eprintln!("FIXRING_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let _ = std::fs::remove_dir_all(root.path().join("data"));
        let _ = std::fs::remove_dir_all(root.path().join("ring"));
        let mut opened = open_in(root.path());
        let sent = random.u64(1..1_500);
        send(&mut opened.journals[0], sent / 2);
        opened.journals[0].flusher.drain(0).unwrap();
        send(&mut opened.journals[0], (sent - sent / 2).min(200));
        let sent = opened.journals[0].recovered.sessions.first().map_or(0, |session| session.next_out - 1);
        let ring = root.path().join(format!("ring/fixring-{}-0.ring", opened.uuid));
        drop(opened);
        for _ in 0..random.u32(1..4) {
            let number = random.u32(..3);
            let target = if random.bool() {
                ring.clone()
            } else {
                root.path().join(format!("data/journal-0/segment-{number}.seg"))
            };
            corrupt(&target, &mut random);
        }
        // Any answer will do for cat, but it must come.
        let shown = Cat::open(&root.path().join("data")).unwrap().filter(Result::is_ok).count() as u64;
        assert!(shown <= 2 * sent + 50);
        match open(&settings(root.path())) {
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Held { .. }), "{error}"),
            Ok(mut opened) => {
                let journal = &mut opened.journals[0];
                let next_out = journal.recovered.sessions.first().map_or(1, |session| session.next_out);
                assert!(next_out <= sent + 1);
                let mut records = journal.recovered.replay();
                while let Some(record) = records.next().unwrap() {
                    let expected = format!("message {}", record.header.msg_seq_num);
                    assert!(record.header.kind != Kind::Outbound || record.payload == expected.as_bytes());
                }
                // And the journal goes on.
                send(journal, 50);
                journal.flusher.drain(0).unwrap();
            }
        }
    }
}

/// The owner in a ring's header is covered by no CRC: what a flipped bit makes of it holds no directory.
#[test]
fn an_owner_that_no_record_of_the_ring_confirms_holds_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = open_in(root.path());
    send(&mut opened.journals[0], 5);
    let ring = root.path().join(format!("ring/fixring-{}-0.ring", opened.uuid));
    drop(opened);
    std::fs::File::options().write(true).open(&ring).unwrap().write_all_at(&7u64.to_le_bytes(), 512).unwrap();
    let opened = open_in(root.path());
    assert!(matches!(opened.journals[0].recovered.report.ring, RingFound::Quarantined(_)));
    assert_eq!(opened.incarnation, 2);
}

/// Flips a bit, sets a word to an extreme, zeroes or scrambles a stretch, or moves one elsewhere.
fn corrupt(path: &Path, random: &mut fastrand::Rng) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    // Headers of segments and ring, and records' first words, are where it hurts.
    let at = match random.u8(..4) {
        0 => random.u64(..1024),
        1 => random.u64(..length / 64) * 64 + random.u64(..16),
        _ => random.u64(..length),
    }
    .min(length - 4096);
    let mut bytes = vec![0; random.usize(1..4096)];
    file.read_exact_at(&mut bytes, at).unwrap();
    let end = bytes.len();
    match random.u8(..5) {
        0 => bytes[random.usize(..end)] ^= 1 << random.u8(..8),
        1 => bytes[..end.min(8)].fill(0xff),
        2 => bytes.fill(0),
        3 => random.fill(&mut bytes),
        _ => {
            let elsewhere = random.u64(..length / 64 - 64) * 64;
            file.read_exact_at(&mut bytes, elsewhere).unwrap();
        }
    }
    file.write_all_at(&bytes, at).unwrap();
}
