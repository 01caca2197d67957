//! The table of packets: one row for each that was released, sent or given, with its state and its account.

use super::packet::{EVENT_SPONSOR, Granted, Origin, Packet, State};
use super::schema::{from_sql, to_sql};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients, state, user, \
         stage, made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms, seed_index, lane, grant_position"
    };
}
/// The column after them.
const PACKET: usize = 20;

/// Finds packets by their ids.
pub(super) struct Finder<'c>(CachedStatement<'c>);

impl<'c> Finder<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = concat!("SELECT ", columns!(), " FROM packets WHERE packet = ?1");
        connection.prepare_cached(sql).map(Self)
    }

    pub(super) fn find(&mut self, packet: PacketId) -> rusqlite::Result<Option<Packet>> {
        self.0.query_row([to_sql(packet.0)], |row| read(row, packet)).optional()
    }
}

fn read(row: &Row<'_>, packet: PacketId) -> rusqlite::Result<Packet> {
    let strange = |column| rusqlite::Error::IntegralValueOutOfRange(column, packet.0.cast_signed());
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(from_sql));
    let time = |column| number(column).map(|time| time.map(UnixMillis));
    let granted = match (number(17)?, row.get(18)?, number(19)?) {
        (Some(seed_index), Some(lane), Some(position)) => Some(Granted {
            seed_index,
            lane,
            position,
        }),
        _ => None,
    };
    Ok(Packet {
        origin: Origin::from_columns(row.get(0)?, row.get(1)?, row.get(2)?).ok_or(strange(0))?,
        amount: Cents(from_sql(row.get(3)?)),
        shares: row.get(4)?,
        left: Cents(from_sql(row.get(5)?)),
        shares_left: row.get(6)?,
        recipients: row.get(7)?,
        state: State::from_column(row.get(8)?).ok_or(strange(8))?,
        user: number(9)?.map(UserId),
        stage: row.get(10)?,
        made: time(11)?.ok_or(strange(11))?,
        issued: time(12)?,
        opened: time(13)?,
        due: time(14)?,
        ends: time(15)?,
        closed: time(16)?,
        granted,
    })
}

/// Inserts packets that are not there yet.
pub(super) fn insert(connection: &Connection, packets: &[(PacketId, Packet)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO packets
         (packet, origin, sponsor, sender, cents, shares, recipients, seed_index, lane, grant_position, made_ms,
          state, balance_cents, shares_left, user, stage, issued_ms, opened_ms, due_ms, ends_ms, closed_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
    )?;
    for (id, packet) in packets {
        let (sponsor, sender) = match packet.origin {
            Origin::Seed(sponsor) => (Some(sponsor.0), None),
            Origin::Sent(user) => (None, Some(to_sql(user.0))),
            Origin::Gift => (Some(EVENT_SPONSOR.0), None),
        };
        statement.execute(params![
            to_sql(id.0),
            packet.origin.to_column(),
            sponsor,
            sender,
            to_sql(packet.amount.0),
            packet.shares,
            packet.recipients,
            packet.granted.map(|granted| to_sql(granted.seed_index)),
            packet.granted.map(|granted| granted.lane),
            packet.granted.map(|granted| to_sql(granted.position)),
            to_sql(packet.made.0),
            packet.state.to_column(),
            to_sql(packet.left.0),
            packet.shares_left,
            packet.user.map(|user| to_sql(user.0)),
            packet.stage,
            time_column(packet.issued),
            time_column(packet.opened),
            time_column(packet.due),
            time_column(packet.ends),
            time_column(packet.closed)
        ])?;
    }
    Ok(())
}

/// Writes what can change of packets that are there.
pub(super) fn update(connection: &Connection, packets: &[(PacketId, Packet)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE packets SET state = ?2, balance_cents = ?3, shares_left = ?4, user = ?5, stage = ?6, issued_ms = ?7,
         opened_ms = ?8, due_ms = ?9, ends_ms = ?10, closed_ms = ?11 WHERE packet = ?1",
    )?;
    for (id, packet) in packets {
        statement.execute(params![
            to_sql(id.0),
            packet.state.to_column(),
            to_sql(packet.left.0),
            packet.shares_left,
            packet.user.map(|user| to_sql(user.0)),
            packet.stage,
            time_column(packet.issued),
            time_column(packet.opened),
            time_column(packet.due),
            time_column(packet.ends),
            time_column(packet.closed)
        ])?;
    }
    Ok(())
}

/// Writes where packets stand that were given back by a shard, or are released again.
pub(super) fn regrant(connection: &Connection, grants: &[(PacketId, Granted)]) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE packets SET lane = ?2, grant_position = ?3 WHERE packet = ?1")?;
    for (id, granted) in grants {
        statement.execute(params![to_sql(id.0), granted.lane, to_sql(granted.position)])?;
    }
    Ok(())
}

fn time_column(time: Option<UnixMillis>) -> Option<i64> {
    time.map(|time| to_sql(time.0))
}

/// What is due at `now`, the longest overdue first, at most `max`.
pub(super) fn due(connection: &Connection, now: UnixMillis, max: usize) -> rusqlite::Result<Vec<(PacketId, Packet)>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets WHERE due_ms <= ?1 ORDER BY due_ms LIMIT ?2"
        ))?
        .query_map(
            params![now.0.min(i64::MAX as u64) as i64, max.min(i64::MAX as usize) as i64],
            read_with_id,
        )?
        .collect()
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
) -> rusqlite::Result<Vec<(PacketId, Packet)>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets
             WHERE state = 1 AND lane = ?1 AND grant_position >= ?2 AND grant_position < ?3 ORDER BY grant_position"
        ))?
        .query_map(
            params![lane, to_sql(positions.start), to_sql(positions.end)],
            read_with_id,
        )?
        .collect()
}

/// What is only released, of every lane that belongs to another mapping.
pub(super) fn held_of_other_mappings(
    connection: &Connection,
    mapping: u64,
) -> rusqlite::Result<Vec<(PacketId, Packet)>> {
    connection
        .prepare_cached(concat!(
            "SELECT ",
            columns!(),
            ", packet FROM packets
             WHERE state = 1 AND lane IN (SELECT lane FROM lanes WHERE mapping <> ?1) ORDER BY lane, grant_position"
        ))?
        .query_map([to_sql(mapping)], read_with_id)?
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
    connection.prepare_cached(sql)?.query_map([], read_with_id)?.collect()
}

/// When the last packet was lost that is lost still; `None` when none is.
pub(super) fn last_lost(connection: &Connection) -> rusqlite::Result<Option<UnixMillis>> {
    connection
        .prepare_cached("SELECT max(closed_ms) FROM packets WHERE state = 7")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))
        .map(|at| at.map(|at| UnixMillis(from_sql(at))))
}

fn read_with_id(row: &Row<'_>) -> rusqlite::Result<(PacketId, Packet)> {
    let packet = PacketId(from_sql(row.get(PACKET)?));
    Ok((packet, read(row, packet)?))
}
