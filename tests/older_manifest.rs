//! A manifest that was put back from a copy knows of fewer starts than the journal holds: the directory is held, and goes on above every number that
//! had left. And a restored directory goes on in a timeline of its own, whatever an archive has of the branch that it left: the real binary.

#[path = "kill/desk.rs"]
mod desk;
#[path = "kill/engine.rs"]
mod engine;
#[path = "kill/wire.rs"]
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use desk::Desk;
use engine::{Place, Running, SMALL, Setup, forget_its_file};
use fixring::journal::{Standings, why_held};
use wire::Wire;

impl Desk {
    /// Ends the engine in order: it says Logout.
    fn stop(&mut self, mut engine: Running) {
        engine.terminate();
        assert_eq!(engine.until_ended().0.code(), Some(0));
        self.received += u64::from(self.wire.take().is_some());
    }
}

fn recover(place: &Place, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixring"));
    command.args(["recover", "--config"]).arg(place.config()).args(more).output().unwrap()
}

fn assert_done(output: &Output) {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
}

/// 115 had left, the start said "after a clean stop", and the next Logon had number 13.
#[test]
fn an_older_manifest_is_held_and_the_sessions_go_on_above_all_that_had_left() {
    // Numbers that left after the copy: within the segment that the manifest knows, and laps beyond it.
    for (messages, starts, is_clean) in [(100, 1, true), (100, 3, false), (20_000, 1, true)] {
        let place = Place::new(&SMALL);
        let mut desk = Desk::default();
        let engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(5);
        desk.stop(engine);
        let older = place.path().join("older");
        fs::copy(place.data_dir().join("manifest"), &older).unwrap();
        // Nothing but the journal tells.
        forget_its_file(&older);
        for start in 0..starts {
            let mut engine = place.start_ready();
            desk.log_on(place.port);
            desk.talk(messages);
            if is_clean || start + 1 < starts {
                desk.stop(engine);
            } else {
                engine.kill();
            }
        }
        fs::copy(&older, place.data_dir().join("manifest")).unwrap();
        if is_clean {
            // Nothing but the segments tells.
            fs::remove_dir_all(place.ring_dir()).unwrap();
        }
        let held = place.start();
        held.until_logged("is held: ");
        assert!(Wire::connect(place.port).is_none(), "a held engine takes no session over");
        drop(held);
        let why = why_held(&place.data_dir()).unwrap().expect("it is held");
        assert!(why.contains("older"), "{why}");
        // What is shown is what the journal holds, not what the manifest knows of.
        let standings = Standings::read(&place.data_dir(), None).unwrap();
        let next_out = standings.sessions[0].session.next_out;
        assert!(next_out > desk.received, "{next_out} after {}: {why}", desk.received);
        assert_done(&recover(&place, &["--restored", "--keep-numbers"]));
        let engine = place.start_ready();
        desk.wire = Wire::connect(place.port);
        desk.send("A", "98=0|108=3600|");
        let answer = desk.next();
        assert!(answer.msg_type() == "A" && answer.number(34) >= desk.received, "{answer:?}");
        drop(engine);
    }
}

/// The operator's word alone, before any start has seen that the manifest is older.
#[test]
fn the_operators_word_on_an_older_manifest_counts_what_later_starts_have_sent() {
    let place = Place::new(&SMALL);
    let mut desk = Desk::default();
    let engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(5);
    desk.stop(engine);
    let older = fs::read(place.data_dir().join("manifest")).unwrap();
    for _ in 0..3 {
        let engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(50);
        desk.stop(engine);
    }
    fs::write(place.data_dir().join("manifest"), older).unwrap();
    fs::remove_dir_all(place.ring_dir()).unwrap();
    assert_done(&recover(&place, &["--restored", "--keep-numbers"]));
    let _engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(3);
}

/// Segments are small here, so that some messages seal one.
const ARCHIVED: Setup<'static> = Setup {
    ring_bytes: "64KiB",
    segment_bytes: "64KiB",
    engine: "commit_bytes_max = \"16KiB\"\nmessage_bytes_max = \"4KiB\"\ntemplate_sessions_max = 16\n",
    ..SMALL
};

fn segments_in(archive: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(archive).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// Some 6,800 executed orders existed nowhere: the archive had the lost branch's segments under the names of the restored one's.
#[test]
fn a_restored_directory_is_archived_beside_the_branch_that_it_left() {
    let place = Place::new(&ARCHIVED);
    let archive = place.path().join("archive");
    fs::create_dir(&archive).unwrap();
    let text = fs::read_to_string(place.config()).unwrap();
    let archived = format!("[persistence]\narchive = {archive:?}\narchive_required = true\n");
    fs::write(place.config(), text.replace("[persistence]\n", &archived)).unwrap();
    let mut desk = Desk::default();
    let engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(20);
    desk.stop(engine);
    let copy = place.path().join("copy");
    assert!(Command::new("cp").arg("-a").arg(place.data_dir()).arg(&copy).status().unwrap().success());
    // Messages that a segment holds, so that the lost branch seals some that the restored one will seal too.
    let lost = desk.sent + 1..desk.sent + 2_000;
    let engine = place.start_ready();
    desk.log_on(place.port);
    while desk.sent < lost.end {
        desk.send("1", &format!("112=lost {}|", desk.sent));
        desk.next();
    }
    desk.stop(engine);
    let of_lost = segments_in(&archive);
    assert!(of_lost.len() > 5, "{of_lost:?}");
    fs::remove_dir_all(place.data_dir()).unwrap();
    fs::rename(&copy, place.data_dir()).unwrap();

    let numbers = [desk.received + 1, desk.sent + 1].map(|number| number.to_string());
    let session = ["--session", "FIX.4.4:VENUE->DESK", "--next-out", &numbers[0], "--next-in", &numbers[1]];
    assert_done(&recover(&place, &[&["--restored"], &session[..]].concat()));
    let engine = place.start_ready();
    desk.log_on(place.port);
    let first = desk.sent + 1;
    for _ in 0..2_000 {
        desk.send("1", &format!("112=restored {}|", desk.sent + 1));
        desk.next();
    }
    let last = desk.sent;
    desk.stop(engine);
    // Segments are overwritten only once they are archived, so all is in the archive or in the directory.
    let of_restored: Vec<PathBuf> = segments_in(&archive).into_iter().filter(|path| !of_lost.contains(path)).collect();
    let live = (0..4).map(|number| place.data_dir().join(format!("journal-0/segment-{number}.seg")));
    let all: Vec<String> = of_restored
        .iter()
        .cloned()
        .chain(live)
        .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
        .collect();
    for number in first..=last {
        let text = format!("\u{1}112=restored {number}\u{1}");
        assert!(all.iter().any(|bytes| bytes.contains(&text)), "{text:?} exists nowhere");
    }
    assert!(of_restored.len() > 5, "{of_restored:?}");
    for path in of_lost {
        assert!(path.exists(), "what the archive had of the lost branch stays");
    }
}

/// Two copies of one directory are put into use, each with the operator's word, and reach the same number of starts. Only the timeline tells whose a
/// segment is.
#[test]
fn a_segment_of_another_timeline_is_refused() {
    let place = Place::new(&ARCHIVED);
    let mut desk = Desk::default();
    let engine = place.start_ready();
    desk.log_on(place.port);
    desk.talk(20);
    desk.stop(engine);
    let (copy, other) = (place.path().join("copy"), place.path().join("other"));
    assert!(Command::new("cp").arg("-a").arg(place.data_dir()).arg(&copy).status().unwrap().success());
    let numbers = (desk.sent, desk.received);
    let mut use_it = || {
        (desk.sent, desk.received) = numbers;
        assert_done(&recover(&place, &["--restored", "--keep-numbers"]));
        let engine = place.start_ready();
        desk.log_on(place.port);
        desk.talk(600);
        desk.stop(engine);
        let manifest = fs::read_to_string(place.data_dir().join("manifest")).unwrap();
        let line = |key: &str| manifest.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        (line("timeline = ").expect("a timeline of its own"), line("incarnation = "), line("uuid = "))
    };
    let first = use_it();
    fs::rename(place.data_dir(), &other).unwrap();
    fs::rename(&copy, place.data_dir()).unwrap();
    let second = use_it();
    assert_ne!(first.0, second.0);
    assert_eq!((first.1, first.2), (second.1, second.2));
    let segment = "journal-0/segment-1.seg";
    fs::copy(other.join(segment), place.data_dir().join(segment)).unwrap();
    let (ended, log) = place.start().until_ended();
    assert_eq!(ended.code(), Some(3), "{log}");
    assert!(log.contains("segment-1.seg belongs to another timeline"), "{log}");
}
