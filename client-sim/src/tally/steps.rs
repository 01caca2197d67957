//! The counts of each step of the schedule. A shake belongs to the step in which it was due, whenever its answer comes.

use super::latencies;
use super::sum::Sum;
use crate::schedule::Micros;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What came of the shakes of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepShakes {
    /// Handed to the transport.
    pub sent: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered in time.
    pub unanswered: u64,
    /// Left out by users who obey.
    pub held_back: u64,
    /// Left out because the session had no connection.
    pub skipped_offline: u64,
}

/// The counts of one step.
#[derive(Clone, Debug)]
pub struct StepCounts {
    /// When the step began, on the run's clock.
    pub from: Micros,
    /// The counts.
    pub counts: StepShakes,
    /// From the intended send time to the answer in time, in microseconds.
    pub latency: Histogram<u64>,
}

/// The counts of all steps, in the order of time. Without [`begin`](Self::begin) nothing is counted.
#[derive(Clone, Debug, Default)]
pub struct Steps(Vec<StepCounts>);

impl Steps {
    /// From this moment on there is a step. What was due before stays with the step before.
    pub fn begin(&mut self, from: Micros) {
        let at = self.0.partition_point(|step| step.from < from);
        if self.0.get(at).is_some_and(|step| step.from == from) {
            return;
        }
        let step = StepCounts {
            from,
            counts: StepShakes::default(),
            latency: latencies(),
        };
        self.0.insert(at, step);
    }

    /// The counts of each.
    #[must_use]
    pub fn counts(&self) -> &[StepCounts] {
        &self.0
    }

    fn of(&mut self, due: Micros) -> Option<&mut StepCounts> {
        // From the newest on: there are a few, and nearly all that is counted is of the last or the one before.
        self.0.iter_mut().rev().find(|step| step.from <= due)
    }

    pub(crate) fn sent(&mut self, due: Micros) {
        if let Some(step) = self.of(due) {
            step.counts.sent += 1;
        }
    }

    pub(crate) fn answered(&mut self, due: Micros, latency: Micros) {
        if let Some(step) = self.of(due) {
            step.counts.answered += 1;
            step.latency.saturating_record(latency.0.max(1));
        }
    }

    pub(crate) fn unanswered(&mut self, due: Micros) {
        if let Some(step) = self.of(due) {
            step.counts.unanswered += 1;
        }
    }

    pub(crate) fn held_back(&mut self, due: Micros) {
        if let Some(step) = self.of(due) {
            step.counts.held_back += 1;
        }
    }

    pub(crate) fn skipped_offline(&mut self, due: Micros) {
        if let Some(step) = self.of(due) {
            step.counts.skipped_offline += 1;
        }
    }
}

impl Sum for Steps {
    fn add(&mut self, other: &Self) {
        for theirs in &other.0 {
            self.begin(theirs.from);
            if let Some(mine) = self.of(theirs.from) {
                mine.counts.add(&theirs.counts);
                Sum::add(&mut mine.latency, &theirs.latency);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shake_counts_for_the_step_in_which_it_was_due() {
        let mut steps = Steps::default();
        steps.sent(Micros(5));
        assert!(steps.counts().is_empty(), "no step has begun");
        for from in [Micros(10), Micros(30), Micros(20), Micros(20)] {
            steps.begin(from);
        }
        for due in [10, 19, 20, 30, 99] {
            steps.sent(Micros(due));
        }
        steps.answered(Micros(19), Micros(50));
        steps.unanswered(Micros(20));
        steps.held_back(Micros(12));
        steps.skipped_offline(Micros(35));
        let mut sum = steps.clone();
        sum.add(&steps);
        let counts = |steps: &Steps| -> Vec<_> {
            let counts = steps.counts().iter();
            counts
                .map(|step| {
                    (
                        step.from.0,
                        step.counts.sent,
                        step.counts.answered,
                        step.counts.unanswered,
                        step.latency.len(),
                    )
                })
                .collect()
        };
        let left_out = sum
            .counts()
            .iter()
            .map(|step| (step.counts.held_back, step.counts.skipped_offline));
        assert_eq!(left_out.collect::<Vec<_>>(), [(2, 0), (0, 0), (0, 2)]);
        assert_eq!(counts(&steps), [(10, 2, 1, 0, 1), (20, 1, 0, 1, 0), (30, 2, 0, 0, 0)]);
        assert_eq!(counts(&sum), [(10, 4, 2, 0, 2), (20, 2, 0, 2, 0), (30, 4, 0, 0, 0)]);
    }
}
