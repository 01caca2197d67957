//! What the socket has, handed on: packets of sessions to their sessions, a batch at a time; new connections accepted, or
//! asked to prove their address, or refused.

use super::batch::{BATCH, Received, RecvBatch};
use super::cid::short_header_cid;
use super::endpoints::{Arrival, Arrived, Place};
use super::front::Front;
use super::io::Io;
use super::session::{Session, Taken};
use super::unasked::PROBE_BYTES_MIN;
use super::{AHEAD, BATCHES_PER_TURN, Shard, mark};
use crate::counters::{RejectReason, Shed};
use crate::limits::{Applicant, Decision, Limits, Spending};
use crate::tls::MAX_ACK_DELAY;
use quinn_proto::ConnectionEvent;
use shake_proto::code::Code;
use std::net::SocketAddr;
use std::sync::Arc;

/// Of a shard with more sessions none is asked to delay acknowledgements: it cannot serve each so often that they ride on shakes.
const DELAYED_ACK_SESSIONS_MAX: usize = 32_768;

/// A packet for a session.
pub(super) struct Found {
    place: Place,
    remote: SocketAddr,
    cid: Option<u64>,
    bytes: u16,
    /// Nothing when the packet is shed.
    event: Option<ConnectionEvent>,
    is_judged: bool,
}

impl<I: Io> Shard<I> {
    /// Reads what the socket has into the backlog, as far as there is room. Gives how many packets that were.
    pub(super) fn read(&mut self) -> usize {
        self.arrivals.before_read(self.parts.io.instant());
        let (read, result) = self.backlog.read(&mut self.parts.io);
        self.pacing.note(read);
        self.app.counters.packets_received.add(read as u64);
        if result.is_err() {
            self.app.counters.receive_errors.inc();
        }
        read
    }

    /// Handles what was read, at most as many batches as one turn has, and between two of them reads on.
    pub(super) fn receive(&mut self) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(received) = self.backlog.next() else {
                self.arrivals.socket_is_empty();
                break;
            };
            self.arrivals.batch(&mut self.app, &received, &self.parts.io);
            self.look_up_all(&received);
            let count = received.len();
            self.backlog.reuse(received);
            self.pass_on();
            // While they are in the caches; and so that who sent many at once gets the answers to those before.
            self.settle();
            self.sessions.rest(self.app.conditions.now.instant);
            if count < BATCH && self.backlog.is_empty() {
                self.arrivals.socket_is_empty();
                break;
            }
            self.read();
        }
    }

    /// Sheds what can be without looking further, and finds whom the rest of a batch is for.
    fn look_up_all(&mut self, received: &RecvBatch) {
        let count = received.len();
        let mut known = [None; BATCH];
        if self.repeats.is_awake(self.app.conditions.now.elapsed_ns) {
            // Two rounds, each of which asks the memory for what the next one looks at.
            for at in 0..count {
                self.repeats.prefetch(received.bytes(at));
            }
            for (at, known) in known.iter_mut().enumerate().take(count) {
                *known = self.repeats.find(received.bytes(at));
                if let Some(index) = *known {
                    self.fronts.prefetch(index);
                }
            }
        }
        for (at, known) in known.into_iter().enumerate().take(count) {
            if known.is_some_and(|index| self.is_shed(index, short_header_cid(received.bytes(at)))) {
                continue;
            }
            if let Some(packet) = received.packet(at) {
                self.look_up(&packet, known.is_some());
            }
        }
    }

    /// Finds whom a packet is for. What is for a session waits for the rest of the batch.
    fn look_up(&mut self, packet: &Received<'_>, is_judged: bool) {
        self.make_room();
        let now = self.app.conditions.now.instant;
        let buffer = self.outgoing.buffer();
        match self.parts.endpoints.handle(now, packet, buffer) {
            Some(Arrived::Session(place, event)) => {
                self.found.push(Found {
                    place,
                    remote: packet.remote,
                    cid: short_header_cid(packet.bytes),
                    bytes: packet.bytes.len() as u16,
                    event: Some(event),
                    is_judged,
                });
            }
            Some(Arrived::New(arrival)) => self.admit(arrival),
            Some(Arrived::Answered(transmit)) => {
                // The only answer to a short header is a stateless reset.
                if let Some(cid) = short_header_cid(packet.bytes) {
                    let now_ns = self.app.conditions.now.elapsed_ns;
                    if !self.resets.make(cid, buffer, now_ns, &mut self.app.seals.rng) {
                        return self.app.counters.resets_limited.inc();
                    }
                    self.app.counters.resets.inc();
                }
                self.outgoing.push(&transmit);
            }
            None => self.app.counters.packets_discarded.inc(),
        }
    }

    /// Gives the sessions their packets of a batch, in the order in which they came. Each packet is judged, and its
    /// session asked for, while those before it are handled; what is judged by was asked for by the round before.
    fn pass_on(&mut self) {
        let mut found = std::mem::take(&mut self.found);
        for found in &found {
            let index = self.parts.endpoints.session(found.place);
            self.fronts.prefetch(index);
            self.sessions.prefetch_slot(index);
            self.wheel.prefetch(index);
        }
        let mut judged = 0;
        for at in 0..found.len() {
            while judged < found.len().min(at + AHEAD) {
                self.judge(&mut found[judged]);
                judged += 1;
            }
            let Found {
                place,
                remote,
                cid,
                bytes,
                event,
                ..
            } = &mut found[at];
            if let Some(event) = event.take() {
                let index = self.parts.endpoints.session(*place);
                self.open(index, *remote, *bytes, cid.is_some(), event);
            }
        }
        found.clear();
        self.found = found;
    }

    /// Has a packet opened, for which its session is fetched, or sheds it.
    fn judge(&mut self, found: &mut Found) {
        let index = self.parts.endpoints.session(found.place);
        if (found.is_judged || !self.is_shed(index, found.cid)) && self.is_paid_for(index) {
            return self.fetch(index);
        }
        found.event = None;
        if let Some(cid) = found.cid {
            self.repeats.note(cid, index);
        }
    }

    /// Charges a session for a packet. False when its budget has none left; who has used it up before Hello is closed.
    fn is_paid_for(&mut self, index: usize) -> bool {
        let Some(front) = self.fronts.get_mut(index) else {
            return true;
        };
        let Limits { packets, present, .. } = &self.app.limits;
        match packets.spend(present, &mut front.limits) {
            Spending::Open => return true,
            Spending::Shed(why) => self.count_shed(why),
            Spending::Close => {
                self.count_shed(Shed::BeforeHello);
                let now = self.app.conditions.now.instant;
                if let Some(session) = self.sessions.get_mut(index)
                    && !session.connection.is_closed()
                {
                    self.app.counters.stream_refused(Code::Abuse).inc();
                    session.close(now, Code::Abuse);
                    self.touch(index);
                }
            }
        }
        false
    }

    fn count_shed(&mut self, why: Shed) {
        self.app.counters.shed(why).inc();
        self.repeats.wake(self.app.conditions.now.elapsed_ns);
    }

    /// Whether a packet that seems to be a session's is not worth opening.
    fn is_shed(&mut self, index: usize, cid: Option<u64>) -> bool {
        let Some(front) = self.fronts.get_mut(index) else {
            return false;
        };
        let Limits { packets, present, .. } = &self.app.limits;
        let why = packets.shed(present, &mut front.limits);
        let now = &self.app.conditions.now;
        if let Some(cid) = cid {
            let hold_ns = packets.hold_ns(present, &front.limits);
            self.parts.io.filter_out(cid, hold_ns, now);
        }
        if let Some(why) = why {
            self.count_shed(why);
        }
        why.is_some()
    }

    /// Has a session take a packet of so many bytes, or holds it until the handshake is over that it belongs behind.
    fn open(&mut self, index: usize, remote: SocketAddr, bytes: u16, is_short: bool, event: ConnectionEvent) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.is_handshaking && is_short && session.is_early(remote) {
            let counters = &self.app.counters;
            let counter = if self.early.hold(index, event) {
                &counters.packets_early
            } else {
                &counters.packets_early_dropped
            };
            return counter.inc();
        }
        match session.take(self.app.conditions.now.elapsed_ns, remote, event) {
            Taken::Here => {
                if bytes >= PROBE_BYTES_MIN && remote != session.connection.remote_address() {
                    self.unasked.answerable(index, remote);
                }
            }
            Taken::MovedFrom(before) => self.unasked.answerable(index, before),
            Taken::Refused => self.app.counters.moves_refused.inc(),
        }
        if session.is_handshaking
            && let Some(front) = self.fronts.get_mut(index)
        {
            front.note_keys();
        }
        mark(session, index, &mut self.dirty);
        let now = self.app.conditions.now.instant;
        self.app.shared.presence.hear(self.app.shard, index, now);
    }

    /// Accepts a new connection, or asks it to prove its address, or refuses it.
    fn admit(&mut self, arrival: Arrival) {
        let counters = Arc::clone(&self.app.counters);
        let now = self.app.conditions.now.instant;
        let applicant = Applicant {
            address: arrival.incoming.remote_address().ip(),
            is_proven: arrival.incoming.remote_address_validated(),
            is_going: self.is_stopping || self.app.shared.current.is_draining(),
            is_memory_full: self.app.shared.board.is_memory_full(),
            is_full: self.is_full(),
            handshakes: self.handshaking,
            handshakes_max: self.parts.sessions.handshakes_max,
        };
        let mut decision = self.app.admit(&applicant);
        if decision == Decision::AcceptInPlace && !self.make_place() {
            decision = Decision::Refuse(RejectReason::SessionsFull);
        }
        let buffer = self.outgoing.buffer();
        match decision {
            Decision::Accept | Decision::AcceptInPlace => {}
            Decision::Refuse(why) => {
                counters.rejected(why).inc();
                let transmit = self.parts.endpoints.refuse(arrival, buffer);
                return self.outgoing.push(&transmit);
            }
            Decision::Retry => {
                counters.connections_retried.inc();
                if let Some(transmit) = self.parts.endpoints.retry(arrival, buffer) {
                    self.outgoing.push(&transmit);
                }
                return;
            }
        }
        let servers = &self.app.conditions.secrets.servers;
        // An acknowledgement that waits in vain comes to a session that has left the caches, or would sleep by then.
        let may_delay =
            self.sessions.len() < DELAYED_ACK_SESSIONS_MAX && self.app.conditions.may_shake_within(MAX_ACK_DELAY);
        let server = if may_delay {
            &servers.delayed_ack
        } else {
            &servers.default
        };
        let accepted = self
            .app
            .growth
            .of_tables(|| self.parts.endpoints.accept(arrival, server, now, buffer));
        match accepted {
            Ok((place, connection)) => {
                counters.connections_accepted.inc();
                self.handshaking += 1;
                self.next_serial = self.next_serial.wrapping_add(1);
                let serial = self.next_serial;
                let session = Session::new(connection, place, serial, now, self.parts.sessions.hello_timeout);
                let mut front = Front::new();
                front.limits.is_uncharged = !applicant.is_proven;
                if applicant.is_proven {
                    self.app.charge(applicant.address);
                }
                front.note_controller();
                front.note_keys();
                let index = self.app.growth.of_pages(|| {
                    let at = self.fronts.insert(front);
                    let index = self.sessions.insert(session);
                    assert_eq!(at, index, "a session and its front come and go together");
                    assert_eq!(self.app.terms.insert(serial), index, "and so does its term");
                    index
                });
                self.room.note(index, serial, now, &self.app.terms);
                self.parts.endpoints.seat(place, index);
                self.touch(index);
            }
            Err(error) => {
                counters.connections_failed.inc();
                if let Some(transmit) = error.response {
                    self.outgoing.push(&transmit);
                }
            }
        }
    }
}
