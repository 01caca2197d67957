//! `ShardStarted`: a shard began a new life. Whatever its earlier lives took and did not issue has no ticket.

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
        let taken = batch.held_of_lane(origin.lane, 0..grants_taken)?;
        self.counters.shards_started.add(1);
        if taken.is_empty() {
            info!(epoch, "a shard started");
            return Ok(());
        }
        let packets: Vec<u64> = taken.iter().map(|held| held.packet.0).collect();
        let count = taken.len();
        if origin.is_whole {
            batch.void_packets(&taken)?;
            self.counters.packets_voided.add(count as u64);
            warn!(
                epoch,
                count,
                ?packets,
                "a shard started anew; what it had taken and not issued is void"
            );
        } else {
            batch.lose_packets(&taken)?;
            self.counters.packets_lost.add(count as u64);
            warn!(
                epoch,
                count,
                ?packets,
                "a shard started anew, and records of its ring could not be read; what it had taken is lost until a ticket is shown"
            );
        }
        Ok(())
    }
}
