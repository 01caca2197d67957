//! The two large tables, row by row: each packet against its record of the seed, each transfer against its packet.

use super::book::{Book, PacketRow};
use crate::ledger::{Account, State};
use shake_rules::{PacketId, SponsorId};

impl Book {
    /// A row of the table of packets.
    pub(super) fn packet(&mut self, row: &PacketRow) {
        self.stored_sum += i128::from(row.balance);
        let Some(at) = self.find(row.packet) else {
            self.differ_packet(
                "packet_extra",
                row.packet,
                "not in the ledger (the seed has no such packet)",
                "released",
            );
            return;
        };
        let entry = &self.entries[at];
        let (cents, sponsor, seed_index) = (entry.cents, entry.sponsor, entry.seed_index);
        if row.cents != cents as i64 {
            self.differ_packet("packet_amount", row.packet, cents, row.cents);
        }
        if row.sponsor != i64::from(sponsor.0) {
            self.differ_packet("packet_sponsor", row.packet, sponsor, row.sponsor);
        }
        if row.seed_index != seed_index as i64 {
            self.differ_packet("packet_index", row.packet, seed_index, row.seed_index);
        }
        if seed_index >= self.next_index {
            let expected = format!("unreleased (records are released up to {})", self.next_index);
            self.differ_packet("packet_released_early", row.packet, expected, "released");
        }
        let Some(state) = State::from_columns(row.state, row.user) else {
            self.differ_packet(
                "packet_state",
                row.packet,
                "a known state, with a user where it needs one",
                row.state,
            );
            return;
        };
        let expected = match state {
            State::Released | State::Issued(_) => cents as i64,
            State::Opened(_) | State::Void => 0,
        };
        if row.balance != expected {
            let subject = format!("packet {} ({})", row.packet, state.name());
            self.differ("packet_balance", subject, Some(row.packet), expected, row.balance);
        }
        let totals = self.sponsors.entry(sponsor).or_default();
        let in_it = u64::try_from(row.balance).unwrap_or(0);
        match state {
            State::Released => totals.released.add(in_it),
            State::Issued(_) => totals.issued.add(in_it),
            // The cents of these two come from the transfers.
            State::Opened(_) => totals.opened.packets += 1,
            State::Void => totals.void.packets += 1,
        }
        self.entries[at].state = Some(state);
    }

    /// A row of the journal.
    pub(super) fn transfer(&mut self, id: i64, debit: (i64, i64), credit: (i64, i64), cents: i64) {
        let accounts = (
            Account::from_columns(debit.0, debit.1),
            Account::from_columns(credit.0, credit.1),
        );
        let (Some(from), Some(to)) = accounts else {
            let found = format!("kinds {} and {}", debit.0, credit.0);
            self.differ(
                "transfer_account",
                format!("transfer {id}"),
                None,
                "two known accounts",
                found,
            );
            return;
        };
        for (account, change) in [(from, -cents), (to, cents)] {
            match account {
                Account::Packet(_) => {}
                Account::User(user) => {
                    let sum = self.users.entry(user.0).or_default();
                    sum.cents += change;
                    sum.packets += 1;
                }
                house => *self.house.entry(house).or_default() += change,
            }
        }
        match (from, to) {
            // The sum per sponsor is compared at the end.
            (Account::Bank, Account::Sponsor(_)) => {}
            (Account::Sponsor(sponsor), Account::Packet(packet)) => self.filled(id, sponsor, packet, cents),
            (Account::Packet(packet), Account::User(_) | Account::Void) => self.emptied(id, packet, to, cents),
            _ => {
                let found = format!("{cents} cents from {from} to {to}");
                self.differ(
                    "transfer_kind",
                    format!("transfer {id}"),
                    None,
                    "funding, release, opening or voiding",
                    found,
                );
            }
        }
    }

    /// A packet's release.
    fn filled(&mut self, id: i64, sponsor: SponsorId, packet: PacketId, cents: i64) {
        let subject = |packet: PacketId| format!("transfer {id}, the release of packet {packet}");
        let Some(at) = self.find(packet.0) else {
            self.differ(
                "transfer_extra",
                subject(packet),
                Some(packet.0),
                "none (the seed has no such packet)",
                cents,
            );
            return;
        };
        let entry = &mut self.entries[at];
        let again = std::mem::replace(&mut entry.filled, true);
        let (expected_cents, expected_sponsor, is_there) = (entry.cents, entry.sponsor, entry.state.is_some());
        if again {
            self.differ(
                "transfer_twice",
                subject(packet),
                Some(packet.0),
                "one release",
                "another",
            );
        }
        if cents != expected_cents as i64 {
            self.differ(
                "transfer_amount",
                subject(packet),
                Some(packet.0),
                expected_cents,
                cents,
            );
        }
        if sponsor != expected_sponsor {
            let (expected, found) = (format!("sponsor {expected_sponsor}"), format!("sponsor {sponsor}"));
            self.differ("transfer_sponsor", subject(packet), Some(packet.0), expected, found);
        }
        if !is_there {
            self.differ(
                "packet_missing",
                subject(packet),
                Some(packet.0),
                "the packet's row in a known state",
                "none",
            );
        }
    }

    /// A packet's opening or voiding.
    fn emptied(&mut self, id: i64, packet: PacketId, to: Account, cents: i64) {
        let subject = |packet: PacketId| format!("transfer {id}, packet {packet} to {to}");
        let Some(at) = self.find(packet.0) else {
            self.differ(
                "transfer_extra",
                subject(packet),
                Some(packet.0),
                "none (the seed has no such packet)",
                cents,
            );
            return;
        };
        let entry = &mut self.entries[at];
        let again = std::mem::replace(&mut entry.emptied, true);
        let (expected_cents, sponsor, state) = (entry.cents, entry.sponsor, entry.state);
        if again {
            self.differ(
                "transfer_twice",
                subject(packet),
                Some(packet.0),
                "one opening or voiding",
                "another",
            );
        }
        if cents != expected_cents as i64 {
            self.differ(
                "transfer_amount",
                subject(packet),
                Some(packet.0),
                expected_cents,
                cents,
            );
        }
        let expected = match state {
            Some(State::Opened(user)) => Some(Account::User(user)),
            Some(State::Void) => Some(Account::Void),
            _ => None,
        };
        if expected != Some(to) {
            let expected = expected.map_or_else(
                || format!("none (the packet is {})", state.map_or("unreleased", State::name)),
                |account| format!("to {account}"),
            );
            self.differ(
                "transfer_state",
                subject(packet),
                Some(packet.0),
                expected,
                format!("to {to}"),
            );
        }
        let totals = self.sponsors.entry(sponsor).or_default();
        let column = if to == Account::Void {
            &mut totals.void
        } else {
            &mut totals.opened
        };
        column.cents = column.cents.saturating_add(u64::try_from(cents).unwrap_or(0));
    }
}
