//! What the ledger must answer: the way of a request to the agent and of its answer back. The kinds of request
//! themselves (`claim`, `packet`) only decide whether to ask.

use super::admit::{Asked, Gate};
use super::serving::{Answer, Asker, Serving};
use super::spent::Spent;
use crate::counters::{AskKind, Busy};
use shake_proto::handoff::record::{Ask, Notice, ReplyTo, What};
use shake_proto::reply::{ClaimResult, GrabResult, Reason, SendResult, ViewResult};
use shake_proto::request::Request;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::UserId;
use shake_rules::throttle::Service;
use std::time::Instant;

/// A request that the agent has.
pub struct UnderWay {
    asker: Asker,
    serial: u32,
    kind: AskKind,
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
    pub(super) fn kept_out(&mut self, request: &Request, gate: &Gate, spent: &mut Spent) -> Option<Answer> {
        let (kind, asked) = match request {
            Request::Hello(_) | Request::Shake(_) => return None,
            Request::Claim(_) => (AskKind::Claim, Asked::Claim),
            Request::Send(_) => (AskKind::Send, Asked::Service(Service::Send)),
            Request::Grab(_) => (AskKind::Grab, Asked::Service(Service::Grab)),
            Request::PacketView(_) => (AskKind::PacketView, Asked::Service(Service::PacketView)),
            Request::Wallet => (AskKind::Wallet, Asked::Service(Service::Wallet)),
        };
        let rules = self.live.throttle.at(self.admission.grade());
        let why = self.admission.ask(gate, spent, asked, rules).err()?;
        self.counters.ask(kind).inc();
        self.counters.busy(why).inc();
        let retry_after_ms = self.admission.retry_ms(rules, &mut self.rng);
        Some(Answer::Now(busy_reply(kind, for_load(retry_after_ms))))
    }

    /// Whether the agent is here and may be asked more.
    pub(super) fn can_ask(&self) -> bool {
        self.lane.agent_is_here(self.now.monotonic_ms) && self.under_way.len() < self.shared.claims.under_way_max
    }

    /// Hands a request to the agent; says busy at once when it cannot be.
    pub(super) fn ask(&mut self, user: UserId, what: What, asker: Asker) -> Answer {
        let kind = AskKind::of(&what);
        self.counters.ask(kind).inc();
        let busy = |why: Busy| {
            self.counters.busy(why).inc();
            Answer::Now(busy_reply(kind, for_load(self.shared.claims.busy_retry_ms)))
        };
        if !self.lane.agent_is_here(self.now.monotonic_ms) {
            return busy(Busy::AgentAway);
        }
        if self.under_way.len() >= self.shared.claims.under_way_max {
            return busy(Busy::RingFull);
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
                at: self.now.unix,
                what,
            })
            .is_err()
        {
            self.under_way.remove(key);
            return busy(Busy::RingFull);
        }
        self.due
            .push_back((request_id, self.now.instant + self.shared.claims.timeout));
        Answer::Later
    }

    /// Says busy to what cannot be checked before the agent has said which ledger this is.
    pub(super) fn ledger_unknown(&self, kind: AskKind) -> Answer {
        self.counters.ask(kind).inc();
        self.counters.busy(Busy::LedgerUnknown).inc();
        Answer::Now(busy_reply(kind, for_load(self.shared.claims.busy_retry_ms)))
    }

    /// Refuses for good what need not be asked.
    pub(super) fn refused(&self, kind: AskKind, reason: Reason) -> Answer {
        self.counters.ask(kind).inc();
        self.counters.refused(reason).inc();
        Answer::Now(match kind {
            AskKind::Claim => Kind::Claim(ClaimResult::Refused(reason).into()),
            AskKind::Send => Kind::Send(SendResult::Refused(reason).into()),
            AskKind::Grab => Kind::Grab(GrabResult::Refused(reason).into()),
            AskKind::PacketView | AskKind::Wallet | AskKind::Offers => {
                Kind::PacketView(ViewResult::Refused(reason).into())
            }
        })
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
                Some(kind) if AskKind::of_reply(&kind) == Some(under_way.kind) => {
                    self.count(&kind);
                    into.push(Delivery::Reply(under_way.asker, kind));
                }
                None if under_way.kind == AskKind::Offers => {}
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
            self.counters.busy(Busy::Timeout).inc();
            if under_way.kind != AskKind::Offers {
                let reply = busy_reply(under_way.kind, for_load(self.shared.claims.busy_retry_ms));
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
        use v1::{claim_reply, grab_reply, packet_view_reply, send_reply, wallet_reply};
        let counters = &self.counters;
        let refused = |refused: &v1::Refused| match Reason::from_wire(refused.reason) {
            Some(reason) => counters.refused(reason).inc(),
            None => counters.ring_errors.inc(),
        };
        let answered = |is_repeat: bool| {
            if is_repeat {
                counters.repeated.inc()
            } else {
                counters.answered.inc()
            }
        };
        let busy = || counters.busy(Busy::Agent).inc();
        match kind {
            Kind::Claim(v1::ClaimReply { result: Some(result) }) => match result {
                claim_reply::Result::Opened(opened) => answered(opened.repeat),
                claim_reply::Result::Refused(reason) => refused(reason),
                claim_reply::Result::Busy(_) => busy(),
            },
            Kind::Send(v1::SendReply { result: Some(result) }) => match result {
                send_reply::Result::Sent(sent) => answered(sent.repeat),
                send_reply::Result::Refused(reason) => refused(reason),
                send_reply::Result::Busy(_) => busy(),
            },
            Kind::Grab(v1::GrabReply { result: Some(result) }) => match result {
                grab_reply::Result::Grabbed(grabbed) => answered(grabbed.repeat),
                grab_reply::Result::Empty(_) => answered(false),
                grab_reply::Result::Refused(reason) => refused(reason),
                grab_reply::Result::Busy(_) => busy(),
            },
            Kind::PacketView(v1::PacketViewReply { result: Some(result) }) => match result {
                packet_view_reply::Result::State(_) => answered(false),
                packet_view_reply::Result::Refused(reason) => refused(reason),
                packet_view_reply::Result::Busy(_) => busy(),
            },
            Kind::Wallet(v1::WalletReply { result: Some(result) }) => match result {
                wallet_reply::Result::State(_) => answered(false),
                wallet_reply::Result::Busy(_) => busy(),
            },
            _ => counters.ring_errors.inc(),
        }
    }
}

/// "Ask again" in the reply that fits the request.
pub(super) fn busy_reply(kind: AskKind, busy: v1::Busy) -> Kind {
    use v1::{claim_reply, grab_reply, packet_view_reply, send_reply, wallet_reply};
    match kind {
        AskKind::Claim => Kind::Claim(v1::ClaimReply {
            result: Some(claim_reply::Result::Busy(busy)),
        }),
        AskKind::Send => Kind::Send(v1::SendReply {
            result: Some(send_reply::Result::Busy(busy)),
        }),
        AskKind::Grab => Kind::Grab(v1::GrabReply {
            result: Some(grab_reply::Result::Busy(busy)),
        }),
        AskKind::PacketView => Kind::PacketView(v1::PacketViewReply {
            result: Some(packet_view_reply::Result::Busy(busy)),
        }),
        AskKind::Wallet | AskKind::Offers => Kind::Wallet(v1::WalletReply {
            result: Some(wallet_reply::Result::Busy(busy)),
        }),
    }
}

/// Busy, and nobody's fault.
fn for_load(retry_after_ms: u32) -> v1::Busy {
    v1::Busy {
        retry_after_ms,
        blocked: false,
    }
}

/// Requests in the order in which they time out.
pub type Due = std::collections::VecDeque<(u64, Instant)>;
