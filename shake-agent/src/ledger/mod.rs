//! The ledger: double entry, on SQLite. Every movement of money is a transfer between accounts; balances sum to zero;
//! amounts are whole cents.
//!
//! One process, and in it one thread, writes ([`Ledger`]); anyone may read meanwhile. All effects of a transaction are
//! durable when [`Ledger::transaction`] returns, or none of them is there. After a failed write nothing more is written
//! ([`LedgerError::Failed`]) until [`Ledger::recover`] has opened the file anew and made a commit in it: what a failed write
//! or sync left on the disk is unknown. Until then the ledger is read-only: [`Ledger::read`] shows what is committed.
//!
//! A closed ledger ([`Ledger::close`]) is never written again.
//!
//! The modules never decide whether something may be done; `requests` does.

mod accounts;
mod batch;
mod bound;
mod checkpoint;
mod connect;
mod error;
mod lanes;
mod lock;
mod opening;
mod out;
mod outbox;
mod packet;
mod packets;
mod shares;
mod spans;
mod transfers;
mod users;

pub mod schema;

pub use accounts::Account;
pub use batch::{Batch, Opening};
pub use bound::{Bound, bound_seed};
pub(crate) use bound::{check_total, survey_for_a_new_ledger};
pub use checkpoint::{Checkpointer, PAGE_BYTES, Wal};
pub(crate) use connect::log_path;
pub use connect::open_read_only;
pub use error::{LedgerError, when};
pub use lanes::LaneRecord;
pub use lock::holder;
pub use opening::{Commits, Incarnation, Machine};
pub(crate) use opening::{machines, told as told_machines};
pub use out::{Out, still_out};
pub use outbox::LineKind;
pub use packet::{EVENT_SPONSOR, Held, Making, Origin, Packet, Release, State, Term, shares_of};
pub use shares::{Made, Offer, Share};
pub use spans::{SPAN_OVER_MS, Span, Spans};
pub use transfers::Transfer;
pub use users::{Movement, UserAccount};

use rusqlite::Connection;
use shake_rules::{LedgerId, PacketId, UnixMillis, UserId};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When the ledger at `path` was closed; `None` while it is open.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn closed_at(path: &Path) -> Result<Option<UnixMillis>, LedgerError> {
    let connection = open_read_only(path)?;
    outbox::closed(&connection).map_err(|source| LedgerError::sqlite("read", path, source))
}

/// The one writer of a ledger. Holds its lock for as long as it lives.
#[derive(Debug)]
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
    wal: Arc<Wal>,
    failed: Option<String>,
    /// Random; made when the seed is bound.
    identity: Option<LedgerId>,
    /// How many commits are known to be there.
    stamp: u64,
    /// When the last one was.
    last_commit: UnixMillis,
    /// When it was closed; then there are no more.
    closed: Option<UnixMillis>,
    spans: Spans,
    incarnation: Incarnation,
    /// What this machine is called.
    machine: String,
    /// The incarnation's row, once it made a commit.
    incarnation_row: Option<i64>,
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
        let wal = Arc::new(Wal::default());
        let connection = connect::writer(path, &wal)?;
        // What the log holds may be in the system's cache only: the last run may have ended because a sync failed, and the
        // next sync of the same pages would then say "success". Moved into the file, it is written and synced anew.
        checkpoint::passive(&connection).map_err(|source| LedgerError::sqlite("checkpoint", path, source))?;
        let mut ledger = Self {
            connection,
            path: path.to_owned(),
            wal,
            failed: None,
            identity: None,
            stamp: 0,
            last_commit: UnixMillis(0),
            closed: None,
            spans: Spans::default(),
            incarnation: Incarnation::random(),
            machine: host::machine::name(),
            incarnation_row: None,
            _lock: lock,
        };
        ledger.look_up()?;
        Ok(ledger)
    }

    /// Reads again what is kept in memory of the ledger's content.
    fn look_up(&mut self) -> Result<(), LedgerError> {
        self.identity = self.bound()?.and_then(|bound| bound.identity);
        self.stamp = opening::stamp(&self.connection).map_err(|source| self.unread(source))?;
        self.last_commit = spans::last_commit(&self.connection).map_err(|source| self.unread(source))?;
        self.spans = spans::all(&self.connection).map_err(|source| self.unread(source))?;
        self.closed = outbox::closed(&self.connection).map_err(|source| self.unread(source))?;
        Ok(())
    }

    fn unread(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::sqlite("read", &self.path, source)
    }

    /// Which ledger it is, in all its copies; `None` until its seed is bound.
    #[must_use]
    pub fn identity(&self) -> Option<LedgerId> {
        self.identity
    }

    /// How many commits it has. Larger than any stamp that was seen of it before, unless it was restored from a backup.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// This opening of it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The machine is called so in what is written from now on, and not by its host name.
    pub fn write_as(&mut self, machine: &str) {
        machine.clone_into(&mut self.machine);
    }

    /// What it says of its commits.
    #[must_use]
    pub fn commits(&self) -> Commits<'_> {
        Commits::of(&self.connection, &self.path)
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

    /// Refuses writes from now on, until [`Ledger::recover`].
    pub fn refuse_writes(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    /// Tries to leave the state of refusing writes: opens the file anew and makes a small commit. Whatever was known of the
    /// ledger's content has to be read again then: the transaction that failed may be there after all.
    ///
    /// # Errors
    /// When the storage fails still; it goes on to refuse writes.
    pub fn recover(&mut self) -> Result<(), LedgerError> {
        let connection = connect::writer(&self.path, &self.wal)?;
        connect::probe(&connection).map_err(|source| LedgerError::sqlite("write to", &self.path, source))?;
        // The old connection was open until here. SQLite reads the log anew only when nobody has the file open, so it never
        // came to believe a commit whose sync failed; the probe went over its bytes.
        self.connection = connection;
        self.look_up()?;
        self.failed = None;
        Ok(())
    }

    /// Closes the books: what no ticket can open goes back to who funded it, and the closing line follows the last movement.
    /// From then on nothing is written. Gives when.
    ///
    /// # Errors
    /// [`LedgerError::StillOut`] while anything can be opened or grabbed, or a failed write.
    pub fn close(&mut self, now: UnixMillis) -> Result<UnixMillis, LedgerError> {
        self.transaction(now, |batch| batch.close())?;
        self.closed = Some(now);
        Ok(now)
    }

    /// When it was closed; `None` while it is open.
    #[must_use]
    pub fn closed(&self) -> Option<UnixMillis> {
        self.closed
    }

    /// Starts the thread that checkpoints. Without one the WAL grows until the ledger is closed.
    ///
    /// # Errors
    /// When its connection or the thread cannot be made.
    pub fn checkpointer(&self) -> Result<Checkpointer, LedgerError> {
        Checkpointer::spawn(&self.path, Arc::clone(&self.wal))
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
        if let Some(at) = self.closed {
            return Err(LedgerError::Closed {
                path: self.path.clone(),
                at,
            });
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
        let incarnation = match self.incarnation_row {
            Some(row) => row,
            None => opening::find_or_make(&self.connection, self.incarnation, &self.machine, now)
                .map_err(|source| LedgerError::sqlite("store the incarnation in", path, source))?,
        };
        let span = Span::between(self.last_commit, now)
            .filter(|_| self.stamp > 0)
            .map_or(Ok(None), |span| {
                packets::are_out(&self.connection).map(|are_out| are_out.then_some(span))
            })
            .map_err(|source| LedgerError::sqlite("read", path, source))?;
        let spans = span.map_or_else(|| self.spans.clone(), |span| self.spans.with(span));
        let mut batch = Batch::new(&self.connection, path, now, incarnation, spans.clone());
        if let Some(span) = span {
            batch.note_span(span)?;
        }
        let value = work(&mut batch)?;
        batch.finish()?;
        crate::crash::point("turn:before-commit");
        execute("COMMIT", "commit to")?;
        self.stamp += 1;
        self.last_commit = now;
        self.spans = spans;
        self.incarnation_row = Some(incarnation);
        Ok(value)
    }

    /// Runs `work`, which only looks, on what is committed; also while writes are refused.
    ///
    /// # Errors
    /// Whatever `work` gives, and when the ledger cannot be read.
    pub fn read<T>(
        &self,
        now: UnixMillis,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let sqlite = |source| LedgerError::sqlite("read", &self.path, source);
        self.connection.execute_batch("BEGIN").map_err(sqlite)?;
        let outcome = work(&mut Batch::new(
            &self.connection,
            &self.path,
            now,
            0,
            self.spans.clone(),
        ));
        // Whatever it did, nothing comes of it.
        self.connection.execute_batch("ROLLBACK").map_err(sqlite)?;
        outcome
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

    /// When the last commit was.
    #[must_use]
    pub fn last_commit(&self) -> UnixMillis {
        self.last_commit
    }

    /// Whether anything is out whose time runs: while it is so, commits must not be further apart than
    /// [`SPAN_OVER_MS`], or idle time counts as time in which nothing could be written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn are_out(&self) -> Result<bool, LedgerError> {
        packets::are_out(&self.connection).map_err(|source| self.unread(source))
    }

    /// When the first packet may go back; `None` while none can.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        packets::first_due(&self.connection).map_err(|source| LedgerError::sqlite("read", &self.path, source))
    }

    /// When the last ticket ends that may be out for a packet that is lost, where tickets live so long; `None` when none is lost.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lost_end(&self, ticket_lifetime_ms: u64) -> Result<Option<UnixMillis>, LedgerError> {
        let last = packets::last_lost(&self.connection).map_err(|source| self.unread(source))?;
        Ok(last.map(|began| {
            self.spans.end(Term {
                began,
                ends: began.plus_ms(ticket_lifetime_ms),
            })
        }))
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
