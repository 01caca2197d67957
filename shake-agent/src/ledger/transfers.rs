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

/// Appends to the journal, and gives the transfer's number. `previous` is the transfer before of the user whose money it
/// moves.
pub(super) fn append(connection: &Connection, transfer: &Transfer, previous: Option<i64>) -> rusqlite::Result<i64> {
    let (debit_kind, debit) = transfer.debit.to_columns();
    let (credit_kind, credit) = transfer.credit.to_columns();
    connection
        .prepare_cached(
            "INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents, previous)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            to_sql(transfer.at.0),
            debit_kind,
            debit,
            credit_kind,
            credit,
            to_sql(transfer.amount.0),
            previous
        ])?;
    Ok(connection.last_insert_rowid())
}
