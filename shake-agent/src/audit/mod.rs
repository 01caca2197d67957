//! The audit: proves, to the cent, that seed + gift budget = unreleased + held + opened + refunded + void + lost + paid, per sponsor and in
//! total, that every movement of a user's balance stands in the outbox once, and names each difference. Reads one snapshot of the ledger, also while an agent writes to it, and writes nothing.
//!
//! It believes nothing of the ledger by itself: what ought to be comes from the seed file, balances are computed anew from
//! the transfers, and each packet must have exactly the transfers that its state says.

pub mod fleet;

mod book;
mod closing;
mod days;
mod journal;
mod report;
mod rows;
mod sums;
mod text;

pub use days::time_zone;
pub use report::{CreditTally, DayRow, Difference, GrantRow, PhaseRow, Report, SentTotals, SponsorRow, SponsorTotals};

use crate::ledger::{self, LedgerError, LineKind};
use crate::seed_file::{SeedFile, SeedFileError};
use book::Book;
use closing::ClosingRow;
use days::Days;
use jiff::tz::TimeZone;
use journal::{CreditRow, TransferRow};
use rows::PacketRow;
use rusqlite::{Connection, Row, Rows};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why nothing could be audited.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The seed file.
    #[error(transparent)]
    Seed(#[from] SeedFileError),
    /// The ledger has no seed yet.
    #[error("the ledger {} has no seed yet; run the agent first", .0.display())]
    NoSeed(PathBuf),
}

/// Audits a ledger against its seed file, with days in UTC. `progress` is told what is being read, and how many rows of it are
/// done.
///
/// # Errors
/// [`AuditError`] when there is nothing to compare; a difference is no error but part of the report.
pub fn audit(
    ledger_path: &Path,
    seed_path: &Path,
    progress: impl FnMut(&'static str, u64),
) -> Result<Report, AuditError> {
    audit_in(ledger_path, seed_path, &TimeZone::UTC, progress)
}

/// The same, with days in a time zone.
///
/// # Errors
/// As [`audit`].
pub fn audit_in(
    ledger_path: &Path,
    seed_path: &Path,
    zone: &TimeZone,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<Report, AuditError> {
    let sqlite = |source| LedgerError::sqlite("read", ledger_path, source);
    let connection = ledger::open_read_only(ledger_path)?;
    // One snapshot for all that is read.
    connection.execute_batch("BEGIN").map_err(sqlite)?;
    let seed = SeedFile::open(seed_path)?;
    let bound = ledger::bound_seed(&connection)
        .map_err(sqlite)?
        .ok_or_else(|| AuditError::NoSeed(ledger_path.to_owned()))?;
    if bound.header != *seed.header() {
        return Err(LedgerError::OtherSeed {
            ledger: ledger_path.to_owned(),
            seed: seed_path.to_owned(),
            bound: Box::new(bound.header),
            found: Box::new(*seed.header()),
        }
        .into());
    }
    let mut book = Book::of_seed(&seed, bound, Days::new(zone.clone()), &mut progress)?;
    book.machines = ledger::machines(&connection).map_err(sqlite)?;
    read_ledger(&connection, &mut book, &mut progress).map_err(sqlite)?;
    Ok(book.close())
}

fn read_ledger(
    connection: &Connection,
    book: &mut Book,
    progress: &mut impl FnMut(&'static str, u64),
) -> rusqlite::Result<()> {
    let mut each = |what: &'static str, sql: &str, take: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<()>| {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut done = 0_u64;
        while let Some(row) = rows.next()? {
            take(row)?;
            done += 1;
            if done.is_multiple_of(65_536) {
                progress(what, done);
            }
        }
        Ok::<(), rusqlite::Error>(())
    };
    each(
        "packets",
        "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index, user, stage,
                opened_ms IS NOT NULL FROM packets ORDER BY packet",
        &mut |row| {
            book.packet(&PacketRow {
                packet: ledger::schema::from_sql(row.get(0)?),
                origin: row.get(1)?,
                sponsor: row.get(2)?,
                sender: row.get(3)?,
                cents: row.get(4)?,
                shares: row.get(5)?,
                balance: row.get(6)?,
                shares_left: row.get(7)?,
                state: row.get(8)?,
                seed_index: row.get(9)?,
                user: row.get(10)?,
                stage: row.get(11)?,
                is_opened: row.get(12)?,
            });
            Ok(())
        },
    )?;
    let mut shares =
        connection.prepare("SELECT transfer, packet, user, cents, 0, 0, 0, 0 FROM shares ORDER BY transfer")?;
    let mut shares = Beside::new(shares.query([])?, "share_extra");
    let mut outbox = connection.prepare(
        "SELECT transfer, packet, user, cents, kind, seq, number, balance_cents FROM outbox WHERE kind <> ?1 ORDER BY seq",
    )?;
    let mut outbox = Beside::new(outbox.query([LineKind::Close.to_column()])?, "outbox_extra");
    each(
        "transfers",
        "SELECT transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, previous FROM transfers ORDER BY transfer",
        &mut |row| {
            let row = TransferRow {
                id: row.get(0)?,
                at_ms: row.get(1)?,
                debit: (row.get(2)?, row.get(3)?),
                credit: (row.get(4)?, row.get(5)?),
                cents: row.get(6)?,
                previous: row.get(7)?,
            };
            let share = shares.up_to(row.id, book)?;
            let outbox = outbox.up_to(row.id, book)?;
            book.transfer(&row, share, outbox);
            Ok(())
        },
    )?;
    shares.up_to(i64::MAX, book)?;
    outbox.up_to(i64::MAX, book)?;
    each(
        "closing lines",
        &format!(
            "SELECT seq, at_ms, number, balance_cents FROM outbox WHERE kind = {} ORDER BY seq",
            LineKind::Close.to_column()
        ),
        &mut |row| {
            book.closing_line(&ClosingRow {
                seq: row.get(0)?,
                at_ms: row.get(1)?,
                users: row.get(2)?,
                cents: row.get(3)?,
            });
            Ok(())
        },
    )?;
    each("balances", "SELECT kind, id, balance_cents FROM house", &mut |row| {
        book.house_balance(row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    each(
        "users",
        "SELECT user, balance_cents, packets_opened, last_transfer, lines FROM users",
        &mut |row| {
            let user = ledger::schema::from_sql(row.get(0)?);
            book.user_balance(user, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok(())
        },
    )
}

/// A table that is read beside the journal: its rows have ascending numbers of transfers.
struct Beside<'a> {
    rows: Rows<'a>,
    next: Option<CreditRow>,
    is_begun: bool,
    /// The difference that a row without a transfer is.
    extra: &'static str,
}

impl<'a> Beside<'a> {
    fn new(rows: Rows<'a>, extra: &'static str) -> Self {
        Self {
            rows,
            next: None,
            is_begun: false,
            extra,
        }
    }

    fn advance(&mut self) -> rusqlite::Result<()> {
        self.is_begun = true;
        self.next = match self.rows.next()? {
            Some(row) => Some(CreditRow {
                transfer: row.get(0)?,
                packet: row.get(1)?,
                user: row.get(2)?,
                cents: row.get(3)?,
                kind: row.get(4)?,
                seq: row.get(5)?,
                number: row.get(6)?,
                balance: row.get(7)?,
            }),
            None => None,
        };
        Ok(())
    }

    /// The row of this transfer, when there is one. Rows before it have none.
    fn up_to(&mut self, transfer: i64, book: &mut Book) -> rusqlite::Result<Option<CreditRow>> {
        if !self.is_begun {
            self.advance()?;
        }
        while let Some(row) = self.next.filter(|row| row.transfer <= transfer) {
            self.advance()?;
            if row.transfer == transfer {
                return Ok(Some(row));
            }
            book.without_transfer(self.extra, &row);
        }
        Ok(None)
    }
}
