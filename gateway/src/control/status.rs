//! `status`: how things stand, as numbers; the operator's side makes words and rates of them.

use super::Control;
use crate::config_store::Cause;
use crate::counters;
use shake_proto::admin_v1 as v1;
use shake_rules::grade::Signals;
use shake_rules::kept::sha256;
use shake_rules::show::Phase;
use shake_rules::{LedgerId, UnixMillis};
use std::sync::Arc;
use std::time::Instant;

impl Control {
    pub(super) fn status(self: &Arc<Self>) -> v1::Status {
        let kept = self.kept.load();
        let now = self.shared.clock.now();
        let live = self.shared.current.load();
        let show = &live.show;
        let phase = |index: usize| phase(&show.phases[index], live.stages[index], now);
        let drain = self
            .shared
            .current
            .drain()
            .filter(|drain| drain.cause == Cause::Operator);
        let board = &self.shared.board;
        let signal = |(name, value): (&str, f64)| v1::Signal {
            name: name.to_owned(),
            value,
        };
        let metric = |(name, value)| v1::Metric { name, value };
        v1::Status {
            version: live.version,
            changed_by: kept.by.clone(),
            changed_at_ms: kept.at_ms,
            event: show.event.0,
            show: show.name.clone(),
            show_sha256: sha256(&kept.show),
            throttle_sha256: sha256(&kept.throttle),
            started_at_ms: kept.started_at_ms,
            current_phase: show.phase_at(now).map(phase),
            next_phase: show.phase_after(now).map(phase),
            cues: show
                .cues
                .iter()
                .map(|(name, at)| v1::CueState {
                    name: name.clone(),
                    at_ms: at.map(|at| at.0),
                })
                .collect(),
            cuts: kept
                .cuts
                .iter()
                .map(|(name, &at_ms)| v1::CueState {
                    name: name.clone(),
                    at_ms: Some(at_ms),
                })
                .collect(),
            has_begun: show.first_begun(now).is_some(),
            books: board.ledger.get().map(|owner| v1::Books {
                ledger: LedgerId(owner.identity).to_string(),
                part: owner.part,
            }),
            machine: host::machine::name(),
            phones_port: self.config.address.port().into(),
            shard_versions: self.shared.current.running().collect(),
            draining_for_ms: drain
                .map(|drain| drain.ends_at.saturating_duration_since(Instant::now()).as_millis() as u64),
            metrics: counters::sums(self.shards.iter().map(AsRef::as_ref))
                .into_iter()
                .map(metric)
                .collect(),
            grade: board.grade().number().into(),
            signals: Signals::NAMES
                .into_iter()
                .zip(board.signals().values())
                .map(signal)
                .collect(),
            per_second: board.per_second.rows().into_iter().map(signal).collect(),
            certificate_expires_at_ms: self.shared.current.secrets().certificate.expires_at.0,
            files: self.lines(),
            keys: self.key_uses(),
            modes: board.modes().iter().map(|mode| mode.name().to_owned()).collect(),
        }
    }
}

impl Control {
    /// What runs, whole.
    pub(super) fn running(&self) -> v1::Running {
        let kept = self.kept.load_full();
        v1::Running {
            show: kept.show.clone(),
            throttle: kept.throttle.clone(),
            version: kept.version,
            started_at_ms: kept.started_at_ms,
            cues: kept.cues.clone().into_iter().collect(),
            cuts: kept.cuts.clone().into_iter().collect(),
        }
    }
}

fn phase(phase: &Phase, stage: u16, now: UnixMillis) -> v1::PhaseState {
    v1::PhaseState {
        name: phase.name.clone(),
        stage: stage.into(),
        starts_in_ms: (phase.starts_at != UnixMillis(u64::MAX)).then(|| phase.starts_at.since_ms(now)),
        ends_in_ms: phase.ends_at.since_ms(now),
    }
}
