//! What the shards ask, one file per kind: the decision, free of I/O, and beside it the effect on the ledger.
//!
//! Every effect may come twice (a ring is handled at least once), and then changes nothing.

mod claim;
mod expire;
mod gift;
mod grab;
mod issued;
mod send;
mod shard_started;
mod view;

pub use expire::{EXPIRE_MAX, EXPIRY_GRACE_MS};
pub use view::{OFFERS_MAX, OFFERS_OF_SENDER_MAX};

use crate::burst::Burst;
use crate::counters::Counters;
use crate::ledger::{Batch, LedgerError};
use rand::Rng;
use rand::rngs::StdRng;
use shake_proto::handoff::record::{Ask, Notice, Reply, Request, What};
use shake_proto::reply::Reason;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::code::CodeKeys;
use shake_rules::keys::KeyRing;
use shake_rules::show::Show;
use shake_rules::ticket::TicketKeys;
use shake_rules::winnings::WinLimits;
use shake_rules::{Cents, EventId, LedgerId, PacketId, UnixMillis, UserId};
use std::sync::Arc;

/// What a user is told to wait when the ledger refuses writes, in milliseconds. The agent tries each second whether it
/// still does; a disk that is full or failing stays so for longer, as a rule.
pub const BUSY_RETRY_AFTER_MS: u32 = 5_000;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The ledger's number of the lane.
    pub lane: i64,
    /// How many grants were pushed to the shard so far.
    pub grants_pushed: u64,
    /// Whether every record of its ring was read. One that was not may have been an `Issued`.
    pub is_whole: bool,
}

/// What the show says about packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The only event whose tickets count.
    pub event: EventId,
    /// Which part of the fleet's seed this agent has; ids of sent packets name it.
    pub part: u16,
    /// What one user may open.
    pub limits: WinLimits,
    /// How long a packet may be opened after its issue, in milliseconds.
    pub ticket_lifetime_ms: u64,
    /// How long shares may be grabbed, in milliseconds.
    pub share_lifetime_ms: u64,
}

impl Rules {
    /// The rules of a show, for one part of its seed.
    #[must_use]
    pub fn new(show: &Show, part: u16) -> Self {
        Self {
            event: show.event,
            part,
            limits: show.limits,
            ticket_lifetime_ms: show.ticket_lifetime_ms,
            share_lifetime_ms: show.share_lifetime_ms,
        }
    }
}

/// Who is to hear notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The shard that asked.
    #[default]
    Asker,
    /// Every shard.
    Everyone,
}

/// What comes of a request. It may leave only after the commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The answer, if the request has one.
    pub reply: Option<Reply>,
    /// Users to be told of a packet.
    pub notices: Vec<Notice>,
    /// Where the notices go.
    pub audience: Audience,
}

/// Answers requests.
#[derive(Debug)]
pub struct Judge {
    /// What the show says.
    pub rules: Rules,
    /// What happens is counted here.
    pub counters: Arc<Counters>,
    /// Whose tickets and codes count.
    ledger: LedgerId,
    tickets: TicketKeys,
    codes: CodeKeys,
    /// Draws shares. Cryptographic, so that nobody foresees what is left.
    rng: StdRng,
    key_unknown: Burst,
    void_shown: Burst,
    inconsistent: Burst,
    unfunded: Burst,
}

impl Judge {
    /// A judge of one ledger's packets. `rng` is seeded by the system, except in tests.
    #[must_use]
    pub fn new(rules: Rules, ledger: LedgerId, ticket_keys: &KeyRing, rng: StdRng, counters: Arc<Counters>) -> Self {
        Self {
            rules,
            counters,
            ledger,
            tickets: TicketKeys::new(ticket_keys),
            codes: CodeKeys::new(ticket_keys),
            rng,
            key_unknown: Burst::default(),
            void_shown: Burst::default(),
            inconsistent: Burst::default(),
            unfunded: Burst::default(),
        }
    }

    /// Goes by other ticket keys from the next request on.
    pub fn take_keys(&mut self, ticket_keys: &KeyRing) {
        self.tickets = TicketKeys::new(ticket_keys);
        self.codes = CodeKeys::new(ticket_keys);
    }

    /// Decides about a request and lets it take effect.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn handle(
        &mut self,
        batch: &mut Batch<'_>,
        origin: Origin,
        request: &Request,
        now: UnixMillis,
    ) -> Result<Answer, LedgerError> {
        match request {
            Request::Issued(issued) => self.issued(batch, issued, now).map(|()| Answer::default()),
            Request::Ask(ask) => self.ask(batch, ask, now),
            Request::Gift(gift) => self.gift(batch, gift, now),
            Request::ShardStarted { epoch, grants_taken } => self
                .shard_started(batch, origin, *epoch, *grants_taken, now)
                .map(|()| Answer::default()),
        }
    }

    fn ask(&mut self, batch: &mut Batch<'_>, ask: &Ask, now: UnixMillis) -> Result<Answer, LedgerError> {
        let mut answer = Answer::default();
        // Nobody has asked later than now: a gateway's clock was ahead, and both programs have started by another since.
        let at = ask.at.min(now);
        let kind = match &ask.what {
            What::Claim(claim) => Some(Kind::Claim(self.claim(batch, ask.user, at, claim, now)?.into())),
            What::Send(send) => {
                let (result, notices) = self.send(batch, ask.user, at, send, now)?;
                answer.notices = notices;
                answer.audience = Audience::Everyone;
                Some(Kind::Send(result.into()))
            }
            What::Grab(grab) => Some(Kind::Grab(self.grab(batch, ask.user, at, grab)?.into())),
            What::PacketView(view) => Some(Kind::PacketView(self.view(batch, view)?.into())),
            What::Wallet => Some(Kind::Wallet(self.wallet(batch, ask.user)?.into())),
            What::Offers => {
                answer.notices = self.offers(batch, ask.user, at)?;
                None
            }
        };
        answer.reply = Some(Reply {
            reply_to: ask.reply_to,
            kind,
        });
        Ok(answer)
    }

    /// The answer while the ledger refuses writes; nothing is looked up.
    #[must_use]
    pub fn busy(&self, ask: &Ask) -> Reply {
        self.counters.asks_busy.add(1);
        Reply {
            reply_to: ask.reply_to,
            kind: ask.what.kind().busy(v1::Busy {
                retry_after_ms: BUSY_RETRY_AFTER_MS,
                blocked: false,
            }),
        }
    }

    /// The next share of a packet with so much left.
    fn draw(&mut self, left: Cents, shares_left: u16) -> Cents {
        shake_rules::split::draw(left, shares_left, self.rng.next_u64())
    }

    fn notice(&self, user: UserId, packet: PacketId, from: Option<UserId>) -> Notice {
        Notice {
            user,
            code: self.code(packet),
            from,
        }
    }

    fn code(&self, packet: PacketId) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.codes.code(&self.ledger, packet))
    }

    fn count_refusal(&self, reason: Reason) -> Reason {
        self.counters.refused(reason).add(1);
        reason
    }
}
