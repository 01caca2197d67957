//! Spans: times in which the ledger could not be written. They count against nobody's end.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, params};
use shake_rules::UnixMillis;

/// A time in which the ledger could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last commit before it.
    pub begin: UnixMillis,
    /// The first one after it.
    pub end: UnixMillis,
}

pub(super) fn append(connection: &Connection, span: Span) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO spans (begin_ms, end_ms) VALUES (?1, ?2)")?
        .execute(params![to_sql(span.begin.0), to_sql(span.end.0)])
        .map(drop)
}

/// All spans, in order of time.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Span>> {
    connection
        .prepare_cached("SELECT begin_ms, end_ms FROM spans ORDER BY span")?
        .query_map([], |row| {
            Ok(Span {
                begin: UnixMillis(from_sql(row.get(0)?)),
                end: UnixMillis(from_sql(row.get(1)?)),
            })
        })?
        .collect()
}

/// When the last commit was.
pub(super) fn last_commit(connection: &Connection) -> rusqlite::Result<UnixMillis> {
    connection
        .prepare_cached("SELECT at_ms FROM commits")?
        .query_row([], |row| row.get(0).map(from_sql).map(UnixMillis))
}
