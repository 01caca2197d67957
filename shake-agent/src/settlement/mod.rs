//! Settlement: every line of the ledger's outbox (each movement of a user's balance) is handed to a target outside, once and in
//! order.
//!
//! ```text
//! ledger ─commit─▶ outbox table ─▶ worker (reads by seq) ─▶ target: the file, later a message stream
//!                               └▶ copies: of a server's, a file for each part (`shake-agent settlement run`)
//! ```
//! Invariant: the target's last line is the only cursor. The ledger holds none, so there are no two places that could
//! disagree after a crash; and a target never takes a line that does not follow its last one.
//!
//! Nothing here writes to the ledger or holds up its thread: while the target is down, only the backlog grows.

mod compared;
mod copies;
mod error;
mod file;
mod line;
mod outbox;
mod served;
mod start;
mod table;
mod verify;
mod worker;

#[cfg(test)]
mod tests;

pub use copies::{Copied, Copying, copy, copy_name};
pub use error::SettlementError;
pub use file::FileTarget;
pub use line::Identity;
pub(crate) use start::ask_for_new_ledger;
pub use start::{Standing, ask, begin, identity_of_file, identity_of_ledger, set_aside, unknown_to};
pub use table::{TableReport, verify_table};
pub use verify::{Report, verify};
pub use worker::Worker;

use crate::ledger::{Incarnation, LineKind, SKIPPED};
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

/// Where lines come from: the outbox of one part.
trait Source {
    /// Lines after number `after`, in order, at most `max` of them.
    fn read(&self, after: u64, max: usize) -> Result<Vec<Line>, SettlementError>;

    /// The line of this number, when there is one.
    fn find(&self, seq: u64) -> Result<Option<Line>, SettlementError> {
        let found = self.read(seq.saturating_sub(1), 1)?.pop();
        Ok(found.filter(|line| line.seq == seq))
    }
}

/// Checks that a target's last line is the ledger's.
fn compare_last(source: &impl Source, last: Option<&Line>) -> Result<(), SettlementError> {
    let Some(last) = last else { return Ok(()) };
    let ours = source.find(last.seq)?;
    if ours.as_ref() == Some(last) {
        return Ok(());
    }
    Err(SettlementError::NotInLedger {
        seq: last.seq,
        there: ours.is_some(),
    })
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

/// Whether the line of this number is the one behind `last` (0 before the first one). Where a loss was accepted numbers go on behind
/// [`SKIPPED`] that nobody has.
fn is_next(last: u64, seq: u64) -> bool {
    seq > last && (seq - last - 1).is_multiple_of(SKIPPED.cast_unsigned())
}

/// Checks that a batch follows the line number `last` (0 before the first one) without a gap.
fn check_order(mut last: u64, batch: &[Line]) -> Result<(), SettlementError> {
    for line in batch {
        if !is_next(last, line.seq) {
            return Err(SettlementError::Order {
                expected: last + 1,
                found: line.seq,
            });
        }
        last = line.seq;
    }
    Ok(())
}
