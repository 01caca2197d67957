//! Two reports beside each other: every figure that either has, with difference and ratio, and for what is drawn the
//! distance in standard deviations.

use super::chance;
use super::chart::{Chart, Curve, escaped};
use super::html::{table, wrapped};
use super::{Report, Row};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Parts of a report that are no figures to compare.
const LEFT_OUT: [&str; 6] = ["series", "scenario", "environment", "remarks", "cues", "began_unix_ms"];

/// One figure of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// In the first; zero when it is left out there.
    pub a: f64,
    /// In the second.
    pub b: f64,
    /// The second less the first.
    pub difference: f64,
    /// The second by the first; nothing when the first is zero.
    pub ratio: Option<f64>,
    /// Of a count that is drawn: the difference in standard deviations of what chance alone makes of it. Two runs of the
    /// same scenario seldom lie 3 apart, and hardly ever 4.
    pub sigmas: Option<f64>,
}

/// Every figure of two runs by its path, such as `shakes.sent`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Comparison(pub BTreeMap<String, Pair>);

impl Comparison {
    /// Compares two reports, as they are in their files. Figures that are zero in both are left out.
    #[must_use]
    pub fn of(a: &Value, b: &Value) -> Self {
        let (of_a, of_b) = (Self::figures(a), Self::figures(b));
        let names = of_a.keys().chain(of_b.keys()).cloned();
        let pairs = names.map(|name| {
            let at = |figures: &BTreeMap<String, f64>| figures.get(&name).copied().unwrap_or(0.0);
            let (a, b) = (at(&of_a), at(&of_b));
            let pair = Pair {
                a,
                b,
                difference: b - a,
                ratio: (a != 0.0).then(|| b / a),
                sigmas: chance::sigmas(&name, &of_a, &of_b),
            };
            (name, pair)
        });
        Self(pairs.filter(|(_, pair)| pair.a != 0.0 || pair.b != 0.0).collect())
    }

    /// Every figure of a report by its path.
    pub(super) fn figures(report: &Value) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        gather("", report, &mut figures);
        figures
    }

    /// What is drawn, alone.
    #[must_use]
    pub fn drawn(self) -> Self {
        let all = self.0.into_iter();
        Self(all.filter(|(_, pair)| pair.sigmas.is_some()).collect())
    }

    /// The counts that lie further apart than so many standard deviations.
    pub fn beyond(&self, sigmas: f64) -> impl Iterator<Item = (&str, &Pair)> {
        let all = self.0.iter().map(|(name, pair)| (&name[..], pair));
        all.filter(move |(_, pair)| pair.sigmas.is_some_and(|found| found.abs() > sigmas))
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, cells: [&str; 5]| {
            let [a, b, difference, ratio, sigmas] = cells;
            writeln!(
                text,
                "{name:<44} {a:>16} {b:>16} {difference:>16} {ratio:>9} {sigmas:>7}"
            )
            .expect("a String grows as needed");
        };
        line("", ["A", "B", "B - A", "B / A", "sigmas"]);
        for (name, pair) in &self.0 {
            line(name, pair.cells().each_ref().map(|cell| &cell[..]));
        }
        text
    }

    /// The same as a page, with the curves of both runs over each other.
    #[must_use]
    pub fn to_html(&self, names: [&str; 2], reports: [&Report; 2]) -> String {
        let charts: String = overlaid(names, reports.map(|report| &report.series[..]));
        let rows: Vec<Vec<String>> = self
            .0
            .iter()
            .map(|(name, pair)| [name.clone()].into_iter().chain(pair.cells()).collect())
            .collect();
        let title = format!("{} and {}", names[0], names[1]);
        let header = ["figure", names[0], names[1], "difference", "ratio", "sigmas"];
        let figures = table("Figures", &header, &rows);
        let [a, b] = names.map(escaped);
        let body = format!("<h1>{a} and {b}</h1><section class=charts>{charts}</section>{figures}");
        wrapped(&title, &body)
    }
}

/// Charts with one figure each, of both runs. They are laid over each other where the shaking of each begins.
fn overlaid(names: [&str; 2], series: [&[Row]; 2]) -> String {
    let chart = |title: &str, unit: &str, value: &dyn Fn(&Row) -> f64| {
        let curve = |(name, rows): (&str, &[Row])| {
            let begins = rows.iter().find(|row| !row.step.is_empty());
            let zero = begins.map_or(0.0, |row| row.at_s - row.span_s);
            Curve {
                name: name.to_owned(),
                points: rows.iter().map(|row| [row.at_s - zero, value(row)]).collect(),
            }
        };
        let curves = names.into_iter().zip(series).map(curve).collect();
        let since = "the shaking began";
        Chart {
            title,
            unit,
            since,
            curves,
        }
        .draw()
    };
    let mut charts = chart("Sessions", "connected", &|row| row.sessions.into());
    charts += &chart("Shakes sent", "per second", &|row| row.sent);
    charts += &chart("Answers that phones heard", "per second", &|row| row.answered);
    charts += &chart("Latency, median", "ms", &|row| row.latency.p50_us as f64 / 1e3);
    charts += &chart("Latency, 99 of 100", "ms", &|row| row.latency.p99_us as f64 / 1e3);
    charts += &chart("Packets won", "per second", &|row| row.won);
    charts += &chart("Packets opened", "per second", &|row| row.opened);
    charts += &chart("Shares grabbed", "per second", &|row| row.grabbed);
    let processes: BTreeSet<&String> = series
        .into_iter()
        .flatten()
        .flat_map(|row| row.processes.keys())
        .collect();
    for name in processes {
        let usage = |row: &Row| row.processes.get(name).copied().unwrap_or_default();
        charts += &chart(&format!("CPU of {name}"), "% of one core", &|row| {
            usage(row).cpu_share * 100.0
        });
        let mib = f64::from(1 << 20);
        charts += &chart(&format!("Memory of {name}"), "MiB resident", &|row| {
            usage(row).memory_bytes as f64 / mib
        });
    }
    charts
}

impl Pair {
    fn cells(&self) -> [String; 5] {
        let ratio = self.ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"));
        let sigmas = self.sigmas.map_or(String::new(), |sigmas| format!("{sigmas:+.1}"));
        [figure(self.a), figure(self.b), figure(self.difference), ratio, sigmas]
    }
}

fn figure(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.4}")
    }
}

fn gather(path: &str, value: &Value, figures: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            figures.extend(number.as_f64().map(|figure| (path.to_owned(), figure)));
        }
        Value::Object(parts) => {
            for (name, part) in parts.iter().filter(|(name, _)| !LEFT_OUT.contains(&&name[..])) {
                gather(&joined(path, name), part, figures);
            }
        }
        // Steps are told apart by their names.
        Value::Array(parts) => {
            for part in parts {
                if let Some(name) = part.get("name").and_then(Value::as_str) {
                    gather(&joined(path, name), part, figures);
                }
            }
        }
        _ => {}
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(sent: f64) -> Report {
        let row = |at_s: f64, step: &str| Row {
            at_s,
            span_s: 1.0,
            sent,
            step: step.into(),
            ..Row::default()
        };
        Report {
            series: vec![row(1.0, ""), row(2.0, "high"), row(3.0, "high")],
            ..Report::default()
        }
    }

    #[test]
    fn steps_are_told_apart_by_name() {
        let run = |p99: u64| json!({"steps": [{"name": "high", "began_unix_ms": p99, "latency": {"p99_us": p99}}]});
        let compared = Comparison::of(&run(10), &run(30));
        let names: Vec<_> = compared.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["steps.high.latency.p99_us"]);
    }

    #[test]
    fn figures_are_paired_by_their_path() {
        let a = json!({"shakes": {"sent": 100, "late": 0}, "series": [{"sent": 1}], "outcomes": {"greeting": 4}});
        let b = json!({"shakes": {"sent": 150, "late": 0}, "outcomes": {"nothing": 2}});
        let compared = Comparison::of(&a, &b);
        let names: Vec<_> = compared.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["outcomes.greeting", "outcomes.nothing", "shakes.sent"]);
        let sent = compared.0["shakes.sent"];
        assert_eq!((sent.difference, sent.ratio), (50.0, Some(1.5)));
        assert_eq!(compared.0["outcomes.nothing"].ratio, None);
        let drawn: Vec<_> = compared.clone().drawn().0.into_keys().collect();
        assert_eq!(drawn, ["outcomes.greeting", "outcomes.nothing", "shakes.sent"]);
        let beyond: Vec<_> = compared.beyond(3.0).map(|(name, _)| name).collect();
        assert_eq!(beyond, ["shakes.sent"]);
        assert!(compared.to_text().contains("1.500"));
        let runs: Vec<Report> = [50.0, 90.0].into_iter().map(run).collect();
        let page = compared.to_html(["a.json", "b.json"], [&runs[0], &runs[1]]);
        assert!(
            page.contains("<td>shakes.sent</td>") && page.contains("Shakes sent"),
            "{page}"
        );
    }
}
