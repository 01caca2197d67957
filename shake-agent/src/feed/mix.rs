//! Whose packet is next: sponsors take turns by weight, spread evenly (smooth weighted round robin, as nginx balances
//! servers: each candidate gains its weight, the richest is taken and pays the sum). No I/O, no randomness.

use shake_rules::SponsorId;
use std::collections::BTreeMap;

/// How far each sponsor's packets are released, and who is next.
#[derive(Clone, Debug, Default)]
pub(super) struct Mix {
    released: BTreeMap<SponsorId, u64>,
    credits: BTreeMap<SponsorId, i64>,
    /// Who was taken last.
    last: Option<SponsorId>,
}

impl Mix {
    /// A mix that begins behind what is released.
    pub(super) fn new(released: BTreeMap<SponsorId, u64>) -> Self {
        Self {
            released,
            credits: BTreeMap::new(),
            last: None,
        }
    }

    /// Takes the next record by these weights: its index in the seed. A sponsor whose packets are used up leaves its turns
    /// to the others; `None` when all are.
    pub(super) fn next(
        &mut self,
        weights: &BTreeMap<SponsorId, u32>,
        index: &BTreeMap<SponsorId, Vec<u32>>,
    ) -> Option<u64> {
        let mut sum = 0;
        let mut best: Option<(i64, SponsorId, u64)> = None;
        for (&sponsor, &weight) in weights.iter().filter(|(_, weight)| **weight > 0) {
            let released = self.released.get(&sponsor).copied().unwrap_or(0);
            let Some(&record) = index.get(&sponsor).and_then(|records| records.get(released as usize)) else {
                continue;
            };
            sum += i64::from(weight);
            let credit = self.credits.entry(sponsor).or_default();
            *credit += i64::from(weight);
            if best.is_none_or(|(most, ..)| *credit > most) {
                best = Some((*credit, sponsor, record.into()));
            }
        }
        let (_, sponsor, record) = best?;
        *self.credits.entry(sponsor).or_default() -= sum;
        *self.released.entry(sponsor).or_default() += 1;
        self.last = Some(sponsor);
        Some(record)
    }

    /// Gives back the record that was taken last.
    pub(super) fn undo(&mut self) {
        if let Some(sponsor) = self.last.take()
            && let Some(released) = self.released.get_mut(&sponsor)
        {
            *released -= 1;
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
        let weights = BTreeMap::from([(a, 2), (b, 1)]);
        let mut mix = Mix::new(BTreeMap::from([(a, 1)]));
        let taken: Vec<_> = (0..6).filter_map(|_| mix.next(&weights, &index)).collect();
        assert_eq!(taken, [1, 10, 2, 3, 11, 4]);
        mix.undo();
        let taken: Vec<_> = std::iter::from_fn(|| mix.next(&weights, &index)).collect();
        assert_eq!((taken.len(), taken.iter().max()), (4, Some(&13)));
        assert_eq!(mix.next(&BTreeMap::from([(c, 0)]), &index), None);
        assert_eq!(mix.next(&BTreeMap::from([(c, 7), (SponsorId(9), 1)]), &index), Some(20));
    }
}
