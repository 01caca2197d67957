//! The audit's own book: begun from the seed file, filled with every row of the ledger, closed with a report.
//!
//! About 50 bytes per packet of the seed and 24 per user; no I/O but reading the seed.

use super::report::{Difference, Report, SponsorRow, SponsorTotals};
use crate::ledger::{Account, State};
use crate::seed_file::{SeedFile, SeedFileError, Tally};
use shake_rules::seed::SeedHeader;
use shake_rules::{PacketId, SponsorId, UserId};
use std::collections::{BTreeMap, HashMap};

/// Differences that are named; more are counted only.
pub const DIFFERENCES_MAX: usize = 10_000;

/// A row of the table of packets, unchecked.
#[derive(Debug)]
pub(super) struct PacketRow {
    pub(super) packet: u64,
    pub(super) seed_index: i64,
    pub(super) sponsor: i64,
    pub(super) cents: i64,
    pub(super) balance: i64,
    pub(super) state: i64,
    pub(super) user: Option<i64>,
}

/// What is known of one packet of the seed.
#[derive(Debug)]
struct Entry {
    packet: u64,
    cents: u64,
    seed_index: u64,
    sponsor: SponsorId,
    state: Option<State>,
    /// The transfer that its release needs was seen.
    filled: bool,
    /// The transfer that its opening or voiding needs was seen.
    emptied: bool,
}

#[derive(Debug, Default)]
struct UserSum {
    cents: i64,
    packets: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    /// By packet.
    entries: Vec<Entry>,
    next_index: u64,
    /// Where the last packet was found: the next one is often its neighbour.
    hint: usize,
    sponsors: BTreeMap<SponsorId, SponsorTotals>,
    /// Balances by the transfers, of all but packets and users.
    house: BTreeMap<Account, i64>,
    users: HashMap<u64, UserSum>,
    user_accounts: u64,
    opened_by_users: Tally,
    stored_sum: i128,
    differences: Vec<Difference>,
    difference_count: u64,
}

impl Book {
    pub(super) fn of_seed(
        seed: &SeedFile,
        next_index: u64,
        progress: &mut impl FnMut(&'static str, u64),
    ) -> Result<Self, SeedFileError> {
        let mut book = Self {
            entries: Vec::with_capacity(seed.header().count as usize),
            next_index,
            hint: 0,
            sponsors: BTreeMap::new(),
            house: BTreeMap::new(),
            users: HashMap::new(),
            user_accounts: 0,
            opened_by_users: Tally::default(),
            stored_sum: 0,
            differences: Vec::new(),
            difference_count: 0,
        };
        seed.for_each(|seed_index, record| {
            book.sponsors.entry(record.sponsor).or_default().seed.add(record.amount.0);
            book.entries.push(Entry {
                packet: record.packet.0,
                cents: record.amount.0,
                seed_index,
                sponsor: record.sponsor,
                state: None,
                filled: false,
                emptied: false,
            });
            if seed_index.is_multiple_of(65_536) {
                progress("seed records", seed_index);
            }
        })?;
        book.entries.sort_unstable_by_key(|entry| entry.packet);
        let twice: Vec<u64> =
            book.entries.windows(2).filter(|pair| pair[0].packet == pair[1].packet).map(|pair| pair[0].packet).collect();
        for packet in twice {
            book.differ_packet("packet_twice", packet, "once in the seed", "twice");
        }
        Ok(book)
    }

    /// A row of the table of packets.
    pub(super) fn packet(&mut self, row: &PacketRow) {
        self.stored_sum += i128::from(row.balance);
        let Some(at) = self.find(row.packet) else {
            self.differ_packet("packet_extra", row.packet, "not in the ledger (the seed has no such packet)", "released");
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
            self.differ_packet("packet_state", row.packet, "a known state, with a user where it needs one", row.state);
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
        let accounts = (Account::from_columns(debit.0, debit.1), Account::from_columns(credit.0, credit.1));
        let (Some(from), Some(to)) = accounts else {
            let found = format!("kinds {} and {}", debit.0, credit.0);
            self.differ("transfer_account", format!("transfer {id}"), None, "two known accounts", found);
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
                self.differ("transfer_kind", format!("transfer {id}"), None, "funding, release, opening or voiding", found);
            }
        }
    }

    /// A packet's release.
    fn filled(&mut self, id: i64, sponsor: SponsorId, packet: PacketId, cents: i64) {
        let subject = |packet: PacketId| format!("transfer {id}, the release of packet {packet}");
        let Some(at) = self.find(packet.0) else {
            self.differ("transfer_extra", subject(packet), Some(packet.0), "none (the seed has no such packet)", cents);
            return;
        };
        let entry = &mut self.entries[at];
        let again = std::mem::replace(&mut entry.filled, true);
        let (expected_cents, expected_sponsor, is_there) = (entry.cents, entry.sponsor, entry.state.is_some());
        if again {
            self.differ("transfer_twice", subject(packet), Some(packet.0), "one release", "another");
        }
        if cents != expected_cents as i64 {
            self.differ("transfer_amount", subject(packet), Some(packet.0), expected_cents, cents);
        }
        if sponsor != expected_sponsor {
            let (expected, found) = (format!("sponsor {expected_sponsor}"), format!("sponsor {sponsor}"));
            self.differ("transfer_sponsor", subject(packet), Some(packet.0), expected, found);
        }
        if !is_there {
            self.differ("packet_missing", subject(packet), Some(packet.0), "the packet's row in a known state", "none");
        }
    }

    /// A packet's opening or voiding.
    fn emptied(&mut self, id: i64, packet: PacketId, to: Account, cents: i64) {
        let subject = |packet: PacketId| format!("transfer {id}, packet {packet} to {to}");
        let Some(at) = self.find(packet.0) else {
            self.differ("transfer_extra", subject(packet), Some(packet.0), "none (the seed has no such packet)", cents);
            return;
        };
        let entry = &mut self.entries[at];
        let again = std::mem::replace(&mut entry.emptied, true);
        let (expected_cents, sponsor, state) = (entry.cents, entry.sponsor, entry.state);
        if again {
            self.differ("transfer_twice", subject(packet), Some(packet.0), "one opening or voiding", "another");
        }
        if cents != expected_cents as i64 {
            self.differ("transfer_amount", subject(packet), Some(packet.0), expected_cents, cents);
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
            self.differ("transfer_state", subject(packet), Some(packet.0), expected, format!("to {to}"));
        }
        let totals = self.sponsors.entry(sponsor).or_default();
        let column = if to == Account::Void { &mut totals.void } else { &mut totals.opened };
        column.cents = column.cents.saturating_add(u64::try_from(cents).unwrap_or(0));
    }

    /// A stored balance of the bank, the void or a sponsor.
    pub(super) fn house_balance(&mut self, kind: i64, id: i64, balance: i64) {
        self.stored_sum += i128::from(balance);
        let account = match Account::from_columns(kind, id) {
            Some(account @ (Account::Bank | Account::Void | Account::Sponsor(_))) => account,
            _ => {
                self.differ("account_extra", format!("account {id} of kind {kind}"), None, "no such account", balance);
                return;
            }
        };
        let expected = self.house.remove(&account).unwrap_or(0);
        if balance != expected {
            self.differ("account_balance", account.to_string(), None, format!("{expected} by the transfers"), balance);
        }
        if let Account::Sponsor(sponsor) = account {
            let left = u64::try_from(balance).unwrap_or(0);
            self.sponsors.entry(sponsor).or_default().unreleased.cents = left;
        }
    }

    /// A stored balance of a user.
    pub(super) fn user_balance(&mut self, user: u64, balance: i64, packets: i64) {
        self.stored_sum += i128::from(balance);
        self.user_accounts += 1;
        self.opened_by_users.packets += u64::try_from(packets).unwrap_or(0);
        self.opened_by_users.cents += u64::try_from(balance).unwrap_or(0);
        let expected = self.users.remove(&user).unwrap_or_default();
        if balance != expected.cents {
            let expected = format!("{} by the transfers", expected.cents);
            self.differ("account_balance", Account::User(UserId(user)).to_string(), None, expected, balance);
        }
        if packets != expected.packets {
            let subject = format!("packets opened by user {user}");
            self.differ("user_packets", subject, None, format!("{} by the transfers", expected.packets), packets);
        }
    }

    /// Closes the book: looks for what is missing, and sums up.
    pub(super) fn close(mut self, header: SeedHeader) -> Report {
        self.find_missing();
        for (account, expected) in std::mem::take(&mut self.house) {
            if expected != 0 {
                self.differ("account_missing", account.to_string(), None, format!("{expected} by the transfers"), "none");
            }
        }
        for (user, expected) in std::mem::take(&mut self.users) {
            let account = Account::User(UserId(user)).to_string();
            self.differ("account_missing", account, None, format!("{} by the transfers", expected.cents), "none");
        }
        if self.stored_sum != 0 {
            self.differ("zero_sum", "the sum of all balances", None, 0, self.stored_sum);
        }
        let mut total = SponsorTotals::default();
        let mut sponsors = Vec::new();
        for (sponsor, mut totals) in std::mem::take(&mut self.sponsors) {
            totals.held = totals.released;
            totals.held.merge(totals.issued);
            if !totals.is_balanced() {
                let found: Vec<_> =
                    totals.columns().iter().map(|(name, t)| format!("{name} {}/{}", t.packets, t.cents)).collect();
                let subject = format!("sponsor {sponsor}, packets/cents");
                self.differ("sponsor_sum", subject, None, "seed = unreleased + held + opened + void", found.join(", "));
            }
            total.merge(&totals);
            sponsors.push(SponsorRow {
                sponsor: sponsor.0,
                totals,
            });
        }
        let void = self.entries.iter().filter(|entry| entry.state == Some(State::Void));
        Report {
            balanced: self.difference_count == 0,
            event: header.event.0,
            part: header.part,
            parts: header.parts,
            total,
            sponsors,
            users: self.opened_by_users,
            user_accounts: self.user_accounts,
            balance_sum_cents: self.stored_sum,
            difference_count: self.difference_count,
            void_packets: void.map(|entry| entry.packet).collect(),
            differences: self.differences,
        }
    }

    /// Packets and transfers that ought to be there.
    fn find_missing(&mut self) {
        for Missing { packet, kind, expected } in self.missing() {
            self.differ_packet(kind, packet, expected, "none");
        }
        for entry in &self.entries {
            if entry.state.is_none() {
                self.sponsors.entry(entry.sponsor).or_default().unreleased.packets += 1;
            }
        }
    }

    fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut add = |entry: &Entry, kind, expected| {
            missing.push(Missing {
                packet: entry.packet,
                kind,
                expected,
            });
        };
        for entry in &self.entries {
            match entry.state {
                None if entry.seed_index < self.next_index && !entry.filled => {
                    add(entry, "packet_missing", "released, as all records before it");
                }
                None => {}
                Some(_) if !entry.filled => add(entry, "transfer_missing", "a transfer from its sponsor"),
                Some(State::Opened(_)) if !entry.emptied => add(entry, "transfer_missing", "a transfer to its user"),
                Some(State::Void) if !entry.emptied => add(entry, "transfer_missing", "a transfer to the void"),
                Some(_) => {}
            }
        }
        missing
    }

    fn find(&mut self, packet: u64) -> Option<usize> {
        let next = self.hint + 1;
        let at = match self.entries.get(next) {
            Some(entry) if entry.packet == packet => next,
            _ => self.entries.binary_search_by_key(&packet, |entry| entry.packet).ok()?,
        };
        self.hint = at;
        Some(at)
    }

    fn differ_packet(&mut self, kind: &'static str, packet: u64, expected: impl ToString, found: impl ToString) {
        self.differ(kind, format!("packet {packet}"), Some(packet), expected, found);
    }

    fn differ(
        &mut self,
        kind: &'static str,
        subject: impl ToString,
        packet: Option<u64>,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference {
                kind,
                subject: subject.to_string(),
                packet,
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

/// What ought to be there of a packet, and is not.
struct Missing {
    packet: u64,
    kind: &'static str,
    expected: &'static str,
}
