//! What holds for a turn: the time, what operators pushed, and the phase. Handlers look at it, and change nothing of it.

use crate::config_store::{Live, Snapshot};
use crate::secrets::Secrets;
use quic_shard::io::Now;
use shake_proto::wire::v1;
use shake_rules::UnixMillis;
use std::sync::Arc;
use std::time::Duration;

pub struct Conditions {
    pub now: Now,
    /// The same by the steady clock.
    pub unix: UnixMillis,
    pub live: Arc<Live>,
    pub secrets: Arc<Secrets>,
    /// The number of the change that these two are of.
    pub change: u64,
    /// Index of the phase that holds now.
    pub phase: Option<usize>,
}

impl Conditions {
    pub fn new(now: Now, unix: UnixMillis, snapshot: Snapshot) -> Self {
        Self {
            now,
            unix,
            live: snapshot.live,
            secrets: snapshot.secrets,
            change: snapshot.change,
            phase: None,
        }
    }

    /// The pace of the show, whatever the load.
    pub fn show_pace_ms(&self) -> u32 {
        let show = &self.live.show;
        self.phase.map_or(show.rest_pace_ms, |index| show.phases[index].pace_ms)
    }

    /// Whether the show lets a phone shake again within so long, in one phase of it at least.
    pub fn may_shake_within(&self, span: Duration) -> bool {
        let phases = &self.live.show.phases;
        phases.iter().any(|phase| u128::from(phase.pace_ms) <= span.as_millis())
    }

    /// The stage of a phase: its number in tickets and in the ledger.
    pub fn stage(&self, phase: usize) -> u16 {
        self.live.stages[phase]
    }

    /// The phase that holds now and the next one, as clients see them.
    pub fn phases_to_wire(&self) -> (Option<v1::Phase>, Option<v1::Phase>) {
        let show = &self.live.show;
        let phase = |index: usize| v1::Phase {
            name: show.phases[index].name.clone(),
            starts_in_ms: show.phases[index].starts_at.since_ms(self.unix),
            ends_in_ms: show.phases[index].ends_at.since_ms(self.unix),
        };
        (self.phase.map(phase), show.phase_after(self.unix).map(phase))
    }
}
