//! Settlement: every line of the ledger's outbox (each movement of a user's balance) is handed to a target outside, once and in
//! order.
//!
//! ```text
//! ledger ─commit─▶ outbox table ─▶ worker (reads by seq) ─▶ target: the file, later a message stream
//! ```
//! Invariant: the target's last line is the only cursor. The ledger holds none, so there are no two places that could
//! disagree after a crash; and a target never takes a line that does not follow its last one.
//!
//! Nothing here writes to the ledger or holds up its thread: while the target is down, only the backlog grows.

mod error;
mod file;
mod line;
mod outbox;
mod start;
mod table;
mod verify;
mod worker;

#[cfg(test)]
mod tests;

pub use error::SettlementError;
pub use file::FileTarget;
pub use line::Identity;
pub(crate) use start::ask_for_new_ledger;
pub use start::{Standing, ask, begin, identity_of_file, identity_of_ledger, set_aside, unknown_to};
pub use table::{TableReport, verify_table};
pub use verify::{Report, verify};
pub use worker::Worker;

use crate::ledger::{Incarnation, LineKind};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// One movement of a user's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the ledger's outbox: 1, 2, 3, ….
    pub seq: u64,
    /// The opening of the ledger that wrote it.
    pub incarnation: Incarnation,
    /// Whose balance it is. Zero in the closing line, as its packet.
    pub user: UserId,
    /// Its number among the lines of that user: 1, 2, 3, …. Zero in version 1. In the closing line, how many users are owed
    /// something.
    pub number: u64,
    /// What came in, in cents; negative when it went out.
    pub cents: i64,
    /// The user's balance after it. Zero in version 1. In the closing line, what all users are owed together.
    pub balance: Cents,
    /// Why.
    pub kind: LineKind,
    /// Where the money comes from, or goes to.
    pub packet: PacketId,
    /// When.
    pub at: UnixMillis,
}

impl Line {
    /// What a line of version 1 does not have, or the closing line.
    const NONE: Self = Self {
        seq: 0,
        incarnation: Incarnation(0),
        user: UserId(0),
        number: 0,
        cents: 0,
        balance: Cents(0),
        kind: LineKind::Open,
        packet: PacketId(0),
        at: UnixMillis(0),
    };
}

/// Where lines go.
pub trait Settlement {
    /// The last line that is durable there; `None` when there is none yet.
    ///
    /// # Errors
    /// When the target is down, damaged or not begun. It is asked again later.
    fn last(&mut self) -> Result<Option<Line>, SettlementError>;

    /// Takes lines and makes them durable. They follow the last one without a gap.
    ///
    /// # Errors
    /// When they do not follow, or the target is down. How many of them are there is then for [`Settlement::last`] to say.
    fn append(&mut self, batch: &[Line]) -> Result<(), SettlementError>;
}

/// Checks that a batch follows the line number `last` (0 before the first one) without a gap.
fn check_order(last: u64, batch: &[Line]) -> Result<(), SettlementError> {
    match (last + 1..).zip(batch).find(|(expected, line)| *expected != line.seq) {
        None => Ok(()),
        Some((expected, line)) => Err(SettlementError::Order {
            expected,
            found: line.seq,
        }),
    }
}
