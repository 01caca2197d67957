//! `drain`: the sessions are sent away over a window, and then the gateway ends.
//!
//! From its beginning, nobody new is let in and no packet is given out. Tickets that are out are opened here until the
//! window ends, because only this gateway's ledger has their packets. The sweeps of the shards do the telling.

use super::identity::Operator;
use super::{Control, Refused};
use crate::counters::Counters;
use crate::live::Drain;
use shake_proto::admin::{self, Refusal};
use shake_proto::admin_v1 as v1;
use std::time::{Duration, Instant};
use tracing::info;

/// How often it is looked whether all have left.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Control {
    pub(super) fn drain(&self, operator: &Operator, drain: &admin::Drain) -> Result<v1::Draining, Refused> {
        let began = Instant::now();
        let is_first = self.shared.current.begin_drain(Drain {
            began,
            ends_at: began + Duration::from_millis(drain.over_ms.into()),
            alternatives: drain.alternatives.clone(),
        });
        if !is_first {
            let message = "this gateway is draining already; `gateway status` tells for how long";
            return Err(Refused::new(Refusal::Draining, message));
        }
        let sessions = self.sum(|counters| counters.sessions.value());
        info!(
            operator = operator.name, address = operator.address, sessions, over_ms = drain.over_ms,
            alternatives = ?drain.alternatives, "draining"
        );
        self.drain_began.notify_one();
        self.wake_shards();
        Ok(v1::Draining { sessions })
    }

    /// Waits until the gateway has drained: all sessions have left, or the window is over. Never ends without a drain.
    pub async fn drained(&self) {
        self.drain_began.notified().await;
        let Some(drain) = self.shared.current.drain() else {
            return std::future::pending().await;
        };
        while Instant::now() < drain.ends_at && self.sum(|counters| counters.sessions.value()) > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn sum(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        self.shards.iter().map(|counters| of(counters)).sum()
    }
}
