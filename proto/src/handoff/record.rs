//! The records of the rings, checked on the way in.

use super::v1;
use crate::reply::{ClaimResult, Reason};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use thiserror::Error;

/// A record that is none: its bytes do not decode, or a field is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a ring record does not decode")]
pub struct BadRecord;

/// Shard to agent.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A user wants to open a packet.
    Claim(Claim),
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
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The shard's name for the request.
    pub request_id: u64,
    /// The gateway's epoch that asked.
    pub epoch: u32,
}

/// A user wants to open a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// The authenticated user.
    pub user: UserId,
    /// The ticket, unchecked.
    pub ticket: Bytes,
    /// The limit cookie, unchecked.
    pub cookie: Bytes,
    /// When it was asked.
    pub at: UnixMillis,
}

/// Agent to shard: an answer, after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who asked.
    pub reply_to: ReplyTo,
    /// The answer.
    pub result: ClaimResult,
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
            }),
            Self::Claim(claim) => Kind::Claim(v1::Claim {
                request_id: claim.reply_to.request_id,
                epoch: claim.reply_to.epoch,
                user_id: claim.user.0,
                ticket: claim.ticket.clone(),
                cookie: claim.cookie.clone(),
                at_ms: claim.at.0,
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
            }),
            Kind::Claim(claim) => Self::Claim(Claim {
                reply_to: ReplyTo {
                    request_id: claim.request_id,
                    epoch: claim.epoch,
                },
                user: UserId(claim.user_id),
                ticket: claim.ticket,
                cookie: claim.cookie,
                at: UnixMillis(claim.at_ms),
            }),
        })
    }
}

impl Reply {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        use v1::reply::Result;
        let result = match self.result.clone() {
            ClaimResult::Opened {
                packet,
                amount,
                sponsor,
                code,
                repeat,
            } => Result::Opened(v1::Opened {
                packet_id: packet.0,
                cents: amount.0,
                sponsor_id: sponsor.0.into(),
                code,
                repeat,
            }),
            ClaimResult::Refused(reason) => Result::Refused(reason.to_wire() as u32),
            ClaimResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
        };
        let reply = v1::Reply {
            request_id: self.reply_to.request_id,
            epoch: self.reply_to.epoch,
            result: Some(result),
        };
        put(&reply, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        use v1::reply::Result as Wire;
        let reply = v1::Reply::decode(bytes).map_err(|_| BadRecord)?;
        let result = match reply.result.ok_or(BadRecord)? {
            Wire::Opened(opened) => ClaimResult::Opened {
                packet: PacketId(opened.packet_id),
                amount: Cents(opened.cents),
                sponsor: SponsorId(opened.sponsor_id.try_into().map_err(|_| BadRecord)?),
                code: opened.code,
                repeat: opened.repeat,
            },
            Wire::Refused(number) => {
                let number = i32::try_from(number).map_err(|_| BadRecord)?;
                ClaimResult::Refused(Reason::from_wire(number).ok_or(BadRecord)?)
            }
            Wire::Busy(busy) => ClaimResult::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        };
        Ok(Self {
            reply_to: ReplyTo {
                request_id: reply.request_id,
                epoch: reply.epoch,
            },
            result,
        })
    }
}

impl Grant {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        let grant = v1::Grant {
            packet_id: self.packet.0,
            sponsor_id: self.sponsor.0.into(),
            event_id: self.event.0,
        };
        put(&grant, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        let grant = v1::Grant::decode(bytes).map_err(|_| BadRecord)?;
        Ok(Self {
            packet: PacketId(grant.packet_id),
            sponsor: SponsorId(grant.sponsor_id.try_into().map_err(|_| BadRecord)?),
            event: EventId(grant.event_id),
        })
    }
}

fn put(message: &impl Message, out: &mut impl BufMut) {
    message
        .encode(out)
        .expect("a record fits the buffer that its ring's limit sized");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::topology::Ring;
    use proptest::prelude::*;
    use shake_rules::cookie::COOKIE_BYTES_MAX;
    use shake_rules::ticket::TICKET_BYTES;

    fn check_request(request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        assert!(
            bytes.len() <= Ring::Request.record_bytes_max() as usize,
            "{} bytes",
            bytes.len()
        );
        assert_eq!(Request::decode(&bytes[..]).as_ref(), Ok(request));
    }

    #[test]
    fn the_largest_records_fit_their_slots() {
        check_request(&Request::Claim(Claim {
            reply_to: ReplyTo {
                request_id: u64::MAX,
                epoch: u32::MAX,
            },
            user: UserId(u64::MAX),
            ticket: vec![1; TICKET_BYTES].into(),
            cookie: vec![1; COOKIE_BYTES_MAX].into(),
            at: UnixMillis(u64::MAX),
        }));
        check_request(&Request::ShardStarted {
            epoch: u32::MAX,
            grants_taken: u64::MAX,
        });
        let packet = PacketId(u64::MAX);
        check_request(&Request::Issued(Issued {
            packet,
            user: UserId(u64::MAX),
            stage: u16::MAX,
            at: UnixMillis(u64::MAX),
        }));

        let grant = Grant {
            packet,
            sponsor: SponsorId(u16::MAX),
            event: EventId(u32::MAX),
        };
        let mut bytes = Vec::new();
        grant.encode(&mut bytes);
        assert!(bytes.len() <= Ring::Grant.record_bytes_max() as usize);
        assert_eq!(Grant::decode(&bytes[..]), Ok(grant));

        let opened = ClaimResult::Opened {
            packet,
            amount: Cents(u64::MAX),
            sponsor: SponsorId(u16::MAX),
            code: vec![1; 32].into(),
            repeat: true,
        };
        for result in [
            opened,
            ClaimResult::Busy {
                retry_after_ms: u32::MAX,
            },
            ClaimResult::Refused(Reason::Amount),
        ] {
            let reply = Reply {
                reply_to: ReplyTo {
                    request_id: u64::MAX,
                    epoch: u32::MAX,
                },
                result,
            };
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            assert!(
                bytes.len() <= Ring::Reply.record_bytes_max() as usize,
                "{} bytes",
                bytes.len()
            );
            assert_eq!(Reply::decode(&bytes[..]), Ok(reply));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Request::decode(&bytes[..]), Reply::decode(&bytes[..]), Grant::decode(&bytes[..]));
        }
    }
}
