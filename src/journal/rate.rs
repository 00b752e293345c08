//! How fast a journal has been filled, from its own records. For `fixring check`; the engine does not need to know.

use super::recovery::find_heads;
use super::scan::{SegmentSource, record_at};
use super::{Geometry, Kind, Manifest, Storage, StorageError};

/// Records that are looked at of one segment, at most: some say no time.
const RECORDS_MAX: u32 = 1 << 20;
/// Below it the rate is that of a start, and no rate.
const SPAN_NS_MIN: u64 = 1_000_000_000;

/// What went into a journal between two of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillRate {
    pub bytes: u64,
    /// The times of the two, UTC.
    pub from_ns: u64,
    pub to_ns: u64,
}

impl FillRate {
    /// From the oldest record that states a time to the newest, or to one a million records into the newest segment. `None` where less than a second lies
    /// between them.
    pub fn measure(
        storage: &impl Storage,
        manifest: &Manifest,
        journal: u16,
    ) -> Result<Option<FillRate>, StorageError> {
        let heads = find_heads(storage, manifest, journal)?;
        let (Some(newest), Some(oldest)) = (heads.first(), heads.last()) else { return Ok(None) };
        let mut source = SegmentSource::new(storage.clone(), manifest.geometry, journal);
        let first = timed(&mut source, &manifest.geometry, *oldest, true)?;
        let last = timed(&mut source, &manifest.geometry, *newest, false)?;
        let (Some((from, from_ns)), Some((to, to_ns))) = (first, last) else { return Ok(None) };
        let is_measured = to > from && to_ns >= from_ns.saturating_add(SPAN_NS_MIN);
        Ok(is_measured.then(|| FillRate { bytes: to - from, from_ns, to_ns }))
    }

    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 * 1e9 / (self.to_ns - self.from_ns) as f64
    }
}

/// Position and time of a segment's first or last record that states a time.
fn timed(
    source: &mut SegmentSource<impl Storage>,
    geometry: &Geometry,
    segment: u64,
    is_first: bool,
) -> Result<Option<(u64, u64)>, StorageError> {
    let mut at = segment * geometry.segment_bytes;
    let end = at + geometry.segment_bytes;
    let mut found = None;
    for _ in 0..RECORDS_MAX {
        if at >= end {
            break;
        }
        let Some((header, _)) = record_at(source, geometry, at)? else { break };
        if header.time_ns != 0 && header.kind != Kind::Pad {
            found = Some((at, header.time_ns));
            if is_first {
                break;
            }
        }
        at += header.padded_bytes();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedStorage;
    use super::super::{Mode, NewRecord, Room, Settings, open_over, prepare};
    use super::*;
    use crate::sys::ring::RingMemory;

    #[test]
    fn the_rate_is_that_between_the_oldest_and_the_newest_record_that_are_there() {
        let geometry = Geometry { journals: 1, ring_bytes: 64 << 10, segment_bytes: 64 << 10, segments: 3 };
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: 1,
            flush_interval_min_ns: 0,
            flush_method: crate::journal::FlushMethod::default().into(),
            message_bytes_max: 4 << 10,
            resend_messages_max: 10,
            clock: || 0,
        };
        let storage = SimulatedStorage::new(geometry);
        let manifest = prepare(&storage, &settings).unwrap();
        let ring = RingMemory::anonymous(geometry.ring_bytes).unwrap().0;
        let mut journal = open_over(&storage, manifest.clone(), vec![ring], &settings).unwrap().journals.remove(0);
        let measure = || FillRate::measure(&storage, &Manifest { incarnation: 1, ..manifest.clone() }, 0).unwrap();
        assert_eq!(measure(), None);
        // 1,024 bytes a tenth of a second, for two laps; each segment loses a little to its head.
        let mut last = 0;
        for tenth in 1..=380 {
            while journal.writer.begin(1024) != Room::Ready {
                assert_eq!(journal.writer.roll(std::iter::empty(), b""), Ok(true));
                journal.flusher.drain(0).unwrap();
            }
            let new = NewRecord::internal(Kind::Inbound, tenth * 100_000_000);
            last = journal.writer.append_bytes(new, &[0; 960]).unwrap();
            journal.writer.commit(Mode::Buffered);
            journal.flusher.drain(0).unwrap();
            if tenth == 5 {
                assert_eq!(measure(), None, "half a second is no rate");
            }
        }
        let rate = measure().unwrap();
        let oldest = geometry.oldest_position(last);
        assert_eq!((rate.to_ns, rate.bytes), (38_000_000_000, last - oldest - 128));
        let per_second = rate.bytes_per_second();
        assert!((10_240.0..10_600.0).contains(&per_second), "{per_second}");
    }
}
