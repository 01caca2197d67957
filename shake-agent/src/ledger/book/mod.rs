//! A transaction in memory: what it sees, and what it does to packets, accounts and journal, each with all that belongs together.
//! It does no I/O, and never decides whether something may be done; `requests` does.

mod close;
mod fund;
mod read;
mod release;
mod void;

use super::accounts::Account;
use super::differences::{Differences, RefusedRow};
use super::lanes::{LaneRecord, LaneRow};
use super::opening::{Incarnation, OpeningRow};
use super::outbox::{LineKind, OutboxRow};
use super::packet::{EVENT_SPONSOR, Making, Origin, Packet, State, Term};
use super::schema::to_sql;
use super::shares::{self, Made, OfferRow, SendRow, Share, ShareRow};
use super::spans::{Span, Spans};
use super::standing::Standing;
use super::transfers::{Entry, Transfer};
use super::view::{Mark, View};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeSet;

/// A packet being opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Its id.
    pub packet: PacketId,
    /// Who opens it.
    pub user: UserId,
    /// What the user gets of it.
    pub share: Cents,
    /// Index of the phase it was won in.
    pub stage: u16,
    /// When the rest, if any, goes back.
    pub due: UnixMillis,
}

/// A transaction in memory. Kept between transactions for its memory.
#[derive(Debug, Default)]
pub struct Book {
    now: UnixMillis,
    /// The row of the opening that this is a transaction of.
    incarnation: i64,
    /// What was committed before, with numbers and balances carried on.
    pub(super) standing: Standing,
    /// With the span that this transaction ends, if it does.
    spans: Spans,
    pub(super) view: View,
    differences: Differences,
    house_changed: BTreeSet<Account>,
    released_changed: BTreeSet<SponsorId>,
}

/// The frame: what a ledger does around the work.
impl Book {
    pub(super) fn of(standing: Standing) -> Self {
        Self {
            standing,
            ..Self::default()
        }
    }

    /// Begins with nothing seen and nothing done.
    pub(super) fn begin(&mut self, now: UnixMillis, incarnation: Incarnation, machine: &str, span: Option<Span>) {
        self.view.clear();
        self.differences.clear();
        self.house_changed.clear();
        self.released_changed.clear();
        self.now = now;
        self.spans = match span {
            Some(span) => self.standing.spans.with(span),
            None => self.standing.spans.clone(),
        };
        self.differences.span = span;
        self.incarnation = self.standing.incarnation_row.unwrap_or_else(|| {
            self.standing.numbers.incarnation += 1;
            let row = self.standing.numbers.incarnation;
            self.differences.opening = Some(OpeningRow {
                row,
                incarnation,
                begun: now,
                machine: machine.to_owned(),
            });
            row
        });
    }

    /// What there is to write. Nothing is looked at or done after it.
    pub(super) fn finish(&mut self) -> &Differences {
        let differences = &mut self.differences;
        differences.stamp = self.standing.stamp + 1;
        differences.at = self.now;
        differences.numbers = self.standing.numbers;
        differences.gifts = self.standing.gifts;
        for (&id, row) in &self.view.packets {
            match (row.mark, row.value) {
                (Mark::New, Some(packet)) => differences.packets_new.push((id, packet)),
                (Mark::Changed, Some(packet)) => differences.packets.push((id, packet)),
                _ => {}
            }
        }
        for (&id, row) in &mut self.view.users {
            if row.mark != Mark::Loaded
                && let Some(account) = row.value.take()
            {
                differences.users.push((id, account));
            }
        }
        differences.packets_new.sort_unstable_by_key(|row| row.0);
        differences.packets.sort_unstable_by_key(|row| row.0);
        differences.users.sort_unstable_by_key(|row| row.0);
        differences.lanes_new.sort_unstable_by_key(|row| row.record.lane);
        differences.lanes.sort_unstable_by_key(|record| record.lane);
        let house = &self.standing.house;
        let balance = |account: &Account| (*account, house.get(account).copied().unwrap_or(0));
        differences.house.extend(self.house_changed.iter().map(balance));
        let released = self.standing.bound.as_ref().map(|bound| &bound.released);
        let count = |sponsor: &SponsorId| Some((*sponsor, *released?.get(sponsor)?));
        differences
            .released
            .extend(self.released_changed.iter().filter_map(count));
        differences
    }

    /// The differences are durable.
    pub(super) fn committed(&mut self) {
        let (standing, differences) = (&mut self.standing, &self.differences);
        standing.stamp = differences.stamp;
        standing.last_commit = differences.at;
        standing.spans = self.spans.clone();
        standing.incarnation_row = Some(self.incarnation);
        if let Some(closing) = differences.closing {
            standing.closed = Some(closing.at);
        }
        if let (Some(bound), Some(gift_budget)) = (&mut standing.bound, differences.gift_budget) {
            bound.gift_budget = gift_budget;
        }
    }
}

/// What is done, in memory.
impl Book {
    /// The packet is in a ticket for `user`, who was promised this time for it. No money moves. The caller has found it
    /// released.
    pub fn issue(&mut self, packet: PacketId, user: UserId, stage: u16, term: Term) {
        self.view.change_packet(packet).issue(user, stage, term);
    }

    /// The user opens a packet of the seed and gets a share of what is in it; the rest may be grabbed until it is due. The
    /// caller has found the packet released or issued.
    pub fn open_packet(&mut self, opening: Opening) {
        let Opening {
            packet: id,
            user,
            share: amount,
            stage,
            due,
        } = opening;
        let at = self.now;
        let packet = self.view.change_packet(id);
        packet.open(user, stage, amount, due, at);
        let (origin, is_shared) = (packet.origin, packet.is_shared());
        if let Origin::Seed(sponsor) = origin {
            self.view.change_user(user).note_opened(sponsor);
        }
        let transfer = self.move_balance(id, user, amount, LineKind::Open);
        if is_shared {
            self.note_share(transfer, id, Share { user, amount, at });
        }
    }

    /// The user grabs a share of an open packet. The caller has found it open, and the user without a share of it.
    pub fn grab(&mut self, id: PacketId, user: UserId, amount: Cents) {
        let at = self.now;
        let packet = self.view.change_packet(id);
        packet.pay(amount, packet.due.unwrap_or(at), at);
        let (is_gift, is_named, is_empty) = (
            packet.origin == Origin::Gift,
            packet.recipients > 0,
            packet.shares_left == 0,
        );
        let kind = if is_gift { LineKind::Gift } else { LineKind::Grab };
        let transfer = self.move_balance(id, user, amount, kind);
        self.note_share(transfer, id, Share { user, amount, at });
        if is_named {
            let settled = (id, (!is_empty).then_some(user));
            self.differences.offers_settled.push(settled);
        }
    }

    /// Makes a packet that is open to grab, from what its maker has. The caller has found that the maker has that much, and
    /// that the key is new.
    pub fn make_packet(&mut self, part: u16, making: &Making<'_>) -> PacketId {
        self.standing.numbers.made += 1;
        let id = shares::made_id(part, self.standing.numbers.made);
        self.view.add_packet(id, Packet::sent(making, self.now));
        let (packet, origin, hash) = (id, making.origin, making.hash);
        self.view
            .sends
            .insert((origin, *making.key), Some(Made { packet, hash }));
        self.differences.sends.push(SendRow {
            packet,
            origin,
            key: *making.key,
            hash,
        });
        for &user in making.recipients {
            self.view.offers.insert((id, user), true);
            let is_gift = origin == Origin::Gift;
            self.differences.offers.push(OfferRow { packet, user, is_gift });
        }
        match origin {
            Origin::Sent(user) => {
                self.move_balance(id, user, making.amount, LineKind::Send);
            }
            Origin::Gift | Origin::Seed(_) => {
                self.take_gifts(-to_sql(making.amount.0));
                self.pay(Account::Sponsor(EVENT_SPONSOR), Account::Packet(id), making.amount);
            }
        }
        id
    }

    /// What is left in the packet goes back to who funded it. The caller has found something in it.
    pub fn refund(&mut self, id: PacketId) {
        let at = self.now;
        let packet = self.view.change_packet(id);
        let (origin, left, is_named) = (packet.origin, packet.left, packet.recipients > 0);
        packet.close(State::Refunded, at);
        if is_named {
            self.differences.offers_settled.push((id, None));
        }
        let to = match origin {
            Origin::Sent(user) => {
                self.move_balance(id, user, left, LineKind::Refund);
                return;
            }
            Origin::Seed(sponsor) => Account::Refunded(sponsor),
            // It may be given again.
            Origin::Gift => {
                self.take_gifts(to_sql(left.0));
                Account::Sponsor(EVENT_SPONSOR)
            }
        };
        self.pay(Account::Packet(id), to, left);
    }

    /// The packet does not go back before `due`.
    pub fn put_off(&mut self, id: PacketId, due: UnixMillis) {
        self.view.change_packet(id).put_off(due);
    }

    /// Counts on from a stamp that was seen of this ledger, if that is larger.
    pub fn stamp_at_least(&mut self, seen: u64) {
        self.standing.stamp = self.standing.stamp.max(seen);
    }

    /// Ids of packets that are made go on `between` numbers after that of `last`.
    pub fn skip_made(&mut self, last: PacketId, between: u64) {
        let number = shares::number_after(last, between);
        self.standing.numbers.made = self.standing.numbers.made.max(number);
        self.differences.made_before = Some(number);
    }

    /// Everything that was asked before `at` is answered by this transaction, or was before.
    pub fn note_answered(&mut self, at: UnixMillis) {
        self.differences.answered = Some(at);
    }

    /// The store refused this record, and nothing came of it.
    pub fn put_aside(&mut self, refused: RefusedRow) {
        self.differences.refused.push(refused);
    }

    /// A settlement file was begun.
    pub fn note_settlement(&mut self) {
        self.differences.begins_settlement = true;
    }

    /// The record of a shard's rings in a mapping; made when there is none.
    pub fn lane(&mut self, mapping: u64, shard: u16) -> LaneRecord {
        let found = self.view.lanes.get_mut(&(mapping, shard));
        let found = found.expect("a lane is loaded before it is looked at");
        *found.get_or_insert_with(|| {
            self.standing.numbers.lane += 1;
            let record = LaneRecord {
                lane: self.standing.numbers.lane,
                requests_done: 0,
                grants_released: 0,
            };
            self.differences.lanes_new.push(LaneRow { mapping, shard, record });
            record
        })
    }

    /// Stores how far a shard's rings are.
    pub fn store_lane(&mut self, record: &LaneRecord) {
        let Differences { lanes_new, lanes, .. } = &mut self.differences;
        let new = lanes_new.iter_mut().map(|row| &mut row.record);
        let known = new.chain(lanes.iter_mut()).find(|known| known.lane == record.lane);
        match known {
            Some(known) => *known = *record,
            None => lanes.push(*record),
        }
    }

    /// Moves a user's balance, by a payment out of a packet or into one: transfer, balance and line. Gives the transfer's
    /// number.
    fn move_balance(&mut self, packet: PacketId, user: UserId, amount: Cents, kind: LineKind) -> i64 {
        let (theirs, its) = (Account::User(user), Account::Packet(packet));
        let (debit, credit, cents) = if kind == LineKind::Send {
            (theirs, its, -to_sql(amount.0))
        } else {
            (its, theirs, to_sql(amount.0))
        };
        let numbers = &mut self.standing.numbers;
        numbers.transfer += 1;
        numbers.outbox += 1;
        let (transfer, seq) = (numbers.transfer, numbers.outbox);
        let account = self.view.change_user(user);
        let previous = account.note_moved(cents, transfer);
        self.differences.outbox.push(OutboxRow {
            seq,
            at: self.now,
            user,
            cents,
            kind,
            packet,
            transfer,
            number: account.lines,
            balance: account.balance,
            incarnation: self.incarnation,
        });
        self.append(transfer, debit, credit, amount, previous);
        transfer
    }

    /// Moves money between accounts that are no user's.
    fn pay(&mut self, debit: Account, credit: Account, amount: Cents) {
        self.standing.numbers.transfer += 1;
        self.append(self.standing.numbers.transfer, debit, credit, amount, None);
        for (account, cents) in [(debit, -to_sql(amount.0)), (credit, to_sql(amount.0))] {
            if !matches!(account, Account::Packet(_)) {
                *self.standing.house.entry(account).or_default() += cents;
                self.house_changed.insert(account);
            }
        }
    }

    fn append(&mut self, number: i64, debit: Account, credit: Account, amount: Cents, previous: Option<i64>) {
        let at = self.now;
        let transfer = Transfer {
            at,
            debit,
            credit,
            amount,
        };
        self.differences.transfers.push(Entry {
            number,
            transfer,
            previous,
        });
    }

    fn note_share(&mut self, transfer: i64, packet: PacketId, share: Share) {
        self.view.shares.insert((packet, share.user), Some(share.amount));
        self.differences.shares.push(ShareRow {
            transfer,
            packet,
            share,
        });
    }
}
