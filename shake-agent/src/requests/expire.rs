//! Expiry: what was not opened or grabbed in time goes back to who funded it.

use super::Judge;
use crate::ledger::{Batch, LedgerError, Origin};
use shake_rules::UnixMillis;

/// The most packets that one commit sends back, so that claims do not wait for them.
pub const EXPIRE_MAX: usize = 256;
/// How long after its time a packet goes back, in milliseconds. A request carries its own time, and may still be on its
/// way through a ring when the packet's time is over.
pub const EXPIRY_GRACE_MS: u64 = 2_000;

impl Judge {
    /// Sends back what is overdue, at most [`EXPIRE_MAX`] packets. Gives how many. Call it when the rings are read empty:
    /// whoever asked in time comes first.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn expire(&mut self, batch: &mut Batch<'_>, now: UnixMillis) -> Result<usize, LedgerError> {
        let overdue = batch.due(UnixMillis(now.0.saturating_sub(EXPIRY_GRACE_MS)), EXPIRE_MAX)?;
        for (id, packet) in &overdue {
            batch.refund(*id, packet)?;
            let counter = match packet.origin {
                Origin::Seed(_) => &self.counters.refunds_seed,
                Origin::Sent(_) => &self.counters.refunds_sent,
                Origin::Gift => &self.counters.refunds_gift,
            };
            counter.add(1);
        }
        Ok(overdue.len())
    }
}
