//! What lies inside an existing data directory: whether it fits the configuration, and whether a process uses it.
//!
//! The manifest is read and the lock is tried for a moment; an engine that starts in that moment waits for longer.

use std::fs::File;
use std::io;

use super::machine::Findings;
use crate::application::Application;
use crate::cli::run::BuiltIn;
use crate::engine::{Directory, Environment, StartError, check_found};
use crate::journal::{
    FileStorage, FlushNote, Manifest, ManifestError, OpenError, Preview, Storage, preview, stranger_in, why_held,
};
use crate::sys::file::{open_private, read_small, try_lock};

const KEY: &str = "engine.data_dir";

impl Findings<'_> {
    pub(super) fn journals(&mut self) {
        let is_usable = self.manifest();
        let is_held = self.held();
        // Taken before anything is read, so that no engine starts over what is looked at.
        let lock = self.lock();
        if is_usable && !is_held && lock.is_some() {
            self.preview();
        }
        drop(lock);
        self.flush_method();
    }

    /// What a start would find, unless an engine runs here.
    fn preview(&mut self) {
        let settings = self.settings();
        match preview(&settings) {
            Ok(found) => self.found(&found),
            Err(OpenError::Held { why, .. }) => {
                let shown = self.config.engine.data_dir.display();
                let mend = format!("`fixring recover --restored --data-dir {shown}` shows its sessions");
                self.wrong(KEY, format!("a start will hold it: {why}"), mend);
            }
            // The journal's errors say their remedy themselves.
            Err(error @ (OpenError::Ring(_) | OpenError::RingInUse { .. })) => {
                self.wrong("persistence.ring_dir", error.to_string(), "")
            }
            Err(error) => self.wrong(KEY, error.to_string(), ""),
        }
    }

    /// Whether the engine can go on with the sessions and the state that the journals hold.
    fn found(&mut self, found: &Preview) {
        let config = self.config;
        let geometry = self.settings().geometry;
        let directory = Directory::new(config);
        for journal in &found.journals {
            let number = journal.number;
            self.overwrites = self.overwrites.or(journal.overwrites.map(|segment| (number, segment)));
            if let Err(error) = check_found(config, &directory, geometry, number, &journal.sessions) {
                // Its place is its beginning, and so is a finding's.
                let (key, error) = match error {
                    StartError::LivesElsewhere { .. } => ("session", error),
                    error => (KEY, error),
                };
                self.wrong(key, error.to_string(), "");
            }
            let environment = Environment {
                journal: number,
                incarnation: 0,
                snapshot_bytes_max: geometry.snapshot_bytes_max() as u32,
            };
            let mut application = BuiltIn::new(config.engine.application, environment);
            if !journal.snapshot.is_empty()
                && let Err(error) = application.restore(&journal.snapshot)
            {
                self.wrong("engine.application", StartError::Application { journal: number, error }.to_string(), "");
            }
        }
        if let Some(count) = found.growing_to {
            let what = format!("a start was cut off while it gave the data directory {count} segments a journal");
            self.warning(
                "persistence.segments",
                what,
                "the next start finishes that first; check again after it to see what the journals hold",
            );
        }
        if !found.journals.is_empty() {
            let sessions: usize = found.journals.iter().map(|journal| journal.sessions.len()).sum();
            self.ok(KEY, format!("its journals can be gone on with: {sessions} sessions"));
        }
    }

    /// What is written down of how the volume is made durable, which the next start goes by where the method is `auto`.
    fn flush_method(&mut self) {
        const KEY: &str = "persistence.flush_method";
        let note = FlushNote::read(&self.config.engine.data_dir);
        let Some(note) =
            note.filter(|note| self.config.persistence.flush_method.is_none() && !note.measured.is_empty())
        else {
            return;
        };
        self.ok(KEY, format!("{}, for {}; {}", note.method, note.why, note.summary()));
        for row in &note.measured {
            if let Some(why) = &row.unusable {
                self.ok(KEY, format!("{} cannot be used here: {why}", row.method));
            }
        }
    }

    /// Whether there is a manifest that fits, or none where none has to be.
    fn manifest(&mut self) -> bool {
        let mut settings = self.settings();
        let manifest = match FileStorage::open(&settings.data_dir, settings.geometry).manifest() {
            Ok(None) => {
                let stranger = stranger_in(&self.config.engine.data_dir);
                if let Some(name) = &stranger {
                    let what = format!("it holds {name:?} and no manifest, so it is no data directory of fixring");
                    self.wrong(KEY, what, "name a new or an empty one");
                }
                return stranger.is_none();
            }
            Ok(Some(bytes)) => Manifest::of_text(&bytes),
            Err(error) => {
                self.wrong(KEY, error.to_string(), "let this user read what is in the data directory");
                return false;
            }
        };
        // The journal's errors say their remedy themselves.
        let mut manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                self.wrong(KEY, error.to_string(), "");
                return false;
            }
        };
        // Workers adopt journals, so their number may differ; the directory's own counts.
        settings.geometry.journals = manifest.geometry.journals;
        self.journal_count = manifest.geometry.journals.into();
        // What a start was giving it when it was cut off, the next one finishes.
        let count = manifest.geometry.segments.max(manifest.last_use.growing_to);
        manifest.geometry.segments = count;
        let wanted = settings.geometry.segments;
        if wanted > count {
            settings.geometry.segments = count;
            self.ok(
                "persistence.segments",
                format!("the data directory has {count} a journal and gets {wanted} at the first start after a stop in order"),
            );
        }
        match manifest.check(settings.geometry) {
            Ok(()) => {
                let (count, incarnation) = (manifest.geometry.journals, manifest.incarnation);
                self.ok(KEY, format!("journals: {count}, incarnation: {incarnation}, uuid: {}", manifest.uuid));
                return true;
            }
            Err(ManifestError::Differs { key, fixed, configured }) => self.wrong(
                key,
                match key {
                    "persistence.segments" => {
                        format!("is {configured}, and the data directory has {fixed} and can only get more")
                    }
                    _ => format!("is {configured}, and the data directory was created with {fixed} for its life"),
                },
                format!("set it to {fixed}, or name a new engine.data_dir"),
            ),
            Err(error) => self.wrong(KEY, error.to_string(), ""),
        }
        false
    }

    fn held(&mut self) -> bool {
        // A manifest that cannot be read is a finding already.
        let Ok(Some(why)) = why_held(&self.config.engine.data_dir) else { return false };
        let shown = self.config.engine.data_dir.display();
        let mend = format!("`fixring recover --restored --data-dir {shown}` shows its sessions and frees it");
        self.wrong(KEY, format!("it is held: {why}"), mend);
        true
    }

    /// The lock's file, locked where there is one; `None` where it cannot be had.
    fn lock(&mut self) -> Option<Option<File>> {
        let path = self.config.engine.data_dir.join("lock");
        let outcome = match open_private(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(None),
            Err(error) => Err(error),
            Ok(file) => try_lock(&file).map(|is_taken| is_taken.then_some(file)),
        };
        match outcome {
            Ok(Some(file)) => {
                self.ok(KEY, "no process uses it");
                return Some(Some(file));
            }
            Ok(None) => {
                let pid = read_small(&path, 64).unwrap_or_default();
                let pid = String::from_utf8_lossy(&pid);
                let pid = pid.trim();
                let what =
                    if pid.is_empty() { "it is in use".into() } else { format!("it is in use by process {pid}") };
                self.wrong(KEY, what, "stop that process before another runs here, or name another engine.data_dir");
            }
            Err(error) => {
                self.wrong(KEY, format!("{} cannot be opened: {error}", path.display()), "run as the user that made it")
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::{
        check_machine,
        tests::{fitting, wrong},
    };
    use std::fs;

    use super::*;
    use crate::config::{Config, Placement};
    use crate::journal::{DirectoryLock, FlushMethod, Geometry, Opened, Settings, open};

    fn create(config: &Config) -> Opened<FileStorage> {
        let persistence = &config.persistence;
        let geometry = Geometry {
            journals: config.engine.placement.worker_count() as u16,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        open(&Settings {
            data_dir: config.engine.data_dir.clone(),
            ring_dir: persistence.ring_dir.clone(),
            geometry,
            flush_interval_ns: 1_000_000,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: config.engine.message_bytes_max,
            resend_messages_max: 64,
            clock: || 0,
        })
        .unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_data_directory_in_use_names_the_process_and_is_free_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, "");
        let opened = create(&config);
        let in_use = wrong(&config);
        assert_eq!(in_use.len(), 1, "{in_use:#?}");
        let expected = format!("x.toml:2: engine.data_dir: it is in use by process {}: stop", std::process::id());
        assert!(in_use[0].starts_with(&expected), "{in_use:#?}");
        drop(opened);
        assert_eq!(wrong(&config), [""; 0]);
        DirectoryLock::take(&config.engine.data_dir).expect("check keeps no lock");
    }

    #[test]
    fn sizes_that_differ_from_those_at_creation_are_found_at_their_line() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        drop(create(&config));
        config.persistence.segment_bytes *= 2;
        let found = wrong(&config);
        assert_eq!(found.len(), 1, "{found:#?}");
        let expected =
            "x.toml:8: persistence.segment_bytes: is 2097152, and the data directory was created with 1048576";
        assert!(found[0].starts_with(expected), "{found:#?}");
    }

    #[test]
    fn more_workers_than_journals_fit_an_old_directory_and_need_no_more_room() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        drop(create(&config));
        config.engine.placement = Placement::Workers(3);
        let findings = check_machine(&config);
        assert_eq!(wrong(&config), [""; 0]);
        let of = |what: &str| findings.iter().any(|finding| finding.what.ends_with(what));
        assert!(of("and 0B of rings and segments to be made") && of("and 0B of segments to be made"), "{findings:#?}");
    }

    #[test]
    fn a_damaged_manifest_is_wrong_and_says_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, "");
        drop(create(&config));
        fs::write(config.engine.data_dir.join("manifest"), "nothing of ours").unwrap();
        let found = wrong(&config);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("manifest is damaged") && found[0].contains("restore"), "{found:#?}");
    }
}
