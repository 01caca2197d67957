//! What phones ask for: decoded, let in or not, handled, answered, counted and noted. All that is the same for datagrams and
//! for streams, and stands here; each kind of request has a file with its handler, a function over the parts that it uses,
//! which returns what happened.

mod ask;
mod claim;
mod elsewhere;
mod gatekeep;
mod gifts;
mod hello;
mod offers;
mod red_packets;
mod shake;

pub use elsewhere::{ask_elsewhere, take_elsewhere};
pub use gatekeep::mind_block;
pub use gifts::{has_gifts, send_gifts};
pub use offers::ask_put_off;

use crate::counters::Dropped;
use crate::gateway::{Answer, Gateway};
use crate::in_flight::ReturnAddress;
use crate::phone::PhoneCx;
use ask::NotAsked;
use bytes::{Bytes, BytesMut};
use gatekeep::{NotServed, Visitor};
use quic_shard::app::TooLong;
use quinn_proto::{SendDatagramError, StreamId};
use shake::Prizes;
use shake_proto::code::Code;
use shake_proto::frame::{self, REQUEST_BYTES_MAX};
use shake_proto::request::{Hello, Request, Shake};
use shake_proto::request_kind::RequestKind;
use shake_proto::wire::v1::{self, reply::Kind};
use shake_rules::UserId;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::ticket::TICKET_BYTES;

/// Reply bytes allocated at a time.
const ARENA_BYTES: usize = 64 * 1024;
/// The most bytes of an answer to a shake: ticket and cookie of a win, and some numbers.
const SHAKE_REPLY_BYTES_MAX: usize = TICKET_BYTES + COOKIE_BYTES_MAX + 64;

/// A datagram: a shake, or nothing of ours.
pub fn on_datagram(app: &mut Gateway, cx: &mut PhoneCx<'_>, datagram: Bytes) {
    let shake = match frame::decode_shake(datagram) {
        Ok(shake) => Shake::from(shake),
        Err(code) => {
            let why = match code {
                Code::Oversized => Dropped::Oversized,
                _ => Dropped::Malformed,
            };
            app.counters.dropped[why].inc();
            let phone = &mut *cx.session;
            return app.reports.note_refusal(&mut phone.behaviour, phone.user, code);
        }
    };
    let Some(user) = cx.session.user else {
        return app.counters.dropped[Dropped::BeforeHello].inc();
    };
    // Before anything is won. Who takes short answers only, or has many waiting, is answered all the same.
    let Some(room) = cx.datagram_room() else {
        return app.counters.dropped[Dropped::NoReturn].inc();
    };
    // Before an answer, which may be a win that lets this session in.
    let stands_for = app.limits.packets.stands_for(&app.limits.present, cx.hot);
    let served = serve_shake(app, cx, user, shake, room >= SHAKE_REPLY_BYTES_MAX);
    cx.session.behaviour.shook(served.as_ref().ok(), stands_for);
    let Ok(reply) = served else {
        return;
    };
    let bytes = frame::encode_datagram(&reply, &mut app.arena, ARENA_BYTES);
    match cx.send_datagram(bytes) {
        Ok(()) => {}
        Err(SendDatagramError::Blocked(_)) => app.counters.dropped[Dropped::NoRoom].inc(),
        Err(_) => app.counters.dropped[Dropped::NoReturn].inc(),
    }
}

/// What came on a request's stream.
pub fn on_request(app: &mut Gateway, cx: &mut PhoneCx<'_>, stream: StreamId, whole: Result<Bytes, TooLong>) {
    let to = ReturnAddress { session: cx.id, stream };
    let served = whole
        .map_err(|TooLong| Code::Oversized)
        .and_then(|bytes| frame::decode_stream::<v1::Request>(bytes, REQUEST_BYTES_MAX))
        .and_then(Request::try_from)
        .and_then(|request| serve(app, cx, request, to));
    match served {
        Ok(Answer::Now(kind)) => reply(app, cx, stream, kind),
        Ok(Answer::Pending) => {}
        Err(code) => refuse(app, cx, stream, code),
    }
}

/// Serves a request of a stream, where every one gets an answer, and notes what it says of the session.
fn serve(app: &mut Gateway, cx: &mut PhoneCx<'_>, request: Request, to: ReturnAddress) -> Result<Answer, Code> {
    let user = match (&request, cx.session.user) {
        (Request::Hello(hello), known) => return greet(app, cx, hello, known, to),
        (_, None) => return Err(Code::BeforeHello),
        (_, Some(user)) => user,
    };
    let Request::Shake(shake) = request else {
        return Ok(ask_ledger(app, cx, user, request, to));
    };
    let can_be_told = cx.can_reply(to.stream, SHAKE_REPLY_BYTES_MAX);
    let reply = serve_shake(app, cx, user, shake, can_be_told).unwrap_or_else(|not_served| {
        let NotServed {
            retry_after_ms,
            is_blocked,
            ..
        } = not_served;
        let grade = app.limits.present.grade();
        shake::slow_down(&app.conditions, grade, shake, retry_after_ms, is_blocked)
    });
    cx.session.behaviour.shook(Some(&reply), 1);
    Ok(Answer::Now(Kind::Shake(reply)))
}

/// Answers a shake.
///
/// # Errors
/// When its user was told a moment ago not to: a datagram gets no answer then.
fn serve_shake(
    app: &mut Gateway,
    cx: &mut PhoneCx<'_>,
    user: UserId,
    shake: Shake,
    can_be_told: bool,
) -> Result<v1::ShakeReply, NotServed> {
    let mut visitor = visitor(cx, user);
    let (conditions, seals) = (&app.conditions, &mut app.seals);
    let entry = gatekeep::shake(
        &mut visitor,
        conditions,
        &app.blocklist,
        &mut app.limits,
        &mut seals.rng,
    );
    let pace_ms = match entry {
        Ok(pace_ms) => pace_ms,
        Err(NotServed {
            why: Some(why),
            retry_after_ms,
            is_blocked,
        }) => {
            app.counters.slowed[why].inc();
            let grade = app.limits.present.grade();
            let reply = shake::slow_down(conditions, grade, shake, retry_after_ms, is_blocked);
            return Ok(reply);
        }
        Err(told_before) => {
            app.counters.dropped[Dropped::ToldBefore].inc();
            return Err(told_before);
        }
    };
    let mut prizes = Prizes {
        winners: &app.shared.winners,
        release: &mut app.release,
        ledger: &mut app.ledger,
        in_hand: &app.in_hand,
        seals,
    };
    let shaken = shake::shake(conditions, &mut prizes, user, shake, pace_ms, can_be_told);
    app.counters.shakes[shaken.outcome].inc();
    if let Some(missed) = shaken.missed {
        app.counters.missed[missed].inc();
    }
    if shaken.reply.red_packet.is_some() {
        app.counters.wins.inc();
        cx.hot.won(&app.limits.present);
    }
    Ok(shaken.reply)
}

/// Answers a Hello: from then on the session is its user's.
fn greet(
    app: &mut Gateway,
    cx: &mut PhoneCx<'_>,
    hello: &Hello,
    known: Option<UserId>,
    to: ReturnAddress,
) -> Result<Answer, Code> {
    if let Some(user) = known {
        let mut visitor = visitor(cx, user);
        let Gateway {
            conditions,
            blocklist,
            limits,
            seals,
            ..
        } = app;
        let entry = gatekeep::request(
            RequestKind::Hello,
            &mut visitor,
            conditions,
            blocklist,
            limits,
            &mut seals.rng,
        );
        debug_assert!(entry.is_ok(), "whoever is blocked hears of it by the reply");
    }
    let proof = hello::prove(&app.conditions, hello, known, &mut cx.session.limits)?;
    app.counters.hellos.inc();
    let user = proof.token.user;
    let show_pace_ms = app.conditions.show_pace_ms();
    let pace_ms = app.limits.present.pace_ms(show_pace_ms, &mut app.seals.rng);
    let mut greeting = hello::greet(
        &app.conditions,
        &app.shared.winners,
        &mut app.seals,
        hello,
        user,
        &mut cx.session.limits,
        pace_ms,
    );
    let now_ns = app.conditions.now.elapsed_ns;
    if let Some(retry_after_ms) = app.blocklist.blocked_ms(user, hello.device, now_ns) {
        app.counters.hellos_blocked.inc();
        greeting.reply.blocked = Some(v1::Blocked { retry_after_ms });
    }
    app.authenticate(proof, to.session.index as usize);
    if hello.takes_notices && greeting.reply.blocked.is_none() {
        offers::offers(app, user, &mut cx.session.limits, to.session);
    }
    if known.is_none() {
        elsewhere::note(app, to.session);
    }
    cx.set_deadline(None);
    cx.hot.name(true);
    cx.hot.delays_acks = cx.delays_acks();
    let phone = &mut *cx.session;
    phone.user = Some(user);
    phone.takes_notices = hello.takes_notices;
    phone.behaviour.said_hello(hello.device, known.is_none());
    if greeting.is_cookie_forged {
        app.counters.cookies_refused.inc();
        phone.behaviour.forged();
    }
    Ok(Answer::Now(Kind::Hello(greeting.reply)))
}

/// Has the ledger answer a request, if it is let in.
fn ask_ledger(app: &mut Gateway, cx: &mut PhoneCx<'_>, user: UserId, request: Request, to: ReturnAddress) -> Answer {
    let kind = request.kind();
    app.counters.asks[kind].inc();
    let mut visitor = visitor(cx, user);
    let entry = gatekeep::request(
        kind,
        &mut visitor,
        &app.conditions,
        &app.blocklist,
        &mut app.limits,
        &mut app.seals.rng,
    );
    if let Err(kept) = entry {
        app.counters.busy[kept.why].inc();
        let answer = Answer::busy(kind, kept.retry_after_ms, kept.is_blocked);
        cx.session.behaviour.asked(answer.at_once());
        return answer;
    }
    let (conditions, ledger, seals) = (&app.conditions, &mut app.ledger, &app.seals);
    let mut is_forged = false;
    let asked = match request {
        Request::Hello(_) | Request::Shake(_) => unreachable!("the ledger is not asked for them"),
        Request::Claim(claim) => {
            let (asked, is_cookie_forged) =
                claim::claim(conditions, &app.shared.winners, ledger, seals, user, claim, to);
            if is_cookie_forged {
                app.counters.cookies_refused.inc();
                is_forged = true;
            }
            asked
        }
        Request::Send(send) => red_packets::send(conditions, ledger, seals, user, send, to),
        Request::Grab(grab) => red_packets::grab(conditions, ledger, user, grab, to),
        Request::PacketView(view) => red_packets::packet_view(conditions, ledger, user, view, to),
        Request::Wallet => red_packets::wallet(conditions, ledger, user, to),
    };
    let answer = match asked {
        Ok(()) => Answer::Pending,
        Err(NotAsked::Busy(why)) => app.busy(kind, why),
        Err(NotAsked::Refused { reason, is_forged: is }) => {
            is_forged |= is;
            app.counters.refused[reason].inc();
            Answer::Now(
                kind.refused(reason)
                    .expect("only what the ledger may refuse is refused here"),
            )
        }
    };
    cx.session.behaviour.asked(answer.at_once());
    if is_forged {
        cx.session.behaviour.forged();
    }
    answer
}

fn visitor<'a>(cx: &'a mut PhoneCx<'_>, user: UserId) -> Visitor<'a> {
    let address = cx.peer().ip();
    let phone = &mut *cx.session;
    Visitor {
        user,
        device: phone.behaviour.device(),
        address,
        limits: cx.hot,
        asked: &mut phone.limits.asks,
    }
}

/// Answers a request on its stream.
pub fn reply(app: &mut Gateway, cx: &mut PhoneCx<'_>, stream: StreamId, kind: Kind) {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Reply { kind: Some(kind) }, &mut bytes);
    if cx.reply(stream, bytes.freeze()).is_err() {
        refuse(app, cx, stream, Code::Abuse);
    }
}

fn refuse(app: &mut Gateway, cx: &mut PhoneCx<'_>, stream: StreamId, code: Code) {
    app.counters.streams_refused[code].inc();
    let phone = &mut *cx.session;
    app.reports.note_refusal(&mut phone.behaviour, phone.user, code);
    cx.refuse(stream, code.number());
}

/// A notice as a stream carries it.
pub fn encode_notice(kind: v1::notice::Kind) -> Bytes {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Notice { kind: Some(kind) }, &mut bytes);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_to_a_shake_is_longer_than_room_is_asked_for() {
        let shake = v1::ShakeReply {
            sequence: u32::MAX,
            outcome: v1::Outcome::RedPacket as i32,
            resource_id: u32::MAX,
            pace_ms: u32::MAX,
            config_version: u64::MAX,
            red_packet: Some(v1::RedPacket {
                ticket: vec![1; TICKET_BYTES].into(),
                sponsor_id: u16::MAX.into(),
                cookie: vec![1; COOKIE_BYTES_MAX].into(),
            }),
            slow_down: None,
        };
        let mut bytes = BytesMut::new();
        let kind = Some(Kind::Shake(shake));
        frame::encode_stream(&v1::Reply { kind }, &mut bytes);
        assert!(bytes.len() <= SHAKE_REPLY_BYTES_MAX, "{}", bytes.len());
    }
}
