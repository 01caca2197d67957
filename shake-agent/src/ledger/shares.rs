//! Shares taken, offers that wait, and the keys of what users and the event made.

use super::packet::Origin;
use super::schema::{from_sql, to_sql};
use rusqlite::{Connection, OptionalExtension, params};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// One share that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// By whom.
    pub user: UserId,
    /// How much.
    pub amount: Cents,
    /// When.
    pub at: UnixMillis,
}

/// A packet that waits for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The packet.
    pub packet: PacketId,
    /// Who sent it; `None` for the event.
    pub from: Option<UserId>,
}

/// A share, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareRow {
    /// The transfer that paid it.
    pub transfer: i64,
    /// Of which packet.
    pub packet: PacketId,
    /// Who took how much.
    pub share: Share,
}

pub(super) fn append(connection: &Connection, rows: &[ShareRow]) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT INTO shares (transfer, packet, user, cents, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for row in rows {
        statement.execute(params![
            row.transfer,
            to_sql(row.packet.0),
            to_sql(row.share.user.0),
            to_sql(row.share.amount.0),
            to_sql(row.share.at.0)
        ])?;
    }
    Ok(())
}

/// A user's share of a packet, in cents.
pub(super) fn of_user(connection: &Connection, packet: PacketId, user: UserId) -> rusqlite::Result<Option<Cents>> {
    connection
        .prepare_cached("SELECT cents FROM shares WHERE packet = ?1 AND user = ?2")?
        .query_row([to_sql(packet.0), to_sql(user.0)], |row| {
            row.get(0).map(from_sql).map(Cents)
        })
        .optional()
}

/// All shares of a packet, in order of time.
pub(super) fn of_packet(connection: &Connection, packet: PacketId) -> rusqlite::Result<Vec<Share>> {
    connection
        .prepare_cached("SELECT user, cents, at_ms FROM shares WHERE packet = ?1 ORDER BY transfer")?
        .query_map([to_sql(packet.0)], |row| {
            Ok(Share {
                user: UserId(from_sql(row.get(0)?)),
                amount: Cents(from_sql(row.get(1)?)),
                at: UnixMillis(from_sql(row.get(2)?)),
            })
        })?
        .collect()
}

/// What was made with a key before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The packet.
    pub packet: PacketId,
    /// SHA-256 of what was asked for.
    pub hash: [u8; 32],
}

/// What was made with this key before.
pub(super) fn made_with(connection: &Connection, origin: Origin, key: &[u8; 16]) -> rusqlite::Result<Option<Made>> {
    connection
        .prepare_cached("SELECT packet, hash FROM sends WHERE origin = ?1 AND sender = ?2 AND key = ?3")?
        .query_row(params![origin.to_column(), sender_column(origin), key], |row| {
            Ok(Made {
                packet: PacketId(from_sql(row.get(0)?)),
                hash: row.get(1)?,
            })
        })
        .optional()
}

/// A key that made a packet, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendRow {
    /// The packet.
    pub packet: PacketId,
    /// Who made it.
    pub origin: Origin,
    /// The key.
    pub key: [u8; 16],
    /// SHA-256 of what was asked for.
    pub hash: [u8; 32],
}

pub(super) fn note_made(connection: &Connection, rows: &[SendRow]) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT INTO sends (packet, origin, sender, key, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for row in rows {
        statement.execute(params![
            to_sql(row.packet.0),
            row.origin.to_column(),
            sender_column(row.origin),
            row.key,
            row.hash
        ])?;
    }
    Ok(())
}

/// Whose keys these are; zero for the event's own.
pub(super) fn sender_column(origin: Origin) -> i64 {
    match origin {
        Origin::Sent(user) => to_sql(user.0),
        Origin::Seed(_) | Origin::Gift => 0,
    }
}

/// The numbers of packets that are made, within their ids.
const NUMBER: u64 = (1 << 47) - 1;

/// The id of the packet of this number that is made; see the drawing in `schema`.
pub(super) fn made_id(part: u16, number: u64) -> PacketId {
    assert!(
        number <= NUMBER,
        "a ledger has fewer than 2^47 sent packets: each takes a commit's worth of disk"
    );
    PacketId(1 << 63 | u64::from(part) << 47 | number)
}

/// The number `between` after that of `last`.
pub(super) fn number_after(last: PacketId, between: u64) -> u64 {
    ((last.0 & NUMBER) + between).min(NUMBER - 1)
}

/// The number of the last packet that was made; 0 before the first.
pub(super) fn last_number(connection: &Connection) -> rusqlite::Result<u64> {
    let (last, skipped): (Option<i64>, Option<i64>) = connection.query_row(
        "SELECT (SELECT max(packet) FROM sends), (SELECT made_before FROM seed)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let last = last.map_or(0, |last| from_sql(last) & NUMBER);
    Ok(last.max(skipped.map_or(0, from_sql)))
}

/// Packets up to this number were made by commits that are lost.
pub(super) fn store_made_before(connection: &Connection, number: u64) -> rusqlite::Result<()> {
    connection
        .execute("UPDATE seed SET made_before = max(made_before, ?1)", [to_sql(number)])
        .map(drop)
}

/// That a packet is for a user, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferRow {
    /// The packet.
    pub packet: PacketId,
    /// For whom.
    pub user: UserId,
    /// Whether the event gives it.
    pub is_gift: bool,
}

pub(super) fn offer(connection: &Connection, rows: &[OfferRow]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO offers (packet, user, waits) VALUES (?1, ?2, ?3)")?;
    for row in rows {
        let waits = if row.is_gift { 2 } else { 1 };
        statement.execute([to_sql(row.packet.0), to_sql(row.user.0), waits])?;
    }
    Ok(())
}

/// Whether the packet names this user.
pub(super) fn is_offered(connection: &Connection, packet: PacketId, user: UserId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM offers WHERE packet = ?1 AND user = ?2)")?
        .query_row([to_sql(packet.0), to_sql(user.0)], |row| row.get(0))
}

/// The offer to this user, or to all users of the packet, waits no more.
pub(super) fn settle_offers(connection: &Connection, packet: PacketId, user: Option<UserId>) -> rusqlite::Result<()> {
    match user {
        Some(user) => connection
            .prepare_cached("UPDATE offers SET waits = 0 WHERE packet = ?1 AND user = ?2")?
            .execute([to_sql(packet.0), to_sql(user.0)])?,
        None => connection
            .prepare_cached("UPDATE offers SET waits = 0 WHERE packet = ?1 AND waits > 0")?
            .execute([to_sql(packet.0)])?,
    };
    Ok(())
}

/// How many of the offers that wait for a user are looked at. Anybody may send a user a hundred thousand of a cent each.
pub(super) const WAITING_MAX: usize = 256;

/// What is read of the offers to a user. The inner part goes backwards along the index, and ends before anything is joined.
const WAITING: &str = "
    SELECT packet, sender FROM
        (SELECT packet, waits, offer FROM offers WHERE user = ?1 AND waits > 0 ORDER BY waits DESC, offer DESC LIMIT ?3)
        JOIN packets USING (packet)
    WHERE due_ms > ?2 ORDER BY waits DESC, offer DESC";

/// What waits for a user and is not due before `at`: gifts of the event first, and the newest first. Of others' packets the
/// newest, [`WAITING_MAX`] in all.
pub(super) fn waiting_for(connection: &Connection, user: UserId, at: UnixMillis) -> rusqlite::Result<Vec<Offer>> {
    connection
        .prepare_cached(WAITING)?
        .query_map(
            params![to_sql(user.0), at.0.min(i64::MAX as u64) as i64, WAITING_MAX as i64],
            |row| {
                Ok(Offer {
                    packet: PacketId(from_sql(row.get(0)?)),
                    from: row.get::<_, Option<i64>>(1)?.map(|user| UserId(from_sql(user))),
                })
            },
        )?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::schema;
    use rusqlite::StatementStatus;

    /// A gift to user 7, and behind it so many packets of a cent, all from user 9.
    fn dusty(dust: i64) -> Connection {
        let connection = Connection::open_in_memory().expect("SQLite in memory");
        connection.execute_batch(schema::CREATE).expect("SQLite in memory");
        let packets = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?1)
             INSERT INTO packets (packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients,
                                  state, made_ms, due_ms)
             SELECT i, 2 + (i = 1), CASE i WHEN 1 THEN 0 END, CASE i WHEN 1 THEN NULL ELSE 9 END, 1, 1, 1, 1, 1, 5, 1, 1000
             FROM n";
        connection.execute(packets, [dust]).expect("SQLite in memory");
        connection
            .execute("INSERT INTO offers (packet, user, waits) SELECT packet, 7, 1 + (origin = 3) FROM packets ORDER BY packet", [])
            .expect("SQLite in memory");
        connection
    }

    #[test]
    fn a_gift_is_found_and_little_is_read_however_much_waits() {
        for dust in [0, 32, 256, 100_000] {
            let connection = dusty(dust);
            let offers = waiting_for(&connection, UserId(7), UnixMillis(0)).expect("SQLite in memory");
            assert_eq!(offers.len() as i64, (dust + 1).min(WAITING_MAX as i64));
            assert_eq!(
                offers[0],
                Offer {
                    packet: PacketId(1),
                    from: None
                }
            );
            let newest = offers.get(1).map(|offer| offer.packet.0 as i64);
            assert_eq!(newest, (dust > 0).then_some(dust + 1), "the newest of the others first");
            assert!(
                waiting_for(&connection, UserId(7), UnixMillis(1_000))
                    .expect("SQLite in memory")
                    .is_empty()
            );
            assert!(
                waiting_for(&connection, UserId(8), UnixMillis(0))
                    .expect("SQLite in memory")
                    .is_empty()
            );
        }
        let connection = dusty(100_000);
        let mut statement = connection.prepare(WAITING).expect("SQLite in memory");
        let read = statement
            .query_map(params![7, 0, WAITING_MAX as i64], |_| Ok(()))
            .expect("SQLite in memory")
            .count();
        let steps = statement.get_status(StatementStatus::VmStep);
        assert_eq!(read, WAITING_MAX);
        assert!(steps < 50 * WAITING_MAX as i32, "{steps} steps of SQLite's machine");
    }
}
