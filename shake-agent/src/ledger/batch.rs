//! A transaction under way: what it may do to packets, accounts, the journal and the cursors, each with all that belongs
//! together. Whether it should is the caller's decision.

use super::LedgerError;
use super::accounts::{self, Account, HouseDeltas};
use super::lanes::{self, LaneRecord};
use super::packets::{self, Held, Packet, Release};
use super::schema::to_sql;
use super::transfers::{self, Transfer};
use crate::seed_file::Tally;
use rusqlite::{Connection, params};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::path::Path;

/// A transaction under way.
#[derive(Debug)]
pub struct Batch<'a> {
    connection: &'a Connection,
    path: &'a Path,
    now: UnixMillis,
    house: HouseDeltas,
}

impl<'a> Batch<'a> {
    pub(super) fn new(connection: &'a Connection, path: &'a Path, now: UnixMillis) -> Self {
        Self {
            connection,
            path,
            now,
            house: HouseDeltas::default(),
        }
    }

    /// Writes what was gathered during the transaction; the last thing before the commit.
    pub(super) fn finish(&mut self) -> Result<(), LedgerError> {
        self.run("write the balances of", |connection, batch| {
            batch.house.flush(connection)
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

    /// What is known of a packet, with what this transaction did to it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn packet(&mut self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        self.run("read a packet of", |connection, _| packets::find(connection, packet))
    }

    /// The packet is in a ticket for `user`. No money moves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn issue(&mut self, packet: PacketId, user: UserId, stage: u16, at: UnixMillis) -> Result<(), LedgerError> {
        self.run("write a packet of", |connection, _| {
            packets::set_issued(connection, packet, user, stage, at)
        })
    }

    /// The user gets what is in the packet. The caller has looked the packet up in this transaction and found it released
    /// or issued, with this amount in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open_packet(
        &mut self,
        packet: PacketId,
        amount: Cents,
        user: UserId,
        stage: u16,
    ) -> Result<(), LedgerError> {
        let transfer = self.transfer(Account::Packet(packet), Account::User(user), amount);
        self.run("write an opening to", |connection, batch| {
            packets::set_opened(connection, packet, user, stage, batch.now)?;
            transfers::append(connection, &transfer)?;
            accounts::credit_user(connection, user, amount)
        })
    }

    /// The packets will never be opened; what is in them goes to the void.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn void_packets(&mut self, held: &[Held]) -> Result<(), LedgerError> {
        for held in held {
            let transfer = self.transfer(Account::Packet(held.packet), Account::Void, held.amount);
            self.run("void a packet in", |connection, batch| {
                packets::set_void(connection, held.packet, batch.now)?;
                transfers::append(connection, &transfer)?;
                batch.house.add(Account::Void, to_sql(held.amount.0));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Releases packets: the sponsor's money goes into them. Records before `next_index` of the seed are then released.
    ///
    /// # Errors
    /// When it cannot be written; a packet that is there already counts as that.
    pub fn release<'r>(
        &mut self,
        releases: impl IntoIterator<Item = &'r Release>,
        next_index: u64,
    ) -> Result<(), LedgerError> {
        for release in releases {
            let record = release.record;
            let sponsor = Account::Sponsor(record.sponsor);
            let transfer = self.transfer(sponsor, Account::Packet(record.packet), record.amount);
            self.run("release a packet in", |connection, batch| {
                packets::insert(connection, release, batch.now)?;
                transfers::append(connection, &transfer)?;
                batch.house.add(sponsor, -to_sql(record.amount.0));
                Ok(())
            })?;
        }
        self.run("note the release in", |connection, _| {
            connection
                .prepare_cached("UPDATE seed SET next_index = ?1")?
                .execute([to_sql(next_index)])
                .map(drop)
        })
    }

    /// What was released to a lane at these grant positions and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_lane(&mut self, lane: i64, positions: std::ops::Range<u64>) -> Result<Vec<Held>, LedgerError> {
        self.run("read the packets of", |connection, _| {
            packets::held_of_lane(connection, lane, positions)
        })
    }

    /// What was released to any shard of another mapping than this one and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_other_mappings(&mut self, mapping: u64) -> Result<Vec<Held>, LedgerError> {
        self.run("read the packets of", |connection, _| {
            packets::held_of_other_mappings(connection, mapping)
        })
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

    /// Stores the seed, and has the bank fund each sponsor with the sponsor's sum.
    pub(super) fn fund(
        &mut self,
        header: &SeedHeader,
        sponsors: &BTreeMap<SponsorId, Tally>,
    ) -> Result<(), LedgerError> {
        self.run("store the seed in", |connection, _| store_seed(connection, header))?;
        for (&sponsor, tally) in sponsors {
            let cents = to_sql(tally.cents);
            let transfer = self.transfer(Account::Bank, Account::Sponsor(sponsor), Cents(tally.cents));
            self.run("fund a sponsor in", |connection, batch| {
                transfers::append(connection, &transfer)?;
                batch.house.add(Account::Bank, -cents);
                batch.house.add(Account::Sponsor(sponsor), cents);
                Ok(())
            })?;
        }
        Ok(())
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

fn store_seed(connection: &Connection, header: &SeedHeader) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, next_index)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            header.event.0,
            header.part,
            header.parts,
            to_sql(header.count),
            to_sql(header.total.0),
            header.records_crc
        ],
    )?;
    Ok(())
}
