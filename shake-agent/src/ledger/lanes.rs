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

/// Finds a lane's row, or makes one with both positions at zero.
pub(super) fn find_or_make(connection: &Connection, mapping: u64, shard: u16) -> rusqlite::Result<LaneRecord> {
    let found = connection
        .prepare_cached("SELECT lane, requests_done, grants_released FROM lanes WHERE mapping = ?1 AND shard = ?2")?
        .query_row(params![to_sql(mapping), shard], |row| {
            Ok(LaneRecord {
                lane: row.get(0)?,
                requests_done: from_sql(row.get(1)?),
                grants_released: from_sql(row.get(2)?),
            })
        })
        .optional()?;
    if let Some(found) = found {
        return Ok(found);
    }
    connection
        .prepare_cached("INSERT INTO lanes (mapping, shard, requests_done, grants_released) VALUES (?1, ?2, 0, 0)")?
        .execute(params![to_sql(mapping), shard])?;
    Ok(LaneRecord {
        lane: connection.last_insert_rowid(),
        requests_done: 0,
        grants_released: 0,
    })
}

pub(super) fn store(connection: &Connection, record: &LaneRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE lanes SET requests_done = ?2, grants_released = ?3 WHERE lane = ?1")?
        .execute(params![
            record.lane,
            to_sql(record.requests_done),
            to_sql(record.grants_released)
        ])?;
    Ok(())
}
