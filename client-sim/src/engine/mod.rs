//! The boundary behind which sessions are carried over the network.
//!
//! An engine gets a [`Job`], plays all its users to the end (connect, shake, settle, close), tells an observer how it
//! goes, and hands back what it counted. Users ([`crate::user`]) and schedule ([`crate::schedule`]) are the same for
//! every engine. An engine owns its threads and its clock; nothing of either shows through.

mod fetch;
mod gateways;
pub mod lean;
mod pace;
mod quinn;
mod sockets;

use crate::scenario::{EngineKind, Scenario};
use crate::schedule::{Micros, Span};
use crate::tally::Tally;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rustls::RootCertStore;
use shake_rules::UnixMillis;
use shake_rules::token::TokenKeys;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use thiserror::Error;

pub use pace::{Dial, StepRun};

/// What an engine is to do.
#[derive(Debug)]
pub struct Job {
    /// The scenario.
    pub scenario: Scenario,
    /// The gateways of the scenario, at least one, in its order.
    pub targets: Vec<Target>,
    /// The authorities that the gateway's certificate must come from.
    pub roots: RootCertStore,
    /// Mints the users' tokens.
    pub tokens: TokenKeys,
    /// The time at the start of the run.
    pub started_at: UnixMillis,
    /// Who may wish for another rate.
    pub dial: Arc<Dial>,
}

/// A gateway of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its resolved address.
    pub address: SocketAddr,
    /// Of so many sessions, beside the weights of the others, it is the first.
    pub weight: u32,
}

/// Why an engine could not start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// No threads.
    #[error("cannot start the engine's threads: {0}")]
    Threads(std::io::Error),
    /// No socket.
    #[error("cannot open a UDP socket to reach {target}: {source}")]
    Socket {
        /// Who was to be reached.
        target: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The journal cannot be made.
    #[error("cannot write the journal {}: {source}", path.display())]
    Journal {
        /// Where.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The TLS library does not accept the configuration.
    #[error("cannot set up TLS 1.3: {0}")]
    Tls(String),
}

/// A request to end early, shared with a signal handler. The first ends the shaking, the second also the settling.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    /// Asks once (more).
    pub fn ask(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| asked.checked_add(1));
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Ramping up.
    Connecting,
    /// All are connected; the time of the first step has not come.
    Waiting,
    /// Shaking by the schedule.
    Shaking,
    /// Listening for what is still told, then waiting for the last answers.
    Settling,
    /// Closing the connections.
    Closing,
}

/// How a run stands.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// What it is busy with.
    pub stage: Stage,
    /// Since the stage began, in seconds.
    pub stage_s: f64,
    /// Sessions with a connection that has said Hello.
    pub online: u32,
    /// Since the start of the run: the clock of all that is counted.
    pub now: Micros,
    /// The step that is played, or comes next.
    pub step: &'a Span,
    /// All counts so far.
    pub tally: &'a Tally,
}

/// How long a stage took.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageCost {
    /// On the clock, in seconds.
    pub wall_s: f64,
    /// Of the process's CPU time, in seconds.
    pub cpu_s: f64,
}

impl StageCost {
    /// Of both together.
    fn with(self, other: Self) -> Self {
        Self {
            wall_s: self.wall_s + other.wall_s,
            cpu_s: self.cpu_s + other.cpu_s,
        }
    }
}

/// What a run counted.
#[derive(Debug)]
pub struct Finished {
    /// All counts; no shake and no claim is open any more.
    pub tally: Tally,
    /// The ramp.
    pub connecting: StageCost,
    /// The shaking.
    pub shaking: StageCost,
    /// Its steps.
    pub steps: Vec<StepRun>,
    /// The waiting afterwards.
    pub settling: StageCost,
    /// Sessions with a connection when the settling ended.
    pub online: u32,
    /// Whether it was asked to stop before the schedule was through.
    pub stopped_early: bool,
    /// What a reader of the figures should know, such as a socket buffer that the system cut.
    pub remarks: Vec<String>,
}

/// Carries the job with the scenario's engine, and calls `observe` a few times a second.
///
/// # Errors
/// When the engine cannot start. That nobody could connect is no error here; the counts say so.
pub fn run(job: Job, stop: &Stop, observe: &mut dyn FnMut(&Snapshot<'_>)) -> Result<Finished, EngineError> {
    match job.scenario.engine {
        EngineKind::Quinn => quinn::run(job, stop, observe),
        EngineKind::Lean => lean::run(job, stop, observe),
    }
}

/// The CPU time of this process so far, user and system, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    })
}

/// The most memory that this process held at a time, in bytes.
#[must_use]
pub fn memory_peak_bytes() -> u64 {
    // Linux counts in KiB: getrusage(2).
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss() as u64 * 1_024)
}
