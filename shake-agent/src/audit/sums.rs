//! When every row is read: what is missing, and what all of it sums up to.

use super::book::Book;
use super::report::{EQUATION, GrantRow, PhaseRow, Report, SponsorRow, SponsorTotals};
use crate::ledger::{Account, EVENT_SPONSOR, Origin, State};
use shake_rules::{PacketId, SponsorId, UserId};
use std::collections::BTreeMap;

impl Book {
    /// Closes the book: looks for what is missing, and sums up.
    pub(super) fn close(mut self) -> Report {
        self.close_entries();
        self.close_releases();
        self.close_accounts();
        let gift_budget = self.bound.gift_budget.0;
        if self.gifts_funded != gift_budget as i64 {
            self.differ(
                "gift_budget",
                "the event's funding",
                None,
                gift_budget,
                self.gifts_funded,
            );
        }
        if gift_budget > 0 {
            self.sponsors.entry(EVENT_SPONSOR).or_default().gifts.cents = gift_budget;
        }
        self.close_returns();
        let mut total = SponsorTotals::default();
        let mut sponsors = Vec::new();
        for (sponsor, mut totals) in std::mem::take(&mut self.sponsors) {
            totals.held = totals.released;
            totals.held.merge(totals.issued);
            totals.held.merge(totals.open);
            if !totals.is_balanced() {
                let found: Vec<_> = totals
                    .columns()
                    .iter()
                    .map(|(name, t)| format!("{name} {}/{}", t.packets, t.cents))
                    .collect();
                let subject = format!("sponsor {sponsor}, packets/cents");
                self.differ("sponsor_sum", subject, None, EQUATION, found.join(", "));
            }
            total.merge(&totals);
            sponsors.push(SponsorRow {
                sponsor: sponsor.0,
                totals,
            });
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
        Report {
            balanced: self.difference_count == 0,
            event: self.bound.header.event.0,
            part: self.bound.header.part,
            parts: self.bound.header.parts,
            ledger: self.bound.identity.map(|identity| identity.to_string()),
            closed_ms: self.closed_ms,
            total,
            sponsors,
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
            machines: self.machines,
            differences: self.differences,
        }
    }

    /// Accounts that ought to be there, and the sum of all.
    fn close_accounts(&mut self) {
        for (account, expected) in std::mem::take(&mut self.house) {
            if expected != 0 {
                let expected = format!("{expected} by the transfers");
                self.differ("account_missing", account.to_string(), None, expected, "none");
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

    /// Within each sponsor, the released records are the first ones of the seed, and as many as the ledger says.
    fn close_releases(&mut self) {
        let mut records: BTreeMap<SponsorId, Vec<(u32, bool, u64)>> = BTreeMap::new();
        for entry in &self.entries {
            if let Origin::Seed(sponsor) = entry.origin {
                let record = (entry.seed_index, entry.state.is_some(), entry.packet);
                records.entry(sponsor).or_default().push(record);
            }
        }
        for (sponsor, mut records) in records {
            records.sort_unstable();
            let there = records.iter().filter(|(_, is_there, _)| *is_there).count() as u64;
            let released = self.bound.released.get(&sponsor).copied().unwrap_or(0);
            if there != released {
                self.differ("released_count", format!("sponsor {sponsor}"), None, released, there);
            }
            for &(_, is_there, packet) in records.iter().take(released as usize) {
                if !is_there {
                    self.differ_packet("packet_missing", packet, "released, as its sponsor's before it", "none");
                }
            }
        }
    }
}
