//! Whose a mapping is: named once by Back, read by Front at any time. Pure protocol over atomics; loom checks this code.
//!
//! ```text
//!   Back                                  Front
//!   identity, part = …   (plain stores)
//!   named = 1 (release) ── SYNC POINT O ──▶ named == 1 (acquire)
//!                                         identity, part are whole
//! ```
//! Whoever dies before `named` is stored has named nobody, and the next one writes over it.

use crate::crash;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Whose records go through a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The application's 16 bytes; any value is possible.
    pub identity: [u8; 16],
    /// The application's number of a part of it.
    pub part: u32,
}

/// The words of a side's line that carry an owner.
pub(crate) struct OwnerWords<'m> {
    pub(crate) identity: [&'m AtomicU64; 2],
    pub(crate) named: &'m AtomicU32,
    pub(crate) part: &'m AtomicU32,
}

const NAMED: u32 = 1;

impl OwnerWords<'_> {
    /// Names the owner for good. The caller is the only one that may, and has seen that nobody is named yet.
    pub(crate) fn publish(&self, owner: &Owner) {
        let [low, high] = halves(&owner.identity);
        self.identity[0].store(low, Ordering::Relaxed);
        self.identity[1].store(high, Ordering::Relaxed);
        self.part.store(owner.part, Ordering::Relaxed);
        crash::point("owner:words-stored");
        // SYNC POINT O: pairs with the acquire in `read`.
        self.named.store(NAMED, Ordering::Release);
    }

    /// The owner, once one is named.
    pub(crate) fn read(&self) -> Option<Owner> {
        // SYNC POINT O: pairs with the release in `publish`.
        if self.named.load(Ordering::Acquire) != NAMED {
            return None;
        }
        let low = self.identity[0].load(Ordering::Relaxed).to_ne_bytes();
        let high = self.identity[1].load(Ordering::Relaxed).to_ne_bytes();
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&low);
        identity[8..].copy_from_slice(&high);
        Some(Owner {
            identity,
            part: self.part.load(Ordering::Relaxed),
        })
    }
}

fn halves(identity: &[u8; 16]) -> [u64; 2] {
    let half = |at: usize| u64::from_ne_bytes(identity[at..at + 8].try_into().expect("8 bytes of 16"));
    [half(0), half(8)]
}
