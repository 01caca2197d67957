//! Users' accounts: the balance, what was opened, and the list of the user's transfers.

use super::accounts::Account;
use super::schema::{from_sql, to_sql};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use shake_rules::winnings::WinLimits;
use shake_rules::{PacketId, SponsorId, UnixMillis, UserId};

/// A user's row; a user who never got anything has an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAccount {
    /// What the user has, in cents.
    pub balance: i64,
    /// Packets of the seed that the user won and opened.
    pub packets_opened: u32,
    /// Their sponsors, as the table has them.
    pub(super) sponsors: Vec<u8>,
    /// The head of the list of transfers.
    pub(super) last_transfer: Option<i64>,
    /// How many lines of the outbox are this user's.
    pub(super) lines: i64,
}

/// One movement of a user's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Positive when the user gained.
    pub cents: i64,
    /// The packet that it came from or went to.
    pub packet: PacketId,
    /// When.
    pub at: UnixMillis,
}

impl UserAccount {
    /// Packets of this sponsor that the user opened.
    #[must_use]
    pub fn opened_of(&self, sponsor: SponsorId) -> usize {
        let (pairs, _) = self.sponsors.as_chunks::<2>();
        pairs
            .iter()
            .filter(|&&pair| u16::from_be_bytes(pair) == sponsor.0)
            .count()
    }

    /// Whether the user may open one more packet, of this sponsor.
    #[must_use]
    pub fn may_open(&self, sponsor: SponsorId, limits: &WinLimits) -> bool {
        self.packets_opened < u32::from(limits.packets_per_user)
            && self.opened_of(sponsor) < usize::from(limits.packets_per_sponsor)
    }

    pub(super) fn note_opened(&mut self, sponsor: SponsorId) {
        self.packets_opened += 1;
        self.sponsors.extend(sponsor.0.to_be_bytes());
    }

    /// So many cents came in by this transfer, or went out. Gives the transfer before of the list.
    pub(super) fn note_moved(&mut self, cents: i64, transfer: i64) -> Option<i64> {
        self.balance += cents;
        self.lines += 1;
        self.last_transfer.replace(transfer)
    }
}

/// Finds users by their ids.
pub(super) struct Finder<'c>(CachedStatement<'c>);

impl<'c> Finder<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql =
            "SELECT balance_cents, packets_opened, sponsors_opened, last_transfer, lines FROM users WHERE user = ?1";
        connection.prepare_cached(sql).map(Self)
    }

    pub(super) fn find(&mut self, user: UserId) -> rusqlite::Result<Option<UserAccount>> {
        let read = |row: &Row<'_>| {
            Ok(UserAccount {
                balance: row.get(0)?,
                packets_opened: row.get(1)?,
                sponsors: row.get(2)?,
                last_transfer: row.get(3)?,
                lines: row.get(4)?,
            })
        };
        self.0.query_row([to_sql(user.0)], read).optional()
    }
}

/// Writes accounts, whether or not they are there.
pub(super) fn store(connection: &Connection, users: &[(UserId, UserAccount)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO users (user, balance_cents, packets_opened, sponsors_opened, last_transfer, lines)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (user) DO UPDATE SET balance_cents = excluded.balance_cents, last_transfer = excluded.last_transfer,
         packets_opened = excluded.packets_opened, sponsors_opened = excluded.sponsors_opened, lines = excluded.lines",
    )?;
    for (user, account) in users {
        statement.execute(params![
            to_sql(user.0),
            account.balance,
            account.packets_opened,
            account.sponsors,
            account.last_transfer,
            account.lines
        ])?;
    }
    Ok(())
}

/// The last movements of a user's money, latest first, at most `max`.
pub(super) fn movements(connection: &Connection, account: &UserAccount, max: usize) -> rusqlite::Result<Vec<Movement>> {
    let mut statement = connection.prepare_cached(
        "SELECT at_ms, debit_kind, debit, credit, cents, previous FROM transfers WHERE transfer = ?1",
    )?;
    let (user_kind, _) = Account::User(UserId(0)).to_columns();
    let mut next = account.last_transfer;
    let mut movements = Vec::new();
    while let Some(transfer) = next
        && movements.len() < max
    {
        next = statement.query_row([transfer], |row| {
            let (at, kind, debit, credit, cents): (i64, i64, i64, i64, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            // The other side is always a packet.
            let (cents, packet) = if kind == user_kind {
                (-cents, credit)
            } else {
                (cents, debit)
            };
            movements.push(Movement {
                cents,
                packet: PacketId(from_sql(packet)),
                at: UnixMillis(from_sql(at)),
            });
            row.get(5)
        })?;
    }
    Ok(movements)
}
