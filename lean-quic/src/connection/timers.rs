//! Idle timeout, loss detection, probes, keep-alive, and the end of a closed connection. One deadline for all of them.

use super::super::error::CloseReason;
use super::super::events::{Event, Sink};
use super::super::header::Level;
use super::super::received::NEVER;
use super::super::space::Content;
use super::{Connection, Phase};
use crate::Micros;

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called next; `None` once drained.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Micros> {
        match self.phase {
            Phase::Drained => None,
            Phase::Closing | Phase::Draining => {
                Some(self.closing.as_ref().map_or(Micros::ZERO, |closing| closing.until))
            }
            Phase::Handshaking | Phase::Open => {
                let (probe_at, _) = self.probe();
                let times = [
                    self.idle_at(),
                    self.keep_alive_at(),
                    self.loss_at(),
                    probe_at,
                    self.ack_at(),
                ];
                times.into_iter().min().filter(|at| *at != NEVER)
            }
        }
    }

    /// Does what is due. [`poll_transmit`](Self::poll_transmit) must follow.
    pub fn handle_timeout(&mut self, now: Micros, sink: Sink<'_>) {
        match self.phase {
            Phase::Drained => {}
            Phase::Closing | Phase::Draining => {
                if self.closing.as_ref().is_none_or(|closing| closing.until <= now) {
                    self.phase = Phase::Drained;
                    self.release();
                }
            }
            Phase::Handshaking | Phase::Open => self.work_timers(now, sink),
        }
    }

    fn work_timers(&mut self, now: Micros, sink: Sink<'_>) {
        if self.idle_at() <= now {
            self.phase = Phase::Drained;
            self.release();
            sink(Event::Closed(CloseReason::TimedOut)); // silently towards the server (RFC 9000, section 10.1)
            return;
        }
        if self.keep_alive_at() <= now {
            self.pending.ping = true;
        }
        if self.previous.as_ref().is_some_and(|previous| previous.until <= now) {
            self.previous = None;
        }
        if self.loss_at() <= now {
            for level in [Level::Initial, Level::Handshake, Level::Data] {
                self.detect_lost(now, level);
            }
            return;
        }
        let (probe_at, level) = self.probe();
        if probe_at <= now {
            self.on_probe(now, level);
        }
    }

    /// RFC 9000, section 10.1: at least three probe timeouts, so that a loss does not end the connection.
    fn idle_at(&self) -> Micros {
        if self.server.idle_timeout == Micros::ZERO {
            return NEVER;
        }
        let least = Micros(3 * self.recovery.probe_timeout(self.server.ack_delay_max).0);
        self.idle_from.plus(self.server.idle_timeout.max(least))
    }

    /// A PING when nothing else asks for an answer.
    fn keep_alive_at(&self) -> Micros {
        let is_wanted = self.is_open() && self.config.keep_alive != Micros::ZERO;
        if !is_wanted || self.pending.ping || self.space.probe_from().is_some() {
            return NEVER;
        }
        self.idle_from.plus(self.config.keep_alive)
    }

    fn loss_at(&self) -> Micros {
        let early = self.handshake.iter().flat_map(|handshake| handshake.spaces());
        early
            .map(|(_, space)| space.loss_at())
            .fold(self.space.loss_at(), Micros::min)
    }

    /// Only the last level's acknowledgements wait. They wait for keys, too.
    fn ack_at(&self) -> Micros {
        self.space.received.due()
    }

    /// When a probe is due, and at which level (RFC 9002, section 6.2).
    fn probe(&self) -> (Micros, Level) {
        if self.loss_at() != NEVER {
            return (NEVER, Level::Data); // the loss timer comes first (RFC 9002, section 6.2.1)
        }
        let timeout = self.recovery.backed_off_timeout(Micros::ZERO);
        let Some(handshake) = &self.handshake else {
            let timeout = self.recovery.backed_off_timeout(self.server.ack_delay_max);
            let at = self.space.probe_from().map_or(NEVER, |from| from.plus(timeout));
            return (at, Level::Data);
        };
        // Before the handshake is confirmed, 1-RTT packets start no timer (RFC 9002, section 6.2.1).
        let early = handshake
            .spaces()
            .filter_map(|(level, space)| Some((space.probe_from()?.plus(timeout), level)));
        early.min_by_key(|(at, _)| *at).unwrap_or_else(|| {
            // Nothing is under way, and the server may not send until it knows our address, so a probe unties it
            // (RFC 9002, section 6.2.2.1).
            let quiet = if handshake.is_acknowledged {
                NEVER
            } else {
                handshake.quiet_from.plus(timeout)
            };
            (quiet, handshake.probe_level())
        })
    }

    /// Sends again what is under way at the level; a PING when there is nothing (RFC 9002, section 6.2.4).
    fn on_probe(&mut self, now: Micros, level: Level) {
        self.recovery.on_probe();
        if let Some(handshake) = &mut self.handshake {
            handshake.quiet_from = now;
        }
        let Some(space) = self.space_mut(level) else {
            return;
        };
        space.wants_probe = true;
        let contents: Vec<Content> = space
            .in_flight()
            .iter()
            .flat_map(|sent| sent.contents.clone())
            .collect();
        contents.iter().for_each(|content| self.on_content_lost(level, content));
    }
}
