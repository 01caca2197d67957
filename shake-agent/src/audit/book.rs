//! The audit's own book: begun from the seed files, filled with every row of the ledger, closed with a report.
//!
//! About 90 bytes per packet and 32 per user; no I/O but reading the seed.

use super::days::Days;
use super::report::{CreditTally, Difference, SentTotals, SponsorTotals};
use crate::ledger::{Account, EVENT_SPONSOR, Origin, PartBooks, Reader, State, shares_of};
use crate::seed_file::{SeedFile, SeedFileError, Tally};
use crate::seed_fleet::file_name;
use shake_rules::{PacketId, SponsorId, UserId};
use std::collections::{BTreeMap, HashMap};

/// Differences that are named; more are counted only.
pub const DIFFERENCES_MAX: usize = 10_000;

/// What is known of one packet of the seed, or of one that was sent or given.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) packet: u64,
    pub(super) cents: u64,
    pub(super) origin: Origin,
    pub(super) shares: u16,
    /// Whose seed it is of, or who made it.
    pub(super) part: u16,
    /// Its record in the seed; meaningless for others.
    pub(super) seed_index: u32,

    // By its row:
    pub(super) state: Option<State>,
    pub(super) is_opened: bool,
    /// Who it was issued to.
    pub(super) user: Option<UserId>,
    pub(super) stage: Option<u16>,
    pub(super) shares_left: u16,
    pub(super) balance: i64,

    // By the transfers:
    /// What it holds was paid in.
    pub(super) filled: bool,
    /// The user it was issued to got a part.
    pub(super) winner_paid: bool,
    /// Shares paid to users, and their sum.
    pub(super) paid: u32,
    pub(super) paid_cents: u64,
    /// Transfers back to who funded it, and their sum.
    pub(super) closings: u32,
    pub(super) closed_cents: u64,
    /// What of it lies in the void.
    pub(super) void_cents: i64,
    /// It came back from there.
    pub(super) came_back: bool,
}

impl Entry {
    pub(super) fn new(packet: u64, cents: u64, origin: Origin, shares: u16, part: u16, seed_index: u32) -> Self {
        Self {
            packet,
            cents,
            origin,
            shares,
            part,
            seed_index,
            state: None,
            is_opened: false,
            user: None,
            stage: None,
            shares_left: shares,
            balance: 0,
            filled: false,
            winner_paid: false,
            paid: 0,
            paid_cents: 0,
            closings: 0,
            closed_cents: 0,
            void_cents: 0,
            came_back: false,
        }
    }

    /// Whose totals it belongs to: of which part, and of which sponsor; none for what users sent.
    pub(super) fn owner(&self) -> Option<(u16, SponsorId)> {
        match self.origin {
            Origin::Seed(sponsor) => Some((self.part, sponsor)),
            Origin::Gift => Some((self.part, EVENT_SPONSOR)),
            Origin::Sent(_) => None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct UserSum {
    pub(super) cents: i64,
    pub(super) packets: i64,
    /// The last transfer that moved this user's money.
    pub(super) last: Option<i64>,
    /// Lines in the outbox.
    pub(super) lines: i64,
}

/// What the numbers of lines are proved by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Nothing: a ledger of version 2 has lines of credits only, without number and balance.
    None,
    /// The one journal, in whose order each user's lines are.
    Journal,
    /// The lines of each user, in the user's own order: the journals of several parts have none in common.
    Users,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Book {
    /// By packet. Those of the seed come first: the others' ids are larger than all of them.
    pub(super) entries: Vec<Entry>,
    /// What the ledger says of each part.
    pub(super) parts: BTreeMap<u16, PartBooks>,
    /// Where the last packet was found: the next one is often its neighbour.
    hint: usize,
    /// By part and sponsor.
    pub(super) sponsors: BTreeMap<(u16, SponsorId), SponsorTotals>,
    /// Stored balances of sponsors. Those of the event may be below zero in a part that gave what came back in another.
    pub(super) unreleased: BTreeMap<(u16, SponsorId), i64>,
    pub(super) sent: SentTotals,
    /// Balances by the transfers of each part, of all but packets and users.
    pub(super) house: BTreeMap<(u16, Account), i64>,
    /// What the bank gave the event, by the transfers of each part.
    pub(super) gifts_funded: BTreeMap<u16, i64>,
    /// What the event has left for gifts by the rows that parts draw by; `None` where none draws.
    pub(super) gifts_there: Option<i64>,
    pub(super) users: HashMap<u64, UserSum>,
    pub(super) outbox: BTreeMap<&'static str, CreditTally>,
    pub(super) numbering: Numbering,
    /// What is void may have stayed so in a closed ledger.
    pub(super) may_be_void: bool,
    /// The last line of each part.
    pub(super) last_seqs: BTreeMap<u16, i64>,
    /// The last line of users' own lists: user, number, balance.
    pub(super) line_before: (u64, i64, i64),
    pub(super) phases: BTreeMap<Option<u16>, CreditTally>,
    /// What users got out of packets of a sponsor that were won or given in a phase.
    pub(super) grants: BTreeMap<(SponsorId, Option<u16>), CreditTally>,
    pub(super) days: Days,
    /// When parts were closed, by their closing lines.
    pub(super) closed_ms: BTreeMap<u16, u64>,
    /// What sponsors got back without its being released, by the transfers of each part.
    pub(super) returned: BTreeMap<(u16, SponsorId), i64>,
    pub(super) user_accounts: u64,
    pub(super) users_owed: u64,
    pub(super) opened_by_users: Tally,
    pub(super) stored_sum: i128,
    pub(super) differences: Vec<Difference>,
    pub(super) difference_count: u64,
}

impl Book {
    /// One that knows what the seeds have.
    pub(super) fn of_seeds(
        seeds: &[SeedFile],
        days: Days,
        progress: &mut impl FnMut(&'static str, u64),
    ) -> Result<Self, SeedFileError> {
        let count: u64 = seeds.iter().map(|seed| seed.header().count).sum();
        let mut book = Self {
            entries: Vec::with_capacity(count as usize),
            parts: BTreeMap::new(),
            hint: 0,
            sponsors: BTreeMap::new(),
            unreleased: BTreeMap::new(),
            sent: SentTotals::default(),
            house: BTreeMap::new(),
            gifts_funded: BTreeMap::new(),
            gifts_there: None,
            users: HashMap::new(),
            outbox: BTreeMap::new(),
            numbering: Numbering::Journal,
            may_be_void: false,
            last_seqs: BTreeMap::new(),
            line_before: (0, 0, 0),
            phases: BTreeMap::new(),
            grants: BTreeMap::new(),
            days,
            closed_ms: BTreeMap::new(),
            returned: BTreeMap::new(),
            user_accounts: 0,
            users_owed: 0,
            opened_by_users: Tally::default(),
            stored_sum: 0,
            differences: Vec::new(),
            difference_count: 0,
        };
        for seed in seeds {
            let part = seed.header().part;
            seed.for_each(|seed_index, record| {
                let totals = book.sponsors.entry((part, record.sponsor)).or_default();
                totals.seed.add(record.amount.0);
                let origin = Origin::Seed(record.sponsor);
                let (packet, cents, index) = (record.packet.0, record.amount.0, seed_index as u32);
                let entry = Entry::new(packet, cents, origin, shares_of(&record), part, index);
                book.entries.push(entry);
                if seed_index.is_multiple_of(65_536) {
                    progress("seed records", seed_index);
                }
            })?;
        }
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

    /// What the ledger says of the parts that the seeds are of.
    pub(super) fn take_parts(&mut self, reader: &Reader, parts: Vec<PartBooks>) {
        let is_older = parts.iter().any(|books| books.bound.identity.is_none());
        self.numbering = match (reader.is_shared(), is_older) {
            (true, _) => Numbering::Users,
            (false, true) => Numbering::None,
            (false, false) => Numbering::Journal,
        };
        self.may_be_void = parts.iter().any(|books| reader.is_older(&books.bound));
        // The bank has funded nobody yet there: all of it is in the seed.
        for books in parts.iter().filter(|books| !books.is_begun) {
            let part = books.bound.header.part;
            for (&owner, totals) in self.sponsors.range((part, SponsorId(0))..=(part, SponsorId(u16::MAX))) {
                self.unreleased.insert(owner, totals.seed.cents as i64);
            }
        }
        self.parts = parts
            .into_iter()
            .map(|books| (books.bound.header.part, books))
            .collect();
    }

    /// The number of a part's next line.
    pub(super) fn line_after(&self, part: u16) -> i64 {
        let last = self.last_seqs.get(&part).copied().unwrap_or(0);
        self.parts.get(&part).map_or(last + 1, |books| books.line_after(last))
    }

    /// Whether the parts of an event share the ledger.
    pub(super) fn is_shared(&self) -> bool {
        self.numbering == Numbering::Users
    }

    /// What is said of a part's own books, where there are those of others.
    pub(super) fn of_part(&self, part: u16) -> String {
        if self.is_shared() {
            format!(" of {}", file_name(part))
        } else {
            String::new()
        }
    }

    /// A stored balance of a part's bank, void, sponsor, or what came back to one.
    pub(super) fn house_balance(&mut self, part: u16, kind: i64, id: i64, balance: i64) {
        self.stored_sum += i128::from(balance);
        let account = match Account::from_columns(kind, id) {
            Some(account @ (Account::Bank | Account::Void | Account::Sponsor(_) | Account::Refunded(_))) => account,
            _ => {
                let subject = format!("account {id} of kind {kind}{}", self.of_part(part));
                self.differ("account_extra", subject, None, "no such account", balance);
                return;
            }
        };
        let expected = self.house.remove(&(part, account)).unwrap_or(0);
        if balance != expected {
            let subject = format!("{account}{}", self.of_part(part));
            let expected = format!("{expected} by the transfers");
            self.differ("account_balance", subject, None, expected, balance);
        }
        if let Account::Sponsor(sponsor) = account {
            self.unreleased.insert((part, sponsor), balance);
        }
    }

    /// A stored balance of a user.
    pub(super) fn user_balance(&mut self, user: u64, balance: i64, packets: i64, last: Option<i64>, lines: i64) {
        self.stored_sum += i128::from(balance);
        self.user_accounts += 1;
        self.users_owed += u64::from(balance > 0);
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
        if last != expected.last && !self.is_shared() {
            let subject = format!("the last transfer of user {user}");
            self.differ("transfer_chain", subject, None, name(expected.last), name(last));
        }
        // The last line has the balance by the transfers, which is compared above.
        if lines != expected.lines && self.numbering != Numbering::None {
            let subject = format!("lines of user {user}");
            let expected = format!("{} in the outbox", expected.lines);
            self.differ("line_count", subject, None, expected, lines);
        }
        if packets != expected.packets {
            let subject = format!("packets opened by user {user}");
            self.differ(
                "user_packets",
                subject,
                None,
                format!("{} by the packets", expected.packets),
                packets,
            );
        }
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
                packet: packet.map(PacketId),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

/// A row's number, or that there is none.
pub(super) fn name(row: Option<i64>) -> String {
    row.map_or("none".to_owned(), |row| row.to_string())
}
