//! `Claim`: checks the ticket here, and asks the ledger to open the packet.

use super::serving::{Answer, Asker, Serving};
use shake_proto::handoff::record::What;
use shake_proto::request::Claim;
use shake_proto::request_kind::RequestKind;
use shake_rules::ticket::TicketError;
use shake_rules::{LedgerId, UserId};

impl Serving {
    pub(super) fn claim(&mut self, user: UserId, claim: Claim, asker: Asker) -> Answer {
        let Some(ledger) = self.ledger else {
            return self.ledger_unknown(RequestKind::Claim);
        };
        if let Err(error) = self.check_ticket(&ledger, user, &claim) {
            self.is_forged |= error == TicketError::Forged;
            return self.refused(RequestKind::Claim, error.into());
        }
        self.take_cookie(user, &claim.cookie);
        self.ask(user, What::Claim(claim), asker)
    }

    /// Spares the ring what can be refused without the ledger. Nothing is refused for its time: that is the agent's to
    /// judge, who knows in which spans nobody could claim.
    fn check_ticket(&self, ledger: &LedgerId, user: UserId, claim: &Claim) -> Result<(), TicketError> {
        let ticket = self.secrets.tickets.open(ledger, &claim.ticket)?;
        ticket.check(self.live.show.event, user)
    }
}
