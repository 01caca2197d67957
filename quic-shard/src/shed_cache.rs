//! Whose packets were shed lately, by connection ID: what they send next is judged before quinn-proto looks at it, for a
//! packet that is shed anyway need not be copied, nor be found in the tables of an endpoint.
//!
//! A cache, in which a newer entry takes the place of an older one; whoever is not in it goes the usual way. An entry may
//! outlive its connection, and its index then name another session: a packet with that old ID is judged by the limits of
//! the new session's user, and if these shed it, it is not answered by a stateless reset this time.

use crate::cid::short_header_cid;
use crate::memory::paged_slab::prefetch_lines;

/// Entries, a power of two: 1 MiB of them. In a crowd in which a third obeys nothing, those of 200,000 phones.
const ENTRIES: usize = 1 << 16;
/// So long after the last packet that was shed nobody is looked for, in nanoseconds.
const AWAKE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy)]
struct Entry {
    cid: u64,
    index: u32,
}

/// No session's index.
const NOBODY: u32 = u32::MAX;

pub struct ShedCache {
    entries: Box<[Entry]>,
    awake_until_ns: u64,
}

impl ShedCache {
    pub fn new() -> Self {
        Self {
            entries: vec![Entry { cid: 0, index: NOBODY }; ENTRIES].into(),
            awake_until_ns: 0,
        }
    }

    /// A packet was shed.
    pub fn wake(&mut self, now_ns: u64) {
        self.awake_until_ns = now_ns + AWAKE_NS;
    }

    /// It was this session's.
    pub fn note(&mut self, cid: u64, index: usize) {
        let index = index as u32;
        self.entries[place(cid)] = Entry { cid, index };
    }

    /// Whether anybody was shed lately.
    pub fn is_awake(&self, now_ns: u64) -> bool {
        now_ns < self.awake_until_ns
    }

    /// Asks the processor for what [`Self::find`] looks at.
    pub fn prefetch(&self, packet: &[u8]) {
        if let Some(cid) = short_header_cid(packet) {
            prefetch_lines(std::ptr::from_ref(&self.entries[place(cid)]).cast(), 1);
        }
    }

    /// The session that a packet is for, when one of its packets was shed lately.
    pub fn find(&self, packet: &[u8]) -> Option<usize> {
        let cid = short_header_cid(packet)?;
        let entry = self.entries[place(cid)];
        (entry.cid == cid && entry.index != NOBODY).then_some(entry.index as usize)
    }
}

/// By the last bytes, which are random.
fn place(cid: u64) -> usize {
    cid as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_whose_packets_were_shed_and_nobody_else() {
        let packet = |cid: u64| [&[0x40][..], &cid.to_be_bytes(), &[7; 20]].concat();
        let mut cache = ShedCache::new();
        assert!(!cache.is_awake(0));
        cache.wake(1);
        cache.note(0x0102_0304_0506_0708, 5);
        cache.note(0x0102_0304_0506_0709, 6);
        assert!(cache.is_awake(AWAKE_NS) && !cache.is_awake(AWAKE_NS + 1));
        assert_eq!(cache.find(&packet(0x0102_0304_0506_0708)), Some(5));
        assert_eq!(cache.find(&packet(0x0102_0304_0506_0709)), Some(6));
        // The same place, another ID.
        assert_eq!(cache.find(&packet(0x0103_0304_0506_0708)), None);
        cache.note(0x0103_0304_0506_0708, 7);
        assert_eq!(cache.find(&packet(0x0103_0304_0506_0708)), Some(7));
        assert_eq!(cache.find(&packet(0x0102_0304_0506_0708)), None);
        let mut long = packet(0x0102_0304_0506_0709);
        long[0] = 0xc0;
        assert_eq!(cache.find(&long), None);
        assert_eq!(cache.find(&packet(0x0102_0304_0506_0709)[..8]), None);
        assert_eq!(cache.find(&packet(0)), None);
    }
}
