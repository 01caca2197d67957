//! The end of a turn for each session that something happened to: its events are handled, its packets go into the
//! outgoing batch, what it tells the endpoint is passed on, its timer is armed.

use super::dispatch::handle_event;
use super::io::Io;
use super::session_id::SessionId;
use super::{Shard, TICK};
use crate::app::Gateway;
use crate::handlers::mind_block;
use quinn_proto::{EndpointEvent, Event};
use std::time::Duration;

/// How long before its deadline a timer may fire in vain. Within it the session is likely still in the caches; by the time
/// of a probe it would be fetched from memory only to be found well.
const EARLY_MAX: Duration = Duration::from_millis(200);

/// How long a closed session repeats to who missed it why it was closed. RFC 9000, section 10.2, asks for three probe
/// timeouts, with our patience some three seconds, and lets an endpoint end earlier that answers what comes later with
/// stateless resets, as ours do. Memory is why: who opens and closes connections by the hundred is given six kilobytes for
/// each of this time.
pub(super) const CLOSING: Duration = Duration::from_secs(1);

impl<I: Io> Shard<I> {
    /// Brings every session that something happened to up to date: its events, its packets, its timer.
    pub(super) fn settle(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            self.settle_one(index);
        }
        self.unasked.clear();
        // Nothing above touches a session, so the list that grew meanwhile is this one.
        self.dirty = dirty;
    }

    fn settle_one(&mut self, index: usize) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        session.is_dirty = false;
        if let Some(user) = session.user
            && let Some(front) = self.fronts.get_mut(index)
            && self
                .app
                .limits
                .packets
                .is_over_trickle(&self.app.limits.present, &front.limits)
        {
            let Gateway {
                conditions,
                blocklist,
                limits,
                ..
            } = &self.app;
            let who = (user, session.behaviour.device());
            mind_block(conditions, blocklist, limits, who, &mut front.limits);
        }
        while let Some(event) = session.connection.poll() {
            if matches!(event, Event::Connected | Event::ConnectionLost { .. }) && session.is_handshaking {
                session.is_handshaking = false;
                self.handshaking -= 1;
                let early = self.early.take(index);
                if matches!(event, Event::Connected) {
                    // What they bring is polled next.
                    early
                        .into_iter()
                        .for_each(|packet| session.connection.handle_event(packet));
                }
            }
            if let Some(front) = self.fronts.get_mut(index) {
                handle_event(session, &mut front.limits, index, &mut self.app, event);
            }
        }
        let id = SessionId {
            index: index as u32,
            serial: session.serial,
        };
        let (link, now) = (&mut self.app.ledger.link, self.app.conditions.now);
        let user = session.user;
        self.app
            .reports
            .tell(link, &mut session.behaviour, user, id, now.elapsed_ns);
        session.expect_acks(now.instant);
        self.transmit(index);
        if self.pass_endpoint_events(index) {
            self.transmit(index);
        }
        if let Some(front) = self.fronts.get_mut(index) {
            front.note_leaf();
        }
        self.begin_closing(index);
        self.arm(index);
    }

    /// Notes that a connection was closed, by either side, and the packet that says so is out.
    fn begin_closing(&mut self, index: usize) {
        if let Some(session) = self.sessions.get_mut(index)
            && session.connection.is_closed()
            && !session.is_closing
        {
            session.is_closing = true;
            self.early.take(index);
            session.due = self.app.conditions.now.instant + CLOSING;
            self.app.leave(index);
        }
    }

    /// Puts the packets that a session has to send into the outgoing batch.
    fn transmit(&mut self, index: usize) {
        loop {
            self.make_room();
            let Some(session) = self.sessions.get_mut(index) else {
                return;
            };
            let now = self.app.conditions.now.instant;
            let Some(transmit) = session.connection.poll_transmit(now, 1, self.outgoing.buffer()) else {
                return;
            };
            if transmit.destination != session.connection.remote_address()
                && !self.unasked.may_answer(index, transmit.destination)
            {
                self.app.counters.packets_withheld.inc();
                continue;
            }
            self.outgoing.push(&transmit);
        }
    }

    /// Passes events between a connection and the endpoint. Says whether the connection got any; removes it when it
    /// is drained.
    fn pass_endpoint_events(&mut self, index: usize) -> bool {
        let mut got_any = false;
        while let Some(session) = self.sessions.get_mut(index) {
            let Some(event) = session.connection.poll_endpoint_events() else {
                break;
            };
            let is_drained = event.is_drained();
            let place = session.place;
            let answer = self
                .app
                .growth
                .of_tables(|| self.parts.endpoints.handle_event(place, event));
            if let Some(event) = answer {
                session.connection.handle_event(event);
                got_any = true;
            }
            if is_drained {
                self.remove(index);
            }
        }
        got_any
    }

    /// Forgets a closed session before its connection would have it. What still comes for it is answered by a stateless
    /// reset.
    pub(super) fn forget(&mut self, index: usize) {
        if let Some(session) = self.sessions.get_mut(index) {
            let place = session.place;
            self.parts.endpoints.handle_event(place, EndpointEvent::drained());
            self.remove(index);
        }
    }

    /// Removes a session that its endpoint knows no more.
    fn remove(&mut self, index: usize) {
        let Some(mut session) = self.sessions.remove(index) else {
            return;
        };
        self.wheel.disarm(index);
        if session.is_handshaking {
            self.handshaking -= 1;
            self.early.take(index);
        }
        let (link, user) = (&mut self.app.ledger.link, session.user);
        let now_ns = self.app.conditions.now.elapsed_ns;
        self.app.reports.tell_end(link, &mut session.behaviour, user, now_ns);
        if !session.is_closing {
            self.app.leave(index);
        }
        self.fronts.remove(index);
        self.app.forget_term(index);
        self.app.counters.connections_closed.inc();
    }

    /// Arms the session's timer, unless it is armed for a time that is a little earlier: then it is looked at again when
    /// that fires. So a deadline that moves back a little with each packet costs nothing.
    pub(super) fn arm(&mut self, index: usize) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let Some(deadline) = session.deadline() else {
            return;
        };
        if session.is_quiet(self.app.conditions.now.instant, deadline) {
            self.sessions.may_sleep(index);
        }
        let tick = self.tick_of(deadline);
        let early_max = (EARLY_MAX.as_nanos() / TICK.as_nanos()) as u64;
        let may_stay = |armed: u64| (armed..=armed + early_max).contains(&tick);
        if !self.wheel.armed(index).is_some_and(may_stay) {
            self.wheel.arm(index, tick);
        }
    }
}
