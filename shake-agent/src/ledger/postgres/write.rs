//! What is written: one statement a table, arrays in, all on their way before the first is answered.
//!
//! The COMMIT is not among them. It goes when the server has said of each update that it met every row: one row less would
//! be money that moved on one side only.

use super::link::{Failure, Link};
use super::read::Parameter;
use crate::ledger::differences::{Differences, SeedRow};
use crate::ledger::lanes::LaneRow;
use crate::ledger::outbox::OutboxRow;
use crate::ledger::packet::{EVENT_SPONSOR, Granted, Origin, Packet};
use crate::ledger::schema::to_sql;
use crate::ledger::shares::{OfferRow, SendRow, ShareRow, sender_column};
use crate::ledger::transfers::Entry;
use crate::ledger::users::UserAccount;
use shake_rules::{PacketId, UnixMillis, UserId};
use tokio_postgres::Statement;

/// Runs a statement that must meet so many rows.
async fn meet(link: &Link, count: usize, statement: &Statement, with: &[Parameter<'_>]) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    let met = link.client.execute(statement, with).await?;
    if met != count as u64 {
        return Err(Failure::strange(
            "a table",
            format!("{met} rows met where {count} are written"),
        ));
    }
    Ok(())
}

fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn time(time: Option<UnixMillis>) -> Option<i64> {
    time.map(|time| to_sql(time.0))
}

/// Writes differences of a part into the transaction under way.
pub(super) async fn write(link: &Link, part: i32, differences: &Differences) -> Result<(), Failure> {
    // Ordered: offers are settled after they are made, and the closing line counts balances that are written.
    tokio::try_join!(
        biased;
        add_opening(link, part, differences),
        add_seed(link, part, differences.seed.as_ref()),
        add_packets(link, part, &differences.packets_new),
        change_packets(link, &differences.packets),
        change_grants(link, &differences.grants),
        change_users(link, &differences.users),
        add_transfers(link, part, &differences.transfers),
        add_lines(link, part, &differences.outbox),
        add_shares(link, part, &differences.shares),
        add_sends(link, &differences.sends),
        add_offers(link, &differences.offers, differences.at),
        settle_offers(link, &differences.offers_settled),
        add_lanes(link, part, &differences.lanes_new),
        add_refused(link, part, differences),
        set_house(link, part, differences),
        set_part(link, part, differences),
    )?;
    Ok(())
}

async fn add_opening(link: &Link, part: i32, differences: &Differences) -> Result<(), Failure> {
    let statements = &link.statements;
    if let Some(opening) = &differences.opening {
        let (bits, begun) = (to_sql(opening.incarnation.0), to_sql(opening.begun.0));
        let with: [Parameter<'_>; 5] = [&part, &opening.row, &bits, &begun, &opening.machine];
        meet(link, 1, &statements.add_opening, &with).await?;
    }
    if let Some(span) = differences.span {
        let with: [Parameter<'_>; 3] = [&part, &to_sql(span.begin.0), &to_sql(span.end.0)];
        meet(link, 1, &statements.add_span, &with).await?;
    }
    Ok(())
}

async fn add_seed(link: &Link, part: i32, seed: Option<&SeedRow>) -> Result<(), Failure> {
    let Some(seed) = seed else { return Ok(()) };
    let sponsors = column(&seed.sponsors, |(sponsor, _)| i32::from(sponsor.0));
    let packets = column(&seed.sponsors, |(_, packets)| to_sql(*packets));
    let with: [Parameter<'_>; 3] = [&part, &sponsors, &packets];
    meet(link, sponsors.len(), &link.statements.add_sponsors, &with).await
}

async fn add_packets(link: &Link, part: i32, rows: &[(PacketId, Packet)]) -> Result<(), Failure> {
    let of_seed = |packet: &Packet| match packet.origin {
        Origin::Seed(sponsor) => Some(i32::from(sponsor.0)),
        Origin::Gift => Some(i32::from(EVENT_SPONSOR.0)),
        Origin::Sent(_) => None,
    };
    let sender = |packet: &Packet| match packet.origin {
        Origin::Sent(user) => Some(to_sql(user.0)),
        Origin::Seed(_) | Origin::Gift => None,
    };
    let with: [Parameter<'_>; 22] = [
        &part,
        &column(rows, |(id, _)| to_sql(id.0)),
        &column(rows, |(_, packet)| packet.origin.to_column() as i16),
        &column(rows, |(_, packet)| of_seed(packet)),
        &column(rows, |(_, packet)| sender(packet)),
        &column(rows, |(_, packet)| to_sql(packet.amount.0)),
        &column(rows, |(_, packet)| i32::from(packet.shares)),
        &column(rows, |(_, packet)| to_sql(packet.left.0)),
        &column(rows, |(_, packet)| i32::from(packet.shares_left)),
        &column(rows, |(_, packet)| i32::from(packet.recipients)),
        &column(rows, |(_, packet)| packet.state.to_column() as i16),
        &column(rows, |(_, packet)| packet.user.map(|user| to_sql(user.0))),
        &column(rows, |(_, packet)| packet.stage.map(i32::from)),
        &column(rows, |(_, packet)| to_sql(packet.made.0)),
        &column(rows, |(_, packet)| time(packet.issued)),
        &column(rows, |(_, packet)| time(packet.opened)),
        &column(rows, |(_, packet)| time(packet.due)),
        &column(rows, |(_, packet)| time(packet.ends)),
        &column(rows, |(_, packet)| time(packet.closed)),
        &column(rows, |(_, packet)| {
            packet.granted.map(|granted| to_sql(granted.seed_index))
        }),
        &column(rows, |(_, packet)| packet.granted.map(|granted| granted.lane)),
        &column(rows, |(_, packet)| {
            packet.granted.map(|granted| to_sql(granted.position))
        }),
    ];
    meet(link, rows.len(), &link.statements.add_packets, &with).await
}

async fn change_packets(link: &Link, rows: &[(PacketId, Packet)]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 11] = [
        &column(rows, |(id, _)| to_sql(id.0)),
        &column(rows, |(_, packet)| packet.state.to_column() as i16),
        &column(rows, |(_, packet)| to_sql(packet.left.0)),
        &column(rows, |(_, packet)| i32::from(packet.shares_left)),
        &column(rows, |(_, packet)| packet.user.map(|user| to_sql(user.0))),
        &column(rows, |(_, packet)| packet.stage.map(i32::from)),
        &column(rows, |(_, packet)| time(packet.issued)),
        &column(rows, |(_, packet)| time(packet.opened)),
        &column(rows, |(_, packet)| time(packet.due)),
        &column(rows, |(_, packet)| time(packet.ends)),
        &column(rows, |(_, packet)| time(packet.closed)),
    ];
    meet(link, rows.len(), &link.statements.change_packets, &with).await
}

async fn change_grants(link: &Link, rows: &[(PacketId, Granted)]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 3] = [
        &column(rows, |(id, _)| to_sql(id.0)),
        &column(rows, |(_, granted)| granted.lane),
        &column(rows, |(_, granted)| to_sql(granted.position)),
    ];
    meet(link, rows.len(), &link.statements.change_grants, &with).await
}

async fn change_users(link: &Link, rows: &[(UserId, UserAccount)]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 5] = [
        &column(rows, |(id, _)| to_sql(id.0)),
        &column(rows, |(_, account)| account.balance),
        &column(rows, |(_, account)| account.packets_opened.cast_signed()),
        &column(rows, |(_, account)| account.sponsors.clone()),
        &column(rows, |(_, account)| account.lines),
    ];
    meet(link, rows.len(), &link.statements.change_users, &with).await
}

async fn add_transfers(link: &Link, part: i32, rows: &[Entry]) -> Result<(), Failure> {
    let debit = |entry: &Entry| entry.transfer.debit.to_columns();
    let credit = |entry: &Entry| entry.transfer.credit.to_columns();
    let with: [Parameter<'_>; 8] = [
        &part,
        &column(rows, |entry| entry.number),
        &column(rows, |entry| to_sql(entry.transfer.at.0)),
        &column(rows, |entry| debit(entry).0 as i16),
        &column(rows, |entry| debit(entry).1),
        &column(rows, |entry| credit(entry).0 as i16),
        &column(rows, |entry| credit(entry).1),
        &column(rows, |entry| to_sql(entry.transfer.amount.0)),
    ];
    meet(link, rows.len(), &link.statements.add_transfers, &with).await
}

async fn add_lines(link: &Link, part: i32, rows: &[OutboxRow]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 11] = [
        &part,
        &column(rows, |row| row.seq),
        &column(rows, |row| to_sql(row.at.0)),
        &column(rows, |row| to_sql(row.user.0)),
        &column(rows, |row| row.cents),
        &column(rows, |row| row.kind.to_column() as i16),
        &column(rows, |row| to_sql(row.packet.0)),
        &column(rows, |row| row.transfer),
        &column(rows, |row| row.number),
        &column(rows, |row| row.balance),
        &column(rows, |row| row.incarnation),
    ];
    meet(link, rows.len(), &link.statements.add_lines, &with).await
}

async fn add_shares(link: &Link, part: i32, rows: &[ShareRow]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 6] = [
        &part,
        &column(rows, |row| to_sql(row.packet.0)),
        &column(rows, |row| to_sql(row.share.user.0)),
        &column(rows, |row| to_sql(row.share.amount.0)),
        &column(rows, |row| to_sql(row.share.at.0)),
        &column(rows, |row| row.transfer),
    ];
    meet(link, rows.len(), &link.statements.add_shares, &with).await
}

async fn add_sends(link: &Link, rows: &[SendRow]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 5] = [
        &column(rows, |row| to_sql(row.packet.0)),
        &column(rows, |row| row.origin.to_column() as i16),
        &column(rows, |row| sender_column(row.origin)),
        &column(rows, |row| row.key.to_vec()),
        &column(rows, |row| row.hash.to_vec()),
    ];
    meet(link, rows.len(), &link.statements.add_sends, &with).await
}

async fn add_offers(link: &Link, rows: &[OfferRow], at: UnixMillis) -> Result<(), Failure> {
    let with: [Parameter<'_>; 4] = [
        &column(rows, |row| to_sql(row.packet.0)),
        &column(rows, |row| to_sql(row.user.0)),
        &column(rows, |row| if row.is_gift { 2_i16 } else { 1 }),
        &to_sql(at.0),
    ];
    meet(link, rows.len(), &link.statements.add_offers, &with).await
}

/// Not each of them waits still.
async fn settle_offers(link: &Link, rows: &[(PacketId, Option<UserId>)]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let with: [Parameter<'_>; 2] = [
        &column(rows, |(packet, _)| to_sql(packet.0)),
        &column(rows, |(_, user)| user.map(|user| to_sql(user.0))),
    ];
    link.client.execute(&link.statements.settle_offers, &with).await?;
    Ok(())
}

async fn add_lanes(link: &Link, part: i32, rows: &[LaneRow]) -> Result<(), Failure> {
    let with: [Parameter<'_>; 6] = [
        &part,
        &column(rows, |row| row.record.lane),
        &column(rows, |row| to_sql(row.mapping)),
        &column(rows, |row| i32::from(row.shard)),
        &column(rows, |row| to_sql(row.record.requests_done)),
        &column(rows, |row| to_sql(row.record.grants_released)),
    ];
    meet(link, rows.len(), &link.statements.add_lanes, &with).await
}

/// One that was put aside already is read again after a restart.
async fn add_refused(link: &Link, part: i32, differences: &Differences) -> Result<(), Failure> {
    for row in &differences.refused {
        let (mapping, shard, position) = (to_sql(row.mapping), i32::from(row.shard), to_sql(row.position));
        let at = to_sql(differences.at.0);
        let with: [Parameter<'_>; 7] = [&part, &mapping, &shard, &position, &at, &row.record, &row.reason];
        link.client.execute(&link.statements.add_refused, &with).await?;
    }
    Ok(())
}

/// What is the house's: rings, balances, and how far the seed is released.
async fn set_house(link: &Link, part: i32, differences: &Differences) -> Result<(), Failure> {
    let Differences {
        lanes, house, released, ..
    } = differences;
    let kind_and_id = |account: crate::ledger::Account| account.to_columns();
    let of_lanes: [Parameter<'_>; 4] = [
        &part,
        &column(lanes, |record| record.lane),
        &column(lanes, |record| to_sql(record.requests_done)),
        &column(lanes, |record| to_sql(record.grants_released)),
    ];
    let of_house: [Parameter<'_>; 4] = [
        &part,
        &column(house, |(account, _)| kind_and_id(*account).0 as i16),
        &column(house, |(account, _)| kind_and_id(*account).1 as i32),
        &column(house, |(_, cents)| *cents),
    ];
    let of_sponsors: [Parameter<'_>; 3] = [
        &part,
        &column(released, |(sponsor, _)| i32::from(sponsor.0)),
        &column(released, |(_, count)| to_sql(*count)),
    ];
    let statements = &link.statements;
    tokio::try_join!(
        biased;
        meet(link, lanes.len(), &statements.change_lanes, &of_lanes),
        meet(link, house.len(), &statements.set_house, &of_house),
        meet(link, released.len(), &statements.set_released, &of_sponsors),
    )?;
    Ok(())
}

async fn set_part(link: &Link, part: i32, differences: &Differences) -> Result<(), Failure> {
    let at = to_sql(differences.at.0);
    let closing = differences.closing;
    let numbers = &differences.numbers;
    let is_bound = differences.seed.is_some();
    let gift_budget = differences.gift_budget.map(|budget| to_sql(budget.0));
    let settlement = differences.begins_settlement.then_some(at);
    let closed = closing.map(|closing| to_sql(closing.at.0));
    let of_closing: [Parameter<'_>; 4] = [
        &part,
        &closing.map_or(0, |closing| closing.seq),
        &at,
        &closing.map_or(0, |closing| closing.incarnation),
    ];
    let of_part: [Parameter<'_>; 14] = [
        &part,
        &to_sql(differences.stamp),
        &at,
        &numbers.transfer,
        &numbers.outbox,
        &to_sql(numbers.made),
        &numbers.lane,
        &numbers.incarnation,
        &is_bound,
        &gift_budget,
        &settlement,
        &closed,
        &differences.gifts,
        &differences.answered.map(|at| to_sql(at.0)),
    ];
    tokio::try_join!(
        biased;
        meet(link, usize::from(closing.is_some()), &link.statements.add_closing, &of_closing),
        meet(link, 1, &link.statements.set_part, &of_part),
    )?;
    Ok(())
}
