//! Aligned tables for people.

use std::fmt;

/// The names of the columns, then the rows. The first column is text, the others are figures.
pub(crate) type Table = Vec<Vec<String>>;

/// Writes the rows, a line each: text at the left, figures at the right.
pub(crate) fn write(out: &mut impl fmt::Write, table: &Table) -> fmt::Result {
    let columns = table.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|at| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    for row in table {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at == 0 {
                write!(out, "  {cell:<width$}")?;
            } else {
                write!(out, "  {cell:>width$}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
