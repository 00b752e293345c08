//! The real binary when its surroundings fail: the ring's memory goes, a write fails, there is no room. Each ends with the
//! documented status, and what the next start finds is all that was acknowledged: the client checks every number.
//!
//! Real devices fail in `scripts/power-cut --eio`. Here a limit on the size of files (setrlimit(2), RLIMIT_FSIZE, with SIGXFSZ
//! ignored) makes writes fail that are otherwise good, which needs no privilege.

#[path = "kill/client.rs"]
mod client;
#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use client::Client;
use engine::{Place, Running, SMALL, Setup};
use wire::Party;

const STORAGE: i32 = 4;
const SHARED_MEMORY: i32 = 6;
const SIGBUS: i32 = 7;
const PAGE_BYTES: u64 = 4096;

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };

#[test]
fn a_ring_that_is_cut_under_the_engine_ends_it_with_6_and_in_sync_mode_nothing_is_lost() {
    // With the header page, which every thread looks at, and without it.
    for left_bytes in [0, PAGE_BYTES] {
        let place = Place::new(&Setup { mode: "sync", ..SMALL });
        let mut client = Client::new(PARTY, place.port);
        let mut engine = place.start_ready();
        client.log_on();
        trade(&mut client, 100);
        File::options().write(true).open(ring_of(&place)).unwrap().set_len(left_bytes).unwrap();
        client.send_order();
        let (status, log) = engine.until_ended();
        assert_eq!(status.code(), Some(SHARED_MEMORY), "{log}");
        // Another thread may say something while the process ends.
        let said = log.lines().find(|line| line.starts_with("shared memory failed: "));
        assert!(said.is_some_and(|said| said.contains("persistence.ring_dir")), "{log}");
        client.drain();
        goes_on(&place, &mut client);
    }
}

#[test]
fn sigbus_from_outside_is_no_lost_memory_and_kills() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    assert!(Command::new("kill").args(["-BUS", &engine.pid().to_string()]).status().unwrap().success());
    let (status, log) = engine.until_ended();
    assert_eq!(status.signal(), Some(SIGBUS), "{log}");
}

#[test]
fn a_write_that_fails_ends_the_engine_with_4_and_what_was_acknowledged_is_there() {
    for mode in ["buffered", "flush", "sync"] {
        let place = Place::new(&Setup { mode, ..SMALL });
        let mut client = Client::new(PARTY, place.port);
        let mut engine = start_limited(&place, "unlimited");
        engine.until_ready();
        client.log_on();
        trade(&mut client, 100);
        let pid = engine.pid().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=4096:4096"]).status();
        assert!(limited.expect("prlimit of util-linux").success());
        let answered = client.answered();
        (0..50).for_each(|_| client.send_order());
        let (status, log) = engine.until_ended();
        assert_eq!(status.code(), Some(STORAGE), "{mode}: {log}");
        // Which segment: the one that is written, or one that is still being zero-written.
        assert!(log.contains("storage failed: cannot write") && log.contains("/segment-"), "{log}");
        client.drain();
        if mode != "buffered" {
            assert_eq!(client.answered(), answered, "{mode}: an order was acknowledged that could not be stored");
        }
        goes_on(&place, &mut client);
    }
}

#[test]
fn without_room_for_segments_or_manifest_the_start_ends_with_4_and_says_the_remedy() {
    let place = Place::new(&SMALL);
    // In blocks of 512 bytes: half a segment.
    let (status, log) = start_limited(&place, "1024").until_ended();
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    assert!(log.contains("cannot allocate the segments") && log.contains("ulimit -f"), "{log}");

    let mut client = Client::new(PARTY, place.port);
    let mut engine = place.start_ready();
    client.log_on();
    trade(&mut client, 10);
    client.log_out();
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    // After a stop in order nothing waits in the ring, so the manifest is the first that a start
    // writes.
    assert_eq!(refused_without_room(&place), "manifest");

    let mut engine = place.start_ready();
    client.log_on();
    trade(&mut client, 10);
    engine.kill();
    client.drain();
    // After a kill, what only the ring has goes to its segment first: how much that is, the moment
    // decided.
    assert!(["manifest", "segment-0.seg"].contains(&refused_without_room(&place).as_str()));
    goes_on(&place, &mut client);
}

/// Starts where no file may grow, and returns the name of the file that could not be written.
fn refused_without_room(place: &Place) -> String {
    let manifest = fs::read(place.data_dir().join("manifest")).unwrap();
    let (status, log) = start_limited(place, "0").until_ended();
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    assert!(log.contains("ulimit -f"), "{log}");
    assert_eq!(fs::read(place.data_dir().join("manifest")).unwrap(), manifest);
    let said = log.lines().last().unwrap();
    let (path, _) = said.split_once(": File too large").expect(said);
    path.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_directory_gets_more_segments_at_a_start_after_a_stop_in_order_and_keeps_what_it_had() {
    let place = Place::new(&Setup { segment_bytes: "256KiB", ..SMALL });
    let segments = |count: u32| {
        let text = fs::read_to_string(place.config()).unwrap();
        let (before, after) = text.split_once("segments = ").unwrap();
        let after = after.split_once('\n').unwrap().1;
        fs::write(place.config(), format!("{before}segments = {count}\n{after}")).unwrap();
    };
    let mut client = Client::new(PARTY, place.port);
    let mut engine = place.start_ready();
    client.log_on();
    // More than once round.
    trade(&mut client, 4_000);
    let stop = |engine: &mut Running, client: &mut Client| {
        client.log_out();
        engine.terminate();
        assert_eq!(engine.until_ended().0.code(), Some(0));
    };
    stop(&mut engine, &mut client);
    segments(7);
    let mut engine = place.start_ready();
    engine.until_logged("the data directory had 4 segments a journal and has 7 now");
    client.log_on();
    client.ask_again();
    trade(&mut client, 1_000);
    place.assert_whole();
    engine.kill();
    client.drain();
    segments(9);
    let mut engine = place.start_ready();
    engine.until_logged("the data directory stays at 7 for now: its last engine did not stop in order");
    client.log_on();
    trade(&mut client, 10);
    stop(&mut engine, &mut client);
    let mut engine = place.start_ready();
    engine.until_logged("had 7 segments a journal and has 9 now");
    client.log_on();
    trade(&mut client, 4_000);
    stop(&mut engine, &mut client);
    client.check_complete();
    place.assert_whole();
    segments(8);
    let (status, log) = place.start().until_ended();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("the data directory has 9, and can only get more: set persistence.segments = 9"), "{log}");
}

/// Found in review: after a start that was cut off while it moved files, `check` refused what a
/// start did, and `journal verify` called the moved files foreign.
#[test]
fn a_growth_that_was_cut_off_is_known_to_check_and_to_the_tools_and_the_next_start_finishes_it() {
    let place = Place::new(&Setup { segment_bytes: "256KiB", ..SMALL });
    let mut client = Client::new(PARTY, place.port);
    let mut engine = place.start_ready();
    client.log_on();
    // More than once round, so that files move.
    trade(&mut client, 4_000);
    client.log_out();
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    let fixring = |command: &[&str], place_of: [&str; 2]| {
        let output = Command::new(env!("CARGO_BIN_EXE_fixring")).args(command).args(place_of).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (data_dir, config) = (place.data_dir(), place.config());
    let (of_data, of_config) = (["--data-dir", data_dir.to_str().unwrap()], ["--config", config.to_str().unwrap()]);
    let stored = fixring(&["journal", "cat"], of_data).1;
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("segments = 4", "segments = 7")).unwrap();
    // Names can be changed and the manifest written, and no new segment gets its room.
    let (status, log) = start_limited(&place, "256").until_ended();
    assert_eq!(status.code(), Some(STORAGE), "{log}");
    assert!(log.contains("ulimit -f"), "{log}");

    let (status, said) = fixring(&["check"], of_config);
    assert!(status == Some(0) && said.contains("a start was cut off while it gave the data directory 7"), "{said}");
    let (status, said) = fixring(&["journal", "verify"], of_data);
    assert!(status == Some(0) && said.contains("it was being given 7 segments"), "{said}");
    assert_eq!(fixring(&["journal", "cat"], of_data).1, stored);
    let (status, said) = fixring(&["recover"], of_data);
    assert!(status == Some(3) && said.contains("start fixring once"), "{said}");
    let (status, said) = fixring(&["journal", "repair"], of_data);
    assert!(status == Some(3) && said.contains("start fixring once"), "{said}");
    fs::write(&config, &text).unwrap();
    let (status, said) = fixring(&["check"], of_config);
    assert!(status == Some(2) && said.contains("set it to 7"), "{said}");
    fs::write(&config, text.replace("segments = 4", "segments = 7")).unwrap();

    goes_on(&place, &mut client);
}

fn trade(client: &mut Client, orders: u32) {
    (0..orders).for_each(|_| client.send_order());
    client.until("all reports", |client| client.unanswered() == 0);
}

/// In surroundings that are well again, everything is answered once, no number is missing or used twice, and the stop is clean.
fn goes_on(place: &Place, client: &mut Client) {
    let mut engine = place.start_ready();
    client.log_on();
    trade(client, 10);
    client.log_out();
    client.check_complete();
    engine.terminate();
    let (status, log) = engine.until_ended();
    assert_eq!(status.code(), Some(0), "{log}");
    place.assert_whole();
}

/// With a limit on the size of its files; in blocks of 512 bytes, sh(1).
fn start_limited(place: &Place, blocks: &str) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_fixring")).args(["run", "--config"]).arg(place.config());
    Running::of(command)
}

fn ring_of(place: &Place) -> PathBuf {
    fs::read_dir(place.ring_dir()).unwrap().next().expect("one ring").unwrap().path()
}
