//! TOML documents with every error reported at once, each with its line.
//!
//! serde stops at the first error. To find the rest, [`parse`] blanks the line that an error names and reads
//! the document again, until it reads or an error names no line. The caller's own checks add to the same list.
//! For this every field of a document type needs a default (`#[serde(default, deny_unknown_fields)]`), so that
//! a blanked line never causes an error of its own.
//!
//! Whoever may push a file may push a wrong one, so its errors are bounded: [`PROBLEMS_MAX`] of them, each of
//! [`MESSAGE_BYTES_MAX`]. A text is read once for each, so the work grows with its length and no faster.

mod kind;

pub use kind::Kind;

use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// The most problems that are told of one document. Who has more mends these first.
pub const PROBLEMS_MAX: usize = 100;
/// The longest message of a problem, in bytes. A longer one, which quotes a long value, is cut.
pub const MESSAGE_BYTES_MAX: usize = 500;
/// Stands in place of the last when there are more.
const MORE: &str = "there are more problems than can be told; mend these, then look again";
const CUT: &str = "…";

/// One thing wrong with a document: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, counted from 1. Zero when the problem belongs to the document as a whole.
    pub line: usize,
    /// What is wrong, with the offending value and the fix.
    pub message: String,
}

impl Problem {
    /// As compilers print them: file, line, message.
    #[must_use]
    pub fn located(&self, file: &str) -> String {
        match self.line {
            0 => format!("{file}: {}", self.message),
            line => format!("{file}:{line}: {}", self.message),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.message)
        } else {
            write!(f, "line {}: {}", self.line, self.message)
        }
    }
}

/// What is wrong with one document, at most [`PROBLEMS_MAX`], in line order; never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem at the line on which `span` (a byte range in `text`) starts.
    pub fn add(&mut self, text: &str, span: Range<usize>, message: impl Into<String>) {
        // Finding the line is what costs.
        let line = if self.is_full() { 0 } else { line_of(text, span.start) };
        self.add_at(line, message);
    }

    /// Adds a problem of the document as a whole.
    pub fn add_whole(&mut self, message: impl Into<String>) {
        self.add_at(0, message);
    }

    /// Adds a problem at a line, counted from 1; 0 for the document as a whole. Past [`PROBLEMS_MAX`] it only notes that
    /// there are more.
    pub fn add_at(&mut self, line: usize, message: impl Into<String>) {
        let (line, message) = if self.is_full() {
            self.0.truncate(PROBLEMS_MAX - 1);
            (0, MORE.to_owned())
        } else {
            (line, cut(message.into(), MESSAGE_BYTES_MAX))
        };
        self.0.push(Problem { line, message });
    }

    /// The tables of `text` in which they stand, so that the others can be gone by. `None` when a problem is of the document
    /// as a whole, or stands in no table.
    #[must_use]
    pub fn tables<'t>(&self, text: &'t str) -> Option<BTreeSet<&'t str>> {
        let table_of = |problem: &Problem| {
            let lines: Vec<&str> = text.lines().take(problem.line).collect();
            let heading = |line: &&'t str| line.trim_start().strip_prefix('[')?.split(']').next();
            lines.iter().rev().find_map(heading)
        };
        self.0.iter().map(table_of).collect()
    }

    /// Whether there are more than are told.
    fn has_more(&self) -> bool {
        self.0.last().is_some_and(|problem| problem.message == MORE)
    }

    /// Whether there is no room for one more.
    fn is_full(&self) -> bool {
        self.0.len() >= PROBLEMS_MAX
    }

    /// Where the text is a file of another kind than the one that was wanted, only that: of all its keys that are unknown
    /// there, none says it.
    #[must_use]
    pub fn of(self, text: &str, wanted: Kind) -> Self {
        if self.0.is_empty() {
            return self;
        }
        let Some(found) = wanted.taken_for(text) else {
            return self;
        };
        let mut problems = Self::default();
        problems.add_whole(format!(
            "this is {}, and {} is wanted here",
            found.name(),
            wanted.name()
        ));
        problems
    }

    /// `value` when nothing is wrong, else all the problems in line order.
    ///
    /// # Errors
    /// When there is at least one problem.
    pub fn or_value<T>(mut self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        self.0.dedup();
        Err(self)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads a document, and gives what could be read together with every error found on the way.
///
/// The value is the default when nothing could be read.
pub fn parse<T: DeserializeOwned + Default>(text: &str) -> (T, Problems) {
    let mut problems = Problems::default();
    let mut blanked = text.to_owned();
    // Each round reads the whole text, and adds a problem.
    while !problems.has_more() {
        let error = match toml::from_str::<T>(&blanked) {
            Ok(value) => return (value, problems),
            Err(error) => error,
        };
        let message = error.message().trim().to_owned();
        let Some(span) = error.span() else {
            problems.add_whole(message);
            break;
        };
        problems.add(text, span.clone(), message);
        if !blank_lines(&mut blanked, span) {
            break;
        }
    }
    (T::default(), problems)
}

/// The text, as far as it may be long.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(floor_boundary(&text, bytes_max - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// Puts spaces over the lines that `span` touches. Keeps every offset. False when nothing was left to blank.
fn blank_lines(text: &mut String, span: Range<usize>) -> bool {
    let start = text[..floor_boundary(text, span.start)]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let from = floor_boundary(text, span.end.max(span.start));
    let end = text[from..].find('\n').map_or(text.len(), |at| from + at);
    let mut changed = false;
    let blank: String = text[start..end]
        .bytes()
        .map(|byte| match byte {
            b'\n' => '\n',
            b' ' => ' ',
            _ => {
                changed = true;
                ' '
            }
        })
        .collect();
    text.replace_range(start..end, &blank);
    changed
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

/// The line, counted from 1, on which the value of a key stands, by the names of its tables and its own; 0 when the text
/// does not have it.
#[must_use]
pub fn line_of_key(text: &str, path: &[&str]) -> usize {
    let Some((key, tables)) = path.split_last() else {
        return 0;
    };
    let find = || {
        let root = toml::de::DeTable::parse(text).ok()?;
        let mut table = root.get_ref();
        for name in tables {
            table = table.get(*name)?.get_ref().as_table()?;
        }
        Some(line_of(text, table.get(*key)?.span().start))
    };
    find().unwrap_or(0)
}

/// The line, counted from 1, of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Default, Debug)]
    #[serde(default, deny_unknown_fields)]
    struct Doc {
        shards: u32,
        name: String,
        inner: Inner,
    }

    #[derive(Deserialize, Default, Debug)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        ratio: f64,
    }

    #[test]
    fn every_error_with_its_line() {
        let text = "shards = \"two\"\nname = 3\nnmae = \"x\"\n[inner]\nratio = true\nmore = 1\n";
        let (_, problems) = parse::<Doc>(text);
        let lines: Vec<_> = problems.0.iter().map(|p| p.line).collect();
        assert_eq!(
            {
                let mut l = lines.clone();
                l.sort();
                l
            },
            [1, 2, 3, 5, 6],
            "{problems}"
        );
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let text = "a = 1\n[b]\n\nc = { d = 2 }\n";
        for (path, line) in [
            (&["a"][..], 1),
            (&["b", "c"], 4),
            (&["b", "c", "d"], 4),
            (&["b", "e"], 0),
            (&["a", "e"], 0),
            (&[], 0),
        ] {
            assert_eq!(line_of_key(text, path), line, "{path:?}");
        }
        assert_eq!(line_of_key("a = ", &["a"]), 0);
    }

    #[test]
    fn what_is_right_is_kept() {
        let (doc, problems) = parse::<Doc>("shards = 2\nbad = 1\n[inner]\nratio = 0.5\n");
        assert_eq!((doc.shards, doc.inner.ratio, doc.name.as_str()), (2, 0.5, ""));
        assert_eq!(problems.0.len(), 1);
    }

    /// Each of these stopped whoever read it for half a minute and more, and gave an answer longer than any may be.
    #[test]
    fn many_and_long_problems_are_bounded() {
        let lines = |line: &str| line.repeat(12_000);
        for text in [
            lines("x = \n"),
            lines("[[\n"),
            (0..12_000).map(|n| format!("key_{n} = 1\n")).collect(),
            format!("shards = {:?}\n", "x".repeat(600_000)),
            format!("{} = 1\n", "x".repeat(600_000)),
        ] {
            let (_, problems) = parse::<Doc>(&text);
            let problems = problems.or_value(()).expect_err("wrong all over");
            assert!((1..=PROBLEMS_MAX).contains(&problems.0.len()), "{}", problems.0.len());
            assert!(problems.0.iter().all(|p| p.message.len() <= MESSAGE_BYTES_MAX));
            assert_eq!(text.lines().count() > 1, problems.0.iter().any(|p| p.message == MORE));
        }
    }

    #[test]
    fn a_hundred_problems_are_told_and_one_more_is_noted() {
        let mut problems = Problems::default();
        for line in 1..=PROBLEMS_MAX {
            problems.add_at(line, "é".repeat(MESSAGE_BYTES_MAX));
        }
        assert!(problems.0.iter().all(|p| p.message != MORE));
        for _ in 0..3 {
            problems.add("", 0..0, "one more");
            assert_eq!(
                (problems.0.len(), problems.0[PROBLEMS_MAX - 1].message.as_str()),
                (PROBLEMS_MAX, MORE)
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(text in "[\\[\\]=a-z0-9é\"\n .]{0,200}") {
            let _ = parse::<Doc>(&text);
        }
    }
}
