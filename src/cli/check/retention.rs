//! How far back the journal reaches, and whether what is older has somewhere to go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::machine::{Findings, writable};
use crate::config::format_bytes;
use crate::journal::{FileStorage, FillRate, Geometry, Manifest, Storage, StorageError, record_bytes};

const SEGMENTS: &str = "persistence.segments";
/// Of a message, where nothing is measured.
const MESSAGE_BYTES: u64 = 200;
const RATES: [u64; 2] = [1_000, 100_000];

impl Findings<'_> {
    pub(super) fn retention(&mut self) {
        let persistence = &self.config.persistence;
        let (segments, segment_bytes) = (persistence.segments, persistence.segment_bytes);
        let rates = match measure(&self.config.engine.data_dir) {
            Ok(rates) => rates,
            Err(error) => {
                let mend = "let this user read what is in the data directory";
                return self.warning(SEGMENTS, format!("the rate so far cannot be read: {error}"), mend);
            }
        };
        // The one that is written is not yet full, or the next one overwrites the oldest: so many are whole at any time.
        let kept_bytes = u64::from(segments - 1) * segment_bytes;
        let kept = format!("{} segments of {}", segments - 1, format_bytes(segment_bytes));
        let min_s = persistence.retention_min.as_secs_f64();
        if min_s > 0.0 {
            let what = format!(
                "what was sent to a session is kept for {min_s} s, and a session that fills a journal is slowed above {:.1} MiB/s beside others",
                kept_bytes as f64 * 0.75 / min_s / f64::from(1 << 20)
            );
            self.ok("persistence.retention_min", what);
        }
        if rates.is_empty() {
            let [slow, fast] =
                RATES.map(|rate| in_minutes(kept_bytes as f64 / (rate * record_bytes(MESSAGE_BYTES)) as f64));
            let what = format!(
                "{kept} a journal; nothing is measured yet, so an estimate: they hold {slow} at {} messages/s of {MESSAGE_BYTES} bytes, {fast} at {}",
                RATES[0], RATES[1]
            );
            return self.ok(SEGMENTS, what);
        }
        for (journal, rate) in rates {
            let per_second = rate.bytes_per_second();
            let what = format!(
                "journal {journal}: {kept} hold {} at the {:.1} KiB/s that it took over its last {}",
                in_minutes(kept_bytes as f64 / per_second),
                per_second / 1024.0,
                in_minutes((rate.to_ns - rate.from_ns) as f64 / 1e9),
            );
            self.ok(SEGMENTS, what);
        }
    }

    pub(super) fn archive(&mut self) {
        let persistence = &self.config.persistence;
        let then = match persistence.archive_required {
            true => "the engine will stop reading sockets when its segments and rings are full",
            false => "segments will be overwritten without having been archived",
        };
        if let Some(archive) = &persistence.archive {
            const KEY: &str = "persistence.archive";
            let shown = archive.display();
            match fs::metadata(archive).and_then(|metadata| match metadata.is_dir() {
                true => writable(archive),
                false => Err(std::io::ErrorKind::NotADirectory.into()),
            }) {
                Ok(()) => self.ok(KEY, format!("{shown} can be written to")),
                Err(error) if persistence.archive_required && self.overwrites.is_some() => {
                    self.refused(KEY, &format!("{shown} cannot be written to ({error})"));
                }
                Err(error) => self.warning(
                    KEY,
                    format!("{shown} cannot be written to ({error}), so {then}"),
                    "make or mount the directory, writable for this user",
                ),
            }
        }
        if let Some(program) = persistence.archive_command.first() {
            const KEY: &str = "persistence.archive_command";
            match executable(program) {
                Some(path) => self.ok(KEY, format!("{} can be run", path.display())),
                None if persistence.archive_required && self.overwrites.is_some() => {
                    self.refused(KEY, &format!("{program} is no program that can be run"));
                }
                None => {
                    let what = format!("{program} is no program that can be run, so {then}");
                    self.warning(KEY, what, "name it by its whole path, and make it executable");
                }
            }
        }
    }
}

impl Findings<'_> {
    /// The ring holds more than the segments, and recovery overwrites the oldest one with it.
    fn refused(&mut self, key: &str, what: &str) {
        let Some((journal, segment)) = self.overwrites else { return };
        let what =
            format!("{what}, and a start would overwrite segment {segment} of journal {journal}, so it is refused");
        let mend = "give the archive back, or set persistence.archive_required = false and lose that segment";
        self.wrong(key, what, mend);
    }
}

/// Of each journal that has been written to for a while.
fn measure(data_dir: &Path) -> Result<Vec<(u16, FillRate)>, StorageError> {
    let Some(text) = FileStorage::open(data_dir, Geometry::default()).manifest()? else { return Ok(Vec::new()) };
    // What is wrong with it is found where the data directory is looked at.
    let Ok(manifest) = Manifest::of_text(&text) else { return Ok(Vec::new()) };
    let storage = FileStorage::open(data_dir, manifest.geometry);
    storage.open_segments()?;
    let mut rates = Vec::new();
    for journal in 0..manifest.geometry.journals {
        rates.extend(FillRate::measure(&storage, &manifest, journal)?.map(|rate| (journal, rate)));
    }
    Ok(rates)
}

fn in_minutes(seconds: f64) -> String {
    match seconds / 60.0 {
        minutes if minutes < 1.0 => format!("{seconds:.1} s"),
        minutes if minutes < 10.0 => format!("{minutes:.1} minutes"),
        minutes => format!("{minutes:.0} minutes"),
    }
}

/// Where the operating system would find it.
fn executable(program: &str) -> Option<PathBuf> {
    let is_executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is_executable);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(is_executable)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::check_machine;
    use super::super::machine::tests::fitting;
    use super::*;

    fn warnings(config: &crate::config::Config) -> Vec<String> {
        let findings = check_machine(config);
        let of_ours = findings.into_iter().filter(|finding| finding.place.contains("persistence.archive"));
        of_ours.filter(|finding| finding.level == Level::Warning).map(|finding| finding.what).collect()
    }

    #[test]
    fn an_archive_that_is_not_there_is_a_warning_that_says_what_will_come_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        let archive = directory.path().join("archive");
        config.persistence.archive = Some(archive.clone());
        let found = warnings(&config);
        assert!(found.len() == 1 && found[0].contains("without having been archived"), "{found:#?}");
        config.persistence.archive_required = true;
        let found = warnings(&config);
        assert!(found.len() == 1 && found[0].contains("stop reading sockets"), "{found:#?}");
        fs::write(&archive, "").unwrap();
        assert_eq!(warnings(&config).len(), 1, "a file is no directory");
        fs::remove_file(&archive).unwrap();
        fs::create_dir(&archive).unwrap();
        assert_eq!(warnings(&config), [""; 0]);
    }

    #[test]
    fn an_archive_command_is_looked_for_as_the_system_would() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = fitting(&directory, "");
        for (program, found) in [("sh", 0), ("/bin/sh", 0), ("no-such-program-here", 1), ("/etc/passwd", 1)] {
            config.persistence.archive_command = vec![program.into(), "{path}".into()];
            assert_eq!(warnings(&config).len(), found, "{program}");
        }
    }

    #[test]
    fn a_new_directory_is_told_an_estimate_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let config = fitting(&directory, "");
        let findings = check_machine(&config);
        let finding = findings.iter().find(|finding| finding.place.contains(SEGMENTS)).unwrap();
        assert!(finding.what.contains("an estimate") && finding.level == Level::Ok, "{finding:?}");
        assert_eq!([0.5, 90.0, 3600.0].map(in_minutes), ["0.5 s", "1.5 minutes", "60 minutes"]);
    }
}
