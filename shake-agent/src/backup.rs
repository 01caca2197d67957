//! A copy of a ledger while the agent writes to it: `shake-agent ledger backup`, which replaces nothing, and `ledger copy`, which
//! replaces an older copy.
//!
//! SQLite's own backup, out of one read transaction: the copy is the ledger of one moment, and commits do not begin it anew.
//! Until it is done the write-ahead log cannot be shortened; the copy goes in steps, and tells how far it is.
//!
//! A copy is one file: it keeps no write-ahead log, and its header says so. A log that lies beside it all the same is left from
//! another file, and SQLite would mix the two; so whoever opens such a copy refuses.

use crate::ledger::{self, LedgerError};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use shake_rules::LedgerId;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;

/// Pages of one step (4 MiB), and between two words of progress.
const STEP_PAGES: std::ffi::c_int = 1_024;

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something is there already.
    #[error("{} is there already; a backup never replaces a file: give another name, or remove it", .0.display())]
    There(PathBuf),
    /// What is there is no copy of this ledger.
    #[error("{} is not a copy of this ledger, and stays; give another name", .0.display())]
    Other(PathBuf),
    /// What is there is the ledger itself, or one that an agent serves.
    #[error("{} is the ledger itself, or one that an agent serves; give another name", .0.display())]
    Itself(PathBuf),
    /// What is there is newer.
    #[error("{} is at commit {newer}, and the ledger at commit {stamp}: what is older never replaces it", path.display())]
    Newer {
        /// The copy that is there.
        path: PathBuf,
        /// Its commits.
        newer: u64,
        /// The commits of what would be copied.
        stamp: u64,
    },
    /// The copy cannot be made.
    #[error("cannot make the backup {}: {source}", path.display())]
    Io {
        /// The copy.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The copy cannot be written.
    #[error("cannot write the backup {}: {source}", path.display())]
    Sqlite {
        /// The copy.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
}

/// Copies the ledger to `to`, which must not be there, with mode 0600. It has the name once it is whole and durable.
/// `progress` is told how many bytes of how many are copied.
///
/// Gives the stamp of the copy.
///
/// # Errors
/// [`BackupError`]; then nothing stands at `to`.
pub fn backup(ledger: &Path, to: &Path, progress: impl FnMut(u64, u64)) -> Result<u64, BackupError> {
    let log = ledger::log_path(to);
    if let Some(there) = [to, &log].into_iter().find(|path| path.exists()) {
        return Err(BackupError::There(there.to_owned()));
    }
    let (copy, stamp) = write_copy(ledger, to, progress)?;
    copy.persist_noclobber(to).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::There(to.to_owned()),
        _ => BackupError::io(to)(error.error),
    })?;
    sync_directory_of(to)?;
    Ok(stamp)
}

/// The same, in the place of an older copy of the same ledger, with whatever log lay beside that one.
///
/// # Errors
/// [`BackupError`]; then what stood at `to` stands there still.
pub fn copy(ledger: &Path, to: &Path, progress: impl FnMut(u64, u64)) -> Result<u64, BackupError> {
    let before = if to.exists() { Some(identity_of_copy(to)?) } else { None };
    if before.is_some_and(|before| identity(ledger).ok() != Some(before)) {
        return Err(BackupError::Other(to.to_owned()));
    }
    let same = |other: &Path| std::fs::canonicalize(other).ok();
    if before.is_some() && (same(ledger) == same(to) || ledger::holder(to)?.is_some()) {
        return Err(BackupError::Itself(to.to_owned()));
    }
    let (copy, stamp) = write_copy(ledger, to, progress)?;
    if before.is_some() {
        let newer = stamp_of(&ledger::open_read_only(to)?).map_err(|source| LedgerError::sqlite("read", to, source))?;
        if newer > stamp {
            return Err(BackupError::Newer {
                path: to.to_owned(),
                newer,
                stamp,
            });
        }
    }
    remove_log(to)?;
    copy.persist(to).map_err(|error| BackupError::io(to)(error.error))?;
    sync_directory_of(to)?;
    Ok(stamp)
}

/// Writes a copy beside `to`: one file without a log. Gives its stamp.
fn write_copy(
    ledger: &Path,
    to: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<(NamedTempFile, u64), BackupError> {
    let io = BackupError::io(to);
    let sqlite = |source| BackupError::Sqlite {
        path: to.to_owned(),
        source,
    };
    let source = ledger::open_read_only(ledger)?;
    let read = |source| LedgerError::sqlite("read", ledger, source);
    source.execute_batch("BEGIN").map_err(read)?;
    // The transaction begins with the first look; from here on it is the ledger of this moment.
    let stamp = stamp_of(&source).map_err(read)?;
    // Mode 0600; removed when something fails.
    let copy = NamedTempFile::new_in(directory_of(to)).map_err(&io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(copy.path(), flags).map_err(sqlite)?;
    let backup = Backup::new(&source, &mut target).map_err(sqlite)?;
    loop {
        let step = backup.step(STEP_PAGES).map_err(sqlite)?;
        let pages = backup.progress();
        let bytes = |pages: std::ffi::c_int| u64::try_from(pages).unwrap_or(0) * ledger::PAGE_BYTES;
        progress(bytes(pages.pagecount - pages.remaining), bytes(pages.pagecount));
        if step == StepResult::Done {
            break;
        }
    }
    drop(backup);
    drop(target);
    // Without a log: one that lies beside it is another file's, and is known for that.
    let target = Connection::open_with_flags(copy.path(), flags).map_err(sqlite)?;
    let mode = target.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
    mode.map_err(sqlite)?;
    drop(target);
    copy.as_file().sync_all().map_err(&io)?;
    Ok((copy, stamp))
}

fn stamp_of(connection: &Connection) -> rusqlite::Result<u64> {
    let stamp: i64 = connection.query_row("SELECT stamp FROM commits", [], |row| row.get(0))?;
    Ok(stamp.cast_unsigned())
}

/// Which ledger a file is; `None` when it has no seed yet.
fn identity(ledger: &Path) -> Result<Option<LedgerId>, LedgerError> {
    let connection = ledger::open_read_only(ledger)?;
    let bound = ledger::bound_seed(&connection).map_err(|source| LedgerError::sqlite("read", ledger, source))?;
    Ok(bound.and_then(|bound| bound.identity))
}

/// The same of what stands where a copy goes. A log beside a copy belongs to nothing, and goes first.
fn identity_of_copy(to: &Path) -> Result<Option<LedgerId>, BackupError> {
    match identity(to) {
        Err(LedgerError::ForeignLog { .. }) => {
            remove_log(to)?;
            Ok(identity(to)?)
        }
        other => Ok(other?),
    }
}

/// Removes the log of a file, and its index.
fn remove_log(of: &Path) -> Result<(), BackupError> {
    for end in ["-wal", "-shm"] {
        let mut name = of.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::io(of)(error)),
        }
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new("."))
}

fn sync_directory_of(path: &Path) -> Result<(), BackupError> {
    std::fs::File::open(directory_of(path))
        .and_then(|directory| directory.sync_all())
        .map_err(BackupError::io(path))
}

impl BackupError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
