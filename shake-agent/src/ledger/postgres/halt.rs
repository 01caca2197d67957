//! A server that came back without its last commits. Agents that lost none would go on, and give out again what others had given
//! out; so whoever sees it halts the ledger for all of them. Each says what it knows of its part, and ends, until a person has
//! decided: brings back the newest database, in which nothing is halted, or goes on with this one ([`Loss`]).

use super::link::{Failure, Link};
use super::part::Taking;
use super::rows::{id, number, time};
use super::standing::Database;
use super::{Access, LedgerError, Postgres, connect};
use crate::ledger::schema::{from_sql, to_sql};
use shake_rules::{LedgerId, SponsorId, UnixMillis};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio_postgres::Row;

/// So much further go the numbers of a part on behind a loss: what is lost cannot have gone on so far.
pub const SKIPPED: i64 = 1 << 32;

/// Why no agent of the event writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// When it was seen, by the server's clock.
    pub at: UnixMillis,
    /// By the agent of which part.
    pub part: u16,
    /// The last commit of the part that was known there.
    pub known: u64,
    /// The last one that the server had.
    pub found: u64,
}

/// What is known of a part besides what the server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last commit.
    pub stamp: u64,
    /// How many packets of each sponsor are released.
    pub released: BTreeMap<SponsorId, u64>,
}

/// The four columns of it, from this one on.
pub(super) fn read(row: &Row, column: usize) -> Result<Option<Halt>, Failure> {
    let Some(at) = time(row, column)? else {
        return Ok(None);
    };
    Ok(Some(Halt {
        at,
        part: number(row, column + 1)?,
        known: id(row, column + 2)?,
        found: id(row, column + 3)?,
    }))
}

/// Halts the ledger in the transaction under way, and gives why it is: somebody may have been faster. `None` when it is another
/// ledger.
pub(super) async fn halt(
    link: &Link,
    identity: LedgerId,
    part: i32,
    [known, found]: [u64; 2],
) -> Result<Option<Halt>, Failure> {
    let (known, found, identity) = (to_sql(known), to_sql(found), identity.0.as_slice());
    let with: [super::read::Parameter<'_>; 4] = [&part, &known, &found, &identity];
    let row = link.client.query_opt(&link.statements.halt, &with).await?;
    row.map_or(Ok(None), |row| read(&row, 0))
}

/// Writes down what is known of a part, while the ledger is halted.
pub(super) async fn tell(link: &Link, identity: LedgerId, part: i32, known: &Known) -> Result<(), Failure> {
    let (stamp, identity) = (to_sql(known.stamp), identity.0.as_slice());
    let sponsors: Vec<i32> = known.released.keys().map(|sponsor| sponsor.0.into()).collect();
    let released: Vec<i64> = known.released.values().copied().map(to_sql).collect();
    let with: [super::read::Parameter<'_>; 5] = [&part, &stamp, &sponsors, &released, &identity];
    link.client.execute(&link.statements.tell, &with).await?;
    Ok(())
}

/// The part's numbers go on far after those that were seen of it, once in a loss; and nobody else's transaction is of its epoch.
pub(super) async fn skip_numbers(link: &Link, part: i32, known: u64, is_gone: bool) -> Result<(i64, u64), Failure> {
    let (client, statements, known) = (&link.client, &link.statements, to_sql(known));
    if client.execute(&statements.note_loss, &[&part, &known]).await? > 0 {
        client.execute(&statements.skip_numbers, &[&part, &known]).await?;
    }
    let row = client.query_one(&statements.take_lost, &[&part, &is_gone]).await?;
    Ok((row.try_get(0)?, id(&row, 1)?))
}

/// A ledger that is halted, for who goes on with it.
#[derive(Debug)]
pub struct Loss {
    access: Access,
    place: PathBuf,
    /// Which ledger it is.
    pub identity: LedgerId,
    /// Why it is halted.
    pub halt: Halt,
    /// What agents have said of their parts since.
    pub told: BTreeMap<u16, Known>,
}

impl Loss {
    /// Looks at it. Writes nothing.
    ///
    /// # Errors
    /// [`LedgerError::NotHalted`]; [`LedgerError::Postgres`] when the server does not answer.
    pub fn look(access: Access) -> Result<Self, LedgerError> {
        let place = PathBuf::from(access.to_string());
        let (link, Database { identity, halted, .. }) = connect(&access, &place)?;
        let halt = halted.ok_or_else(|| LedgerError::NotHalted(place.clone()))?;
        let told = link.wait(async {
            let rows = link.client.query(&link.statements.told, &[]).await?;
            rows.iter().map(known).collect::<Result<_, Failure>>()
        });
        let told = told.map_err(|source| LedgerError::Postgres {
            action: "read",
            place: place.clone(),
            source,
        })?;
        Ok(Self {
            access,
            place,
            identity,
            halt,
            told,
        })
    }

    /// Takes a part, for what its lost commits did to be made up for. `known` is the last of them; one of a part that is gone is
    /// nobody's afterwards.
    ///
    /// # Errors
    /// As [`Postgres::open`], and [`LedgerError::NotHalted`].
    pub fn take(&self, part: u16, known: u64, is_gone: bool) -> Result<Postgres, LedgerError> {
        Postgres::take(self.access.clone(), part, &Taking::AcceptLoss { known, is_gone })
    }

    /// All parts are done: agents may write again.
    ///
    /// # Errors
    /// [`LedgerError::Postgres`] when the server does not do it.
    pub fn end(self) -> Result<(), LedgerError> {
        let (link, _) = connect(&self.access, &self.place)?;
        let ended = link.wait(async { Ok(link.client.execute(&link.statements.end_halt, &[]).await?) });
        ended.map(drop).map_err(|source| LedgerError::Postgres {
            action: "write to",
            place: self.place,
            source,
        })
    }
}

fn known(row: &Row) -> Result<(u16, Known), Failure> {
    let (sponsors, released): (Vec<i32>, Vec<i64>) = (row.try_get(2)?, row.try_get(3)?);
    let released = sponsors.into_iter().zip(released).map(|(sponsor, count)| {
        let sponsor = u16::try_from(sponsor).map_err(|_| Failure::strange("told", sponsor))?;
        Ok((SponsorId(sponsor), from_sql(count)))
    });
    let known = Known {
        stamp: id(row, 1)?,
        released: released.collect::<Result<_, Failure>>()?,
    };
    Ok((number(row, 0)?, known))
}

impl Postgres {
    /// Halts the ledger: a witness of this part has seen commit `seen`, which the server does not have. What it knows besides is told.
    ///
    /// # Errors
    /// [`LedgerError::Postgres`] when the server does not do it.
    pub fn halt(&self, seen: u64, known: Option<&Known>) -> Result<(), LedgerError> {
        let (link, home) = (&self.link, &self.home);
        let halted = link.wait(async {
            link.client.batch_execute("BEGIN").await?;
            halt(link, home.identity, home.part, [seen, home.stamp]).await?;
            if let Some(known) = known {
                tell(link, home.identity, home.part, known).await?;
            }
            Ok(())
        });
        halted.and_then(|()| link.commit()).map_err(home.failed("write to"))
    }

    /// Says what is known of a part whose agent is not served, because the ledger is halted. Another ledger hears nothing.
    ///
    /// # Errors
    /// [`LedgerError::Postgres`] when the server does not do it.
    pub fn tell(access: &Access, part: u16, identity: LedgerId, known: &Known) -> Result<(), LedgerError> {
        let place = super::place(&access.config, part);
        let (link, _) = connect(access, &place)?;
        let told = link.wait(tell(&link, identity, part.into(), known));
        told.map_err(|source| LedgerError::Postgres {
            action: "write to",
            place,
            source,
        })
    }
}
