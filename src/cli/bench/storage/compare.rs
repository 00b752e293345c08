//! `--compare`: two reports side by side. The files may come from anywhere, so they are bounded and looked through before they are believed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::page::{head, legend};
use super::plan::{Load, MODES, ReleaseMode};
use super::plot::{Decades, Line, chart};
use super::report::{Cell, Raw, Report, SCHEMA, SCHEMA_VERSION};
use super::stats::{Distribution, thousands, time_in_words};
use super::table::table;
use super::{BenchError, print};
use crate::certify::html::escaped;

/// A report of the default form has a quarter of this.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What a file must say of itself before the rest is looked at.
#[derive(Deserialize)]
struct Envelope {
    schema: String,
    schema_version: u32,
}

pub(super) fn compare(a: &Path, b: &Path, html: Option<&Path>) -> Result<(), BenchError> {
    let both = Comparison { a: read(a)?, b: read(b)? };
    if let Some(path) = html {
        std::fs::write(path, both.page()).map_err(|error| BenchError::Io(format!("cannot write {path:?}"), error))?;
    }
    print(&both.text());
    Ok(())
}

fn read(path: &Path) -> Result<Report, BenchError> {
    let wrong =
        |why: String| BenchError::Usage(format!("{path:?} {why}: give a file that --json of this benchmark wrote"));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read ({error})")))?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(format!("cannot be read ({error})")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is longer than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Report, String> {
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| format!("is no report ({error})"))?;
    if envelope.schema != SCHEMA {
        return Err("is a report of something else".into());
    }
    if envelope.schema_version != SCHEMA_VERSION {
        let theirs = envelope.schema_version;
        return Err(format!("is of schema version {theirs}, and this fixring reads version {SCHEMA_VERSION}"));
    }
    let report: Report = serde_json::from_str(text).map_err(|error| format!("is no report ({error})"))?;
    report.check().map_err(|why| format!("is damaged ({why})"))?;
    Ok(report)
}

struct Comparison {
    a: Report,
    b: Report,
}

/// What stands side by side: a name, and what each of the two has.
struct Row<'a> {
    mode: ReleaseMode,
    load: Load,
    a: Option<&'a Cell>,
    b: Option<&'a Cell>,
}

impl Comparison {
    /// By mode and load, each run with the method that is its best for the mode.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for mode in MODES.into_iter().rev() {
            let mut loads = self.a.loads(mode);
            loads.extend(self.b.loads(mode));
            loads.sort_unstable();
            loads.dedup();
            for load in loads {
                let of = |report: &'_ Report| report.best_method(mode);
                let a = of(&self.a).and_then(|method| self.a.cell(mode, method, load));
                let b = of(&self.b).and_then(|method| self.b.cell(mode, method, load));
                rows.push(Row { mode, load, a, b });
            }
        }
        rows
    }

    /// What the headers say, and whether it is the same.
    fn headers(&self) -> Vec<(&'static str, String, String)> {
        let (a, b) = (self.a.header.lines(), self.b.header.lines());
        a.into_iter().zip(b).map(|((name, a), (_, b))| (name, a, b)).collect()
    }

    fn reports(&self) -> [(&'static str, &Report); 2] {
        [("A", &self.a), ("B", &self.b)]
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let (mut same, mut differs) = (Vec::new(), table(&["differs", "method", "method"]));
        differs.set_header(["differs", "A", "B"]);
        let mut differences = 0;
        for (name, a, b) in self.headers() {
            if a == b {
                same.push(name);
            } else {
                differs.add_row([name, &printable(&a), &printable(&b)]);
                differences += 1;
            }
        }
        if differences > 0 {
            let _ = writeln!(text, "{differs}");
        }
        let _ = writeln!(text, "the same: {}", if same.is_empty() { "nothing".into() } else { same.join(", ") });
        let mut rows = table(&[
            "",
            "method",
            "method",
            "p50 A",
            "p50 B",
            "B/A",
            "p99 A",
            "p99 B",
            "B/A",
            "/s A",
            "/s B",
            "at risk A",
            "at risk B",
        ]);
        rows.set_header([
            "",
            "A",
            "B",
            "p50 A",
            "p50 B",
            "B/A",
            "p99 A",
            "p99 B",
            "B/A",
            "/s A",
            "/s B",
            "at risk A",
            "at risk B",
        ]);
        let [a, b] = [self.a.best_raw(), self.b.best_raw()];
        let method = |raw: Option<&Raw>| raw.map(|raw| raw.method.to_string()).unwrap_or_default();
        let per_second =
            |raw: Option<&Raw>| raw.map(|raw| thousands(raw.latency.per_second_in_turn() as u64)).unwrap_or_default();
        rows.add_row(
            ["raw, one at a time".to_string(), method(a), method(b)]
                .into_iter()
                .chain(pair(a.map(|raw| &raw.latency), b.map(|raw| &raw.latency)))
                .chain([per_second(a), per_second(b)]),
        );
        for row in self.rows() {
            rows.add_row([row.name()].into_iter().chain(row.columns()));
        }
        let _ = writeln!(text, "{rows}\n* the load was not kept, or not measured in full");
        let _ = writeln!(text, "A: {}\nB: {}", printable(&self.a.verdict), printable(&self.b.verdict));
        text
    }

    fn page(&self) -> String {
        let title = "Storage, side by side";
        let mut html = head(title);
        let _ = writeln!(html, "<h1>{title}</h1>");
        for (name, report) in self.reports() {
            let Report { header, verdict, .. } = report;
            let _ = writeln!(
                html,
                "<p class=\"said\"><b>{name}</b>: {} on {}, {} · fixring {} · {}<br>{}</p>",
                escaped(&header.volume.filesystem),
                escaped(&header.volume.device),
                escaped(&header.volume.directory),
                escaped(&header.fixring),
                escaped(&header.time),
                escaped(verdict)
            );
        }
        self.header_table(&mut html);
        let rows = self.rows();
        for mode in MODES.into_iter().rev() {
            let rows: Vec<_> = rows.iter().filter(|row| row.mode == mode).collect();
            if rows.is_empty() {
                continue;
            }
            let until = match mode {
                ReleaseMode::Sync => "Until a message is on stable media, and so released.",
                ReleaseMode::Flush | ReleaseMode::Buffered => {
                    "Solid: until a message is released. Dotted: until it is on stable media."
                }
            };
            let _ = write!(
                html,
                "<h2>{mode}</h2>\n<p class=\"dim\">{until} Each run by the method that is its best for the mode.</p>\n<div class=\"legend\">"
            );
            for (class, label) in
                [("a", "A"), ("b", "B"), ("a floor", "the raw floor of A"), ("b floor", "the raw floor of B")]
            {
                legend(class, label, &mut html);
            }
            html.push_str("</div>\n<div class=\"charts\">\n");
            let lines: Vec<_> = rows.iter().map(|row| row.lines()).collect();
            let decades = Decades::around(lines.iter().flatten().map(|line| line.points));
            for (row, lines) in rows.iter().zip(&lines) {
                html.push_str(&chart(&row.load.to_string(), &row.note(), lines, decades));
            }
            html.push_str("</div>\n<div class=\"wide\"><table>\n<tr><th>load</th><th class=\"text\">A</th><th class=\"text\">B</th><th>p50 A</th><th>p50 B</th><th>B / A</th><th>p99 A</th><th>p99 B</th><th>B / A</th><th>messages/s A</th><th>messages/s B</th><th>oldest at risk A</th><th>oldest at risk B</th></tr>\n");
            for row in rows {
                let _ = write!(html, "<tr><td>{}</td>", row.load);
                for (at, column) in row.columns().into_iter().enumerate() {
                    let class = if at < 2 { " class=\"text\"" } else { "" };
                    let _ = write!(html, "<td{class}>{column}</td>");
                }
                html.push_str("</tr>\n");
            }
            html.push_str("</table></div>\n<p class=\"dim\">* the load was not kept, or not measured in full</p>\n");
        }
        html.push_str("</html>\n");
        html
    }

    fn header_table(&self, html: &mut String) {
        html.push_str("<h2>What they were measured on</h2>\n<div class=\"wide\"><table>\n<tr><th></th><th class=\"text\">A</th><th class=\"text\">B</th></tr>\n");
        for (name, a, b) in self.headers() {
            let class = if a == b { "" } else { " class=\"differs\"" };
            let _ = writeln!(
                html,
                "<tr{class}><td>{name}</td><td class=\"text long\">{}</td><td class=\"text long\">{}</td></tr>",
                escaped(&a),
                if a == b { "the same".into() } else { escaped(&b) }
            );
        }
        html.push_str("</table></div>\n");
    }
}

impl Row<'_> {
    fn name(&self) -> String {
        format!("{}, {}", self.mode, self.load)
    }

    fn columns(&self) -> Vec<String> {
        let method = |cell: Option<&Cell>| {
            let mark = |cell: &Cell| if cell.missed.is_some() { " *" } else { "" };
            cell.map(|cell| format!("{}{}", cell.plan.method, mark(cell))).unwrap_or_default()
        };
        let mut columns = vec![method(self.a), method(self.b)];
        columns.extend(pair(self.a.map(|cell| &cell.latency), self.b.map(|cell| &cell.latency)));
        let each = [self.a, self.b];
        columns
            .extend(each.map(|cell| cell.map(|cell| thousands(cell.messages_per_second as u64)).unwrap_or_default()));
        columns.extend(each.map(|cell| cell.map(|cell| time_in_words(cell.age_ns_max)).unwrap_or_default()));
        columns
    }

    fn note(&self) -> String {
        let method = |cell: Option<&Cell>| cell.map_or_else(|| "none".to_string(), |cell| cell.plan.method.to_string());
        format!("A {}, B {}", method(self.a), method(self.b))
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        for (class, cell) in [("a", self.a), ("b", self.b)] {
            let Some(cell) = cell else { continue };
            let name = class.to_uppercase();
            if let Some(floor) = cell.best_floor() {
                let label = format!("{name}: raw {}", floor.method);
                lines.push(Line { class: format!("{class} floor"), label, points: &floor.latency.curve });
            }
            if self.mode != ReleaseMode::Sync {
                let label = format!("{name}: until it is durable");
                lines.push(Line { class: format!("{class} age"), label, points: &cell.age.curve });
            }
            lines.push(Line {
                class: class.into(),
                label: format!("{name}: until it is released"),
                points: &cell.latency.curve,
            });
        }
        lines
    }
}

/// p50 and p99 of both, each with their ratio.
fn pair(a: Option<&Distribution>, b: Option<&Distribution>) -> Vec<String> {
    let of = |ns: fn(&Distribution) -> u64| {
        let [a, b] = [a, b].map(|of| of.filter(|of| of.count > 0).map(ns));
        let ratio = a.zip(b).map(|(a, b)| format!("{:.2}", b as f64 / a.max(1) as f64));
        [a.map(time_in_words).unwrap_or_default(), b.map(time_in_words).unwrap_or_default(), ratio.unwrap_or_default()]
    };
    [of(|of| of.p50_ns), of(|of| of.p99_ns)].concat()
}

/// Somebody else's text is not to steer this terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::Method;
    use super::super::report::tests::{sample, sample_of};
    use super::*;

    fn written(report: &Report) -> String {
        serde_json::to_string(report).unwrap()
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = sample();
        assert!(written(&parse(&written(&report)).unwrap()) == written(&report));
    }

    #[test]
    fn a_file_that_is_no_report_of_ours_is_refused_with_the_reason() {
        let good = written(&sample());
        let bad = [
            ("", "is no report"),
            ("[1e999]", "is no report"),
            ("{\"schema\":\"else\",\"schema_version\":1}", "something else"),
            (&good.replacen("\"schema_version\":1", "\"schema_version\":2", 1), "schema version 2"),
            (&good.replacen("\"p50_ns\":", "\"p50_ns\":-", 1), "is no report"),
            (&good.replacen("\"raw_bytes_per_second\":", "\"raw_bytes_per_second\":-", 1), "damaged (a rate"),
            (&good.replacen("\"raw_bytes_per_second\":", "\"raw_bytes_per_second\":1e999,\"x\":", 1), "is no report"),
            (&good.replacen("[[0.0,", "[[101.0,", 1), "damaged (a curve"),
            (&good.replacen("\"kernel\":\"", &format!("\"kernel\":\"{}", "k".repeat(9_000)), 1), "damaged (a text"),
        ];
        for (text, why) in bad {
            let error = parse(text).err().unwrap_or_else(|| panic!("it is accepted: {text:.80}"));
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn no_byte_of_a_report_can_be_changed_into_a_panic() {
        let mut small = sample_of(&[Method::Dsync]);
        small.cells.truncate(2);
        let good = written(&small);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let mut bytes = good.clone().into_bytes();
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(b' '..b'~');
            let Some(report) = String::from_utf8(bytes).ok().and_then(|text| parse(&text).ok()) else { continue };
            let both = Comparison { a: report, b: small.clone() };
            assert!(!both.text().is_empty() && both.page().ends_with("</html>\n"));
        }
    }

    #[test]
    fn what_differs_is_named_and_what_came_from_outside_stays_text() {
        let mut other = sample();
        other.header.volume.scheduler = "<script>alert(1)".into();
        other.verdict = "\x1b[2J".into();
        let both = Comparison { a: sample(), b: other };
        let text = both.text();
        assert!(text.lines().any(|line| line.contains("scheduler") && line.contains("alert")), "{text}");
        assert!(text.contains("the same: fixring, time") && !text.contains('\x1b'), "{text}");
        let page = both.page();
        assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "it loads something");
    }
}
