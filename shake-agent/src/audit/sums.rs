//! When every row is read: what is missing, and what all of it sums up to.

use super::Proved;
use super::book::Book;
use super::report::{EQUATION, GrantRow, PhaseRow, Report, SponsorRow, SponsorTotals};
use crate::ledger::{Account, EVENT_SPONSOR, Origin, State};
use shake_rules::{PacketId, SponsorId, UserId};
use std::collections::BTreeMap;

impl Book {
    /// Closes the book: looks for what is missing, and sums up.
    pub(super) fn close(mut self) -> Proved {
        self.close_entries();
        self.close_releases();
        self.close_accounts();
        self.close_gifts();
        for (&owner, &cents) in &self.unreleased {
            self.sponsors.entry(owner).or_default().unreleased.cents = u64::try_from(cents).unwrap_or(0);
        }
        self.close_returns();
        let mut totals: BTreeMap<u16, SponsorTotals> = BTreeMap::new();
        let mut sponsors: BTreeMap<SponsorId, SponsorTotals> = BTreeMap::new();
        for (&(part, sponsor), of_part) in &mut self.sponsors {
            of_part.held = of_part.released;
            of_part.held.merge(of_part.issued);
            of_part.held.merge(of_part.open);
            totals.entry(part).or_default().merge(of_part);
            sponsors.entry(sponsor).or_default().merge(of_part);
        }
        for (sponsor, of_all) in &mut sponsors {
            // What one part is short of, another has.
            let of_parts = self.unreleased.iter().filter(|((_, of), _)| of == sponsor);
            let cents: i128 = of_parts.map(|(_, cents)| i128::from(*cents)).sum();
            of_all.unreleased.cents = u64::try_from(cents).unwrap_or(0);
        }
        let mut total = SponsorTotals::default();
        for (sponsor, of_all) in &sponsors {
            if !of_all.is_balanced() {
                let columns = of_all.columns();
                let found: Vec<_> = columns
                    .iter()
                    .map(|(name, t)| format!("{name} {}/{}", t.packets, t.cents))
                    .collect();
                let subject = format!("sponsor {sponsor}, packets/cents");
                self.differ("sponsor_sum", subject, None, EQUATION, found.join(", "));
            }
            total.merge(of_all);
        }
        if !self.sent.is_balanced() {
            let found = format!("{:?}", self.sent);
            self.differ(
                "sent_sum",
                "what users sent",
                None,
                "sent = open + grabbed + refunded",
                found,
            );
        }
        let of_state = |state| {
            let entries = self.entries.iter().filter(move |entry| entry.state == Some(state));
            entries.map(|entry| PacketId(entry.packet)).collect()
        };
        let (void_packets, lost_packets, paid_packets) =
            (of_state(State::Void), of_state(State::Lost), of_state(State::Paid));
        let phase = |(&stage, &credits)| PhaseRow { stage, credits };
        let grant = |(&(sponsor, stage), &credits): (&(SponsorId, _), _)| GrantRow {
            sponsor: sponsor.0,
            stage,
            credits,
        };
        let row = |(sponsor, totals): (SponsorId, _)| SponsorRow {
            sponsor: sponsor.0,
            totals,
        };
        let first = self.parts.values().next().map(|books| &books.bound);
        let header = first.map(|bound| bound.header);
        let machines = self.parts.values().flat_map(|books| books.machines.clone()).collect();
        let report = Report {
            balanced: self.difference_count == 0,
            event: header.map_or(0, |header| header.event.0),
            part: header.map_or(0, |header| header.part),
            parts: header.map_or(0, |header| header.parts),
            ledger: first
                .and_then(|bound| bound.identity)
                .map(|identity| identity.to_string()),
            closed_ms: self.closed_ms.values().copied().max(),
            total,
            sponsors: sponsors.into_iter().map(row).collect(),
            sent: self.sent,
            outbox: self.outbox,
            phases: self.phases.iter().map(phase).collect(),
            grants: self.grants.iter().map(grant).collect(),
            time_zone: self.days.zone_name(),
            days: self.days.rows(),
            users: self.opened_by_users,
            user_accounts: self.user_accounts,
            users_owed: self.users_owed,
            balance_sum_cents: self.stored_sum,
            difference_count: self.difference_count,
            void_packets,
            lost_packets,
            paid_packets,
            machines,
            differences: self.differences,
        };
        Proved {
            report,
            parts: self.parts,
            totals,
            closed_ms: self.closed_ms,
        }
    }

    /// The event has what its budget says, of each part; and where parts draw from it, what they have drawn and what they have not is
    /// all that it has.
    fn close_gifts(&mut self) {
        if let Some(there) = self.gifts_there {
            let of_event = self.unreleased.iter().filter(|((_, of), _)| *of == EVENT_SPONSOR);
            let account: i64 = of_event.map(|(_, cents)| *cents).sum();
            if there != account {
                let expected = format!("{account} by the accounts of all parts");
                self.differ(
                    "gift_pot",
                    "the pot of gifts, and what parts have drawn",
                    None,
                    expected,
                    there,
                );
            }
        }
        let budgets = self
            .parts
            .iter()
            .map(|(part, books)| (*part, books.bound.gift_budget.0));
        let budgets: Vec<(u16, u64)> = budgets.collect();
        for (part, budget) in budgets {
            let funded = self.gifts_funded.get(&part).copied().unwrap_or(0);
            if funded != budget as i64 {
                let subject = format!("the event's funding{}", self.of_part(part));
                self.differ("gift_budget", subject, None, budget, funded);
            }
            if budget > 0 {
                self.sponsors.entry((part, EVENT_SPONSOR)).or_default().gifts.cents = budget;
            }
        }
    }

    /// Accounts that ought to be there, and the sum of all.
    fn close_accounts(&mut self) {
        for ((part, account), expected) in std::mem::take(&mut self.house) {
            if expected != 0 {
                let expected = format!("{expected} by the transfers");
                let subject = format!("{account}{}", self.of_part(part));
                self.differ("account_missing", subject, None, expected, "none");
            }
        }
        for (user, expected) in std::mem::take(&mut self.users) {
            let account = Account::User(UserId(user)).to_string();
            let expected = format!("{} by the transfers", expected.cents);
            self.differ("account_missing", account, None, expected, "none");
        }
        if self.stored_sum != 0 {
            self.differ("zero_sum", "the sum of all balances", None, 0, self.stored_sum);
        }
    }

    /// Within each sponsor of a part, the released records are the first ones of the seed, and as many as the ledger says.
    fn close_releases(&mut self) {
        let mut records: BTreeMap<(u16, SponsorId), Vec<_>> = BTreeMap::new();
        for entry in &self.entries {
            if let Origin::Seed(sponsor) = entry.origin {
                let record = (entry.seed_index, entry.state.is_some(), entry.packet);
                records.entry((entry.part, sponsor)).or_default().push(record);
            }
        }
        for ((part, sponsor), mut records) in records {
            records.sort_unstable();
            let there = records.iter().filter(|(_, is_there, _)| *is_there).count() as u64;
            let books = self.parts.get(&part);
            let released = books.and_then(|books| books.bound.released.get(&sponsor));
            let released = released.copied().unwrap_or(0);
            if there != released {
                let subject = format!("sponsor {sponsor}{}", self.of_part(part));
                self.differ("released_count", subject, None, released, there);
            }
            for &(_, is_there, packet) in records.iter().take(released as usize) {
                if !is_there {
                    self.differ_packet("packet_missing", packet, "released, as its sponsor's before it", "none");
                }
            }
        }
    }
}
