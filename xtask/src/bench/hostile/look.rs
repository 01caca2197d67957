//! The gateway from outside: its memory and CPU as the kernel counts them, its counters as its metrics port tells them.

use crate::stage::Usage;
use anyhow::Context;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the metrics port may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look.
pub struct Look {
    /// CPU time of all threads.
    pub cpu: Duration,
    pub resident_bytes: u64,
    counters: BTreeMap<String, u64>,
}

impl Look {
    pub fn at(pid: Pid, metrics: SocketAddr) -> anyhow::Result<Self> {
        let counters = metrics_text(metrics).with_context(|| format!("cannot read http://{metrics}/metrics"))?;
        let usage = Usage::of(pid)?;
        Ok(Self {
            cpu: usage.cpu,
            resident_bytes: usage.resident_bytes,
            counters: parse(&counters),
        })
    }

    pub fn resident(pid: Pid) -> anyhow::Result<u64> {
        Ok(Usage::of(pid)?.resident_bytes)
    }

    /// What refuses, drops or fails, and grew.
    pub fn grown_since(&self, before: &Self) -> BTreeMap<String, u64> {
        const TELLING: [&str; 10] = [
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
        ];
        let telling = |name: &str| TELLING.iter().any(|word| name.contains(word)) && !name.contains("not_due");
        let grown = |(name, value): (&String, &u64)| {
            let more = value.saturating_sub(before.counters.get(name).copied().unwrap_or_default());
            (more > 0 && telling(name)).then(|| (name.trim_start_matches("gateway_").to_owned(), more))
        };
        self.counters.iter().filter_map(grown).collect()
    }
}

fn metrics_text(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines()
        .filter(|line| line.starts_with("gateway_"))
        .filter_map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = Pid::this();
        assert!(Look::resident(pid).expect("a living process") > 100_000);
        Usage::of(pid).expect("a living process");
    }

    #[test]
    fn what_refuses_and_grew_is_told() {
        let look = |text: &str| Look {
            cpu: Duration::ZERO,
            resident_bytes: 0,
            counters: parse(text),
        };
        let before = look("# HELP x\ngateway_wins_total 1\ngateway_a_refused_total{code=\"x\"} 2\n");
        let after = look("gateway_wins_total 9\ngateway_a_refused_total{code=\"x\"} 5\ngateway_b_dropped_total 0\n");
        let expected = BTreeMap::from([("a_refused_total{code=\"x\"}".to_owned(), 3)]);
        assert_eq!(after.grown_since(&before), expected);
    }
}
