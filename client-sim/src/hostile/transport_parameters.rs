//! Transport parameters as large as their encoding allows (streams, windows, connection IDs), and ClientHellos with
//! thousands of unknown ones, which span many packets. Nothing is allocated for what a client merely announces.

use super::initial_flood::{client_hello, crypto_frame};
use super::phone::{Phones, usual};
use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use lean_quic::{DATAGRAM_BYTES, seal_initial};
use quinn::{TransportConfig, VarInt};

/// Bytes of unknown parameters in one ClientHello.
const UNKNOWN_BYTES: usize = 12_000;
/// Of a ClientHello in one packet.
const CRYPTO_BYTES: usize = 1_000;
/// Honest-looking connections with huge parameters that are held.
const HELD_MAX: usize = 500;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

fn huge() -> TransportConfig {
    let mut transport = usual();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u64(1 << 60).expect("below 2^62"))
        .max_concurrent_uni_streams(VarInt::from_u64(1 << 60).expect("below 2^62"))
        .stream_receive_window(VarInt::MAX)
        .receive_window(VarInt::MAX)
        .datagram_receive_buffer_size(Some(usize::MAX >> 2));
    transport
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    // A stream table for 2^60 streams would be ours to allocate too: the quinn crate makes its slots eagerly.
    let mut transport = huge();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(1_000));
    let phones = Phones::new(stage, transport)?;
    let sessions = raw::Sessions::new(stage)?;
    let (mut held, mut pacer, mut number) = (Vec::new(), stage.pacer(), 0_u32);
    while !stage.is_over() {
        pacer.next().await;
        number += 1;
        if held.len() < HELD_MAX && number % 5 == 0 {
            match phones.user(stage.token(number.into())).await {
                Ok(phone) => {
                    findings.connections += 1;
                    held.push(phone);
                }
                Err(why) => findings.answer(format!("connect: {why}")),
            }
        }
        send_long_hello(stage, &sessions, number, findings)?;
    }
    for phone in &held {
        match phone.shake(1).await {
            Ok(_) => findings.answer("shake answered"),
            Err(name) => findings.answer(format!("shake: {name}")),
        }
    }
    Ok(())
}

/// Limits of 2^60 and more, then unknown parameters, over as many packets as it takes.
fn send_long_hello(
    stage: &Stage,
    sessions: &raw::Sessions,
    number: u32,
    findings: &mut Findings,
) -> Result<(), HostileError> {
    let mut parameters = raw::Frames::default();
    // initial_max_data, three stream windows, two stream limits, and active_connection_id_limit (RFC 9000, section 18.2).
    for (id, value) in [
        (4, (1 << 62) - 1),
        (5, (1 << 62) - 1),
        (6, (1 << 62) - 1),
        (7, (1 << 62) - 1),
    ] {
        parameters.varint(id).varint(8).varint(value);
    }
    for id in [8, 9, 0x0e] {
        parameters.varint(id).varint(8).varint(1 << 60);
    }
    // Identifiers of the form 31 × N + 27 are reserved to be ignored (section 18.1).
    let mut reserved = 1_000_u64;
    while parameters.0.len() < UNKNOWN_BYTES {
        reserved += 1;
        parameters.varint(31 * reserved + 27).varint(4).bytes(&[0; 4]);
    }
    let (source, destination) = (sessions.random::<8>(), sessions.random::<8>());
    let hello = client_hello(stage, source, &parameters.0)?;
    let socket = stage.socket(number % 250)?;
    for (index, part) in hello.chunks(CRYPTO_BYTES).enumerate() {
        let frame = crypto_frame((index * CRYPTO_BYTES) as u64, part);
        let mut packet = [0; DATAGRAM_BYTES];
        if let Some(length) = seal_initial((&destination, source), index as u64, &frame, &mut packet) {
            findings.sent += u64::from(socket.send(&packet[..length]).is_ok());
        }
    }
    let mut buffer = [0; 1_500];
    while socket.recv(&mut buffer).is_ok() {
        findings.answer("packet");
    }
    Ok(())
}
