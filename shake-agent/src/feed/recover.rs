//! Where grants stand after a restart, with another mapping, or after a commit of which nobody heard.

use super::Feed;
use crate::counters::Counters;
use crate::lanes::{Lanes, LanesError};
use crate::ledger::{Held, Ledger, NO_LANE, Store};
use shake_proto::handoff::record::Grant;
use shake_rules::UnixMillis;
use tracing::{info, warn};

/// Mends what the last run or an earlier mapping left: what was released to shards of another mapping is lost, and grants
/// that were released to this one but not pushed are pushed. What shards gave back is released
/// again.
///
/// # Errors
/// When the ledger cannot be read or written.
pub fn recover<S: Store>(
    ledger: &mut Ledger<S>,
    lanes: &mut Lanes,
    feed: &mut Feed,
    counters: &Counters,
    now: UnixMillis,
) -> Result<(), LanesError> {
    let (instance, event) = (lanes.instance(), feed.event());
    let (returned, old, missing) = ledger.transaction(now, |batch| {
        // In the order of the seed.
        let returned = batch.held_of_lane(NO_LANE, 0..i64::MAX as u64)?;
        let old = batch.held_of_other_mappings(instance)?;
        batch.lose_packets(&old);
        let mut missing = Vec::new();
        for index in 0..lanes.shards() {
            let mut record = lanes.record(index);
            let pushed = lanes.grants_pushed(index);
            let held = batch.held_of_lane(record.lane, pushed..record.grants_released)?;
            if is_gapless(&held, pushed, record.grants_released) {
                missing.push((index, held, record));
            } else {
                // A ticket for a grant that was never pushed. What else was, nobody can say.
                warn!(
                    shard = index,
                    "released packets are not in a row; those not in the ring are lost until a ticket is shown"
                );
                batch.lose_packets(&held);
                record.grants_released = pushed;
                batch.store_lane(&record);
                counters.packets_lost.add(held.len() as u64);
                missing.push((index, Vec::new(), record));
            }
        }
        Ok((returned, old, missing))
    })?;
    feed.returned.clear();
    for held in returned {
        feed.take_back(held.sponsor, held.grant_position);
    }
    counters.packets_lost.add(old.len() as u64);
    if !old.is_empty() {
        let packets: Vec<u64> = old.iter().map(|held| held.packet.0).collect();
        warn!(
            count = old.len(),
            ?packets,
            "the mapping is new; what was released into an older one is lost until a ticket is shown"
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
