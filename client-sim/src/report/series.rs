//! What was seen over time: one row a second.

use super::build::ratio;
use super::gateway::{Gateway, GatewayRates};
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
    /// The step that was played at its end; empty before and after the shaking.
    pub step: String,
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
    /// What the gateway counted, when its metrics are watched and it answered.
    pub gateway: Option<GatewayRates>,
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

/// Makes rows out of snapshots.
#[derive(Debug)]
pub struct Recorder {
    processes: Processes,
    gateway: Option<Gateway>,
    /// What was to be watched and is not there.
    missing: Vec<String>,
    rows: Vec<Row>,
    every: Micros,
    row_before: Before,
}

impl Recorder {
    /// A recorder that watches these processes beside its own, and the gateway whose metrics are at this URL.
    #[must_use]
    pub fn new(watched: &[Watched], metrics: Option<&str>) -> Self {
        let (processes, missing) = Processes::new(watched);
        let mut missing: Vec<_> = missing
            .iter()
            .map(|name| format!("there is no process for --watch-pid {name}; its curves are missing"))
            .collect();
        let gateway = metrics.map(|url| Gateway::watch(url.to_owned())).transpose();
        let gateway = gateway.unwrap_or_else(|error| {
            missing.push(format!("--metrics is not watched: no thread for it: {error}"));
            None
        });
        Self {
            processes,
            gateway,
            missing,
            rows: Vec::new(),
            every: EVERY,
            row_before: Before::of(Micros::ZERO, &Tally::default()),
        }
    }

    /// Takes what a snapshot shows.
    pub fn look(&mut self, snapshot: &Snapshot<'_>) {
        if snapshot.now.since(self.row_before.at) >= self.every || snapshot.stage == Stage::Closing {
            self.add_row(snapshot);
        }
    }

    /// The rows, in the order of time, and what a reader should know of them.
    #[must_use]
    pub fn end(mut self) -> (Vec<Row>, Vec<String>) {
        let failure = self.gateway.as_ref().and_then(Gateway::failure);
        self.missing
            .extend(failure.map(|failure| format!("the gateway's --metrics could not be read in the end: {failure}")));
        (self.rows, self.missing)
    }

    fn add_row(&mut self, snapshot: &Snapshot<'_>) {
        let tally = snapshot.tally;
        let before = &self.row_before;
        let span_s = snapshot.now.since(before.at).as_seconds();
        let after = Before::of(snapshot.now, tally);
        let rate = |now: u64, before: u64| ratio(now.saturating_sub(before) as f64, span_s);
        let offered = |shakes: &Shakes| shakes.sent + shakes.held_back + shakes.skipped_offline;
        let step = if snapshot.stage == Stage::Shaking {
            snapshot.step.name.clone()
        } else {
            String::new()
        };
        let errors = after.errors.iter().map(|(name, count)| {
            let before = before.errors.get(name).copied().unwrap_or(0);
            (name.clone(), count - before)
        });
        self.rows.push(Row {
            at_s: snapshot.now.as_seconds(),
            span_s,
            sessions: snapshot.online,
            step,
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
            gateway: self.gateway.as_mut().and_then(Gateway::rates),
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
            step: row.step.clone(),
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
            gateway: row.gateway.or(sum.gateway),
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Span;

    fn step(name: &str) -> Span {
        Span {
            name: name.into(),
            shakes_per_second: 0,
            from: Micros::ZERO,
            until: Micros::from_s(9),
        }
    }

    fn snapshot<'a>(stage: Stage, now_s: u64, step: &'a Span, tally: &'a Tally) -> Snapshot<'a> {
        Snapshot {
            stage,
            stage_s: 0.0,
            online: 5,
            now: Micros::from_s(now_s),
            step,
            tally,
        }
    }

    #[test]
    fn rows_are_differences_with_the_step_of_their_time() {
        let mut recorder = Recorder::new(&[], None);
        let mut tally = Tally::default();
        let (low, high) = (step("low"), step("high"));
        for second in 1..=6_u64 {
            tally.shakes.sent += 10 * second;
            tally.shakes.answered += 10 * second;
            tally.latency.saturating_record(second * 1_000);
            let step = if second < 4 { &low } else { &high };
            recorder.look(&snapshot(Stage::Shaking, second, step, &tally));
        }
        recorder.look(&snapshot(Stage::Settling, 7, &high, &tally));
        let (rows, _) = recorder.end();
        let sent: Vec<u64> = rows.iter().map(|row| row.sent as u64).collect();
        assert_eq!(sent, [10, 20, 30, 40, 50, 60, 0], "{rows:?}");
        assert!(rows[..6].iter().all(|row| row.latency.count == 1));
        let steps: Vec<_> = rows.iter().map(|row| &row.step[..]).collect();
        assert_eq!(steps, ["low", "low", "low", "high", "high", "high", ""]);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_forgotten() {
        let mut recorder = Recorder::new(&[], None);
        let mut tally = Tally::default();
        let step = step("all");
        for second in 1..=5_000 {
            tally.shakes.sent += 7;
            recorder.look(&snapshot(Stage::Shaking, second, &step, &tally));
        }
        recorder.look(&snapshot(Stage::Closing, 5_001, &step, &tally));
        let (rows, _) = recorder.end();
        assert!(rows.len() <= ROWS_MAX);
        let sent: f64 = rows.iter().map(|row| row.sent * row.span_s).sum();
        assert!((sent - 35_000.0).abs() < 1e-3, "{sent}");
    }
}
