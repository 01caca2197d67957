//! The atomics that the rings and the wake-up flags are written against: the standard ones, or loom's when the
//! interleavings are checked (`--cfg loom`), so that loom checks the very code that ships.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
