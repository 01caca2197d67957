//! A phone on the `quinn` crate with stock TLS that says Hello: to each address so often, one after the other, each time on a
//! connection of its own. Prints a line for each try: the address's place among those given, and the microseconds from its
//! first packet to the HelloReply, or what went wrong. `cargo xtask bench beginnings` runs it.

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use clap::Parser;
use data_encoding::HEXLOWER_PERMISSIVE;
use host::console;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_proto::frame::{REPLY_BYTES_MAX, decode_stream, encode_stream};
use shake_proto::wire::v1;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// The longest that a try may take.
const TRY: Duration = Duration::from_secs(12);

/// Says Hello to servers, and how long that took.
#[derive(Parser)]
struct Cli {
    /// The authority's certificate
    #[arg(long)]
    ca: PathBuf,
    /// A user token as hex, as `certs token` prints it
    #[arg(long)]
    token: String,
    /// Tries for each address
    #[arg(long, default_value_t = 1)]
    tries: u32,
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let token = HEXLOWER_PERMISSIVE.decode(cli.token.trim().as_bytes());
    let token = token.context("--token is not hex")?;
    let config = config(&cli)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (place, address) in cli.addresses.iter().enumerate() {
            for _ in 0..cli.tries {
                let line = match timeout(TRY, hello(&config, *address, &token)).await {
                    Ok(Ok(took)) => format!("{place} {}", took.as_micros()),
                    Ok(Err(error)) => format!("{place} failed: {error:#}"),
                    Err(_) => format!("{place} failed: nothing in {} s", TRY.as_secs()),
                };
                console::line(&line)?;
            }
        }
        Ok(())
    })
}

fn config(cli: &Cli) -> Result<ClientConfig> {
    let ca = CertificateDer::from_pem_file(&cli.ca).with_context(|| cli.ca.display().to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

async fn hello(config: &ClientConfig, address: SocketAddr, token: &[u8]) -> Result<Duration> {
    // A socket of its own, so that what is lost is counted for it alone.
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    let began = Instant::now();
    let connection = endpoint.connect_with(config.clone(), address, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let hello = v1::Hello {
        token: token.to_vec().into(),
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    let kind = Some(v1::request::Kind::Hello(hello));
    encode_stream(&v1::Request { kind }, &mut bytes);
    send.write_all(&bytes).await?;
    send.finish()?;
    let reply = receive.read_to_end(REPLY_BYTES_MAX + 8).await?;
    let reply = decode_stream::<v1::Reply>(reply.into(), REPLY_BYTES_MAX);
    let reply = reply.map_err(|code| anyhow::anyhow!(code.name()))?;
    if !matches!(reply.kind, Some(v1::reply::Kind::Hello(_))) {
        bail!("Hello was answered by {reply:?}");
    }
    let took = began.elapsed();
    connection.close(0_u32.into(), b"");
    Ok(took)
}
