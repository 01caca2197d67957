//! What the ledger must answer: how a request is kept out, handed over, and answered.

use super::serving::{Answer, Serving};
use super::spent::Spent;
use crate::counters::Busy;
use crate::in_flight::ReturnAddress;
use crate::limits::{Limits, UserLimits, retry_ms};
use shake_proto::handoff::record::{Notice, What};
use shake_proto::reply::Reason;
use shake_proto::request::Request;
use shake_proto::request_kind::{LedgerAnswer, RequestKind};
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::UserId;

/// What to do for a session, outside of its own events.
pub enum Delivery {
    /// The answer to a request.
    Reply(ReturnAddress, Kind),
    /// A notice for a user who is here, by the session's index.
    Notice(usize, v1::notice::Kind),
}

impl Serving {
    /// The busy answer to a request that the grade or the user's limit keeps from the ledger; `None` for one that may go on.
    pub(super) fn kept_out(&mut self, request: &Request, limits: &UserLimits, spent: &mut Spent) -> Option<Answer> {
        let kind = request.kind();
        if !kind.is_of_ledger() {
            return None;
        }
        let Limits { requests, present, .. } = &mut self.limits;
        let rules = self.live.throttle.at(present.grade());
        let why = requests.request(present, limits, &mut spent.asks, kind, rules).err()?;
        self.counters.ask(kind).inc();
        self.counters.busy(why).inc();
        let retry_after_ms = retry_ms(rules, &mut self.rng);
        Some(busy(kind, retry_after_ms, false))
    }

    /// Hands a request to the agent; says busy at once when it cannot be.
    pub(super) fn ask(&mut self, user: UserId, what: What, to: ReturnAddress) -> Answer {
        let kind = what.kind();
        self.counters.ask(kind).inc();
        match self.ledger.ask(&self.now, self.unix, user, what, to) {
            Ok(()) => Answer::Pending,
            Err(why) => self.busy(kind, why),
        }
    }

    /// Says busy to what cannot be checked before the agent has said which ledger this is.
    pub(super) fn ledger_unknown(&self, kind: RequestKind) -> Answer {
        self.counters.ask(kind).inc();
        self.busy(kind, Busy::LedgerUnknown)
    }

    fn busy(&self, kind: RequestKind, why: Busy) -> Answer {
        self.counters.busy(why).inc();
        busy(kind, self.shared.claims.busy_retry_ms, false)
    }

    /// Refuses for good what need not be asked.
    pub(super) fn refused(&self, kind: RequestKind, reason: Reason) -> Answer {
        self.counters.ask(kind).inc();
        self.counters.refused(reason).inc();
        Answer::Now(
            kind.refused(reason)
                .expect("only what the ledger may refuse is refused here"),
        )
    }

    /// Takes what the agent sent, and gives up on requests that waited too long.
    pub fn take_deliveries(&mut self, into: &mut Vec<Delivery>) {
        let mut replies = std::mem::take(&mut self.replies);
        self.ledger.link.replies(&mut replies);
        for reply in replies.drain(..) {
            let Some(waiting) = self.ledger.take_waiting(&reply) else {
                self.counters.replies_late.inc();
                continue;
            };
            match reply.kind {
                Some(kind) if RequestKind::of_reply(&kind) == waiting.kind => {
                    self.count(&kind);
                    into.push(Delivery::Reply(waiting.to, kind));
                }
                None if waiting.kind == RequestKind::Offers => {}
                // The other process's bytes are input: an answer of another kind is no answer.
                _ => self.counters.ring_errors.inc(),
            }
        }
        self.replies = replies;
        while let Some(waiting) = self.ledger.take_overdue(&self.now) {
            if let Answer::Now(reply) = self.busy(waiting.kind, Busy::Timeout) {
                into.push(Delivery::Reply(waiting.to, reply));
            }
        }
        self.take_notices(into);
        self.counters.asks_under_way.set(self.ledger.in_flight() as u64);
    }

    /// Every shard gets every notice; those of users who are elsewhere are passed over.
    fn take_notices(&mut self, into: &mut Vec<Delivery>) {
        let mut notices: Vec<Notice> = std::mem::take(&mut self.notices);
        self.ledger.link.notices(&mut notices);
        for notice in notices.drain(..) {
            let Some(newest) = self.shared.presence.newest_in(self.shard, notice.user) else {
                continue;
            };
            let offered = v1::PacketOffered {
                code: notice.code,
                from_user_id: notice.from.map_or(0, |user| user.0),
            };
            let kind = v1::notice::Kind::PacketOffered(offered);
            into.push(Delivery::Notice(newest.session as usize, kind));
        }
        self.notices = notices;
    }

    /// Counts how a request ended that the agent answered.
    fn count(&self, kind: &Kind) {
        match LedgerAnswer::of(kind) {
            Some(LedgerAnswer::Answered { is_repeat: false }) => self.counters.answered.inc(),
            Some(LedgerAnswer::Answered { is_repeat: true }) => self.counters.repeated.inc(),
            Some(LedgerAnswer::Refused(reason)) => self.counters.refused(reason).inc(),
            Some(LedgerAnswer::Busy) => self.counters.busy(Busy::Agent).inc(),
            None => self.counters.ring_errors.inc(),
        }
    }
}

/// "Ask again", for the load or for the user being blocked; nothing where nobody waits for it.
pub(super) fn busy(kind: RequestKind, retry_after_ms: u32, blocked: bool) -> Answer {
    let reply = kind.busy(v1::Busy {
        retry_after_ms,
        blocked,
    });
    reply.map_or(Answer::Pending, Answer::Now)
}
