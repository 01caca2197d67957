//! What waits for a user when they say Hello: the gateway asks the ledger for them, at most once in ten seconds for each
//! session. What is asked for sooner is put off, not lost: a notice that was missed meanwhile is told then.

use super::serving::{Asker, Serving};
use super::sessions::Sessions;
use super::spent::BETWEEN_OFFERS_NS;
use shake_proto::handoff::record::What;
use shake_rules::UserId;
use shake_rules::throttle::Service;
use std::collections::VecDeque;

/// The most that a turn asks: a cue makes everybody say Hello, and ten seconds later all of it would come at once.
const ASKS_PER_TURN: usize = 64;

/// Who asks, and when, in nanoseconds since the shard began. A session stands in it once at the most.
pub type PutOff = VecDeque<(Asker, u64)>;

impl Serving {
    /// Asks the ledger what waits for a user. It comes as notices; nothing hangs on it, so busy is no matter.
    pub(super) fn ask_offers(&mut self, user: UserId, asker: Asker) {
        if !self.rules().is_off(Service::Offers) {
            let _ = self.ask(user, What::Offers, asker);
        }
    }

    /// Does so later.
    pub(super) fn put_off_offers(&mut self, asker: Asker) {
        self.put_off.push_back((asker, self.now.elapsed_ns + BETWEEN_OFFERS_NS));
    }

    /// Asks what was put off until now, for those who are still here. To be called once a turn.
    pub(super) fn ask_put_off(&mut self, sessions: &mut Sessions) {
        for _ in 0..ASKS_PER_TURN {
            let Some(&(asker, due_ns)) = self.put_off.front() else {
                return;
            };
            if due_ns > self.now.elapsed_ns {
                return;
            }
            self.put_off.pop_front();
            let session = sessions.get_mut(asker.session);
            let Some(session) = session.filter(|session| session.serial == asker.serial) else {
                continue;
            };
            session.spent.asks_offers(self.now.elapsed_ns);
            let (Some(user), device) = (session.user, session.behaviour.device()) else {
                continue;
            };
            if session.takes_notices && self.blocked_ms(user, device).is_none() {
                self.ask_offers(user, asker);
            }
        }
    }
}
