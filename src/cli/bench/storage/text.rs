//! The report for a terminal.

use std::fmt::Write as _;

use super::plan::MODES;
use super::report::Report;
use super::stats::{Distribution, thousands, time_in_words};
use super::table::table;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let header = &report.header;
    let _ = writeln!(text, "fixring {}, {}", header.fixring, header.machine.line());
    let _ = writeln!(text, "{}: {}", header.volume.directory, header.volume.line());
    let _ = writeln!(
        text,
        "{}-byte messages, {} bytes in the journal; ring {} KiB in {} ({}); worker on core {}, flusher and floors on {}; {:.1} s a cell in {} slices",
        header.payload_bytes,
        header.record_bytes,
        header.ring_bytes >> 10,
        header.ring_dir,
        header.ring_filesystem,
        header.worker_core,
        header.flusher_core,
        header.seconds,
        header.rounds,
    );
    let mut rows = table(&["raw, 4 KiB, one at a time", "p50", "p99", "p99.9", "p99.99", "max", "a second"]);
    for raw in &report.raw {
        match &raw.refused {
            Some(why) => _ = rows.add_row([raw.method.to_string(), why.clone()]),
            None => {
                let end = thousands(raw.latency.per_second_in_turn() as u64);
                _ = rows.add_row([raw.method.to_string()].into_iter().chain(times(&raw.latency)).chain([end]));
            }
        }
    }
    let _ = writeln!(text, "{rows}\nin writes of 1 MiB: {:.0} MB/s", report.raw_bytes_per_second / 1e6);
    let mut missed = Vec::new();
    for mode in MODES {
        let mut rows = table(&[
            &mode.to_string(),
            "method",
            "p50",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "p50/raw",
            "messages/s",
            "syncs/s",
            "oldest at risk",
            "messages",
        ]);
        let mut cells: Vec<_> = report.cells.iter().filter(|cell| cell.plan.mode == mode).collect();
        cells.sort_by_key(|cell| (cell.plan.load, cell.plan.method));
        for cell in &cells {
            let mark = if cell.missed.is_some() { " *" } else { "" };
            let ends = [
                cell.p50_of_raw(),
                thousands(cell.messages_per_second as u64),
                thousands(cell.syncs_per_second as u64),
                time_in_words(cell.age_ns_max),
                thousands(cell.messages_at_risk_max),
            ];
            let starts = [format!("{}{mark}", cell.plan.load), cell.plan.method.to_string()];
            rows.add_row(starts.into_iter().chain(times(&cell.latency)).chain(ends));
            if let Some(why) = &cell.missed {
                missed.push(format!("* {mode} by {}, {}: {why}", cell.plan.method, cell.plan.load));
            }
        }
        if !cells.is_empty() {
            let _ = writeln!(text, "{rows}");
        }
    }
    let written = report.written_bytes();
    let _ = writeln!(
        text,
        "written by the journal: {} MiB, {:.0} laps of the ring",
        thousands(written >> 20),
        written as f64 / header.ring_bytes.max(1) as f64
    );
    for line in missed.iter().chain(&report.notes) {
        let _ = writeln!(text, "{line}");
    }
    for goal in &report.goals {
        let _ = writeln!(text, "{}", goal.line());
    }
    let _ = writeln!(text, "{}", report.verdict);
    text
}

fn times(distribution: &Distribution) -> impl Iterator<Item = String> + use<> {
    let Distribution { p50_ns, p99_ns, p999_ns, p9999_ns, max_ns, .. } = *distribution;
    [p50_ns, p99_ns, p999_ns, p9999_ns, max_ns].into_iter().map(time_in_words)
}
