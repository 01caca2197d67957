//! `Claim`: checks the ticket here, and asks the ledger to open the packet.

use super::ask::{NotAsked, ask};
use crate::conditions::Conditions;
use crate::cookies::{self, Seals};
use crate::in_flight::{Ledger, ReturnAddress};
use crate::winners::Winners;
use shake_proto::handoff::record::What;
use shake_proto::request::Claim;
use shake_rules::UserId;
use shake_rules::ticket::TicketError;

/// Asks the ledger to open the packet of a ticket. Says besides whether the cookie with it is forged.
///
/// What can be refused without the ledger spares the ring. Nothing is refused for its time: that is the agent's to judge, who
/// knows in which spans nobody could claim.
pub fn claim(
    conditions: &Conditions,
    winners: &Winners,
    ledger: &mut Ledger,
    seals: &Seals,
    user: UserId,
    claim: Claim,
    to: ReturnAddress,
) -> (Result<(), NotAsked>, bool) {
    let checked = ledger.id.ok_or(NotAsked::LEDGER_UNKNOWN).and_then(|id| {
        let opened = conditions.secrets.tickets.open(&id, &claim.ticket);
        let checked = opened.and_then(|ticket| {
            ticket.check(conditions.live.show.event, user)?;
            Ok(ticket)
        });
        checked.map_err(|error| NotAsked::Refused {
            reason: error.into(),
            is_forged: error == TicketError::Forged,
        })
    });
    match checked {
        Ok(ticket) => seals.saw(conditions, &claim.ticket, &ticket),
        Err(why) => return (Err(why), false),
    }
    seals.expect_code(conditions);
    let told = cookies::take(conditions, winners, user, &claim.cookie);
    (ask(conditions, ledger, user, What::Claim(claim), to), told.is_forged)
}
