//! The end of the books: what no ticket can open goes back to who funded it, and nothing follows the closing line.

use super::Book;
use crate::ledger::accounts::Account;
use crate::ledger::outbox::ClosingRow;
use crate::ledger::packet::{EVENT_SPONSOR, State};
use crate::ledger::schema::from_sql;
use shake_rules::{Cents, PacketId, SponsorId};

impl Book {
    /// Sends back what is lost, void or released only.
    pub(in crate::ledger) fn return_packet(&mut self, id: PacketId) {
        if self
            .packet(id)
            .is_some_and(|packet| matches!(packet.state, State::Lost | State::Void))
        {
            self.find_packet(id);
        }
        self.refund(id);
    }

    /// Sends back what was never released, and what the event has left for gifts, and writes the closing line.
    pub(in crate::ledger) fn close(&mut self) {
        let bound = self.standing.bound.as_ref();
        let of_seed = bound.into_iter().flat_map(|bound| bound.released.keys().copied());
        let sponsors: Vec<SponsorId> = [EVENT_SPONSOR].into_iter().chain(of_seed).collect();
        for sponsor in sponsors {
            let left = match sponsor {
                EVENT_SPONSOR => self.gift_budget_left(),
                _ => self.balance(Account::Sponsor(sponsor)),
            };
            if left > 0 {
                let (from, to) = (Account::Sponsor(sponsor), Account::Refunded(sponsor));
                self.pay(from, to, Cents(from_sql(left)));
            }
        }
        self.take_gifts(-self.gift_budget_left());
        self.standing.numbers.outbox += 1;
        self.differences.closing = Some(ClosingRow {
            seq: self.standing.numbers.outbox,
            at: self.now,
            incarnation: self.incarnation,
        });
    }
}
