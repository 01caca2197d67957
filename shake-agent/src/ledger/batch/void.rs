//! The void: the money of packets that nobody can open, or of which nobody can say it, or that somebody else has paid.

use super::Batch;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{Held, Packet, State};
use crate::ledger::schema::to_sql;
use crate::ledger::{LedgerError, packets, transfers};
use shake_rules::PacketId;

impl Batch<'_> {
    /// There is no ticket for the packets, and there will be none; what is in them goes to the void.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn void_packets(&mut self, held: &[Held]) -> Result<(), LedgerError> {
        self.give_up(held, State::Void)
    }

    /// Nobody can say whether there are tickets for the packets; what is in them lies in the void until one is shown.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn lose_packets(&mut self, held: &[Held]) -> Result<(), LedgerError> {
        self.give_up(held, State::Lost)
    }

    /// Commits that are lost opened the packets, and whoever pays has their lines; what is in them goes to the void and stays
    /// there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_paid(&mut self, held: &[Held]) -> Result<(), LedgerError> {
        self.give_up(held, State::Paid)
    }

    /// The same of a packet that is lost: its money lies in the void already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_paid_lost(&mut self, packet: PacketId) -> Result<(), LedgerError> {
        self.run("close a packet in", |connection, batch| {
            packets::set_closed(connection, packet, State::Paid, batch.now)
        })
    }

    /// What was in a packet comes back from the void: it was lost and has a ticket, or the ledger is being closed. The caller has
    /// found it lost or void, and issues, opens or refunds it in this transaction.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn find_packet(&mut self, id: PacketId, packet: &Packet) -> Result<Packet, LedgerError> {
        let transfer = self.transfer(Account::Void, Account::Packet(id), packet.amount);
        self.run("find a packet in", |connection, batch| {
            transfers::append(connection, &transfer, None)?;
            packets::set_found(connection, id)?;
            batch.house.add(Account::Void, -to_sql(packet.amount.0));
            Ok(())
        })?;
        Ok(Packet {
            state: State::Released,
            left: packet.amount,
            shares_left: packet.shares,
            ..*packet
        })
    }

    fn give_up(&mut self, held: &[Held], state: State) -> Result<(), LedgerError> {
        for held in held {
            let transfer = self.transfer(Account::Packet(held.packet), Account::Void, held.amount);
            self.run("give up a packet in", |connection, batch| {
                packets::set_closed(connection, held.packet, state, batch.now)?;
                transfers::append(connection, &transfer, None)?;
                batch.house.add(Account::Void, to_sql(held.amount.0));
                Ok(())
            })?;
        }
        Ok(())
    }
}
