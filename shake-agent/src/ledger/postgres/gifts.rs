//! The event's money for gifts, which all parts draw from: the only row that agents of several parts wait for each other for. Whoever
//! has it waits for nothing else.

use super::link::{Failure, Link};
use super::rows::cents;
use shake_rules::Cents;

/// Of what is left, one part takes so much ahead at the most: the sixteenth. A machine that burns takes that along until its part is
/// retired, and parts that draw at the same time leave something for each other.
const AHEAD_SHARE: i64 = 16;
/// Below so much the rest is drawn whole, in cents: it comes to an end, and not to ever smaller parts.
const AHEAD_MIN: i64 = 100;

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

/// Takes out of the pot what is needed, or as much as is there, and some of what is left for what comes next; puts back what is
/// negative. Gives how much.
pub(super) async fn draw(link: &Link, needed: i64, ahead: i64) -> Result<i64, Failure> {
    let (budget, pot) = lock(link).await?;
    let there = signed(pot)?;
    let drawn = drawn(there, needed, ahead);
    if drawn != 0 {
        set(link, budget, Cents((there - drawn).cast_unsigned())).await?;
    }
    Ok(drawn)
}

fn drawn(there: i64, needed: i64, ahead: i64) -> i64 {
    let given = needed.min(there);
    let left = there - given;
    given + ahead.min((left / AHEAD_SHARE).max(AHEAD_MIN)).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_drawn_whole_and_what_comes_next_in_part() {
        for (there, needed, ahead, expected) in [
            (16_000, 0, 600, 600),
            (16_000, 0, 20_000, 1_000),
            (16_000, 8_000, 20_000, 8_500),
            (16_000, 20_000, 20_000, 16_000),
            (1_000, 0, 600, 100),
            (70, 0, 600, 70),
            (0, 5, 600, 0),
            (10, -20, 0, -20),
        ] {
            assert_eq!(drawn(there, needed, ahead), expected, "{there} {needed} {ahead}");
        }
    }

    /// Whoever draws again and again empties it, in not many draws.
    #[test]
    fn a_pot_comes_to_its_end() {
        let (mut there, mut draws) = (10_000_000, 0);
        while there > 0 {
            let drawn = drawn(there, 0, i64::MAX);
            assert!(
                drawn <= there && (drawn <= there / AHEAD_SHARE || drawn <= AHEAD_MIN),
                "{drawn} of {there}"
            );
            (there, draws) = (there - drawn, draws + 1);
        }
        assert!(draws < 200, "{draws}");
    }
}
