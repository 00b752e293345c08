//! What a test's engine leaves behind is whole: the rule for each helper that owns an engine's
//! directory or volume, in its `Drop`. A test that damages its journal on purpose says so to the
//! helper, with the reason.

#![allow(dead_code, reason = "each test crate uses its own part")]

use std::cell::Cell;
use std::fs;
use std::path::Path;

use fixring::journal::inspect::{Directory, verify::verify};
use fixring::journal::simulated::SimulatedStorage;
use fixring::journal::{Geometry, Slot, Storage};
use fixring::simulate::Node;

/// Whether the journal is to be whole when its owner goes.
#[derive(Default)]
pub struct Wholeness {
    /// Why it is not.
    damaged: Cell<Option<&'static str>>,
}

impl Wholeness {
    pub fn is_damaged(&self, why: &'static str) {
        assert!(!why.is_empty());
        self.damaged.set(Some(why));
    }

    /// For `Drop`. No engine may ever have run in the directory, and a test that fails already has
    /// said enough.
    pub fn check(&self, data_dir: &Path) {
        let is_asked_for = self.damaged.get().is_none() && !std::thread::panicking();
        if is_asked_for && data_dir.join("manifest").exists() {
            assert_whole(data_dir);
        }
    }
}

/// A temporary directory in which engines run in this process: its journal is whole when it goes.
pub struct Temporary {
    directory: tempfile::TempDir,
}

impl Temporary {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for data_dir in [self.path().to_owned(), self.path().join("data")] {
            Wholeness::default().check(&data_dir);
        }
    }
}

/// A simulated node's volume: whole when its owner goes.
pub struct WholeVolume {
    storage: SimulatedStorage,
    geometry: Geometry,
}

impl WholeVolume {
    pub fn of(node: &Node) -> Self {
        Self { storage: node.storage.clone(), geometry: node.settings.geometry }
    }

    /// What was not flushed is in a ring, which is not looked at, and no fault.
    pub fn assert_whole(&self) {
        self.storage.calm();
        let Some(manifest) = self.storage.manifest().expect("a calm volume") else { return };
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("manifest"), manifest).expect("a temporary file");
        for journal in 0..self.geometry.journals {
            let segments = directory.path().join(format!("journal-{journal}"));
            fs::create_dir(&segments).expect("a temporary directory");
            for number in 0..self.geometry.segments {
                let mut bytes = vec![0; self.geometry.segment_bytes as usize];
                self.storage.read_cached(Slot { journal, number }, 0, &mut bytes);
                fs::write(segments.join(format!("segment-{number}.seg")), bytes).expect("a temporary file");
            }
        }
        assert_whole(directory.path());
    }
}

impl Drop for WholeVolume {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_whole();
        }
    }
}

/// What `fixring journal verify` says, beside an engine or after it.
pub fn assert_whole(data_dir: &Path) {
    let directory = Directory::open(data_dir).expect("a data directory");
    let verified = verify(&directory, None, &mut |_, _| ()).expect("it can be read");
    for journal in &verified.journals {
        assert!(journal.is_whole, "{}: journal {}: {:#?}", data_dir.display(), journal.journal, journal.faults);
    }
}
