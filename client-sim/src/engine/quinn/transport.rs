//! Sockets, TLS and the QUIC transport parameters of the sessions.

use super::super::EngineError;
use super::super::sockets::OwnSockets;
use super::line::Line;
use crate::network::Networks;
use crate::scenario::Scenario;
use ::quinn::crypto::rustls::QuicClientConfig;
use ::quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::RootCertStore;
use rustls::client::Resumption;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Datagrams waiting in a connection. A shake has under 10 bytes, a reply under 250.
const DATAGRAM_BUFFER_BYTES: usize = 16 << 10;
/// Notices under way.
const SERVER_STREAMS_MAX: u32 = 4;
/// As many bytes as every path must carry (RFC 9000, section 14); nothing here is larger, so no MTU is searched for.
const MTU_BYTES: u16 = 1_200;

/// TLS 1.3 only, ALPN `shake/1`, the gateway's certificate verified against `roots`, no session tickets kept.
pub(super) fn client(roots: RootCertStore, scenario: &Scenario) -> Result<ClientConfig, EngineError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| EngineError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| EngineError::Tls(error.to_string()))?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport(scenario)));
    Ok(client)
}

/// Lean in memory: small windows, few streams, no search for a larger MTU.
fn transport(scenario: &Scenario) -> TransportConfig {
    let window = (REPLY_BYTES_MAX + LENGTH_BYTES_MAX) as u32;
    let idle = VarInt::from_u32(scenario.idle_timeout_s * 1_000); // at most a day: 8.64e7 ms
    let keep_alive = u64::from(scenario.keep_alive_s);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(SERVER_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(2 * window))
        .send_window(window.into())
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .initial_mtu(MTU_BYTES)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .allow_spin(false)
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval((keep_alive > 0).then_some(Duration::from_secs(keep_alive)));
    transport
}

/// Opens the sockets.
pub(super) fn endpoints(
    count: u32,
    target: SocketAddr,
    sockets: &mut OwnSockets,
) -> Result<Vec<Endpoint>, EngineError> {
    let mut open = || {
        let socket = sockets.open(target)?;
        Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
            .map_err(|source| EngineError::Socket { target, source })
    };
    (0..count).map(|_| open()).collect()
}

/// Opens an endpoint for each session, behind its network. Each takes a socket, so the process is let have as many files as
/// the system allows it.
pub(super) fn lines(
    sessions: u32,
    target: SocketAddr,
    networks: &Arc<Networks>,
    origin: Instant,
) -> Result<(Vec<Endpoint>, Vec<Arc<Line>>), EngineError> {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // When it is refused, too few sockets open, and that says why.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let open = |phone| {
        let line = Arc::new(Line::open(phone, target, networks, origin)?);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, line.clone(), runtime);
        let endpoint = endpoint.map_err(|source| EngineError::Socket { target, source })?;
        Ok((endpoint, line))
    };
    (0..sessions).map(open).collect()
}
