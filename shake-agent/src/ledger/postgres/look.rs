//! What is committed, for whoever only looks; and what is out.

use super::link::{Failure, Link};
use super::read::{Parameter, by};
use super::rows::{id, number, packet, time};
use crate::ledger::packet::Packet;
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::shares::{Offer, Share, WAITING_MAX};
use crate::ledger::store::{Look, Seen};
use crate::ledger::users::Movement;
use shake_rules::winnings::{PACKETS_PER_USER_MAX, Won};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use tokio_postgres::{Row, Statement};

/// What is committed.
pub(super) async fn look(link: &Link, look: &Look) -> Result<Seen, Failure> {
    let (client, statements) = (&link.client, &link.statements);
    Ok(match *look {
        Look::Packet(id) => {
            let id = to_sql(id.0);
            let with: [Parameter<'_>; 1] = [&id];
            let found = client.query_opt(&statements.see_packet, &with).await?;
            Seen::Packet(found.as_ref().map(packet_and_shares).transpose()?)
        }
        Look::Wallet(user, max) => {
            let (user, max) = (to_sql(user.0), i64::try_from(max).unwrap_or(i64::MAX));
            let found = client.query(&statements.see_wallet, &[&user, &max]).await?;
            let balance = found.first().map(|row| row.try_get(0)).transpose()?;
            // A wallet without a movement is one row without one.
            let movements = found.iter().filter_map(|row| movement(row).transpose());
            Seen::Wallet {
                balance,
                movements: movements.collect::<Result<_, _>>()?,
            }
        }
        Look::Offers(user, at) => {
            let (user, at, max) = (to_sql(user.0), by(at), WAITING_MAX as i64);
            let found = client.query(&statements.see_offers, &[&user, &at, &max]).await?;
            Seen::Offers(found.iter().map(offer).collect::<Result<_, _>>()?)
        }
        Look::Winnings(user) => {
            let (user, max) = (to_sql(user.0), PACKETS_PER_USER_MAX as i64);
            let found = client.query(&statements.see_winnings, &[&user, &max]).await?;
            Seen::Winnings(found.iter().map(won).collect::<Result<_, _>>()?)
        }
    })
}

fn packet_and_shares(row: &Row) -> Result<(Packet, Vec<Share>), Failure> {
    let column = |at: usize| Ok::<Vec<i64>, Failure>(row.try_get::<_, Option<Vec<i64>>>(at)?.unwrap_or_default());
    let (users, cents, times) = (column(21)?, column(22)?, column(23)?);
    let shares = users
        .into_iter()
        .zip(cents)
        .zip(times)
        .map(|((user, cents), at)| Share {
            user: UserId(from_sql(user)),
            amount: Cents(from_sql(cents)),
            at: UnixMillis(from_sql(at)),
        });
    Ok((packet(row)?.1, shares.collect()))
}

fn movement(row: &Row) -> Result<Option<Movement>, Failure> {
    let Some(cents) = row.try_get(1)? else { return Ok(None) };
    Ok(Some(Movement {
        cents,
        packet: PacketId(id(row, 2)?),
        at: UnixMillis(id(row, 3)?),
    }))
}

fn offer(row: &Row) -> Result<Offer, Failure> {
    let from: Option<i64> = row.try_get(1)?;
    Ok(Offer {
        packet: PacketId(id(row, 0)?),
        from: from.map(|user| UserId(from_sql(user))),
    })
}

fn won(row: &Row) -> Result<Won, Failure> {
    Ok(Won {
        packet: PacketId(id(row, 0)?),
        sponsor: SponsorId(number(row, 1)?),
    })
}

/// Whether anything of any part is out.
pub(super) async fn are_out(link: &Link) -> Result<bool, Failure> {
    let row = link.client.query_one(&link.statements.are_out, &[]).await?;
    Ok(row.try_get(0)?)
}

/// Up to when everything that was asked is answered.
pub(super) async fn least_answered(link: &Link, counts_silence: bool) -> Result<Option<UnixMillis>, Failure> {
    let row = link
        .client
        .query_one(&link.statements.least_answered, &[&counts_silence])
        .await?;
    time(&row, 0)
}

/// The one time that a statement gives of the part.
pub(super) async fn time_of(link: &Link, part: i32, statement: &Statement) -> Result<Option<UnixMillis>, Failure> {
    time(&link.client.query_one(statement, &[&part]).await?, 0)
}
