//! The claims of a user: one per red packet, each tried with the same ticket until it is opened, refused for good, or
//! out of tries.

use super::{Habits, RequestFailure, User};
use crate::backoff;
use crate::schedule::Micros;
use crate::tally::{Opened, Tally};
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::reply::ClaimResult;
use shake_proto::wire::v1;

/// A claim of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimId(u32);

/// A claim to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimStart {
    /// Which.
    pub id: ClaimId,
    /// When to send it.
    pub at: Micros,
}

/// What becomes of a claim after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimNext {
    /// Try again at this time, with the same ticket.
    At(Micros),
    /// It has ended.
    Done,
}

#[derive(Debug)]
pub(super) struct Claim {
    id: ClaimId,
    ticket: Bytes,
    sponsor: u32,
    tries: u32,
    first_try: Option<Micros>,
}

impl User {
    pub(super) fn begin_claim(&mut self, now: Micros, packet: v1::RedPacket, habits: &Habits) -> ClaimStart {
        let id = ClaimId(self.claims_begun);
        self.claims_begun += 1;
        self.claims.push(Claim {
            id,
            ticket: Bytes::copy_from_slice(&packet.ticket),
            sponsor: packet.sponsor_id,
            tries: 0,
            first_try: None,
        });
        let [least, most] = habits.claim_delay_ms.map(|ms| Micros::from_ms(ms.into()).0);
        ClaimStart {
            id,
            at: now.plus(Micros(self.jitter.between(least, most))),
        }
    }

    /// The request of a claim whose time has come; nothing when the claim has ended.
    pub fn claim_request(&mut self, now: Micros, id: ClaimId) -> Option<v1::Claim> {
        let cookie = self.cookie.clone();
        let claim = self.claims.iter_mut().find(|claim| claim.id == id)?;
        claim.first_try.get_or_insert(now);
        Some(v1::Claim {
            ticket: claim.ticket.clone(),
            cookie,
        })
    }

    /// A try of a claim was answered, or not.
    pub fn on_claim(
        &mut self,
        now: Micros,
        id: ClaimId,
        answer: Result<v1::Reply, RequestFailure>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> ClaimNext {
        let Some(at) = self.claims.iter().position(|claim| claim.id == id) else {
            return ClaimNext::Done;
        };
        let result = answer.and_then(|reply| match reply.kind {
            Some(v1::reply::Kind::Claim(reply)) => ClaimResult::try_from(reply).map_err(RequestFailure::Malformed),
            _ => Err(RequestFailure::Malformed(Code::Unknown)),
        });
        match result {
            Ok(ClaimResult::Opened {
                packet,
                amount,
                sponsor,
                repeat,
                ..
            }) => {
                let claim = self.claims.swap_remove(at);
                tally.claims.opened += 1;
                tally.claims.repeats += u64::from(repeat);
                tally.violations.wrong_sponsor += u64::from(u32::from(sponsor.0) != claim.sponsor);
                let first_try = claim.first_try.unwrap_or(now);
                tally.claim_latency.saturating_record(now.since(first_try).0.max(1));
                tally.opened.push(Opened {
                    packet: packet.0,
                    user: self.id,
                    sponsor: sponsor.0.into(),
                    cents: amount.0,
                });
                ClaimNext::Done
            }
            Ok(ClaimResult::Refused(reason)) => {
                self.claims.swap_remove(at);
                tally.refusal(reason);
                ClaimNext::Done
            }
            Ok(ClaimResult::Busy { retry_after_ms }) => {
                tally.claims.busy += 1;
                let wait = backoff::told(retry_after_ms, &mut self.jitter);
                self.retry(at, now.plus(wait), habits, tally)
            }
            Err(failure) => self.on_claim_failed(at, now, &failure, habits, tally),
        }
    }

    fn on_claim_failed(
        &mut self,
        at: usize,
        now: Micros,
        failure: &RequestFailure,
        habits: &Habits,
        tally: &mut Tally,
    ) -> ClaimNext {
        if *failure == RequestFailure::Offline {
            // Nothing was sent, so it was no try; the session reconnects meanwhile.
            return ClaimNext::At(now.plus(habits.backoff.wait(1, &mut self.jitter)));
        }
        tally.error(&format!("claim_{}", failure.name()), "");
        tally.violations.malformed_replies += u64::from(matches!(failure, RequestFailure::Malformed(_)));
        if failure.is_final() {
            self.claims.swap_remove(at);
            tally.claims.failed += 1;
            return ClaimNext::Done;
        }
        let wait = habits.backoff.wait(self.claims[at].tries + 1, &mut self.jitter);
        self.retry(at, now.plus(wait), habits, tally)
    }

    fn retry(&mut self, at: usize, when: Micros, habits: &Habits, tally: &mut Tally) -> ClaimNext {
        let claim = &mut self.claims[at];
        claim.tries += 1;
        if claim.tries >= habits.claim_tries_max {
            self.claims.swap_remove(at);
            tally.claims.gave_up += 1;
            return ClaimNext::Done;
        }
        tally.claims.retries += 1;
        ClaimNext::At(when)
    }
}
