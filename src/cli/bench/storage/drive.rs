//! Drives a real journal: a worker's pen on this thread, the flusher by the engine's own shell on another; sessions are simulated.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use super::BenchError;
use super::housekeeping::Housekeeping;
use super::plan::{CellPlan, Load, Method, ReleaseMode, SATURATION_WAITING_MAX};
use super::stats::{Latencies, latencies};
use crate::config::Wait;
use crate::control::counters::FlusherCounters;
use crate::engine::flushing::{monotonic_ns, never_sleeps, run_flusher};
use crate::engine::threads::{FatalOnPanic, Signals};
use crate::journal::{
    DirectoryLock, FileStorage, FlushMethod, Flusher, Geometry, HEADER_BYTES, Kind, Mode, NONE, NewRecord,
    RECORD_ALIGN, Room, Settings, Writer, open, record_bytes,
};

pub(super) const PAYLOAD_BYTES: usize = 200;
pub(super) const RECORD_BYTES: u64 = record_bytes(PAYLOAD_BYTES as u64);
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_millis(1);
/// The part of a slice that counts for nothing: threads wake, caches fill.
const WARM_UP_DIVISOR: u32 = 16;
/// Appended between two looks at the marks, as a worker's turn is bounded.
const APPENDS_PER_TURN: u64 = 64;
/// A volume on which a message waits so long does not carry the rate.
const RATE_WAIT_MAX: Duration = Duration::from_secs(2);
/// One on which it waits so long, whatever the load, carries nothing.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long an idle worker's core is left alone at most when the zeros are written.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const SESSIONS_MAX: usize = 64;
const FLUSHER_IS_HERE: &str = "the flusher comes back at the end of each slice";

/// One method's journal.
pub(super) struct Bed {
    pub method: Method,
    settings: Settings,
    writer: Writer,
    /// `None` only while the other core has it.
    flusher: Option<Flusher<FileStorage>>,
    published: Arc<CachePadded<FlusherCounters>>,
    lock: Option<DirectoryLock>,
    payload: [u8; PAYLOAD_BYTES],
    sessions: [Session; SESSIONS_MAX],
    pending: Pending,
}

#[derive(Clone, Copy)]
struct Session {
    msg_seq_num: u64,
    previous: u64,
}

/// What was appended and is not yet released, or released and not yet synced: a queue with two heads, of a length that the ring bounds.
struct Pending {
    entries: Box<[Entry]>,
    appended: u64,
    released: u64,
    synced: u64,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    intended_ns: u64,
    appended_ns: u64,
    /// Of its commit.
    end: u64,
}

/// What a cell's slices have said so far.
pub(super) struct Tally {
    /// From the intended time to the release.
    pub latencies: Latencies,
    /// From the append to stable media: how old what a node's death takes can be.
    pub ages: Latencies,
    pub age_ns_max: u64,
    pub messages_at_risk_max: u64,
    pub released: u64,
    pub measured: Duration,
    /// From the first append to the end of the last, in all slices: syncs are counted over this time.
    pub driven: Duration,
    pub syncs: u64,
    pub bytes: u64,
    /// How long after the last intended time everything was on stable media, in all slices.
    pub overrun: Duration,
    pub slices: u32,
    /// A message waited too long: the slice was ended.
    pub is_given_up: bool,
}

impl Tally {
    pub fn new() -> Self {
        Self {
            latencies: latencies(),
            ages: latencies(),
            age_ns_max: 0,
            messages_at_risk_max: 0,
            released: 0,
            measured: Duration::ZERO,
            driven: Duration::ZERO,
            syncs: 0,
            bytes: 0,
            overrun: Duration::ZERO,
            slices: 0,
            is_given_up: false,
        }
    }

    pub fn syncs_per_second(&self) -> f64 {
        self.syncs as f64 / self.driven.as_secs_f64().max(1e-9)
    }
}

/// Where a bed's files go, and how large they are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub data: PathBuf,
    pub rings: PathBuf,
    pub geometry: Geometry,
}

impl Bed {
    pub fn open(place: &Place, method: Method) -> Result<Self, BenchError> {
        let settings = Settings {
            data_dir: place.data.join(method.to_string()),
            ring_dir: place.rings.join(method.to_string()),
            geometry: place.geometry,
            flush_interval_ns: FLUSH_INTERVAL.as_nanos() as u64,
            flush_interval_min_ns: 0,
            message_bytes_max: 1_024,
            resend_messages_max: 1,
            clock: clock_ns,
            flush_method: FlushMethod::from(method).into(),
        };
        let mut opened = open(&settings).map_err(|error| BenchError::Open(method, error))?;
        let journal = opened.journals.remove(0);
        let entries = place.geometry.ring_bytes / RECORD_BYTES.min(HEADER_BYTES + RECORD_ALIGN) + 1;
        let mut bed = Self {
            method,
            settings,
            writer: journal.writer,
            flusher: Some(journal.flusher),
            published: Arc::default(),
            lock: opened.lock,
            payload: std::array::from_fn(|at| b"8=FIX.4.4\x019=180\x0135=D\x01"[at % 21]),
            sessions: [Session { msg_seq_num: 1, previous: NONE }; SESSIONS_MAX],
            pending: Pending {
                entries: vec![Entry::default(); entries as usize].into_boxed_slice(),
                appended: 0,
                released: 0,
                synced: 0,
            },
        };
        bed.define_sessions()?;
        Ok(bed)
    }

    /// Lets the flusher end what it does beside its work: a new journal's segments are written with zeros.
    pub fn settle(&mut self, stop: &AtomicBool) -> Result<(), BenchError> {
        let start = Instant::now();
        let flusher = self.flusher.as_mut().expect(FLUSHER_IS_HERE);
        while flusher.turn(clock_ns()).map_err(BenchError::Storage)? > 0 {
            if stop.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            if start.elapsed() > SETTLE_MAX {
                break;
            }
        }
        Ok(())
    }

    /// One slice of a cell. At its end everything is on stable media.
    pub fn run(
        &mut self,
        cell: CellPlan,
        slice: Duration,
        tally: &mut Tally,
        housekeeping: &Housekeeping,
        stop: &AtomicBool,
    ) -> Result<(), BenchError> {
        let signals = Arc::new(Signals::default());
        let _fatal = FatalOnPanic(&signals);
        let mut flusher = self.flusher.take().expect(FLUSHER_IS_HERE);
        let counters = flusher.counters();
        let (syncs, appended) = (counters.syncs.load(Ordering::Relaxed), self.writer.appended());
        let (published, seen) = (Arc::clone(&self.published), Arc::clone(&signals));
        let strong = cell.mode != ReleaseMode::Buffered;
        let flushed = housekeeping.ask(move || {
            carry(&mut flusher, &published, strong, &seen);
            flusher
        });
        let Self { writer, pending, sessions, payload, .. } = self;
        let mut pen = Pen { writer, pending, sessions, payload, next_session: 0 };
        let result = pen.work(cell, slice, tally, &signals, stop);
        signals.workers_done.store(true, Ordering::Release);
        self.flusher = Some(flushed.wait()?);
        if let Some(why) = signals.why() {
            return Err(BenchError::Flusher(why));
        }
        // The flusher's end carried what was left.
        self.pending.forget();
        tally.syncs += counters.syncs.load(Ordering::Relaxed) - syncs;
        tally.bytes += self.writer.appended() - appended;
        result
    }

    /// Ends the journal, takes its ring away as a node's death would, and opens it again: everything must be there.
    pub fn check(mut self) -> Result<(), BenchError> {
        let end = self.writer.appended();
        self.drain()?;
        let Self { method, settings, writer, flusher, lock, .. } = self;
        drop((writer, flusher, lock));
        let ring_dir = &settings.ring_dir;
        std::fs::remove_dir_all(ring_dir)
            .map_err(|error| BenchError::Io(format!("cannot remove {ring_dir:?}"), error))?;
        let opened = open(&settings).map_err(|error| BenchError::Open(method, error))?;
        let found = opened.journals[0].recovered.report.end;
        if found == end { Ok(()) } else { Err(BenchError::Lost { method, end, found }) }
    }

    fn define_sessions(&mut self) -> Result<(), BenchError> {
        for number in 0..SESSIONS_MAX as u32 {
            let identity = format!("BENCH{number}");
            while self.writer.begin(record_bytes(identity.len() as u64) as u32) != Room::Ready {
                self.writer.roll(std::iter::empty(), b"").expect("a head without sessions fits");
                self.drain()?;
            }
            self.writer.append_session_defined(number, 0, identity.as_bytes()).expect("its room was reserved");
            self.writer.commit(Mode::Buffered);
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<(), BenchError> {
        self.flusher.as_mut().expect(FLUSHER_IS_HERE).drain(clock_ns()).map_err(BenchError::Storage)
    }
}

/// The flusher's thread, as an engine has it whose workers spin and whose housekeeping has one core.
fn carry(
    flusher: &mut Flusher<FileStorage>,
    published: &Arc<CachePadded<FlusherCounters>>,
    strong: bool,
    signals: &Signals,
) {
    let never_sleeps = never_sleeps(Wait::Spin, strong, 1, 1);
    run_flusher(flusher, published, u64::MAX, never_sleeps, signals);
}

/// The worker's part of a bed.
struct Pen<'a> {
    writer: &'a mut Writer,
    pending: &'a mut Pending,
    sessions: &'a mut [Session; SESSIONS_MAX],
    payload: &'a mut [u8; PAYLOAD_BYTES],
    next_session: usize,
}

impl Pen<'_> {
    fn work(
        &mut self,
        cell: CellPlan,
        slice: Duration,
        tally: &mut Tally,
        signals: &Signals,
        stop: &AtomicBool,
    ) -> Result<(), BenchError> {
        let mode = Mode::from(cell.mode);
        let schedule = Schedule::new(cell, slice, clock_ns());
        let Schedule { start_ns, counts_from_ns, end_ns, .. } = schedule;
        let first = self.pending.appended;
        let mut released = 0;
        let last_ns = loop {
            let now_ns = clock_ns();
            self.note_released(self.writer.watermark(mode), |entry| {
                if entry.intended_ns >= counts_from_ns {
                    tally.latencies.saturating_record(now_ns.saturating_sub(entry.intended_ns));
                }
                released += u64::from((counts_from_ns..end_ns).contains(&now_ns));
            });
            let synced = self.writer.watermark(Mode::Sync);
            self.note_synced(synced, now_ns, counts_from_ns, tally);
            let appended = self.pending.appended - first;
            let is_over = schedule.is_over(appended, now_ns);
            if is_over && self.pending.synced == self.pending.appended {
                break now_ns;
            }
            if signals.fatal.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
                break now_ns;
            }
            let unsent_ns = schedule.next_due_ns(appended).filter(|due_ns| *due_ns < now_ns);
            let oldest_ns = unsent_ns.into_iter().chain(self.pending.oldest().map(|entry| entry.intended_ns)).min();
            if oldest_ns.is_some_and(|oldest_ns| now_ns.saturating_sub(oldest_ns) > schedule.wait_ns_max()) {
                tally.is_given_up = true;
                break now_ns;
            }
            if is_over {
                std::hint::spin_loop();
                continue;
            }
            let waiting = self.pending.appended - self.pending.released;
            for _ in 0..schedule.allowed(appended, waiting, now_ns).min(APPENDS_PER_TURN) {
                let at_ns = clock_ns();
                let intended_ns = schedule.next_due_ns(self.pending.appended - first).unwrap_or(at_ns);
                if !self.append(mode, intended_ns, at_ns) {
                    break;
                }
            }
        };
        if stop.load(Ordering::Relaxed) {
            return Err(BenchError::Interrupted);
        }
        if let Some(due_ns) = schedule.last_due_ns() {
            tally.overrun += Duration::from_nanos(last_ns.saturating_sub(due_ns));
        }
        tally.slices += 1;
        tally.driven += Duration::from_nanos(last_ns - start_ns);
        tally.released += released;
        tally.measured += Duration::from_nanos(end_ns.min(last_ns).saturating_sub(counts_from_ns));
        Ok(())
    }

    /// One message as one commit. `false` where the ring is full.
    fn append(&mut self, mode: Mode, intended_ns: u64, now_ns: u64) -> bool {
        loop {
            match self.writer.begin(RECORD_BYTES as u32) {
                Room::Ready => break,
                Room::Full => return false,
                Room::RollDue => {
                    if !self.writer.roll(std::iter::empty(), b"").expect("a head without sessions fits") {
                        return false;
                    }
                }
            }
        }
        let number = self.next_session;
        self.next_session = (number + 1) % SESSIONS_MAX;
        let session = &mut self.sessions[number];
        self.payload[PAYLOAD_BYTES - 8..].copy_from_slice(&session.msg_seq_num.to_le_bytes());
        let new = NewRecord {
            session: number as u32,
            msg_seq_num: session.msg_seq_num,
            previous: session.previous,
            ..NewRecord::internal(Kind::Outbound, now_ns)
        };
        session.previous = self.writer.append_bytes(new, &self.payload[..]).expect("its room was reserved");
        session.msg_seq_num += 1;
        let end = self.writer.commit(mode);
        self.pending.push(Entry { intended_ns, appended_ns: now_ns, end });
        true
    }

    fn note_released(&mut self, mark: u64, mut note: impl FnMut(&Entry)) {
        let pending = &mut *self.pending;
        while pending.released < pending.appended {
            let entry = pending.entry(pending.released);
            if entry.end > mark {
                break;
            }
            note(&entry);
            pending.released += 1;
        }
    }

    fn note_synced(&mut self, mark: u64, now_ns: u64, counts_from_ns: u64, tally: &mut Tally) {
        let pending = &mut *self.pending;
        if let Some(oldest) = pending.oldest().filter(|_| now_ns >= counts_from_ns) {
            tally.age_ns_max = tally.age_ns_max.max(now_ns.saturating_sub(oldest.appended_ns));
            tally.messages_at_risk_max = tally.messages_at_risk_max.max(pending.appended - pending.synced);
        }
        while pending.synced < pending.appended {
            let entry = pending.entry(pending.synced);
            if entry.end > mark {
                break;
            }
            if entry.appended_ns >= counts_from_ns {
                tally.ages.saturating_record(now_ns.saturating_sub(entry.appended_ns));
            }
            pending.synced += 1;
        }
    }
}

/// When the messages of one slice are due.
#[derive(Clone, Copy)]
struct Schedule {
    cell: CellPlan,
    start_ns: u64,
    counts_from_ns: u64,
    end_ns: u64,
    /// Messages of the slice; of a steady rate alone.
    due: Option<u64>,
}

impl Schedule {
    fn new(cell: CellPlan, slice: Duration, start_ns: u64) -> Self {
        let slice_ns = slice.as_nanos() as u64;
        let due = match cell.load {
            Load::Rate { per_second } => Some(messages_in(slice_ns, per_second).max(1)),
            Load::Closed { .. } | Load::Saturation => None,
        };
        let counts_from_ns = start_ns + slice_ns / u64::from(WARM_UP_DIVISOR);
        Self { cell, start_ns, counts_from_ns, end_ns: start_ns + slice_ns, due }
    }

    /// Whether nothing more is to be appended.
    fn is_over(&self, appended: u64, now_ns: u64) -> bool {
        self.due.map_or(now_ns >= self.end_ns, |due| appended >= due)
    }

    /// The intended time of the next message. `None` where it is whenever it comes.
    fn next_due_ns(&self, appended: u64) -> Option<u64> {
        match self.cell.load {
            Load::Rate { per_second } if self.due.is_some_and(|due| appended < due) => {
                Some(self.start_ns + (u128::from(appended) * 1_000_000_000 / u128::from(per_second)) as u64)
            }
            _ => None,
        }
    }

    fn last_due_ns(&self) -> Option<u64> {
        self.next_due_ns(self.due? - 1)
    }

    /// How many messages may be appended now, where so many have been, of which so many wait for their release.
    fn allowed(&self, appended: u64, waiting: u64, now_ns: u64) -> u64 {
        match self.cell.load {
            Load::Closed { sessions } => u64::from(sessions).saturating_sub(waiting),
            Load::Rate { per_second } => {
                let until = messages_in(now_ns - self.start_ns, per_second) + 1;
                self.due.map_or(until, |due| until.min(due)).saturating_sub(appended)
            }
            Load::Saturation if self.cell.mode == ReleaseMode::Buffered => u64::MAX,
            Load::Saturation => u64::from(SATURATION_WAITING_MAX).saturating_sub(waiting),
        }
    }

    fn wait_ns_max(&self) -> u64 {
        let wait_max = match self.cell.load {
            Load::Rate { .. } => RATE_WAIT_MAX,
            Load::Closed { .. } | Load::Saturation => WAIT_MAX,
        };
        wait_max.as_nanos() as u64
    }
}

fn messages_in(ns: u64, per_second: u32) -> u64 {
    (u128::from(ns) * u128::from(per_second) / 1_000_000_000) as u64
}

impl Pending {
    fn entry(&self, number: u64) -> Entry {
        self.entries[(number % self.entries.len() as u64) as usize]
    }

    fn push(&mut self, entry: Entry) {
        assert!(self.appended - self.synced < self.entries.len() as u64, "the ring holds no more messages than this");
        let at = (self.appended % self.entries.len() as u64) as usize;
        self.entries[at] = entry;
        self.appended += 1;
    }

    fn oldest(&self) -> Option<Entry> {
        (self.synced < self.appended).then(|| self.entry(self.synced))
    }

    fn forget(&mut self) {
        (self.released, self.synced) = (self.appended, self.appended);
    }
}

/// The journal's own clock, so that turns on both threads are of one time.
pub(super) fn clock_ns() -> u64 {
    monotonic_ns()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(mode: ReleaseMode, load: Load) -> Schedule {
        Schedule::new(CellPlan { mode, method: Method::Fdatasync, load }, Duration::from_millis(16), 1_000)
    }

    #[test]
    fn a_steady_rate_is_due_by_the_clock_and_what_was_late_is_caught_up() {
        let schedule = schedule(ReleaseMode::Sync, Load::Rate { per_second: 1_000 });
        let ms = |number: u64| 1_000 + number * 1_000_000;
        assert_eq!((schedule.due, schedule.counts_from_ns, schedule.end_ns), (Some(16), ms(1), ms(16)));
        assert_eq!(
            [0, 1, 15, 16].map(|number| schedule.next_due_ns(number)),
            [Some(ms(0)), Some(ms(1)), Some(ms(15)), None]
        );
        assert_eq!(schedule.last_due_ns(), Some(ms(15)));
        // Whatever waits, the message at 5 ms is the sixth, and none comes after the last.
        assert_eq!([ms(0), ms(5) - 1, ms(5), ms(99)].map(|now_ns| schedule.allowed(2, 99, now_ns)), [0, 3, 4, 14]);
        assert_eq!([15, 16].map(|appended| schedule.is_over(appended, ms(99))), [false, true]);
    }

    #[test]
    fn sessions_that_wait_append_nothing_and_saturation_is_bounded_where_somebody_waits() {
        let closed = schedule(ReleaseMode::Sync, Load::Closed { sessions: 64 });
        assert_eq!([0, 63, 64].map(|waiting| closed.allowed(7, waiting, 2_000)), [64, 1, 0]);
        assert_eq!((closed.next_due_ns(7), closed.last_due_ns()), (None, None));
        assert!(closed.is_over(7, closed.end_ns) && !closed.is_over(7, closed.end_ns - 1));
        let full = u64::from(SATURATION_WAITING_MAX);
        assert_eq!(schedule(ReleaseMode::Flush, Load::Saturation).allowed(7, full, 2_000), 0);
        assert_eq!(schedule(ReleaseMode::Buffered, Load::Saturation).allowed(7, full, 2_000), u64::MAX);
    }

    #[test]
    fn a_slice_releases_what_it_appends_and_the_journal_is_whole_without_its_ring() {
        let directory = tempfile::tempdir().unwrap();
        let geometry = Geometry { journals: 1, ring_bytes: 1 << 18, segment_bytes: 1 << 18, segments: 3 };
        let place = Place { data: directory.path().join("data"), rings: directory.path().join("rings"), geometry };
        let (housekeeping, stop) = (Housekeeping::start(0).unwrap(), AtomicBool::new(false));
        let mut bed = Bed::open(&place, Method::Fdatasync).unwrap();
        bed.settle(&stop).unwrap();
        // More than all segments hold: they are recycled.
        let load = Load::Rate { per_second: 100_000 };
        for mode in super::super::plan::MODES {
            let mut tally = Tally::new();
            let cell = CellPlan { mode, method: Method::Fdatasync, load };
            bed.run(cell, Duration::from_millis(40), &mut tally, &housekeeping, &stop).unwrap();
            assert!(tally.is_given_up || tally.bytes >= 4_000 * RECORD_BYTES, "{mode}: {} bytes", tally.bytes);
            assert!(tally.syncs > 0 && tally.slices == 1, "{mode}");
        }
        assert_eq!(bed.pending.synced, bed.pending.appended);
        bed.check().unwrap();
    }
}
