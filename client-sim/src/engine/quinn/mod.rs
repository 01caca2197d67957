//! The engine on the `quinn` crate: one of its connections per session, many sessions per UDP socket, tokio beneath.
//!
//! The wiring, in the order of a session's life:
//!
//! ```text
//! ramp ──(semaphore: handshakes at once)──▶ session task × N ──▶ connect, Hello, then read datagrams and notices
//! shaker × threads ── every ms ──▶ seat.user.on_shake_due ──▶ connection.send_datagram
//!                      session task ◀── reply ──▶ seat.user.on_shake_reply ──▶ on a win: one errand task
//! errand task ──▶ exchange ──▶ seat.user.on_errand ──▶ further errands, or a friend's seat hears of a code
//! ```
//!
//! Seats (user and connection) stand in shards, one mutex each, which also guards the shard's tally. A lock is held
//! for the length of one event and never across an await. No queue of our own stands between the tasks: a datagram
//! waits in its connection's send buffer, whose limit is in [`transport`], and an errand becomes a task at once. With
//! simulated networks each session has an endpoint of its own, behind a [`line`].

mod exchange;
mod line;
mod session;
mod shaker;
mod transport;

use super::fetch::Fetchers;
use super::gateways::{Gateway, Gateways};
use super::pace::{Lull, StepClock, first_step, late_start, unix_now};
use super::sockets::OwnSockets;
use super::{Dial, EngineError, Finished, Job, Snapshot, Stage, StageCost, Stop, cpu_seconds};
use crate::scenario::Scenario;
use crate::schedule::{Micros, Schedule};
use crate::tally::{Sum, Tally};
use crate::user::{Habits, User};
use ::quinn::{ClientConfig, Connection, Endpoint};
use bytes::Bytes;
use line::Line;
use shake_proto::code::Code;
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Time between two looks at a stage, and so how late its end is noticed at the most.
const LOOK: Duration = Duration::from_millis(50);
/// Every so many looks the observer is called.
const LOOKS_PER_OBSERVATION: u32 = 5;
/// How long after its end the schedule may still be worked off, when the machine could not keep up.
const OVERTIME: Micros = Micros::from_s(1);
/// The longest wait for closed connections to drain.
const CLOSING: Duration = Duration::from_secs(3);

/// One session's place: its user, and its connection once that has said Hello.
struct Seat {
    user: User,
    connection: Option<Connection>,
    gateway: Gateway,
}

#[derive(Default)]
struct Shard {
    seats: Vec<Seat>,
    tally: Tally,
}

/// What all tasks of a run share.
struct Shared {
    scenario: Scenario,
    schedule: Mutex<Schedule>,
    gateways: Mutex<Gateways>,
    tokens: TokenKeys,
    tokens_expire_at: UnixMillis,
    client: ClientConfig,
    endpoints: Vec<Endpoint>,
    /// Those of the endpoints that stand behind simulated networks.
    lines: Vec<Arc<Line>>,
    sockets: OwnSockets,
    shards: Vec<Mutex<Shard>>,
    connecting: Arc<Semaphore>,
    origin: Instant,
    /// The wall clock at `origin`.
    wall_origin: UnixMillis,
    dial: Arc<Dial>,
    /// Sessions whose first connection stands, or that gave up before.
    settled: AtomicU32,
    online: AtomicU32,
    /// No more connecting: the run ends.
    closing: AtomicBool,
    /// No more shaking.
    shaken: AtomicBool,
    fetchers: Fetchers,
}

impl Shared {
    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    async fn sleep_until(&self, at: Micros) {
        tokio::time::sleep_until((self.origin + Duration::from(at)).into()).await;
    }

    /// Lets `work` see one seat, with the tally that its events count into.
    fn seat<R>(&self, index: u32, work: impl FnOnce(&mut Seat, &Habits, &mut Tally) -> R) -> R {
        let shards = self.shards.len();
        let mut shard = self.lock(index as usize % shards);
        let Shard { seats, tally } = &mut *shard;
        work(&mut seats[index as usize / shards], &self.scenario.habits, tally)
    }

    fn lock(&self, shard: usize) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[shard]
            .lock()
            .expect("no event panics: `user` and `tally` treat all input as untrusted")
    }

    fn gateways(&self) -> std::sync::MutexGuard<'_, Gateways> {
        self.gateways
            .lock()
            .expect("nothing panics under this lock: it looks up and adds")
    }

    fn schedule(&self) -> std::sync::MutexGuard<'_, Schedule> {
        self.schedule
            .lock()
            .expect("nothing panics under this lock: it is arithmetic")
    }

    fn begin_shaking(&self, start: Micros) {
        self.schedule().begin(start);
        self.mark_steps();
    }

    /// Takes another rate that somebody wished for.
    fn turn_dial(&self, now: Micros) {
        if let Some(rate) = self.dial.take()
            && self.schedule().change_rate(now, rate).is_some()
        {
            self.mark_steps();
        }
    }

    fn mark_steps(&self) {
        let schedule = self.schedule();
        let start = schedule.began().unwrap_or(Micros::ZERO);
        for shard in 0..self.shards.len() {
            let mut shard = self.lock(shard);
            for span in schedule.spans() {
                shard.tally.steps.begin(start.plus(span.from));
            }
        }
    }

    fn endpoint(&self, index: u32) -> &Endpoint {
        &self.endpoints[index as usize % self.endpoints.len()]
    }

    fn token(&self, user: u64) -> Bytes {
        let token = UserToken {
            user: UserId(user),
            expires_at: self.tokens_expire_at,
        };
        Bytes::copy_from_slice(&self.tokens.mint(token))
    }

    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for shard in 0..self.shards.len() {
            sum.add(&self.lock(shard).tally);
        }
        sum
    }

    /// Whether the ramp is over: every session stands or gave up, or nobody ever got through.
    fn is_ramp_over(&self) -> bool {
        let settled = self.settled.load(Ordering::Relaxed);
        settled == self.scenario.sessions || (settled > 0 && !self.is_anyone_connected())
    }

    /// Whether any session has ever got through. When some gave up before, the rest would fare no better.
    fn is_anyone_connected(&self) -> bool {
        (0..self.shards.len()).any(|shard| self.lock(shard).tally.sessions.connected > 0)
    }

    fn is_anyone_waiting(&self) -> bool {
        let now = self.now();
        let habits = &self.scenario.habits;
        (0..self.shards.len()).any(|index| {
            let mut shard = self.lock(index);
            let Shard { seats, tally } = &mut *shard;
            let is_open = tally.has_open_ends();
            is_open
                && seats.iter_mut().any(|seat| {
                    seat.user.expire(now, habits, tally);
                    seat.user.is_waiting()
                })
        })
    }
}

pub(super) fn run(job: Job, stop: &Stop, observe: &mut dyn FnMut(&Snapshot<'_>)) -> Result<Finished, EngineError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(job.scenario.threads as usize)
        .enable_all()
        .build()
        .map_err(EngineError::Threads)?;
    let finished = runtime.block_on(play(job, stop, observe));
    // What still sleeps (a back-off, an errand's delay) has nothing left to do.
    runtime.shutdown_background();
    finished
}

async fn play(job: Job, stop: &Stop, observe: &mut dyn FnMut(&Snapshot<'_>)) -> Result<Finished, EngineError> {
    let mut remarks = Vec::new();
    let shared = Arc::new(prepare(job)?);
    let mut watch = Watch {
        shared: &shared,
        observe,
        looks: 0,
        clock: StepClock::default(),
    };

    tokio::spawn(session::ramp(shared.clone()));
    let ramp_over = |_: Micros| shared.is_ramp_over() || stop.asked() > 0;
    let connecting = watch.stage(Stage::Connecting, ramp_over).await;

    let nobody = !shared.is_anyone_connected();
    let (start, late) = first_step(shared.scenario.start, shared.wall_origin, shared.now());
    remarks.extend(late_start(late).filter(|_| !nobody));
    let has_come = |now| nobody || stop.asked() > 0 || now >= start;
    watch.stage(Stage::Waiting, has_come).await;
    shared.begin_shaking(start);
    if !nobody {
        shaker::spawn_all(&shared);
    }
    let through = |now: Micros| {
        shared.turn_dial(now);
        let (end, is_through) = {
            let schedule = shared.schedule();
            (schedule.end().unwrap_or(now), schedule.is_through())
        };
        let worked_off = is_through || now >= end.plus(OVERTIME);
        nobody || stop.asked() > 0 || (now >= end && worked_off)
    };
    let shaking = watch.stage(Stage::Shaking, through).await;
    let stopped_early = stop.asked() > 0;
    shared.shaken.store(true, Ordering::Relaxed);
    let steps = std::mem::take(&mut watch.clock).finish(&shared.schedule(), shared.wall_origin);

    let asked = stop.asked();
    let mut lull = Lull::of_listeners(shared.now(), shared.scenario.settle_s);
    let heard = |now| nobody || stop.asked() > asked || lull.is_over(now, shared.is_anyone_waiting());
    let listening = watch.stage(Stage::Settling, heard).await;
    session::wind_up(&shared);
    let mut lull = Lull::of_the_last(shared.now());
    let settled = |now| stop.asked() > asked || lull.is_over(now, shared.is_anyone_waiting());
    let ending = watch.stage(Stage::Settling, settled).await;
    remarks.extend(shared.sockets.remarks());

    let online = shared.online.load(Ordering::Relaxed);
    let mut tally = Tally::default();
    for shard in 0..shared.shards.len() {
        // Ended and added under one lock: what comes afterwards is in no count.
        let mut shard = shared.lock(shard);
        let Shard { seats, tally: part } = &mut *shard;
        seats.iter_mut().for_each(|seat| seat.user.finish(part));
        tally.add(part);
    }
    tally.packages.add(&shared.fetchers.end());
    tally.find_opened_twice();
    close(&shared).await;
    for line in &shared.lines {
        tally.networks.add_datagrams(&line.counts());
    }
    watch.observe(Stage::Closing, 0.0);
    Ok(Finished {
        tally,
        connecting,
        shaking,
        steps,
        settling: listening.with(ending),
        online,
        stopped_early,
        remarks,
    })
}

fn prepare(job: Job) -> Result<Shared, EngineError> {
    let Job {
        scenario,
        targets,
        roots,
        tokens,
        started_at,
        dial,
    } = job;
    let client = transport::client(roots, &scenario)?;
    let gateways = Gateways::new(targets);
    let target = gateways.farthest();
    let origin = Instant::now();
    let count = scenario.sockets.min(scenario.sessions);
    let mut sockets = OwnSockets::default();
    let networks = &scenario.habits.networks;
    let (endpoints, lines) = if networks.is_empty() {
        (transport::endpoints(count, target, &mut sockets)?, Vec::new())
    } else {
        transport::lines(scenario.sessions, target, networks, origin)?
    };
    let mut shards: Vec<Shard> = (0..count).map(|_| Shard::default()).collect();
    for index in 0..scenario.sessions {
        let user = User::new(index, scenario.first_id + u64::from(index), &scenario.habits);
        let shard = index as usize % shards.len();
        shards[shard].seats.push(Seat {
            user,
            connection: None,
            gateway: gateways.home(scenario.seed, index),
        });
    }
    Ok(Shared {
        schedule: Mutex::new(scenario.schedule()),
        gateways: Mutex::new(gateways),
        dial,
        wall_origin: unix_now(),
        tokens,
        tokens_expire_at: started_at.plus_ms(u64::from(scenario.token_lifetime_s) * 1_000),
        client,
        endpoints,
        lines,
        sockets,
        shards: shards.into_iter().map(Mutex::new).collect(),
        connecting: Arc::new(Semaphore::new(scenario.connects_at_once as usize)),
        origin,
        fetchers: Fetchers::new(origin),
        settled: AtomicU32::new(0),
        online: AtomicU32::new(0),
        closing: AtomicBool::new(false),
        shaken: AtomicBool::new(false),
        scenario,
    })
}

/// Closes every connection, so that the gateway need not wait for timeouts, and lets the last packets out.
async fn close(shared: &Shared) {
    shared.closing.store(true, Ordering::Relaxed);
    shared.connecting.close();
    for endpoint in &shared.endpoints {
        endpoint.close(Code::Done.number().into(), b"run over");
    }
    let drained = async {
        for endpoint in &shared.endpoints {
            endpoint.wait_idle().await;
        }
    };
    // A peer that does not answer the close is not waited for.
    let _ = tokio::time::timeout(CLOSING, drained).await;
}

/// Watches the stages and calls the observer.
struct Watch<'a> {
    shared: &'a Shared,
    observe: &'a mut dyn FnMut(&Snapshot<'_>),
    looks: u32,
    clock: StepClock,
}

impl Watch<'_> {
    /// Waits until `is_over` says so; gives what the stage took.
    async fn stage(&mut self, stage: Stage, mut is_over: impl FnMut(Micros) -> bool) -> StageCost {
        let (began, cpu_before) = (Instant::now(), cpu_seconds());
        let cost = || StageCost {
            wall_s: began.elapsed().as_secs_f64(),
            cpu_s: cpu_seconds() - cpu_before,
        };
        while !is_over(self.shared.now()) {
            if stage == Stage::Shaking {
                self.clock.look(&self.shared.schedule(), self.shared.now());
            }
            if self.looks.is_multiple_of(LOOKS_PER_OBSERVATION) {
                self.observe(stage, began.elapsed().as_secs_f64());
            }
            self.looks += 1;
            tokio::time::sleep(LOOK).await;
        }
        self.observe(stage, began.elapsed().as_secs_f64());
        cost()
    }

    fn observe(&mut self, stage: Stage, stage_s: f64) {
        let tally = self.shared.tally();
        let online = self.shared.online.load(Ordering::Relaxed);
        let schedule = self.shared.schedule();
        (self.observe)(&Snapshot {
            stage,
            stage_s,
            online,
            now: self.shared.now(),
            step: schedule.span(self.shared.now()),
            tally: &tally,
        });
    }
}
