//! What each transaction builds on: which ledger it is, whose the part is, and where it stands.

use super::halt::{self, Halt};
use super::link::{Failure, Link};
use super::read::Parameter;
use super::rows::{cents, id, number, time};
use crate::ledger::accounts::Account;
use crate::ledger::bound::Bound;
use crate::ledger::opening::Incarnation;
use crate::ledger::schema::to_sql;
use crate::ledger::spans::{Span, Spans};
use crate::ledger::standing::{Numbers, Standing};
use shake_rules::seed::SeedHeader;
use shake_rules::{EventId, LedgerId, SponsorId, UnixMillis};
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// What the database says of itself.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) version: i64,
    pub(super) identity: LedgerId,
    pub(super) event: EventId,
    /// Why no agent writes to it.
    pub(super) halted: Option<Halt>,
}

pub(super) async fn database(link: &Link) -> Result<Database, Failure> {
    let row = link.client.query_one(&link.statements.ledger, &[]).await?;
    let identity: &[u8] = row.try_get(1)?;
    let identity = identity
        .try_into()
        .map_err(|_| Failure::strange("ledger", "identity"))?;
    Ok(Database {
        version: row.try_get(0)?,
        identity: LedgerId(identity),
        event: EventId(number(&row, 2)?),
        halted: halt::read(&row, 3)?,
    })
}

/// Who has the part, and how many commits it has. Locked until the transaction's end.
pub(super) struct Fence {
    pub(super) epoch: i64,
    pub(super) stamp: u64,
    /// The server's clock.
    pub(super) now: UnixMillis,
    /// How many spans there are, of all parts.
    pub(super) spans: i64,
    /// Why no agent of the event may write.
    pub(super) halted: Option<Halt>,
}

/// `None` when there is no such part.
pub(super) async fn fence(link: &Link, part: i32) -> Result<Option<Fence>, Failure> {
    let row = link.client.query_opt(&link.statements.lock_part, &[&part]).await?;
    let read = |row: &Row| {
        Ok(Fence {
            epoch: row.try_get(0)?,
            stamp: id(row, 1)?,
            now: UnixMillis(id(row, 2)?),
            spans: row.try_get(3)?,
            halted: halt::read(row, 4)?,
        })
    };
    row.as_ref().map(read).transpose()
}

/// Whose a part is.
pub(super) struct Owner {
    /// `None` of a part that no agent has had yet, and of one that is retired.
    pub(super) installation: Option<Vec<u8>>,
    pub(super) is_retired: bool,
    /// How long ago its agent made a commit, by the server's clock, in milliseconds.
    pub(super) seen_ms_ago: Option<i64>,
}

/// `None` when there is no such part.
pub(super) async fn owner(link: &Link, part: i32) -> Result<Option<Owner>, Failure> {
    let row = link.client.query_opt(&link.statements.owner, &[&part]).await?;
    let read = |row: &Row| {
        Ok(Owner {
            installation: row.try_get(0)?,
            is_retired: row.try_get(1)?,
            seen_ms_ago: row.try_get(2)?,
        })
    };
    row.as_ref().map(read).transpose()
}

/// Where the part stands, and the header of its seed.
pub(super) async fn standing(
    link: &Link,
    part: i32,
    database: &Database,
    incarnation: Incarnation,
) -> Result<(Standing, SeedHeader), Failure> {
    let (client, statements) = (&link.client, &link.statements);
    let bits = to_sql(incarnation.0);
    let of_part: [Parameter<'_>; 1] = [&part];
    let of_opening: [Parameter<'_>; 2] = [&part, &bits];
    let (row, spans, sponsors, house, opening) = tokio::try_join!(
        client.query_one(&statements.part, &of_part),
        client.query(&statements.spans, &[]),
        client.query(&statements.sponsors, &of_part),
        client.query(&statements.house, &of_part),
        client.query_opt(&statements.opening, &of_opening),
    )?;
    let header = SeedHeader {
        event: database.event,
        part: u16::try_from(part).map_err(|_| Failure::strange("parts", part))?,
        parts: number(&row, 0)?,
        count: id(&row, 1)?,
        total: cents(&row, 2)?,
        records_crc: u32::try_from(row.try_get::<_, i64>(3)?).map_err(|_| Failure::strange("parts", "records_crc"))?,
    };
    let is_bound: bool = row.try_get(6)?;
    let released = sponsors.iter().map(|row| Ok((SponsorId(number(row, 0)?), id(row, 1)?)));
    let bound = is_bound.then_some(Bound {
        header,
        version: database.version,
        identity: Some(database.identity),
        gift_budget: cents(&row, 7)?,
        released: released.collect::<Result<_, Failure>>()?,
    });
    let standing = Standing {
        stamp: id(&row, 4)?,
        last_commit: UnixMillis(id(&row, 5)?),
        closed: time(&row, 8)?,
        spans: spans.iter().map(span).collect::<Result<Spans, Failure>>()?,
        bound,
        numbers: Numbers {
            transfer: row.try_get(9)?,
            outbox: row.try_get(10)?,
            made: id(&row, 11)?,
            lane: row.try_get(12)?,
            incarnation: row.try_get(13)?,
        },
        house: house.iter().map(account).collect::<Result<BTreeMap<_, _>, Failure>>()?,
        gifts: Some(row.try_get(14)?),
        lost_stamp: id(&row, 15)?,
        incarnation_row: opening.map(|row| row.try_get(0)).transpose()?,
    };
    Ok((standing, header))
}

fn span(row: &Row) -> Result<Span, Failure> {
    let (begin, end) = (UnixMillis(id(row, 0)?), UnixMillis(id(row, 1)?));
    Ok(Span { begin, end })
}

/// The spans of all parts, and how many there are before those that touch are one.
pub(super) async fn spans(link: &Link) -> Result<(Spans, i64), Failure> {
    let rows = link.client.query(&link.statements.spans, &[]).await?;
    let count = rows.len() as i64;
    Ok((rows.iter().map(span).collect::<Result<Spans, Failure>>()?, count))
}

fn account(row: &Row) -> Result<(Account, i64), Failure> {
    let (kind, id): (i16, i32) = (row.try_get(0)?, row.try_get(1)?);
    let account = Account::from_columns(kind.into(), id.into());
    let strange = || Failure::strange("house", format!("kind {kind}, id {id}"));
    Ok((account.ok_or_else(strange)?, row.try_get(2)?))
}
