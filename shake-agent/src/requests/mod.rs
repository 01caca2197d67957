//! What the shards ask, one file per kind: the decision, and beside it its effect, both in memory. Only `docket` reads from the
//! ledger, before anything is decided.
//!
//! Every effect may come twice (a ring is handled at least once), and then changes nothing.

mod docket;
mod elsewhere;

mod claim;
mod expire;
mod gift;
mod grab;
mod issued;
mod returned;
mod send;
mod shard_started;
mod view;

pub use claim::Flaw;
pub use docket::Case;
pub use elsewhere::ELSEWHERE_MS;
pub use expire::{EXPIRE_MAX, EXPIRY_GRACE_MS};
pub use view::{OFFERS_MAX, OFFERS_OF_SENDER_MAX};

use crate::burst::Burst;
use crate::counters::Counters;
use crate::ledger::{Book, Needed};
use elsewhere::Elsewhere;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use shake_proto::handoff::record::{Ask, Notice, Reply};
use shake_proto::reply::Reason;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::code::CodeKeys;
use shake_rules::keys::KeyRing;
use shake_rules::show::Show;
use shake_rules::ticket::TicketKeys;
use shake_rules::winnings::{WinLimits, Winnings};
use shake_rules::{Cents, EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What a user is told to wait when the ledger refuses writes, in milliseconds. The agent tries each second whether it
/// still does; a disk that is full or failing stays so for longer, as a rule.
pub const BUSY_RETRY_AFTER_MS: u32 = 5_000;
/// The same while its server is away, drawn for each: it comes back at one moment for everybody.
const AWAY_RETRY_AFTER_MS: RangeInclusive<u32> = 1_000..=2_000;

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
    /// Nobody can say which clock is right: what is over by it is asked again.
    pub(crate) doubts_time: bool,
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
    /// What another writer had a moment ago.
    elsewhere: Elsewhere,
    /// What the batch at hand needs of the ledger. Kept for its memory.
    needed: Needed,
    /// What shards gave back in it: whose, and the index of its record.
    taken_back: Vec<(SponsorId, u64)>,
}

impl Judge {
    /// A judge of one ledger's packets. `rng` is seeded by the system, except in tests.
    #[must_use]
    pub fn new(rules: Rules, ledger: LedgerId, ticket_keys: &KeyRing, rng: StdRng, counters: Arc<Counters>) -> Self {
        Self {
            rules,
            counters,
            doubts_time: false,
            ledger,
            tickets: TicketKeys::new(ticket_keys),
            codes: CodeKeys::new(ticket_keys),
            rng,
            key_unknown: Burst::default(),
            void_shown: Burst::default(),
            inconsistent: Burst::default(),
            unfunded: Burst::default(),
            elsewhere: Elsewhere::default(),
            needed: Needed::default(),
            taken_back: Vec::new(),
        }
    }

    /// What shards gave back in the batch that was heard last: whose, and the index of its record.
    pub(crate) fn taken_back(&mut self) -> Vec<(SponsorId, u64)> {
        std::mem::take(&mut self.taken_back)
    }

    /// Goes by other ticket keys from the next request on.
    pub fn take_keys(&mut self, ticket_keys: &KeyRing) {
        self.tickets = TicketKeys::new(ticket_keys);
        self.codes = CodeKeys::new(ticket_keys);
    }

    /// Decides about a request and lets it take effect in the book, where everything is loaded that it could matter for. No I/O.
    pub fn judge(&mut self, book: &mut Book, case: &Case<'_>, now: UnixMillis) -> Answer {
        match case {
            Case::Issued(issued) => self.issued(book, issued, now),
            Case::ShardStarted {
                origin,
                epoch,
                grants_taken,
                held,
            } => self.shard_started(book, *origin, (*epoch, *grants_taken), held, now),
            Case::Returned { origin, returned } => self.returned(book, *origin, returned),
            Case::Gift { gift, hash } => return self.gift(book, gift, *hash, now),
            Case::Claim { ask, ticket } => {
                let result = self.claim(book, ask, ticket, asked(ask, now), now);
                return answer(ask, Kind::Claim(result.into()));
            }
            Case::Grab { ask, packet } => {
                let result = self.grab(book, ask, *packet, asked(ask, now));
                return answer(ask, Kind::Grab(result.into()));
            }
            Case::Send { ask, send, hash } => {
                let (result, notices) = self.send(book, ask, send, *hash, asked(ask, now), now);
                return Answer {
                    notices,
                    audience: Audience::Everyone,
                    ..answer(ask, Kind::Send(result.into()))
                };
            }
        }
        Answer::default()
    }

    /// The answer while the ledger refuses writes, or its server is away; nothing is looked up.
    #[must_use]
    pub fn busy(&mut self, ask: &Ask, is_away: bool) -> Answer {
        self.counters.asks_busy.add(1);
        let retry_after_ms = if is_away {
            self.rng.random_range(AWAY_RETRY_AFTER_MS)
        } else {
            BUSY_RETRY_AFTER_MS
        };
        let reply = Reply {
            reply_to: ask.reply_to,
            kind: ask.what.kind().busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
            winnings: Winnings::default(),
        };
        Answer {
            reply: Some(reply),
            ..Answer::default()
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
        self.counters.refused[reason].add(1);
        reason
    }
}

/// Nobody has asked later than now: a gateway's clock was ahead, and both programs have started by another since.
fn asked(ask: &Ask, now: UnixMillis) -> UnixMillis {
    ask.at.min(now)
}

fn answer(ask: &Ask, kind: Kind) -> Answer {
    Answer {
        reply: Some(Reply {
            reply_to: ask.reply_to,
            kind: Some(kind),
            winnings: Winnings::default(),
        }),
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::Release;
    use shake_rules::seed::{PacketKind, SeedRecord};
    use shake_rules::{Cents, PacketId, SponsorId};

    /// A release of a packet of five cents.
    pub(super) fn released(packet: u64, kind: PacketKind) -> Release {
        Release {
            seed_index: packet,
            record: SeedRecord {
                packet: PacketId(packet),
                amount: Cents(5),
                sponsor: SponsorId(3),
                kind,
            },
            lane: 1,
            grant_position: packet,
        }
    }
}
