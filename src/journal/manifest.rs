//! The data directory's durable identity: a small TOML text that closes with its own CRC, replaced in whole.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FORMAT_VERSION, Geometry, SEGMENTS_MAX, Storage, StorageError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub uuid: Uuid,
    pub geometry: Geometry,
    /// Of the last process that opened the directory; 0 when none has.
    pub incarnation: u32,
    /// Where that process had its rings. For those who only look; a process that opens the directory goes by its own configuration.
    pub ring_dir: String,
    /// The journals in which that process went on at the sessions' leases, for until its first record says so.
    /// `None` where a fixring without leases has written it.
    pub numbers_moved: Option<Vec<u16>>,
    /// What names this unbroken history of the directory. A new one begins when a copy of it is put into use. The first has the
    /// directory's own name.
    pub timeline: Uuid,
    /// The incarnation that it began with: what is of that one or a later one is of this timeline.
    pub timeline_from: u32,
    pub last_use: LastUse,
}

/// What tells whether the directory is as its last process left it. All of it may be missing, as in manifests of before it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastUse {
    /// What names the block device below it, as `what=value`: a serial number, a world-wide id.
    pub device: Vec<String>,
    /// By journal, what tells its directory from a copy (`home.rs`).
    pub home: Vec<String>,
    /// What tells the manifest's own file from a copy that was put in its place. Given to it when
    /// it is written.
    pub born: String,
    /// By journal, the position at which `incarnation` began: what an older one wrote there or beyond is fenced.
    pub starts: Vec<u64>,
    /// By journal, up to where it was synced soon after, with that process's first record.
    pub reached: Vec<u64>,
    /// By journal, up to where it was synced when that process stopped in order.
    pub ends: Vec<u64>,
    /// Why nobody may take the sessions over before the operator has said what their numbers are; empty where they may.
    pub held: String,
    /// Sessions of a held directory that the operator has spoken of, as `journal.number`.
    pub decided: Vec<String>,
    /// How many segments the directory is getting, while it grows; 0 otherwise (`grow.rs`).
    pub growing_to: u32,
    /// By journal, the oldest segment that was there when the directory grew: those before it are
    /// gone. Empty where it never has.
    pub first_segments: Vec<u64>,
}

/// Why a data directory cannot be opened as configured. The operator's to mend, save [`ManifestError::Damaged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// Its text or CRC is wrong.
    Damaged(String),
    Newer {
        found: u32,
    },
    Differs {
        key: &'static str,
        fixed: u64,
        configured: u64,
    },
    /// The configuration cannot work; the text names the key.
    Geometry(String),
    /// Segments that hold data, but no manifest.
    Missing,
}

const SEGMENTS: &str = "persistence.segments";

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "the data directory's manifest is damaged ({why}): `fixring journal repair` may make it anew; otherwise restore the directory from its volume snapshot, or move it aside to start anew"),
            Self::Newer { found } => write!(f, "the data directory has format version {found}, this fixring reads up to {FORMAT_VERSION}: run a newer fixring"),
            Self::Differs { key, fixed, configured } => write!(
                f,
                "{key} is {configured}, but the data directory has {fixed}, and {}: set {key} = {fixed}, or name a new engine.data_dir",
                if *key == SEGMENTS { "can only get more" } else { "that is fixed for its life" }
            ),
            Self::Geometry(why) => f.write_str(why),
            Self::Missing => f.write_str("the data directory holds segments but no manifest: `fixring journal repair` makes it anew of the segments; an older copy of the file `manifest` does not know of the newest messages, and is held. Or restore the whole directory from its volume snapshot, or name a new engine.data_dir"),
        }
    }
}

impl std::error::Error for ManifestError {}

/// The journal that a session lives in, for life.
pub fn journal_of(identity: &[u8], journals: u16) -> u16 {
    (crc_fast::crc32_iscsi(identity) % u32::from(journals.max(1))) as u16
}

#[derive(Serialize, Deserialize)]
struct Text {
    format_version: u32,
    uuid: String,
    incarnation: u32,
    journals: u16,
    ring_bytes: u64,
    segment_bytes: u64,
    segments: u32,
    ring_dir: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numbers_moved: Option<Vec<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    timeline_from: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    device: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    home: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    born: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    starts: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reached: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ends: Vec<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    held: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    decided: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    growing_to: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    first_segments: Vec<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Read before anything else, so that a newer version is named even if the rest has changed.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

impl LastUse {
    /// Up to where a journal is known to have been on stable media: where the last incarnation
    /// began, with its first record once that was synced, and where it ended if it stopped in
    /// order.
    pub(super) fn synced_of(&self, journal: u16) -> Option<u64> {
        let at = usize::from(journal);
        [&self.starts, &self.reached, &self.ends].into_iter().filter_map(|known| known.get(at)).max().copied()
    }

    /// Nothing of a journal is there any more: what was known of it does not hold for what begins
    /// in its place.
    pub(super) fn forget(&mut self, journal: u16) {
        let at = usize::from(journal);
        [&mut self.starts, &mut self.reached, &mut self.ends]
            .into_iter()
            .filter_map(|known| known.get_mut(at))
            .for_each(|known| *known = 0);
    }

    /// The oldest segment of a journal that can be there, whatever the number of files says.
    pub(super) fn first_segment(&self, journal: u16) -> u64 {
        self.first_segments.get(usize::from(journal)).copied().unwrap_or(0)
    }
}

const TITLE: &str = "# The identity of a fixring data directory. Written by fixring at each start and stop.\n";
const CRC_PREFIX: &str = "# crc32c = ";

impl Manifest {
    pub fn to_text(&self) -> String {
        let text = Text {
            format_version: FORMAT_VERSION,
            uuid: self.uuid.to_string(),
            incarnation: self.incarnation,
            journals: self.geometry.journals,
            ring_bytes: self.geometry.ring_bytes,
            segment_bytes: self.geometry.segment_bytes,
            segments: self.geometry.segments,
            ring_dir: self.ring_dir.clone(),
            numbers_moved: self.numbers_moved.clone(),
            timeline: (self.timeline != self.uuid).then(|| self.timeline.to_string()),
            timeline_from: self.timeline_from,
            device: self.last_use.device.clone(),
            home: self.last_use.home.clone(),
            born: self.last_use.born.clone(),
            starts: self.last_use.starts.clone(),
            reached: self.last_use.reached.clone(),
            ends: self.last_use.ends.clone(),
            held: self.last_use.held.clone(),
            decided: self.last_use.decided.clone(),
            growing_to: self.last_use.growing_to,
            first_segments: self.last_use.first_segments.clone(),
        };
        let mut out = TITLE.to_owned();
        out.push_str(&toml::to_string(&text).expect("a flat table of integers and strings"));
        let crc = crc_fast::crc32_iscsi(out.as_bytes());
        out.push_str(&format!("{CRC_PREFIX}{crc:08x}\n"));
        out
    }

    pub fn of_text(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |why: &str| ManifestError::Damaged(why.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let crc_at = text.rfind(CRC_PREFIX).ok_or_else(|| damaged("it has no crc32c line"))?;
        let (body, crc) = text.split_at(crc_at);
        let crc = u32::from_str_radix(crc[CRC_PREFIX.len()..].trim_end(), 16)
            .map_err(|_| damaged("its crc32c line is not a number"))?;
        if crc != crc_fast::crc32_iscsi(body.as_bytes()) {
            return Err(damaged("its crc32c does not match"));
        }
        let version: Version = toml::from_str(body).map_err(|error| damaged(error.message()))?;
        if version.format_version > FORMAT_VERSION {
            return Err(ManifestError::Newer { found: version.format_version });
        }
        let text: Text = toml::from_str(body).map_err(|error| damaged(error.message()))?;
        let geometry = Geometry {
            journals: text.journals,
            ring_bytes: text.ring_bytes,
            segment_bytes: text.segment_bytes,
            segments: text.segments,
        };
        geometry.check().map_err(ManifestError::Damaged)?;
        let uuid = Uuid::parse_str(&text.uuid).map_err(|_| damaged("its uuid is not one"))?;
        let timeline = text.timeline.map_or(Ok(uuid), |timeline| Uuid::parse_str(&timeline));
        let timeline = timeline.map_err(|_| damaged("its timeline is no uuid"))?;
        let Text {
            incarnation,
            ring_dir,
            numbers_moved,
            timeline_from,
            device,
            home,
            born,
            starts,
            reached,
            ends,
            held,
            decided,
            growing_to,
            first_segments,
            ..
        } = text;
        if growing_to > SEGMENTS_MAX {
            return Err(damaged("it grows to more segments than there can be"));
        }
        let last_use = LastUse { device, home, born, starts, reached, ends, held, decided, growing_to, first_segments };
        Ok(Self { uuid, geometry, incarnation, ring_dir, numbers_moved, timeline, timeline_from, last_use })
    }

    /// A start that it does not say, since it is older than the journal. What it says of its own last one is no use then: where it began, whether its
    /// record is to be expected, and which timeline it was of.
    pub(super) fn know_of(&mut self, incarnation: u32) {
        (self.incarnation, self.numbers_moved, self.timeline_from) = (incarnation, None, incarnation.saturating_add(1));
        self.last_use.starts.clear();
    }

    /// Where the last incarnation began in a journal; beyond every position where that is not known.
    pub(super) fn start_of(&self, journal: u16) -> u64 {
        self.last_use.starts.get(usize::from(journal)).copied().unwrap_or(u64::MAX)
    }

    /// Whether a configuration fits this directory.
    pub fn check(&self, configured: Geometry) -> Result<(), ManifestError> {
        let fixed = self.geometry;
        let pairs = [
            ("the number of journals", u64::from(fixed.journals), u64::from(configured.journals)),
            ("persistence.ring_bytes", fixed.ring_bytes, configured.ring_bytes),
            ("persistence.segment_bytes", fixed.segment_bytes, configured.segment_bytes),
            (SEGMENTS, u64::from(fixed.segments), u64::from(configured.segments)),
        ];
        match pairs.into_iter().find(|(_, fixed, configured)| fixed != configured) {
            Some((key, fixed, configured)) => Err(ManifestError::Differs { key, fixed, configured }),
            None => Ok(()),
        }
    }

    pub(super) fn read(storage: &impl Storage) -> Result<Option<Result<Self, ManifestError>>, StorageError> {
        Ok(storage.manifest()?.map(|bytes| Self::of_text(&bytes)))
    }

    pub(super) fn write(&self, storage: &impl Storage) -> Result<(), StorageError> {
        let mut written = self.clone();
        written.last_use.born = storage.next_manifest()?;
        storage.replace_manifest(written.to_text().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            uuid: Uuid::from_bytes([7; 16]),
            geometry: Geometry::default(),
            incarnation: 41,
            ring_dir: "/dev/\"shm\"".to_owned(),
            numbers_moved: Some(vec![0, 2]),
            timeline: Uuid::from_bytes([8; 16]),
            timeline_from: 40,
            last_use: LastUse {
                device: vec!["serial=vol0a".to_owned()],
                home: vec!["born=1.5".to_owned(), String::new()],
                born: "born=1.7".to_owned(),
                starts: vec![4096, u64::MAX / 2],
                reached: vec![4352, u64::MAX / 2],
                ends: vec![8192, u64::MAX / 2],
                held: "restored".to_owned(),
                decided: vec!["0.1".to_owned()],
                growing_to: 128,
                first_segments: vec![41, 0],
            },
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        for numbers_moved in [None, Some(vec![]), Some(vec![0, 2])] {
            let manifest = Manifest { numbers_moved, ..manifest() };
            assert_eq!(Manifest::of_text(manifest.to_text().as_bytes()), Ok(manifest));
        }
    }

    #[test]
    fn a_manifest_of_before_the_last_use_was_kept_is_read() {
        let first = manifest().uuid;
        let old = Manifest { last_use: LastUse::default(), timeline: first, timeline_from: 0, ..manifest() };
        let text = old.to_text();
        assert!(
            ![
                "timeline",
                "device",
                "home",
                "born",
                "starts",
                "reached",
                "ends",
                "held",
                "decided",
                "growing",
                "first_segments",
            ]
            .iter()
            .any(|key| text.contains(key)),
            "{text}"
        );
        assert_eq!(Manifest::of_text(text.as_bytes()), Ok(old.clone()));
        assert_eq!(old.start_of(0), u64::MAX);
    }

    #[test]
    fn any_changed_byte_of_a_manifest_is_damage() {
        let text = manifest().to_text();
        for at in 0..text.trim_end().len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Manifest::of_text(&bytes).is_err(), "byte {at}");
        }
        assert!(Manifest::of_text(b"").is_err());
    }

    /// Whoever looks into a directory that grows keeps a place for each of its segments.
    #[test]
    fn more_segments_than_there_can_be_are_damage_whoever_asks_for_them() {
        let mut grows = manifest();
        grows.last_use.growing_to = SEGMENTS_MAX;
        assert_eq!(Manifest::of_text(grows.to_text().as_bytes()), Ok(grows.clone()));
        grows.last_use.growing_to = SEGMENTS_MAX + 1;
        assert!(matches!(Manifest::of_text(grows.to_text().as_bytes()), Err(ManifestError::Damaged(_))));
    }

    #[test]
    fn a_newer_format_is_named_even_if_its_keys_are_unknown() {
        let mut text = "format_version = 3\nnew_key = 1\n".to_owned();
        let crc = crc_fast::crc32_iscsi(text.as_bytes());
        text.push_str(&format!("{CRC_PREFIX}{crc:08x}\n"));
        let error = Manifest::of_text(text.as_bytes()).unwrap_err();
        assert_eq!(error, ManifestError::Newer { found: 3 });
        assert!(error.to_string().contains("run a newer fixring"));
    }

    #[test]
    fn a_configuration_that_differs_is_told_the_fixed_value() {
        let configured = Geometry { segments: 8, ..Geometry::default() };
        let error = manifest().check(configured).unwrap_err().to_string();
        assert!(error.contains("set persistence.segments = 64"), "{error}");
        assert_eq!(manifest().check(Geometry::default()), Ok(()));
    }

    #[test]
    fn a_session_stays_in_its_journal() {
        // Fixed for the life of a data directory: a change here strands every session of an existing one.
        assert_eq!(journal_of(b"FIX.4.4\x01VENUE\x01\x01\x01DESK1\x01\x01", 4), 3);
        assert_eq!(journal_of(b"anything", 1), 0);
    }
}
