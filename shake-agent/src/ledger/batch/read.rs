//! What is there, with what the transaction did to it.

use super::Batch;
use crate::ledger::LedgerError;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{EVENT_SPONSOR, Held, Origin, Packet, Term};
use crate::ledger::packets;
use crate::ledger::shares::{self, Made, Offer, Share};
use crate::ledger::users::{self, Movement, UserAccount};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

impl Batch<'_> {
    /// What is known of a packet, with what this transaction did to it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn packet(&mut self, packet: PacketId) -> Result<Option<Packet>, LedgerError> {
        self.run("read a packet of", |connection, _| packets::find(connection, packet))
    }

    /// A user's account, with what this transaction did to it; an empty one for a user who never got anything.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn user(&mut self, user: UserId) -> Result<UserAccount, LedgerError> {
        self.run("read a user of", |connection, _| {
            users::find(connection, user).map(Option::unwrap_or_default)
        })
    }

    /// The user's share of a packet, when there is one.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn share_of(&mut self, packet: PacketId, user: UserId) -> Result<Option<Cents>, LedgerError> {
        self.run("read the shares of", |connection, _| {
            shares::of_user(connection, packet, user)
        })
    }

    /// All shares of a packet, in order of time.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn shares(&mut self, packet: PacketId) -> Result<Vec<Share>, LedgerError> {
        self.run("read the shares of", |connection, _| {
            shares::of_packet(connection, packet)
        })
    }

    /// Whether the packet names this user.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn is_offered(&mut self, packet: PacketId, user: UserId) -> Result<bool, LedgerError> {
        self.run("read the offers of", |connection, _| {
            shares::is_offered(connection, packet, user)
        })
    }

    /// What waits for a user and is not due yet at `at`: gifts first, the newest first, a few hundred at the most.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn offers_for(&mut self, user: UserId, at: UnixMillis) -> Result<Vec<Offer>, LedgerError> {
        self.run("read the offers of", |connection, _| {
            shares::waiting_for(connection, user, at)
        })
    }

    /// What the same maker made with this key before.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn made_with(&mut self, origin: Origin, key: &[u8; 16]) -> Result<Option<Made>, LedgerError> {
        self.run("read the sent packets of", |connection, _| {
            shares::made_with(connection, origin, key)
        })
    }

    /// The last movements of a user's money, latest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn movements(&mut self, account: &UserAccount, max: usize) -> Result<Vec<Movement>, LedgerError> {
        self.run("read the transfers of", |connection, _| {
            users::movements(connection, account, max)
        })
    }

    /// What the event may still give away in gifts, in cents.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn gift_budget_left(&mut self) -> Result<i64, LedgerError> {
        self.run("read the balances of", |connection, batch| {
            batch.house.balance(connection, Account::Sponsor(EVENT_SPONSOR))
        })
    }

    /// When something ends that was promised so: spans in which the ledger could not be written do not count.
    #[must_use]
    pub fn end_of(&self, term: Term) -> UnixMillis {
        self.spans.end(term)
    }

    /// What was promised so, and is heard of at `now` for the first time; see [`Spans::first_heard`].
    ///
    /// [`Spans::first_heard`]: crate::ledger::Spans::first_heard
    #[must_use]
    pub fn first_heard(&self, term: Term, now: UnixMillis) -> Term {
        self.spans.first_heard(term, now)
    }

    /// What may be due at `now`, the longest overdue first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn due(&mut self, now: UnixMillis, max: usize) -> Result<Vec<(PacketId, Packet)>, LedgerError> {
        self.run("read the packets of", |connection, _| {
            packets::due(connection, now, max)
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
}
