//! The arithmetic of lanes: who gets how much of a batch, and whether a mapping is one of a gateway. No I/O.

use shake_proto::handoff::topology::{Direction, RECORDS_VERSION, Ring, shards_of};
use shm_queue::{Geometry, Side};
use strum::VariantArray as _;

/// How many requests to take of each lane, of which so many wait: at most `max` in all. Every lane gets an equal part
/// first; what some do not need goes to the others, beginning with `first`.
pub(super) fn fair_shares(waiting: &[usize], max: usize, first: usize) -> Vec<usize> {
    let mut shares = vec![0; waiting.len()];
    let mut left = max.min(waiting.iter().sum());
    while left > 0 {
        let hungry: Vec<usize> = (0..waiting.len())
            .map(|at| (first + at) % waiting.len())
            .filter(|&lane| shares[lane] < waiting[lane])
            .collect();
        let part = (left / hungry.len()).max(1);
        for lane in hungry {
            let more = part.min(waiting[lane] - shares[lane]).min(left);
            shares[lane] += more;
            left -= more;
        }
    }
    shares
}

/// The number of shards that this geometry is for, or what is wrong with it.
pub(super) fn check_geometry(geometry: &Geometry) -> Result<u16, String> {
    if geometry.records != RECORDS_VERSION {
        return Err(format!(
            "its records are of version {}, and this agent knows version {RECORDS_VERSION}",
            geometry.records
        ));
    }
    let rings = geometry.rings.len();
    let shards = shards_of(rings).ok_or_else(|| format!("{rings} rings are no whole number of lanes"))?;
    for shard in 0..shards {
        for &ring in Ring::VARIANTS {
            let found = geometry.rings[ring.index(shard)];
            let producer = match ring.direction() {
                Direction::ToAgent => Side::Front,
                Direction::ToShard => Side::Back,
            };
            if (found.slots, found.payload_bytes_max, found.producer)
                != (ring.slots(), ring.record_bytes_max(), producer)
            {
                return Err(format!(
                    "the {ring:?} ring of shard {shard} has {} slots of {} bytes from the {} side, and {} of {} from the {producer} side are expected",
                    found.slots,
                    found.payload_bytes_max,
                    found.producer,
                    ring.slots(),
                    ring.record_bytes_max()
                ));
            }
        }
    }
    if geometry.bells < shards || geometry.sleepers < 1 {
        return Err(format!(
            "{} bells and {} sleepers for {shards} shards",
            geometry.bells, geometry.sleepers
        ));
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_busy_lane_leaves_room_for_the_others() {
        assert_eq!(fair_shares(&[1_000, 3, 1_000], 100, 0), [49, 3, 48]);
        assert_eq!(fair_shares(&[1_000, 3, 1_000], 100, 2), [48, 3, 49]);
        assert_eq!(fair_shares(&[5, 0], 100, 1), [5, 0]);
        assert_eq!(fair_shares(&[9, 9, 9], 1, 1), [0, 1, 0]);
    }

    proptest! {
        #[test]
        fn shares_are_bounded_whole_and_fair(waiting in proptest::collection::vec(0_usize..600, 1..9), max in 0_usize..600, first: usize) {
            let shares = fair_shares(&waiting, max, first % waiting.len());
            prop_assert_eq!(shares.iter().sum::<usize>(), max.min(waiting.iter().sum()));
            let fair = max / waiting.len();
            for (share, waiting) in shares.iter().zip(&waiting) {
                prop_assert!(share <= waiting && *share >= fair.min(*waiting));
            }
        }
    }
}
