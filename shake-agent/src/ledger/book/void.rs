//! The void: the money of packets that nobody can open, or of which nobody can say it, or that somebody else has paid.

use super::Book;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{Held, State};
use shake_rules::PacketId;

impl Book {
    /// There is no ticket for the packets, and there will be none; what is in them goes to the void.
    pub fn void_packets(&mut self, held: &[Held]) {
        self.give_up(held, State::Void);
    }

    /// Nobody can say whether there are tickets for the packets; what is in them lies in the void until one is shown.
    pub fn lose_packets(&mut self, held: &[Held]) {
        self.give_up(held, State::Lost);
    }

    /// Commits that are lost opened the packets, and whoever pays has their lines; what is in them goes to the void and stays
    /// there.
    pub fn note_paid(&mut self, held: &[Held]) {
        self.give_up(held, State::Paid);
    }

    /// The same of a packet that is lost: its money lies in the void already.
    pub fn note_paid_lost(&mut self, packet: PacketId) {
        let at = self.now;
        self.view.change_packet(packet).close(State::Paid, at);
    }

    /// What was in a packet comes back from the void: it was lost and has a ticket, or the ledger is being closed. The caller has
    /// found it lost or void, and issues, opens or refunds it in this transaction.
    pub fn find_packet(&mut self, id: PacketId) {
        let packet = self.view.change_packet(id);
        packet.find();
        let amount = packet.amount;
        self.pay(Account::Void, Account::Packet(id), amount);
    }

    fn give_up(&mut self, held: &[Held], state: State) {
        let at = self.now;
        for held in held {
            self.view.change_packet(held.packet).close(state, at);
            self.pay(Account::Packet(held.packet), Account::Void, held.amount);
        }
    }
}
