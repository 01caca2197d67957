//! Checkpoints: moving what was committed from the write-ahead log (WAL) into the database file, off the commit path.
//!
//! A thread with its own connection runs passive checkpoints, which never hold the writer up. Under constant load they
//! always end a little behind, and SQLite reuses the WAL from its start only when nothing is behind. So once the WAL is
//! large and the rest small, the thread asks the writer to move that rest itself, between two commits.

use super::LedgerError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::{debug, warn};

/// Bytes of a WAL page: SQLite's default page.
pub const PAGE_BYTES: u64 = 4096;

/// A passive checkpoint runs when so many pages came in since the last one (32 MiB).
const STEP_PAGES: u64 = 8_192;
/// The writer is asked to finish when the WAL has so many pages (256 MiB: the size of the measured prototype)…
const RESET_PAGES: u64 = 65_536;
/// …and at most so many are behind (4 MiB)…
const BEHIND_PAGES_MAX: u64 = 1_024;
/// …or when it has so many, whatever is behind (1 GiB). Something is wrong then, and it is logged.
const ALERT_PAGES: u64 = 262_144;
/// How often the thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After so many looks without a commit in between, whatever is behind is moved.
const QUIET_LOOKS: u32 = 4;

/// What writer and checkpoint thread tell each other. The numbers are hints: nothing breaks when one is stale.
#[derive(Debug, Default)]
pub struct Wal {
    /// Pages in the WAL after the last commit.
    pages: AtomicU64,
    /// The writer shall finish the checkpoint before its next transaction.
    finish: AtomicBool,
    stop: AtomicBool,
}

impl Wal {
    /// Bytes in the WAL after the last commit.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages.load(Ordering::Relaxed) * PAGE_BYTES
    }

    /// The writer notes the WAL's pages after a commit.
    pub(super) fn note(&self, pages: u64) {
        self.pages.store(pages, Ordering::Relaxed);
    }

    /// Whether the writer was asked to finish; forgets the question.
    pub(super) fn take_finish(&self) -> bool {
        self.finish.load(Ordering::Relaxed) && self.finish.swap(false, Ordering::Relaxed)
    }
}

/// The checkpoint thread. Dropping it stops and joins the thread.
#[derive(Debug)]
pub struct Checkpointer {
    wal: Arc<Wal>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the ledger at `path`.
    ///
    /// # Errors
    /// When its connection cannot be opened.
    pub(super) fn spawn(path: &Path, wal: Arc<Wal>) -> Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|source| LedgerError::sqlite("open", path, source))?;
        let (shared, path) = (Arc::clone(&wal), path.to_owned());
        let thread = thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || watch(&connection, &shared, &path))
            .map_err(|source| LedgerError::io("start the checkpoint thread of", PathBuf::new(), source))?;
        Ok(Self {
            wal,
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wal.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the panic hook; checkpoints are also done at the next start.
            let _ = thread.join();
        }
    }
}

/// Pages in the WAL and pages of it already moved, after a passive checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) pages: u64,
    pub(super) moved: u64,
}

/// Runs a passive checkpoint: moves what it can without waiting for anybody.
pub(super) fn passive(connection: &Connection) -> rusqlite::Result<Progress> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        // Minus one when another connection is at it.
        let pages: i64 = row.get(1)?;
        let moved: i64 = row.get(2)?;
        Ok(Progress {
            pages: pages.max(0).cast_unsigned(),
            moved: moved.max(0).cast_unsigned(),
        })
    })
}

fn watch(connection: &Connection, wal: &Wal, path: &Path) {
    let mut moved = 0;
    let mut last_pages = 0;
    let mut quiet_looks = 0;
    let (mut alerted, mut failing) = (false, false);
    while !wal.stop.load(Ordering::Relaxed) {
        thread::park_timeout(LOOK_EVERY);
        let pages = wal.pages.load(Ordering::Relaxed);
        if pages < moved {
            // The writer began the WAL anew.
            moved = 0;
        }
        quiet_looks = if pages == last_pages { quiet_looks + 1 } else { 0 };
        last_pages = pages;
        let behind = pages - moved;
        if behind < STEP_PAGES && !(behind > 0 && quiet_looks >= QUIET_LOOKS) {
            continue;
        }
        match passive(connection) {
            Ok(progress) => {
                failing = false;
                moved = progress.moved;
                wal.finish.store(writer_should_finish(progress), Ordering::Relaxed);
                debug!(pages = progress.pages, moved, "checkpoint");
                let over = progress.pages >= ALERT_PAGES;
                if over && !alerted {
                    warn!(
                        ledger = %path.display(),
                        wal_bytes = progress.pages * PAGE_BYTES,
                        "the write-ahead log is large: a long reader (audit, export, sqlite3) may hold it, or the disk is too slow"
                    );
                }
                alerted = over;
            }
            Err(error) => {
                if !failing {
                    warn!(ledger = %path.display(), %error, "checkpoint failed; it is tried again until it works");
                }
                failing = true;
            }
        }
    }
}

fn writer_should_finish(progress: Progress) -> bool {
    let behind = progress.pages.saturating_sub(progress.moved);
    progress.pages >= ALERT_PAGES || (progress.pages >= RESET_PAGES && behind <= BEHIND_PAGES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_finishes_a_large_log_with_little_behind() {
        let check = |pages, behind, expected| {
            let progress = Progress {
                pages,
                moved: pages - behind,
            };
            assert_eq!(writer_should_finish(progress), expected, "{progress:?}");
        };
        check(100, 0, false);
        check(RESET_PAGES, BEHIND_PAGES_MAX, true);
        check(RESET_PAGES, BEHIND_PAGES_MAX + 1, false);
        check(ALERT_PAGES, ALERT_PAGES, true);
    }
}
