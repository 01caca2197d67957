//! What all sessions of a shard are told: a new phase, or to go away.

use crate::conditions::Conditions;
use crate::config_store::{Cause, Drain};
use crate::evict::close_with;
use crate::gateway::Gateway;
use crate::handlers::encode_notice;
use crate::phone::PhoneCx;
use bytes::Bytes;
use quic_shard::app::{Control, Pace};
use rand::RngExt;
use rand::rngs::StdRng;
use shake_proto::code::Code;
use shake_proto::wire::v1::{self, notice::Kind};
use std::time::Instant;

/// Sessions told of a new phase each second: with about 10 µs a notice, a fifth of a core for at most 25 s when a
/// shard holds half a million.
const PHASE_PER_SECOND: f64 = 20_000.0;
/// The part of a drain's window in which sessions are told to go.
const TELL_UNTIL: f64 = 0.5;
/// The part of a drain's window from which on sessions that stayed are closed.
const CLOSE_FROM: f64 = 0.75;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    Phase,
    GoAway,
    /// Nothing any more: who is still here is closed.
    Close,
}

/// Begins what is due. To be called once a turn.
pub fn begin(app: &mut Gateway, control: &mut Control<Broadcast>) {
    let is_new_phase = std::mem::take(&mut app.is_new_phase);
    let Some(drain) = app.shared.current.drain() else {
        // Who was told before a drain was cancelled goes; nobody else hears of it.
        control.cancel_if(|what| what != Broadcast::Phase);
        if is_new_phase {
            control.broadcast(Broadcast::Phase, Pace::PerSecond(PHASE_PER_SECOND));
        }
        return;
    };
    let window = drain.ends_at - drain.began;
    let elapsed = app.conditions.now.instant.saturating_duration_since(drain.began);
    if std::mem::replace(&mut app.drain_told, drain.number) != drain.number {
        let takes = window.mul_f64(TELL_UNTIL).saturating_sub(elapsed);
        control.broadcast(Broadcast::GoAway, Pace::Over(takes));
    }
    // Who stays where only the ledger is away is served as well as it goes.
    let closes = drain.cause != Cause::LedgerAway && elapsed >= window.mul_f64(CLOSE_FROM);
    if closes && std::mem::replace(&mut app.drain_closed, drain.number) != drain.number {
        // A tenth is left for what is late.
        let takes = window.mul_f64(0.9).saturating_sub(elapsed);
        control.broadcast(Broadcast::Close, Pace::Over(takes));
    }
}

/// Tells one session.
pub fn tell(app: &mut Gateway, cx: &mut PhoneCx<'_>, what: Broadcast) {
    if what == Broadcast::Close {
        return cx.close(close_with(Code::GoingAway));
    }
    // Who takes no notices learns by the close, and has until then to finish.
    if !cx.session.takes_notices {
        return;
    }
    let bytes = if what == Broadcast::GoAway {
        let drain = app.shared.current.drain();
        go_away(drain.as_deref(), cx.now.instant, &mut app.seals.rng)
    } else {
        let conditions = &app.conditions;
        app.phase_notice
            .get_or_insert_with(|| phase_changed(conditions))
            .clone()
    };
    let is_sent = cx.notify(bytes);
    app.counters.notice(is_sent).inc();
}

/// The phase that holds and the next one; the same for all.
fn phase_changed(conditions: &Conditions) -> Bytes {
    let (current_phase, next_phase) = conditions.phases_to_wire();
    encode_notice(Kind::PhaseChanged(v1::PhaseChanged {
        current_phase,
        next_phase,
        config_version: conditions.live.version,
    }))
}

/// To go elsewhere. Each session is told a time of its own, so that they do not all reconnect at once.
fn go_away(drain: Option<&Drain>, now: Instant, rng: &mut StdRng) -> Bytes {
    let left_ms = drain.map_or(0, |drain| {
        let close_at = drain.began + (drain.ends_at - drain.began).mul_f64(CLOSE_FROM);
        close_at.saturating_duration_since(now).as_millis() as u32
    });
    encode_notice(Kind::GoAway(v1::GoAway {
        reconnect_after_ms: rng.random_range(0..=left_ms),
        alternatives: drain.map_or_else(Vec::new, |drain| drain.alternatives.clone()),
    }))
}
