//! Sessions that must go: whose turn came in a round, whose seat a newer session of the same user has, and who makes room.

use super::Shard;
use super::io::Io;
use crate::app::Gateway;
use crate::counters::Ended;
use shake_proto::code::Code;

impl<I: Io> Shard<I> {
    /// Goes on with the round, and closes whose seats were taken meanwhile.
    pub(super) fn go_round(&mut self) {
        let Gateway {
            conditions,
            terms,
            rounds,
            ..
        } = &mut self.app;
        for index in rounds.due(terms.capacity(), conditions.now.elapsed_ns) {
            if let Some(why) = self.must_go(index) {
                self.end(index, why);
            }
        }
        let mut taken = std::mem::take(&mut self.taken);
        self.app.shared.presence.take_taken(self.app.shard, &mut taken);
        for seat in taken.drain(..) {
            let index = seat.session as usize;
            if self.app.terms.of(index, seat.serial).is_some() {
                self.end(index, Ended::Displaced);
            }
        }
        self.taken = taken;
    }

    fn must_go(&self, index: usize) -> Option<Ended> {
        let (user, seat) = self.app.terms.seat(index)?;
        let term = self.app.terms.get(index)?;
        let Gateway { conditions, rounds, .. } = &self.app;
        let (unix, now_ns) = (conditions.unix, conditions.now.elapsed_ns);
        let why = rounds.ended(term, &conditions.secrets.tokens, unix, now_ns);
        // Who has just won opens the packet first; the next round comes soon enough.
        let has_won = || {
            self.fronts
                .get(index)
                .is_some_and(|front| front.limits.has_won(&self.app.limits.present))
        };
        match why {
            Some(_) if has_won() => None,
            Some(why) => Some(why),
            None => (!self.app.shared.presence.sits(user, seat)).then_some(Ended::Displaced),
        }
    }

    /// Closes a session, saying why. False when it was closed already.
    pub(super) fn end(&mut self, index: usize, why: Ended) -> bool {
        let now = self.app.conditions.now.instant;
        let Some(session) = self
            .sessions
            .get_mut(index)
            .filter(|session| !session.connection.is_closed())
        else {
            return false;
        };
        let code = match why {
            Ended::TokenOver | Ended::KeyRetired => Code::TokenExpired,
            Ended::Displaced | Ended::Blocked => Code::TooMany,
            Ended::Nameless => Code::HelloTimeout,
        };
        session.close(now, code);
        self.app.counters.ended(why).inc();
        self.touch(index);
        true
    }
}
