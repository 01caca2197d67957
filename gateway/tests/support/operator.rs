//! An operator's connection, made by hand, so that tests can say what the program never would.
#![allow(dead_code)]

use super::PATIENCE;
use bytes::BytesMut;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shake_proto::admin::REPLY_BYTES_MAX;
use shake_proto::admin_v1::{self as v1, request::Kind};
use shake_proto::frame;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub struct Operator {
    pub connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

/// A handshake that is begun with a proved address, and never gone on with: what comes after the second packet is lost.
pub struct Stalled {
    _endpoint: quinn::Endpoint,
    _connecting: quinn::Connecting,
    relay: tokio::task::JoinHandle<()>,
}

impl Stalled {
    /// Gives it as soon as the server has answered both.
    pub async fn begin(address: SocketAddr) -> Self {
        let here = || tokio::net::UdpSocket::bind("127.0.0.1:0");
        let (near, far) = (here().await.expect("a socket"), here().await.expect("a socket"));
        far.connect(address).await.expect("an address");
        let at = near.local_addr().expect("bound");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        tls.alpn_protocols = vec![shake_proto::ALPN_ADMIN.to_vec()];
        let quic = QuicClientConfig::try_from(tls).expect("a QUIC client");
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("an endpoint");
        let connecting = endpoint
            .connect_with(quinn::ClientConfig::new(Arc::new(quic)), at, "localhost")
            .expect("a good configuration");
        let (answered, both) = tokio::sync::oneshot::channel();
        let relay = tokio::spawn(relay(near, far, answered));
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("in time")
            .expect("two answers");
        Self {
            _endpoint: endpoint,
            _connecting: connecting,
            relay,
        }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Carries two packets to the server, and back what it answers: the Retry, and then its part of the handshake, which is lost.
async fn relay(near: tokio::net::UdpSocket, far: tokio::net::UdpSocket, answered: tokio::sync::oneshot::Sender<()>) {
    let mut bytes = [0; 2_048];
    let mut client = None;
    for is_last in [false, true] {
        let (length, from) = near.recv_from(&mut bytes).await.expect("a packet");
        client = client.or(Some(from));
        far.send(&bytes[..length]).await.expect("sent");
        let length = far.recv(&mut bytes).await.expect("an answer");
        if !is_last {
            near.send_to(&bytes[..length], from).await.expect("sent");
        }
    }
    let _ = answered.send(());
    std::future::pending().await
}

impl Operator {
    /// Connects; with the operator's certificate of `certs` unless `is_nobody`.
    pub async fn connect(address: SocketAddr, certs: &Path, is_nobody: bool) -> Self {
        let ca = CertificateDer::from_pem_file(certs.join("ca.pem")).expect("ca.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).expect("a CA certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots);
        let mut tls = if is_nobody {
            builder.with_no_client_auth()
        } else {
            let certificate = CertificateDer::from_pem_file(certs.join("operator.pem")).expect("operator.pem");
            let key = PrivateKeyDer::from_pem_file(certs.join("operator.key.pem")).expect("operator.key.pem");
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        };
        tls.alpn_protocols = vec![shake_proto::ALPN_ADMIN.to_vec()];
        let quic = QuicClientConfig::try_from(tls).expect("a QUIC client");
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("an endpoint");
        let connecting = endpoint
            .connect_with(quinn::ClientConfig::new(Arc::new(quic)), address, "localhost")
            .expect("a good configuration");
        let connection = tokio::time::timeout(PATIENCE, connecting)
            .await
            .expect("in time")
            .expect("a connection, as far as a client can tell");
        Self {
            connection,
            _endpoint: endpoint,
        }
    }

    pub async fn ask(&self, kind: Kind) -> v1::reply::Result {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        self.exchange(&bytes).await.expect("an answer")
    }

    /// Pushes a show as this version.
    pub async fn push_show(&self, text: String, version: u64) -> v1::reply::Result {
        let push = v1::Push {
            kind: v1::Kind::Show as i32,
            text,
            version,
            dry_run: false,
            now_ms: 0,
        };
        self.ask(Kind::Push(push)).await
    }

    /// Writes these bytes and FIN; `None` when there is no answer.
    pub async fn exchange(&self, bytes: &[u8]) -> Option<v1::reply::Result> {
        let exchange = async {
            let (mut send, mut receive) = self.connection.open_bi().await.ok()?;
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            let reply = receive.read_to_end(REPLY_BYTES_MAX).await.ok()?;
            let reply = frame::decode_stream::<v1::Reply>(reply.into(), REPLY_BYTES_MAX).expect("a Reply");
            reply.result
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("in time")
    }
}
