//! What operators change while the gateway runs. It is replaced as one, so no shard ever sees half of a change: the
//! control plane stores the next [`Live`], and each shard takes it between two turns.

use arc_swap::ArcSwap;
use shake_rules::show::Show;
use shake_rules::throttle::Throttle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One state of the pushed configuration.
pub struct Live {
    /// Only grows. Replies to clients carry it.
    pub version: u64,
    pub show: Arc<Show>,
    pub throttle: Arc<Throttle>,
}

/// Where the present [`Live`] stands.
pub struct Current {
    /// The version alone, so that a shard's look at it each turn is one load of a line that hardly ever changes.
    version: AtomicU64,
    live: ArcSwap<Live>,
}

impl Current {
    pub fn new(live: Live) -> Self {
        Self {
            version: AtomicU64::new(live.version),
            live: ArcSwap::from_pointee(live),
        }
    }

    /// What holds now.
    pub fn load(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// What holds now, if it is not `known`.
    pub fn newer_than(&self, known: &Live) -> Option<Arc<Live>> {
        (self.version.load(Ordering::Acquire) != known.version).then(|| self.load())
    }
}
