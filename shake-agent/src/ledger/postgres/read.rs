//! What is read into the view, under locks.

use super::link::{Failure, Link};
use super::rows::{cents, id, number, packet};
use crate::ledger::lanes::LaneRecord;
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::shares::{Made, sender_column};
use crate::ledger::store::Needed;
use crate::ledger::users::UserAccount;
use crate::ledger::view::View;
use shake_rules::{PacketId, UnixMillis, UserId};
use std::collections::{HashMap, HashSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The rows of a statement; none, and nothing is asked, when nothing is wanted.
async fn rows(link: &Link, wanted: bool, statement: &Statement, with: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
    if !wanted {
        return Ok(Vec::new());
    }
    Ok(link.client.query(statement, with).await?)
}

/// What stands before a time that is stored with a sign.
pub(super) fn by(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Reads what is needed into the view, under locks.
///
/// Waited for are one's own packets, before anything else, and at last the users that are new, in the server's order. Nobody
/// waits in a circle: who waits for a packet has made no user yet, and who waits for a user that is being made waits for one
/// that has all its packets, or makes another one further up. All other rows are skipped when another agent has them, so that one
/// that the whole fleet wants holds up nobody else; and packets are locked only for requests that can still change them. What
/// belongs to a row is read by statements after its lock, or it would be what stood there before.
pub(super) async fn load(link: &Link, part: i32, needed: &Needed, view: &mut View) -> Result<(), Failure> {
    let statements = &link.statements;
    let own: Vec<i64> = needed
        .packets
        .iter()
        .filter(|id| !view.has_packet(**id))
        .map(|id| to_sql(id.0))
        .collect();
    let claimed: Vec<i64> = needed
        .claimed
        .iter()
        .filter(|id| !view.has_packet(**id))
        .map(|id| to_sql(id.0))
        .collect();
    let grabs: Vec<_> = needed
        .grabbed
        .iter()
        .copied()
        .filter(|(id, _)| !view.has_packet(*id))
        .collect();
    let users: Vec<i64> = needed
        .users
        .iter()
        .filter(|id| !view.has_user(**id))
        .map(|id| to_sql(id.0))
        .collect();
    let shares: Vec<_> = needed
        .shares
        .iter()
        .copied()
        .filter(|key| !view.has_share(*key))
        .collect();
    let offers: Vec<_> = needed
        .offers
        .iter()
        .copied()
        .filter(|key| !view.has_offer(*key))
        .collect();
    let sends: Vec<_> = needed.sends.iter().filter(|key| !view.has_send(key)).copied().collect();

    let (grabbed, grabbers) = columns_of_pairs(&grabs);
    let (shared, sharers) = columns_of_pairs(&shares);
    let (offered, named) = columns_of_pairs(&offers);
    let origins: Vec<i16> = sends.iter().map(|(origin, _)| origin.to_column() as i16).collect();
    let senders: Vec<i64> = sends.iter().map(|(origin, _)| sender_column(*origin)).collect();
    let keys: Vec<&[u8]> = sends.iter().map(|(_, key)| &key[..]).collect();
    let mappings: Vec<i64> = needed.lanes.iter().map(|(mapping, _)| to_sql(*mapping)).collect();
    let shards: Vec<i32> = needed.lanes.iter().map(|(_, shard)| i32::from(*shard)).collect();

    let of_own: [Parameter<'_>; 1] = [&own];
    let of_claims: [Parameter<'_>; 1] = [&claimed];
    let of_grabs: [Parameter<'_>; 2] = [&grabbed, &grabbers];
    let of_users: [Parameter<'_>; 1] = [&users];
    let of_shares: [Parameter<'_>; 2] = [&shared, &sharers];
    let of_offers: [Parameter<'_>; 2] = [&offered, &named];
    let of_sends: [Parameter<'_>; 3] = [&origins, &senders, &keys];
    let of_lanes: [Parameter<'_>; 3] = [&part, &mappings, &shards];
    let (found_own, found_claimed, found_grabbed, found_users, found_shares, found_offers, found_sends, found_lanes) =
        tokio::try_join!(
            biased;
            rows(link, !own.is_empty(), &statements.packets, &of_own),
            rows(link, !claimed.is_empty(), &statements.claimed, &of_claims),
            rows(link, !grabs.is_empty(), &statements.grabbed, &of_grabs),
            rows(link, !users.is_empty(), &statements.users, &of_users),
            rows(link, !shares.is_empty(), &statements.shares, &of_shares),
            rows(link, !offers.is_empty(), &statements.offers, &of_offers),
            rows(link, !sends.is_empty(), &statements.sends, &of_sends),
            rows(link, !needed.lanes.is_empty(), &statements.lanes, &of_lanes),
        )?;

    for row in found_own.iter().chain(&found_claimed).chain(&found_grabbed) {
        let (id, packet) = packet(row)?;
        view.put_packet(id, Some(packet));
    }
    needed.packets.iter().for_each(|id| view.put_packet(*id, None));
    for row in &found_users {
        let (id, account) = user(row)?;
        view.put_user(id, account);
    }
    see_packets(link, needed, view).await?;
    // Of a packet that another agent has, or that can be changed no more, nobody gets a share now. One that is not there may be
    // made in this transaction.
    let takers: Vec<i64> = grabs
        .iter()
        .filter(|(packet, user)| view.has_packet(*packet) && !view.has_user(*user))
        .map(|(_, user)| to_sql(user.0))
        .collect();
    for row in &rows(link, !takers.is_empty(), &statements.users, &[&takers]).await? {
        let (id, account) = user(row)?;
        view.put_user(id, account);
    }
    let is_missing = |id: &i64| !view.has_user(UserId(from_sql(*id)));
    let missing: Vec<i64> = users.iter().chain(&takers).copied().filter(is_missing).collect();
    let of_missing: [Parameter<'_>; 1] = [&missing];
    let (_, made_users, sends_again) = tokio::try_join!(
        biased;
        rows(link, !missing.is_empty(), &statements.make_users, &of_missing),
        rows(link, !missing.is_empty(), &statements.users, &of_missing),
        rows(link, !missing.is_empty() && !sends.is_empty(), &statements.sends, &of_sends),
    )?;
    for row in &made_users {
        let (id, account) = user(row)?;
        view.put_user(id, account);
    }
    // Of users whose lock came only now, what was read before it is not said.
    let found_sends = if missing.is_empty() { found_sends } else { sends_again };
    see_users(link, users.iter().chain(&takers).copied(), view).await?;
    for row in &found_shares {
        view.put_share(pair(row)?, Some(cents(row, 2)?));
    }
    shares.into_iter().for_each(|key| view.put_share(key, None));
    for row in &found_offers {
        view.put_offer(pair(row)?, true);
    }
    offers.into_iter().for_each(|key| view.put_offer(key, false));
    let made = found_sends
        .iter()
        .map(made)
        .collect::<Result<HashMap<_, _>, Failure>>()?;
    for (origin, key) in sends {
        let column = (origin.to_column() as i16, sender_column(origin), key);
        view.put_send((origin, key), made.get(&column).copied());
    }
    for row in &found_lanes {
        let (key, record) = lane(row)?;
        view.put_lane(key, Some(record));
    }
    needed.lanes.iter().for_each(|key| view.put_lane(*key, None));
    Ok(())
}

/// Packets that were wanted and not locked: those that are final, not there, or another agent's at the moment.
async fn see_packets(link: &Link, needed: &Needed, view: &mut View) -> Result<(), Failure> {
    let packets: Vec<PacketId> = needed.every_packet().filter(|id| !view.has_packet(*id)).collect();
    let ids: Vec<i64> = packets.iter().map(|id| to_sql(id.0)).collect();
    let with: [Parameter<'_>; 1] = [&ids];
    let found = rows(link, !packets.is_empty(), &link.statements.others_packets, &with).await?;
    let mut seen = HashSet::with_capacity(found.len());
    for row in &found {
        let (id, packet) = packet(row)?;
        view.put_others_packet(id, packet);
        seen.insert(id);
    }
    for id in packets.into_iter().filter(|id| !seen.contains(id)) {
        view.put_packet(id, None);
    }
    Ok(())
}

/// The same of users: those that are not there, or another agent's at the moment. Nobody looks at those who get no share.
async fn see_users(link: &Link, asked: impl Iterator<Item = i64>, view: &mut View) -> Result<(), Failure> {
    let ids: Vec<i64> = asked.filter(|id| !view.has_user(UserId(from_sql(*id)))).collect();
    let with: [Parameter<'_>; 1] = [&ids];
    for row in &rows(link, !ids.is_empty(), &link.statements.others_users, &with).await? {
        let (id, account) = user(row)?;
        view.put_others_user(id, account);
    }
    // Not there, and not made: nothing of this transaction is theirs.
    let ids = ids.into_iter().map(|id| UserId(from_sql(id)));
    ids.for_each(|id| view.put_others_user(id, None));
    Ok(())
}

fn columns_of_pairs(pairs: &[(PacketId, UserId)]) -> (Vec<i64>, Vec<i64>) {
    pairs
        .iter()
        .map(|(packet, user)| (to_sql(packet.0), to_sql(user.0)))
        .unzip()
}

fn pair(row: &Row) -> Result<(PacketId, UserId), Failure> {
    Ok((PacketId(id(row, 0)?), UserId(id(row, 1)?)))
}

/// A row without a line is one that a request locked: the user never got anything.
fn user(row: &Row) -> Result<(UserId, Option<UserAccount>), Failure> {
    let lines: i64 = row.try_get(4)?;
    let account = UserAccount {
        balance: row.try_get(1)?,
        packets_opened: number(row, 2)?,
        sponsors: row.try_get(3)?,
        last_transfer: None,
        lines,
    };
    Ok((UserId(id(row, 0)?), (lines > 0).then_some(account)))
}

type SendColumns = (i16, i64, [u8; 16]);

fn made(row: &Row) -> Result<(SendColumns, Made), Failure> {
    let (key, hash): (&[u8], &[u8]) = (row.try_get(2)?, row.try_get(4)?);
    let strange = |_| Failure::strange("sends", "key or hash");
    let made = Made {
        packet: PacketId(id(row, 3)?),
        hash: hash.try_into().map_err(strange)?,
    };
    Ok((
        (row.try_get(0)?, row.try_get(1)?, key.try_into().map_err(strange)?),
        made,
    ))
}

fn lane(row: &Row) -> Result<((u64, u16), LaneRecord), Failure> {
    let record = LaneRecord {
        lane: row.try_get(2)?,
        requests_done: id(row, 3)?,
        grants_released: id(row, 4)?,
    };
    Ok(((id(row, 0)?, number(row, 1)?), record))
}
