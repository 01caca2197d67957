//! An allocator around the usual one that knows when a thread asks for a large block: a table that grows does.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// A table that takes no block of so many bytes to grow moves some two thousand entries at the most, in a fraction of a
/// millisecond.
const LARGE_BYTES: usize = 64 * 1_024;

thread_local! {
    static ASKED_FOR: Cell<u64> = const { Cell::new(0) };
}

/// Large blocks that this thread has asked for so far.
pub fn asked_for() -> u64 {
    ASKED_FOR.get()
}

/// Counts the large blocks that are asked of the allocator within.
pub struct Counted<A>(pub A);

fn note(bytes: usize) {
    if bytes >= LARGE_BYTES {
        ASKED_FOR.set(ASKED_FOR.get() + 1);
    }
}

// SAFETY: every call is passed on unchanged. Counting allocates nothing: the cell is made without code and has no destructor,
// so it may also be touched while the thread ends.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(block, layout, bytes) }
    }
}
