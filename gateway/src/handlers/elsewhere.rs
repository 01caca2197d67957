//! What users won at other gateways. Where many have one ledger, it is asked once for each session, after its first Hello. The
//! answer is merged into what this gateway knows: it keeps users without their cookie from going from gateway to gateway for
//! tickets that nobody else can win meanwhile. What holds exactly is the limit at the claim.
//!
//! Each question is a read where all claims are written. So they go at a steady rate, and what has to wait for over a minute is
//! forgotten. Before the first phase nobody has won anything.

use crate::gateway::Gateway;
use crate::in_flight::ReturnAddress;
use crate::phone::Phones;
use quic_shard::session_id::SessionId;
use quinn_proto::{Dir, Side, StreamId};
use shake_proto::handoff::record::What;
use shake_proto::request_kind::RequestKind;
use shake_rules::throttle::Service;
use shake_rules::winnings::Winnings;

/// A session said its first Hello.
pub(super) fn note(app: &mut Gateway, session: SessionId) {
    let phases = &app.conditions.live.show.phases;
    let has_begun = phases
        .first()
        .is_some_and(|phase| phase.starts_at <= app.conditions.unix);
    let elsewhere = &mut app.elsewhere;
    if app.ledger.is_common() && has_begun && elsewhere.waiting.len() < elsewhere.waiting_max {
        elsewhere.waiting.push_back(session);
    }
}

/// Asks what is due. To be called once a turn.
pub fn ask_elsewhere(app: &mut Gateway, phones: &mut Phones<'_>) {
    while let Some(&session) = app.elsewhere.waiting.front() {
        if !app.ledger.can_ask(&app.conditions.now) || app.rules().is_off(Service::Offers) {
            return;
        }
        let Some(user) = phones.peek(session).and_then(|phone| phone.user) else {
            app.elsewhere.waiting.pop_front();
            continue;
        };
        if app.elsewhere.rate.take(app.conditions.now.elapsed_ns).is_err() {
            return;
        }
        app.elsewhere.waiting.pop_front();
        let to = ReturnAddress {
            session,
            // Nobody is answered on it.
            stream: StreamId::new(Side::Client, Dir::Bi, 0),
        };
        app.counters.asks[RequestKind::Winnings].inc();
        let (now, unix) = (&app.conditions.now, app.conditions.unix);
        if let Err(why) = app.ledger.ask(now, unix, user, What::Winnings, to) {
            // It is a help, and no more.
            app.counters.busy[why].inc();
        }
    }
}

/// The ledger says what the user of this session won.
pub fn take_elsewhere(app: &Gateway, phones: &mut Phones<'_>, session: SessionId, winnings: &Winnings) {
    if let Some(user) = phones.peek(session).and_then(|phone| phone.user) {
        app.shared.winners.merge(user, winnings);
    }
}
