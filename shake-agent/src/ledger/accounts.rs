//! Accounts: who money moves between. Balances of the house's accounts stand in a table of few rows, which are written once a
//! transaction; a packet's stands in its own row, users have `users`.

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, params};
use shake_rules::{PacketId, SponsorId, UserId};
use std::collections::BTreeMap;
use std::fmt;

/// One side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where the event's money comes from. Its balance is minus everything that was ever funded.
    Bank,
    /// What was released and can never be opened.
    Void,
    /// What a sponsor funded and is not released yet. Sponsor 0 is the event, with what it may still give away in gifts.
    Sponsor(SponsorId),
    /// What lies in a packet.
    Packet(PacketId),
    /// What a user has.
    User(UserId),
    /// What came back to a sponsor, because it was not opened or grabbed in time.
    Refunded(SponsorId),
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
            Self::Refunded(sponsor) => (5, sponsor.0.into()),
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
            5 => Self::Refunded(SponsorId(id.try_into().ok()?)),
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
            Self::Refunded(_) => "refunded",
        }
    }

    /// The number within its kind; zero for bank and void.
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::Bank | Self::Void => 0,
            Self::Sponsor(sponsor) | Self::Refunded(sponsor) => sponsor.0.into(),
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

/// The balances of the house's accounts, in cents: bank, void, sponsors and what came back to them.
pub(super) fn balances(connection: &Connection) -> rusqlite::Result<BTreeMap<Account, i64>> {
    let mut statement = connection.prepare_cached("SELECT kind, id, balance_cents FROM house")?;
    let rows = statement.query_map([], |row| {
        let account = Account::from_columns(row.get(0)?, row.get(1)?);
        let strange = rusqlite::Error::IntegralValueOutOfRange(0, row.get(0)?);
        Ok((account.ok_or(strange)?, row.get(2)?))
    })?;
    rows.collect()
}

pub(super) fn store(connection: &Connection, balances: &[(Account, i64)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO house (kind, id, balance_cents) VALUES (?1, ?2, ?3)
         ON CONFLICT (kind, id) DO UPDATE SET balance_cents = excluded.balance_cents",
    )?;
    for &(account, cents) in balances {
        let (kind, id) = account.to_columns();
        statement.execute(params![kind, id, cents])?;
    }
    Ok(())
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
            Account::Refunded(SponsorId(2)),
        ] {
            let (kind, id) = account.to_columns();
            assert_eq!(Account::from_columns(kind, id), Some(account));
        }
        assert_eq!(Account::from_columns(2, 70_000), None);
        assert_eq!(Account::from_columns(9, 0), None);
    }
}
