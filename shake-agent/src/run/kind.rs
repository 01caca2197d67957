//! The kinds of stores that an agent runs on, and what each has beside the turns.

use super::RunError;
use crate::config::Config;
use crate::ledger::{Checkpointer, Installation, Ledger, LedgerError, Postgres, Sqlite, Store};
use host::user;
use shake_rules::seed::SeedHeader;
use std::time::Duration;

/// A kind of store that an agent runs on.
pub(super) trait Kind: Store + Sized {
    /// What works beside the turns, until it is dropped.
    type Beside;

    /// How long the grants in hand last at the phase's rate, at the least.
    const GRANTS_LAST: Duration;

    /// Whether many agents share one server, so that each keeps a pace.
    const IS_SHARED: bool;

    /// Opens what the configuration names, for the part of this seed.
    fn open(config: &Config, header: &SeedHeader) -> Result<Self, RunError>;

    /// Starts what works beside the turns.
    fn beside(ledger: &Ledger<Self>) -> Result<Self::Beside, RunError>;

    /// After the last commit.
    fn end(&self) -> Result<(), LedgerError>;

    /// How much of it waits in a log of its own, in bytes; `None` where that is the server's.
    fn log_bytes(&self) -> Option<u64>;
}

impl Kind for Sqlite {
    type Beside = Checkpointer;
    const GRANTS_LAST: Duration = Duration::ZERO;
    const IS_SHARED: bool = false;

    fn open(config: &Config, _: &SeedHeader) -> Result<Self, RunError> {
        user::owns(&config.ledger)?;
        Ok(Self::open(&config.ledger)?)
    }

    fn beside(ledger: &Ledger) -> Result<Checkpointer, RunError> {
        Ok(ledger.checkpointer()?)
    }

    fn end(&self) -> Result<(), LedgerError> {
        self.checkpoint()
    }

    fn log_bytes(&self) -> Option<u64> {
        Some(self.wal().bytes())
    }
}

impl Kind for Postgres {
    type Beside = ();
    /// A server that fails over is away for less.
    const GRANTS_LAST: Duration = Duration::from_secs(30);
    const IS_SHARED: bool = true;

    fn open(config: &Config, header: &SeedHeader) -> Result<Self, RunError> {
        let server = config.server.as_ref().ok_or(RunError::NoServer)?;
        let state = config.state.as_deref().ok_or(RunError::NoInstallation)?;
        let installation = Installation::of(state).map_err(|source| RunError::Installation {
            directory: state.to_owned(),
            source,
        })?;
        Ok(Self::open(server.access()?, header.part, installation)?)
    }

    fn beside(_: &Ledger<Self>) -> Result<(), RunError> {
        Ok(())
    }

    fn end(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn log_bytes(&self) -> Option<u64> {
        None
    }
}
