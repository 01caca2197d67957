//! The memory of all seats: one block, on huge pages, and fetched before it is needed. With a million seats of a kilobyte
//! each look at one misses the caches, and with small pages the translation cache as well, which is dear in a virtual
//! machine; the simulator shares the machine with the gateway that it measures.

use super::seat::Seat;
use nix::sys::mman::{MmapAdvise, madvise};
use std::ptr::NonNull;

/// So many places before its turn a seat is fetched.
pub(super) const AHEAD: usize = 8;
/// Bytes of the smallest page of every Linux machine that has huge ones.
const PAGE: usize = 4_096;

/// All seats. The kernel is asked for huge pages before the first is touched; it may refuse.
pub(super) fn fill(seats: impl ExactSizeIterator<Item = Seat>) -> Vec<Seat> {
    let mut block: Vec<Seat> = Vec::with_capacity(seats.len());
    let begin = block.as_mut_ptr().addr().next_multiple_of(PAGE);
    let end = (block.as_ptr().addr() + block.capacity() * size_of::<Seat>()) / PAGE * PAGE;
    let address = NonNull::new(block.as_mut_ptr().with_addr(begin).cast());
    if let Some(address) = address.filter(|_| begin < end) {
        // SAFETY: the range is whole pages within the block, and this advice changes no byte of them.
        let _ = unsafe { madvise(address, end - begin, MmapAdvise::MADV_HUGEPAGE) };
    }
    block.extend(seats);
    block
}

/// Asks the processor for a seat that is about to be needed; elsewhere than on x86-64 it is left to itself.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub(super) fn prefetch(seats: &[Seat], index: u32) {
    #[cfg(target_arch = "x86_64")]
    if let Some(seat) = seats.get(index as usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        const LINE_BYTES: usize = 64;
        for at in (0..size_of::<Seat>()).step_by(LINE_BYTES) {
            let line = std::ptr::from_ref(seat).wrapping_byte_add(at);
            // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
        }
    }
}
