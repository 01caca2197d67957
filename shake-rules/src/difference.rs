//! What differs between two TOML texts, key by key: what an operator reads before a push takes effect.
//!
//! Comments, order and layout make no difference. Elements of an array of tables are named by their `name` or `id`, so
//! that an inserted phase is one phase more and not a change of all that follow. Those that have neither, such as grades,
//! have the number of their place, from 0 on.

use crate::document::cut;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// The most lines that are told, and the longest of them in bytes: all of them go to the operator in one reply.
const LINES_MAX: usize = 1_000;
const LINE_BYTES_MAX: usize = 500;

/// The lines of the difference: `- key = old` and `+ key = new`; empty when nothing differs. A text that is no TOML
/// counts as empty. Of a long difference only the beginning is told, and how much there is.
#[must_use]
pub fn of(before: &str, after: &str) -> Vec<String> {
    let flat = |text: &str| {
        let mut flat = BTreeMap::new();
        flatten("", &Value::Table(text.parse::<Table>().unwrap_or_default()), &mut flat);
        flat
    };
    let (before, after) = (flat(before), flat(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for key in keys {
        let (old, new) = (before.get(key), after.get(key));
        if old != new {
            lines.extend(old.map(|old| cut(format!("- {key} = {old}"), LINE_BYTES_MAX)));
            lines.extend(new.map(|new| cut(format!("+ {key} = {new}"), LINE_BYTES_MAX)));
        }
    }
    if let Some(more @ 1..) = lines.len().checked_sub(LINES_MAX) {
        lines.truncate(LINES_MAX);
        lines.push(format!("({more} more lines)"));
    }
    lines
}

fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let join = |name: &str| {
        if key.is_empty() {
            name.to_owned()
        } else {
            format!("{key}.{name}")
        }
    };
    match value {
        Value::Table(table) => table.iter().for_each(|(name, value)| flatten(&join(name), value, into)),
        Value::Array(array) if array.iter().any(Value::is_table) => {
            let mut seen = BTreeMap::<String, usize>::new();
            for (place, element) in array.iter().enumerate() {
                let name = element.get("name").or_else(|| element.get("id"));
                let name = name.map_or_else(|| place.to_string(), ToString::to_string);
                let nth = seen.entry(name.clone()).or_default();
                *nth += 1;
                let element_key = if *nth == 1 {
                    format!("{key}[{name}]")
                } else {
                    format!("{key}[{name} #{nth}]")
                };
                flatten(&element_key, element, into);
            }
        }
        leaf => {
            into.insert(key.to_owned(), leaf.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_difference_is_told_in_part() {
        let text: String = (0..3_000)
            .map(|n| format!("key_{n} = {:?}\n", "x".repeat(400 + n)))
            .collect();
        let lines = of("", &text);
        assert_eq!(
            (lines.len(), lines[LINES_MAX].as_str()),
            (LINES_MAX + 1, "(2000 more lines)")
        );
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
    }

    #[test]
    fn keys_that_differ_and_no_others() {
        let before =
            "# a\nx = 1\n[[phases]]\nname = \"a\"\npace_ms = 5\n[[phases]]\nname = \"b\"\nweights = { nothing = 1 }\n";
        let after = "x = 1 # same\n[[phases]]\nname = \"new\"\npace_ms = 1\n[[phases]]\nname = \"b\"\n\
                     weights = { nothing = 2 }\n[[phases]]\nname = \"a\"\npace_ms = 5\n";
        assert_eq!(
            of(before, after),
            [
                "- phases[\"b\"].weights.nothing = 1",
                "+ phases[\"b\"].weights.nothing = 2",
                "+ phases[\"new\"].name = \"new\"",
                "+ phases[\"new\"].pace_ms = 1",
            ]
        );
        assert_eq!(of(before, before), [] as [&str; 0]);
        let unnamed = "[[p]]\nk = 1\n[[p]]\nk = 2\n";
        assert_eq!(
            of(unnamed, &unnamed.replace('2', "3")),
            ["- p[1].k = 2", "+ p[1].k = 3"]
        );
    }
}
