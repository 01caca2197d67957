//! The table of packets: one row for each that was released, sent or given, with its state and its account.

use super::packet::{EVENT_SPONSOR, Held, Left, Making, Origin, Packet, Release, State, Term, shares_of};
use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, Row, params};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients, state, user, \
         opened_ms, due_ms, ends_ms, made_ms, issued_ms"
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
    let time = |column| {
        row.get::<_, Option<i64>>(column)
            .map(|time| time.map(|time| UnixMillis(from_sql(time))))
    };
    let state = State::from_column(row.get(8)?).ok_or(strange(8))?;
    let (opened, ends, made, issued) = (time(10)?, time(12)?, time(13)?, time(14)?);
    let began = match state {
        State::Issued => issued,
        State::Open => opened.or(made),
        _ => None,
    };
    Ok(Packet {
        origin: Origin::from_columns(row.get(0)?, row.get(1)?, row.get(2)?).ok_or(strange(0))?,
        amount: Cents(from_sql(row.get(3)?)),
        shares: row.get(4)?,
        left: Cents(from_sql(row.get(5)?)),
        shares_left: row.get(6)?,
        recipients: row.get(7)?,
        state,
        user: row.get::<_, Option<i64>>(9)?.map(|user| UserId(from_sql(user))),
        is_opened: opened.is_some(),
        made: made.ok_or(strange(13))?,
        due: time(11)?,
        term: began.zip(ends).map(|(began, ends)| Term { began, ends }),
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
             (packet, origin, sponsor, sender, cents, balance_cents, shares, shares_left, recipients, state, stage, made_ms, due_ms,
              ends_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?6, ?7, 5, ?8, ?9, ?10, ?10)",
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
    term: Term,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = 2, user = ?2, stage = ?3, issued_ms = ?4, due_ms = ?5, ends_ms = ?5 WHERE packet = ?1",
        )?
        .execute(params![
            to_sql(packet.0),
            to_sql(user.0),
            stage,
            to_sql(term.began.0),
            due_column(term.ends)
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
            "UPDATE packets SET state = ?2, balance_cents = ?3, shares_left = ?4, due_ms = ?5,
             ends_ms = coalesce(?5, ends_ms), user = ?6, stage = ?7, opened_ms = ?8,
             closed_ms = CASE ?4 WHEN 0 THEN ?8 END WHERE packet = ?1",
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
            let packet = PacketId(from_sql(row.get(15)?));
            Ok((packet, read(row, packet)?))
        })?
        .collect()
}

/// The packet is not due before then.
pub(super) fn set_due(connection: &Connection, packet: PacketId, due: UnixMillis) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE packets SET due_ms = ?2 WHERE packet = ?1")?
        .execute(params![to_sql(packet.0), due_column(due)])?;
    Ok(())
}

/// A packet that was lost holds what it held before.
pub(super) fn set_found(connection: &Connection, packet: PacketId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE packets SET state = 1, balance_cents = cents, shares_left = shares, closed_ms = NULL WHERE packet = ?1",
        )?
        .execute([to_sql(packet.0)])?;
    Ok(())
}

/// Whether anything is out whose time runs: a grant, a ticket, a share, or a ticket for what was lost.
pub(super) fn are_out(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM packets WHERE due_ms IS NOT NULL)
                 OR EXISTS (SELECT 1 FROM packets WHERE state = 1) OR EXISTS (SELECT 1 FROM packets WHERE state = 7)",
        )?
        .query_row([], |row| row.get(0))
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

/// Every packet in one of three states: those that are only released, lost, or void.
pub(super) fn of_state(connection: &Connection, state: State) -> rusqlite::Result<Vec<(PacketId, Packet)>> {
    // One query for each, because only a literal meets the small index.
    let sql = match state {
        State::Lost => concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets WHERE state = 7 ORDER BY packet"
        ),
        State::Void => concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets WHERE state = 4 ORDER BY packet"
        ),
        _ => concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets WHERE state = 1 ORDER BY lane, grant_position"
        ),
    };
    connection
        .prepare_cached(sql)?
        .query_map([], |row| {
            let packet = PacketId(from_sql(row.get(15)?));
            Ok((packet, read(row, packet)?))
        })?
        .collect()
}

/// When the last packet was lost that is lost still; `None` when none is.
pub(super) fn last_lost(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    connection
        .prepare_cached("SELECT max(closed_ms) FROM packets WHERE state = 7")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))
        .map(|at| at.map(|at| UnixMillis(from_sql(at))))
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held {
        packet: PacketId(from_sql(row.get(0)?)),
        amount: Cents(from_sql(row.get(1)?)),
        sponsor: SponsorId(row.get(2)?),
        grant_position: from_sql(row.get(3)?),
    })
}
