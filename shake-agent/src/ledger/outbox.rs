//! The outbox: each movement of a user's balance, once and in order, for settlement. Written in the transaction that moves the
//! money, and only ever appended to, so a reader that remembers a `seq` misses nothing and sees nothing twice.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, params};
use shake_rules::{PacketId, UnixMillis, UserId};

/// Why a user's balance changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineKind {
    /// A packet that the user won was opened.
    Open,
    /// A share of what another user won or sent.
    Grab,
    /// A share of what the event gave.
    Gift,
    /// What nobody grabbed in time of what the user sent.
    Refund,
    /// The user funded a packet: the only kind that takes off.
    Send,
    /// The closing line: the last one, of no user. Every balance is owed as it stands.
    Close,
}

impl LineKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Grab,
        Self::Gift,
        Self::Refund,
        Self::Send,
        Self::Close,
    ];

    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Grab => 2,
            Self::Gift => 3,
            Self::Refund => 4,
            Self::Send => 5,
            // 6 is reserved for a payout.
            Self::Close => 7,
        }
    }

    /// The kind of this number; `None` when there is no such kind.
    #[must_use]
    pub fn from_column(kind: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.to_column() == kind)
    }

    /// The name in exports and settlement lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Grab => "grab",
            Self::Gift => "gift",
            Self::Refund => "refund",
            Self::Send => "send",
            Self::Close => "close",
        }
    }
}

/// One movement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) at: UnixMillis,
    pub(super) user: UserId,
    /// What came in; negative when it went out.
    pub(super) cents: i64,
    pub(super) kind: LineKind,
    pub(super) packet: PacketId,
    pub(super) transfer: i64,
    /// 1, 2, 3, … of this user.
    pub(super) number: i64,
    /// What the user has after it, in cents.
    pub(super) balance: i64,
    /// The row of the opening that writes it.
    pub(super) incarnation: i64,
}

/// Appends a row. Its rowid is one more than the largest, and none is ever deleted: no gaps.
pub(super) fn append(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            to_sql(row.at.0),
            to_sql(row.user.0),
            row.cents,
            row.kind.to_column(),
            to_sql(row.packet.0),
            row.transfer,
            row.number,
            row.balance,
            row.incarnation
        ])?;
    Ok(())
}

/// When the ledger was closed: its last row is then the closing line. `None` while it is open.
pub(super) fn closed(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    let last = connection
        .prepare_cached("SELECT kind, at_ms FROM outbox ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, from_sql(row.get(1)?))))
        .optional()?;
    Ok(last.and_then(|(kind, at_ms)| (kind == LineKind::Close.to_column()).then_some(UnixMillis(at_ms))))
}

/// Appends the closing line: how many users are owed something, and how much in all.
pub(super) fn append_closing(connection: &Connection, at: UnixMillis, incarnation: i64) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO outbox (at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
         SELECT ?1, 0, 0, ?2, 0, 0, count(*), coalesce(sum(balance_cents), 0), ?3 FROM users WHERE balance_cents > 0",
        params![to_sql(at.0), LineKind::Close.to_column(), incarnation],
    )?;
    Ok(())
}
