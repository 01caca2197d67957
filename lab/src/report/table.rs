//! Figures in rows, as Markdown whose columns stand below each other: the same text for a terminal and for a page.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// Figures in rows. Every cell is text; units stand in the head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Of what; empty where that is plain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<T: Into<String>>(title: impl Into<String>, head: impl IntoIterator<Item = T>) -> Self {
        Self {
            title: title.into(),
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When it has not a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.head.len(), "a cell for each column: {cells:?}");
        self.rows.push(cells);
    }

    /// Whether each row has a cell for each column, as one that was read from a file may not.
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.len() == self.head.len())
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.title.is_empty() {
            writeln!(f, "{}\n", self.title)?;
        }
        let shown = |cell: &String| cell.replace('|', "\\|");
        let columns: Vec<_> = (0..self.head.len())
            .map(|at| {
                let mut cells = self.rows.iter().map(|row| shown(&row[at]));
                let widest = cells.clone().chain([shown(&self.head[at])]);
                let width = widest.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3);
                (width, cells.all(|cell| is_figure(&cell)))
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (cell, &(width, is_figures)) in cells.iter().map(shown).zip(&columns) {
                if is_figures {
                    write!(f, "| {cell:>width$} ")?;
                } else {
                    write!(f, "| {cell:<width$} ")?;
                }
            }
            writeln!(f, "|")
        };
        line(f, &self.head)?;
        for &(width, is_figures) in &columns {
            let end = if is_figures { ':' } else { '-' };
            write!(f, "|{}{end}", "-".repeat(width + 1))?;
        }
        writeln!(f, "|")?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// Whether a cell is a figure, or that there is none; columns of figures stand to the right.
fn is_figure(cell: &str) -> bool {
    let digits = cell.trim_start_matches(['+', '-']);
    digits.is_empty() || digits.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new("All", ["load", "sent/s", "says"]);
        table.row(["1x", "9", "a|b"].map(str::to_owned));
        table.row(["0.5x", "12,000", "-"].map(str::to_owned));
        let expected = "All\n\n\
                        | load | sent/s | says |\n\
                        |-----:|-------:|------|\n\
                        |   1x |      9 | a\\|b |\n\
                        | 0.5x | 12,000 | -    |\n";
        assert_eq!(table.to_string(), expected);
        assert!(table.is_whole());
    }

    #[test]
    #[should_panic(expected = "a cell for each column")]
    fn a_row_without_a_cell_is_a_fault() {
        Table::new("", ["one", "two"]).row(["1".to_owned()]);
    }
}
