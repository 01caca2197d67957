//! The answer to a claim.

use super::Reason;
use crate::code::Code;
use crate::wire::v1;
use bytes::Bytes;
use shake_rules::{Cents, PacketId, SponsorId};

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimResult {
    /// The packet is opened, durably.
    Opened {
        /// The packet.
        packet: PacketId,
        /// What the user got.
        amount: Cents,
        /// Who funded it.
        sponsor: SponsorId,
        /// For a split packet, the code to share; empty otherwise.
        code: Bytes,
        /// Whether it had been opened before.
        repeat: bool,
    },
    /// Refused for good.
    Refused(Reason),
    /// Ask again, with the same ticket, after so many milliseconds.
    Busy {
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

impl From<ClaimResult> for v1::ClaimReply {
    fn from(result: ClaimResult) -> Self {
        use v1::claim_reply::Result;
        let result = match result {
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
            ClaimResult::Refused(reason) => Result::Refused(v1::Refused {
                reason: reason.to_wire() as i32,
            }),
            ClaimResult::Busy { retry_after_ms } => Result::Busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<v1::ClaimReply> for ClaimResult {
    type Error = Code;

    fn try_from(reply: v1::ClaimReply) -> Result<Self, Code> {
        use v1::claim_reply::Result as Wire;
        Ok(match reply.result.ok_or(Code::Unknown)? {
            Wire::Opened(opened) => Self::Opened {
                packet: PacketId(opened.packet_id),
                amount: Cents(opened.cents),
                sponsor: SponsorId(opened.sponsor_id.try_into().map_err(|_| Code::Malformed)?),
                code: opened.code,
                repeat: opened.repeat,
            },
            Wire::Refused(refused) => Self::Refused(refused.try_into()?),
            Wire::Busy(busy) => Self::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        })
    }
}
