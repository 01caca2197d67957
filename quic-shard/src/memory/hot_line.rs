//! What a shard looks at before it fetches a session: whether a packet is worth opening at all, and where lies what opens it
//! outside of the session. A session is a hundred cache lines; this is one, and of all sessions together it is an array small
//! enough for the caches of many machines. So a packet that is shed costs one line, not a hundred.

use super::allocations::{LEAF_BYTES, take_newest_leaf};
use super::paged_slab::{LINE_BYTES, prefetch_lines};
use crate::tls::take_newest_keys;
use std::ptr::without_provenance;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// One stands beside every session, under the same index.
#[repr(align(64))]
pub struct HotLine<H> {
    /// The application's.
    pub app: H,
    keys: [Line; 4],
    /// The last line of the leaf in which the connection remembers the packets that it sent.
    leaf: Line,
}

impl<H: Default> HotLine<H> {
    /// One of a new session.
    pub fn new() -> Self {
        const { assert!(size_of::<Option<Self>>() == LINE_BYTES, "a line of the caches") };
        Self {
            app: H::default(),
            keys: Default::default(),
            leaf: Line::default(),
        }
    }
}

impl<H> HotLine<H> {
    /// Notes where the session's keys lie, if some were made since this was last called for any session of this thread.
    pub fn note_keys(&mut self) {
        if let Some(keys) = take_newest_keys() {
            self.keys = keys.map(Line::of);
        }
    }

    /// Notes where the leaf of sent packets lies, if one was made since this was last called for any session of this thread.
    pub fn note_leaf(&mut self) {
        if let Some(leaf) = take_newest_leaf() {
            self.leaf = Line::of(leaf + LEAF_BYTES - 1);
        }
    }

    /// Asks the processor for what a packet of the session needs outside of it.
    pub fn prefetch_outside(&self) {
        for line in [self.leaf].iter().chain(&self.keys) {
            line.prefetch(0, 1);
        }
        // The packets stand in order from its beginning, their numbers towards its end. Nearly always there is one.
        let leaf_lines = LEAF_BYTES.div_ceil(LINE_BYTES);
        self.leaf.prefetch(1 - leaf_lines.cast_signed(), 2);
        self.leaf.prefetch(-2, 1);
    }
}

/// A line of the caches, to be asked for, never to be read: its number modulo 2^32, so that it is told apart from others
/// within 256 GiB.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Line(u32);

/// The upper bits of the number of the line that was noted last: heaps are smaller than 256 GiB, and so nearly always those of all.
static UPPER: AtomicUsize = AtomicUsize::new(0);

impl Line {
    /// The line that an address is in.
    fn of(address: usize) -> Self {
        let number = address / LINE_BYTES;
        UPPER.store(number & !(u32::MAX as usize), Relaxed);
        Self(number as u32)
    }

    /// Asks for so many lines, so many from it on.
    fn prefetch(self, from: isize, lines: usize) {
        prefetch_lines(without_provenance(self.address(from)), lines * LINE_BYTES);
    }

    /// Where the line begins that is so many from it on.
    fn address(self, from: isize) -> usize {
        let number = UPPER.load(Relaxed) | self.0 as usize;
        number.wrapping_add_signed(from).wrapping_mul(LINE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_where_its_address_was() {
        let block = Box::new([0_u64; 100]);
        let begin = block.as_ptr().addr();
        let line = Line::of(begin);
        assert_eq!(line.address(0), begin / LINE_BYTES * LINE_BYTES);
        assert_eq!(line.address(-3), line.address(0) - 3 * LINE_BYTES);
    }

    #[test]
    fn a_leaf_is_noted_once() {
        let mut front = HotLine::<([u64; 4], bool)>::new();
        take_newest_leaf();
        front.note_leaf();
        assert_eq!(front.leaf, Line::default(), "there is none");
        let leaf = Box::new([0_u8; LEAF_BYTES]);
        front.note_leaf();
        let last = Line::of(leaf.as_ptr().addr() + LEAF_BYTES - 1);
        assert_eq!(front.leaf, last);
        front.note_leaf();
        assert_eq!(front.leaf, last, "none is newer");
    }
}
