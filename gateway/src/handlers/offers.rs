//! What waits for a user when they say Hello: the gateway asks the ledger for them, at most once in ten seconds for each
//! session. What is asked for sooner is put off, not lost: a notice that was missed meanwhile is told then.

use crate::gateway::Gateway;
use crate::in_flight::ReturnAddress;
use crate::limits::{BETWEEN_OFFERS_NS, Offers, SessionLimits};
use crate::phone::Phones;
use quic_shard::session_id::SessionId;
use quinn_proto::{Dir, Side, StreamId};
use shake_proto::handoff::record::What;
use shake_proto::request_kind::RequestKind;
use shake_rules::UserId;
use shake_rules::throttle::Service;

/// The most that a turn asks: a cue makes everybody say Hello, and ten seconds later all of it would come at once.
const ASKS_PER_TURN: usize = 64;

/// A Hello wants to hear what waits for its user: asks the ledger now, or later. It comes as notices.
pub(super) fn offers(app: &mut Gateway, user: UserId, limits: &mut SessionLimits, session: SessionId) {
    let now_ns = app.conditions.now.elapsed_ns;
    match limits.wants_offers(now_ns) {
        Offers::Ask if app.ledger.can_ask(&app.conditions.now) => ask(app, user, session),
        // It may be asked again in ten seconds.
        Offers::Ask | Offers::PutOff if app.put_off.is_full() => limits.asks_offers(now_ns),
        Offers::Ask | Offers::PutOff => {
            limits.put_off_offers();
            app.put_off.push(session, now_ns + BETWEEN_OFFERS_NS);
        }
        Offers::IsPutOff => {}
    }
}

fn ask(app: &mut Gateway, user: UserId, session: SessionId) {
    if app.rules().is_off(Service::Offers) {
        return;
    }
    let to = ReturnAddress {
        session,
        // Nobody is answered on it.
        stream: StreamId::new(Side::Client, Dir::Bi, 0),
    };
    app.counters.asks[RequestKind::Offers].inc();
    let asked = app
        .ledger
        .ask(&app.conditions.now, app.conditions.unix, user, What::Offers, to);
    // Nothing hangs on it, so busy is no matter.
    if let Err(why) = asked {
        app.counters.busy[why].inc();
    }
}

/// Asks what was put off until now, for those who are still here. To be called once a turn.
pub fn ask_put_off(app: &mut Gateway, phones: &mut Phones<'_>) {
    let now_ns = app.conditions.now.elapsed_ns;
    for _ in 0..ASKS_PER_TURN {
        if !app.ledger.can_ask(&app.conditions.now) {
            return;
        }
        let Some(id) = app.put_off.take_due(now_ns) else {
            return;
        };
        let Some(phone) = phones.peek(id) else {
            continue;
        };
        phone.limits.asks_offers(now_ns);
        let (Some(user), device) = (phone.user, phone.behaviour.device()) else {
            continue;
        };
        if phone.takes_notices && app.blocklist.blocked_ms(user, device, now_ns).is_none() {
            ask(app, user, id);
        }
    }
}
