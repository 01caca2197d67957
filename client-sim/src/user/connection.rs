//! The session of a user: Hello, its answer, the end of a connection and the next one, and what the gateway says unasked.

use super::errand::Errand;
use super::{Action, CAPABLE_OF_NOTICES, ConnectNext, Habits, RequestFailure, User};
use crate::schedule::Micros;
use crate::tally::Tally;
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::cookie::COOKIE_BYTES_MAX;

/// How a connection ends whose place a newer session of the same user took. An app leaves it at that until its user acts; or
/// two phones of one user would take each other's place for ever.
const DISPLACED: &str = "closed_too_many";
/// How a connection ends whose gateway was silent for too long.
const SILENT: &str = "silent";
/// From one look to the next whether a phone that was told to go is done with what it has here.
const LEAVE_LOOK: Micros = Micros::from_ms(100);

impl User {
    /// The Hello for a new connection.
    #[must_use]
    pub fn hello(&self, token: Bytes) -> v1::Hello {
        v1::Hello {
            token,
            cookie: self.cookie.clone(),
            resource_version: self.resource_version,
            capabilities: CAPABLE_OF_NOTICES,
            // One phone each; spread like the random numbers that real ones are (Fibonacci hashing).
            device: self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// A connection could not be made.
    pub fn on_connect_failed(&mut self, now: Micros, reason: &str, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        *tally.sessions.connect_failures.entry(reason.to_owned()).or_default() += 1;
        tally.networks.count(self.network(habits), |counts| {
            *counts.connect_failures.entry(reason.to_owned()).or_default() += 1;
        });
        self.try_again(now, habits, tally)
    }

    /// The Hello was answered, or not. Gives what the user does because of it.
    ///
    /// # Errors
    /// What to do instead of shaking; the engine closes the connection.
    pub fn on_hello(
        &mut self,
        now: Micros,
        answer: Result<v1::Reply, RequestFailure>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Result<Vec<Action>, ConnectNext> {
        let failure = match answer.map(|reply| reply.kind) {
            Ok(Some(v1::reply::Kind::Hello(reply))) if reply.cookie.len() <= COOKIE_BYTES_MAX => {
                return Ok(self.welcome(now, reply, habits, tally));
            }
            Ok(_) => RequestFailure::Malformed(Code::Unknown),
            Err(failure) => failure,
        };
        if matches!(failure, RequestFailure::Malformed(_)) {
            tally.violations.malformed_replies += 1;
        }
        *tally.sessions.hello_failures.entry(failure.name()).or_default() += 1;
        tally.networks.count(self.network(habits), |counts| {
            *counts.hello_failures.entry(failure.name()).or_default() += 1;
        });
        if failure.is_final() {
            tally.sessions.failed += 1;
            return Err(ConnectNext::GiveUp);
        }
        Err(self.try_elsewhere(now, habits, tally))
    }

    fn welcome(&mut self, now: Micros, reply: v1::HelloReply, habits: &Habits, tally: &mut Tally) -> Vec<Action> {
        self.online = true;
        self.failed_tries = 0;
        self.unheard = 0;
        self.reconnect_at = None;
        if std::mem::replace(&mut self.greeted, true) {
            tally.sessions.reconnected += 1;
        } else {
            tally.sessions.connected += 1;
        }
        self.learn(now, reply, habits, tally)
    }

    /// The connection ended after its Hello. Shakes under way are lost; errands go on over the next connection, if there is one.
    pub fn on_connection_lost(&mut self, now: Micros, reason: &str, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        self.online = false;
        let reason = if std::mem::take(&mut self.forsakes) {
            SILENT
        } else {
            reason
        };
        tally.sessions.lost += 1;
        tally.networks.count(self.network(habits), |counts| counts.lost += 1);
        tally.error(&format!("connection_{reason}"), "");
        self.give_up_shakes(tally);
        let told = self.reconnect_at.take();
        if reason == DISPLACED {
            tally.sessions.failed += 1;
            return ConnectNext::GiveUp;
        }
        match told {
            Some(at) => ConnectNext::At(at.max(now)),
            None => self.try_elsewhere(now, habits, tally),
        }
    }

    /// The same at another gateway, if there is one: this one may be gone.
    fn try_elsewhere(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        match self.try_again(now, habits, tally) {
            ConnectNext::At(at) if habits.silences_max > 0 => ConnectNext::Elsewhere(at),
            next => next,
        }
    }

    fn try_again(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> ConnectNext {
        self.failed_tries += 1;
        if self.failed_tries >= self.manners.tries_max(habits.connect_tries_max) {
            tally.sessions.failed += 1;
            return ConnectNext::GiveUp;
        }
        let wait = self
            .manners
            .wait_after(self.failed_tries, &habits.backoff, &mut self.jitter);
        ConnectNext::At(now.plus(wait))
    }

    /// The gateway said something unasked. Gives what the user does because of it.
    pub fn on_notice(
        &mut self,
        now: Micros,
        notice: &v1::Notice,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        self.unheard = 0;
        match &notice.kind {
            Some(v1::notice::Kind::GoAway(go_away)) => {
                tally.sessions.told_to_go_away += 1;
                self.on_go_away(now, go_away)
            }
            Some(v1::notice::Kind::PacketOffered(offer)) => self.on_offer(now, offer, habits, tally),
            Some(v1::notice::Kind::PhaseChanged(changed)) => self.on_phase_changed(now, changed, habits, tally),
            None => None,
        }
    }

    /// The time to leave has come. Gives when to look again, if something of money is under way: what was won here is
    /// opened here, for another gateway's ledger does not know it. The gateway closes the connection if it takes too long.
    /// Who leaves a gateway that is silent waits for nothing: what is under way goes on at another.
    #[must_use]
    pub fn leaves_later(&self, now: Micros) -> Option<Micros> {
        let is_busy = !self.forsakes && self.errands.iter().any(Errand::moves_money);
        is_busy.then(|| now.plus(LEAVE_LOOK))
    }

    /// Leaves a gateway that has been silent for too long, when there is another. Tickets, cookie and codes are kept.
    pub(super) fn forsake(&mut self, now: Micros, habits: &Habits) -> Option<Action> {
        let is_too_long = habits.silences_max > 0 && u32::from(self.unheard) >= habits.silences_max;
        if !is_too_long || !self.online || self.reconnect_at.is_some() {
            return None;
        }
        self.forsakes = true;
        let wait = self.manners.wait_to_move(&habits.silence, &mut self.jitter);
        self.reconnect_at = Some(now.plus(wait));
        Some(Action::Leave { at: now, to: None })
    }

    /// Leaves at a moment of the told window, once, however often it is told; for one of the alternatives when there
    /// are any, each with the same chance.
    fn on_go_away(&mut self, now: Micros, go_away: &v1::GoAway) -> Option<Action> {
        if self.reconnect_at.is_some() {
            return None;
        }
        let wait = self
            .manners
            .wait_to_reconnect(go_away.reconnect_after_ms, &mut self.jitter);
        let at = now.plus(wait);
        self.reconnect_at = Some(at);
        let last = go_away.alternatives.len().checked_sub(1);
        let to = last.map(|last| {
            let drawn = self.jitter.between(0, last as u64) as usize;
            go_away.alternatives[drawn].clone()
        });
        Some(Action::Leave { at, to })
    }
}
