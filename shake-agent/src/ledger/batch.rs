//! A transaction under way: what it may do to packets, accounts, the journal and the cursors, each with all that belongs
//! together. Whether it should is the caller's decision.

mod close;
mod fund;
mod read;
mod void;

use super::LedgerError;
use super::accounts::{Account, HouseDeltas};
use super::lanes::{self, LaneRecord};
use super::opening;
use super::outbox::{self, LineKind};
use super::packet::{EVENT_SPONSOR, Left, Making, Origin, Packet, Release, State, Term};
use super::packets;
use super::schema::to_sql;
use super::shares::{self, Share};
use super::spans::{self, Span, Spans};
use super::transfers::{self, Transfer};
use super::users::{self, UserAccount};
use rusqlite::{Connection, params};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::Path;

/// A packet being opened.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Its id.
    pub id: PacketId,
    /// What the ledger has of it.
    pub packet: &'a Packet,
    /// Who opens it.
    pub user: UserId,
    /// What the ledger has of that user.
    pub account: UserAccount,
    /// What the user gets of it.
    pub share: Cents,
    /// Index of the phase it was won in.
    pub stage: u16,
    /// When the rest, if any, goes back.
    pub due: UnixMillis,
}

/// A transaction under way.
#[derive(Debug)]
pub struct Batch<'a> {
    connection: &'a Connection,
    path: &'a Path,
    now: UnixMillis,
    /// The row of the opening that this is a transaction of.
    incarnation: i64,
    /// With the one that this transaction ends, if it does.
    spans: Spans,
    house: HouseDeltas,
    /// Packets released per sponsor in this transaction.
    released: BTreeMap<SponsorId, u64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        path: &'a Path,
        now: UnixMillis,
        incarnation: i64,
        spans: Spans,
    ) -> Self {
        Self {
            connection,
            path,
            now,
            incarnation,
            spans,
            house: HouseDeltas::default(),
            released: BTreeMap::new(),
        }
    }

    /// Writes what was gathered during the transaction; the last thing before the commit.
    pub(super) fn finish(&mut self) -> Result<(), LedgerError> {
        self.run("write the balances of", |connection, batch| {
            batch.house.flush(connection)?;
            let mut statement =
                connection.prepare_cached("UPDATE sponsors SET released = released + ?2 WHERE sponsor = ?1")?;
            for (sponsor, count) in std::mem::take(&mut batch.released) {
                statement.execute(params![sponsor.0, to_sql(count)])?;
            }
            opening::count_commit(connection, batch.now)
        })
    }

    fn run<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection, &mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        let connection = self.connection;
        work(connection, self).map_err(|source| LedgerError::sqlite(action, self.path, source))
    }

    /// The packet is in a ticket for `user`, who was promised this time for it. No money moves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn issue(&mut self, packet: PacketId, user: UserId, stage: u16, term: Term) -> Result<(), LedgerError> {
        self.run("write a packet of", |connection, _| {
            packets::set_issued(connection, packet, user, stage, term)
        })
    }

    /// The user opens a packet of the seed and gets `share` of what is in it; the rest may be grabbed until `due`. The
    /// caller has looked packet and account up in this transaction, and found the packet released or issued.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_packet(&mut self, opening: Opening<'_>) -> Result<(), LedgerError> {
        let Opening {
            id,
            packet,
            user,
            mut account,
            share,
            stage,
            due,
        } = opening;
        if let Origin::Seed(sponsor) = packet.origin {
            account.note_opened(sponsor);
        }
        let left = Left::after_share(packet, share, due);
        self.run("write an opening to", |connection, batch| {
            packets::set_opened(connection, id, user, stage, left, batch.now)?;
            let transfer = batch.move_balance(connection, id, user, account, share, LineKind::Open)?;
            if packet.is_shared() {
                let at = batch.now;
                let amount = share;
                shares::append(connection, transfer, id, &Share { user, amount, at })?;
            }
            Ok(())
        })
    }

    /// The user grabs `share` of an open packet. The caller has looked the packet up in this transaction, and found it
    /// open and the user without a share of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn grab(&mut self, id: PacketId, packet: &Packet, user: UserId, amount: Cents) -> Result<(), LedgerError> {
        let due = packet.due.unwrap_or(self.now);
        let left = Left::after_share(packet, amount, due);
        let kind = if packet.origin == Origin::Gift {
            LineKind::Gift
        } else {
            LineKind::Grab
        };
        let account = self.user(user)?;
        self.run("write a grab to", |connection, batch| {
            packets::set_left(connection, id, left, batch.now)?;
            let transfer = batch.move_balance(connection, id, user, account, amount, kind)?;
            let at = batch.now;
            shares::append(connection, transfer, id, &Share { user, amount, at })?;
            if packet.recipients > 0 {
                shares::settle_offers(connection, id, (left.shares > 0).then_some(user))?;
            }
            Ok(())
        })
    }

    /// Makes a packet that is open to grab, from what its maker has. The caller has found in this transaction that the
    /// maker has that much, and that the key is new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make_packet(&mut self, part: u16, making: &Making<'_>) -> Result<PacketId, LedgerError> {
        self.run("write a sent packet to", |connection, batch| {
            let id = shares::next_id(connection, part)?;
            packets::insert_made(connection, id, making, batch.now)?;
            shares::note_made(connection, id, making)?;
            for &user in making.recipients {
                shares::offer(connection, id, user, making.origin)?;
            }
            match making.origin {
                Origin::Sent(user) => {
                    let account = users::find(connection, user)?.unwrap_or_default();
                    batch.move_balance(connection, id, user, account, making.amount, LineKind::Send)?;
                }
                Origin::Gift | Origin::Seed(_) => {
                    let sponsor = Account::Sponsor(EVENT_SPONSOR);
                    let transfer = batch.transfer(sponsor, Account::Packet(id), making.amount);
                    transfers::append(connection, &transfer, None)?;
                    batch.house.add(sponsor, -to_sql(making.amount.0));
                }
            }
            Ok(id)
        })
    }

    /// What is left in the packet goes back to who funded it. The caller has looked the packet up in this transaction, and
    /// found something in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn refund(&mut self, id: PacketId, packet: &Packet) -> Result<(), LedgerError> {
        self.run("refund a packet in", |connection, batch| {
            packets::set_closed(connection, id, State::Refunded, batch.now)?;
            if packet.recipients > 0 {
                shares::settle_offers(connection, id, None)?;
            }
            let to = match packet.origin {
                Origin::Sent(user) => {
                    let account = users::find(connection, user)?.unwrap_or_default();
                    return batch
                        .move_balance(connection, id, user, account, packet.left, LineKind::Refund)
                        .map(drop);
                }
                Origin::Seed(sponsor) => Account::Refunded(sponsor),
                // It may be given again.
                Origin::Gift => Account::Sponsor(EVENT_SPONSOR),
            };
            let transfer = batch.transfer(Account::Packet(id), to, packet.left);
            transfers::append(connection, &transfer, None)?;
            batch.house.add(to, to_sql(packet.left.0));
            Ok(())
        })
    }

    /// Moves a user's balance, by a payment out of a packet or into one: transfer, balance and line. Gives the transfer's
    /// number.
    fn move_balance(
        &self,
        connection: &Connection,
        packet: PacketId,
        user: UserId,
        mut account: UserAccount,
        amount: Cents,
        kind: LineKind,
    ) -> rusqlite::Result<i64> {
        let (theirs, its) = (Account::User(user), Account::Packet(packet));
        let (debit, credit, cents) = if kind == LineKind::Send {
            (theirs, its, -to_sql(amount.0))
        } else {
            (its, theirs, to_sql(amount.0))
        };
        let transfer = self.transfer(debit, credit, amount);
        let transfer = transfers::append(connection, &transfer, account.last_transfer)?;
        account.last_transfer = Some(transfer);
        account.balance += cents;
        account.lines += 1;
        users::store(connection, user, &account)?;
        let row = outbox::Row {
            at: self.now,
            user,
            cents,
            kind,
            packet,
            transfer,
            number: account.lines,
            balance: account.balance,
            incarnation: self.incarnation,
        };
        outbox::append(connection, &row)?;
        Ok(transfer)
    }

    /// Releases packets: the sponsor's money goes into them. Each is the next one of its sponsor, in the order of the
    /// seed.
    ///
    /// # Errors
    /// When it cannot be written; a packet that is there already counts as that.
    pub fn release<'r>(&mut self, releases: impl IntoIterator<Item = &'r Release>) -> Result<(), LedgerError> {
        for release in releases {
            let record = release.record;
            let sponsor = Account::Sponsor(record.sponsor);
            let transfer = self.transfer(sponsor, Account::Packet(record.packet), record.amount);
            self.run("release a packet in", |connection, batch| {
                packets::insert(connection, release, batch.now)?;
                transfers::append(connection, &transfer, None)?;
                batch.house.add(sponsor, -to_sql(record.amount.0));
                *batch.released.entry(record.sponsor).or_default() += 1;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Counts on from a stamp that was seen of this ledger, if that is larger.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn stamp_at_least(&mut self, seen: u64) -> Result<(), LedgerError> {
        self.run("write the stamp of", |connection, _| {
            opening::stamp_at_least(connection, seen)
        })
    }

    /// Ids of packets that are made go on `between` numbers after that of `last`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn skip_made(&mut self, last: PacketId, between: u64) -> Result<(), LedgerError> {
        self.run("write the number of sent packets of", |connection, _| {
            shares::skip_made(connection, last, between)
        })
    }

    /// A settlement file was begun.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_settlement(&mut self) -> Result<(), LedgerError> {
        self.run("note the settlement file in", |connection, batch| {
            connection
                .execute(
                    "UPDATE seed SET settlement_ms = ?1 WHERE settlement_ms IS NULL",
                    [to_sql(batch.now.0)],
                )
                .map(drop)
        })
    }

    /// The packet does not go back before `due`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_off(&mut self, id: PacketId, due: UnixMillis) -> Result<(), LedgerError> {
        self.run("write a packet of", |connection, _| {
            packets::set_due(connection, id, due)
        })
    }

    pub(super) fn note_span(&mut self, span: Span) -> Result<(), LedgerError> {
        self.run("write a span of", |connection, _| spans::append(connection, span))
    }

    /// The record of a shard's rings in a mapping; made when there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn lane(&mut self, mapping: u64, shard: u16) -> Result<LaneRecord, LedgerError> {
        self.run("read the ring cursors of", |connection, _| {
            lanes::find_or_make(connection, mapping, shard)
        })
    }

    /// Stores how far a shard's rings are.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store_lane(&mut self, record: &LaneRecord) -> Result<(), LedgerError> {
        self.run("write the ring cursors of", |connection, _| {
            lanes::store(connection, record)
        })
    }

    fn transfer(&self, debit: Account, credit: Account, amount: Cents) -> Transfer {
        Transfer {
            at: self.now,
            debit,
            credit,
            amount,
        }
    }
}
