//! The answer to a send.

use super::Reason;
use crate::code::Code;
use crate::wire::v1;
use bytes::Bytes;
use shake_rules::PacketId;

/// The answer to a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// The packet is funded, durably.
    Sent {
        /// The packet.
        packet: PacketId,
        /// What grabs it.
        code: Bytes,
        /// Whether it had been sent before, with the same key.
        repeat: bool,
    },
    /// Refused for good.
    Refused(Reason),
    /// Ask again, with the same key, after so many milliseconds.
    Busy {
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

impl From<SendResult> for v1::SendReply {
    fn from(result: SendResult) -> Self {
        use v1::send_reply::Result;
        let result = match result {
            SendResult::Sent { packet, code, repeat } => Result::Sent(v1::Sent {
                packet_id: packet.0,
                code,
                repeat,
            }),
            SendResult::Refused(reason) => Result::Refused(reason.into()),
            SendResult::Busy { retry_after_ms } => Result::Busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<v1::SendReply> for SendResult {
    type Error = Code;

    fn try_from(reply: v1::SendReply) -> Result<Self, Code> {
        use v1::send_reply::Result as Wire;
        Ok(match reply.result.ok_or(Code::Unknown)? {
            Wire::Sent(sent) => Self::Sent {
                packet: PacketId(sent.packet_id),
                code: sent.code,
                repeat: sent.repeat,
            },
            Wire::Refused(refused) => Self::Refused(refused.try_into()?),
            Wire::Busy(busy) => Self::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        })
    }
}
