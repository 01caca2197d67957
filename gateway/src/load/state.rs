//! What every thread may know of the gateway's load: the monitor writes it ten times a second from what the shards put
//! here, and shards, metrics and status read it. Atomics only; nothing here waits.

use super::modes::Modes;
use shake_rules::grade::{Grade, Signals};
use shm_queue::Owner;
use std::array;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A number with a fraction, shared.
#[derive(Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// The shortest wait since it was last taken.
pub struct ShortestWait(AtomicU32);

impl Default for ShortestWait {
    fn default() -> Self {
        Self(AtomicU32::new(u32::MAX))
    }
}

impl ShortestWait {
    pub fn add(&self, wait_us: u32) {
        self.0.fetch_min(wait_us, Relaxed);
    }

    /// In microseconds; zero when nothing came, as nothing has waited then.
    pub fn take(&self) -> u32 {
        match self.0.swap(u32::MAX, Relaxed) {
            u32::MAX => 0,
            wait_us => wait_us,
        }
    }
}

/// What one shard puts here. On a cache line of its own, so that shards do not disturb each other.
#[derive(Default)]
#[repr(align(128))]
pub struct ShardGauges {
    /// The shortest queue wait of a batch since the monitor last looked, without what a turn was held back on purpose.
    pub queue_wait: ShortestWait,
    /// How full the request ring is, in thousandths.
    pub ring_fill_permille: AtomicU32,
    /// Whether a push into the request ring failed for lack of room since the monitor last looked.
    pub was_ring_full: AtomicBool,
    /// Users who shook in the last ten seconds or so.
    pub shakers: AtomicU32,
    /// The longest turn since the monitor last looked, in microseconds.
    pub turn_us_max: AtomicU32,
}

/// What happened in the last second, over all shards.
#[derive(Default)]
pub struct PerSecond {
    pub packets: Gauge,
    pub shakes: Gauge,
    pub shakes_refused: Gauge,
    pub wins: Gauge,
    /// Requests handed to the ledger: claims, sends, grabs, views.
    pub asks: Gauge,
    pub busy: Gauge,
    pub connections: Gauge,
}

impl PerSecond {
    /// Each figure with its name.
    pub fn rows(&self) -> [(&'static str, f64); 7] {
        [
            ("packets", self.packets.value()),
            ("shakes", self.shakes.value()),
            ("shakes_refused", self.shakes_refused.value()),
            ("wins", self.wins.value()),
            ("asks", self.asks.value()),
            ("busy", self.busy.value()),
            ("connections", self.connections.value()),
        ]
    }
}

/// The load of the gateway.
pub struct LoadState {
    grade: AtomicU8,
    modes: AtomicU32,
    signals: [Gauge; 4],
    /// Shakes per second that the gateway can serve, as measured while it was busy; 0 before it was.
    pub capacity_per_second: Gauge,
    /// Shakes per second that paces are made for; 0 before anything is known.
    pub invited_per_second: Gauge,
    /// Users who shook lately, over all shards.
    pub shakers: AtomicU64,
    /// Huge pages that parts of the heap were put together to.
    pub huge_pages: Arc<AtomicU64>,
    pub per_second: PerSecond,
    /// The longest turn of a shard in the last second, in milliseconds.
    pub turn_ms_max: Gauge,
    /// When an operator was last heard, CLOCK_MONOTONIC in milliseconds; 0 for never in this life.
    operator_heard_ms: AtomicU64,
    /// What was pushed could not be kept on disk, or the kept file could not be used.
    is_config_unkept: AtomicBool,
    /// The part of the memory in use that this process may use, 0 to 1.
    pub memory_in_use: Gauge,
    is_memory_full: AtomicBool,
    /// The agent is to run the show that is kept.
    is_show_followed: AtomicBool,
    /// Whose packets the mapping holds, once an agent has named it: a mapping belongs to one ledger for good.
    pub ledger: OnceLock<Owner>,
    pub shards: Box<[ShardGauges]>,
}

impl LoadState {
    pub fn new(shards: u16) -> Self {
        Self {
            grade: AtomicU8::new(0),
            modes: AtomicU32::new(0),
            signals: array::from_fn(|_| Gauge::default()),
            capacity_per_second: Gauge::default(),
            invited_per_second: Gauge::default(),
            shakers: AtomicU64::new(0),
            huge_pages: Arc::default(),
            per_second: PerSecond::default(),
            turn_ms_max: Gauge::default(),
            operator_heard_ms: AtomicU64::new(0),
            is_config_unkept: AtomicBool::new(false),
            memory_in_use: Gauge::default(),
            is_memory_full: AtomicBool::new(false),
            is_show_followed: AtomicBool::new(false),
            ledger: OnceLock::new(),
            shards: (0..shards).map(|_| ShardGauges::default()).collect(),
        }
    }

    /// The grade that holds.
    pub fn grade(&self) -> Grade {
        Grade::new(self.grade.load(Relaxed))
    }

    pub fn set_grade(&self, grade: Grade) {
        self.grade.store(grade.number(), Relaxed);
    }

    /// The smoothed signals.
    pub fn signals(&self) -> Signals {
        Signals::from_values(array::from_fn(|at| self.signals[at].value()))
    }

    pub fn set_signals(&self, signals: &Signals) {
        self.signals
            .iter()
            .zip(signals.values())
            .for_each(|(gauge, value)| gauge.set(value));
    }

    /// The degraded modes that hold.
    pub fn modes(&self) -> Modes {
        Modes::from_bits(self.modes.load(Relaxed))
    }

    pub fn set_modes(&self, modes: Modes) {
        self.modes.store(modes.bits(), Relaxed);
    }

    /// To be called whenever an operator's connection says anything. `now_ms` is CLOCK_MONOTONIC.
    pub fn operator_heard(&self, now_ms: u64) {
        self.operator_heard_ms.store(now_ms, Relaxed);
    }

    /// When an operator was last heard; `None` for never in this life.
    pub fn operator_heard_ms(&self) -> Option<u64> {
        Some(self.operator_heard_ms.load(Relaxed)).filter(|&at| at > 0)
    }

    /// To be set while what runs is not what is kept on disk.
    pub fn set_config_unkept(&self, is_unkept: bool) {
        self.is_config_unkept.store(is_unkept, Relaxed);
    }

    pub fn is_config_unkept(&self) -> bool {
        self.is_config_unkept.load(Relaxed)
    }

    /// To be set while there is no memory for newcomers.
    pub fn set_memory_full(&self, is_full: bool) {
        self.is_memory_full.store(is_full, Relaxed);
    }

    pub fn is_memory_full(&self) -> bool {
        self.is_memory_full.load(Relaxed)
    }

    /// To be set when the agent can, or must, follow what runs here: it is kept, or something was pushed.
    pub fn set_show_followed(&self, is_followed: bool) {
        self.is_show_followed.store(is_followed, Relaxed);
    }

    pub fn is_show_followed(&self) -> bool {
        self.is_show_followed.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_is_taken_once() {
        let wait = ShortestWait::default();
        assert_eq!(wait.take(), 0, "nothing came");
        for wait_us in [700_000, 300, 90_000] {
            wait.add(wait_us);
        }
        assert_eq!((wait.take(), wait.take()), (300, 0));
    }
}
