//! What waits for a user when they say Hello: the gateway asks the ledger for them, at most once in ten seconds for each
//! session. What is asked for sooner is put off, not lost: a notice that was missed meanwhile is told then.

use crate::app::Gateway;
use crate::in_flight::ReturnAddress;
use crate::shard::session_id::SessionId;
use crate::shard::sessions::Sessions;
use crate::shard::spent::{BETWEEN_OFFERS_NS, Offers, Spent};
use quinn_proto::{Dir, Side, StreamId};
use shake_proto::handoff::record::What;
use shake_proto::request_kind::RequestKind;
use shake_rules::UserId;
use shake_rules::throttle::Service;
use std::collections::VecDeque;

/// The most that a turn asks: a cue makes everybody say Hello, and ten seconds later all of it would come at once.
const ASKS_PER_TURN: usize = 64;

/// Questions that are put off, at the most: as many as a shard has sessions at its largest. Sessions that have gone count until
/// theirs is due, and while the agent is away. Of eight mebibytes.
const PUT_OFF_MAX: usize = 524_288;

/// One question that was put off.
pub struct Question {
    session: SessionId,
    /// When it is due, in nanoseconds since the shard began.
    due_ns: u64,
}

/// The questions that were put off. A session has one at the most.
pub type PutOff = VecDeque<Question>;

/// A Hello wants to hear what waits for its user: asks the ledger now, or later. It comes as notices.
pub(super) fn offers(app: &mut Gateway, user: UserId, spent: &mut Spent, session: SessionId) {
    let now_ns = app.conditions.now.elapsed_ns;
    match spent.wants_offers(now_ns) {
        Offers::Ask if app.ledger.can_ask(&app.conditions.now) => ask(app, user, session),
        // It may be asked again in ten seconds.
        Offers::Ask | Offers::PutOff if app.put_off.len() >= PUT_OFF_MAX => spent.asks_offers(now_ns),
        Offers::Ask | Offers::PutOff => {
            spent.put_off_offers();
            app.put_off.push_back(Question {
                session,
                due_ns: now_ns + BETWEEN_OFFERS_NS,
            });
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
    app.counters.ask(RequestKind::Offers).inc();
    let asked = app
        .ledger
        .ask(&app.conditions.now, app.conditions.unix, user, What::Offers, to);
    // Nothing hangs on it, so busy is no matter.
    if let Err(why) = asked {
        app.counters.busy(why).inc();
    }
}

/// Asks what was put off until now, for those who are still here. To be called once a turn.
pub fn ask_put_off(app: &mut Gateway, sessions: &mut Sessions) {
    let now_ns = app.conditions.now.elapsed_ns;
    for _ in 0..ASKS_PER_TURN {
        let is_due = app.put_off.front().is_some_and(|question| question.due_ns <= now_ns);
        if !is_due || !app.ledger.can_ask(&app.conditions.now) {
            return;
        }
        let Some(Question { session: id, .. }) = app.put_off.pop_front() else {
            return;
        };
        let session = sessions.get_mut(id.index as usize);
        let Some(session) = session.filter(|session| session.serial == id.serial) else {
            continue;
        };
        session.spent.asks_offers(now_ns);
        let (Some(user), device) = (session.user, session.behaviour.device()) else {
            continue;
        };
        if session.takes_notices && app.blocklist.blocked_ms(user, device, now_ns).is_none() {
            ask(app, user, id);
        }
    }
}
