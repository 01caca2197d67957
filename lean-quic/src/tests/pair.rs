//! One client, one server, and the link between them.

use super::super::error::CloseReason;
use super::super::{Connection, DATAGRAM_BYTES, Event, StreamId};
use super::served::Served;
use super::setup::{LOCAL, Link, Setup, server_config};
use crate::Micros;
use bytes::{Bytes, BytesMut};
use quinn_proto::{ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Incoming, TransportConfig, VarInt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls_pki_types::ServerName;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An event, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Connected,
    Datagram(Vec<u8>),
    Response(u64, Vec<u8>),
    Reset(u64, u64),
    Oversized(u64),
    StreamsAvailable,
    Notice(Vec<u8>),
    NoticeLost,
    ResetToken([u8; 16]),
    Closed(CloseReason),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Connected => Self::Connected,
            Event::Datagram(data) => Self::Datagram(data.to_vec()),
            Event::Response { stream, bytes } => Self::Response(stream.0, bytes),
            Event::StreamReset { stream, code } => Self::Reset(stream.0, code),
            Event::Oversized { stream } => Self::Oversized(stream.0),
            Event::StreamsAvailable => Self::StreamsAvailable,
            Event::Notice(bytes) => Self::Notice(bytes),
            Event::NoticeLost => Self::NoticeLost,
            Event::ResetToken(token) => Self::ResetToken(token),
            Event::Closed(reason) => Self::Closed(reason),
        }
    }
}

/// Sees every datagram before it leaves, and may change or empty it.
pub(super) type Tamper = Box<dyn FnMut(&mut Vec<u8>)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Client,
    Server,
}

pub(super) struct Pair {
    pub(super) client: Connection,
    pub(super) seen: Vec<Seen>,
    pub(super) now: Micros,
    pub(super) link: Link,
    /// Datagrams that the client sent, and received.
    pub(super) sent: u64,
    pub(super) received: u64,
    origin: Instant,
    endpoint: Endpoint,
    served: Option<(ConnectionHandle, Served)>,
    asks_retry: bool,
    rng: StdRng,
    under_way: BTreeMap<(Micros, u64, To), Vec<u8>>,
    count: u64,
    pub(super) tamper: Option<Tamper>,
}

const ADDRESS: &str = "127.0.0.1:4433";
/// More than any test needs; a storm of packets is a defect.
const STEPS_MAX: u32 = 200_000;

impl Pair {
    pub(super) fn new(setup: Setup) -> Self {
        let server = server_config(setup.transport, setup.has_long_certificate);
        let name = ServerName::try_from("localhost").expect("a name");
        let client = Connection::new(Arc::new(setup.client), Micros::ZERO, name, LOCAL, *b"original").expect("TLS");
        let seed = [setup.link.seed as u8; 32];
        Self {
            client,
            seen: Vec::new(),
            now: Micros::ZERO,
            link: setup.link,
            sent: 0,
            received: 0,
            origin: Instant::now(),
            endpoint: Endpoint::new(Arc::new(setup.endpoint), Some(Arc::new(server)), false, Some(seed)),
            served: None,
            asks_retry: setup.asks_retry,
            rng: StdRng::seed_from_u64(setup.link.seed),
            under_way: BTreeMap::new(),
            count: 0,
            tamper: None,
        }
    }

    /// A pair whose client is connected.
    pub(super) fn connected(setup: Setup) -> Self {
        let mut pair = Self::new(setup);
        pair.run_until(|pair| pair.seen.contains(&Seen::Connected));
        pair
    }

    /// The same, with the handshake confirmed and everything acknowledged.
    pub(super) fn settled(setup: Setup) -> Self {
        let mut pair = Self::connected(setup);
        pair.run_for(Micros::from_s(1));
        pair
    }

    pub(super) fn server(&mut self) -> &mut quinn_proto::Connection {
        &mut self.served.as_mut().expect("the server has accepted").1.connection
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from(self.now)
    }

    pub(super) fn server_close(&mut self, code: u32) {
        let now = self.instant();
        self.server().close(now, VarInt::from_u32(code), Bytes::new());
    }

    /// The server opens a stream and writes all of it.
    pub(super) fn notify(&mut self, bytes: &[u8]) -> bool {
        let (_, served) = self.served.as_mut().expect("the server has accepted");
        let Some(id) = served.connection.streams().open(Dir::Uni) else {
            return false;
        };
        served.unsent.push((id, bytes.to_vec()));
        served.write();
        true
    }

    /// The server is gone, and another life of it knows nothing of the connection.
    pub(super) fn forget_server(&mut self, endpoint: EndpointConfig) {
        self.served = None;
        let server = server_config(TransportConfig::default(), false);
        self.endpoint = Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), false, None);
    }

    pub(super) fn request(&mut self, bytes: &[u8]) -> StreamId {
        self.client.open_request(bytes).expect("it is taken")
    }

    /// Runs until the condition holds.
    pub(super) fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            self.flush();
            if done(self) {
                return;
            }
            assert!(
                self.step(Micros(u64::MAX)),
                "nothing happens any more at {:?}: {:?}",
                self.now,
                self.seen
            );
        }
        panic!("no end at {:?}: {:?}", self.now, self.seen);
    }

    /// Runs for so long.
    pub(super) fn run_for(&mut self, span: Micros) {
        let end = self.now.plus(span);
        for _ in 0..STEPS_MAX {
            self.flush();
            if !self.step(end) {
                self.now = end;
                return;
            }
        }
        panic!("a storm of packets");
    }

    /// Goes to the next event, if it is not after `end`.
    fn step(&mut self, end: Micros) -> bool {
        let arrival = self.under_way.keys().next().map(|(at, _, _)| *at);
        let server = self
            .served
            .as_mut()
            .and_then(|(_, served)| served.connection.poll_timeout());
        let server = server.map(|at| Micros(at.saturating_duration_since(self.origin).as_micros() as u64 + 1));
        let Some(next) = [arrival, self.client.next_timeout(), server]
            .into_iter()
            .flatten()
            .min()
        else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        let (now, instant) = (self.now, self.instant());
        if self.client.next_timeout().is_some_and(|at| at <= now) {
            let seen = &mut self.seen;
            self.client.handle_timeout(now, &mut |event| seen.push(event.into()));
        }
        if let Some((_, served)) = &mut self.served
            && served.connection.poll_timeout().is_some_and(|at| at <= instant)
        {
            served.connection.handle_timeout(instant);
        }
        while let Some((key, _)) = self.under_way.first_key_value()
            && key.0 <= now
        {
            let ((_, _, to), datagram) = self.under_way.pop_first().expect("it was there");
            self.deliver(to, datagram);
        }
        true
    }

    /// Hands a datagram to the client, as if it had come from the server.
    pub(super) fn inject(&mut self, mut datagram: Vec<u8>) {
        let seen = &mut self.seen;
        self.client
            .handle_datagram(self.now, &mut datagram, &mut |event| seen.push(event.into()));
    }

    fn deliver(&mut self, to: To, datagram: Vec<u8>) {
        if to == To::Client {
            self.received += 1;
            self.inject(datagram);
            return;
        }
        let (now, mut out) = (self.instant(), Vec::new());
        let remote: SocketAddr = ADDRESS.parse().expect("an address");
        let event = self
            .endpoint
            .handle(now, remote, None, None, BytesMut::from(&datagram[..]), &mut out);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some((own, served)) = &mut self.served
                    && *own == handle
                {
                    served.connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(incoming),
            Some(DatagramEvent::Response(transmit)) => {
                out.truncate(transmit.size);
                self.send(To::Client, out);
            }
            None => {}
        }
    }

    fn accept(&mut self, incoming: Incoming) {
        let (now, mut out) = (self.instant(), Vec::new());
        if self.asks_retry && !incoming.remote_address_validated() {
            let transmit = self.endpoint.retry(incoming, &mut out).expect("it was not validated");
            out.truncate(transmit.size);
            self.send(To::Client, out);
            return;
        }
        match self.endpoint.accept(incoming, now, &mut out, None) {
            Ok((handle, connection)) => {
                let served = Served {
                    connection,
                    unsent: Vec::new(),
                    requests: BTreeMap::new(),
                };
                self.served = Some((handle, served));
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    out.truncate(transmit.size);
                    self.send(To::Client, out);
                }
            }
        }
    }

    /// Lets both sides send all that they have.
    pub(super) fn flush(&mut self) {
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Some(length) = self.client.poll_transmit(self.now, &mut buffer) {
            self.sent += 1;
            self.send(To::Server, buffer[..length].to_vec());
        }
        let instant = self.instant();
        let mut outgoing = Vec::new();
        if let Some((handle, served)) = &mut self.served {
            served.work();
            let mut out = Vec::new();
            while let Some(transmit) = served.connection.poll_transmit(instant, 1, &mut out) {
                outgoing.push(out[..transmit.size].to_vec());
                out.clear();
            }
            while let Some(event) = served.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    served.connection.handle_event(event);
                }
            }
        }
        outgoing
            .into_iter()
            .for_each(|datagram| self.send(To::Client, datagram));
    }

    fn send(&mut self, to: To, mut datagram: Vec<u8>) {
        if let Some(tamper) = &mut self.tamper {
            tamper(&mut datagram);
        }
        let copies = if self.rng.random_bool(self.link.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if self.rng.random_bool(self.link.loss) {
                continue;
            }
            let jitter = if self.link.jitter.0 == 0 {
                0
            } else {
                self.rng.random_range(0..self.link.jitter.0)
            };
            let at = self.now.plus(self.link.latency).plus(Micros(jitter));
            self.count += 1;
            self.under_way.insert((at, self.count, to), datagram.clone());
        }
    }

    /// How often this was seen.
    pub(super) fn count(&self, seen: &Seen) -> usize {
        self.seen.iter().filter(|other| *other == seen).count()
    }

    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    /// What the server opened, over the whole test.
    pub(super) fn is_served(&self) -> bool {
        self.served.is_some()
    }
}
