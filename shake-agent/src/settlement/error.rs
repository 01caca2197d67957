//! What can go wrong with settlement.

use super::Identity;
use crate::ledger::LedgerError;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why credits could not be settled. The agent tries again; users notice nothing.
#[derive(Debug, Error)]
pub enum SettlementError {
    /// A file operation failed. `action` reads after "cannot".
    #[error("cannot {action} the settlement file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process writes the file.
    #[error("the settlement file {} is in use by another agent; give each agent its own [settlement] file", .0.display())]
    Locked(PathBuf),
    /// The file was removed or replaced while it was written.
    #[error("the settlement file {} was removed or replaced; it is opened anew", .0.display())]
    Replaced(PathBuf),
    /// A line is damaged.
    #[error(
        "the settlement file {}, line {line} (from byte {at} on): {what}. Restore it from a copy, or cut it before that line: \
         what follows is then written again from the ledger, with the same idempotency keys",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file is that of another ledger.
    #[error(
        "the settlement file {} belongs to another ledger: it has {found}, and the ledger has {expected}; \
         give [settlement] file the one of this ledger, or a new name",
        path.display()
    )]
    OtherLedger {
        /// The file.
        path: PathBuf,
        /// The ledger.
        expected: Box<Identity>,
        /// What the file says.
        found: Box<Identity>,
    },
    /// The target has a credit that the ledger has not, or not so.
    #[error(
        "credit {seq} was settled, and the ledger {}: was the ledger restored from a backup? Bring back the newest one. \
         Nothing is settled until then",
        if *there { "has another one of that number" } else { "does not have it" }
    )]
    NotInLedger {
        /// The credit's number.
        seq: u64,
        /// Whether the ledger has some credit of that number.
        there: bool,
    },
    /// Credits do not follow each other.
    #[error("credit {found} came where {expected} must; the outbox of the ledger has a gap")]
    Order {
        /// The number that must come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger has no seed yet, so it has no identity.
    #[error("the ledger {} was not begun yet; `shake-agent run` begins it", .0.display())]
    NotBegun(PathBuf),
}

impl SettlementError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
