//! The report as one page.

use std::fmt::Write as _;

use super::report::{Cell, Kind, Report, Subject, Which, sessions_in_words};
use crate::certify::html::escaped;
use crate::cli::bench::page::{goals, head, legend};
use crate::cli::bench::plot::{Decades, Line, chart};
use crate::cli::bench::stats::{thousands, time_in_words};

/// Colours of engines; more begin again.
const ENGINE_CLASSES: [&str; 6] = ["e0", "e1", "e2", "e3", "e4", "e5"];

pub(super) fn page(report: &Report) -> String {
    let title = format!("Order → report: {}", report.header.loop_kind);
    let mut html = head(&title);
    let _ = write!(
        html,
        "<h1>{}</h1>\n<p class=\"when\">fixring {} ({} build) · {} · {}</p>\n",
        escaped(&title),
        escaped(&report.header.fixring),
        escaped(&report.header.build_profile),
        escaped(&report.header.time),
        escaped(&report.header.machine.line())
    );
    for missed in report.missed() {
        let _ = writeln!(html, "<p class=\"bad\">A run missed its rate: {}</p>", escaped(&missed));
    }
    goals(&report.goals, &mut html);
    for cell in &report.cells {
        cell_section(report, cell, &mut html);
    }
    html.push_str("<h2>What it was measured on</h2>\n<table>\n");
    for (name, value) in report.header.lines() {
        let _ = writeln!(html, "<tr><td>{name}</td><td class=\"text long\">{}</td></tr>", escaped(&value));
    }
    html.push_str("</table>\n</html>\n");
    html
}

fn cell_section(report: &Report, cell: &Cell, html: &mut String) {
    let _ = writeln!(html, "<h2>{}</h2>", escaped(&sessions_in_words(cell.sessions)));
    let kinds: [(&str, Which); 2] = [
        ("round trip", |subject| subject.latency.as_ref()),
        ("at half of saturation", |subject| subject.half_load.as_ref()),
    ];
    saturation_table(cell, html);
    for (name, which) in kinds {
        let subjects: Vec<_> = cell.subjects.iter().filter(|subject| which(subject).is_some()).collect();
        if subjects.is_empty() {
            continue;
        }
        html.push_str("<div class=\"legend\">");
        for subject in &subjects {
            legend(&format!("{} median", class(cell, subject)), &subject.label(), html);
        }
        html.push_str("</div>\n<div class=\"charts large\">\n");
        html.push_str(&curves(cell, &subjects, name, which));
        html.push_str("</div>\n");
        latency_table(report, cell, &subjects, which, html);
    }
    let _ = writeln!(html, "<p class=\"dim\">{}</p>", escaped(&cell.stalls.line()));
    if let Some(raw) = &cell.raw_sync {
        let _ = writeln!(
            html,
            "<p class=\"dim\">One raw sync of 4 KiB on the volume: p50 {}, p99 {}, p99.9 {}.</p>",
            time_in_words(raw.p50_ns),
            time_in_words(raw.p99_ns),
            time_in_words(raw.p999_ns)
        );
    }
    for subject in &cell.subjects {
        let age_ns = subject.own.as_ref().and_then(|own| own.unsynced_age_max_ns.iter().max());
        if let Some(age_ns) = age_ns {
            let _ = writeln!(
                html,
                "<p class=\"dim\">{}: the oldest message at risk was {} old.</p>",
                escaped(&subject.label()),
                time_in_words(*age_ns)
            );
        }
    }
}

/// Every run thin, the median over it.
fn curves(cell: &Cell, subjects: &[&Subject], name: &str, which: Which) -> String {
    let latencies = || subjects.iter().filter_map(|subject| which(subject).map(|latency| (*subject, latency)));
    let mut lines = Vec::new();
    for (subject, latency) in latencies() {
        for (number, run) in latency.run_distributions.iter().enumerate() {
            lines.push(Line {
                class: format!("{} run", class(cell, subject)),
                label: format!("{}, run {}", subject.label(), number + 1),
                points: &run.curve,
            });
        }
    }
    for (subject, latency) in latencies() {
        let label = format!("{}, median of the runs", subject.label());
        lines.push(Line { class: format!("{} median", class(cell, subject)), label, points: &latency.curve });
    }
    let decades = Decades::around(lines.iter().map(|line| line.points));
    chart(&format!("{}, {name}", sessions_in_words(cell.sessions)), "by percentile; each run thin", &lines, decades)
}

fn class(cell: &Cell, subject: &Subject) -> &'static str {
    match subject.kind {
        Kind::Floor => "bare",
        Kind::FloorWithSync => "bare-sync",
        Kind::Engine => {
            let number = cell.engines().position(|engine| std::ptr::eq(engine, subject)).unwrap_or_default();
            ENGINE_CLASSES[number % ENGINE_CLASSES.len()]
        }
    }
}

fn latency_table(report: &Report, cell: &Cell, subjects: &[&Subject], which: Which, html: &mut String) {
    html.push_str(
        "<div class=\"wide\"><table>\n<tr><th></th><th>p50</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th><th>p50 ±</th><th>p99 ±</th>\
         <th>p50 × bare</th><th>p99 × floor</th></tr>\n",
    );
    for subject in subjects {
        let Some(latency) = which(subject) else { continue };
        let class = if subject.missed.is_empty() { "" } else { "missed" };
        let rate = latency.rate_per_second.map_or_else(String::new, |rate| format!(" at {}/s", thousands(rate as u64)));
        let _ = write!(html, "<tr class=\"{class}\"><td>{}{rate}</td>", escaped(&subject.label()));
        let numbers = [
            latency.p50_ns,
            latency.p99_ns,
            latency.p999_ns,
            latency.p9999_ns,
            latency.max_ns,
            latency.p50_spread_ns,
            latency.p99_spread_ns,
        ];
        for ns in numbers {
            let _ = write!(html, "<td>{}</td>", time_in_words(ns));
        }
        match cell.ratios(which, subject, &report.header.machine) {
            Some((p50, p99)) => _ = writeln!(html, "<td>{p50:.2}</td><td>{p99:.2}</td></tr>"),
            None => html.push_str("<td></td><td></td></tr>\n"),
        }
        if let Some(without) = &latency.without_stalls {
            let _ = write!(
                html,
                "<tr class=\"missed\"><td>without stalls (client {:.2} %, machine {:.2} %)</td>",
                without.client_share * 100.0,
                without.machine_share * 100.0
            );
            for ns in [without.p50_ns, without.p99_ns, without.p999_ns] {
                let _ = write!(html, "<td>{}</td>", time_in_words(ns));
            }
            html.push_str("<td colspan=\"6\"></td></tr>\n");
        }
    }
    html.push_str("</table></div>\n");
}

fn saturation_table(cell: &Cell, html: &mut String) {
    let Some(floor) = cell.floor().and_then(|floor| floor.saturation.as_ref()) else { return };
    html.push_str(
        "<div class=\"wide\"><table>\n<tr><th>orders answered a second</th><th>median</th><th>least</th><th>most</th><th>of bare TCP</th>\
         <th>client busy</th><th>MB/s to the volume</th><th>laps of the ring a run</th><th class=\"text\">the limit is</th></tr>\n",
    );
    for subject in &cell.subjects {
        let Some(saturation) = &subject.saturation else { continue };
        let figure =
            |figure: Option<f64>, by: f64| figure.map_or_else(String::new, |figure| format!("{:.0}", figure / by));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{:.0} %</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            escaped(&subject.label()),
            thousands(saturation.answered_per_second as u64),
            thousands(saturation.answered_per_second_min as u64),
            thousands(saturation.answered_per_second_max as u64),
            saturation.answered_per_second / floor.answered_per_second,
            saturation.client_busy_share * 100.0,
            figure(saturation.volume_bytes_per_second, 1e6),
            figure(saturation.laps_of_the_ring_per_run, 1.0),
            if saturation.ring_full.is_some() { saturation.limit() } else { "" }
        );
    }
    html.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::wire::report::tests::sample;

    #[test]
    fn a_page_has_a_thin_curve_for_each_run_and_a_thick_one_for_each_median_and_no_markup_from_outside() {
        let page = page(&sample());
        assert_eq!(page.matches(" run\" d=\"").count(), 9);
        // Once more in the legend.
        assert_eq!(page.matches(" median\" d=\"").count(), 6);
        assert!(page.contains("a &lt;CPU&gt;") && !page.contains("<CPU>"));
        assert!(page.contains("class=\"holds\"") && !page.contains("<script"));
    }
}
