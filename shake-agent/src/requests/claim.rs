//! `Claim`: a user wants to open a packet.

use super::Judge;
use crate::ledger::{Batch, LedgerError, Packet, State};
use bytes::Bytes;
use shake_proto::handoff::record::{Claim, Reply};
use shake_proto::reply::{ClaimResult, Reason};
use shake_rules::ticket::{Ticket, TicketError};
use shake_rules::{Cents, EventId, SponsorId, UnixMillis, UserId};

/// What a claim is told to wait when the ledger refuses writes, in milliseconds: somebody has to restart the agent.
pub const BUSY_RETRY_AFTER_MS: u32 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Open { amount: Cents, sponsor: SponsorId },
    Repeat { amount: Cents, sponsor: SponsorId },
    Refuse(Reason),
}

/// Whether the ticket is this user's, of this event. Its expiry is not looked at yet: what was opened in time stays so.
fn check_ticket(ticket: Result<Ticket, TicketError>, event: EventId, user: UserId) -> Result<Ticket, Reason> {
    let ticket = ticket?;
    if ticket.event != event {
        return Err(Reason::TicketOtherEvent);
    }
    if ticket.user != user {
        return Err(Reason::TicketForeign);
    }
    Ok(ticket)
}

/// What a checked ticket gets at this moment, given what the ledger has of its packet.
fn decide(ticket: &Ticket, found: Option<&Packet>, at: UnixMillis) -> Decision {
    let Some(&Packet { amount, sponsor, state }) = found else {
        return Decision::Refuse(Reason::PacketUnknown);
    };
    match state {
        State::Opened(owner) if owner == ticket.user => Decision::Repeat { amount, sponsor },
        State::Opened(_) => Decision::Refuse(Reason::PacketTaken),
        State::Issued(owner) if owner != ticket.user => Decision::Refuse(Reason::PacketTaken),
        State::Void => Decision::Refuse(Reason::PacketVoid),
        _ if at >= ticket.expires_at => Decision::Refuse(Reason::TicketExpired),
        // Released only: the claim came through another shard than the `Issued` record and overtook it. The ticket, which
        // only a gateway can seal, proves the issue.
        State::Released | State::Issued(_) => Decision::Open { amount, sponsor },
    }
}

impl Judge {
    pub(super) fn claim(&mut self, batch: &mut Batch<'_>, claim: &Claim) -> Result<Reply, LedgerError> {
        let result = match check_ticket(self.tickets.open(&claim.ticket), self.event, claim.user) {
            Err(reason) => self.refuse(reason),
            Ok(ticket) => self.claim_with(batch, &ticket, claim.at)?,
        };
        Ok(Reply {
            reply_to: claim.reply_to,
            result,
        })
    }

    /// `at` is the claim's own time: a user who asked in time is not refused because a ring was long, and the same record
    /// handled again gets the same answer.
    fn claim_with(&self, batch: &mut Batch<'_>, ticket: &Ticket, at: UnixMillis) -> Result<ClaimResult, LedgerError> {
        let found = batch.packet(ticket.packet)?;
        let opened = |amount, sponsor, repeat| ClaimResult::Opened {
            packet: ticket.packet,
            amount,
            sponsor,
            code: Bytes::new(),
            repeat,
        };
        Ok(match decide(ticket, found.as_ref(), at) {
            Decision::Open { amount, sponsor } => {
                batch.open_packet(ticket.packet, amount, ticket.user, ticket.stage)?;
                self.counters.claims_opened.add(1);
                opened(amount, sponsor, false)
            }
            Decision::Repeat { amount, sponsor } => {
                self.counters.claims_repeat.add(1);
                opened(amount, sponsor, true)
            }
            Decision::Refuse(reason) => self.refuse(reason),
        })
    }

    fn refuse(&self, reason: Reason) -> ClaimResult {
        self.counters.refused(reason).add(1);
        ClaimResult::Refused(reason)
    }

    /// The answer while the ledger refuses writes; nothing is looked up.
    #[must_use]
    pub fn busy(&self, claim: &Claim) -> Reply {
        self.counters.claims_busy.add(1);
        Reply {
            reply_to: claim.reply_to,
            result: ClaimResult::Busy {
                retry_after_ms: BUSY_RETRY_AFTER_MS,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::PacketId;

    const ME: UserId = UserId(1);
    const OTHER: UserId = UserId(2);
    const IN_TIME: UnixMillis = UnixMillis(99);
    const LATE: UnixMillis = UnixMillis(100);

    fn ticket() -> Ticket {
        Ticket {
            event: EventId(1),
            packet: PacketId(7),
            user: ME,
            sponsor: SponsorId(3),
            stage: 0,
            expires_at: LATE,
        }
    }

    #[test]
    fn tickets_are_checked_in_order() {
        let check = |ticket, event, user| check_ticket(ticket, EventId(event), user).err();
        assert_eq!(check(Err(TicketError::Forged), 2, OTHER), Some(Reason::TicketForged));
        assert_eq!(check(Ok(ticket()), 2, OTHER), Some(Reason::TicketOtherEvent));
        assert_eq!(check(Ok(ticket()), 1, OTHER), Some(Reason::TicketForeign));
        assert_eq!(check(Ok(ticket()), 1, ME), None);
    }

    #[test]
    fn what_each_state_answers_in_time_and_late() {
        let (amount, sponsor) = (Cents(5), SponsorId(3));
        let open = Decision::Open { amount, sponsor };
        let repeat = Decision::Repeat { amount, sponsor };
        let refuse = Decision::Refuse;
        for (state, in_time, late) in [
            (Some(State::Opened(ME)), repeat, repeat),
            (
                Some(State::Opened(OTHER)),
                refuse(Reason::PacketTaken),
                refuse(Reason::PacketTaken),
            ),
            (
                Some(State::Issued(OTHER)),
                refuse(Reason::PacketTaken),
                refuse(Reason::PacketTaken),
            ),
            (
                Some(State::Void),
                refuse(Reason::PacketVoid),
                refuse(Reason::PacketVoid),
            ),
            (None, refuse(Reason::PacketUnknown), refuse(Reason::PacketUnknown)),
            (Some(State::Issued(ME)), open, refuse(Reason::TicketExpired)),
            (Some(State::Released), open, refuse(Reason::TicketExpired)),
        ] {
            let packet = state.map(|state| Packet { amount, sponsor, state });
            assert_eq!(decide(&ticket(), packet.as_ref(), IN_TIME), in_time, "{state:?}");
            assert_eq!(decide(&ticket(), packet.as_ref(), LATE), late, "{state:?}");
        }
    }
}
