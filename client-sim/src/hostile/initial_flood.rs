//! First packets with a good ClientHello from many addresses; nobody goes on with the handshakes. Half-open handshakes
//! are bounded, past half of the bound the gateway asks for a proof of the address first, and it never sends more than three times what came (RFC 9000, section 8.1).

use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use lean_quic::{DATAGRAM_BYTES, LocalCid, seal_initial, tls};
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Version};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

/// Source addresses: so many different ones, each with a socket of its own.
const ADDRESSES: u32 = 250;
/// RFC 9000, section 8.1.
const AMPLIFICATION_MAX: u64 = 3;
/// Frame type (RFC 9000, section 19.6).
const CRYPTO: u8 = 0x06;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = raw::Sessions::new(stage)?;
    flood(stage, findings, |_| sessions.random::<8>())
}

/// Sends first packets to the connection IDs that `destination` gives, at the stage's rate.
pub(super) fn flood(
    stage: &Stage,
    findings: &mut Findings,
    mut destination: impl FnMut(u64) -> [u8; 8],
) -> Result<(), HostileError> {
    const SOURCE: LocalCid = [7; 8];
    let hello = crypto_frame(0, &client_hello(stage, SOURCE, &[])?);
    let mut sockets = Vec::new();
    for number in 0..ADDRESSES {
        sockets.push(stage.socket(number)?);
    }
    let (mut pacer, mut number, mut received) = (stage.pacer(), 0_u64, 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let mut packet = [0; DATAGRAM_BYTES];
            let sealed = seal_initial((&destination(number), SOURCE), 0, &hello, &mut packet);
            let length = sealed.expect("a ClientHello with few parameters fits into a datagram");
            let socket = &sockets[number as usize % sockets.len()];
            findings.sent += u64::from(socket.send(&packet[..length]).is_ok());
            number += 1;
        }
        received += take_all(&sockets, findings);
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = findings.sent * DATAGRAM_BYTES as u64;
    findings.answers_add("bytes received", received);
    if received > AMPLIFICATION_MAX * sent {
        findings.breach(format!("{received} bytes came back for {sent}"));
    }
    Ok(())
}

fn take_all(sockets: &[UdpSocket], findings: &mut Findings) -> u64 {
    let (mut bytes, mut buffer) = (0, [0; 1_500]);
    for socket in sockets {
        while let Ok(length) = socket.recv(&mut buffer) {
            bytes += length as u64;
            // The kind of a long header's packet (RFC 9000, section 17.2).
            findings.answer(match buffer[0] >> 4 & 0b11 {
                0 => "initial",
                2 => "handshake",
                3 => "retry",
                _ => "other",
            });
        }
    }
    bytes
}

/// A ClientHello for QUIC, with these transport parameters beside the connection ID that must be there.
pub(super) fn client_hello(stage: &Stage, source: LocalCid, parameters: &[u8]) -> Result<Vec<u8>, HostileError> {
    let fail = |error: String| HostileError::Tls(error);
    let config = tls(stage.roots.clone(), shake_proto::ALPN).map_err(|error| fail(error.to_string()))?;
    let name = ServerName::try_from(stage.server_name.clone()).map_err(|error| fail(error.to_string()))?;
    // initial_source_connection_id (RFC 9000, section 18.2).
    let mut all = raw::Frames::default();
    all.varint(0x0f)
        .varint(source.len() as u64)
        .bytes(&source)
        .bytes(parameters);
    let mut client =
        ClientConnection::new(Arc::new(config), Version::V1, name, all.0).map_err(|error| fail(error.to_string()))?;
    let mut hello = Vec::new();
    client.write_hs(&mut hello);
    Ok(hello)
}

pub(super) fn crypto_frame(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut frame = raw::Frames::default();
    frame
        .byte(CRYPTO)
        .varint(offset)
        .varint(bytes.len() as u64)
        .bytes(bytes);
    frame.0
}
