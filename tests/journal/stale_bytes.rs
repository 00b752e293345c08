//! What earlier laps have left behind a journal's end is not taken for records.

use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{FlushMethod, Geometry, Journal, Kind, Mode, NewRecord, Room, Settings, open_over, prepare};
use fixring::sys::ring::RingMemory;

const LAP_BYTES: u64 = 256 << 10;
const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: LAP_BYTES, segment_bytes: LAP_BYTES, segments: 4 };

/// With a ring of its own, as after the loss of the pod.
fn open(storage: &SimulatedStorage) -> Journal<SimulatedStorage> {
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
    let manifest = prepare(storage, &settings).unwrap();
    let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
    open_over(storage, manifest, vec![ring], &settings).unwrap().journals.remove(0)
}

/// Found by the simulator: the room between records keeps what the ring had there a lap before. Where that was a header, and the end of a
/// payload has run into its length (a CheckSum(10) of "x33" reads as 78,643 bytes), the search for records behind the end gave up and took
/// a whole segment of stale bytes for lost ones. A clean stop counted as unclean, and each session went on at its lease.
#[test]
fn headers_of_earlier_laps_that_payloads_have_run_into_do_not_make_a_clean_stop_unclean() {
    let storage = SimulatedStorage::new(GEOMETRY);
    let mut journal = open(&storage);
    let mut number = 0;
    let mut append = |journal: &mut Journal<SimulatedStorage>, payload: &[u8], to: u64| {
        while journal.writer.appended() < to {
            while journal.writer.begin(1024) == Room::RollDue {
                journal.writer.roll(std::iter::empty(), b"").unwrap();
            }
            number += 1;
            let new = NewRecord { msg_seq_num: number, ..NewRecord::internal(Kind::Inbound, 0) };
            journal.writer.append_bytes(new, payload).unwrap();
            journal.writer.commit(Mode::Buffered);
            journal.flusher.turn(number).unwrap();
        }
    };
    // Headers each 128 bytes, then payloads that end three bytes behind each 128th, then round to the segment that has both.
    append(&mut journal, &[b'x'; 64], LAP_BYTES);
    let mut payload = [b'x'; 67];
    payload[64..].copy_from_slice(b"33\x01");
    append(&mut journal, &payload, 2 * LAP_BYTES);
    append(&mut journal, &[b'x'; 64], 5 * LAP_BYTES + 4_096);
    assert_eq!(journal.writer.clean_stop(0), Room::Ready);
    journal.flusher.turn(u64::MAX).unwrap();
    drop(journal);

    let report = open(&storage).recovered.report;
    assert!(report.clean_stop && !report.may_have_lost(), "{report}");
    assert_eq!(report.discarded_bytes, 0, "{report}");
}
