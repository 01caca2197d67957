//! What is under way, by the time at which it arrives: bounded, and in order of entry for the same time.

use crate::schedule::Micros;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    entered: u64,
    length_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    at: Micros,
    /// Which one it is of all that ever entered.
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Queue<T> {
    pub(super) fn new(length_max: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            entered: 0,
            length_max,
        }
    }

    /// Says whether there was room.
    pub(super) fn push(&mut self, at: Micros, what: T) -> bool {
        let has_room = self.heap.len() < self.length_max;
        if has_room {
            let number = self.entered;
            self.entered += 1;
            self.heap.push(Reverse(Entry { at, number, what }));
        }
        has_room
    }

    pub(super) fn pop(&mut self, now: Micros) -> Option<T> {
        self.next_at().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    pub(super) fn next_at(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }
}
