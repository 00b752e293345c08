//! Which flush method a data directory is opened with, and the note that says why: `flush-method`, a small TOML text beside the manifest.
//!
//! The note is for people, for the next start, which need not measure again, and for nothing else: without it, or where it is damaged,
//! the volume is measured anew. It also tells which method wrote last; see [`Chosen::before`].

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys::file;

use super::file_storage::replace;
use super::probe::{Figures, Measured, probe};
use super::{FlushChoice, FlushMethod};

pub(super) const NOTE: &str = "flush-method";
pub(super) const NOTE_NEW: &str = "flush-method.new";
const NOTE_BYTES_MAX: u64 = 16 * 1024;
/// Medians so near to each other, in percent, are the same.
const NEAR_PERCENT: u64 = 105;
/// The same of few appends.
const NEAR_PERCENT_OF_FEW: u64 = 200;
/// A lower p99 counts from this on, in percent of the other.
const LOWER_PERCENT: u64 = 90;
/// Fewer appends are few: their p99 is the worst of them, and their median no more than a hint.
const APPENDS_ENOUGH: u32 = 100;

/// The method that a data directory is opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub method: FlushMethod,
    /// One sentence, with figures where there are any.
    pub why: String,
    /// The volume was measured at this start.
    pub is_new: bool,
    /// What wrote last, where that is known.
    pub before: Option<FlushMethod>,
}

/// The note's content.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FlushNote {
    pub method: String,
    pub why: String,
    /// Where and when it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<MethodFigures>,
}

/// One method's row; without figures where it cannot be used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MethodFigures {
    pub method: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    #[serde(default)]
    pub appends: u32,
    #[serde(default)]
    pub p50_us: f64,
    #[serde(default)]
    pub p99_us: f64,
}

const TITLE: &str = "# How this data directory is made durable, and why. Written by fixring, which measures the volume at the first start with\n\
                     # persistence.flush_method = \"auto\". Remove this file to have it measured anew at the next start.\n";

/// Settles the method and leaves the note. A note that cannot be written only costs the next start a new measurement.
pub(super) fn settle(data_dir: &Path, choice: FlushChoice) -> Chosen {
    let found = FlushNote::read(data_dir);
    let before = found.as_ref().and_then(|note| note.method.parse().ok());
    let (note, method, is_new) = match choice {
        FlushChoice::Fixed(method) => {
            let why = "persistence.flush_method names it".to_owned();
            let note = FlushNote { method: method.to_string(), why, ..FlushNote::unmeasured() };
            (note, method, false)
        }
        FlushChoice::Auto { any_flush } => {
            let known = found.clone().filter(|note| !note.measured.is_empty());
            let is_new = known.is_none();
            let mut note = known.unwrap_or_else(|| FlushNote::measure(data_dir));
            let (method, why) = choose(&note.figures(), any_flush);
            (note.method, note.why) = (method.to_string(), why);
            (note, method, is_new)
        }
    };
    // A directory that never had a note and is written by the plainest method needs none.
    let is_plain = found.is_none() && note.measured.is_empty() && method == FlushMethod::default();
    if !is_plain && found.as_ref() != Some(&note) {
        let _ = note.write(data_dir);
    }
    Chosen { method, why: note.why, is_new, before }
}

/// The method that the next start settles for; the default one where it would measure first, since
/// that chooses among those that work.
pub(super) fn expected(data_dir: &Path, choice: FlushChoice) -> FlushMethod {
    match choice {
        FlushChoice::Fixed(method) => method,
        FlushChoice::Auto { any_flush } => {
            let note = FlushNote::read(data_dir).filter(|note| !note.measured.is_empty());
            note.map_or_else(FlushMethod::default, |note| choose(&note.figures(), any_flush).0)
        }
    }
}

/// The fastest of what was measured: by the median, since that is what a session in `sync` waits for; where medians are near to each other, by
/// p99; where that says nothing either, the first, since the page cache serves resends. A busy volume that gave time for a few appends has to
/// show a difference by factors.
fn choose(measured: &[(FlushMethod, Result<Figures, String>)], any_flush: bool) -> (FlushMethod, String) {
    let is_barred = |method: FlushMethod| any_flush && method == FlushMethod::Dsync;
    let usable: Vec<(FlushMethod, Figures)> = measured
        .iter()
        .filter_map(|(method, figures)| Some((*method, *figures.as_ref().ok()?)))
        .filter(|(method, figures)| !is_barred(*method) && figures.appends > 0)
        .collect();
    let Some(best) = usable.iter().map(|(_, figures)| figures.p50_ns).min() else {
        let whys: Vec<String> = measured
            .iter()
            .filter_map(|(method, figures)| Some(format!("{method}: {}", figures.as_ref().err()?)))
            .collect();
        return (FlushMethod::default(), format!("no method could be measured ({})", whys.join("; ")));
    };
    let is_enough = usable.iter().all(|(_, figures)| figures.appends >= APPENDS_ENOUGH);
    let near_percent = if is_enough { NEAR_PERCENT } else { NEAR_PERCENT_OF_FEW };
    let is_near = |figures: &Figures| figures.p50_ns <= best.saturating_mul(near_percent) / 100;
    let is_lower = |figures: &Figures, than: &Figures| {
        is_enough && figures.p99_ns < than.p99_ns.saturating_mul(LOWER_PERCENT) / 100
    };
    let mut near = usable.iter().filter(|(_, figures)| is_near(figures));
    let mut chosen = near.next().expect("the best is near to itself");
    let mut others = Vec::new();
    for candidate in near {
        others.push(candidate);
        if is_lower(&candidate.1, &chosen.1) {
            others.push(chosen);
            chosen = candidate;
        }
    }
    others.retain(|other| other.0 != chosen.0);
    let us = |ns: u64| format!("{} µs", ns / 1_000);
    let (method, figures) = chosen;
    let mut why = match others[..] {
        [] => format!("its median of {} is the lowest", us(figures.p50_ns)),
        _ => {
            let names: Vec<String> = others.iter().map(|(method, _)| method.to_string()).collect();
            let names = names.join(" and ");
            if others.iter().any(|(_, other)| is_lower(figures, other)) {
                let p99 = us(figures.p99_ns);
                format!("its median of {} is near that of {names}, and its p99 of {p99} is lower", us(figures.p50_ns))
            } else {
                format!("its median of {} is near that of {names}, and it is the plainer one", us(figures.p50_ns))
            }
        }
    };
    if any_flush {
        why.push_str("; dsync was left alone, since a session waits for the operating system only (mode flush)");
    }
    (*method, why)
}

impl FlushNote {
    /// `None` where there is none, or none that can be read.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let mut text = String::new();
        let file = file::open_private(&data_dir.join(NOTE), false).ok()?;
        file.take(NOTE_BYTES_MAX).read_to_string(&mut text).ok()?;
        toml::from_str(&text).ok()
    }

    /// The figures in a sentence.
    pub fn summary(&self) -> String {
        let rows: Vec<String> = self
            .measured
            .iter()
            .map(|row| match &row.unusable {
                Some(_) => format!("{} cannot be used", row.method),
                None => format!("{} {:.0}/{:.0} µs", row.method, row.p50_us, row.p99_us),
            })
            .collect();
        let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        format!(
            "p50/p99 of an append: {}; measured {} on {}, {}",
            rows.join(", "),
            or_unknown(&self.date),
            or_unknown(&self.filesystem),
            or_unknown(&self.device)
        )
    }

    fn unmeasured() -> Self {
        let (method, why) = (String::new(), String::new());
        Self { method, why, date: None, filesystem: None, device: None, measured: Vec::new() }
    }

    fn measure(data_dir: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = fs::metadata(data_dir).map(|metadata| metadata.dev()).ok();
        let mount = device.and_then(|device| mount_of(&mounts, device));
        let date = jiff::Timestamp::now().round(jiff::Unit::Second).ok().map(|date| date.to_string());
        let measured = rows(probe(data_dir));
        let of = |text: Option<&str>| text.map(str::to_owned);
        Self {
            date,
            filesystem: of(mount.map(|mount| mount.0)),
            device: of(mount.map(|mount| mount.1)),
            measured,
            ..Self::unmeasured()
        }
    }

    /// What the rows say, of methods that this build knows.
    fn figures(&self) -> Vec<(FlushMethod, Result<Figures, String>)> {
        let ns = |us: f64| (us * 1_000.0) as u64;
        let of = |row: &MethodFigures| {
            let figures = match &row.unusable {
                Some(why) => Err(why.clone()),
                None => Ok(Figures { appends: row.appends, p50_ns: ns(row.p50_us), p99_ns: ns(row.p99_us) }),
            };
            Some((row.method.parse().ok()?, figures))
        };
        self.measured.iter().filter_map(of).collect()
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        replace(&data_dir.join(NOTE), format!("{TITLE}{text}").as_bytes()).map_err(io::Error::other)
    }
}

fn rows(measured: Measured) -> Vec<MethodFigures> {
    // Tenths of a µs: no clock of ours is better.
    let us = |ns: u64| (ns / 100) as f64 / 10.0;
    let of = |(method, figures): (FlushMethod, Result<Figures, String>)| match figures {
        Ok(Figures { appends, p50_ns, p99_ns }) => MethodFigures {
            method: method.to_string(),
            unusable: None,
            appends,
            p50_us: us(p50_ns),
            p99_us: us(p99_ns),
        },
        Err(why) => {
            MethodFigures { method: method.to_string(), unusable: Some(why), appends: 0, p50_us: 0.0, p99_us: 0.0 }
        }
    };
    measured.into_iter().map(of).collect()
}

/// Kind and source of the filesystem with this device number in the text of `/proc/self/mountinfo`, see proc(5): the third
/// field is the device, and both follow the lone hyphen, which no path can hold: its spaces are escaped.
pub(crate) fn mount_of(mounts: &str, device: u64) -> Option<(&str, &str)> {
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let mut fields = line.split_once(" - ")?.1.split(' ');
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::FlushMethod::{Dsync, Fdatasync, Msync};
    use super::*;

    fn figures(p50_us: u64, p99_us: u64) -> Result<Figures, String> {
        Ok(Figures { appends: 200, p50_ns: p50_us * 1_000, p99_ns: p99_us * 1_000 })
    }

    fn chosen(rows: [Result<Figures, String>; 3], any_flush: bool) -> (FlushMethod, String) {
        let rows: Vec<_> = FlushMethod::ALL.into_iter().zip(rows).collect();
        choose(&rows, any_flush)
    }

    #[test]
    fn the_lowest_median_is_chosen_then_the_lowest_p99_then_the_plainest() {
        let refused = || Err("refuses O_DIRECT".to_owned());
        let cases = [
            ([figures(121, 900), figures(60, 1_500), figures(300, 400)], false, Dsync, "60 µs is the lowest"),
            ([figures(121, 900), figures(60, 400), figures(300, 400)], true, Fdatasync, "dsync was left alone"),
            ([figures(121, 900), refused(), figures(100, 400)], false, Msync, "100 µs is the lowest"),
            ([figures(121, 900), figures(123, 440), figures(338, 400)], false, Dsync, "p99 of 440 µs is lower"),
            ([figures(121, 450), figures(120, 440), figures(338, 400)], false, Fdatasync, "the plainer one"),
            ([figures(121, 900), figures(123, 440), figures(120, 430)], false, Dsync, "p99 of 440 µs is lower"),
            ([refused(), refused(), figures(9_000, 90_000)], false, Msync, "lowest"),
            ([refused(), figures(10, 10), refused()], true, Fdatasync, "no method could be measured"),
            ([refused(), refused(), refused()], false, Fdatasync, "msync: refuses O_DIRECT"),
        ];
        for (rows, any_flush, method, part) in cases {
            let (found, why) = chosen(rows.clone(), any_flush);
            assert!(found == method && why.contains(part), "{rows:?}: {found}, {why}");
        }
    }

    #[test]
    fn few_appends_decide_only_where_the_difference_is_great() {
        let few = |p50_us: u64, p99_us: u64| figures(p50_us, p99_us).map(|figures| Figures { appends: 8, ..figures });
        assert_eq!(chosen([few(5_000, 9_000), few(5_000, 6_000), few(9_000, 9_000)], false).0, Fdatasync);
        assert_eq!(chosen([few(5_000, 9_000), few(2_600, 9_000), few(2_550, 9_000)], false).0, Fdatasync);
        assert_eq!(chosen([few(5_000, 9_000), few(2_400, 9_900), few(9_000, 9_000)], false).0, Dsync);
    }

    #[test]
    fn the_volume_is_measured_once_and_again_where_the_note_is_gone_damaged_or_of_a_fixed_method() {
        let directory = tempfile::tempdir().unwrap();
        let settle = |choice| settle(directory.path(), choice);
        let auto = FlushChoice::Auto { any_flush: false };
        let first = settle(auto);
        assert!(first.is_new && first.before.is_none());
        let note = FlushNote::read(directory.path()).unwrap();
        assert!(note.date.is_some() && note.measured.len() == 3 && note.summary().contains("fdatasync "), "{note:?}");
        let second = settle(auto);
        assert_eq!(second, Chosen { is_new: false, before: Some(first.method), ..first });
        assert_ne!(settle(FlushChoice::Auto { any_flush: true }).method, Dsync);

        fs::write(directory.path().join(NOTE), "method = 7").unwrap();
        assert!(settle(auto).is_new);
        let fixed = settle(Msync.into());
        assert!(fixed.method == Msync && !fixed.is_new && fixed.why.contains("persistence.flush_method"));
        let again = settle(auto);
        assert!(again.is_new && again.before == Some(Msync));
        fs::remove_file(directory.path().join(NOTE)).unwrap();
        assert!(settle(auto).is_new);
    }

    #[test]
    fn a_directory_of_the_default_method_has_no_note() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(settle(directory.path(), Fdatasync.into()).method, Fdatasync);
        assert_eq!(FlushNote::read(directory.path()), None);
    }

    #[test]
    fn kind_and_source_of_a_filesystem_are_found_by_its_device() {
        let text = "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
                    29 28 0:25 / /dev/shm rw shared:3 master:1 - tmpfs tmpfs rw,size=65536k\n\
                    31 28 259:2 /a\\040-\\040b /data rw - ext4 /dev/nvme0n1p2 rw\n";
        assert_eq!(mount_of(text, libc::makedev(0, 20)), Some(("sysfs", "sysfs")));
        assert_eq!(mount_of(text, libc::makedev(259, 2)), Some(("ext4", "/dev/nvme0n1p2")));
        assert_eq!(mount_of(text, libc::makedev(0, 99)), None);
    }
}
