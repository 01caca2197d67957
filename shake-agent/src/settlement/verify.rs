//! Compares a settlement file with the outbox of its ledger, line by line, and proves that at any line each user's lines sum to
//! the balance, up to the one in the account. Writes nothing; the agent may be running.

use super::file::{Lines, whole_bytes};
use super::outbox::Outbox;
use super::{Identity, Line, SettlementError};
use crate::differences::Differences;
use crate::ledger::LineKind;
use serde::Serialize;
use shake_rules::UserId;
use shake_rules::money::{grouped, signed};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::path::Path;

/// Lines between two words of progress.
const PROGRESS_EVERY: u64 = 65_536;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every line of the file is one of the ledger, in order, and the lines of each user make the balance. Lines
    /// that still wait are no difference.
    pub agrees: bool,
    /// Which ledger it is.
    pub ledger: Identity,
    /// Lines in the outbox.
    pub lines: Sums,
    /// Those of them that are in the file.
    pub settled: Sums,
    /// Those that wait.
    pub backlog: Sums,
    /// Bytes of a last line that was not written to its end; cut at the next start, or being written.
    pub torn_bytes: u64,
    /// Whether the closing line is there: then nothing follows, and every user's last balance is owed.
    pub closed: bool,
    /// What is not as it ought to be.
    pub differences: Differences,
}

/// A number of lines and their sum, whole and by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// How many.
    pub count: u64,
    /// Their sum: what came in less what went out.
    pub cents: i64,
    /// Those of each kind that occurs.
    pub kinds: BTreeMap<&'static str, KindSum>,
}

/// The lines of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindSum {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub cents: i64,
}

impl Sums {
    pub(super) fn add(&mut self, line: &Line) {
        self.add_of(line.kind, line.cents);
    }

    /// Adds a line of a kind.
    pub(super) fn add_of(&mut self, kind: LineKind, cents: i64) {
        self.count += 1;
        self.cents = self.cents.saturating_add(cents);
        let of_kind = self.kinds.entry(kind.name()).or_default();
        of_kind.count += 1;
        of_kind.cents = of_kind.cents.saturating_add(cents);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.ledger)?;
        let columns = [
            ("lines", &self.lines),
            ("settled", &self.settled),
            ("backlog", &self.backlog),
        ];
        write!(f, "  {:<8}", "")?;
        for (name, _) in columns {
            write!(f, "  {name:>12}  {:>16}", "money")?;
        }
        writeln!(f)?;
        for kind in LineKind::ALL {
            write!(f, "  {:<8}", kind.name())?;
            for (_, sums) in columns {
                let sum = sums.kinds.get(kind.name()).copied().unwrap_or_default();
                write!(f, "  {:>12}  {:>16}", grouped(sum.count), signed(sum.cents))?;
            }
            writeln!(f)?;
        }
        write!(f, "  {:<8}", "total")?;
        for (_, sums) in columns {
            write!(f, "  {:>12}  {:>16}", grouped(sums.count), signed(sums.cents))?;
        }
        writeln!(f)?;
        if self.torn_bytes > 0 {
            writeln!(
                f,
                "  {} bytes of a line that is not written to its end",
                self.torn_bytes
            )?;
        }
        if self.closed {
            f.write_str("  closed: every user's last balance is owed, once\n")?;
        }
        self.differences.fmt(f)?;
        match (self.agrees, self.ledger.ledger) {
            (true, Some(_)) => f.write_str(
                "agrees: every line of the file is one of the ledger, in order, and each user's lines sum to the balance",
            ),
            (true, None) => f.write_str("agrees: every line of the file is a credit of the ledger, in order"),
            (false, _) => write!(f, "does NOT agree: {} differences", self.differences.count),
        }
    }
}

/// Verifies a settlement file against its ledger. `progress` is told from time to time how many lines are compared.
///
/// # Errors
/// When one of the two cannot be read, or the file has no header in order; a difference is no error but part of the report.
pub fn verify(file: &Path, ledger: &Path, mut progress: impl FnMut(u64)) -> Result<Report, SettlementError> {
    let io = |action| SettlementError::io(action, file);
    let opened = File::open(file).map_err(SettlementError::unopened(file))?;
    // The file first, the ledger's snapshot after it: what was settled in between counts as waiting.
    let bytes = opened.metadata().map_err(io("read"))?.len();
    let whole = whole_bytes(&opened).map_err(io("read"))?.min(bytes);
    let mut lines = Lines::read(file, &opened, whole)?;
    let outbox = Outbox::open(ledger)?;
    let identity = outbox.identity()?;
    let mut report = Report {
        agrees: false,
        ledger: identity,
        lines: Sums::default(),
        settled: Sums::default(),
        backlog: Sums::default(),
        torn_bytes: bytes - whole,
        closed: false,
        differences: Differences::default(),
    };
    report
        .differences
        .compare("ledger", "the header", identity, lines.identity());
    let mut balances = Balances::default();
    let mut more = true;
    outbox.snapshot(|outbox| {
        outbox.for_each(|line| {
            report.lines.add(&line);
            if report.lines.count.is_multiple_of(PROGRESS_EVERY) {
                progress(report.lines.count);
            }
            report.differences.compare(
                "outbox_gap",
                "the outbox",
                format_args!("line {}", report.lines.count).to_string(),
                format_args!("line {}", line.seq).to_string(),
            );
            if line.kind == LineKind::Close {
                balances.close_books(&line, &mut report.differences);
            } else if identity.ledger.is_some() {
                balances.follow(&line, &mut report.differences);
            }
            let settled = if more {
                next(&mut lines, &mut report.differences)
            } else {
                None
            };
            more = settled.is_some();
            match settled {
                None => report.backlog.add(&line),
                Some(settled) => {
                    report.settled.add(&settled);
                    if settled != line {
                        let subject = format!("line {}", line.seq);
                        report
                            .differences
                            .add("line_differs", subject, Shown(&line), Shown(&settled));
                    }
                }
            }
        })?;
        if identity.ledger.is_some() {
            outbox.for_each_account(|user, balance, count| {
                balances.close(user, balance, count, &mut report.differences);
            })?;
        }
        Ok(())
    })?;
    report.closed = balances.is_closed;
    balances.without_account(&mut report.differences);
    while more && let Some(line) = next(&mut lines, &mut report.differences) {
        report.settled.add(&line);
        let subject = format!("line {}", line.seq);
        report
            .differences
            .add("line_extra", subject, "none in the ledger", Shown(&line));
    }
    report.agrees = report.differences.is_empty();
    Ok(report)
}

/// The next line; `None` at the end, or from a damaged one on.
pub(super) fn next(lines: &mut Lines<'_>, differences: &mut Differences) -> Option<Line> {
    match lines.next() {
        Ok(line) => line,
        Err(error) => {
            differences.add("line", "the file", "whole lines in order", error);
            None
        }
    }
}

/// How far the lines of each user are: how many, and the balance after the last of them. About 32 bytes a user.
#[derive(Debug, Default)]
struct Balances {
    users: HashMap<UserId, (u64, i64)>,
    is_closed: bool,
}

impl Balances {
    /// The next line of its user: its number has no gap, and its balance is the last one and its cents.
    fn follow(&mut self, line: &Line, differences: &mut Differences) {
        self.refuse_after_closing(line, differences);
        let (number, balance) = self.users.entry(line.user).or_default();
        let expected = (*number + 1, i128::from(*balance) + i128::from(line.cents));
        let found = (line.number, i128::from(line.balance.0));
        if expected != found || expected.1 < 0 {
            let said = |(number, balance)| format!("number {number} of user {}, balance {balance}", line.user);
            let subject = format!("line {}", line.seq);
            differences.add("line_chain", subject, said(expected), said(found));
        }
        (*number, *balance) = (line.number, line.balance.0.cast_signed());
    }

    /// The closing line: it says how many users are owed something, and how much in all.
    fn close_books(&mut self, line: &Line, differences: &mut Differences) {
        self.refuse_after_closing(line, differences);
        self.is_closed = true;
        let owed = self.users.values().filter(|(_, balance)| *balance > 0);
        let sum: i128 = owed.clone().map(|(_, balance)| i128::from(*balance)).sum();
        let said = |count, cents| format!("{count} users are owed {cents} cents");
        differences.compare(
            "closing_line",
            "the closing line",
            said(owed.count() as u64, sum),
            said(line.number, line.balance.0.into()),
        );
    }

    fn refuse_after_closing(&self, line: &Line, differences: &mut Differences) {
        if self.is_closed {
            let subject = format!("line {}", line.seq);
            differences.add(
                "line_after_closing",
                subject,
                "none after the closing line",
                Shown(line),
            );
        }
    }

    /// The user's account has what the last line says.
    fn close(&mut self, user: UserId, balance: i64, count: u64, differences: &mut Differences) {
        let expected = self.users.remove(&user).unwrap_or_default();
        if expected != (count, balance) {
            let said = |(count, balance)| format!("{count} lines, balance {balance}");
            let subject = format!("the account of user {user}");
            differences.add("line_balance", subject, said(expected), said((count, balance)));
        }
    }

    /// Whoever has lines has an account.
    fn without_account(self, differences: &mut Differences) {
        for (user, (_, balance)) in self.users {
            let subject = format!("the account of user {user}");
            differences.add("line_balance", subject, format!("balance {balance}"), "none");
        }
    }
}

/// A line in words.
pub(super) struct Shown<'a>(pub(super) &'a Line);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line {
            user,
            number,
            cents,
            balance,
            kind,
            packet,
            at,
            ..
        } = self.0;
        if *kind == LineKind::Close {
            return write!(
                f,
                "the closing line, at {at} ms: {number} users are owed {balance} cents"
            );
        }
        write!(
            f,
            "{cents:+} cents of user {user}, {} of packet {packet}, at {at} ms, number {number}, balance {balance}",
            kind.name()
        )
    }
}
