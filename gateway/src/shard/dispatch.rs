//! What a session received, sorted by kind: datagrams and request streams in, replies and refusals out.

use super::serving::{Answer, Serving, Shaker};
use super::session::{Read, Sent, Session};
use super::session_id::SessionId;
use crate::counters::Dropped;
use crate::in_flight::ReturnAddress;
use crate::limits::UserLimits;
use bytes::{Bytes, BytesMut};
use quinn_proto::{Dir, Event, SendDatagramError, StreamEvent, StreamId};
use shake_proto::code::Code;
use shake_proto::frame::{self, REQUEST_BYTES_MAX};
use shake_proto::request::{Request, Shake};
use shake_proto::wire::v1;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::ticket::TICKET_BYTES;

/// Reply bytes allocated at a time.
const ARENA_BYTES: usize = 64 * 1024;
/// The most bytes of an answer to a shake: ticket and cookie of a win, and some numbers.
const SHAKE_REPLY_BYTES_MAX: usize = TICKET_BYTES + COOKIE_BYTES_MAX + 64;

pub(super) fn handle_event(
    session: &mut Session,
    limits: &mut UserLimits,
    index: usize,
    serving: &mut Serving,
    event: Event,
) {
    match event {
        Event::Connected => {
            session.behaviour.established();
            serving.counters.connections_established.inc();
            if std::mem::take(&mut limits.is_uncharged) {
                let address = session.connection.remote_address().ip();
                let Serving { limits, live, .. } = serving;
                limits.connections.charge(&limits.present, live, address);
            }
        }
        Event::DatagramReceived => {
            while let Some(datagram) = session.connection.datagrams().recv() {
                shake_by_datagram(session, limits, serving, datagram);
            }
        }
        Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
            while let Some(stream) = session.accept() {
                request_on_stream(session, limits, index, serving, stream);
            }
        }
        Event::Stream(StreamEvent::Readable { id }) => request_on_stream(session, limits, index, serving, id),
        Event::Stream(StreamEvent::Writable { id }) => session.write_on(id),
        Event::Stream(StreamEvent::Stopped { id, .. }) => session.give_up(id),
        Event::Stream(StreamEvent::Finished { .. }) => session.is_heard(),
        // The rest needs no answer: the handshake's data, and the end of a connection (it drains by its timers).
        _ => {}
    }
}

fn shake_by_datagram(session: &mut Session, limits: &mut UserLimits, serving: &mut Serving, datagram: Bytes) {
    let shake = match frame::decode_shake(datagram) {
        Ok(shake) => Shake::from(shake),
        Err(code) => {
            let why = match code {
                Code::Oversized => Dropped::Oversized,
                _ => Dropped::Malformed,
            };
            serving.counters.dropped(why).inc();
            return serving.note_refusal(session, code);
        }
    };
    let Some(user) = session.user else {
        return serving.counters.dropped(Dropped::BeforeHello).inc();
    };
    let size_max = session.connection.datagrams().max_size();
    let Some(size_max) = size_max.filter(|_| !session.connection.is_closed()) else {
        return serving.counters.dropped(Dropped::NoReturn).inc();
    };
    // Before anything is won. Who takes short answers only, or has many waiting, is answered all the same.
    let room = size_max.min(session.connection.datagrams().send_buffer_space());
    let shaker = Shaker {
        address: session.connection.remote_address().ip(),
        can_be_told: room >= SHAKE_REPLY_BYTES_MAX,
    };
    let Some(reply) = serving.shake_of(session, limits, user, shake, shaker) else {
        return;
    };
    let bytes = frame::encode_datagram(&reply, &mut serving.arena, ARENA_BYTES);
    match session.connection.datagrams().send(bytes, false) {
        Ok(()) => {}
        Err(SendDatagramError::Blocked(_)) => serving.counters.dropped(Dropped::NoRoom).inc(),
        Err(_) => serving.counters.dropped(Dropped::NoReturn).inc(),
    }
}

fn request_on_stream(
    session: &mut Session,
    limits: &mut UserLimits,
    index: usize,
    serving: &mut Serving,
    stream: StreamId,
) {
    let served = match session.read(stream) {
        Read::Incomplete | Read::Gone => return,
        Read::Refused(code) => Err(code),
        Read::Request(bytes) => frame::decode_stream::<v1::Request>(bytes, REQUEST_BYTES_MAX)
            .and_then(Request::try_from)
            .and_then(|request| {
                let to = ReturnAddress {
                    session: SessionId {
                        index: index as u32,
                        serial: session.serial,
                    },
                    stream,
                };
                serve(session, limits, serving, request, to)
            }),
    };
    match served {
        Ok(Answer::Now(kind)) => reply(session, serving, stream, kind),
        Ok(Answer::Pending) => {}
        Err(code) => refuse(session, serving, stream, code),
    }
}

/// Serves one request, and notes what it says of the session.
fn serve(
    session: &mut Session,
    limits: &mut UserLimits,
    serving: &mut Serving,
    request: Request,
    to: ReturnAddress,
) -> Result<Answer, Code> {
    let (user, device) = (session.user, session.behaviour.device());
    let hello = match &request {
        Request::Hello(hello) => Some((hello.takes_notices, hello.device)),
        _ => None,
    };
    let is_ask = request.kind().is_of_ledger();
    let answer = match serving.turn_away(user, device, limits, &request) {
        Some(refusal) => refusal,
        None => {
            let shaker = Shaker {
                address: session.connection.remote_address().ip(),
                can_be_told: session.can_tell(to.stream, SHAKE_REPLY_BYTES_MAX),
            };
            serving.serve(request, &mut session.user, limits, &mut session.spent, shaker, to)?
        }
    };
    limits.name(session.user.is_some());
    if let Some((takes_notices, device)) = hello {
        limits.delays_acks = session.connection.stats().frame_tx.ack_frequency > 0;
        session.takes_notices = takes_notices;
        session.behaviour.said_hello(device, user.is_none());
    }
    let at_once = match &answer {
        Answer::Now(kind) => Some(kind),
        Answer::Pending => None,
    };
    if is_ask {
        session.behaviour.asked(at_once);
    }
    if let Some(v1::reply::Kind::Shake(reply)) = at_once {
        session.behaviour.shook(Some(reply), 1);
    }
    if std::mem::take(&mut serving.is_forged) {
        session.behaviour.forged();
    }
    Ok(answer)
}

pub(super) fn reply(session: &mut Session, serving: &mut Serving, stream: StreamId, kind: v1::reply::Kind) {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Reply { kind: Some(kind) }, &mut bytes);
    match session.reply(stream, bytes.freeze()) {
        Ok(Sent::Whole) => {}
        Ok(Sent::Waits) => serving.counters.replies_waited.inc(),
        Err(code) => refuse(session, serving, stream, code),
    }
}

/// Sends a notice, unless the client takes no more server streams.
pub(super) fn notify(session: &mut Session, kind: v1::notice::Kind) -> bool {
    session.notify(encode_notice(kind))
}

/// A notice as a stream carries it.
pub(super) fn encode_notice(kind: v1::notice::Kind) -> Bytes {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Notice { kind: Some(kind) }, &mut bytes);
    bytes.freeze()
}

fn refuse(session: &mut Session, serving: &mut Serving, stream: StreamId, code: Code) {
    serving.counters.stream_refused(code).inc();
    serving.note_refusal(session, code);
    session.refuse(stream, code);
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
        let kind = Some(v1::reply::Kind::Shake(shake));
        frame::encode_stream(&v1::Reply { kind }, &mut bytes);
        assert!(bytes.len() <= SHAKE_REPLY_BYTES_MAX, "{}", bytes.len());
    }
}
