//! What was seen over time: one row a second, and the figures of each step.

use super::build::ratio;
use super::processes::Processes;
use super::{Percentiles, Usage, Watched};
use crate::engine::{Snapshot, Stage};
use crate::schedule::Micros;
use crate::tally::{Shakes, Tally};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Time between two rows, at the least.
const EVERY: Micros = Micros::from_ms(950);
/// Rows kept. When there are more, two become one, and what is kept stands for twice the time.
const ROWS_MAX: usize = 1_200;
/// Steps kept.
const STEPS_MAX: usize = 256;

/// A second of the run, or a few. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The end of the time that it stands for, since the start of the run.
    pub at_s: f64,
    /// How long that time is.
    pub span_s: f64,
    /// Sessions with a connection at its end.
    pub sessions: u32,
    /// Shakes offered by the schedule: sent, held back, or left out offline.
    pub offered: f64,
    /// Shakes sent.
    pub sent: f64,
    /// Shakes held back by phones that obey.
    pub held_back: f64,
    /// Answers in time: the gateway's rate as phones see it.
    pub answered: f64,
    /// Of these and the late ones, answers to slow down.
    pub slow_downs: f64,
    /// Red packets won.
    pub won: f64,
    /// Packets opened.
    pub opened: f64,
    /// Shares grabbed.
    pub grabbed: f64,
    /// Latency of the answers in this time. Of rows that became one, the worse.
    pub latency: Percentiles,
    /// Errors by name, how many.
    pub errors: BTreeMap<String, u64>,
    /// What each process used.
    pub processes: BTreeMap<String, Usage>,
}

/// The figures of one step, or of the whole shaking when there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// When it began, since the start of the run.
    pub from_s: f64,
    /// How long it took; seen to within a quarter of a second.
    pub span_s: f64,
    /// Shakes sent, per second.
    pub sent_per_second: f64,
    /// Answered in time, per second.
    pub answered_per_second: f64,
    /// Held back, per second.
    pub held_back_per_second: f64,
    /// Unanswered of sent; shakes still under way at the end of a step are counted in the next.
    pub unanswered_share: f64,
    /// Latency of the answers.
    pub latency: Percentiles,
}

/// Counts at one moment, for differences.
#[derive(Clone, Debug)]
struct Before {
    at: Micros,
    shakes: Shakes,
    slow_downs: u64,
    won: u64,
    opened: u64,
    grabbed: u64,
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Before {
    fn of(at: Micros, tally: &Tally) -> Self {
        Self {
            at,
            shakes: tally.shakes.clone(),
            slow_downs: tally.slow_downs.iter().sum(),
            won: tally.claims.wins,
            opened: tally.claims.opened,
            grabbed: tally.packets.grabs.done,
            latency: tally.latency.clone(),
            errors: tally
                .errors
                .iter()
                .map(|(name, error)| (name.clone(), error.count))
                .collect(),
        }
    }

    /// Latencies measured since.
    fn latency_since(&self, tally: &Tally) -> Percentiles {
        let mut since = tally.latency.clone();
        since
            .subtract(&self.latency)
            .expect("a run only adds, and both have the bounds of `Tally::default`");
        Percentiles::of(&since)
    }
}

/// Makes rows and steps out of snapshots.
#[derive(Debug)]
pub struct Recorder {
    processes: Processes,
    /// Processes that were to be watched and are not there.
    pub missing: Vec<String>,
    rows: Vec<Row>,
    every: Micros,
    row_before: Before,
    steps: Vec<Step>,
    step_before: Option<(String, Before)>,
    marks_seen: usize,
}

impl Recorder {
    /// A recorder that watches these processes beside its own.
    #[must_use]
    pub fn new(watched: &[Watched]) -> Self {
        let (processes, missing) = Processes::new(watched);
        Self {
            processes,
            missing,
            rows: Vec::new(),
            every: EVERY,
            row_before: Before::of(Micros::ZERO, &Tally::default()),
            steps: Vec::new(),
            step_before: None,
            marks_seen: 0,
        }
    }

    /// Takes what a snapshot shows.
    pub fn look(&mut self, snapshot: &Snapshot<'_>) {
        let tally = snapshot.tally;
        let now = snapshot.now;
        let shakes = snapshot.stage == Stage::Shaking;
        if shakes && self.step_before.is_none() && self.steps.is_empty() && tally.marks.is_empty() {
            self.step_before = Some(("all".into(), Before::of(now, tally)));
        }
        while let Some(mark) = tally.marks.get(self.marks_seen) {
            // What was before the first step is the run-up to it.
            if self.marks_seen == 0 {
                self.step_before = None;
            }
            self.marks_seen += 1;
            self.end_step(now, tally);
            self.step_before = Some((mark.name.clone(), Before::of(now, tally)));
        }
        if !shakes && snapshot.stage != Stage::Connecting {
            self.end_step(now, tally);
        }
        if now.since(self.row_before.at) >= self.every || snapshot.stage == Stage::Closing {
            self.add_row(snapshot);
        }
    }

    /// Rows and steps.
    #[must_use]
    pub fn end(self) -> (Vec<Row>, Vec<Step>) {
        (self.rows, self.steps)
    }

    fn end_step(&mut self, now: Micros, tally: &Tally) {
        let Some((name, before)) = self.step_before.take() else {
            return;
        };
        if self.steps.len() == STEPS_MAX {
            return;
        }
        let span_s = now.since(before.at).as_seconds();
        let sent = (tally.shakes.sent - before.shakes.sent) as f64;
        let per_second = |now: u64, before: u64| ratio((now - before) as f64, span_s);
        self.steps.push(Step {
            name,
            from_s: before.at.as_seconds(),
            span_s,
            sent_per_second: ratio(sent, span_s),
            answered_per_second: per_second(tally.shakes.answered, before.shakes.answered),
            held_back_per_second: per_second(tally.shakes.held_back, before.shakes.held_back),
            unanswered_share: ratio((tally.shakes.unanswered - before.shakes.unanswered) as f64, sent),
            latency: before.latency_since(tally),
        });
    }

    fn add_row(&mut self, snapshot: &Snapshot<'_>) {
        let tally = snapshot.tally;
        let before = &self.row_before;
        let span_s = snapshot.now.since(before.at).as_seconds();
        let after = Before::of(snapshot.now, tally);
        let rate = |now: u64, before: u64| ratio(now.saturating_sub(before) as f64, span_s);
        let offered = |shakes: &Shakes| shakes.sent + shakes.held_back + shakes.skipped_offline;
        let errors = after.errors.iter().map(|(name, count)| {
            let before = before.errors.get(name).copied().unwrap_or(0);
            (name.clone(), count - before)
        });
        self.rows.push(Row {
            at_s: snapshot.now.as_seconds(),
            span_s,
            sessions: snapshot.online,
            offered: rate(offered(&after.shakes), offered(&before.shakes)),
            sent: rate(after.shakes.sent, before.shakes.sent),
            held_back: rate(after.shakes.held_back, before.shakes.held_back),
            answered: rate(after.shakes.answered, before.shakes.answered),
            slow_downs: rate(after.slow_downs, before.slow_downs),
            won: rate(after.won, before.won),
            opened: rate(after.opened, before.opened),
            grabbed: rate(after.grabbed, before.grabbed),
            latency: before.latency_since(tally),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            processes: self.processes.read(span_s),
        });
        self.row_before = after;
        if self.rows.len() > ROWS_MAX {
            self.every = Micros(self.every.0 * 2);
            self.rows = self.rows.chunks(2).map(merge).collect();
        }
    }
}

/// One row that stands for the time of these.
fn merge(rows: &[Row]) -> Row {
    let mut rows = rows.iter();
    let mut sum = rows.next().cloned().unwrap_or_default();
    for row in rows {
        let span_s = sum.span_s + row.span_s;
        let mean = |a: f64, b: f64| ratio(a * sum.span_s + b * row.span_s, span_s);
        let worse = |a: u64, b: u64| a.max(b);
        let mut errors = std::mem::take(&mut sum.errors);
        for (name, count) in &row.errors {
            *errors.entry(name.clone()).or_default() += count;
        }
        let (a, b) = (sum.latency, row.latency);
        sum = Row {
            at_s: row.at_s,
            span_s,
            sessions: row.sessions,
            offered: mean(sum.offered, row.offered),
            sent: mean(sum.sent, row.sent),
            held_back: mean(sum.held_back, row.held_back),
            answered: mean(sum.answered, row.answered),
            slow_downs: mean(sum.slow_downs, row.slow_downs),
            won: mean(sum.won, row.won),
            opened: mean(sum.opened, row.opened),
            grabbed: mean(sum.grabbed, row.grabbed),
            latency: Percentiles {
                count: a.count + b.count,
                p50_us: worse(a.p50_us, b.p50_us),
                p90_us: worse(a.p90_us, b.p90_us),
                p99_us: worse(a.p99_us, b.p99_us),
                p999_us: worse(a.p999_us, b.p999_us),
                max_us: worse(a.max_us, b.max_us),
            },
            errors,
            processes: row.processes.clone(),
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(stage: Stage, now_s: u64, tally: &Tally) -> Snapshot<'_> {
        Snapshot {
            stage,
            stage_s: 0.0,
            online: 5,
            now: Micros::from_s(now_s),
            tally,
        }
    }

    #[test]
    fn rows_are_differences_and_steps_have_their_own_latency() {
        let mut recorder = Recorder::new(&[]);
        let mut tally = Tally::default();
        for second in 1..=6_u64 {
            if second == 2 || second == 4 {
                tally.mark(Micros::from_s(second), &format!("from {second}"));
                recorder.look(&snapshot(Stage::Shaking, second, &tally));
            }
            tally.shakes.sent += 10 * second;
            tally.shakes.answered += 10 * second;
            tally.latency.saturating_record(second * 1_000);
            recorder.look(&snapshot(Stage::Shaking, second + 1, &tally));
        }
        recorder.look(&snapshot(Stage::Settling, 7, &tally));
        let (rows, steps) = recorder.end();
        let sent: Vec<u64> = rows.iter().map(|row| row.sent as u64).collect();
        assert_eq!(sent[1..], [20, 30, 40, 50, 60], "{rows:?}");
        assert!(rows.iter().all(|row| row.latency.count == 1));
        let names: Vec<_> = steps.iter().map(|step| (&step.name[..], step.span_s)).collect();
        assert_eq!(names, [("from 2", 2.0), ("from 4", 3.0)]);
        assert_eq!(steps[1].sent_per_second, 50.0);
        assert_eq!((steps[0].latency.count, steps[1].latency.count), (2, 3));
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_forgotten() {
        let mut recorder = Recorder::new(&[]);
        let mut tally = Tally::default();
        for second in 1..=5_000 {
            tally.shakes.sent += 7;
            recorder.look(&snapshot(Stage::Shaking, second, &tally));
        }
        recorder.look(&snapshot(Stage::Closing, 5_001, &tally));
        let (rows, steps) = recorder.end();
        assert!(rows.len() <= ROWS_MAX);
        let sent: f64 = rows.iter().map(|row| row.sent * row.span_s).sum();
        assert!((sent - 35_000.0).abs() < 1e-3, "{sent}");
        assert_eq!(steps.len(), 1, "the whole shaking, when nobody made steps");
    }
}
