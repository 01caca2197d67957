//! `ShardStarted`: a shard began a new life. Whatever its earlier lives took and did not issue has no ticket.

use super::{Judge, Origin};
use crate::ledger::Book;
use shake_rules::{PacketId, UnixMillis};
use tracing::{info, warn};

impl Judge {
    /// `held` is what was released before its position and was not issued when it was read.
    pub(super) fn shard_started(
        &mut self,
        book: &mut Book,
        origin: Origin,
        (epoch, grants_taken): (u32, u64),
        held: &[PacketId],
        now: UnixMillis,
    ) {
        if grants_taken > origin.grants_pushed {
            self.counters.shards_started_inconsistent.add(1);
            if self.inconsistent.begins(now.0) {
                let pushed = origin.grants_pushed;
                warn!(
                    grants_taken,
                    pushed, "a shard says that it took more grants than there were; nothing is voided"
                );
            }
            return;
        }
        let taken = book.held(held);
        self.counters.shards_started.add(1);
        if taken.is_empty() {
            info!(epoch, "a shard started");
            return;
        }
        let packets: Vec<u64> = taken.iter().map(|held| held.packet.0).collect();
        let count = taken.len();
        if origin.is_whole {
            book.void_packets(&taken);
            self.counters.packets_voided.add(count as u64);
            warn!(
                epoch,
                count,
                ?packets,
                "a shard started anew; what it had taken and not issued is void"
            );
        } else {
            book.lose_packets(&taken);
            self.counters.packets_lost.add(count as u64);
            warn!(
                epoch,
                count,
                ?packets,
                "a shard started anew, and records of its ring could not be read; what it had taken is lost until a ticket is shown"
            );
        }
    }
}
