//! Whose packet is next: sponsors take turns by weight, spread evenly (smooth weighted round robin, as nginx balances
//! servers: each candidate gains its weight, the richest is taken and pays the sum). No I/O, no randomness.

use shake_rules::SponsorId;
use std::collections::BTreeMap;

/// How far each sponsor's packets are released, and who is next.
#[derive(Clone, Debug, Default)]
pub(super) struct Mix {
    released: BTreeMap<SponsorId, u64>,
    /// How many are taken of those that came back.
    again: BTreeMap<SponsorId, usize>,
    credits: BTreeMap<SponsorId, i64>,
    /// Who was taken last, and whether it was one that came back.
    last: Option<(SponsorId, bool)>,
}

/// Records of each sponsor: their indexes in the seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stock<'a> {
    /// All of the seed, in its order.
    pub(super) index: &'a BTreeMap<SponsorId, Vec<u32>>,
    /// Released before, and given back. They go first.
    pub(super) returned: &'a BTreeMap<SponsorId, Vec<u64>>,
}

/// A record that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// Its index in the seed.
    pub(super) record: u64,
    /// It was released before.
    pub(super) is_again: bool,
}

impl Mix {
    /// A mix that begins behind what is released.
    pub(super) fn new(released: BTreeMap<SponsorId, u64>) -> Self {
        Self {
            released,
            ..Self::default()
        }
    }

    /// The next of a sponsor; `None` when its packets are used up.
    fn next_of(&self, sponsor: SponsorId, stock: Stock<'_>) -> Option<Next> {
        let again = self.again.get(&sponsor).copied().unwrap_or(0);
        if let Some(&record) = stock.returned.get(&sponsor).and_then(|records| records.get(again)) {
            return Some(Next { record, is_again: true });
        }
        let released = self.released.get(&sponsor).copied().unwrap_or(0);
        let record = *stock.index.get(&sponsor)?.get(released as usize)?;
        Some(Next {
            record: record.into(),
            is_again: false,
        })
    }

    /// Takes the next record by these weights. A sponsor whose packets are used up leaves its turns to the others; `None` when
    /// all are.
    pub(super) fn next(&mut self, weights: &BTreeMap<SponsorId, u32>, stock: Stock<'_>) -> Option<Next> {
        let mut sum = 0;
        let mut best: Option<(i64, SponsorId, Next)> = None;
        for (&sponsor, &weight) in weights.iter().filter(|(_, weight)| **weight > 0) {
            let Some(next) = self.next_of(sponsor, stock) else {
                continue;
            };
            sum += i64::from(weight);
            let credit = self.credits.entry(sponsor).or_default();
            *credit += i64::from(weight);
            if best.is_none_or(|(most, ..)| *credit > most) {
                best = Some((*credit, sponsor, next));
            }
        }
        let (_, sponsor, next) = best?;
        *self.credits.entry(sponsor).or_default() -= sum;
        if next.is_again {
            *self.again.entry(sponsor).or_default() += 1;
        } else {
            *self.released.entry(sponsor).or_default() += 1;
        }
        self.last = Some((sponsor, next.is_again));
        Some(next)
    }

    /// How many of those that came back are taken since the last call, of each sponsor.
    pub(super) fn take_again(&mut self) -> BTreeMap<SponsorId, usize> {
        std::mem::take(&mut self.again)
    }

    /// Gives back the record that was taken last.
    pub(super) fn undo(&mut self) {
        match self.last.take() {
            Some((sponsor, true)) => *self.again.entry(sponsor).or_insert(1) -= 1,
            Some((sponsor, false)) => *self.released.entry(sponsor).or_insert(1) -= 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_the_weights_and_what_is_used_up_leaves_its_turns() {
        let (a, b, c) = (SponsorId(1), SponsorId(2), SponsorId(3));
        let index = BTreeMap::from([(a, (0..6).collect()), (b, vec![10, 11, 12, 13]), (c, vec![20])]);
        let returned = BTreeMap::new();
        let stock = Stock {
            index: &index,
            returned: &returned,
        };
        let weights = BTreeMap::from([(a, 2), (b, 1)]);
        let mut mix = Mix::new(BTreeMap::from([(a, 1)]));
        let next = |mix: &mut Mix, weights: &BTreeMap<SponsorId, u32>| Some(mix.next(weights, stock)?.record);
        let taken: Vec<_> = (0..6).filter_map(|_| next(&mut mix, &weights)).collect();
        assert_eq!(taken, [1, 10, 2, 3, 11, 4]);
        mix.undo();
        let taken: Vec<_> = std::iter::from_fn(|| next(&mut mix, &weights)).collect();
        assert_eq!((taken.len(), taken.iter().max()), (4, Some(&13)));
        assert_eq!(next(&mut mix, &BTreeMap::from([(c, 0)])), None);
        assert_eq!(next(&mut mix, &BTreeMap::from([(c, 7), (SponsorId(9), 1)])), Some(20));
    }

    #[test]
    fn what_came_back_goes_first_and_counts_as_released_once() {
        let a = SponsorId(1);
        let (index, returned) = (
            BTreeMap::from([(a, vec![0, 1, 2, 3])]),
            BTreeMap::from([(a, vec![1, 0])]),
        );
        let stock = Stock {
            index: &index,
            returned: &returned,
        };
        let weights = BTreeMap::from([(a, 1)]);
        let mut mix = Mix::new(BTreeMap::from([(a, 2)]));
        assert_eq!(mix.next(&weights, stock).map(|next| next.record), Some(1));
        mix.undo();
        let taken: Vec<_> = std::iter::from_fn(|| mix.next(&weights, stock)).collect();
        let taken: Vec<_> = taken.iter().map(|next| (next.record, next.is_again)).collect();
        assert_eq!(taken, [(1, true), (0, true), (2, false), (3, false)]);
        assert_eq!(mix.take_again(), BTreeMap::from([(a, 2)]));
        assert_eq!(mix.released, BTreeMap::from([(a, 4)]));
    }
}
