//! Where a connection remembers the packets that it sent is known by the size of that block, which quinn-proto and Rust's
//! B-tree decide.

use super::run::{Run, play};
use lean_quic::Micros;
use mimalloc::MiMalloc;
use quic_shard::memory::allocations::{LEAF_BYTES, TrackingAllocator};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    static LEAVES: Cell<usize> = const { Cell::new(0) };
}

/// Counts the blocks of that size.
struct Counting;

#[global_allocator]
static ALLOCATOR: TrackingAllocator<Counting> = TrackingAllocator(Counting);

// SAFETY: the blocks are those of mimalloc. Counting allocates nothing: the cell is made without code and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == LEAF_BYTES {
            LEAVES.set(LEAVES.get() + 1);
        }
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

/// With another size nothing would be fetched ahead any more, and nobody would notice.
#[test]
fn a_connection_remembers_what_it_sent_in_a_block_of_the_size_that_is_looked_for() {
    const CLIENTS: usize = 100;
    let before = LEAVES.get();
    let run = Run::new(CLIENTS, Micros::from_s(30), Micros::from_s(2));
    let outcome = play(run, |_| {});
    assert_eq!(outcome.heard.connected, CLIENTS as u64);
    let leaves = LEAVES.get() - before;
    assert!(leaves >= CLIENTS, "{leaves} of {CLIENTS} connections");
}
