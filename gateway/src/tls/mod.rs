//! Reads the certificate directory and makes the QUIC configurations from it.

mod compact;
mod congestion;
mod lean;
mod parameters;
mod secrets;

pub use compact::take_newest_keys;
pub use congestion::newest_controller;
pub use parameters::ASSUMED;
pub use secrets::Secrets;

use crate::config::{Config, Sessions};
use crate::shard::{ResetKeys, ShardCids};
use anyhow::{Context, Result};
use host::pem;
use lean::LeanServerConfig;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{AckFrequencyConfig, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use shake_rules::keys::{KeyRing, Purpose};
use std::path::Path;
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

/// The key of the configuration that names the certificate directory, as errors of its files begin.
pub const CERTS_KEY: &str = "[certs] directory";

/// Reads the key file of one purpose.
pub fn key_ring(directory: &Path, purpose: Purpose) -> Result<KeyRing> {
    let path = directory.join(purpose.file_name());
    let read = std::fs::read_to_string(&path);
    let text = read.with_context(|| format!("{CERTS_KEY}: cannot read {}", path.display()))?;
    KeyRing::parse(&text, purpose).with_context(|| path.display().to_string())
}

/// The server's side of TLS with phones: TLS 1.3 only, no client certificates, no early data, no tickets kept.
struct ServerSide(LeanServerConfig);

impl ServerSide {
    /// Makes it with the certificate of the directory.
    fn read(directory: &Path) -> Result<Self> {
        let tls = Arc::new(rustls_config(directory)?);
        let stock = QuicServerConfig::try_from(Arc::clone(&tls));
        let stock = stock.context("the TLS provider has no AES-128-GCM, which QUIC needs")?;
        Ok(Self(LeanServerConfig::new(tls, Arc::new(stock))))
    }

    fn crypto(self) -> Arc<dyn quinn_proto::crypto::ServerConfig> {
        Arc::new(self.0)
    }
}

fn rustls_config(directory: &Path) -> Result<rustls::ServerConfig> {
    let certificate = directory.join("server.pem");
    let key = directory.join("server.key.pem");
    let chain = pem::certificates(&certificate).context(CERTS_KEY)?;
    let secret = pem::private_key(&key).context(CERTS_KEY)?;
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![compact::suite()];
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("the TLS provider has no TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))?;
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

/// How phones' connections are served.
pub struct Servers {
    /// Those whose acknowledgements come by themselves.
    pub usual: Arc<ServerConfig>,
    /// Those that are asked to let acknowledgements ride on shakes.
    pub riding: Arc<ServerConfig>,
}

impl Servers {
    fn new(config: &Config) -> Result<Self> {
        let mut usual = ServerConfig::with_crypto(ServerSide::read(&config.certs_directory)?.crypto());
        usual
            .transport_config(Arc::new(transport_config(&config.sessions)?))
            .max_incoming(config.sessions.handshakes_max)
            .incoming_buffer_size(INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(INCOMING_BUFFER_BYTES * 1_024);
        let mut asking = transport_config(&config.sessions)?;
        let mut wish = AckFrequencyConfig::default();
        // At once when as many packets came as a phone may have requests under way: it may want to make another.
        wish.max_ack_delay(Some(ASSUMED))
            .ack_eliciting_threshold(VarInt::from_u32(
                config.sessions.requests_at_once.saturating_sub(1).into(),
            ));
        asking.ack_frequency_config(Some(wish));
        let mut riding = usual.clone();
        riding.transport_config(Arc::new(asking));
        Ok(Self {
            usual: Arc::new(usual),
            riding: Arc::new(riding),
        })
    }

    /// The same with another side of TLS.
    fn with(&self, side: ServerSide) -> Self {
        let crypto = side.crypto();
        let [usual, riding] = [&self.usual, &self.riding].map(|server| {
            let mut server = ServerConfig::clone(server);
            server.crypto = Arc::clone(&crypto);
            Arc::new(server)
        });
        Self { usual, riding }
    }
}

fn transport_config(sessions: &Sessions) -> Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(sessions.requests_at_once.into()))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(
            sessions.idle_timeout.try_into().context("idle_timeout_s is too long")?,
        ))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(
            STREAM_WINDOW_BYTES * u32::from(sessions.requests_at_once),
        ))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .congestion_controller_factory(Arc::new(congestion::Factory::default()))
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false);
    Ok(transport)
}

/// The configuration of one endpoint of a shard. The reset key outlives the process, so that clients of an earlier life
/// learn at once that their connection is gone (RFC 9000, section 10.3). How many resets there are is the shard's to limit.
pub fn endpoint_config(reset_keys: &ResetKeys, shard: u8, generation: u8, number: u16) -> Arc<EndpointConfig> {
    let mut endpoint = EndpointConfig::new(Arc::new(reset_keys.active().clone()));
    endpoint.min_reset_interval(Duration::ZERO);
    // The drafts that the library knows besides were never served (RFC 9000, section 6, tells of those that are).
    endpoint.supported_versions(vec![QUIC_V1]);
    endpoint.cid_generator(move || Box::new(ShardCids::new(shard, generation, number)));
    Arc::new(endpoint)
}
