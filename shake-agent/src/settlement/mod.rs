//! Settlement: every credit of the ledger's outbox is handed to a target outside, once and in order.
//!
//! ```text
//! ledger ─commit─▶ outbox table ─▶ worker (reads by seq) ─▶ target: the file, later a message stream
//! ```
//! Invariant: the target's last credit is the only cursor. The ledger holds none, so there are no two places that could
//! disagree after a crash; and a target never takes a credit that does not follow its last one.
//!
//! Nothing here writes to the ledger or holds up its thread: while the target is down, only the backlog grows.

mod error;
mod file;
mod line;
mod outbox;
mod verify;
mod worker;

#[cfg(test)]
mod tests;

pub use error::SettlementError;
pub use file::FileTarget;
pub use line::Identity;
pub use verify::{Report, verify};
pub use worker::Worker;

use crate::ledger::CreditKind;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// One credit to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Its number in the ledger's outbox: 1, 2, 3, ….
    pub seq: u64,
    /// Who is credited.
    pub user: UserId,
    /// How much.
    pub amount: Cents,
    /// Why.
    pub kind: CreditKind,
    /// Where the money comes from.
    pub packet: PacketId,
    /// When.
    pub at: UnixMillis,
}

/// Where credits go.
pub trait Settlement {
    /// The last credit that is durable there; `None` when there is none yet.
    ///
    /// # Errors
    /// When the target is down or damaged. It is asked again later.
    fn last(&mut self) -> Result<Option<Credit>, SettlementError>;

    /// Takes credits and makes them durable. They follow the last one without a gap.
    ///
    /// # Errors
    /// When they do not follow, or the target is down. How many of them are there is then for [`Settlement::last`] to say.
    fn append(&mut self, batch: &[Credit]) -> Result<(), SettlementError>;
}

/// Checks that a batch follows the credit number `last` (0 before the first one) without a gap.
fn check_order(last: u64, batch: &[Credit]) -> Result<(), SettlementError> {
    match (last + 1..)
        .zip(batch)
        .find(|(expected, credit)| *expected != credit.seq)
    {
        None => Ok(()),
        Some((expected, credit)) => Err(SettlementError::Order {
            expected,
            found: credit.seq,
        }),
    }
}
