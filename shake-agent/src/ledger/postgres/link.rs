//! One connection to PostgreSQL, for a thread that waits for its answers. Statements that are begun together travel together.

use super::statements::Statements;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a server may be silent. Then the connection is given up: nobody waits for one that is frozen.
const ANSWER: Duration = Duration::from_secs(5);

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// It refused, or the connection broke.
    #[error(transparent)]
    Refused(#[from] tokio_postgres::Error),
    /// It said nothing for so long.
    #[error("no answer for {} s", .0.as_secs())]
    Silent(Duration),
    /// A commit came with a warning: it is here, and perhaps on no standby.
    #[error("the commit came with a warning: no standby may have it")]
    Warned,
    /// A row says what no ledger says.
    #[error("a row of {table} holds what this program never writes, or is not there: {what}")]
    Strange {
        /// Its table.
        table: &'static str,
        /// What was found.
        what: String,
    },
    /// The system has no room for another connection's event loop.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// A deadlock, a lock that took too long, or a serialization failure: nothing of the transaction is there.
    pub(in crate::ledger) fn is_conflict(&self) -> bool {
        const CONFLICTS: [SqlState; 3] = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        matches!(self, Self::Refused(error) if error.code().is_some_and(|code| CONFLICTS.contains(code)))
    }

    pub(super) fn strange(table: &'static str, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self::Strange { table, what }
    }
}

/// A connection with its statements.
pub(super) struct Link {
    // Dropped before the runtime that drives it.
    pub(super) client: Client,
    pub(super) statements: Statements,
    warned: Arc<AtomicBool>,
    is_silent: Cell<bool>,
    runtime: Runtime,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, and prepares all statements: the tables must be there.
    pub(super) fn connect(config: &Config) -> Result<Self, Failure> {
        let (runtime, client, warned) = dial(config)?;
        let statements = runtime.block_on(answered(Statements::prepare(&client)))?;
        Ok(Self {
            client,
            statements,
            warned,
            is_silent: Cell::new(false),
            runtime,
        })
    }

    /// Waits for an answer, for so long as a server may be silent. One that was is never asked again.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if self.is_silent.get() {
            return Err(Failure::Silent(ANSWER));
        }
        let outcome = self.runtime.block_on(async { timeout(ANSWER, work).await });
        outcome.unwrap_or_else(|_| {
            self.is_silent.set(true);
            Err(Failure::Silent(ANSWER))
        })
    }

    /// Makes what was written durable.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        self.warned.store(false, Relaxed);
        self.wait(async { Ok(self.client.batch_execute("COMMIT").await?) })?;
        if self.warned.load(Relaxed) {
            return Err(Failure::Warned);
        }
        Ok(())
    }
}

/// Runs statements on a connection of their own, in one transaction: for what makes tables.
pub(super) fn run_once<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (runtime, client, _) = dial(config)?;
    runtime.block_on(answered(async {
        client.batch_execute("BEGIN").await?;
        let value = work(&client).await?;
        client.batch_execute("COMMIT").await?;
        Ok::<_, Failure>(value)
    }))
}

fn dial(config: &Config) -> Result<(Runtime, Client, Arc<AtomicBool>), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let warned = Arc::new(AtomicBool::new(false));
    let connecting = runtime.block_on(async { timeout(CONNECT, config.connect(NoTls)).await });
    let (client, mut connection) = connecting.map_err(|_| Failure::Silent(CONNECT))??;
    let seen = Arc::clone(&warned);
    runtime.spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                tracing::warn!(%notice, "PostgreSQL says");
                seen.store(true, Relaxed);
            }
        }
    });
    Ok((runtime, client, warned))
}

async fn answered<T, E: Into<Failure>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    let outcome = timeout(ANSWER, work).await.map_err(|_| Failure::Silent(ANSWER))?;
    outcome.map_err(Into::into)
}
