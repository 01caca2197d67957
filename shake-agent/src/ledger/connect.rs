//! How connections to a ledger are made: the writer's, and those that only read.

use super::checkpoint::Wal;
use super::{LedgerError, lock, schema};
use rusqlite::{Connection, OpenFlags};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Statements kept prepared; there are fewer than this.
const STATEMENTS: usize = 64;
/// SQLite's page cache in KiB: the upper levels of the trees and the pages in use.
const CACHE_KIB: i64 = 262_144;
/// How long the writer waits when somebody else (a person with `sqlite3`) holds the write lock. Longer is a failure.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer's connection. Makes the tables when there are none.
pub(super) fn writer(path: &Path, wal: &Arc<Wal>) -> Result<Connection, LedgerError> {
    let sqlite = |source| LedgerError::sqlite("open", path, source);
    refuse_foreign_log(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let made = match version_of(&connection, path)? {
        None => false,
        Some(schema::VERSION) => true,
        Some(found) => {
            return Err(LedgerError::Older {
                path: path.to_owned(),
                found,
            });
        }
    };
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
    let noted = Arc::clone(wal);
    // Replaces SQLite's own checkpoint at every 1,000 pages.
    connection
        .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            noted.note(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }))
        .map_err(sqlite)?;
    Ok(connection)
}

/// Makes one small commit, to see whether the storage takes it. It waits for nobody.
pub(super) fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    // A commit as any other: it counts.
    let written = connection.execute_batch("UPDATE commits SET stamp = stamp + 1");
    connection.busy_timeout(BUSY_TIMEOUT)?;
    written
}

/// Opens a ledger for reading only, while an agent may be writing to it. One of a version before looks as if it were of
/// this version ([`schema::AS_IF_CURRENT`]).
///
/// # Errors
/// [`LedgerError::Missing`], [`LedgerError::NotALedger`], [`LedgerError::Version`] or [`LedgerError::Sqlite`].
pub fn open_read_only(path: &Path) -> Result<Connection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    refuse_foreign_log(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| LedgerError::sqlite("open", path, source))?;
    match version_of(&connection, path)? {
        None => Err(LedgerError::NotALedger(path.to_owned())),
        Some(schema::VERSION) => Ok(connection),
        Some(found) => {
            let shown = connection.execute_batch(as_if_current(found).unwrap_or_default());
            shown.map_err(|source| LedgerError::sqlite("read", path, source))?;
            Ok(connection)
        }
    }
}

/// Where the read version stands in a database's header, and what it is of one that keeps a write-ahead log
/// (<https://www.sqlite.org/fileformat2.html#file_format_version_numbers>).
const READ_VERSION_AT: u64 = 19;
const READ_VERSION_WAL: u8 = 2;

/// The write-ahead log of a ledger.
pub(crate) fn log_path(ledger: &Path) -> PathBuf {
    let mut name = OsString::from(ledger);
    name.push("-wal");
    PathBuf::from(name)
}

/// A copy has no log ([`crate::backup`]). SQLite would take one of an older file that lies beside it for its own, and read pages
/// of both.
fn refuse_foreign_log(path: &Path) -> Result<(), LedgerError> {
    let log = log_path(path);
    if !fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let mut version = [READ_VERSION_WAL];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut version, READ_VERSION_AT));
    // Whatever cannot be read here is told by SQLite.
    if read.is_ok() && version != [READ_VERSION_WAL] {
        return Err(LedgerError::ForeignLog {
            path: path.to_owned(),
            log,
        });
    }
    Ok(())
}

/// The version of the ledger in a file, one that this program can read; `None` for an empty file.
fn version_of(connection: &Connection, path: &Path) -> Result<Option<i64>, LedgerError> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let read = || -> rusqlite::Result<_> {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((tables, pragma("application_id")?, pragma("user_version")?))
    };
    let not_a_database = Some(rusqlite::ErrorCode::NotADatabase);
    match read() {
        Ok((0, 0, 0)) => Ok(None),
        Ok((_, schema::APPLICATION_ID, found)) if found == schema::VERSION || as_if_current(found).is_some() => {
            Ok(Some(found))
        }
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

/// What makes a ledger of an older version look like one of this; `None` for one that this program does not know.
fn as_if_current(version: i64) -> Option<&'static str> {
    let known = schema::AS_IF_CURRENT.iter().find(|(known, _)| *known == version);
    known.map(|(_, views)| *views)
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
