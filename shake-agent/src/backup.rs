//! A copy of a ledger while the agent writes to it: `shake-agent ledger backup`.
//!
//! SQLite's own backup, out of one read transaction: the copy is the ledger of one moment, and commits do not begin it anew.
//! Until it is done the write-ahead log cannot be shortened; the copy goes in steps, and tells how far it is.

use crate::ledger::{self, LedgerError};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
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
pub fn backup(ledger: &Path, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<u64, BackupError> {
    let io = |source| BackupError::Io {
        path: to.to_owned(),
        source,
    };
    let sqlite = |source| BackupError::Sqlite {
        path: to.to_owned(),
        source,
    };
    if to.exists() {
        return Err(BackupError::There(to.to_owned()));
    }
    let source = ledger::open_read_only(ledger)?;
    let read = |source| LedgerError::sqlite("read", ledger, source);
    source.execute_batch("BEGIN").map_err(read)?;
    // The transaction begins with the first look; from here on it is the ledger of this moment.
    let stamp: i64 = source
        .query_row("SELECT stamp FROM commits", [], |row| row.get(0))
        .map_err(read)?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // Mode 0600; removed when something fails.
    let copy = NamedTempFile::new_in(directory).map_err(io)?;
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
    copy.as_file().sync_all().map_err(io)?;
    copy.persist_noclobber(to).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::There(to.to_owned()),
        _ => io(error.error),
    })?;
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io)?;
    Ok(stamp.cast_unsigned())
}
