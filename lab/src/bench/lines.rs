//! What must hold of a bench's figures: a line for each, below its table, and an error when one does not.

use anyhow::bail;
use host::console;
use std::fmt::{self, Display};

/// Something that must hold.
#[derive(Debug)]
pub struct Line {
    pub what: String,
    pub holds: bool,
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.holds { "holds" } else { "DOES NOT HOLD" };
        write!(f, "{sign:<14} {}", self.what)
    }
}

/// Prints the table with the lines below it.
///
/// # Errors
/// When one of them does not hold.
pub fn print(mut table: String, lines: &[Line]) -> anyhow::Result<()> {
    lines.iter().for_each(|line| table += &format!("{line}\n"));
    console::print(&table)?;
    let broken = lines.iter().filter(|line| !line.holds).count();
    if broken > 0 {
        bail!("{broken} of {} lines do not hold", lines.len());
    }
    Ok(())
}
