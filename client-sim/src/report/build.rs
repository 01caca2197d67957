//! Puts a run's counts together into its report.

use super::networks::networks;
use super::steps::steps;
use super::{
    Beside, Cents, Checks, Claims, Environment, Packages, Percentiles, Push, Report, Resources, ScenarioSummary,
    Sessions, Shakes,
};
use crate::engine::{Finished, memory_peak_bytes};
use crate::scenario::Scenario;
use crate::tally::{GRADES, Moved, OUTCOMES, Tally};
use std::collections::BTreeMap;

impl Report {
    /// The report of a run, with what was seen beside the engine.
    #[must_use]
    pub fn new(scenario: &Scenario, finished: &Finished, beside: Beside) -> Self {
        let tally = &finished.tally;
        let Beside { cues, series, remarks } = beside;
        Self {
            scenario: ScenarioSummary {
                target: scenario.addresses(),
                engine: scenario.engine.name().to_owned(),
                sessions: scenario.sessions,
                shakes_per_second: scenario.shakes_per_second(),
                seconds: scenario.seconds(),
                seed: scenario.seed,
                obey_share: scenario.habits.obey_pace,
            },
            stopped_early: finished.stopped_early,
            sessions: sessions(finished),
            shakes: shakes(finished),
            steps: steps(finished),
            networks: networks(scenario, tally),
            outcomes: outcomes(tally),
            phases: tally.phases.by_name(),
            slow_downs: slow_downs(tally),
            refusals: refusals(tally),
            latency: Percentiles::of(&tally.latency),
            claims: Claims {
                counts: tally.claims.clone(),
                cents: tally.cents(),
                cents_by_sponsor: tally.cents_by_sponsor(),
                latency: Percentiles::of(&tally.claim_latency),
            },
            packets: tally.packets.clone(),
            cents: cents(tally),
            packages: Packages {
                counts: tally.packages.clone(),
                unfinished: tally.packages.unfinished(),
            },
            hellos_again: tally.hellos_again.clone(),
            pushes: Push::all(&tally.versions, &cues),
            cues,
            resources: resources(finished),
            environment: Environment::here(),
            series,
            errors: tally.errors.clone(),
            checks: Checks {
                passed: tally.violations.is_clean() && tally.sessions.connected > 0,
                violations: tally.violations.clone(),
            },
            remarks: finished.remarks.iter().cloned().chain(remarks).collect(),
        }
    }
}

fn sessions(finished: &Finished) -> Sessions {
    let tally = &finished.tally;
    Sessions {
        counts: tally.sessions.clone(),
        online_at_end: finished.online,
        ramp_s: finished.connecting.wall_s,
        handshakes_per_second: ratio(tally.sessions.connected as f64, finished.connecting.wall_s),
        connect_latency: Percentiles::of(&tally.connect_latency),
    }
}

fn shakes(finished: &Finished) -> Shakes {
    let (counts, shaking) = (finished.tally.shakes.clone(), &finished.shaking);
    let scheduled = finished.steps.iter().map(|step| step.span.shakes()).sum::<u64>();
    Shakes {
        scheduled,
        not_sent: scheduled.saturating_sub(counts.sent + counts.held_back + counts.skipped_offline),
        unanswered_share: ratio(counts.unanswered as f64, counts.sent as f64),
        shaking_s: shaking.wall_s,
        sent_per_second: ratio(counts.sent as f64, shaking.wall_s),
        answered_per_second: ratio(counts.answered as f64, shaking.wall_s),
        counts,
    }
}

fn outcomes(tally: &Tally) -> BTreeMap<String, u64> {
    let known = OUTCOMES
        .iter()
        .zip(tally.outcomes)
        .map(|((_, name), count)| ((*name).to_owned(), count));
    let unknown = tally
        .unknown_outcomes
        .iter()
        .map(|(number, count)| (format!("unknown_{number}"), *count));
    known.chain(unknown).filter(|(_, count)| *count > 0).collect()
}

fn slow_downs(tally: &Tally) -> BTreeMap<String, u64> {
    let named = tally.slow_downs.iter().enumerate().map(|(grade, count)| {
        let name = if grade < GRADES {
            format!("grade_{grade}")
        } else {
            "grade_unknown".into()
        };
        (name, *count)
    });
    named.filter(|(_, count)| *count > 0).collect()
}

fn refusals(tally: &Tally) -> BTreeMap<String, u64> {
    let packets = &tally.packets;
    let errands = [&packets.sends, &packets.grabs, &packets.views, &packets.wallets];
    let all = errands.iter().map(|errands| &errands.course.refused);
    let mut sums = BTreeMap::new();
    for (reason, count) in all.chain([&tally.claims.course.refused]).flatten() {
        *sums.entry(reason.clone()).or_default() += count;
    }
    sums
}

fn cents(tally: &Tally) -> Cents {
    let sum = |moved: &[Moved]| moved.iter().map(|moved| moved.cents).sum();
    Cents {
        opened: tally.cents(),
        grabbed: sum(&tally.grabbed),
        sent: sum(&tally.sent),
    }
}

fn resources(finished: &Finished) -> Resources {
    let Finished {
        connecting,
        shaking,
        settling,
        ..
    } = finished;
    Resources {
        cpu_s: connecting.cpu_s + shaking.cpu_s + settling.cpu_s,
        cpu_connecting_s: connecting.cpu_s,
        cpu_shaking_s: shaking.cpu_s,
        cpu_per_shake_us: ratio(shaking.cpu_s * 1e6, finished.tally.shakes.sent as f64),
        memory_peak_bytes: memory_peak_bytes(),
    }
}

pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StageCost;
    use crate::scenario::Overrides;
    use crate::tally::{Opened, PhaseId};

    fn report() -> Report {
        let scenario = Scenario::parse("", &Overrides::default()).expect("the defaults are good");
        let mut tally = Tally::default();
        tally.sessions.connected = 10;
        tally.shakes.sent = 1_000;
        tally.shakes.answered = 999;
        tally.shakes.unanswered = 1;
        tally.outcome(PhaseId::NONE, 2);
        tally.outcome(PhaseId::NONE, 99);
        tally.claims.wins = 1;
        tally.claims.opened = 1;
        tally.opened.push(Opened {
            packet: 8,
            user: 3,
            sponsor: 2,
            cents: 12_345,
        });
        tally.packets.grabs.begun = 3;
        tally.packets.grabs.done = 2;
        tally.packets.grabs_empty = 1;
        tally.grabbed.extend([1, 2].map(|user| Moved {
            packet: 9,
            user,
            cents: 250,
        }));
        tally.packages.failures.insert("wrong_size".into(), 4);
        tally.latency.saturating_record(1_500);
        tally.error("connection_reset", "peer said so");
        let cost = StageCost {
            wall_s: 2.0,
            cpu_s: 0.02,
        };
        let (connecting, shaking, settling) = (cost, cost, cost);
        let finished = Finished {
            tally,
            connecting,
            shaking,
            settling,
            online: 10,
            stopped_early: false,
            steps: Vec::new(),
            remarks: Vec::new(),
        };
        Report::new(&scenario, &finished, Beside::default())
    }

    #[test]
    fn the_json_has_its_stable_names() {
        let json = serde_json::to_value(report()).expect("plain data");
        let at = |path: &str| json.pointer(path).cloned().unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(at("/shakes/unanswered_share"), 0.001);
        assert_eq!(at("/shakes/sent_per_second"), 500.0);
        assert_eq!(at("/sessions/handshakes_per_second"), 5.0);
        assert_eq!(at("/outcomes/greeting"), 1);
        assert_eq!(at("/outcomes/unknown_99"), 1);
        assert_eq!(at("/claims/cents_by_sponsor/2"), 12_345);
        assert_eq!(at("/resources/cpu_per_shake_us"), 20.0);
        assert_eq!(at("/errors/connection_reset/count"), 1);
        assert_eq!(at("/latency/max_us"), 1_500);
        assert_eq!(at("/packets/grabs/done"), 2);
        assert_eq!(at("/packets/grabs_empty"), 1);
        assert_eq!(at("/cents/opened"), 12_345);
        assert_eq!(at("/cents/grabbed"), 500);
        assert_eq!(at("/cents/sent"), 0);
        assert_eq!(at("/packages/failures/wrong_size"), 4);
        assert_eq!(at("/checks/passed"), true);
        assert!(
            json.pointer("/outcomes/nothing").is_none(),
            "what did not happen is left out"
        );
    }

    #[test]
    fn the_table_says_the_same() {
        let text = report().to_text();
        for words in [
            "1,000 sent",
            "0.100 %",
            "greeting",
            "unknown_99",
            "123.45",
            "connection_reset",
            "p99.9",
            "passed",
            "5.00 grabbed",
            "wrong_size 4",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
    }
}
