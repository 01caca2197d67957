//! A shard: one thread that serves its own set of sessions, from socket to reply. One turn takes what has arrived,
//! works, and sends, in batches. Nothing here waits for another thread, and nothing here knows what is served: that is the
//! [`App`]'s.

use crate::app::{App, Control};
use crate::batch::BATCH;
use crate::broadcast::Broadcasts;
use crate::cid::ENDPOINTS;
use crate::counters::Counters;
use crate::endpoints::{Endpoints, Identity};
use crate::io::{Io, Now};
use crate::memory::huge_pages::Prefaulter;
use crate::receive::Receiver;
use crate::resets::Resets;
use crate::state::{AllSessions, State, TICK};
use crate::streams::StreamRules;
use crate::{broadcast, drive, timers};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest sleep while a broadcast is under way.
const PACED_SLEEP_MAX: Duration = Duration::from_millis(2);
/// How long a stopping shard waits for what its application is busy with.
const DRAIN_BUSY: Duration = Duration::from_secs(3);
/// How long a stopping shard keeps answering after it closed its connections, for those who missed it.
const DRAIN_LINGER: Duration = Duration::from_millis(200);

/// What a shard is made of; made before the thread starts.
pub struct Parts<I> {
    /// Its machine.
    pub io: I,
    /// Its endpoints, made for this shard.
    pub endpoints: Endpoints,
    /// The identity that the endpoints were made for.
    pub identity: Identity,
    /// What streams may carry.
    pub rules: StreamRules,
    /// Where to ask for room before sessions need it.
    pub prefaulter: Prefaulter,
    /// How many sessions the application lets in. With many, those that are idle are packed.
    pub sessions_max: usize,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Set by whoever wants it to end.
    pub stop: Arc<AtomicBool>,
}

/// One thread's sessions, and what serves them.
pub struct Shard<A: App, I> {
    app: A,
    io: I,
    state: State<A::Session, A::Hot>,
    receiver: Receiver,
    broadcasts: Broadcasts<A::Broadcast>,
    /// Used again from turn to turn.
    fired: Vec<usize>,
    stop: Arc<AtomicBool>,
}

impl<A: App, I: Io> Shard<A, I> {
    /// Makes the shard, which began then.
    pub fn new(parts: Parts<I>, began: Instant, app: A) -> Self {
        let Parts {
            io,
            endpoints,
            identity,
            rules,
            prefaulter,
            sessions_max,
            counters,
            stop,
        } = parts;
        let now = Now::read(&io, began);
        Self {
            app,
            io,
            state: State::new(endpoints, rules, &prefaulter, sessions_max, counters, now, began),
            receiver: Receiver::new(Resets::new(identity.reset_keys.clone()), identity.rng(ENDPOINTS)),
            broadcasts: Broadcasts::default(),
            fired: Vec::new(),
            stop,
        }
    }

    /// Serves until told to stop; then lets the application finish, closes every connection, and returns.
    pub fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.wait();
            self.turn();
        }
        self.receiver.is_stopping = true;
        let deadline = self.io.instant() + DRAIN_BUSY;
        while self.app.is_busy() && self.io.instant() < deadline {
            self.wait();
            self.turn();
        }
        self.close_all();
        let deadline = self.io.instant() + DRAIN_LINGER;
        while self.io.instant() < deadline {
            self.wait();
            self.turn();
        }
    }

    fn close_all(&mut self) {
        let Self { app, io, state, .. } = self;
        state.now = Now::read(io, state.began);
        let farewell = app.farewell();
        let all = state.table.indices();
        for some in all.chunks(BATCH) {
            for &index in some {
                state.close(index, farewell);
            }
            drive::drive(state, app, io);
            state.table.pack_idle(state.now.instant);
        }
        state.flush(io);
    }

    /// Waits for a packet, the doorbell, or a timer, and reads what has come. A turn that has nothing left to do begins no
    /// earlier than its pacing says.
    fn wait(&mut self) {
        let Self {
            app,
            io,
            state,
            receiver,
            ..
        } = self;
        let has_work = !state.dirty.is_empty() || receiver.has_work();
        let held_back = receiver.pacing.next_turn(state.now.instant);
        let rest = held_back.saturating_duration_since(io.instant());
        let may_rest = !has_work && !rest.is_zero();
        if may_rest {
            io.sleep(rest);
        }
        receiver.arrivals.held_back(may_rest.then_some(held_back));
        // With many phones something has come meanwhile, and nobody need be asked to wake this thread.
        if receiver.read(state, io) > 0 || has_work || app.has_work() {
            return;
        }
        if let Some(bell) = app.doorbell() {
            bell.arm();
        }
        if !app.has_work() {
            let timeout = time_to_next_timer(state, io.instant()).min(if self.broadcasts.is_under_way() {
                PACED_SLEEP_MAX
            } else {
                app.sleep_max()
            });
            io.wait(timeout, app.doorbell().map(|bell| bell.fd()));
        }
        if let Some(bell) = app.doorbell() {
            bell.disarm();
        }
        receiver.read(state, io);
    }

    /// One turn: what was read is handled, and all that follows from it.
    fn turn(&mut self) {
        let Self {
            app,
            io,
            state,
            receiver,
            broadcasts,
            fired,
            ..
        } = self;
        let last = state.now.instant;
        state.now = Now::read(io, state.began);
        let since_last = state.now.instant.saturating_duration_since(last);
        receiver.pacing.begin_turn(since_last);
        let mut control = Control::new();
        app.begin_turn(&state.now, &mut control);
        if let Some(server) = control.server {
            state.endpoints.serve_by(&server);
        }
        if let Some(is_such) = control.is_cancelled {
            broadcasts.cancel_if(is_such);
        }
        if let Some((what, pace)) = control.broadcast {
            broadcasts.begin(what, state.table.capacity(), state.now.elapsed_ns, pace);
        }
        broadcast::go_on(state, app, broadcasts);
        receiver.arrivals.begin_turn(app.served());
        receiver.receive(state, app, io);
        app.poll(&mut AllSessions(state));
        timers::fire(state, app, fired);
        drive::drive(state, app, io);
        state.flush(io);
        state.table.pack_idle(state.now.instant);
        let turn = receiver
            .arrivals
            .end_turn(&state.counters, &state.now, app.served(), io);
        app.end_turn(&turn, &mut AllSessions(state));
        count(state, io);
    }
}

fn count<S, H>(state: &State<S, H>, io: &mut impl Io) {
    let counters = &state.counters;
    counters.sessions.set(state.table.len() as u64);
    counters.sessions_asleep.set(state.table.packed() as u64);
    counters.handshakes_now.set(state.handshaking as u64);
    let drops = io.drops();
    counters.packets_overflowed.set(drops.overflowed);
    counters.packets_filtered.set(drops.filtered);
    counters.growth_ns_max.raise(state.stalls.longest().as_nanos() as u64);
}

fn time_to_next_timer<S, H>(state: &State<S, H>, now: Instant) -> Duration {
    let tick = state.tick() + state.wheel.ticks_to_next();
    until_tick(tick, now - state.began)
}

/// How long it is until a tick, so long after the shard began. The ticks of a day are 43 million: a number of 32 bits is
/// over after 99 days.
fn until_tick(tick: u64, elapsed: Duration) -> Duration {
    Duration::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64)).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_sleeps_until_the_next_tick_for_years() {
        const DAY: Duration = Duration::from_secs(86_400);
        for days in [0, 1, 99, 100, 199, 365, 3_650] {
            let elapsed = DAY * days + TICK / 2;
            let tick = (elapsed.as_nanos() / TICK.as_nanos()) as u64;
            assert_eq!(until_tick(tick + 3, elapsed), TICK * 5 / 2, "day {days}");
            assert_eq!(until_tick(tick, elapsed), Duration::ZERO, "day {days}");
        }
    }
}
