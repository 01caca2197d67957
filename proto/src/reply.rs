//! What the gateway answers, in domain types, and its way onto the wire and back.

use crate::code::Code;
use crate::wire::v1;
use bytes::Bytes;
use shake_rules::outcome::Outcome;
use shake_rules::ticket::TicketError;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// A final refusal; asking again changes nothing. The names are those of metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The ticket is not authentic.
    TicketForged,
    /// The ticket belongs to another user.
    TicketForeign,
    /// The ticket is of another event.
    TicketOtherEvent,
    /// The ticket has expired.
    TicketExpired,
    /// No such packet.
    PacketUnknown,
    /// The packet was voided.
    PacketVoid,
    /// The packet was issued to another user.
    PacketTaken,
    /// The user has won as much as one user may.
    LimitReached,
    /// Nothing left to grab.
    PacketEmpty,
    /// The packet is not for this user.
    NotEntitled,
    /// The balance does not cover it.
    Balance,
    /// The numbers make no sense.
    Amount,
    /// The time to grab is over.
    PacketExpired,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::TicketForged,
        Self::TicketForeign,
        Self::TicketOtherEvent,
        Self::TicketExpired,
        Self::PacketUnknown,
        Self::PacketVoid,
        Self::PacketTaken,
        Self::LimitReached,
        Self::PacketEmpty,
        Self::NotEntitled,
        Self::Balance,
        Self::Amount,
        Self::PacketExpired,
    ];

    /// The name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TicketForged => "ticket_forged",
            Self::TicketForeign => "ticket_foreign",
            Self::TicketOtherEvent => "ticket_other_event",
            Self::TicketExpired => "ticket_expired",
            Self::PacketUnknown => "packet_unknown",
            Self::PacketVoid => "packet_void",
            Self::PacketTaken => "packet_taken",
            Self::LimitReached => "limit_reached",
            Self::PacketEmpty => "packet_empty",
            Self::NotEntitled => "not_entitled",
            Self::Balance => "balance",
            Self::Amount => "amount",
            Self::PacketExpired => "packet_expired",
        }
    }

    /// The reason as the wire carries it.
    #[must_use]
    pub fn to_wire(self) -> v1::Reason {
        match self {
            Self::TicketForged => v1::Reason::TicketForged,
            Self::TicketForeign => v1::Reason::TicketForeign,
            Self::TicketOtherEvent => v1::Reason::TicketOtherEvent,
            Self::TicketExpired => v1::Reason::TicketExpired,
            Self::PacketUnknown => v1::Reason::PacketUnknown,
            Self::PacketVoid => v1::Reason::PacketVoid,
            Self::PacketTaken => v1::Reason::PacketTaken,
            Self::LimitReached => v1::Reason::LimitReached,
            Self::PacketEmpty => v1::Reason::PacketEmpty,
            Self::NotEntitled => v1::Reason::NotEntitled,
            Self::Balance => v1::Reason::Balance,
            Self::Amount => v1::Reason::Amount,
            Self::PacketExpired => v1::Reason::PacketExpired,
        }
    }

    /// The reason of this number on the wire.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.to_wire() as i32 == number)
    }
}

impl From<TicketError> for Reason {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::Forged => Self::TicketForged,
            TicketError::Foreign => Self::TicketForeign,
            TicketError::OtherEvent => Self::TicketOtherEvent,
            TicketError::Expired => Self::TicketExpired,
        }
    }
}

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
            ClaimResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
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
            SendResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
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
            GrabResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
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
            ViewResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
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

/// What a user has, and the last movements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletResult {
    /// The balance.
    State {
        /// What the user has.
        balance: Cents,
        /// The last movements, latest first; at most [`WALLET_TRANSFERS_MAX`].
        transfers: Vec<WalletTransfer>,
    },
    /// Ask again after so many milliseconds.
    Busy {
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

/// The most movements that a wallet shows.
pub const WALLET_TRANSFERS_MAX: usize = 20;

/// One movement of a user's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletTransfer {
    /// Positive when the user gained.
    pub cents: i64,
    /// The packet that it came from or went to.
    pub packet: PacketId,
    /// When.
    pub at: UnixMillis,
}

impl From<WalletResult> for v1::WalletReply {
    fn from(result: WalletResult) -> Self {
        use v1::wallet_reply::Result;
        let transfer = |transfer: WalletTransfer| v1::Transfer {
            cents: transfer.cents,
            packet_id: transfer.packet.0,
            at_ms: transfer.at.0,
        };
        let result = match result {
            WalletResult::State { balance, transfers } => Result::State(v1::WalletState {
                balance_cents: balance.0,
                transfers: transfers.into_iter().map(transfer).collect(),
            }),
            WalletResult::Busy { retry_after_ms } => Result::Busy(v1::Busy { retry_after_ms }),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<v1::WalletReply> for WalletResult {
    type Error = Code;

    fn try_from(reply: v1::WalletReply) -> Result<Self, Code> {
        use v1::wallet_reply::Result as Wire;
        let transfer = |transfer: v1::Transfer| WalletTransfer {
            cents: transfer.cents,
            packet: PacketId(transfer.packet_id),
            at: UnixMillis(transfer.at_ms),
        };
        Ok(match reply.result.ok_or(Code::Unknown)? {
            Wire::State(state) => Self::State {
                balance: Cents(state.balance_cents),
                transfers: state.transfers.into_iter().map(transfer).collect(),
            },
            Wire::Busy(busy) => Self::Busy {
                retry_after_ms: busy.retry_after_ms,
            },
        })
    }
}

impl From<Reason> for v1::Refused {
    fn from(reason: Reason) -> Self {
        Self {
            reason: reason.to_wire() as i32,
        }
    }
}

impl TryFrom<v1::Refused> for Reason {
    type Error = Code;

    fn try_from(refused: v1::Refused) -> Result<Self, Code> {
        Self::from_wire(refused.reason).ok_or(Code::Unknown)
    }
}

/// The outcome as the wire carries it.
#[must_use]
pub fn outcome_to_wire(outcome: Outcome) -> v1::Outcome {
    match outcome {
        Outcome::Nothing => v1::Outcome::Nothing,
        Outcome::Greeting => v1::Outcome::Greeting,
        Outcome::FamilyPhoto => v1::Outcome::FamilyPhoto,
        Outcome::FriendCard => v1::Outcome::FriendCard,
        Outcome::RestPage => v1::Outcome::RestPage,
        Outcome::ServerHang => v1::Outcome::ServerHang,
        Outcome::RedPacket => v1::Outcome::RedPacket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_results_and_reasons_round_trip() {
        let opened = ClaimResult::Opened {
            packet: PacketId(1),
            amount: Cents(2),
            sponsor: SponsorId(3),
            code: Bytes::from_static(b"code"),
            repeat: true,
        };
        let refusals = Reason::ALL.map(ClaimResult::Refused);
        for result in refusals
            .into_iter()
            .chain([opened, ClaimResult::Busy { retry_after_ms: 4 }])
        {
            assert_eq!(ClaimResult::try_from(v1::ClaimReply::from(result.clone())), Ok(result));
        }
        assert_eq!(Reason::from_wire(0), None);
        assert_eq!(
            ClaimResult::try_from(v1::ClaimReply { result: None }),
            Err(Code::Unknown)
        );
    }
}
