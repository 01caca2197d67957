//! Asks the gateway again and again in which degraded modes it is, in a thread of its own, because a gateway that is
//! stopped or gone does not answer.

use crate::testbed::unix_ms;
use anyhow::Context;
use client_sim::metrics::ask;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks, and the longest wait for an answer.
const EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(500);

/// What was seen: a mode, and from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub mode: String,
    pub from_ms: u64,
    pub until_ms: u64,
}

/// The thread. Dropping it ends it.
pub struct Lookout {
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    /// Looks at this metrics port from now on.
    pub fn start(metrics: SocketAddr) -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let url = format!("http://{metrics}/ready");
        let look = move || {
            while !over.load(Relaxed) {
                if let Ok(answer) = ask(&url, PATIENCE) {
                    note(
                        &mut shared.lock().expect("nothing panics under this lock"),
                        &answer.text,
                        unix_ms(),
                    );
                }
                thread::sleep(EVERY);
            }
        };
        let thread = thread::Builder::new().name("lookout".into()).spawn(look);
        Ok(Self {
            seen,
            is_over,
            thread: Some(thread.context("no thread for the lookout")?),
        })
    }

    /// Whether a mode was entered in this span of time. One that held before says nothing.
    pub fn saw_enter(&self, mode: &str, from_ms: u64, until_ms: u64) -> bool {
        let seen = self.seen.lock().expect("nothing panics under this lock");
        seen.iter()
            .any(|seen| seen.mode == mode && (from_ms..=until_ms).contains(&seen.from_ms))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Adds what a look showed: `ready; degraded: MODE, MODE`.
fn note(seen: &mut Vec<Seen>, text: &str, now_ms: u64) {
    /// Two looks further apart do not show that a mode held in between.
    const JOIN_MS: u64 = 1_500;
    let modes = text.split_once("degraded: ").map_or("", |(_, modes)| modes.trim());
    for mode in modes.split(", ").filter(|mode| !mode.is_empty()) {
        let last = seen.iter_mut().rev().find(|seen| seen.mode == mode);
        match last.filter(|last| now_ms - last.until_ms.min(now_ms) < JOIN_MS) {
            Some(last) => last.until_ms = now_ms,
            None => seen.push(Seen {
                mode: mode.to_owned(),
                from_ms: now_ms,
                until_ms: now_ms,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_joined_over_time() {
        let mut seen = Vec::new();
        note(&mut seen, "HTTP/1.1 200 OK\r\n\r\nready\n", 900);
        note(&mut seen, "ready; degraded: agent_away, clock_jumped\n", 1_000);
        note(&mut seen, "ready; degraded: agent_away\n", 2_000);
        note(&mut seen, "ready; degraded: agent_away\n", 9_000);
        let found: Vec<_> = seen
            .iter()
            .map(|seen| (&seen.mode[..], seen.from_ms, seen.until_ms))
            .collect();
        assert_eq!(
            found,
            [
                ("agent_away", 1_000, 2_000),
                ("clock_jumped", 1_000, 1_000),
                ("agent_away", 9_000, 9_000)
            ]
        );
    }
}
