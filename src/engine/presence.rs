//! Whether the files that the engine works with are still where a start will look for them.
//!
//! An engine whose segment or ring is removed or replaced while it runs writes into files that have
//! no name: everything works, and is gone at the next start. A housekeeping thread
//! compares names with files; a worker has no part in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::LogPort;
use crate::control::Shared;

const INTERVAL: Duration = Duration::from_secs(1);
/// Names that are looked up in one look, so that a journal of many segments does not keep the
/// thread: each second so many.
const LOOKUPS_MAX: usize = 256;
/// While a file is missing it is said so often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// For a housekeeping thread.
pub(crate) struct Presence {
    files: Vec<Watched>,
    shared: Arc<Shared>,
    log: LogPort,
    next: usize,
    looked: Option<Instant>,
    said: Option<(Instant, String)>,
}

struct Watched {
    path: PathBuf,
    file: Option<File>,
    gone: Option<Gone>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct File {
    device: u64,
    inode: u64,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    Removed,
    Replaced,
    /// To so many bytes. Nothing brings back what it held.
    Cut(u64),
}

impl Presence {
    /// Of files that are in use, by their names.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, shared: Arc<Shared>, log: LogPort) -> Self {
        let watched = |path: PathBuf| Watched { file: file_of(&path).ok(), path, gone: None };
        let files = paths.into_iter().map(watched).collect();
        Self { files, shared, log, next: 0, looked: None, said: None }
    }

    /// Once an interval. What is found is said, and is why the process is not ready until
    /// everything is back.
    pub fn look(&mut self, now: Instant) {
        if self.files.is_empty() || self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < INTERVAL) {
            return;
        }
        self.looked = Some(now);
        let count = self.files.len();
        for at in 0..count.min(LOOKUPS_MAX) {
            self.files[(self.next + at) % count].look();
        }
        self.next = (self.next + LOOKUPS_MAX.min(count)) % count;
        let mut gone = self.files.iter().filter_map(|watched| Some((&watched.path, watched.gone?)));
        let Some((path, how)) = gone.next() else {
            self.shared.set_missing(0, None);
            if self.said.take().is_some() {
                self.log
                    .say(|| tracing::info!("all files of the data directory and the rings are in their places again"));
            }
            return;
        };
        let missing = 1 + gone.count();
        let why = said(path, how, missing);
        self.shared.set_missing(missing as u64, Some(why.clone()));
        let is_said = self.said.as_ref().is_some_and(|(when, what)| *what == why && now - *when < LOG_INTERVAL);
        if !is_said {
            self.said = Some((now, why.clone()));
            self.log.say(move || tracing::error!("{why}"));
        }
    }
}

impl Watched {
    fn look(&mut self) {
        self.gone = match (file_of(&self.path), self.file) {
            (Ok(found), Some(file)) if (found.device, found.inode) != (file.device, file.inode) => Some(Gone::Replaced),
            // What is written later makes it longer again, with a hole.
            (Ok(_), Some(_)) if matches!(self.gone, Some(Gone::Cut(_))) => self.gone,
            (Ok(found), Some(file)) if found.bytes < file.bytes => Some(Gone::Cut(found.bytes)),
            (Ok(_), Some(_)) => None,
            // What was not there when it was opened cannot be told apart from what is.
            (Ok(_), None) => None,
            (Err(error), _) if is_absence(&error) => Some(Gone::Removed),
            // Nothing is known while the volume does not answer or may not be looked at.
            (Err(_), _) => self.gone,
        };
    }
}

fn said(path: &Path, how: Gone, missing: usize) -> String {
    let how = match how {
        Gone::Removed => "was removed or moved away",
        Gone::Replaced => "was replaced by another file",
        Gone::Cut(bytes) => {
            return format!(
                "{path:?} was cut to {bytes} bytes under the running engine: what it held beyond them is lost. Log the counterparties out, stop, and see \
                 `fixring journal verify`"
            );
        }
    };
    let more = if missing > 1 { format!(", and so were {} more", missing - 1) } else { String::new() };
    format!(
        "{path:?} {how} under the running engine{more}: it goes on with the file that has no name, and the next start will not find what is written \
         there. Move it back if it was moved; otherwise log the counterparties out before this process ends, and copy what /proc/{}/fd still has",
        std::process::id()
    )
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn file_of(path: &Path) -> io::Result<File> {
    let found = fs::symlink_metadata(path)?;
    Ok(File { device: found.dev(), inode: found.ino(), bytes: found.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Phase;
    use crate::engine::log::EventLog;

    #[test]
    fn a_file_that_is_removed_or_replaced_is_why_the_process_is_not_ready_until_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..LOOKUPS_MAX + 2).map(|at| directory.path().join(at.to_string())).collect();
        paths.iter().for_each(|path| fs::write(path, "").unwrap());
        let shared = Shared::new(1, 1);
        shared.set_phase(Phase::Ready);
        let mut presence = Presence::new(paths.clone(), Arc::clone(&shared), EventLog::default().port());
        let mut now = Instant::now();
        // Each look has room for all but two.
        let mut look_twice = || {
            for _ in 0..2 {
                now += INTERVAL;
                presence.look(now);
            }
            (shared.missing(), shared.readiness())
        };
        assert_eq!(look_twice(), (0, Ok(())));
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&paths[LOOKUPS_MAX + 1], &elsewhere).unwrap();
        let (missing, ready) = look_twice();
        assert!(missing == 1 && ready.clone().is_err_and(|why| why.contains("was removed or moved away")), "{ready:?}");
        // As the engine does: a file that is open keeps its inode, which no new one can have.
        let _open = fs::File::open(&paths[3]).unwrap();
        fs::remove_file(&paths[3]).unwrap();
        fs::write(directory.path().join("new"), "").unwrap();
        fs::rename(directory.path().join("new"), &paths[3]).unwrap();
        let (missing, ready) = look_twice();
        assert!(missing == 2 && ready.clone().is_err_and(|why| why.contains("replaced")), "{ready:?}");
        assert!(ready.is_err_and(|why| why.contains("and so were 1 more")));
        fs::rename(&elsewhere, &paths[LOOKUPS_MAX + 1]).unwrap();
        assert_eq!(look_twice().0, 1);
    }
}
