//! What came of a campaign: a table for people, JSON for programs, and what is not as it must be. Pure.

use super::fault::Kind;
use super::round::{Outcome, Struck, mode_of};
use super::schedule::Deck;
use serde_json::{Value, json};
use shake_rules::money::money;
use std::fmt::Write as _;

/// A kind that should show as a degraded mode, struck so often, must have shown at least once: a single short fault may
/// end before the gateway looks.
const SHOWS_AFTER: usize = 3;

/// The whole campaign.
pub struct Campaign {
    /// What the faults were drawn from.
    pub deck: Deck,
    pub rounds: Vec<Outcome>,
    /// What the last look at the books found.
    pub wrong_at_end: Vec<String>,
    /// Times that an agent that ended by a fault of its store was started again by the service manager.
    pub falls: u32,
}

impl Campaign {
    fn struck(&self, kind: Kind) -> Vec<&Struck> {
        let all = self.rounds.iter().flat_map(|round| &round.struck);
        all.filter(|struck| struck.fault.kind == kind).collect()
    }

    /// The longest that service was away after faults were over, in milliseconds.
    pub fn back_ms_max(&self) -> Option<u64> {
        self.rounds.iter().filter_map(Outcome::back_ms).max()
    }

    /// Everything that is not as it must be; none in a good campaign.
    pub fn failures(&self) -> Vec<String> {
        let of = |round: &Outcome| {
            let number = round.round;
            let reasons = round.wrong.iter().chain(&round.amiss);
            reasons
                .map(|reason| format!("round {number}: {reason}"))
                .collect::<Vec<_>>()
        };
        let mut failures: Vec<_> = self.rounds.iter().flat_map(of).collect();
        failures.extend(self.wrong_at_end.iter().map(|reason| format!("at the end: {reason}")));
        for kind in &self.deck.kinds {
            let struck = self.struck(*kind);
            let name = kind.name();
            if !struck.is_empty() && struck.iter().all(|struck| struck.bites == 0) {
                failures.push(format!("{name} struck {} times and never took effect", struck.len()));
            }
            if let Some(mode) = mode_of(*kind)
                && struck.len() >= SHOWS_AFTER
                && !struck.iter().any(|struck| struck.was_shown)
            {
                failures.push(format!(
                    "{name} struck {} times, and the gateway never said {mode}",
                    struck.len()
                ));
            }
        }
        failures
    }

    /// The table: rounds, then kinds, then what it comes to.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\nchaos{}, seed {}\n\n{:>5} {:>8} {:>9} {:>8} {:>11} {:>7} {:>7}  {:<8} faults\n",
            if self.deck.machines > 1 { " of a fleet" } else { "" },
            self.deck.seed,
            "round",
            "shakes",
            "served",
            "credits",
            "money",
            "back ms",
            "seconds",
            "verdict"
        );
        for round in &self.rounds {
            text.push_str(&line(round));
        }
        let _ = writeln!(
            text,
            "\n{:<16} {:>6} {:>12} {:>10}  mode of the gateway",
            "fault", "struck", "took effect", "shown"
        );
        for kind in &self.deck.kinds {
            let struck = self.struck(*kind);
            let bit = struck.iter().filter(|struck| struck.bites > 0).count();
            let shown = struck.iter().filter(|struck| struck.was_shown).count();
            let mode = mode_of(*kind).unwrap_or("-");
            let _ = writeln!(
                text,
                "{:<16} {:>6} {bit:>12} {shown:>10}  {mode}",
                kind.name(),
                struck.len()
            );
        }
        let sum = |of: fn(&Outcome) -> u64| self.rounds.iter().map(of).sum::<u64>();
        let _ = writeln!(
            text,
            "\n{} rounds, {} shakes, {} credits of {}; longest until shakes and claims were back: {}; agents started again after a failed store: {}",
            self.rounds.len(),
            sum(|round| round.shakes),
            sum(|round| round.credits),
            money(sum(|round| round.cents)),
            self.back_ms_max().map_or("-".into(), |ms| format!("{ms} ms")),
            self.falls,
        );
        let failures = self.failures();
        for failure in &failures {
            let _ = writeln!(text, "failed: {failure}");
        }
        text.push_str(if failures.is_empty() {
            "good: nothing lost, nothing twice, every round balanced\n"
        } else {
            "FAILED\n"
        });
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let fault = |struck: &Struck| {
            json!({
                "fault": struck.fault.kind.name(),
                "planned": struck.fault.to_string(),
                "from_ms": struck.from_ms,
                "until_ms": struck.until_ms,
                "bites": struck.bites,
                "was_shown": struck.was_shown,
            })
        };
        let round = |round: &Outcome| {
            let recoveries = round.recoveries.iter().map(|recovery| {
                json!({"after": recovery.after, "shakes_ms": recovery.shakes_ms, "claims_ms": recovery.claims_ms})
            });
            json!({
                "round": round.round,
                "faults": round.struck.iter().map(fault).collect::<Vec<_>>(),
                "shakes": round.shakes,
                "served": round.served,
                "credits": round.credits,
                "cents": round.cents,
                "recoveries": recoveries.collect::<Vec<_>>(),
                "back_ms": round.back_ms(),
                "wrong": round.wrong,
                "amiss": round.amiss,
                "seconds": round.took.as_secs_f64(),
            })
        };
        let failures = self.failures();
        json!({
            "good": failures.is_empty(),
            "failures": failures,
            "seed": self.deck.seed,
            "machines": self.deck.machines,
            "kinds": self.deck.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "back_ms_max": self.back_ms_max(),
            "falls": self.falls,
            "rounds": self.rounds.iter().map(round).collect::<Vec<_>>(),
        })
    }
}

/// A round in one line.
pub fn line(round: &Outcome) -> String {
    let verdict = match (round.wrong.is_empty(), round.amiss.is_empty()) {
        (true, true) => "good",
        (true, false) => "late",
        (false, _) => "WRONG",
    };
    let faults: Vec<_> = round.struck.iter().map(|struck| struck.fault.to_string()).collect();
    format!(
        "{:>5} {:>8} {:>9} {:>8} {:>11} {:>7} {:>7.1}  {verdict:<8} {}\n",
        round.round,
        round.shakes,
        round.served,
        round.credits,
        money(round.cents),
        round.back_ms().map_or("-".into(), |ms| ms.to_string()),
        round.took.as_secs_f64(),
        faults.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::fault::Planned;
    use super::super::journal::Recovery;
    use super::*;
    use std::time::Duration;

    fn campaign() -> Campaign {
        let struck = |bites, was_shown| Struck {
            fault: Planned {
                kind: Kind::DiskFull,
                from_ms: 1_000,
                until_ms: 2_000,
                strength: 0,
                machine: None,
            },
            from_ms: 1_003,
            until_ms: 2_004,
            bites,
            was_shown,
        };
        Campaign {
            deck: Deck {
                seed: 7,
                kinds: vec![Kind::DiskFull, Kind::Loss],
                machines: 1,
            },
            rounds: vec![Outcome {
                round: 1,
                struck: vec![struck(3, true), struck(0, false), struck(2, false)],
                shakes: 100,
                served: 90,
                credits: 4,
                cents: 1_205,
                recoveries: vec![Recovery {
                    after: "disk-full".into(),
                    shakes_ms: Some(30),
                    claims_ms: Some(1_200),
                }],
                wrong: Vec::new(),
                amiss: Vec::new(),
                took: Duration::from_millis(12_340),
            }],
            wrong_at_end: Vec::new(),
            falls: 0,
        }
    }

    #[test]
    fn a_good_campaign_says_so() {
        let campaign = campaign();
        assert_eq!(campaign.failures(), Vec::<String>::new());
        let text = campaign.text();
        for words in [
            "seed 7",
            "1200",
            "12.05",
            "disk-full 1.0-2.0 s",
            "ledger_read_only",
            "good: nothing lost",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        assert_eq!(campaign.json()["back_ms_max"], 1_200);
    }

    #[test]
    fn whatever_is_not_as_it_must_be_is_a_failure() {
        let check = |spoil: fn(&mut Campaign), expected: &str| {
            let mut campaign = campaign();
            spoil(&mut campaign);
            let failures = campaign.failures();
            assert!(failures.len() == 1 && failures[0].contains(expected), "{failures:?}");
            assert!(campaign.text().contains("FAILED"));
            assert_eq!(campaign.json()["good"], false);
        };
        check(
            |campaign| campaign.rounds[0].wrong.push("two cents".into()),
            "round 1: two cents",
        );
        check(
            |campaign| campaign.rounds[0].amiss.push("too late".into()),
            "round 1: too late",
        );
        check(
            |campaign| campaign.wrong_at_end.push("a backlog".into()),
            "at the end: a backlog",
        );
        let none = |campaign: &mut Campaign| campaign.rounds[0].struck.iter_mut().for_each(|struck| struck.bites = 0);
        check(none, "disk-full struck 3 times and never took effect");
        check(
            |campaign| campaign.rounds[0].struck[0].was_shown = false,
            "never said ledger_read_only",
        );
    }
}
