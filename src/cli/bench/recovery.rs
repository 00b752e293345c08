//! `fixring bench recovery`: how long a start takes over a large journal that a dead process has left.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use comfy_table::Table;
use serde::Serialize;

use super::client::{ClientError, utc_now};
use super::machine::Machine;
use super::scratch::Scratch;
use super::volume::Made;
use super::{print_report, verdict};
use crate::cli::Exit;
use crate::fix::{Decimal, Encoder, Precision, tags};
use crate::journal::report::{REPORT_NAME, RecoveryFile};
use crate::journal::{
    FileStorage, Geometry, Journal, Kind, Mode, NewRecord, Origin, Phases, RecoveredSession, Room, Settings, flags,
    open,
};
use crate::session::Identity;

/// Measure from exec to the first answered Logon over a large journal of a dead process
///
/// Fills a journal with orders and reports through the engine's own writer and flusher, so that all its segments are in
/// use and nearly a whole one lies behind the newest state record, and leaves it as a process does that is killed, its
/// ring in shared memory included. Then starts the engine over it as a process of its own, in its default configuration,
/// and times it from exec until a Logon is answered; kills it, and does it again. Beside each start: exec of
/// `fixring --version`, the floor.
#[derive(clap::Args, Debug)]
pub(crate) struct RecoveryOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The journal's size
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    gib: f64,
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1001))]
    runs: u32,
    /// Where the journal is made, in a directory that goes with the benchmark, as this one does
    /// where it did not exist [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

const GOAL_MS: f64 = 200.0;
const RING_BYTES: u64 = 16 << 20;
/// The configuration's default.
const SEGMENT_BYTES: u64 = 16 << 20;
/// What is left of the segment that the journal ends in: room for what the starts themselves append.
const SPARE_BYTES: u64 = 2 << 20;
/// Commits that the dead process had not carried to the volume.
const UNCARRIED_COMMITS: u32 = 200;
const MESSAGE_BYTES_MAX: usize = 512;
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_micros(200);
const TARGET_COMP_ID: &str = "VENUE";

/// One start, each time since exec.
#[derive(Clone, Copy, Debug, Serialize)]
struct Start {
    /// What the time until `recovered_ms` went to.
    parts: Parts,
    /// The journal's report is in the log: segments and ring are read.
    recovered_ms: f64,
    /// The application is restored, every thread runs.
    ready_ms: f64,
    /// The client has the answer to its Logon.
    answered_ms: f64,
    /// The floor beside it.
    floor_ms: f64,
}

/// Durations, one after the other.
#[derive(Clone, Copy, Debug, Serialize)]
struct Parts {
    /// Until the data directory is opened: exec, configuration, listening.
    before_ms: f64,
    /// Files, ring and manifest; and the validators, as far as they take longer than all that follows.
    files_ms: f64,
    heads_ms: f64,
    segments_ms: f64,
    ring_ms: f64,
    durable_ms: f64,
    zeros_ms: f64,
}

impl Parts {
    /// By the engine's own report of its last start.
    fn of(data_dir: &Path, recovered_ms: f64) -> Result<Self, ClientError> {
        let file = RecoveryFile::read(data_dir);
        let Some((duration_ns, phases)) = file.and_then(|file| Some((file.duration_ns, file.journals.first()?.phases)))
        else {
            return Err(ClientError::Protocol(format!("{data_dir:?} has no {REPORT_NAME}")));
        };
        let Phases { heads_ns, segments_ns, ring_ns, durable_ns, zeros_ns } = phases;
        let ms = |ns: u64| ns as f64 / 1e6;
        let of_journal_ns = heads_ns + segments_ns + ring_ns + durable_ns + zeros_ns;
        Ok(Self {
            before_ms: recovered_ms - ms(duration_ns),
            files_ms: ms(duration_ns.saturating_sub(of_journal_ns)),
            heads_ms: ms(heads_ns),
            segments_ms: ms(segments_ns),
            ring_ms: ms(ring_ns),
            durable_ms: ms(durable_ns),
            zeros_ms: ms(zeros_ns),
        })
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    journal_bytes: u64,
    behind_state_bytes: u64,
    messages: u64,
    filled_in_s: f64,
    starts: Vec<Start>,
    median: Start,
    slowest: Start,
    /// Of the median start, beyond its floor.
    beyond_exec_ms: f64,
    goal_ms: f64,
    goal_holds: bool,
}

pub(super) fn recovery(options: &RecoveryOptions) -> Exit {
    match run(options) {
        Ok(report) => {
            print_report(options.json, &report, table);
            Exit::Ok
        }
        Err(error) => {
            error_line!("bench recovery: {error}");
            Exit::Failed
        }
    }
}

fn run(options: &RecoveryOptions) -> Result<Report, ClientError> {
    let segments = (options.gib * (1u64 << 30) as f64 / SEGMENT_BYTES as f64).ceil().clamp(3.0, 16_384.0) as u32;
    // Dropped after what lies in it.
    let _made = options.data_dir.as_deref().map(Made::directory).transpose()?;
    let directory = Scratch::new(options.data_dir.as_deref())?;
    let shared_memory = Scratch::new(Some(Path::new("/dev/shm"))).ok();
    let rings = shared_memory.as_ref().map_or(directory.path(), |directory| directory.path()).to_owned();
    let settings = Settings {
        data_dir: directory.path().join("data"),
        ring_dir: rings,
        geometry: Geometry { journals: 1, ring_bytes: RING_BYTES, segment_bytes: SEGMENT_BYTES, segments },
        flush_interval_ns: 0,
        flush_interval_min_ns: 0,
        flush_method: crate::journal::FlushMethod::default().into(),
        message_bytes_max: MESSAGE_BYTES_MAX as u32,
        resend_messages_max: 1,
        clock: || 0,
    };
    let start = Instant::now();
    let (end, messages) = fill(&settings)?;
    let filled_in_s = start.elapsed().as_secs_f64();
    let mut starts = Vec::new();
    for number in 0..options.runs {
        let floor_ms = floor()?;
        starts.push(start_once(directory.path(), &settings, number, floor_ms)?);
    }
    let mut by_time = starts.clone();
    by_time.sort_by(|a, b| a.answered_ms.total_cmp(&b.answered_ms));
    let (median, slowest) = (by_time[by_time.len() / 2], by_time[by_time.len() - 1]);
    let mut floors: Vec<f64> = starts.iter().map(|start| start.floor_ms).collect();
    floors.sort_by(f64::total_cmp);
    let beyond_exec_ms = median.answered_ms - floors[floors.len() / 2];
    Ok(Report {
        machine: Machine::here(),
        journal_bytes: SEGMENT_BYTES * u64::from(segments),
        behind_state_bytes: end % SEGMENT_BYTES,
        messages,
        filled_in_s,
        starts,
        median,
        slowest,
        beyond_exec_ms,
        goal_ms: GOAL_MS,
        goal_holds: beyond_exec_ms < GOAL_MS,
    })
}

/// Answers where the journal ends, and how many messages it has had.
fn fill(settings: &Settings) -> Result<(u64, u64), ClientError> {
    let mut opened = open(settings).map_err(|error| ClientError::Protocol(error.to_string()))?;
    let journal = &mut opened.journals[0];
    let identity = Identity::new(b"FIX.4.4", TARGET_COMP_ID.as_bytes(), b"FILL");
    let mut filler = Filler {
        session: RecoveredSession::new(0, &identity.to_bytes()),
        is_defined: false,
        incarnation: opened.incarnation,
    };
    let geometry = settings.geometry;
    let carried_end = u64::from(geometry.segments) * geometry.segment_bytes - SPARE_BYTES;
    while journal.writer.appended() < carried_end {
        filler.commit(journal)?;
    }
    journal.flusher.drain(0).map_err(failed)?;
    for _ in 0..UNCARRIED_COMMITS {
        filler.commit(journal)?;
    }
    // Dropped as it is: no clean stop, and what was not carried is in the ring alone.
    Ok((journal.writer.appended(), filler.session.next_in + filler.session.next_out - 2))
}

struct Filler {
    session: RecoveredSession,
    is_defined: bool,
    incarnation: u32,
}

impl Filler {
    /// An order and its report, in one commit.
    fn commit(&mut self, journal: &mut Journal<FileStorage>) -> Result<(), ClientError> {
        loop {
            match journal.writer.begin(4 * MESSAGE_BYTES_MAX as u32) {
                Room::Ready => break,
                Room::Full => drop(journal.flusher.turn(0).map_err(failed)?),
                Room::RollDue => {
                    let sessions = self.is_defined.then(|| self.session.state()).into_iter();
                    if !journal.writer.roll(sessions, b"").expect("one session fits a head") {
                        journal.flusher.turn(0).map_err(failed)?;
                    }
                }
            }
        }
        let now = utc_now();
        if !std::mem::replace(&mut self.is_defined, true) {
            let identity = self.session.identity.clone();
            journal.writer.append_session_defined(0, now.unix_ns, &identity).expect(FITS);
        }
        let number = self.session.next_in;
        let cl_ord_id = format!("FILL-{number:012}");
        let id = format!("{}-{number}", self.incarnation);
        let record = |kind, msg_seq_num, previous, flags| NewRecord {
            kind,
            session: 0,
            msg_seq_num,
            time_ns: now.unix_ns,
            epoch: 0,
            previous,
            origin: None::<Origin>,
            sent_after: None,
            flags,
        };
        let inbound = record(Kind::Inbound, number, self.session.last_in, flags::COUNTED | flags::DELIVERED);
        let order = |space: &mut [u8]| {
            let mut order = message(space, b"D", number, ("FILL", TARGET_COMP_ID));
            order.bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes()).char(21, b'1').bytes(tags::SYMBOL, b"ACME");
            order.char(tags::SIDE, b'1').timestamp(tags::TRANSACT_TIME, now, Precision::Millis);
            order.uint(tags::ORDER_QTY, 100).char(tags::ORD_TYPE, b'2').decimal(tags::PRICE, Decimal::new(12_345, 2));
            order.finish()
        };
        self.session.last_in = journal.writer.append(inbound, order).expect(FITS);
        let outbound = record(Kind::Outbound, self.session.next_out, self.session.last_out, 0);
        let report = |space: &mut [u8]| {
            let mut report = message(space, b"8", self.session.next_out, (TARGET_COMP_ID, "FILL"));
            report.bytes(tags::ORDER_ID, id.as_bytes()).bytes(tags::CL_ORD_ID, cl_ord_id.as_bytes());
            report.bytes(tags::EXEC_ID, id.as_bytes()).char(tags::EXEC_TYPE, b'0').char(tags::ORD_STATUS, b'0');
            report.bytes(tags::SYMBOL, b"ACME").char(tags::SIDE, b'1').uint(tags::ORDER_QTY, 100);
            report.char(tags::ORD_TYPE, b'2').decimal(tags::PRICE, Decimal::new(12_345, 2));
            report.uint(tags::LEAVES_QTY, 100).uint(tags::CUM_QTY, 0).uint(tags::AVG_PX, 0);
            report.timestamp(tags::TRANSACT_TIME, now, Precision::Millis);
            report.finish()
        };
        self.session.last_out = journal.writer.append(outbound, report).expect(FITS);
        journal.writer.commit(Mode::Buffered);
        self.session.next_in += 1;
        self.session.next_out += 1;
        Ok(())
    }
}

const FITS: &str = "the commit's room holds an order and its report";

fn message<'a>(space: &'a mut [u8], msg_type: &[u8], number: u64, (sender, target): (&str, &str)) -> Encoder<'a> {
    let mut encoder = Encoder::begin(space, b"FIX.4.4", msg_type);
    encoder.uint(tags::MSG_SEQ_NUM, number).bytes(tags::SENDER_COMP_ID, sender.as_bytes());
    encoder.timestamp(tags::SENDING_TIME, utc_now(), Precision::Millis).bytes(tags::TARGET_COMP_ID, target.as_bytes());
    encoder
}

/// From exec of `fixring --version` to its end, in ms.
fn floor() -> Result<f64, ClientError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = ms(start.elapsed());
    if status.success() { Ok(elapsed) } else { Err(ClientError::Protocol("fixring --version failed".into())) }
}

/// Killed when dropped.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One start, which ends as it began: by a kill.
fn start_once(directory: &Path, settings: &Settings, number: u32, floor_ms: f64) -> Result<Start, ClientError> {
    let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let config = format!(
        "[engine]\ndata_dir = {:?}\n[persistence]\nallow_tmpfs = true\nring_dir = {:?}\nsegments = {}\n\
         [control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"{address}\"\n",
        settings.data_dir, settings.ring_dir, settings.geometry.segments
    );
    let path = directory.join("fixring.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--log-level", "info", "--log-format", "json", "--config"]).arg(&path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let logon = {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let mut logon = message(&mut buffer, b"A", 1, (&format!("RUN{number}"), TARGET_COMP_ID));
        logon.uint(tags::ENCRYPT_METHOD, 0).uint(tags::HEART_BT_INT, 3_600);
        let length = logon.finish().expect("a Logon fits");
        buffer[..length].to_vec()
    };
    let (start, start_unix) = (Instant::now(), SystemTime::now());
    let mut engine = Engine(command.spawn()?);
    answered(&mut engine.0, address, &logon, start)?;
    let answered_ms = ms(start.elapsed());
    // The engine says that it is ready from another thread than the one that answers.
    let mut lines = BufReader::new(engine.0.stderr.take().expect("piped")).lines();
    let mut log = Vec::new();
    while !log.last().is_some_and(|line: &String| line.contains("\"ready\"")) {
        match lines.next() {
            Some(line) => log.push(line?),
            None => break,
        }
    }
    drop(engine);
    let start_ns = start_unix.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
    let time_of = |what: &str| {
        let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut found = lines.filter(|line| line["message"].as_str().is_some_and(|text| text.starts_with(what)));
        let time: Option<jiff::Timestamp> = found.next().and_then(|line| line["timestamp"].as_str()?.parse().ok());
        time.map(|time| (time.as_nanosecond() - start_ns) as f64 / 1e6)
            .ok_or_else(|| ClientError::Protocol(format!("the engine's log does not say {what:?}: {}", log.join("\n"))))
    };
    let (recovered_ms, ready_ms) = (time_of("journal 0: ")?, time_of("ready")?);
    let parts = Parts::of(&settings.data_dir, recovered_ms)?;
    Ok(Start { parts, recovered_ms, ready_ms, answered_ms, floor_ms })
}

/// Connects as soon as the engine listens, sends the Logon and waits for the answer.
fn answered(engine: &mut Child, address: SocketAddr, logon: &[u8], start: Instant) -> Result<(), ClientError> {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if start.elapsed() < READY_TIMEOUT && engine.try_wait()?.is_none() => {
                std::thread::sleep(CONNECT_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_read_timeout(Some(READY_TIMEOUT))?;
    stream.write_all(logon)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while crate::fix::raw_field(&answer, tags::CHECK_SUM).is_none() {
        match stream.read(&mut chunk)? {
            0 => return Err(ClientError::Protocol("the engine closed the connection".into())),
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    if crate::fix::raw_field(&answer, tags::MSG_TYPE) == Some(b"A") {
        Ok(())
    } else {
        Err(ClientError::Protocol(format!("the answer to the Logon was {}", answer.escape_ascii())))
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn failed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let gib = report.journal_bytes as f64 / (1u64 << 30) as f64;
    let _ = writeln!(text, "{}", report.machine.line());
    let _ = writeln!(
        text,
        "a journal of {gib:.2} GiB, {:.1} MiB of it behind the newest state record; {} messages written in {:.1} s; {} starts, each after a kill",
        report.behind_state_bytes as f64 / (1u64 << 20) as f64,
        report.messages,
        report.filled_in_s,
        report.starts.len(),
    );
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["ms since exec", "journal read", "ready", "Logon answered", "fixring --version"]);
    for (name, start) in [("median", report.median), ("slowest", report.slowest)] {
        let times = [start.recovered_ms, start.ready_ms, start.answered_ms, start.floor_ms];
        rows.add_row(std::iter::once(name.to_string()).chain(times.map(|time| format!("{time:.1}"))));
    }
    let _ = writeln!(text, "{rows}");
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(["ms of it", "before", "files", "heads", "segments", "ring", "durable", "zeros", "application"]);
    for (name, start) in [("median", report.median), ("slowest", report.slowest)] {
        let Parts { before_ms, files_ms, heads_ms, segments_ms, ring_ms, durable_ms, zeros_ms } = start.parts;
        let application_ms = start.ready_ms - start.recovered_ms;
        let times = [before_ms, files_ms, heads_ms, segments_ms, ring_ms, durable_ms, zeros_ms, application_ms];
        rows.add_row(std::iter::once(name.to_string()).chain(times.map(|time| format!("{time:.1}"))));
    }
    let _ = writeln!(text, "{rows}");
    let verdict = verdict(report.goal_holds);
    let _ = writeln!(
        text,
        "beyond exec: {:.1} ms; goal less than {:.0} ms: {verdict}",
        report.beyond_exec_ms, report.goal_ms
    );
    text
}
