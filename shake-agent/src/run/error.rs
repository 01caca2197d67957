//! Why the agent could not run.

use crate::config::ServerFileError;
use crate::lanes::LanesError;
use crate::ledger::LedgerError;
use crate::seed_file::SeedFileError;
use crate::settlement::SettlementError;
use crate::witness::WitnessError;
use host::user::ForeignOwner;
use shake_rules::EventId;
use shake_rules::document::Problems;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The exit code when the ledger must not be served: somebody has seen more of it than it knows, or a person has to decide.
/// Starting again cannot help, so a service manager should not.
pub const EXIT_REFUSED: u8 = 3;

/// Why the agent could not run, or not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What is kept of the ledger in the state directory.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The settlement target.
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    /// The ledger is another user's, and this is root.
    #[error("[ledger] path: {0}")]
    Foreign(#[from] ForeignOwner),
    /// The seed file.
    #[error("[seed] file: {0}")]
    Seed(#[from] SeedFileError),
    /// The rings.
    #[error(transparent)]
    Lanes(#[from] LanesError),
    /// The mapping.
    #[error(transparent)]
    Queue(#[from] shm_queue::Error),
    /// A key file cannot be read.
    #[error("[certs] directory: cannot read {}: {source}; name the gateway's, or bring the file back from a copy", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A key file is wrong.
    #[error("{}: {problems}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// The show file cannot be read.
    #[error("[show] file: cannot read {}: {source}; name the gateway's, or leave it empty for the built-in one", path.display())]
    ShowFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The show file is wrong.
    #[error("{}: {problems}", path.display())]
    Show {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// The show is of another event than the seed.
    #[error("the show {} is of event {show}, and the seed {} of event {seed}; give [show] file and [seed] file those of one event", path.display(), seed_path.display())]
    OtherEvent {
        /// The show file.
        path: PathBuf,
        /// The show's event.
        show: EventId,
        /// The seed file.
        seed_path: PathBuf,
        /// The seed's event.
        seed: EventId,
    },
    /// There is no server to connect to.
    #[error("[ledger] url is empty; give it the server's, postgres://user@host/database")]
    NoServer,
    /// An agent without a state directory cannot say whose part it serves.
    #[error(
        "[state] directory is empty: a ledger in PostgreSQL needs one, where the agent keeps what says that a part is its own"
    )]
    NoInstallation,
    /// What says that a part is this agent's cannot be read or written.
    #[error("[state] directory {}: {source}", directory.display())]
    Installation {
        /// The directory.
        directory: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file that is needed to reach the ledger's server.
    #[error("[ledger] {0}")]
    ServerFile(#[from] ServerFileError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl RunError {
    /// The program's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let is_refused = match self {
            Self::Ledger(error) | Self::Lanes(LanesError::Ledger(error)) => error.is_final(),
            Self::Witness(error) => !matches!(error, WitnessError::Read { .. } | WitnessError::Ledger(_)),
            Self::Settlement(error) => error.is_for_a_person(),
            _ => false,
        };
        if is_refused { EXIT_REFUSED } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_does_not_start_again_what_is_refused() {
        let unit = include_str!("../../../deploy/systemd/shake-agent.service");
        let line = format!("RestartPreventExitStatus={EXIT_REFUSED}");
        assert!(unit.lines().any(|found| found == line));
    }
}
