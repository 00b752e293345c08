//! Neither an append nor a flush allocates once the journal is open.

use fixring::journal::{FlushMethod, Geometry, Kind, Mode, NewRecord, Room, SessionState, Settings, open};
use fixring::sys::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn appending_rolling_and_flushing_allocate_nothing() {
    let root = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: root.path().join("data"),
        ring_dir: root.path().join("ring"),
        geometry: Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 4 },
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 100,
        clock: || 0,
    };
    let mut opened = open(&settings).unwrap();
    let journal = &mut opened.journals[0];
    let state = SessionState {
        number: 1,
        next_out: 1,
        next_in: 1,
        epoch: 0,
        lease: 0,
        last_out: 0,
        last_in: 0,
        began_s: 0,
        next_out_from_peer: false,
        identity: b"one",
    };
    let before = Counting::on_this_thread();
    let mut previous = None;
    let mut rolls = 0;
    for now_ns in 0..500 {
        while journal.writer.begin(2_048) != Room::Ready {
            assert_eq!(journal.writer.roll([state].into_iter(), b"snapshot"), Ok(true));
            rolls += 1;
        }
        let inbound = journal.writer.append_bytes(NewRecord::internal(Kind::Inbound, 1), &[1; 200]).unwrap();
        journal.writer.mark_counted(inbound);
        let new = NewRecord { sent_after: previous, ..NewRecord::internal(Kind::Outbound, 1) };
        previous = journal.writer.append_bytes(new, &[2; 300]).ok();
        journal.writer.commit(Mode::Sync);
        journal.flusher.turn(now_ns).unwrap();
        assert!(previous.is_some_and(|position| journal.writer.released(position)));
    }
    assert!(rolls > 2);
    assert_eq!(Counting::on_this_thread(), before);
}
