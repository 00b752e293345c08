//! Where sessions go on after a loss: at their lease, whatever else dies before that is written down.

use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{
    Geometry, Journal, Kind, Mode, NewRecord, PlacedRollback, RecoveredSession, RecoveryReport, RingFound, Rollback,
    Room, Settings, StoredNumbers, open_over, prepare,
};
use fixring::sys::ring::{RingKeeper, RingMemory};

const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 3 };

/// A volume, and the ring while its machine lives.
struct Machine {
    settings: Settings,
    storage: SimulatedStorage,
    keeper: Option<RingKeeper>,
}

impl Machine {
    fn new() -> Self {
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 1_000,
            flush_interval_min_ns: 0,
            flush_method: fixring::journal::FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        Self { settings, storage: SimulatedStorage::new(GEOMETRY), keeper: None }
    }

    fn ring(&mut self) -> RingMemory {
        match &self.keeper {
            Some(keeper) => keeper.open().unwrap(),
            None => {
                let (ring, keeper) = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap();
                self.keeper = Some(keeper);
                ring
            }
        }
    }

    /// `None` where an injected failure came first.
    fn try_open(&mut self) -> Option<Journal<SimulatedStorage>> {
        let ring = self.ring();
        let opened = prepare(&self.storage, &self.settings)
            .and_then(|manifest| open_over(&self.storage, manifest, vec![ring], &self.settings));
        self.storage.crash_process();
        opened.ok().map(|mut opened| opened.journals.remove(0))
    }

    fn open(&mut self) -> Journal<SimulatedStorage> {
        self.try_open().expect("a sound volume")
    }

    fn node_dies(&mut self) {
        self.storage.crash_node(&mut fastrand::Rng::with_seed(1));
        self.keeper = None;
    }
}

fn begin(journal: &mut Journal<SimulatedStorage>) {
    let sessions = journal.recovered.sessions.clone();
    loop {
        match journal.writer.begin(1024) {
            Room::Ready => return,
            Room::Full => _ = journal.flusher.turn(0).unwrap(),
            Room::RollDue => {
                journal.writer.roll(sessions.iter().map(RecoveredSession::state), b"").unwrap();
            }
        }
    }
}

/// Session 0 with its next number, a lease, and one message that only the ring has.
fn live(journal: &mut Journal<SimulatedStorage>, next_out: u64, lease: u64) {
    begin(journal);
    if journal.recovered.sessions.is_empty() {
        journal.writer.append_session_defined(0, 0, b"session").unwrap();
    }
    journal.writer.append_numbers(0, 0, StoredNumbers { next_out, next_in: 7, epoch: 0, lease }).unwrap();
    journal.writer.commit(Mode::Buffered);
    journal.flusher.drain(0).unwrap();
    begin(journal);
    let message = NewRecord { msg_seq_num: next_out, ..NewRecord::internal(Kind::Outbound, 0) };
    journal.writer.append_bytes(message, b"left and lost").unwrap();
    journal.writer.commit(Mode::Buffered);
}

fn next_out(journal: &Journal<SimulatedStorage>) -> u64 {
    journal.recovered.sessions[0].next_out
}

fn report(journal: &Journal<SimulatedStorage>) -> &RecoveryReport {
    &journal.recovered.report
}

#[test]
fn a_session_goes_on_at_its_lease_after_a_loss_and_the_bounds_are_told() {
    let mut machine = Machine::new();
    live(&mut machine.open(), 5, 64);
    machine.node_dies();
    let journal = machine.open();
    let rollback = Rollback { epoch: 0, lost_from: 5, lost_to: 64, next_in: 7 };
    assert_eq!((next_out(&journal), journal.recovered.sessions[0].rollback), (64, Some(rollback)));
    let position = report(&journal).end;
    assert_eq!(journal.recovered.rollbacks, [PlacedRollback { position, session: 0, rollback }]);
    assert!(report(&journal).to_string().contains("may be lost, 1 sessions go on at their leases"));
}

#[test]
fn a_ring_that_is_accepted_and_a_clean_stop_skip_nothing() {
    let mut machine = Machine::new();
    live(&mut machine.open(), 5, 64);
    let mut journal = machine.open();
    assert_eq!((next_out(&journal), report(&journal).ring), (6, RingFound::Accepted));
    begin(&mut journal);
    journal.writer.abandon();
    assert_eq!(journal.writer.clean_stop(0), Room::Ready);
    journal.flusher.drain(0).unwrap();
    machine.node_dies();
    let journal = machine.open();
    assert_eq!((next_out(&journal), journal.recovered.rollbacks.len()), (6, 0));
    // A start of which nothing reached the volume has sent nothing either.
    drop(journal);
    machine.node_dies();
    let journal = machine.open();
    assert_eq!((next_out(&journal), report(&journal).clean_stop), (6, true));
}

#[test]
fn a_ring_that_lacks_what_it_promised_is_a_loss() {
    let mut machine = Machine::new();
    let mut journal = machine.open();
    live(&mut journal, 5, 64);
    begin(&mut journal);
    journal.writer.append_bytes(NewRecord { msg_seq_num: 6, ..NewRecord::internal(Kind::Outbound, 0) }, b"").unwrap();
    journal.writer.commit(Mode::Buffered);
    let last = journal.writer.appended() - 64;
    drop(journal);
    machine.ring().data_mut()[last as usize] ^= 1;
    let journal = machine.open();
    assert_eq!((next_out(&journal), report(&journal).ring), (64, RingFound::Accepted));
    assert_eq!((report(&journal).discarded_bytes, report(&journal).may_have_lost()), (64, true));
}

/// However many starts die between finding the loss and writing it down, with the ring of each kept or gone.
#[test]
fn a_start_that_dies_at_any_point_leaves_the_move_to_the_next() {
    for calls in 0..30 {
        for keeps_ring in [true, false] {
            let mut machine = Machine::new();
            live(&mut machine.open(), 5, 64);
            machine.node_dies();
            machine.storage.fail_after(calls);
            drop(machine.try_open());
            if !keeps_ring {
                machine.node_dies();
            }
            // This one comes through and dies before it has appended anything.
            drop(machine.open());
            if !keeps_ring {
                machine.node_dies();
            }
            let mut journal = machine.open();
            assert_eq!(next_out(&journal), 64, "{calls} calls, {keeps_ring}: {}", report(&journal));
            // Written down, it holds without the manifest's help, and nothing moves further.
            begin(&mut journal);
            journal.writer.abandon();
            journal.flusher.drain(0).unwrap();
            drop(journal);
            for _ in 0..3 {
                let mut journal = machine.open();
                assert_eq!(next_out(&journal), 64);
                begin(&mut journal);
                journal.writer.abandon();
                if !keeps_ring {
                    machine.node_dies();
                }
            }
        }
    }
}

#[test]
fn a_lease_that_is_used_up_or_was_never_taken_moves_nothing() {
    for lease in [0, 5] {
        let mut machine = Machine::new();
        live(&mut machine.open(), 5, lease);
        machine.node_dies();
        let journal = machine.open();
        assert_eq!((next_out(&journal), report(&journal).sessions_moved), (5, 0));
        assert!(report(&journal).may_have_lost(), "inbound messages may come again all the same");
    }
}

#[test]
fn a_head_states_the_moved_numbers_by_itself() {
    let mut machine = Machine::new();
    let mut journal = machine.open();
    live(&mut journal, 5, 64);
    // The next start begins with a head: this segment is full.
    while journal.writer.appended() < GEOMETRY.segment_bytes - 1024 {
        begin(&mut journal);
        journal.writer.append_bytes(NewRecord::internal(Kind::Inbound, 0), &[b'x'; 500]).unwrap();
        journal.writer.commit(Mode::Buffered);
        journal.flusher.turn(u64::MAX).unwrap();
    }
    journal.flusher.drain(0).unwrap();
    drop(journal);
    machine.node_dies();
    let mut journal = machine.open();
    assert_eq!(next_out(&journal), 64);
    begin(&mut journal);
    journal.writer.abandon();
    journal.flusher.drain(0).unwrap();
    drop(journal);
    machine.node_dies();
    let journal = machine.open();
    assert_eq!((report(&journal).state_position, next_out(&journal)), (Some(GEOMETRY.segment_bytes), 64));
}
