//! What a transaction changes: one row a key, with its last value; and what is only ever appended.

use super::accounts::Account;
use super::lanes::{LaneRecord, LaneRow};
use super::opening::OpeningRow;
use super::outbox::{ClosingRow, OutboxRow};
use super::packet::{Granted, Packet};
use super::shares::{OfferRow, SendRow, ShareRow};
use super::spans::Span;
use super::standing::Numbers;
use super::transfers::Entry;
use super::users::UserAccount;
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, LedgerId, PacketId, SponsorId, UnixMillis, UserId};

/// What a transaction changes. Kept between transactions for its memory. Keys are in order; no key is there twice.
#[derive(Debug, Default, PartialEq)]
pub struct Differences {
    /// How many commits there are with this one.
    pub stamp: u64,
    /// When it is.
    pub at: UnixMillis,
    /// The last numbers that were given, with those of this commit.
    pub numbers: Numbers,
    /// The opening's row, in its first commit.
    pub opening: Option<OpeningRow>,
    /// A time in which nothing could be written, which this commit ends.
    pub span: Option<Span>,
    /// The seed, in the first run.
    pub seed: Option<SeedRow>,
    /// What the bank has funded the event with for gifts in these books, when it is more than before.
    pub gift_budget: Option<Cents>,
    /// What this writer has drawn for gifts and not given, in cents; `None` where no other writer draws.
    pub gifts: Option<i64>,
    /// Everything that was asked before it at this writer's gateway is answered.
    pub answered: Option<UnixMillis>,
    /// A settlement file was begun, the first one or another.
    pub begins_settlement: bool,
    /// Packets up to this number were made by commits that are lost.
    pub made_before: Option<u64>,
    /// Packets that were not there.
    pub packets_new: Vec<(PacketId, Packet)>,
    /// Packets that were there.
    pub packets: Vec<(PacketId, Packet)>,
    /// Of them those that stand in another ring now, or in none.
    pub grants: Vec<(PacketId, Granted)>,
    /// Users, whether or not they were there.
    pub users: Vec<(UserId, UserAccount)>,
    /// The journal goes on.
    pub transfers: Vec<Entry>,
    /// The outbox goes on.
    pub outbox: Vec<OutboxRow>,
    /// Shares that were taken.
    pub shares: Vec<ShareRow>,
    /// Keys that made a packet.
    pub sends: Vec<SendRow>,
    /// Offers of packets that are new.
    pub offers: Vec<OfferRow>,
    /// Offers that wait no more: of a packet to one user, or to all. After the new ones.
    pub offers_settled: Vec<(PacketId, Option<UserId>)>,
    /// Lanes that were not there.
    pub lanes_new: Vec<LaneRow>,
    /// Where rings stand, of lanes that were there.
    pub lanes: Vec<LaneRecord>,
    /// Balances of the house's accounts, in cents.
    pub house: Vec<(Account, i64)>,
    /// Records that the store refused, and that were put aside. Only a store in which that can be has them.
    pub refused: Vec<RefusedRow>,
    /// How many packets of a sponsor are released.
    pub released: Vec<(SponsorId, u64)>,
    /// The closing line: the last of all.
    pub closing: Option<ClosingRow>,
}

/// A record of a request ring that the store refused to let take effect: nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The mapping of the ring.
    pub mapping: u64,
    /// The shard.
    pub shard: u16,
    /// Its place in the ring.
    pub position: u64,
    /// Its bytes.
    pub record: Vec<u8>,
    /// What the store said.
    pub reason: String,
}

/// The seed, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedRow {
    /// Its header.
    pub header: SeedHeader,
    /// The ledger's identity.
    pub identity: LedgerId,
    /// Its sponsors, with how many packets each has.
    pub sponsors: Vec<(SponsorId, u64)>,
}

impl Differences {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let Self {
            stamp: _,
            at: _,
            numbers: _,
            opening,
            span,
            seed,
            gift_budget,
            gifts,
            answered,
            begins_settlement,
            made_before,
            packets_new,
            packets,
            grants,
            users,
            transfers,
            outbox,
            shares,
            sends,
            offers,
            offers_settled,
            lanes_new,
            lanes,
            house,
            refused,
            released,
            closing,
        } = self;
        (*opening, *span, *seed, *gift_budget, *begins_settlement) = (None, None, None, None, false);
        (*gifts, *answered, *made_before, *closing) = (None, None, None, None);
        packets_new.clear();
        packets.clear();
        grants.clear();
        users.clear();
        transfers.clear();
        outbox.clear();
        shares.clear();
        sends.clear();
        offers.clear();
        offers_settled.clear();
        lanes_new.clear();
        lanes.clear();
        house.clear();
        refused.clear();
        released.clear();
    }
}
