//! What a packet is, and where it can stand:
//!
//! ```text
//!                             ┌──────────────▶ opened    all of it is with users
//! released ──▶ issued ──▶ (opening) ──▶ open ──▶ │       open: shares wait to be grabbed
//!    │  └───────────────────▶ ▲          ▲  └──▶ refunded
//!    ├──▶ void     └──────────┼──────────┼─────▶ refunded   not opened or not grabbed in time
//!    └──▶ lost ─(a ticket, or its `Issued`)─▶ found: as if it were released
//!              a ticket proves the issue │
//!                                  sent, given
//! ```
//! *Void* is what a `ShardStarted` proves to have no ticket. *Lost* is what was released into a mapping that is gone, where
//! nobody can say it. *Paid* is what commits opened that are lost themselves: the settlement target has its lines, and this ledger
//! has not (`loss`). The money of all three lies in the void account. When the ledger is closed, void and lost go back to their
//! sponsors; paid stays.

use super::schema::from_sql;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// Where a packet stands. What is in the seed and not here is unreleased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Given to a shard, not known to be issued.
    Released,
    /// In a ticket for a user.
    Issued,
    /// All of it is with users.
    Opened,
    /// In no ticket: never to be opened.
    Void,
    /// Shares wait to be grabbed.
    Open,
    /// What was left went back to who funded it.
    Refunded,
    /// Released into a mapping that is gone: a ticket may be out.
    Lost,
    /// Opened by commits that are lost: whoever pays has its lines.
    Paid,
}

impl State {
    /// The state's name in exports and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Issued => "issued",
            Self::Opened => "opened",
            Self::Void => "void",
            Self::Open => "open",
            Self::Refunded => "refunded",
            Self::Lost => "lost",
            Self::Paid => "paid",
        }
    }

    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Released => 1,
            Self::Issued => 2,
            Self::Opened => 3,
            Self::Void => 4,
            Self::Open => 5,
            Self::Refunded => 6,
            Self::Lost => 7,
            Self::Paid => 8,
        }
    }

    /// The state of this number; `None` when there is no such state.
    #[must_use]
    pub fn from_column(state: i64) -> Option<Self> {
        Some(match state {
            1 => Self::Released,
            2 => Self::Issued,
            3 => Self::Opened,
            4 => Self::Void,
            5 => Self::Open,
            6 => Self::Refunded,
            7 => Self::Lost,
            8 => Self::Paid,
            _ => return None,
        })
    }
}

/// Where a packet comes from, and with it who funded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The seed; a sponsor funded it.
    Seed(SponsorId),
    /// A user sent it.
    Sent(UserId),
    /// The event gave it.
    Gift,
}

/// The sponsor that stands for the event itself.
pub const EVENT_SPONSOR: SponsorId = SponsorId(0);

impl Origin {
    /// The number in the table.
    #[must_use]
    pub fn to_column(self) -> i64 {
        match self {
            Self::Seed(_) => 1,
            Self::Sent(_) => 2,
            Self::Gift => 3,
        }
    }

    /// The origin of these columns; `None` when they make none.
    #[must_use]
    pub fn from_columns(origin: i64, sponsor: Option<i64>, sender: Option<i64>) -> Option<Self> {
        Some(match origin {
            1 => Self::Seed(SponsorId(sponsor?.try_into().ok()?)),
            2 => Self::Sent(UserId(from_sql(sender?))),
            3 => Self::Gift,
            _ => return None,
        })
    }

    /// The name in exports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed(_) => "seed",
            Self::Sent(_) => "sent",
            Self::Gift => "gift",
        }
    }
}

/// What the ledger knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub origin: Origin,
    /// The whole of it.
    pub amount: Cents,
    /// How many shares it was made of; 1 when it is not shared.
    pub shares: u16,
    /// What is in it now.
    pub left: Cents,
    /// How many shares are left.
    pub shares_left: u16,
    /// How many users it names; 0 when anyone with its code may grab.
    pub recipients: u16,
    /// Where it stands.
    pub state: State,
    /// Who it was issued to.
    pub user: Option<UserId>,
    /// Index of the phase that it was won or given in.
    pub stage: Option<u16>,
    /// When it was released, sent or given.
    pub made: UnixMillis,
    /// When its ticket was made.
    pub issued: Option<UnixMillis>,
    /// When the user that it was issued to opened it.
    pub opened: Option<UnixMillis>,
    /// When what is left may go back: a candidate, of which [`Packet::term`] decides.
    pub due: Option<UnixMillis>,
    /// The end that was promised with the ticket or the shares.
    pub ends: Option<UnixMillis>,
    /// Since when nothing is left in it.
    pub closed: Option<UnixMillis>,
    /// Where a packet of the seed was released to.
    pub granted: Option<Granted>,
}

/// Where a packet of the seed was released to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Index of its record in the seed file.
    pub seed_index: u64,
    /// The ledger's number of the lane; [`NO_LANE`] of what a shard gave back and is in no ring.
    pub lane: i64,
    /// Position in the lane's grant ring; the index of its record of what is in none.
    pub position: u64,
}

/// The number of no lane: what was released stands there when a shard gave it back, until it is released again.
pub const NO_LANE: i64 = 0;

/// A time that was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it began.
    pub began: UnixMillis,
    /// Its end as it was promised. Spans between put it off: see [`super::Spans::end`].
    pub ends: UnixMillis,
}

impl Packet {
    /// A packet that is released at `at`.
    #[must_use]
    pub fn released(release: &Release, at: UnixMillis) -> Self {
        let record = &release.record;
        let shares = shares_of(record);
        Self {
            origin: Origin::Seed(record.sponsor),
            amount: record.amount,
            shares,
            left: record.amount,
            shares_left: shares,
            recipients: 0,
            state: State::Released,
            user: None,
            stage: None,
            made: at,
            issued: None,
            opened: None,
            due: None,
            ends: None,
            closed: None,
            granted: Some(Granted {
                seed_index: release.seed_index,
                lane: release.lane,
                position: release.grant_position,
            }),
        }
    }

    /// A packet that a user or the event makes at `at`: it is open to grab.
    #[must_use]
    pub fn sent(making: &Making<'_>, at: UnixMillis) -> Self {
        let due = Some(kept(making.due));
        Self {
            origin: making.origin,
            amount: making.amount,
            shares: making.shares,
            left: making.amount,
            shares_left: making.shares,
            recipients: making.recipients.len() as u16,
            state: State::Open,
            user: None,
            stage: making.stage,
            made: at,
            issued: None,
            opened: None,
            due,
            ends: due,
            closed: None,
            granted: None,
        }
    }

    /// Whether shares of it are taken by code, once it is opened.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shares > 1 || !matches!(self.origin, Origin::Seed(_))
    }

    /// Whether the user that it was issued to opened it.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.opened.is_some()
    }

    /// What was promised for what is left: with the ticket while it is issued, with the shares while it is open.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        let began = match self.state {
            State::Issued => self.issued,
            State::Open => self.opened.or(Some(self.made)),
            _ => None,
        };
        began.zip(self.ends).map(|(began, ends)| Term { began, ends })
    }

    pub(super) fn issue(&mut self, user: UserId, stage: u16, term: Term) {
        let due = Some(kept(term.ends));
        self.state = State::Issued;
        self.user = Some(user);
        self.stage = Some(stage);
        self.issued = Some(term.began);
        (self.due, self.ends) = (due, due);
    }

    /// The user that it was issued to opens it: gets a share, and the rest waits until `due`.
    pub(super) fn open(&mut self, user: UserId, stage: u16, share: Cents, due: UnixMillis, at: UnixMillis) {
        self.user = Some(user);
        self.stage = Some(stage);
        self.opened = Some(at);
        self.pay(share, kept(due), at);
        self.ends = self.due.or(self.ends);
    }

    /// A share is paid out of it. What is left waits until `due`.
    pub(super) fn pay(&mut self, share: Cents, due: UnixMillis, at: UnixMillis) {
        self.left = Cents(self.left.0 - share.0);
        self.shares_left -= 1;
        let is_empty = self.shares_left == 0;
        self.state = if is_empty { State::Opened } else { State::Open };
        self.due = (!is_empty).then_some(due);
        self.closed = is_empty.then_some(at);
    }

    /// Nothing is in it any more. How many shares nobody took stays.
    pub(super) fn close(&mut self, state: State, at: UnixMillis) {
        self.state = state;
        self.left = Cents(0);
        self.due = None;
        self.closed = Some(at);
    }

    /// It was lost or void, and holds what it held before.
    pub(super) fn find(&mut self) {
        self.state = State::Released;
        self.left = self.amount;
        self.shares_left = self.shares;
        self.closed = None;
    }

    /// It stands in another ring, or in none.
    pub(super) fn grant(&mut self, granted: Granted) {
        self.granted = Some(granted);
    }

    /// It does not go back before `due`.
    pub(super) fn put_off(&mut self, due: UnixMillis) {
        self.due = Some(kept(due));
    }
}

/// A due time as stores keep it; the end of time stays positive where numbers are signed, so that it sorts last.
fn kept(due: UnixMillis) -> UnixMillis {
    UnixMillis(due.0.min(i64::MAX as u64))
}

/// A release: which record of the seed goes to which shard, at which position of its grant ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// Index of the record in the seed file.
    pub seed_index: u64,
    /// The record.
    pub record: SeedRecord,
    /// The ledger's number of the lane.
    pub lane: i64,
    /// Position in the lane's grant ring.
    pub grant_position: u64,
}

/// A packet to be made from what a user or the event has.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// Who funds it; never the seed.
    pub origin: Origin,
    /// What makes the request idempotent.
    pub key: &'a [u8; 16],
    /// SHA-256 of what is asked for with the key.
    pub hash: [u8; 32],
    /// The whole of it; at least a cent for each share.
    pub amount: Cents,
    /// How many shares.
    pub shares: u16,
    /// Who may grab, each once; empty for anyone with the code.
    pub recipients: &'a [UserId],
    /// Index of the phase, for a gift.
    pub stage: Option<u16>,
    /// When what is left goes back.
    pub due: UnixMillis,
}

/// A packet that was released to a lane and is not known to be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The packet.
    pub packet: PacketId,
    /// Its amount.
    pub amount: Cents,
    /// Who funds it.
    pub sponsor: SponsorId,
    /// Position in the lane's grant ring.
    pub grant_position: u64,
}

/// How many shares a record of the seed has.
#[must_use]
pub fn shares_of(record: &SeedRecord) -> u16 {
    match record.kind {
        PacketKind::Plain => 1,
        PacketKind::Split { shares } => shares,
    }
}
