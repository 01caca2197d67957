//! The answer to a question for the wallet.

use crate::code::Code;
use crate::wire::v1;
use shake_rules::{Cents, PacketId, UnixMillis};

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
            WalletResult::Busy { retry_after_ms } => Result::Busy(v1::Busy {
                retry_after_ms,
                blocked: false,
            }),
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
