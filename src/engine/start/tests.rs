use super::*;

/// Found in review: the engine went on without its flusher, and a stop then waited for ever.
#[test]
fn a_housekeeping_thread_that_panics_ends_the_engine() {
    let mut engine = Engine {
        signals: Arc::default(),
        shared: Shared::new(1, 1),
        control: None,
        acceptors: Vec::new(),
        workers: Vec::new(),
        others: Vec::new(),
        resolver: None,
        archiver: None,
        watch: None,
        log: None,
        housekeeping_cores: Vec::new(),
        lock: None,
        ends: Ends { data_dir: PathBuf::new(), incarnation: 0, marks: Vec::new() },
        stop_patience: Duration::from_secs(60),
    };
    let signals = Arc::clone(&engine.signals);
    let turns = move || {
        while !signals.fatal.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    };
    engine.workers.push(spawn("worker".into(), &[], turns).unwrap());
    engine.housekeeping("fixring-flush", &[], |_| panic!("a bug, for this test")).unwrap();
    assert!(matches!(engine.wait(), Err(EngineError::Panicked { thread }) if thread == "fixring-flush"));
}

#[test]
fn a_journal_with_a_session_that_this_build_does_not_know_is_an_error_and_no_panic() {
    let session = RecoveredSession::new;
    let good = b"FIX.4.4\x01VENUE\x01\x01\x01DESK\x01\x01";
    let foreign = b"FIX.9.9\x01VENUE\x01\x01\x01DESK\x01\x01";
    assert!(check_recovered(0, &[session(0, good)]).is_ok());
    assert!(check_recovered(0, &[session(0, good), RecoveredSession::forgotten(1, 1)]).is_ok());
    for bad in [session(0, foreign), session(0, b"garbage"), session(1, good)] {
        assert!(check_recovered(0, &[bad]).is_err());
    }
}
