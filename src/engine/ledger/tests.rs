use super::*;
use crate::application::Echo;
use crate::fix::UtcTimestamp;
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{Geometry, Settings, open_over, prepare};
use crate::session::Role;
use crate::sys::ring::RingMemory;

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 256 << 10, segment_bytes: 256 << 10, segments: 3 };
const COMMIT_BYTES_MAX: u32 = 16 << 10;

fn ledger() -> Ledger<Echo> {
    let settings = Settings {
        data_dir: "simulated".into(),
        ring_dir: "simulated".into(),
        geometry: GEOMETRY,
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: crate::journal::FlushMethod::default().into(),
        message_bytes_max: 4 << 10,
        resend_messages_max: 10,
        clock: || 0,
    };
    let storage = SimulatedStorage::new(GEOMETRY);
    let manifest = prepare(&storage, &settings).unwrap();
    let ring = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0;
    let writer = open_over(&storage, manifest, vec![ring], &settings).unwrap().journals.remove(0).writer;
    let retention = Retention::new(GEOMETRY, writer.appended(), 0, 0);
    Ledger::new(writer, Vec::new(), Echo::new(0), 1, COMMIT_BYTES_MAX, Arc::default(), retention)
}

fn slot(number: u32) -> Slot {
    let identity = Identity::new(b"FIX.4.4", b"VENUE", format!("DESK{number}").as_bytes());
    let settings = crate::session::Settings { role: Role::Acceptor, ..crate::session::Settings::default() };
    let link = Link::new(number, Mode::Buffered, identity.to_bytes().into());
    Slot { session: Session::new(Arc::new(settings), identity, Numbers::default()), link, counters: Arc::default() }
}

/// Found in review: an application that asks in a loop made the list longer each time, on the
/// message path.
#[test]
fn sessions_that_are_asked_to_log_out_are_listed_once_however_often_they_are_asked() {
    const SESSIONS: u32 = 5;
    let now = Now { monotonic_ns: 0, utc: UtcTimestamp::from_unix_ns(0) };
    let mut ledger = ledger();
    for number in 0..SESSIONS {
        assert_eq!(ledger.define(now, slot(number)), Ok(number));
    }
    let room = ledger.commit.asked.capacity();
    assert!(room >= SESSIONS as usize, "it never grows on the message path");
    let ask_all = |_: &mut Echo, handle: &mut Handle<'_>| {
        for round in 0..1_000 {
            handle.other(SessionNumber(round % SESSIONS)).unwrap().logout("enough");
        }
    };
    for _ in 0..3 {
        ledger.call(now, 0, ask_all);
        assert_eq!((ledger.commit.asked.len(), ledger.commit.asked.capacity()), (SESSIONS as usize, room));
        // As the worker does once it has looked.
        while let Some(session) = ledger.commit.asked.pop() {
            ledger.slots[session as usize].link.is_asked = false;
        }
    }
}
