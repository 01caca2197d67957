//! PATH_CHALLENGE by the hundred, each of which wants an answer; packets from addresses that change all the time, which the
//! gateway has to validate; and probes of a few bytes from addresses of others. To an address that has not answered, it
//! sends at most three times what came from there (RFC 9000, section 8).

use super::stage::HostileError;
use super::{Findings, Stage, raw};
use raw::Raw;
use std::net::UdpSocket;

const PATH_CHALLENGE: u8 = 0x1a;
/// Frames of one packet; nine bytes each.
const FRAMES_EACH: u64 = 120;
/// Addresses to move to, in a row.
const ADDRESSES: u32 = 200;
/// Of so many probes one is as an honest client sends it: a whole datagram (RFC 9000, section 8.2.1).
const HONEST_EVERY: u64 = 10;
const PROBE_BYTES: usize = 1_150;
/// RFC 9000, section 8.1.
const AMPLIFICATION_MAX: u64 = 3;

/// An address that is not a session's.
struct Elsewhere {
    socket: UdpSocket,
    sent_bytes: u64,
}

impl Elsewhere {
    /// So many, from the one of this number on.
    fn some(stage: &Stage, first: u32) -> Result<Vec<Self>, HostileError> {
        let one = |number| {
            let socket = stage.socket(first + number)?;
            Ok(Self { socket, sent_bytes: 0 })
        };
        (0..ADDRESSES).map(one).collect()
    }

    fn send(&mut self, packet: &[u8]) -> bool {
        self.sent_bytes += packet.len() as u64;
        self.socket.send(packet).is_ok()
    }
}

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let mut moved_to = Elsewhere::some(stage, 1_000_000)?;
    let mut probed = Elsewhere::some(stage, 2_000_000)?;
    let mut honestly_probed = Elsewhere::some(stage, 3_000_000)?;
    raw::assault(stage, findings, |raw, number| {
        let at = (number / 3) as usize % ADDRESSES as usize;
        match number % 3 {
            0 => challenge_often(raw, number),
            1 => move_away(raw, &mut moved_to[at], number),
            _ if number / 3 % HONEST_EVERY == 0 => probe(raw, &mut honestly_probed[at], number, PROBE_BYTES),
            _ => probe(raw, &mut probed[at], number, 0),
        }
    })?;
    measure("moved to", &moved_to, findings);
    measure("probed", &probed, findings);
    measure("probed as it should be", &honestly_probed, findings);
    Ok(())
}

fn challenge_often(raw: &mut Raw, number: u64) -> bool {
    let mut frames = raw::Frames::default();
    for frame in 0..FRAMES_EACH {
        frames
            .byte(PATH_CHALLENGE)
            .bytes(&(number * FRAMES_EACH + frame).to_be_bytes());
    }
    raw.send_frames(&frames.0)
}

/// There, and back with the next packet of its own.
fn move_away(raw: &mut Raw, elsewhere: &mut Elsewhere, number: u64) -> bool {
    let Some(packet) = raw.sealed_shake(number as u32) else {
        return false;
    };
    let away = elsewhere.send(&packet);
    away && raw.sealed_shake(number as u32).is_some_and(|packet| raw.send(&packet))
}

/// A probing packet (RFC 9000, section 9.1), which moves nothing, padded by so many bytes.
fn probe(raw: &mut Raw, elsewhere: &mut Elsewhere, number: u64, padding: usize) -> bool {
    let mut frames = raw::Frames::default();
    frames.byte(PATH_CHALLENGE).bytes(&number.to_be_bytes());
    frames.bytes(&vec![0; padding]);
    raw.sealed(&frames.0).is_some_and(|packet| elsewhere.send(&packet))
}

fn measure(what: &str, elsewhere: &[Elsewhere], findings: &mut Findings) {
    let (mut sent, mut received, mut buffer) = (0, 0, [0; 1_500]);
    for address in elsewhere {
        sent += address.sent_bytes;
        while let Ok(length) = address.socket.recv(&mut buffer) {
            received += length as u64;
        }
    }
    findings.answers_add(format!("bytes sent from addresses {what}"), sent);
    findings.answers_add(format!("bytes received at addresses {what}"), received);
    if received > AMPLIFICATION_MAX * sent {
        findings.breach(format!(
            "{received} bytes went to addresses {what} from which {sent} had come"
        ));
    }
}
