//! Of a part that is closed: the closing line, and what went back to sponsors without ever being released.

use super::book::Book;
use crate::ledger::Account;
use crate::seed_file::Tally;
use shake_rules::SponsorId;

/// A closing line, unchecked.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosingRow {
    pub(super) part: u16,
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    /// How many users are owed something.
    pub(super) users: i64,
    /// What they are owed together.
    pub(super) cents: i64,
}

impl Book {
    /// The closing line of a part, once all transfers are read.
    pub(super) fn closing_line(&mut self, row: &ClosingRow) {
        let expected = self.line_after(row.part);
        if row.seq != expected || self.closed_ms.contains_key(&row.part) {
            let found = format!("line {}", row.seq);
            let subject = format!("its number{}", self.of_part(row.part));
            self.differ("closing_line", subject, None, format!("one, line {expected}"), found);
        }
        self.closed_ms.insert(row.part, row.at_ms.cast_unsigned());
        // One of a part of many says what users had when that part was closed; others went on.
        if self.is_shared() {
            return;
        }
        let owed = self.users.values().map(|sum| sum.cents).filter(|cents| *cents > 0);
        let (users, cents) = (owed.clone().count() as i64, owed.map(i128::from).sum::<i128>());
        if (users, cents) != (row.users, row.cents.into()) {
            let said = |users, cents: i128| format!("{users} users are owed {cents} cents");
            let found = said(row.users, row.cents.into());
            self.differ("closing_line", "what is owed", None, said(users, cents), found);
        }
    }

    /// A sponsor's money goes back that was never released: only in a part that is closed.
    pub(super) fn returned(&mut self, part: u16, sponsor: SponsorId, to: SponsorId, cents: i64) {
        if sponsor != to {
            let (from, to) = (Account::Sponsor(sponsor), Account::Refunded(to));
            self.differ("transfer_sponsor", from, None, Account::Refunded(sponsor), to);
        }
        let sum = self.returned.entry((part, sponsor)).or_default();
        *sum = sum.saturating_add(cents);
    }

    /// When all is read: a closed part holds nothing, and one that is open has sent nothing back unreleased.
    pub(super) fn close_returns(&mut self) {
        for ((part, sponsor), cents) in std::mem::take(&mut self.returned) {
            if !self.closed_ms.contains_key(&part) {
                let subject = format!("what sponsor {sponsor} got back unreleased{}", self.of_part(part));
                self.differ("closing_line", subject, None, "a closing line", cents);
            }
            let refunded = &mut self.sponsors.entry((part, sponsor)).or_default().refunded;
            refunded.cents = refunded.cents.saturating_add(u64::try_from(cents).unwrap_or(0));
        }
        let mut left = Vec::new();
        for (&(part, sponsor), totals) in &mut self.sponsors {
            if !self.closed_ms.contains_key(&part) {
                continue;
            }
            // They were never released, and have no row: their money went back as a whole.
            totals.refunded.packets += std::mem::take(&mut totals.unreleased.packets);
            let columns = [
                totals.unreleased,
                totals.released,
                totals.issued,
                totals.open,
                totals.lost,
                if self.may_be_void {
                    Tally::default()
                } else {
                    totals.void
                },
            ];
            if columns.iter().any(|tally| tally.packets > 0 || tally.cents > 0) {
                left.push((part, sponsor));
            }
        }
        for (part, sponsor) in left {
            let subject = format!("the packets of sponsor {sponsor}{}", self.of_part(part));
            self.differ(
                "closed_rest",
                subject,
                None,
                "nothing unreleased, held, lost or void in a closed ledger",
                "some",
            );
        }
        let is_closed = self.parts.keys().all(|part| self.closed_ms.contains_key(part));
        if is_closed && self.sent.open.packets > 0 {
            self.differ(
                "closed_rest",
                "what users sent",
                None,
                "nothing open in a closed ledger",
                "some",
            );
        }
    }
}
