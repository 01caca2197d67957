//! What people read when the books are closed: the outlook before it (`shake-agent close --dry-run`), and the closing statement
//! after it, of one ledger or of a fleet, as text, JSON and a page to print. They write nothing to a ledger.
//!
//! The closing itself is [`run::close`](crate::run::close).

mod outlook;
mod page;
mod statement;
mod text;

pub use outlook::{Outlook, Returned, outlook};
pub use statement::{LedgerLine, PhaseLine, SponsorLine, Statement, StatementError, of_fleet, prove, statement};
