//! What tells one state of a ledger from another: the stamp, which counts its commits, and the incarnation, which names the
//! opening that made them. Whoever has seen a stamp that the ledger has not, or an incarnation that it does not know, has seen
//! a later state of it.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, params};
use shake_rules::UnixMillis;
use std::fmt;

/// One opening of a ledger for writing: 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Another one than any before.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_written = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 16 && is_written)
            .then(|| u64::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How many commits the ledger has.
pub(super) fn stamp(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT stamp FROM commits")?
        .query_row([], |row| row.get(0).map(from_sql))
}

/// Counts the transaction under way as a commit at `at`.
pub(super) fn count_commit(connection: &Connection, at: UnixMillis) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE commits SET stamp = stamp + 1, at_ms = ?1")?
        .execute([to_sql(at.0)])
        .map(drop)
}

/// The stamp is `seen` at least.
pub(super) fn stamp_at_least(connection: &Connection, seen: u64) -> rusqlite::Result<()> {
    connection
        .execute("UPDATE commits SET stamp = max(stamp, ?1)", [to_sql(seen)])
        .map(drop)
}

/// The row of an incarnation; made with its first commit, so that an opening which commits nothing leaves nothing.
pub(super) fn find_or_make(
    connection: &Connection,
    incarnation: Incarnation,
    begun: UnixMillis,
) -> rusqlite::Result<i64> {
    let find = "SELECT incarnation FROM incarnations WHERE bits = ?1";
    let found = connection
        .query_row(find, [to_sql(incarnation.0)], |row| row.get(0))
        .optional()?;
    if let Some(row) = found {
        return Ok(row);
    }
    connection.execute(
        "INSERT INTO incarnations (bits, begun_ms) VALUES (?1, ?2)",
        params![to_sql(incarnation.0), to_sql(begun.0)],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Whether the ledger knows this incarnation.
pub(super) fn knows(connection: &Connection, incarnation: Incarnation) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM incarnations WHERE bits = ?1)",
        [to_sql(incarnation.0)],
        |row| row.get(0),
    )
}
