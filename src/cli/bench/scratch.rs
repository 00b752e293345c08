//! Temporary directories that are gone when the bench is, however it ends: also by Ctrl-C, SIGTERM
//! or SIGHUP.
//!
//! A bench holds processes and threads that know nothing of each other, so nobody is asked to stop:
//! one thread waits for the signal, kills the children, which write into the directories, removes
//! these, and lets the signal end the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tempfile::TempDir;

use crate::sys::process;

/// A child that was killed is gone within it, unless its last write to a device hangs.
const CHILDREN_END_MAX: Duration = Duration::from_secs(10);
const REMOVALS_MAX: u32 = 20;
const STEP: Duration = Duration::from_millis(5);

/// What a signal removes. Who ends by himself meanwhile waits for this lock for ever.
static PLACES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static WATCH: OnceLock<()> = OnceLock::new();

/// Gone with its value.
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// In this directory, or where temporary files go. Call it before the thread is pinned.
    pub fn new(parent: Option<&Path>) -> io::Result<Self> {
        watch()?;
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let mut builder = tempfile::Builder::new();
        builder.prefix("fixring-bench-");
        let directory = parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent))?;
        places.push(directory.path().to_owned());
        Ok(Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place != self.0.path());
        drop(places);
    }
}

fn watch() -> io::Result<()> {
    if WATCH.get().is_some() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    WATCH.get_or_init(|| {
        let watching = move || {
            if let Some(signal) = signals.forever().next() {
                clean_up();
                let _ = emulate_default_handler(signal);
            }
        };
        // Without the thread the signal would do nothing at all.
        std::thread::Builder::new().name("fixring-signals".into()).spawn(watching).expect("a thread can be started");
    });
    Ok(())
}

fn clean_up() {
    let places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    let children = process::children();
    for child in &children {
        process::kill(*child);
    }
    let deadline = Instant::now() + CHILDREN_END_MAX;
    while children.iter().any(|child| process::is_alive(*child)) && Instant::now() < deadline {
        std::thread::sleep(STEP);
    }
    for place in places.iter() {
        // A thread of ours may make a file meanwhile.
        let removed = (0..REMOVALS_MAX)
            .map(|_| fs::remove_dir_all(place))
            .find(|removed| removed.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true));
        if removed.is_none() {
            error_line!("{}: cannot be removed", place.display());
        }
    }
    error_line!("interrupted; its files are removed");
    // Nobody makes another one.
    std::mem::forget(places);
}
