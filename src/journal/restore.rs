//! The operator's word on what a session's numbers are: `fixring recover`.
//!
//! It opens the data directory as an engine would, alone and with a new incarnation, states the numbers in the journal, and stops in order.
//! A held directory stays held until each of its sessions has been spoken of; what was said is kept in the manifest.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::sys::file;
use crate::sys::ring::RingMemory;

use super::device;
use super::flush_note;
use super::grow::grow;
use super::held;
use super::home;
use super::lock::DirectoryLock;
use super::manifest::LastUse;
use super::open::open_files;
use super::recovery::see;
use super::ring_file::{self, RingIdentity, ring_path};
use super::{
    FileStorage, Geometry, Journal, Manifest, ManifestError, Mode, OpenError, RecordHeader, Recovered,
    RecoveredSession, Room, Settings, StoredNumbers, flags, record_bytes,
};

/// What is said of one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// These are its next numbers, in a new epoch.
    Numbers { next_out: u64, next_in: u64 },
    /// What its peer expects at the next logon is its next outgoing number; the incoming one stays.
    FromPeer,
    /// Its numbers are right as they stand.
    Keep,
    /// There is no such session any more. One of its name begins at 1, as a new session.
    Forget,
}

/// A decision and its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    pub journal: u16,
    pub number: u32,
    pub decision: Decision,
}

/// A session of a data directory that no engine runs on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub journal: u16,
    pub session: RecoveredSession,
    /// Of a held directory: the operator has spoken of it.
    pub is_decided: bool,
}

/// A data directory as `fixring recover` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standings {
    pub manifest: Manifest,
    pub sessions: Vec<Standing>,
}

/// Why a decision did not come about.
#[derive(Debug)]
pub enum RestoreFault {
    Open(OpenError),
    /// A segment's head was due, and its snapshot could not be made.
    Snapshot(String),
}

impl Standings {
    /// What segments and rings say. Nothing is changed; the directory is locked meanwhile.
    pub fn read(data_dir: &Path, ring_dir: Option<&Path>) -> Result<Self, OpenError> {
        let manifest = read_manifest(data_dir)?;
        let _lock = DirectoryLock::take(data_dir)?;
        if manifest.last_use.growing_to > manifest.geometry.segments {
            return Err(OpenError::Directory(format!(
                "data_dir {data_dir:?} was being given {} segments a journal when its start was cut off: start fixring once, which finishes that",
                manifest.last_use.growing_to
            )));
        }
        let ring_dir = ring_dir.map_or_else(|| PathBuf::from(&manifest.ring_dir), Path::to_owned);
        let storage = FileStorage::open(data_dir, manifest.geometry);
        storage.open_segments()?;
        let mut here = manifest.clone();
        here.last_use.device = device::identities_below(data_dir);
        here.last_use.home = home::of(data_dir, manifest.geometry.journals);
        let mut sessions = Vec::new();
        let rings = (0..manifest.geometry.journals).map(|journal| ring_of(&ring_dir, &here, journal));
        let rings = rings.collect::<Result<Vec<_>, _>>()?;
        let mut found = Vec::new();
        while found.len() < rings.len() {
            let ring = rings[found.len()].as_ref();
            match see(&storage, &here, found.len() as u16, ring)? {
                Ok(seen) => found.push(seen.sessions),
                // As a start would see it.
                Err(newer) => {
                    here.know_of(newer.incarnation);
                    found.clear();
                }
            }
        }
        for (journal, found) in (0..).zip(found) {
            for session in found.into_iter().filter(|session: &RecoveredSession| !session.is_forgotten()) {
                let is_decided = manifest.last_use.decided.contains(&key(journal, session.number));
                sessions.push(Standing { journal, session, is_decided });
            }
        }
        Ok(Self { manifest, sessions })
    }
}

/// This directory's ring, locked. One that cannot be opened, or that serves another directory, adds nothing to what the segments say.
pub(super) fn ring_of(ring_dir: &Path, manifest: &Manifest, journal: u16) -> Result<Option<RingMemory>, OpenError> {
    let path = ring_path(ring_dir, manifest.timeline, journal);
    if ring_file::look(&path, manifest, journal).is_none_or(|found| found.identity == RingIdentity::OtherHome) {
        return Ok(None);
    }
    let Ok(file) = file::open_private(&path, false) else { return Ok(None) };
    ring_file::lock(&path, &file)?;
    Ok(RingMemory::map(&file, manifest.geometry.ring_bytes).ok())
}

/// Holds a directory by the operator's word.
pub fn hold(data_dir: &Path) -> Result<(), OpenError> {
    read_manifest(data_dir)?;
    let _lock = DirectoryLock::take(data_dir)?;
    let storage = FileStorage::open(data_dir, Geometry::default());
    let mut manifest = read_manifest(data_dir)?;
    Ok(held::hold(&storage, &mut manifest, BY_OPERATOR.to_owned())?)
}

const BY_OPERATOR: &str = "the operator has said that it is restored";

/// Carries out what is said of sessions, by journal and number. Where `is_restored`, a directory
/// that is not held becomes so first, and is freed by the last decision. `now_ns` is the UTC time.
/// `snapshot` makes an application's state of what was recovered, for the segment's head that may
/// be due. `archive` is called before a journal is written up to a position, which may overwrite
/// its oldest segment.
///
/// # Panics
/// When a decision names a session that the directory does not have.
pub fn decide(
    settings: &Settings,
    said: &[Said],
    is_restored: bool,
    now_ns: u64,
    mut snapshot: impl FnMut(&Recovered<FileStorage>) -> Result<Vec<u8>, String>,
    archive: impl Fn(&FileStorage, &Manifest, u16, u64) -> Result<(), OpenError>,
) -> Result<(), RestoreFault> {
    let data_dir = &settings.data_dir;
    read_manifest(data_dir)?;
    let _lock = DirectoryLock::take(data_dir)?;
    let chosen = flush_note::settle(data_dir, settings.flush_method);
    let mut manifest = read_manifest(data_dir)?;
    let storage = FileStorage::open(data_dir, manifest.geometry);
    if !is_restored {
        held::refuse(&storage, &mut manifest, data_dir, &settings.ring_dir)?;
    } else if manifest.last_use.held.is_empty() {
        held::hold(&storage, &mut manifest, BY_OPERATOR.to_owned()).map_err(OpenError::Storage)?;
    }
    // The directory's own segments count, whatever the configuration asks for by now. A start that
    // gave it more may have died on the way.
    grow(data_dir, &settings.ring_dir, manifest.geometry, chosen.method, &mut || Ok(()))?;
    let manifest = read_manifest(data_dir)?;
    let settings = &Settings { geometry: manifest.geometry, ..settings.clone() };
    let storage = FileStorage::open(data_dir, settings.geometry);
    // Once a hold: what is said of the other sessions later goes on in the timeline that the first word began.
    let begins = (is_restored && manifest.last_use.decided.is_empty()).then(Uuid::new_v4);
    let before = |storage: &FileStorage, manifest: &Manifest, rings: &[RingMemory]| {
        (0..).zip(rings).try_for_each(|(journal, ring)| archive(storage, manifest, journal, ring.marks().appended))
    };
    let opened = open_files(&storage, manifest, settings, Some(&chosen), begins, before)?;
    let manifest = read_manifest(data_dir)?;
    let mut undecided = Vec::new();
    for mut journal in opened.journals {
        let said: Vec<Said> = said.iter().filter(|said| said.journal == journal.number).copied().collect();
        let number = journal.number;
        let head = journal.recovered.report.end.next_multiple_of(manifest.geometry.segment_bytes);
        let mut snapshot = |recovered: &Recovered<FileStorage>| {
            // The head goes where the oldest segment is.
            archive(&storage, &manifest, number, head + 1)?;
            snapshot(recovered).map_err(RestoreFault::Snapshot)
        };
        state(&mut journal, &said, now_ns, &mut snapshot)?;
        let sessions = journal.recovered.sessions.iter().filter(|session| !session.is_forgotten());
        let rest =
            sessions.map(|session| session.number).filter(|number| !said.iter().any(|said| said.number == *number));
        undecided.extend(rest.map(|number| key(journal.number, number)));
    }
    if is_restored {
        // Only now: until here a crash leaves the directory held, and what was said can be said again.
        let mut manifest = manifest;
        let decided = manifest.last_use.decided.iter().cloned();
        let decided: Vec<String> = decided.chain(said.iter().map(|said| key(said.journal, said.number))).collect();
        let is_free = undecided.iter().all(|session| decided.contains(session));
        let (held, decided) = if is_free { (String::new(), Vec::new()) } else { (manifest.last_use.held, decided) };
        manifest.last_use = LastUse { held, decided, ..manifest.last_use };
        manifest.write(&storage).map_err(OpenError::Storage)?;
    }
    Ok(())
}

/// States the numbers in one commit each and ends the journal in order.
fn state(
    journal: &mut Journal<FileStorage>,
    said: &[Said],
    now_ns: u64,
    snapshot: &mut impl FnMut(&Recovered<FileStorage>) -> Result<Vec<u8>, RestoreFault>,
) -> Result<(), RestoreFault> {
    const BYTES_MAX: u64 = record_bytes(super::NUMBERS_BYTES);
    state_proven(journal, now_ns, snapshot)?;
    for Said { number, decision, .. } in said {
        let sessions = &mut journal.recovered.sessions;
        let session = sessions.iter_mut().find(|session| session.number == *number).expect("a session that is there");
        match *decision {
            Decision::Keep => continue,
            Decision::FromPeer => session.next_out_from_peer = true,
            Decision::Numbers { next_out, next_in } => {
                (session.next_out, session.next_in) = (next_out, next_in);
                // A lease belongs to its epoch.
                (session.epoch, session.lease) = (session.epoch.saturating_add(1), 0);
                (session.began_s, session.next_out_from_peer) = (now_ns / 1_000_000_000, false);
            }
            Decision::Forget => *session = RecoveredSession::forgotten(*number, session.epoch.saturating_add(1)),
        }
        let RecoveredSession { next_out, next_in, epoch, lease, next_out_from_peer, .. } = *session;
        let flags = match (session.is_forgotten(), next_out_from_peer) {
            (true, _) => flags::FORGOTTEN,
            (false, true) => flags::NEXT_OUT_FROM_PEER,
            (false, false) => 0,
        };
        make_room(journal, BYTES_MAX, snapshot)?;
        let numbers = StoredNumbers { next_out, next_in, epoch, lease };
        let appended = journal.writer.append_flagged_numbers(*number, now_ns, numbers, flags);
        appended.expect("the commit's room is that of the record");
        journal.writer.commit(Mode::Sync);
    }
    make_room(journal, size_of::<RecordHeader>() as u64, snapshot)?;
    journal.writer.abandon();
    assert_eq!(journal.writer.clean_stop(now_ns), Room::Ready, "there is room for it");
    Ok(journal.flusher.drain(0)?)
}

/// States what records prove that the journal does not reach any more, whoever is spoken of: what proves it is no part of the journal from here on.
fn state_proven(
    journal: &mut Journal<FileStorage>,
    now_ns: u64,
    snapshot: &mut impl FnMut(&Recovered<FileStorage>) -> Result<Vec<u8>, RestoreFault>,
) -> Result<(), RestoreFault> {
    for (number, is_new) in std::mem::take(&mut journal.recovered.unstated) {
        let found = journal.recovered.sessions.iter().find(|session| session.number == number);
        let session = found.expect("a session whose numbers were raised").clone();
        let bytes_max = record_bytes(super::NUMBERS_BYTES) + record_bytes(session.identity.len() as u64);
        make_room(journal, bytes_max, snapshot)?;
        if is_new {
            let defined = journal.writer.append_session_defined(number, now_ns, &session.identity);
            defined.expect("the commit's room is that of both records");
        }
        let RecoveredSession { next_out, next_in, epoch, lease, .. } = session;
        let stated = journal.writer.append_numbers(number, now_ns, StoredNumbers { next_out, next_in, epoch, lease });
        stated.expect("the commit's room is that of both records");
        journal.writer.commit(Mode::Sync);
    }
    Ok(())
}

/// Opens a commit; writes the segment's head first where one is due.
fn make_room(
    journal: &mut Journal<FileStorage>,
    bytes_max: u64,
    snapshot: &mut impl FnMut(&Recovered<FileStorage>) -> Result<Vec<u8>, RestoreFault>,
) -> Result<(), RestoreFault> {
    loop {
        match journal.writer.begin(bytes_max as u32) {
            Room::Ready => return Ok(()),
            Room::Full => journal.flusher.drain(0)?,
            Room::RollDue => {
                let state = snapshot(&journal.recovered)?;
                let sessions = journal.recovered.sessions.iter().map(RecoveredSession::state);
                let rolled = journal.writer.roll(sessions, &state);
                rolled.map_err(|error| RestoreFault::Snapshot(error.to_string()))?;
                journal.flusher.drain(0)?;
            }
        }
    }
}

/// Before the lock is taken too, which would make a file in a directory that is none of ours.
fn read_manifest(data_dir: &Path) -> Result<Manifest, OpenError> {
    let remedy = "name the directory that engine.data_dir names, with --data-dir or in the file of --config";
    if !data_dir.is_dir() {
        let found = if data_dir.exists() { "is no directory" } else { "does not exist" };
        return Err(OpenError::Directory(format!("data_dir {data_dir:?} {found}: {remedy}")));
    }
    match Manifest::read(&FileStorage::open(data_dir, Geometry::default()))? {
        Some(manifest) => Ok(manifest?),
        None if data_dir.join("journal-0").is_dir() => Err(ManifestError::Missing.into()),
        None => {
            Err(OpenError::Directory(format!("data_dir {data_dir:?} holds no data directory of fixring: {remedy}")))
        }
    }
}

fn key(journal: u16, number: u32) -> String {
    format!("{journal}.{number}")
}

impl<E: Into<OpenError>> From<E> for RestoreFault {
    fn from(error: E) -> Self {
        Self::Open(error.into())
    }
}
