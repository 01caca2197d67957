//! The answer to a grab.

use super::Reason;
use crate::code::Code;
use crate::wire::v1;
use shake_rules::{Cents, PacketId};

/// The answer to a grab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrabResult {
    /// A share is the user's, durably.
    Grabbed {
        /// The packet.
        packet: PacketId,
        /// The share.
        amount: Cents,
        /// Whether it had been grabbed before.
        repeat: bool,
    },
    /// Everything was grabbed before.
    Empty,
    /// Refused for good.
    Refused(Reason),
    /// Ask again after so many milliseconds.
    Busy {
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

impl From<GrabResult> for v1::GrabReply {
    fn from(result: GrabResult) -> Self {
        use v1::grab_reply::Result;
        let result = match result {
            GrabResult::Grabbed { packet, amount, repeat } => Result::Grabbed(v1::Grabbed {
                packet_id: packet.0,
                cents: amount.0,
                repeat,
            }),
            GrabResult::Empty => Result::Empty(v1::Empty {}),
            GrabResult::Refused(reason) => Result::Refused(reason.into()),
            GrabResult::Busy { retry_after_ms } => Result::Busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<v1::GrabReply> for GrabResult {
    type Error = Code;

    fn try_from(reply: v1::GrabReply) -> Result<Self, Code> {
        use v1::grab_reply::Result as Wire;
        Ok(match reply.result.ok_or(Code::Unknown)? {
            Wire::Grabbed(grabbed) => Self::Grabbed {
                packet: PacketId(grabbed.packet_id),
                amount: Cents(grabbed.cents),
                repeat: grabbed.repeat,
            },
            Wire::Empty(_) => Self::Empty,
            Wire::Refused(refused) => Self::Refused(refused.try_into()?),
            Wire::Busy(busy) => Self::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        })
    }
}
