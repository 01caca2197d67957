//! A small gateway for tests: real QUIC and real TLS on the loopback, on the `quinn` crate, with answers that each test
//! scripts. It keeps no rules of its own beyond the token check.
#![allow(dead_code)] // each test file uses a part of it

use bytes::{Bytes, BytesMut};
use client_sim::engine::Stop;
use client_sim::run::{Outcome, Watch, run};
use client_sim::scenario::Scenario;
use prost::Message;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use shake_proto::code::Code;
use shake_proto::frame::{self, LENGTH_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_proto::wire::v1;
use shake_rules::UnixMillis;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::token::TokenKeys;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// What the server does with a request on a stream.
pub enum Answer {
    Reply(v1::reply::Kind),
    Reset(Code),
    Silence,
}

/// What the server does with a shake on a datagram.
pub enum Back {
    Reply(v1::ShakeReply),
    /// Bytes that need not be a reply.
    Raw(Bytes),
    Silence,
    /// A notice on a stream of the server's.
    Notice(v1::Notice),
    /// Closes the connection.
    Close(Code),
}

/// Decides all answers. Users are told apart by the id in their token.
pub trait Script: Send + Sync + 'static {
    fn hello(&self, _user: u64, _hello: &v1::Hello) -> Answer {
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply::default()))
    }

    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let _ = user;
        vec![Back::Reply(reply(sequence, v1::Outcome::Greeting))]
    }

    fn claim(&self, _user: u64, _claim: &v1::Claim) -> Answer {
        Answer::Reset(Code::Unsupported)
    }

    /// Send, grab, view and wallet.
    fn ask(&self, _user: u64, _kind: v1::request::Kind) -> Answer {
        Answer::Reset(Code::Unsupported)
    }
}

pub fn reply(sequence: u32, outcome: v1::Outcome) -> v1::ShakeReply {
    v1::ShakeReply {
        sequence,
        outcome: outcome as i32,
        ..Default::default()
    }
}

/// A reply that wins this packet; its ticket names the packet.
pub fn win(sequence: u32, packet: u64, sponsor_id: u32) -> v1::ShakeReply {
    let mut ticket = vec![0; 74];
    ticket[..8].copy_from_slice(&packet.to_le_bytes());
    let red_packet = v1::RedPacket {
        ticket: ticket.into(),
        sponsor_id,
        cookie: Bytes::from_static(b"limit cookie"),
    };
    v1::ShakeReply {
        red_packet: Some(red_packet),
        ..reply(sequence, v1::Outcome::RedPacket)
    }
}

/// The packet that a ticket names.
pub fn packet_of(claim: &v1::Claim) -> u64 {
    u64::from_le_bytes(claim.ticket[..8].try_into().expect("74 bytes"))
}

pub fn claimed(result: v1::claim_reply::Result) -> Answer {
    Answer::Reply(v1::reply::Kind::Claim(v1::ClaimReply { result: Some(result) }))
}

pub fn opened(packet_id: u64, cents: u64, sponsor_id: u32, repeat: bool) -> Answer {
    let opened = v1::Opened {
        packet_id,
        cents,
        sponsor_id,
        repeat,
        ..Default::default()
    };
    claimed(v1::claim_reply::Result::Opened(opened))
}

pub struct Server {
    pub address: SocketAddr,
    files: Arc<TempDir>,
    config: ServerConfig,
    endpoint: Endpoint,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts a server on a free loopback port, with a fresh authority, certificate and token key.
    pub fn start(script: impl Script) -> Self {
        let files = Arc::new(TempDir::new().expect("a temporary directory"));
        let ring = KeyRing::of(Key::new(1, [5; 32]));
        std::fs::write(
            files.path().join("user-token.key.toml"),
            ring.to_file(Purpose::UserToken),
        )
        .expect("written");
        let (ca, config) = identity();
        std::fs::write(files.path().join("ca.pem"), ca).expect("written");
        Self::with(files, config, script)
    }

    /// Starts another server with the same authority, certificate and token key.
    pub fn start_another(&self, script: impl Script) -> Self {
        Self::with(self.files.clone(), self.config.clone(), script)
    }

    fn with(files: Arc<TempDir>, config: ServerConfig, script: impl Script) -> Self {
        let ring = KeyRing::of(Key::new(1, [5; 32]));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = {
            let _entered = runtime.enter();
            Endpoint::server(config.clone(), (Ipv4Addr::LOCALHOST, 0).into()).expect("a free port")
        };
        let address = endpoint.local_addr().expect("bound");
        runtime.spawn(accept(
            endpoint.clone(),
            Arc::new(script),
            Arc::new(TokenKeys::new(&ring)),
        ));
        Self {
            address,
            files,
            config,
            endpoint,
            _runtime: runtime,
        }
    }

    /// Where the authority's certificate and the token key are.
    pub fn certs(&self) -> PathBuf {
        self.files.path().to_owned()
    }

    /// Overrides that lead to this server.
    pub fn overrides(&self) -> client_sim::scenario::Overrides {
        client_sim::scenario::Overrides {
            target: Some(self.address.to_string()),
            certs: Some(self.certs()),
            ..Default::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.endpoint.close(Code::Done.number().into(), b"");
    }
}

fn identity() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = Issuer::from_params(&params, &ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("the key fits");
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).expect("TLS 1.3 suites")));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(16_u32.into());
    config.transport_config(Arc::new(transport));
    (ca.pem(), config)
}

async fn accept(endpoint: Endpoint, script: Arc<dyn Script>, tokens: Arc<TokenKeys>) {
    while let Some(incoming) = endpoint.accept().await {
        let (script, tokens) = (script.clone(), tokens.clone());
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                serve(connection, script, tokens).await;
            }
        });
    }
}

/// One connection: Hello first, then datagrams and streams side by side.
async fn serve(connection: Connection, script: Arc<dyn Script>, tokens: Arc<TokenKeys>) {
    let Ok((send, receive)) = connection.accept_bi().await else {
        return;
    };
    let Some(v1::request::Kind::Hello(hello)) = read_request(receive).await else {
        connection.close(Code::BeforeHello.number().into(), b"");
        return;
    };
    let Ok(token) = tokens.check(&hello.token, UnixMillis(1)) else {
        answer(send, Answer::Reset(Code::TokenForged)).await;
        connection.closed().await; // dropping it would close it before the reset is out
        return;
    };
    let user = token.user.0;
    let reply = script.hello(user, &hello);
    answer(send, reply).await;
    loop {
        tokio::select! {
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return };
                let shake = frame::decode_shake(datagram).expect("the client sends shakes");
                for back in script.shake(user, shake.sequence) {
                    give_back(&connection, back).await;
                }
            }
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { return };
                let script = script.clone();
                tokio::spawn(async move {
                    let reply = match read_request(receive).await {
                        Some(v1::request::Kind::Claim(claim)) => script.claim(user, &claim),
                        Some(v1::request::Kind::Shake(shake)) => match script.shake(user, shake.sequence).pop() {
                            Some(Back::Reply(reply)) => Answer::Reply(v1::reply::Kind::Shake(reply)),
                            _ => Answer::Silence,
                        },
                        Some(v1::request::Kind::Hello(hello)) => script.hello(user, &hello),
                        Some(kind) => script.ask(user, kind),
                        None => Answer::Reset(Code::Malformed),
                    };
                    answer(send, reply).await;
                });
            }
        }
    }
}

async fn give_back(connection: &Connection, back: Back) {
    match back {
        Back::Reply(reply) => drop(connection.send_datagram(reply.encode_to_vec().into())),
        Back::Raw(bytes) => drop(connection.send_datagram(bytes)),
        Back::Silence => {}
        Back::Close(code) => connection.close(code.number().into(), b"scripted"),
        Back::Notice(notice) => {
            let Ok(mut stream) = connection.open_uni().await else {
                return;
            };
            let mut bytes = BytesMut::new();
            frame::encode_stream(&notice, &mut bytes);
            let _ = stream.write_chunk(bytes.freeze()).await;
            let _ = stream.finish();
        }
    }
}

async fn read_request(mut receive: RecvStream) -> Option<v1::request::Kind> {
    let bytes = receive.read_to_end(REQUEST_BYTES_MAX + LENGTH_BYTES_MAX).await.ok()?;
    frame::decode_stream::<v1::Request>(bytes.into(), REQUEST_BYTES_MAX)
        .ok()?
        .kind
}

async fn answer(mut send: SendStream, answer: Answer) {
    match answer {
        Answer::Reply(kind) => {
            let mut bytes = BytesMut::new();
            frame::encode_stream(&v1::Reply { kind: Some(kind) }, &mut bytes);
            let _ = send.write_chunk(bytes.freeze()).await;
            let _ = send.finish();
        }
        Answer::Reset(code) => drop(send.reset(code.number().into())),
        // Held open, so that the client hears nothing at all.
        Answer::Silence => std::future::pending().await,
    }
}

/// A few phones, one second, quick tempers: what a test needs.
const QUICK: &str = "
[load]
sessions = 20
connects_per_second = 500
shakes_per_second = 200
seconds = 1
settle_s = 3
[behaviour]
claim_delay_ms = [5, 20]
[engine]
sockets = 3
[limits]
shake_timeout_ms = 1000
request_timeout_ms = 400
connect_timeout_ms = 3000
connect_tries_max = 6
claim_tries_max = 5
backoff_ms = [20, 100]
";

/// The quick scenario, with some lines of it replaced.
pub fn quick_scenario(server: &Server, changes: &[(&str, &str)]) -> Scenario {
    Scenario::parse(&quick(changes), &server.overrides()).expect("a good scenario")
}

/// The same with several gateways, each with its weight, that have the authority and the keys of the first.
pub fn quick_fleet(home: &Server, gateways: &[(SocketAddr, u32)], changes: &[(&str, &str)]) -> Scenario {
    let target =
        |(address, weight): &(SocketAddr, u32)| format!("[[targets]]\naddress = \"{address}\"\nweight = {weight}\n");
    let text = quick(changes) + &gateways.iter().map(target).collect::<String>();
    let overrides = client_sim::scenario::Overrides {
        target: None,
        ..home.overrides()
    };
    Scenario::parse(&text, &overrides).expect("a good scenario")
}

fn quick(changes: &[(&str, &str)]) -> String {
    let mut text = QUICK.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} is in the quick scenario");
        text = text.replacen(from, to, 1);
    }
    text
}

/// Plays the quick scenario, with some lines of it replaced.
pub fn play(server: &Server, changes: &[(&str, &str)]) -> Outcome {
    let scenario = quick_scenario(server, changes);
    let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("the run begins");
    let shakes = &outcome.report.shakes.counts;
    assert_eq!(
        shakes.sent,
        shakes.answered + shakes.unanswered,
        "{}",
        outcome.report.to_text()
    );
    assert_eq!(
        shakes.sent + shakes.held_back + shakes.skipped_offline,
        outcome.report.shakes.scheduled
    );
    outcome
}
