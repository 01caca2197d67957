//! TOML documents with every error reported at once, each with its line.
//!
//! serde stops at the first error. To find the rest, [`parse`] blanks the line that an error names and reads
//! the document again, until it reads or an error names no line. The caller's own checks add to the same list.
//! For this every field of a document type needs a default (`#[serde(default, deny_unknown_fields)]`), so that
//! a blanked line never causes an error of its own.

use serde::de::DeserializeOwned;
use std::fmt;
use std::ops::Range;

/// One thing wrong with a document: where, what, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, counted from 1. Zero when the problem belongs to the document as a whole.
    pub line: usize,
    /// What is wrong, with the offending value and the fix.
    pub message: String,
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

/// All that is wrong with one document, in line order; never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a problem at the line on which `span` (a byte range in `text`) starts.
    pub fn add(&mut self, text: &str, span: Range<usize>, message: impl Into<String>) {
        self.0.push(Problem {
            line: line_of(text, span.start),
            message: message.into(),
        });
    }

    /// Adds a problem of the document as a whole.
    pub fn add_whole(&mut self, message: impl Into<String>) {
        self.0.push(Problem {
            line: 0,
            message: message.into(),
        });
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
    // Each round blanks at least one line that was not blank, so this ends.
    for _ in 0..=text.lines().count() {
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
    fn what_is_right_is_kept() {
        let (doc, problems) = parse::<Doc>("shards = 2\nbad = 1\n[inner]\nratio = 0.5\n");
        assert_eq!((doc.shards, doc.inner.ratio, doc.name.as_str()), (2, 0.5, ""));
        assert_eq!(problems.0.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(text in "[\\[\\]=a-z0-9é\"\n .]{0,200}") {
            let _ = parse::<Doc>(&text);
        }
    }
}
