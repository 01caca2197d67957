//! Two reports beside each other: every figure that either has, with difference and ratio.

use super::html::{table, wrapped};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Parts of a report that are no figures of the whole run.
const LEFT_OUT: [&str; 6] = ["series", "steps", "scenario", "environment", "remarks", "cues"];

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
}

/// Every figure of two runs by its path, such as `shakes.sent`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Comparison(pub BTreeMap<String, Pair>);

impl Comparison {
    /// Compares two reports, as they are in their files. Figures that are zero in both are left out.
    #[must_use]
    pub fn of(a: &Value, b: &Value) -> Self {
        let (mut of_a, mut of_b) = (BTreeMap::new(), BTreeMap::new());
        gather("", a, &mut of_a);
        gather("", b, &mut of_b);
        let names = of_a.keys().chain(of_b.keys()).cloned();
        let pairs = names.map(|name| {
            let at = |figures: &BTreeMap<String, f64>| figures.get(&name).copied().unwrap_or(0.0);
            let (a, b) = (at(&of_a), at(&of_b));
            let pair = Pair {
                a,
                b,
                difference: b - a,
                ratio: (a != 0.0).then(|| b / a),
            };
            (name, pair)
        });
        Self(pairs.filter(|(_, pair)| pair.a != 0.0 || pair.b != 0.0).collect())
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{:<44} {:>16} {:>16} {:>16} {:>9}\n", "", "A", "B", "B - A", "B / A");
        for (name, pair) in &self.0 {
            let [a, b, difference, ratio] = pair.cells();
            writeln!(text, "{name:<44} {a:>16} {b:>16} {difference:>16} {ratio:>9}").expect("a String grows as needed");
        }
        text
    }

    /// The same as a page.
    #[must_use]
    pub fn to_html(&self, names: [&str; 2]) -> String {
        let rows: Vec<Vec<String>> = self
            .0
            .iter()
            .map(|(name, pair)| [name.clone()].into_iter().chain(pair.cells()).collect())
            .collect();
        let title = format!("{} and {}", names[0], names[1]);
        let header = ["figure", names[0], names[1], "difference", "ratio"];
        wrapped(&title, &table(&title, &header, &rows))
    }
}

impl Pair {
    fn cells(&self) -> [String; 4] {
        let ratio = self.ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"));
        [figure(self.a), figure(self.b), figure(self.difference), ratio]
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
            for (name, part) in parts {
                if path.is_empty() && LEFT_OUT.contains(&&name[..]) {
                    continue;
                }
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                gather(&path, part, figures);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert!(compared.to_text().contains("1.500"));
        assert!(compared.to_html(["a.json", "b.json"]).contains("<td>shakes.sent</td>"));
    }
}
