//! The audit's own book: begun from the seed file, filled with every row of the ledger, closed with a report.
//!
//! About 50 bytes per packet of the seed and 24 per user; no I/O but reading the seed.

use super::report::{Difference, Report, SponsorRow, SponsorTotals};
use crate::ledger::{Account, State};
use crate::seed_file::{SeedFile, SeedFileError, Tally};
use shake_rules::seed::SeedHeader;
use shake_rules::{SponsorId, UserId};
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
pub(super) struct Entry {
    pub(super) packet: u64,
    pub(super) cents: u64,
    pub(super) seed_index: u64,
    pub(super) sponsor: SponsorId,
    pub(super) state: Option<State>,
    /// The transfer that its release needs was seen.
    pub(super) filled: bool,
    /// The transfer that its opening or voiding needs was seen.
    pub(super) emptied: bool,
}

#[derive(Debug, Default)]
pub(super) struct UserSum {
    pub(super) cents: i64,
    pub(super) packets: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    /// By packet.
    pub(super) entries: Vec<Entry>,
    pub(super) next_index: u64,
    /// Where the last packet was found: the next one is often its neighbour.
    hint: usize,
    pub(super) sponsors: BTreeMap<SponsorId, SponsorTotals>,
    /// Balances by the transfers, of all but packets and users.
    pub(super) house: BTreeMap<Account, i64>,
    pub(super) users: HashMap<u64, UserSum>,
    user_accounts: u64,
    opened_by_users: Tally,
    pub(super) stored_sum: i128,
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
            book.sponsors
                .entry(record.sponsor)
                .or_default()
                .seed
                .add(record.amount.0);
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
        let twice: Vec<u64> = book
            .entries
            .windows(2)
            .filter(|pair| pair[0].packet == pair[1].packet)
            .map(|pair| pair[0].packet)
            .collect();
        for packet in twice {
            book.differ_packet("packet_twice", packet, "once in the seed", "twice");
        }
        Ok(book)
    }

    /// A stored balance of the bank, the void or a sponsor.
    pub(super) fn house_balance(&mut self, kind: i64, id: i64, balance: i64) {
        self.stored_sum += i128::from(balance);
        let account = match Account::from_columns(kind, id) {
            Some(account @ (Account::Bank | Account::Void | Account::Sponsor(_))) => account,
            _ => {
                self.differ(
                    "account_extra",
                    format!("account {id} of kind {kind}"),
                    None,
                    "no such account",
                    balance,
                );
                return;
            }
        };
        let expected = self.house.remove(&account).unwrap_or(0);
        if balance != expected {
            self.differ(
                "account_balance",
                account.to_string(),
                None,
                format!("{expected} by the transfers"),
                balance,
            );
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
            self.differ(
                "account_balance",
                Account::User(UserId(user)).to_string(),
                None,
                expected,
                balance,
            );
        }
        if packets != expected.packets {
            let subject = format!("packets opened by user {user}");
            self.differ(
                "user_packets",
                subject,
                None,
                format!("{} by the transfers", expected.packets),
                packets,
            );
        }
    }

    /// Closes the book: looks for what is missing, and sums up.
    pub(super) fn close(mut self, header: SeedHeader) -> Report {
        self.find_missing();
        for (account, expected) in std::mem::take(&mut self.house) {
            if expected != 0 {
                self.differ(
                    "account_missing",
                    account.to_string(),
                    None,
                    format!("{expected} by the transfers"),
                    "none",
                );
            }
        }
        for (user, expected) in std::mem::take(&mut self.users) {
            let account = Account::User(UserId(user)).to_string();
            self.differ(
                "account_missing",
                account,
                None,
                format!("{} by the transfers", expected.cents),
                "none",
            );
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
                let found: Vec<_> = totals
                    .columns()
                    .iter()
                    .map(|(name, t)| format!("{name} {}/{}", t.packets, t.cents))
                    .collect();
                let subject = format!("sponsor {sponsor}, packets/cents");
                self.differ(
                    "sponsor_sum",
                    subject,
                    None,
                    "seed = unreleased + held + opened + void",
                    found.join(", "),
                );
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

    pub(super) fn find(&mut self, packet: u64) -> Option<usize> {
        let next = self.hint + 1;
        let at = match self.entries.get(next) {
            Some(entry) if entry.packet == packet => next,
            _ => self.entries.binary_search_by_key(&packet, |entry| entry.packet).ok()?,
        };
        self.hint = at;
        Some(at)
    }

    pub(super) fn differ_packet(
        &mut self,
        kind: &'static str,
        packet: u64,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.differ(kind, format!("packet {packet}"), Some(packet), expected, found);
    }

    pub(super) fn differ(
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
