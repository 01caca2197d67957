//! The report of a run: one object with stable field names for programs (`--json`), a table for people, and a page
//! with curves (`--html`).
//!
//! [`Report`] is the documentation of the JSON: each field is written under its name here, and the counts of a tally under
//! the tally's names. Counts are whole numbers, `*_s` are seconds, `*_ms` milliseconds, `*_us` microseconds, `*_share`
//! run from 0 to 1, money is whole cents. Maps have names as keys and leave out what did not happen. Fields are only
//! added.

mod build;
mod chance;
mod chart;
mod compare;
mod credits;
mod gateway;
mod html;
mod networks;
mod processes;
mod pushes;
mod series;
mod steps;
mod text;

pub use compare::{Comparison, Pair};
pub use credits::{Credits, write_credits, write_opened};
pub use gateway::GatewayRates;
pub use html::page;
pub use networks::NetworkReport;
pub use processes::{Environment, Usage, Watched};
pub use pushes::Push;
pub use series::{Recorder, Row};
pub use steps::StepReport;
pub(crate) use text::milliseconds;

use crate::cues::CueGiven;
use crate::tally::{self, ErrorCount, Violations};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The report of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// The scenario's networks, each with its own figures; none when it has no networks.
    pub networks: Vec<NetworkReport>,
    /// Answers by outcome, late ones included; an outcome that the contract does not have is `unknown_<number>`.
    pub outcomes: BTreeMap<String, u64>,
    /// The same by the phase of the show, as each phone knew it from its countdown.
    pub phases: BTreeMap<String, BTreeMap<String, u64>>,
    /// Answers to slow down, by grade: `grade_0` to `grade_4`.
    pub slow_downs: BTreeMap<String, u64>,
    /// Final refusals of all kinds of requests, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// From the intended send time of a shake to its answer in time.
    pub latency: Percentiles,
    /// Red packets and money.
    pub claims: Claims,
    /// What users did with packets among themselves.
    pub packets: tally::Packets,
    /// Money that moved, by how.
    pub cents: Cents,
    /// Resource packages of the manifest.
    pub packages: Packages,
    /// Hellos said once more on a connection, because the show had changed.
    pub hellos_again: tally::Errands,
    /// Versions of the gateway's configuration, and how they reached the sessions; oldest first.
    pub pushes: Vec<Push>,
    /// Cues given while it ran.
    pub cues: Vec<CueGiven>,
    /// What the simulation itself used.
    pub resources: Resources,
    /// Where it took place, and the exact command.
    pub environment: Environment,
    /// What was seen over time.
    pub series: Vec<Row>,
    /// Errors by name, with the first message of each.
    pub errors: BTreeMap<String, ErrorCount>,
    /// What no correct gateway does; exit code 2 when any is not zero.
    pub checks: Checks,
    /// What a reader of the figures should know.
    pub remarks: Vec<String>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScenarioSummary {
    /// `host:port` of the gateway; of several all, with commas between.
    pub target: String,
    /// What carried the sessions.
    pub engine: String,
    /// Sessions.
    pub sessions: u32,
    /// Shakes per second over all, in the step with the highest rate.
    pub shakes_per_second: u32,
    /// Length of the shaking.
    pub seconds: u32,
    /// Seed of what was drawn.
    pub seed: u64,
    /// The share of users who obey the gateway; the others are selfish.
    pub obey_share: f64,
}

/// Connections and Hellos.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// The counts.
    #[serde(flatten)]
    pub counts: tally::Sessions,
    /// Sessions with a connection at the end.
    pub online_at_end: u32,
    /// Length of the ramp.
    pub ramp_s: f64,
    /// Handshakes with Hello, per second of the ramp.
    pub handshakes_per_second: f64,
    /// From the first packet to the answer to the Hello.
    pub connect_latency: Percentiles,
}

/// Shakes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Shakes {
    /// By the schedule, in the whole run.
    pub scheduled: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: tally::Shakes,
    /// Unanswered of sent.
    pub unanswered_share: f64,
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The counts.
    #[serde(flatten)]
    pub counts: tally::Claims,
    /// Cents opened.
    pub cents: u64,
    /// Cents opened, by the sponsor's number.
    pub cents_by_sponsor: BTreeMap<u32, u64>,
    /// From the first try to the open packet.
    pub latency: Percentiles,
}

/// Money that moved, in cents.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cents {
    /// Out of red packets, to those who won them.
    pub opened: u64,
    /// Out of shared packets, to those who grabbed.
    pub grabbed: u64,
    /// Into packets that users sent.
    pub sent: u64,
}

/// Resource packages.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Packages {
    /// The counts.
    #[serde(flatten)]
    pub counts: tally::Packages,
    /// Planned, and not ended when the run did.
    pub unfinished: u64,
}

/// Percentiles of a latency, in microseconds; zero when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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

/// What no correct gateway does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// Whether all is well: somebody connected, and nothing of this kind was seen.
    pub passed: bool,
    /// The counts, and the packets concerned.
    #[serde(flatten)]
    pub violations: Violations,
}

/// What was seen of a run beside its engine.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Cues given.
    pub cues: Vec<CueGiven>,
    /// What was seen over time.
    pub series: Vec<Row>,
    /// What a reader should know of these.
    pub remarks: Vec<String>,
}

impl Report {
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
