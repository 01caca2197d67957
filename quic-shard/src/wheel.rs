//! Timers of a shard's sessions: one deadline per session index, in a hierarchical timing wheel of two levels
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987).
//!
//! ```text
//! fine    1,024 buckets of one tick        deadlines less than 1,024 ticks away
//! coarse    256 buckets of 1,024 ticks     all later ones; moved down when their bucket's time comes
//! ```
//! A deadline past the coarse horizon waits in its bucket and is placed again each time round. Ticks are the
//! caller's unit. Arming, disarming and firing are constant time, and nothing allocates but growth by index, which moves
//! nothing.

use crate::memory::paged_slab::prefetch_lines;
use std::ops::{Index, IndexMut};

const FINE: u64 = 1_024;
const COARSE: u64 = 256;
const NONE: u32 = u32::MAX;

/// Of which none lies in two lines of the caches.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Node {
    next: u32,
    prev: u32,
    /// Which list the node is in; `NONE` when it is in none. Fine buckets first, then coarse ones.
    bucket: u32,
    deadline: u64,
}

const IDLE: Node = Node {
    next: NONE,
    prev: NONE,
    bucket: NONE,
    deadline: 0,
};

/// By index, in pages that stay where they are: a vector that grows moves all it has, and a shard with half a million
/// sessions must not stand still for it.
#[derive(Default)]
struct Nodes {
    pages: Vec<Box<[Node]>>,
}

impl Nodes {
    /// Nodes of a page; a few where tests are to see several.
    const PAGE: usize = if cfg!(test) { 16 } else { 4_096 };

    fn get(&self, index: usize) -> Option<&Node> {
        self.pages.get(index / Self::PAGE)?.get(index % Self::PAGE)
    }

    fn grow_to(&mut self, index: usize) {
        while self.pages.len() <= index / Self::PAGE {
            self.pages.push(vec![IDLE; Self::PAGE].into());
        }
    }
}

impl Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, index: usize) -> &Node {
        &self.pages[index / Self::PAGE][index % Self::PAGE]
    }
}

impl IndexMut<usize> for Nodes {
    fn index_mut(&mut self, index: usize) -> &mut Node {
        &mut self.pages[index / Self::PAGE][index % Self::PAGE]
    }
}

pub struct Wheel {
    now: u64,
    heads: Vec<u32>,
    /// One bit for each fine bucket that is not empty.
    occupied: [u64; FINE as usize / 64],
    nodes: Nodes,
}

impl Wheel {
    pub fn new() -> Self {
        Self {
            now: 0,
            heads: vec![NONE; (FINE + COARSE) as usize],
            occupied: [0; FINE as usize / 64],
            nodes: Nodes::default(),
        }
    }

    /// The deadline that `index` is armed for.
    #[inline]
    pub fn armed(&self, index: usize) -> Option<u64> {
        let node = self.nodes.get(index)?;
        (node.bucket != NONE).then_some(node.deadline)
    }

    /// Asks the processor for what [`Self::armed`] looks at.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        if let Some(node) = self.nodes.get(index) {
            prefetch_lines(std::ptr::from_ref(node).cast(), size_of::<Node>());
        }
    }

    /// Asks the processor for what [`Self::arm`] changes beside that.
    #[inline]
    pub fn prefetch_neighbours(&self, index: usize) {
        if let Some(&Node { next, prev, .. }) = self.nodes.get(index) {
            self.prefetch(next as usize);
            self.prefetch(prev as usize);
        }
    }

    /// Arms `index` for `deadline` (in ticks), in place of an earlier arming. A deadline that is not after the
    /// present fires at the next tick.
    pub fn arm(&mut self, index: usize, deadline: u64) {
        self.nodes.grow_to(index);
        self.disarm(index);
        self.nodes[index].deadline = deadline.max(self.now + 1);
        self.place(index);
    }

    pub fn disarm(&mut self, index: usize) {
        let Some(&Node { next, prev, bucket, .. }) = self.nodes.get(index) else {
            return;
        };
        if bucket == NONE {
            return;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev == NONE {
            self.heads[bucket as usize] = next;
            if next == NONE {
                self.mark_empty(bucket);
            }
        } else {
            self.nodes[prev as usize].next = next;
        }
        self.nodes[index].bucket = NONE;
    }

    /// Moves on to tick `to`, and appends every index whose deadline is reached to `fired`.
    pub fn advance(&mut self, to: u64, fired: &mut Vec<usize>) {
        while self.now < to {
            self.now += 1;
            if self.now.is_multiple_of(FINE) {
                self.cascade();
            }
            let bucket = (self.now % FINE) as u32;
            let mut at = self.take(bucket);
            while at != NONE {
                let node = &mut self.nodes[at as usize];
                node.bucket = NONE;
                fired.push(at as usize);
                at = node.next;
            }
        }
    }

    /// Ticks until something may be due, or until coarse timers move down; at most 1,024.
    pub fn ticks_to_next(&self) -> u64 {
        let to_cascade = FINE - self.now % FINE;
        (1..=to_cascade)
            .find(|ahead| self.is_occupied((self.now + ahead) % FINE))
            .unwrap_or(to_cascade)
    }

    fn is_occupied(&self, bucket: u64) -> bool {
        self.occupied[bucket as usize / 64] & (1 << (bucket % 64)) != 0
    }

    fn mark_empty(&mut self, bucket: u32) {
        if let Some(word) = self.occupied.get_mut(bucket as usize / 64) {
            *word &= !(1 << (bucket % 64));
        }
    }

    fn take(&mut self, bucket: u32) -> u32 {
        self.mark_empty(bucket);
        std::mem::replace(&mut self.heads[bucket as usize], NONE)
    }

    fn cascade(&mut self) {
        let mut at = self.take((FINE + self.now / FINE % COARSE) as u32);
        while at != NONE {
            let next = self.nodes[at as usize].next;
            self.place(at as usize);
            at = next;
        }
    }

    fn place(&mut self, index: usize) {
        let deadline = self.nodes[index].deadline;
        let bucket = if deadline - self.now < FINE {
            (deadline % FINE) as u32
        } else {
            // A deadline past the horizon waits in the last bucket that comes round.
            let coarse = (deadline / FINE).min(self.now / FINE + COARSE - 1);
            (FINE + coarse % COARSE) as u32
        };
        let head = std::mem::replace(&mut self.heads[bucket as usize], index as u32);
        if head != NONE {
            self.nodes[head as usize].prev = index as u32;
        }
        if let Some(word) = self.occupied.get_mut(bucket as usize / 64) {
            *word |= 1 << (bucket % 64);
        }
        let node = &mut self.nodes[index];
        (node.next, node.prev, node.bucket) = (head, NONE, bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Arm(usize, u64),
        Disarm(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..40, prop_oneof![0_u64..3_000, 0_u64..900_000]).prop_map(|(i, t)| Step::Arm(i, t)),
            1 => (0_usize..40).prop_map(Step::Disarm),
            3 => prop_oneof![0_u64..5, 0_u64..2_000, 0_u64..300_000].prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a map of deadlines: all fire at their tick, none early, none twice, none forgotten.
        #[test]
        fn fires_what_a_map_would(steps in proptest::collection::vec(step(), 0..80)) {
            let (mut wheel, mut map, mut now) = (Wheel::new(), BTreeMap::new(), 0_u64);
            for step in steps {
                match step {
                    Step::Arm(index, ahead) => {
                        wheel.arm(index, now + ahead);
                        map.insert(index, (now + ahead).max(now + 1));
                    }
                    Step::Disarm(index) => {
                        wheel.disarm(index);
                        map.remove(&index);
                    }
                    Step::Advance(ticks) => {
                        let earliest = map.values().min().copied();
                        if let Some(earliest) = earliest {
                            prop_assert!(now + wheel.ticks_to_next() <= earliest.max(now + 1));
                        }
                        now += ticks;
                        let mut fired = Vec::new();
                        wheel.advance(now, &mut fired);
                        fired.sort_unstable();
                        let due: Vec<_> = map.iter().filter(|(_, at)| **at <= now).map(|(i, _)| *i).collect();
                        prop_assert_eq!(fired, due);
                        map.retain(|_, at| *at > now);
                    }
                }
                for index in 0..40 {
                    prop_assert_eq!(wheel.armed(index), map.get(&index).copied());
                }
            }
        }
    }
}
