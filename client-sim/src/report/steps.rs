//! The steps of the run, each with figures of its own.

use super::Percentiles;
use super::build::ratio;
use crate::engine::Finished;
use crate::tally::{StepCounts, StepShakes};
use serde::{Deserialize, Serialize};

/// One step: a stretch of time with one rate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepReport {
    /// The scenario's name for it. A rate set by `client-sim ctl rate` ends a step, and the rest of its time is another.
    pub name: String,
    /// The rate that was asked for.
    pub shakes_per_second: u32,
    /// Since the first step began.
    pub from_s: f64,
    /// Its length as planned.
    pub seconds: f64,
    /// When it began, on the wall clock, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// By the schedule.
    pub scheduled: u64,
    /// The counts.
    #[serde(flatten)]
    pub counts: StepShakes,
    /// Unanswered of sent.
    pub unanswered_share: f64,
    /// Sent, per second of its length.
    pub sent_per_second: f64,
    /// Answered, per second of its length.
    pub answered_per_second: f64,
    /// CPU time of this process.
    pub cpu_s: f64,
    /// From the intended send time of a shake to its answer in time.
    pub latency: Percentiles,
}

impl StepReport {
    /// Not answered in time, of all that were due.
    #[must_use]
    pub fn missed_share(&self) -> f64 {
        1.0 - self.counts.answered as f64 / self.scheduled.max(1) as f64
    }

    /// When it ended, in milliseconds since 1970.
    #[must_use]
    pub fn ends_unix_ms(&self) -> u64 {
        self.began_unix_ms + (self.seconds * 1_000.0) as u64
    }
}

pub(super) fn steps(finished: &Finished) -> Vec<StepReport> {
    let counts = finished.tally.steps.counts();
    // The engine began a step in the tally for each that it played, in the same order.
    let both = finished.steps.iter().zip(counts);
    both.map(|(run, StepCounts { counts, latency, .. })| {
        let span = &run.span;
        let seconds = span.until.since(span.from).as_seconds();
        StepReport {
            name: span.name.clone(),
            shakes_per_second: span.shakes_per_second,
            from_s: span.from.as_seconds(),
            seconds,
            began_unix_ms: run.began_at.0,
            scheduled: span.shakes(),
            counts: *counts,
            unanswered_share: ratio(counts.unanswered as f64, counts.sent as f64),
            sent_per_second: ratio(counts.sent as f64, seconds),
            answered_per_second: ratio(counts.answered as f64, seconds),
            cpu_s: run.cpu_s,
            latency: Percentiles::of(latency),
        }
    })
    .collect()
}
