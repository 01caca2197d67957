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

/// Appends to the journal.
pub(super) fn append(connection: &Connection, transfer: &Transfer) -> rusqlite::Result<()> {
    let (debit_kind, debit) = transfer.debit.to_columns();
    let (credit_kind, credit) = transfer.credit.to_columns();
    connection
        .prepare_cached(
            "INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            to_sql(transfer.at.0),
            debit_kind,
            debit,
            credit_kind,
            credit,
            to_sql(transfer.amount.0)
        ])?;
    Ok(())
}
