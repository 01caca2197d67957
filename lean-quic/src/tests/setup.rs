//! What a test may change of client, server and link, and the certificates of all tests.

use super::super::{Config, LOCAL_CID_BYTES, tls};
use crate::Micros;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{EndpointConfig, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, OnceLock};

pub(super) const ALPN: &[u8] = b"test";
pub(super) const LOCAL: [u8; LOCAL_CID_BYTES] = *b"our side";

/// What the link does to datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) seed: u64,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) latency: Micros,
    /// Up to so much is added at random, which reorders.
    pub(super) jitter: Micros,
}

impl Link {
    pub(super) const CLEAN: Self = Self {
        seed: 0,
        loss: 0.0,
        duplication: 0.0,
        latency: Micros::from_ms(10),
        jitter: Micros::ZERO,
    };
}

/// Both sides' settings, to be changed by a test.
pub(super) struct Setup {
    pub(super) link: Link,
    pub(super) client: Config,
    pub(super) transport: TransportConfig,
    pub(super) endpoint: EndpointConfig,
    pub(super) asks_retry: bool,
    pub(super) has_long_certificate: bool,
}

type Identity = (CertificateDer<'static>, Vec<u8>);

/// A certificate of an ordinary length, or one that is longer than a server may send before it knows the address.
fn identity(is_long: bool) -> &'static Identity {
    static IDENTITIES: OnceLock<[Identity; 2]> = OnceLock::new();
    let identities = IDENTITIES.get_or_init(|| {
        [0, 300].map(|more| {
            let more = (0..more).map(|n| format!("host-{n}.example.com"));
            let names: Vec<String> = std::iter::once("localhost".to_owned()).chain(more).collect();
            let made = rcgen::generate_simple_self_signed(names).expect("valid names");
            (made.cert.der().clone(), made.signing_key.serialize_der())
        })
    });
    &identities[usize::from(is_long)]
}

pub(super) fn client_config() -> Config {
    let mut roots = RootCertStore::empty();
    for is_long in [false, true] {
        roots.add(identity(is_long).0.clone()).expect("a certificate");
    }
    Config {
        tls: tls(roots, ALPN).expect("TLS 1.3"),
        idle_timeout: Micros::from_s(30),
        keep_alive: Micros::ZERO,
        ack_delay_ms_max: 25,
        request_bytes_max: 8_192,
        response_bytes_max: 30_000,
        notices_max: 4,
    }
}

pub(super) fn server_config(transport: TransportConfig, has_long_certificate: bool) -> ServerConfig {
    let (certificate, key) = identity(has_long_certificate);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::Pkcs8(key.clone().into()))
        .expect("they belong together");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("AES-128-GCM")));
    server.transport_config(Arc::new(transport));
    server
}

impl Default for Setup {
    fn default() -> Self {
        let mut transport = TransportConfig::default();
        transport
            .mtu_discovery_config(None)
            .max_idle_timeout(Some(VarInt::from_u32(60_000).into()))
            .datagram_receive_buffer_size(Some(64 << 10));
        Self {
            link: Link::CLEAN,
            client: client_config(),
            transport,
            endpoint: EndpointConfig::default(),
            asks_retry: false,
            has_long_certificate: false,
        }
    }
}
