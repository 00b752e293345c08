//! Logs: for a person on a terminal, as JSON lines for a collector otherwise, on standard error in both cases, so
//! that standard output belongs to results. Nobody who logs waits for the reader, see `outlet.rs`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::time::FormatTime;

use super::outlet::Outlet;
use crate::engine::event_time;

/// Read where `--log-level` is not given.
pub const LEVEL_VARIABLE: &str = "FIXRING_LOG";
const LEVEL_DEFAULT: &str = "info";
/// How long the process's end waits for the reader of what is not written yet.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// The process's one way to standard error, once [`init`] has been called.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// The options that every subcommand takes.
#[derive(Args, Clone, Debug, Default)]
pub struct LogOptions {
    /// How log lines look; by default for a person on a terminal, and JSON otherwise
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,

    /// error, warn, info, debug or trace; also by part: "info,fixring::session=debug"
    /// [default: the environment variable FIXRING_LOG, or info]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Human,
    Json,
}

/// Why there are no logs.
#[derive(Debug)]
pub enum LogError {
    /// The operator's: a level that does not parse.
    Level { source_name: &'static str, level: String },
    /// The environment's: the thread that writes could not be started.
    Thread(io::Error),
}

/// Whoever holds it to the process's end waits there for what is not written yet, up to a bound.
#[must_use]
#[derive(Debug)]
pub struct LogsEnd(());

impl LogOptions {
    /// Another level than the usual, where neither the option nor the variable names one.
    pub fn level_unless_given(&mut self, level: &str) {
        if self.log_level.is_none() && env::var_os(LEVEL_VARIABLE).is_none() {
            self.log_level = Some(level.to_string());
        }
    }
}

/// Sets the process's logs up, and where a panic is told. Call once, before the first thread starts; a second call changes nothing.
pub fn init(options: &LogOptions) -> Result<LogsEnd, LogError> {
    let filter = filter(options, env::var(LEVEL_VARIABLE).ok())?;
    let is_terminal = io::stderr().is_terminal();
    let format = options.log_format.unwrap_or(if is_terminal { LogFormat::Human } else { LogFormat::Json });
    if OUTLET.get().is_none() {
        let started = Outlet::to_stderr().map_err(LogError::Thread)?;
        let outlet = OUTLET.get_or_init(|| started).clone();
        let subscriber = subscriber(format, filter, is_terminal, outlet);
        // An application that embeds the engine may have set its own up already; then that one stays.
        let _ = tracing::subscriber::set_global_default(subscriber);
        panic::set_hook(Box::new(log_panic));
    }
    Ok(LogsEnd(()))
}

/// Lets the thread that writes the log run on these cores; anywhere where there are none.
pub(super) fn run_on(cores: &[usize]) {
    if let Some(outlet) = OUTLET.get() {
        outlet.run_on(cores);
    }
}

/// A line on standard error that is no log line: why the process ends. It waits for no reader, but at the process's end.
pub(super) fn last_words(text: &str) {
    let line = format!("{text}\n");
    match OUTLET.get() {
        Some(outlet) => outlet.push(line.as_bytes(), true),
        // A reader that has gone away changes nothing of the outcome.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

impl Drop for LogsEnd {
    fn drop(&mut self) {
        finish();
    }
}

/// Waits a little until what was logged is written.
pub(super) fn finish() {
    if let Some(outlet) = OUTLET.get() {
        outlet.finish(FINISH_MAX);
    }
}

/// std's own hook would wait for the reader of standard error, and the engine with it for the end of a thread that has panicked.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = panic.payload_as_str().unwrap_or("not a text");
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, location, %backtrace, "panicked: {what}"),
        _ => tracing::error!(thread, location, "panicked: {what}"),
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { source_name, level } => write!(
                f,
                "{source_name} = {level:?} is not a level: use error, warn, info, debug or trace, or a list such as \
                 \"info,fixring::session=debug\""
            ),
            Self::Thread(error) => {
                write!(
                    f,
                    "cannot start the thread that writes the log: {error}: raise the limit of threads (ulimit -u)"
                )
            }
        }
    }
}

impl std::error::Error for LogError {}

fn filter(options: &LogOptions, variable: Option<String>) -> Result<EnvFilter, LogError> {
    let (source_name, level) = match (&options.log_level, variable) {
        (Some(level), _) => ("--log-level", level.clone()),
        (None, Some(level)) => (LEVEL_VARIABLE, level),
        (None, None) => (LEVEL_VARIABLE, LEVEL_DEFAULT.into()),
    };
    // A bare word that is no level would be taken for a target, and silence everything.
    let is_known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        ["off", "error", "warn", "info", "debug", "trace"].iter().any(|known| level.eq_ignore_ascii_case(known))
    };
    match EnvFilter::builder().parse(&level) {
        Ok(filter) if level.split(',').all(is_known) => Ok(filter),
        _ => Err(LogError::Level { source_name, level }),
    }
}

/// A line's time is that of the event, which the log's thread writes later.
struct EventTime;

impl FormatTime for EventTime {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let time = event_time().unwrap_or_else(SystemTime::now);
        let time = jiff::Timestamp::try_from(time).map_err(|_| fmt::Error)?;
        write!(line, "{time:.6}")
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    has_colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_span_events(FmtSpan::NONE)
        .with_timer(EventTime);
    // It would say on standard error, and panic where that fails too, that a line could not be written.
    let builder = builder.log_internal_errors(false);
    match format {
        LogFormat::Human => Box::new(builder.with_ansi(has_colours).with_target(false).finish()),
        LogFormat::Json => Box::new(
            builder.with_ansi(false).json().flatten_event(true).with_current_span(false).with_span_list(false).finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::engine::{Event, EventLog, SessionKey, events};
    use crate::fix::{Garbled, UtcTimestamp};
    use crate::session::{Notice, Now, RejectReason};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn options(level: Option<&str>) -> LogOptions {
        LogOptions { log_format: None, log_level: level.map(str::to_string) }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let filter = filter(&options(Some(level)), None).unwrap();
        tracing::subscriber::with_default(subscriber(format, filter, false, move || writer.clone()), || {
            tracing::info!(session = "FIX.4.4:VENUE->DESK1", port = 9880, "logged on\nas asked");
            tracing::debug!("not at this level");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_holds_time_level_message_and_fields() {
        let text = logged(LogFormat::Json, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "logged on\nas asked");
        assert_eq!(line["session"], "FIX.4.4:VENUE->DESK1");
        assert_eq!(line["port"], 9880);
        assert!(line["timestamp"].is_string());
    }

    /// Seven events of 25 seconds had one time: the log's thread had stood still, and the lines had
    /// its time.
    #[test]
    fn a_worker_s_events_have_their_own_times_and_figures_that_are_fields() {
        let (mut sink, ring) = events(Arc::default());
        let session = SessionKey { journal: 0, number: 1 };
        let at = |second: u64| Now {
            monotonic_ns: second * 1_000_000_000,
            utc: UtcTimestamp::from_unix_ns(1_790_000_000_123_456_000 + second * 1_000_000_000),
        };
        let noticed = |notice| Event::Noticed { session, notice };
        let rejected =
            Notice::RejectSent { ref_seq_num: 8, ref_tag_id: Some(38), reason: RejectReason::InvalidTagNumber };
        let peer = "192.0.2.7:4711".parse().unwrap();
        for (second, event) in [
            (0, Event::LoggedOn { session, peer: Some(peer) }),
            (7, noticed(Notice::GapDetected { expected: 5, received: 9 })),
            (20, noticed(rejected)),
            (25, Event::Garbled { session: Some(session), peer, why: Garbled::CheckSum { stated: 17, computed: 23 } }),
        ] {
            sink.at(at(second));
            sink.push(event);
        }
        let captured = Captured::default();
        let writer = captured.clone();
        let filter = filter(&options(Some("info")), None).unwrap();
        let subscriber = subscriber(LogFormat::Json, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || EventLog::default().turn(&mut [ring]));
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let times: Vec<&str> = lines.iter().map(|line| line["timestamp"].as_str().unwrap()).collect();
        assert_eq!(times[0], "2026-09-21T14:13:20.123456Z");
        assert_eq!(times[1..].iter().map(|time| &time[17..19]).collect::<Vec<_>>(), ["27", "40", "45"]);
        assert_eq!(lines[0]["peer"], "192.0.2.7:4711");
        assert_eq!((&lines[1]["expected"], &lines[1]["received"]), (&5.into(), &9.into()));
        assert_eq!((&lines[2]["ref_seq_num"], &lines[2]["ref_tag_id"]), (&8.into(), &38.into()));
        assert_eq!(lines[2]["reason"], "Invalid tag number");
        assert_eq!((&lines[3]["stated"], &lines[3]["computed"]), (&17.into(), &23.into()));
        assert!(lines[1].get("begin").is_none() && lines[1].get("notice").is_none(), "{text}");
    }

    #[test]
    fn a_human_line_is_plain_text_without_escapes() {
        let text = logged(LogFormat::Human, "info");
        assert!(text.contains("INFO") && text.contains("session=\"FIX.4.4:VENUE->DESK1\""), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn the_level_decides_what_is_written() {
        assert_eq!(logged(LogFormat::Json, "warn"), "");
        assert_eq!(logged(LogFormat::Json, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Json, "warn,fixring=debug").lines().count(), 2);
    }

    #[test]
    fn the_option_comes_before_the_variable_and_a_wrong_level_names_where_it_stands() {
        assert!(filter(&options(None), None).is_ok());
        assert!(filter(&options(Some("debug")), Some("loud".into())).is_ok());
        let error = filter(&options(None), Some("loud".into())).unwrap_err().to_string();
        assert!(error.starts_with("FIXRING_LOG = \"loud\" is not a level: use error"), "{error}");
        let error = filter(&options(Some("info,x=loud")), None).unwrap_err().to_string();
        assert!(error.starts_with("--log-level = \"info,x=loud\""), "{error}");
        assert!(filter(&options(Some("")), None).is_err());
    }
}
