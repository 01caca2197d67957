//! `Claim`: checks the ticket here, and asks the ledger to open the packet.

use super::serving::{Answer, Asker, Serving};
use crate::counters::AskKind;
use shake_proto::handoff::record::What;
use shake_proto::request::Claim;
use shake_rules::UserId;
use shake_rules::ticket::TicketError;

impl Serving {
    pub(super) fn claim(&mut self, user: UserId, claim: Claim, asker: Asker) -> Answer {
        if let Err(error) = self.check_ticket(user, &claim) {
            return self.refused(AskKind::Claim, error.into());
        }
        self.take_cookie(user, &claim.cookie);
        self.ask(user, What::Claim(claim), asker)
    }

    /// Spares the ring what can be refused without the ledger. An expired ticket goes to the agent all the same: if it
    /// was opened in time, the answer stands.
    fn check_ticket(&self, user: UserId, claim: &Claim) -> Result<(), TicketError> {
        let ticket = self.secrets.tickets.open(&claim.ticket)?;
        match ticket.check(self.live.show.event, user, self.now.unix) {
            Err(TicketError::Expired) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
