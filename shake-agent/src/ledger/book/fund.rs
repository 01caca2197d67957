//! Where all money comes from: the bank funds the sponsors of the seed, and the event.

use super::Book;
use crate::ledger::accounts::Account;
use crate::ledger::differences::SeedRow;
use crate::ledger::packet::EVENT_SPONSOR;
use crate::seed_file::Tally;
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, LedgerId, SponsorId};
use std::collections::BTreeMap;

impl Book {
    /// Ties the ledger to its seed, and has the bank fund each sponsor with the sponsor's sum.
    pub(in crate::ledger) fn fund(
        &mut self,
        header: &SeedHeader,
        identity: LedgerId,
        sponsors: &BTreeMap<SponsorId, Tally>,
    ) {
        self.differences.seed = Some(SeedRow {
            header: *header,
            identity,
            sponsors: sponsors
                .iter()
                .map(|(&sponsor, tally)| (sponsor, tally.packets))
                .collect(),
        });
        for (&sponsor, tally) in sponsors {
            self.pay(Account::Bank, Account::Sponsor(sponsor), Cents(tally.cents));
        }
    }

    /// The bank gives the event so much more to give away in gifts.
    pub(in crate::ledger) fn fund_gifts(&mut self, more: Cents) {
        let before = self.standing.bound.as_ref().map_or(0, |bound| bound.gift_budget.0);
        self.differences.gift_budget = Some(Cents(before + more.0));
        self.pay(Account::Bank, Account::Sponsor(EVENT_SPONSOR), more);
    }

    /// So many cents are drawn for gifts, from money that is the event's already.
    pub(in crate::ledger) fn take_gifts(&mut self, cents: i64) {
        if let Some(gifts) = &mut self.standing.gifts {
            *gifts += cents;
        }
    }
}
