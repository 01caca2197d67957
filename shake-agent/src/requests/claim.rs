//! `Claim`: a user wants to open a packet.

use super::Judge;
use crate::ledger::{Batch, EVENT_SPONSOR, LedgerError, Opening, Origin, Packet, State};
use bytes::Bytes;
use shake_proto::reply::{ClaimResult, Reason};
use shake_proto::request::Claim;
use shake_rules::ticket::{Ticket, TicketError};
use shake_rules::{Cents, EventId, UnixMillis, UserId};
use tracing::warn;

/// What a user is told to wait when the agent has not read the ticket's key yet, in milliseconds. It looks for new keys
/// ten times a second.
const KEY_RETRY_AFTER_MS: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Open,
    Repeat,
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

/// What a checked ticket gets at this moment, given what the ledger has of its packet, apart from limits.
fn decide(ticket: &Ticket, found: Option<&Packet>, at: UnixMillis) -> Decision {
    let Some(packet) = found.filter(|packet| matches!(packet.origin, Origin::Seed(_))) else {
        return Decision::Refuse(Reason::PacketUnknown);
    };
    let is_owner = packet.user == Some(ticket.user);
    match packet.state {
        State::Void | State::Lost => Decision::Refuse(Reason::PacketVoid),
        // Released only: the claim came through another shard than the `Issued` record and overtook it. The ticket, which
        // only a gateway can seal, proves the issue.
        State::Released if at >= ticket.expires_at => Decision::Refuse(Reason::TicketExpired),
        State::Released => Decision::Open,
        _ if !is_owner => Decision::Refuse(Reason::PacketTaken),
        _ if packet.is_opened => Decision::Repeat,
        State::Issued if at < ticket.expires_at => Decision::Open,
        // Overdue, or gone back already.
        _ => Decision::Refuse(Reason::TicketExpired),
    }
}

impl Judge {
    /// `at` is the claim's own time: a user who asked in time is not refused because a ring was long.
    pub(super) fn claim(
        &mut self,
        batch: &mut Batch<'_>,
        user: UserId,
        at: UnixMillis,
        claim: &Claim,
        now: UnixMillis,
    ) -> Result<ClaimResult, LedgerError> {
        if let Some(key_id) = self.tickets.lacks(&claim.ticket) {
            // The gateway has checked it: its keys are newer than ours. A refusal would be final, and lose what was won.
            self.counters.claims_key_unknown.add(1);
            if self.key_unknown.begins(now.0) {
                warn!(
                    key_id,
                    "a ticket is sealed with a key that the agent's key file lacks; claims with it are busy"
                );
            }
            return Ok(ClaimResult::Busy {
                retry_after_ms: KEY_RETRY_AFTER_MS,
            });
        }
        let ticket = match check_ticket(self.tickets.open(&claim.ticket), self.rules.event, user) {
            Err(reason) => return Ok(ClaimResult::Refused(self.count_refusal(reason))),
            Ok(ticket) => ticket,
        };
        let found = batch.packet(ticket.packet)?;
        match (decide(&ticket, found.as_ref(), at), found) {
            (Decision::Open, Some(packet)) => self.open(batch, &ticket, &packet, now),
            (Decision::Repeat, Some(packet)) => {
                self.counters.claims_repeat.add(1);
                let share = if packet.is_shared() {
                    batch.share_of(ticket.packet, user)?
                } else {
                    None
                };
                Ok(self.opened(&ticket, &packet, share.unwrap_or(packet.amount), true))
            }
            (Decision::Refuse(reason), _) => Ok(ClaimResult::Refused(self.count_refusal(reason))),
            (Decision::Open | Decision::Repeat, None) => unreachable!("what is not in the ledger is refused"),
        }
    }

    /// The limits count what was opened: a packet over them stays issued, and goes back in time.
    fn open(
        &mut self,
        batch: &mut Batch<'_>,
        ticket: &Ticket,
        packet: &Packet,
        now: UnixMillis,
    ) -> Result<ClaimResult, LedgerError> {
        let account = batch.user(ticket.user)?;
        if let Origin::Seed(sponsor) = packet.origin
            && !account.may_open(sponsor, &self.rules.limits)
        {
            return Ok(ClaimResult::Refused(self.count_refusal(Reason::LimitReached)));
        }
        let share = self.draw(packet.left, packet.shares_left);
        batch.open_packet(Opening {
            id: ticket.packet,
            packet,
            user: ticket.user,
            account,
            share,
            stage: ticket.stage,
            due: now.plus_ms(self.rules.share_lifetime_ms),
        })?;
        self.counters.claims_opened.add(1);
        Ok(self.opened(ticket, packet, share, false))
    }

    fn opened(&self, ticket: &Ticket, packet: &Packet, amount: Cents, repeat: bool) -> ClaimResult {
        ClaimResult::Opened {
            packet: ticket.packet,
            amount,
            sponsor: match packet.origin {
                Origin::Seed(sponsor) => sponsor,
                Origin::Sent(_) | Origin::Gift => EVENT_SPONSOR,
            },
            code: if packet.is_shared() {
                self.code(ticket.packet)
            } else {
                Bytes::new()
            },
            repeat,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::{PacketId, SponsorId};

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
        let (taken, expired) = (
            Decision::Refuse(Reason::PacketTaken),
            Decision::Refuse(Reason::TicketExpired),
        );
        for (state, user, is_opened, in_time, late) in [
            (State::Released, None, false, Decision::Open, expired),
            (State::Issued, Some(ME), false, Decision::Open, expired),
            (State::Issued, Some(OTHER), false, taken, taken),
            (State::Opened, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Opened, Some(OTHER), true, taken, taken),
            (State::Open, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Open, Some(OTHER), true, taken, taken),
            (State::Refunded, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Refunded, Some(ME), false, expired, expired),
            (State::Refunded, Some(OTHER), false, taken, taken),
            (
                State::Void,
                None,
                false,
                Decision::Refuse(Reason::PacketVoid),
                Decision::Refuse(Reason::PacketVoid),
            ),
        ] {
            let mut packet = Packet {
                origin: Origin::Seed(SponsorId(3)),
                amount: Cents(5),
                shares: 1,
                left: Cents(5),
                shares_left: 1,
                recipients: 0,
                state,
                user,
                is_opened,
                due: None,
                ends: None,
            };
            assert_eq!(decide(&ticket(), Some(&packet), IN_TIME), in_time, "{state:?}");
            assert_eq!(decide(&ticket(), Some(&packet), LATE), late, "{state:?}");
            packet.origin = Origin::Gift;
            let unknown = Decision::Refuse(Reason::PacketUnknown);
            assert_eq!(decide(&ticket(), Some(&packet), IN_TIME), unknown);
            assert_eq!(decide(&ticket(), None, IN_TIME), unknown);
        }
    }
}
