//! The store of one machine: a SQLite file with a write-ahead log. One process, and in it one thread, writes; anyone may read
//! meanwhile. After a failed write or sync what is on the disk is unknown, and [`Store::reopen`] opens the file anew.

use super::checkpoint::{self, Wal};
use super::differences::{Differences, SeedRow};
use super::opening::{self, Incarnation};
use super::schema::to_sql;
use super::standing::{Numbers, Standing};
use super::store::{Listing, Look, Needed, Reached, Seen, Store};
use super::view::View;
use super::{LedgerError, accounts, bound, connect, lanes, lock, outbox, packets, shares, spans, transfers, users};
use rusqlite::{Connection, params};
use shake_rules::winnings::Winnings;
use shake_rules::{PacketId, UnixMillis};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A SQLite file that this process alone writes. Holds its lock for as long as it lives.
#[derive(Debug)]
pub struct Sqlite {
    pub(super) connection: Connection,
    path: PathBuf,
    pub(super) wal: Arc<Wal>,
    _lock: lock::Lock,
}

impl Sqlite {
    /// Opens the file at `path`, or makes an empty one, and takes its lock (`<path>.lock`).
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let lock = lock::Lock::take(path)?;
        let wal = Arc::new(Wal::default());
        let connection = connect::writer(path, &wal)?;
        // What the log holds may be in the system's cache only: the last run may have ended because a sync failed, and the
        // next sync of the same pages would then say "success". Moved into the file, it is written and synced anew.
        checkpoint::passive(&connection).map_err(|source| LedgerError::sqlite("checkpoint", path, source))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            wal,
            _lock: lock,
        })
    }

    /// The state of its write-ahead log.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Moves all of the WAL into the database file, and empties it. For the end of a run: it waits for readers, for at
    /// most five seconds.
    ///
    /// # Errors
    /// When it fails.
    pub fn checkpoint(&self) -> Result<(), LedgerError> {
        self.run("checkpoint", |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }

    fn run<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        work(&self.connection).map_err(|source| LedgerError::sqlite(action, &self.path, source))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.run("read", work)
    }
}

impl Store for Sqlite {
    fn place(&self) -> &Path {
        &self.path
    }

    fn standing(&self, incarnation: Incarnation) -> Result<Standing, LedgerError> {
        self.read(|connection| {
            Ok(Standing {
                stamp: opening::stamp(connection)?,
                last_commit: spans::last_commit(connection)?,
                closed: outbox::closed(connection)?,
                spans: spans::all(connection)?,
                bound: bound::bound_seed(connection)?,
                numbers: Numbers {
                    transfer: transfers::last(connection)?,
                    outbox: outbox::last(connection)?,
                    made: shares::last_number(connection)?,
                    lane: lanes::last(connection)?,
                    incarnation: opening::last(connection)?,
                },
                house: accounts::balances(connection)?,
                gifts: None,
                lost_stamp: 0,
                incarnation_row: opening::row_of(connection, incarnation)?,
            })
        })
    }

    fn reopen(&mut self) -> Result<Reached, LedgerError> {
        let connection = connect::writer(&self.path, &self.wal)?;
        connect::probe(&connection).map_err(|source| LedgerError::sqlite("write to", &self.path, source))?;
        // The old connection was open until here. SQLite reads the log anew only when nobody has the file open, so it never
        // came to believe a commit whose sync failed; the probe went over its bytes.
        self.connection = connection;
        Ok(Reached::Now)
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        if self.wal.take_finish() {
            self.run("checkpoint", checkpoint::passive)?;
        }
        self.run("begin a transaction in", |connection| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
        })
    }

    fn load(&self, needed: &Needed, view: &mut View) -> Result<(), LedgerError> {
        self.read(|connection| load(connection, needed, view))
    }

    fn list(&self, listing: &Listing, view: &mut View) -> Result<Vec<PacketId>, LedgerError> {
        let found = self.read(|connection| match *listing {
            Listing::Due { by, max } => packets::due(connection, by, max),
            // There is no other part.
            Listing::DueOfGone { .. } => Ok(Vec::new()),
            Listing::HeldOfLane { lane, ref positions } => packets::held_of_lane(connection, lane, positions.clone()),
            Listing::HeldOfOtherMappings(mapping) => packets::held_of_other_mappings(connection, mapping),
            Listing::OfState(state) => packets::of_state(connection, state),
        })?;
        let put = |(id, packet)| {
            view.put_packet(id, Some(packet));
            id
        };
        Ok(found.into_iter().map(put).collect())
    }

    fn commit(&mut self, differences: &Differences) -> Result<(), LedgerError> {
        self.run("write to", |connection| write(connection, differences))?;
        crate::crash::point("turn:before-commit");
        self.run("commit to", |connection| {
            connection.prepare_cached("COMMIT")?.execute([]).map(drop)
        })
    }

    fn roll_back(&mut self) {
        // When this fails too, the next start does it: the log has no commit record.
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    fn look(&self, look: &Look) -> Result<Seen, LedgerError> {
        self.read(|connection| match *look {
            Look::Packet(id) => {
                let packet = packets::Finder::new(connection)?.find(id)?;
                let with_shares = |packet| Ok((packet, shares::of_packet(connection, id)?));
                packet.map(with_shares).transpose().map(Seen::Packet)
            }
            Look::Wallet(user, max) => {
                let account = users::Finder::new(connection)?.find(user)?;
                let movements = match &account {
                    Some(account) => users::movements(connection, account, max)?,
                    None => Vec::new(),
                };
                Ok(Seen::Wallet {
                    balance: account.map(|account| account.balance),
                    movements,
                })
            }
            Look::Offers(user, at) => shares::waiting_for(connection, user, at).map(Seen::Offers),
            Look::Winnings(_) => Ok(Seen::Winnings(Winnings::default())),
        })
    }

    fn are_out(&self) -> Result<bool, LedgerError> {
        self.read(packets::are_out)
    }

    fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.read(packets::first_due)
    }

    fn last_lost(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.read(packets::last_lost)
    }
}

fn load(connection: &Connection, needed: &Needed, view: &mut View) -> rusqlite::Result<()> {
    let mut finder = packets::Finder::new(connection)?;
    for id in needed.every_packet() {
        if !view.has_packet(id) {
            view.put_packet(id, finder.find(id)?);
        }
    }
    if needed.every_user().next().is_some() {
        let mut finder = users::Finder::new(connection)?;
        for id in needed.every_user() {
            if !view.has_user(id) {
                view.put_user(id, finder.find(id)?);
            }
        }
    }
    for &key in &needed.shares {
        if !view.has_share(key) {
            view.put_share(key, shares::of_user(connection, key.0, key.1)?);
        }
    }
    for &key in &needed.offers {
        if !view.has_offer(key) {
            view.put_offer(key, shares::is_offered(connection, key.0, key.1)?);
        }
    }
    for key in &needed.sends {
        if !view.has_send(key) {
            view.put_send(*key, shares::made_with(connection, key.0, &key.1)?);
        }
    }
    for &(mapping, shard) in &needed.lanes {
        view.put_lane((mapping, shard), lanes::find(connection, mapping, shard)?);
    }
    Ok(())
}

fn write(connection: &Connection, differences: &Differences) -> rusqlite::Result<()> {
    if let Some(opening) = &differences.opening {
        opening::insert(connection, opening)?;
    }
    if let Some(span) = differences.span {
        spans::append(connection, span)?;
    }
    write_seed(connection, differences)?;
    packets::insert(connection, &differences.packets_new)?;
    packets::update(connection, &differences.packets)?;
    packets::regrant(connection, &differences.grants)?;
    users::store(connection, &differences.users)?;
    transfers::append(connection, &differences.transfers)?;
    outbox::append(connection, &differences.outbox)?;
    shares::append(connection, &differences.shares)?;
    shares::note_made(connection, &differences.sends)?;
    shares::offer(connection, &differences.offers)?;
    for &(packet, user) in &differences.offers_settled {
        shares::settle_offers(connection, packet, user)?;
    }
    lanes::insert(connection, &differences.lanes_new)?;
    lanes::update(connection, &differences.lanes)?;
    accounts::store(connection, &differences.house)?;
    bound::store_released(connection, &differences.released)?;
    if let Some(closing) = &differences.closing {
        outbox::append_closing(connection, closing)?;
    }
    opening::store_commit(connection, differences.stamp, differences.at)
}

fn write_seed(connection: &Connection, differences: &Differences) -> rusqlite::Result<()> {
    if let Some(seed) = &differences.seed {
        insert_seed(connection, seed)?;
    }
    if let Some(gift_budget) = differences.gift_budget {
        connection.execute("UPDATE seed SET gift_budget_cents = ?1", [to_sql(gift_budget.0)])?;
    }
    if differences.begins_settlement {
        connection.execute(
            "UPDATE seed SET settlement_ms = ?1 WHERE settlement_ms IS NULL",
            [to_sql(differences.at.0)],
        )?;
    }
    if let Some(number) = differences.made_before {
        shares::store_made_before(connection, number)?;
    }
    Ok(())
}

fn insert_seed(connection: &Connection, seed: &SeedRow) -> rusqlite::Result<()> {
    let header = &seed.header;
    connection.execute(
        "INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, gift_budget_cents, identity)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
        params![
            header.event.0,
            header.part,
            header.parts,
            to_sql(header.count),
            to_sql(header.total.0),
            header.records_crc,
            seed.identity.0
        ],
    )?;
    let mut statement =
        connection.prepare_cached("INSERT INTO sponsors (sponsor, packets, released) VALUES (?1, ?2, 0)")?;
    for &(sponsor, packets) in &seed.sponsors {
        statement.execute(params![sponsor.0, to_sql(packets)])?;
    }
    Ok(())
}
