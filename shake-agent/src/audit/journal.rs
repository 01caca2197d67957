//! The journal, row by row: each transfer against its packet, with the share and the outbox row that belong to it.

use super::book::{Book, Numbering, name};
use crate::ledger::{Account, EVENT_SPONSOR, LineKind, Origin, State};
use shake_rules::{PacketId, UserId};

/// A row of the journal, unchecked.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransferRow {
    /// In whose journal.
    pub(super) part: u16,
    pub(super) id: i64,
    pub(super) at_ms: i64,
    pub(super) debit: (i64, i64),
    pub(super) credit: (i64, i64),
    pub(super) cents: i64,
    pub(super) previous: Option<i64>,
}

/// A row of the shares or of the outbox, by its transfer: packet, user, cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CreditRow {
    /// Of the journal that has the transfer.
    pub(super) part: u16,
    pub(super) transfer: i64,
    pub(super) packet: i64,
    pub(super) user: i64,
    pub(super) cents: i64,
    /// Of the outbox.
    pub(super) kind: i64,
    /// Of the outbox.
    pub(super) seq: i64,
    /// Of the outbox.
    pub(super) number: i64,
    /// Of the outbox.
    pub(super) balance: i64,
}

impl Book {
    /// A row of the journal, and the rows of shares and outbox with its number.
    pub(super) fn transfer(&mut self, row: &TransferRow, share: Option<CreditRow>, outbox: Option<CreditRow>) {
        let cents = row.cents;
        let accounts = (
            Account::from_columns(row.debit.0, row.debit.1),
            Account::from_columns(row.credit.0, row.credit.1),
        );
        let (Some(from), Some(to)) = accounts else {
            let found = format!("kinds {} and {}", row.debit.0, row.credit.0);
            let subject = self.transfer_of(row);
            self.differ("transfer_account", subject, None, "two known accounts", found);
            return;
        };
        self.post(row, from, to);
        let is_payment = matches!((from, to), (Account::Packet(_), Account::User(_)));
        let is_send = matches!((from, to), (Account::User(_), Account::Packet(_))) && self.numbering != Numbering::None;
        if (!is_payment && share.is_some()) || (!is_payment && !is_send && outbox.is_some()) {
            let found = format!("{cents} cents from {from} to {to}");
            let subject = self.transfer_of(row);
            self.differ("outbox_extra", subject, None, "a movement of a user's balance", found);
        }
        match (from, to) {
            // The sum per sponsor is compared at the end.
            (Account::Bank, Account::Sponsor(sponsor)) => {
                if sponsor == EVENT_SPONSOR {
                    *self.gifts_funded.entry(row.part).or_default() += cents;
                }
            }
            (Account::User(user), Account::Packet(packet)) => {
                self.filled(row, from, packet);
                if is_send {
                    let expected = self.line(row, packet, user, -cents, LineKind::Send);
                    self.compare_line(packet, &expected, outbox);
                }
            }
            (Account::Sponsor(_), Account::Packet(packet)) => self.filled(row, from, packet),
            (Account::Packet(packet), Account::User(user)) => self.paid(row, packet, user, share, outbox),
            (Account::Sponsor(sponsor), Account::Refunded(to)) => self.returned(row.part, sponsor, to, cents),
            (Account::Packet(packet), Account::Void) => self.voided(row, packet, cents),
            // What was lost proved to be issued.
            (Account::Void, Account::Packet(packet)) => self.voided(row, packet, -cents),
            (Account::Packet(packet), Account::Refunded(_) | Account::Sponsor(_)) => {
                self.closed(row, packet, to);
            }
            _ => {
                let found = format!("{cents} cents from {from} to {to}");
                let expected = "funding, release, sending, payment, refund, return, or to the void and back";
                let subject = self.transfer_of(row);
                self.differ("transfer_kind", subject, None, expected, found);
            }
        }
    }

    /// What messages call it.
    fn transfer_of(&self, row: &TransferRow) -> String {
        format!("transfer {}{}", row.id, self.of_part(row.part))
    }

    /// Both accounts' sums, and the user's list of transfers.
    fn post(&mut self, row: &TransferRow, from: Account, to: Account) {
        let mut previous = None;
        for (account, change) in [(from, -row.cents), (to, row.cents)] {
            match account {
                Account::Packet(_) => {}
                Account::User(user) => {
                    let sum = self.users.entry(user.0).or_default();
                    sum.cents += change;
                    previous = sum.last.replace(row.id);
                }
                house => *self.house.entry((row.part, house)).or_default() += change,
            }
        }
        // Of several parts, the list is the one of lines.
        if previous != row.previous && !self.is_shared() {
            let subject = format!("the transfer before {}, of the same user", row.id);
            self.differ("transfer_chain", subject, None, name(previous), name(row.previous));
        }
    }

    /// The entry of a transfer's packet, or a difference.
    fn entry_of(&mut self, row: &TransferRow, packet: PacketId) -> Option<usize> {
        let at = self.find(packet.0);
        if at.is_none() {
            let subject = format!("{} of packet {packet}", self.transfer_of(row));
            let expected = "none (there is no such packet)";
            self.differ("transfer_extra", subject, Some(packet.0), expected, row.cents);
        }
        at
    }

    /// A packet's release, sending or giving.
    fn filled(&mut self, row: &TransferRow, from: Account, packet: PacketId) {
        let Some(at) = self.entry_of(row, packet) else {
            return;
        };
        let (cents, transfer) = (row.cents, self.transfer_of(row));
        let subject = || format!("{transfer}, the funding of packet {packet}");
        let entry = &mut self.entries[at];
        let again = std::mem::replace(&mut entry.filled, true);
        let (expected_cents, origin) = (entry.cents, entry.origin);
        if again {
            self.differ("transfer_twice", subject(), Some(packet.0), "one funding", "another");
        }
        if cents != expected_cents as i64 {
            self.differ("transfer_amount", subject(), Some(packet.0), expected_cents, cents);
        }
        let expected = match origin {
            Origin::Seed(sponsor) => Account::Sponsor(sponsor),
            Origin::Sent(user) => Account::User(user),
            Origin::Gift => Account::Sponsor(EVENT_SPONSOR),
        };
        if from != expected {
            let kind = "transfer_sponsor";
            self.differ(
                kind,
                subject(),
                Some(packet.0),
                format!("from {expected}"),
                format!("from {from}"),
            );
        }
    }

    /// A payment to a user: an opening, a share, or what comes back to a sender.
    fn paid(
        &mut self,
        row: &TransferRow,
        packet: PacketId,
        user: UserId,
        share: Option<CreditRow>,
        outbox: Option<CreditRow>,
    ) {
        let cents = row.cents;
        let Some(at) = self.entry_of(row, packet) else {
            return;
        };
        let subject = format!("{}, packet {packet} to user {user}", self.transfer_of(row));
        let entry = &mut self.entries[at];
        let amount = u64::try_from(cents).unwrap_or(0);
        let is_winner = entry.user == Some(user);
        let is_refund = entry.origin == Origin::Sent(user) && share.is_none();
        let (origin, stage, state, owner) = (entry.origin, entry.stage, entry.state, entry.owner());
        let is_shared = entry.shares > 1 || !matches!(origin, Origin::Seed(_));
        if is_refund {
            entry.closings += 1;
            entry.closed_cents += amount;
        } else {
            entry.paid += 1;
            entry.paid_cents += amount;
            entry.winner_paid |= is_winner;
        }
        let kind = match origin {
            _ if is_refund => LineKind::Refund,
            Origin::Seed(_) if is_winner => LineKind::Open,
            Origin::Seed(_) | Origin::Sent(_) => LineKind::Grab,
            Origin::Gift => LineKind::Gift,
        };
        let was_paid_to = !matches!(
            state,
            None | Some(State::Released | State::Issued | State::Void | State::Lost | State::Paid)
        );
        if !was_paid_to || (!is_shared && !is_winner) {
            let expected = format!("none (the packet is {})", state.map_or("unreleased", State::name));
            self.differ("transfer_state", subject.clone(), Some(packet.0), expected, cents);
        }
        let expected = self.line(row, packet, user, cents, kind);
        let expected_share = CreditRow {
            kind: 0,
            seq: 0,
            number: 0,
            balance: 0,
            ..expected
        };
        let wants_share = is_shared && !is_refund;
        if share != wants_share.then_some(expected_share) {
            let (wanted, found) = (
                format!("{:?}", wants_share.then_some(expected_share)),
                format!("{share:?}"),
            );
            self.differ("share_differs", subject, Some(packet.0), wanted, found);
        }
        self.compare_line(packet, &expected, outbox);
        self.phases.entry(stage).or_default().add(amount);
        if let Some((_, sponsor)) = owner {
            self.grants.entry((sponsor, stage)).or_default().add(amount);
        }
        self.days.add(row.at_ms, amount);
    }

    /// The line that a transfer of a user's money must have. The sums are those after it.
    fn line(&mut self, row: &TransferRow, packet: PacketId, user: UserId, cents: i64, kind: LineKind) -> CreditRow {
        let seq = self.line_after(row.part);
        let sum = self.users.entry(user.0).or_default();
        sum.lines += 1;
        let (number, balance) = match self.numbering {
            Numbering::None | Numbering::Users => (0, 0),
            Numbering::Journal => (sum.lines, sum.cents),
        };
        CreditRow {
            part: row.part,
            transfer: row.id,
            packet: packet.0.cast_signed(),
            user: user.0.cast_signed(),
            cents,
            kind: kind.to_column(),
            seq,
            number,
            balance,
        }
    }

    /// A line, against the one that there must be.
    fn compare_line(&mut self, packet: PacketId, expected: &CreditRow, found: Option<CreditRow>) {
        let subject = format!(
            "the line of transfer {}{}",
            expected.transfer,
            self.of_part(expected.part)
        );
        let Some(mut found) = found else {
            let kind = LineKind::from_column(expected.kind).map_or("unknown", LineKind::name);
            self.differ("outbox_missing", subject, Some(packet.0), kind, "none");
            return;
        };
        if self.is_shared() {
            // See `line_of_user`.
            (found.number, found.balance) = (expected.number, expected.balance);
        }
        if found != *expected || expected.balance < 0 {
            let (wanted, found) = (format!("{expected:?}"), format!("{found:?}"));
            self.differ("outbox_differs", subject, Some(packet.0), wanted, found);
        }
        self.last_seqs.insert(found.part, found.seq);
        let name = LineKind::from_column(found.kind).map_or("unknown", LineKind::name);
        self.outbox.entry(name).or_default().add(found.cents.unsigned_abs());
    }

    /// A line of a user, in the user's order: its number is the next one, its balance that of the line before and its cents.
    pub(super) fn line_of_user(&mut self, user: u64, number: i64, cents: i64, balance: i64, packet: u64) {
        let (before, last, sum) = self.line_before;
        let (last, sum) = if before == user { (last, sum) } else { (0, 0) };
        let expected = (last + 1, i128::from(sum) + i128::from(cents));
        if expected != (number, balance.into()) || balance < 0 {
            let said = |(number, balance): (i64, i128)| format!("number {number}, balance {balance}");
            let (subject, found) = (format!("a line of user {user}"), said((number, balance.into())));
            self.differ("outbox_differs", subject, Some(packet), said(expected), found);
        }
        self.line_before = (user, number, balance);
    }

    /// The packet's money goes to the void, or comes back from it. What lies there at the end is its state's to say.
    fn voided(&mut self, row: &TransferRow, packet: PacketId, change: i64) {
        if let Some(at) = self.entry_of(row, packet) {
            let entry = &mut self.entries[at];
            entry.void_cents = entry.void_cents.saturating_add(change);
            entry.came_back |= change < 0;
        }
    }

    /// What is left goes back to a sponsor or the event.
    fn closed(&mut self, row: &TransferRow, packet: PacketId, to: Account) {
        let Some(at) = self.entry_of(row, packet) else {
            return;
        };
        let (cents, transfer) = (row.cents, self.transfer_of(row));
        let entry = &mut self.entries[at];
        entry.closings += 1;
        entry.closed_cents += u64::try_from(cents).unwrap_or(0);
        let expected = match (entry.state, entry.origin) {
            (Some(State::Refunded), Origin::Seed(sponsor)) => Some(Account::Refunded(sponsor)),
            (Some(State::Refunded), Origin::Gift) => Some(Account::Sponsor(EVENT_SPONSOR)),
            _ => None,
        };
        if expected != Some(to) {
            let state = entry.state.map_or("unreleased", State::name);
            let expected = expected.map_or_else(
                || format!("none (the packet is {state})"),
                |account| format!("to {account}"),
            );
            let subject = format!("{transfer}, packet {packet} to {to}");
            self.differ("transfer_state", subject, Some(packet.0), expected, format!("to {to}"));
        }
    }

    /// A share or an outbox row whose transfer is not in the journal.
    pub(super) fn without_transfer(&mut self, kind: &'static str, row: &CreditRow) {
        let subject = format!("the row of transfer {}{}", row.transfer, self.of_part(row.part));
        let packet = Some(row.packet.cast_unsigned());
        self.differ(kind, subject, packet, "a transfer of that number", "none");
    }
}
