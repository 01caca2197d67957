//! What users do and hear: requests and their answers, shakes, notices, connections made and lost.

use super::super::gateways::Gateway;
use super::Driver;
use super::seat::{Asked, Happened, Seat, Standing, Todo, failure_of, reason_name, token_key};
use super::seats::{self, AHEAD};
use crate::schedule::{Due, Micros};
use crate::user::{Action, ConnectNext, ErrandNext, RequestFailure, ShakeNext};
use bytes::{Bytes, BytesMut};
use lean_quic::{CloseReason, Refused, StreamId};
use prost::Message;
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX, SHAKE_BYTES_MAX};
use shake_proto::wire::v1::{self, reply, request::Kind};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};

/// Shakes sent before the sockets get their turn.
const BATCH: u32 = 256;
/// After so long a request without a stream asks again.
const ASK_AGAIN: Micros = Micros::from_ms(5);

impl Driver {
    pub(super) fn on_event(&mut self, now: Micros, index: u32, event: Happened) {
        match event {
            Happened::Connected => {
                let seat = &mut self.seats[index as usize];
                seat.stop_connecting(); // from here on the Hello's own timeout holds
                let user = &seat.user;
                let hello = user.hello(mint(&self.tokens, self.tokens_expire_at, user.id()));
                self.ask(now, index, Asked::Hello, Kind::Hello(hello));
            }
            Happened::ShakeReply(Some(reply)) => self.on_shake_reply(now, index, reply),
            Happened::ShakeReply(None) => self.seats[index as usize].user.on_malformed_datagram(&mut self.tally),
            Happened::Response(stream, answer) => self.on_response(now, index, stream, answer),
            Happened::Notice(bytes) => self.on_notice(now, index, bytes),
            Happened::ResetToken(token) => {
                self.forget_token(index);
                let key = token_key(&token);
                self.by_token.insert(key, index);
                self.seats[index as usize].token = Some(key);
            }
            Happened::Closed(reason) => self.on_closed(now, index, &reason),
        }
    }

    fn forget_token(&mut self, index: u32) {
        if let Some(key) = self.seats[index as usize].token.take() {
            self.by_token.remove(&key);
        }
    }

    // ---- requests ------------------------------------------------------------------------------------------

    /// Sends a request, whose answer comes to [`on_answer`](Self::on_answer), be it a failure.
    pub(super) fn ask(&mut self, now: Micros, index: u32, asked: Asked, kind: Kind) {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        let patience = match asked {
            Asked::Shake(_) => self.scenario.habits.shake_timeout,
            Asked::Hello | Asked::Errand(_) => Micros::from_ms(self.scenario.request_timeout_ms.into()),
        };
        self.send_request(now, index, asked, bytes.to_vec(), now.plus(patience));
    }

    pub(super) fn send_request(&mut self, now: Micros, index: u32, asked: Asked, bytes: Vec<u8>, until: Micros) {
        let seat = &mut self.seats[index as usize];
        let opened = seat
            .connection
            .as_mut()
            .map(|connection| connection.open_request(&bytes));
        match opened {
            Some(Ok(stream)) => seat.todo.push((until, Todo::GiveUp(stream, asked))),
            Some(Err(Refused::StreamLimit | Refused::Busy)) => {
                seat.todo
                    .push((now.plus(ASK_AGAIN).min(until), Todo::AskAgain(asked, bytes, until)));
            }
            _ => self.on_answer(now, index, asked, Err(RequestFailure::ConnectionLost)),
        }
    }

    fn on_response(&mut self, now: Micros, index: u32, stream: StreamId, answer: Result<Vec<u8>, RequestFailure>) {
        let Some(asked) = self.seats[index as usize].take_asked(stream) else {
            return;
        };
        let answer = answer.and_then(|bytes| {
            frame::decode_stream::<v1::Reply>(bytes.into(), REPLY_BYTES_MAX).map_err(RequestFailure::Malformed)
        });
        self.on_answer(now, index, asked, answer);
    }

    pub(super) fn on_answer(
        &mut self,
        now: Micros,
        index: u32,
        asked: Asked,
        answer: Result<v1::Reply, RequestFailure>,
    ) {
        match asked {
            Asked::Hello => self.on_hello(now, index, answer),
            Asked::Errand(id) => {
                let seat = &mut self.seats[index as usize];
                let (next, actions) = seat
                    .user
                    .on_errand(now, id, answer, &self.scenario.habits, &mut self.tally);
                if let ErrandNext::At(at) = next {
                    seat.todo.push((at, Todo::Errand(id)));
                }
                self.act(now, index, actions);
            }
            Asked::Shake(sequence) => self.on_shake_answer(now, index, sequence, answer),
        }
    }

    fn on_hello(&mut self, now: Micros, index: u32, answer: Result<v1::Reply, RequestFailure>) {
        if let Err(failure) = &answer {
            self.tally.error(&format!("hello_{}", failure.name()), "");
        }
        let seat = &mut self.seats[index as usize];
        match seat.user.on_hello(now, answer, &self.scenario.habits, &mut self.tally) {
            Ok(actions) => {
                if let Standing::Connecting(began) = seat.standing {
                    let network = seat.user.network(&self.scenario.habits);
                    let was_alive = self.sockets.has_lived_since(now, index, began);
                    self.tally.hello_answered(network, now.since(began), was_alive);
                    self.connecting -= 1;
                }
                seat.standing = Standing::Online;
                self.settled += u32::from(!std::mem::replace(&mut seat.has_settled, true));
                self.online += 1;
                self.act(now, index, actions);
            }
            Err(next) => {
                self.drop_connection(now, index);
                self.go_on(index, next);
            }
        }
    }

    // ---- what users do because of it -------------------------------------------------------------------------

    /// Does what a user decided to do. The seat is to be settled afterwards; a friend's is settled here.
    pub(super) fn act(&mut self, now: Micros, index: u32, actions: impl IntoIterator<Item = Action>) {
        for action in actions {
            let seat = &mut self.seats[index as usize];
            match action {
                Action::Errand(start) => seat.todo.push((start.at, Todo::Errand(start.id))),
                Action::Leave { at, to } => {
                    seat.todo.push((at, Todo::Leave));
                    match to.map(|to| self.gateways.named(&to).ok_or(to)) {
                        Some(Ok(gateway)) => self.go_to(index, gateway),
                        Some(Err(to)) => self.tally.error("go_away_alternative_unusable", &to),
                        None => self.go_elsewhere(index),
                    }
                }
                Action::Fetch(fetch) => self.fetchers.order(fetch),
                Action::Tell { friend_index, code } => {
                    let friend = &mut self.seats[friend_index as usize];
                    let grab = friend.user.on_told(now, &code, &self.scenario.habits, &mut self.tally);
                    // Hearing of a code begins a grab at the most, so this goes no deeper.
                    self.act(now, friend_index, grab);
                    self.settle(now, friend_index);
                }
            }
        }
    }

    // ---- connections ---------------------------------------------------------------------------------------

    pub(super) fn on_connect_failed(&mut self, now: Micros, index: u32, name: &str, message: &str) {
        self.tally.error(&format!("connect_{name}"), message);
        let Seat { user, gateway, .. } = &mut self.seats[index as usize];
        let next = user.on_connect_failed(now, name, &self.scenario.habits, &mut self.tally);
        let gateway = self.gateways.after_failure(*gateway, || user.draw());
        self.go_to(index, gateway);
        self.go_on(index, next);
    }

    /// The next connection goes to this gateway.
    fn go_to(&mut self, index: u32, gateway: Gateway) {
        let seat = &mut self.seats[index as usize];
        self.tally.sessions.moved += u64::from(gateway.place() != seat.gateway.place());
        seat.gateway = gateway;
    }

    /// The next connection goes to another of the scenario's gateways, if there is one.
    fn go_elsewhere(&mut self, index: u32) {
        let Seat { user, gateway, .. } = &mut self.seats[index as usize];
        let gateway = self.gateways.another(*gateway, || user.draw());
        self.go_to(index, gateway);
    }

    /// The session has no connection any more, and does this next.
    fn go_on(&mut self, index: u32, next: ConnectNext) {
        if matches!(next, ConnectNext::Elsewhere(_)) {
            self.go_elsewhere(index);
        }
        let seat = &mut self.seats[index as usize];
        match next {
            ConnectNext::At(at) | ConnectNext::Elsewhere(at) => seat.todo.push((at, Todo::Connect)),
            ConnectNext::GiveUp => self.settled += u32::from(!std::mem::replace(&mut seat.has_settled, true)),
        }
        if let Some(at) = seat.deadline() {
            self.wheel.arm(index, &mut seat.armed, at);
        }
    }

    /// Lets go of the connection, having told the gateway unless it knows. What it still owes is on its way or lost:
    /// nobody waits for a connection to drain.
    pub(super) fn drop_connection(&mut self, now: Micros, index: u32) {
        let seat = &mut self.seats[index as usize];
        if let Some(mut connection) = seat.connection.take() {
            connection.close(now, Code::Done.number().into(), &mut |_| {});
            self.sockets.take_from(index, &mut connection, now);
        }
        seat.stop_connecting();
        match std::mem::replace(&mut seat.standing, Standing::Offline) {
            Standing::Connecting(_) => self.connecting -= 1,
            Standing::Online => self.online -= 1,
            Standing::Offline => {}
        }
        self.forget_token(index);
    }

    fn on_closed(&mut self, now: Micros, index: u32, reason: &CloseReason) {
        let standing = self.seats[index as usize].standing;
        self.drop_connection(now, index);
        let asked = self.seats[index as usize].take_all_asked();
        let was_greeting = asked.contains(&Asked::Hello);
        for asked in asked {
            self.on_answer(now, index, asked, Err(failure_of(reason)));
        }
        match standing {
            Standing::Online => {
                let user = &mut self.seats[index as usize].user;
                let next = user.on_connection_lost(now, &reason_name(reason), &self.scenario.habits, &mut self.tally);
                self.go_on(index, next);
            }
            // The failed Hello has said what is next.
            Standing::Connecting(_) if was_greeting => {}
            Standing::Connecting(_) => self.on_connect_failed(now, index, &reason_name(reason), &reason.to_string()),
            Standing::Offline => {}
        }
    }

    fn on_notice(&mut self, now: Micros, index: u32, bytes: Option<Vec<u8>>) {
        let lost = Err(RequestFailure::Malformed(Code::Oversized));
        let message = bytes.map_or(lost, |bytes| {
            frame::decode_stream::<v1::Notice>(bytes.into(), REPLY_BYTES_MAX).map_err(RequestFailure::Malformed)
        });
        let seat = &mut self.seats[index as usize];
        match message {
            Ok(notice) => {
                let action = seat
                    .user
                    .on_notice(now, &notice, &self.scenario.habits, &mut self.tally);
                self.act(now, index, action);
            }
            Err(failure) => {
                self.tally.violations.malformed_replies += 1;
                self.tally.error(&format!("notice_{}", failure.name()), "");
            }
        }
    }

    // ---- shakes --------------------------------------------------------------------------------------------

    /// Sends what is due of the schedule. Says whether there is more.
    pub(super) fn shake(&mut self, now: Micros) -> bool {
        for _ in 0..if self.is_shaking { BATCH } else { 0 } {
            let Some(due) = self.schedule.pop(now) else {
                return false;
            };
            let Due { at, session, sequence } = due;
            seats::prefetch(&self.seats, self.schedule.whose(AHEAD));
            if self.shake_when_allowed(now, at, session, sequence) {
                self.settle(now, session);
            }
        }
        self.is_shaking
    }

    /// Sends a shake that is due, or keeps it until the phone may shake. Says whether the seat is to be settled.
    pub(super) fn shake_when_allowed(&mut self, now: Micros, due: Micros, index: u32, sequence: u32) -> bool {
        let seat = &mut self.seats[index as usize];
        let habits = &self.scenario.habits;
        let shake = match seat.user.on_shake_due(now, due, sequence, habits, &mut self.tally) {
            ShakeNext::Send(shake) => shake,
            ShakeNext::At(at) => {
                seat.todo.push((at, Todo::Shake(sequence)));
                return true;
            }
            ShakeNext::Instead(action) => {
                self.act(now, index, Some(action));
                return true;
            }
            ShakeNext::LeftOut => return false,
        };
        if seat.user.shakes_on_streams() {
            self.ask(now, index, Asked::Shake(sequence), Kind::Shake(shake));
        } else if let Some(connection) = &mut seat.connection {
            let mut bytes = [0; SHAKE_BYTES_MAX];
            let length = shake.encoded_len();
            shake
                .encode(&mut &mut bytes[..])
                .expect("a shake is a tag and a 32-bit number");
            if let Err(refused) = connection.send_datagram(&bytes[..length]) {
                let reason = match refused {
                    Refused::DatagramsUnsupported => "datagrams_unsupported",
                    Refused::TooLarge => "datagram_too_large",
                    Refused::Busy => "datagram_queue_full",
                    Refused::NotConnected | Refused::StreamLimit => "connection_lost",
                };
                seat.user.on_shake_failed(sequence, reason, &mut self.tally);
            }
        }
        true
    }

    fn on_shake_reply(&mut self, now: Micros, index: u32, reply: v1::ShakeReply) {
        let seat = &mut self.seats[index as usize];
        let won = seat
            .user
            .on_shake_reply(now, reply, &self.scenario.habits, &mut self.tally);
        self.act(now, index, won);
    }

    fn on_shake_answer(&mut self, now: Micros, index: u32, sequence: u32, answer: Result<v1::Reply, RequestFailure>) {
        let failure = match answer.map(|reply| reply.kind) {
            Ok(Some(reply::Kind::Shake(reply))) => return self.on_shake_reply(now, index, reply),
            Ok(_) => RequestFailure::Malformed(Code::Unknown),
            Err(failure) => failure,
        };
        self.tally.violations.malformed_replies += u64::from(matches!(failure, RequestFailure::Malformed(_)));
        let user = &mut self.seats[index as usize].user;
        user.on_shake_failed(sequence, &failure.name(), &mut self.tally);
    }
}

/// The token that a user says Hello with.
pub(super) fn mint(tokens: &TokenKeys, expires_at: UnixMillis, user: u64) -> Bytes {
    let user = UserId(user);
    Bytes::copy_from_slice(&tokens.mint(UserToken { user, expires_at }))
}
