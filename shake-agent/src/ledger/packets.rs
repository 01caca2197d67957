//! Packets: one row for each that was released, with its state and its account.
//!
//! ```text
//! released ──▶ issued ──▶ opened
//!    │  └─────────────────▶ ▲        a ticket proves the issue by itself
//!    └──▶ void
//! ```

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shake_rules::seed::SeedRecord;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// Where a packet stands. What is in the seed and not here is unreleased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Given to a shard, not known to be issued.
    Released,
    /// In a ticket for this user.
    Issued(UserId),
    /// Opened by this user.
    Opened(UserId),
    /// Never to be issued or opened.
    Void,
}

impl State {
    /// The state's name in exports and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Issued(_) => "issued",
            Self::Opened(_) => "opened",
            Self::Void => "void",
        }
    }

    /// The state of these columns; `None` when they make none.
    #[must_use]
    pub fn from_columns(state: i64, user: Option<i64>) -> Option<Self> {
        let user = user.map(|user| UserId(from_sql(user)));
        Some(match state {
            1 => Self::Released,
            2 => Self::Issued(user?),
            3 => Self::Opened(user?),
            4 => Self::Void,
            _ => return None,
        })
    }
}

/// What the ledger knows of a released packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its amount, from the seed.
    pub amount: Cents,
    /// Who funds it, from the seed.
    pub sponsor: SponsorId,
    /// Where it stands.
    pub state: State,
}

/// A release: which record of the seed goes to which shard, at which position of its grant ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Index of the record in the seed file.
    pub seed_index: u64,
    /// The record.
    pub record: SeedRecord,
    /// The ledger's number of the lane.
    pub lane: i64,
    /// Position in the lane's grant ring.
    pub grant_position: u64,
}

/// A packet that was released to a lane and is not known to be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The packet.
    pub packet: PacketId,
    /// Its amount.
    pub amount: Cents,
    /// Who funds it.
    pub sponsor: SponsorId,
    /// Position in the lane's grant ring.
    pub grant_position: u64,
}

pub(super) fn find(connection: &Connection, packet: PacketId) -> rusqlite::Result<Option<Packet>> {
    connection
        .prepare_cached("SELECT cents, sponsor, state, user FROM packets WHERE packet = ?1")?
        .query_row([to_sql(packet.0)], |row| {
            Ok(Packet {
                amount: Cents(from_sql(row.get(0)?)),
                sponsor: SponsorId(row.get(1)?),
                state: State::from_columns(row.get(2)?, row.get(3)?)
                    .ok_or(rusqlite::Error::IntegralValueOutOfRange(2, packet.0.cast_signed()))?,
            })
        })
        .optional()
}

pub(super) fn insert(connection: &Connection, release: &Release, at: UnixMillis) -> rusqlite::Result<()> {
    let record = &release.record;
    connection
        .prepare_cached(
            "INSERT INTO packets
             (packet, seed_index, sponsor, cents, balance_cents, state, lane, grant_position, released_ms)
             VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5, ?6, ?7)",
        )?
        .execute(params![
            to_sql(record.packet.0),
            to_sql(release.seed_index),
            record.sponsor.0,
            to_sql(record.amount.0),
            release.lane,
            to_sql(release.grant_position),
            to_sql(at.0)
        ])?;
    Ok(())
}

pub(super) fn set_issued(
    connection: &Connection,
    packet: PacketId,
    user: UserId,
    stage: u16,
    at: UnixMillis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE packets SET state = 2, user = ?2, stage = ?3, issued_ms = ?4 WHERE packet = ?1")?
        .execute(params![to_sql(packet.0), to_sql(user.0), stage, to_sql(at.0)])?;
    Ok(())
}

pub(super) fn set_opened(
    connection: &Connection,
    packet: PacketId,
    user: UserId,
    stage: u16,
    at: UnixMillis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = 3, balance_cents = 0, user = ?2, stage = ?3, closed_ms = ?4 WHERE packet = ?1",
        )?
        .execute(params![to_sql(packet.0), to_sql(user.0), stage, to_sql(at.0)])?;
    Ok(())
}

pub(super) fn set_void(connection: &Connection, packet: PacketId, at: UnixMillis) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE packets SET state = 4, balance_cents = 0, closed_ms = ?2 WHERE packet = ?1")?
        .execute(params![to_sql(packet.0), to_sql(at.0)])?;
    Ok(())
}

/// What is only released, of one lane, at grant positions within `positions`, in their order.
pub(super) fn held_of_lane(
    connection: &Connection,
    lane: i64,
    positions: std::ops::Range<u64>,
) -> rusqlite::Result<Vec<Held>> {
    connection
        .prepare_cached(
            "SELECT packet, cents, sponsor, grant_position FROM packets
             WHERE state = 1 AND lane = ?1 AND grant_position >= ?2 AND grant_position < ?3 ORDER BY grant_position",
        )?
        .query_map(params![lane, to_sql(positions.start), to_sql(positions.end)], held)?
        .collect()
}

/// What is only released, of every lane that belongs to another mapping.
pub(super) fn held_of_other_mappings(connection: &Connection, mapping: u64) -> rusqlite::Result<Vec<Held>> {
    connection
        .prepare_cached(
            "SELECT packet, cents, sponsor, grant_position FROM packets
             WHERE state = 1 AND lane IN (SELECT lane FROM lanes WHERE mapping <> ?1) ORDER BY lane, grant_position",
        )?
        .query_map([to_sql(mapping)], held)?
        .collect()
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        packet: PacketId(from_sql(row.get(0)?)),
        amount: Cents(from_sql(row.get(1)?)),
        sponsor: SponsorId(row.get(2)?),
        grant_position: from_sql(row.get(3)?),
    })
}
