//! The counters as Prometheus reads them. Each scrape walks the tables of [`super::counters`]; nothing is kept between
//! two scrapes.
//!
//! The text is that of Prometheus, version 0.0.4, which every collector and `promtool check metrics` read. It differs
//! from OpenMetrics, which the encoder writes, in two points ([`plain`]).

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_utils::CachePadded;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::counters::{
    ArchiveCounters, CounterKind, CounterRow, FlusherCounters, JournalCounters, LOG_LINES_LOST, RecoveryCounters,
    RecycleCounters, SessionCounters, StallCounters, StorageCounters, WorkerCounters,
};
use super::health::{Phase, Shared};
use super::trace::STAGES;

/// What [`encode`] writes, for the Content-Type header.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn registry(shared: Arc<Shared>) -> Registry {
    let mut registry = Registry::with_prefix("fixring");
    registry.register_collector(Box::new(EngineCollector(shared)));
    registry
}

pub(super) fn encode(registry: &Registry) -> Result<String, fmt::Error> {
    let mut output = String::new();
    text::encode(&mut output, registry)?;
    plain(&output)
}

/// OpenMetrics describes a counter without the `_total` that its samples have, and ends with a mark. Prometheus' own
/// text describes each metric by its samples' name and has no mark.
fn plain(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut output = String::with_capacity(open_metrics.len() + 1024);
    // Stands before the TYPE that says whether it is of a counter.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|described| described.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                writeln!(output, "# HELP {name}{total} {help}")?;
            }
            writeln!(output, "# TYPE {name}{total} {kind}")?;
        } else if line != "# EOF" {
            writeln!(output, "{line}")?;
        }
    }
    Ok(output)
}

#[derive(Debug)]
struct EngineCollector(Arc<Shared>);

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let shared = &*self.0;
        let version = ("version", env!("CARGO_PKG_VERSION"));
        gauges(&mut encoder, "build", "1, labelled with the version", version.0, [(version.1, 1)])?;
        let ready = shared.readiness().is_ok();
        let ready_help = "1 once recovery is done and every acceptor listens, until the stop begins";
        ConstGauge::new(i64::from(ready)).encode(encoder.encode_descriptor(
            "ready",
            ready_help,
            None,
            MetricType::Gauge,
        )?)?;

        let held_help = "1 while the data directory waits for `fixring recover` and no session is taken over";
        ConstGauge::new(i64::from(shared.phase() == Phase::Held)).encode(encoder.encode_descriptor(
            "held",
            held_help,
            None,
            MetricType::Gauge,
        )?)?;

        let missing_help = "Files in use that were removed or replaced under the engine: the next start does not find what is written there";
        let missing = i64::try_from(shared.missing()).unwrap_or(i64::MAX);
        ConstGauge::new(missing).encode(encoder.encode_descriptor(
            "files_missing",
            missing_help,
            None,
            MetricType::Gauge,
        )?)?;

        let lost_help = "Log lines that were dropped because the reader of standard error was gone, full or too slow";
        let lost = LOG_LINES_LOST.load(Ordering::Relaxed);
        ConstCounter::new(lost).encode(encoder.encode_descriptor(
            "log_lines_lost",
            lost_help,
            None,
            MetricType::Counter,
        )?)?;

        table(&mut encoder, "worker", "worker", WorkerCounters::TABLE, &numbered(shared.workers()))?;
        table(&mut encoder, "worker", "worker", StallCounters::TABLE, &numbered(shared.stalls()))?;
        stages(&mut encoder, shared)?;
        table(&mut encoder, "journal", "journal", JournalCounters::TABLE, &numbered(shared.journals()))?;
        table(&mut encoder, "journal", "journal", FlusherCounters::TABLE, &numbered(shared.flushers()))?;
        table(&mut encoder, "recycle", "journal", RecycleCounters::TABLE, &numbered(shared.recyclings()))?;
        table(&mut encoder, "archive", "journal", ArchiveCounters::TABLE, &numbered(shared.archives()))?;
        table(&mut encoder, "storage", "journal", StorageCounters::TABLE, &numbered(shared.storages()))?;
        table(&mut encoder, "recovery", "journal", RecoveryCounters::TABLE, &numbered(shared.recoveries()))?;
        gauges(
            &mut encoder,
            "journal_unsynced_bytes",
            "What the death of the node would take: appended and not yet on stable media",
            "journal",
            shared.journals().iter().zip(shared.flushers()).enumerate().map(|(index, (journal, flusher))| {
                // Synced first: read the other way round, a flush in between would show less than there is.
                let synced = flusher.synced_bytes.value();
                (index.to_string(), journal.appended_bytes.value().saturating_sub(synced))
            }),
        )?;
        let sessions = shared.sessions.sessions();
        let sessions: Vec<(String, &SessionCounters)> =
            sessions.iter().map(|session| (session.name.clone(), &**session.counters)).collect();
        table(&mut encoder, "session", "session", SessionCounters::TABLE, &sessions)?;
        at_risk(&mut encoder, shared, &sessions)
    }
}

/// What each worker's longest turn was spent on; and with stamps, what each stage has taken in all.
fn stages(encoder: &mut DescriptorEncoder<'_>, shared: &Shared) -> Result<(), fmt::Error> {
    let blames = shared.blames();
    let mut blamed = blames.iter().enumerate().filter(|(_, blame)| !blame.took.is_zero()).peekable();
    if blamed.peek().is_some() {
        let name = "worker_longest_turn_blame_seconds";
        let help = "The longest turn since the start, labelled with the stage and the session of its longest stretch";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (worker, blame) in blamed {
            let worker = worker.to_string();
            let stage = blame.stage.map_or("unknown", |stage| stage.name());
            let labels = [("worker", worker.as_str()), ("stage", stage), ("session", blame.session.as_str())];
            ConstGauge::new(blame.took.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
    }
    let stamped: Vec<_> =
        shared.traces().iter().enumerate().filter_map(|(at, trace)| Some((at, trace.stamps()?))).collect();
    if stamped.is_empty() {
        return Ok(());
    }
    let help = "Time spent in each stage of a turn (engine.trace_stages)";
    let mut family = encoder.encode_descriptor("worker_stage_seconds", help, None, MetricType::Counter)?;
    for (worker, stamps) in stamped {
        let worker = worker.to_string();
        for stage in STAGES {
            let labels = [("worker", worker.as_str()), ("stage", stage.name())];
            let spent = Duration::from_nanos(stamps.total_ns(stage)).as_secs_f64();
            ConstCounter::new(spent).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// What the death of the node would take of each session.
fn at_risk(
    encoder: &mut DescriptorEncoder<'_>,
    shared: &Shared,
    sessions: &[(String, &SessionCounters)],
) -> Result<(), fmt::Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    let now_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    // The end first: read the other way round, a flush in between would show what is safe.
    let unsynced = |counters: &SessionCounters, figure: fn(&SessionCounters) -> u64| {
        let end = counters.unsynced_end.value();
        let flusher = shared.flushers().get(counters.journal.value() as usize);
        let is_synced = flusher.is_none_or(|flusher| flusher.synced_bytes.value() >= end);
        if is_synced { 0 } else { figure(counters) }
    };
    type Figure = fn(&SessionCounters) -> u64;
    let figures: [(&str, &str, Figure); 2] = [
        (
            "session_unsynced_bytes",
            "What the death of the node would take of the session, at most: appended and not yet on stable media",
            |counters| counters.unsynced_bytes.value(),
        ),
        ("session_unsynced_messages", "The same in messages, of both directions", |counters| {
            counters.unsynced_messages.value()
        }),
    ];
    for (name, help, figure) in figures {
        let values = sessions.iter().map(|(session, counters)| (session.as_str(), unsynced(counters, figure)));
        gauges(encoder, name, help, "session", values)?;
    }
    let help = "Age of the oldest of them, at most";
    let mut family = encoder.encode_descriptor("session_unsynced_age_seconds", help, None, MetricType::Gauge)?;
    for (session, counters) in sessions {
        let since_ns = unsynced(counters, |counters| counters.unsynced_since_unix_ns.value());
        let age_ns = if since_ns == 0 { 0 } else { now_unix_ns.saturating_sub(since_ns) };
        let labels = [("session", session.as_str())];
        ConstGauge::new(Duration::from_nanos(age_ns).as_secs_f64()).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn numbered<T>(items: &[Arc<CachePadded<T>>]) -> Vec<(String, &T)> {
    items.iter().enumerate().map(|(index, item)| (index.to_string(), &***item)).collect()
}

fn table<T>(
    encoder: &mut DescriptorEncoder<'_>,
    prefix: &str,
    label: &str,
    rows: &[CounterRow<T>],
    items: &[(String, &T)],
) -> Result<(), fmt::Error> {
    // OpenMetrics has no family without a sample.
    if items.is_empty() {
        return Ok(());
    }
    for row in rows {
        let name = format!("{prefix}_{}", row.name);
        match row.kind {
            CounterKind::Part => {}
            CounterKind::Gauge => {
                let values = items.iter().map(|(item, counters)| (item.as_str(), (row.of)(counters).value()));
                gauges(encoder, &name, row.help, label, values)?;
            }
            CounterKind::GaugeNs => {
                let name = format!("{}_seconds", name.trim_end_matches("_ns"));
                let mut family = encoder.encode_descriptor(&name, row.help, None, MetricType::Gauge)?;
                for (item, counters) in items {
                    let labels = [(label, item.as_str())];
                    let seconds = Duration::from_nanos((row.of)(counters).value()).as_secs_f64();
                    ConstGauge::new(seconds).encode(family.encode_family(&labels)?)?;
                }
            }
            CounterKind::Counter => {
                let mut family = encoder.encode_descriptor(&name, row.help, None, MetricType::Counter)?;
                for (item, counters) in items {
                    let labels = [(label, item.as_str())];
                    ConstCounter::new((row.of)(counters).value()).encode(family.encode_family(&labels)?)?;
                }
            }
        }
    }
    Ok(())
}

fn gauges<I: AsRef<str>>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (I, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (item, value) in values {
        let labels = [(label, item.as_ref())];
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
