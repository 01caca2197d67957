//! What operators change while the gateway runs. It is replaced as one, so no shard ever sees half of a change: the
//! control plane stores the next [`Live`], and each shard takes it between two turns.

use arc_swap::ArcSwap;
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
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

/// Where the present [`Live`] stands, and which version each shard runs.
pub struct Current {
    /// The version alone, so that a shard's look at it each turn is one load of a line that hardly ever changes.
    version: AtomicU64,
    live: ArcSwap<Live>,
    /// By shard. Each is written by its shard alone.
    running: Box<[AtomicU64]>,
    drain: OnceLock<Drain>,
}

/// The end of this gateway's service. Set once, never taken back.
pub struct Drain {
    pub began: Instant,
    pub ends_at: Instant,
    /// Where phones may go, as host:port.
    pub alternatives: Vec<String>,
}

impl Current {
    pub fn new(live: Live, shards: u16) -> Self {
        Self {
            version: AtomicU64::new(live.version),
            running: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            live: ArcSwap::from_pointee(live),
            drain: OnceLock::new(),
        }
    }

    /// What holds now.
    pub fn load(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Makes `live` hold. Only the control plane calls it, one change after the other.
    pub fn store(&self, live: Live) {
        let version = live.version;
        self.live.store(Arc::new(live));
        // SYNC POINT with `newer_than`: who sees the version sees what it names, or what came after it.
        self.version.store(version, Ordering::Release);
    }

    /// What holds now, if it is not `known`.
    pub fn newer_than(&self, known: &Live) -> Option<Arc<Live>> {
        // SYNC POINT with `store`.
        (self.version.load(Ordering::Acquire) != known.version).then(|| self.load())
    }

    /// A shard says which version it runs from this turn on.
    pub fn runs(&self, shard: u16, version: u64) {
        self.running[usize::from(shard)].store(version, Ordering::Release);
    }

    /// The version that each shard runs; 0 for one that has not had a turn yet.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        self.running.iter().map(|version| version.load(Ordering::Acquire))
    }

    /// The drain, once there is one.
    pub fn drain(&self) -> Option<&Drain> {
        self.drain.get()
    }

    /// Begins the drain. False when there is one already.
    pub fn begin_drain(&self, drain: Drain) -> bool {
        self.drain.set(drain).is_ok()
    }
}
