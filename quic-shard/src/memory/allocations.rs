//! An allocator around the usual one that knows what a thread asks for: when it is a large block, as a table that grows needs,
//! and where the newest leaf lies in which a connection remembers the packets that it sent.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// A table that takes no block of so many bytes to grow moves some two thousand entries at the most, in a fraction of a
/// millisecond.
const LARGE_BYTES: usize = 64 * 1_024;
/// What a leaf of that B-tree takes, of quinn-proto 0.11 and Rust's library. Hardly anything else is as large. If it takes
/// another size one day, it is not fetched ahead any more, which costs time and nothing else.
pub const LEAF_BYTES: usize = 1_160;

thread_local! {
    static LARGE_BLOCKS: Cell<u64> = const { Cell::new(0) };
    static NEWEST_LEAF: Cell<usize> = const { Cell::new(0) };
}

/// Large blocks that this thread has asked for so far.
pub fn large_blocks() -> u64 {
    LARGE_BLOCKS.get()
}

/// Where the leaf lies that this thread asked for last, once; to be asked of the memory, never to be read.
pub fn take_newest_leaf() -> Option<usize> {
    Some(NEWEST_LEAF.take()).filter(|leaf| *leaf != 0)
}

/// Notes what is asked of the allocator within.
#[derive(Debug)]
pub struct TrackingAllocator<A>(
    /// Which has the memory.
    pub A,
);

fn note(block: *mut u8, bytes: usize) -> *mut u8 {
    if bytes >= LARGE_BYTES {
        LARGE_BLOCKS.set(LARGE_BLOCKS.get() + 1);
    } else if bytes == LEAF_BYTES {
        NEWEST_LEAF.set(block.addr());
    }
    block
}

// SAFETY: every call is passed on unchanged. Noting allocates nothing: the cells are made without code and have no destructor,
// so they may also be touched while the thread ends.
unsafe impl<A: GlobalAlloc> GlobalAlloc for TrackingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        note(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        note(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        note(unsafe { self.0.realloc(block, layout, bytes) }, bytes)
    }
}
