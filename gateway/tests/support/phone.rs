//! A phone made of the stock `quinn` crate, and the tokens that it shows.

use super::{Client, PATIENCE, Stand};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::wire::v1;
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Stand {
    pub fn key_ring(&self, purpose: Purpose) -> KeyRing {
        let text = std::fs::read_to_string(self.path("certs").join(purpose.file_name())).expect("a key file");
        KeyRing::parse(&text, purpose).expect("a key file that certs made")
    }

    pub fn token(&self, user: u64) -> Bytes {
        let token = UserToken {
            user: UserId(user),
            expires_at: UnixMillis(u64::MAX),
        };
        Bytes::copy_from_slice(&TokenKeys::new(&self.key_ring(Purpose::UserToken)).mint(token))
    }

    /// A phone that has connected but not said Hello.
    pub async fn phone(&self) -> Phone {
        self.connect(Ipv4Addr::LOCALHOST).await.expect("a connection")
    }

    /// The same from another address, or why there is none.
    pub async fn phone_at(&self, address: Ipv4Addr) -> Result<Phone, quinn::ConnectionError> {
        self.connect(address).await
    }

    /// Holds that the gateway lets nobody in.
    pub async fn cannot_connect(&self) {
        let refused = self.connect(Ipv4Addr::LOCALHOST).await.err();
        let code = refused.as_ref().map(|error| match error {
            quinn::ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
            other => panic!("{other}"),
        });
        // CONNECTION_REFUSED (RFC 9000, section 20.1).
        assert_eq!(code, Some(2));
    }

    /// The same with these transport settings.
    pub async fn phone_with(&self, transport: quinn::TransportConfig) -> Phone {
        let connected = self.connect_with(Ipv4Addr::LOCALHOST, transport).await;
        connected.expect("a connection")
    }

    async fn connect(&self, from: Ipv4Addr) -> Result<Phone, quinn::ConnectionError> {
        self.connect_with(from, quinn::TransportConfig::default()).await
    }

    async fn connect_with(
        &self,
        from: Ipv4Addr,
        transport: quinn::TransportConfig,
    ) -> Result<Phone, quinn::ConnectionError> {
        let endpoint = quinn::Endpoint::client((from, 0).into()).expect("an endpoint");
        let connecting = endpoint
            .connect_with(self.client_config(transport), self.address, "localhost")
            .expect("a good configuration");
        let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("in time")?;
        Ok(Phone { endpoint, connection })
    }

    /// How a phone connects.
    pub fn client_config(&self, transport: quinn::TransportConfig) -> quinn::ClientConfig {
        let ca = CertificateDer::from_pem_file(self.path("certs/ca.pem")).expect("ca.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).expect("a CA certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
        let quic = QuicClientConfig::try_from(tls).expect("a QUIC client");
        let mut config = quinn::ClientConfig::new(Arc::new(quic));
        config.transport_config(Arc::new(transport));
        config
    }

    /// A phone that has said Hello.
    pub async fn user(&self, user: u64) -> Phone {
        let phone = self.phone().await;
        phone.hello(self.token(user)).await.expect("a good Hello");
        phone
    }

    /// Has one user ask the same over and over: from 51 connections, of which three are open at a time, with three tries at
    /// once on each. Beside them the user may have one more. Gives all answers.
    pub async fn hammer<T, F>(&self, user: u64, ask: impl Fn(Arc<Phone>) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut answers = Vec::new();
        for _ in 0..17 {
            let mut tries = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let phone = Arc::new(self.user(user).await);
                for _ in 0..3 {
                    tries.spawn(ask(Arc::clone(&phone)));
                }
            }
            answers.extend(tries.join_all().await);
        }
        answers
    }
}

/// A connection of the stock `quinn` crate.
pub struct Phone {
    pub endpoint: quinn::Endpoint,
    pub connection: quinn::Connection,
}

impl Phone {
    pub async fn hello(&self, token: Bytes) -> Result<v1::HelloReply, Option<Code>> {
        self.hello_with(v1::Hello {
            token,
            ..Default::default()
        })
        .await
    }

    pub async fn hello_with(&self, hello: v1::Hello) -> Result<v1::HelloReply, Option<Code>> {
        match self.request(v1::request::Kind::Hello(hello)).await? {
            v1::reply::Kind::Hello(reply) => Ok(reply),
            other => panic!("Hello was answered by {other:?}"),
        }
    }

    pub async fn claim(&self, ticket: Bytes) -> v1::claim_reply::Result {
        let claim = v1::Claim {
            ticket,
            cookie: Bytes::new(),
        };
        match self.request(v1::request::Kind::Claim(claim)).await {
            Ok(v1::reply::Kind::Claim(reply)) => reply.result.expect("a result"),
            other => panic!("a claim was answered by {other:?}"),
        }
    }

    /// Claims until the answer is not Busy.
    pub async fn claim_patiently(&self, ticket: &Bytes) -> v1::claim_reply::Result {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.claim(ticket.clone()).await {
                v1::claim_reply::Result::Busy(_) => {
                    assert!(Instant::now() < deadline, "busy for too long");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result,
            }
        }
    }

    /// Opens what it won.
    pub async fn opens(&self, packet: &v1::RedPacket) {
        let result = self.claim_patiently(&packet.ticket).await;
        assert!(matches!(result, v1::claim_reply::Result::Opened(_)), "{result:?}");
    }

    /// A shake on a stream.
    pub async fn shake(&self, sequence: u32) -> Result<v1::ShakeReply, Option<Code>> {
        match self.request(v1::request::Kind::Shake(v1::Shake { sequence })).await? {
            v1::reply::Kind::Shake(reply) => Ok(reply),
            other => panic!("a shake was answered by {other:?}"),
        }
    }

    /// Shakes until it wins.
    pub async fn win(&self) -> v1::RedPacket {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(packet) = self.shake(1).await.expect("a shake").red_packet {
                return packet;
            }
            assert!(Instant::now() < deadline, "no win in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A shake in a datagram; tried again when one is lost.
    pub async fn shake_by_datagram(&self, sequence: u32) -> v1::ShakeReply {
        for _ in 0..20 {
            let shake = v1::Shake { sequence }.encode_to_vec();
            self.connection.send_datagram(shake.into()).expect("datagrams are on");
            let reply = tokio::time::timeout(Duration::from_secs(1), self.connection.read_datagram()).await;
            if let Ok(reply) = reply {
                return v1::ShakeReply::decode(reply.expect("an open connection")).expect("a ShakeReply");
            }
        }
        panic!("no answer to a shake");
    }

    pub async fn request(&self, kind: v1::request::Kind) -> Result<v1::reply::Kind, Option<Code>> {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        let reply = self.exchange(&bytes).await?;
        let reply = frame::decode_stream::<v1::Reply>(reply, REPLY_BYTES_MAX).expect("a Reply");
        Ok(reply.kind.expect("a kind"))
    }

    /// Writes these bytes and FIN on a new stream. Gives what comes back, or the code that the stream was reset with.
    pub async fn exchange(&self, bytes: &[u8]) -> Result<Bytes, Option<Code>> {
        let code = |number: quinn::VarInt| Code::from_number(number.into_inner());
        let exchange = async {
            let (mut send, mut receive) = self.connection.open_bi().await.expect("an open connection");
            // The server may refuse the stream before all is written; the reading end tells with which code.
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            match receive.read_to_end(REPLY_BYTES_MAX + 8).await {
                Ok(reply) => Ok(reply.into()),
                Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(number))) => Err(code(number)),
                Err(error) => panic!("{error}"),
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
    }
}

impl Client for Phone {
    async fn reply_to(&self, kind: v1::request::Kind) -> v1::reply::Kind {
        self.request(kind).await.expect("a reply")
    }

    async fn win(&self) -> v1::RedPacket {
        Self::win(self).await
    }
}
