//! A connection to one gateway's control port, made with the operator's certificate.

use super::clock::Offset;
use crate::control::identity;
use anyhow::{Context, Result, anyhow, bail};
use bytes::BytesMut;
use host::clock::wall_us;
use host::{dial, pem};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use shake_proto::admin::{REPLY_BYTES_MAX, Refusal};
use shake_proto::admin_v1::{self as v1, request::Kind};
use shake_proto::frame::{self, LENGTH_BYTES_MAX};
use shake_rules::UnixMillis;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that a connection is waited for that was closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Exchanges from which the clock's error is taken; the quickest is the truest.
const CLOCK_SAMPLES: usize = 4;

/// The operator's certificate and the authority that gateways must have theirs from.
#[derive(Clone)]
pub struct Operator {
    config: ClientConfig,
    /// When the certificate ends.
    pub expires_at: UnixMillis,
}

impl Operator {
    pub fn read(certs: &Path) -> Result<Self> {
        let chain = |name: &str| pem::certificates(&certs.join(name)).context("give --certs the operator's directory");
        let own = chain("operator.pem")?;
        let expires_at = expires_at(&own).context("operator.pem is no certificate")?;
        let mut roots = RootCertStore::empty();
        for certificate in chain("ca.pem")? {
            roots.add(certificate).context("ca.pem is no authority")?;
        }
        let key = pem::private_key(&certs.join("operator.key.pem"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("the TLS provider has no TLS 1.3")?
            .with_root_certificates(roots)
            .with_client_auth_cert(own, key)
            .context("operator.pem and operator.key.pem do not belong together")?;
        tls.alpn_protocols = vec![shake_proto::ALPN_ADMIN.to_vec()];
        let quic = QuicClientConfig::try_from(tls).context("the TLS provider has no AES-128-GCM, which QUIC needs")?;
        Ok(Self {
            config: ClientConfig::new(Arc::new(quic)),
            expires_at,
        })
    }
}

/// When the first of a chain ends.
fn expires_at(chain: &[CertificateDer<'_>]) -> Result<UnixMillis> {
    let mut first = UnixMillis(u64::MAX);
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der)?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        first = first.min(UnixMillis(seconds.saturating_mul(1_000)));
    }
    Ok(first)
}

/// An answer, and how long it took.
pub struct Answer {
    pub result: v1::reply::Result,
    pub offset: Offset,
}

/// A gateway, as it stood when the connection was made.
pub struct Client {
    pub target: String,
    pub status: v1::Status,
    pub offset: Offset,
    connection: Connection,
    endpoint: Endpoint,
}

impl Client {
    /// Connects, asks how things stand, and measures the gateway's clock against this one.
    pub async fn connect(operator: &Operator, target: &str) -> Result<Self> {
        let addresses = timeout(PATIENCE, tokio::net::lookup_host(target))
            .await
            .map_err(|_| anyhow!("cannot resolve {target:?} in {} s", PATIENCE.as_secs()))?
            .with_context(|| format!("cannot resolve {target:?}; a target is HOST:PORT"))?;
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let (endpoint, connection) = reach(operator, &dial::in_turns(addresses), name).await?;
        let mut client = Self {
            target: target.to_owned(),
            status: v1::Status::default(),
            offset: Offset::UNKNOWN,
            connection,
            endpoint,
        };
        for _ in 0..CLOCK_SAMPLES {
            if let Err(error) = client.refresh().await {
                client.close().await;
                return Err(error);
            }
        }
        Ok(client)
    }

    /// A moment of our clock by the gateway's, in milliseconds since 1970, so that a moment is the same everywhere even when
    /// clocks do not agree.
    pub fn its_time(&self, ours_ms: u64) -> u64 {
        ours_ms.saturating_add_signed(self.offset.us.div_euclid(1_000))
    }

    /// A moment of the gateway's clock by ours.
    pub fn our_time(&self, its_ms: u64) -> u64 {
        its_ms.saturating_add_signed(-self.offset.us.div_euclid(1_000))
    }

    /// Ends the connection in good order. The gateway has few places, and keeps one until it hears of the end or a minute
    /// has passed.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        // A gateway that is gone does not answer.
        let _ = timeout(CLOSE_PATIENCE, self.endpoint.wait_idle()).await;
    }

    /// Asks how things stand again.
    pub async fn refresh(&mut self) -> Result<()> {
        let kind = Some(Kind::Status(v1::StatusRequest {}));
        let answer = self.ask(v1::Request { kind }).await?;
        let v1::reply::Result::Status(status) = answer.result else {
            bail!("the gateway answered something else than its status");
        };
        self.status = status;
        self.offset = self.offset.better(answer.offset);
        Ok(())
    }

    /// One request, one answer.
    pub async fn ask(&self, request: v1::Request) -> Result<Answer> {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&request, &mut bytes);
        let exchange = async {
            let lost = |error: ConnectionError| explain(&error);
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(lost)?;
            let sent_at_us = wall_us();
            // When the gateway ends the connection meanwhile, reading tells why.
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
            let reply = receive.read_to_end(REPLY_BYTES_MAX + LENGTH_BYTES_MAX).await;
            let got_at_us = wall_us();
            let reply = reply.map_err(|error| match error {
                quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => explain(&error),
                error => error.into(),
            })?;
            let reply = frame::decode_stream::<v1::Reply>(reply.into(), REPLY_BYTES_MAX)
                .map_err(|code| anyhow!("the answer makes no sense ({code}); is it a gateway of this version?"))?;
            Ok(Answer {
                offset: Offset::measured(sent_at_us, reply.received_at_us, reply.answered_at_us, got_at_us),
                result: reply
                    .result
                    .context("the answer is of a kind that this version does not know")?,
            })
        };
        timeout(PATIENCE, exchange)
            .await
            .map_err(|_| anyhow!("no answer in {} s", PATIENCE.as_secs()))?
    }
}

/// Connects to the first of a name's addresses that answers.
async fn reach(operator: &Operator, addresses: &[SocketAddr], name: &str) -> Result<(Endpoint, Connection)> {
    let attempt = |address| {
        let (client, name) = (operator.config.clone(), name.to_owned());
        async move {
            let connecting = timeout(PATIENCE, connect(client, address, &name));
            let connected = connecting.await.unwrap_or_else(|_| {
                let patience = PATIENCE.as_secs();
                Err(anyhow!(
                    "no answer in {patience} s; is [admin] address right, and the way open for UDP?"
                ))
            });
            // With its causes, because that is all that is told of it.
            connected.map_err(|error| format!("{error:#}"))
        }
    };
    let reached = dial::first(addresses, attempt).await;
    reached.map_err(|faults| anyhow!("{}", dial::told(&faults)))
}

async fn connect(client: ClientConfig, address: SocketAddr, name: &str) -> Result<(Endpoint, Connection)> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = Endpoint::client(any).context("cannot open a UDP socket")?;
    let connection = endpoint.connect_with(client, address, name)?;
    let connection = connection.await.map_err(|error| explain(&error))?;
    Ok((endpoint, connection))
}

/// The name of a refusal, also of one that this version does not know.
pub fn refusal_name(refused: &v1::Refused) -> &'static str {
    Refusal::from_wire(refused.refusal).map_or("unknown", Refusal::name)
}

/// Says what an operator can do about a connection that did not come about or ended.
fn explain(error: &ConnectionError) -> anyhow::Error {
    use crate::control::counters::Turned;
    if let ConnectionError::TransportError(fault) = error
        && let Some(turned) = identity::alert(fault.code.into()).map(identity::turned)
    {
        // Our own end did not take the gateway's certificate.
        let advice = match turned {
            Turned::Expired => {
                "the gateway's certificate is expired, or not valid yet by this machine's clock: make another with `certs issue \
                 server`, bring it there, and send the gateway SIGHUP (`systemctl reload gateway`)"
            }
            Turned::OtherAuthority => "the gateway's certificate is of another authority than ca.pem of --certs",
            _ => return anyhow!("{error}"),
        };
        return anyhow!("{advice} ({error})");
    }
    let turned = match error {
        ConnectionError::ConnectionClosed(close) => identity::alert(close.error_code.into()).map(identity::turned),
        ConnectionError::ApplicationClosed(close) => str::from_utf8(&close.reason)
            .ok()
            .and_then(|reason| reason.parse().ok()),
        _ => None,
    };
    let advice = match turned {
        Some(Turned::Expired) => {
            "the operator's certificate is expired, or not valid yet by the gateway's clock; where the authority's key is, \
             `certs issue operator DIR --name NAME` makes another, under the same name"
        }
        Some(Turned::OtherAuthority) => "the operator's certificate is of another authority than the gateway's",
        Some(Turned::NotOperator) => "the certificate is not one for operators",
        Some(Turned::Barred) => "the operator's certificate is on the gateway's list of refused ones",
        Some(Turned::ListUnreadable) => {
            "its refused-operators.txt cannot be read, and until that is mended (its log says how) and SIGHUP given nobody is let in"
        }
        Some(Turned::NoCertificate | Turned::BadCertificate) => "the operator's certificate does not hold",
        Some(Turned::OtherProtocol) => "it is no control port of a gateway; see [admin] address",
        Some(Turned::Full) => "it serves as many operators as it may; end another command, or wait a minute",
        Some(Turned::Crowded | Turned::Handshake) | None => return anyhow!("{error}"),
    };
    anyhow!("the gateway turned us away: {advice} ({error})")
}
