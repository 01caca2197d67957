//! The sessions of a shard by index: in a plain table, or in one that packs those that are idle. Both behave the same, but for
//! what they take of memory and time.

use super::huge_pages::Prefaulter;
use super::packable::Packable;
use super::packing_table::{PackingTable, Rules};
use super::paged_slab::PagedSlab;
use std::sync::Arc;
use std::time::Instant;

/// A shard for so many sessions or fewer has the memory, and saves the CPU time: nothing is packed, and there is no room for it.
/// Builds that check what they do begin with a few, so that every test has sessions packed.
const PACK_ABOVE: usize = if cfg!(debug_assertions) { 2 } else { 65_536 };
/// So many sessions the base of all packed ones is made of.
const CANDIDATES: usize = if cfg!(debug_assertions) { 2 } else { 16 };
/// Elsewhere words cannot be held against each other (see [`delta`](super::delta)).
const CAN_PACK: bool = cfg!(all(target_arch = "x86_64", not(miri)));

/// The sessions of a shard by index.
#[allow(clippy::large_enum_variant, reason = "there is one for each shard")]
pub enum SessionTable<T: Packable> {
    /// For few.
    Plain(PagedSlab<T>),
    /// For many.
    Packing(PackingTable<T>),
}

impl<T: Packable> SessionTable<T> {
    /// None yet, of so many at the most.
    pub fn new(prefaulter: &Prefaulter, sessions_max: usize) -> Self {
        if CAN_PACK && sessions_max > PACK_ABOVE {
            let rules = Rules {
                above: PACK_ABOVE,
                candidates: CANDIDATES,
            };
            Self::Packing(PackingTable::new(prefaulter, rules))
        } else {
            Self::Plain(PagedSlab::new(prefaulter.clone()))
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Plain(table) => table.len(),
            Self::Packing(table) => table.len(),
        }
    }

    /// How many of them are packed.
    pub fn packed(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Packing(table) => table.packed(),
        }
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        match self {
            Self::Plain(table) => table.capacity(),
            Self::Packing(table) => table.capacity(),
        }
    }

    /// Indices of all sessions.
    pub fn indices(&self) -> Vec<usize> {
        match self {
            Self::Plain(table) => table.indices().collect(),
            Self::Packing(table) => table.indices(),
        }
    }

    /// Puts a session in, and what it shares with others; gives its index.
    pub fn insert(&mut self, session: T, shared: &Arc<T::Shared>) -> usize {
        match self {
            Self::Plain(table) => table.insert(session),
            Self::Packing(table) => table.insert(session, shared),
        }
    }

    /// For now nothing is under way for a session.
    pub fn mark_idle(&mut self, index: usize) {
        if let Self::Packing(table) = self {
            table.mark_idle(index);
        }
    }

    /// The session, unpacked.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match self {
            Self::Plain(table) => table.get_mut(index),
            Self::Packing(table) => table.get_mut(index),
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        match self {
            Self::Plain(table) => table.remove(index),
            Self::Packing(table) => table.remove(index),
        }
    }

    /// When a session that is packed is needed by the clock; nothing for one that is not.
    #[inline]
    pub fn packed_until(&self, index: usize) -> Option<Instant> {
        match self {
            Self::Plain(_) => None,
            Self::Packing(table) => table.packed_until(index),
        }
    }

    /// Asks the processor for what [`Self::prefetch`] and [`Self::packed_until`] look at.
    #[inline]
    pub fn prefetch_slot(&self, index: usize) {
        if let Self::Packing(table) = self {
            table.prefetch_slot(index);
        }
    }

    /// Asks the processor for a session that is about to be needed.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        match self {
            Self::Plain(table) => table.prefetch(index),
            Self::Packing(table) => table.prefetch(index),
        }
    }

    /// Packs those that have nothing more to do.
    pub fn pack_idle(&mut self, now: Instant) {
        if let Self::Packing(table) = self {
            table.pack_idle(now);
        }
    }
}

#[cfg(test)]
mod tests;
