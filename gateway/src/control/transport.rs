//! The control port: QUIC with mutual TLS, one request a stream. Connections, streams, bytes and time are bounded, and
//! whoever is turned away is counted and logged, so far as a flood of them does not fill the disk.

use super::Control;
use super::audit::Entry;
use super::counters::Turned;
use super::identity::{self, Operator};
use super::places::{Limits, Places};
use crate::config::CERTS_KEY;
use crate::taken::{self, Port};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use host::clock::{wall_ms, wall_us};
use host::pem;
use quic_shard::tls::QUIC_V1;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ReadToEndError, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use shake_proto::admin::{REQUEST_BYTES_MAX, Refusal, Request};
use shake_proto::admin_v1 as v1;
use shake_proto::code::Code;
use shake_proto::frame::{self, LENGTH_BYTES_MAX};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

/// Handshakes at once. Each has proved its address before, and the oldest gives way: who holds one and does not go on
/// keeps nobody out.
const HANDSHAKES: Limits = Limits {
    all: 16,
    own_more: OWN_MORE,
    of_an_address: 4,
};
/// Operators at once, by their certificates.
const OPERATORS_MAX: usize = 16;
/// More of both, for whoever sits at this machine.
const OWN_MORE: usize = 2;
/// Packets that begin a connection and wait to be looked at.
const INCOMING_MAX: usize = 64;
/// Requests of one connection at once.
const REQUESTS_AT_ONCE: u32 = 4;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The longest that a request may take to arrive.
const REQUEST_MAX: Duration = Duration::from_secs(10);
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Refused connections that are logged each second; all are counted.
const LOGGED_PER_SECOND: u32 = 20;

/// Binds the control port. It is served later, or not at all.
pub fn bind(address: SocketAddr) -> Result<UdpSocket> {
    UdpSocket::bind(address).map_err(|error| taken::cannot_bind("[admin]", address, Port::Udp, error))
}

/// Begins to take packets at the control port, in a runtime.
pub fn open(socket: UdpSocket, server: quinn::ServerConfig) -> Result<Endpoint> {
    let runtime = quinn::default_runtime().context("the control plane has no runtime")?;
    let mut endpoint = EndpointConfig::default();
    endpoint.supported_versions(vec![QUIC_V1]);
    Endpoint::new(endpoint, Some(server), socket, runtime).context("cannot open the control port")
}

/// How operators are served. The certificates are those of the directory: the server's, and the authority that operators'
/// certificates must come from.
pub fn server_config(certs: &Path) -> Result<quinn::ServerConfig> {
    let read = |name: &str| pem::certificates(&certs.join(name)).context(CERTS_KEY);
    let mut roots = RootCertStore::empty();
    for certificate in read("ca.pem")? {
        roots.add(certificate).context("ca.pem is no authority")?;
    }
    let key = pem::private_key(&certs.join("server.key.pem")).context(CERTS_KEY)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .context("ca.pem cannot verify operators")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("the TLS provider has no TLS 1.3")?
        .with_client_cert_verifier(verifier)
        .with_single_cert(read("server.pem")?, key)
        .context("server.pem and server.key.pem do not belong together")?;
    tls.alpn_protocols = vec![shake_proto::ALPN_ADMIN.to_vec()];
    tls.max_early_data_size = 0;
    // A resumed session would not show its certificate again.
    tls.send_tls13_tickets = 0;
    let quic = QuicServerConfig::try_from(tls).context("the TLS provider has no AES-128-GCM, which QUIC needs")?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(quic));
    server
        .transport_config(Arc::new(transport_config()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(1 << 20);
    Ok(server)
}

fn transport_config() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let window = VarInt::from_u32((REQUEST_BYTES_MAX + LENGTH_BYTES_MAX) as u32);
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUESTS_AT_ONCE))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .max_idle_timeout(Some(IDLE_MAX.try_into().expect("a minute fits")));
    transport
}

/// Who holds a handshake is told by this to give way.
type GiveWay = oneshot::Sender<()>;

/// The places at the control port.
struct Room {
    handshakes: Mutex<Places<GiveWay>>,
    operators: Arc<Semaphore>,
    /// For who comes from this machine when the others are taken.
    operators_here: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self {
            handshakes: Mutex::new(Places::new(HANDSHAKES)),
            operators: Arc::new(Semaphore::new(OPERATORS_MAX)),
            operators_here: Arc::new(Semaphore::new(OWN_MORE)),
        }
    }

    fn handshakes(&self) -> MutexGuard<'_, Places<GiveWay>> {
        // Nothing panics while it is held.
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn for_operator(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let is_here = address.to_canonical().is_loopback();
        of(&self.operators).or_else(|| is_here.then(|| of(&self.operators_here)).flatten())
    }

    /// How many operators are connected.
    fn operators(&self) -> u64 {
        let free = self.operators.available_permits() + self.operators_here.available_permits();
        (OPERATORS_MAX + OWN_MORE - free) as u64
    }
}

/// Serves operators until the endpoint is closed.
pub async fn serve(endpoint: Endpoint, control: Arc<Control>) {
    let room = Arc::new(Room::new());
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            // It may be retried, because its address is not validated.
            let _ = incoming.retry();
            continue;
        }
        let address = incoming.remote_address();
        let (give_way, told) = oneshot::channel();
        let (place, gone) = room.handshakes().take(address.ip(), give_way);
        if let Some((_, gone)) = gone {
            let _ = gone.send(());
        }
        let (control, room) = (Arc::clone(&control), Arc::clone(&room));
        tokio::spawn(async move {
            let shaken = handshake(incoming, told).await;
            room.handshakes().free(place);
            match shaken {
                Ok(connection) => connected(connection, address, &control, &room).await,
                Err((why, detail)) => turn_away(&control, address, why, &detail).await,
            }
        });
    }
}

/// Waits for a handshake, unless it takes too long or must give way.
async fn handshake(incoming: Incoming, told: oneshot::Receiver<()>) -> Result<Connection, (Turned, String)> {
    let accepted = async { incoming.accept()?.await };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_MAX, accepted) => shaken,
        _ = told => return Err((Turned::Crowded, String::new())),
    };
    match shaken {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            let why = match &error {
                ConnectionError::TransportError(error) => identity::alert(error.code.into()).map(identity::turned),
                _ => None,
            };
            Err((why.unwrap_or(Turned::Handshake), error.to_string()))
        }
        Err(_) => Err((Turned::Handshake, "too slow".to_owned())),
    }
}

/// Serves whoever has shown a certificate.
async fn connected(connection: Connection, address: SocketAddr, control: &Arc<Control>, room: &Room) {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let operator = match Operator::of(chain.as_deref().map_or(&[], Vec::as_slice), address) {
        Ok(operator) => Arc::new(operator),
        Err(why) => {
            close(&connection, why);
            return turn_away(control, address, why, "").await;
        }
    };
    let Some(place) = room.for_operator(address.ip()) else {
        close(&connection, Turned::Full);
        return turn_away(control, address, Turned::Full, &operator.name).await;
    };
    control.counters.connections.inc();
    control.counters.operators.set(room.operators());
    info!(operator = operator.name, %address, "an operator connected");
    serve_operator(&connection, address, control, &operator).await;
    drop(place);
    control.counters.operators.set(room.operators());
}

/// Answers an operator until the connection ends.
async fn serve_operator(
    connection: &Connection,
    address: SocketAddr,
    control: &Arc<Control>,
    operator: &Arc<Operator>,
) {
    // Each stream has its own task; QUIC's limit on streams bounds them.
    while let Ok((send, receive)) = connection.accept_bi().await {
        // Each time, because the list may have been read anew since the connection was made.
        if let Some(why) = control.barred.load().refuses(&operator.fingerprint) {
            close(connection, why);
            return turn_away(control, address, why, &operator.fingerprint).await;
        }
        tokio::spawn(stream(send, receive, Arc::clone(control), Arc::clone(operator)));
    }
}

fn close(connection: &Connection, why: Turned) {
    connection.close(VarInt::from_u32(Code::Abuse.number()), why.name().as_bytes());
}

async fn stream(
    mut send: quinn::SendStream,
    mut receive: quinn::RecvStream,
    control: Arc<Control>,
    operator: Arc<Operator>,
) {
    let read = timeout(REQUEST_MAX, receive.read_to_end(REQUEST_BYTES_MAX + LENGTH_BYTES_MAX)).await;
    let received_at_us = control.shared.clock.now_us();
    let request = match read {
        Ok(Ok(bytes)) => decode(bytes.into()),
        Ok(Err(ReadToEndError::TooLong)) => Err(Refusal::Oversized),
        // The operator gave it up, or takes too long.
        Ok(Err(ReadToEndError::Read(_))) | Err(_) => {
            let _ = send.reset(VarInt::from_u32(Code::Malformed.number()));
            return;
        }
    };
    let is_drain = matches!(request, Ok(Request::Drain(_)));
    let result = control.answer(&operator, request).await;
    let reply = v1::Reply {
        received_at_us,
        answered_at_us: control.shared.clock.now_us(),
        result: Some(result),
    };
    let mut bytes = BytesMut::new();
    frame::encode_stream(&reply, &mut bytes);
    // An operator who is gone does not hear it; the audit log has it.
    let _ = send.write_all(&bytes).await;
    let _ = send.finish();
    let _ = timeout(REQUEST_MAX, send.stopped()).await;
    if is_drain {
        // Without sessions it ends at once, and the answer would be lost with the connection.
        control.drain_told.notify_one();
    }
}

fn decode(bytes: Bytes) -> Result<Request, Refusal> {
    frame::decode_stream::<v1::Request>(bytes, REQUEST_BYTES_MAX)
        .map_err(|code| match code {
            Code::Oversized => Refusal::Oversized,
            _ => Refusal::Malformed,
        })
        .and_then(Request::try_from)
}

async fn turn_away(control: &Arc<Control>, address: SocketAddr, why: Turned, detail: &str) {
    control.counters.turned[why].inc();
    if !may_log() {
        return;
    }
    warn!(%address, reason = why.name(), detail, "turned a connection to the control port away");
    let entry = Entry {
        at_ms: wall_ms(),
        address: address.to_string(),
        what: "connect",
        result: why.name(),
        detail: detail.to_owned(),
        ..Entry::default()
    };
    control.write_entry(entry).await;
}

/// Whether this second still has room in the log.
fn may_log() -> bool {
    thread_local! {
        // The control plane is one thread.
        static LOGGED: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    }
    let second = wall_us() / 1_000_000;
    let (before, count) = LOGGED.get();
    let count = if before == second { count + 1 } else { 1 };
    LOGGED.set((second, count));
    count <= LOGGED_PER_SECOND
}
