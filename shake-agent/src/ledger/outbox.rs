//! The outbox: each credit to a user, once and in order, for settlement. Written in the transaction that pays, and only
//! ever appended to, so a reader that remembers a `seq` misses nothing and sees nothing twice.

use super::schema::to_sql;
use rusqlite::{Connection, params};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// Why a user was credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CreditKind {
    /// A packet that the user won was opened.
    Open,
    /// A share of what another user won or sent.
    Grab,
    /// A share of what the event gave.
    Gift,
    /// What nobody grabbed in time of what the user sent.
    Refund,
}

impl CreditKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Open, Self::Grab, Self::Gift, Self::Refund];

    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Grab => 2,
            Self::Gift => 3,
            Self::Refund => 4,
        }
    }

    /// The kind of this number; `None` when there is no such kind.
    #[must_use]
    pub fn from_column(kind: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.to_column() == kind)
    }

    /// The name in exports and settlement records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Grab => "grab",
            Self::Gift => "gift",
            Self::Refund => "refund",
        }
    }
}

/// One credit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    pub(super) at: UnixMillis,
    pub(super) user: UserId,
    pub(super) amount: Cents,
    pub(super) kind: CreditKind,
    pub(super) packet: PacketId,
    pub(super) transfer: i64,
    /// 1, 2, 3, … of this user.
    pub(super) number: i64,
    /// What the user has after it, in cents.
    pub(super) balance: i64,
    /// The row of the opening that writes it.
    pub(super) incarnation: i64,
}

/// Appends a credit. The rowid is one more than the largest, and none is ever deleted: no gaps.
pub(super) fn append(connection: &Connection, credit: &Credit) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            to_sql(credit.at.0),
            to_sql(credit.user.0),
            to_sql(credit.amount.0),
            credit.kind.to_column(),
            to_sql(credit.packet.0),
            credit.transfer,
            credit.number,
            credit.balance,
            credit.incarnation
        ])?;
    Ok(())
}
