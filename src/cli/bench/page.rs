//! What the pages of the benchmarks have in common: no script, nothing loaded from elsewhere, everything that came from outside escaped.

use std::fmt::Write as _;

use super::goal::Goal;
use crate::certify::html::escaped;

const STYLE: &str = "\
:root { color-scheme: light dark; --ground: #fff; --card: #f7f8fa; --ink: #1b1f24; --dim: #667; --line: #8883;
 --fdatasync: #1f6feb; --dsync: #d9730d; --msync: #1a936f; --raw: #6b7280; --sync: #9a6b2f; --e3: #a4359c; --e4: #c0303b; --e5: #0a7f8c; --a: #1f6feb; --b: #d9730d; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --card: #1c2027; --ink: #e4e7eb; --dim: #98a1ad;
 --fdatasync: #6aa6ff; --dsync: #f2a359; --msync: #58d1a5; --raw: #a3acb9; --sync: #d8b27a; --e3: #e08bd9; --e4: #ff8a93; --e5: #5fd0dc; --a: #6aa6ff; --b: #f2a359; --good: #4ac26b; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; background: var(--ground); color: var(--ink); max-width: 84rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; } h2 { font-size: 1.2rem; margin: 2.6rem 0 .2rem; }
p.dim, .when { color: var(--dim); margin: .2rem 0 .8rem; max-width: 60rem; }
.said { font-size: 1.1rem; border-left: 4px solid var(--fdatasync); padding: .3rem 0 .3rem 1rem; margin: 1.4rem 0; max-width: 66rem; }
.goals { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; margin: 1.2rem 0; }
.goals div { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--dim); border-radius: .5rem; padding: .7rem 1rem; }
.goals .holds { border-top-color: var(--good); } .goals .fails { border-top-color: var(--bad); }
.goals b { display: block; } .goals .holds b { color: var(--good); } .goals .fails b { color: var(--bad); }
.goals small { color: var(--dim); display: block; margin-top: .4rem; font-size: .87rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .6rem .2rem; }
figcaption { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline; padding: 0 .3rem; }
figcaption span { color: var(--dim); font-size: .85rem; text-align: right; }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg text.y { text-anchor: end; } svg text.x { text-anchor: middle; } .grid { stroke: var(--line); stroke-width: 1; }
.charts.large { grid-template-columns: minmax(0, 60rem); } .large path { vector-effect: non-scaling-stroke; }
@media (min-width: 50rem) { .large svg text { font-size: 6px; } .large .grid { stroke-width: .5; } }
path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.fdatasync { stroke: var(--fdatasync); } .dsync { stroke: var(--dsync); } .msync { stroke: var(--msync); }
.a { stroke: var(--a); } .b { stroke: var(--b); }
.raw { stroke: var(--raw); stroke-dasharray: 6 4; } .a.floor, .b.floor { stroke-dasharray: 6 4; stroke-width: 1.5; opacity: .8; } .age { stroke-dasharray: 1.5 3.5; stroke-linecap: round; }
.bare { stroke: var(--raw); } .bare-sync { stroke: var(--sync); } .bare.median, .bare-sync.median { stroke-dasharray: 6 4; }
.e0 { stroke: var(--fdatasync); } .e1 { stroke: var(--dsync); } .e2 { stroke: var(--msync); } .e3 { stroke: var(--e3); } .e4 { stroke: var(--e4); } .e5 { stroke: var(--e5); }
.run { stroke-width: .7; opacity: .5; } .median { stroke-width: 2.4; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .6rem 0 .8rem; font-size: .9rem; }
.legend svg { display: inline-block; width: 2.2rem; height: .7rem; margin-right: .4rem; vertical-align: middle; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.long { white-space: normal; overflow-wrap: anywhere; }
tr.first td { border-top: 1px solid var(--dim); } tr.missed td { color: var(--dim); } tr.why td { color: var(--bad); font-size: .85rem; padding-top: 0; } tr.missed td { border-bottom: 0; }
tr.differs td { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
";

pub(super) fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n",
        escaped(title)
    )
}

pub(super) fn legend(class: &str, label: &str, html: &mut String) {
    let _ = write!(
        html,
        "<span><svg viewBox=\"0 0 36 10\"><path class=\"{}\" d=\"M1 5L35 5\"/></svg>{}</span>",
        escaped(class),
        escaped(label)
    );
}

pub(super) fn goals(goals: &[Goal], html: &mut String) {
    html.push_str("<div class=\"goals\">\n");
    for goal in goals {
        let class = match goal.holds {
            Some(true) => "holds",
            Some(false) => "fails",
            None => "unknown",
        };
        let _ = writeln!(
            html,
            "<div class=\"{class}\"><b>{}</b>{}<small>{}</small></div>",
            goal.verdict(),
            escaped(&goal.what),
            escaped(&goal.found)
        );
    }
    html.push_str("</div>\n");
}
