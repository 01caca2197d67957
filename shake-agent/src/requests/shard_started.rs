//! `ShardStarted`: a shard began a new life. Whatever its earlier lives took and did not issue is lost.

use super::{Judge, Origin};
use crate::ledger::{Batch, LedgerError};
use shake_rules::UnixMillis;
use tracing::{info, warn};

impl Judge {
    pub(super) fn shard_started(
        &mut self,
        batch: &mut Batch<'_>,
        origin: Origin,
        epoch: u32,
        grants_taken: u64,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        if grants_taken > origin.grants_pushed {
            self.counters.shards_started_inconsistent.add(1);
            if self.inconsistent.begins(now.0) {
                let pushed = origin.grants_pushed;
                warn!(
                    grants_taken,
                    pushed, "a shard says that it took more grants than there were; nothing is voided"
                );
            }
            return Ok(());
        }
        let lost = batch.held_of_lane(origin.lane, 0..grants_taken)?;
        batch.void_packets(&lost)?;
        self.counters.shards_started.add(1);
        self.counters.packets_voided.add(lost.len() as u64);
        if lost.is_empty() {
            info!(epoch, "a shard started");
        } else {
            let packets: Vec<u64> = lost.iter().map(|held| held.packet.0).collect();
            warn!(
                epoch,
                count = lost.len(),
                ?packets,
                "a shard started anew; what it had taken and not issued is void"
            );
        }
        Ok(())
    }
}
