//! The records of the rings, checked on the way in.

mod to_shard;

use super::v1;
use crate::request::{Claim, Grab, PacketView, RECIPIENTS_MAX, Send};
use crate::request_kind::RequestKind;
use crate::wire::v1 as wire;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use shake_rules::winnings::Winnings;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use thiserror::Error;

/// A record that is none: its bytes do not decode, or a field is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a ring record does not decode")]
pub struct BadRecord;

/// Shard to agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A shard began a new life; see `handoff.proto`.
    ShardStarted {
        /// The gateway's epoch in the mapping.
        epoch: u32,
        /// The shard's committed position in its grant ring.
        grants_taken: u64,
    },
    /// A grant went into a ticket.
    Issued(Issued),
    /// A user asks something of the ledger.
    Ask(Ask),
    /// The event sends a packet to random users.
    Gift(Gift),
    /// A grant goes back.
    Returned(Returned),
}

/// A grant that the shard does not want goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The packet.
    pub packet: PacketId,
    /// Where it stood in the grant ring.
    pub position: u64,
}

/// A grant went into a ticket for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The packet.
    pub packet: PacketId,
    /// Who won it.
    pub user: UserId,
    /// Index of the phase.
    pub stage: u16,
    /// When.
    pub at: UnixMillis,
    /// The end of the ticket, as it was promised; `None` from a gateway that does not say it.
    pub ends: Option<UnixMillis>,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The shard's name for the request.
    pub request_id: u64,
    /// The gateway's epoch that asked.
    pub epoch: u32,
}

/// A user asks something of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// The authenticated user.
    pub user: UserId,
    /// When it was asked.
    pub at: UnixMillis,
    /// What is asked.
    pub what: What,
}

/// What is asked; checked in form, not in content.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Open a packet.
    Claim(Claim),
    /// Fund a packet for others.
    Send(Send),
    /// Take a share.
    Grab(Grab),
    /// Who got how much.
    PacketView(PacketView),
    /// The balance and last transfers.
    Wallet,
    /// Which packets wait for the user; answered by notices and an empty reply.
    Offers,
    /// What the user has won, at any gateway of the ledger.
    Winnings,
}

impl What {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Claim(_) => RequestKind::Claim,
            Self::Send(_) => RequestKind::Send,
            Self::Grab(_) => RequestKind::Grab,
            Self::PacketView(_) => RequestKind::PacketView,
            Self::Wallet => RequestKind::Wallet,
            Self::Offers => RequestKind::Offers,
            Self::Winnings => RequestKind::Winnings,
        }
    }
}

/// The event sends a packet to random users.
#[derive(Clone, Debug, PartialEq)]
pub struct Gift {
    /// The same key again changes nothing.
    pub key: [u8; 16],
    /// The whole packet.
    pub total: Cents,
    /// Who gets a share each; 1 to 100.
    pub recipients: Vec<UserId>,
    /// Index of the phase.
    pub stage: u16,
    /// When.
    pub at: UnixMillis,
}

/// Agent to shard: an answer, after the commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Who asked.
    pub reply_to: ReplyTo,
    /// What the client gets; `None` for [`What::Offers`] and [`What::Winnings`].
    pub kind: Option<wire::reply::Kind>,
    /// For [`What::Winnings`]: what the user was issued or opened. Otherwise nothing.
    pub winnings: Winnings,
}

/// Agent to shard: a packet released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The packet.
    pub packet: PacketId,
    /// Who funds it.
    pub sponsor: SponsorId,
    /// The show that it belongs to.
    pub event: EventId,
}

/// Agent to shard: a packet waits for this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Who is told, if they are online.
    pub user: UserId,
    /// The packet's code.
    pub code: Bytes,
    /// Who sent it; `None` for the event.
    pub from: Option<UserId>,
}

impl Request {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        use v1::request::Kind;
        let kind = match self {
            Self::ShardStarted { epoch, grants_taken } => Kind::ShardStarted(v1::ShardStarted {
                epoch: *epoch,
                grants_taken: *grants_taken,
            }),
            Self::Issued(issued) => Kind::Issued(v1::Issued {
                packet_id: issued.packet.0,
                user_id: issued.user.0,
                stage: issued.stage.into(),
                at_ms: issued.at.0,
                ends_ms: issued.ends.map_or(0, |ends| ends.0),
            }),
            Self::Ask(ask) => Kind::Ask(v1::Ask {
                request_id: ask.reply_to.request_id,
                epoch: ask.reply_to.epoch,
                user_id: ask.user.0,
                at_ms: ask.at.0,
                kind: Some(ask.what.clone().into()),
            }),
            Self::Gift(gift) => Kind::Gift(v1::Gift {
                idempotency_key: Bytes::copy_from_slice(&gift.key),
                total_cents: gift.total.0,
                recipients: gift.recipients.iter().map(|user| user.0).collect(),
                stage: gift.stage.into(),
                at_ms: gift.at.0,
            }),
            Self::Returned(returned) => Kind::Returned(v1::Returned {
                packet_id: returned.packet.0,
                position: returned.position,
            }),
        };
        put(&v1::Request { kind: Some(kind) }, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        use v1::request::Kind;
        let request = v1::Request::decode(bytes).map_err(|_| BadRecord)?;
        Ok(match request.kind.ok_or(BadRecord)? {
            Kind::ShardStarted(started) => Self::ShardStarted {
                epoch: started.epoch,
                grants_taken: started.grants_taken,
            },
            Kind::Issued(issued) => Self::Issued(Issued {
                packet: PacketId(issued.packet_id),
                user: UserId(issued.user_id),
                stage: issued.stage.try_into().map_err(|_| BadRecord)?,
                at: UnixMillis(issued.at_ms),
                ends: (issued.ends_ms != 0).then_some(UnixMillis(issued.ends_ms)),
            }),
            Kind::Ask(ask) => Self::Ask(Ask {
                reply_to: ReplyTo {
                    request_id: ask.request_id,
                    epoch: ask.epoch,
                },
                user: UserId(ask.user_id),
                at: UnixMillis(ask.at_ms),
                what: ask.kind.ok_or(BadRecord)?.try_into()?,
            }),
            Kind::Gift(gift) => Self::Gift(Gift {
                key: gift.idempotency_key[..].try_into().map_err(|_| BadRecord)?,
                total: Cents(gift.total_cents),
                recipients: match gift.recipients.len() {
                    1..=RECIPIENTS_MAX => gift.recipients.into_iter().map(UserId).collect(),
                    _ => return Err(BadRecord),
                },
                stage: gift.stage.try_into().map_err(|_| BadRecord)?,
                at: UnixMillis(gift.at_ms),
            }),
            Kind::Returned(returned) => Self::Returned(Returned {
                packet: PacketId(returned.packet_id),
                position: returned.position,
            }),
        })
    }
}

impl From<What> for v1::ask::Kind {
    fn from(what: What) -> Self {
        match what {
            What::Claim(claim) => Self::Claim(wire::Claim {
                ticket: claim.ticket,
                cookie: claim.cookie,
            }),
            What::Send(send) => Self::Send(wire::Send {
                idempotency_key: Bytes::copy_from_slice(&send.key),
                total_cents: send.total.0,
                shares: send.shares.into(),
                recipients: send.recipients.into_iter().map(|user| user.0).collect(),
            }),
            What::Grab(grab) => Self::Grab(wire::Grab { code: grab.code }),
            What::PacketView(view) => Self::PacketView(wire::PacketView { code: view.code }),
            What::Wallet => Self::Wallet(wire::Wallet {}),
            What::Offers => Self::Offers(v1::Offers {}),
            What::Winnings => Self::Winnings(v1::Winnings {}),
        }
    }
}

impl TryFrom<v1::ask::Kind> for What {
    type Error = BadRecord;

    fn try_from(kind: v1::ask::Kind) -> Result<Self, BadRecord> {
        use v1::ask::Kind;
        match kind {
            Kind::Claim(claim) => claim.try_into().map(Self::Claim),
            Kind::Send(send) => send.try_into().map(Self::Send),
            Kind::Grab(grab) => grab.try_into().map(Self::Grab),
            Kind::PacketView(view) => view.try_into().map(Self::PacketView),
            Kind::Wallet(_) => Ok(Self::Wallet),
            Kind::Offers(_) => Ok(Self::Offers),
            Kind::Winnings(_) => Ok(Self::Winnings),
        }
        .map_err(|_| BadRecord)
    }
}

pub(super) fn put(message: &impl Message, out: &mut impl BufMut) {
    message
        .encode(out)
        .expect("a record fits the buffer that its ring's limit sized");
}

#[cfg(test)]
mod tests;
