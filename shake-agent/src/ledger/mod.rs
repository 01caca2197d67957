//! The ledger: double entry, on SQLite. Every movement of money is a transfer between accounts; balances sum to zero;
//! amounts are whole cents.
//!
//! One process, and in it one thread, writes ([`Ledger`]); anyone may read meanwhile. All effects of a transaction are
//! durable when [`Ledger::transaction`] returns, or none of them is there. After a failed write nothing more is written
//! until the program is started anew ([`LedgerError::Failed`]): what a failed sync left on the disk is unknown.
//!
//! The modules never decide whether something may be done; `requests` does.

mod accounts;
mod batch;
mod checkpoint;
mod error;
mod lanes;
mod lock;
mod outbox;
mod packets;
mod shares;
mod transfers;
mod users;

pub mod schema;

pub use accounts::Account;
pub use batch::{Batch, Opening};
pub use checkpoint::{Checkpointer, Wal};
pub use error::LedgerError;
pub use lanes::LaneRecord;
pub use outbox::CreditKind;
pub use packets::{EVENT_SPONSOR, Held, Making, Origin, Packet, Release, State, shares_of};
pub use shares::{Offer, Share};
pub use transfers::Transfer;
pub use users::{Movement, UserAccount};

use crate::seed_file::SeedFile;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use schema::from_sql;
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Statements kept prepared; there are fewer than this.
const STATEMENTS: usize = 64;
/// SQLite's page cache in KiB: the upper levels of the trees and the pages in use.
const CACHE_KIB: i64 = 262_144;
/// How long the writer waits when somebody else (a person with `sqlite3`) holds the write lock. Longer is a failure.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The one writer of a ledger. Holds its lock for as long as it lives.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    wal: Arc<Wal>,
    failed: Option<String>,
    _lock: lock::Lock,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes an empty one, and takes its lock (`<path>.lock`).
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when another agent has it, [`LedgerError::NotALedger`], [`LedgerError::Version`],
    /// [`LedgerError::NoWal`], [`LedgerError::Io`] or [`LedgerError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = lock::Lock::take(path)?;
        let sqlite = |source| LedgerError::sqlite("open", path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let made = schema_is_there(&connection, path)?;
        let mode = prepare_writer(&connection).map_err(sqlite)?;
        if mode != "wal" {
            return Err(LedgerError::NoWal {
                path: path.to_owned(),
                mode,
            });
        }
        if !made {
            make_schema(&mut connection).map_err(|source| LedgerError::sqlite("make the tables of", path, source))?;
            lock::sync_directory_of(path)?;
        }
        let wal = Arc::new(Wal::default());
        let noted = Arc::clone(&wal);
        // Replaces SQLite's own checkpoint at every 1,000 pages.
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                noted.note(u64::try_from(pages).unwrap_or(0));
                Ok(())
            }))
            .map_err(sqlite)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            wal,
            failed: None,
            _lock: lock,
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state of its write-ahead log.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Why it refuses writes; `None` while it does not.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Starts the thread that checkpoints. Without one the WAL grows until the ledger is closed.
    ///
    /// # Errors
    /// When its connection or the thread cannot be made.
    pub fn checkpointer(&self) -> Result<Checkpointer, LedgerError> {
        Checkpointer::spawn(&self.path, Arc::clone(&self.wal))
    }

    /// Ties the ledger to its seed file. At the first run, the whole file is verified, its header stored, and the bank
    /// funds each sponsor with the sponsor's sum, and the event with `gift_budget`. Later, the header must be the same; a
    /// larger budget is funded in addition, a smaller one changes nothing.
    ///
    /// Gives what is released.
    ///
    /// # Errors
    /// [`LedgerError::OtherSeed`], [`LedgerError::SeedTooLarge`], [`LedgerError::SeedIds`], [`LedgerError::SeedSponsor`],
    /// [`LedgerError::SeedFile`], or a failed write.
    pub fn bind_seed(&mut self, seed: &SeedFile, gift_budget: Cents, now: UnixMillis) -> Result<Bound, LedgerError> {
        if let Some(bound) = self.bound()? {
            if bound.header != *seed.header() {
                return Err(LedgerError::OtherSeed {
                    ledger: self.path.clone(),
                    seed: seed.path().to_owned(),
                    bound: Box::new(bound.header),
                    found: Box::new(*seed.header()),
                });
            }
            if gift_budget > bound.gift_budget {
                self.check_total(seed, gift_budget)?;
                let more = Cents(gift_budget.0 - bound.gift_budget.0);
                self.transaction(now, |batch| batch.fund_gifts(more))?;
            }
        } else {
            self.check_total(seed, gift_budget)?;
            let survey = seed.survey()?;
            if survey.last_packet.0 >> 63 != 0 {
                return Err(LedgerError::SeedIds(survey.last_packet));
            }
            if survey.sponsors.contains_key(&EVENT_SPONSOR) {
                return Err(LedgerError::SeedSponsor);
            }
            let header = *seed.header();
            self.transaction(now, |batch| {
                batch.fund(&header, &survey.sponsors)?;
                if gift_budget.0 > 0 {
                    batch.fund_gifts(gift_budget)
                } else {
                    Ok(())
                }
            })?;
        }
        Ok(self.bound()?.expect("it was bound above"))
    }

    fn bound(&self) -> Result<Option<Bound>, LedgerError> {
        bound_seed(&self.connection).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// Everything that is ever funded must fit the numbers of the tables.
    fn check_total(&self, seed: &SeedFile, gift_budget: Cents) -> Result<(), LedgerError> {
        let total = Cents(seed.header().total.0.saturating_add(gift_budget.0));
        i64::try_from(total.0)
            .map_err(|_| LedgerError::SeedTooLarge(total))
            .map(drop)
    }

    /// Runs `work` in one transaction and makes it durable.
    ///
    /// # Errors
    /// Whatever `work` gives, and any failure to write or sync. After one that is a failure of the storage nothing of the
    /// transaction is taken to be there, and every further call is [`LedgerError::Failed`].
    pub fn transaction<T>(
        &mut self,
        now: UnixMillis,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if let Some(reason) = &self.failed {
            return Err(LedgerError::Failed(reason.clone()));
        }
        let outcome = self.try_transaction(now, work);
        if let Err(error) = &outcome {
            // When the rollback fails too, the next start does it: the WAL has no commit record.
            let _ = self.connection.execute_batch("ROLLBACK");
            if error.is_storage() {
                self.failed = Some(error.to_string());
            }
        }
        outcome
    }

    fn try_transaction<T>(
        &mut self,
        now: UnixMillis,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let path = &self.path;
        if self.wal.take_finish() {
            checkpoint::passive(&self.connection).map_err(|source| LedgerError::sqlite("checkpoint", path, source))?;
        }
        let execute = |sql: &str, action| {
            let run = || self.connection.prepare_cached(sql)?.execute([]);
            run().map_err(|source| LedgerError::sqlite(action, path, source))
        };
        execute("BEGIN IMMEDIATE", "begin a transaction in")?;
        let mut batch = Batch::new(&self.connection, path, now);
        let value = work(&mut batch)?;
        batch.finish()?;
        crate::crash::point("turn:before-commit");
        execute("COMMIT", "commit to")?;
        Ok(value)
    }

    /// A user's balance in cents; `None` for a user who never got anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn user_balance(&self, user: UserId) -> Result<Option<i64>, LedgerError> {
        users::find(&self.connection, user)
            .map(|account| account.map(|account| account.balance))
            .map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// What the ledger knows of a packet; `None` when it was never released.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn packet(&self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        packets::find(&self.connection, packet).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// When the first packet goes back; `None` while none can.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        packets::first_due(&self.connection).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// Moves all of the WAL into the database file, and empties it. For the end of a run: it waits for readers, for at
    /// most five seconds.
    ///
    /// # Errors
    /// When it fails.
    pub fn checkpoint(&self) -> Result<(), LedgerError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|source| LedgerError::sqlite("checkpoint", &self.path, source))
    }
}

/// Opens a ledger for reading only, while an agent may be writing to it.
///
/// # Errors
/// [`LedgerError::Missing`], [`LedgerError::NotALedger`], [`LedgerError::Version`] or [`LedgerError::Sqlite`].
pub fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| LedgerError::sqlite("open", path, source))?;
    if !schema_is_there(&connection, path)? {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    Ok(connection)
}

/// What a ledger is tied to, and how far it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The seed.
    pub header: SeedHeader,
    /// What the bank funded the event with, for gifts.
    pub gift_budget: Cents,
    /// Per sponsor of the seed, how many of its packets are released, in the order of the seed.
    pub released: BTreeMap<SponsorId, u64>,
}

/// The seed that a ledger is tied to; `None` when it has none yet.
///
/// # Errors
/// When the ledger cannot be read.
pub fn bound_seed(connection: &Connection) -> rusqlite::Result<Option<Bound>> {
    let seed = connection
        .query_row(
            "SELECT event, part, parts, count, total_cents, records_crc, gift_budget_cents FROM seed",
            [],
            |row| {
                let header = SeedHeader {
                    event: EventId(row.get(0)?),
                    part: row.get(1)?,
                    parts: row.get(2)?,
                    count: from_sql(row.get(3)?),
                    total: Cents(from_sql(row.get(4)?)),
                    records_crc: row.get(5)?,
                };
                Ok((header, Cents(from_sql(row.get(6)?))))
            },
        )
        .optional()?;
    let Some((header, gift_budget)) = seed else {
        return Ok(None);
    };
    let mut statement = connection.prepare("SELECT sponsor, released FROM sponsors")?;
    let released = statement
        .query_map([], |row| Ok((SponsorId(row.get(0)?), from_sql(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    Ok(Some(Bound {
        header,
        gift_budget,
        released,
    }))
}

/// Whether the file holds a ledger of our version. False for an empty file.
fn schema_is_there(connection: &Connection, path: &Path) -> Result<bool, LedgerError> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<_> {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((tables, pragma("application_id")?, pragma("user_version")?))
    };
    let not_a_database = Some(rusqlite::ErrorCode::NotADatabase);
    match read() {
        Ok((0, 0, 0)) => Ok(false),
        Ok((_, schema::APPLICATION_ID, schema::VERSION)) => Ok(true),
        Ok((_, schema::APPLICATION_ID, found)) => Err(LedgerError::Version {
            path: path.to_owned(),
            found,
            supported: schema::VERSION,
        }),
        Ok(_) => Err(LedgerError::NotALedger(path.to_owned())),
        Err(error) if error.sqlite_error_code() == not_a_database => Err(LedgerError::NotALedger(path.to_owned())),
        Err(source) => Err(LedgerError::sqlite("read", path, source)),
    }
}

/// Sets the writer's connection up; gives the journal mode that the ledger then has.
fn prepare_writer(connection: &Connection) -> rusqlite::Result<String> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB};"
    ))?;
    Ok(mode)
}

fn make_schema(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(schema::CREATE)?;
    transaction.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = {};",
        schema::APPLICATION_ID,
        schema::VERSION
    ))?;
    transaction.commit()
}
