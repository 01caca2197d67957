//! Several agents at once, each on a thread of its own.

use super::agent::Agent;
use anyhow::Context;
use hdrhistogram::Histogram;
use rand::RngExt;
use shake_agent::ledger::Store;
use shake_agent::pace::Pace;
use shake_rules::PacketId;
use std::ops::RangeInclusive;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// How claims come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offer {
    /// The next batch when the one before is committed, until one agent has opened so many.
    Full {
        /// Claims of each agent.
        claims: u64,
    },
    /// So many claims a second of all agents, for so long.
    Rate {
        /// Claims a second.
        per_second: u32,
        /// For how long.
        time: Duration,
        /// Whether a commit waits until twice the time of the last one is over, as agents of a fleet do.
        paced: bool,
    },
}

/// What several agents do.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many agents.
    pub agents: u16,
    /// How many claims come together.
    pub sizes: RangeInclusive<u64>,
    /// How they come.
    pub offer: Offer,
    /// A packet that each batch grabs of, too.
    pub everybodys: Option<PacketId>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Claims that were opened.
    pub opened: u64,
    /// In how many commits.
    pub commits: u64,
    /// In which time.
    pub time: Duration,
    /// From when claims came, or their commit began, to the end of their commit, in microseconds.
    pub waits: Histogram<u64>,
    /// Commits that were tried anew, because agents stood in each other's way.
    pub again: u64,
    /// Asks that waited for so long that they were told to come again.
    pub busy: u64,
}

impl Outcome {
    /// Claims a second.
    pub fn rate(&self) -> f64 {
        self.opened as f64 / self.time.as_secs_f64()
    }

    /// Claims a commit.
    pub fn size(&self) -> f64 {
        self.opened as f64 / self.commits.max(1) as f64
    }

    /// A quantile of the waits, in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.waits.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// The most claims in one commit of claims that come by rate.
const BATCH_MAX: u64 = 512;
/// The least between the beginnings of two commits of an agent that paces itself: `[commit] every_ms` of an agent.
const EVERY: Duration = Duration::from_millis(10);

/// Lets all agents prepare, then work at the same time.
///
/// # Errors
/// When one of them fails.
pub fn play<S: Store + Send>(load: &Load, agents: Vec<Agent<S>>, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let (start, stop) = (&Barrier::new(agents.len()), &AtomicBool::new(false));
    let outcomes = thread::scope(|scope| {
        let running: Vec<_> = agents
            .into_iter()
            .map(|mut agent| {
                scope.spawn(move || {
                    let ready = prepare(load, &mut agent);
                    stop.fetch_or(ready.is_err(), Relaxed);
                    start.wait();
                    ready?;
                    let outcome = work(load, &mut agent, stop, interrupt);
                    stop.fetch_or(outcome.is_err(), Relaxed);
                    outcome
                })
            })
            .collect();
        let joined = running.into_iter().map(|running| running.join().ok());
        joined
            .map(|outcome| outcome.context("an agent stopped")?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut all = empty()?;
    for outcome in outcomes {
        all.opened += outcome.opened;
        all.commits += outcome.commits;
        all.again += outcome.again;
        all.busy += outcome.busy;
        all.time = all.time.max(outcome.time);
        all.waits += outcome.waits;
    }
    interrupt.check()?;
    Ok(all)
}

fn empty() -> anyhow::Result<Outcome> {
    Ok(Outcome {
        opened: 0,
        commits: 0,
        time: Duration::ZERO,
        waits: Histogram::new(3)?,
        again: 0,
        busy: 0,
    })
}

fn prepare<S: Store>(load: &Load, agent: &mut Agent<S>) -> anyhow::Result<()> {
    let claims = match load.offer {
        Offer::Full { claims } => claims,
        Offer::Rate { per_second, time, .. } => {
            let share = f64::from(per_second) / f64::from(load.agents);
            (share * time.as_secs_f64()) as u64 + *load.sizes.end()
        }
    };
    agent.prepare(claims)
}

fn work<S: Store>(
    load: &Load,
    agent: &mut Agent<S>,
    stop: &AtomicBool,
    interrupt: &Interrupt,
) -> anyhow::Result<Outcome> {
    let mut outcome = empty()?;
    let begun = Instant::now();
    let is_over = || stop.load(Relaxed) || interrupt.came();
    match load.offer {
        Offer::Full { .. } => {
            while agent.ready() > 0 && !is_over() {
                let size = rand::rng().random_range(load.sizes.clone());
                commit(load, agent, size, Instant::now(), &mut outcome)?;
            }
            // The others' claims that follow would be opened beside less.
            stop.store(true, Relaxed);
        }
        Offer::Rate {
            per_second,
            time,
            paced,
        } => {
            let share = f64::from(per_second) / f64::from(load.agents);
            // Not all at the same moment.
            let mut came = begun + Duration::from_secs_f64(rand::rng().random_range(0.0..1.0) / share);
            let mut pace: Option<Pace> = None;
            while came < begun + time && agent.ready() > 0 && !is_over() {
                let rest = pace.map_or(Duration::ZERO, |pace| pace.rest(EVERY));
                thread::sleep(came.saturating_duration_since(Instant::now()).max(rest));
                let first = came;
                let mut size = 0;
                let now = Instant::now();
                while came <= now && size < BATCH_MAX {
                    let together = rand::rng().random_range(load.sizes.clone());
                    size += together;
                    came += Duration::from_secs_f64(together as f64 / share);
                }
                commit(load, agent, size, first, &mut outcome)?;
                pace = paced.then(|| Pace::since(now));
            }
        }
    }
    outcome.time = begun.elapsed();
    Ok(outcome)
}

fn commit<S: Store>(
    load: &Load,
    agent: &mut Agent<S>,
    size: u64,
    since: Instant,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let batch = agent.open(size, load.everybodys)?;
    outcome.waits.record(since.elapsed().as_micros() as u64)?;
    outcome.opened += batch.opened;
    outcome.commits += 1;
    outcome.again += batch.again;
    outcome.busy += batch.busy;
    Ok(())
}
