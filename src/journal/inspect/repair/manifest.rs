//! A manifest made anew of what the segments' heads and the ring say.

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use super::super::super::file_storage::segment_path;
use super::super::super::grow::growing_path;
use super::super::super::scan::{Incarnations, commit_at};
use super::super::super::state::head_identity;
use super::super::super::{Geometry, HEADER_BYTES, JOURNALS_MAX, LastUse, Manifest, SEGMENTS_MAX};
use super::super::files::{RingTail, SegmentFiles, SlotHead};
use super::super::{Directory, MANIFEST_BYTES_MAX, read_bounded};
use super::{Action, Options, Step};

/// A damaged manifest's incarnation is believed if it is no more than this beyond the records': so many starts may have left no record.
const INCARNATIONS_BEYOND_MAX: u32 = 1_000;

pub(super) fn step(manifest: &Manifest, why: String) -> Step {
    let Geometry { journals, ring_bytes, segment_bytes, segments } = manifest.geometry;
    Step {
        what: format!(
            "write the manifest anew: uuid {}, incarnation {}, {journals} journals of {segments} segments of {segment_bytes} bytes, rings of {ring_bytes} bytes; the old one, if any, goes to quarantine",
            manifest.uuid, manifest.incarnation
        ),
        why,
        action: Action::Manifest,
    }
}

/// All heads must agree; what they do not say comes from the damaged text where it still makes sense, or from the operator.
pub(super) fn rebuild(data_dir: &Path, options: &Options) -> Result<Manifest, String> {
    let text = read_bounded(&data_dir.join("manifest"), MANIFEST_BYTES_MAX).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let journals = count(JOURNALS_MAX.into(), |journal| data_dir.join(format!("journal-{journal}")).is_dir()) as u16;
    let segments = count(SEGMENTS_MAX, |slot| segment_path(data_dir, 0, slot).exists());
    if journals == 0 || segments == 0 {
        return Err("there are no segments: restore the directory from its volume snapshot".to_owned());
    }
    if (0..SEGMENTS_MAX).any(|slot| growing_path(data_dir, 0, slot).exists()) {
        return Err("it was being given more segments, and how many it had nothing says any more: restore the directory from its volume snapshot".to_owned());
    }
    let segment_bytes = most_common_length(data_dir, journals, segments);
    let ring_bytes = options.ring_bytes.or_else(|| number(&text, "ring_bytes")).ok_or(
        "it does not say ring_bytes any more: add --ring-bytes N, as persistence.ring_bytes of the configuration says",
    )?;
    let geometry = Geometry { journals, ring_bytes, segment_bytes, segments };
    geometry
        .check()
        .map_err(|why| format!("what is there does not fit together ({why}); --ring-bytes N says the ring's length"))?;
    let uuid = common_uuid(data_dir, geometry)?;
    let ring_dir = options.ring_dir.clone().or_else(|| string(&text, "ring_dir")).ok_or(
        "it does not say ring_dir any more, where the ring may hold the newest messages: add --ring-dir DIR, as persistence.ring_dir of the configuration says",
    )?;
    let mut manifest = Manifest {
        uuid,
        geometry,
        incarnation: u32::MAX,
        ring_dir,
        // Not known any more: to pass over numbers that never left is the lesser evil.
        numbers_moved: Some((0..journals).collect()),
        // Nor is where it began.
        timeline_from: u32::MAX,
        timeline: string(&text, "timeline").and_then(|text| Uuid::parse_str(&text).ok()).unwrap_or(uuid),
        last_use: LastUse::default(),
    };
    let told = numbers(&text, "first_segments");
    let firsts = (0..journals).map(|journal| first_segment(data_dir, &manifest, journal, &told));
    manifest.last_use.first_segments = firsts.collect::<Result<_, _>>()?;
    if manifest.last_use.first_segments.iter().all(|first| *first == 0) {
        manifest.last_use.first_segments.clear();
    }
    let walked = newest_incarnation(data_dir, &manifest)?;
    let owner = (0..journals).filter_map(|journal| {
        let header = RingTail::open(&manifest, journal)?.refresh(&manifest, journal)?;
        header.identity.is_of_this_directory().then_some(header.owner as u32)
    });
    let owner = owner.max();
    let told = number(&text, "incarnation").and_then(|told| u32::try_from(told).ok());
    let told = told.filter(|told| (walked..=walked.saturating_add(INCARNATIONS_BEYOND_MAX)).contains(told));
    manifest.incarnation = match (owner, told) {
        // What a ring says of its owner is exact.
        (Some(owner), _) if owner >= walked => owner,
        (_, Some(told)) => told,
        // One more than was seen, since the last start may have left nothing: an incarnation is never used twice.
        _ => walked.saturating_add(1),
    };
    Ok(manifest)
}

/// The oldest segment that can be there: a directory that has grown has blank files where older
/// ones would be.
fn first_segment(data_dir: &Path, manifest: &Manifest, journal: u16, told: &[u64]) -> Result<u64, String> {
    let geometry = manifest.geometry;
    let mut files = SegmentFiles::new(data_dir, geometry, journal);
    let mut heads = Vec::new();
    for slot in 0..geometry.segments {
        heads.push(files.head(manifest.uuid, slot).map_err(|error| error.to_string())?);
    }
    let present =
        heads.iter().filter_map(|head| if let SlotHead::Ours { segment } = head { Some(*segment) } else { None });
    let (Some(oldest), Some(newest)) = (present.clone().min(), present.max()) else { return Ok(0) };
    let by_count = (newest + 1).saturating_sub(geometry.segments.into());
    if let Some(told) = told.get(usize::from(journal))
        && (by_count..=oldest).contains(told)
    {
        return Ok(*told);
    }
    let is_blank = |segment: u64| heads[files.slot_of(segment) as usize] == SlotHead::Blank;
    Ok(if (by_count..oldest).all(is_blank) { oldest } else { 0 })
}

fn count(max: u32, is_there: impl Fn(u32) -> bool) -> u32 {
    (0..max).take_while(|number| is_there(*number)).count() as u32
}

fn most_common_length(data_dir: &Path, journals: u16, segments: u32) -> u64 {
    let mut lengths = BTreeMap::<u64, u32>::new();
    for journal in 0..journals {
        for slot in 0..segments {
            if let Ok(metadata) = std::fs::metadata(segment_path(data_dir, journal, slot)) {
                *lengths.entry(metadata.len()).or_default() += 1;
            }
        }
    }
    lengths.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(length, _)| length)
}

/// Of the heads that are whole and where they belong, all but those of one directory are strangers.
fn common_uuid(data_dir: &Path, geometry: Geometry) -> Result<Uuid, String> {
    let mut uuids = BTreeMap::<[u8; 16], u32>::new();
    for journal in 0..geometry.journals {
        let mut files = SegmentFiles::new(data_dir, geometry, journal);
        for slot in 0..geometry.segments {
            let mut start = [0; 256];
            files.read(slot, 0, &mut start).map_err(|error| error.to_string())?;
            let Some((identity, _)) = head_identity(&start[HEADER_BYTES as usize..]) else { continue };
            let is_here = files.slot_of(identity.segment) == slot
                && identity.journal == journal
                && identity.segment < u64::MAX / 4 / geometry.segment_bytes;
            if is_here && is_whole(&mut files, geometry, identity.segment)? {
                *uuids.entry(identity.uuid).or_default() += 1;
            }
        }
    }
    let total: u32 = uuids.values().sum();
    let most = uuids.into_iter().max_by_key(|(_, count)| *count);
    match most {
        None => Err("no segment has a whole head that says whose it is (with rings of this length): restore the directory from its volume snapshot".to_owned()),
        Some((uuid, count)) if count * 2 > total => Ok(Uuid::from_bytes(uuid)),
        Some(_) => Err("the segments are of several data directories, none of which has most of them: move the strange ones aside".to_owned()),
    }
}

fn is_whole(files: &mut SegmentFiles, geometry: Geometry, segment: u64) -> Result<bool, String> {
    let mut any = Incarnations::up_to(u32::MAX);
    let position = segment * geometry.segment_bytes;
    let found = commit_at(files, &geometry, position, &mut any, &mut Vec::new());
    Ok(found.map_err(|error| error.to_string())?.is_some())
}

/// Of all records that a recovery would read.
fn newest_incarnation(data_dir: &Path, manifest: &Manifest) -> Result<u32, String> {
    let directory = Directory::of(data_dir, manifest.clone());
    let mut newest = 0;
    for journal in 0..manifest.geometry.journals {
        let standing = super::super::status::standing(&directory, journal)
            .map_err(|error: crate::journal::StorageError| error.to_string())?;
        newest = newest.max(standing.scan.incarnations.newest);
    }
    Ok(newest)
}

/// `key = 123` of a text that may be anything.
fn number(text: &str, key: &str) -> Option<u64> {
    value(text, key)?.parse().ok()
}

/// `key = [1, 2]` of such a text.
fn numbers(text: &str, key: &str) -> Vec<u64> {
    let list = value(text, key).and_then(|list| list.strip_prefix('[')?.strip_suffix(']'));
    list.map_or_else(Vec::new, |list| list.split(',').map_while(|one| one.trim().parse().ok()).collect())
}

fn string(text: &str, key: &str) -> Option<String> {
    let line = format!("{key} = {}", value(text, key)?);
    let table: BTreeMap<String, String> = toml::from_str(&line).ok()?;
    table.into_values().next()
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim()))
}
