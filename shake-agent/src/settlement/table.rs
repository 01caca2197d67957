//! Proves the outbox of a ledger by itself, where it is what payment reads: of each part the lines have no gap, and of each user they
//! make the balance, up to the one in the account. The copies that `settlement run` wrote of it are compared line by line. Reads one
//! snapshot, and writes nothing.

use super::SettlementError;
use super::compared::Compared;
use super::served::line;
use super::verify::{KindSum, Sums};
use crate::differences::Differences;
use crate::ledger::schema::from_sql;
use crate::ledger::{Cursor, LedgerError, LineKind, PartBooks, Place, Query, Reader, Row};
use serde::Serialize;
use shake_rules::UserId;
use shake_rules::money::{grouped, signed};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Lines between two words of progress.
const PROGRESS_EVERY: u64 = 65_536;

const BY_PART: Query = Query {
    file:
        "SELECT (SELECT part FROM seed), seq, kind, cents, user, packet, at_ms, number, balance_cents, coalesce(bits, 0)
           FROM outbox LEFT JOIN incarnations USING (incarnation) ORDER BY seq",
    server: "SELECT part, seq, kind, cents, usr, packet, at_ms, number, balance_cents, coalesce(bits, 0)
             FROM outbox LEFT JOIN openings USING (part, opening) ORDER BY part, seq",
};

const BY_USER: Query = Query {
    file: "SELECT user, number, cents, balance_cents FROM outbox WHERE kind <> 7 ORDER BY user, number",
    server: "SELECT usr, number, cents, balance_cents FROM outbox WHERE kind <> 7 ORDER BY usr, number",
};

const ACCOUNTS: Query = Query {
    file: "SELECT user, lines, balance_cents FROM users WHERE lines <> 0 OR balance_cents <> 0 ORDER BY user",
    server: "SELECT usr, lines, balance_cents FROM users WHERE lines <> 0 OR balance_cents <> 0 ORDER BY usr",
};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Whether the lines of each part have no gap, and those of each user make the balance.
    pub agrees: bool,
    /// Which ledger it is.
    pub ledger: String,
    /// The event.
    pub event: u32,
    /// Its lines.
    pub lines: Sums,
    /// Those of them that are in the files of `settlement run`, and those that wait; `None` when no files were given.
    pub settled: Option<Sums>,
    /// The lines that wait.
    pub backlog: Option<Sums>,
    /// How many users have lines.
    pub users: u64,
    /// What all users are owed together, in cents: each one's last balance.
    pub owed_cents: u64,
    /// The parts that are closed: no line of theirs follows.
    pub closed_parts: Vec<u16>,
    /// What is not as it ought to be.
    pub differences: Differences,
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ledger {}, event {}\n", self.ledger, self.event)?;
        writeln!(f, "  {:<8}  {:>12}  {:>16}", "", "lines", "money")?;
        let row = |f: &mut fmt::Formatter<'_>, name, sum: KindSum| {
            writeln!(f, "  {name:<8}  {:>12}  {:>16}", grouped(sum.count), signed(sum.cents))
        };
        for kind in LineKind::ALL {
            row(
                f,
                kind.name(),
                self.lines.kinds.get(kind.name()).copied().unwrap_or_default(),
            )?;
        }
        let Sums { count, cents, .. } = self.lines;
        row(f, "total", KindSum { count, cents })?;
        writeln!(f, "  {} users have lines", grouped(self.users))?;
        if let (Some(settled), Some(backlog)) = (&self.settled, &self.backlog) {
            let (settled, backlog) = (grouped(settled.count), grouped(backlog.count));
            writeln!(f, "  {settled} lines are in the files, {backlog} wait")?;
        }
        if !self.closed_parts.is_empty() {
            writeln!(
                f,
                "  {} parts are closed: no line of theirs follows",
                self.closed_parts.len()
            )?;
        }
        self.differences.fmt(f)?;
        if self.agrees {
            f.write_str("agrees: each part's lines have no gap, and each user's sum to the balance")
        } else {
            write!(f, "does NOT agree: {} differences", self.differences.count)
        }
    }
}

/// Verifies the outbox of a ledger, and the files of `settlement run` in a directory against it. `progress` is told from time to time
/// how many lines are read.
///
/// # Errors
/// When one of them cannot be read, or no agent has served the ledger yet; a difference is no error but part of the report.
pub fn verify_table(
    ledger: &Place,
    files: Option<&Path>,
    mut progress: impl FnMut(u64),
) -> Result<TableReport, SettlementError> {
    // The files first, the ledger's snapshot after them: what was settled in between counts as waiting.
    let files = files.map(super::compared::files_of).transpose()?;
    let reader = Reader::open(ledger)?;
    reader.begin()?;
    let books = reader.parts()?;
    let begun = books.iter().find(|books| books.is_begun);
    let bound = &begun
        .ok_or_else(|| LedgerError::NotBegun(reader.place().to_owned()))?
        .bound;
    let mut report = TableReport {
        ledger: bound.identity.map_or_else(String::new, |ledger| ledger.to_string()),
        event: bound.header.event.0,
        ..TableReport::default()
    };
    let mut compared = files.as_ref().map(|files| Compared::of(files, &books));
    let mut parts = Parts::default();
    let mut done = 0_u64;
    reader.each(&BY_PART, |row| {
        done += 1;
        if done.is_multiple_of(PROGRESS_EVERY) {
            progress(done);
        }
        parts.take(&books, row, compared.as_mut(), &mut report)
    })?;
    if let Some(compared) = compared {
        let (settled, backlog) = compared.finish(&mut report.differences)?;
        (report.settled, report.backlog) = (Some(settled), Some(backlog));
    }
    report.closed_parts = parts.closed;
    reader.cursors([&BY_USER, &ACCOUNTS], |[lines, accounts]| {
        follow(lines, accounts, &mut report)
    })?;
    report.agrees = report.differences.is_empty();
    Ok(report)
}

/// How far the lines of each part are.
#[derive(Default)]
struct Parts {
    last: BTreeMap<u16, i64>,
    closed: Vec<u16>,
}

impl Parts {
    fn take(
        &mut self,
        books: &[PartBooks],
        row: &Row,
        compared: Option<&mut Compared<'_>>,
        report: &mut TableReport,
    ) -> Result<(), SettlementError> {
        let (part, seq, cents): (u16, _, _) = (row.small(0)?, row.number(1)?, row.number(3)?);
        let subject = || format!("line {seq} of part {}", u32::from(part) + 1);
        let last = self.last.entry(part).or_default();
        let books = books.iter().find(|books| books.bound.header.part == part);
        let next = books.map_or(*last + 1, |books| books.line_after(*last));
        if seq != next {
            let expected = format!("line {next}");
            report
                .differences
                .add("outbox_gap", subject(), expected, format!("line {seq}"));
        }
        *last = seq;
        if self.closed.contains(&part) {
            report
                .differences
                .add("line_after_closing", subject(), "none after the closing line", "a line");
        }
        let Some(kind) = LineKind::from_column(row.number(2)?) else {
            report
                .differences
                .add("line_kind", subject(), "a known kind", row.number(2)?);
            return Ok(());
        };
        if kind == LineKind::Close {
            self.closed.push(part);
        }
        report.lines.add_of(kind, cents);
        if let Some(compared) = compared {
            compared.line(part, &line(row, kind)?, &mut report.differences)?;
        }
        Ok(())
    }
}

/// A user's lines so far, or an account: user, number of the last line, balance.
type Stand = (i64, i64, i64);

fn stand(row: Option<&Row>) -> Result<Option<Stand>, LedgerError> {
    row.map(|row| Ok((row.number(0)?, row.number(1)?, row.number(2)?)))
        .transpose()
}

/// The lines of each user, beside the accounts.
fn follow(mut lines: Cursor<'_>, mut accounts: Cursor<'_>, report: &mut TableReport) -> Result<(), LedgerError> {
    let mut account = stand(accounts.advance()?)?;
    let mut so_far: Option<Stand> = None;
    loop {
        let line = match lines.advance()? {
            Some(row) => Some((row.number(0)?, row.number(1)?, row.number(2)?, row.number(3)?)),
            None => None,
        };
        let user = line.map(|(user, ..)| user);
        if so_far.is_some_and(|(before, ..)| Some(before) != user) {
            // Accounts before it have no lines.
            while account.is_some_and(|(of, ..)| Some(of) < so_far.map(|(of, ..)| of)) {
                compare(None, account, report);
                account = stand(accounts.advance()?)?;
            }
            let own = account.filter(|(of, ..)| Some(*of) == so_far.map(|(of, ..)| of));
            compare(so_far, own, report);
            if own.is_some() {
                account = stand(accounts.advance()?)?;
            }
            so_far = None;
        }
        let Some((user, number, cents, balance)) = line else {
            break;
        };
        let (_, last, sum) = so_far.unwrap_or((user, 0, 0));
        let expected = (last + 1, i128::from(sum) + i128::from(cents));
        if expected != (number, balance.into()) || balance < 0 {
            let said = |(number, balance): (i64, i128)| format!("number {number}, balance {balance}");
            let (subject, found) = (
                format!("a line of user {}", UserId(from_sql(user))),
                said((number, balance.into())),
            );
            report.differences.add("line_chain", subject, said(expected), found);
        }
        so_far = Some((user, number, balance));
    }
    while account.is_some() {
        compare(None, account, report);
        account = stand(accounts.advance()?)?;
    }
    Ok(())
}

/// A user's last line, against the account.
fn compare(lines: Option<Stand>, account: Option<Stand>, report: &mut TableReport) {
    if let Some((_, _, balance)) = lines {
        report.users += 1;
        report.owed_cents = report.owed_cents.saturating_add(u64::try_from(balance).unwrap_or(0));
    }
    if lines == account {
        return;
    }
    let said = |stand: Option<Stand>| {
        stand.map_or("none".to_owned(), |(_, count, balance)| {
            format!("{count} lines, balance {balance}")
        })
    };
    let user = lines.or(account).map_or(0, |(user, ..)| from_sql(user));
    let subject = format!("the account of user {}", UserId(user));
    report
        .differences
        .add("line_balance", subject, said(lines), said(account));
}
