//! A shard: one thread that serves its own set of sessions, from socket to reply. One turn takes what has arrived,
//! works, and sends, in batches. Nothing here waits for another thread; the modules stand in the order in which a
//! packet meets them.
//!
//! Architecture invariant: a shard shares with others only [`Shared`](crate::state::Shared). It reads the clock once a turn.

mod batch;
pub mod io;
mod pacing;
mod wait;

pub mod socket;

mod backlog;
mod receive;

mod arrivals;
mod cid;
mod early;
mod endpoints;
mod front;
pub mod growth;
mod moves;
mod packed;
mod pages;
mod repeats;
mod resets;
mod room;
pub mod session;
pub mod session_id;
pub mod sessions;
pub mod spent;
pub mod terms;
mod unasked;
mod wheel;

mod dispatch;

pub mod rounds;

mod evict;
mod sweep;

mod settle;

pub use endpoints::{Endpoints, Identity};
pub use resets::ResetKeys;

use crate::app::{Delivery, Gateway};
use crate::config;
use crate::handlers::{ask_put_off, encode_notice, reply, send_gifts};
use crate::huge_pages::Ahead;
use crate::presence::SessionRef;
use arrivals::Arrivals;
use backlog::Backlog;
use batch::{BATCH, SendBatch};
use early::Early;
use front::Front;
use io::{Io, Now};
use pacing::TurnPacing;
use pages::Pages;
use quinn_proto::ConnectionEvent;
use receive::Found;
use repeats::Repeats;
use resets::Resets;
use room::Room;
use session::Session;
use sessions::Sessions;
use shake_proto::code::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use sweep::Sweeps;
use unasked::Unasked;
use wheel::Wheel;

/// Length of a timer tick. The timers that matter are acknowledgement delays (25 ms) and probe timeouts (from about a
/// second); firing one up to 2 ms late is harmless, and with many sessions each tick has one.
const TICK: Duration = Duration::from_millis(2);
/// So many places before its turn a session is fetched: long enough for the memory to answer, and so few that all of what
/// was fetched is still in the caches.
const AHEAD: usize = 8;
/// Batches handled in one turn, before timers and the agent's answers have theirs: about 10 ms of 100,000 packets/s.
const BATCHES_PER_TURN: usize = 32;
/// How long a stopping shard waits for requests that the agent has.
const DRAIN_ASKS: Duration = Duration::from_secs(3);
/// How long a stopping shard keeps answering after it closed its connections, for those who missed it.
const DRAIN_LINGER: Duration = Duration::from_millis(200);

/// What a shard is made of; made by `run`, before the thread starts.
pub struct Parts<I> {
    pub io: I,
    pub endpoints: Endpoints,
    pub reset_keys: ResetKeys,
    pub sessions: config::Sessions,
    /// Where to ask for room before sessions need it.
    pub ahead: Ahead,
    pub stop: Arc<AtomicBool>,
}

pub struct Shard<I> {
    parts: Parts<I>,
    sessions: Sessions,
    /// Of each session what is looked at first, by the same index.
    fronts: Pages<Front>,
    wheel: Wheel,
    app: Gateway,
    began: Instant,
    backlog: Backlog,
    pacing: TurnPacing,
    /// What a batch has for sessions.
    found: Vec<Found>,
    early: Early<ConnectionEvent>,
    repeats: Repeats,
    resets: Resets,
    unasked: Unasked,
    outgoing: SendBatch,
    /// Sessions that something happened to this turn.
    dirty: Vec<usize>,
    deliveries: Vec<Delivery>,
    fired: Vec<usize>,
    next_serial: u32,
    handshaking: usize,
    sweeps: Sweeps,
    room: Room,
    /// Seats of sessions that are to be closed.
    taken: Vec<SessionRef>,
    arrivals: Arrivals,
    is_stopping: bool,
}

impl<I: Io> Shard<I> {
    /// Makes the shard.
    pub fn new(parts: Parts<I>, began: Instant, app: Gateway) -> Self {
        Self {
            sessions: Sessions::new(&parts.ahead),
            fronts: Pages::new(parts.ahead.clone()),
            resets: Resets::new(parts.reset_keys.clone()),
            unasked: Unasked::default(),
            parts,
            wheel: Wheel::new(),
            app,
            began,
            backlog: Backlog::default(),
            pacing: TurnPacing::new(),
            found: Vec::with_capacity(BATCH),
            early: Early::default(),
            repeats: Repeats::new(),
            outgoing: SendBatch::new(),
            dirty: Vec::new(),
            deliveries: Vec::new(),
            fired: Vec::new(),
            next_serial: 0,
            handshaking: 0,
            sweeps: Sweeps::default(),
            room: Room::default(),
            taken: Vec::new(),
            arrivals: Arrivals::default(),
            is_stopping: false,
        }
    }

    /// Serves until told to stop; then lets claims finish, closes every connection, and returns.
    pub fn run(mut self) {
        while !self.parts.stop.load(Ordering::Relaxed) {
            self.turn();
        }
        self.is_stopping = true;
        let deadline = self.parts.io.instant() + DRAIN_ASKS;
        while self.app.ledger.in_flight() > 0 && self.parts.io.instant() < deadline {
            self.turn();
        }
        let now = self.parts.io.instant();
        let all: Vec<usize> = self.sessions.indices().collect();
        for some in all.chunks(BATCH) {
            for &index in some {
                if let Some(session) = self.sessions.get_mut(index) {
                    session.close(now, Code::GoingAway);
                    self.touch(index);
                }
            }
            self.settle();
            self.sessions.rest(now);
        }
        let deadline = now + DRAIN_LINGER;
        while self.parts.io.instant() < deadline {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.wait();
        let change = self.app.conditions.change;
        let now = Now::read(&self.parts.io, self.began);
        let last = self.app.conditions.now.instant;
        self.pacing.begin_turn(now.instant.saturating_duration_since(last));
        self.app.begin_turn(now);
        if change != self.app.conditions.change {
            self.parts
                .endpoints
                .serve_by(&self.app.conditions.secrets.servers.default);
        }
        // Before what arrives: who says Hello in this turn hears of the phase by the reply.
        self.sweep();
        self.go_round();
        self.arrivals.begin_turn(&self.app);
        self.receive();
        self.deliver();
        send_gifts(&mut self.app, &mut self.sessions);
        self.fire_timers();
        self.settle();
        self.flush();
        self.sessions.rest(self.app.conditions.now.instant);
        self.app.ledger.link.wake_agent();
        self.count();
    }

    /// The tick of this turn.
    fn tick(&self) -> u64 {
        self.app.conditions.now.elapsed_ns / TICK.as_nanos() as u64
    }

    /// The tick in which something is due that is due at this moment.
    fn tick_of(&self, deadline: Instant) -> u64 {
        let after = deadline.saturating_duration_since(self.began);
        after.as_nanos().div_ceil(TICK.as_nanos()) as u64
    }

    /// Passes on what the agent sent.
    fn deliver(&mut self) {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        self.app.take_deliveries(&mut deliveries);
        self.app.take_blocks();
        let Self {
            app, sessions, dirty, ..
        } = self;
        for delivery in deliveries.drain(..) {
            match delivery {
                Delivery::Reply(to, kind) => {
                    let index = to.session.index as usize;
                    let session = sessions.get_mut(index);
                    if let Some(session) = session.filter(|session| session.serial == to.session.serial) {
                        reply(app, session, to.stream, kind);
                        mark(session, index, dirty);
                    }
                }
                Delivery::Notice(index, notice) => {
                    if let Some(session) = sessions.get_mut(index) {
                        let counters = &app.counters;
                        let is_sent = session.notify(encode_notice(notice));
                        if is_sent {
                            counters.notices.inc()
                        } else {
                            counters.notices_missed.inc()
                        }
                        mark(session, index, dirty);
                    }
                }
            }
        }
        self.deliveries = deliveries;
    }

    fn fire_timers(&mut self) {
        let tick = self.tick();
        let now = self.app.conditions.now.instant;
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(tick, &mut fired);
        for at in 0..fired.len() {
            if let Some(&next) = fired.get(at + 2 * AHEAD) {
                self.sessions.prefetch_slot(next);
            }
            if let Some(&next) = fired.get(at + AHEAD)
                && self.sessions.sleeps_until(next).is_none_or(|deadline| deadline <= now)
            {
                self.fetch(next);
            }
            let index = fired[at];
            if let Some(deadline) = self.sessions.sleeps_until(index)
                && deadline > now
            {
                // It has moved since. Most have, and most sessions sleep meanwhile: nothing more is looked at.
                self.wheel.arm(index, self.tick_of(deadline));
                continue;
            }
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let is_due = session.connection.poll_timeout().is_some_and(|at| at <= now);
            if is_due {
                session.connection.handle_timeout(now);
            }
            let is_overdue = session.due().is_some_and(|at| at <= now);
            if is_overdue && session.is_closing {
                self.forget(index);
                continue;
            }
            if is_overdue && session.user.is_some() {
                // Under load there is no CPU time for it, and the answer would be late too.
                if session.is_to_ping(now) && self.app.is_calm() {
                    session.connection.ping();
                    self.app.counters.pings.inc();
                }
            } else if is_overdue && !session.connection.is_closed() {
                self.app.counters.stream_refused(Code::HelloTimeout).inc();
                session.close(now, Code::HelloTimeout);
            }
            if is_due || is_overdue {
                self.touch(index);
            } else {
                self.arm(index);
            }
        }
        fired.clear();
        self.fired = fired;
    }

    /// Asks the processor for a session that is about to be needed.
    fn fetch(&self, index: usize) {
        self.sessions.prefetch(index);
        self.wheel.prefetch_neighbours(index);
        if let Some(front) = self.fronts.get(index) {
            front.prefetch_outside();
        }
    }

    fn touch(&mut self, index: usize) {
        if let Some(session) = self.sessions.get_mut(index) {
            mark(session, index, &mut self.dirty);
        }
    }

    /// Makes sure that the outgoing batch takes one more packet.
    fn make_room(&mut self) {
        if self.outgoing.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.outgoing.len() > 0 {
            self.app.counters.packets_sent.add(self.outgoing.len() as u64);
            let unsent = self.parts.io.send(&mut self.outgoing);
            self.app.counters.packets_unsent.add(unsent as u64);
        }
    }

    /// Tells of the sessions whose misdeeds came too soon after the last to be told at once.
    fn tell_late(&mut self) {
        let now_ns = self.app.conditions.now.elapsed_ns;
        while let Some(id) = self.app.reports.take_late(now_ns) {
            let session = self.sessions.get_mut(id.index as usize);
            if let Some(session) = session.filter(|session| session.serial == id.serial) {
                let (link, user) = (&mut self.app.ledger.link, session.user);
                self.app
                    .reports
                    .tell_late(link, &mut session.behaviour, user, id, now_ns);
            }
        }
    }

    fn count(&mut self) {
        self.arrivals.end_turn(&mut self.app, &self.parts.io);
        self.tell_late();
        ask_put_off(&mut self.app, &mut self.sessions);
        let now_ns = self.app.conditions.now.elapsed_ns;
        self.app.reports.tell_of_strangers(&mut self.app.ledger.link, now_ns);
        self.app.counters.sessions.set(self.sessions.len() as u64);
        self.app.counters.sessions_asleep.set(self.sessions.asleep() as u64);
        self.app.counters.handshakes_now.set(self.handshaking as u64);
        let drops = self.parts.io.drops();
        self.app.counters.packets_overflowed.set(drops.overflowed);
        self.app.counters.packets_filtered.set(drops.filtered);
        let growth = self.app.growth.longest().as_nanos() as u64;
        self.app.counters.growth_ns_max.set(growth);
    }
}

fn mark(session: &mut Session, index: usize, dirty: &mut Vec<usize>) {
    if !session.is_dirty {
        session.is_dirty = true;
        dirty.push(index);
    }
}
