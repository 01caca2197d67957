//! What is committed, for whoever only looks; and what is out, of one's own part.

use super::link::{Failure, Link};
use super::read::{Parameter, by};
use super::rows::{cents, id, number, packet, time};
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::shares::{Offer, Share, WAITING_MAX};
use crate::ledger::store::{Look, Seen};
use crate::ledger::users::Movement;
use shake_rules::winnings::{PACKETS_PER_USER_MAX, Won};
use shake_rules::{PacketId, SponsorId, UnixMillis, UserId};
use tokio_postgres::{Row, Statement};

/// What is committed.
pub(super) async fn look(link: &Link, look: &Look) -> Result<Seen, Failure> {
    let (client, statements) = (&link.client, &link.statements);
    Ok(match *look {
        Look::Packet(id) => {
            let id = to_sql(id.0);
            let with: [Parameter<'_>; 1] = [&id];
            let (found, shares) = tokio::try_join!(
                client.query_opt(&statements.see_packet, &with),
                client.query(&statements.see_shares, &with),
            )?;
            let shares = shares.iter().map(share).collect::<Result<Vec<_>, _>>()?;
            let found = found.as_ref().map(packet).transpose()?;
            Seen::Packet(found.map(|(_, packet)| (packet, shares)))
        }
        Look::Wallet(user, max) => {
            let (user, max) = (to_sql(user.0), i64::try_from(max).unwrap_or(i64::MAX));
            let (of_user, with_max): ([Parameter<'_>; 1], [Parameter<'_>; 2]) = ([&user], [&user, &max]);
            let (balance, movements) = tokio::try_join!(
                client.query_opt(&statements.see_balance, &of_user),
                client.query(&statements.see_movements, &with_max),
            )?;
            Seen::Wallet {
                balance: balance.map(|row| row.try_get(0)).transpose()?,
                movements: movements.iter().map(movement).collect::<Result<_, _>>()?,
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

fn share(row: &Row) -> Result<Share, Failure> {
    Ok(Share {
        user: UserId(id(row, 0)?),
        amount: cents(row, 1)?,
        at: UnixMillis(id(row, 2)?),
    })
}

fn movement(row: &Row) -> Result<Movement, Failure> {
    Ok(Movement {
        cents: row.try_get(0)?,
        packet: PacketId(id(row, 1)?),
        at: UnixMillis(id(row, 2)?),
    })
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

/// Whether anything of the part is out.
pub(super) async fn are_out(link: &Link, part: i32) -> Result<bool, Failure> {
    let row = link.client.query_one(&link.statements.are_out, &[&part]).await?;
    Ok(row.try_get(0)?)
}

/// The one time that a statement gives of the part.
pub(super) async fn time_of(link: &Link, part: i32, statement: &Statement) -> Result<Option<UnixMillis>, Failure> {
    time(&link.client.query_one(statement, &[&part]).await?, 0)
}
