//! What waits for a user when they say Hello: the gateway asks the ledger for them, at most once in ten seconds for each
//! session. What is asked for sooner is put off, not lost: a notice that was missed meanwhile is told then.

use super::serving::Serving;
use super::session_id::SessionId;
use super::sessions::Sessions;
use super::spent::{BETWEEN_OFFERS_NS, Offers, Spent};
use crate::in_flight::ReturnAddress;
use quinn_proto::{Dir, Side, StreamId};
use shake_proto::handoff::record::What;
use shake_rules::UserId;
use shake_rules::throttle::Service;
use std::collections::VecDeque;

/// The most that a turn asks: a cue makes everybody say Hello, and ten seconds later all of it would come at once.
const ASKS_PER_TURN: usize = 64;

/// Questions that are put off, at the most: as many as a shard has sessions at its largest. Sessions that have gone count until
/// theirs is due, and while the agent is away. Of eight mebibytes.
const PUT_OFF_MAX: usize = 524_288;

/// One question that was put off.
pub struct Question {
    session: SessionId,
    /// When it is due, in nanoseconds since the shard began.
    due_ns: u64,
}

/// The questions that were put off. A session has one at the most.
pub type PutOff = VecDeque<Question>;

impl Serving {
    /// A Hello wants to hear what waits for its user: asks the ledger now, or later. It comes as notices.
    pub(super) fn offers(&mut self, user: UserId, spent: &mut Spent, session: SessionId) {
        match spent.wants_offers(self.now.elapsed_ns) {
            Offers::Ask if self.ledger.can_ask(&self.now) => self.ask_offers(user, session),
            // It may be asked again in ten seconds.
            Offers::Ask | Offers::PutOff if self.put_off.len() >= PUT_OFF_MAX => spent.asks_offers(self.now.elapsed_ns),
            Offers::Ask | Offers::PutOff => {
                spent.put_off_offers();
                self.put_off.push_back(Question {
                    session,
                    due_ns: self.now.elapsed_ns + BETWEEN_OFFERS_NS,
                });
            }
            Offers::IsPutOff => {}
        }
    }

    fn ask_offers(&mut self, user: UserId, session: SessionId) {
        let to = ReturnAddress {
            session,
            // Nobody is answered on it.
            stream: StreamId::new(Side::Client, Dir::Bi, 0),
        };
        if !self.rules().is_off(Service::Offers) {
            // Nothing hangs on it, so busy is no matter.
            let _ = self.ask(user, What::Offers, to);
        }
    }

    /// Asks what was put off until now, for those who are still here. To be called once a turn.
    pub(super) fn ask_put_off(&mut self, sessions: &mut Sessions) {
        for _ in 0..ASKS_PER_TURN {
            let now_ns = self.now.elapsed_ns;
            let is_due = self.put_off.front().is_some_and(|question| question.due_ns <= now_ns);
            if !is_due || !self.ledger.can_ask(&self.now) {
                return;
            }
            let Some(Question { session: id, .. }) = self.put_off.pop_front() else {
                return;
            };
            let session = sessions.get_mut(id.index as usize);
            let Some(session) = session.filter(|session| session.serial == id.serial) else {
                continue;
            };
            session.spent.asks_offers(self.now.elapsed_ns);
            let (Some(user), device) = (session.user, session.behaviour.device()) else {
                continue;
            };
            if session.takes_notices && self.blocked_ms(user, device).is_none() {
                self.ask_offers(user, id);
            }
        }
    }
}
