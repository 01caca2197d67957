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
    /// Sends back what is overdue, of at most [`EXPIRE_MAX`] candidates. Gives how many these were; what a span has put off
    /// is no candidate again before its end. Call it when the rings are read empty:
    /// whoever asked in time comes first.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn expire(&mut self, batch: &mut Batch<'_>, now: UnixMillis) -> Result<usize, LedgerError> {
        let candidates = batch.due(UnixMillis(now.0.saturating_sub(EXPIRY_GRACE_MS)), EXPIRE_MAX)?;
        for (id, packet) in &candidates {
            let end = packet.term.map(|term| batch.end_of(term));
            if let Some(end) = end.filter(|end| end.plus_ms(EXPIRY_GRACE_MS) > now) {
                batch.put_off(*id, end)?;
                continue;
            }
            batch.refund(*id, packet)?;
            let counter = match packet.origin {
                Origin::Seed(_) => &self.counters.refunds_seed,
                Origin::Sent(_) => &self.counters.refunds_sent,
                Origin::Gift => &self.counters.refunds_gift,
            };
            counter.add(1);
        }
        Ok(candidates.len())
    }
}
