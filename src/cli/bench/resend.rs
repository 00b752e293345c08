//! `fixring bench resend`: what one long resend costs in memory, and what it costs the other sessions of its worker.

mod floors;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::Table;
use floors::Floors;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::{Client, ClientError};
use super::engine::{EngineProcess, EngineSettings, Memory};
use super::machine::{Machine, Placement, pin};
use super::stats::median_at;
use super::{Place, on_two_cores, print_report, verdict};
use crate::cli::Exit;
use crate::fix::{Message, tags};
use crate::journal::record_bytes;

/// Measure a long resend, and the round trip of another session meanwhile
///
/// Session A stores reports by orders in a window. Session B measures its round trip while A is silent, and again while
/// A asks for everything from 1 on (ResendRequest(2)) and reads as fast as it comes; A checks each number,
/// PossDupFlag(43), OrigSendingTime(122) and the body. One client does it all, and reads for A between B's round trips.
/// These count until the kernel has the report (SO_TIMESTAMPNS), so that they do not contain how long stager and flusher
/// kept the client from a core that it shares with them. Then A asks again and reads slowly, and session C asks for a little: the time until C
/// has it. Each percentile is the median of the runs. Floors, when the engine is gone: its segments read in order past the page cache,
/// and as many bytes as were sent again from a file through a bare connection, on the same two cores.
#[derive(clap::Args, Debug)]
pub(crate) struct ResendOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Stored messages that A asks for
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    messages: u32,
    /// B's round trips while A is silent
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..))]
    orders: u32,
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=101))]
    runs: u32,
    /// Bytes a second that A reads in the last part
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    slow: u64,
    /// The engine's persistence mode
    #[arg(long, default_value = "buffered", value_parser = ["buffered", "flush", "sync"])]
    mode: String,
    /// What the engine's worker does when there is nothing to do
    #[arg(long, default_value = "spin", value_parser = ["spin", "adaptive", "park"])]
    wait: String,
    /// Where the engine's data goes [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    volume: Option<PathBuf>,
}

const TARGET_COMP_ID: &str = "VENUE";
/// Longer than the benchmark takes, so that no client has to answer a TestRequest(1) while it waits.
const HEART_BT_INT_S: u64 = 3_600;
/// Orders that are stored without an answer yet, at most.
const WINDOW: u32 = 1_024;
const ORDERS_PER_WRITE: u32 = 32;
/// What C has stored, and asks for.
const SMALL_RESEND_MESSAGES: u32 = 1_000;
/// What A reads between two round trips of B.
const READ_BYTES_PER_TRIP: usize = 32 * 1024;
/// How long A has been reading slowly when C asks: its connection is full by then.
const SLOW_LEAD: Duration = Duration::from_millis(500);
const SLOW_TIMEOUT: Duration = Duration::from_secs(60);
/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const MEMORY_INTERVAL: Duration = Duration::from_millis(10);
const HISTOGRAM_NS_MAX: u64 = 60_000_000_000;
/// Bytes of the journal for an order and its report, and for a report that is sent again; from above.
const STORED_BYTES: u64 = 640;
const RESENT_BYTES: u64 = 448;
const SEGMENT_BYTES: u64 = 16 << 20;

const GROWTH_KIB_MAX: u64 = 64 * 1024;
const P99_RATIO_MAX: f64 = 2.0;
/// Of the volume's sequential read, or so many MB/s, whichever is less.
const VOLUME_SHARE_MIN: f64 = 0.8;
const MB_PER_S_MIN: f64 = 1_000.0;

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
    /// Of all runs together.
    round_trips: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Of the median run.
#[derive(Clone, Copy, Debug, Serialize)]
struct Throughput {
    messages: u64,
    gap_fills: u64,
    seconds: f64,
    messages_per_s: f64,
    /// On the wire.
    megabytes_per_s: f64,
    /// Of the journal between the first and the last of them, as far as orders and reports make it: what the stager passes over.
    journal_mb_per_s: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Growth {
    before: Memory,
    /// The most that was seen of each while a resend ran.
    most: Memory,
    /// Of all resident memory (VmRSS): what the goal is about.
    vm_rss_kib: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Slow {
    bytes_per_s: u64,
    /// What C asked for.
    messages: u32,
    /// `None`: not within the time that the benchmark waits.
    served_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Goals {
    growth_kib_max: u64,
    growth_holds: bool,
    p99_ratio_max: f64,
    p99_holds: bool,
    mb_per_s_min: f64,
    sent_holds: bool,
    journal_holds: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    placement: Placement,
    mode: String,
    wait: String,
    runs: u32,
    messages: u32,
    report_bytes: usize,
    stored_in_s: f64,
    resend: Throughput,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<Growth>,
    idle: Percentiles,
    meanwhile: Percentiles,
    ratio: Ratio,
    slow: Slow,
    floors: Floors,
    goals: Goals,
}

pub(crate) fn resend(options: &ResendOptions) -> Exit {
    on_two_cores("resend", options.volume.as_deref(), |place| {
        print_report(options.json, &measure(options, place)?, table);
        Ok(())
    })
}

fn measure(options: &ResendOptions, place: Place) -> Result<Report, ClientError> {
    let Place { machine, placement, directory } = place;
    // All resends of all runs, the slow one too, with as much again for B; one segment is being overwritten.
    let bytes = u64::from(options.messages) * (STORED_BYTES + RESENT_BYTES * (u64::from(options.runs) + 1));
    let trips = u64::from(options.orders) * u64::from(options.runs) * 2 * STORED_BYTES;
    let segments = (bytes + trips).div_ceil(SEGMENT_BYTES) + 4;
    let settings = EngineSettings { mode: &options.mode, wait: &options.wait, sessions_max: 16, segments };
    let engine = EngineProcess::start(directory.path(), placement, &settings)?;
    let mut a = Peer::log_on(engine.address, "A")?;
    let mut b = Peer::log_on(engine.address, "B")?;
    let mut c = Peer::log_on(engine.address, "C")?;
    b.client.note_arrivals()?;
    pin(placement.client_core);

    let start = Instant::now();
    c.store(SMALL_RESEND_MESSAGES.min(options.messages))?;
    a.store(options.messages)?;
    let stored_in_s = start.elapsed().as_secs_f64();
    engine.wait_until_quiet();

    let before = engine.memory();
    let mut most = before;
    let (mut idle, mut meanwhile, mut resends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        let mut histogram = new_histogram();
        for _ in 0..options.orders {
            histogram.saturating_record(b.round_trip()?);
            a.read(READ_BYTES_PER_TRIP)?;
        }
        idle.push(histogram);
        let mut histogram = new_histogram();
        resends.push(resend_beside(&engine, &mut a, &mut b, &mut histogram, &mut most)?);
        meanwhile.push(histogram);
    }
    let slow = slow_beside(&mut a, &mut c, options.slow)?;
    drop(engine);
    resends.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    let resend = resends[resends.len() / 2];
    let sent_bytes = (resend.megabytes_per_s * 1e6 * resend.seconds) as u64;
    let floors = floors::measure(&directory.path().join("data/journal-0"), placement, sent_bytes)?;
    let mb_per_s_min =
        floors.volume_mb_per_s.map_or(MB_PER_S_MIN, |volume| MB_PER_S_MIN.min(volume * VOLUME_SHARE_MIN));
    let growth = before.zip(most).map(|(before, most)| {
        let vm_rss_kib = most.vm_rss_kib.saturating_sub(before.vm_rss_kib);
        Growth { before, most, vm_rss_kib }
    });
    let (idle, meanwhile) = (median(&idle), median(&meanwhile));
    let of = |ns: fn(&Percentiles) -> u64| ns(&meanwhile) as f64 / ns(&idle) as f64;
    let ratio = Ratio { p50: of(|of| of.p50_ns), p99: of(|of| of.p99_ns), p999: of(|of| of.p999_ns) };
    Ok(Report {
        machine,
        placement,
        mode: options.mode.clone(),
        wait: options.wait.clone(),
        runs: options.runs,
        messages: options.messages,
        report_bytes: a.client.answer_bytes,
        stored_in_s,
        resend,
        floors,
        goals: Goals {
            growth_kib_max: GROWTH_KIB_MAX,
            growth_holds: growth.is_some_and(|growth| growth.vm_rss_kib <= GROWTH_KIB_MAX),
            p99_ratio_max: P99_RATIO_MAX,
            p99_holds: ratio.p99 <= P99_RATIO_MAX,
            mb_per_s_min,
            sent_holds: resend.megabytes_per_s >= mb_per_s_min,
            journal_holds: resend.journal_mb_per_s >= mb_per_s_min,
        },
        growth,
        idle,
        meanwhile,
        ratio,
        slow,
    })
}

/// A asks for everything and reads it between B's round trips.
fn resend_beside(
    engine: &EngineProcess,
    a: &mut Peer,
    b: &mut Peer,
    histogram: &mut Histogram<u64>,
    most: &mut Option<Memory>,
) -> Result<Throughput, ClientError> {
    a.ask()?;
    let start = Instant::now();
    let mut looked = start;
    while !a.is_served() {
        histogram.saturating_record(b.round_trip()?);
        a.read(READ_BYTES_PER_TRIP)?;
        if looked.elapsed() > MEMORY_INTERVAL {
            looked = Instant::now();
            *most = engine.memory().zip(*most).map(|(now, most)| most.max(now));
            if a.last_read.elapsed() > SILENCE_MAX {
                return Err(ClientError::Protocol(format!("the resend stopped at number {}", a.next)));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Throughput {
        messages: a.resent,
        gap_fills: a.gap_fills,
        seconds,
        messages_per_s: a.resent as f64 / seconds,
        megabytes_per_s: a.resent_bytes as f64 / 1e6 / seconds,
        journal_mb_per_s: a.stored_bytes as f64 / 1e6 / seconds,
    })
}

/// A asks for everything and reads slowly; C asks for a little.
fn slow_beside(a: &mut Peer, c: &mut Peer, bytes_per_s: u64) -> Result<Slow, ClientError> {
    a.ask()?;
    let start = Instant::now();
    let mut read_bytes = 0.0;
    let mut read_slowly = |a: &mut Peer| {
        let allowed = start.elapsed().as_secs_f64() * bytes_per_s as f64 - read_bytes;
        if allowed >= 1.0 && !a.is_served() {
            read_bytes += a.read(allowed as usize)? as f64;
        }
        Ok::<_, ClientError>(())
    };
    while start.elapsed() < SLOW_LEAD {
        read_slowly(a)?;
    }
    c.ask()?;
    let asked = Instant::now();
    while !c.is_served() && asked.elapsed() < SLOW_TIMEOUT {
        read_slowly(a)?;
        c.read(READ_BYTES_PER_TRIP)?;
    }
    let served_ms = c.is_served().then(|| asked.elapsed().as_secs_f64() * 1e3);
    Ok(Slow { bytes_per_s, messages: c.stored, served_ms })
}

/// A session of the benchmark and what it knows of the messages that the engine has sent it.
struct Peer {
    client: Client,
    comp_id: &'static str,
    /// By MsgSeqNum(34), from 1 on: of the body and SendingTime(52) of an application message. `None` of any other.
    fingerprints: Vec<Option<u64>>,
    stored: u32,
    /// What the orders and reports take in the journal.
    stored_bytes: u64,
    /// The number that a resend has to go on with.
    next: u64,
    resent: u64,
    resent_bytes: u64,
    gap_fills: u64,
    last_read: Instant,
}

impl Peer {
    fn log_on(address: SocketAddr, comp_id: &'static str) -> Result<Self, ClientError> {
        let client = Client::to_engine(address, (comp_id, TARGET_COMP_ID), HEART_BT_INT_S)?;
        // The Logon(A) was the first.
        Ok(Self {
            client,
            comp_id,
            fingerprints: vec![None],
            stored: 0,
            stored_bytes: 0,
            next: 2,
            resent: 0,
            resent_bytes: 0,
            gap_fills: 0,
            last_read: Instant::now(),
        })
    }

    /// One order and its report, in ns.
    fn round_trip(&mut self) -> Result<u64, ClientError> {
        // Whoever waits for this core gets it now, rather than between the clock and the order.
        std::thread::yield_now();
        self.client.round_trip_to_arrival((self.comp_id, TARGET_COMP_ID))
    }

    /// Has the engine send so many reports.
    fn store(&mut self, messages: u32) -> Result<(), ClientError> {
        let mut batch = Vec::new();
        let mut sent = 0;
        let mut last_report = Instant::now();
        while self.stored < messages {
            if sent < messages && sent - self.stored <= WINDOW - ORDERS_PER_WRITE {
                batch.clear();
                for _ in 0..ORDERS_PER_WRITE.min(messages - sent) {
                    let mut order = [0; 512];
                    let length = self.client.encode_order(&mut order, (self.comp_id, TARGET_COMP_ID));
                    self.stored_bytes += record_bytes(length as u64);
                    batch.extend_from_slice(&order[..length]);
                    sent += 1;
                }
                self.client.write(&batch)?;
            }
            let before = self.stored;
            while let Some(answer) = self.client.try_receive()? {
                self.remember(answer)?;
            }
            if self.stored > before {
                last_report = Instant::now();
            } else if last_report.elapsed() > SILENCE_MAX {
                return Err(ClientError::Protocol(format!("no report to order {}", self.stored + 1)));
            }
        }
        Ok(())
    }

    fn remember(&mut self, answer: usize) -> Result<(), ClientError> {
        let expected = self.fingerprints.len() as u64 + 1;
        let message = self.client.message(answer).filter(|message| number(message) == Some(expected));
        let Some(message) = message else { return Err(self.fault(answer, "is not the next message")) };
        let is_report = message.msg_type() == b"8";
        let fingerprint = is_report.then(|| fingerprint(&message, tags::SENDING_TIME));
        self.stored += u32::from(is_report);
        self.fingerprints.push(fingerprint);
        if is_report {
            self.stored_bytes += record_bytes(answer as u64);
            self.client.answer_bytes = answer;
        }
        self.client.release(answer);
        Ok(())
    }

    /// Asks for everything.
    fn ask(&mut self) -> Result<(), ClientError> {
        (self.next, self.resent, self.resent_bytes, self.gap_fills) = (1, 0, 0, 0);
        self.last_read = Instant::now();
        let mut request = [0; 512];
        let length = self.client.encode(&mut request, b"2", (self.comp_id, TARGET_COMP_ID), |body| {
            body.uint(tags::BEGIN_SEQ_NO, 1).uint(tags::END_SEQ_NO, 0);
        });
        Ok(self.client.write(&request[..length])?)
    }

    fn is_served(&self) -> bool {
        self.next > self.fingerprints.len() as u64
    }

    /// Reads and checks what has come, about so many bytes at most. Answers how many.
    fn read(&mut self, bytes_max: usize) -> Result<usize, ClientError> {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(answer) = self.client.try_receive()?
        {
            self.check(answer)?;
            self.client.release(answer);
            bytes += answer;
        }
        if bytes > 0 {
            self.last_read = Instant::now();
        }
        Ok(bytes)
    }

    /// What is sent again has the next number and is what was sent first; gap fills are of session messages alone.
    fn check(&mut self, answer: usize) -> Result<(), ClientError> {
        let next = self.next;
        let Some(message) = self.client.message(answer) else { return Err(self.fault(answer, "cannot be read")) };
        if !message.flag(tags::POSS_DUP_FLAG) {
            return match message.msg_type() {
                b"0" => Ok(()),
                _ => Err(self.fault(answer, "has no PossDupFlag")),
            };
        }
        if number(&message) != Some(next) {
            return Err(self.fault(answer, "is out of order"));
        }
        if message.msg_type() == b"4" {
            let new_seq_no = message.uint(tags::NEW_SEQ_NO).flatten().filter(|new| *new > next);
            let new_seq_no = new_seq_no.filter(|_| message.flag(tags::GAP_FILL_FLAG)).unwrap_or(0);
            let filled = self.fingerprints.get(next as usize - 1..(new_seq_no as usize).saturating_sub(1));
            if !filled.is_some_and(|filled| filled.iter().all(Option::is_none)) {
                return Err(self.fault(answer, "fills over what was sent"));
            }
            self.next = new_seq_no;
            self.gap_fills += 1;
            return Ok(());
        }
        let fingerprint = Some(fingerprint(&message, tags::ORIG_SENDING_TIME));
        if self.fingerprints.get(next as usize - 1) != Some(&fingerprint) {
            return Err(self.fault(answer, "is not what was sent first"));
        }
        self.next += 1;
        self.resent += 1;
        self.resent_bytes += answer as u64;
        Ok(())
    }

    fn fault(&self, answer: usize, what: &str) -> ClientError {
        let text = self.client.text(answer);
        ClientError::Protocol(format!("{}: a message {what} (number {} comes next): {text}", self.comp_id, self.next))
    }
}

fn number(message: &Message<'_>) -> Option<u64> {
    message.uint(tags::MSG_SEQ_NUM).flatten()
}

/// Of MsgType(35), the time in that field and the body as bytes.
fn fingerprint(message: &Message<'_>, time: u32) -> u64 {
    let is_header = |tag: &u32| matches!(tag, 8 | 9 | 34 | 35 | 43 | 49 | 50 | 52 | 56 | 57 | 122 | 142 | 143);
    let header = message.fields().take_while(|field| is_header(&field.tag));
    // Tag, "=", value and SOH of each.
    let start: usize = header.map(|field| field.tag.ilog10() as usize + 3 + field.value.len()).sum();
    let bytes = message.bytes();
    // Cheap, since the client shares the machine with what it measures: a few ns a message.
    let crc = crc_fast::crc32_iscsi;
    let head = crc(message.msg_type()).rotate_left(16) ^ crc(message.field(time).unwrap_or_default());
    // Without "10=ccc" and its SOH.
    u64::from(head) << 32 | u64::from(crc(&bytes[start..bytes.len() - 7]))
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HISTOGRAM_NS_MAX, 3).expect("the bounds are in order")
}

fn median(runs: &[Histogram<u64>]) -> Percentiles {
    let of = |quantile| median_at(runs, quantile);
    Percentiles {
        p50_ns: of(0.5),
        p99_ns: of(0.99),
        p999_ns: of(0.999),
        max_ns: of(1.0),
        round_trips: runs.iter().map(Histogram::len).sum(),
    }
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let Report { machine, placement, resend, slow, goals, ratio, .. } = report;
    let _ = writeln!(text, "{}", machine.line());
    let _ = writeln!(
        text,
        "{} messages of {} bytes stored in {:.1} s, mode {}, wait {}, median of {} runs; server on core {}, clients on {}, stager and flusher on {}",
        report.messages,
        report.report_bytes,
        report.stored_in_s,
        report.mode,
        report.wait,
        report.runs,
        placement.server_core,
        placement.client_core,
        placement.housekeeping_core,
    );
    let _ = writeln!(
        text,
        "resend: {} messages and {} gap fills in {:.2} s: {:.0} messages/s, {:.3} GB/s sent; every number, time and body checked",
        resend.messages,
        resend.gap_fills,
        resend.seconds,
        resend.messages_per_s,
        resend.megabytes_per_s / 1e3,
    );
    let Floors { volume_mb_per_s, loopback_mb_per_s } = report.floors;
    let volume = volume_mb_per_s.map_or("unknown".into(), |volume| format!("{:.3} GB/s", volume / 1e3));
    let _ = writeln!(
        text,
        "floors: the volume read in order, past the page cache {volume}; a file through a bare connection {:.3} GB/s",
        loopback_mb_per_s / 1e3,
    );
    for (what, mb_per_s, holds) in [
        ("sent again", resend.megabytes_per_s, goals.sent_holds),
        ("journal passed over, orders between the reports included,", resend.journal_mb_per_s, goals.journal_holds),
    ] {
        let _ = writeln!(
            text,
            "{what} {:.3} GB/s, goal at least {:.3} GB/s (80 % of the volume, at most 1): {}",
            mb_per_s / 1e3,
            goals.mb_per_s_min / 1e3,
            verdict(holds),
        );
    }
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    if let Some(growth) = report.growth {
        let mut rows = Table::new();
        rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
        rows.set_header(["engine, MiB", "VmRSS", "RssAnon", "RssFile", "RssShmem"]);
        for (name, memory) in [("before", growth.before), ("most during", growth.most)] {
            let kinds = [memory.vm_rss_kib, memory.rss_anon_kib, memory.rss_file_kib, memory.rss_shmem_kib];
            rows.add_row(std::iter::once(name.to_string()).chain(kinds.map(mib)));
        }
        let _ = writeln!(text, "{rows}");
        let _ = writeln!(
            text,
            "growth of VmRSS {} MiB, goal at most {} MiB: {}",
            mib(growth.vm_rss_kib),
            mib(goals.growth_kib_max),
            verdict(goals.growth_holds),
        );
    }
    let us = |ns: u64| format!("{:.2}", ns as f64 / 1000.0);
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["round trip of another session, µs", "p50", "p99", "p99.9", "max", "round trips"]);
    for (name, row) in [("idle", report.idle), ("during the resend", report.meanwhile)] {
        let numbers = [row.p50_ns, row.p99_ns, row.p999_ns, row.max_ns].map(us);
        rows.add_row(std::iter::once(name.to_string()).chain(numbers).chain([row.round_trips.to_string()]));
    }
    let _ = writeln!(text, "{rows}");
    let _ = writeln!(
        text,
        "during / idle: p50 {:.2}, p99 {:.2}, p99.9 {:.2}; goal p99 at most {:.1}: {}",
        ratio.p50,
        ratio.p99,
        ratio.p999,
        goals.p99_ratio_max,
        verdict(goals.p99_holds),
    );
    let served = match slow.served_ms {
        Some(ms) => format!("was served in {ms:.1} ms"),
        None => format!("was not served within {} s", SLOW_TIMEOUT.as_secs()),
    };
    let _ = writeln!(
        text,
        "beside a resend that is read at {} bytes/s, one of {} messages {served}",
        slow.bytes_per_s, slow.messages
    );
    text
}
