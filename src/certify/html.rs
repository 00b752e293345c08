//! The report as one page: no script, nothing loaded from elsewhere, everything that came from outside escaped.

use std::fmt::Write as _;

use super::report::Report;
use super::runner::{Outcome, Verdict};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --dim: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.when { color: var(--dim); margin-top: .2rem; }
.totals { display: flex; gap: 1rem; margin: 1.2rem 0; }
.totals div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem 1rem; min-width: 6rem; }
.totals b { display: block; font-size: 1.6rem; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; } td small { color: var(--dim); display: block; }
td.verdict { white-space: nowrap; }
.passed { color: var(--good); } .failed { color: var(--bad); font-weight: 600; } .skipped { color: var(--dim); }
section { border: 1px solid var(--line); border-left: 4px solid var(--bad); border-radius: .4rem; padding: .2rem 1rem; margin: 1rem 0; }
section h3 { font-size: 1rem; margin: .6rem 0 .2rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; border-top: 1px solid var(--line); padding: .6rem 0; margin: .6rem 0 .4rem; white-space: pre-wrap; overflow-wrap: anywhere; }
";

pub(super) fn page(report: &Report) -> String {
    let mut html = String::new();
    let title = escaped(&report.title);
    let totals = report.totals();
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>FIX conformance: {title}</title>\n<style>\n{STYLE}</style>\n\
         <h1>FIX session conformance</h1>\n<p class=\"when\">{title}<br>{}</p>\n<div class=\"totals\">\n",
        escaped(&report.when)
    );
    for (class, count) in [("passed", totals.passed), ("failed", totals.failed), ("skipped", totals.skipped)] {
        let _ = writeln!(html, "<div class=\"{class}\"><b>{count}</b>{class}</div>");
    }
    html.push_str("</div>\n");
    failures(report, &mut html);
    let versions = report.versions();
    html.push_str("<h2>All rules</h2>\n<table>\n<thead><tr><th>Rule</th>");
    for version in &versions {
        let _ = write!(html, "<th>{}</th>", version.name());
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for rule in report.rules() {
        let _ = write!(html, "<tr><td>{}<small>{}</small></td>", escaped(&rule.rule), escaped(&rule.source));
        for version in &versions {
            let found = report.outcome(&rule.name, *version);
            html.push_str(&found.map_or_else(|| "<td></td>".to_string(), cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</html>\n");
    html
}

fn failures(report: &Report, html: &mut String) {
    let mut is_first = true;
    for outcome in &report.outcomes {
        let Verdict::Failed(failure) = &outcome.verdict else { continue };
        if std::mem::take(&mut is_first) {
            html.push_str("<h2>What failed</h2>\n");
        }
        let _ = write!(
            html,
            "<section>\n<h3>{}</h3>\n<p><b>{}</b>: {}<br><small>{} · step <code>{}</code>, {}.rule:{}</small></p>\n<pre>",
            escaped(&outcome.rule),
            outcome.version.name(),
            escaped(&failure.what),
            escaped(&outcome.source),
            escaped(&failure.step),
            escaped(&outcome.name),
            failure.line
        );
        for line in &failure.transcript {
            let _ = writeln!(html, "{}", escaped(line));
        }
        html.push_str("</pre>\n</section>\n");
    }
}

fn cell(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Passed => "<td class=\"verdict passed\">passed</td>".to_string(),
        Verdict::Failed(_) => "<td class=\"verdict failed\">failed</td>".to_string(),
        Verdict::Skipped(reason) => format!("<td class=\"skipped\">skipped<small>{}</small></td>", escaped(reason)),
    }
}

pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;

    #[test]
    fn the_page_says_all_and_what_came_from_outside_stays_text() {
        let page = sample().html();
        for part in ["<title>", "US → &quot;THEM&quot;", "does &lt;not&gt;", "needs echo", "&lt;script&gt;alert(1)"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "it loads something");
    }
}
