//! The endpoints of a shard. quinn-proto keeps connection IDs and connections in tables that grow in place, and cannot
//! be made large from the start; so a shard has several small ones, and each packet goes to the one that its connection
//! ID names.
//!
//! What is lost by it: a client's stateless reset bears a random ID and so reaches its endpoint by luck only. Phones
//! hardly send any; their sessions end by the idle timeout.

use crate::batch::Received;
use crate::cid::{ENDPOINTS, ShardCids, endpoint_of};
use crate::memory::paged_slab::prefetch_lines;
use crate::resets::ResetKeys;
use crate::tls::QUIC_V1;
use bytes::BytesMut;
use quinn_proto::{
    AcceptError, Connection, ConnectionEvent, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent,
    Incoming, ServerConfig, Transmit,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection: the endpoint that it belongs to, and what it is called there.
#[derive(Clone, Copy)]
pub struct Place {
    handle: u32,
    endpoint: u16,
}

/// A new connection, and the endpoint that it came to.
pub struct Arrival {
    pub incoming: Incoming,
    endpoint: u16,
}

/// What a packet was.
pub enum Arrived {
    /// One for a session. The memory was asked for its index, which [`Endpoints::session`] gives.
    Session(Place, ConnectionEvent),
    New(Arrival),
    /// One that is answered at once.
    Answered(Transmit),
}

struct One {
    endpoint: Endpoint,
    /// Index of the session, by handle.
    sessions: Vec<u32>,
}

/// The endpoints of a shard.
pub struct Endpoints {
    all: Vec<One>,
}

/// What a shard is known by, in its connection IDs and in the tokens of its stateless resets.
pub struct Identity {
    /// Its number; the first byte of its connection IDs.
    pub shard: u8,
    /// Tells this life of the shard from the one before.
    pub generation: u8,
    /// What the tokens of its stateless resets are made with.
    pub reset_keys: ResetKeys,
    /// What connection IDs and draws come from, where a run is to be seen again; none for real ones.
    pub seed: Option<[u8; 32]>,
}

impl Identity {
    /// A source of randomness, of which each number has its own.
    pub(crate) fn rng(&self, number: u16) -> StdRng {
        self.seed.map_or_else(rand::make_rng, |mut seed| {
            seed[30..].copy_from_slice(&number.to_be_bytes());
            StdRng::from_seed(seed)
        })
    }

    /// The configuration of one endpoint. The reset keys outlive the process, so that clients of an earlier life learn at once
    /// that their connection is gone (RFC 9000, section 10.3). How many resets there are is the shard's to limit.
    fn endpoint_config(&self, number: u16) -> Arc<EndpointConfig> {
        let (shard, generation, mut rng) = (self.shard, self.generation, self.rng(number));
        let mut endpoint = EndpointConfig::new(Arc::new(self.reset_keys.active().clone()));
        if self.seed.is_some() {
            endpoint.rng_seed(Some(rng.random()));
        }
        endpoint.min_reset_interval(Duration::ZERO);
        // The drafts that the library knows besides were never served (RFC 9000, section 6, tells of those that are).
        endpoint.supported_versions(vec![QUIC_V1]);
        let seed: [u8; 32] = rng.random();
        endpoint.cid_generator(move || Box::new(ShardCids::new(shard, generation, number, StdRng::from_seed(seed))));
        Arc::new(endpoint)
    }
}

impl Endpoints {
    /// Makes the endpoints of a shard. `server` decides how addresses are proved, and is what a connection is served by unless
    /// [`Self::accept`] says otherwise.
    pub fn new(identity: &Identity, server: &Arc<ServerConfig>) -> Self {
        let one = |number| One {
            endpoint: Endpoint::new(identity.endpoint_config(number), Some(Arc::clone(server)), false, None),
            sessions: Vec::new(),
        };
        Self {
            all: (0..ENDPOINTS).map(one).collect(),
        }
    }

    /// Has handshakes that begin from now on go by this configuration. Those under way and sessions go on with theirs.
    pub fn serve_by(&mut self, server: &Arc<ServerConfig>) {
        for one in &mut self.all {
            one.endpoint.set_server_config(Some(Arc::clone(server)));
        }
    }

    /// Looks at a packet. An answer's bytes go into `buffer`.
    pub fn handle(&mut self, now: Instant, packet: &Received<'_>, buffer: &mut Vec<u8>) -> Option<Arrived> {
        let endpoint = endpoint_of(packet.bytes);
        let one = &mut self.all[usize::from(endpoint)];
        let bytes = BytesMut::from(packet.bytes);
        let event = one
            .endpoint
            .handle(now, packet.remote, packet.local_ip, packet.mark, bytes, buffer)?;
        Some(match event {
            DatagramEvent::ConnectionEvent(handle, event) => {
                prefetch_lines(std::ptr::from_ref(&one.sessions[handle.0]).cast(), 1);
                let handle = handle.0 as u32;
                Arrived::Session(Place { handle, endpoint }, event)
            }
            DatagramEvent::NewConnection(incoming) => Arrived::New(Arrival { incoming, endpoint }),
            DatagramEvent::Response(transmit) => Arrived::Answered(transmit),
        })
    }

    /// Index of the session that has a connection.
    #[inline]
    pub fn session(&self, place: Place) -> usize {
        self.all[usize::from(place.endpoint)].sessions[place.handle as usize] as usize
    }

    /// Begins a connection, served so. Its session's index must be told by [`Self::set_session`] before the next packet.
    pub fn accept(
        &mut self,
        arrival: Arrival,
        server: &Arc<ServerConfig>,
        now: Instant,
        buffer: &mut Vec<u8>,
    ) -> Result<(Place, Connection), Box<AcceptError>> {
        let Arrival { incoming, endpoint } = arrival;
        let one = &mut self.all[usize::from(endpoint)];
        let server = Some(Arc::clone(server));
        clear_stack();
        let (handle, connection) = one.endpoint.accept(incoming, now, buffer, server).map_err(Box::new)?;
        let handle = handle.0 as u32;
        Ok((Place { handle, endpoint }, connection))
    }

    /// Notes which session has a connection.
    pub fn set_session(&mut self, place: Place, session: usize) {
        let sessions = &mut self.all[usize::from(place.endpoint)].sessions;
        let handle = place.handle as usize;
        if sessions.len() <= handle {
            sessions.resize(handle + 1, u32::MAX);
        }
        sessions[handle] = session as u32;
    }

    /// Refuses a new connection; the answer's bytes go into `buffer`.
    pub fn refuse(&mut self, arrival: Arrival, buffer: &mut Vec<u8>) -> Transmit {
        self.all[usize::from(arrival.endpoint)]
            .endpoint
            .refuse(arrival.incoming, buffer)
    }

    /// Has the client prove its address; one that has done so already is dropped without an answer.
    pub fn retry(&mut self, arrival: Arrival, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let endpoint = &mut self.all[usize::from(arrival.endpoint)].endpoint;
        match endpoint.retry(arrival.incoming, buffer) {
            Ok(transmit) => Some(transmit),
            Err(error) => {
                endpoint.ignore(error.into_incoming());
                None
            }
        }
    }

    /// Passes on what a connection tells its endpoint; gives what that tells the connection.
    pub fn handle_event(&mut self, place: Place, event: EndpointEvent) -> Option<ConnectionEvent> {
        let handle = ConnectionHandle(place.handle as usize);
        let one = &mut self.all[usize::from(place.endpoint)];
        one.endpoint.handle_event(handle, event)
    }
}

/// Writes zeros to the stack that a connection is about to be made on. What a connection has no use for at first (padding, and
/// values that are not there) has what lay in that place before. Without this that may be another phone's keys, and differs in
/// each session, so that it takes more room packed.
#[inline(never)]
fn clear_stack() {
    std::hint::black_box([0_u8; 16 * 1_024]);
}
