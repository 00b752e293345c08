//! The report as one page: no script, nothing loaded from elsewhere, everything that came from outside escaped.

use std::fmt::Write as _;

use super::page::{goals, head, legend};
use super::plan::{Load, MODES, ReleaseMode};
use super::plot::{Decades, Line, chart};
use super::report::{Cell, Report};
use super::stats::{Distribution, thousands, time_in_words};
use crate::certify::html::escaped;

/// A page of one run.
pub(super) fn page(report: &Report) -> String {
    let volume = &report.header.volume;
    let title = format!("Storage: {} on {}", volume.filesystem, volume.device);
    let mut html = head(&title);
    let _ = write!(
        html,
        "<h1>{}</h1>\n<p class=\"when\">fixring {} · {} · {}</p>\n<p class=\"said\">{}</p>\n",
        escaped(&title),
        escaped(&report.header.fixring),
        escaped(&report.header.time),
        escaped(&volume.directory),
        escaped(&report.verdict)
    );
    goals(&report.goals, &mut html);
    for note in &report.notes {
        let _ = writeln!(html, "<p class=\"dim\">{}</p>", escaped(note));
    }
    raw_table(report, &mut html);
    for mode in MODES.into_iter().rev() {
        mode_section(report, mode, &mut html);
    }
    html.push_str("<h2>What it was measured on</h2>\n<table>\n");
    for (name, value) in report.header.lines() {
        let _ = writeln!(html, "<tr><td>{name}</td><td class=\"text long\">{}</td></tr>", escaped(&value));
    }
    html.push_str("</table>\n</html>\n");
    html
}

fn raw_table(report: &Report, html: &mut String) {
    html.push_str(
        "<h2>The raw floor</h2>\n<p class=\"dim\">One page of 4 KiB made durable with bare system calls, one after the other, in short slices between those of the journal.</p>\n\
         <div class=\"wide\"><table>\n<tr><th>method</th><th>p50</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th><th>a second</th></tr>\n",
    );
    for raw in &report.raw {
        match &raw.refused {
            Some(why) => {
                let _ = writeln!(
                    html,
                    "<tr><td>{}</td><td class=\"text\" colspan=\"6\">{}</td></tr>",
                    raw.method,
                    escaped(why)
                );
            }
            None => {
                let _ = write!(html, "<tr><td>{}</td>", raw.method);
                times(&raw.latency, html);
                let _ = writeln!(html, "<td>{}</td></tr>", thousands(raw.latency.per_second_in_turn() as u64));
            }
        }
    }
    let _ = writeln!(
        html,
        "</table></div>\n<p class=\"dim\">In writes of 1 MiB the volume takes {:.0} MB/s. The journal wrote {} MiB, {:.0} laps of its ring.</p>",
        report.raw_bytes_per_second / 1e6,
        thousands(report.written_bytes() >> 20),
        report.written_bytes() as f64 / report.header.ring_bytes.max(1) as f64
    );
}

fn times(distribution: &Distribution, html: &mut String) {
    let Distribution { p50_ns, p99_ns, p999_ns, p9999_ns, max_ns, .. } = *distribution;
    for ns in [p50_ns, p99_ns, p999_ns, p9999_ns, max_ns] {
        let _ = write!(html, "<td>{}</td>", time_in_words(ns));
    }
}

fn mode_section(report: &Report, mode: ReleaseMode, html: &mut String) {
    let loads = report.loads(mode);
    if loads.is_empty() {
        return;
    }
    let what = match mode {
        ReleaseMode::Buffered => {
            "Released once it is in the ring. Solid: until the release. Dotted: until it is on stable media, which is for how long a node's death would take it."
        }
        ReleaseMode::Flush => {
            "Released once the operating system has it. Solid: until the release. Dotted: until it is on stable media."
        }
        ReleaseMode::Sync => "Released once it is on stable media.",
    };
    let _ = write!(html, "<h2>{mode}</h2>\n<p class=\"dim\">{what}</p>\n<div class=\"legend\">");
    let mut methods: Vec<_> = report.raw.iter().map(|raw| raw.method).collect();
    methods.retain(|method| loads.iter().any(|load| report.cell(mode, *method, *load).is_some()));
    for method in &methods {
        legend(&method.to_string(), &method.to_string(), html);
    }
    legend("raw", "the best raw method beside it", html);
    html.push_str("</div>\n<div class=\"charts\">\n");
    let cells = |load: Load| methods.iter().filter_map(move |method| report.cell(mode, *method, load));
    let decades = Decades::around(loads.iter().flat_map(|load| cells(*load)).flat_map(|cell| {
        let floor = cell.best_floor().map(|floor| &floor.latency.curve[..]);
        [Some(&cell.latency.curve[..]), Some(&cell.age.curve[..]), floor].into_iter().flatten()
    }));
    for load in &loads {
        let mut lines = Vec::new();
        for cell in cells(*load) {
            let method = cell.plan.method;
            if mode != ReleaseMode::Sync {
                let label = format!("{method}: until it is durable");
                lines.push(Line { class: format!("{method} age"), label, points: &cell.age.curve });
            }
            let label = format!("{method}: until it is released");
            lines.push(Line { class: method.to_string(), label, points: &cell.latency.curve });
        }
        let floors = cells(*load).filter_map(Cell::best_floor);
        if let Some(floor) = floors.min_by_key(|floor| floor.latency.p50_ns) {
            lines.push(Line {
                class: "raw".into(),
                label: format!("raw {}", floor.method),
                points: &floor.latency.curve,
            });
        }
        let missed: Vec<_> =
            cells(*load).filter(|cell| cell.missed.is_some()).map(|cell| cell.plan.method.to_string()).collect();
        let note = if missed.is_empty() { String::new() } else { format!("missed by {}", missed.join(", ")) };
        html.push_str(&chart(&load.to_string(), &note, &lines, decades));
    }
    html.push_str("</div>\n");
    mode_table(&loads, cells, html);
}

fn mode_table<'a, C: Iterator<Item = &'a Cell>>(loads: &[Load], cells: impl Fn(Load) -> C, html: &mut String) {
    html.push_str(
        "<div class=\"wide\"><table>\n<tr><th>load</th><th class=\"text\">method</th><th>p50</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th>\
         <th>p50 / raw</th><th>messages/s</th><th>syncs/s</th><th>oldest at risk</th><th>messages at risk</th></tr>\n",
    );
    for load in loads {
        for (at, cell) in cells(*load).enumerate() {
            let class = match (at, &cell.missed) {
                (0, None) => "first",
                (0, Some(_)) => "first missed",
                (_, Some(_)) => "missed",
                (_, None) => "",
            };
            let load = if at == 0 { load.to_string() } else { String::new() };
            let _ = write!(html, "<tr class=\"{class}\"><td>{load}</td><td class=\"text\">{}</td>", cell.plan.method);
            times(&cell.latency, html);
            let _ = writeln!(
                html,
                "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                cell.p50_of_raw(),
                thousands(cell.messages_per_second as u64),
                thousands(cell.syncs_per_second as u64),
                time_in_words(cell.age_ns_max),
                thousands(cell.messages_at_risk_max)
            );
            if let Some(why) = &cell.missed {
                let _ = writeln!(
                    html,
                    "<tr class=\"why\"><td></td><td class=\"text\" colspan=\"11\">{}</td></tr>",
                    escaped(why)
                );
            }
        }
    }
    html.push_str("</table></div>\n");
}
