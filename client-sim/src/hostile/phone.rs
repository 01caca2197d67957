//! A client of the `quinn` crate, for attacks through streams: connects in whatever way it is configured, says Hello with
//! whatever token, sends whatever bytes, and gives back names of what came.

use super::stage::HostileError;
use super::{PATIENCE, Stage};
use crate::tally::code_name;
use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, ReadError, ReadToEndError, TransportConfig, VarInt};
use shake_proto::frame::{self, LENGTH_BYTES_MAX, REPLY_BYTES_MAX};
use shake_proto::wire::v1::{self, reply, request::Kind};
use std::sync::Arc;
use tokio::time::timeout;

/// Makes connections.
pub(super) struct Phones {
    endpoint: Endpoint,
    client: ClientConfig,
    target: std::net::SocketAddr,
    server_name: String,
}

impl Phones {
    /// Must be called inside of [`Stage::block_on`].
    pub(super) fn new(stage: &Stage, transport: TransportConfig) -> Result<Self, HostileError> {
        Self::with_resumption(stage, transport, rustls::client::Resumption::disabled())
    }

    pub(super) fn with_resumption(
        stage: &Stage,
        transport: TransportConfig,
        resumption: rustls::client::Resumption,
    ) -> Result<Self, HostileError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| HostileError::Tls(error.to_string()))?
            .with_root_certificates(stage.roots.clone())
            .with_no_client_auth();
        tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
        tls.resumption = resumption;
        tls.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| HostileError::Tls(error.to_string()))?;
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(Arc::new(transport));
        let local = if stage.target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Ok(Self {
            endpoint: Endpoint::client(local.parse().expect("an address and a port"))?,
            client,
            target: stage.target,
            server_name: stage.server_name.clone(),
        })
    }

    pub(super) fn connecting(&self) -> Result<quinn::Connecting, String> {
        let connecting = self
            .endpoint
            .connect_with(self.client.clone(), self.target, &self.server_name);
        connecting.map_err(|error| error.to_string())
    }

    pub(super) async fn connect(&self) -> Result<Phone, String> {
        match timeout(PATIENCE, self.connecting()?).await {
            Ok(Ok(connection)) => Ok(Phone { connection }),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err("handshake_timed_out".into()),
        }
    }

    /// Connects and says Hello.
    pub(super) async fn user(&self, token: Bytes) -> Result<Phone, String> {
        let phone = self.connect().await?;
        phone.hello(token, Bytes::new()).await?;
        Ok(phone)
    }
}

/// A connection.
pub(super) struct Phone {
    pub(super) connection: quinn::Connection,
}

impl Phone {
    pub(super) async fn hello(&self, token: Bytes, cookie: Bytes) -> Result<v1::HelloReply, String> {
        let hello = v1::Hello {
            token,
            cookie,
            ..Default::default()
        };
        match self.request(Kind::Hello(hello)).await? {
            reply::Kind::Hello(reply) => Ok(reply),
            _ => Err("another_kind_of_reply".into()),
        }
    }

    pub(super) async fn shake(&self, sequence: u32) -> Result<v1::ShakeReply, String> {
        match self.request(Kind::Shake(v1::Shake { sequence })).await? {
            reply::Kind::Shake(reply) => Ok(reply),
            _ => Err("another_kind_of_reply".into()),
        }
    }

    /// Claims; gives the opened packet, or the name of the refusal.
    pub(super) async fn claim(&self, ticket: Bytes, cookie: Bytes) -> Result<v1::Opened, String> {
        use v1::claim_reply::Result as Claimed;
        match self.request(Kind::Claim(v1::Claim { ticket, cookie })).await? {
            reply::Kind::Claim(reply) => match reply.result {
                Some(Claimed::Opened(opened)) => Ok(opened),
                Some(Claimed::Refused(refused)) => Err(refused.reason().as_str_name().to_lowercase()),
                Some(Claimed::Busy(_)) => Err("busy".into()),
                None => Err("no_result".into()),
            },
            _ => Err("another_kind_of_reply".into()),
        }
    }

    /// Sends a request; gives the reply, or the name of what came instead.
    pub(super) async fn request(&self, kind: Kind) -> Result<reply::Kind, String> {
        let bytes = self.exchange(framed(kind)).await?;
        let reply = frame::decode_stream::<v1::Reply>(bytes, REPLY_BYTES_MAX).map_err(|_| "malformed_reply")?;
        reply.kind.ok_or_else(|| "empty_reply".into())
    }

    /// Writes these bytes and FIN on a new stream.
    pub(super) async fn exchange(&self, bytes: Bytes) -> Result<Bytes, String> {
        let exchange = async {
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| lost(&error))?;
            // It may be refused before all is written; the reading end says why.
            let _ = send.write_chunk(bytes).await;
            let _ = send.finish();
            match receive.read_to_end(REPLY_BYTES_MAX + LENGTH_BYTES_MAX).await {
                Ok(reply) => Ok(reply.into()),
                Err(ReadToEndError::Read(ReadError::Reset(code))) => Err(code_name(code.into_inner())),
                Err(ReadToEndError::Read(ReadError::ConnectionLost(error))) => Err(lost(&error)),
                Err(_) => Err("unreadable_reply".to_owned()),
            }
        };
        timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err("no_answer".into()))
    }
}

/// A request as it stands on a stream.
pub(super) fn framed(kind: Kind) -> Bytes {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
    bytes.freeze()
}

/// Why a connection ended, by name.
pub(super) fn lost(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => format!("closed_{}", code_name(close.error_code.into_inner())),
        ConnectionError::ConnectionClosed(close) => format!("closed_transport_{:#x}", u64::from(close.error_code)),
        ConnectionError::TransportError(error) => format!("transport_{:#x}", u64::from(error.code)),
        ConnectionError::TimedOut => "timed_out".into(),
        ConnectionError::Reset => "reset".into(),
        ConnectionError::LocallyClosed => "closed_here".into(),
        ConnectionError::VersionMismatch => "version_mismatch".into(),
        ConnectionError::CidsExhausted => "connection_ids_exhausted".into(),
    }
}

/// A transport that behaves.
pub(super) fn usual() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(4))
        .mtu_discovery_config(None)
        .keep_alive_interval(Some(std::time::Duration::from_secs(5)));
    transport
}
