//! Somebody on the path of live sessions who copies, cuts and alters their packets and sends them from the same address and
//! from others. The sessions live on, and no shake is answered twice.

use super::Findings;
use super::raw::{Raw, Seen, Sessions};
use super::stage::{HostileError, Stage};
use prost::Message as _;
use shake_proto::wire::v1::ShakeReply;
use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Copies of each good packet: most altered, one as it was.
const COPIES: u64 = 8;
/// After the end, for answers that are sent twice; and for the last answers, where the gateway's machine is busy.
const SETTLE: Duration = Duration::from_millis(500);
const SETTLE_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = Sessions::new(stage)?;
    let mut victims = sessions.users(stage, stage.size)?;
    findings.connections += victims.len() as u64;
    let elsewhere = stage.socket(77_777)?;
    let mut answers: HashMap<(usize, u32), u32> = HashMap::new();
    let (mut pacer, mut number) = (stage.pacer(), 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take().div_ceil(COPIES as u32 + 1) {
            let index = (number % victims.len() as u64) as usize;
            if let Some(packet) = victims[index].sealed_shake(number as u32) {
                // Half of the good packets come first, half last.
                let good_first = number / 7 % 2 == 0;
                if good_first {
                    victims[index].send(&packet);
                }
                harass(&mut victims[index], &elsewhere, &packet, number);
                if !good_first {
                    victims[index].send(&packet);
                }
                findings.sent += COPIES;
                answers.insert((index, number as u32), 0);
            }
            number += 1;
        }
        listen(&mut victims, &mut answers, findings);
        std::thread::sleep(Duration::from_millis(1));
    }
    let end = Instant::now();
    while end.elapsed() < SETTLE || end.elapsed() < SETTLE_MAX && answers.values().any(|count| *count == 0) {
        listen(&mut victims, &mut answers, findings);
        std::thread::sleep(Duration::from_millis(1));
    }
    let unanswered = answers.values().filter(|count| **count == 0).count();
    findings.answers_add("victims' shakes", answers.len() as u64);
    findings.answers_add("victims' shakes unanswered", unanswered as u64);
    if answers.values().any(|count| *count > 1) {
        findings.breach("a doubled packet was answered twice");
    }
    Ok(())
}

fn listen(victims: &mut [Raw], answers: &mut HashMap<(usize, u32), u32>, findings: &mut Findings) {
    for (index, victim) in victims.iter_mut().enumerate() {
        for seen in victim.turn() {
            match seen {
                Seen::Datagram(bytes) => match ShakeReply::decode(&bytes[..]) {
                    Ok(reply) => *answers.entry((index, reply.sequence)).or_default() += 1,
                    Err(_) => findings.breach("a reply that is none"),
                },
                Seen::Closed(why) => findings.breach(format!("a victim's session ended: {why}")),
                Seen::Response | Seen::Reset(_) => findings.answer("an answer on a stream"),
            }
        }
    }
}

fn harass(victim: &mut Raw, elsewhere: &UdpSocket, packet: &[u8], number: u64) {
    for copy in 0..COPIES {
        let mut bytes = packet.to_vec();
        let at = (number * 31 + copy * 7) as usize % bytes.len();
        match copy {
            0 => {}
            1 => bytes.truncate(at.max(1)),
            2 => bytes.extend_from_slice(&[0; 30]),
            // The connection ID stays, so that it is this session that gets it.
            _ => bytes[9 + at % (packet.len() - 9)] ^= 1 << (number % 8),
        }
        // The unaltered copy comes from the victim's own address: from elsewhere it would be a move of the session.
        if copy % 2 == 0 {
            victim.send(&bytes);
        } else {
            let _ = elsewhere.send(&bytes);
        }
    }
}
