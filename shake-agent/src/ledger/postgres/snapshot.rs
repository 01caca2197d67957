//! What reads a ledger as a whole and writes nothing: one snapshot, on a connection of its own, through cursors.
//!
//! A snapshot makes the server keep every version of every row for as long as it is held, and parts' rows have a new one with each
//! commit: agents become slow. So all of a ledger is read at a standby, which takes no writes, or for a limited time.

use super::access::Access;
use super::link::{self, Dialled, Failure};
use super::{schema, server_name};
use crate::ledger::bound::{Bound, PartBooks};
use crate::ledger::opening::Machine;
use crate::ledger::reader::Value;
use crate::ledger::{LedgerError, schema::from_sql};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, LedgerId, SponsorId};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use std::vec;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

/// After how long of silence a server is asked whether it lives, and given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// What is no change of any row, and a commit all the same: it is answered when standbys have it, and with it all that was committed
/// before. A server that takes no writes is a standby itself.
const CONFIRM: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN true
                       ELSE pg_logical_emit_message(true, 'settlement', ''::text) IS NOT NULL END";
/// Rows on their way at once.
const ROWS: u32 = 4_096;

/// One moment of a ledger.
pub(in crate::ledger) struct Snapshot {
    // Dropped before the runtime that drives it.
    client: Client,
    runtime: Runtime,
    place: PathBuf,
    warned: Arc<AtomicBool>,
    /// Whether all that is read is of one moment.
    is_begun: Cell<bool>,
    /// How long it may be held; `None` for any time.
    max: Option<Duration>,
    /// When it has to be over.
    until: Cell<Option<Instant>>,
    cursors: Cell<u32>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Connects. The snapshot begins later.
    pub(in crate::ledger) fn connect(access: &Access, primary_max: Option<Duration>) -> Result<Self, LedgerError> {
        let place = PathBuf::from(server_name(&access.config));
        let mut access = access.clone();
        access.config.keepalives_idle(SILENCE_MAX).tcp_user_timeout(SILENCE_MAX);
        let dialled = link::dial(&access).map_err(|source| LedgerError::Postgres {
            action: "connect to",
            place: place.clone(),
            source,
        });
        let Dialled {
            client,
            runtime,
            warned,
            ..
        } = dialled?;
        let mut snapshot = Self {
            client,
            runtime,
            place,
            warned,
            is_begun: Cell::new(false),
            max: None,
            until: Cell::new(None),
            cursors: Cell::new(0),
        };
        let is_standby: bool = snapshot.one("SELECT pg_is_in_recovery()", |row| row.try_get(0))?;
        let found = snapshot.one("SELECT version FROM ledger", |row| row.try_get(0))?;
        if found != schema::VERSION {
            return Err(LedgerError::Version {
                path: snapshot.place,
                found,
                supported: schema::VERSION,
            });
        }
        if !is_standby {
            let max = primary_max.ok_or_else(|| LedgerError::OnPrimary(snapshot.place.clone()))?;
            snapshot.max = Some(max);
        }
        Ok(snapshot)
    }

    /// From now on all that is read is of one moment.
    pub(in crate::ledger) fn begin(&self) -> Result<(), LedgerError> {
        self.is_begun.set(true);
        self.until.set(self.max.map(|max| Instant::now() + max));
        // The first query of the transaction makes the snapshot. Agents' roles may not be idle for as long as a table takes.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
             SET LOCAL statement_timeout = {limit};
             SET LOCAL idle_in_transaction_session_timeout = {idle};
             SET LOCAL cursor_tuple_fraction = 1;",
            limit = self.max.map_or(0, |max| max.as_millis().max(1)),
            idle = SILENCE_MAX.as_millis(),
        );
        self.ask(async { Ok(self.client.batch_execute(&begin).await?) })
    }

    /// Makes a small commit of its own, where the server takes any: what was seen before is then as durable as that. Without it a
    /// line may be seen that no standby has.
    pub(in crate::ledger) fn confirm(&self) -> Result<(), LedgerError> {
        self.warned.store(false, Relaxed);
        self.one(CONFIRM, |row| row.try_get::<_, bool>(0))?;
        if self.warned.load(Relaxed) {
            return Err(self.failed("commit to")(Failure::Warned));
        }
        Ok(())
    }

    /// The books of each part.
    pub(in crate::ledger) fn parts(&self) -> Result<Vec<PartBooks>, LedgerError> {
        let (identity, event) = self.one("SELECT identity, event FROM ledger", |row| {
            Ok((row.try_get::<_, Vec<u8>>(0)?, row.try_get::<_, i32>(1)?))
        })?;
        let strange = |what: &str| LedgerError::Strange {
            place: self.place.clone(),
            what: format!("{what} of the ledger"),
        };
        let identity = LedgerId(identity.try_into().map_err(|_| strange("the identity"))?);
        let event = EventId(event.try_into().map_err(|_| strange("the event"))?);
        let released = self.all("SELECT part, sponsor, released FROM sponsors", |row| {
            Ok((
                row.try_get::<_, i32>(0)?,
                row.try_get::<_, i32>(1)?,
                row.try_get::<_, i64>(2)?,
            ))
        })?;
        let machines = self.all(
            "SELECT part, machine, count(*), min(begun_ms), max(begun_ms) FROM openings GROUP BY part, machine
             ORDER BY part, min(opening)",
            |row| {
                let machine = Machine {
                    name: row.try_get(1)?,
                    openings: from_sql(row.try_get(2)?),
                    first_ms: from_sql(row.try_get(3)?),
                    last_ms: from_sql(row.try_get(4)?),
                };
                Ok((row.try_get::<_, i32>(0)?, machine))
            },
        )?;
        let losses = self.all("SELECT part, outbox FROM losses", |row| {
            Ok((row.try_get::<_, i32>(0)?, row.try_get::<_, i64>(1)?))
        })?;
        let parts = self.all(
            "SELECT part, parts, count, total_cents, records_crc, gift_budget_cents, is_bound FROM parts ORDER BY part",
            |row| {
                let numbers: [i64; 4] = [row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?];
                Ok((
                    row.try_get::<_, i32>(0)?,
                    row.try_get::<_, i32>(1)?,
                    numbers,
                    row.try_get::<_, bool>(6)?,
                ))
            },
        )?;
        let books = parts
            .into_iter()
            .map(|(part, parts, [count, total, crc, gifts], is_begun)| {
                let of_part = released.iter().filter(|(of, ..)| *of == part);
                let released =
                    of_part.map(|&(_, sponsor, count)| Ok((SponsorId(sponsor.try_into()?), from_sql(count))));
                let header = || {
                    Ok::<_, std::num::TryFromIntError>(SeedHeader {
                        event,
                        part: part.try_into()?,
                        parts: parts.try_into()?,
                        count: from_sql(count),
                        total: Cents(from_sql(total)),
                        records_crc: crc.try_into()?,
                    })
                };
                let released: Result<BTreeMap<_, _>, std::num::TryFromIntError> = released.collect();
                let of_part = machines.iter().filter(|(of, _)| *of == part);
                Ok(PartBooks {
                    bound: Bound {
                        header: header().map_err(|_| strange("a part"))?,
                        version: schema::VERSION,
                        identity: Some(identity),
                        gift_budget: Cents(from_sql(gifts)),
                        released: released.map_err(|_| strange("a sponsor"))?,
                    },
                    is_begun,
                    machines: of_part.map(|(_, machine)| machine.clone()).collect(),
                    losses: losses
                        .iter()
                        .filter(|(of, _)| *of == part)
                        .map(|(_, line)| *line)
                        .collect(),
                })
            });
        books.collect()
    }

    /// All rows of a query that gives few.
    pub(in crate::ledger) fn rows(&self, sql: &str, with: &[i64]) -> Result<Vec<Vec<Value>>, LedgerError> {
        let with: Vec<&(dyn ToSql + Sync)> = with.iter().map(|number| number as _).collect();
        self.ask(async {
            let rows = self.client.query(sql, &with).await?;
            let values = rows.iter().map(|row| {
                let mut values = Vec::with_capacity(row.len());
                values_of(row, &mut values).map(|()| values)
            });
            values.collect()
        })
    }

    /// Begins to read a query that may give many rows.
    pub(in crate::ledger) fn declare(&self, sql: &str) -> Result<Fetched<'_>, LedgerError> {
        let number = self.cursors.get();
        self.cursors.set(number + 1);
        let fetch = self.ask(async {
            let declare = format!("DECLARE c{number} NO SCROLL CURSOR FOR {sql}");
            self.client.batch_execute(&declare).await?;
            Ok(self
                .client
                .prepare(&format!("FETCH FORWARD {ROWS} FROM c{number}"))
                .await?)
        });
        Ok(Fetched {
            snapshot: self,
            fetch: fetch?,
            ready: Vec::new().into_iter(),
            is_over: false,
        })
    }

    fn one<T>(&self, sql: &str, read: impl FnOnce(&Row) -> Result<T, tokio_postgres::Error>) -> Result<T, LedgerError> {
        self.ask(async { Ok(read(&self.client.query_one(sql, &[]).await?)?) })
    }

    fn all<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, LedgerError> {
        self.ask(async {
            let rows = self.client.query(sql, &[]).await?;
            Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
        })
    }

    fn took_too_long(&self) -> LedgerError {
        LedgerError::TooLongOnPrimary(self.place.clone(), self.max.unwrap_or_default())
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Failure) -> LedgerError {
        let place = self.place.clone();
        move |source| LedgerError::Postgres { action, place, source }
    }

    fn ask<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, LedgerError> {
        if !self.is_begun.get() {
            let outcome = self.runtime.block_on(async { timeout(SILENCE_MAX, work).await });
            return outcome
                .unwrap_or(Err(Failure::Silent(SILENCE_MAX)))
                .map_err(self.failed("read"));
        }
        let until = self.until.get();
        let outcome = self.runtime.block_on(async {
            match until {
                Some(until) => timeout_at(until, work).await.ok(),
                None => Some(work.await),
            }
        });
        let is_over = until.is_some_and(|until| Instant::now() >= until);
        match outcome {
            None => Err(self.took_too_long()),
            Some(Err(_)) if is_over => Err(self.took_too_long()),
            Some(outcome) => outcome.map_err(self.failed("read")),
        }
    }
}

/// The rows of a cursor.
pub(in crate::ledger) struct Fetched<'a> {
    snapshot: &'a Snapshot,
    fetch: Statement,
    ready: vec::IntoIter<Row>,
    is_over: bool,
}

impl Fetched<'_> {
    /// Puts the next row's values into a list; `false` after the last one.
    pub(in crate::ledger) fn next_into(&mut self, values: &mut Vec<Value>) -> Result<bool, LedgerError> {
        if self.ready.len() == 0 && !self.is_over {
            let client = &self.snapshot.client;
            let rows = self.snapshot.ask(async { Ok(client.query(&self.fetch, &[]).await?) })?;
            self.is_over = rows.len() < ROWS as usize;
            self.ready = rows.into_iter();
        }
        let Some(row) = self.ready.next() else { return Ok(false) };
        values_of(&row, values).map_err(self.snapshot.failed("read"))?;
        Ok(true)
    }
}

fn values_of(row: &Row, values: &mut Vec<Value>) -> Result<(), Failure> {
    for (at, column) in row.columns().iter().enumerate() {
        let number = match *column.type_() {
            Type::INT2 => row.try_get::<_, Option<i16>>(at)?.map(i64::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(i64::from),
            Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(i64::from),
            Type::BYTEA => {
                let bytes = row.try_get::<_, Option<Vec<u8>>>(at)?;
                values.push(bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.into())));
                continue;
            }
            _ => row.try_get::<_, Option<i64>>(at)?,
        };
        values.push(number.map_or(Value::Null, Value::Number));
    }
    Ok(())
}
