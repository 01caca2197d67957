//! What all sessions of a shard are told.

use crate::conditions::Conditions;
use crate::config_store::Drain;
use crate::handlers::encode_notice;
use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use shake_proto::wire::v1::{self, notice::Kind};
use std::time::Instant;

/// The part of a drain's window from which on sessions that stayed are closed.
pub const CLOSE_FROM: f64 = 0.75;

/// The phase that holds and the next one; the same for all.
pub fn phase_changed(conditions: &Conditions) -> Bytes {
    let (current_phase, next_phase) = conditions.phases_to_wire();
    encode_notice(Kind::PhaseChanged(v1::PhaseChanged {
        current_phase,
        next_phase,
        config_version: conditions.live.version,
    }))
}

/// To go elsewhere. Each session is told a time of its own, so that they do not all reconnect at once.
pub fn go_away(drain: Option<&Drain>, now: Instant, rng: &mut StdRng) -> Bytes {
    let left_ms = drain.map_or(0, |drain| {
        let close_at = drain.began + (drain.ends_at - drain.began).mul_f64(CLOSE_FROM);
        close_at.saturating_duration_since(now).as_millis() as u32
    });
    encode_notice(Kind::GoAway(v1::GoAway {
        reconnect_after_ms: rng.random_range(0..=left_ms),
        alternatives: drain.map_or_else(Vec::new, |drain| drain.alternatives.clone()),
    }))
}
