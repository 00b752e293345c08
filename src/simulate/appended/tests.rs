use super::*;
use crate::journal::{FlushMethod, Journal, NewRecord, Room, Settings, Slot, open_over, prepare};
use crate::sys::ring::RingMemory;

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 4 };

/// A journal of one session, its witness, and what it told of each message that it stored.
struct Stored {
    storage: SimulatedStorage,
    journal: Journal<SimulatedStorage>,
    witness: Appended,
}

fn way() -> (String, String) {
    ("US".to_string(), "THEM".to_string())
}

impl Stored {
    fn new(mode: Mode) -> Self {
        let storage = SimulatedStorage::new(GEOMETRY);
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 0,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        let manifest = prepare(&storage, &settings).unwrap();
        let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
        let journal = open_over(&storage, manifest, vec![ring], &settings).unwrap().journals.remove(0);
        let witness = Appended::new(GEOMETRY, 0, HashMap::from([(way(), mode)]), 0);
        let mut stored = Self { storage, journal, witness };
        let identity = Identity::new(b"FIX.4.4", b"US", b"THEM").to_bytes();
        stored.append(|writer| _ = writer.append_session_defined(0, 0, &identity).unwrap());
        stored
    }

    fn append(&mut self, records: impl FnOnce(&mut crate::journal::Writer)) {
        let writer = &mut self.journal.writer;
        while writer.begin(4096) == Room::RollDue {
            assert_eq!(writer.roll(std::iter::empty(), b""), Ok(true));
        }
        records(writer);
        // Whatever its mode: the witness does not ask the writer.
        writer.commit(Mode::Buffered);
        self.witness.witness(&mut self.journal.flusher);
    }

    fn lease(&mut self, lease: u64) {
        let numbers = StoredNumbers { next_out: 1, next_in: 1, epoch: 0, lease };
        self.append(|writer| _ = writer.append_numbers(0, 0, numbers).unwrap());
    }

    fn message(&mut self, msg_seq_num: u64) -> Left {
        let new = NewRecord { msg_seq_num, ..NewRecord::internal(Kind::Outbound, 0) };
        self.append(|writer| _ = writer.append_bytes(new, b"message").unwrap());
        Left {
            way: way(),
            msg_seq_num,
            next: msg_seq_num + 1,
            crc: crc_fast::crc32_iscsi(b"message"),
            covers: Vec::new(),
        }
    }

    fn flush(&mut self) {
        self.journal.flusher.turn(u64::MAX).unwrap();
    }
}

#[test]
fn what_is_as_safe_as_its_mode_asks_may_leave() {
    for mode in [Mode::Buffered, Mode::Flush, Mode::Sync] {
        let mut stored = Stored::new(mode);
        stored.lease(65);
        stored.flush();
        let left = stored.message(1);
        if mode != Mode::Buffered {
            stored.flush();
        }
        stored.witness.left(&left, &stored.storage, 0);
        assert_eq!((stored.witness.releases.iter().sum::<u64>(), stored.witness.below_lease), (1, 1));
    }
}

#[test]
#[should_panic = "beyond the lease"]
fn a_number_that_leaves_without_a_lease_and_may_be_lost_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    let left = stored.message(1);
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "beyond the lease"]
fn a_number_that_leaves_before_its_lease_is_on_the_media_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    stored.lease(65);
    let left = stored.message(1);
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "beyond the lease"]
fn a_number_at_the_lease_that_may_be_lost_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    stored.lease(65);
    stored.flush();
    let left = stored.message(65);
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "has lost its lease"]
fn a_recovery_that_forgets_a_lease_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    stored.lease(65);
    stored.witness.go_on(&[RecoveredSession::new(0, b"")], &[]);
}

#[test]
#[should_panic = "add up to"]
fn a_recovery_whose_numbers_are_not_those_of_its_records_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    stored.message(1);
    stored.witness.go_on(&[RecoveredSession::new(0, b"")], &[]);
}

#[test]
#[should_panic = "(0, 2) has left"]
fn a_recovery_that_goes_on_below_what_has_left_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    stored.lease(65);
    stored.flush();
    let end = stored.witness.end();
    let left = stored.message(1);
    let mut kept = Kept::of(&stored.journal.flusher, false);
    kept.after(Crash::Node, true);
    stored.witness.left(&left, &stored.storage, 0);
    stored.witness.recovered(end, &kept, &stored.storage, 0, &[]);
    let forgetful = RecoveredSession { lease: 65, ..RecoveredSession::new(0, b"") };
    stored.witness.go_on(&[forgetful], &[]);
}

#[test]
#[should_panic = "archived and not what was appended"]
fn an_archive_that_is_given_something_else_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    stored.message(1);
    stored.flush();
    let mut copy = vec![0; GEOMETRY.segment_bytes as usize];
    stored.storage.read_durable(Slot { journal: 0, number: 0 }, 0, &mut copy);
    stored.witness.archived(0, &copy);
    copy[stored.witness.end() as usize - 64] ^= 1;
    stored.witness.archived(0, &copy);
}

#[test]
#[should_panic = "Flush)) was there"]
fn what_leaves_before_it_is_written_is_found_out() {
    let mut stored = Stored::new(Mode::Flush);
    let left = stored.message(1);
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "Sync)) was there"]
fn what_leaves_before_it_is_synced_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    let left = stored.message(1);
    stored.storage.lie(crate::journal::simulated::Lie::Sync);
    stored.flush();
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "is in no commit"]
fn what_leaves_and_was_never_appended_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    let left = Left { msg_seq_num: 2, ..stored.message(1) };
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "still has"]
fn a_gap_fill_over_a_message_that_could_be_sent_again_is_found_out() {
    let mut stored = Stored::new(Mode::Buffered);
    stored.message(1);
    let left = Left { covers: vec![1], ..stored.message(2) };
    stored.witness.left(&left, &stored.storage, 0);
}

#[test]
#[should_panic = "where no commit"]
fn a_recovery_that_ends_within_a_commit_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    stored.message(1);
    stored.flush();
    let end = stored.witness.end() - 64;
    stored.witness.recovered(end, &Kept::nothing(), &stored.storage, 0, &[]);
}

#[test]
#[should_panic = "must have survived"]
fn a_recovery_that_loses_what_was_synced_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    let end = stored.witness.end();
    stored.message(1);
    stored.flush();
    let mut kept = Kept::of(&stored.journal.flusher, false);
    kept.after(Crash::Node, true);
    stored.witness.recovered(end, &kept, &stored.storage, 0, &[]);
}

#[test]
#[should_panic = "not the same on the media"]
fn a_recovery_that_goes_on_from_what_is_not_on_the_media_is_found_out() {
    let mut stored = Stored::new(Mode::Sync);
    stored.message(1);
    stored.flush();
    let end = stored.witness.end();
    // The first byte of the payload.
    let offset = end - 64;
    stored.storage.corrupt(Slot { journal: 0, number: 0 }, offset, |byte| byte ^ 1);
    stored.witness.recovered(end, &Kept::nothing(), &stored.storage, 0, &[]);
}
