//! How phones' connections are made: the QUIC configurations of a server, from a certificate and limits.

mod compact;
mod lean;
mod parameters;

pub use compact::take_newest_keys;
pub use parameters::MAX_ACK_DELAY;

use anyhow::{Context, Result};
use lean::LeanServerConfig;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{AckFrequencyConfig, ServerConfig, TransportConfig, VarInt};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;

/// The one version of QUIC that is served (RFC 9000, section 15).
pub const QUIC_V1: u32 = 1;
/// Buffers of datagrams, in bytes: one phone has a few shakes under way at the most.
const DATAGRAM_BUFFER_BYTES: usize = 4_096;
/// What one stream may carry before it is refused as oversized; a request has at most 4,096 bytes.
const STREAM_WINDOW_BYTES: u32 = 8_192;
/// Replies of a session that may be unacknowledged.
const SEND_WINDOW_BYTES: u64 = 128 * 1024;
/// Bytes kept for clients whose handshake has not been looked at; it is looked at in the same turn.
const INCOMING_BUFFER_BYTES: u64 = 8 * 1024;

/// The server's side of TLS with phones: TLS 1.3 only, no client certificates, no early data, no tickets kept.
pub struct ServerSide(LeanServerConfig);

impl ServerSide {
    /// Serves this protocol with this chain and its key.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        alpn: &[u8],
    ) -> Result<Self, rustls::Error> {
        let tls = Arc::new(rustls_config(chain, key, alpn)?);
        let stock = QuicServerConfig::try_from(Arc::clone(&tls)).expect("the suite is AES-128-GCM, which QUIC needs");
        Ok(Self(LeanServerConfig::new(tls, Arc::new(stock))))
    }

    fn crypto(self) -> Arc<dyn quinn_proto::crypto::ServerConfig> {
        Arc::new(self.0)
    }
}

fn rustls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[u8],
) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![compact::suite()];
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Handshakes under way of a shard.
    pub handshakes_max: usize,
    /// A session that is silent for so long ends.
    pub idle_timeout: Duration,
    /// Requests of one session that may be under way.
    pub requests_at_once: u8,
}

/// How phones' connections are served.
pub struct Servers {
    /// Those whose acknowledgements come by themselves.
    pub default: Arc<ServerConfig>,
    /// Those that are asked to delay acknowledgements, so that they ride on shakes.
    pub delayed_ack: Arc<ServerConfig>,
}

impl Servers {
    /// Those of this side of TLS, with these limits.
    ///
    /// # Errors
    /// When the idle timeout is longer than QUIC can say.
    pub fn new(side: ServerSide, limits: &Limits) -> Result<Self> {
        let mut default = ServerConfig::with_crypto(side.crypto());
        default
            .transport_config(Arc::new(transport_config(limits)?))
            .max_incoming(limits.handshakes_max)
            .incoming_buffer_size(INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(INCOMING_BUFFER_BYTES * 1_024);
        let mut asking = transport_config(limits)?;
        let mut wish = AckFrequencyConfig::default();
        // At once when as many packets came as a phone may have requests under way: it may want to make another.
        wish.max_ack_delay(Some(MAX_ACK_DELAY))
            .ack_eliciting_threshold(VarInt::from_u32(limits.requests_at_once.saturating_sub(1).into()));
        asking.ack_frequency_config(Some(wish));
        let mut delayed_ack = default.clone();
        delayed_ack.transport_config(Arc::new(asking));
        Ok(Self {
            default: Arc::new(default),
            delayed_ack: Arc::new(delayed_ack),
        })
    }

    /// The same with another side of TLS.
    pub fn with(&self, side: ServerSide) -> Self {
        let crypto = side.crypto();
        let [default, delayed_ack] = [&self.default, &self.delayed_ack].map(|server| {
            let mut server = ServerConfig::clone(server);
            server.crypto = Arc::clone(&crypto);
            Arc::new(server)
        });
        Self { default, delayed_ack }
    }
}

fn transport_config(limits: &Limits) -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.requests_at_once.into()))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(
            limits.idle_timeout.try_into().context("idle_timeout_s is too long")?,
        ))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(
            STREAM_WINDOW_BYTES * u32::from(limits.requests_at_once),
        ))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false);
    Ok(transport)
}
