//! Transfers: the journal. A row is written once and never changed; it says which account paid and which one got it.

use super::accounts::Account;
use super::schema::to_sql;
use rusqlite::{Connection, params};
use shake_rules::{Cents, UnixMillis};

/// One movement of money, from `debit` to `credit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// When.
    pub at: UnixMillis,
    /// The account that paid.
    pub debit: Account,
    /// The account that got it.
    pub credit: Account,
    /// How much; never zero.
    pub amount: Cents,
}

/// A transfer as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1, 2, 3, …
    pub number: i64,
    /// What moved.
    pub transfer: Transfer,
    /// The transfer before, of the user whose money it moves.
    pub previous: Option<i64>,
}

/// Appends to the journal.
pub(super) fn append(connection: &Connection, entries: &[Entry]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO transfers (transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, previous)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for entry in entries {
        let transfer = &entry.transfer;
        let (debit_kind, debit) = transfer.debit.to_columns();
        let (credit_kind, credit) = transfer.credit.to_columns();
        statement.execute(params![
            entry.number,
            to_sql(transfer.at.0),
            debit_kind,
            debit,
            credit_kind,
            credit,
            to_sql(transfer.amount.0),
            entry.previous
        ])?;
    }
    Ok(())
}

/// The number of the last one; 0 before the first.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(transfer), 0) FROM transfers")?
        .query_row([], |row| row.get(0))
}
