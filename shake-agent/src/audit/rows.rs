//! The table of packets, row by row: each against its record of the seed, and at the end against its transfers.

use super::book::{Book, Entry};
use crate::ledger::{EVENT_SPONSOR, Origin, State};
use crate::seed_fleet::file_name;
use shake_rules::UserId;

/// A row of the table of packets, unchecked.
#[derive(Debug)]
pub(super) struct PacketRow {
    pub(super) packet: u64,
    pub(super) origin: i64,
    pub(super) sponsor: Option<i64>,
    pub(super) sender: Option<i64>,
    pub(super) cents: i64,
    pub(super) shares: i64,
    pub(super) balance: i64,
    pub(super) shares_left: i64,
    pub(super) state: i64,
    pub(super) seed_index: Option<i64>,
    pub(super) user: Option<i64>,
    pub(super) stage: Option<i64>,
    pub(super) is_opened: bool,
    pub(super) part: u16,
}

impl Book {
    /// A row of the table of packets. They come in the order of the ids as signed numbers: what was sent or given first.
    pub(super) fn packet(&mut self, row: &PacketRow) {
        self.stored_sum += i128::from(row.balance);
        let origin = Origin::from_columns(row.origin, row.sponsor, row.sender);
        let at = match (self.find(row.packet), origin) {
            (Some(at), _) => at,
            (None, Some(origin @ (Origin::Sent(_) | Origin::Gift))) if row.packet >> 63 == 1 => self.made(row, origin),
            (None, _) => {
                let expected = "not in the ledger (the seed has no such packet)";
                self.differ_packet("packet_extra", row.packet, expected, "there");
                return;
            }
        };
        self.compare_with_seed(at, row, origin);
        let user = row.user.map(|user| UserId(user.cast_unsigned()));
        let state = State::from_column(row.state);
        // Whoever opened it is known; so is who has a ticket for it.
        let needs_user = row.is_opened || state == Some(State::Issued);
        let Some(state) = state.filter(|_| user.is_some() || !needs_user) else {
            let expected = "a known state, with a user where it needs one";
            self.differ_packet("packet_state", row.packet, expected, row.state);
            return;
        };
        if let (Some(user), true) = (user, row.is_opened) {
            self.users.entry(user.0).or_default().packets += 1;
        }
        let entry = &mut self.entries[at];
        entry.state = Some(state);
        entry.user = user;
        entry.is_opened = row.is_opened;
        entry.stage = row.stage.and_then(|stage| stage.try_into().ok());
        entry.shares_left = u16::try_from(row.shares_left).unwrap_or(u16::MAX);
        entry.balance = row.balance;
    }

    fn made(&mut self, row: &PacketRow, origin: Origin) -> usize {
        let cents = u64::try_from(row.cents).unwrap_or(0);
        let shares = u16::try_from(row.shares).unwrap_or(0);
        self.entries
            .push(Entry::new(row.packet, cents, origin, shares, row.part, u32::MAX));
        // The part stands in the id (drawn in `ledger::schema`).
        let drawn = (row.packet >> 47 & u64::from(u16::MAX)) as u16;
        if self.is_shared() && drawn != row.part {
            let expected = format!("an id of {}", file_name(row.part));
            self.differ_packet(
                "packet_part",
                row.packet,
                expected,
                format!("one of {}", file_name(drawn)),
            );
        }
        if origin == Origin::Gift {
            let totals = self.sponsors.entry((row.part, EVENT_SPONSOR)).or_default();
            totals.gifts.packets += 1;
        } else {
            self.sent.sent.add(cents);
        }
        self.entries.len() - 1
    }

    fn compare_with_seed(&mut self, at: usize, row: &PacketRow, origin: Option<Origin>) {
        let entry = &self.entries[at];
        let (cents, shares, seed_index, part) = (entry.cents, entry.shares, entry.seed_index, entry.part);
        let expected = entry.origin;
        if row.part != part {
            self.differ_packet("packet_part", row.packet, file_name(part), file_name(row.part));
        }
        if row.cents != cents as i64 {
            self.differ_packet("packet_amount", row.packet, cents, row.cents);
        }
        if row.shares != i64::from(shares) {
            self.differ_packet("packet_shares", row.packet, shares, row.shares);
        }
        if origin != Some(expected) {
            let found = format!("{origin:?}");
            self.differ_packet("packet_sponsor", row.packet, format!("{expected:?}"), found);
        }
        if matches!(expected, Origin::Seed(_)) && row.seed_index != Some(seed_index.into()) {
            let found = super::book::name(row.seed_index);
            self.differ_packet("packet_index", row.packet, seed_index, found);
        }
    }

    /// When all rows are read: each packet has exactly the transfers that its state says, and its balance.
    pub(super) fn close_entries(&mut self) {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let Some(state) = entry.state else {
                let has_transfers = entry.filled || entry.paid > 0 || entry.closings > 0 || entry.void_cents != 0;
                if let Some(owner) = entry.owner() {
                    self.sponsors.entry(owner).or_default().unreleased.packets += 1;
                }
                if has_transfers {
                    let packet = self.entries[at].packet;
                    self.differ_packet("packet_missing", packet, "the packet's row in a known state", "none");
                }
                continue;
            };
            for (kind, expected, found) in faults(entry, state) {
                let subject = format!("packet {} ({})", self.entries[at].packet, state.name());
                let packet = Some(self.entries[at].packet);
                self.differ(kind, subject, packet, expected, found);
            }
            self.sum_up(at, state);
        }
    }

    /// Adds a packet to its sponsor's figures, or to those of what users sent.
    fn sum_up(&mut self, at: usize, state: State) {
        let entry = &self.entries[at];
        let in_it = u64::try_from(entry.balance).unwrap_or(0);
        let (paid, closed, is_gift) = (entry.paid_cents, entry.closed_cents, entry.origin == Origin::Gift);
        let in_void = u64::try_from(entry.void_cents).unwrap_or(0);
        let came_back = entry.came_back;
        let Some(owner) = entry.owner() else {
            self.sent.grabbed.cents += paid;
            match state {
                State::Open => self.sent.open.add(in_it),
                State::Refunded => self.sent.refunded.add(closed),
                _ => self.sent.grabbed.packets += 1,
            }
            return;
        };
        let totals = self.sponsors.entry(owner).or_default();
        totals.opened.cents = totals.opened.cents.saturating_add(paid);
        match state {
            State::Released => totals.released.add(in_it),
            State::Issued => totals.issued.add(in_it),
            State::Open => totals.open.add(in_it),
            State::Opened => totals.opened.packets += 1,
            State::Void => totals.void.add(in_void),
            State::Lost => totals.lost.add(in_void),
            State::Paid => totals.paid.add(in_void),
            // What comes back of a gift is the event's to give again: it counts as unreleased.
            State::Refunded => {
                let back = if is_gift { 0 } else { closed };
                totals.refunded.add(back);
                if came_back {
                    totals.refunded_from_void.add(back);
                }
            }
        }
    }
}

/// What is not as the state says: kind of difference, expected, found.
fn faults(entry: &Entry, state: State) -> Vec<(&'static str, String, String)> {
    let mut faults = Vec::new();
    let mut fault = |kind, expected: String, found: String| faults.push((kind, expected, found));
    if !entry.filled {
        fault(
            "transfer_missing",
            "a transfer from who funded it".into(),
            "none".into(),
        );
    }
    // Shares paid, and closing transfers.
    let (shares, closings) = match state {
        State::Released | State::Issued | State::Void | State::Lost | State::Paid => (0, 0),
        State::Opened => (u32::from(entry.shares), 0),
        State::Open => (u32::from(entry.shares.saturating_sub(entry.shares_left)), 0),
        State::Refunded => (u32::from(entry.shares.saturating_sub(entry.shares_left)), 1),
    };
    for (what, expected, found) in [
        ("shares paid to users", shares, entry.paid),
        ("transfers back", closings, entry.closings),
    ] {
        if expected != found {
            let kind = if found < expected {
                "transfer_missing"
            } else {
                "transfer_twice"
            };
            fault(kind, format!("{expected} {what}"), found.to_string());
        }
    }
    if entry.is_opened && !entry.winner_paid {
        fault(
            "transfer_missing",
            "a transfer to the user who opened it".into(),
            "none".into(),
        );
    }
    let is_in_void = matches!(state, State::Void | State::Lost | State::Paid);
    let in_void = if is_in_void { entry.cents as i64 } else { 0 };
    if entry.void_cents != in_void {
        let kind = if is_in_void {
            "transfer_missing"
        } else {
            "transfer_state"
        };
        fault(
            kind,
            format!("{in_void} cents of it in the void"),
            format!("{} by the transfers", entry.void_cents),
        );
    }
    let left = entry.cents as i64 - entry.paid_cents as i64 - entry.closed_cents as i64 - entry.void_cents;
    let is_empty = is_in_void || matches!(state, State::Opened | State::Refunded);
    if is_empty != (left == 0) || left < 0 {
        let expected = if is_empty {
            "all of it paid"
        } else {
            "a part of it left"
        };
        fault(
            "transfer_amount",
            expected.into(),
            format!("{left} cents left by the transfers"),
        );
    }
    if entry.balance != left {
        fault(
            "packet_balance",
            format!("{left} by the transfers"),
            entry.balance.to_string(),
        );
    }
    if state == State::Open && (entry.shares_left == 0 || left < i64::from(entry.shares_left)) {
        fault(
            "packet_shares",
            "a cent or more for each share left".into(),
            format!("{left} for {}", entry.shares_left),
        );
    }
    faults
}
