//! The report for a terminal.

use std::fmt::Write as _;

use super::report::{Cell, Kind, Report, Which, sessions_in_words};
use crate::cli::bench::stats::{thousands, time_in_words};
use crate::cli::bench::table::table;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in report.header.lines() {
        let _ = writeln!(text, "{name}: {value}");
    }
    for cell in &report.cells {
        cell_text(report, cell, &mut text);
    }
    for goal in &report.goals {
        let _ = writeln!(text, "{}", goal.line());
    }
    text
}

fn cell_text(report: &Report, cell: &Cell, text: &mut String) {
    let _ = writeln!(text, "\n{}", sessions_in_words(cell.sessions));
    let _ = writeln!(text, "{}", cell.stalls.line());
    if let Some(raw) = &cell.raw_sync {
        let _ = writeln!(
            text,
            "one raw sync of 4 KiB: p50 {}, p99 {}, p99.9 {}, max {}",
            time_in_words(raw.p50_ns),
            time_in_words(raw.p99_ns),
            time_in_words(raw.p999_ns),
            time_in_words(raw.max_ns)
        );
    }
    saturation_table(cell, text);
    latency_table(report, cell, text);
    for subject in &cell.subjects {
        let label = subject.label();
        let Some(own) = &subject.own else { continue };
        if let (Some(age_ns), Kind::Engine) = (own.unsynced_age_max_ns.iter().max(), subject.kind) {
            let _ = writeln!(text, "{label}: the oldest message at risk was {} old", time_in_words(*age_ns));
        }
        if let Some(kib) = own.anonymous_kib {
            let _ = writeln!(
                text,
                "{label}: {:.1} MiB of anonymous memory with {} more sessions idle",
                kib as f64 / 1024.0,
                report.header.idle_sessions
            );
        }
        if own.messages_in_by_worker.len() > 1 {
            let sum: f64 = own.messages_in_by_worker.iter().sum();
            let shares: Vec<_> = own
                .messages_in_by_worker
                .iter()
                .map(|messages| format!("{:.0} %", messages * 100.0 / sum.max(1.0)))
                .collect();
            let _ = writeln!(text, "{label}: messages by worker {}", shares.join(", "));
        }
    }
    for subject in &cell.subjects {
        for missed in &subject.missed {
            let _ = writeln!(text, "{} missed its rate, {missed}", subject.label());
        }
    }
}

fn saturation_table(cell: &Cell, text: &mut String) {
    let Some(floor) = cell.floor().and_then(|floor| floor.saturation.as_ref()) else { return };
    let mut rows = table(&["orders answered a second", "median", "least", "most", "of bare TCP", "client busy"]);
    for subject in &cell.subjects {
        let Some(saturation) = &subject.saturation else { continue };
        let rates =
            [saturation.answered_per_second, saturation.answered_per_second_min, saturation.answered_per_second_max];
        let rates = rates.map(|rate| thousands(rate as u64));
        let ends = [
            format!("{:.2}", saturation.answered_per_second / floor.answered_per_second),
            format!("{:.0} %", saturation.client_busy_share * 100.0),
        ];
        rows.add_row([subject.label()].into_iter().chain(rates).chain(ends));
    }
    let _ = writeln!(text, "{rows}");
    for subject in &cell.subjects {
        let Some(saturation) = &subject.saturation else { continue };
        if let (Some(volume), Some(laps), Some(full)) =
            (saturation.volume_bytes_per_second, saturation.laps_of_the_ring_per_run, saturation.ring_full)
        {
            let _ = writeln!(
                text,
                "{}: {:.1} MB/s to the volume, {laps:.0} laps of the ring a run; the ring was full {full:.0} times: the limit is {}",
                subject.label(),
                volume / 1e6,
                saturation.limit()
            );
        }
    }
}

fn latency_table(report: &Report, cell: &Cell, text: &mut String) {
    let kinds: [(&str, Which); 2] =
        [("µs", |subject| subject.latency.as_ref()), ("µs at half load", |subject| subject.half_load.as_ref())];
    for (name, which) in kinds {
        let rows_of: Vec<_> =
            cell.subjects.iter().filter_map(|subject| which(subject).map(|latency| (subject, latency))).collect();
        if rows_of.is_empty() {
            continue;
        }
        let mut rows =
            table(&[name, "p50", "p99", "p99.9", "p99.99", "max", "p50 ±", "p99 ±", "p50 × bare", "p99 × floor"]);
        let us = |ns: u64| format!("{:.2}", ns as f64 / 1000.0);
        for (subject, latency) in rows_of {
            let numbers = [
                latency.p50_ns,
                latency.p99_ns,
                latency.p999_ns,
                latency.p9999_ns,
                latency.max_ns,
                latency.p50_spread_ns,
                latency.p99_spread_ns,
            ];
            let ratios = cell.ratios(which, subject, &report.header.machine);
            let ratios = ratios.map_or_else(Default::default, |(p50, p99)| [format!("{p50:.2}"), format!("{p99:.2}")]);
            let mark = if subject.missed.is_empty() { "" } else { " *" };
            let rate = latency.rate_per_second.map_or_else(String::new, |rate| format!(" at {rate:.0}/s"));
            let name = format!("{}{rate}{mark}", subject.label());
            rows.add_row([name].into_iter().chain(numbers.map(us)).chain(ratios));
            if let Some(without) = &latency.without_stalls {
                let name = format!(
                    "  without stalls (client {:.2} %, machine {:.2} %)",
                    without.client_share * 100.0,
                    without.machine_share * 100.0
                );
                rows.add_row([name].into_iter().chain([without.p50_ns, without.p99_ns, without.p999_ns].map(us)));
            }
        }
        let _ = writeln!(text, "{rows}");
    }
}
