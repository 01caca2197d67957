//! Packets: one row for each that was released, sent or given, with its state and its account.
//!
//! ```text
//!                             ┌──────────────▶ opened    all of it is with users
//! released ──▶ issued ──▶ (opening) ──▶ open ──▶ │       open: shares wait to be grabbed
//!    │  └───────────────────▶ ▲          ▲  └──▶ refunded
//!    └──▶ void     └──────────┼──────────┼─────▶ refunded   not opened or not grabbed in time
//!              a ticket proves the issue │
//!                                  sent, given
//! ```

use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// Where a packet stands. What is in the seed and not here is unreleased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Given to a shard, not known to be issued.
    Released,
    /// In a ticket for a user.
    Issued,
    /// All of it is with users.
    Opened,
    /// Never to be issued or opened.
    Void,
    /// Shares wait to be grabbed.
    Open,
    /// What was left went back to who funded it.
    Refunded,
}

impl State {
    /// The state's name in exports and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Issued => "issued",
            Self::Opened => "opened",
            Self::Void => "void",
            Self::Open => "open",
            Self::Refunded => "refunded",
        }
    }

    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Released => 1,
            Self::Issued => 2,
            Self::Opened => 3,
            Self::Void => 4,
            Self::Open => 5,
            Self::Refunded => 6,
        }
    }

    /// The state of this number; `None` when there is no such state.
    #[must_use]
    pub fn from_column(state: i64) -> Option<Self> {
        Some(match state {
            1 => Self::Released,
            2 => Self::Issued,
            3 => Self::Opened,
            4 => Self::Void,
            5 => Self::Open,
            6 => Self::Refunded,
            _ => return None,
        })
    }
}

/// Where a packet comes from, and with it who funded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The seed; a sponsor funded it.
    Seed(SponsorId),
    /// A user sent it.
    Sent(UserId),
    /// The event gave it.
    Gift,
}

/// The sponsor that stands for the event itself.
pub const EVENT_SPONSOR: SponsorId = SponsorId(0);

impl Origin {
    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Seed(_) => 1,
            Self::Sent(_) => 2,
            Self::Gift => 3,
        }
    }

    /// The origin of these columns; `None` when they make none.
    #[must_use]
    pub fn from_columns(origin: i64, sponsor: Option<i64>, sender: Option<i64>) -> Option<Self> {
        Some(match origin {
            1 => Self::Seed(SponsorId(sponsor?.try_into().ok()?)),
            2 => Self::Sent(UserId(from_sql(sender?))),
            3 => Self::Gift,
            _ => return None,
        })
    }

    /// The name in exports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed(_) => "seed",
            Self::Sent(_) => "sent",
            Self::Gift => "gift",
        }
    }
}

/// What the ledger knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub origin: Origin,
    /// The whole of it.
    pub amount: Cents,
    /// How many shares it was made of; 1 when it is not shared.
    pub shares: u16,
    /// What is in it now.
    pub left: Cents,
    /// How many shares are left.
    pub shares_left: u16,
    /// How many users it names; 0 when anyone with its code may grab.
    pub recipients: u16,
    /// Where it stands.
    pub state: State,
    /// Who it was issued to.
    pub user: Option<UserId>,
    /// Whether that user opened it.
    pub is_opened: bool,
    /// When what is left goes back, while something can.
    pub due: Option<UnixMillis>,
}

impl Packet {
    /// Whether shares of it are taken by code, once it is opened.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shares > 1 || !matches!(self.origin, Origin::Seed(_))
    }
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

/// A packet to be made from what a user or the event has.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// Who funds it; never the seed.
    pub origin: Origin,
    /// What makes the request idempotent.
    pub key: &'a [u8; 16],
    /// The whole of it; at least a cent for each share.
    pub amount: Cents,
    /// How many shares.
    pub shares: u16,
    /// Who may grab, each once; empty for anyone with the code.
    pub recipients: &'a [UserId],
    /// Index of the phase, for a gift.
    pub stage: Option<u16>,
    /// When what is left goes back.
    pub due: UnixMillis,
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

/// What a change leaves in a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) state: State,
    pub(super) amount: Cents,
    pub(super) shares: u16,
    pub(super) due: Option<UnixMillis>,
}

impl Left {
    /// What is left after a share was paid out of a packet that held `packet`: shares until `due`, or nothing.
    pub(super) fn after_share(packet: &Packet, share: Cents, due: UnixMillis) -> Self {
        let shares = packet.shares_left - 1;
        Self {
            state: if shares == 0 { State::Opened } else { State::Open },
            amount: Cents(packet.left.0 - share.0),
            shares,
            due: (shares > 0).then_some(due),
        }
    }
}

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients, state, user, \
         opened_ms IS NOT NULL, due_ms"
    };
}

pub(super) fn find(connection: &Connection, packet: PacketId) -> rusqlite::Result<Option<Packet>> {
    connection
        .prepare_cached(concat!("SELECT ", columns!(), " FROM packets WHERE packet = ?1"))?
        .query_row([to_sql(packet.0)], |row| read(row, packet))
        .optional()
}

fn read(row: &Row<'_>, packet: PacketId) -> rusqlite::Result<Packet> {
    let strange = |column| rusqlite::Error::IntegralValueOutOfRange(column, packet.0.cast_signed());
    Ok(Packet {
        origin: Origin::from_columns(row.get(0)?, row.get(1)?, row.get(2)?).ok_or(strange(0))?,
        amount: Cents(from_sql(row.get(3)?)),
        shares: row.get(4)?,
        left: Cents(from_sql(row.get(5)?)),
        shares_left: row.get(6)?,
        recipients: row.get(7)?,
        state: State::from_column(row.get(8)?).ok_or(strange(8))?,
        user: row.get::<_, Option<i64>>(9)?.map(|user| UserId(from_sql(user))),
        is_opened: row.get(10)?,
        due: row.get::<_, Option<i64>>(11)?.map(|due| UnixMillis(from_sql(due))),
    })
}

/// Inserts a packet that was released.
pub(super) fn insert(connection: &Connection, release: &Release, at: UnixMillis) -> rusqlite::Result<()> {
    let record = &release.record;
    connection
        .prepare_cached(
            "INSERT INTO packets
             (packet, origin, sponsor, cents, balance_cents, shares, shares_left, recipients, state, seed_index, lane,
              grant_position, made_ms)
             VALUES (?1, 1, ?2, ?3, ?3, ?4, ?4, 0, 1, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            to_sql(record.packet.0),
            record.sponsor.0,
            to_sql(record.amount.0),
            shares_of(record),
            to_sql(release.seed_index),
            release.lane,
            to_sql(release.grant_position),
            to_sql(at.0)
        ])?;
    Ok(())
}

/// How many shares a record of the seed has.
#[must_use]
pub fn shares_of(record: &SeedRecord) -> u16 {
    match record.kind {
        PacketKind::Plain => 1,
        PacketKind::Split { shares } => shares,
    }
}

/// Inserts a packet that a user or the event made: it is open to grab.
pub(super) fn insert_made(
    connection: &Connection,
    packet: PacketId,
    making: &Making<'_>,
    at: UnixMillis,
) -> rusqlite::Result<()> {
    let (sponsor, sender) = match making.origin {
        Origin::Sent(user) => (None, Some(to_sql(user.0))),
        Origin::Gift | Origin::Seed(_) => (Some(EVENT_SPONSOR.0), None),
    };
    connection
        .prepare_cached(
            "INSERT INTO packets
             (packet, origin, sponsor, sender, cents, balance_cents, shares, shares_left, recipients, state, stage, made_ms, due_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?6, ?7, 5, ?8, ?9, ?10)",
        )?
        .execute(params![
            to_sql(packet.0),
            making.origin.to_column(),
            sponsor,
            sender,
            to_sql(making.amount.0),
            making.shares,
            making.recipients.len() as i64,
            making.stage,
            to_sql(at.0),
            due_column(making.due)
        ])?;
    Ok(())
}

/// A due time as the table has it; the end of time stays positive, so that it sorts last.
pub(super) fn due_column(due: UnixMillis) -> i64 {
    i64::try_from(due.0).unwrap_or(i64::MAX)
}

pub(super) fn set_issued(
    connection: &Connection,
    packet: PacketId,
    user: UserId,
    stage: u16,
    at: UnixMillis,
    due: UnixMillis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = 2, user = ?2, stage = ?3, issued_ms = ?4, due_ms = ?5 WHERE packet = ?1",
        )?
        .execute(params![
            to_sql(packet.0),
            to_sql(user.0),
            stage,
            to_sql(at.0),
            due_column(due)
        ])?;
    Ok(())
}

/// The user that the packet was issued to has opened it.
pub(super) fn set_opened(
    connection: &Connection,
    packet: PacketId,
    user: UserId,
    stage: u16,
    left: Left,
    at: UnixMillis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = ?2, balance_cents = ?3, shares_left = ?4, due_ms = ?5, user = ?6, stage = ?7,
             opened_ms = ?8, closed_ms = CASE ?4 WHEN 0 THEN ?8 END WHERE packet = ?1",
        )?
        .execute(params![
            to_sql(packet.0),
            left.state.to_column(),
            to_sql(left.amount.0),
            left.shares,
            left.due.map(due_column),
            to_sql(user.0),
            stage,
            to_sql(at.0)
        ])?;
    Ok(())
}

/// A share was taken.
pub(super) fn set_left(connection: &Connection, packet: PacketId, left: Left, at: UnixMillis) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = ?2, balance_cents = ?3, shares_left = ?4, due_ms = ?5,
             closed_ms = CASE ?4 WHEN 0 THEN ?6 END WHERE packet = ?1",
        )?
        .execute(params![
            to_sql(packet.0),
            left.state.to_column(),
            to_sql(left.amount.0),
            left.shares,
            left.due.map(due_column),
            to_sql(at.0)
        ])?;
    Ok(())
}

/// Nothing is in the packet any more. How many shares nobody took stays in its row.
pub(super) fn set_closed(
    connection: &Connection,
    packet: PacketId,
    state: State,
    at: UnixMillis,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = ?2, balance_cents = 0, due_ms = NULL, closed_ms = ?3 WHERE packet = ?1",
        )?
        .execute(params![to_sql(packet.0), state.to_column(), to_sql(at.0)])?;
    Ok(())
}

/// What is due at `now`, the longest overdue first, at most `max`.
pub(super) fn due(connection: &Connection, now: UnixMillis, max: usize) -> rusqlite::Result<Vec<(PacketId, Packet)>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2"
        ))?
        .query_map(params![due_column(now), max as i64], |row| {
            let packet = PacketId(from_sql(row.get(12)?));
            Ok((packet, read(row, packet)?))
        })?
        .collect()
}

/// When the first packet is due.
pub(super) fn first_due(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    connection
        .prepare_cached("SELECT min(due_ms) FROM packets WHERE due_ms IS NOT NULL")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))
        .map(|due| due.map(|due| UnixMillis(from_sql(due))))
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
