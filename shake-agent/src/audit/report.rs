//! What an audit found: the figures per sponsor, and the differences. All amounts are whole cents.

use crate::ledger::Machine;
use crate::seed_file::Tally;
use serde::Serialize;
use shake_rules::PacketId;
use std::collections::BTreeMap;
use std::fmt;

/// Something that is not as the seed and the transfers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind of difference, one word for programs: `packet_amount`, `transfer_missing`, ….
    pub kind: &'static str,
    /// What it is about: a packet, an account, a transfer, a sponsor.
    pub subject: String,
    /// The packet, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<PacketId>,
    /// What ought to be.
    pub expected: String,
    /// What is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: expected {}, found {}",
            self.kind, self.subject, self.expected, self.found
        )
    }
}

/// What holds of each sponsor, and of all together.
pub(super) const EQUATION: &str = "seed + gifts = unreleased + held + opened + refunded + void + lost + paid";

/// Where a sponsor's packets are. Packets are counted by their state; cents by where they are, so what was taken of a
/// packet whose rest went back counts as opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SponsorTotals {
    /// In the seed file.
    pub seed: Tally,
    /// Packets that the event (sponsor 0) gave, and its whole budget for them.
    pub gifts: Tally,
    /// Not released yet; of the event, what it may still give, with what came back of gifts. Nothing once the ledger is closed.
    pub unreleased: Tally,
    /// Released and not issued: in the hands of a shard.
    pub released: Tally,
    /// In a ticket, not opened.
    pub issued: Tally,
    /// Open to grab.
    pub open: Tally,
    /// Released, issued or open.
    pub held: Tally,
    /// Opened or grabbed: with users.
    pub opened: Tally,
    /// Gone back, because nobody took it in time, or because it was never won when the ledger was closed.
    pub refunded: Tally,
    /// Void: proved to be in no ticket. Nothing once the ledger is closed, unless by a program of before.
    pub void: Tally,
    /// Lost: released into a mapping that is gone. Its money lies in the void too, and a ticket in its time opens it from there.
    pub lost: Tally,
    /// Opened by commits that are lost: whoever pays has their lines. Its money lies in the void too.
    pub paid: Tally,
    /// Of what is refunded, that which lay in the void before.
    pub refunded_from_void: Tally,
}

impl SponsorTotals {
    /// Name and tally of each column, in order.
    #[must_use]
    pub fn columns(&self) -> [(&'static str, Tally); 12] {
        [
            ("seed", self.seed),
            ("gifts", self.gifts),
            ("unreleased", self.unreleased),
            ("released", self.released),
            ("issued", self.issued),
            ("open", self.open),
            ("held", self.held),
            ("opened", self.opened),
            ("refunded", self.refunded),
            ("void", self.void),
            ("lost", self.lost),
            ("paid", self.paid),
        ]
    }

    /// Takes the figures of another sponsor, or of another part, into account.
    pub(super) fn merge(&mut self, other: &Self) {
        self.seed.merge(other.seed);
        self.gifts.merge(other.gifts);
        self.unreleased.merge(other.unreleased);
        self.released.merge(other.released);
        self.issued.merge(other.issued);
        self.open.merge(other.open);
        self.held.merge(other.held);
        self.opened.merge(other.opened);
        self.refunded.merge(other.refunded);
        self.void.merge(other.void);
        self.lost.merge(other.lost);
        self.paid.merge(other.paid);
        self.refunded_from_void.merge(other.refunded_from_void);
    }

    /// [`EQUATION`], in packets and in cents.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let mut funded = self.seed;
        funded.merge(self.gifts);
        let mut sum = self.unreleased;
        sum.merge(self.held);
        sum.merge(self.opened);
        sum.merge(self.refunded);
        sum.merge(self.void);
        sum.merge(self.lost);
        sum.merge(self.paid);
        sum == funded
    }
}

/// Where the packets are that users sent. Counted as [`SponsorTotals`] are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SentTotals {
    /// All that were sent.
    pub sent: Tally,
    /// Open to grab.
    pub open: Tally,
    /// Grabbed.
    pub grabbed: Tally,
    /// Gone back to their senders.
    pub refunded: Tally,
}

impl SentTotals {
    /// Takes the figures of another part into account.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sent.merge(other.sent);
        self.open.merge(other.open);
        self.grabbed.merge(other.grabbed);
        self.refunded.merge(other.refunded);
    }

    /// sent = open + grabbed + refunded, in packets and in cents.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let mut sum = self.open;
        sum.merge(self.grabbed);
        sum.merge(self.refunded);
        sum == self.sent
    }
}

/// A number of credits to users, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CreditTally {
    /// How many.
    pub credits: u64,
    /// Their sum.
    pub cents: u64,
}

impl CreditTally {
    /// Takes another tally into account.
    pub(super) fn merge(&mut self, other: Self) {
        self.credits += other.credits;
        self.cents = self.cents.saturating_add(other.cents);
    }

    pub(super) fn add(&mut self, cents: u64) {
        self.credits += 1;
        self.cents = self.cents.saturating_add(cents);
    }
}

/// Credits out of packets of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseRow {
    /// Index of the phase; none for what users sent.
    pub stage: Option<u16>,
    /// The credits.
    #[serde(flatten)]
    pub credits: CreditTally,
}

/// What users got of one sponsor in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GrantRow {
    /// The sponsor; 0 is the event with its gifts.
    pub sponsor: u16,
    /// Index of the phase that the packet was won or given in.
    pub stage: Option<u16>,
    /// The credits.
    #[serde(flatten)]
    pub credits: CreditTally,
}

/// Credits of one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayRow {
    /// The day, as 2027-02-05.
    pub day: String,
    /// The credits.
    #[serde(flatten)]
    pub credits: CreditTally,
}

/// One sponsor's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SponsorRow {
    /// The sponsor's number.
    pub sponsor: u16,
    /// Its figures.
    #[serde(flatten)]
    pub totals: SponsorTotals,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no difference at all.
    pub balanced: bool,
    /// The event.
    pub event: u32,
    /// Which part of the fleet's seed, of how many.
    pub part: u16,
    /// How many parts the fleet's seed has.
    pub parts: u16,
    /// Which ledger, in all its copies; none in one of version 2.
    pub ledger: Option<String>,
    /// The machines that wrote it.
    pub machines: Vec<Machine>,
    /// When the ledger was closed, in milliseconds since 1970 UTC. From then on its figures are final.
    pub closed_ms: Option<u64>,
    /// All sponsors together.
    pub total: SponsorTotals,
    /// Each sponsor.
    pub sponsors: Vec<SponsorRow>,
    /// What users sent each other.
    pub sent: SentTotals,
    /// The outbox by kind of line: open, grab, gift, refund, and send, which takes off.
    pub outbox: BTreeMap<&'static str, CreditTally>,
    /// Credits by phase.
    pub phases: Vec<PhaseRow>,
    /// Credits by sponsor and phase, without what users sent.
    pub grants: Vec<GrantRow>,
    /// The time zone of the days.
    pub time_zone: String,
    /// Credits by day.
    pub days: Vec<DayRow>,
    /// What users have: how many packets they opened, and the sum of their balances.
    pub users: Tally,
    /// How many users have an account.
    pub user_accounts: u64,
    /// How many of them have something.
    pub users_owed: u64,
    /// The sum of all stored balances; zero when all is well.
    pub balance_sum_cents: i128,
    /// How many differences there are.
    pub difference_count: u64,
    /// The differences, at most 10,000 of them.
    pub differences: Vec<Difference>,
    /// The void packets, by id.
    pub void_packets: Vec<PacketId>,
    /// The lost packets, by id.
    pub lost_packets: Vec<PacketId>,
    /// The packets that commits opened which are lost, by id.
    pub paid_packets: Vec<PacketId>,
}
