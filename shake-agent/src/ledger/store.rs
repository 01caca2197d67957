//! What keeps a ledger: the one seam between the rules and the disk. A transaction is read, judged in memory, and written as
//! differences:
//!
//! ```text
//! begin ─▶ load, list (as often as what was read asks for more) ─▶ judge, in memory ─▶ commit
//!                                                               └─▶ roll back
//! ```
//! A store decides nothing. All that it is asked for comes in sets, and all that it writes is one row a key with its last value,
//! so that a store may do each by one statement.

use super::LedgerError;
use super::differences::Differences;
use super::opening::Incarnation;
use super::packet::{Origin, Packet, State};
use super::shares::{Offer, Share};
use super::spans::Spans;
use super::standing::Standing;
use super::users::Movement;
use super::view::View;
use shake_rules::winnings::Winnings;
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis, UserId};
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// How far a store is with being reached anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It is, and has made a commit.
    Now,
    /// It is being tried, beside the caller: ask again.
    NotYet,
}

/// What keeps a ledger.
pub trait Store: Debug {
    /// Where it is, for messages.
    fn place(&self) -> &Path;

    /// Which ledger it is, where that was said before its first run; `None` where the first run says it.
    fn identity(&self) -> Option<LedgerId> {
        None
    }

    /// Whether others write to the ledger as well, and look whether this writer does.
    fn is_shared(&self) -> bool {
        false
    }

    /// Reads what every transaction builds on. `incarnation` is that of this opening.
    ///
    /// # Errors
    /// When it cannot be read.
    fn standing(&self, incarnation: Incarnation) -> Result<Standing, LedgerError>;

    /// Goes on with what comes after a failure: connects anew and makes a small commit. A store that takes long for it does it
    /// beside the caller.
    ///
    /// # Errors
    /// When the storage fails still.
    fn reopen(&mut self) -> Result<Reached, LedgerError>;

    /// Nobody waits for the storage beyond this moment, whatever is asked of it; with `None` each answer has the time that the
    /// store gives it. What is not there by then counts as a failure. A disk is waited for as long as it takes.
    fn wait_until(&self, _end: Option<Instant>) {}

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// When the storage fails.
    fn begin(&mut self) -> Result<(), LedgerError>;

    /// The spans, when other writers have added to them since they were read: asked when a transaction has begun.
    ///
    /// # Errors
    /// When they cannot be read.
    fn new_spans(&self) -> Result<Option<Spans>, LedgerError> {
        Ok(None)
    }

    /// Reads what is needed into the view. What is in it already stays as it is there: it may have been changed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self, needed: &Needed, view: &mut View) -> Result<(), LedgerError>;

    /// Reads the packets of a listing into the view, as [`Store::load`] does, and gives their ids in order. The view may know
    /// better of each of them.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, listing: &Listing, view: &mut View) -> Result<Vec<PacketId>, LedgerError>;

    /// Raises what the event was funded with for gifts, in the transaction under way; less than it has changes nothing. Gives what it
    /// was before; `None` where the ledger has no other writer, and knows it by itself.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn raise_gift_budget(&self, _to: Cents) -> Result<Option<Cents>, LedgerError> {
        Ok(None)
    }

    /// Draws cents for gifts out of what all writers have in common, in the transaction under way: what is `needed` now, or as much as
    /// is there, and for what comes next at most `ahead`, of which others get as well. Puts back what is negative. Gives how much:
    /// nothing where there is no other writer.
    ///
    /// # Errors
    /// When it cannot be read or written.
    fn draw_gifts(&self, _needed: i64, _ahead: i64) -> Result<i64, LedgerError> {
        Ok(0)
    }

    /// Writes the differences and makes them durable: all of them, or none.
    ///
    /// # Errors
    /// When the storage fails. What is there then is unknown until [`Store::reopen`].
    fn commit(&mut self, differences: &Differences) -> Result<(), LedgerError>;

    /// Ends a transaction without a trace.
    fn roll_back(&mut self);

    /// Reads what is committed, outside of any transaction.
    ///
    /// # Errors
    /// When it cannot be read.
    fn look(&self, look: &Look) -> Result<Seen, LedgerError>;

    /// Whether anything is out whose time runs, of any writer: a grant, a ticket, a share, or a ticket for what was lost.
    ///
    /// # Errors
    /// When it cannot be read.
    fn are_out(&self) -> Result<bool, LedgerError>;

    /// The clock that all writers have in common; `None` where there is no other writer.
    fn now(&self) -> Option<UnixMillis> {
        None
    }

    /// Up to when everything that was asked at any gateway is answered; `None` where there is no other writer. Left out are parts that
    /// nobody has, and those whose agents are silent, when `counts_silence`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn least_answered(&self, _counts_silence: bool) -> Result<Option<UnixMillis>, LedgerError> {
        Ok(None)
    }

    /// When the first packet may go back; `None` while none can.
    ///
    /// # Errors
    /// When it cannot be read.
    fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError>;

    /// When the last packet was lost that is lost still; `None` when none is.
    ///
    /// # Errors
    /// When it cannot be read.
    fn last_lost(&self) -> Result<Option<UnixMillis>, LedgerError>;
}

/// What requests could matter for. Kept between batches for its memory.
#[derive(Debug, Default)]
pub struct Needed {
    /// Packets of one's own, whether or not they are there. Whoever else has one of them is waited for.
    pub packets: Vec<PacketId>,
    /// Packets that are to be opened, of any writer. One that another has at the moment is seen, and not waited for, nor is one
    /// that can be opened no more.
    pub claimed: Vec<PacketId>,
    /// The same of packets of which a user is to get a share. The user is needed if the packet can be changed.
    pub grabbed: Vec<(PacketId, UserId)>,
    /// Users, whether or not they have an account. Those that another writer has are not waited for.
    pub users: Vec<UserId>,
    /// Shares of packets by users.
    pub shares: Vec<(PacketId, UserId)>,
    /// Offers of packets to users.
    pub offers: Vec<(PacketId, UserId)>,
    /// Keys with which users or the event may have made a packet.
    pub sends: Vec<(Origin, [u8; 16])>,
    /// Rings, by mapping and shard.
    pub lanes: Vec<(u64, u16)>,
}

impl Needed {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.claimed.clear();
        self.grabbed.clear();
        self.users.clear();
        self.shares.clear();
        self.offers.clear();
        self.sends.clear();
        self.lanes.clear();
    }

    /// All packets, for a store of one writer.
    pub fn every_packet(&self) -> impl Iterator<Item = PacketId> {
        let grabbed = self.grabbed.iter().map(|(packet, _)| packet);
        self.packets.iter().chain(&self.claimed).chain(grabbed).copied()
    }

    /// All users, for a store of one writer.
    pub fn every_user(&self) -> impl Iterator<Item = UserId> {
        let grabbers = self.grabbed.iter().map(|(_, user)| user);
        self.users.iter().chain(grabbers).copied()
    }

    /// Puts keys in order, where neighbours are near to each other on a disk.
    pub fn sort(&mut self) {
        self.packets.sort_unstable();
        self.claimed.sort_unstable();
        self.grabbed.sort_unstable();
        self.users.sort_unstable();
        self.shares.sort_unstable();
        self.offers.sort_unstable();
    }
}

/// Packets that are named by where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// What may be due by then, the longest overdue first.
    Due {
        /// By when.
        by: UnixMillis,
        /// How many at the most.
        max: usize,
    },
    /// The same of parts that nobody has, and of those whose agents are silent, when `counts_silence`.
    DueOfGone {
        /// By when.
        by: UnixMillis,
        /// How many at the most.
        max: usize,
        /// Whether silence counts: not after a time in which nobody could write.
        counts_silence: bool,
    },
    /// What is only released, of one lane, in the order of grant positions.
    HeldOfLane {
        /// The ledger's number of the lane.
        lane: i64,
        /// Grant positions.
        positions: Range<u64>,
    },
    /// What is only released, of every lane of another mapping than this one.
    HeldOfOtherMappings(u64),
    /// All that are released, lost or void; other states have no listing.
    OfState(State),
}

/// What somebody wants to see of what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A packet with its shares.
    Packet(PacketId),
    /// A user's balance, and so many of the last movements.
    Wallet(UserId, usize),
    /// What waits for a user and is not due yet at that time.
    Offers(UserId, UnixMillis),
    /// What a user won, at whatever gateway. A store of one gateway shows nothing: that knows by itself.
    Winnings(UserId),
}

/// What there is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A packet with its shares, in order of time; `None` when there is none.
    Packet(Option<(Packet, Vec<Share>)>),
    /// A user's money.
    Wallet {
        /// What the user has, in cents; `None` of a user who never got anything.
        balance: Option<i64>,
        /// The last movements, latest first.
        movements: Vec<Movement>,
    },
    /// What waits for a user: gifts first, the newest first, a few hundred at the most.
    Offers(Vec<Offer>),
    /// What was issued to a user and may be opened, and what the user opened.
    Winnings(Winnings),
}
