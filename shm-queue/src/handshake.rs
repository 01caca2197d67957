//! The sleeping flag: how a thread goes to sleep without missing what is published at the same moment.
//!
//! ```text
//!   sleeper                              waker
//!   flag = 1                             tail = n        (publish)
//!   fence SeqCst   ◀── SYNC POINT W ──▶  fence SeqCst
//!   look at the rings again              look at the flag
//!   nothing there: sleep                 it is 1: clear it, wake the sleeper
//! ```
//!
//! With a SeqCst fence between the store and the load on both sides, at least one of the two sees the other's store
//! (C++20 [atomics.fences]; the classic store-buffer pattern), so either the sleeper finds the record or the waker
//! finds the flag. This file knows nothing of futexes or FIFOs.

use crate::sync::{AtomicU32, Ordering, fence};

const AWAKE: u32 = 0;
/// What the word holds while its owner sleeps or is about to.
pub(crate) const ASLEEP: u32 = 1;

/// Sleeper: announces that it is about to sleep. It must look at its rings once more after this.
pub(crate) fn announce(flag: &AtomicU32) {
    flag.store(ASLEEP, Ordering::Relaxed);
    // SYNC POINT W: pairs with the fence in `take`.
    fence(Ordering::SeqCst);
}

/// Sleeper: is awake again, whoever woke it.
pub(crate) fn withdraw(flag: &AtomicU32) {
    flag.store(AWAKE, Ordering::Relaxed);
}

/// Waker, after publishing: true when the sleeper announced itself and nobody has taken on waking it. The caller must
/// then wake it. Clearing the flag here makes one wake-up serve any number of records until the next announcement.
pub(crate) fn take(flag: &AtomicU32) -> bool {
    // SYNC POINT W: pairs with the fence in `announce`.
    fence(Ordering::SeqCst);
    flag.load(Ordering::Relaxed) != AWAKE && flag.swap(AWAKE, Ordering::Relaxed) != AWAKE
}
