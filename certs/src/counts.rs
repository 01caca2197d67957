//! What hangs on keys that are to go, as the gateways say: the lines of `gateway status --json`, in a file. Keys are retired
//! where no gateway is, and only gateways know.

use serde::Deserialize;
use shake_rules::keys::Purpose;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// The command whose output is read; of all gateways.
pub const COMMAND: &str = "gateway status --json --target GW1 --target GW2 ... > counts.json";

/// Why the counts cannot be used.
#[derive(Debug, Error)]
pub enum CountsError {
    /// The file cannot be read.
    #[error("{}: cannot read what hangs on the keys: {source}; make it by `{COMMAND}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is none of `gateway status --json`, or there is none.
    #[error("{}:{line}: {why}; make it by `{COMMAND}`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// What one gateway says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The gateway.
    pub target: String,
    /// The purpose of the key, by its name in key files.
    pub purpose: String,
    /// The key.
    pub id: u8,
    /// Something hangs on it.
    pub hangs: bool,
    /// How much, in words.
    pub says: String,
}

/// A line of `gateway status --json`. Whatever else stands in it is for others.
#[derive(Deserialize)]
struct Line {
    target: String,
    result: String,
    /// Absent from gateways that do not tell it yet.
    keys: Option<Vec<Key>>,
}

#[derive(Deserialize)]
struct Key {
    purpose: String,
    id: u8,
    hangs: bool,
    says: String,
}

/// Reads what all gateways said of all keys.
///
/// # Errors
/// When the file cannot be read, or a gateway in it did not answer or told nothing: then nobody knows.
pub fn read(path: &Path) -> Result<Vec<Told>, CountsError> {
    let text = fs::read_to_string(path).map_err(|source| CountsError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|(line, why)| CountsError::Line {
        path: path.to_owned(),
        line,
        why,
    })
}

fn parse(text: &str) -> Result<Vec<Told>, (usize, String)> {
    let mut told = Vec::new();
    let lines: Vec<_> = (1..)
        .zip(text.lines())
        .filter(|(_, text)| !text.trim().is_empty())
        .collect();
    if lines.is_empty() {
        return Err((1, "no gateway is in it".to_owned()));
    }
    for (number, text) in lines {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| (number, format!("no line of `gateway status --json`: {error}")))?;
        let Line { target, result, keys } = line;
        if result != "status" {
            return Err((number, format!("{target} did not answer")));
        }
        let keys = keys.ok_or_else(|| {
            (
                number,
                format!("{target} tells nothing of its keys, because it is of an older version"),
            )
        })?;
        told.extend(keys.into_iter().map(
            |Key {
                 purpose,
                 id,
                 hangs,
                 says,
             }| Told {
                target: target.clone(),
                purpose,
                id,
                hangs,
                says,
            },
        ));
    }
    Ok(told)
}

/// What the gateways say of keys that are to go, a line each; and whether it is too early for any of them.
#[must_use]
pub fn judge(going: &[(Purpose, u8)], told: &[Told]) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    let mut is_early = false;
    for (purpose, id) in going {
        for one in told.iter().filter(|one| one.purpose == purpose.name() && one.id == *id) {
            is_early |= one.hangs;
            let early = if one.hangs { ", TOO EARLY" } else { "" };
            lines.push(format!(
                "{} key {id} goes{early}: {}: {}",
                purpose.name(),
                one.target,
                one.says
            ));
        }
    }
    (lines, is_early)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_too_early_while_something_hangs_on_a_key_that_goes_at_any_gateway() {
        let told = |target: &str, purpose: Purpose, id, hangs| Told {
            target: target.into(),
            purpose: purpose.name().into(),
            id,
            hangs,
            says: "so much".into(),
        };
        let told = [
            told("gw1", Purpose::Ticket, 1, false),
            told("gw2", Purpose::Ticket, 1, true),
            told("gw1", Purpose::Ticket, 2, true),
            told("gw1", Purpose::Cookie, 1, true),
        ];
        assert_eq!(
            judge(&[(Purpose::Ticket, 1)], &told),
            (
                vec![
                    "ticket key 1 goes: gw1: so much".into(),
                    "ticket key 1 goes, TOO EARLY: gw2: so much".into()
                ],
                true
            )
        );
        assert!(!judge(&[(Purpose::Ticket, 1)], &told[..1]).1);
        assert_eq!(judge(&[(Purpose::UserToken, 1)], &told), (vec![], false));
    }

    #[test]
    fn what_each_gateway_says_is_read_and_silence_is_not_nothing() {
        let good = r#"{"target":"gw1","result":"status","version":7,"keys":[{"purpose":"ticket","id":1,"count":2,"hangs":true,"says":"2 tickets"}]}"#;
        let told = parse(&format!("{good}\n\n{}\n", good.replace("gw1", "gw2"))).expect("good lines");
        assert_eq!(told.len(), 2);
        let expected = Told {
            target: "gw2".into(),
            purpose: "ticket".into(),
            id: 1,
            hangs: true,
            says: "2 tickets".into(),
        };
        assert_eq!(told[1], expected);
        for (text, line, words) in [
            (String::new(), 1, "no gateway is in it"),
            (format!("{good}\nhello\n"), 2, "no line of `gateway status --json`"),
            (
                format!("{good}\n{}\n", r#"{"target":"gw2","result":"failed","message":"x"}"#),
                2,
                "gw2 did not answer",
            ),
            (r#"{"target":"gw1","result":"status"}"#.into(), 1, "an older version"),
        ] {
            let (at, why) = parse(&text).expect_err("no good file");
            assert_eq!(at, line, "{why}");
            assert!(why.contains(words), "{why}");
        }
    }
}
