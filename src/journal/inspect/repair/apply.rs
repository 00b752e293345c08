//! A plan carried out: every byte that is replaced is in quarantine, on stable media, before.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys::file;

use super::super::super::file_storage::segment_path;
use super::super::super::scan::Source;
use super::super::super::{DirectoryLock, FileStorage, OpenError, StorageError};
use super::super::files::RingTail;
use super::{Action, Options, Plan, RepairError, Step};

/// Read and written in one call.
const PIECE_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub enum ApplyError {
    /// Another process took the directory meanwhile.
    Lock(OpenError),
    /// The directory is not what the plan was made of any more.
    Changed,
    Replan(RepairError),
    Storage(StorageError),
}

impl Plan {
    /// Does what the plan says, under the directory's lock. The answer has the names of what went to quarantine.
    pub fn apply(self, options: &Options) -> Result<Vec<String>, ApplyError> {
        let again = Self::make(&self.data_dir, options).map_err(ApplyError::Replan)?;
        let _lock = DirectoryLock::take(&self.data_dir).map_err(ApplyError::Lock)?;
        let told = |plan: &Self| plan.steps.iter().map(|step| step.what.clone()).collect::<Vec<_>>();
        if told(&again) != told(&self) {
            return Err(ApplyError::Changed);
        }
        // First of all: what a step takes away is what a start would be held for.
        let mut plan = self;
        let before = plan.manifest.last_use.clone();
        if let Some(why) = plan.why_held()
            && before.held.is_empty()
        {
            (plan.manifest.last_use.held, plan.manifest.last_use.decided) = (why, Vec::new());
        }
        for journal in plan.emptied() {
            // What was there is in quarantine then, and a start that looked for it would be refused
            // for ever.
            plan.manifest.last_use.forget(journal);
        }
        // One that is made anew is written with its step, when the old one is in quarantine.
        if plan.manifest.last_use != before && !matches!(plan.steps[0].action, Action::Manifest) {
            let storage = FileStorage::open(&plan.data_dir, plan.manifest.geometry);
            plan.manifest.write(&storage).map_err(ApplyError::Storage)?;
        }
        let mut kept = Vec::new();
        for step in &plan.steps {
            kept.extend(plan.step(step).map_err(ApplyError::Storage)?);
        }
        Ok(kept)
    }

    /// The journals of which no state is left where a start would look for it.
    fn emptied(&self) -> Vec<u16> {
        let anew = self.outlooks.iter().filter(|outlook| outlook.starts_anew).map(|outlook| outlook.journal);
        let is_moved = |of: &u16| {
            self.steps.iter().any(|step| matches!(step.action, Action::Move { journal, .. } if journal == *of))
        };
        anew.filter(is_moved).collect()
    }

    fn step(&self, step: &Step) -> Result<Option<String>, StorageError> {
        match &step.action {
            Action::Manifest => {
                let path = self.data_dir.join("manifest");
                let name = match path.exists() {
                    true => Some(self.copy(&path, "manifest", 0, u64::MAX, step, "cp quarantine/NAME manifest")?),
                    false => None,
                };
                self.manifest.write(&FileStorage::open(&self.data_dir, self.manifest.geometry))?;
                Ok(name)
            }
            Action::Lengthen { journal, slot } => {
                self.empty(&segment_path(&self.data_dir, *journal, *slot))?;
                Ok(None)
            }
            Action::Move { journal, slot } => self.set_aside(*journal, *slot, step).map(Some),
            Action::Heal { journal, from, to } => self.replace(*journal, *from, *to, step).map(Some),
        }
    }

    fn set_aside(&self, journal: u16, slot: u32, step: &Step) -> Result<String, StorageError> {
        let path = segment_path(&self.data_dir, journal, slot);
        let back = format!("mv quarantine/NAME journal-{journal}/segment-{slot}.seg");
        let name = self.note(&format!("journal-{journal}-segment-{slot}.seg"), step, &back)?;
        let target = self.quarantine().join(&name);
        std::fs::rename(&path, &target)
            .map_err(|error| StorageError::new("move", path.display().to_string(), error))?;
        sync_directory(&self.quarantine())?;
        self.empty(&path)?;
        Ok(name)
    }

    /// Copies `[from, to)` aside and then writes the ring's bytes there.
    fn replace(&self, journal: u16, from: u64, to: u64, step: &Step) -> Result<String, StorageError> {
        let geometry = self.manifest.geometry;
        let mut names = Vec::new();
        let mut ring = RingTail::open(&self.manifest, journal);
        if let Some(ring) = &mut ring {
            ring.refresh(&self.manifest, journal);
        }
        let mut at = from;
        while at < to {
            let segment_end = (at / geometry.segment_bytes + 1) * geometry.segment_bytes;
            let end = to.min(segment_end);
            let (slot, offset) = geometry.slot(journal, at);
            let path = segment_path(&self.data_dir, journal, slot.number);
            let back = format!(
                "dd if=quarantine/NAME of=journal-{journal}/segment-{}.seg bs=64 seek={} conv=notrunc",
                slot.number,
                offset / 64
            );
            let stem = format!("journal-{journal}-position-{at}");
            names.push(self.copy(&path, &stem, offset, end - at, step, &back)?);
            let failed = |error| StorageError::new("write", path.display().to_string(), error);
            let file = file::open_private(&path, false).map_err(failed)?;
            while at < end {
                let lap_end = (at / geometry.ring_bytes + 1) * geometry.ring_bytes;
                let piece = (end - at).min(PIECE_BYTES).min(lap_end - at);
                let mut bytes = vec![0; piece as usize];
                if let Some(ring) = &mut ring {
                    let source = ring.bytes(at, piece)?;
                    if source.len() as u64 != piece {
                        return Err(failed(io::Error::other("the ring has gone")));
                    }
                    bytes.copy_from_slice(source);
                }
                file.write_all_at(&bytes, at % geometry.segment_bytes).map_err(failed)?;
                at += piece;
            }
            file.sync_all().map_err(failed)?;
        }
        Ok(names.join(", "))
    }

    /// Makes a segment's file as long as it must be; what it holds stays. The next start zero-writes what was only allocated.
    fn empty(&self, path: &Path) -> Result<(), StorageError> {
        let bytes = self.manifest.geometry.segment_bytes;
        let make = || {
            if let Some(parent) = path.parent() {
                file::create_private_directory(parent)?;
            }
            let file = file::open_private(path, true)?;
            if let Err(error) = file::allocate(&file, bytes) {
                if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                    return Err(error);
                }
                file.set_len(bytes)?;
            }
            file.sync_all()
        };
        make().map_err(|error| StorageError::new("make", path.display().to_string(), error))?;
        path.parent().map_or(Ok(()), sync_directory)
    }

    /// Copies a piece of a file to quarantine. The name that it got.
    fn copy(
        &self,
        path: &Path,
        stem: &str,
        offset: u64,
        bytes: u64,
        step: &Step,
        back: &str,
    ) -> Result<String, StorageError> {
        let name = self.note(stem, step, back)?;
        let target = self.quarantine().join(&name);
        let copy = || {
            let source = file::open_to_read(path)?;
            let into = file::open_private(&target, true)?;
            let end = source.metadata()?.len().min(offset.saturating_add(bytes));
            let mut at = offset;
            let mut piece = vec![0; PIECE_BYTES as usize];
            while at < end {
                let wanted = (end - at).min(PIECE_BYTES) as usize;
                source.read_exact_at(&mut piece[..wanted], at)?;
                into.write_all_at(&piece[..wanted], at - offset)?;
                at += wanted as u64;
            }
            into.sync_all()
        };
        copy().map_err(|error| StorageError::new("copy to", target.display().to_string(), error))?;
        sync_directory(&self.quarantine())?;
        Ok(name)
    }

    /// The note beside what goes to quarantine. The answer is a name that nothing there has yet.
    fn note(&self, stem: &str, step: &Step, back: &str) -> Result<String, StorageError> {
        let directory = self.quarantine();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let failed = |error| StorageError::new("write to", directory.display().to_string(), error);
        file::create_private_directory(&directory).map_err(failed)?;
        sync_directory(&self.data_dir)?;
        let names = (0..).map(|number| match number {
            0 => format!("{stem}-repaired-{now}"),
            number => format!("{stem}-repaired-{now}-{number}"),
        });
        let mut free =
            names.filter(|name| !directory.join(name).exists() && !directory.join(format!("{name}.txt")).exists());
        let name = free.next().expect("the names do not end");
        let text = format!(
            "{name}\n\nwhat     {}\nwhy      {}\nback     {}   (in {}, with the engine stopped)\n",
            step.what,
            step.why,
            back.replace("NAME", &name),
            self.data_dir.display()
        );
        let note = file::open_private(&directory.join(format!("{name}.txt")), true).map_err(failed)?;
        note.write_all_at(text.as_bytes(), 0).and_then(|()| note.sync_all()).map_err(failed)?;
        // It must not be missing where what it tells of has been moved.
        sync_directory(&directory)?;
        Ok(name)
    }

    fn quarantine(&self) -> PathBuf {
        self.data_dir.join("quarantine")
    }
}

fn sync_directory(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StorageError::new("sync", path.display().to_string(), error))
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(f),
            Self::Changed => f.write_str("it has changed since the plan was made: ask for the plan again"),
            Self::Replan(error) => error.fmt(f),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {}
