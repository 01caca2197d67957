//! Money for gifts, where the parts of an event have it in common: an agent has what its gateway gives in a minute in hand, and
//! draws anew when that is less than ten seconds' worth, so that the row of all is not written for each gift.

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
/// How long a pot that had less than was asked is left alone, in milliseconds.
const EMPTY_MS: u64 = 1_000;

/// When there was less than was asked.
#[derive(Debug, Default)]
pub(crate) struct Gifts {
    emptied: Option<UnixMillis>,
}

/// How much to draw, in cents; negative to put back. `asked` is what the requests at hand give away.
fn wanted(in_hand: i64, asked: i64, a_second: i64) -> i64 {
    let worth = |seconds: i64| a_second.saturating_mul(seconds).saturating_add(asked);
    if in_hand < worth(LOW_S) || in_hand > worth(HIGH_S) {
        worth(DRAW_S) - in_hand
    } else {
        0
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
        let wanted = wanted(in_hand, asked, cents(self.feed.gifts_a_second(now).0));
        let emptied = self.gifts.emptied;
        let is_empty = emptied.is_some_and(|at| now >= at && now.since_ms(at) < EMPTY_MS);
        if wanted == 0 || wanted > 0 && is_empty {
            return Ok(());
        }
        let drawn = self.ledger.draw_gifts(wanted, now)?;
        self.gifts.emptied = (drawn < wanted).then_some(now);
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
            (0, 0, 0, 0),
            (0, 7, 0, 7),
            (7, 7, 0, 0),
            (8, 0, 0, -8),
            (0, 0, 5, 300),
            (49, 0, 5, 251),
            (50, 0, 5, 0),
            (600, 0, 5, 0),
            (601, 0, 5, -301),
            (50, 10, 5, 260),
            (0, i64::MAX, i64::MAX, i64::MAX),
        ] {
            assert_eq!(
                wanted(in_hand, asked, a_second),
                expected,
                "{in_hand} {asked} {a_second}"
            );
        }
    }
}
