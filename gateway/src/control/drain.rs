//! `drain`: the sessions are sent away over a window, and then the gateway ends.
//!
//! From its beginning, nobody new is let in and no packet is given out. Tickets that are out are opened here until the
//! window ends, because only this gateway's ledger has their packets. The sweeps of the shards do the telling.

use super::identity::Operator;
use super::{Control, Refused};
use crate::config_store::Cause;
use shake_proto::admin::{self, Refusal};
use shake_proto::admin_v1 as v1;
use std::time::{Duration, Instant};
use tracing::info;

/// How often it is looked whether all have left.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Control {
    pub(super) fn drain(&self, operator: &Operator, drain: &admin::Drain) -> Result<v1::Draining, Refused> {
        let current = &self.shared.current;
        if current.drain().is_some_and(|drain| drain.cause == Cause::Operator) {
            let message = "this gateway is draining already; `gateway status` tells for how long";
            return Err(Refused::new(Refusal::Draining, message));
        }
        let sessions = self.sessions();
        if drain.dry_run {
            return Ok(v1::Draining { sessions });
        }
        let (began, over) = (Instant::now(), Duration::from_millis(drain.over_ms.into()));
        current.begin_drain(began, began + over, drain.alternatives.clone());
        info!(
            operator = operator.name, address = operator.address, sessions, over_ms = drain.over_ms,
            alternatives = ?drain.alternatives, "draining"
        );
        self.wake_shards();
        Ok(v1::Draining { sessions })
    }

    /// The gateway stays, if it was to drain: whoever is here is served as before, and others are let in.
    pub(super) fn cancel_drain(&self, operator: &Operator) -> v1::Draining {
        let sessions = self.sessions();
        if self.shared.current.drain().is_some() {
            self.shared.current.cancel_drain();
            info!(
                operator = operator.name,
                address = operator.address,
                sessions,
                "the drain is cancelled"
            );
            self.wake_shards();
        }
        v1::Draining { sessions }
    }

    /// Waits until the gateway has drained: all sessions have left, or the window is over; and the operator has heard that
    /// it began. Never ends without a drain.
    pub async fn drained(&self) {
        loop {
            self.drain_told.notified().await;
            let operators = || {
                self.shared
                    .current
                    .drain()
                    .filter(|drain| drain.cause == Cause::Operator)
            };
            while let Some(drain) = operators() {
                if Instant::now() >= drain.ends_at || self.sessions() == 0 {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn sessions(&self) -> u64 {
        self.shards.iter().map(|counters| counters.quic.sessions.value()).sum()
    }
}
