//! The ledger: double entry. Every movement of money is a transfer between accounts; balances sum to zero; amounts are whole
//! cents.
//!
//! A transaction ([`Ledger::transaction`]) is read from the [`Store`], done in memory in its [`Book`], and written as
//! [`Differences`]. One thread writes. All effects are durable when it returns, or none of them is there. After a failed write
//! nothing more is written ([`LedgerError::Failed`]) until [`Ledger::recover`] has reached the store anew and made a commit in
//! it: what a failed write or sync left is unknown. Until then the ledger is read-only: [`Ledger::look`] shows what is committed.
//! A closed ledger ([`Ledger::close`]) is never written again.
//!
//! The modules never decide whether something may be done; `requests` does. The store is SQLite ([`Sqlite`]), whose statements
//! are in the modules named after tables, or PostgreSQL ([`Postgres`]).

mod accounts;
mod batch;
mod book;
mod bound;
mod checkpoint;
mod connect;
mod differences;
mod error;
mod lanes;
mod lock;
mod opening;
mod out;
mod outbox;
mod packet;
mod packets;
mod postgres;
mod reader;
mod shares;
mod spans;
mod sqlite;
mod standing;
mod store;
mod transfers;
mod users;
mod view;

pub mod schema;

pub use accounts::Account;
pub use batch::Batch;
pub use book::{Book, Opening};
pub use bound::{Bound, PartBooks, bound_seed};
pub(crate) use bound::{check_total, survey_for_a_new_ledger};
pub use checkpoint::{Checkpointer, PAGE_BYTES, Wal};
pub(crate) use connect::log_path;
pub use connect::open_read_only;
pub use differences::{Differences, RefusedRow, SeedRow};
pub use error::{LedgerError, when};
pub use lanes::{LaneRecord, LaneRow};
pub use lock::holder;
pub use opening::{Commits, FileCommits, Incarnation, Machine, OpeningRow};
pub(crate) use opening::{machines, told as told_machines};
pub use out::{Out, still_out};
pub use outbox::{ClosingRow, LineKind, OutboxRow};
pub use packet::{EVENT_SPONSOR, Granted, Held, Making, NO_LANE, Origin, Packet, Release, State, Term, shares_of};
pub use postgres::{
    Access, Failure, Halt, Installation, Known, Loss, PartRow, Postgres, SEEN_MS, SKIPPED, adopt, init, parts, retire,
    server_name,
};
pub use reader::{Cursor, PRIMARY_MAX, Place, Query, Reader, Row};
pub use shares::{Made, Offer, OfferRow, SendRow, Share, ShareRow};
pub use spans::{SPAN_OVER_MS, Span, Spans};
pub use sqlite::Sqlite;
pub use standing::{Numbers, Standing};
pub use store::{Listing, Look, Needed, Reached, Seen, Store};
pub use transfers::{Entry, Transfer};
pub use users::{Movement, UserAccount};
pub use view::View;

use shake_rules::{LedgerId, PacketId, UnixMillis, UserId};
use std::{path::Path, sync::Arc, time::Instant};

/// When the ledger at `path` was closed; `None` while it is open.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn closed_at(path: &Path) -> Result<Option<UnixMillis>, LedgerError> {
    let connection = open_read_only(path)?;
    outbox::closed(&connection).map_err(|source| LedgerError::sqlite("read", path, source))
}

/// The one writer of a ledger.
#[derive(Debug)]
pub struct Ledger<S = Sqlite> {
    store: S,
    /// Where it stands, and the transaction under way.
    book: Book,
    failed: Option<String>,
    /// What failed is the way to the store.
    is_away: bool,
    incarnation: Incarnation,
    /// What this machine is called.
    machine: String,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes an empty one, and takes its lock (`<path>.lock`).
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when another agent has it, [`LedgerError::NotALedger`], [`LedgerError::Version`],
    /// [`LedgerError::NoWal`], [`LedgerError::Io`] or [`LedgerError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::on(Sqlite::open(path)?)
    }

    /// Starts the thread that checkpoints. Without one the WAL grows until the ledger is closed.
    ///
    /// # Errors
    /// When its connection or the thread cannot be made.
    pub fn checkpointer(&self) -> Result<Checkpointer, LedgerError> {
        Checkpointer::spawn(self.store.place(), Arc::clone(&self.store.wal))
    }
}

impl<S: Store> Ledger<S> {
    /// A ledger that is kept by a store, in an opening of its own.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn on(store: S) -> Result<Self, LedgerError> {
        let incarnation = Incarnation::random();
        let standing = store.standing(incarnation)?;
        Ok(Self {
            store,
            book: Book::of(standing),
            failed: None,
            is_away: false,
            incarnation,
            machine: host::machine::name(),
        })
    }

    /// What keeps it.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.book.standing
    }

    /// Reads anew where it stands.
    fn look_up(&mut self) -> Result<(), LedgerError> {
        self.book.standing = self.store.standing(self.incarnation)?;
        Ok(())
    }

    /// Which ledger it is, in all its copies; random, and `None` until its seed is bound.
    #[must_use]
    pub fn identity(&self) -> Option<LedgerId> {
        self.bound().and_then(|bound| bound.identity)
    }

    /// How many commits it has. Larger than any stamp that was seen of it before, unless it was restored from a backup.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.standing().stamp
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

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.place()
    }

    /// Why it refuses writes; `None` while it does not.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Whether it refuses writes because its store cannot be reached, or does not answer.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.failed.is_some() && self.is_away
    }

    /// Nobody waits for the store beyond this moment; see [`Store::wait_until`].
    pub fn wait_until(&self, end: Option<Instant>) {
        self.store.wait_until(end);
    }

    /// Refuses writes from now on, until [`Ledger::recover`].
    pub fn refuse_writes(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    /// Goes on with leaving the state of refusing writes: reaches the store anew and makes a small commit. Whatever was known of
    /// the ledger's content has to be read again then: the transaction that failed may be there after all.
    ///
    /// # Errors
    /// When the storage fails still; it goes on to refuse writes.
    pub fn recover(&mut self) -> Result<Reached, LedgerError> {
        let reached = self.store.reopen().and_then(|reached| {
            if reached == Reached::Now {
                self.look_up()?;
            }
            Ok(reached)
        });
        match &reached {
            Ok(Reached::Now) => self.failed = None,
            Ok(Reached::NotYet) => {}
            Err(fault) => self.is_away = fault.is_away(),
        }
        reached
    }

    /// Closes the books: what no ticket can open goes back to who funded it, and the closing line follows the last movement.
    /// From then on nothing is written. Gives when.
    ///
    /// # Errors
    /// [`LedgerError::StillOut`] while anything can be opened or grabbed, or a failed write.
    pub fn close(&mut self, now: UnixMillis) -> Result<UnixMillis, LedgerError> {
        self.transaction(now, |batch| batch.close_books())?;
        Ok(now)
    }

    /// When it was closed; `None` while it is open.
    #[must_use]
    pub fn closed(&self) -> Option<UnixMillis> {
        self.standing().closed
    }

    /// Runs `work` in one transaction and makes it durable.
    ///
    /// # Errors
    /// Whatever `work` gives, and any failure to write or sync. After one that is a failure of the storage nothing of the
    /// transaction is taken to be there, and every further call is [`LedgerError::Failed`].
    pub fn transaction<T>(
        &mut self,
        now: UnixMillis,
        work: impl FnOnce(&mut Batch<'_, S>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if let Some(reason) = &self.failed {
            return Err(LedgerError::Failed(reason.clone()));
        }
        if let Some(at) = self.closed() {
            let path = self.path().to_owned();
            return Err(LedgerError::Closed { path, at });
        }
        let outcome = self.try_transaction(now, work);
        if let Err(error) = &outcome {
            self.store.roll_back();
            if error.is_storage() && !error.is_conflict() {
                self.failed = Some(error.to_string());
                self.is_away = error.is_away();
            } else if let Err(fault) = self.look_up() {
                // Numbers and balances stand as if it had been committed.
                self.failed = Some(fault.to_string());
                self.is_away = fault.is_away();
            }
        }
        outcome
    }

    fn try_transaction<T>(
        &mut self,
        now: UnixMillis,
        work: impl FnOnce(&mut Batch<'_, S>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let Self { store, book, .. } = self;
        store.begin()?;
        if let Some(spans) = store.new_spans()? {
            book.standing.spans = spans;
        }
        let standing = &book.standing;
        let span = match Span::between(standing.last_commit, now).filter(|_| standing.stamp > 0) {
            Some(span) => store.are_out()?.then_some(span),
            None => None,
        };
        book.begin(now, self.incarnation, &self.machine, span);
        let value = work(&mut Batch::new(store, book))?;
        store.commit(book.finish())?;
        book.committed();
        Ok(value)
    }

    /// Draws cents for gifts from what all writers of the ledger have in common; see [`Store::draw_gifts`]. Gives how much.
    ///
    /// # Errors
    /// A failed write.
    pub fn draw_gifts(&mut self, needed: i64, ahead: i64, now: UnixMillis) -> Result<i64, LedgerError> {
        self.transaction(now, |batch| batch.draw_gifts(needed, ahead))
    }

    /// Puts back what was drawn for gifts and not given.
    ///
    /// # Errors
    /// A failed write.
    pub fn put_gifts_back(&mut self, now: UnixMillis) -> Result<(), LedgerError> {
        match self.standing().gifts {
            Some(in_hand) if in_hand > 0 => self.draw_gifts(-in_hand, 0, now).map(drop),
            _ => Ok(()),
        }
    }

    /// Shows what is committed; also while writes are refused.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn look(&self, look: &Look) -> Result<Seen, LedgerError> {
        self.store.look(look)
    }

    /// A user's balance in cents; `None` for a user who never got anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn user_balance(&self, user: UserId) -> Result<Option<i64>, LedgerError> {
        match self.look(&Look::Wallet(user, 0))? {
            Seen::Wallet { balance, .. } => Ok(balance),
            Seen::Packet(_) | Seen::Offers(_) | Seen::Winnings(_) => unreachable!("a store shows what is asked for"),
        }
    }

    /// What the ledger knows of a packet; `None` when it was never released.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn packet(&self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        let Seen::Packet(found) = self.look(&Look::Packet(packet))? else {
            unreachable!("a store shows what is asked for")
        };
        Ok(found.map(|(packet, _)| packet))
    }

    /// When the last commit was.
    #[must_use]
    pub fn last_commit(&self) -> UnixMillis {
        self.standing().last_commit
    }

    /// Whether anything is out whose time runs: while it is so, commits must not be further apart than
    /// [`SPAN_OVER_MS`], or idle time counts as time in which nothing could be written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn are_out(&self) -> Result<bool, LedgerError> {
        self.store.are_out()
    }

    /// The clock that all writers have in common; `None` where there is no other writer.
    #[must_use]
    pub fn now(&self) -> Option<UnixMillis> {
        self.store.now()
    }

    /// As [`Store::least_answered`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn least_answered(&self, counts_silence: bool) -> Result<Option<UnixMillis>, LedgerError> {
        self.store.least_answered(counts_silence)
    }

    /// Whether others write to the ledger as well, and look whether this agent does.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// When the first packet may go back; `None` while none can.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.store.first_due()
    }

    /// When the last ticket ends that may be out for a packet that is lost, where tickets live so long; `None` when none is lost.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lost_end(&self, ticket_lifetime_ms: u64) -> Result<Option<UnixMillis>, LedgerError> {
        let end = |began: UnixMillis| {
            let ends = began.plus_ms(ticket_lifetime_ms);
            self.standing().spans.end(Term { began, ends })
        };
        Ok(self.store.last_lost()?.map(end))
    }
}
