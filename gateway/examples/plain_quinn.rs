//! What the gateway's CPU and memory are held against from above: a server of the same contract on the `quinn` crate
//! with stock TLS, one task per connection, that answers every Hello and every shake and does nothing else.
//! `cargo xtask bench cost` runs it.

use anyhow::{Context, Result};
use bytes::BytesMut;
use clap::Parser;
use host::console;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use shake_proto::frame::{REQUEST_BYTES_MAX, decode_shake, decode_stream, encode_datagram, encode_stream};
use shake_proto::wire::v1;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A shake server on the quinn crate; prints its address and answers until it is killed.
#[derive(Parser)]
struct Cli {
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// Directory made by `certs generate`
    #[arg(long)]
    certs: PathBuf,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // As many threads as the gateway has shards.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let endpoint = Endpoint::server(config(&cli)?, cli.address)?;
            console::line(&endpoint.local_addr()?.to_string())?;
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(serve(incoming));
            }
            Ok(())
        })
}

fn config(cli: &Cli) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(cli.certs.join("server.pem"))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .context("server.pem")?;
    let secret = PrivateKeyDer::from_pem_file(cli.certs.join("server.key.pem")).context("server.key.pem")?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, secret)?;
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(8))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(Duration::from_secs(120).try_into()?))
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false);
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    server.transport_config(Arc::new(transport));
    Ok(server)
}

/// The end of a connection is the end of its task; there is nobody to tell.
async fn serve(incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    let mut arena = BytesMut::new();
    loop {
        let served = tokio::select! {
            datagram = connection.read_datagram() => match datagram {
                Ok(datagram) => shake(&connection, datagram, &mut arena),
                Err(_) => return,
            },
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => hello(send, receive).await,
                Err(_) => return,
            },
        };
        if served.is_err() {
            return;
        }
    }
}

fn shake(connection: &Connection, datagram: bytes::Bytes, arena: &mut BytesMut) -> Result<()> {
    let shake = decode_shake(datagram).map_err(|code| anyhow::anyhow!(code.name()))?;
    let reply = v1::ShakeReply {
        sequence: shake.sequence,
        outcome: v1::Outcome::Nothing.into(),
        pace_ms: 1,
        config_version: 1,
        ..Default::default()
    };
    connection.send_datagram(encode_datagram(&reply, arena, 65_536))?;
    Ok(())
}

async fn hello(mut send: quinn::SendStream, mut receive: quinn::RecvStream) -> Result<()> {
    let bytes = receive.read_to_end(REQUEST_BYTES_MAX + 3).await?;
    decode_stream::<v1::Request>(bytes.into(), REQUEST_BYTES_MAX).map_err(|code| anyhow::anyhow!(code.name()))?;
    let reply = v1::HelloReply {
        config_version: 1,
        pace_ms: 1,
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    let kind = Some(v1::reply::Kind::Hello(reply));
    encode_stream(&v1::Reply { kind }, &mut bytes);
    send.write_all(&bytes).await?;
    send.finish()?;
    Ok(())
}
