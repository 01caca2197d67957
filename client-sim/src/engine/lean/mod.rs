//! The engine on `lean_quic`: one thread, a few sockets, one wheel of timers, all sessions in one vector.
//!
//! ```text
//! sockets ─▶ seat (by the index in its connection ID) ─▶ connection ─▶ events ─▶ user
//! wheel   ─▶ seat: connection timers, request timeouts, claims, reconnects
//! ramp    ─▶ seat: connect        schedule ─▶ seat: shake
//! ```
//!
//! Between seats and sockets a simulated network may stand, which each datagram then crosses in its time.
//!
//! A turn takes what has arrived, does what is due, connects and shakes, then sleeps until a socket or a deadline. What
//! a connection has to say goes out as soon as it was touched. There is no queue but the kernel's; a socket that takes
//! no more is waited for a moment, and then the datagram is lost, as on any network.

mod play;
mod seat;
mod seats;
mod sockets;
mod turn;
mod wheel;

use super::fetch::Fetchers;
use super::gateways::Gateways;
use super::pace::{Lull, StepClock, first_step, late_start, unix_now};
use super::{Dial, EngineError, Finished, Job, Snapshot, Stage, StageCost, Stop, cpu_seconds};
use crate::journal::Journal;
use crate::scenario::Scenario;
use crate::schedule::{Micros, Schedule};
use crate::tally::{Sum, Tally};
use crate::user::User;
use lean_quic::{Config, tls};
use ring::rand::SystemRandom;
use rustls::pki_types::ServerName;
use seat::{Happened, Seat};
use shake_proto::code::Code;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_rules::UnixMillis;
use shake_rules::token::TokenKeys;
use sockets::Sockets;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use wheel::Wheel;

/// How long after its end the schedule may still be worked off, when the machine could not keep up.
const OVERTIME: Micros = Micros::from_s(1);
/// Time between two looks at whether a stage is over, and between two calls of the observer.
const LOOK: Micros = Micros::from_ms(50);
const OBSERVE: Micros = Micros::from_ms(250);
/// Time between two looks at what is still on its way.
const TICK: Micros = Micros::from_ms(1);
/// Streams that the gateway may have open towards one session.
const NOTICES_MAX: u32 = 4;
/// How long an acknowledgement may wait for a shake to ride on: the default of RFC 9000, section 18.2.
const ACK_DELAY_MS_MAX: u16 = 25;
/// Connections closed in one go at the end, before the sockets get a moment.
const CLOSES_AT_ONCE: usize = 256;
/// The longest wait in the end for what is still on its way in simulated networks.
const CLOSING: Micros = Micros::from_s(2);

/// All of a run.
struct Driver {
    scenario: Scenario,
    schedule: Schedule,
    tokens: TokenKeys,
    tokens_expire_at: UnixMillis,
    server_name: ServerName<'static>,
    config: Arc<Config>,
    random: SystemRandom,
    sockets: Sockets,
    gateways: Gateways,
    seats: Vec<Seat>,
    /// Which seat a stateless reset is for, by the first half of its token, which the gateway draws at random.
    by_token: HashMap<u64, u32>,
    wheel: Wheel,
    /// Sessions that wait for their turn to connect.
    waiting: VecDeque<u32>,
    connecting: u32,
    /// Sessions begun by the ramp.
    begun: u32,
    /// Sessions whose first connection stands, or that gave up before.
    settled: u32,
    online: u32,
    /// Whether what is due of the schedule is sent.
    is_shaking: bool,
    tally: Tally,
    journal: Option<Journal>,
    /// Emptied after every datagram; kept for its memory.
    happened: Vec<Happened>,
    fetchers: Fetchers,
    dial: Arc<Dial>,
    origin: Instant,
    /// The wall clock at `origin`.
    wall_origin: UnixMillis,
}

/// Plays a job on the lean engine, on the calling thread. The scenario's number of threads is not used.
///
/// # Errors
/// No socket, or TLS does not accept its configuration.
pub fn run(job: Job, stop: &Stop, observe: &mut dyn FnMut(&Snapshot<'_>)) -> Result<Finished, EngineError> {
    let mut remarks = Vec::new();
    let mut driver = Driver::new(job)?;
    let mut watch = Watch {
        observe,
        observed_at: Micros::ZERO,
        clock: StepClock::default(),
    };

    let connecting = driver.stage(&mut watch, Stage::Connecting, |driver, _| {
        driver.is_ramp_over() || stop.asked() > 0
    });

    let nobody = driver.tally.sessions.connected == 0;
    let (start, late) = first_step(driver.scenario.start, driver.wall_origin, driver.now());
    remarks.extend(late_start(late).filter(|_| !nobody));
    driver.stage(&mut watch, Stage::Waiting, |_, now| {
        nobody || stop.asked() > 0 || now >= start
    });
    driver.begin_shaking(start);
    let shaking = driver.stage(&mut watch, Stage::Shaking, |driver, now| {
        driver.turn_dial(now);
        let end = driver.schedule.end().unwrap_or(now);
        let worked_off = driver.schedule.is_through() || now >= end.plus(OVERTIME);
        nobody || stop.asked() > 0 || (now >= end && worked_off)
    });
    let stopped_early = stop.asked() > 0;
    driver.is_shaking = false;
    let steps = watch.clock.finish(&driver.schedule, driver.wall_origin);
    watch.clock = StepClock::default();

    let asked = stop.asked();
    let mut lull = Lull::of_listeners(driver.now(), driver.scenario.settle_s);
    let listening = driver.stage(&mut watch, Stage::Settling, |driver, now| {
        nobody || stop.asked() > asked || lull.is_over(now, driver.is_anyone_waiting(now))
    });
    driver.wind_up();
    let mut lull = Lull::of_the_last(driver.now());
    let ending = driver.stage(&mut watch, Stage::Settling, |driver, now| {
        stop.asked() > asked || lull.is_over(now, driver.is_anyone_waiting(now))
    });

    let online = driver.online;
    remarks.extend(driver.sockets.own.remarks());
    driver.end(&mut watch);
    Ok(Finished {
        tally: driver.tally,
        connecting,
        shaking,
        steps,
        settling: listening.with(ending),
        online,
        stopped_early,
        remarks,
    })
}

impl Driver {
    fn new(job: Job) -> Result<Self, EngineError> {
        let Job {
            scenario,
            targets,
            roots,
            tokens,
            started_at,
            dial,
        } = job;
        let tls = tls(roots, shake_proto::ALPN).map_err(|error| EngineError::Tls(error.to_string()))?;
        let server_name = ServerName::try_from(scenario.server_name.clone());
        let create = |path: &PathBuf| {
            Journal::create(path).map_err(|source| EngineError::Journal {
                path: path.clone(),
                source,
            })
        };
        let journal = scenario.journal.as_ref().map(create).transpose()?;
        let config = Config {
            tls,
            idle_timeout: Micros::from_s(scenario.idle_timeout_s.into()),
            keep_alive: Micros::from_s(scenario.keep_alive_s.into()),
            ack_delay_ms_max: ACK_DELAY_MS_MAX,
            request_bytes_max: (REQUEST_BYTES_MAX + LENGTH_BYTES_MAX) as u32,
            response_bytes_max: (REPLY_BYTES_MAX + LENGTH_BYTES_MAX) as u32,
            notices_max: NOTICES_MAX,
        };
        let gateways = Gateways::new(targets);
        let seat = |index| {
            let user = User::new(index, scenario.first_id + u64::from(index), &scenario.habits);
            Seat::new(user, gateways.home(scenario.seed, index))
        };
        let origin = Instant::now();
        Ok(Self {
            sockets: Sockets::open(
                scenario.shared_sockets(),
                gateways.first(),
                scenario.sessions,
                &scenario.habits.networks,
            )?,
            seats: seats::fill((0..scenario.sessions).map(seat)),
            gateways,
            by_token: HashMap::with_capacity(scenario.sessions as usize),
            schedule: scenario.schedule(),
            tokens,
            tokens_expire_at: started_at.plus_ms(u64::from(scenario.token_lifetime_s) * 1_000),
            server_name: server_name.map_err(|error| EngineError::Tls(error.to_string()))?,
            config: Arc::new(config),
            random: SystemRandom::new(),
            wheel: Wheel::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            begun: 0,
            settled: 0,
            online: 0,
            is_shaking: false,
            dial,
            wall_origin: unix_now(),
            tally: Tally::default(),
            journal,
            happened: Vec::new(),
            fetchers: Fetchers::new(origin),
            origin,
            scenario,
        })
    }

    fn now(&self) -> Micros {
        Micros(self.origin.elapsed().as_micros() as u64)
    }

    fn begin_shaking(&mut self, start: Micros) {
        self.schedule.begin(start);
        self.is_shaking = true;
        self.mark_steps();
    }

    /// Takes another rate that somebody wished for.
    fn turn_dial(&mut self, now: Micros) {
        if let Some(rate) = self.dial.take()
            && self.schedule.change_rate(now, rate).is_some()
        {
            self.mark_steps();
        }
    }

    fn mark_steps(&mut self) {
        let start = self.schedule.began().unwrap_or(Micros::ZERO);
        for span in self.schedule.spans() {
            self.tally.steps.begin(start.plus(span.from));
        }
    }

    /// Turns until the stage is over; gives what it took.
    fn stage(
        &mut self,
        watch: &mut Watch<'_>,
        stage: Stage,
        mut is_over: impl FnMut(&mut Self, Micros) -> bool,
    ) -> StageCost {
        let (began, cpu_before) = (self.now(), cpu_seconds());
        let mut look_at = began;
        loop {
            let now = self.now();
            if now >= look_at {
                look_at = now.plus(LOOK);
                if is_over(self, now) {
                    break;
                }
                watch.look(self, stage, began, now);
            }
            self.turn(now, look_at);
            self.write_journal();
        }
        let now = self.now();
        watch.observe(self, stage, now.since(began));
        StageCost {
            wall_s: now.since(began).as_seconds(),
            cpu_s: cpu_seconds() - cpu_before,
        }
    }

    /// A journal that cannot be written any more is told among the errors, and ends there.
    fn write_journal(&mut self) {
        let now = self.now();
        if let Some(journal) = &mut self.journal
            && let Err(fault) = journal.look(now, unix_now, &self.tally)
        {
            self.tally.error("journal", &fault.to_string());
            self.journal = None;
        }
    }

    /// Whether every session stands or gave up, or nobody ever got through when some gave up.
    fn is_ramp_over(&self) -> bool {
        self.settled == self.scenario.sessions || (self.settled > 0 && self.tally.sessions.connected == 0)
    }

    fn is_anyone_waiting(&mut self, now: Micros) -> bool {
        // Without a look at a million seats.
        if !self.tally.has_open_ends() {
            return false;
        }
        let habits = &self.scenario.habits;
        let tally = &mut self.tally;
        self.seats.iter_mut().any(|seat| {
            seat.user.expire(now, habits, tally);
            seat.user.is_waiting()
        })
    }

    /// The run is over: every user finishes what is under way, and some then ask for their wallets.
    fn wind_up(&mut self) {
        for index in 0..self.scenario.sessions {
            let now = self.now();
            let user = &mut self.seats[index as usize].user;
            let action = user.on_winding_up(now, &self.scenario.habits, &mut self.tally);
            self.act(now, index, action);
            self.settle(now, index);
        }
    }

    /// Waits for what is still on its way out in simulated networks.
    fn let_cross(&mut self) {
        let until = self.now().plus(CLOSING);
        while self.sockets.next_at().is_some() && self.now() < until {
            let now = self.now();
            while self.sockets.cross(now).is_some() {}
            self.sockets.flush();
            std::thread::sleep(TICK.into());
        }
    }

    /// Counts what is still open, and closes every connection, so that the gateway need not wait for timeouts.
    fn end(&mut self, watch: &mut Watch<'_>) {
        for seat in &mut self.seats {
            seat.user.finish(&mut self.tally);
        }
        self.tally.packages.add(&self.fetchers.end());
        self.tally.find_opened_twice();
        let began = self.now();
        for index in 0..self.seats.len() {
            let now = self.now();
            if let Some(mut connection) = self.seats[index].connection.take() {
                connection.close(now, Code::Done.number().into(), &mut |_| {});
                self.sockets.take_from(index as u32, &mut connection, now);
            }
            if index % CLOSES_AT_ONCE == CLOSES_AT_ONCE - 1 {
                self.sockets.flush();
                self.sockets.wait(Micros::from_ms(1));
            }
        }
        self.sockets.flush();
        self.let_cross();
        self.tally.networks.add_datagrams(self.sockets.network_counts());
        watch.observe(self, Stage::Closing, self.now().since(began));
    }
}

/// Calls the observer a few times a second.
struct Watch<'a> {
    observe: &'a mut dyn FnMut(&Snapshot<'_>),
    observed_at: Micros,
    clock: StepClock,
}

impl Watch<'_> {
    fn look(&mut self, driver: &Driver, stage: Stage, began: Micros, now: Micros) {
        if stage == Stage::Shaking {
            self.clock.look(&driver.schedule, now);
        }
        if now.since(self.observed_at) >= OBSERVE {
            self.observed_at = now;
            self.observe(driver, stage, now.since(began));
        }
    }

    fn observe(&mut self, driver: &Driver, stage: Stage, since: Micros) {
        (self.observe)(&Snapshot {
            stage,
            stage_s: since.as_seconds(),
            online: driver.online,
            now: driver.now(),
            step: driver.schedule.span(driver.now()),
            tally: &driver.tally,
        });
    }
}
