//! What keeps the lanes from being opened.

use crate::ledger::LedgerError;
use std::path::PathBuf;
use thiserror::Error;

/// Why the rings cannot be used.
#[derive(Debug, Error)]
pub enum LanesError {
    /// The mapping is not one of a gateway.
    #[error("{} is not a gateway's mapping: {found}; it is of another release; let that release's programs read what waits in it, or give [queue] path another name", path.display())]
    Geometry {
        /// The mapping.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// The rings gave an error.
    #[error(transparent)]
    Queue(#[from] shm_queue::Error),
    /// The ledger gave an error.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl LanesError {
    /// Whether somebody has to mend something: waiting for the storage does not help.
    #[must_use]
    pub fn is_for_a_person(&self) -> bool {
        !matches!(self, Self::Ledger(fault) if fault.is_storage())
    }
}
