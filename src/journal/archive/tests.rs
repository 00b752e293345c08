use std::sync::Mutex;

use super::super::simulated::{Effect, Fault, FaultKind, SimulatedStorage};
use super::super::{Hold, Kind, Mode, NewRecord, Opened, Room, Settings, Slot, open_over, prepare};
use super::*;
use crate::sys::ring::{RingKeeper, RingMemory};

const SEGMENT: u64 = 64 << 10;
const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: SEGMENT, segment_bytes: SEGMENT, segments: 3 };

/// What an archive in memory has, and what it is to do.
#[derive(Default)]
struct Kept {
    copies: Vec<(u64, Vec<u8>, String)>,
    begun: Vec<u8>,
    fails: bool,
    /// What it has is compared before it is taken for the segment.
    is_compared: bool,
    asked: u64,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

impl Memory {
    fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().copies.iter().map(|(number, ..)| *number).collect()
    }

    fn fail(&self, fails: bool) {
        self.0.lock().unwrap().fails = fails;
    }
}

impl ArchiveTarget for Memory {
    fn holding(&mut self, segment: &SealedSegment) -> io::Result<Holding> {
        Ok(match self.numbers().contains(&segment.number) {
            true if self.0.lock().unwrap().is_compared => Holding::Something,
            true => Holding::Whole,
            false => Holding::Nothing,
        })
    }

    fn holds(&mut self, segment: &SealedSegment, sha256: &str) -> io::Result<bool> {
        let kept = self.0.lock().unwrap();
        Ok(kept.copies.iter().any(|(number, _, found)| *number == segment.number && found == sha256))
    }

    fn begin(&mut self, _segment: &SealedSegment) -> io::Result<()> {
        self.0.lock().unwrap().begun.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap();
        if kept.fails {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        kept.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes a moment, as a command does.
    fn finish(&mut self, segment: &SealedSegment, sha256: &str, _now_ns: u64) -> Poll<io::Result<()>> {
        let mut kept = self.0.lock().unwrap();
        kept.asked += 1;
        if kept.asked.is_multiple_of(2) {
            let copy = std::mem::take(&mut kept.begun);
            kept.copies.push((segment.number, copy, sha256.into()));
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn abandon(&mut self) {
        self.0.lock().unwrap().begun.clear();
    }
}

struct Machine {
    storage: SimulatedStorage,
    keeper: RingKeeper,
    manifest: Manifest,
    settings: Settings,
    now_ns: u64,
}

impl Machine {
    fn new() -> (Self, RingMemory) {
        let storage = SimulatedStorage::new(GEOMETRY);
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry: GEOMETRY,
            flush_interval_ns: 1,
            flush_interval_min_ns: 0,
            flush_method: crate::journal::FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        let manifest = prepare(&storage, &settings).unwrap();
        let (ring, keeper) = RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap();
        (Self { storage, keeper, manifest, settings, now_ns: 0 }, ring)
    }

    fn open(&self, ring: RingMemory) -> Opened<SimulatedStorage> {
        let manifest = prepare(&self.storage, &self.settings).unwrap();
        open_over(&self.storage, manifest, vec![ring], &self.settings).unwrap()
    }

    /// Commits and carries until `position` is synced, or the flusher is held and the ring full.
    fn write_to(&mut self, journal: &mut Journal<SimulatedStorage>, position: u64) {
        while journal.watermarks.synced() < position {
            let room = commit(journal);
            self.flush(journal);
            if room == Room::Full && journal.recycling.hold().is_some() {
                return;
            }
        }
    }

    fn flush(&mut self, journal: &mut Journal<SimulatedStorage>) {
        self.now_ns += 1;
        journal.flusher.turn(self.now_ns).unwrap();
    }
}

fn commit(journal: &mut Journal<SimulatedStorage>) -> Room {
    loop {
        match journal.writer.begin(2048) {
            Room::Ready => break,
            Room::RollDue if journal.writer.roll(std::iter::empty(), b"state").unwrap() => {}
            Room::RollDue | Room::Full => return Room::Full,
        }
    }
    journal.writer.append_bytes(NewRecord::internal(Kind::Inbound, 0), &[b'm'; 1500]).unwrap();
    journal.writer.commit(Mode::Buffered);
    Room::Ready
}

/// Turns until it has nothing to do, and what the turns did that is worth telling.
fn archive(archiver: &mut Archiver<SimulatedStorage>, now_ns: u64) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        match archiver.turn(now_ns).unwrap() {
            ArchiveTurn::Idle => return told,
            ArchiveTurn::Worked | ArchiveTurn::Waits => {}
            ArchiveTurn::Known(segment) => told.push(format!("known {}", segment.number)),
            ArchiveTurn::Archived(segment) => told.push(format!("archived {}", segment.number)),
            ArchiveTurn::Differs(segment) => told.push(format!("differs {}", segment.number)),
            ArchiveTurn::Missed(first, last) => told.push(format!("missed {first} to {last}")),
            ArchiveTurn::Failed { retry_in_ns, .. } => told.push(format!("retry in {retry_in_ns}")),
        }
    }
}

fn on_volume(storage: &SimulatedStorage, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; SEGMENT as usize];
    storage.read(Slot { journal: 0, number: (number % 3) as u32 }, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_segment_is_archived_once_its_successors_head_is_synced() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let target = Memory::default();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), false);
    machine.write_to(&mut journal, SEGMENT - 4096);
    assert_eq!(archive(&mut archiver, 0), [""; 0]);
    machine.write_to(&mut journal, SEGMENT + 64);
    assert_eq!((archiver.lag_segments(), archive(&mut archiver, 0)), (1, vec!["archived 0".into()]));
    let kept = target.0.lock().unwrap();
    let (_, bytes, sha256) = &kept.copies[0];
    assert!(*bytes == on_volume(&machine.storage, 0));
    assert_eq!(*sha256, hexadecimal(&Sha256::digest(bytes)));
}

/// FIPS 180-2, the one-block message of its appendix.
#[test]
fn the_checksum_is_sha_256_in_lower_case() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hexadecimal(&Sha256::digest(b"abc")), expected);
    assert_eq!(checksum_line("00ff", "name.seg"), "00ff  name.seg\n");
}

#[test]
fn names_sort_in_the_order_of_the_journal() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let uuid = opened.uuid;
    let mut journal = opened.journals.into_iter().next().unwrap();
    machine.write_to(&mut journal, 2 * SEGMENT + 64);
    let mut source = Source::new(machine.storage.clone(), GEOMETRY, (uuid, uuid), 0);
    let names = [0, 1].map(|number| source.sealed(number).unwrap().name);
    assert_eq!(
        names[1],
        format!(
            "{uuid}-timeline-{uuid}-journal-000-segment-000000000001-position-00000000000000065536-incarnation-0000000001.seg"
        )
    );
    assert!(names[0] < names[1]);
}

#[test]
fn a_segment_that_is_recycled_before_or_while_it_is_copied_is_missed_and_not_kept() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let target = Memory::default();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), false);
    machine.write_to(&mut journal, SEGMENT + 64);
    assert!(matches!(archiver.turn(0).unwrap(), ArchiveTurn::Worked));
    // Segments 0 and 1 are overwritten while the copy of 0 is all but finished.
    machine.write_to(&mut journal, 4 * SEGMENT + 64);
    assert_eq!(archive(&mut archiver, 0), ["missed 0 to 1", "archived 2", "archived 3"]);
    assert_eq!(target.numbers(), [2, 3]);
    assert!(target.0.lock().unwrap().copies[0].1 == on_volume(&machine.storage, 2));
    assert_eq!(journal.recycling.holds(), 0);
}

#[test]
fn a_failing_archive_is_not_asked_more_often_because_segments_are_missed() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let target = Memory::default();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), false);
    target.fail(true);
    machine.write_to(&mut journal, SEGMENT + 64);
    assert_eq!(archive(&mut archiver, 0), ["retry in 1000000000"]);
    machine.write_to(&mut journal, 4 * SEGMENT + 64);
    assert_eq!(archive(&mut archiver, 999_999_999), ["missed 0 to 1"]);
    assert_eq!(archive(&mut archiver, 1_000_000_000), ["retry in 2000000000"]);
}

#[test]
fn a_required_archive_that_fails_stops_the_journal_and_not_the_archive() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let target = Memory::default();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), true);
    target.fail(true);
    machine.write_to(&mut journal, 4 * SEGMENT);
    assert_eq!((journal.watermarks.synced(), journal.recycling.hold()), (3 * SEGMENT, Some(Hold::Archive)));
    assert_eq!(commit(&mut journal), Room::Full);
    let before = on_volume(&machine.storage, 0);
    // Each failure waits longer than the one before, up to a bound.
    let mut waited = Vec::new();
    let mut now_ns = 0;
    for _ in 0..7 {
        waited.extend(archive(&mut archiver, now_ns));
        assert_eq!(archive(&mut archiver, now_ns), [""; 0]);
        now_ns += 30_000_000_000;
    }
    let expected = [1, 2, 4, 8, 16, 30, 30].map(|seconds| format!("retry in {}", seconds * 1_000_000_000_u64));
    assert_eq!(waited, expected);
    machine.flush(&mut journal);
    assert!(on_volume(&machine.storage, 0) == before, "what is not archived is not overwritten");
    target.fail(false);
    assert_eq!(archive(&mut archiver, now_ns), ["archived 0", "archived 1"]);
    machine.flush(&mut journal);
    assert_eq!((commit(&mut journal), journal.recycling.hold()), (Room::Ready, None));
    machine.write_to(&mut journal, 9 * SEGMENT);
    assert_eq!((journal.watermarks.synced(), journal.recycling.hold()), (5 * SEGMENT, Some(Hold::Archive)));
    assert!(target.0.lock().unwrap().copies[0].1 == before);
}

#[test]
fn a_restart_archives_what_is_sealed_and_not_archived_and_nothing_twice() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let target = Memory::default();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), true);
    machine.write_to(&mut journal, SEGMENT + 64);
    assert_eq!(archive(&mut archiver, 0), ["archived 0"]);
    machine.write_to(&mut journal, 2 * SEGMENT + 64);
    // The copy of segment 1 has begun when the process dies.
    assert!(matches!(archiver.turn(0).unwrap(), ArchiveTurn::Worked));
    drop((journal, archiver));
    machine.storage.crash_process();
    let opened = machine.open(machine.keeper.open().unwrap());
    let mut journal = opened.journals.into_iter().next().unwrap();
    let mut archiver = journal.archiver(uuid, Box::new(target.clone()), true);
    assert_eq!(archive(&mut archiver, 0), ["known 0", "archived 1"]);
    machine.write_to(&mut journal, 4 * SEGMENT + 64);
    assert_eq!(archive(&mut archiver, 0), ["archived 2", "archived 3"]);
    assert_eq!(target.numbers(), [0, 1, 2, 3]);
}

/// The flusher writes over a segment only once it is archived, and may die over it.
#[test]
fn a_segment_that_is_begun_over_is_not_compared_with_its_archived_copy() {
    for is_archived in [true, false] {
        let (mut machine, ring) = Machine::new();
        let opened = machine.open(ring);
        let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
        let target = Memory::default();
        target.0.lock().unwrap().is_compared = true;
        let mut archiver = journal.archiver(uuid, Box::new(target.clone()), false);
        machine.write_to(&mut journal, 2 * SEGMENT + SEGMENT / 2);
        if is_archived {
            assert_eq!(archive(&mut archiver, 0), ["archived 0", "archived 1"]);
        }
        while journal.watermarks.appended() <= 3 * SEGMENT {
            assert_eq!(commit(&mut journal), Room::Ready);
        }
        // The segment's last write, its sync, and then the next one's first write does not come.
        machine.storage.inject(Fault { after_calls: 2, kind: FaultKind::Death, effect: Effect::Nothing });
        journal.flusher.turn(machine.now_ns + 1).unwrap_err();
        drop((journal, archiver));
        machine.storage.calm();
        machine.storage.crash_process();
        // A write of the next segment has come so far.
        for at in 0..4096 {
            machine.storage.corrupt(Slot { journal: 0, number: 0 }, at, |byte| byte ^ 0x55);
        }
        let opened = machine.open(RingMemory::anonymous(GEOMETRY.ring_bytes).unwrap().0);
        let journal = opened.journals.into_iter().next().unwrap();
        assert_eq!(journal.watermarks.synced(), 3 * SEGMENT, "the next one's head was not written");
        let mut archiver = journal.archiver(uuid, Box::new(target.clone()), false);
        let told = archive(&mut archiver, 0);
        let expected = if is_archived { ["known 0", "known 1"] } else { ["missed 0 to 0", "archived 1"] };
        assert_eq!(told[..2], expected, "{told:?}");
    }
}

/// A ring that outlives the process holds what the flusher was kept from writing. Recovery would have written it over the segment
/// that is not archived.
#[test]
fn recovery_overwrites_no_segment_that_is_not_archived() {
    let (mut machine, ring) = Machine::new();
    let opened = machine.open(ring);
    let (uuid, mut journal) = (opened.uuid, opened.journals.into_iter().next().unwrap());
    let mut target = Memory::default();
    let archiver = journal.archiver(uuid, Box::new(target.clone()), true);
    machine.write_to(&mut journal, 4 * SEGMENT);
    assert!(journal.watermarks.appended() > 3 * SEGMENT);
    let before = on_volume(&machine.storage, 0);
    drop((journal, archiver));
    machine.storage.crash_process();
    let ring = machine.keeper.open().unwrap();
    let appended = ring.marks().appended;
    let (storage, manifest) = (machine.storage.clone(), machine.manifest.clone());
    target.fail(true);
    let failed = archive_before_recovery(&storage, &manifest, 0, appended, &mut target, || 0);
    assert!(matches!(failed, Err(ArchiveError::Target(segment, _)) if segment.number == 0));
    target.fail(false);
    let archived = archive_before_recovery(&storage, &manifest, 0, appended, &mut target, || 0).unwrap();
    assert_eq!((archived[0].number, archived.len(), target.numbers()), (0, 1, vec![0]));
    // It is asked for once, and not at all where the ring holds nothing of a new segment.
    assert!(archive_before_recovery(&storage, &manifest, 0, appended, &mut target, || 0).unwrap().is_empty());
    drop(target.0.lock().unwrap().copies.pop());
    assert!(archive_before_recovery(&storage, &manifest, 0, 3 * SEGMENT, &mut target, || 0).unwrap().is_empty());
    // The volume has lost the newest segment, so that the ring's head is the next but one.
    let whole = storage.image();
    storage.lose_segment(Slot { journal: 0, number: 2 });
    let archived = archive_before_recovery(&storage, &manifest, 0, appended, &mut target, || 0).unwrap();
    assert_eq!(archived.iter().map(|segment| segment.number).collect::<Vec<_>>(), [0]);
    storage.put_back(&whole);
    drop(machine.open(ring));
    assert!(on_volume(&storage, 0) != before, "recovery carries the ring into the oldest segment");
}

/// What the unit tests above drive, on a real volume.
mod on_disk {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::journal::{FileStorage, open};

    fn opened(directory: &Path) -> Opened<FileStorage> {
        let settings = Settings {
            data_dir: directory.join("data"),
            ring_dir: directory.into(),
            geometry: GEOMETRY,
            flush_interval_ns: 1,
            flush_interval_min_ns: 0,
            flush_method: crate::journal::FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        open(&settings).unwrap()
    }

    fn write_to(journal: &mut Journal<FileStorage>, position: u64) {
        while journal.watermarks.synced() < position {
            loop {
                match journal.writer.begin(2048) {
                    Room::Ready => break,
                    Room::RollDue if journal.writer.roll(std::iter::empty(), b"state").unwrap() => {}
                    Room::RollDue | Room::Full => journal.flusher.drain(0).unwrap(),
                }
            }
            journal.writer.append_bytes(NewRecord::internal(Kind::Inbound, 0), &[b'm'; 1500]).unwrap();
            journal.writer.commit(Mode::Buffered);
            journal.flusher.drain(0).unwrap();
        }
    }

    /// Turns through failures too, until it is idle. The time passes with the turns.
    fn run(archiver: &mut Archiver<FileStorage>, now_ns: &mut u64) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            *now_ns += 1_000_000;
            match archiver.turn(*now_ns).unwrap() {
                ArchiveTurn::Idle => return told,
                ArchiveTurn::Worked => {}
                ArchiveTurn::Waits => std::thread::yield_now(),
                ArchiveTurn::Known(segment) => told.push(format!("known {}", segment.number)),
                ArchiveTurn::Archived(segment) => told.push(format!("archived {}", segment.number)),
                ArchiveTurn::Differs(segment) => told.push(format!("differs {}", segment.number)),
                ArchiveTurn::Missed(first, last) => told.push(format!("missed {first} to {last}")),
                ArchiveTurn::Failed { error, .. } => told.push(error.to_string()),
            }
        }
    }

    fn names_in(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_gets_whole_files_and_their_checksums_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let archive = temporary.path().join("archive");
        let opened = opened(temporary.path());
        let uuid = opened.uuid;
        let mut journal = opened.journals.into_iter().next().unwrap();
        write_to(&mut journal, 2 * SEGMENT + 64);
        let target = || Box::new(ArchiveDirectory::new(&archive, uuid, 0, SEGMENT));
        let mut now_ns = 0;
        let mut archiver = journal.archiver(uuid, target(), false);
        let told = run(&mut archiver, &mut now_ns);
        assert!(told.len() == 1 && told[0].contains("archive: No such file"), "{told:?}");
        fs::create_dir(&archive).unwrap();
        now_ns += RETRY_NS_MAX;
        assert_eq!(run(&mut archiver, &mut now_ns), ["archived 0", "archived 1"]);
        let names = names_in(&archive);
        assert_eq!(names.len(), 4, "{names:?}");
        for name in names.iter().filter(|name| name.ends_with(".seg")) {
            let line = fs::read_to_string(archive.join(format!("{name}.sha256"))).unwrap();
            let bytes = fs::read(archive.join(name)).unwrap();
            assert_eq!(line, checksum_line(&hexadecimal(&Sha256::digest(&bytes)), name));
        }
        let again = &mut journal.archiver(uuid, target(), false);
        assert_eq!(run(again, &mut now_ns), ["known 0", "known 1"]);
        // Without its proof a copy may be torn, and is made anew.
        fs::remove_file(archive.join(format!("{}.sha256", names[0]))).unwrap();
        fs::write(archive.join(&names[0]), b"torn").unwrap();
        let again = &mut journal.archiver(uuid, target(), false);
        assert_eq!(run(again, &mut now_ns), ["archived 0", "known 1"]);
        assert_eq!(fs::metadata(archive.join(&names[0])).unwrap().len(), SEGMENT);
    }

    /// A restored directory came upon the segments of the branch that it had left under the names of its own, and took them for archived: what it
    /// had itself was overwritten, and existed nowhere.
    #[test]
    fn other_bytes_under_a_segments_name_are_never_taken_for_the_segment() {
        let temporary = tempfile::tempdir().unwrap();
        let archive = temporary.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let opened = opened(temporary.path());
        let uuid = opened.uuid;
        let mut journal = opened.journals.into_iter().next().unwrap();
        write_to(&mut journal, 2 * SEGMENT + 64);
        let (target, now_ns) = (|| Box::new(ArchiveDirectory::new(&archive, uuid, 0, SEGMENT)), &mut 0);
        assert_eq!(run(&mut journal.archiver(uuid, target(), true), now_ns), ["archived 0", "archived 1"]);
        let name = names_in(&archive).into_iter().find(|name| name.contains("-segment-000000000001-")).unwrap();
        let name = name.trim_end_matches(".sha256").to_owned();
        assert!(name.contains(&format!("-timeline-{}-", opened.timeline)), "{name}");
        // Whole by its own proof.
        let other = vec![b'x'; SEGMENT as usize];
        fs::write(archive.join(&name), &other).unwrap();
        let line = checksum_line(&hexadecimal(&Sha256::digest(&other)), &name);
        fs::write(archive.join(format!("{name}.sha256")), &line).unwrap();
        let told = run(&mut journal.archiver(uuid, target(), true), now_ns);
        assert_eq!(told, ["known 0", "differs 1", "archived 1"]);
        assert_eq!(fs::read(archive.join(&name)).unwrap(), other);
        let beside = names_in(&archive).into_iter().find(|name| name.contains("-sha256-") && name.ends_with(".seg"));
        let beside = beside.expect("it is stored beside what was there");
        let mut segment = vec![0; SEGMENT as usize];
        let slot = Slot { journal: 0, number: 1 };
        journal.storage.read(slot, 0, &mut segment).unwrap();
        assert_eq!(fs::read(archive.join(&beside)).unwrap(), segment);
        // A later start finds it there, and copies nothing again.
        assert_eq!(run(&mut journal.archiver(uuid, target(), true), now_ns), ["known 0", "known 1"]);
        // A proof without its copy, or with what is left of it, proves nothing.
        let losses: [&dyn Fn(&Path); 3] =
            [&|path| fs::remove_file(path).unwrap(), &|path| fs::write(path, "").unwrap(), &|path| {
                fs::write(path, &segment[..SEGMENT as usize / 2]).unwrap()
            }];
        for lose in losses {
            lose(&archive.join(&beside));
            let told = run(&mut journal.archiver(uuid, target(), true), now_ns);
            assert_eq!(told, ["known 0", "differs 1", "archived 1"]);
            assert_eq!(fs::read(archive.join(&beside)).unwrap(), segment);
        }
    }

    fn script(directory: &Path, text: &str) -> String {
        let path = directory.join("archive.sh");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path.to_str().unwrap().into()
    }

    #[test]
    fn a_command_gets_path_name_and_checksum_and_is_not_called_again_for_what_it_has() {
        let temporary = tempfile::tempdir().unwrap();
        let archive = temporary.path().join("archive");
        fs::create_dir(&archive).unwrap();
        let opened = opened(temporary.path());
        let uuid = opened.uuid;
        let mut journal = opened.journals.into_iter().next().unwrap();
        write_to(&mut journal, 2 * SEGMENT + 64);
        let program = script(temporary.path(), "cp \"$1\" \"$4/$2\" && echo \"$3  $2\" >> \"$4/sums\"");
        let arguments = [&program, "{path}", "{name}", "{sha256}", archive.to_str().unwrap()].map(String::from);
        let (data_dir, now_ns) = (temporary.path().join("data"), &mut 0);
        let target = || Box::new(ArchiveCommand::new(&arguments, u64::MAX, &data_dir, GEOMETRY, (uuid, uuid), 0));
        assert_eq!(run(&mut journal.archiver(uuid, target(), false), now_ns), ["archived 0", "archived 1"]);
        assert_eq!(run(&mut journal.archiver(uuid, target(), false), now_ns), ["known 0", "known 1"]);
        let sums = fs::read_to_string(archive.join("sums")).unwrap();
        assert_eq!(sums.lines().count(), 2);
        for line in sums.lines() {
            let (sha256, name) = line.split_once("  ").unwrap();
            assert_eq!(sha256, hexadecimal(&Sha256::digest(fs::read(archive.join(name)).unwrap())));
        }
    }

    #[test]
    fn a_command_that_fails_is_quoted_and_one_that_hangs_is_killed_with_all_that_it_started() {
        let temporary = tempfile::tempdir().unwrap();
        let opened = opened(temporary.path());
        let uuid = opened.uuid;
        let mut journal = opened.journals.into_iter().next().unwrap();
        write_to(&mut journal, SEGMENT + 64);
        let data_dir = temporary.path().join("data");
        let target = |program: &str, timeout_ns| {
            let arguments = [program.into(), "{path}".into()];
            Box::new(ArchiveCommand::new(&arguments, timeout_ns, &data_dir, GEOMETRY, (uuid, uuid), 0))
        };
        let program = script(temporary.path(), "echo 'no bucket of that name' >&2; exit 3");
        let told = run(&mut journal.archiver(uuid, target(&program, u64::MAX), false), &mut 0);
        assert!(told.len() == 1 && told[0].ends_with("exit status: 3: no bucket of that name"), "{told:?}");
        let told = run(&mut journal.archiver(uuid, target("/no/such/program", u64::MAX), false), &mut 0);
        assert!(told.len() == 1 && told[0].contains("/no/such/program cannot be started"), "{told:?}");
        // The script's own child would outlive it.
        let said = temporary.path().join("child");
        let program =
            script(temporary.path(), &format!("sleep 1000 & echo $! > {}.new; mv {0}.new {0}; wait", said.display()));
        let mut archiver = journal.archiver(uuid, target(&program, 1_000), false);
        while !said.exists() {
            assert!(matches!(archiver.turn(0).unwrap(), ArchiveTurn::Worked | ArchiveTurn::Waits));
        }
        assert!(matches!(archiver.turn(999).unwrap(), ArchiveTurn::Waits));
        let ArchiveTurn::Failed { error, .. } = archiver.turn(1_000).unwrap() else { panic!("its time is over") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let stat = format!("/proc/{}/stat", fs::read_to_string(said).unwrap().trim());
        // Killed, and reaped by whoever inherited it, or about to be.
        while let Ok(stat) = fs::read_to_string(&stat) {
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
            if state == Some('Z') {
                break;
            }
            std::thread::yield_now();
        }
    }
}
