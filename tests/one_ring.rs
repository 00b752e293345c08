//! One directory, one ring: the real binary beside copies of its data directory, without its lock, over rings that outlived a boot, and with
//! things in the place of its files that are no files.

#[path = "kill/desk.rs"]
mod desk;
#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use desk::Desk;
use engine::{Place, Running, SMALL, Setup, free_port};
use fixring::journal::why_held;
use wire::{DEADLINE, Wire};

const DATA_DIRECTORY: i32 = 3;
const SHARED_MEMORY: i32 = 6;

/// A configuration of its own, over another directory and other ports, with the same rings.
fn beside(place: &Place, data_dir: &Path) -> (PathBuf, u16) {
    let (config, port) = (place.path().join("beside.toml"), free_port());
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replace(&place.port.to_string(), &port.to_string());
    fs::write(&config, text.replace(place.data_dir().to_str().unwrap(), data_dir.to_str().unwrap())).unwrap();
    (config, port)
}

fn start_with(config: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["run", "--config"]).arg(config);
    Running::of(command)
}

fn recover(config: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["recover", "--config"]).arg(config).args(more).output().unwrap()
}

fn check(config: &Path) -> String {
    text_of(&Command::new(env!("CARGO_BIN_EXE_fixring")).args(["check", "--config"]).arg(config).output().unwrap())
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn ended_with(mut engine: Running, status: i32) -> String {
    let (ended, log) = engine.until_ended();
    assert_eq!(ended.code(), Some(status), "{log}");
    log
}

/// A restore drill took production down: the copy took the original's ring, was ready, and the original ended with status 4.
#[test]
fn a_copy_beside_its_running_original_is_refused_until_it_has_a_timeline_of_its_own() {
    let place = Place::new(&SMALL);
    let mut original = place.start_ready();
    let mut desk = Desk::default();
    desk.log_on(place.port);
    desk.talk(5);
    let drill = place.path().join("drill");
    copy(&place.data_dir(), &drill);
    desk.talk(200);
    let (config, port) = beside(&place, &drill);

    let log = ended_with(start_with(&config), DATA_DIRECTORY);
    assert!(log.contains("is in use by another process") && log.contains("fixring recover --restored"), "{log}");
    assert_eq!(why_held(&drill).unwrap(), None, "nothing was written into it");
    assert!(check(&config).contains("is in use by another process"));
    desk.talk(1);
    let output = recover(&config, &["--restored", "--keep-numbers"]);
    assert!(output.status.success(), "{}", text_of(&output));
    let mut copied = start_with(&config);
    copied.until_ready();
    let mut other = Desk { sent: 300, received: 1, ..Desk::default() };
    other.wire = Wire::connect(port);
    other.send("A", "98=0|108=3600|141=Y|");
    desk.talk(200);

    // Neither has anything of the other's, whoever ends first.
    copied.kill();
    desk.talk(1);
    original.kill();
    let mut original = place.start_ready();
    desk.log_on(place.port);
    original.until_logged("the ring was accepted");
    desk.talk(5);
    original.terminate();
    assert_eq!(original.until_ended().0.code(), Some(0));
    let copied = start_with(&config);
    copied.until_ready();
    assert_eq!(why_held(&place.data_dir()).unwrap(), None);
}

#[test]
fn a_copy_whose_original_is_stopped_is_held_and_leaves_it_its_ring() {
    for clean in [true, false] {
        let place = Place::new(&SMALL);
        let mut original = place.start_ready();
        let mut desk = Desk::default();
        desk.log_on(place.port);
        desk.talk(20);
        if clean {
            original.terminate();
            assert_eq!(original.until_ended().0.code(), Some(0));
            // The Logout that it sent.
            desk.received += 1;
        } else {
            original.kill();
        }
        let drill = place.path().join("drill");
        copy(&place.data_dir(), &drill);
        let (config, _) = beside(&place, &drill);
        let found = check(&config);
        assert!(found.contains("a start will hold it: its directory journal-0"), "{found}");
        let held = start_with(&config);
        held.until_logged("is a copy");
        held.terminate();
        ended_with(held, 0);
        assert!(why_held(&drill).unwrap().is_some_and(|why| why.contains("journal-0")));
        assert!(recover(&config, &["--restored", "--keep-numbers"]).status.success());
        let mut copied = start_with(&config);
        copied.until_ready();
        copied.kill();

        let original = place.start_ready();
        original.until_logged("the ring was accepted");
        desk.log_on(place.port);
        desk.talk(5);
    }
}

/// Put back in the place of its original, it has the same path, and may have the same number of a file.
#[test]
fn a_copy_of_the_same_start_that_is_put_back_is_held_with_the_ring_and_without_it() {
    for (mode, keeps_ring) in [("buffered", true), ("sync", true), ("sync", false)] {
        let place = Place::new(&Setup { mode, ..SMALL });
        let mut engine = place.start_ready();
        let mut desk = Desk::default();
        desk.log_on(place.port);
        desk.talk(5);
        copy(&place.data_dir(), &place.path().join("copy"));
        desk.talk(100);
        engine.kill();
        fs::remove_dir_all(place.data_dir()).unwrap();
        fs::rename(place.path().join("copy"), place.data_dir()).unwrap();
        if !keeps_ring {
            fs::remove_dir_all(place.ring_dir()).unwrap();
        }
        let held = place.start();
        held.until_logged("is held: its directory journal-0 is not the one that was last used");
        assert!(Wire::connect(place.port).is_none(), "a held engine takes no session over");
    }
}

/// Puts the files of a copy into the directory that it was made of, as a restore over it does: each
/// written over, or a new one in its place.
fn put_back(copy: &Path, over: &Path, renames: bool) {
    for entry in fs::read_dir(copy).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), over.join(entry.unwrap().file_name()));
        if from.is_dir() {
            put_back(&from, &to, renames);
        } else if renames {
            let new = to.with_extension("restored");
            fs::copy(&from, &new).unwrap();
            fs::rename(&new, &to).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// An engine has talked with it and was stopped in order.
fn desk_of_a_stopped_engine(place: &Place) -> Desk {
    let mut engine = place.start_ready();
    let mut desk = Desk::default();
    desk.log_on(place.port);
    desk.talk(5);
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    desk.received += 1;
    desk
}

/// The journals' directories are the same then, and with the ring lost every number that had left
/// since was used again.
#[test]
fn a_copy_whose_files_are_put_back_into_the_directory_itself_is_held() {
    for (mode, renames) in [("buffered", true), ("buffered", false), ("sync", true), ("sync", false)] {
        let place = Place::new(&Setup { mode, ..SMALL });
        let mut desk = desk_of_a_stopped_engine(&place);
        let kept = place.path().join("copy");
        copy(&place.data_dir(), &kept);
        let mut engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(100);
        engine.kill();
        put_back(&kept, &place.data_dir(), renames);
        fs::remove_dir_all(place.ring_dir()).unwrap();
        let found = check(&place.config());
        assert!(found.contains("a start will hold it: its file manifest is not the one"), "{found}");
        let held = place.start();
        held.until_logged("is held: its file manifest is not the one that was written last");
        assert!(Wire::connect(place.port).is_none(), "a held engine takes no session over");
        drop(held);
        let numbers = ["--restored", "--session", "FIX.4.4:VENUE->DESK", "--next-out", "300", "--next-in", "200"];
        let output = recover(&place.config(), &numbers);
        assert!(output.status.success(), "{}", text_of(&output));
        let _freed = place.start_ready();
        (desk.sent, desk.received) = (199, 299);
        desk.log_on(place.port);
        desk.talk(1);
    }
}

/// All that a start had written, with its first record: as if it had sent nothing, the numbers of
/// the stop before were used again.
#[test]
fn segments_that_know_nothing_of_the_last_start_are_held_where_it_had_begun() {
    for mode in ["buffered", "sync"] {
        let place = Place::new(&Setup { mode, ..SMALL });
        let mut desk = desk_of_a_stopped_engine(&place);
        let kept = place.path().join("copy");
        copy(&place.data_dir().join("journal-0"), &kept);
        let mut engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(100);
        let manifest = || fs::read_to_string(place.data_dir().join("manifest")).unwrap();
        let deadline = Instant::now() + DEADLINE;
        while !manifest().contains("\nreached = ") {
            assert!(Instant::now() < deadline, "{}", manifest());
            desk.talk(1);
        }
        engine.kill();
        place.is_damaged("its segments are older than its manifest");
        put_back(&kept, &place.data_dir().join("journal-0"), false);
        fs::remove_dir_all(place.ring_dir()).unwrap();
        let held = place.start();
        held.until_logged("the manifest says that it was synced up to");
        assert!(Wire::connect(place.port).is_none(), "a held engine takes no session over");
    }
}

#[test]
fn a_directory_that_was_moved_is_itself() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut desk = Desk::default();
    desk.log_on(place.port);
    desk.talk(20);
    engine.kill();
    let moved = place.path().join("moved");
    fs::rename(place.data_dir(), &moved).unwrap();
    let (config, port) = beside(&place, &moved);
    let engine = start_with(&config);
    engine.until_ready();
    engine.until_logged("the ring was accepted");
    desk.log_on(port);
    desk.talk(5);
}

/// Two engines ran over one ring, and numbers went back.
#[test]
fn without_the_locks_file_the_rings_own_lock_keeps_a_second_engine_away() {
    let place = Place::new(&SMALL);
    let _first = place.start_ready();
    let mut desk = Desk::default();
    desk.log_on(place.port);
    desk.talk(20);
    fs::remove_file(place.data_dir().join("lock")).unwrap();
    let (config, _) = beside(&place, &place.data_dir());
    for _ in 0..2 {
        let log = ended_with(start_with(&config), DATA_DIRECTORY);
        assert!(log.contains(".ring\" is in use by another process"), "{log}");
        let output = recover(&config, &["--restored", "--keep-numbers"]);
        assert_eq!(output.status.code(), Some(DATA_DIRECTORY), "{}", text_of(&output));
    }
    desk.talk(20);
}

fn ring_of(place: &Place) -> PathBuf {
    fs::read_dir(place.ring_dir()).unwrap().next().unwrap().unwrap().path()
}

/// Makes a ring look as an earlier boot, or another machine, has left it: `sys/ring.rs` and `journal/ring_file.rs` say what lies where.
fn of_another_boot(ring: &Path) {
    const BOOT_ID: std::ops::Range<usize> = 64..80;
    const CRC: usize = 80;
    let file = File::options().read(true).write(true).open(ring).unwrap();
    let mut header = [0; CRC + 4];
    file.read_exact_at(&mut header, 0).unwrap();
    header[BOOT_ID].iter_mut().for_each(|byte| *byte ^= 0x55);
    let crc = crc_fast::crc32_iscsi(&header[..CRC]);
    header[CRC..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
}

/// With `ring_dir` on the volume a ring survives the death of its node, as old as it may be, and the lease was skipped.
#[test]
fn a_ring_of_an_earlier_boot_is_not_believed_and_the_lease_applies() {
    for is_ahead in [true, false] {
        let place = Place::new(&SMALL);
        let mut engine = place.start_ready();
        let mut desk = Desk::default();
        desk.log_on(place.port);
        desk.talk(20);
        engine.kill();
        let ring = ring_of(&place);
        of_another_boot(&ring);
        if !is_ahead {
            // Its marks are as old as its pages.
            let file = File::options().write(true).open(&ring).unwrap();
            [128, 256, 384].iter().for_each(|mark| file.write_all_at(&4096u64.to_le_bytes(), *mark).unwrap());
        }
        let engine = place.start_ready();
        engine.until_logged("go on at their leases");
        assert!(!engine.log_text().contains("the ring was accepted"), "{}", engine.log_text());
        desk.wire = Wire::connect(place.port);
        desk.send("A", "98=0|108=3600|");
        let answer = desk.next();
        assert!(answer.msg_type() == "A" && answer.number(34) > desk.received, "{answer:?}");
    }
}

#[test]
fn a_clean_stop_needs_no_ring_of_the_same_boot() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    let mut desk = Desk::default();
    desk.log_on(place.port);
    desk.talk(20);
    engine.terminate();
    assert_eq!(engine.until_ended().0.code(), Some(0));
    desk.received += 1;
    of_another_boot(&ring_of(&place));
    let engine = place.start_ready();
    engine.until_logged("after a clean stop");
    desk.log_on(place.port);
    desk.talk(3);
    assert!(!place.data_dir().join("quarantine").exists(), "there is nothing to keep");
}

/// A FIFO in the ring's place hung the start, which then ignored SIGTERM.
#[test]
fn nothing_that_stands_in_the_place_of_a_file_hangs_a_start() {
    let place = Place::new(&SMALL);
    let mut engine = place.start_ready();
    engine.kill();
    let (data, ring) = (place.data_dir(), ring_of(&place));
    let needed = [
        (ring.clone(), SHARED_MEMORY),
        (data.join("manifest"), 4),
        (data.join("lock"), DATA_DIRECTORY),
        (data.join("journal-0/segment-0.seg"), 4),
        (data.join("journal-0/segment-3.seg"), 4),
    ];
    type Put = fn(&Path);
    let stood_in: [(&str, Put); 4] = [
        ("a FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a symbolic link", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
    ];
    let aside = place.path().join("aside");
    for (path, status) in needed {
        fs::rename(&path, &aside).unwrap();
        for (what, put) in stood_in {
            put(&path);
            let log = ended_with(place.start(), status);
            assert!(log.contains(path.to_str().unwrap()) && log.contains(what), "{path:?}: {log}");
            if what == "a directory" {
                fs::remove_dir(&path).unwrap()
            } else {
                fs::remove_file(&path).unwrap()
            };
        }
        fs::rename(&aside, &path).unwrap();
    }
    // These are notes: a start goes on without them.
    for name in ["flush-method", "flush-method.new", "recovery.json", "recovery.json.new"] {
        let path = data.join(name);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        place.start_ready().kill();
        fs::remove_file(&path).unwrap();
    }
}

/// A start that is refused for one journal moved another's ring to quarantine each time: a ring a restart, until the volume was full.
#[test]
fn a_start_that_is_refused_again_and_again_keeps_each_piece_once() {
    let two = SMALL.engine.to_owned() + "workers = 2\n";
    let place = Place::new(&Setup { engine: &two, ..SMALL });
    let mut engine = place.start_ready();
    engine.kill();
    place.is_damaged("one journal's only head is overwritten, so that each start is refused");
    // A ring that cannot be believed, and a journal whose only head is gone.
    let ring = fs::read_dir(place.ring_dir()).unwrap().map(|entry| entry.unwrap().path());
    let ring = ring.into_iter().find(|path| path.to_str().unwrap().ends_with("-0.ring")).unwrap();
    File::options().write(true).open(&ring).unwrap().write_all_at(&[0x5a; 32], 16).unwrap();
    let other = place.data_dir().join("journal-1/segment-0.seg");
    File::options().write(true).open(&other).unwrap().write_all_at(&[0x5a; 512], 0).unwrap();
    File::options()
        .write(true)
        .open(place.data_dir().join("journal-1/segment-1.seg"))
        .unwrap()
        .write_all_at(&[0x5a; 512], 0)
        .unwrap();
    let held_bytes = || {
        let entries = fs::read_dir(place.data_dir().join("quarantine")).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
    };
    let mut after = Vec::new();
    for _ in 0..3 {
        let engine = place.start();
        engine.until_logged("journal 1");
        drop(engine);
        after.push(held_bytes());
    }
    assert!(after[0] == after[1] && after[1] == after[2], "{after:?}");
}
