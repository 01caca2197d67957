//! `Claim`: checks the ticket here, and asks the ledger to open the packet.

use super::serving::{Answer, Serving};
use crate::in_flight::ReturnAddress;
use shake_proto::handoff::record::What;
use shake_proto::request::Claim;
use shake_proto::request_kind::RequestKind;
use shake_rules::keys::Purpose;
use shake_rules::ticket::{Ticket, TicketError};
use shake_rules::{LedgerId, UserId};

impl Serving {
    pub(super) fn claim(&mut self, user: UserId, claim: Claim, to: ReturnAddress) -> Answer {
        let Some(ledger) = self.ledger.id else {
            return self.ledger_unknown(RequestKind::Claim);
        };
        let ticket = match self.check_ticket(&ledger, user, &claim) {
            Ok(ticket) => ticket,
            Err(error) => {
                self.is_forged |= error == TicketError::Forged;
                return self.refused(RequestKind::Claim, error.into());
            }
        };
        if let Some(key) = self.secrets.tickets.maker_of(&claim.ticket) {
            // Perhaps made by another life of this gateway.
            self.shared
                .key_uses
                .known(self.shard, Purpose::Ticket, key, ticket.expires_at);
        }
        self.note_code();
        self.take_cookie(user, &claim.cookie);
        self.ask(user, What::Claim(claim), to)
    }

    /// The agent may make a code now, by a key that is the active ticket key's.
    pub(super) fn note_code(&self) {
        let ends_at = self.unix.plus_ms(self.live.show.share_lifetime_ms);
        let key = self.secrets.tickets.maker();
        self.shared.key_uses.known(self.shard, Purpose::Ticket, key, ends_at);
    }

    /// Spares the ring what can be refused without the ledger. Nothing is refused for its time: that is the agent's to
    /// judge, who knows in which spans nobody could claim.
    fn check_ticket(&self, ledger: &LedgerId, user: UserId, claim: &Claim) -> Result<Ticket, TicketError> {
        let ticket = self.secrets.tickets.open(ledger, &claim.ticket)?;
        ticket.check(self.live.show.event, user)?;
        Ok(ticket)
    }
}
