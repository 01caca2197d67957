//! Requests that the ledger has: whose each is, and since when. The way of a request to the agent and of its answer back is
//! the same for all kinds; handlers only decide whether to ask.

use crate::agent_link::AgentLink;
use crate::config::Claims;
use crate::counters::Busy;
use quic_shard::io::Now;
use quic_shard::session_id::SessionId;
use quinn_proto::StreamId;
use shake_proto::handoff::record::{Ask, Reply, ReplyTo, What};
use shake_proto::request_kind::RequestKind;
use shake_rules::{LedgerId, UnixMillis, UserId};
use slab::Slab;
use std::collections::VecDeque;
use std::time::Instant;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnAddress {
    pub session: SessionId,
    pub stream: StreamId,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub to: ReturnAddress,
    pub kind: RequestKind,
    serial: u32,
}

/// Those of a shard.
#[derive(Default)]
pub struct InFlight {
    requests: Slab<Waiting>,
    /// When each is given up, in this order. Some are answered by then.
    deadlines: VecDeque<(u64, Instant)>,
    next_serial: u32,
}

impl InFlight {
    fn len(&self) -> usize {
        self.requests.len()
    }

    /// Takes in a request that is about to be made; gives its number.
    fn insert(&mut self, to: ReturnAddress, kind: RequestKind) -> u64 {
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let key = self.requests.insert(Waiting { to, kind, serial });
        u64::from(serial) << 32 | key as u64
    }

    /// It was made, and is given up then. Later ones are given up later.
    fn give_up_at(&mut self, number: u64, deadline: Instant) {
        self.deadlines.push_back((number, deadline));
    }

    /// The request of this number, if it still waits; it does no more.
    fn take(&mut self, number: u64) -> Option<Waiting> {
        let (serial, key) = ((number >> 32) as u32, number as u32 as usize);
        if self.requests.get(key)?.serial != serial {
            return None;
        }
        Some(self.requests.remove(key))
    }

    /// The next request that has waited too long; it waits no more.
    fn take_overdue(&mut self, now: Instant) -> Option<Waiting> {
        while let Some(&(number, deadline)) = self.deadlines.front() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if let Some(waiting) = self.take(number) {
                return Some(waiting);
            }
        }
        None
    }
}

/// A shard's way to the ledger.
pub struct Ledger {
    pub link: AgentLink,
    /// Whose tickets and codes these are. Unknown until the agent has said it: then nothing is won, and nothing is refused
    /// that hangs on it.
    pub id: Option<LedgerId>,
    /// Many gateways have this ledger; as the agent said last.
    is_common: bool,
    in_flight: InFlight,
    limits: Claims,
}

impl Ledger {
    pub fn new(link: AgentLink, limits: Claims) -> Self {
        Self {
            id: link.ledger(),
            link,
            is_common: false,
            in_flight: InFlight::default(),
            limits,
        }
    }

    /// To be called once a turn.
    pub fn begin_turn(&mut self, now: &Now) {
        self.link.announce();
        if let Some(agent) = self.link.agent(now.monotonic_ms()) {
            self.is_common = agent.ledger_is_common;
        }
        if self.id.is_none() {
            self.id = self.link.ledger();
        }
    }

    /// Whether many gateways have this ledger, so that users may have won at others.
    pub fn is_common(&self) -> bool {
        self.is_common
    }

    /// Requests that the agent has.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the agent is here, reaches its ledger, and may be asked more.
    pub fn can_ask(&self, now: &Now) -> bool {
        self.why_busy(now).is_none()
    }

    fn why_busy(&self, now: &Now) -> Option<Busy> {
        let Some(agent) = self.link.agent(now.monotonic_ms()) else {
            return Some(Busy::AgentAway);
        };
        if agent.ledger_away {
            // What is asked would wait in the ring, and take the room of what is won.
            Some(Busy::LedgerAway)
        } else if self.in_flight.len() >= self.limits.under_way_max {
            Some(Busy::RingFull)
        } else {
            None
        }
    }

    /// Hands a user's request to the agent.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn ask(&mut self, now: &Now, at: UnixMillis, user: UserId, what: What, to: ReturnAddress) -> Result<(), Busy> {
        if let Some(why) = self.why_busy(now) {
            return Err(why);
        }
        let number = self.in_flight.insert(to, what.kind());
        let reply_to = ReplyTo {
            request_id: number,
            epoch: self.link.epoch(),
        };
        let ask = Ask {
            reply_to,
            user,
            at,
            what,
        };
        if self.link.ask(ask).is_err() {
            self.in_flight.take(number);
            return Err(Busy::RingFull);
        }
        self.in_flight.give_up_at(number, now.instant + self.limits.timeout);
        Ok(())
    }

    /// Whose reply of the agent this is; nobody's when it came too late, or for an earlier life.
    pub fn take_waiting(&mut self, reply: &Reply) -> Option<Waiting> {
        let is_ours = reply.reply_to.epoch == self.link.epoch();
        is_ours
            .then(|| self.in_flight.take(reply.reply_to.request_id))
            .flatten()
    }

    /// The next request that has waited too long.
    pub fn take_overdue(&mut self, now: &Now) -> Option<Waiting> {
        self.in_flight.take_overdue(now.instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn_proto::{Dir, Side};
    use std::time::Duration;

    fn to(index: u32) -> ReturnAddress {
        ReturnAddress {
            session: SessionId { index, serial: 1 },
            stream: StreamId::new(Side::Client, Dir::Bi, 0),
        }
    }

    #[test]
    fn a_request_is_answered_once_and_its_number_is_not_used_again() {
        let mut in_flight = InFlight::default();
        let first = in_flight.insert(to(1), RequestKind::Claim);
        assert_eq!(in_flight.take(first).map(|waiting| waiting.to), Some(to(1)));
        assert_eq!(in_flight.take(first), None);
        let second = in_flight.insert(to(2), RequestKind::Wallet);
        assert_eq!(second as u32, first as u32, "the same place");
        assert_eq!(in_flight.take(first), None);
        assert_eq!(
            in_flight.take(second).map(|waiting| waiting.kind),
            Some(RequestKind::Wallet)
        );
        assert_eq!((in_flight.len(), in_flight.take(77)), (0, None));
    }

    #[test]
    fn what_waits_too_long_is_given_up_in_order() {
        let mut in_flight = InFlight::default();
        let start = Instant::now();
        for index in 0..3 {
            let number = in_flight.insert(to(index), RequestKind::Send);
            in_flight.give_up_at(number, start + Duration::from_secs(index.into()));
            if index == 1 {
                in_flight.take(number);
            }
        }
        let overdue = |in_flight: &mut InFlight, at_s| {
            let waiting = in_flight.take_overdue(start + Duration::from_secs(at_s));
            waiting.map(|waiting| waiting.to.session.index)
        };
        assert_eq!(overdue(&mut in_flight, 1), Some(0));
        assert_eq!(overdue(&mut in_flight, 1), None, "the second was answered");
        assert_eq!(overdue(&mut in_flight, 9), Some(2));
        assert_eq!(in_flight.len(), 0);
    }
}
