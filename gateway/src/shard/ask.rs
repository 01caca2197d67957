//! What the ledger must answer: the way of a request to the agent and of its answer back. The kinds of request
//! themselves (`claim`, `packet`) only decide whether to ask.

use super::serving::{Answer, Asker, Serving};
use super::spent::Spent;
use crate::counters::Busy;
use crate::limits::{Limits, UserLimits, retry_ms};
use shake_proto::handoff::record::{Ask, Notice, ReplyTo, What};
use shake_proto::reply::Reason;
use shake_proto::request::Request;
use shake_proto::request_kind::{LedgerAnswer, RequestKind};
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::UserId;
use std::time::Instant;

/// A request that the agent has.
pub struct UnderWay {
    asker: Asker,
    serial: u32,
    kind: RequestKind,
}

/// What to do for a session, outside of its own events.
pub enum Delivery {
    /// The answer to a request.
    Reply(Asker, Kind),
    /// A notice for a user who is here.
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

    /// Whether the agent is here and may be asked more.
    pub(super) fn can_ask(&self) -> bool {
        self.lane.agent_is_here(self.now.monotonic_ms()) && self.under_way.len() < self.shared.claims.under_way_max
    }

    /// Hands a request to the agent; says busy at once when it cannot be.
    pub(super) fn ask(&mut self, user: UserId, what: What, asker: Asker) -> Answer {
        let kind = what.kind();
        self.counters.ask(kind).inc();
        if !self.lane.agent_is_here(self.now.monotonic_ms()) {
            return self.busy(kind, Busy::AgentAway);
        }
        if self.under_way.len() >= self.shared.claims.under_way_max {
            return self.busy(kind, Busy::RingFull);
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let key = self.under_way.insert(UnderWay { asker, serial, kind });
        let request_id = u64::from(serial) << 32 | key as u64;
        let reply_to = ReplyTo {
            request_id,
            epoch: self.lane.epoch(),
        };
        if self
            .lane
            .ask(Ask {
                reply_to,
                user,
                at: self.unix,
                what,
            })
            .is_err()
        {
            self.under_way.remove(key);
            return self.busy(kind, Busy::RingFull);
        }
        self.due
            .push_back((request_id, self.now.instant + self.shared.claims.timeout));
        Answer::Pending
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
        self.lane.replies(&mut replies);
        for reply in replies.drain(..) {
            let is_ours = reply.reply_to.epoch == self.lane.epoch();
            let Some(under_way) = is_ours.then(|| self.take(reply.reply_to.request_id)).flatten() else {
                self.counters.replies_late.inc();
                continue;
            };
            match reply.kind {
                Some(kind) if RequestKind::of_reply(&kind) == under_way.kind => {
                    self.count(&kind);
                    into.push(Delivery::Reply(under_way.asker, kind));
                }
                None if under_way.kind == RequestKind::Offers => {}
                // The other process's bytes are input: an answer of another kind is no answer.
                _ => self.counters.ring_errors.inc(),
            }
        }
        self.replies = replies;
        self.give_up_on_overdue(into);
        self.take_notices(into);
        self.counters.asks_under_way.set(self.under_way.len() as u64);
    }

    fn give_up_on_overdue(&mut self, into: &mut Vec<Delivery>) {
        while let Some(&(request_id, due)) = self.due.front() {
            if due > self.now.instant {
                break;
            }
            self.due.pop_front();
            let Some(under_way) = self.take(request_id) else {
                continue;
            };
            if let Answer::Now(reply) = self.busy(under_way.kind, Busy::Timeout) {
                into.push(Delivery::Reply(under_way.asker, reply));
            }
        }
    }

    /// Every shard gets every notice; those of users who are elsewhere are passed over.
    fn take_notices(&mut self, into: &mut Vec<Delivery>) {
        let mut notices: Vec<Notice> = std::mem::take(&mut self.notices);
        self.lane.notices(&mut notices);
        for notice in notices.drain(..) {
            let Some(seat) = self.shared.users.newest_in(self.shard, notice.user) else {
                continue;
            };
            let offered = v1::PacketOffered {
                code: notice.code,
                from_user_id: notice.from.map_or(0, |user| user.0),
            };
            let kind = v1::notice::Kind::PacketOffered(offered);
            into.push(Delivery::Notice(seat.session as usize, kind));
        }
        self.notices = notices;
    }

    /// Whether any request waits for the agent.
    pub fn has_asks_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn take(&mut self, request_id: u64) -> Option<UnderWay> {
        let (serial, key) = ((request_id >> 32) as u32, request_id as u32 as usize);
        if self.under_way.get(key)?.serial != serial {
            return None;
        }
        Some(self.under_way.remove(key))
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

/// Requests in the order in which they time out.
pub type Due = std::collections::VecDeque<(u64, Instant)>;
