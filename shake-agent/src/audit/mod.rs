//! The audit: proves, to the cent, that seed = unreleased + held + opened + void, per sponsor and in total, and names each
//! difference. Reads one snapshot of the ledger, also while an agent writes to it, and writes nothing.
//!
//! It believes nothing of the ledger by itself: what ought to be comes from the seed file, balances are computed anew from
//! the transfers, and each packet must have exactly the transfers that its state says.

mod book;
mod report;
mod rows;

pub use report::{Difference, Report, SponsorRow, SponsorTotals};

use crate::ledger::{self, LedgerError};
use crate::seed_file::{SeedFile, SeedFileError};
use book::Book;
use rusqlite::Connection;
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

/// Audits a ledger against its seed file. `progress` is told what is being read, and how many rows of it are done.
///
/// # Errors
/// [`AuditError`] when there is nothing to compare; a difference is no error but part of the report.
pub fn audit(
    ledger_path: &Path,
    seed_path: &Path,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<Report, AuditError> {
    let sqlite = |source| LedgerError::sqlite("read", ledger_path, source);
    let connection = ledger::open_read_only(ledger_path)?;
    // One snapshot for all that is read.
    connection.execute_batch("BEGIN").map_err(sqlite)?;
    let seed = SeedFile::open(seed_path)?;
    let (header, next_index) = ledger::bound_seed(&connection)
        .map_err(sqlite)?
        .ok_or_else(|| AuditError::NoSeed(ledger_path.to_owned()))?;
    if header != *seed.header() {
        return Err(LedgerError::OtherSeed {
            ledger: ledger_path.to_owned(),
            seed: seed_path.to_owned(),
            bound: Box::new(header),
            found: Box::new(*seed.header()),
        }
        .into());
    }
    let mut book = Book::of_seed(&seed, next_index, &mut progress)?;
    read_ledger(&connection, &mut book, &mut progress).map_err(sqlite)?;
    Ok(book.close(header))
}

fn read_ledger(
    connection: &Connection,
    book: &mut Book,
    progress: &mut impl FnMut(&'static str, u64),
) -> rusqlite::Result<()> {
    let mut each = |what: &'static str, sql: &str, take: &mut dyn FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>| {
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
        "SELECT packet, seed_index, sponsor, cents, balance_cents, state, user FROM packets ORDER BY packet",
        &mut |row| {
            book.packet(&book::PacketRow {
                packet: ledger::schema::from_sql(row.get(0)?),
                seed_index: row.get(1)?,
                sponsor: row.get(2)?,
                cents: row.get(3)?,
                balance: row.get(4)?,
                state: row.get(5)?,
                user: row.get(6)?,
            });
            Ok(())
        },
    )?;
    each(
        "transfers",
        "SELECT transfer, debit_kind, debit, credit_kind, credit, cents FROM transfers ORDER BY transfer",
        &mut |row| {
            book.transfer(
                row.get(0)?,
                (row.get(1)?, row.get(2)?),
                (row.get(3)?, row.get(4)?),
                row.get(5)?,
            );
            Ok(())
        },
    )?;
    each("balances", "SELECT kind, id, balance_cents FROM house", &mut |row| {
        book.house_balance(row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(())
    })?;
    each(
        "users",
        "SELECT user, balance_cents, packets_opened FROM users",
        &mut |row| {
            book.user_balance(ledger::schema::from_sql(row.get(0)?), row.get(1)?, row.get(2)?);
            Ok(())
        },
    )
}
