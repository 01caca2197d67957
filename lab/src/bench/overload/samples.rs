//! The gateway's metrics while phones shake, twice a second, and what they say of each step.

use super::run::Played;
use crate::testbed::{self, Usage, stolen, unix_ms};
use anyhow::{Context, ensure};
use client_sim::metrics::Metrics;
use nix::unistd::Pid;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(500);

/// The gateway at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub at_unix_ms: u64,
    pub grade: f64,
    pub served: f64,
    pub refused: f64,
    pub overflowed: f64,
    pub cpu_s: f64,
    pub queue_wait_ms: f64,
    pub resident_bytes: u64,
    /// CPU time that the machine's host gave to others ([`stolen`]).
    pub stolen_s: f64,
}

/// Takes samples as long as it is asked.
pub struct Sampler {
    metrics: SocketAddr,
    pid: Pid,
    next_at: Instant,
    pub samples: Vec<Sample>,
}

impl Sampler {
    pub fn new(metrics: SocketAddr, pid: Pid) -> Self {
        Self {
            metrics,
            pid,
            next_at: Instant::now(),
            samples: Vec::new(),
        }
    }

    /// Takes a sample if it is time for one.
    pub fn look(&mut self) -> anyhow::Result<()> {
        if Instant::now() < self.next_at {
            return Ok(());
        }
        self.next_at = Instant::now() + LOOK;
        let metrics = testbed::metrics(self.metrics)?;
        self.samples.push(Sample {
            at_unix_ms: unix_ms(),
            resident_bytes: Usage::of(self.pid)?.resident_bytes,
            stolen_s: stolen().as_secs_f64(),
            ..read(&metrics)
        });
        Ok(())
    }
}

fn read(metrics: &Metrics) -> Sample {
    Sample {
        grade: metrics.sum("gateway_grade"),
        served: metrics.sum("gateway_shakes_total"),
        refused: metrics.sum("gateway_shakes_refused_total")
            + metrics.sum("gateway_packets_shed_total")
            + metrics.sum("gateway_packets_filtered_total")
            + metrics.sum("gateway_datagrams_dropped_total{reason=\"told_before\"}"),
        overflowed: metrics.sum("gateway_packets_overflowed_total"),
        cpu_s: metrics.sum("process_cpu_seconds_total"),
        queue_wait_ms: metrics.sum("gateway_load{signal=\"queue_wait_ms\"}"),
        ..Sample::default()
    }
}

/// One step as both sides saw it.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    /// By the schedule, before any phone obeyed a pace.
    pub offered_per_second: f64,
    pub sent_per_second: f64,
    pub served_per_second: f64,
    pub served: f64,
    pub refused: f64,
    /// Packets that did not fit into the gateway's socket.
    pub overflowed_per_second: f64,
    pub cpu_s: f64,
    /// The share of its core that the gateway used, 0 to 1.
    pub cpu_share: f64,
    /// The share of their core that the phones used, 0 to 1. Near 1, latencies are theirs as much as the gateway's.
    pub phones_cpu_share: f64,
    pub p99_ms: f64,
    pub grade_max: f64,
    pub queue_wait_ms_max: f64,
    pub resident_bytes_max: u64,
    /// The share of the machine's CPU time that its host gave to others, 0 to 1.
    pub stolen_share: f64,
    /// Seconds after its begin until the grade was 0 and stayed so; `None` when it was not.
    pub at_ease_after_s: Option<f64>,
}

/// What a run says of each of its steps.
pub fn steps(played: &Played) -> anyhow::Result<Vec<Step>> {
    let steps = played.report["steps"].as_array().context("the report has no steps")?;
    steps.iter().map(|step| one(step, &played.samples)).collect()
}

fn one(step: &Value, samples: &[Sample]) -> anyhow::Result<Step> {
    let number = |path: &str| {
        step.pointer(path)
            .and_then(Value::as_f64)
            .with_context(|| format!("no {path} in a step"))
    };
    let name = step["name"].as_str().unwrap_or_default().to_owned();
    let (began_ms, seconds) = (number("/began_unix_ms")? as u64, number("/seconds")?);
    let ended_ms = began_ms + (seconds * 1e3) as u64;
    let within: Vec<_> = samples
        .iter()
        .filter(|s| (began_ms..=ended_ms).contains(&s.at_unix_ms))
        .collect();
    ensure!(
        within.len() >= 2,
        "step {name:?} has {} samples of the gateway",
        within.len()
    );
    let (first, last) = (within[0], within[within.len() - 1]);
    let span_s = (last.at_unix_ms - first.at_unix_ms).max(1) as f64 / 1e3;
    let max = |of: fn(&Sample) -> f64| within.iter().map(|sample| of(sample)).fold(0.0, f64::max);
    let not_at_ease = within.iter().rposition(|sample| sample.grade > 0.0);
    let at_ease_ms = match not_at_ease {
        None => Some(began_ms),
        Some(at) => within.get(at + 1).map(|sample| sample.at_unix_ms),
    };
    Ok(Step {
        name,
        offered_per_second: number("/shakes_per_second")?,
        sent_per_second: number("/sent_per_second")?,
        served_per_second: (last.served - first.served) / span_s,
        served: last.served - first.served,
        refused: last.refused - first.refused,
        overflowed_per_second: (last.overflowed - first.overflowed) / span_s,
        cpu_s: last.cpu_s - first.cpu_s,
        cpu_share: (last.cpu_s - first.cpu_s) / span_s,
        phones_cpu_share: number("/cpu_s")? / seconds.max(1e-3),
        p99_ms: number("/latency/p99_us")? / 1e3,
        grade_max: max(|sample| sample.grade),
        queue_wait_ms_max: max(|sample| sample.queue_wait_ms),
        resident_bytes_max: within.iter().map(|sample| sample.resident_bytes).max().unwrap_or(0),
        stolen_share: (last.stolen_s - first.stolen_s) / span_s,
        at_ease_after_s: at_ease_ms.map(|at| (at - began_ms) as f64 / 1e3),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_family() {
        let text = "# TYPE gateway_shakes_total counter\ngateway_shakes_total{outcome=\"a\"} 3\n\
                    gateway_shakes_total{outcome=\"b\"} 4\ngateway_shakes_refused_total{reason=\"user_rate\"} 5\n\
                    gateway_packets_shed_total{reason=\"too_late\"} 6\ngateway_grade 2\n";
        let sample = read(&Metrics::from(text));
        assert_eq!((sample.served, sample.refused, sample.grade), (7.0, 11.0, 2.0));
    }

    #[test]
    fn a_step_takes_its_own_samples() {
        let step = serde_json::json!({"name": "1x", "began_unix_ms": 10_000, "seconds": 2.0, "shakes_per_second": 5,
            "sent_per_second": 4.0, "cpu_s": 1.8, "latency": {"p99_us": 1500}});
        let samples: Vec<_> = [(9_000, 4.0), (10_000, 4.0), (11_000, 1.0), (12_000, 0.0), (13_000, 4.0)]
            .into_iter()
            .map(|(at_unix_ms, grade)| Sample {
                at_unix_ms,
                grade,
                served: at_unix_ms as f64,
                ..Sample::default()
            })
            .collect();
        let step = one(&step, &samples).unwrap();
        assert_eq!(
            (
                step.served_per_second,
                step.grade_max,
                step.p99_ms,
                step.phones_cpu_share
            ),
            (1000.0, 4.0, 1.5, 0.9)
        );
        assert_eq!(step.at_ease_after_s, Some(2.0));
    }
}
