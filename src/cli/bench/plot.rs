//! Curves of percentiles as SVG: each further nine takes the same width, each power of ten the same height.

use std::fmt::Write as _;

use crate::certify::html::escaped;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// What the horizontal axis shows: 99.999 % and a little.
const NINES_SHOWN: f64 = 5.2;
const TICKS: [(f64, &str); 6] =
    [(50.0, "50 %"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"), (99.999, "99.999")];
/// Powers of ten from a nanosecond to more than any time that is measured.
const DECADES: [&str; 13] =
    ["1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s"];

pub(super) struct Line<'a> {
    /// The stylesheet's name for its colour and stroke.
    pub class: String,
    pub label: String,
    pub points: &'a [(f64, u64)],
}

/// Which powers of ten the vertical axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decades {
    from: u32,
    to: u32,
}

impl Decades {
    /// Of everything that is to be seen on one axis.
    pub fn around<'a>(lines: impl Iterator<Item = &'a [(f64, u64)]>) -> Self {
        // What every message takes longer than is not worth the height: the axis begins near the medians.
        let seen = lines.flatten().filter(|(percentile, _)| *percentile >= 20.0).map(|(_, ns)| (*ns).max(1));
        let (least, most) = seen.fold((u64::MAX, 1), |(least, most), ns| (least.min(ns), most.max(ns)));
        let last = DECADES.len() as u32 - 1;
        let from = least.min(most).ilog10().min(last - 1);
        let to = if is_power_of_ten(most) { most.ilog10() } else { most.ilog10() + 1 };
        Self { from, to: to.clamp(from + 1, last) }
    }
}

fn is_power_of_ten(number: u64) -> bool {
    number == 10u64.pow(number.ilog10())
}

/// One chart.
pub(super) fn chart(title: &str, note: &str, lines: &[Line<'_>], decades: Decades) -> String {
    let mut svg = String::new();
    let _ = writeln!(svg, "<figure><figcaption><b>{}</b><span>{}</span></figcaption>", escaped(title), escaped(note));
    let _ = writeln!(
        svg,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}: latency by percentile\">",
        escaped(title)
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for decade in decades.from..=decades.to {
        let y = y_of(10u64.pow(decade) as f64, decades);
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let label = DECADES[decade as usize];
        let _ = writeln!(svg, "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", LEFT - 6.0, y + 3.5);
    }
    for (percentile, label) in TICKS {
        let x = x_of(percentile);
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>");
        let _ = writeln!(svg, "<text class=\"x\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>", bottom + 16.0);
    }
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let mut path = String::new();
        // The maximum stands where the next point would.
        let resolved = line.points.iter().filter(|(percentile, _)| *percentile < 100.0);
        let end = resolved.map(|(percentile, _)| nines(*percentile)).fold(0.0, f64::max) + 0.1;
        for (at, (percentile, ns)) in line.points.iter().enumerate() {
            let x = LEFT + nines(*percentile).min(end).min(NINES_SHOWN) / NINES_SHOWN * (right - LEFT);
            let y = y_of((*ns).max(1) as f64, decades);
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
        }
        let (class, label) = (escaped(&line.class), escaped(&line.label));
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"><title>{label}</title></path>");
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn nines(percentile: f64) -> f64 {
    // Beyond what is shown anyway; of 100 it would be infinite.
    let rest = (1.0 - percentile / 100.0).max(1e-9);
    -rest.log10()
}

fn x_of(percentile: f64) -> f64 {
    LEFT + nines(percentile).min(NINES_SHOWN) / NINES_SHOWN * (WIDTH - LEFT - RIGHT)
}

fn y_of(ns: f64, decades: Decades) -> f64 {
    let part = (ns.log10() - f64::from(decades.from)) / f64::from(decades.to - decades.from);
    TOP + (1.0 - part.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_spans_what_it_shows_and_never_nothing() {
        let of = |points: &[(f64, u64)]| Decades::around([points].into_iter());
        assert_eq!(of(&[(0.0, 1), (50.0, 150), (100.0, 99_000)]), Decades { from: 2, to: 5 });
        assert_eq!(of(&[(50.0, 1_000), (100.0, 1_000)]), Decades { from: 3, to: 4 });
        assert_eq!(of(&[]), Decades { from: 0, to: 1 });
        assert_eq!(of(&[(50.0, 0), (100.0, u64::MAX)]), Decades { from: 0, to: 12 });
    }

    #[test]
    fn every_point_lies_within_the_chart_whatever_the_numbers() {
        let points = [(0.0, 0), (50.0, 120_000), (99.999_999_9, 5_000_000), (100.0, u64::MAX)];
        let lines = [Line { class: "raw".into(), label: "<raw>".into(), points: &points }];
        let svg = chart("sync & more", "note", &lines, Decades { from: 5, to: 7 });
        let path = svg.split(" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        for point in path.split(['M', 'L']).filter(|point| !point.is_empty()) {
            let (x, y) = point.split_once(' ').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
        assert!(svg.contains("sync &amp; more") && svg.contains("&lt;raw&gt;"));
    }
}
