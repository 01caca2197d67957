//! `Claim`: a user wants to open a packet.

use super::{BUSY_RETRY_AFTER_MS, Judge};
use crate::ledger::{Book, EVENT_SPONSOR, Opening, Origin, Packet, State, Term, UserAccount};
use bytes::Bytes;
use shake_proto::handoff::record::Ask;
use shake_proto::reply::{ClaimResult, Reason};
use shake_proto::request::Claim;
use shake_rules::ticket::{Ticket, TicketError};
use shake_rules::{Cents, UnixMillis, UserId};
use tracing::{error, warn};

/// What a user is told to wait when the agent has not read the ticket's key yet, in milliseconds. It looks for new keys
/// ten times a second.
const KEY_RETRY_AFTER_MS: u32 = 1_000;

/// Why a ticket opens nothing, whatever the ledger has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is sealed with a key that the agent has not read yet.
    KeyUnknown(u8),
    /// It is none of this event's, of this ledger's, or of this user's.
    Refused(TicketError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Open,
    Repeat,
    Refuse(Reason),
}

/// What a checked ticket gets, given what the ledger has of its packet and whether its time is over, apart from limits.
fn decide(ticket: &Ticket, found: Option<&Packet>, is_over: bool) -> Decision {
    let Some(packet) = found.filter(|packet| matches!(packet.origin, Origin::Seed(_))) else {
        return Decision::Refuse(Reason::PacketUnknown);
    };
    let is_owner = packet.user == Some(ticket.user);
    match packet.state {
        State::Void | State::Paid => Decision::Refuse(Reason::PacketVoid),
        // Released only: the claim came through another shard than the `Issued` record and overtook it. Lost: the record is
        // gone with its mapping. The ticket, which only a gateway can seal, proves the issue.
        State::Released | State::Lost if is_over => Decision::Refuse(Reason::TicketExpired),
        State::Released | State::Lost => Decision::Open,
        _ if !is_owner => Decision::Refuse(Reason::PacketTaken),
        _ if packet.is_opened() => Decision::Repeat,
        State::Issued if !is_over => Decision::Open,
        // Overdue, or gone back already.
        _ => Decision::Refuse(Reason::TicketExpired),
    }
}

/// Until when the ticket opens its packet: what the ledger or the ticket promised, whichever is later. They differ when
/// the gateway did not tell the ticket's end; without an end in the ledger it is the ticket's.
fn end_of_ticket(book: &Book, ticket: &Ticket, found: Option<&Packet>, now: UnixMillis) -> UnixMillis {
    let term = Term {
        began: ticket.issued_at,
        ends: ticket.expires_at,
    };
    // Made before its packet was released: by a clock that was behind, and its record is gone with the mapping.
    let is_behind = |packet: &Packet| packet.state == State::Lost && ticket.issued_at < packet.made;
    let by_ticket = book.end_of(if found.is_some_and(is_behind) {
        book.first_heard(term, now)
    } else {
        term
    });
    let by_ledger = found
        .filter(|packet| packet.state == State::Issued)
        .and_then(|packet| packet.term())
        .map(|term| book.end_of(term));
    by_ledger.map_or(by_ticket, |end| end.max(by_ticket))
}

impl Judge {
    /// The ticket of a claim, if it is one of this user's.
    pub(super) fn open_ticket(&self, user: UserId, claim: &Claim) -> Result<Ticket, Flaw> {
        if let Some(key_id) = self.tickets.lacks(&self.ledger, &claim.ticket) {
            return Err(Flaw::KeyUnknown(key_id));
        }
        let opened = self.tickets.open(&self.ledger, &claim.ticket);
        opened
            .and_then(|ticket| ticket.check(self.rules.event, user).map(|()| ticket))
            .map_err(Flaw::Refused)
    }

    /// `at` is the claim's own time: a user who asked in time is not refused because a ring was long.
    pub(super) fn claim(
        &mut self,
        book: &mut Book,
        ask: &Ask,
        ticket: &Result<Ticket, Flaw>,
        at: UnixMillis,
        now: UnixMillis,
    ) -> ClaimResult {
        let ticket = match *ticket {
            Ok(ref ticket) => ticket,
            Err(Flaw::KeyUnknown(key_id)) => return self.busy_for_key(key_id, now),
            Err(Flaw::Refused(error)) => return ClaimResult::Refused(self.count_refusal(error.into())),
        };
        let found = book.packet(ticket.packet);
        let is_over = at >= end_of_ticket(book, ticket, found.as_ref(), now);
        match (decide(ticket, found.as_ref(), is_over), found) {
            (Decision::Open, Some(packet)) => self.open(book, ticket, &packet, now),
            (Decision::Repeat, Some(packet)) => {
                self.counters.claims_repeat.add(1);
                let share = if packet.is_shared() {
                    book.share_of(ticket.packet, ask.user)
                } else {
                    None
                };
                self.opened(ticket, &packet, share.unwrap_or(packet.amount), true)
            }
            (Decision::Refuse(Reason::TicketExpired), Some(packet))
                if self.doubts_time && packet.state != State::Refunded =>
            {
                self.counters.asks_busy.add(1);
                let retry_after_ms = BUSY_RETRY_AFTER_MS;
                ClaimResult::Busy { retry_after_ms }
            }
            (Decision::Refuse(reason), _) => {
                if found.is_some_and(|packet| packet.state == State::Void) {
                    self.alarm_of_void(ticket, now);
                }
                ClaimResult::Refused(self.count_refusal(reason))
            }
            (Decision::Open | Decision::Repeat, None) => unreachable!("what is not in the ledger is refused"),
        }
    }

    /// The gateway has checked the ticket: its keys are newer than ours. A refusal would be final, and lose what was won.
    fn busy_for_key(&mut self, key_id: u8, now: UnixMillis) -> ClaimResult {
        self.counters.claims_key_unknown.add(1);
        if self.key_unknown.begins(now.0) {
            warn!(
                key_id,
                "a ticket is sealed with a key that the agent's key file lacks; claims with it are busy"
            );
        }
        ClaimResult::Busy {
            retry_after_ms: KEY_RETRY_AFTER_MS,
        }
    }

    /// Two things that cannot both be: a ticket, and the proof that there is none.
    fn alarm_of_void(&mut self, ticket: &Ticket, now: UnixMillis) {
        self.counters.tickets_void.add(1);
        if self.void_shown.begins(now.0) {
            error!(
                packet = ticket.packet.0,
                user = ticket.user.0,
                issued_ms = ticket.issued_at.0,
                "an authentic ticket was shown for a packet that is void; it is refused. A gateway sealed it without a record, or two ran with one mapping: keep both logs"
            );
        }
    }

    /// The limits count what was opened: a packet over them stays issued, and goes back in time.
    fn open(&mut self, book: &mut Book, ticket: &Ticket, packet: &Packet, now: UnixMillis) -> ClaimResult {
        let may_open = |sponsor| match book.user(ticket.user) {
            Some(account) => account.may_open(sponsor, &self.rules.limits),
            None => UserAccount::default().may_open(sponsor, &self.rules.limits),
        };
        if let Origin::Seed(sponsor) = packet.origin
            && !may_open(sponsor)
        {
            return ClaimResult::Refused(self.count_refusal(Reason::LimitReached));
        }
        let (left, shares_left) = match packet.state {
            State::Lost => {
                self.counters.packets_found.add(1);
                book.find_packet(ticket.packet);
                (packet.amount, packet.shares)
            }
            _ => (packet.left, packet.shares_left),
        };
        let share = self.draw(left, shares_left);
        book.open_packet(Opening {
            packet: ticket.packet,
            user: ticket.user,
            share,
            stage: ticket.stage,
            due: now.plus_ms(self.rules.share_lifetime_ms),
        });
        self.counters.claims_opened.add(1);
        self.opened(ticket, packet, share, false)
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
    use crate::requests::tests::released;
    use shake_rules::seed::PacketKind;
    use shake_rules::{EventId, PacketId, SponsorId};

    const ME: UserId = UserId(1);
    const OTHER: UserId = UserId(2);

    fn ticket() -> Ticket {
        Ticket {
            event: EventId(1),
            packet: PacketId(7),
            user: ME,
            sponsor: SponsorId(3),
            stage: 0,
            issued_at: UnixMillis(1),
            expires_at: UnixMillis(2),
        }
    }

    #[test]
    fn what_each_state_answers_in_time_and_late() {
        let (taken, expired, void) = (
            Decision::Refuse(Reason::PacketTaken),
            Decision::Refuse(Reason::TicketExpired),
            Decision::Refuse(Reason::PacketVoid),
        );
        for (state, user, is_opened, in_time, late) in [
            (State::Released, None, false, Decision::Open, expired),
            (State::Lost, None, false, Decision::Open, expired),
            (State::Issued, Some(ME), false, Decision::Open, expired),
            (State::Issued, Some(OTHER), false, taken, taken),
            (State::Opened, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Opened, Some(OTHER), true, taken, taken),
            (State::Open, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Open, Some(OTHER), true, taken, taken),
            (State::Refunded, Some(ME), true, Decision::Repeat, Decision::Repeat),
            (State::Refunded, Some(ME), false, expired, expired),
            (State::Refunded, Some(OTHER), false, taken, taken),
            (State::Void, None, false, void, void),
            (State::Paid, Some(ME), false, void, void),
        ] {
            let mut packet = Packet {
                state,
                user,
                opened: is_opened.then_some(UnixMillis(1)),
                ..Packet::released(&released(7, PacketKind::Plain), UnixMillis(0))
            };
            assert_eq!(decide(&ticket(), Some(&packet), false), in_time, "{state:?}");
            assert_eq!(decide(&ticket(), Some(&packet), true), late, "{state:?}");
            packet.origin = Origin::Gift;
            let unknown = Decision::Refuse(Reason::PacketUnknown);
            assert_eq!(decide(&ticket(), Some(&packet), false), unknown);
            assert_eq!(decide(&ticket(), None, false), unknown);
        }
    }
}
