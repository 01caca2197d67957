//! Rings that were served before a loss of the ledger was accepted: they are further than it, because the commits that moved them are
//! lost.

use super::Lane;
use crate::counters::Counters;
use crate::ledger::{LaneRecord, Ledger, LedgerError, Store};
use shake_rules::UnixMillis;
use tracing::warn;

/// Goes on where the rings stand: what they held was done by commits that are lost. What shards took of what is only released may be in
/// tickets, so it is lost until one is shown. What is in the rings still says by itself what becomes of it.
pub(super) fn go_on<S: Store>(
    lanes: &mut [Lane],
    ledger: &mut Ledger<S>,
    counters: &Counters,
    now: UnixMillis,
) -> Result<(), LedgerError> {
    let (records, lost) = ledger.transaction(now, |batch| {
        let (mut records, mut lost) = (Vec::new(), 0);
        for lane in lanes.iter() {
            let held = batch.held_of_lane(lane.record.lane, 0..lane.grants.consumed())?;
            batch.lose_packets(&held);
            lost += held.len() as u64;
            let record = LaneRecord {
                requests_done: lane.record.requests_done.max(lane.requests.position()),
                grants_released: lane.record.grants_released.max(lane.grants.position()),
                ..lane.record
            };
            batch.store_lane(&record);
            records.push(record);
        }
        Ok((records, lost))
    })?;
    for (lane, record) in lanes.iter_mut().zip(records) {
        lane.record = record;
    }
    counters.packets_lost.add(lost);
    warn!(
        lost,
        "the rings were served before a loss of the ledger was accepted, and go on where they stand; what shards had taken and the ledger \
         does not know as issued is lost until a ticket is shown"
    );
    Ok(())
}
