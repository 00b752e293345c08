//! More segments for a data directory that has some: `persistence.segments` was raised.
//!
//! A segment's file is the one of its number modulo the count, so a larger count moves files that
//! were written. It is done between an orderly stop and the next recovery, when every segment has
//! its head and the rings hold nothing that the segments lack. Each step can be the last one, and
//! the next start goes on:
//!
//! 1. the manifest says what the directory grows to, and with which segment each journal begins
//!    from now on;
//! 2. each file that moves gets the name `growing-<number>.seg`, and then its new one. What a file
//!    holds, its head says;
//! 3. new files are made, and take their space; they, and the names, are on stable media before
//! 4. the manifest has the new count, and the directory grows no more.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sys::file;

use super::file_storage::{journal_dir, segment_path};
use super::held::{self, why_to_hold};
use super::record::HEADER_BYTES;
use super::state::head_identity;
use super::{FileStorage, FlushMethod, Geometry, Manifest, OpenError, Slot, StorageError};

const START_BYTES: usize = 512;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Growth {
    /// The directory is as large as it should be, or larger.
    Unasked,
    Grown {
        from: u32,
    },
    /// It stays as it is at this start, and why.
    Later {
        why: &'static str,
    },
}

/// A file of a journal's directory, by its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Missing,
    Blank,
    Segment(u64),
    /// Something else: recovery says what.
    Unknown,
}

/// Grows the directory where the configuration asks for more segments. Call it with the directory's
/// lock. `step` is called before each change, and what it fails with ends the growth there.
pub(super) fn grow(
    data_dir: &Path,
    ring_dir: &Path,
    wanted: Geometry,
    method: FlushMethod,
    step: &mut dyn FnMut() -> Result<(), StorageError>,
) -> Result<Growth, OpenError> {
    let storage = FileStorage::open(data_dir, wanted);
    // Whatever is wrong with it is said by who opens the directory.
    let Some(Ok(mut manifest)) = Manifest::read(&storage)? else { return Ok(Growth::Unasked) };
    let mut growth = Growth::Unasked;
    if manifest.last_use.growing_to > manifest.geometry.segments {
        // The last step writes the manifest, which no longer shows then that it was put back from a
        // copy.
        if manifest.last_use.held.is_empty() {
            held::refuse(&storage, &mut manifest, data_dir, ring_dir)?;
        }
        growth = Growth::Grown { from: manifest.geometry.segments };
        finish(data_dir, &mut manifest, method, step)?;
    }
    let is_larger = wanted.segments > manifest.geometry.segments;
    if !is_larger || manifest.check(Geometry { segments: manifest.geometry.segments, ..wanted }).is_err() {
        return Ok(growth);
    }
    if !manifest.last_use.held.is_empty() || why_to_hold(&manifest, data_dir, ring_dir)?.is_some() {
        return Ok(Growth::Later { why: "it is held" });
    }
    match firsts(data_dir, &manifest) {
        Ok(firsts) => {
            room_for(data_dir, &manifest, wanted)?;
            let from = manifest.geometry.segments;
            manifest.last_use.growing_to = wanted.segments;
            manifest.last_use.first_segments = firsts;
            step()?;
            manifest.write(&storage)?;
            finish(data_dir, &mut manifest, method, step)?;
            Ok(Growth::Grown { from })
        }
        Err(why) => Ok(Growth::Later { why }),
    }
}

/// The oldest segment of each journal, where all are as an orderly stop leaves them.
fn firsts(data_dir: &Path, manifest: &Manifest) -> Result<Vec<u64>, &'static str> {
    let geometry = manifest.geometry;
    let journals = usize::from(geometry.journals);
    if manifest.last_use.ends.len() != journals {
        return Err("its last engine did not stop in order: it grows at the start after the next stop");
    }
    let of_journal = |journal: u16| {
        let held = |number| held(&segment_path(data_dir, journal, number), manifest, journal);
        let files: Vec<Held> = (0..geometry.segments).map(held).collect();
        let mut segments = Vec::new();
        for (number, held) in (0u64..).zip(&files) {
            match held {
                Held::Segment(segment) if segment % u64::from(geometry.segments) == number => segments.push(*segment),
                Held::Blank => {}
                _ => return Err("not all of its segments are what they should be: see `fixring journal verify`"),
            }
        }
        segments.sort_unstable();
        let end = manifest.last_use.ends[usize::from(journal)];
        let newest = end.saturating_sub(1) / geometry.segment_bytes;
        let is_contiguous = segments.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        // A journal that has not come round has its first ones; one that has, has as many as there
        // are files, but for those before the directory has grown the last time.
        let first = segments.first().copied().unwrap_or(0);
        let least = (newest + 1).saturating_sub(geometry.segments.into()).max(manifest.last_use.first_segment(journal));
        if segments.last() != Some(&newest) || !is_contiguous || first != least {
            return Err("its segments do not end where it stopped: see `fixring journal verify`");
        }
        Ok(first)
    };
    (0..geometry.journals).map(of_journal).collect()
}

/// The volume has room for the new files. Told before anything is changed.
fn room_for(data_dir: &Path, manifest: &Manifest, wanted: Geometry) -> Result<(), OpenError> {
    let more = u64::from(wanted.segments - manifest.geometry.segments);
    let needed_bytes = more * wanted.segment_bytes * u64::from(manifest.geometry.journals);
    match file::space(data_dir) {
        Ok(space) if space.free_bytes < needed_bytes => {
            let key = "persistence.segments";
            Err(OpenError::Volume(format!(
                "{key} was raised from {} to {}, for which data_dir {data_dir:?} needs {} MiB more and has {}: enlarge the volume, or set \
                 {key} = {}",
                manifest.geometry.segments,
                wanted.segments,
                needed_bytes >> 20,
                space.free_bytes >> 20,
                manifest.geometry.segments
            )))
        }
        _ => Ok(()),
    }
}

/// The steps behind the manifest's word, as many of them as are not done.
fn finish(
    data_dir: &Path,
    manifest: &mut Manifest,
    method: FlushMethod,
    step: &mut dyn FnMut() -> Result<(), StorageError>,
) -> Result<(), OpenError> {
    let count = manifest.last_use.growing_to;
    let geometry = Geometry { segments: count, ..manifest.geometry };
    for journal in 0..geometry.journals {
        move_files(data_dir, manifest, journal, count, step)?;
    }
    step()?;
    // It syncs the directories, and with them the names that were changed.
    let storage = FileStorage::open(data_dir, geometry);
    storage.allocate(true, method)?;
    step()?;
    for slot in (0..geometry.journals).flat_map(|journal| (0..count).map(move |number| Slot { journal, number })) {
        let path = segment_path(data_dir, slot.journal, slot.number);
        let synced = file::open_to_read(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| StorageError::new("sync", path.display().to_string(), error))?;
    }
    step()?;
    manifest.geometry = geometry;
    manifest.last_use.growing_to = 0;
    manifest.write(&storage)?;
    Ok(())
}

/// Where the segments of a directory are whose growth was cut off, by journal and by their new
/// number; `None` where there is no file yet.
pub(super) fn places(data_dir: &Path, manifest: &Manifest) -> Vec<Vec<Option<PathBuf>>> {
    let count = manifest.last_use.growing_to;
    let of_journal = |journal: u16| {
        let mut places = vec![None; count as usize];
        // What cannot be read stays where it is, unless another has that place.
        let mut unread = Vec::new();
        let both = |number| [segment_path(data_dir, journal, number), growing_path(data_dir, journal, number)];
        for (number, path) in (0..count).flat_map(|number| both(number).map(|path| (number, path))) {
            match held(&path, manifest, journal) {
                Held::Segment(segment) => places[(segment % u64::from(count)) as usize] = Some(path),
                Held::Unknown => unread.push((number, path)),
                Held::Missing | Held::Blank => {}
            }
        }
        for (number, path) in unread {
            places[number as usize].get_or_insert(path);
        }
        places
    };
    (0..manifest.geometry.journals).map(of_journal).collect()
}

/// Whether a growth that was cut off can be gone on with. The error is the one that a start would
/// end with.
pub(super) fn check_resumable(data_dir: &Path, manifest: &Manifest) -> Result<(), OpenError> {
    match unreadable(data_dir, manifest).first() {
        Some((journal, number)) => Err(unmovable(data_dir, *journal, *number)),
        None => Ok(()),
    }
}

/// The files of a directory whose growth was cut off that it cannot move, by journal and old
/// number.
pub(super) fn unreadable(data_dir: &Path, manifest: &Manifest) -> Vec<(u16, u32)> {
    let geometry = manifest.geometry;
    let all = (0..geometry.journals).flat_map(|journal| (0..geometry.segments).map(move |number| (journal, number)));
    let is_unreadable = |(journal, number): &(u16, u32)| {
        held(&segment_path(data_dir, *journal, *number), manifest, *journal) == Held::Unknown
    };
    all.filter(is_unreadable).collect()
}

fn unmovable(data_dir: &Path, journal: u16, number: u32) -> OpenError {
    let path = segment_path(data_dir, journal, number);
    let why = format!("how {} begins cannot be read, so it cannot be moved to its new place", path.display());
    OpenError::Damaged { journal, why }
}

fn move_files(
    data_dir: &Path,
    manifest: &Manifest,
    journal: u16,
    count: u32,
    step: &mut dyn FnMut() -> Result<(), StorageError>,
) -> Result<(), OpenError> {
    for number in 0..count {
        let path = segment_path(data_dir, journal, number);
        let segment = match held(&path, manifest, journal) {
            Held::Segment(segment) => segment,
            // All were known when the growth began: to pass this one over would be to lose it.
            Held::Unknown if number < manifest.geometry.segments => return Err(unmovable(data_dir, journal, number)),
            _ => continue,
        };
        let target = (segment % u64::from(count)) as u32;
        if target != number {
            step()?;
            rename(&path, &growing_path(data_dir, journal, target))?;
        }
    }
    for number in 0..count {
        let (from, to) = (growing_path(data_dir, journal, number), segment_path(data_dir, journal, number));
        if !from.exists() {
            continue;
        }
        // What was made there meanwhile, by a repair, holds nothing.
        if !matches!(held(&to, manifest, journal), Held::Missing | Held::Blank) {
            let why = format!("{} and {} are both there, and both hold something", from.display(), to.display());
            return Err(OpenError::Damaged { journal, why });
        }
        step()?;
        rename(&from, &to)?;
    }
    Ok(())
}

fn held(path: &Path, manifest: &Manifest, journal: u16) -> Held {
    let Ok(file) = file::open_to_read(path) else {
        return if path.exists() { Held::Unknown } else { Held::Missing };
    };
    let mut start = [0; START_BYTES];
    // What has been written past the page cache is read past what that has kept. A file that a
    // growth has made, and that got no room, is empty.
    let is_empty = || file.metadata().is_ok_and(|found| found.len() == 0);
    if file::forget_cached(&file).is_err() || (file.read_exact_at(&mut start, 0).is_err() && !is_empty()) {
        return Held::Unknown;
    }
    match head_identity(&start[HEADER_BYTES as usize..]) {
        Some((head, _)) if head.uuid == *manifest.uuid.as_bytes() && head.journal == journal => {
            Held::Segment(head.segment)
        }
        None if start.iter().all(|byte| *byte == 0) => Held::Blank,
        _ => Held::Unknown,
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|error| StorageError::new("rename", from.display().to_string(), error))
}

pub(super) fn growing_path(data_dir: &Path, journal: u16, number: u32) -> PathBuf {
    journal_dir(data_dir, journal).join(format!("growing-{number}.seg"))
}

#[cfg(test)]
mod tests {
    use super::super::cat::Cat;
    use super::super::inspect::Directory;
    use super::super::inspect::repair::{Options, Plan, RepairError};
    use super::super::preview;
    use super::super::{Journal, Kind, Mode, NewRecord, RecoveredSession, Room, Settings, note_ends, open};
    use super::*;

    const FROM: u32 = 3;
    const TO: u32 = 5;
    const SEGMENT: u64 = 64 << 10;

    fn settings(root: &Path, segments: u32) -> Settings {
        Settings {
            data_dir: root.join("data"),
            ring_dir: root.join("ring"),
            geometry: Geometry { journals: 2, ring_bytes: SEGMENT, segment_bytes: SEGMENT, segments },
            flush_interval_ns: 0,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 100,
            clock: || 0,
        }
    }

    /// Commits messages of session 0 up to this segment.
    fn fill(journal: &mut Journal<FileStorage>, segment: u64) {
        let mut session = journal.recovered.sessions.first().cloned();
        while journal.writer.appended() < segment * SEGMENT + SEGMENT / 3 {
            match journal.writer.begin(1024) {
                Room::Ready => {}
                Room::Full => {
                    journal.flusher.turn(0).unwrap();
                    continue;
                }
                Room::RollDue => {
                    journal.flusher.turn(0).unwrap();
                    journal.writer.roll(session.iter().map(|session| session.state()), b"snapshot").unwrap();
                    continue;
                }
            }
            let session = session.get_or_insert_with(|| {
                journal.writer.append_session_defined(0, 0, b"FIX.4.4\x01VENUE").unwrap();
                RecoveredSession::new(0, b"FIX.4.4\x01VENUE")
            });
            let new = NewRecord {
                msg_seq_num: session.next_out,
                previous: session.last_out,
                ..NewRecord::internal(Kind::Outbound, 0)
            };
            let payload = format!("message {} {}", session.next_out, "x".repeat(700));
            session.last_out = journal.writer.append_bytes(new, payload.as_bytes()).unwrap();
            session.next_out += 1;
            journal.writer.commit(Mode::Buffered);
        }
        journal.recovered.sessions = session.into_iter().collect();
    }

    /// A start, messages up to a segment in each journal, and a stop in order.
    fn used(root: &Path, segments: u32, up_to: [u64; 2]) {
        let settings = settings(root, segments);
        let mut opened = open(&settings).unwrap();
        let mut ends = Vec::new();
        for (journal, up_to) in opened.journals.iter_mut().zip(up_to) {
            fill(journal, up_to);
            while journal.writer.clean_stop(0) != Room::Ready {
                journal.flusher.turn(0).unwrap();
            }
            journal.flusher.drain(0).unwrap();
            ends.push(journal.watermarks.synced());
        }
        note_ends(&settings.data_dir, opened.incarnation, ends).unwrap();
    }

    /// The numbers of all messages of a journal, from the oldest.
    fn stored(root: &Path, journal: u16) -> Vec<u64> {
        let records = Cat::open(&root.join("data")).unwrap().map(Result::unwrap);
        let messages = records.filter(|record| record.journal == journal && record.header.kind == Kind::Outbound);
        messages.map(|record| record.header.msg_seq_num).collect()
    }

    fn manifest(root: &Path) -> Manifest {
        let storage = FileStorage::open(&root.join("data"), Geometry::default());
        Manifest::read(&storage).unwrap().unwrap().unwrap()
    }

    fn files(root: &Path, journal: u16) -> Vec<String> {
        let entries = fs::read_dir(root.join("data").join(format!("journal-{journal}"))).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".seg"));
        names.sort_unstable();
        names
    }

    fn assert_whole(root: &Path) {
        let directory = Directory::open(&root.join("data")).unwrap();
        let verified = crate::journal::inspect::verify::verify(&directory, None, &mut |_, _| ()).unwrap();
        assert!(verified.is_whole, "{verified:#?}");
    }

    /// So many steps are taken, and the next one is not.
    fn dies_after(mut steps: u32) -> impl FnMut() -> Result<(), StorageError> {
        move || {
            let died = || StorageError::new("die in", "this step", std::io::ErrorKind::Other.into());
            steps = steps.checked_sub(1).ok_or_else(died)?;
            Ok(())
        }
    }

    #[test]
    fn each_step_can_be_the_last_one_and_nothing_is_lost() {
        let mut last = 0;
        for steps in 0.. {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            // One that has come round several times, and one in its first lap.
            used(root, FROM, [10, 1]);
            let before = [0, 1].map(|journal| stored(root, journal));
            assert!(before[0].len() > 150 && before[0][0] > 1 && before[1][0] == 1, "{before:?}");
            let Settings { data_dir, ring_dir, geometry, .. } = settings(root, TO);
            let method = FlushMethod::default();
            let is_done = grow(&data_dir, &ring_dir, geometry, method, &mut dies_after(steps)).is_ok();
            if steps > 0 {
                let planned = Plan::make(&data_dir, &Options::default()).err();
                assert!(is_done || matches!(planned, Some(RepairError::Growing(TO))), "{planned:?}, {steps} steps");
                // Wherever the files are meanwhile, nothing is missing, and a start can be
                // announced.
                assert_whole(root);
                for journal in [0, 1] {
                    assert_eq!(stored(root, journal), before[usize::from(journal)], "{steps}");
                }
                let seen = preview(&settings(root, TO)).unwrap();
                assert_eq!(seen.growing_to, (!is_done).then_some(TO), "{steps} steps");
                assert!(preview(&settings(root, FROM)).is_err(), "{steps} steps");
                // Whoever asks for the old count meanwhile gets the new one, and is told.
                let Err(error) = open(&settings(root, FROM)) else { panic!("it was opened after {steps} steps") };
                assert!(error.to_string().contains("set persistence.segments = 5"), "{error}");
            }
            let opened = open(&settings(root, TO)).unwrap();
            assert_eq!(
                opened.growth.is_some(),
                steps == 0,
                "it is told by the start that does it: {:?}",
                opened.growth
            );
            drop(opened);
            assert_eq!((manifest(root).geometry.segments, manifest(root).last_use.growing_to), (TO, 0));
            for journal in [0, 1] {
                assert_eq!(
                    files(root, journal),
                    (0..TO).map(|number| format!("segment-{number}.seg")).collect::<Vec<_>>()
                );
                assert_eq!(stored(root, journal), before[usize::from(journal)], "{steps}");
            }
            assert_whole(root);
            // It goes on, and comes round in its new length.
            used(root, TO, [12, 12]);
            assert_whole(root);
            let after = stored(root, 0);
            assert_eq!(after[..before[0].len()], before[0], "five segments hold what three held, and two more");
            used(root, TO, [25, 25]);
            assert_whole(root);
            let round = stored(root, 1);
            assert!(round.len() > before[0].len() && round[0] > 1, "it uses all five");
            if is_done {
                last = steps;
                break;
            }
        }
        assert!(last >= 8, "{last} steps are too few to have moved anything");
    }

    #[test]
    fn it_waits_for_a_stop_in_order_and_never_shrinks() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        used(root, FROM, [4, 1]);
        drop(open(&settings(root, FROM)).unwrap());
        let opened = open(&settings(root, TO)).unwrap();
        let said = opened.growth.clone().unwrap();
        assert!(said.contains("stays at 3 for now: its last engine did not stop in order"), "{said}");
        drop(opened);
        assert_eq!(manifest(root).geometry.segments, FROM);
        used(root, FROM, [5, 1]);
        used(root, TO, [6, 1]);
        assert_eq!(manifest(root).geometry.segments, TO);
        let Err(error) = open(&settings(root, TO - 1)) else { panic!("it was opened") };
        assert!(error.to_string().contains("set persistence.segments = 5"), "{error}");
        used(root, TO + 4, [7, 3]);
        assert_eq!(manifest(root).geometry.segments, TO + 4);
        assert_whole(root);
    }

    /// A growth that was cut off before anything but the manifest was written.
    fn cut_off(root: &Path) {
        let Settings { data_dir, ring_dir, geometry, .. } = settings(root, TO);
        assert!(grow(&data_dir, &ring_dir, geometry, FlushMethod::default(), &mut dies_after(1)).is_err());
        assert_eq!(manifest(root).last_use.growing_to, TO);
    }

    /// The growth ended by writing the manifest, which was then in its own file again.
    #[test]
    fn a_directory_that_was_put_back_in_the_midst_of_its_growth_is_held_before_it_grows_on() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        used(root, FROM, [10, 1]);
        cut_off(root);
        let [path, copy] = ["data/manifest", "data/copy"].map(|name| root.join(name));
        let born = |path: &Path| super::super::home::name(&fs::metadata(path).unwrap());
        // Births are told in ticks of the kernel's clock.
        while fs::copy(&path, &copy).is_ok() && born(&copy) == born(&path) {
            fs::remove_file(&copy).unwrap();
        }
        fs::rename(&copy, &path).unwrap();
        let seen = preview(&settings(root, TO)).err().unwrap();
        let held = open(&settings(root, TO)).err().unwrap();
        assert!(matches!((&seen, &held), (OpenError::Held { .. }, OpenError::Held { .. })), "{seen}; {held}");
        assert_eq!(manifest(root).geometry.segments, FROM);
        assert!(manifest(root).last_use.held.contains("put back from a copy"));
    }

    /// A start said to repair, and repair said to start.
    #[test]
    fn a_file_that_a_growth_cannot_move_is_told_and_repair_takes_it_out_of_the_way() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        used(root, FROM, [10, 1]);
        cut_off(root);
        // The newest of the first journal.
        let newest = segment_path(&root.join("data"), 0, 10 % FROM);
        fs::File::options().write(true).open(&newest).unwrap().write_all_at(&[0xAB; 512], 0).unwrap();
        let refused = open(&settings(root, TO)).err().unwrap().to_string();
        assert!(refused.contains("cannot be moved") && refused.contains("journal repair"), "{refused}");
        let seen = preview(&settings(root, TO)).err().unwrap().to_string();
        assert_eq!(seen, refused);
        let data_dir = root.join("data");
        let plan = Plan::make(&data_dir, &Options::default()).unwrap();
        assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
        let kept = plan.apply(&Options::default()).unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(manifest(root).last_use.growing_to, TO);
        // It held what was synced last.
        let held = open(&settings(root, TO)).err().unwrap();
        assert!(matches!(held, OpenError::Held { .. }), "{held}");
        assert_eq!(manifest(root).geometry.segments, TO);
    }

    #[test]
    fn a_manifest_that_is_made_anew_knows_that_the_directory_has_grown() {
        for damages in [true, false] {
            let root = tempfile::tempdir().unwrap();
            let root = root.path();
            used(root, FROM, [10, 1]);
            used(root, TO, [10, 1]);
            let firsts = manifest(root).last_use.first_segments;
            assert_eq!(firsts, [8, 0]);
            assert_whole(root);
            let path = root.join("data/manifest");
            if damages {
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replace("crc32c = ", "crc32c = 0")).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let ring_dir = root.join("ring").display().to_string();
            let options = Options { ring_bytes: Some(SEGMENT), ring_dir: Some(ring_dir) };
            Plan::make(&root.join("data"), &options).unwrap().apply(&options).unwrap();
            assert_eq!(manifest(root).last_use.first_segments, firsts, "{damages}");
            assert_whole(root);
        }
    }
}
