//! The thread that moves lines from the outbox to the target, and waits and tries again while the target is down.

use super::outbox::Outbox;
use super::{Identity, Settlement, SettlementError, Source, check_order, compare_last};
use crate::counters::Counters;
use crate::crash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::{error, info, warn};

/// Most lines in one batch: one sync of the target serves so many.
pub(super) const BATCH_MAX: usize = 4_096;
/// How often the outbox is looked at while it is empty.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time to the next try after a failure; it doubles with each one ...
pub(super) const RETRY_MIN: Duration = Duration::from_millis(100);
/// ... up to this.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(30);

/// The settlement thread.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Closes when the thread ends.
    ended: Receiver<()>,
}

/// What thread and owner tell each other. The numbers are hints.
#[derive(Debug, Default)]
struct Shared {
    backlog: AtomicU64,
    down: AtomicBool,
    stop: AtomicBool,
}

impl Worker {
    /// Starts the thread for the ledger at `ledger`; `target` is made in it, once the ledger's identity is known.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn<T: Settlement + 'static>(
        ledger: PathBuf,
        target: impl Fn(Identity) -> T + Send + 'static,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (ends, ended) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("settlement".into()).spawn(move || {
            let _ends = ends;
            work(&ledger, &target, &counters, &theirs);
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
            ended,
        })
    }

    /// Lines in the ledger that are not settled yet.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.shared.backlog.load(Ordering::Relaxed)
    }

    /// Whether the last try failed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.shared.down.load(Ordering::Relaxed)
    }

    /// Settles what the outbox holds, for at most `max`, and ends the thread. What is left waits for the next start.
    pub fn finish(mut self, max: Duration) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        match self.ended.recv_timeout(max) {
            Err(RecvTimeoutError::Timeout) => {}
            // A panic there was reported by the panic hook.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => drop(thread.join()),
        }
        if self.backlog() > 0 {
            warn!(
                backlog = self.backlog(),
                "lines wait to be settled; they are at the next start"
            );
        }
    }
}

/// Asks the thread to end after its batch, and does not wait.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

fn work<T: Settlement>(ledger: &Path, target: &impl Fn(Identity) -> T, counters: &Counters, shared: &Shared) {
    let mut pump: Option<Pump<T>> = None;
    let mut retry = RETRY_MIN;
    loop {
        let moved = step(&mut pump, ledger, target, shared);
        let stop = shared.stop.load(Ordering::Relaxed);
        match moved {
            Ok(moved) => {
                retry = RETRY_MIN;
                counters.lines_settled.add(moved);
                if shared.down.swap(false, Ordering::Relaxed) {
                    info!(backlog = shared.backlog.load(Ordering::Relaxed), "settlement goes on");
                }
                if moved == 0 && stop {
                    return;
                }
                if moved == 0 {
                    thread::park_timeout(LOOK_EVERY);
                }
            }
            Err(fault) => {
                counters.settlement_failures.add(1);
                if !shared.down.swap(true, Ordering::Relaxed) {
                    error!(%fault, "settlement is down; it is tried again, and lines wait in the ledger meanwhile");
                }
                if stop {
                    return;
                }
                thread::park_timeout(retry);
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Moves one batch; gives how many lines it had.
fn step<T: Settlement>(
    pump: &mut Option<Pump<T>>,
    ledger: &Path,
    target: &impl Fn(Identity) -> T,
    shared: &Shared,
) -> Result<u64, SettlementError> {
    let pump = match pump {
        Some(pump) => pump,
        None => {
            let outbox = Outbox::open(ledger)?;
            let target = target(outbox.identity()?);
            pump.insert(Pump {
                outbox,
                target,
                cursor: None,
                settled: 0,
            })
        }
    };
    let moved = pump.step();
    shared.backlog.store(pump.backlog()?, Ordering::Relaxed);
    moved
}

/// Outbox and target.
struct Pump<T> {
    outbox: Outbox,
    target: T,
    /// The target's last line; `None` when the target has to be asked.
    cursor: Option<u64>,
    /// The last cursor that was known.
    settled: u64,
}

impl<T: Settlement> Pump<T> {
    fn step(&mut self) -> Result<u64, SettlementError> {
        // Whatever fails, the target is asked again where it stands.
        let cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.connect()?,
        };
        self.settled = cursor;
        let batch = self.outbox.read(cursor, BATCH_MAX)?;
        crash::point("settlement:read");
        check_order(cursor, &batch)?;
        if !batch.is_empty() {
            self.target.append(&batch)?;
        }
        self.settled = cursor + batch.len() as u64;
        self.cursor = Some(self.settled);
        Ok(batch.len() as u64)
    }

    /// Asks the target for its last line, which must be the ledger's.
    fn connect(&mut self) -> Result<u64, SettlementError> {
        let last = self.target.last()?;
        compare_last(&self.outbox, last.as_ref())?;
        Ok(last.map_or(0, |line| line.seq))
    }

    fn backlog(&self) -> Result<u64, SettlementError> {
        Ok(self.outbox.last_seq()?.saturating_sub(self.settled))
    }
}
