//! Money for gifts, where the parts of an event have it in common: an agent has what its gateway gives in a minute in hand, and
//! draws anew when that is less than ten seconds' worth, so that the row of all is not written for each gift. When little is left
//! it gets less ahead, because others draw as well; what it has to give at once it gets as long as there is any.

use crate::ledger::{LedgerError, Store};
use crate::turn::Agent;
use shake_proto::handoff::record::Request;
use shake_rules::UnixMillis;

/// So much is drawn, in seconds of the phase's gifts.
const DRAW_S: i64 = 60;
/// Below so much it is drawn anew, in seconds.
const LOW_S: i64 = 10;
/// Above so much it is put back, in seconds: what comes back of gifts that nobody takes is the agent's that sent it back.
const HIGH_S: i64 = 120;
/// How long a pot that gave less than was wanted is left alone, in milliseconds.
const SHORT_MS: u64 = 1_000;

/// When there was less than was wanted.
#[derive(Debug, Default)]
pub(crate) struct Gifts {
    short: Option<UnixMillis>,
    /// Not even what had to be given at once was there.
    is_empty: bool,
}

/// How much to draw, in cents: what is needed at once, negative to put back; and how much more for what comes next. `asked` is what
/// the requests at hand give away.
fn wanted(in_hand: i64, asked: i64, a_second: i64) -> (i64, i64) {
    let worth = |seconds: i64| a_second.saturating_mul(seconds).saturating_add(asked);
    let missing = worth(DRAW_S).saturating_sub(in_hand);
    if in_hand > worth(HIGH_S) {
        (missing, 0)
    } else if in_hand < worth(LOW_S) {
        let needed = asked.saturating_sub(in_hand).max(0);
        (needed, missing - needed)
    } else {
        (0, 0)
    }
}

impl<S: Store> Agent<S> {
    /// Draws or puts back what this batch and the phase want, in a transaction of its own.
    ///
    /// # Errors
    /// A failed write.
    pub(crate) fn keep_gifts_in_hand(&mut self, now: UnixMillis) -> Result<(), LedgerError> {
        let Some(in_hand) = self.ledger.standing().gifts else {
            return Ok(());
        };
        let asked = self.inbox.iter().map(|incoming| match &incoming.request {
            Request::Gift(gift) => cents(gift.total.0),
            _ => 0,
        });
        let asked = asked.fold(0, i64::saturating_add);
        let (needed, ahead) = wanted(in_hand, asked, cents(self.feed.gifts_a_second(now).0));
        let was_short = self
            .gifts
            .short
            .is_some_and(|at| now >= at && now.since_ms(at) < SHORT_MS);
        let waits = was_short && (needed == 0 || needed > 0 && self.gifts.is_empty);
        if (needed, ahead) == (0, 0) || waits {
            return Ok(());
        }
        let drawn = self.ledger.draw_gifts(needed, ahead, now)?;
        let is_empty = drawn < needed;
        let is_short = is_empty || drawn - needed < ahead;
        self.gifts = Gifts {
            short: is_short.then_some(now),
            is_empty,
        };
        Ok(())
    }
}

fn cents(cents: u64) -> i64 {
    i64::try_from(cents).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_drawn_below_ten_seconds_and_put_back_above_two_minutes() {
        for (in_hand, asked, a_second, expected) in [
            (0, 0, 0, (0, 0)),
            (0, 7, 0, (7, 0)),
            (7, 7, 0, (0, 0)),
            (8, 0, 0, (-8, 0)),
            (0, 0, 5, (0, 300)),
            (49, 0, 5, (0, 251)),
            (50, 0, 5, (0, 0)),
            (600, 0, 5, (0, 0)),
            (601, 0, 5, (-301, 0)),
            (50, 10, 5, (0, 260)),
            (4, 10, 5, (6, 300)),
            (0, i64::MAX, i64::MAX, (i64::MAX, 0)),
        ] {
            assert_eq!(
                wanted(in_hand, asked, a_second),
                expected,
                "{in_hand} {asked} {a_second}"
            );
        }
    }
}
