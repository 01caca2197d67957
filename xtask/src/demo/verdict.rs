//! Whether the run was as it must be. Pure: compares what both sides say, and names every reason why not.

use super::reports::{Audit, Opened, Phones};
use std::collections::BTreeMap;

/// The largest share of shakes without an answer: 0.1 %.
pub const UNANSWERED_MAX: f64 = 0.001;
/// Packets that one reason names.
const NAMED: usize = 3;

/// Everything that the programs said.
#[derive(Debug)]
pub struct Evidence {
    /// The simulator's report.
    pub phones: Phones,
    /// The simulator exited with 0.
    pub phones_succeeded: bool,
    /// The packets that the phones opened.
    pub phones_opened: BTreeMap<u64, Opened>,
    /// The audit of the ledger.
    pub audit: Audit,
    /// The packets that the ledger has as opened.
    pub ledger_opened: BTreeMap<u64, Opened>,
}

impl Evidence {
    /// Unanswered of all shakes that were due, those among them for which there was no connection.
    pub fn unanswered_share(&self) -> f64 {
        let shakes = &self.phones.shakes;
        let due = shakes.sent + shakes.skipped_offline;
        if due == 0 {
            1.0
        } else {
            (shakes.unanswered + shakes.skipped_offline) as f64 / due as f64
        }
    }

    /// Every reason why the run was not as it must be; none when it was.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut fail = |is_wrong: bool, reason: String| {
            if is_wrong {
                failures.push(reason);
            }
        };
        let (phones, claims) = (&self.phones, &self.phones.claims);
        fail(phones.stopped_early, "the simulation was stopped early".into());
        fail(
            !phones.checks.passed,
            "the gateway did what it never may (see checks in report.json)".into(),
        );
        fail(
            phones.checks.passed && !self.phones_succeeded,
            "client-sim failed".into(),
        );
        let share = self.unanswered_share();
        fail(
            share >= UNANSWERED_MAX,
            format!(
                "{:.3} % of the shakes went unanswered, 0.1 % is the limit",
                share * 100.0
            ),
        );
        fail(
            claims.opened == 0,
            "no packet was opened, so there was nothing to compare".into(),
        );
        let without_end = claims.gave_up + claims.failed + claims.unfinished;
        fail(without_end > 0, format!("{without_end} claims came to no end"));
        let refused: u64 = claims.refused.values().sum();
        fail(refused > 0, format!("{refused} claims of honest phones were refused"));
        fail(
            !self.audit.balanced,
            format!("the audit has {} differences", self.audit.difference_count),
        );
        failures.extend(self.disagreements());
        failures
    }

    /// Where phones and ledger do not agree.
    fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (claims, ledger) = (&self.phones.claims, self.audit.total.opened);
        if (claims.opened, claims.cents) != (ledger.packets, ledger.cents) {
            found.push(format!(
                "the phones opened {} packets of {} cents, the ledger says {} of {}",
                claims.opened, claims.cents, ledger.packets, ledger.cents
            ));
        }
        for row in &self.audit.sponsors {
            let phones = claims.cents_by_sponsor.get(&row.sponsor).copied().unwrap_or(0);
            if phones != row.totals.opened.cents {
                let ledger = row.totals.opened.cents;
                found.push(format!(
                    "of sponsor {} the phones have {phones} cents, the ledger {ledger}",
                    row.sponsor
                ));
            }
        }
        let (phones, ledger) = (&self.phones_opened, &self.ledger_opened);
        let missing = |of: &BTreeMap<u64, Opened>, among: &BTreeMap<u64, Opened>| -> Vec<u64> {
            of.keys()
                .filter(|packet| !among.contains_key(packet))
                .copied()
                .collect()
        };
        let differ = phones
            .iter()
            .filter(|(packet, opened)| ledger.get(packet).is_some_and(|other| other != *opened));
        name(
            &mut found,
            "opened by a phone and not in the ledger",
            &missing(phones, ledger),
        );
        name(
            &mut found,
            "opened in the ledger and by no phone",
            &missing(ledger, phones),
        );
        name(
            &mut found,
            "with another user, sponsor or amount",
            &differ.map(|(packet, _)| *packet).collect::<Vec<_>>(),
        );
        found
    }
}

fn name(found: &mut Vec<String>, what: &str, packets: &[u64]) {
    if !packets.is_empty() {
        let first: Vec<_> = packets.iter().take(NAMED).map(u64::to_string).collect();
        let more = if packets.len() > NAMED { ", …" } else { "" };
        found.push(format!("{} packets {what}: {}{more}", packets.len(), first.join(", ")));
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// A run in which two phones opened a packet each.
    pub fn good() -> Evidence {
        let percentiles = json!({"p50_us": 400, "p90_us": 900, "p99_us": 2_000, "p999_us": 9_000, "max_us": 12_345});
        let phones = json!({
            "stopped_early": false,
            "sessions": {"connected": 2, "failed": 0, "lost": 0, "handshakes_per_second": 900.0},
            "shakes": {"sent": 10_000, "answered": 9_999, "unanswered": 1, "skipped_by_pace": 0, "skipped_offline": 0,
                       "answered_per_second": 499.9},
            "outcomes": {"greeting": 9_997, "red_packet": 2},
            "latency": percentiles,
            "claims": {"wins": 2, "opened": 2, "busy": 0, "refused": {}, "gave_up": 0, "failed": 0, "unfinished": 0,
                       "cents": 1_300, "cents_by_sponsor": {"1": 1_300}, "latency": percentiles},
            "checks": {"passed": true, "opened_twice": []},
        });
        let tally = |packets: u64, cents: u64| json!({"packets": packets, "cents": cents});
        let totals = json!({"seed": tally(10, 5_000), "unreleased": tally(7, 3_600), "held": tally(1, 100),
                            "opened": tally(2, 1_300), "void": tally(0, 0)});
        let mut sponsor = totals.clone();
        sponsor["sponsor"] = 1.into();
        let audit = json!({"balanced": true, "difference_count": 0, "differences": [], "total": totals,
                           "sponsors": [sponsor]});
        let opened = BTreeMap::from([
            (
                7,
                Opened {
                    user: 1,
                    sponsor: 1,
                    cents: 300,
                },
            ),
            (
                9,
                Opened {
                    user: 2,
                    sponsor: 1,
                    cents: 1_000,
                },
            ),
        ]);
        Evidence {
            phones: serde_json::from_value(phones).expect("as the simulator writes it"),
            phones_succeeded: true,
            phones_opened: opened.clone(),
            audit: serde_json::from_value(audit).expect("as the agent writes it"),
            ledger_opened: opened,
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
        check(|run| run.phones.shakes.unanswered = 10, &["0.100 % of the shakes"]);
        check(|run| run.phones.shakes.skipped_offline = 100, &["% of the shakes"]);
        check(
            |run| (run.phones.shakes.sent, run.phones.shakes.unanswered) = (0, 0),
            &["100.000 % of the shakes"],
        );
        check(|run| run.phones.claims.unfinished = 3, &["3 claims came to no end"]);
        check(
            |run| run.phones.claims.refused.extend([("not_yours".into(), 2)]),
            &["2 claims of honest phones"],
        );
        check(
            |run| (run.audit.balanced, run.audit.difference_count) = (false, 4),
            &["4 differences"],
        );
        check(
            |run| run.phones.claims.cents += 1,
            &["1301 cents, the ledger says 2 of 1300"],
        );
        check(|run| run.audit.total.opened.packets += 1, &["the ledger says 3 of"]);
        check(
            |run| run.phones.claims.cents_by_sponsor.clear(),
            &["of sponsor 1 the phones have 0 cents"],
        );
        check(
            |run| run.ledger_opened.retain(|packet, _| *packet != 7),
            &["1 packets opened by a phone and not in the ledger: 7"],
        );
        check(
            |run| run.phones_opened.retain(|packet, _| *packet != 9),
            &["1 packets opened in the ledger and by no phone: 9"],
        );
        check(
            |run| run.ledger_opened.values_mut().for_each(|opened| opened.user += 5),
            &["with another user"],
        );
    }
}
