//! The story of one packet or one user, as the ledger has it. Reads one snapshot, also while agents run, and writes
//! nothing. Every look-up goes through a key or a small index, so it takes no longer in a large ledger.

use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::{LedgerError, Place, Query, Reader, Row, State};
use serde::Serialize;
use shake_rules::{PacketId, UserId};
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
    /// The transfer's number, in the journal of the part that made it.
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

const PACKET: Query = Query {
    file: "SELECT origin, seed_index, sponsor, sender, cents, balance_cents, shares, shares_left, state, shard,
                  stage, due_ms, user, made_ms, issued_ms, opened_ms, closed_ms
           FROM packets LEFT JOIN lanes USING (lane) WHERE packet = ?1",
    server: "SELECT origin, seed_index, sponsor, sender, cents, balance_cents, shares, shares_left, state, shard,
                    stage, due_ms, usr, made_ms, issued_ms, opened_ms, closed_ms
             FROM packets LEFT JOIN lanes USING (part, lane) WHERE packet = $1",
};

const RECIPIENTS: Query = Query {
    file: "SELECT user, waits FROM offers WHERE packet = ?1 ORDER BY offer",
    server: "SELECT usr, waits FROM offers WHERE packet = $1 ORDER BY at_ms, usr",
};

const SHARES: Query = Query {
    file: "SELECT at_ms, user, cents FROM shares WHERE packet = ?1 ORDER BY transfer",
    server: "SELECT at_ms, usr, cents FROM shares WHERE packet = $1 ORDER BY at_ms, part, transfer",
};

const USER: Query = Query {
    file: "SELECT balance_cents, packets_opened, sponsors_opened FROM users WHERE user = ?1",
    server: "SELECT balance_cents, packets_opened, sponsors_opened FROM users WHERE usr = $1 AND lines > 0",
};

const ISSUED: Query = Query {
    file: "SELECT packet FROM packets WHERE due_ms IS NOT NULL AND state = 2 AND user = ?1 ORDER BY issued_ms",
    server: "SELECT packet FROM packets WHERE due_ms IS NOT NULL AND state = 2 AND usr = $1 ORDER BY issued_ms",
};

const SENT: Query = Query {
    file: "SELECT packet FROM sends WHERE origin = 2 AND sender = ?1 ORDER BY packet",
    server: "SELECT packet FROM sends WHERE origin = 2 AND sender = $1 ORDER BY packet",
};

const OFFERED: Query = Query {
    file: "SELECT packet FROM offers WHERE waits > 0 AND user = ?1 ORDER BY offer",
    server: "SELECT packet FROM offers WHERE waits > 0 AND usr = $1 ORDER BY at_ms, packet",
};

/// The list of a user's transfers is followed; of several parts, it is the one of lines. Kind 3 is a packet, 4 a user.
const MOVEMENTS: Query = Query {
    file: "WITH RECURSIVE moved AS (
               SELECT transfers.* FROM transfers JOIN users ON transfer = last_transfer WHERE users.user = ?1
               UNION ALL
               SELECT transfers.* FROM transfers JOIN moved ON transfers.transfer = moved.previous)
           SELECT transfer, at_ms, iif(debit_kind = 4 AND debit = ?1, -cents, cents),
                  CASE WHEN debit_kind = 3 THEN debit WHEN credit_kind = 3 THEN credit END
           FROM moved LIMIT ?2",
    server: "SELECT transfer, at_ms, cents, packet FROM outbox WHERE usr = $1 AND kind <> 7 ORDER BY number DESC LIMIT $2",
};

/// The story of a packet.
///
/// # Errors
/// [`StoryError`].
pub fn packet(ledger: &Place, packet: PacketId) -> Result<PacketStory, StoryError> {
    let reader = snapshot(ledger)?;
    let id = [to_sql(packet.0)];
    let found = reader.rows(&PACKET, &id)?;
    let row = found.first().ok_or(StoryError::Packet(packet))?;
    let (mut story, times) = (story(packet, row)?, times(row)?);
    let recipient = |row: &Row| {
        Ok(Recipient {
            user: UserId(from_sql(row.number(0)?)),
            waits: row.number(1)? > 0,
        })
    };
    let recipients = reader.rows(&RECIPIENTS, &id)?;
    story.recipients = recipients.iter().map(recipient).collect::<Result<_, LedgerError>>()?;
    let share = |row: &Row| {
        Ok(Event {
            at_ms: from_sql(row.number(0)?),
            what: "share",
            user: Some(UserId(from_sql(row.number(1)?))),
            cents: Some(from_sql(row.number(2)?)),
        })
    };
    let shares = reader.rows(&SHARES, &id)?;
    story.events = events(
        &story,
        &times,
        shares.iter().map(share).collect::<Result<_, LedgerError>>()?,
    );
    Ok(story)
}

/// The story of a user.
///
/// # Errors
/// [`StoryError`].
pub fn user(ledger: &Place, user: UserId) -> Result<UserStory, StoryError> {
    let reader = snapshot(ledger)?;
    let id = to_sql(user.0);
    let ids = |query| {
        let rows = reader.rows(query, &[id])?;
        let ids = rows.iter().map(|row| Ok(PacketId(from_sql(row.number(0)?))));
        ids.collect::<Result<Vec<_>, LedgerError>>()
    };
    let (issued, sent, offered) = (ids(&ISSUED)?, ids(&SENT)?, ids(&OFFERED)?);
    let found = reader.rows(&USER, &[id])?;
    if found.is_empty() && issued.is_empty() && sent.is_empty() && offered.is_empty() {
        return Err(StoryError::User(user));
    }
    let mut story = UserStory {
        user,
        balance_cents: 0,
        packets_opened: 0,
        sponsors_opened: Vec::new(),
        issued,
        sent,
        offered,
        transfers: Vec::new(),
        more_transfers: false,
    };
    if let Some(row) = found.first() {
        let sponsors = row.bytes(2)?.as_chunks().0.iter();
        story.balance_cents = row.number(0)?;
        story.packets_opened = from_sql(row.number(1)?);
        story.sponsors_opened = sponsors.map(|&bytes| u16::from_be_bytes(bytes)).collect();
    }
    let movement = |row: &Row| {
        Ok(Movement {
            transfer: from_sql(row.number(0)?),
            at_ms: from_sql(row.number(1)?),
            cents: row.number(2)?,
            packet: row.number_if_any(3)?.map(|packet| PacketId(from_sql(packet))),
        })
    };
    // One more than is told says whether there are more.
    let movements = reader.rows(&MOVEMENTS, &[id, TRANSFERS_MAX as i64 + 1])?;
    story.more_transfers = movements.len() > TRANSFERS_MAX;
    let told = movements.iter().take(TRANSFERS_MAX).map(movement);
    story.transfers = told.collect::<Result<_, LedgerError>>()?;
    Ok(story)
}

fn snapshot(ledger: &Place) -> Result<Reader, LedgerError> {
    let reader = Reader::open(ledger)?;
    reader.begin()?;
    Ok(reader)
}

/// A packet's row, without what [`PacketStory`] has of it.
struct Times {
    user: Option<UserId>,
    made_ms: u64,
    issued_ms: Option<u64>,
    opened_ms: Option<u64>,
    closed_ms: Option<u64>,
}

fn story(packet: PacketId, row: &Row) -> Result<PacketStory, LedgerError> {
    let number = |at| Ok::<_, LedgerError>(row.number_if_any(at)?.map(from_sql));
    let origin = row.number(0)?;
    Ok(PacketStory {
        packet,
        origin: ["seed", "sent", "gift"]
            .get((origin - 1) as usize)
            .unwrap_or(&"unknown"),
        seed_index: number(1)?,
        sponsor: row.small_if_any(2)?,
        sender: number(3)?.map(UserId),
        cents: from_sql(row.number(4)?),
        balance_cents: row.number(5)?,
        shares: row.small(6)?,
        shares_left: row.small(7)?,
        state: State::from_column(row.number(8)?).map_or("unknown", State::name),
        shard: row.small_if_any(9)?,
        stage: row.small_if_any(10)?,
        due_ms: number(11)?,
        recipients: Vec::new(),
        events: Vec::new(),
    })
}

fn times(row: &Row) -> Result<Times, LedgerError> {
    let number = |at| Ok::<_, LedgerError>(row.number_if_any(at)?.map(from_sql));
    Ok(Times {
        user: number(12)?.map(UserId),
        made_ms: from_sql(row.number(13)?),
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
