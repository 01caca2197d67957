//! The bytes of what the agent says to a shard.

use super::{BadRecord, Grant, Notice, Reply, ReplyTo, put};
use crate::handoff::v1;
use crate::wire::v1 as wire;
use bytes::{Buf, BufMut};
use prost::Message as _;
use shake_rules::winnings::Won;
use shake_rules::{EventId, PacketId, SponsorId, UserId};

impl Reply {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        let reply = v1::Reply {
            request_id: self.reply_to.request_id,
            epoch: self.reply_to.epoch,
            reply: self.kind.clone().map(|kind| wire::Reply { kind: Some(kind) }),
            won: self.winnings.as_slice().iter().map(won_to_wire).collect(),
        };
        put(&reply, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        let reply = v1::Reply::decode(bytes).map_err(|_| BadRecord)?;
        let kind = match reply.reply {
            Some(wire::Reply { kind: None }) => return Err(BadRecord),
            Some(wire::Reply { kind }) => kind,
            None => None,
        };
        let winnings = reply.won.into_iter().map(|won| {
            Ok(Won {
                packet: PacketId(won.packet_id),
                sponsor: SponsorId(won.sponsor_id.try_into().map_err(|_| BadRecord)?),
            })
        });
        Ok(Self {
            reply_to: ReplyTo {
                request_id: reply.request_id,
                epoch: reply.epoch,
            },
            kind,
            winnings: winnings.collect::<Result<_, _>>()?,
        })
    }
}

fn won_to_wire(won: &Won) -> v1::Won {
    v1::Won {
        packet_id: won.packet.0,
        sponsor_id: won.sponsor.0.into(),
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

impl Notice {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        let offered = wire::PacketOffered {
            code: self.code.clone(),
            from_user_id: self.from.map_or(0, |user| user.0),
        };
        put(
            &v1::Notice {
                user_id: self.user.0,
                packet_offered: Some(offered),
            },
            out,
        );
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        let notice = v1::Notice::decode(bytes).map_err(|_| BadRecord)?;
        let offered = notice.packet_offered.ok_or(BadRecord)?;
        Ok(Self {
            user: UserId(notice.user_id),
            code: offered.code,
            from: (offered.from_user_id != 0).then_some(UserId(offered.from_user_id)),
        })
    }
}
