use super::super::simulated::SimulatedStorage;
use super::super::{FlushMethod, Flusher, Settings, open_over, prepare};
use super::*;
use crate::sys::ring::RingMemory;

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 128 << 10, segments: 3 };

fn journal() -> (Writer, Flusher<SimulatedStorage>) {
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
    let mut journal = open_over(&storage, manifest, vec![ring], &settings).unwrap().journals.remove(0);
    assert_eq!(journal.writer.begin(64), Room::RollDue, "a new journal begins with a head");
    assert_eq!(journal.writer.roll(std::iter::empty(), b""), Ok(true));
    (journal.writer, journal.flusher)
}

fn outbound(sent_after: Option<u64>) -> NewRecord {
    NewRecord { sent_after, ..NewRecord::internal(Kind::Outbound, 0) }
}

#[test]
fn a_connection_walks_its_own_records_and_waits_for_the_end_of_their_commit() {
    let (mut writer, mut flusher) = journal();
    assert_eq!(writer.begin(1024), Room::Ready);
    let first = writer.append_bytes(outbound(None), b"first").unwrap();
    let other = writer.append_bytes(outbound(None), b"of another connection").unwrap();
    let second = writer.append_bytes(outbound(Some(first)), b"second").unwrap();
    assert_eq!(writer.next_send(first), None, "not before the commit");
    let end = writer.commit(Mode::Flush);
    assert_eq!(
        (writer.next_send(first), writer.next_send(second), writer.next_send(other)),
        (Some(second), None, None)
    );
    assert!(!writer.released(first) && writer.sendable(first) == Sendable::Held);
    flusher.turn(0).unwrap();
    assert!(writer.watermark(Mode::Flush) == end && writer.released(first) && writer.released(second));
    assert_eq!(writer.payload(second), b"second");
    assert_eq!(writer.sendable(second), Sendable::Payload(b"second"));
}

#[test]
fn an_abandoned_commit_leaves_no_link() {
    let (mut writer, _flusher) = journal();
    assert_eq!(writer.begin(1024), Room::Ready);
    let first = writer.append_bytes(outbound(None), b"first").unwrap();
    let end = writer.commit(Mode::Buffered);
    assert_eq!(writer.begin(1024), Room::Ready);
    writer.append_bytes(outbound(Some(first)), b"abandoned").unwrap();
    writer.abandon();
    assert_eq!((writer.appended(), writer.next_send(first)), (end, None));
    assert_eq!(writer.begin(1024), Room::Ready);
    let next = writer.append_bytes(outbound(None), b"of another connection").unwrap();
    writer.commit(Mode::Buffered);
    assert_eq!((next, writer.next_send(first)), (end, None));
    assert!(writer.released(first) && writer.released(next));
}

#[test]
fn a_record_beyond_the_reservation_is_back_pressure_and_one_beyond_the_limit_is_too_long() {
    let (mut writer, _flusher) = journal();
    assert_eq!(writer.begin(256), Room::Ready);
    assert_eq!(writer.append_bytes(outbound(None), &[0; 193]), Err(AppendError::Full));
    writer.append_bytes(outbound(None), &[0; 192]).unwrap();
    assert_eq!(writer.append_bytes(outbound(None), b""), Err(AppendError::Full));
    writer.commit(Mode::Buffered);
    assert_eq!(writer.begin(16 << 10), Room::Ready);
    assert_eq!(writer.append_bytes(outbound(None), &[0; 4097]), Err(AppendError::Overflow));
}

#[test]
fn a_ring_that_is_not_carried_fills_and_says_so_before_anything_is_begun() {
    let (mut writer, mut flusher) = journal();
    let mut commits = 0;
    while writer.begin(4 << 10) == Room::Ready {
        writer.append_bytes(outbound(None), &[0; 3000]).unwrap();
        writer.commit(Mode::Buffered);
        commits += 1;
    }
    assert!((18..22).contains(&commits), "{commits}");
    assert_eq!(writer.begin(4 << 10), Room::Full);
    flusher.turn(0).unwrap();
    assert_eq!(writer.begin(4 << 10), Room::Ready);
}

#[test]
fn what_the_next_commit_may_overwrite_is_no_longer_in_the_ring() {
    let (mut writer, mut flusher) = journal();
    assert_eq!(writer.begin(1024), Room::Ready);
    let first = writer.append_bytes(outbound(None), b"first").unwrap();
    writer.commit(Mode::Buffered);
    while writer.appended() + 4096 <= GEOMETRY.ring_bytes + first {
        assert!(writer.is_in_ring(first));
        flusher.turn(0).unwrap();
        assert_eq!(writer.begin(4096), Room::Ready);
        writer.append_bytes(outbound(None), &[0; 4000]).unwrap();
        writer.commit(Mode::Buffered);
    }
    flusher.turn(0).unwrap();
    assert_eq!(writer.begin(4096), Room::Ready);
    assert!(!writer.is_in_ring(first) && writer.sendable(first) == Sendable::Gone);
    assert_eq!((writer.next_send(first), writer.released(first)), (None, false));
}

#[test]
fn a_snapshot_beyond_a_quarter_of_the_ring_is_refused_and_the_journal_goes_on() {
    let (mut writer, mut flusher) = journal();
    // Half of the segment is still free: it is padded lap by lap, as the flusher makes room.
    let mut rolls = 0;
    let error = loop {
        match writer.roll(std::iter::empty(), &[0; 20 << 10]) {
            Ok(is_done) => assert!(!is_done),
            Err(error) => break error,
        }
        flusher.turn(0).unwrap();
        rolls += 1;
    };
    assert!(error.bytes > error.bytes_max && rolls > 0);
    assert_eq!(writer.begin(64), Room::RollDue);
    assert_eq!(writer.roll(std::iter::empty(), b"smaller"), Ok(true));
    assert_eq!(writer.begin(64), Room::Ready);
}
