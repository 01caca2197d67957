//! When phones are sent to other gateways without an operator: what they need is not here, and may be there.

use crate::config::Leave as Rules;
use crate::config_store::Cause;
use crate::load::modes::{Mode, Modes};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Phones are sent away.
    Begin(Cause),
    /// They may stay.
    End,
}

/// Why phones are sent away at the moment, if they are.
#[derive(Default)]
pub struct Leave {
    cause: Option<Cause>,
    ledger_away_since_ms: Option<u64>,
}

impl Leave {
    /// Looks at the modes that hold. `is_halted`: the ledger is so for all gateways, and nobody is better off elsewhere. Each cause
    /// begins once and ends when it is gone, so that what an operator cancels stays cancelled.
    pub fn look(&mut self, modes: Modes, is_halted: bool, rules: &Rules, now_ms: u64) -> Option<Step> {
        let is_away = modes.has(Mode::LedgerAway);
        self.ledger_away_since_ms = is_away.then_some(self.ledger_away_since_ms.unwrap_or(now_ms));
        let is_long_away = |since: u64| {
            let after = rules.ledger_away;
            after.is_some_and(|after| u128::from(now_ms.saturating_sub(since)) >= after.as_millis())
        };
        let cause = if rules.to.is_empty() {
            None
        } else if modes.has(Mode::PartLost) {
            (!is_halted).then_some(Cause::PartLost)
        } else {
            let is_long = self.ledger_away_since_ms.is_some_and(is_long_away);
            is_long.then_some(Cause::LedgerAway)
        };
        if std::mem::replace(&mut self.cause, cause) == cause {
            return None;
        }
        Some(cause.map_or(Step::End, Step::Begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rules() -> Rules {
        Rules {
            to: vec!["gw2.example:4433".to_owned()],
            over: Duration::from_secs(60),
            ledger_away: Some(Duration::from_secs(15)),
        }
    }

    fn of(held: &[Mode]) -> Modes {
        let mut modes = Modes::default();
        held.iter().for_each(|mode| modes.set(*mode, true));
        modes
    }

    /// Looks each tenth of a second until then, and gives what was to be done, and when.
    fn play(rules: &Rules, is_halted: bool, modes_at: impl Fn(u64) -> Modes, until_ms: u64) -> Vec<(u64, Step)> {
        let mut leave = Leave::default();
        let look = |ms| Some((ms, leave.look(modes_at(ms), is_halted, rules, 1_000_000 + ms)?));
        (0..until_ms).step_by(100).filter_map(look).collect()
    }

    #[test]
    fn a_part_that_is_lost_sends_phones_away_until_there_is_one() {
        let modes = |ms| {
            of(if (5_000..9_000).contains(&ms) {
                &[Mode::PartLost]
            } else {
                &[]
            })
        };
        let expected = [(5_000, Step::Begin(Cause::PartLost)), (9_000, Step::End)];
        assert_eq!(play(&rules(), false, modes, 20_000), expected);
        assert_eq!(play(&rules(), true, modes, 20_000), [], "it is no better elsewhere");
        let nowhere = Rules {
            to: Vec::new(),
            ..rules()
        };
        assert_eq!(play(&nowhere, false, modes, 20_000), []);
    }

    #[test]
    fn a_ledger_that_is_away_for_long_sends_phones_away() {
        let away = |from: u64, until: u64| {
            move |ms| {
                of(if (from..until).contains(&ms) {
                    &[Mode::LedgerAway]
                } else {
                    &[]
                })
            }
        };
        let expected = [(16_000, Step::Begin(Cause::LedgerAway)), (30_000, Step::End)];
        assert_eq!(play(&rules(), false, away(1_000, 30_000), 40_000), expected);
        assert_eq!(play(&rules(), false, away(1_000, 15_900), 40_000), []);
        let never = Rules {
            ledger_away: None,
            ..rules()
        };
        assert_eq!(play(&never, false, away(1_000, 300_000), 300_000), []);
        // Then the part turns out to be another's.
        let modes = |ms| {
            of(if ms < 20_000 {
                &[Mode::LedgerAway]
            } else {
                &[Mode::PartLost]
            })
        };
        let expected = [
            (15_000, Step::Begin(Cause::LedgerAway)),
            (20_000, Step::Begin(Cause::PartLost)),
        ];
        assert_eq!(play(&rules(), false, modes, 30_000), expected);
    }
}
