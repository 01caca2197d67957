//! The answer to a packet view: who got how much.

use super::Reason;
use crate::code::Code;
use crate::wire::v1;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// Who got how much of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketState {
    /// The packet.
    pub packet: PacketId,
    /// The whole packet.
    pub total: Cents,
    /// How many shares it has.
    pub shares: u16,
    /// What is left to grab.
    pub left: Cents,
    /// How many shares are left.
    pub shares_left: u16,
    /// The shares taken, in order of time.
    pub taken: Vec<ShareTaken>,
}

/// One share that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareTaken {
    /// By whom.
    pub user: UserId,
    /// How much.
    pub amount: Cents,
    /// When.
    pub at: UnixMillis,
    /// Whether it is the largest, the first of several; said once all are taken.
    pub is_best: bool,
}

/// The answer to a packet view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewResult {
    /// Who got how much.
    State(PacketState),
    /// Refused for good.
    Refused(Reason),
    /// Ask again after so many milliseconds.
    Busy {
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

impl From<ViewResult> for v1::PacketViewReply {
    fn from(result: ViewResult) -> Self {
        use v1::packet_view_reply::Result;
        let share = |share: ShareTaken| v1::Share {
            user_id: share.user.0,
            cents: share.amount.0,
            at_ms: share.at.0,
            best: share.is_best,
        };
        let result = match result {
            ViewResult::State(state) => Result::State(v1::PacketState {
                packet_id: state.packet.0,
                total_cents: state.total.0,
                shares: state.shares.into(),
                cents_left: state.left.0,
                shares_left: state.shares_left.into(),
                taken: state.taken.into_iter().map(share).collect(),
            }),
            ViewResult::Refused(reason) => Result::Refused(reason.into()),
            ViewResult::Busy { retry_after_ms } => Result::Busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<v1::PacketViewReply> for ViewResult {
    type Error = Code;

    fn try_from(reply: v1::PacketViewReply) -> Result<Self, Code> {
        use v1::packet_view_reply::Result as Wire;
        let share = |share: v1::Share| ShareTaken {
            user: UserId(share.user_id),
            amount: Cents(share.cents),
            at: UnixMillis(share.at_ms),
            is_best: share.best,
        };
        let count = |number: u32| u16::try_from(number).map_err(|_| Code::Malformed);
        Ok(match reply.result.ok_or(Code::Unknown)? {
            Wire::State(state) => Self::State(PacketState {
                packet: PacketId(state.packet_id),
                total: Cents(state.total_cents),
                shares: count(state.shares)?,
                left: Cents(state.cents_left),
                shares_left: count(state.shares_left)?,
                taken: state.taken.into_iter().map(share).collect(),
            }),
            Wire::Refused(refused) => Self::Refused(refused.try_into()?),
            Wire::Busy(busy) => Self::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        })
    }
}
