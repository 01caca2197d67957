//! What operators change while the gateway runs: what they push ([`Live`]), and what is read anew from the certificate
//! directory ([`Secrets`]). Each is replaced as one, so no shard ever sees half of a change: the control plane stores the
//! next, and each shard takes it between two turns.

use crate::secrets::Secrets;
use arc_swap::{ArcSwap, ArcSwapOption};
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// One state of the pushed configuration.
pub struct Live {
    /// Only grows. Replies to clients carry it.
    pub version: u64,
    pub show: Arc<Show>,
    /// The stage of each phase of the show: its number in tickets and in the ledger, whatever is pushed later.
    pub stages: Vec<u16>,
    pub throttle: Arc<Throttle>,
}

/// Where the present state stands, and which each shard runs.
pub struct ConfigStore {
    /// How many changes there were, alone, so that a shard's look at it each turn is one load of a line that hardly ever
    /// changes.
    changes: AtomicU64,
    live: ArcSwap<Live>,
    secrets: ArcSwap<Secrets>,
    /// By shard. Each is written by its shard alone.
    running: Box<[Running]>,
    drain: ArcSwapOption<Drain>,
    drains: AtomicU64,
}

/// What a shard runs.
#[derive(Default)]
struct Running {
    /// The number of the change that it took last; 0 before its first turn.
    change: AtomicU64,
    /// The version of its [`Live`].
    version: AtomicU64,
}

/// What holds, as a shard takes it.
pub struct Snapshot {
    pub change: u64,
    pub live: Arc<Live>,
    pub secrets: Arc<Secrets>,
}

/// Why sessions are sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An operator ends this gateway's service.
    Operator,
    /// Nobody writes down what would be given out here: another agent has the part of the ledger.
    PartLost,
    /// The ledger cannot be reached from here. Who stays is served with what is in hand.
    LedgerAway,
}

/// Sessions are sent away, unless it is cancelled.
pub struct Drain {
    pub cause: Cause,
    /// Which of this gateway's drains it is, from 1 on.
    pub number: u64,
    pub began: Instant,
    pub ends_at: Instant,
    /// Where phones may go, as host:port.
    pub alternatives: Vec<String>,
}

impl ConfigStore {
    pub fn new(live: Live, secrets: Secrets, shards: u16) -> Self {
        Self {
            changes: AtomicU64::new(1),
            running: (0..shards).map(|_| Running::default()).collect(),
            live: ArcSwap::from_pointee(live),
            secrets: ArcSwap::from_pointee(secrets),
            drain: ArcSwapOption::empty(),
            drains: AtomicU64::new(0),
        }
    }

    /// What holds now of what is pushed.
    pub fn load(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// What holds now of the certificate directory.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.load_full()
    }

    /// Makes `live` hold; gives the change's number. Only the control plane calls it, one change after the other.
    pub fn store(&self, live: Live) -> u64 {
        self.live.store(Arc::new(live));
        self.changed()
    }

    /// Makes `secrets` hold, likewise.
    pub fn store_secrets(&self, secrets: Secrets) -> u64 {
        self.secrets.store(Arc::new(secrets));
        self.changed()
    }

    fn changed(&self) -> u64 {
        // SYNC POINT with `snapshot`: who sees the number sees what it names, or what came after it.
        self.changes.fetch_add(1, Ordering::Release) + 1
    }

    /// The number of the last change.
    pub fn change(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            // SYNC POINT with `changed`. First, so that what is loaded behind it is never older.
            change: self.change(),
            live: self.load(),
            secrets: self.secrets(),
        }
    }

    /// What holds now, if there was a change since the one of number `known`.
    pub fn newer_than(&self, known: u64) -> Option<Snapshot> {
        (self.change() != known).then(|| self.snapshot())
    }

    /// A shard says what it runs from this turn on.
    pub fn runs(&self, shard: u16, snapshot: &Snapshot) {
        let running = &self.running[usize::from(shard)];
        running.version.store(snapshot.live.version, Ordering::Release);
        running.change.store(snapshot.change, Ordering::Release);
    }

    /// The version that each shard runs; 0 for one that has not had a turn yet.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        self.running.iter().map(|one| one.version.load(Ordering::Acquire))
    }

    /// How many shards there are, and how many of them have taken the change of this number.
    pub fn taken(&self, change: u64) -> (usize, usize) {
        let has = |one: &&Running| one.change.load(Ordering::Acquire) >= change;
        (self.running.len(), self.running.iter().filter(has).count())
    }

    /// The drain that is under way.
    pub fn drain(&self) -> Option<Arc<Drain>> {
        self.drain.load_full()
    }

    /// Whether one is after which nobody is served here: nobody is let in, and nothing is given out.
    pub fn is_draining(&self) -> bool {
        let drain = self.drain.load();
        drain.as_ref().is_some_and(|drain| drain.cause != Cause::LedgerAway)
    }

    /// Begins an operator's drain, which goes before any other. Only the control plane calls it.
    pub fn begin_drain(&self, began: Instant, ends_at: Instant, alternatives: Vec<String>) {
        let drain = self.drain_of(Cause::Operator, began, ends_at, alternatives);
        self.drain.store(Some(drain));
    }

    /// Sends sessions away without an operator, unless one does. Only the load monitor calls it.
    pub fn begin_leaving(&self, cause: Cause, began: Instant, ends_at: Instant, alternatives: Vec<String>) {
        let drain = self.drain_of(cause, began, ends_at, alternatives);
        self.replace_leaving(Some(drain));
    }

    /// Sessions may stay, unless an operator sends them away. Likewise.
    pub fn end_leaving(&self) {
        self.replace_leaving(None);
    }

    /// Ends the drain, if one is under way: the gateway stays. Only the control plane calls it.
    pub fn cancel_drain(&self) {
        self.drain.store(None);
    }

    fn drain_of(&self, cause: Cause, began: Instant, ends_at: Instant, alternatives: Vec<String>) -> Arc<Drain> {
        let number = self.drains.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Drain {
            cause,
            number,
            began,
            ends_at,
            alternatives,
        })
    }

    fn replace_leaving(&self, next: Option<Arc<Drain>>) {
        let now = self.drain.load();
        if now.as_ref().is_none_or(|drain| drain.cause != Cause::Operator) {
            // When an operator was faster, that holds.
            self.drain.compare_and_swap(&now, next);
        }
    }
}
