//! Whether a fleet that lost a machine did as it must. Pure.

use super::super::reports::Crossed;
use super::super::verdict::Evidence;
use serde_json::{Value, json};
use shake_rules::money::grouped;
use std::time::Duration;

/// The least share of phones that are online in the end.
const ONLINE_MIN: f64 = 0.99;

/// What came of it.
pub struct Played {
    pub phones: u32,
    /// With the books of the one ledger.
    pub evidence: Evidence,
    /// What was paid at another machine than it came from.
    pub crossed: Crossed,
    /// From the end of a machine until all phones were at the other; `None` when they never were.
    pub moved: Option<Duration>,
}

impl Played {
    /// Every reason why it was not as it must be. Shakes that a machine left unanswered when it was destroyed are none.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.evidence.money_failures();
        failures.extend(self.evidence.abuse_failures());
        let sessions = &self.evidence.phones.sessions;
        if sessions.counts.connected != u64::from(self.phones) {
            failures.push(format!(
                "{} of {} phones were connected",
                sessions.counts.connected, self.phones
            ));
        }
        // A few may be on their way to another gateway, as phones of a busy machine are.
        if f64::from(sessions.online_at_end) < f64::from(self.phones) * ONLINE_MIN {
            failures.push(format!(
                "{} of {} phones were online at the end",
                sessions.online_at_end, self.phones
            ));
        }
        if sessions.counts.failed > 0 {
            failures.push(format!("{} phones gave up", sessions.counts.failed));
        }
        for (what, count) in [
            ("no phone went to another gateway", sessions.counts.moved),
            (
                "nothing that was won at one gateway was opened at the other",
                self.crossed.opened,
            ),
            ("no friend grabbed at another gateway", self.crossed.grabbed),
        ] {
            if count == 0 {
                failures.push(format!("{what}, so there was nothing to show"));
            }
        }
        failures
    }

    /// How it went, for the table.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let moved = match self.moved {
            Some(took) => format!(
                "all phones at the other gateway {:.1} s after the end of theirs",
                took.as_secs_f64()
            ),
            None => "not all phones came to the other gateway".to_owned(),
        };
        let Crossed { opened, grabbed } = self.crossed;
        let elsewhere = format!(
            "{} packets opened and {} shares grabbed at another gateway than they came from",
            grouped(opened),
            grouped(grabbed)
        );
        vec![("moved", moved), ("elsewhere", elsewhere)]
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "moved_s": self.moved.map(|took| took.as_secs_f64()),
            "opened_elsewhere": self.crossed.opened,
            "grabbed_elsewhere": self.crossed.grabbed,
            "moves": self.evidence.phones.sessions.counts.moved,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::verdict::tests::good;
    use super::*;

    fn played() -> Played {
        let mut evidence = good();
        let sessions = &mut evidence.phones.sessions;
        (sessions.counts.moved, sessions.online_at_end) = (1, 2);
        // A machine that is destroyed answers nobody.
        evidence.phones.shakes.counts.unanswered = 4_000;
        Played {
            phones: 2,
            evidence,
            crossed: Crossed { opened: 5, grabbed: 7 },
            moved: Some(Duration::from_millis(8_250)),
        }
    }

    #[test]
    fn what_is_not_as_it_must_be_is_named() {
        assert_eq!(played().failures(), Vec::<String>::new());
        let check = |spoil: fn(&mut Played), expected: &str| {
            let mut played = played();
            spoil(&mut played);
            let failures = played.failures();
            assert!(failures.len() == 1 && failures[0].contains(expected), "{failures:?}");
        };
        check(
            |it| it.evidence.phones.sessions.online_at_end = 1,
            "1 of 2 phones were online",
        );
        check(
            |it| it.evidence.phones.sessions.counts.connected = 1,
            "1 of 2 phones were connected",
        );
        check(|it| it.evidence.phones.sessions.counts.failed = 1, "1 phones gave up");
        check(|it| it.evidence.phones.sessions.counts.moved = 0, "no phone went");
        check(|it| it.crossed.opened = 0, "nothing that was won");
        check(|it| it.crossed.grabbed = 0, "no friend");
        check(|it| it.evidence.books.audit.balanced = false, "the audit has");
        check(|it| it.evidence.books.blocks.held_back = 1, "taken for abusers");
    }

    #[test]
    fn it_is_told_how_the_phones_fared() {
        let lines = played().lines();
        assert!(
            lines[0].1.contains("8.3 s") || lines[0].1.contains("8.2 s"),
            "{lines:?}"
        );
        assert!(
            lines[1].1.contains("5 packets") && lines[1].1.contains("7 shares"),
            "{lines:?}"
        );
        let lost = Played {
            moved: None,
            ..played()
        };
        assert!(lost.lines()[0].1.contains("not all"));
        assert_eq!(lost.json()["moved_s"], Value::Null);
    }
}
