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

/// One movement, as the outbox has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// 1, 2, 3, …, in the order of the commits.
    pub seq: i64,
    /// When.
    pub at: UnixMillis,
    /// Whose balance it is.
    pub user: UserId,
    /// What came in; negative when it went out.
    pub cents: i64,
    /// Why.
    pub kind: LineKind,
    /// The packet that it came from or went to.
    pub packet: PacketId,
    /// The transfer that moved it.
    pub transfer: i64,
    /// 1, 2, 3, … of this user.
    pub number: i64,
    /// What the user has after it, in cents.
    pub balance: i64,
    /// The row of the opening that writes it.
    pub incarnation: i64,
}

/// Appends rows. None is ever deleted: no gaps.
pub(super) fn append(connection: &Connection, rows: &[OutboxRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO outbox (seq, at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in rows {
        statement.execute(params![
            row.seq,
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
    }
    Ok(())
}

/// The number of the last row; 0 before the first.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM outbox")?
        .query_row([], |row| row.get(0))
}

/// When the ledger was closed: its last row is then the closing line. `None` while it is open.
pub(super) fn closed(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    let last = connection
        .prepare_cached("SELECT kind, at_ms FROM outbox ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, from_sql(row.get(1)?))))
        .optional()?;
    Ok(last.and_then(|(kind, at_ms)| (kind == LineKind::Close.to_column()).then_some(UnixMillis(at_ms))))
}

/// The closing line: how many users are owed something, and how much in all, is counted by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingRow {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: UnixMillis,
    /// The row of the opening that writes it.
    pub incarnation: i64,
}

/// Appends the closing line, once all balances are written.
pub(super) fn append_closing(connection: &Connection, row: &ClosingRow) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO outbox (seq, at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
         SELECT ?1, ?2, 0, 0, ?3, 0, 0, count(*), coalesce(sum(balance_cents), 0), ?4 FROM users WHERE balance_cents > 0",
        params![
            row.seq,
            to_sql(row.at.0),
            LineKind::Close.to_column(),
            row.incarnation
        ],
    )?;
    Ok(())
}
