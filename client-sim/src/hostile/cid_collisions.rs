//! First packets whose connection IDs look alike: one first byte, so that all fall on one shard, and the rest counted up,
//! so that a weak hash puts them into few buckets. The others' shards must not notice, and no table may degenerate.

use super::Findings;
use super::initial_flood::flood;
use super::stage::{HostileError, Stage};

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    flood(stage, findings, |number| {
        // High bits alone differ: what a multiplicative hash that keeps the low bits does not see.
        let mut id = [0; 8];
        id[1..5].copy_from_slice(&(number as u32).to_le_bytes());
        id
    })
}
