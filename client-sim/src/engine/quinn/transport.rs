//! Sockets, TLS and the QUIC transport parameters of the sessions.

use super::super::EngineError;
use super::super::drops::Drops;
use crate::scenario::Scenario;
use ::quinn::crypto::rustls::QuicClientConfig;
use ::quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use rustls::RootCertStore;
use rustls::client::Resumption;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Kernel buffer of each socket, each way. A tenth of a second of 20,000 replies fits into one.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
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

/// Opens the sockets. A kernel that grants smaller buffers is remarked upon.
pub(super) fn endpoints(
    count: u32,
    target: SocketAddr,
    drops: &mut Drops,
    remarks: &mut Vec<String>,
) -> Result<Vec<Endpoint>, EngineError> {
    let mut open = || {
        let socket = UdpSocket::bind(SocketAddr::new(local_address(target.ip()), 0))?;
        drops.watch(&socket);
        let granted = enlarge_buffers(&socket);
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        Ok((endpoint, granted))
    };
    let mut endpoints = Vec::new();
    for _ in 0..count {
        let (endpoint, granted) = open().map_err(|source| EngineError::Socket { target, source })?;
        if granted < SOCKET_BUFFER_BYTES && remarks.is_empty() {
            remarks.push(format!(
                "the system grants socket buffers of {granted} bytes instead of {SOCKET_BUFFER_BYTES}; raise net.core.rmem_max and net.core.wmem_max, or replies may be lost here"
            ));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

/// The address to send from: a loopback target is reached from the loopback, any other from wherever the route says.
fn local_address(target: IpAddr) -> IpAddr {
    match target {
        _ if target.is_loopback() => target,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Asks for large buffers; gives the smaller of what was granted, in bytes.
fn enlarge_buffers(socket: &UdpSocket) -> usize {
    // Refusals show in what is read back: the kernel cuts silently.
    let _ = setsockopt(socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES);
    let _ = setsockopt(socket, sockopt::SndBuf, &SOCKET_BUFFER_BYTES);
    let receive = getsockopt(socket, sockopt::RcvBuf).unwrap_or(0);
    let send = getsockopt(socket, sockopt::SndBuf).unwrap_or(0);
    // Linux doubles the value for its own bookkeeping and reads back the doubled one: socket(7).
    receive.min(send) / 2
}
