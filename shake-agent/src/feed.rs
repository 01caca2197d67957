//! The feed: packets leave the seed file in order and go to the shards' grant rings.
//!
//! A release is durable in the ledger, with the position that the grant will have in its ring, before the grant is pushed.
//! So after a crash in between, the positions tell which grants are missing from the rings, and they are pushed again at
//! the same positions: [`recover`].

use crate::counters::Counters;
use crate::lanes::{Lanes, LanesError};
use crate::ledger::{Held, Ledger, Release};
use crate::seed_file::{SeedFile, SeedFileError};
use shake_proto::handoff::record::Grant;
use shake_rules::seed::SeedRecord;
use shake_rules::{EventId, UnixMillis};
use std::collections::VecDeque;
use tracing::{error, info, warn};

/// Records read from the seed file at once.
const READ_AHEAD: u64 = 1_024;

/// The seed file, and how far it is released.
#[derive(Debug)]
pub struct Feed {
    seed: SeedFile,
    next_index: u64,
    ahead: VecDeque<SeedRecord>,
    in_hand: u32,
    paused: bool,
    /// At a damaged record, for good.
    stopped: bool,
}

/// What one transaction releases.
#[derive(Debug, Default)]
pub struct Plan {
    /// Each release with the index of its lane, in the order of the seed.
    pub releases: Vec<(usize, Release)>,
    /// The first record that is still unreleased after it.
    pub next_index: u64,
}

impl Feed {
    /// A feed that goes on at `next_index` of the seed and keeps `in_hand` grants in the hands of each shard.
    #[must_use]
    pub fn new(seed: SeedFile, next_index: u64, in_hand: u32) -> Self {
        Self {
            seed,
            next_index,
            ahead: VecDeque::new(),
            in_hand,
            paused: false,
            stopped: false,
        }
    }

    /// The event of the seed.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.seed.header().event
    }

    /// Packets that are not released yet.
    #[must_use]
    pub fn unreleased(&self) -> u64 {
        self.seed.header().count - self.next_index
    }

    /// Releases nothing until it is told to go on: while the agent ends, or its mapping is being replaced.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What to release now, at most `max` packets. Changes nothing but the read-ahead: see [`Feed::released`].
    pub fn plan(&mut self, lanes: &mut Lanes, max: usize, counters: &Counters) -> Plan {
        let mut plan = Plan {
            releases: Vec::new(),
            next_index: self.next_index,
        };
        if self.paused || self.stopped || self.unreleased() == 0 {
            return plan;
        }
        let turns = deal(&lanes.grants_wanted(self.in_hand), max, lanes.first());
        self.read_ahead(turns.len(), counters);
        let mut positions: Vec<u64> = (0..lanes.shards())
            .map(|lane| lanes.record(lane).grants_released)
            .collect();
        for (lane, &record) in turns.into_iter().zip(&self.ahead) {
            let release = Release {
                seed_index: plan.next_index,
                record,
                lane: lanes.record(lane).lane,
                grant_position: positions[lane],
            };
            positions[lane] += 1;
            plan.next_index += 1;
            plan.releases.push((lane, release));
        }
        plan
    }

    /// Takes over a plan that was committed, and pushes its grants.
    pub fn released(&mut self, plan: &Plan, lanes: &mut Lanes, counters: &Counters) {
        self.ahead.drain(..plan.releases.len());
        self.next_index = plan.next_index;
        counters.packets_released.add(plan.releases.len() as u64);
        let event = self.event();
        for (lane, release) in &plan.releases {
            lanes.set_grants_released(*lane, release.grant_position + 1);
            let grant = Grant {
                packet: release.record.packet,
                sponsor: release.record.sponsor,
                event,
            };
            lanes.push_grant(*lane, release.grant_position, &grant);
        }
        if !plan.releases.is_empty() && self.unreleased() == 0 {
            info!("the last packet of the seed is released");
        }
    }

    /// Fills the read-ahead with at least `wanted` records, or as many as can be read.
    fn read_ahead(&mut self, wanted: usize, counters: &Counters) {
        while self.ahead.len() < wanted {
            let at = self.next_index + self.ahead.len() as u64;
            // A block with a damaged record still gives those before it, one by one.
            let read = self.seed.read(at, READ_AHEAD).or_else(|_| self.seed.read(at, 1));
            match read {
                Ok(records) if records.is_empty() => return,
                Ok(records) => self.ahead.extend(records),
                Err(fault) => {
                    // What was read before it still goes out.
                    if self.ahead.is_empty() {
                        self.stop_at(&fault, counters);
                    }
                    return;
                }
            }
        }
    }

    fn stop_at(&mut self, fault: &SeedFileError, counters: &Counters) {
        self.stopped = true;
        counters.feed_stopped.raise(1);
        error!(%fault, index = self.next_index, "the feed stops here; claims go on. Restore the file and restart the agent");
    }
}

/// Whose turn it is, for each packet: the lanes take turns, beginning with `first`, until none wants more or there are
/// `max`.
fn deal(wanted: &[u64], max: usize, first: usize) -> Vec<usize> {
    let mut left = wanted.to_vec();
    let mut turns = Vec::new();
    while turns.len() < max && left.iter().any(|&n| n > 0) {
        for at in 0..left.len() {
            let lane = (first + at) % left.len();
            if left[lane] > 0 && turns.len() < max {
                left[lane] -= 1;
                turns.push(lane);
            }
        }
    }
    turns
}

/// Mends what the last run or an earlier mapping left: what was released to shards of another mapping is void, and grants
/// that were released to this one but not pushed are pushed.
///
/// # Errors
/// When the ledger cannot be read or written.
pub fn recover(
    ledger: &mut Ledger,
    lanes: &mut Lanes,
    event: EventId,
    counters: &Counters,
    now: UnixMillis,
) -> Result<(), LanesError> {
    let instance = lanes.instance();
    let (old, missing) = ledger.transaction(now, |batch| {
        let old = batch.held_of_other_mappings(instance)?;
        batch.void_packets(&old)?;
        let mut missing = Vec::new();
        for index in 0..lanes.shards() {
            let mut record = lanes.record(index);
            let pushed = lanes.grants_pushed(index);
            let held = batch.held_of_lane(record.lane, pushed..record.grants_released)?;
            if is_gapless(&held, pushed, record.grants_released) {
                missing.push((index, held, record));
            } else {
                // A ticket for a grant that was never pushed. The others of the row are void, which is always safe.
                warn!(
                    shard = index,
                    "released packets are not in a row; those not in the ring are void"
                );
                batch.void_packets(&held)?;
                record.grants_released = pushed;
                batch.store_lane(&record)?;
                counters.packets_voided.add(held.len() as u64);
                missing.push((index, Vec::new(), record));
            }
        }
        Ok((old, missing))
    })?;
    counters.packets_voided.add(old.len() as u64);
    if !old.is_empty() {
        let packets: Vec<u64> = old.iter().map(|held| held.packet.0).collect();
        warn!(
            count = old.len(),
            ?packets,
            "the mapping is new; what was released into an older one is void"
        );
    }
    for (index, held, record) in missing {
        lanes.set_grants_released(index, record.grants_released);
        if !held.is_empty() {
            info!(
                shard = index,
                count = held.len(),
                "grants released before the restart are pushed now"
            );
        }
        for held in held {
            let grant = Grant {
                packet: held.packet,
                sponsor: held.sponsor,
                event,
            };
            lanes.push_grant(index, held.grant_position, &grant);
        }
    }
    lanes.ring();
    Ok(())
}

fn is_gapless(held: &[Held], from: u64, to: u64) -> bool {
    (from..to).eq(held.iter().map(|held| held.grant_position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_turns() {
        assert_eq!(deal(&[2, 0, 3], 10, 1), [2, 0, 2, 0, 2]);
        assert_eq!(deal(&[2, 2], 3, 0), [0, 1, 0]);
        assert_eq!(deal(&[0, 0], 3, 0), [] as [usize; 0]);
    }
}
