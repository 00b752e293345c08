//! How long a stop waits for what does not move: a volume that hangs, or a worker that does not
//! come back.

use std::time::{Duration, Instant};

use crate::sys::ring::Watermarks;

/// After a failure, threads get so long to end; one that does not is left behind.
pub(super) const END_MAX: Duration = Duration::from_secs(5);

/// Runs out when nothing has moved on the volume for a time. A slow volume is waited for as long as
/// it moves.
pub(super) struct Patience {
    max: Duration,
    at: u64,
    moved: Instant,
}

impl Patience {
    pub fn new(max: Duration, marks: &[Watermarks], now: Instant) -> Self {
        Self { max, at: carried(marks), moved: now }
    }

    pub fn is_over(&mut self, marks: &[Watermarks], now: Instant) -> bool {
        let at = carried(marks);
        if at != self.at {
            (self.at, self.moved) = (at, now);
        }
        now.saturating_duration_since(self.moved) >= self.max
    }
}

/// Rises with whatever a flusher does.
fn carried(marks: &[Watermarks]) -> u64 {
    marks.iter().map(|marks| marks.written().wrapping_add(marks.synced())).fold(0, u64::wrapping_add)
}

/// The first journal of which the volume lacks something.
pub(super) fn behind(marks: &[Watermarks]) -> Option<(usize, u64)> {
    let lacks = marks.iter().map(|marks| {
        // `synced` first: the other way round a flush in between would show less than there is.
        let synced = marks.synced();
        marks.appended().saturating_sub(synced)
    });
    lacks.enumerate().find(|(_, bytes)| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ring::{IDENTITY_BYTES, RING_BYTES_MIN, RingMemory};

    #[test]
    fn patience_runs_out_only_where_nothing_moves() {
        let (mut ring, _keeper) = RingMemory::anonymous(RING_BYTES_MIN).unwrap();
        ring.reset(&[0; IDENTITY_BYTES], 1, 0);
        let marks = [ring.watermarks()];
        let (mut writer, mut reader) = ring.split();
        let max = Duration::from_secs(10);
        let mut now = Instant::now();
        let mut patience = Patience::new(max, &marks, now);
        assert_eq!(behind(&marks), None);
        writer.publish(128);
        assert_eq!((behind(&marks), reader.appended()), (Some((0, 128)), 128));
        for position in [64, 128] {
            now += max - Duration::from_millis(1);
            assert!(!patience.is_over(&marks, now));
            reader.set_written(position);
            assert!(!patience.is_over(&marks, now));
        }
        assert!(patience.is_over(&marks, now + max));
        reader.set_synced(128);
        assert!(!patience.is_over(&marks, now + max), "it moves after all");
        assert_eq!(behind(&marks), None);
    }
}
