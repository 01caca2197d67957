//! What a bench measured: tables of figures, and what must hold of them. It is printed, and published on request: as a
//! file of `bench-results/`, of which `docs/benchmarks.md` is made.

pub mod page;
mod published;
mod table;

pub use table::Table;

use anyhow::bail;
use host::console;
use published::Published;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// A bench, as its page presents it.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name as a command, and that of its file.
    pub name: &'static str,
    /// The heading.
    pub title: &'static str,
    /// One paragraph: what is measured, and how its words are meant.
    pub about: &'static str,
}

/// The figures of a run, and what must hold of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The figures.
    pub tables: Vec<Table>,
    /// What must hold; empty for a bench that judges nothing.
    pub lines: Vec<Line>,
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Of what.
    pub what: String,
    /// What was measured.
    pub figure: String,
    /// What it must be.
    pub bound: String,
    /// Whether it is.
    pub holds: bool,
}

impl Line {
    /// A line that holds when there are no failures, and else names them.
    pub fn without(what: impl Into<String>, failures: &[String]) -> Self {
        Self {
            what: what.into(),
            figure: if failures.is_empty() {
                "none".to_owned()
            } else {
                failures.join("; ")
            },
            bound: "no failure".to_owned(),
            holds: failures.is_empty(),
        }
    }
}

impl Report {
    /// How many lines hold, in words; nothing where nothing is judged.
    pub fn verdict(&self) -> Option<String> {
        let all = self.lines.len();
        match self.broken() {
            _ if all == 0 => None,
            0 => Some(format!("all {all} lines hold")),
            broken => Some(format!("{} of {all} lines hold", all - broken)),
        }
    }

    fn broken(&self) -> usize {
        self.lines.iter().filter(|line| !line.holds).count()
    }

    /// Prints it, and publishes it if that is wanted.
    ///
    /// # Errors
    /// When a line does not hold, or the file cannot be written.
    pub fn conclude(self, bench: &Bench, publish: bool) -> anyhow::Result<()> {
        console::print(&format!("\n{self}"))?;
        let (broken, all) = (self.broken(), self.lines.len());
        if publish {
            let path = Published::here(bench, self)?.write()?;
            console::tell(&format!("published: {}", path.display()));
        }
        if broken > 0 {
            bail!("{broken} of {all} lines do not hold");
        }
        Ok(())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Table::new("", ["what must hold", "measured", "wanted", "holds"]);
        for line in &self.lines {
            let holds = if line.holds { "yes" } else { "**no**" };
            lines.row([&line.what, &line.figure, &line.bound, holds].map(|cell| (*cell).to_owned()));
        }
        let lines = (!self.lines.is_empty()).then_some(&lines);
        for (at, table) in self.tables.iter().chain(lines).enumerate() {
            write!(f, "{}{table}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(holds: bool) -> Line {
        Line {
            what: "p99".to_owned(),
            figure: "251 ms".to_owned(),
            bound: "250 ms at most".to_owned(),
            holds,
        }
    }

    #[test]
    fn a_line_that_does_not_hold_is_shown_and_counted() {
        let mut figures = Table::new("", ["step"]);
        figures.row(["1x".to_owned()]);
        let mut report = Report {
            tables: vec![figures],
            lines: vec![line(true), line(false), Line::without("money", &["lost".to_owned()])],
        };
        assert_eq!(report.verdict().as_deref(), Some("1 of 3 lines hold"));
        let text = report.to_string();
        assert!(
            text.starts_with("| step |\n|-----:|\n|   1x |\n\n| what must hold |"),
            "{text}"
        );
        assert_eq!(text.matches("**no**").count(), 2, "{text}");
        assert!(text.contains("| lost "), "{text}");
        report.lines.truncate(1);
        assert_eq!(report.verdict().as_deref(), Some("all 1 lines hold"));
        report.lines.clear();
        assert_eq!(report.verdict(), None);
    }
}
