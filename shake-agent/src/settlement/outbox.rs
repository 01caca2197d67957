//! The ledger's outbox as settlement reads it: through a read-only connection, while the agent writes.

use super::{Identity, Line, SettlementError, Source};
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::{self, Incarnation, LedgerError, LineKind};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis, UserId};
use std::path::{Path, PathBuf};

/// The rows of the outbox, each with the bits of its incarnation.
macro_rules! lines {
    () => {
        "SELECT seq, user, cents, kind, packet, at_ms, number, balance_cents, coalesce(bits, 0)
         FROM outbox LEFT JOIN incarnations USING (incarnation) "
    };
}

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
                    "SELECT identity, event, part, parts, records_crc, (SELECT at_ms FROM transfers ORDER BY transfer LIMIT 1) AS begun
                     FROM seed WHERE begun IS NOT NULL",
                    [],
                    |row| {
                        Ok(Identity {
                            ledger: row.get::<_, Option<_>>(0)?.map(LedgerId),
                            event: row.get(1)?,
                            part: row.get(2)?,
                            parts: row.get(3)?,
                            records_crc: row.get(4)?,
                            begun_ms: from_sql(row.get(5)?),
                        })
                    },
                )
                .optional()
        };
        self.read_with(find)?
            .ok_or_else(|| SettlementError::NotBegun(self.path.clone()))
    }

    /// Whether a settlement file was ever begun.
    pub(super) fn has_begun(&self) -> Result<bool, SettlementError> {
        self.read_with(|| {
            let sql = "SELECT EXISTS (SELECT 1 FROM seed WHERE settlement_ms IS NOT NULL)";
            self.connection.query_row(sql, [], |row| row.get(0))
        })
    }

    /// The number of the last line; 0 when there is none.
    pub(super) fn last_seq(&self) -> Result<u64, SettlementError> {
        self.read_with(|| {
            self.connection
                .prepare_cached("SELECT max(seq) FROM outbox")?
                .query_row([], |row| row.get::<_, Option<i64>>(0))
        })
        .map(|seq| seq.map_or(0, from_sql))
    }

    /// Runs `work`, and all that it reads is of one moment.
    pub(super) fn snapshot(
        &self,
        work: impl FnOnce(&Self) -> Result<(), SettlementError>,
    ) -> Result<(), SettlementError> {
        let transaction = self.read_with(|| self.connection.unchecked_transaction())?;
        work(self)?;
        self.read_with(|| transaction.finish())
    }

    /// Every user's account: the balance, and how many lines the user has.
    pub(super) fn for_each_account(&self, mut f: impl FnMut(UserId, i64, u64)) -> Result<(), SettlementError> {
        self.read_with(|| {
            let mut statement = self
                .connection
                .prepare("SELECT user, balance_cents, lines FROM users")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                f(UserId(from_sql(row.get(0)?)), row.get(1)?, from_sql(row.get(2)?));
            }
            Ok(())
        })
    }

    /// Every line in order.
    pub(super) fn for_each(&self, mut f: impl FnMut(Line)) -> Result<(), SettlementError> {
        self.read_with(|| {
            let mut statement = self.connection.prepare(concat!(lines!(), "ORDER BY seq"))?;
            for row in statement.query_map([], line)? {
                f(row?);
            }
            Ok(())
        })
    }

    fn read_with<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, SettlementError> {
        work().map_err(|source| LedgerError::sqlite("read the outbox of", &self.path, source).into())
    }
}

impl Source for Outbox {
    fn read(&self, after: u64, max: usize) -> Result<Vec<Line>, SettlementError> {
        self.read_with(|| {
            self.connection
                .prepare_cached(concat!(lines!(), "WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?
                .query_map(params![to_sql(after), max as i64], line)?
                .collect()
        })
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let kind = row.get(3)?;
    Ok(Line {
        seq: from_sql(row.get(0)?),
        incarnation: Incarnation(from_sql(row.get(8)?)),
        user: UserId(from_sql(row.get(1)?)),
        number: from_sql(row.get(6)?),
        cents: row.get(2)?,
        balance: Cents(from_sql(row.get(7)?)),
        kind: LineKind::from_column(kind).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, kind))?,
        packet: PacketId(from_sql(row.get(4)?)),
        at: UnixMillis(from_sql(row.get(5)?)),
    })
}
