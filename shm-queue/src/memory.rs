//! The mapped bytes, seen only as atomics. One of the two files with `unsafe` (the other is `wake.rs`, for the futex).
//!
//! Architecture invariant: no reference to plain bytes of the mapping ever exists. The other process may write
//! anything at any time; through atomics that gives unexpected values and never undefined behaviour.

use std::ops::Deref;
use std::sync::Arc;
use std::{io, ptr};

use memmap2::{MmapOptions, MmapRaw};

use crate::sync::{AtomicU32, AtomicU64};

/// A file mapped shared and writable. Lives as long as anything that points into it.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<MmapRaw>);

impl Memory {
    /// Maps the first `len` bytes of the file, which must be there.
    pub(crate) fn map(file: &std::fs::File, len: usize) -> io::Result<Memory> {
        // Populated at once, so that no push or read takes a page fault later.
        Ok(Memory(Arc::new(MmapOptions::new().len(len).populate().map_raw(file)?)))
    }

    /// `count` words from the byte offset `at`, which is a multiple of 8.
    ///
    /// Panics when they are not inside the mapping; offsets come from a checked `Layout` for this mapping's length.
    pub(crate) fn words(&self, at: usize, count: usize) -> Region {
        let bytes = count.checked_mul(8).expect("a layout stays far below usize::MAX");
        let end = at.checked_add(bytes).expect("a layout stays far below usize::MAX");
        assert!(
            at.is_multiple_of(8) && end <= self.0.len(),
            "words {at}..{end} are outside the mapping"
        );
        // SAFETY: `at` is at most the mapping's length, so the result stays inside or one past the same mapping.
        let start = unsafe { self.0.as_mut_ptr().add(at) }.cast::<AtomicU64>();
        Region {
            words: ptr::slice_from_raw_parts(start, count),
            _memory: self.clone(),
        }
    }

    /// The 32-bit word at the byte offset `at`, which is a multiple of 4. Panics as [`Memory::words`] does.
    pub(crate) fn half_word(&self, at: usize) -> &AtomicU32 {
        assert!(
            at.is_multiple_of(4) && at < self.0.len() && self.0.len() - at >= 4,
            "{at} is outside the mapping"
        );
        // SAFETY: inside the mapping (checked above), which is page-aligned, so the word is aligned; it lives as long as
        // `self`; every access to it, here and in the other process, is atomic and of this size.
        unsafe { &*self.0.as_mut_ptr().add(at).cast::<AtomicU32>() }
    }

    /// The 64-bit word at the byte offset `at`, which is a multiple of 8. Panics as [`Memory::words`] does.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(
            at.is_multiple_of(8) && at < self.0.len() && self.0.len() - at >= 8,
            "{at} is outside the mapping"
        );
        // SAFETY: as in `half_word`.
        unsafe { &*self.0.as_mut_ptr().add(at).cast::<AtomicU64>() }
    }
}

/// A run of words of the mapping; keeps the mapping alive.
#[derive(Debug)]
pub(crate) struct Region {
    words: *const [AtomicU64],
    _memory: Memory,
}

// SAFETY: the pointer is to atomics in memory that `_memory` keeps mapped, and both may be used from any thread.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

impl Deref for Region {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `Memory::words` checked that the words are aligned and inside the mapping, `_memory` keeps it mapped,
        // and every access to them, here and in the other process, is atomic and of this size.
        unsafe { &*self.words }
    }
}
