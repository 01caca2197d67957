//! PATH_CHALLENGE by the hundred, each of which wants an answer, from one half of the sessions; from the other, packets
//! from addresses that change all the time, which the gateway has to validate. To an address that has not answered, it
//! sends at most three times what came from there (RFC 9000, section 8).

use super::stage::HostileError;
use super::{Findings, Stage, raw};
use std::net::UdpSocket;

const PATH_CHALLENGE: u8 = 0x1a;
/// Frames of one packet; nine bytes each.
const FRAMES_EACH: u64 = 120;
/// Addresses to move to, in a row.
const ADDRESSES: u32 = 200;
/// RFC 9000, section 8.1.
const AMPLIFICATION_MAX: u64 = 3;

/// An address that a session claimed to have moved to.
struct Elsewhere {
    socket: UdpSocket,
    sent_bytes: u64,
}

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let mut elsewhere = Vec::new();
    for number in 0..ADDRESSES {
        let socket = stage.socket(1_000_000 + number)?;
        elsewhere.push(Elsewhere { socket, sent_bytes: 0 });
    }
    raw::assault(stage, findings, |raw, number| {
        if number % 2 == 0 {
            let mut frames = raw::Frames::default();
            for frame in 0..FRAMES_EACH {
                frames
                    .byte(PATH_CHALLENGE)
                    .bytes(&(number * FRAMES_EACH + frame).to_be_bytes());
            }
            return raw.send_frames(&frames.0);
        }
        let Some(packet) = raw.sealed_shake(number as u32) else {
            return false;
        };
        // There, and back with the next packet of its own.
        let at = (number / 2) as usize % elsewhere.len();
        elsewhere[at].sent_bytes += packet.len() as u64;
        let away = elsewhere[at].socket.send(&packet).is_ok();
        away && raw.sealed_shake(number as u32).is_some_and(|packet| raw.send(&packet))
    })?;
    let (mut sent, mut received, mut buffer) = (0, 0, [0; 1_500]);
    for address in &elsewhere {
        sent += address.sent_bytes;
        while let Ok(length) = address.socket.recv(&mut buffer) {
            received += length as u64;
        }
    }
    findings.answers_add("bytes sent from unproven addresses", sent);
    findings.answers_add("bytes received there", received);
    if received > AMPLIFICATION_MAX * sent {
        findings.breach(format!(
            "{received} bytes went to unproven addresses that had sent {sent}"
        ));
    }
    Ok(())
}
