//! The gateway from outside: its memory and CPU as the kernel counts them, its counters as its metrics port tells them.

use crate::testbed::{self, Usage};
use client_sim::metrics::Metrics;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One look.
pub struct Look {
    pub usage: Usage,
    metrics: Metrics,
}

impl Look {
    pub fn at(pid: Pid, metrics: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            metrics: testbed::metrics(metrics)?,
            usage: Usage::of(pid)?,
        })
    }

    /// How much a counter grew.
    pub fn more_than(&self, before: &Self, name: &str) -> u64 {
        let value = |look: &Self| look.metrics.value(name).unwrap_or_default();
        (value(self) - value(before)) as u64
    }

    /// What refuses, drops or fails, and grew.
    pub fn grown_since(&self, before: &Self) -> BTreeMap<String, u64> {
        const TELLING: [&str; 12] = [
            "refused",
            "dropped",
            "discarded",
            "retried",
            "failed",
            "limited",
            "missed",
            "busy",
            "slow_down",
            "unsent",
            "shed",
            "withheld",
        ];
        let is_telling = |name: &str| {
            name.starts_with("gateway_") && !name.contains("not_due") && TELLING.iter().any(|word| name.contains(word))
        };
        let grown = |(name, value): (&str, f64)| {
            let more = (value - before.metrics.value(name).unwrap_or_default()) as u64;
            (more > 0).then(|| (name.trim_start_matches("gateway_").to_owned(), more))
        };
        let all = self.metrics.iter();
        all.filter(|(name, _)| is_telling(name)).filter_map(grown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_and_grew_is_told() {
        let look = |text: &str| Look {
            usage: Usage::default(),
            metrics: Metrics::from(text),
        };
        let before = look("# HELP x\ngateway_wins_total 1\ngateway_a_refused_total{code=\"x\"} 2\n");
        let after = look("gateway_wins_total 9\ngateway_a_refused_total{code=\"x\"} 5\ngateway_b_dropped_total 0\n");
        let expected = BTreeMap::from([("a_refused_total{code=\"x\"}".to_owned(), 3)]);
        assert_eq!(after.grown_since(&before), expected);
        assert_eq!(after.more_than(&before, "gateway_wins_total"), 8);
        assert_eq!(after.more_than(&before, "gateway_missing_total"), 0);
    }
}
