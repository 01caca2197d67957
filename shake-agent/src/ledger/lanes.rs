//! Where each shard's rings stand, as of the last commit. Positions count from zero in each new mapping.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, params};

/// One shard's rings in one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRecord {
    /// The ledger's number for it.
    pub lane: i64,
    /// Requests before this position have taken effect.
    pub requests_done: u64,
    /// Grants before this position were released.
    pub grants_released: u64,
}

/// The rings of a shard in a mapping, and where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRow {
    /// The mapping's instance number.
    pub mapping: u64,
    /// The shard.
    pub shard: u16,
    /// Where its rings stand.
    pub record: LaneRecord,
}

/// The row of a lane; `None` when there is none.
pub(super) fn find(connection: &Connection, mapping: u64, shard: u16) -> rusqlite::Result<Option<LaneRecord>> {
    connection
        .prepare_cached("SELECT lane, requests_done, grants_released FROM lanes WHERE mapping = ?1 AND shard = ?2")?
        .query_row(params![to_sql(mapping), shard], |row| {
            Ok(LaneRecord {
                lane: row.get(0)?,
                requests_done: from_sql(row.get(1)?),
                grants_released: from_sql(row.get(2)?),
            })
        })
        .optional()
}

pub(super) fn insert(connection: &Connection, rows: &[LaneRow]) -> rusqlite::Result<()> {
    for row in rows {
        connection.execute(
            "INSERT INTO lanes (lane, mapping, shard, requests_done, grants_released) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                row.record.lane,
                to_sql(row.mapping),
                row.shard,
                to_sql(row.record.requests_done),
                to_sql(row.record.grants_released)
            ],
        )?;
    }
    Ok(())
}

pub(super) fn update(connection: &Connection, records: &[LaneRecord]) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE lanes SET requests_done = ?2, grants_released = ?3 WHERE lane = ?1")?;
    for record in records {
        statement.execute(params![
            record.lane,
            to_sql(record.requests_done),
            to_sql(record.grants_released)
        ])?;
    }
    Ok(())
}

/// The number of the last one; 0 before the first.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(lane), 0) FROM lanes", [], |row| row.get(0))
}
