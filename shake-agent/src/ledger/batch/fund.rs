//! Where all money comes from: the bank funds the sponsors of the seed, and the event.

use super::Batch;
use crate::ledger::LedgerError;
use crate::ledger::accounts::Account;
use crate::ledger::packet::EVENT_SPONSOR;
use crate::ledger::schema::to_sql;
use crate::ledger::transfers;
use crate::seed_file::Tally;
use rusqlite::{Connection, params};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, LedgerId, SponsorId};
use std::collections::BTreeMap;

impl Batch<'_> {
    /// Stores the seed, and has the bank fund each sponsor with the sponsor's sum.
    pub(in crate::ledger) fn fund(
        &mut self,
        header: &SeedHeader,
        identity: LedgerId,
        sponsors: &BTreeMap<SponsorId, Tally>,
    ) -> Result<(), LedgerError> {
        self.run("store the seed in", |connection, _| {
            store_seed(connection, header, identity)
        })?;
        for (&sponsor, tally) in sponsors {
            self.run("store a sponsor in", |connection, _| {
                connection
                    .execute(
                        "INSERT INTO sponsors (sponsor, packets, released) VALUES (?1, ?2, 0)",
                        params![sponsor.0, to_sql(tally.packets)],
                    )
                    .map(drop)
            })?;
            self.fund_sponsor(sponsor, Cents(tally.cents))?;
        }
        Ok(())
    }

    /// The bank gives the event more to give away in gifts.
    pub(in crate::ledger) fn fund_gifts(&mut self, more: Cents) -> Result<(), LedgerError> {
        self.run("store the gift budget in", |connection, _| {
            connection
                .execute(
                    "UPDATE seed SET gift_budget_cents = gift_budget_cents + ?1",
                    [to_sql(more.0)],
                )
                .map(drop)
        })?;
        self.fund_sponsor(EVENT_SPONSOR, more)
    }

    fn fund_sponsor(&mut self, sponsor: SponsorId, amount: Cents) -> Result<(), LedgerError> {
        let transfer = self.transfer(Account::Bank, Account::Sponsor(sponsor), amount);
        self.run("fund a sponsor in", |connection, batch| {
            transfers::append(connection, &transfer, None)?;
            batch.house.add(Account::Bank, -to_sql(amount.0));
            batch.house.add(Account::Sponsor(sponsor), to_sql(amount.0));
            Ok(())
        })
    }
}

fn store_seed(connection: &Connection, header: &SeedHeader, identity: LedgerId) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, gift_budget_cents, identity)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
        params![
            header.event.0,
            header.part,
            header.parts,
            to_sql(header.count),
            to_sql(header.total.0),
            header.records_crc,
            identity.0
        ],
    )?;
    Ok(())
}
