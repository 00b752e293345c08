//! What lies inside an existing data directory: whether it fits the configuration, and whether a process uses it.
//!
//! The manifest is read and the lock is tried for a moment; an engine that starts in that moment waits for longer.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::machine::Findings;
use crate::journal::inspect::{Holder, holder};
use crate::journal::{
    FileStorage, FlushNote, Geometry, Manifest, ManifestError, Storage, stranger_in, why_held, why_to_hold,
};
use crate::sys::file::{open_private, read_small, try_lock};

const KEY: &str = "engine.data_dir";

impl Findings<'_> {
    pub(super) fn journals(&mut self) {
        self.manifest();
        self.held();
        self.lock();
        self.flush_method();
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

    fn manifest(&mut self) {
        let persistence = &self.config.persistence;
        let mut geometry = Geometry {
            journals: self.config.engine.placement.worker_count() as u16,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        let manifest = match FileStorage::open(&self.config.engine.data_dir, geometry).manifest() {
            Ok(None) => {
                if let Some(name) = stranger_in(&self.config.engine.data_dir) {
                    let what = format!("it holds {name:?} and no manifest, so it is no data directory of fixring");
                    self.wrong(KEY, what, "name a new or an empty one");
                }
                return;
            }
            Ok(Some(bytes)) => Manifest::of_text(&bytes),
            Err(error) => {
                self.wrong(KEY, error.to_string(), "let this user read what is in the data directory");
                return;
            }
        };
        // The journal's errors say their mend themselves.
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return self.wrong(KEY, error.to_string(), ""),
        };
        // Workers adopt journals, so their number may differ; the directory's own counts.
        geometry.journals = manifest.geometry.journals;
        self.journal_count = geometry.journals.into();
        let prefix = format!("fixring-{}-", manifest.uuid);
        for entry in fs::read_dir(&persistence.ring_dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix)
                && let Ok(metadata) = entry.metadata()
            {
                self.ring_bytes_held += metadata.blocks() * 512;
            }
        }
        match manifest.check(geometry) {
            Ok(()) => {
                let (count, incarnation) = (geometry.journals, manifest.incarnation);
                self.ok(KEY, format!("journals: {count}, incarnation: {incarnation}, uuid: {}", manifest.uuid));
            }
            Err(ManifestError::Differs { key, fixed, configured }) => self.wrong(
                key,
                format!("is {configured}, and the data directory was created with {fixed} for its life"),
                format!("set it to {fixed}, or name a new engine.data_dir"),
            ),
            Err(error) => self.wrong(KEY, error.to_string(), ""),
        }
    }

    fn held(&mut self) {
        // A manifest that cannot be read is a finding already.
        if let Ok(Some(why)) = why_held(&self.config.engine.data_dir) {
            let shown = self.config.engine.data_dir.display();
            let mend = format!("`fixring recover --restored --data-dir {shown}` shows its sessions and frees it");
            return self.wrong(KEY, format!("it is held: {why}"), mend);
        }
        self.what_will_hold();
    }

    /// What a start would find that holds the directory, or whose ring it would want. Nothing is said of one that an engine runs on.
    fn what_will_hold(&mut self) {
        let data_dir = &self.config.engine.data_dir;
        let bytes = FileStorage::open(data_dir, Geometry::default()).manifest();
        let manifest = bytes.ok().flatten().and_then(|bytes| Manifest::of_text(&bytes).ok());
        let Some(manifest) = manifest.filter(|_| holder(data_dir) == Holder::Nobody) else { return };
        match why_to_hold(&manifest, data_dir, &self.config.persistence.ring_dir) {
            Ok(None) => {}
            Ok(Some(why)) => {
                let mend = format!("`fixring recover --restored --data-dir {}` shows its sessions", data_dir.display());
                self.wrong(KEY, format!("a start will hold it: {why}"), mend);
            }
            // The journal's errors say their remedy themselves.
            Err(error) => self.wrong(KEY, error.to_string(), ""),
        }
    }

    fn lock(&mut self) {
        let path = self.config.engine.data_dir.join("lock");
        let outcome = match open_private(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Err(error),
            Ok(file) => try_lock(&file),
        };
        match outcome {
            Ok(true) => self.ok(KEY, "no process uses it"),
            Ok(false) => {
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
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::{
        check_machine,
        tests::{fitting, wrong},
    };
    use super::*;
    use crate::config::{Config, Placement};
    use crate::journal::{DirectoryLock, FlushMethod, Opened, Settings, open};

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
        assert!(of("and 0B of rings to be made") && of("and 0B of segments to be made"), "{findings:#?}");
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
