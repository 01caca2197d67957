//! Finds packet ids that occur twice over all files, in little memory: one bit for each id that this program makes, and a
//! few bytes for any other.

use crate::seed_generate;
use shake_rules::{EventId, PacketId};

/// Where a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: u16,
    pub(super) index: u64,
}

/// The ids seen so far.
#[derive(Debug)]
pub(super) struct Ids {
    event: EventId,
    /// Per part, a bit for each index of its file.
    seen: Vec<Vec<u64>>,
    /// Ids that name no record of these files.
    others: Vec<(u64, Place)>,
}

impl Ids {
    /// For an event whose files have at most so many records each.
    pub(super) fn new(event: EventId, records_max: impl Iterator<Item = u64>) -> Self {
        Self {
            event,
            seen: records_max
                .map(|records| vec![0; records.div_ceil(64) as usize])
                .collect(),
            others: Vec::new(),
        }
    }

    /// Notes a packet; true when it was there before. For ids that are not made by this program, [`Ids::finish`] tells.
    pub(super) fn note(&mut self, packet: PacketId, place: Place) -> bool {
        let (part, index) = ((packet.0 >> 32) as u16, packet.0 & 0xffff_ffff);
        let is_ours = packet == seed_generate::packet_id(self.event, part, index);
        let word = self
            .seen
            .get_mut(usize::from(part))
            .and_then(|words| words.get_mut(index as usize / 64));
        match word {
            Some(word) if is_ours => {
                let bit = 1 << (index % 64);
                let was_there = *word & bit != 0;
                *word |= bit;
                was_there
            }
            _ => {
                self.others.push((packet.0, place));
                false
            }
        }
    }

    /// What else occurs twice: the packet, and the place of its repetition.
    pub(super) fn finish(mut self) -> Vec<(PacketId, Place)> {
        self.others.sort_unstable();
        self.others
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0)
            .map(|pair| (PacketId(pair[1].0), pair[1].1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn finds_what_a_map_finds(picks in proptest::collection::vec((0_u64..3, 0_u64..5, 0_u64..70), 0..120)) {
            let event = EventId(1);
            let mut ids = Ids::new(event, [65, 0, 3].into_iter());
            let mut oracle: BTreeMap<u64, u64> = BTreeMap::new();
            let mut twice = 0;
            for (at, (event_id, part, index)) in (0..).zip(picks) {
                let packet = PacketId(event_id << 48 | part << 32 | index);
                *oracle.entry(packet.0).or_default() += 1;
                twice += u64::from(ids.note(packet, Place { part: 0, index: at }));
            }
            twice += ids.finish().len() as u64;
            prop_assert_eq!(twice, oracle.values().map(|times| times - 1).sum::<u64>());
        }
    }
}
