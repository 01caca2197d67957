//! What the shards ask, one file per kind: the decision, free of I/O, and beside it the effect on the ledger.
//!
//! Every effect may come twice (a ring is handled at least once), and then changes nothing.

mod claim;
mod issued;
mod shard_started;

pub use claim::BUSY_RETRY_AFTER_MS;

use crate::burst::Burst;
use crate::counters::Counters;
use crate::ledger::{Batch, LedgerError};
use shake_proto::handoff::record::{Reply, Request};
use shake_rules::ticket::TicketKeys;
use shake_rules::{EventId, UnixMillis};
use std::sync::Arc;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The ledger's number of the lane.
    pub lane: i64,
    /// How many grants were pushed to the shard so far.
    pub grants_pushed: u64,
}

/// Answers requests.
#[derive(Debug)]
pub struct Judge {
    /// The only event whose tickets count.
    pub event: EventId,
    /// The keys that tickets are checked with.
    pub tickets: TicketKeys,
    /// What happens is counted here.
    pub counters: Arc<Counters>,
    inconsistent: Burst,
}

impl Judge {
    /// A judge of one event's packets.
    #[must_use]
    pub fn new(event: EventId, tickets: TicketKeys, counters: Arc<Counters>) -> Self {
        Self {
            event,
            tickets,
            counters,
            inconsistent: Burst::default(),
        }
    }

    /// Decides about a request and lets it take effect. The answer, if it has one, may leave only after the commit.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn handle(
        &mut self,
        batch: &mut Batch<'_>,
        origin: Origin,
        request: &Request,
        now: UnixMillis,
    ) -> Result<Option<Reply>, LedgerError> {
        match request {
            Request::Issued(issued) => self.issued(batch, issued, now).map(|()| None),
            Request::Claim(claim) => self.claim(batch, claim).map(Some),
            Request::ShardStarted { epoch, grants_taken } => self
                .shard_started(batch, origin, *epoch, *grants_taken, now)
                .map(|()| None),
        }
    }
}
