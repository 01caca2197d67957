//! Accounts: who money moves between. Balances of the house's accounts are gathered during a transaction and written
//! once at its end; a user's and a packet's stand in their own rows.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, params};
use shake_rules::{Cents, PacketId, SponsorId, UserId};
use std::collections::BTreeMap;
use std::fmt;

/// One side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where the event's money comes from. Its balance is minus everything that was ever funded.
    Bank,
    /// What was released and can never be opened.
    Void,
    /// What a sponsor funded and is not released yet.
    Sponsor(SponsorId),
    /// What lies in a packet.
    Packet(PacketId),
    /// What a user has.
    User(UserId),
}

impl Account {
    /// Kind and number as the tables store them.
    #[must_use]
    pub fn to_columns(self) -> (i64, i64) {
        match self {
            Self::Bank => (0, 0),
            Self::Void => (1, 0),
            Self::Sponsor(sponsor) => (2, sponsor.0.into()),
            Self::Packet(packet) => (3, to_sql(packet.0)),
            Self::User(user) => (4, to_sql(user.0)),
        }
    }

    /// The account of this kind and number; `None` when there is no such account.
    #[must_use]
    pub fn from_columns(kind: i64, id: i64) -> Option<Self> {
        Some(match kind {
            0 if id == 0 => Self::Bank,
            1 if id == 0 => Self::Void,
            2 => Self::Sponsor(SponsorId(id.try_into().ok()?)),
            3 => Self::Packet(PacketId(from_sql(id))),
            4 => Self::User(UserId(from_sql(id))),
            _ => return None,
        })
    }

    /// The kind's name in exports.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Bank => "bank",
            Self::Void => "void",
            Self::Sponsor(_) => "sponsor",
            Self::Packet(_) => "packet",
            Self::User(_) => "user",
        }
    }

    /// The number within its kind; zero for bank and void.
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::Bank | Self::Void => 0,
            Self::Sponsor(sponsor) => sponsor.0.into(),
            Self::Packet(packet) => packet.0,
            Self::User(user) => user.0,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bank | Self::Void => f.write_str(self.kind()),
            _ => write!(f, "{} {}", self.kind(), self.id()),
        }
    }
}

/// Changes to the house's balances within one transaction.
#[derive(Debug, Default)]
pub(super) struct HouseDeltas(BTreeMap<Account, i64>);

impl HouseDeltas {
    /// Notes a change in cents.
    pub(super) fn add(&mut self, account: Account, cents: i64) {
        *self.0.entry(account).or_default() += cents;
    }

    /// Writes and forgets all changes.
    pub(super) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO house (kind, id, balance_cents) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, id) DO UPDATE SET balance_cents = balance_cents + excluded.balance_cents",
        )?;
        for (account, cents) in std::mem::take(&mut self.0) {
            let (kind, id) = account.to_columns();
            statement.execute(params![kind, id, cents])?;
        }
        Ok(())
    }
}

/// Adds an opened packet to a user's account.
pub(super) fn credit_user(connection: &Connection, user: UserId, amount: Cents) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO users (user, balance_cents, packets_opened) VALUES (?1, ?2, 1)
             ON CONFLICT (user) DO UPDATE
             SET balance_cents = balance_cents + excluded.balance_cents, packets_opened = packets_opened + 1",
        )?
        .execute(params![to_sql(user.0), to_sql(amount.0)])?;
    Ok(())
}

/// A user's balance in cents; `None` for a user who never got anything.
pub(super) fn user_balance(connection: &Connection, user: UserId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT balance_cents FROM users WHERE user = ?1")?
        .query_row([to_sql(user.0)], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_round_trip() {
        for account in [
            Account::Bank,
            Account::Void,
            Account::Sponsor(SponsorId(u16::MAX)),
            Account::Packet(PacketId(u64::MAX)),
            Account::User(UserId(1 << 63)),
        ] {
            let (kind, id) = account.to_columns();
            assert_eq!(Account::from_columns(kind, id), Some(account));
        }
        assert_eq!(Account::from_columns(2, 70_000), None);
        assert_eq!(Account::from_columns(9, 0), None);
    }
}
