//! A phone in sixty lines, on the stock `quinn` crate: it says Hello, shakes until it has won something, and opens that.
//!
//! ```sh
//! cargo run -p client-sim --example phone -- 127.0.0.1:4433 certs/ca.pem "$(certs token --user 7)"
//! ```

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER_PERMISSIVE;
use host::console;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use shake_proto::frame::{REPLY_BYTES_MAX, decode_stream, encode_stream};
use shake_proto::wire::v1::{self, reply, request};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, token] = &arguments[..] else {
        bail!("usage: phone ADDRESS CA.PEM TOKEN");
    };
    let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let connecting = endpoint.connect_with(configuration(ca)?, address.parse()?, "localhost")?;
    let phone = connecting.await.context("nobody there, or not of this authority")?;
    let token = HEXLOWER_PERMISSIVE
        .decode(token.as_bytes())
        .context("the token is not hex")?
        .into();
    let hello = v1::Hello {
        token,
        ..Default::default()
    };
    console::line(&format!("{:?}", ask(&phone, request::Kind::Hello(hello)).await?))?;
    for sequence in 1.. {
        // Shakes go by stream here, where nothing is lost. Apps send the same message as a datagram, which costs less.
        let reply::Kind::Shake(reply) = ask(&phone, request::Kind::Shake(v1::Shake { sequence })).await? else {
            bail!("a shake was answered by something else");
        };
        console::line(&format!("shake {sequence}: {:?}", reply.outcome()))?;
        if let Some(packet) = reply.red_packet {
            let (ticket, cookie) = (packet.ticket, packet.cookie);
            console::line(&format!(
                "{:?}",
                ask(&phone, request::Kind::Claim(v1::Claim { ticket, cookie })).await?
            ))?;
            break;
        }
        let wait_ms = reply
            .slow_down
            .map_or(reply.pace_ms, |slow_down| slow_down.retry_after_ms);
        tokio::time::sleep(Duration::from_millis(wait_ms.into())).await;
    }
    phone.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

/// TLS 1.3 with this authority, and the contract's protocol name.
fn configuration(ca: &str) -> Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).with_context(|| ca.to_owned())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

/// One request on a stream of its own.
async fn ask(phone: &Connection, kind: request::Kind) -> Result<reply::Kind> {
    let (mut send, mut receive) = phone.open_bi().await?;
    let mut bytes = BytesMut::new();
    encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
    send.write_all(&bytes).await?;
    send.finish()?;
    let reply: Bytes = receive.read_to_end(REPLY_BYTES_MAX + 8).await?.into();
    let reply: v1::Reply = decode_stream(reply, REPLY_BYTES_MAX).map_err(|code| anyhow::anyhow!(code.name()))?;
    reply.kind.context("an empty reply")
}
