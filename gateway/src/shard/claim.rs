//! `Claim`: checks the ticket here, and hands the claim to the agent, whose answer comes after its commit.

use super::serving::{Asker, Serving, UnderWay};
use crate::counters::ClaimEnd;
use shake_proto::handoff::record::{Claim as Record, ReplyTo};
use shake_proto::reply::ClaimResult;
use shake_proto::request::Claim;
use shake_rules::UserId;
use shake_rules::ticket::TicketError;

impl Serving {
    /// The answer, when it can be given at once; otherwise the agent has the claim.
    pub(super) fn claim(&mut self, user: UserId, claim: Claim, asker: Asker) -> Option<ClaimResult> {
        if let Err(error) = self.check_ticket(user, &claim) {
            return Some(self.ended(ClaimResult::Refused(error.into())));
        }
        self.take_cookie(user, &claim.cookie);
        if !self.lane.agent_is_here(self.now.monotonic_ms) {
            return Some(self.busy(ClaimEnd::BusyAway));
        }
        if self.under_way.len() >= self.shared.claims.under_way_max {
            return Some(self.busy(ClaimEnd::BusyFull));
        }
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = self.next_serial;
        let key = self.under_way.insert(UnderWay { asker, serial });
        let request_id = u64::from(serial) << 32 | key as u64;
        let record = Record {
            reply_to: ReplyTo {
                request_id,
                epoch: self.lane.epoch(),
            },
            user,
            ticket: claim.ticket,
            cookie: claim.cookie,
            at: self.now.unix,
        };
        if self.lane.claim(record).is_err() {
            self.under_way.remove(key);
            return Some(self.busy(ClaimEnd::BusyFull));
        }
        self.due
            .push_back((request_id, self.now.instant + self.shared.claims.timeout));
        None
    }

    /// Spares the ring what can be refused without the ledger. An expired ticket goes to the agent all the same: if it
    /// was opened in time, the answer stands.
    fn check_ticket(&self, user: UserId, claim: &Claim) -> Result<(), TicketError> {
        let ticket = self.shared.tickets.open(&claim.ticket)?;
        match ticket.check(self.shared.show.event, user, self.now.unix) {
            Err(TicketError::Expired) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the agent's answers, and gives up on claims that waited too long. Calls `deliver` for each asker.
    pub fn finish_claims(&mut self, mut deliver: impl FnMut(Asker, ClaimResult)) {
        let mut replies = std::mem::take(&mut self.replies);
        self.lane.replies(&mut replies);
        for reply in replies.drain(..) {
            let asker = (reply.reply_to.epoch == self.lane.epoch()).then(|| self.take(reply.reply_to.request_id));
            match asker.flatten() {
                Some(asker) => deliver(asker, self.ended(reply.result)),
                None => self.counters.replies_late.inc(),
            }
        }
        self.replies = replies;
        while let Some(&(request_id, due)) = self.due.front() {
            if due > self.now.instant {
                break;
            }
            self.due.pop_front();
            if let Some(asker) = self.take(request_id) {
                deliver(asker, self.busy(ClaimEnd::BusyTimeout));
            }
        }
        self.counters.claims_under_way.set(self.under_way.len() as u64);
    }

    /// Whether any claim waits for the agent.
    pub fn has_claims_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    fn take(&mut self, request_id: u64) -> Option<Asker> {
        let (serial, key) = ((request_id >> 32) as u32, request_id as u32 as usize);
        if self.under_way.get(key)?.serial != serial {
            return None;
        }
        Some(self.under_way.remove(key).asker)
    }

    fn busy(&self, why: ClaimEnd) -> ClaimResult {
        self.counters.claim(why).inc();
        ClaimResult::Busy {
            retry_after_ms: self.shared.claims.busy_retry_ms,
        }
    }

    /// Counts how a claim ended.
    fn ended(&self, result: ClaimResult) -> ClaimResult {
        match &result {
            ClaimResult::Opened { repeat: false, .. } => self.counters.claim(ClaimEnd::Opened).inc(),
            ClaimResult::Opened { repeat: true, .. } => self.counters.claim(ClaimEnd::Repeated).inc(),
            ClaimResult::Refused(reason) => self.counters.claim_refused(*reason).inc(),
            ClaimResult::Busy { .. } => self.counters.claim(ClaimEnd::BusyAgent).inc(),
        }
        result
    }
}
