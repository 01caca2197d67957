//! Whether the run was as it must be. Pure: compares what both sides say, and names every reason why not.

use super::reports::{Books, Credits, Tally};
use client_sim::report::Report;

/// The largest share of shakes without an answer: 0.1 %.
pub const UNANSWERED_MAX: f64 = 0.001;
/// Credits that one reason names.
const NAMED: usize = 3;

/// Everything that the programs said.
#[derive(Debug)]
pub struct Evidence {
    /// The simulator's report.
    pub phones: Report,
    /// The simulator exited with 0.
    pub phones_succeeded: bool,
    /// What the phones gained.
    pub phones_credits: Credits,
    /// What the agent's side says.
    pub books: Books,
}

impl Evidence {
    /// Unanswered of all shakes that were due, those among them for which there was no connection.
    pub fn unanswered_share(&self) -> f64 {
        let shakes = &self.phones.shakes.counts;
        let due = shakes.sent + shakes.skipped_offline;
        if due == 0 {
            1.0
        } else {
            (shakes.unanswered + shakes.skipped_offline) as f64 / due as f64
        }
    }

    /// Every reason why the run was not as it must be; none when it was.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.money_failures();
        let share = self.unanswered_share();
        if share >= UNANSWERED_MAX {
            failures.push(format!(
                "{:.3} % of the shakes went unanswered, 0.1 % is the limit",
                share * 100.0
            ));
        }
        failures.extend(self.abuse_failures());
        failures
    }

    /// Whether honest phones were taken for abusers.
    pub fn abuse_failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let blocked: Vec<_> = self
            .books
            .blocks
            .made
            .iter()
            .map(|(rule, n)| format!("{rule} {n}"))
            .collect();
        if !blocked.is_empty() || self.books.blocks.held_back > 0 {
            failures.push(format!(
                "honest phones were taken for abusers: {}, {} held back",
                blocked.join(", "),
                self.books.blocks.held_back
            ));
        }
        failures
    }

    /// Every reason why phones, ledger and audit do not agree, or the gateway did what it never may.
    pub fn money_failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |is_wrong: bool, reason: String| {
            if is_wrong {
                failures.push(reason);
            }
        };
        let (phones, claims) = (&self.phones, &self.phones.claims.counts);
        fail(phones.stopped_early, "the simulation was stopped early".into());
        fail(
            !phones.checks.passed,
            "the gateway did what it never may (see checks in report.json)".into(),
        );
        fail(
            phones.checks.passed && !self.phones_succeeded,
            "client-sim failed".into(),
        );
        fail(
            claims.opened == 0,
            "no packet was opened, so there was nothing to compare".into(),
        );
        let without_end = claims.course.without_answer();
        fail(without_end > 0, format!("{without_end} claims came to no end"));
        let refused: u64 = claims.course.refused.values().sum();
        fail(refused > 0, format!("{refused} claims of honest phones were refused"));
        fail(
            !self.books.audit.balanced,
            format!("the audit has {} differences", self.books.audit.difference_count),
        );
        failures.extend(self.disagreements());
        failures
    }

    /// Where phones and ledger do not agree.
    fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (phones, ledger) = (&self.phones_credits, &self.books.credits);
        let missing = |of: &Credits, among: &Credits| -> Vec<(u64, u64)> {
            of.keys().filter(|key| !among.contains_key(key)).copied().collect()
        };
        let differ = phones
            .iter()
            .filter(|(key, cents)| ledger.get(key).is_some_and(|other| other != *cents));
        name(
            &mut found,
            "that a phone got and the ledger does not have",
            &missing(phones, ledger),
        );
        name(
            &mut found,
            "that the ledger has and no phone got",
            &missing(ledger, phones),
        );
        name(
            &mut found,
            "of another amount",
            &differ.map(|(key, _)| *key).collect::<Vec<_>>(),
        );
        let unpaid = &self.books.unpaid;
        if let Some(first) = unpaid.first() {
            found.push(format!("{} users are not paid what they have: {first}", unpaid.len()));
        }
        let books = self.books.audit.total.opened.cents;
        let credited = sum(ledger).cents;
        if credited != books + self.books.audit.sent.grabbed.cents {
            found.push(format!(
                "the ledger's list of credits sums to {credited} cents, its audit says {books} of the seed and gifts, and {} of sent packets",
                self.books.audit.sent.grabbed.cents
            ));
        }
        found
    }
}

/// How many credits, and what they sum to.
pub fn sum(credits: &Credits) -> Tally {
    Tally {
        packets: credits.len() as u64,
        cents: credits.values().sum(),
    }
}

fn name(found: &mut Vec<String>, what: &str, credits: &[(u64, u64)]) {
    if !credits.is_empty() {
        let named = |(packet, user): &(u64, u64)| format!("packet {packet} of user {user}");
        let first: Vec<_> = credits.iter().take(NAMED).map(named).collect();
        let more = if credits.len() > NAMED { ", …" } else { "" };
        found.push(format!("{} credits {what}: {}{more}", credits.len(), first.join(", ")));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;
    use shake_agent::abuse::KeptFile;

    /// A run in which two phones opened a packet each.
    pub fn good() -> Evidence {
        let percentiles = json!({"p50_us": 400, "p90_us": 900, "p99_us": 2_000, "p999_us": 9_000, "max_us": 12_345});
        let phones = json!({
            "scenario": {"engine": "quinn"},
            "stopped_early": false,
            "sessions": {"connected": 2, "failed": 0, "lost": 0, "handshakes_per_second": 900.0},
            "shakes": {"sent": 10_000, "answered": 9_999, "unanswered": 1, "held_back": 0, "skipped_offline": 0,
                       "answered_per_second": 499.9},
            "outcomes": {"greeting": 9_997, "red_packet": 2},
            "latency": percentiles,
            "claims": {"wins": 2, "opened": 2, "busy": 0, "refused": {}, "gave_up": 0, "failed": 0, "unfinished": 0,
                       "latency": percentiles},
            "checks": {"passed": true, "opened_twice": []},
        });
        let tally = |packets: u64, cents: u64| json!({"packets": packets, "cents": cents});
        let totals = json!({"seed": tally(10, 5_000), "unreleased": tally(7, 3_600), "held": tally(1, 100),
                            "opened": tally(2, 1_300), "refunded": tally(0, 0), "void": tally(0, 0), "lost": tally(0, 0),
                            "gifts": tally(0, 0)});
        let sent =
            json!({"sent": tally(1, 50), "open": tally(0, 0), "grabbed": tally(1, 40), "refunded": tally(0, 10)});
        let audit = json!({"balanced": true, "difference_count": 0, "differences": [], "total": totals, "sent": sent});
        let credits = Credits::from([((7, 1), 300), ((9, 2), 1_000), ((5, 2), 40)]);
        Evidence {
            phones: serde_json::from_value(phones).expect("as the simulator writes it"),
            phones_succeeded: true,
            phones_credits: credits.clone(),
            books: Books {
                audit: serde_json::from_value(audit).expect("as the agent writes it"),
                blocks: KeptFile::default(),
                credits,
                unpaid: Vec::new(),
            },
        }
    }

    #[test]
    fn a_good_run_has_no_failure() {
        assert_eq!(good().failures(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let check = |spoil: fn(&mut Evidence), expected: &[&str]| {
            let mut evidence = good();
            spoil(&mut evidence);
            let failures = evidence.failures();
            let as_expected = failures
                .iter()
                .zip(expected)
                .all(|(failure, part)| failure.contains(part));
            assert!(failures.len() == expected.len() && as_expected, "{failures:?}");
        };
        check(|run| run.phones.stopped_early = true, &["stopped early"]);
        check(|run| run.phones.checks.passed = false, &["never may"]);
        check(|run| run.phones_succeeded = false, &["client-sim failed"]);
        check(
            |run| run.phones.shakes.counts.unanswered = 10,
            &["0.100 % of the shakes"],
        );
        check(
            |run| run.phones.shakes.counts.skipped_offline = 100,
            &["% of the shakes"],
        );
        check(
            |run| (run.phones.shakes.counts.sent, run.phones.shakes.counts.unanswered) = (0, 0),
            &["100.000 % of the shakes"],
        );
        check(
            |run| run.phones.claims.counts.course.unfinished = 3,
            &["3 claims came to no end"],
        );
        check(
            |run| run.books.blocks.made.extend([("flood".into(), 3)]),
            &["taken for abusers: flood 3"],
        );
        check(|run| run.books.blocks.held_back = 1, &["1 held back"]);
        check(
            |run| {
                run.phones
                    .claims
                    .counts
                    .course
                    .refused
                    .extend([("not_yours".into(), 2)])
            },
            &["2 claims of honest phones"],
        );
        check(
            |run| (run.books.audit.balanced, run.books.audit.difference_count) = (false, 4),
            &["4 differences"],
        );
        check(
            |run| run.books.audit.total.opened.cents += 1,
            &["sums to 1340 cents, its audit says 1301"],
        );
        check(
            |run| run.books.unpaid.push("user 1 has 5 cents".into()),
            &["1 users are not paid what they have: user 1 has 5 cents"],
        );
        check(
            |run| {
                run.phones_credits.remove(&(9, 2));
            },
            &["1 credits that the ledger has and no phone got: packet 9 of user 2"],
        );
        check(
            |run| {
                run.phones_credits.insert((8, 3), 5);
            },
            &["1 credits that a phone got and the ledger does not have: packet 8 of user 3"],
        );
        check(
            |run| run.phones_credits.values_mut().for_each(|cents| *cents += 1),
            &["3 credits of another amount"],
        );
    }
}
