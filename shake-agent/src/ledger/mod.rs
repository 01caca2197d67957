//! The ledger: double entry, on SQLite. Every movement of money is a transfer between accounts; balances sum to zero;
//! amounts are whole cents.
//!
//! One process, and in it one thread, writes ([`Ledger`]); anyone may read meanwhile. All effects of a transaction are
//! durable when [`Ledger::transaction`] returns, or none of them is there. After a failed write nothing more is written
//! until the program is started anew ([`LedgerError::Failed`]): what a failed sync left on the disk is unknown.
//!
//! The modules never decide whether something may be done; `requests` does.

mod accounts;
mod checkpoint;
mod error;
mod lanes;
mod lock;
mod packets;
mod transfers;

pub mod schema;

pub use accounts::Account;
pub use checkpoint::{Checkpointer, Wal};
pub use error::LedgerError;
pub use lanes::LaneRecord;
pub use packets::{Held, Packet, Release, State};
pub use transfers::Transfer;

use crate::seed_file::{SeedFile, Tally};
use accounts::HouseDeltas;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use schema::{from_sql, to_sql};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Statements kept prepared; there are fewer than this.
const STATEMENTS: usize = 64;
/// SQLite's page cache in KiB: the upper levels of the trees and the pages in use.
const CACHE_KIB: i64 = 262_144;

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
    /// [`LedgerError::Io`] or [`LedgerError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = lock::Lock::take(path)?;
        let sqlite = |source| LedgerError::sqlite("open", path, source);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let made = schema_is_there(&connection, path)?;
        prepare_writer(&connection).map_err(sqlite)?;
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
    /// funds each sponsor with the sponsor's sum. Later, the header must be the same.
    ///
    /// Gives the index of the first record that is not released.
    ///
    /// # Errors
    /// [`LedgerError::OtherSeed`], [`LedgerError::SeedTooLarge`], [`LedgerError::SeedFile`], or a failed write.
    pub fn bind_seed(&mut self, seed: &SeedFile, now: UnixMillis) -> Result<u64, LedgerError> {
        let bound = bound_seed(&self.connection).map_err(|source| LedgerError::sqlite("read", &self.path, source))?;
        if let Some((header, next_index)) = bound {
            if header != *seed.header() {
                return Err(LedgerError::OtherSeed {
                    ledger: self.path.clone(),
                    seed: seed.path().to_owned(),
                    bound: Box::new(header),
                    found: Box::new(*seed.header()),
                });
            }
            return Ok(next_index);
        }
        if i64::try_from(seed.header().total.0).is_err() {
            return Err(LedgerError::SeedTooLarge(seed.header().total));
        }
        let sponsors = seed.survey()?.sponsors;
        let header = *seed.header();
        self.transaction(now, |batch| batch.fund(&header, &sponsors))?;
        Ok(0)
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
            checkpoint::passive(&self.connection)
                .map_err(|source| LedgerError::sqlite("checkpoint", path, source))?;
        }
        let execute = |sql: &str, action| {
            let run = || self.connection.prepare_cached(sql)?.execute([]);
            run().map_err(|source| LedgerError::sqlite(action, path, source))
        };
        execute("BEGIN IMMEDIATE", "begin a transaction in")?;
        let mut batch = Batch {
            connection: &self.connection,
            path,
            now,
            house: HouseDeltas::default(),
        };
        let value = work(&mut batch)?;
        batch.run("write the balances of", |connection, batch| batch.house.flush(connection))?;
        crate::crash::point("turn:before-commit");
        execute("COMMIT", "commit to")?;
        Ok(value)
    }

    /// A user's balance in cents; `None` for a user who never got anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn user_balance(&self, user: UserId) -> Result<Option<i64>, LedgerError> {
        accounts::user_balance(&self.connection, user).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// What the ledger knows of a packet; `None` when it was never released.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn packet(&self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        packets::find(&self.connection, packet).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// Moves all of the WAL into the database file, and empties it. For the end of a run: it waits for readers, for at
    /// most a second.
    ///
    /// # Errors
    /// When it fails.
    pub fn checkpoint(&self) -> Result<(), LedgerError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|source| LedgerError::sqlite("checkpoint", &self.path, source))
    }
}

/// A transaction under way.
#[derive(Debug)]
pub struct Batch<'a> {
    connection: &'a Connection,
    path: &'a Path,
    now: UnixMillis,
    house: HouseDeltas,
}

impl Batch<'_> {
    fn run<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection, &mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let connection = self.connection;
        work(connection, self).map_err(|source| LedgerError::sqlite(action, self.path, source))
    }

    /// What is known of a packet, with what this transaction did to it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn packet(&mut self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        self.run("read a packet of", |connection, _| packets::find(connection, packet))
    }

    /// The packet is in a ticket for `user`. No money moves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn issue(&mut self, packet: PacketId, user: UserId, stage: u16, at: UnixMillis) -> Result<(), LedgerError> {
        self.run("write a packet of", |connection, _| {
            packets::set_issued(connection, packet, user, stage, at)
        })
    }

    /// The user gets what is in the packet. The caller has looked the packet up in this transaction and found it released
    /// or issued, with this amount in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_packet(
        &mut self,
        packet: PacketId,
        amount: Cents,
        user: UserId,
        stage: u16,
    ) -> Result<(), LedgerError> {
        let transfer = self.transfer(Account::Packet(packet), Account::User(user), amount);
        self.run("write an opening to", |connection, batch| {
            packets::set_opened(connection, packet, user, stage, batch.now)?;
            transfers::append(connection, &transfer)?;
            accounts::credit_user(connection, user, amount)
        })
    }

    /// The packets will never be opened; what is in them goes to the void.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn void_packets(&mut self, held: &[Held]) -> Result<(), LedgerError> {
        for held in held {
            let transfer = self.transfer(Account::Packet(held.packet), Account::Void, held.amount);
            self.run("void a packet in", |connection, batch| {
                packets::set_void(connection, held.packet, batch.now)?;
                transfers::append(connection, &transfer)?;
                batch.house.add(Account::Void, to_sql(held.amount.0));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Releases packets: the sponsor's money goes into them. Records before `next_index` of the seed are then released.
    ///
    /// # Errors
    /// When it cannot be written; a packet that is there already counts as that.
    pub fn release<'r>(
        &mut self,
        releases: impl IntoIterator<Item = &'r Release>,
        next_index: u64,
    ) -> Result<(), LedgerError> {
        for release in releases {
            let record = release.record;
            let sponsor = Account::Sponsor(record.sponsor);
            let transfer = self.transfer(sponsor, Account::Packet(record.packet), record.amount);
            self.run("release a packet in", |connection, batch| {
                packets::insert(connection, release, batch.now)?;
                transfers::append(connection, &transfer)?;
                batch.house.add(sponsor, -to_sql(record.amount.0));
                Ok(())
            })?;
        }
        self.run("note the release in", |connection, _| {
            connection
                .prepare_cached("UPDATE seed SET next_index = ?1")?
                .execute([to_sql(next_index)])
                .map(drop)
        })
    }

    /// What was released to a lane at these grant positions and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_lane(&mut self, lane: i64, positions: std::ops::Range<u64>) -> Result<Vec<Held>, LedgerError> {
        self.run("read the packets of", |connection, _| {
            packets::held_of_lane(connection, lane, positions)
        })
    }

    /// What was released to any shard of another mapping than this one and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_other_mappings(&mut self, mapping: u64) -> Result<Vec<Held>, LedgerError> {
        self.run("read the packets of", |connection, _| {
            packets::held_of_other_mappings(connection, mapping)
        })
    }

    /// The record of a shard's rings in a mapping; made when there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn lane(&mut self, mapping: u64, shard: u16) -> Result<LaneRecord, LedgerError> {
        self.run("read the ring cursors of", |connection, _| {
            lanes::find_or_make(connection, mapping, shard)
        })
    }

    /// Stores how far a shard's rings are.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store_lane(&mut self, record: &LaneRecord) -> Result<(), LedgerError> {
        self.run("write the ring cursors of", |connection, _| lanes::store(connection, record))
    }

    fn fund(&mut self, header: &SeedHeader, sponsors: &BTreeMap<SponsorId, Tally>) -> Result<(), LedgerError> {
        self.run("store the seed in", |connection, _| store_seed(connection, header))?;
        for (&sponsor, tally) in sponsors {
            let cents = to_sql(tally.cents);
            let transfer = self.transfer(Account::Bank, Account::Sponsor(sponsor), Cents(tally.cents));
            self.run("fund a sponsor in", |connection, batch| {
                transfers::append(connection, &transfer)?;
                batch.house.add(Account::Bank, -cents);
                batch.house.add(Account::Sponsor(sponsor), cents);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn transfer(&self, debit: Account, credit: Account, amount: Cents) -> Transfer {
        Transfer {
            at: self.now,
            debit,
            credit,
            amount,
        }
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

/// The seed that a ledger is tied to, and the index of its first record that is not released.
///
/// # Errors
/// When the ledger cannot be read.
pub fn bound_seed(connection: &Connection) -> rusqlite::Result<Option<(SeedHeader, u64)>> {
    connection
        .query_row(
            "SELECT event, part, parts, count, total_cents, records_crc, next_index FROM seed",
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
                Ok((header, from_sql(row.get(6)?)))
            },
        )
        .optional()
}

fn store_seed(connection: &Connection, header: &SeedHeader) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, next_index)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            header.event.0,
            header.part,
            header.parts,
            to_sql(header.count),
            to_sql(header.total.0),
            header.records_crc
        ],
    )?;
    Ok(())
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

fn prepare_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(1))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    debug_assert_eq!(mode, "wal");
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB};"
    ))
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
