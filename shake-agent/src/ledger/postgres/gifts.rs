//! The event's money for gifts, which all parts draw from: the only row that agents of several parts wait for each other for. Whoever
//! has it waits for nothing else.

use super::link::{Failure, Link};
use super::rows::cents;
use shake_rules::Cents;

/// What the event was funded with, and what no part has drawn of it. Locked until the transaction's end.
async fn lock(link: &Link) -> Result<(Cents, Cents), Failure> {
    let row = link.client.query_one(&link.statements.lock_gifts, &[]).await?;
    Ok((cents(&row, 0)?, cents(&row, 1)?))
}

async fn set(link: &Link, budget: Cents, pot: Cents) -> Result<(), Failure> {
    let (budget, pot) = (signed(budget)?, signed(pot)?);
    link.client
        .execute(&link.statements.set_gifts, &[&budget, &pot])
        .await?;
    Ok(())
}

fn signed(cents: Cents) -> Result<i64, Failure> {
    i64::try_from(cents.0).map_err(|_| Failure::strange("ledger", cents.0))
}

/// Raises what the event was funded with, where it is less; the difference is in the pot then. Gives what it was.
pub(super) async fn raise_budget(link: &Link, to: Cents) -> Result<Cents, Failure> {
    let (budget, pot) = lock(link).await?;
    if to > budget {
        set(link, to, Cents(pot.0 + (to.0 - budget.0))).await?;
    }
    Ok(budget)
}

/// Takes so many cents out of the pot, or as many as are there; puts back what is negative. Gives how many.
pub(super) async fn draw(link: &Link, wanted: i64) -> Result<i64, Failure> {
    let (budget, pot) = lock(link).await?;
    let there = signed(pot)?;
    let drawn = wanted.min(there);
    if drawn != 0 {
        set(link, budget, Cents((there - drawn).cast_unsigned())).await?;
    }
    Ok(drawn)
}
