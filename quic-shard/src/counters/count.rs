//! A number with one writer, so adding is a plain load and store with no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only its own shard changes.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds so much.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Makes it so large at the least.
    pub fn raise(&self, value: u64) {
        self.set(self.value().max(value));
    }

    /// What it is now.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
