//! A transaction under way: the store that it reads from, and the book that it is done in.

use super::LedgerError;
use super::book::Book;
use super::lanes::LaneRecord;
use super::packet::{Held, Packet, State};
use super::sqlite::Sqlite;
use super::store::{Listing, Needed, Store};
use shake_rules::{Cents, PacketId};
use std::ops::{Deref, DerefMut, Range};

/// A transaction under way. What it does is done in its [`Book`], which it derefs to.
#[derive(Debug)]
pub struct Batch<'a, S = Sqlite> {
    store: &'a mut S,
    book: &'a mut Book,
}

impl<S> Deref for Batch<'_, S> {
    type Target = Book;

    fn deref(&self) -> &Book {
        self.book
    }
}

impl<S> DerefMut for Batch<'_, S> {
    fn deref_mut(&mut self) -> &mut Book {
        self.book
    }
}

impl<'a, S: Store> Batch<'a, S> {
    pub(super) fn new(store: &'a mut S, book: &'a mut Book) -> Self {
        Self { store, book }
    }

    /// Reads what is needed, so that the book can be asked for it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn load(&mut self, needed: &Needed) -> Result<(), LedgerError> {
        self.store.load(needed, &mut self.book.view)
    }

    /// Reads a packet, so that the book can be asked for it; and gives what the book has of it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn load_packet(&mut self, id: PacketId) -> Result<Option<Packet>, LedgerError> {
        self.load(&Needed {
            packets: vec![id],
            ..Needed::default()
        })?;
        Ok(self.book.packet(id))
    }

    /// The record of a shard's rings in a mapping; made when there is none.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn load_lane(&mut self, mapping: u64, shard: u16) -> Result<LaneRecord, LedgerError> {
        self.load(&Needed {
            lanes: vec![(mapping, shard)],
            ..Needed::default()
        })?;
        Ok(self.book.lane(mapping, shard))
    }

    /// Reads the packets of a listing. The store does not know what the book did to them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn list(&mut self, listing: &Listing) -> Result<Vec<PacketId>, LedgerError> {
        self.store.list(listing, &mut self.book.view)
    }

    /// What was released to a lane at these grant positions before this transaction, and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_lane(&mut self, lane: i64, positions: Range<u64>) -> Result<Vec<Held>, LedgerError> {
        let listed = self.list(&Listing::HeldOfLane { lane, positions })?;
        Ok(self.book.held(&listed))
    }

    /// What was released to any shard of another mapping than this one and is not issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn held_of_other_mappings(&mut self, mapping: u64) -> Result<Vec<Held>, LedgerError> {
        let listed = self.list(&Listing::HeldOfOtherMappings(mapping))?;
        Ok(self.book.held(&listed))
    }

    /// Raises what the event was funded with for gifts. Less than it has changes nothing.
    pub(super) fn raise_gift_budget(&mut self, to: Cents) -> Result<(), LedgerError> {
        let own = self
            .book
            .standing
            .bound
            .as_ref()
            .map_or(Cents(0), |bound| bound.gift_budget);
        let before = self.store.raise_gift_budget(to)?.unwrap_or(own);
        if to > before {
            self.book.fund_gifts(Cents(to.0 - before.0));
        }
        Ok(())
    }

    /// Draws cents for gifts as [`Store::draw_gifts`] does. Gives how much. In a transaction of its own: whoever draws waits for others who do, and holds up who waits for its own packets.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn draw_gifts(&mut self, needed: i64, ahead: i64) -> Result<i64, LedgerError> {
        let drawn = self.store.draw_gifts(needed, ahead)?;
        self.book.take_gifts(drawn);
        Ok(drawn)
    }

    /// Sends back what stands in rings, what is lost, what is void and what was never released, and writes the closing line.
    pub(super) fn close_books(&mut self) -> Result<(), LedgerError> {
        if self.store.first_due()?.is_some() {
            return Err(LedgerError::StillOut(self.store.place().to_owned()));
        }
        for state in [State::Lost, State::Void, State::Released] {
            for id in self.list(&Listing::OfState(state))? {
                self.book.return_packet(id);
            }
        }
        // Parts are closed when the event is over: the first one that is takes with it what nobody has drawn.
        self.draw_gifts(i64::MAX, 0)?;
        self.book.close();
        Ok(())
    }
}
