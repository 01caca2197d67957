//! A small set of byte positions, kept as disjoint ranges in order: what of a stream is still to be sent, has been
//! acknowledged, or has come.

use std::ops::Range;

/// Ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u32>>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first(&self) -> Option<Range<u32>> {
        self.0.first().cloned()
    }

    pub(super) fn covers(&self, range: &Range<u32>) -> bool {
        range.is_empty()
            || self
                .0
                .iter()
                .any(|own| own.start <= range.start && range.end <= own.end)
    }

    pub(super) fn insert(&mut self, mut range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|own| own.end < range.start);
        let to = self.0.partition_point(|own| own.start <= range.end);
        if from < to {
            range.start = range.start.min(self.0[from].start);
            range.end = range.end.max(self.0[to - 1].end);
        }
        self.0.splice(from..to, [range]);
    }

    pub(super) fn remove(&mut self, range: Range<u32>) {
        let from = self.0.partition_point(|own| own.end <= range.start);
        let to = self.0.partition_point(|own| own.start < range.end);
        if from >= to || range.is_empty() {
            return;
        }
        let rest = [self.0[from].start..range.start, range.end..self.0[to - 1].end];
        self.0
            .splice(from..to, rest.into_iter().filter(|rest| !rest.is_empty()));
    }

    /// Inserts what `without` does not have.
    pub(super) fn insert_except(&mut self, range: Range<u32>, without: &Self) {
        let mut start = range.start;
        for skip in &without.0 {
            if start < skip.start.min(range.end) {
                self.insert(start..skip.start.min(range.end));
            }
            start = start.max(skip.end);
        }
        if start < range.end {
            self.insert(start..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(ranges: &Ranges) -> BTreeSet<u32> {
        ranges.0.iter().flat_map(Clone::clone).collect()
    }

    proptest! {
        /// Against a plain set as the oracle.
        #[test]
        fn they_are_a_set(steps in prop::collection::vec((0_u8..3, 0_u32..40, 0_u32..12), 0..40)) {
            let (mut ranges, mut oracle) = (Ranges::default(), BTreeSet::new());
            let mut without = Ranges::default();
            without.insert(5..9);
            without.insert(20..21);
            for (what, start, length) in steps {
                let range = start..start + length;
                match what {
                    0 => { ranges.insert(range.clone()); oracle.extend(range.clone()); }
                    1 => { ranges.remove(range.clone()); oracle.retain(|at| !range.contains(at)); }
                    _ => {
                        ranges.insert_except(range.clone(), &without);
                        oracle.extend(range.clone().filter(|at| !(5..9).contains(at) && *at != 20));
                    }
                }
                prop_assert_eq!(&set(&ranges), &oracle);
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert_eq!(ranges.covers(&range), range.clone().all(|at| oracle.contains(&at)));
            }
        }
    }
}
