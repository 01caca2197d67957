//! What every transaction builds on: read at the opening and after a failure, and carried on from commit to commit.

use super::accounts::Account;
use super::bound::Bound;
use super::spans::Spans;
use shake_rules::UnixMillis;
use std::collections::BTreeMap;

/// Where a ledger stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many commits it has.
    pub stamp: u64,
    /// When the last one was; zero before the first.
    pub last_commit: UnixMillis,
    /// When it was closed; `None` while it is open.
    pub closed: Option<UnixMillis>,
    /// Times in which it could not be written.
    pub spans: Spans,
    /// What it is tied to; `None` before the first run.
    pub bound: Option<Bound>,
    /// The last numbers that were given.
    pub numbers: Numbers,
    /// Balances of bank, void, sponsors and what came back to them, in cents.
    pub house: BTreeMap<Account, i64>,
    /// What this writer has drawn for gifts and not given, in cents; `None` where no other writer draws from the event's money.
    pub gifts: Option<i64>,
    /// Commits up to this one that are not known here were lost, and somebody has accepted that; 0 where nobody had to.
    pub lost_stamp: u64,
    /// The row of this opening, once it made a commit.
    pub incarnation_row: Option<i64>,
}

/// The last numbers that were given. Each goes on by one, without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of transfers.
    pub transfer: i64,
    /// Of rows of the outbox.
    pub outbox: i64,
    /// Of packets that users or the event made.
    pub made: u64,
    /// Of lanes.
    pub lane: i64,
    /// Of openings.
    pub incarnation: i64,
}
