//! The kinds of stores that an agent runs on, and what each has beside the turns.

use super::RunError;
use super::start;
use crate::config::Config;
use crate::ledger::{Checkpointer, Installation, Known, Ledger, LedgerError, Postgres, Sqlite, Store};
use host::user;
use shake_rules::seed::SeedHeader;
use std::time::Duration;
use tracing::warn;

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

    /// Whoever writes the ledger besides is to stop: a witness here has seen commit `seen` of it, which it does not have. `known` is what
    /// can be said of what was lost.
    fn halt(&self, seen: u64, known: Option<&Known>) -> Result<(), LedgerError>;

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

    fn halt(&self, _: u64, _: Option<&Known>) -> Result<(), LedgerError> {
        Ok(())
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
        let access = server.access()?;
        let opened = Self::open(&access, header.part, installation);
        if let Err(LedgerError::Halted { .. }) = &opened {
            match start::known(config, header) {
                Some((identity, known)) => Self::tell(&access, header.part, identity, &known)?,
                None => warn!(
                    "nothing here can say how much of this part was released: who goes on with this ledger has to give up the rest of its seed"
                ),
            }
        }
        Ok(opened?)
    }

    fn halt(&self, seen: u64, known: Option<&Known>) -> Result<(), LedgerError> {
        Self::halt(self, seen, known)
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
