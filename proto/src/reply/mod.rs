//! What the gateway answers, in domain types, and its way onto the wire and back.

mod claim;
mod grab;
mod send;
mod view;
mod wallet;

pub use claim::ClaimResult;
pub use grab::GrabResult;
pub use send::SendResult;
pub use view::{PacketState, ShareTaken, ViewResult};
pub use wallet::{WALLET_TRANSFERS_MAX, WalletResult, WalletTransfer};

use crate::code::Code;
use crate::wire::v1;
use enum_map::Enum;
use shake_rules::outcome::Outcome;
use shake_rules::ticket::TicketError;
use strum::{IntoStaticStr, VariantArray};

/// A final refusal; asking again changes nothing. The names are those of metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
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
    /// The key of a send made another packet before.
    KeyUsed,
}

impl Reason {
    /// The name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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
            Self::KeyUsed => v1::Reason::KeyUsed,
        }
    }

    /// The reason of this number on the wire.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        let mut all = Self::VARIANTS.iter().copied();
        all.find(|reason| reason.to_wire() as i32 == number)
    }
}

impl From<TicketError> for Reason {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::Forged => Self::TicketForged,
            TicketError::Foreign => Self::TicketForeign,
            TicketError::OtherEvent | TicketError::OtherLedger => Self::TicketOtherEvent,
        }
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
    use bytes::Bytes;
    use shake_rules::{Cents, PacketId, SponsorId};

    #[test]
    fn claim_results_and_reasons_round_trip() {
        let opened = ClaimResult::Opened {
            packet: PacketId(1),
            amount: Cents(2),
            sponsor: SponsorId(3),
            code: Bytes::from_static(b"code"),
            repeat: true,
        };
        let refusals = Reason::VARIANTS.iter().copied().map(ClaimResult::Refused);
        for result in refusals.chain([opened, ClaimResult::Busy { retry_after_ms: 4 }]) {
            assert_eq!(ClaimResult::try_from(v1::ClaimReply::from(result.clone())), Ok(result));
        }
        assert_eq!(Reason::from_wire(0), None);
        assert_eq!(
            ClaimResult::try_from(v1::ClaimReply { result: None }),
            Err(Code::Unknown)
        );
    }
}
