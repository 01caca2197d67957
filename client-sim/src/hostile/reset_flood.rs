//! Packets of connections that do not exist, as after a crash of the gateway, but without end. Each could be answered by a
//! stateless reset (RFC 9000, section 10.3), which a shard sends two thousand times a second at the most, and which is
//! always smaller than what it answers.

use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use std::time::Duration;

/// Source addresses.
const ADDRESSES: u32 = 50;
/// The least bytes of a packet with a short header and nothing more in it than a phone's shake.
const PACKET_BYTES: usize = 60;
/// What a shard sends, at the most.
const PER_SECOND: f64 = 2_000.0;
const AT_ONCE: f64 = 200.0;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = raw::Sessions::new(stage)?;
    let mut sockets = Vec::new();
    for number in 0..ADDRESSES {
        sockets.push(stage.socket(number)?);
    }
    let (mut pacer, mut number) = (stage.pacer(), 0_usize);
    let (mut resets, mut bytes, mut buffer) = (0_u64, 0_u64, [0; 1_500]);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let mut packet = sessions.random::<PACKET_BYTES>();
            packet[0] = 0x40 | packet[0] & 0x3f;
            // All to one shard.
            packet[1] = 0;
            findings.sent += u64::from(sockets[number % sockets.len()].send(&packet).is_ok());
            number += 1;
        }
        for socket in &sockets {
            while let Ok(length) = socket.recv(&mut buffer) {
                resets += 1;
                bytes += length as u64;
                if length >= PACKET_BYTES {
                    findings.breach(format!("{length} bytes came back for {PACKET_BYTES}"));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    findings.answers_add("resets", resets);
    findings.answers_add("bytes received", bytes);
    let most = stage.elapsed().as_secs_f64() * PER_SECOND + AT_ONCE;
    if resets as f64 > most {
        findings.breach(format!("{resets} resets of one shard, not {most:.0}"));
    }
    Ok(())
}
