//! One connection to PostgreSQL, for a thread that waits for its answers. Statements that are begun together travel together.

use super::access::Access;
use super::statements::Statements;
use std::cell::Cell;
use std::error::Error as _;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket};

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a server may be silent. Then the connection is given up: nobody waits for one that is frozen.
const ANSWER: Duration = Duration::from_secs(5);

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// It refused, or the connection broke.
    #[error("{}", told(.0))]
    Refused(#[from] tokio_postgres::Error),
    /// It said nothing for so long.
    #[error("no answer for {:.1} s", .0.as_secs_f64())]
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

/// What the server said, or what is the matter with the connection: the library's own words leave that out.
fn told(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

impl Failure {
    /// A deadlock, a lock that took too long, or a serialization failure: nothing of the transaction is there. Of statements that
    /// travel together one may have failed before the one that is told; then the next try tells which.
    pub(in crate::ledger) fn is_conflict(&self) -> bool {
        const CONFLICTS: [SqlState; 4] = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::IN_FAILED_SQL_TRANSACTION,
        ];
        matches!(self, Self::Refused(error) if error.code().is_some_and(|code| CONFLICTS.contains(code)))
    }

    /// The server, or the way to it, is away; or it lets nobody in: waiting helps, and nothing that is asked does any harm.
    pub(in crate::ledger) fn is_away(&self) -> bool {
        // Connections, resources, operators, the system; no such user or database; and what a server says that only reads.
        const CLASSES: [&str; 6] = ["08", "53", "57", "58", "28", "3D"];
        const CODES: [SqlState; 2] = [
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        match self {
            Self::Silent(_) | Self::Warned | Self::Io(_) => true,
            Self::Strange { .. } => false,
            Self::Refused(error) => match error.code() {
                Some(code) => CODES.contains(code) || CLASSES.iter().any(|class| code.code().starts_with(class)),
                None => error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>()),
            },
        }
    }

    /// Neither a conflict nor a server that is away: it would refuse the same again, because of what is written, or of the tables.
    /// Nothing of the transaction is there.
    pub(in crate::ledger) fn is_of_content(&self) -> bool {
        match self {
            Self::Strange { .. } => true,
            Self::Refused(error) => error.code().is_some() && !self.is_conflict() && !self.is_away(),
            Self::Silent(_) | Self::Warned | Self::Io(_) => false,
        }
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
    /// Nobody waits for longer.
    end: Cell<Option<Instant>>,
    connection: JoinHandle<()>,
    runtime: Runtime,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Connects, and prepares all statements: the tables must be there.
    pub(super) fn connect(access: &Access) -> Result<Self, Failure> {
        let Dialled {
            runtime,
            client,
            connection,
            warned,
        } = dial(access)?;
        let statements = runtime.block_on(answered(Statements::prepare(&client)))?;
        Ok(Self {
            client,
            statements,
            warned,
            is_silent: Cell::new(false),
            end: Cell::new(None),
            connection,
            runtime,
        })
    }

    /// Nobody waits for an answer beyond this moment.
    pub(super) fn wait_until(&self, end: Option<Instant>) {
        self.end.set(end);
    }

    /// The moment beyond which nobody waits.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end.get()
    }

    /// Breaks the connection, so that the server gives up what was begun on it.
    pub(super) fn hang_up(&self) {
        self.is_silent.set(true);
        self.connection.abort();
        // What is aborted is dropped when it would run.
        self.runtime.block_on(tokio::task::yield_now());
    }

    /// Waits for an answer, for so long as a server may be silent. One that was is never asked again.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if self.is_silent.get() {
            return Err(Failure::Silent(ANSWER));
        }
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        let patience = self.end.get().map_or(ANSWER, |end| ANSWER.min(left(end)));
        let outcome = self.runtime.block_on(async { timeout(patience, work).await });
        outcome.unwrap_or_else(|_| {
            self.is_silent.set(true);
            Err(Failure::Silent(patience))
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
    access: &Access,
    work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Dialled { runtime, client, .. } = dial(access)?;
    runtime.block_on(answered(async {
        client.batch_execute("BEGIN").await?;
        let value = work(&client).await?;
        client.batch_execute("COMMIT").await?;
        Ok::<_, Failure>(value)
    }))
}

/// A connection, without statements.
pub(super) struct Dialled {
    pub(super) client: Client,
    /// What reads it.
    connection: JoinHandle<()>,
    /// It said something that nobody asked: of a commit, that no standby may have it.
    pub(super) warned: Arc<AtomicBool>,
    pub(super) runtime: Runtime,
}

pub(super) fn dial(access: &Access) -> Result<Dialled, Failure> {
    match &access.tls {
        Some(tls) => dial_by(access, tls.clone()),
        None => dial_by(access, NoTls),
    }
}

fn dial_by<T>(access: &Access, tls: T) -> Result<Dialled, Failure>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let warned = Arc::new(AtomicBool::new(false));
    let connecting = runtime.block_on(async { timeout(CONNECT, access.config.connect(tls)).await });
    let (client, mut stream) = connecting.map_err(|_| Failure::Silent(CONNECT))??;
    let seen = Arc::clone(&warned);
    let connection = runtime.spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| stream.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                tracing::warn!(%notice, "PostgreSQL says");
                seen.store(true, Relaxed);
            }
        }
    });
    Ok(Dialled {
        client,
        connection,
        warned,
        runtime,
    })
}

async fn answered<T, E: Into<Failure>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    let outcome = timeout(ANSWER, work).await.map_err(|_| Failure::Silent(ANSWER))?;
    outcome.map_err(Into::into)
}
