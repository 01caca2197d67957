//! The report of a run: one object with stable field names for programs (`--json`), and a table for people.
//!
//! [`Report`] is the documentation of the JSON: each field is written under its name here. Counts are whole numbers,
//! `*_s` are seconds, `*_us` microseconds, `*_share` run from 0 to 1, money is whole cents. Maps have names as keys and
//! leave out what did not happen. Fields are only added.

mod credits;
mod packets;
mod steps;
mod text;

pub use credits::{Credits, write_credits, write_opened};
pub use packets::{Cents, Errands, Packages, Packets};
pub use steps::StepReport;
pub(crate) use text::{grouped, milliseconds};

use crate::engine::{Finished, memory_peak_bytes};
use crate::scenario::Scenario;
use crate::tally::{OUTCOMES, Tally, Violations};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// The report of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub scenario: ScenarioSummary,
    /// Whether the run was stopped before the schedule was through.
    pub stopped_early: bool,
    /// Connections and Hellos.
    pub sessions: Sessions,
    /// Shakes.
    pub shakes: Shakes,
    /// The steps, each with its own figures.
    pub steps: Vec<StepReport>,
    /// Answers by outcome, late ones included; an outcome that the contract does not have is `unknown_<number>`.
    pub outcomes: BTreeMap<String, u64>,
    /// From the intended send time of a shake to its answer in time.
    pub latency: Percentiles,
    /// Red packets and money.
    pub claims: Claims,
    /// What users did with packets among themselves.
    pub packets: Packets,
    /// Money that moved, by how.
    pub cents: Cents,
    /// Resource packages of the manifest.
    pub packages: Packages,
    /// What the simulation itself used.
    pub resources: Resources,
    /// Errors by name, with the first message of each.
    pub errors: BTreeMap<String, ErrorEntry>,
    /// What no correct gateway does; exit code 2 when any is not zero.
    pub checks: Checks,
    /// What a reader of the figures should know.
    pub remarks: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioSummary {
    /// `host:port` of the gateway.
    pub target: String,
    /// What carried the sessions.
    pub engine: &'static str,
    /// Sessions.
    pub sessions: u32,
    /// Shakes per second over all, in the step with the highest rate.
    pub shakes_per_second: u32,
    /// Length of the shaking.
    pub seconds: u32,
    /// Seed of what was drawn.
    pub seed: u64,
}

/// Connections and Hellos.
#[derive(Clone, Debug, Serialize)]
pub struct Sessions {
    /// Sessions that said Hello and were answered.
    pub connected: u64,
    /// Sessions that gave up.
    pub failed: u64,
    /// Sessions with a connection at the end.
    pub online_at_end: u32,
    /// Connections lost after their Hello.
    pub lost: u64,
    /// Hellos answered after a loss.
    pub reconnected: u64,
    /// Notices to go away.
    pub told_to_go_away: u64,
    /// Length of the ramp.
    pub ramp_s: f64,
    /// Handshakes with Hello, per second of the ramp.
    pub handshakes_per_second: f64,
    /// From the first packet to the answer to the Hello.
    pub connect_latency: Percentiles,
    /// Failed tries to connect, by name.
    pub connect_failures: BTreeMap<String, u64>,
    /// Failed Hellos, by name.
    pub hello_failures: BTreeMap<String, u64>,
}

/// Shakes.
#[derive(Clone, Debug, Serialize)]
pub struct Shakes {
    /// By the schedule, in the whole run.
    pub scheduled: u64,
    /// Sent.
    pub sent: u64,
    /// Of these, on streams.
    pub sent_on_streams: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered in time.
    pub unanswered: u64,
    /// Unanswered of sent.
    pub unanswered_share: f64,
    /// Answers after their time; their shakes are unanswered.
    pub late: u64,
    /// Answers to nothing that was asked.
    pub unexpected: u64,
    /// Left out by users who obey the pace.
    pub skipped_by_pace: u64,
    /// Left out because the session had no connection.
    pub skipped_offline: u64,
    /// Scheduled, but neither sent nor left out: the run was stopped, or this machine could not keep up.
    pub not_sent: u64,
    /// Length of the shaking as it was.
    pub shaking_s: f64,
    /// Sent, per second.
    pub sent_per_second: f64,
    /// Answered, per second.
    pub answered_per_second: f64,
}

/// Red packets and money.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    /// Red packets won.
    pub wins: u64,
    /// Packets opened.
    pub opened: u64,
    /// Of these, told again because an earlier answer was lost.
    pub repeats: u64,
    /// Final refusals by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Busy answers.
    pub busy: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Out of tries.
    pub gave_up: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Under way when the run ended.
    pub unfinished: u64,
    /// Wins never claimed by users who hoard.
    pub hoarded: u64,
    /// Of the opened, split packets, with a code for friends.
    pub split: u64,
    /// Cents opened.
    pub cents: u64,
    /// Cents opened, by the sponsor's number.
    pub cents_by_sponsor: BTreeMap<u32, u64>,
    /// From the first try to the open packet.
    pub latency: Percentiles,
}

/// Percentiles of a latency, in microseconds; zero when there is none.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 90 of 100 are at most this.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What the simulation itself used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Resources {
    /// CPU time of the three stages together.
    pub cpu_s: f64,
    /// CPU time of the ramp.
    pub cpu_connecting_s: f64,
    /// CPU time of the shaking.
    pub cpu_shaking_s: f64,
    /// CPU time of the shaking, by shakes sent, in microseconds.
    pub cpu_per_shake_us: f64,
    /// The most memory held at a time.
    pub memory_peak_bytes: u64,
}

/// An error's count.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorEntry {
    /// How often.
    pub count: u64,
    /// The first message; may be empty.
    pub example: String,
}

/// What no correct gateway does.
#[derive(Clone, Debug, Serialize)]
pub struct Checks {
    /// Whether all is well.
    pub passed: bool,
    /// Packets that two claims opened.
    pub opened_twice: Vec<u64>,
    /// Packets opened with another sponsor than the win named.
    pub wrong_sponsor: u64,
    /// Replies that are not what the contract says.
    pub malformed_replies: u64,
    /// Sent packets of which more was grabbed than was put in.
    pub overdrawn: Vec<u64>,
    /// Answers other than the first to the same user about the same packet.
    pub answers_changed: u64,
    /// Money given again to the same user out of the same packet, and not called a repeat.
    pub paid_twice: u64,
    /// Shares of less than a cent.
    pub empty_shares: u64,
    /// Grabs of an offered packet that was then unknown, or not for the user.
    pub offers_broken: u64,
    /// Sends refused for their numbers or for lack of money, although both were right.
    pub sends_refused: u64,
    /// Views that do not add up, or disagree with what the user knows.
    pub views_wrong: u64,
    /// Wallets that do not add up, or disagree with what the user knows.
    pub wallets_wrong: u64,
}

impl Report {
    /// Puts a run's counts together.
    #[must_use]
    pub fn new(scenario: &Scenario, finished: &Finished) -> Self {
        let tally = &finished.tally;
        let Finished {
            connecting,
            shaking,
            settling,
            ..
        } = finished;
        Self {
            scenario: ScenarioSummary {
                target: scenario.address.clone(),
                engine: scenario.engine.name(),
                sessions: scenario.sessions,
                shakes_per_second: scenario.shakes_per_second(),
                seconds: scenario.seconds(),
                seed: scenario.seed,
            },
            stopped_early: finished.stopped_early,
            sessions: sessions(tally, finished),
            shakes: shakes(finished),
            steps: steps::steps(finished),
            outcomes: outcomes(tally),
            latency: Percentiles::of(&tally.latency),
            claims: claims(tally),
            packets: Packets::of(tally),
            cents: Cents::of(tally),
            packages: Packages::of(&tally.packages),
            resources: Resources {
                cpu_s: connecting.cpu_s + shaking.cpu_s + settling.cpu_s,
                cpu_connecting_s: connecting.cpu_s,
                cpu_shaking_s: shaking.cpu_s,
                cpu_per_shake_us: ratio(shaking.cpu_s * 1e6, tally.shakes.sent as f64),
                memory_peak_bytes: memory_peak_bytes(),
            },
            errors: tally
                .errors
                .iter()
                .map(|(name, error)| {
                    (
                        name.clone(),
                        ErrorEntry {
                            count: error.count,
                            example: error.example.clone(),
                        },
                    )
                })
                .collect(),
            checks: checks(&tally.violations),
            remarks: finished.remarks.clone(),
        }
    }

    /// The table for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::render(self)
    }
}

impl Percentiles {
    /// The percentiles of a histogram in microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        }
    }
}

fn sessions(tally: &Tally, finished: &Finished) -> Sessions {
    let sessions = &tally.sessions;
    Sessions {
        connected: sessions.connected,
        failed: sessions.failed,
        online_at_end: finished.online,
        lost: sessions.lost,
        reconnected: sessions.reconnected,
        told_to_go_away: sessions.told_to_go_away,
        ramp_s: finished.connecting.wall_s,
        handshakes_per_second: ratio(sessions.connected as f64, finished.connecting.wall_s),
        connect_latency: Percentiles::of(&tally.connect_latency),
        connect_failures: sessions.connect_failures.clone(),
        hello_failures: sessions.hello_failures.clone(),
    }
}

fn shakes(finished: &Finished) -> Shakes {
    let (shakes, shaking) = (&finished.tally.shakes, &finished.shaking);
    let scheduled = finished.steps.iter().map(|step| step.span.shakes()).sum::<u64>();
    Shakes {
        scheduled,
        not_sent: scheduled.saturating_sub(shakes.sent + shakes.skipped_by_pace + shakes.skipped_offline),
        sent: shakes.sent,
        sent_on_streams: shakes.sent_on_streams,
        answered: shakes.answered,
        unanswered: shakes.unanswered,
        unanswered_share: ratio(shakes.unanswered as f64, shakes.sent as f64),
        late: shakes.late,
        unexpected: shakes.unexpected,
        skipped_by_pace: shakes.skipped_by_pace,
        skipped_offline: shakes.skipped_offline,
        shaking_s: shaking.wall_s,
        sent_per_second: ratio(shakes.sent as f64, shaking.wall_s),
        answered_per_second: ratio(shakes.answered as f64, shaking.wall_s),
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

fn claims(tally: &Tally) -> Claims {
    let claims = &tally.claims;
    Claims {
        wins: claims.wins,
        opened: claims.opened,
        repeats: claims.repeats,
        refused: claims.refused.clone(),
        busy: claims.busy,
        retries: claims.retries,
        gave_up: claims.gave_up,
        failed: claims.failed,
        unfinished: claims.unfinished,
        hoarded: claims.hoarded,
        split: claims.split,
        cents: tally.cents(),
        cents_by_sponsor: tally.cents_by_sponsor(),
        latency: Percentiles::of(&tally.claim_latency),
    }
}

fn checks(violations: &Violations) -> Checks {
    Checks {
        passed: violations.is_clean(),
        opened_twice: violations.opened_twice.clone(),
        wrong_sponsor: violations.wrong_sponsor,
        malformed_replies: violations.malformed_replies,
        overdrawn: violations.overdrawn.clone(),
        answers_changed: violations.answers_changed,
        paid_twice: violations.paid_twice,
        empty_shares: violations.empty_shares,
        offers_broken: violations.offers_broken,
        sends_refused: violations.sends_refused,
        views_wrong: violations.views_wrong,
        wallets_wrong: violations.wallets_wrong,
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StageCost;
    use crate::scenario::Overrides;
    use crate::tally::{Moved, Opened};

    fn report() -> Report {
        let scenario = Scenario::parse("", &Overrides::default()).expect("the defaults are good");
        let mut tally = Tally::default();
        tally.sessions.connected = 10;
        tally.shakes.sent = 1_000;
        tally.shakes.answered = 999;
        tally.shakes.unanswered = 1;
        tally.outcome(2);
        tally.outcome(99);
        tally.claims.wins = 1;
        tally.claims.opened = 1;
        tally.opened.push(Opened {
            packet: 8,
            user: 3,
            sponsor: 2,
            cents: 12_345,
        });
        tally.packets.grabs.begun = 3;
        tally.packets.grabs.answered = 3;
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
        Report::new(&scenario, &finished)
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
