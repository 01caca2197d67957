//! What the agent has for sessions: answers to their requests, and notices.

use crate::counters::Busy;
use crate::gateway::{Answer, Gateway};
use crate::handlers::{encode_notice, reply, take_elsewhere};
use crate::in_flight::ReturnAddress;
use crate::phone::Phones;
use quic_shard::session_id::SessionId;
use shake_proto::request_kind::{LedgerAnswer, RequestKind};
use shake_proto::wire::v1::{self, reply::Kind};

/// Passes on what the agent sent, and gives up on requests that waited too long.
pub fn deliver(app: &mut Gateway, phones: &mut Phones<'_>) {
    let mut replies = std::mem::take(&mut app.replies);
    app.ledger.link.replies(&mut replies);
    for reply in replies.drain(..) {
        let Some(waiting) = app.ledger.take_waiting(&reply) else {
            app.counters.replies_late.inc();
            continue;
        };
        match reply.kind {
            Some(kind) if RequestKind::of_reply(&kind) == waiting.kind => {
                count(app, &kind);
                answer(app, phones, waiting.to, kind);
            }
            None if waiting.kind == RequestKind::Offers => {}
            None if waiting.kind == RequestKind::Winnings => {
                take_elsewhere(app, phones, waiting.to.session, &reply.winnings);
            }
            // The other process's bytes are input: an answer of another kind is no answer.
            _ => app.counters.ring_errors.inc(),
        }
    }
    app.replies = replies;
    while let Some(waiting) = app.ledger.take_overdue(&app.conditions.now) {
        if let Answer::Now(kind) = app.busy(waiting.kind, Busy::Timeout) {
            answer(app, phones, waiting.to, kind);
        }
    }
    notices(app, phones);
    app.counters.asks_under_way.set(app.ledger.in_flight() as u64);
}

fn answer(app: &mut Gateway, phones: &mut Phones<'_>, to: ReturnAddress, kind: Kind) {
    if let Some(mut cx) = phones.get(to.session) {
        reply(app, &mut cx, to.stream, kind);
    }
}

/// Every shard gets every notice; those of users who are elsewhere are passed over.
fn notices(app: &mut Gateway, phones: &mut Phones<'_>) {
    let mut notices = std::mem::take(&mut app.notices);
    app.ledger.link.notices(&mut notices);
    for notice in notices.drain(..) {
        let Some(newest) = app.shared.presence.newest_in(app.shard, notice.user) else {
            continue;
        };
        let id = SessionId {
            index: newest.index,
            serial: newest.serial,
        };
        let Some(mut cx) = phones.get(id) else {
            continue;
        };
        let offered = v1::PacketOffered {
            code: notice.code,
            from_user_id: notice.from.map_or(0, |user| user.0),
        };
        let is_sent = cx.notify(encode_notice(v1::notice::Kind::PacketOffered(offered)));
        app.counters.notice(is_sent).inc();
    }
    app.notices = notices;
}

/// Counts how a request ended that the agent answered.
fn count(app: &Gateway, kind: &Kind) {
    let counters = &app.counters;
    match LedgerAnswer::of(kind) {
        Some(LedgerAnswer::Answered { is_repeat: false }) => counters.answered.inc(),
        Some(LedgerAnswer::Answered { is_repeat: true }) => counters.repeated.inc(),
        Some(LedgerAnswer::Refused(reason)) => counters.refused[reason].inc(),
        Some(LedgerAnswer::Busy) => counters.busy[Busy::Agent].inc(),
        None => counters.ring_errors.inc(),
    }
}
