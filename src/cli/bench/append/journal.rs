//! The journal itself beside its floor, batch for batch.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::scratch::Scratch;
use super::floor::Pen;
use super::{BATCH, JournalRun, PAYLOAD_BYTES, Pace, STRIDE_BYTES, histogram, percentiles};
use crate::cli::bench::client::ClientError;
use crate::cli::bench::machine::pin;
use crate::journal::{self, FileStorage, Flusher, Geometry, Kind, Mode, NONE, NewRecord, Room, SessionState, Writer};
use crate::sys::ring::{IDENTITY_BYTES, RingMemory};

const FLUSH_INTERVAL: Duration = Duration::from_millis(1);
const GEOMETRY: Geometry = Geometry { journals: 1, ring_bytes: 16 << 20, segment_bytes: 16 << 20, segments: 16 };
/// What a segment's head states, for a head of a usual length.
const SESSIONS: u32 = 64;

pub(super) fn measure(
    directory: &Path,
    pace: Pace,
    snapshot_bytes: u32,
    core: usize,
) -> Result<JournalRun, ClientError> {
    let shared_memory = Scratch::new(Some(Path::new("/dev/shm"))).or_else(|_| Scratch::new(Some(directory)))?;
    let settings = journal::Settings {
        data_dir: directory.join("data"),
        ring_dir: shared_memory.path().to_owned(),
        geometry: GEOMETRY,
        flush_interval_ns: FLUSH_INTERVAL.as_nanos() as u64,
        flush_interval_min_ns: 0,
        flush_method: journal::FlushMethod::default().into(),
        message_bytes_max: 64 << 10,
        resend_messages_max: 1,
        clock: crate::engine::monotonic_ns,
    };
    let mut opened = journal::open(&settings).map_err(|error| ClientError::Failed(error.to_string()))?;
    let journal = opened.journals.remove(0);
    let counters = journal.flusher.counters();
    let stop = Arc::new(AtomicBool::new(false));
    let flushing = {
        let (stop, flusher) = (Arc::clone(&stop), journal.flusher);
        std::thread::spawn(move || {
            pin(core);
            flush(flusher, &stop)
        })
    };
    let mut writer = journal.writer;
    let mut floor = floor()?;
    let (mut of_journal, mut of_floor) = (histogram(), histogram());
    let mut filler =
        Filler { payload: [7; PAYLOAD_BYTES], number: 0, previous: NONE, snapshot: vec![1; snapshot_bytes as usize] };
    let mut checks = 0_u32;
    let (mut newest_segment, mut longest_roll_ns) = (0, 0);
    // Both in turn at the whole rate each: a floor's batch lies between two of the journal.
    let both = Pace { rate: pace.rate * 2, ..pace };
    let began = Instant::now();
    let kept_rate = both.run(BATCH, |turn| {
        if flushing.is_finished() {
            return;
        }
        let start = Instant::now();
        if turn.is_multiple_of(2) {
            for _ in 0..BATCH {
                filler.append(&mut writer);
            }
            let taken_ns = start.elapsed().as_nanos() as u64;
            of_journal.saturating_record(taken_ns);
            let segment = writer.appended() / GEOMETRY.segment_bytes;
            if std::mem::replace(&mut newest_segment, segment) != segment {
                longest_roll_ns = longest_roll_ns.max(taken_ns);
            }
        } else {
            for _ in 0..BATCH {
                checks = checks.wrapping_add(floor.append_payload());
            }
            of_floor.saturating_record(start.elapsed().as_nanos() as u64);
        }
    });
    let elapsed = began.elapsed();
    std::hint::black_box(checks);
    stop.store(true, Ordering::Release);
    let flushed = flushing.join().map_err(|_| ClientError::Failed("the flusher panicked".into()))?;
    flushed.map_err(|error| ClientError::Failed(error.to_string()))?;
    let appended = writer.appended();
    if writer.payload(filler.previous) != filler.payload || writer.watermark(Mode::Sync) != appended {
        return Err(ClientError::Failed("the journal does not hold what was appended to it".into()));
    }
    if !kept_rate {
        return Err(ClientError::MissedRate {
            wanted: pace.rate,
            reached: filler.number as f64 / elapsed.as_secs_f64(),
        });
    }
    let (floor, journal) = (percentiles(&of_floor, BATCH), percentiles(&of_journal, BATCH));
    Ok(JournalRun {
        seconds: pace.duration.as_secs_f64(),
        appends: filler.number,
        segments_rolled: appended / GEOMETRY.segment_bytes,
        ring_laps: appended / GEOMETRY.ring_bytes,
        syncs: counters.syncs.load(Ordering::Relaxed),
        snapshot_bytes,
        longest_roll_us: longest_roll_ns as f64 / 1000.0,
        p50_ratio: journal.p50_ns / floor.p50_ns,
        p999_difference_ns: journal.p999_ns - floor.p999_ns,
        p9999_difference_ns: journal.p9999_ns - floor.p9999_ns,
        floor,
        journal,
    })
}

/// What the engine does: carries what there is, and rests for the interval.
fn flush(mut flusher: Flusher<FileStorage>, stop: &AtomicBool) -> Result<(), journal::StorageError> {
    loop {
        let is_over = stop.load(Ordering::Acquire);
        if is_over {
            return flusher.drain(crate::engine::monotonic_ns());
        }
        if flusher.turn(crate::engine::monotonic_ns())? == 0 {
            std::thread::sleep(FLUSH_INTERVAL);
        }
    }
}

/// Memory as long as the ring, that nobody reads: its end is free again as soon as it was written.
fn floor() -> Result<FloorPen, ClientError> {
    let mut memory = RingMemory::anonymous(GEOMETRY.ring_bytes)?.0;
    memory.populate()?;
    memory.reset(&[0; IDENTITY_BYTES], 0, 0);
    let (writer, reader) = memory.split();
    Ok(FloorPen { pen: Pen::new(writer), reader, since: 0 })
}

struct FloorPen {
    pen: Pen,
    reader: crate::sys::ring::RingReader,
    since: u64,
}

impl FloorPen {
    #[inline]
    fn append_payload(&mut self) -> u32 {
        self.since += STRIDE_BYTES;
        if self.since >= GEOMETRY.ring_bytes / 2 {
            self.since = 0;
            self.pen.publish();
            let appended = self.reader.appended();
            self.reader.set_written(appended);
            self.reader.set_synced(appended);
        }
        self.pen.append_payload()
    }
}

/// Appends one record in a commit of its own.
struct Filler {
    payload: [u8; PAYLOAD_BYTES],
    number: u64,
    previous: u64,
    snapshot: Vec<u8>,
}

impl Filler {
    #[inline]
    fn append(&mut self, writer: &mut Writer) {
        loop {
            match writer.begin(STRIDE_BYTES as u32) {
                Room::Ready => break,
                Room::Full => std::hint::spin_loop(),
                Room::RollDue => self.roll(writer),
            }
        }
        self.number += 1;
        let new = NewRecord {
            msg_seq_num: self.number,
            previous: self.previous,
            sent_after: (self.previous != NONE).then_some(self.previous),
            ..NewRecord::internal(Kind::Outbound, 1)
        };
        self.previous = writer.append_bytes(new, std::hint::black_box(&self.payload)).expect("its room is reserved");
        writer.commit(Mode::Buffered);
    }

    #[cold]
    fn roll(&self, writer: &mut Writer) {
        let states = (0..SESSIONS).map(|number| SessionState {
            number,
            next_out: self.number,
            next_in: 1,
            epoch: 0,
            lease: 0,
            last_out: NONE,
            last_in: NONE,
            began_s: 0,
            next_out_from_peer: false,
            identity: b"FIX.4.4\x01VENUE\x01\x01\x01DESK1\x01\x01",
        });
        let rolled = writer.roll(states, &self.snapshot);
        // `false` is a ring that is full; the next attempt follows at once.
        let _ = rolled.expect("the head fits a quarter of the ring");
    }
}
