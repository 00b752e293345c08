//! `--markdown`: one table of reports that `--json` wrote, for a README. The files may come from anywhere, so they are bounded.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::WireError;
use super::report::{Report, SCHEMA, SCHEMA_VERSION, Subject};
use crate::cli::bench::stats::thousands;

/// A report of the default form has a tenth of this.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One engine, with what the files say of it.
struct Row {
    label: String,
    trips: Option<Trips>,
    answered_per_second: Option<f64>,
}

#[derive(Clone, Copy)]
struct Trips {
    p50_ns: u64,
    p99_ns: u64,
    p50_of_bare: f64,
}

/// Of the first number of sessions that each file has.
pub(super) fn table(paths: &[PathBuf]) -> Result<String, WireError> {
    let reports: Result<Vec<_>, _> = paths.iter().map(|path| read(path)).collect();
    Ok(of(&reports?))
}

fn read(path: &Path) -> Result<Report, WireError> {
    let wrong =
        |why: String| WireError::Usage(format!("{path:?} {why}: give a file that --json of this benchmark wrote"));
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read ({error})")))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(format!("cannot be read ({error})")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is longer than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let report: Report = serde_json::from_str(&text).map_err(|error| wrong(format!("is no report ({error})")))?;
    if (report.schema.as_str(), report.schema_version) != (SCHEMA, SCHEMA_VERSION) {
        return Err(wrong(format!("is no report of schema version {SCHEMA_VERSION}")));
    }
    if report.cells.is_empty() {
        return Err(wrong("has no figures".into()));
    }
    Ok(report)
}

fn of(reports: &[Report]) -> String {
    let mut rows: Vec<Row> = Vec::new();
    for report in reports {
        let cell = &report.cells[0];
        let floor = cell.floor().and_then(|floor| floor.latency.as_ref());
        for subject in cell.engines() {
            let row = row_of(&mut rows, subject);
            if let Some((latency, floor)) = subject.latency.as_ref().zip(floor) {
                row.trips = Some(Trips {
                    p50_ns: latency.p50_ns,
                    p99_ns: latency.p99_ns,
                    p50_of_bare: latency.p50_ns as f64 / floor.p50_ns.max(1) as f64,
                });
            }
            if let Some(saturation) = &subject.saturation {
                row.answered_per_second = Some(saturation.answered_per_second);
            }
        }
    }
    let mut text = String::new();
    let mut headers = Vec::new();
    for report in reports {
        let header = &report.header;
        let line = format!("{}, fixring {} ({} build)", header.machine.line(), header.fixring, header.build_profile);
        if !headers.contains(&line) {
            headers.push(line);
        }
        headers.push(format!("{}, medians of {} runs", header.loop_kind, header.runs));
    }
    headers.iter().for_each(|line| _ = writeln!(text, "{}  ", line.replace('|', "/")));
    text.push_str(
        "\n| engine | p50 µs | p99 µs | p50, × bare TCP | answered a second | first's p50 ÷ its | first's p99 ÷ its | first's answered ÷ its |\n|---|---|---|---|---|---|---|---|\n",
    );
    let first = rows.first().map(|first| (first.trips, first.answered_per_second)).unwrap_or_default();
    for row in &rows {
        let mut columns = vec![row.label.replace('|', "/")];
        match row.trips {
            None => columns.extend([const { String::new() }; 3]),
            Some(trips) => columns.extend([
                format!("{:.1}", trips.p50_ns as f64 / 1e3),
                format!("{:.1}", trips.p99_ns as f64 / 1e3),
                format!("{:.2}", trips.p50_of_bare),
            ]),
        }
        columns.push(row.answered_per_second.map_or_else(String::new, |rate| thousands(rate as u64)));
        match row.trips.zip(first.0) {
            None => columns.extend([const { String::new() }; 2]),
            Some((trips, first)) => columns.extend([
                format!("{:.2}", first.p50_ns as f64 / trips.p50_ns.max(1) as f64),
                format!("{:.2}", first.p99_ns as f64 / trips.p99_ns.max(1) as f64),
            ]),
        }
        let share = row.answered_per_second.zip(first.1).map(|(rate, first)| first / rate.max(f64::MIN_POSITIVE));
        columns.push(share.map_or_else(String::new, |share| format!("{share:.1}")));
        let _ = writeln!(text, "| {} |", columns.join(" | "));
    }
    text
}

fn row_of<'a>(rows: &'a mut Vec<Row>, subject: &Subject) -> &'a mut Row {
    let label = subject.label();
    let at = rows.iter().position(|row| row.label == label).unwrap_or_else(|| {
        rows.push(Row { label, trips: None, answered_per_second: None });
        rows.len() - 1
    });
    &mut rows[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::wire::report::tests::sample;

    #[test]
    fn trips_and_saturation_of_one_engine_come_to_one_row_and_a_name_cannot_break_the_table() {
        let mut trips = sample();
        let mut flood = sample();
        trips.cells[0].subjects[2].saturation = None;
        flood.cells[0].subjects[2].latency = None;
        let mut other = flood.cells[0].subjects[2].clone();
        (other.name, other.mode) = ("a | b".into(), None);
        other.saturation.as_mut().unwrap().answered_per_second = 60_000.0;
        flood.cells[0].subjects.push(other);
        let text = of(&[trips, flood]);
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[0].starts_with("| fixring buffered | 11.1 |") && rows[0].contains("| 600,000 | 1.00 |"), "{text}");
        assert_eq!(rows[1], "| a / b |  |  |  | 60,000 |  |  | 10.0 |", "{text}");
    }
}
