//! The load monitor: a thread that measures the load ten times a second, and puts the grade, the signals, the degraded modes and
//! the figures of the last second into the load state. What it decides by is pure: `Grader`, `Judge`.

use super::cpu::Cpu;
use super::modes::{Facts, Judge, Modes};
use super::phases::{Phases, Served};
use super::state::LoadState;
use crate::config;
use crate::counters::Counters;
use crate::leave::{Leave, Step};
use crate::state::Shared;
use host::clock::{Keeper, monotonic_ms, wall_ms};
use host::groups::Groups;
use host::memory::Memory;
use shake_proto::handoff::status::AgentStatus;
use shake_proto::handoff::topology::SILENT_MS_MAX;
use shake_rules::grade::{Grade, Grader, Signals, StandingWait};
use shake_rules::throttle::pace::{Look, Pacer};
use shm_queue::{Attachment, Side};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Looks between two settings of the per-second figures.
const LOOKS_PER_SECOND: u32 = 10;
/// From this part of the memory in use on newcomers are refused, until it is below the second: who is here needs the rest.
const MEMORY_FULL: f64 = 0.92;
const MEMORY_FREE_AGAIN: f64 = 0.90;

/// Sums over all shards at one moment.
#[derive(Clone, Copy, Default)]
struct Sums {
    packets: u64,
    shed: u64,
    overflowed: u64,
    shakes: u64,
    shakes_refused: u64,
    wins: u64,
    asks: u64,
    busy: u64,
    connections: u64,
}

pub struct LoadMonitor {
    shared: Arc<Shared>,
    counters: Arc<[Arc<Counters>]>,
    attachment: Attachment,
    cpu: Cpu,
    groups: Groups,
    grader: Grader,
    judge: Judge,
    pacer: Pacer,
    smoothed: Signals,
    /// Of each shard.
    queue_waits: Box<[StandingWait]>,
    modes: Modes,
    leave: Leave,
    leave_rules: config::Leave,
    phases: Phases,
    keeper: Keeper,
    looked_at: Instant,
    before: Sums,
    second: (Instant, Sums),
    looks: u32,
}

/// Starts the monitor. It ends soon after `stop` is set.
///
/// # Errors
/// When no thread can be made.
pub fn spawn(
    shared: Arc<Shared>,
    counters: Arc<[Arc<Counters>]>,
    attachment: Attachment,
    keeper: Keeper,
    leave_rules: config::Leave,
    stop: Arc<AtomicBool>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("watch".into()).spawn(move || {
        let mut monitor = LoadMonitor::new(shared, counters, attachment, keeper, leave_rules, Instant::now());
        while !stop.load(Relaxed) {
            std::thread::sleep(LOOK);
            monitor.look(Instant::now());
        }
    })
}

impl LoadMonitor {
    fn new(
        shared: Arc<Shared>,
        counters: Arc<[Arc<Counters>]>,
        attachment: Attachment,
        keeper: Keeper,
        leave_rules: config::Leave,
        now: Instant,
    ) -> Self {
        let shards = shared.shards;
        let queue_waits = shared.board.shards.iter().map(|_| StandingWait::default()).collect();
        Self {
            shared,
            counters,
            attachment,
            cpu: Cpu::new(now, shards, Groups::of_this_process()),
            groups: Groups::of_this_process(),
            grader: Grader::default(),
            judge: Judge::default(),
            pacer: Pacer::default(),
            smoothed: Signals::default(),
            queue_waits,
            modes: Modes::default(),
            leave: Leave::default(),
            leave_rules,
            phases: Phases::default(),
            keeper,
            looked_at: now,
            before: Sums::default(),
            second: (now, Sums::default()),
            looks: 0,
        }
    }

    fn look(&mut self, now: Instant) {
        let elapsed_ms = (now - self.looked_at).as_millis() as u64;
        self.looked_at = now;
        let sums = self.sums();
        let sample = self.sample(now);
        self.grade(&sample, elapsed_ms);
        self.pace(&sample, &sums, elapsed_ms);
        self.keep_time();
        self.judge_modes(now);
        self.look_at_phases(&sums);
        self.looks += 1;
        if self.looks.is_multiple_of(LOOKS_PER_SECOND) {
            self.show_second(now, sums);
            self.look_at_memory();
        }
    }

    /// Measures the load since the last look.
    fn sample(&mut self, now: Instant) -> Signals {
        let load = &self.shared.board;
        let shares = self.cpu.look(now);
        let (mut queue_wait_us, mut ring_fill, mut shakers) = (0, 0, 0);
        for (shard, standing) in load.shards.iter().zip(&mut self.queue_waits) {
            queue_wait_us = queue_wait_us.max(standing.look(shard.queue_wait.take()));
            ring_fill = ring_fill.max(shard.ring_fill_permille.load(Relaxed));
            shakers += u64::from(shard.shakers.load(Relaxed));
        }
        load.shakers.store(shakers, Relaxed);
        Signals {
            process_cpu: shares.process,
            cgroup_cpu: shares.cgroup,
            queue_wait_ms: f64::from(queue_wait_us) / 1e3,
            ring_fill: f64::from(ring_fill) / 1e3,
        }
    }

    fn grade(&mut self, sample: &Signals, elapsed_ms: u64) {
        let throttle = &self.shared.current.load().throttle;
        self.smoothed = self.smoothed.smoothed(sample, elapsed_ms, throttle.smooth_ms);
        let before = self.grader.grade();
        let grade = self.grader.step(&self.smoothed, monotonic_ms(), throttle);
        let load = &self.shared.board;
        load.set_signals(&self.smoothed);
        load.set_grade(grade);
        if grade != before {
            log_grade(before, grade, &self.smoothed, load);
        }
    }

    /// Finds what paces are made for.
    fn pace(&mut self, sample: &Signals, sums: &Sums, elapsed_ms: u64) {
        let before = std::mem::replace(&mut self.before, *sums);
        let load = &self.shared.board;
        let look = Look {
            elapsed_ms,
            served: sums.shakes - before.shakes,
            packets: (sums.packets - before.packets).saturating_sub(sums.shed - before.shed),
            shed: sums.shed - before.shed,
            overflowed: sums.overflowed.saturating_sub(before.overflowed),
            process_cpu: sample.process_cpu,
            queue_wait_ms: sample.queue_wait_ms,
            shakers: load.shakers.load(Relaxed),
        };
        let throttle = &self.shared.current.load().throttle;
        let grade = self.grader.grade();
        self.pacer
            .look(&look, throttle.queue_wait_ms, grade, throttle.at(grade));
        load.capacity_per_second.set(self.pacer.capacity_per_second());
        load.invited_per_second.set(self.pacer.invited_per_second());
    }

    /// The agent, which judges every end, leads while it is here: so no ticket is ever judged by a clock that is behind
    /// the one that made it.
    fn keep_time(&mut self) {
        let agent = self.attachment.mapping().peer(Side::Back);
        let leads = agent.clock(monotonic_ms(), SILENT_MS_MAX);
        if let Some(step_ms) = self.keeper.look(leads) {
            warn!(step_ms, "the clock was set, and is followed from now on");
            self.attachment.set_clock(self.shared.clock.offset_ms());
        }
    }

    fn judge_modes(&mut self, at: Instant) {
        let load = &self.shared.board;
        let live = self.shared.current.load();
        let mapping = self.attachment.mapping();
        if load.ledger.get().is_none()
            && let Some(owner) = mapping.owner()
        {
            // Nobody else sets it.
            let _ = load.ledger.set(owner);
        }
        let agent = mapping.peer(Side::Back);
        let (monotonic_ms, now) = (monotonic_ms(), self.shared.clock.now());
        let facts = Facts {
            monotonic_ms,
            unix_ms: wall_ms(),
            agent_is_here: agent.is_alive(monotonic_ms, SILENT_MS_MAX),
            agent: AgentStatus::decode(agent.status),
            show_version: load.is_show_followed().then_some(live.version),
            was_ring_full: load.shards.iter().any(|shard| shard.was_ring_full.swap(false, Relaxed)),
            is_show_over: live.show.phases.iter().all(|phase| phase.ends_at <= now),
            is_config_unkept: load.is_config_unkept(),
            operator_heard_ms: load.operator_heard_ms(),
        };
        let modes = self.judge.look(&facts, &live.throttle.modes);
        for mode in modes.iter().filter(|mode| !self.modes.has(*mode)) {
            warn!(mode = mode.name(), "degraded mode entered");
        }
        for mode in self.modes.iter().filter(|mode| !modes.has(*mode)) {
            info!(mode = mode.name(), "degraded mode left");
        }
        self.modes = modes;
        load.set_modes(modes);
        let is_halted = facts.agent.ledger_halted;
        match self.leave.look(modes, is_halted, &self.leave_rules, monotonic_ms) {
            None => {}
            Some(Step::Begin(cause)) => {
                let config::Leave { to, over, .. } = &self.leave_rules;
                warn!(
                    ?cause,
                    ?to,
                    over_s = over.as_secs(),
                    "phones are sent to other gateways"
                );
                self.shared.current.begin_leaving(cause, at, at + *over, to.clone());
            }
            Some(Step::End) => {
                info!("phones may stay again");
                self.shared.current.end_leaving();
            }
        }
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for counters in self.counters.iter() {
            sums.packets += counters.quic.packets_received.value();
            sums.shed += counters.packets_shed();
            sums.overflowed += counters.quic.packets_overflowed.value();
            sums.shakes += counters.shakes_served();
            sums.shakes_refused += counters.shakes_refused();
            sums.wins += counters.wins.value();
            sums.asks += counters.asks_in_all();
            sums.busy += counters.busy_in_all();
            sums.connections += counters.quic.connections_established.value();
        }
        sums
    }

    fn look_at_phases(&mut self, sums: &Sums) {
        let (live, now) = (self.shared.current.load(), self.shared.clock.now());
        let served = Served {
            shakes: sums.shakes,
            wins: sums.wins,
        };
        for turned in self.phases.look(&live, now, served) {
            turned.log();
        }
    }

    /// Says whether there is memory for newcomers.
    fn look_at_memory(&self) {
        let in_use = Memory::look(&self.groups).in_use();
        let load = &self.shared.board;
        load.memory_in_use.set(in_use);
        let was_full = load.is_memory_full();
        let is_full = in_use > if was_full { MEMORY_FREE_AGAIN } else { MEMORY_FULL };
        load.set_memory_full(is_full);
        let in_use = format!("{:.0} %", in_use * 100.0);
        match (was_full, is_full) {
            (false, true) => warn!(in_use, "no memory for newcomers: they are refused"),
            (true, false) => info!(in_use, "there is memory for newcomers again"),
            _ => {}
        }
    }

    fn show_second(&mut self, now: Instant, sums: Sums) {
        let (since, before) = std::mem::replace(&mut self.second, (now, sums));
        let elapsed_s = (now - since).as_secs_f64().max(1e-3);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed_s;
        let load = &self.shared.board;
        let shown = &load.per_second;
        shown.packets.set(rate(sums.packets, before.packets));
        shown.shakes.set(rate(sums.shakes, before.shakes));
        shown
            .shakes_refused
            .set(rate(sums.shakes_refused, before.shakes_refused));
        shown.wins.set(rate(sums.wins, before.wins));
        shown.asks.set(rate(sums.asks, before.asks));
        shown.busy.set(rate(sums.busy, before.busy));
        shown.connections.set(rate(sums.connections, before.connections));
        let turn_us = load.shards.iter().map(|shard| shard.turn_us_max.swap(0, Relaxed)).max();
        load.turn_ms_max.set(f64::from(turn_us.unwrap_or(0)) / 1e3);
    }
}

fn log_grade(before: Grade, grade: Grade, signals: &Signals, load: &LoadState) {
    info!(
        from = before.number(),
        to = grade.number(),
        process_cpu = format_args!("{:.2}", signals.process_cpu),
        cgroup_cpu = format_args!("{:.2}", signals.cgroup_cpu),
        queue_wait_ms = format_args!("{:.1}", signals.queue_wait_ms),
        ring_fill = format_args!("{:.2}", signals.ring_fill),
        capacity_per_second = format_args!("{:.0}", load.capacity_per_second.value()),
        shakers = load.shakers.load(Relaxed),
        "grade changed"
    );
}
