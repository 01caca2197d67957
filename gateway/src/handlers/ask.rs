//! How a request is handed to the ledger, and why it is not.

use crate::conditions::Conditions;
use crate::counters::Busy;
use crate::in_flight::{Ledger, ReturnAddress};
use shake_proto::handoff::record::What;
use shake_proto::reply::Reason;
use shake_rules::UserId;

/// Why the ledger was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// It cannot be now.
    Busy(Busy),
    /// It need not be: this is refused for good, and what was shown may be no authentic ticket or code.
    Refused { reason: Reason, is_forged: bool },
}

impl NotAsked {
    /// The agent has not said yet which ledger this is: nothing can be checked, and nothing is refused.
    pub const LEDGER_UNKNOWN: Self = Self::Busy(Busy::LedgerUnknown);
}

/// Hands a request to the ledger.
pub fn ask(
    conditions: &Conditions,
    ledger: &mut Ledger,
    user: UserId,
    what: What,
    to: ReturnAddress,
) -> Result<(), NotAsked> {
    let asked = ledger.ask(&conditions.now, conditions.unix, user, what, to);
    asked.map_err(NotAsked::Busy)
}
