//! The story of one packet or one user, as the ledger has it. Reads one snapshot, also while an agent runs, and writes
//! nothing. Every look-up goes through a key or a small index, so it takes no longer in a large ledger.

use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::{self, Account, LedgerError, State};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use shake_rules::{PacketId, UserId};
use std::path::Path;
use thiserror::Error;

mod text;

#[cfg(test)]
mod tests;

/// Most transfers of a user that are told, the newest ones.
pub const TRANSFERS_MAX: usize = 1_000;

/// Why there is no story.
#[derive(Debug, Error)]
pub enum StoryError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No such packet.
    #[error(
        "packet {0} is not in the ledger: it was not released yet, or belongs to another part of the seed; \
         `shake-agent ledger export --what packets` names all that are"
    )]
    Packet(PacketId),
    /// No such user.
    #[error("user {0} is not in the ledger: nothing was won, sent to or taken by this user")]
    User(UserId),
}

/// Something that happened to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// `released`, `sent`, `given`, `issued`, `opened`, `share`, `refunded`, `void`, `lost`, `paid` or `emptied`.
    pub what: &'static str,
    /// The user concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// How much money moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cents: Option<u64>,
}

/// A packet's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PacketStory {
    /// The packet.
    pub packet: PacketId,
    /// `seed`, `sent` or `gift`.
    pub origin: &'static str,
    /// Its record in the seed file.
    pub seed_index: Option<u64>,
    /// The sponsor that funded it; 0 is the event.
    pub sponsor: Option<u16>,
    /// The user who funded it.
    pub sender: Option<UserId>,
    /// Its amount.
    pub cents: u64,
    /// What is in it now.
    pub balance_cents: i64,
    /// Into how many shares it goes; 1 when it is not shared.
    pub shares: u32,
    /// How many of them nobody has.
    pub shares_left: u32,
    /// `released`, `issued`, `opened`, `void`, `open`, `refunded`, `lost` or `paid`.
    pub state: &'static str,
    /// The shard that it was released to.
    pub shard: Option<u16>,
    /// Index of the phase in which it was won.
    pub stage: Option<u16>,
    /// When what is left goes back, while something can.
    pub due_ms: Option<u64>,
    /// For whom it is; empty when it is for anyone with its code, or for its winner.
    pub recipients: Vec<Recipient>,
    /// What happened to it, in order.
    pub events: Vec<Event>,
}

/// One of those whom a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// The user.
    pub user: UserId,
    /// Whether it still waits for this user.
    pub waits: bool,
}

/// A movement of a user's money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Movement {
    /// The transfer's number.
    pub transfer: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// What came in; negative when it went out.
    pub cents: i64,
    /// The packet on the other side.
    pub packet: Option<PacketId>,
}

/// A user's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserStory {
    /// The user.
    pub user: UserId,
    /// What the user has.
    pub balance_cents: i64,
    /// Packets of the seed that the user won and opened.
    pub packets_opened: u64,
    /// Their sponsors, in order of opening.
    pub sponsors_opened: Vec<u16>,
    /// Packets issued to the user that can still be opened.
    pub issued: Vec<PacketId>,
    /// Packets that the user sent.
    pub sent: Vec<PacketId>,
    /// Packets of others that wait for the user.
    pub offered: Vec<PacketId>,
    /// The newest movements of money, newest first, at most [`TRANSFERS_MAX`].
    pub transfers: Vec<Movement>,
    /// Whether there are older ones.
    pub more_transfers: bool,
}

/// The story of a packet.
///
/// # Errors
/// [`StoryError`].
pub fn packet(ledger: &Path, packet: PacketId) -> Result<PacketStory, StoryError> {
    snapshot(ledger, |connection| read_packet(connection, packet))?.ok_or(StoryError::Packet(packet))
}

/// The story of a user.
///
/// # Errors
/// [`StoryError`].
pub fn user(ledger: &Path, user: UserId) -> Result<UserStory, StoryError> {
    snapshot(ledger, |connection| read_user(connection, user))?.ok_or(StoryError::User(user))
}

fn snapshot<T>(ledger: &Path, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoryError> {
    let connection = ledger::open_read_only(ledger)?;
    let within = || {
        let transaction = connection.unchecked_transaction()?;
        read(&transaction)
    };
    within().map_err(|source| LedgerError::sqlite("read", ledger, source).into())
}

/// A packet's row, without what [`PacketStory`] has of it.
struct Times {
    user: Option<UserId>,
    made_ms: u64,
    issued_ms: Option<u64>,
    opened_ms: Option<u64>,
    closed_ms: Option<u64>,
}

fn read_packet(connection: &Connection, packet: PacketId) -> rusqlite::Result<Option<PacketStory>> {
    let row = connection
        .query_row(
            "SELECT origin, seed_index, sponsor, sender, cents, balance_cents, packets.shares, shares_left, state, lanes.shard,
                    stage, due_ms, user, made_ms, issued_ms, opened_ms, closed_ms
             FROM packets LEFT JOIN lanes USING (lane) WHERE packet = ?1",
            [to_sql(packet.0)],
            |row| Ok((story(packet, row)?, times(row)?)),
        )
        .optional()?;
    let Some((mut story, times)) = row else { return Ok(None) };
    story.recipients = connection
        .prepare("SELECT user, waits FROM offers WHERE packet = ?1 ORDER BY offer")?
        .query_map([to_sql(packet.0)], |row| {
            Ok(Recipient {
                user: UserId(from_sql(row.get(0)?)),
                waits: row.get(1)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let shares: Vec<Event> = connection
        .prepare("SELECT at_ms, user, cents FROM shares WHERE packet = ?1 ORDER BY transfer")?
        .query_map([to_sql(packet.0)], |row| {
            Ok(Event {
                at_ms: from_sql(row.get(0)?),
                what: "share",
                user: Some(UserId(from_sql(row.get(1)?))),
                cents: Some(from_sql(row.get(2)?)),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    story.events = events(&story, &times, shares);
    Ok(Some(story))
}

fn story(packet: PacketId, row: &Row<'_>) -> rusqlite::Result<PacketStory> {
    let number = |at| row.get::<_, Option<i64>>(at).map(|value| value.map(from_sql));
    let origin: i64 = row.get(0)?;
    let state: i64 = row.get(8)?;
    Ok(PacketStory {
        packet,
        origin: ["seed", "sent", "gift"]
            .get((origin - 1) as usize)
            .unwrap_or(&"unknown"),
        seed_index: number(1)?,
        sponsor: row.get(2)?,
        sender: number(3)?.map(UserId),
        cents: from_sql(row.get(4)?),
        balance_cents: row.get(5)?,
        shares: row.get(6)?,
        shares_left: row.get(7)?,
        state: State::from_column(state).map_or("unknown", State::name),
        shard: row.get(9)?,
        stage: row.get(10)?,
        due_ms: number(11)?,
        recipients: Vec::new(),
        events: Vec::new(),
    })
}

fn times(row: &Row<'_>) -> rusqlite::Result<Times> {
    let number = |at| row.get::<_, Option<i64>>(at).map(|value| value.map(from_sql));
    Ok(Times {
        user: number(12)?.map(UserId),
        made_ms: from_sql(row.get(13)?),
        issued_ms: number(14)?,
        opened_ms: number(15)?,
        closed_ms: number(16)?,
    })
}

/// What happened, in order. Amounts follow from the row: what the shares have not and the packet has not went back.
fn events(story: &PacketStory, times: &Times, shares: Vec<Event>) -> Vec<Event> {
    let made = match story.origin {
        "sent" => "sent",
        "gift" => "given",
        _ => "released",
    };
    let is_shared = story.shares > 1 || !shares.is_empty();
    let taken: u64 = shares.iter().filter_map(|share| share.cents).sum();
    let event = |at_ms: Option<u64>, what, user, cents| {
        at_ms.map(|at_ms| Event {
            at_ms,
            what,
            user,
            cents,
        })
    };
    let closed = match story.state {
        what @ ("void" | "lost" | "paid") => event(times.closed_ms, what, None, Some(story.cents)),
        "refunded" => event(
            times.closed_ms,
            "refunded",
            story.sender,
            Some(story.cents.saturating_sub(taken)),
        ),
        _ if is_shared => event(times.closed_ms, "emptied", None, None),
        _ => None,
    };
    let opened_cents = (!is_shared).then_some(story.cents);
    let mut events: Vec<Event> = event(Some(times.made_ms), made, story.sender, Some(story.cents))
        .into_iter()
        .chain(event(times.issued_ms, "issued", times.user, None))
        .chain(event(times.opened_ms, "opened", times.user, opened_cents))
        .chain(shares)
        .chain(closed)
        .collect();
    // A claim may overtake the record of the issue. The sort is stable: what happened in one commit keeps its order.
    events.sort_by_key(|event| event.at_ms);
    events
}

fn read_user(connection: &Connection, user: UserId) -> rusqlite::Result<Option<UserStory>> {
    let row = connection
        .query_row(
            "SELECT balance_cents, packets_opened, sponsors_opened, last_transfer FROM users WHERE user = ?1",
            [to_sql(user.0)],
            |row| {
                let sponsors: Vec<u8> = row.get(2)?;
                let sponsors = sponsors.as_chunks().0.iter().map(|&bytes| u16::from_be_bytes(bytes));
                let last: Option<i64> = row.get(3)?;
                Ok((row.get(0)?, row.get::<_, i64>(1)?, sponsors.collect(), last))
            },
        )
        .optional()?;
    let ids = |sql: &str| -> rusqlite::Result<Vec<PacketId>> {
        connection
            .prepare(sql)?
            .query_map([to_sql(user.0)], |row| row.get(0).map(from_sql).map(PacketId))?
            .collect()
    };
    let issued =
        ids("SELECT packet FROM packets WHERE due_ms IS NOT NULL AND state = 2 AND user = ?1 ORDER BY issued_ms")?;
    let sent = ids("SELECT packet FROM sends WHERE origin = 2 AND sender = ?1 ORDER BY packet")?;
    let offered = ids("SELECT packet FROM offers WHERE waits > 0 AND user = ?1 ORDER BY offer")?;
    if row.is_none() && issued.is_empty() && sent.is_empty() && offered.is_empty() {
        return Ok(None);
    }
    let (balance_cents, packets_opened, sponsors_opened, mut next) = row.unwrap_or_default();
    let mut transfers = Vec::new();
    while let Some(transfer) = next
        && transfers.len() < TRANSFERS_MAX
    {
        let (movement, previous) = movement(connection, user, transfer)?;
        transfers.push(movement);
        next = previous;
    }
    Ok(Some(UserStory {
        user,
        balance_cents,
        packets_opened: from_sql(packets_opened),
        sponsors_opened,
        issued,
        sent,
        offered,
        transfers,
        more_transfers: next.is_some(),
    }))
}

/// One transfer as the user sees it, and the one before.
fn movement(connection: &Connection, user: UserId, transfer: i64) -> rusqlite::Result<(Movement, Option<i64>)> {
    connection
        .prepare_cached(
            "SELECT at_ms, debit_kind, debit, credit_kind, credit, cents, previous FROM transfers WHERE transfer = ?1",
        )?
        .query_row([transfer], |row| {
            let account = |at| Ok::<_, rusqlite::Error>(Account::from_columns(row.get(at)?, row.get(at + 1)?));
            let (debit, credit) = (account(1)?, account(3)?);
            let cents: i64 = row.get(5)?;
            let (cents, other) = match debit {
                Some(Account::User(payer)) if payer == user => (-cents, credit),
                _ => (cents, debit),
            };
            let movement = Movement {
                transfer: from_sql(transfer),
                at_ms: from_sql(row.get(0)?),
                cents,
                packet: match other {
                    Some(Account::Packet(packet)) => Some(packet),
                    _ => None,
                },
            };
            Ok((movement, row.get(6)?))
        })
}
