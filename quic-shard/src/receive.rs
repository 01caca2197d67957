//! What the socket has, handed on: packets of sessions to their sessions, a batch at a time; new connections accepted, or
//! asked to prove their address, or refused.

use crate::anti_amplification::PROBE_BYTES_MIN;
use crate::app::{Admission, App, Charge, Peer};
use crate::arrivals::{Arrivals, BATCHES_PER_TURN};
use crate::backlog::Backlog;
use crate::batch::{BATCH, Received, RecvBatch};
use crate::cid::short_header_cid;
use crate::drive::drive;
use crate::endpoints::{Arrival, Arrived, Place};
use crate::io::Io;
use crate::memory::hot_line::HotLine;
use crate::pacing::TurnPacing;
use crate::resets::Resets;
use crate::session::{Session, Taken, Transport};
use crate::shed_cache::ShedCache;
use crate::state::{AllSessions, State, mark};
use crate::timers::AHEAD;
use quinn_proto::{ConnectionEvent, ServerConfig};
use rand::rngs::StdRng;
use std::net::SocketAddr;
use std::sync::Arc;

/// A packet for a session.
struct Found {
    place: Place,
    remote: SocketAddr,
    cid: Option<u64>,
    bytes: u16,
    /// Nothing when the packet is shed.
    event: Option<ConnectionEvent>,
    is_judged: bool,
}

/// A shard's way in.
pub struct Receiver {
    backlog: Backlog,
    pub pacing: TurnPacing,
    pub arrivals: Arrivals,
    /// What a batch has for sessions.
    found: Vec<Found>,
    shed_cache: ShedCache,
    resets: Resets,
    /// Chooses the keys of resets.
    rng: StdRng,
    pub is_stopping: bool,
}

impl Receiver {
    pub fn new(resets: Resets, rng: StdRng) -> Self {
        Self {
            backlog: Backlog::default(),
            pacing: TurnPacing::new(),
            arrivals: Arrivals::default(),
            found: Vec::with_capacity(BATCH),
            shed_cache: ShedCache::new(),
            resets,
            rng,
            is_stopping: false,
        }
    }

    /// Whether packets that were read wait.
    pub fn has_work(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Reads what the socket has into the backlog, as far as there is room. Gives how many packets that were.
    pub fn read<S, H>(&mut self, state: &State<S, H>, io: &mut impl Io) -> usize {
        self.arrivals.before_read(io.instant());
        let (read, result) = self.backlog.read(io);
        self.pacing.note(read);
        state.counters.packets_received.add(read as u64);
        if result.is_err() {
            state.counters.receive_errors.inc();
        }
        read
    }

    /// Handles what was read, at most as many batches as one turn has, and between two of them reads on.
    pub fn receive<A: App>(&mut self, state: &mut State<A::Session, A::Hot>, app: &mut A, io: &mut impl Io) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(received) = self.backlog.next() else {
                self.arrivals.socket_is_empty();
                break;
            };
            self.arrivals.batch(app, &state.counters, &received, io);
            self.look_up_all(state, app, io, &received);
            let count = received.len();
            self.backlog.reuse(received);
            self.pass_on(state, app, io);
            // While they are in the caches; and so that who sent many at once gets the answers to those before.
            drive(state, app, io);
            state.table.pack_idle(state.now.instant);
            if count < BATCH && self.backlog.is_empty() {
                self.arrivals.socket_is_empty();
                break;
            }
            self.read(state, io);
        }
    }

    /// Sheds what can be without looking further, and finds whom the rest of a batch is for.
    fn look_up_all<A: App>(
        &mut self,
        state: &mut State<A::Session, A::Hot>,
        app: &mut A,
        io: &mut impl Io,
        received: &RecvBatch,
    ) {
        let count = received.len();
        let mut known = [None; BATCH];
        if self.shed_cache.is_awake(state.now.elapsed_ns) {
            // Two rounds, each of which asks the memory for what the next one looks at.
            for at in 0..count {
                self.shed_cache.prefetch(received.bytes(at));
            }
            for (at, known) in known.iter_mut().enumerate().take(count) {
                *known = self.shed_cache.find(received.bytes(at));
                if let Some(index) = *known {
                    state.hot.prefetch(index);
                }
            }
        }
        for (at, known) in known.into_iter().enumerate().take(count) {
            if known.is_some_and(|index| self.is_shed(state, app, io, index, short_header_cid(received.bytes(at)))) {
                continue;
            }
            if let Some(packet) = received.packet(at) {
                self.look_up(state, app, io, &packet, known.is_some());
            }
        }
    }

    /// Finds whom a packet is for. What is for a session waits for the rest of the batch.
    fn look_up<A: App>(
        &mut self,
        state: &mut State<A::Session, A::Hot>,
        app: &mut A,
        io: &mut impl Io,
        packet: &Received<'_>,
        is_judged: bool,
    ) {
        state.make_room(io);
        let buffer = state.outgoing.buffer();
        match state.endpoints.handle(state.now.instant, packet, buffer) {
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
            Some(Arrived::New(arrival)) => self.admit(state, app, arrival),
            Some(Arrived::Answered(transmit)) => {
                // The only answer to a short header is a stateless reset.
                if let Some(cid) = short_header_cid(packet.bytes) {
                    if !self.resets.make(cid, buffer, state.now.elapsed_ns, &mut self.rng) {
                        return state.counters.resets_limited.inc();
                    }
                    state.counters.resets.inc();
                }
                state.outgoing.push(&transmit);
            }
            None => state.counters.packets_discarded.inc(),
        }
    }

    /// Gives the sessions their packets of a batch, in the order in which they came. Each packet is judged, and its
    /// session asked for, while those before it are handled; what is judged by was asked for by the round before.
    fn pass_on<A: App>(&mut self, state: &mut State<A::Session, A::Hot>, app: &mut A, io: &mut impl Io) {
        let mut found = std::mem::take(&mut self.found);
        for found in &found {
            let index = state.endpoints.session(found.place);
            state.hot.prefetch(index);
            state.table.prefetch_slot(index);
            state.wheel.prefetch(index);
        }
        let mut judged = 0;
        for at in 0..found.len() {
            while judged < found.len().min(at + AHEAD) {
                self.judge(state, app, io, &mut found[judged]);
                judged += 1;
            }
            if let Some(event) = found[at].event.take() {
                open(state, app, &found[at], event);
            }
        }
        found.clear();
        self.found = found;
    }

    /// Has a packet opened, for which its session is fetched, or sheds it.
    fn judge<A: App>(
        &mut self,
        state: &mut State<A::Session, A::Hot>,
        app: &mut A,
        io: &mut impl Io,
        found: &mut Found,
    ) {
        let index = state.endpoints.session(found.place);
        if (found.is_judged || !self.is_shed(state, app, io, index, found.cid)) && self.is_paid_for(state, app, index) {
            return state.fetch(index);
        }
        found.event = None;
        if let Some(cid) = found.cid {
            self.shed_cache.note(cid, index);
        }
    }

    /// Charges a session for a packet. False when it is not to be opened.
    fn is_paid_for<A: App>(&mut self, state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) -> bool {
        let Some(line) = state.hot.get_mut(index) else {
            return true;
        };
        match app.charge(&mut line.app) {
            Charge::Open => return true,
            Charge::Drop => {}
            Charge::Close(close) => state.close(index, close),
        }
        self.shed_cache.wake(state.now.elapsed_ns);
        false
    }

    /// Whether a packet that seems to be a session's is not worth opening.
    fn is_shed<A: App>(
        &mut self,
        state: &mut State<A::Session, A::Hot>,
        app: &mut A,
        io: &mut impl Io,
        index: usize,
        cid: Option<u64>,
    ) -> bool {
        let Some(line) = state.hot.get_mut(index) else {
            return false;
        };
        let shed = app.shed(&mut line.app);
        if let Some(cid) = cid {
            io.filter_out(cid, shed.hold_ns, &state.now);
        }
        if shed.is_dropped {
            self.shed_cache.wake(state.now.elapsed_ns);
        }
        shed.is_dropped
    }

    /// Accepts a new connection, or asks it to prove its address, or refuses it.
    fn admit<A: App>(&mut self, state: &mut State<A::Session, A::Hot>, app: &mut A, arrival: Arrival) {
        let peer = Peer {
            address: arrival.incoming.remote_address(),
            is_validated: arrival.incoming.remote_address_validated(),
            sessions: state.table.len(),
            handshakes: state.handshaking,
            is_stopping: self.is_stopping,
        };
        let admission = app.admit(&peer, &mut AllSessions(state));
        let buffer = state.outgoing.buffer();
        let server = match admission {
            Admission::Accept(server) => server,
            Admission::Refuse => {
                let transmit = state.endpoints.refuse(arrival, buffer);
                return state.outgoing.push(&transmit);
            }
            Admission::Retry => {
                state.counters.connections_retried.inc();
                if let Some(transmit) = state.endpoints.retry(arrival, buffer) {
                    state.outgoing.push(&transmit);
                }
                return;
            }
        };
        let (endpoints, now) = (&mut state.endpoints, state.now.instant);
        let accepted = state
            .stalls
            .of_tables(|| endpoints.accept(arrival, &server, now, buffer));
        match accepted {
            Ok((place, connection)) => {
                state.counters.connections_accepted.inc();
                let transport = Transport::new(connection, place, 0, now);
                begin(state, app, &peer, transport, &server);
            }
            Err(error) => {
                state.counters.connections_failed.inc();
                if let Some(transmit) = error.response {
                    state.outgoing.push(&transmit);
                }
            }
        }
    }
}

/// Begins a session that is served so.
fn begin<A: App>(
    state: &mut State<A::Session, A::Hot>,
    app: &mut A,
    peer: &Peer,
    mut transport: Transport,
    server: &Arc<ServerConfig>,
) {
    state.handshaking += 1;
    state.next_serial = state.next_serial.wrapping_add(1);
    transport.serial = state.next_serial;
    let place = transport.place;
    let mut line = HotLine::new();
    line.note_keys();
    let (table, hot) = (&mut state.table, &mut state.hot);
    let index = state.stalls.of_pages(|| {
        let index = hot.insert(line);
        let line = hot.get_mut(index).expect("it was put in");
        let id = transport.id(index);
        let (part, deadline) = app.open(id, peer, &mut line.app);
        transport.set_deadline(deadline);
        let at = table.insert(Session { transport, app: part }, server);
        assert_eq!(at, index, "a session and its line come and go together");
        index
    });
    state.endpoints.set_session(place, index);
    state.touch(index);
}

/// Has a session take a packet, or holds it until the handshake is over that it belongs behind.
fn open<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, found: &Found, event: ConnectionEvent) {
    let index = state.endpoints.session(found.place);
    let Some(session) = state.table.get_mut(index) else {
        return;
    };
    let (transport, remote) = (&mut session.transport, found.remote);
    if transport.is_handshaking && found.cid.is_some() && transport.must_buffer(remote) {
        let counter = if state.buffered.hold(index, event) {
            &state.counters.packets_early
        } else {
            &state.counters.packets_early_dropped
        };
        return counter.inc();
    }
    let taken = transport.take(state.now.elapsed_ns, remote, event);
    let has_moved = matches!(taken, Taken::MovedFrom(_));
    match taken {
        Taken::Here => {
            if found.bytes >= PROBE_BYTES_MIN && remote != transport.connection.remote_address() {
                state.anti_amplification.allow(index, remote);
            }
        }
        Taken::MovedFrom(before) => state.anti_amplification.allow(index, before),
        Taken::Refused => state.counters.moves_refused.inc(),
    }
    if transport.is_handshaking
        && let Some(line) = state.hot.get_mut(index)
    {
        line.note_keys();
    }
    let id = transport.id(index);
    mark(session, index, &mut state.dirty);
    app.on_packet(id);
    if has_moved && let Some(mut cx) = state.cx(index) {
        app.on_migrated(&mut cx);
    }
}
