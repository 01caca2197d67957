//! One turn of the loop: what arrived, what is due, who connects.

use super::Driver;
use super::play::mint;
use super::seat::{Asked, Happened, Standing, Todo, token_key};
use super::seats::{self, AHEAD};
use super::sockets::BATCH;
use super::wheel::Tick;
use crate::schedule::Micros;
use crate::user::RequestFailure;
use lean_quic::{Connection, LocalCid, RECEIVE_BYTES_MAX};
use ring::rand::SecureRandom;
use shake_proto::code::Code;

/// Batches taken from one socket before the others get their turn.
const ROUNDS: u32 = 4;
/// From the start of one turn to that of the next at the least, when nothing is behind: latencies are told to this.
const TURN: Micros = Micros(500);
/// Handshakes begun in one turn: each takes a good part of a tenth of a millisecond.
const CONNECTS_AT_A_TURN: u32 = 16;
/// Where the packet's own connection ID stands: behind one byte in a short header, behind version and length in a
/// long one (RFC 9000, section 17).
const SHORT_CID_AT: usize = 1;
const LONG_CID_AT: usize = 6;

impl Driver {
    pub(super) fn turn(&mut self, now: Micros, look_at: Micros) {
        let is_more = self.receive(now);
        self.cross(now);
        self.work_timers(now);
        self.ramp(now);
        let is_behind = self.shake(now);
        self.sockets.flush();
        let may_connect = !self.waiting.is_empty() && self.connecting < self.scenario.connects_at_once;
        if is_more || is_behind || may_connect {
            return;
        }
        let mut until = self.wheel.sleeps_until(look_at);
        if let Some(due) = self.schedule.next_due().filter(|_| self.is_shaking) {
            until = until.min(due);
        }
        if let Some(at) = self.sockets.next_at() {
            until = until.min(at);
        }
        if self.begun < self.scenario.sessions {
            until = until.min(self.begins_at(self.begun));
        }
        // What comes in the meantime comes in one batch.
        let rest = now.plus(TURN).since(self.now());
        std::thread::sleep(rest.into());
        let now = self.now();
        if until > now {
            self.sockets.wait(until.since(now));
        }
    }

    /// Takes what has arrived. Says whether a socket may hold more.
    fn receive(&mut self, now: Micros) -> bool {
        let mut buffer = [0; RECEIVE_BYTES_MAX];
        let mut is_more = false;
        for socket in 0..self.sockets.count() {
            for round in 0..ROUNDS {
                let count = self.sockets.receive(socket);
                let mut fetched = 0;
                for at in 0..count {
                    while fetched < count.min(at + AHEAD) {
                        let cid = local_cid(self.sockets.peek(fetched));
                        cid.inspect(|cid| seats::prefetch(&self.seats, index_of(cid)));
                        fetched += 1;
                    }
                    let length = self.sockets.datagram(at, &mut buffer);
                    match self.find(&buffer[..length]) {
                        Some(index) if self.sockets.has_network() => {
                            self.sockets.receive_across(now, socket, index, &buffer[..length]);
                        }
                        Some(index) => self.deliver(now, index, &mut buffer[..length]),
                        None => {}
                    }
                }
                if count < BATCH {
                    break;
                }
                is_more |= round == ROUNDS - 1;
            }
        }
        is_more
    }

    /// Takes what has crossed its network, if there are any.
    fn cross(&mut self, now: Micros) {
        while let Some(mut datagram) = self.sockets.cross(now) {
            if let Some(index) = self.find(&datagram) {
                self.deliver(now, index, &mut datagram);
            }
        }
    }

    /// The seat that a datagram is for: by its connection ID, which begins with the index, or as a stateless reset.
    fn find(&self, datagram: &[u8]) -> Option<u32> {
        if let Some(cid) = local_cid(datagram) {
            let index = index_of(&cid);
            let connection = self.seats.get(index as usize).and_then(|seat| seat.connection.as_ref());
            if connection.is_some_and(|connection| *connection.local_cid() == cid) {
                return Some(index);
            }
        }
        let token = datagram.last_chunk::<16>()?;
        self.by_token.get(&token_key(token)).copied()
    }

    fn deliver(&mut self, now: Micros, index: u32, datagram: &mut [u8]) {
        let happened = &mut self.happened;
        if let Some(connection) = &mut self.seats[index as usize].connection {
            connection.handle_datagram(now, datagram, &mut |event| happened.extend(Happened::from_event(event)));
        }
        self.follow_up(now, index);
    }

    /// Does what follows from the events of a connection, lets it speak, and arms its timer.
    pub(super) fn follow_up(&mut self, now: Micros, index: u32) {
        let mut happened = std::mem::take(&mut self.happened);
        for event in happened.drain(..) {
            self.on_event(now, index, event);
        }
        self.happened = happened;
        self.settle(now, index);
    }

    pub(super) fn settle(&mut self, now: Micros, index: u32) {
        let seat = &mut self.seats[index as usize];
        if let Some(connection) = &mut seat.connection {
            self.sockets.take_from(index, connection, now);
        }
        if let Some(at) = seat.deadline() {
            self.wheel.arm(index, &mut seat.armed, at);
        }
    }

    // ---- time ----------------------------------------------------------------------------------------------

    fn work_timers(&mut self, now: Micros) {
        while let Some((tick, indices)) = self.wheel.next(now) {
            for (at, &index) in indices.iter().enumerate() {
                if let Some(&next) = indices.get(at + AHEAD) {
                    seats::prefetch(&self.seats, next);
                }
                let seat = &mut self.seats[index as usize];
                if seat.armed == tick {
                    seat.armed = Tick::NONE;
                    self.on_time(now, index);
                }
            }
        }
    }

    fn on_time(&mut self, now: Micros, index: u32) {
        let happened = &mut self.happened;
        if let Some(connection) = &mut self.seats[index as usize].connection
            && connection.next_timeout().is_some_and(|at| at <= now)
        {
            connection.handle_timeout(now, &mut |event| happened.extend(Happened::from_event(event)));
        }
        while let Some((at, todo)) = self.seats[index as usize].take_due(now) {
            self.on_todo(now, index, at, todo);
        }
        self.follow_up(now, index);
    }

    fn on_todo(&mut self, now: Micros, index: u32, at: Micros, todo: Todo) {
        match todo {
            Todo::Connect => self.waiting.push_back(index),
            Todo::GiveUpConnecting => {
                self.drop_connection(now, index);
                self.on_connect_failed(now, index, "timed_out", "no handshake within connect_timeout_ms");
            }
            Todo::GiveUp(stream, asked) => {
                if let Some(connection) = &mut self.seats[index as usize].connection {
                    connection.cancel_request(stream, 0);
                }
                self.on_answer(now, index, asked, Err(RequestFailure::Timeout));
            }
            Todo::AskAgain(asked, _, until) if until <= now => {
                self.on_answer(now, index, asked, Err(RequestFailure::Timeout));
            }
            Todo::AskAgain(asked, bytes, until) => self.send_request(now, index, asked, bytes, until),
            Todo::Errand(id) => {
                let seat = &mut self.seats[index as usize];
                let token = |user| mint(&self.tokens, self.tokens_expire_at, user);
                let Some(request) = seat.user.errand_request(now, id, token) else {
                    return;
                };
                if seat.standing == Standing::Online {
                    self.ask(now, index, Asked::Errand(id), request);
                } else {
                    self.on_answer(now, index, Asked::Errand(id), Err(RequestFailure::Offline));
                }
            }
            // Settled with whatever else is due.
            Todo::Shake(sequence) => {
                self.shake_when_allowed(now, at, index, sequence);
            }
            Todo::Leave => {
                let seat = &mut self.seats[index as usize];
                if let Some(again) = seat.user.leaves_later(now) {
                    return seat.todo.push((again, Todo::Leave));
                }
                let happened = &mut self.happened;
                if let Some(connection) = &mut self.seats[index as usize].connection {
                    connection.close(now, Code::GoingAway.number().into(), &mut |event| {
                        happened.extend(Happened::from_event(event));
                    });
                }
            }
        }
    }

    // ---- connecting ----------------------------------------------------------------------------------------

    fn begins_at(&self, index: u32) -> Micros {
        Micros(u64::from(index) * 1_000_000 / u64::from(self.scenario.connects_per_second))
    }

    fn ramp(&mut self, now: Micros) {
        while self.begun < self.scenario.sessions && self.begins_at(self.begun) <= now {
            self.waiting.push_back(self.begun);
            self.begun += 1;
        }
        for _ in 0..CONNECTS_AT_A_TURN {
            if self.connecting >= self.scenario.connects_at_once {
                return;
            }
            let Some(index) = self.waiting.pop_front() else {
                return;
            };
            self.connect(now, index);
        }
    }

    fn connect(&mut self, now: Micros, index: u32) {
        let mut random = [0; 12];
        let drawn = self.random.fill(&mut random);
        let [a, b, c, d, destination @ ..] = random;
        let [w, x, y, z] = index.to_be_bytes();
        let local = [w, x, y, z, a, b, c, d];
        let made = Connection::new(self.config.clone(), now, self.server_name.clone(), local, destination);
        match made {
            Ok(connection) if drawn.is_ok() => {
                self.connecting += 1;
                let seat = &mut self.seats[index as usize];
                let place = seat.gateway.place();
                if let Err(error) = self.sockets.lead_to(index, place, self.gateways.address(seat.gateway)) {
                    self.tally.error("socket", &error.to_string());
                }
                seat.connection = Some(connection);
                seat.standing = Standing::Connecting(now);
                let patience = Micros::from_ms(self.scenario.connect_timeout_ms.into());
                seat.todo.push((now.plus(patience), Todo::GiveUpConnecting));
                self.settle(now, index);
            }
            Ok(_) => self.on_connect_failed(now, index, "not_started", "no random bytes"),
            Err(error) => self.on_connect_failed(now, index, "not_started", &error.to_string()),
        }
    }
}

/// The connection ID that a datagram is for.
fn local_cid(datagram: &[u8]) -> Option<LocalCid> {
    let at = if datagram.first()? & 0x80 == 0 {
        SHORT_CID_AT
    } else {
        LONG_CID_AT
    };
    datagram.get(at..)?.first_chunk().copied()
}

/// The seat that a connection ID names.
fn index_of(cid: &LocalCid) -> u32 {
    u32::from_be_bytes([cid[0], cid[1], cid[2], cid[3]])
}
