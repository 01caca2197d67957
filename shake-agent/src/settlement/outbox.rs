//! The ledger's outbox as settlement reads it: through a read-only connection, while the agent writes.

use super::{Credit, Identity, SettlementError};
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::{self, CreditKind, LedgerError};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use std::path::{Path, PathBuf};

/// A ledger's outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    connection: Connection,
    path: PathBuf,
}

impl Outbox {
    pub(super) fn open(ledger: &Path) -> Result<Self, SettlementError> {
        Ok(Self {
            connection: ledger::open_read_only(ledger)?,
            path: ledger.to_owned(),
        })
    }

    /// Which ledger this is.
    pub(super) fn identity(&self) -> Result<Identity, SettlementError> {
        let find = || {
            self.connection
                .query_row(
                    "SELECT event, part, parts, records_crc, (SELECT at_ms FROM transfers ORDER BY transfer LIMIT 1) AS begun
                     FROM seed WHERE begun IS NOT NULL",
                    [],
                    |row| {
                        Ok(Identity {
                            event: row.get(0)?,
                            part: row.get(1)?,
                            parts: row.get(2)?,
                            records_crc: row.get(3)?,
                            begun_ms: from_sql(row.get(4)?),
                        })
                    },
                )
                .optional()
        };
        self.read_with(find)?
            .ok_or_else(|| SettlementError::NotBegun(self.path.clone()))
    }

    /// The number of the last credit; 0 when there is none.
    pub(super) fn last_seq(&self) -> Result<u64, SettlementError> {
        self.read_with(|| {
            self.connection
                .prepare_cached("SELECT max(seq) FROM outbox")?
                .query_row([], |row| row.get::<_, Option<i64>>(0))
        })
        .map(|seq| seq.map_or(0, from_sql))
    }

    /// Credits after number `after`, in order, at most `max` of them.
    pub(super) fn read(&self, after: u64, max: usize) -> Result<Vec<Credit>, SettlementError> {
        self.read_with(|| {
            self.connection
                .prepare_cached(
                    "SELECT seq, user, cents, kind, packet, at_ms FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![to_sql(after), max as i64], credit)?
                .collect()
        })
    }

    /// Every credit in order, in one snapshot.
    pub(super) fn for_each(&self, mut f: impl FnMut(Credit)) -> Result<(), SettlementError> {
        self.read_with(|| {
            let mut statement = self
                .connection
                .prepare("SELECT seq, user, cents, kind, packet, at_ms FROM outbox ORDER BY seq")?;
            for row in statement.query_map([], credit)? {
                f(row?);
            }
            Ok(())
        })
    }

    fn read_with<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, SettlementError> {
        work().map_err(|source| LedgerError::sqlite("read the outbox of", &self.path, source).into())
    }
}

fn credit(row: &Row<'_>) -> rusqlite::Result<Credit> {
    let kind = row.get(3)?;
    Ok(Credit {
        seq: from_sql(row.get(0)?),
        user: UserId(from_sql(row.get(1)?)),
        amount: Cents(from_sql(row.get(2)?)),
        kind: CreditKind::from_column(kind).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, kind))?,
        packet: PacketId(from_sql(row.get(4)?)),
        at: UnixMillis(from_sql(row.get(5)?)),
    })
}
