//! The end of the books: what no ticket can open goes back to who funded it, and nothing follows the closing line.

use super::Batch;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{EVENT_SPONSOR, State};
use crate::ledger::schema::from_sql;
use crate::ledger::{LedgerError, outbox, packets, transfers};
use rusqlite::Connection;
use shake_rules::{Cents, SponsorId};

impl Batch<'_> {
    /// Sends back what stands in rings, what is lost, what is void and what was never released, and writes the closing line.
    pub(in crate::ledger) fn close(&mut self) -> Result<(), LedgerError> {
        let due = self.run("read the packets of", |connection, _| packets::first_due(connection))?;
        if due.is_some() {
            return Err(LedgerError::StillOut(self.path.to_owned()));
        }
        for state in [State::Lost, State::Void, State::Released] {
            let packets = self.run("read the packets of", |connection, _| {
                packets::of_state(connection, state)
            })?;
            for (id, packet) in packets {
                let packet = match state {
                    State::Lost | State::Void => self.find_packet(id, &packet)?,
                    _ => packet,
                };
                self.refund(id, &packet)?;
            }
        }
        for sponsor in self.run("read the sponsors of", |connection, _| sponsors(connection))? {
            self.return_unreleased(sponsor)?;
        }
        self.run("write the closing line of", |connection, batch| {
            outbox::append_closing(connection, batch.now, batch.incarnation)
        })
    }

    /// What a sponsor funded and was never released, or the event has left for gifts.
    fn return_unreleased(&mut self, sponsor: SponsorId) -> Result<(), LedgerError> {
        let (from, to) = (Account::Sponsor(sponsor), Account::Refunded(sponsor));
        self.run("send back what was not released of", |connection, batch| {
            let left = batch.house.balance(connection, from)?;
            if left > 0 {
                let transfer = batch.transfer(from, to, Cents(from_sql(left)));
                transfers::append(connection, &transfer, None)?;
                batch.house.add(from, -left);
                batch.house.add(to, left);
            }
            Ok(())
        })
    }
}

/// The sponsors of the seed, and the event.
fn sponsors(connection: &Connection) -> rusqlite::Result<Vec<SponsorId>> {
    let mut statement = connection.prepare("SELECT sponsor FROM sponsors ORDER BY sponsor")?;
    let of_seed = statement.query_map([], |row| row.get(0).map(SponsorId))?;
    [Ok(EVENT_SPONSOR)].into_iter().chain(of_seed).collect()
}
