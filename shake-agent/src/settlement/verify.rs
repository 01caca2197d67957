//! Compares a settlement file with the outbox of its ledger, credit by credit. Writes nothing; the agent may be running.

use super::file::{Lines, whole_bytes};
use super::outbox::Outbox;
use super::{Credit, Identity, SettlementError};
use crate::differences::Differences;
use crate::ledger::CreditKind;
use crate::seed_file::Tally;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;

/// Credits between two words of progress.
const PROGRESS_EVERY: u64 = 65_536;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every line is a credit of the ledger, in order. Credits that still wait are no difference.
    pub agrees: bool,
    /// Which ledger it is.
    pub ledger: Identity,
    /// Credits in the outbox.
    pub credits: Credits,
    /// Those of them that are in the file.
    pub settled: Credits,
    /// Those that wait.
    pub backlog: Credits,
    /// Bytes of a last line that was not written to its end; cut at the next start, or being written.
    pub torn_bytes: u64,
    /// What is not as it ought to be.
    pub differences: Differences,
}

/// A number of credits and their sum, whole and by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credits {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub cents: u64,
    /// Count (as `packets`) and sum for each kind that occurs.
    pub kinds: BTreeMap<&'static str, Tally>,
}

impl Credits {
    fn add(&mut self, credit: &Credit) {
        self.count += 1;
        self.cents = self.cents.saturating_add(credit.amount.0);
        self.kinds.entry(credit.kind.name()).or_default().add(credit.amount.0);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ledger of {}\n", self.ledger)?;
        let columns = [
            ("credits", &self.credits),
            ("settled", &self.settled),
            ("backlog", &self.backlog),
        ];
        write!(f, "  {:<8}", "")?;
        for (name, _) in columns {
            write!(f, "  {name:>12}  {:>16}", "cents")?;
        }
        writeln!(f)?;
        for kind in CreditKind::ALL {
            write!(f, "  {:<8}", kind.name())?;
            for (_, credits) in columns {
                let tally = credits.kinds.get(kind.name()).copied().unwrap_or_default();
                write!(f, "  {:>12}  {:>16}", tally.packets, tally.cents)?;
            }
            writeln!(f)?;
        }
        write!(f, "  {:<8}", "total")?;
        for (_, credits) in columns {
            write!(f, "  {:>12}  {:>16}", credits.count, credits.cents)?;
        }
        writeln!(f)?;
        if self.torn_bytes > 0 {
            writeln!(
                f,
                "  {} bytes of a line that is not written to its end",
                self.torn_bytes
            )?;
        }
        self.differences.fmt(f)?;
        if self.agrees {
            f.write_str("agrees: every line of the file is a credit of the ledger, in order")
        } else {
            write!(f, "does NOT agree: {} differences", self.differences.count)
        }
    }
}

/// Verifies a settlement file against its ledger. `progress` is told from time to time how many credits are compared.
///
/// # Errors
/// When one of the two cannot be read, or the file has no header in order; a difference is no error but part of the report.
pub fn verify(file: &Path, ledger: &Path, mut progress: impl FnMut(u64)) -> Result<Report, SettlementError> {
    let io = |action| SettlementError::io(action, file);
    let opened = File::open(file).map_err(io("open"))?;
    // The file first, the ledger's snapshot after it: what was settled in between counts as waiting.
    let bytes = opened.metadata().map_err(io("read"))?.len();
    let whole = whole_bytes(&opened).map_err(io("read"))?.min(bytes);
    let mut lines = Lines::read(file, &opened, whole)?;
    let outbox = Outbox::open(ledger)?;
    let identity = outbox.identity()?;
    let mut report = Report {
        agrees: false,
        ledger: identity,
        credits: Credits::default(),
        settled: Credits::default(),
        backlog: Credits::default(),
        torn_bytes: bytes - whole,
        differences: Differences::default(),
    };
    report
        .differences
        .compare("ledger", "the header", identity, lines.identity());
    let mut more = true;
    outbox.for_each(|credit| {
        report.credits.add(&credit);
        if report.credits.count.is_multiple_of(PROGRESS_EVERY) {
            progress(report.credits.count);
        }
        report.differences.compare(
            "outbox_gap",
            "the outbox",
            format_args!("credit {}", report.credits.count).to_string(),
            format_args!("credit {}", credit.seq).to_string(),
        );
        let line = if more {
            next(&mut lines, &mut report.differences)
        } else {
            None
        };
        more = line.is_some();
        match line {
            None => report.backlog.add(&credit),
            Some(line) => {
                report.settled.add(&line);
                if line != credit {
                    let subject = format!("credit {}", credit.seq);
                    report.differences.add("credit", subject, Shown(&credit), Shown(&line));
                }
            }
        }
    })?;
    while more && let Some(line) = next(&mut lines, &mut report.differences) {
        report.settled.add(&line);
        let subject = format!("credit {}", line.seq);
        report
            .differences
            .add("credit_extra", subject, "none in the ledger", Shown(&line));
    }
    report.agrees = report.differences.is_empty();
    Ok(report)
}

/// The next line; `None` at the end, or from a damaged one on.
fn next(lines: &mut Lines<'_>, differences: &mut Differences) -> Option<Credit> {
    match lines.next() {
        Ok(credit) => credit,
        Err(error) => {
            differences.add("line", "the file", "whole lines in order", error);
            None
        }
    }
}

/// A credit in words.
struct Shown<'a>(&'a Credit);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credit {
            user,
            amount,
            kind,
            packet,
            at,
            ..
        } = self.0;
        write!(
            f,
            "{amount} cents to user {user}, {} of packet {packet} at {at} ms",
            kind.name()
        )
    }
}
