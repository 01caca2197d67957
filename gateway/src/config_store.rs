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

/// The end of this gateway's service, unless it is cancelled.
pub struct Drain {
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

    /// Whether one is.
    pub fn is_draining(&self) -> bool {
        self.drain.load().is_some()
    }

    /// Begins a drain, where none is under way. Only the control plane calls it.
    pub fn begin_drain(&self, began: Instant, ends_at: Instant, alternatives: Vec<String>) {
        let number = self.drains.fetch_add(1, Ordering::Relaxed) + 1;
        self.drain.store(Some(Arc::new(Drain {
            number,
            began,
            ends_at,
            alternatives,
        })));
    }

    /// Ends the drain, if one is under way: the gateway stays. Likewise.
    pub fn cancel_drain(&self) {
        self.drain.store(None);
    }
}
