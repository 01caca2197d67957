//! Packets that mean nothing: authentic ones with a PING, or with a datagram that is no message, and some that do not open at
//! all. What opens is acknowledged, so what comes back tells how many the gateway opened: before Hello a few dozen, after
//! it no more than a session's budget.

use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use raw::{Raw, Seen, Sessions, datagram_frame};

/// Datagrams that a session may send before Hello, and what may come back for them: as many acknowledgements, and what is
/// sent again of the handshake and of the close.
const EARLY_ANSWERS_MAX: u64 = 64 + 32;
/// The budget that the gateway's throttle has by default, at once; and what is opened of those who are over it or blocked.
const BUDGET: u64 = 250;
const TRICKLE_AT_ONCE: u64 = 16;
const TRICKLE_PER_SECOND: f64 = 4.0;
/// Until the agent has blocked a user, who may use up both the budget and what seconds bring, and Hello.
const MORE: u64 = 150;
/// The frame (RFC 9000, section 19.2).
const PING: u8 = 0x01;

/// Sends one. Says whether it went out.
fn send(raw: &mut Raw, number: u64) -> bool {
    match number % 4 {
        0 => raw.send_frames(&[PING; 20]),
        1 | 2 => raw.send_frames(&datagram_frame(&[0xff; 12])),
        _ => {
            let Some(mut packet) = raw.sealed(&[PING; 20]) else {
                return false;
            };
            if let Some(last) = packet.last_mut() {
                *last ^= 1;
            }
            raw.send(&packet)
        }
    }
}

/// On sessions that never say Hello. One that is closed is replaced.
pub(super) fn before_hello(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = Sessions::new(stage)?;
    let connect = |number: u32| sessions.stranger(stage.socket(number)?).map_err(HostileError::Tls);
    let mut strangers = Vec::new();
    for number in 0..stage.size {
        strangers.extend(connect(number).ok());
    }
    if strangers.is_empty() {
        return Err(HostileError::NoConnection(stage.target));
    }
    findings.connections += strangers.len() as u64;
    let (mut pacer, mut number) = (stage.pacer(), 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let index = (number % strangers.len() as u64) as usize;
            findings.sent += u64::from(send(&mut strangers[index], number));
            number += 1;
        }
        for (index, stranger) in strangers.iter_mut().enumerate() {
            listen(stranger, findings);
            if stranger.received > EARLY_ANSWERS_MAX {
                findings.breach(format!("{} packets came back before Hello", stranger.received));
                stranger.received = 0;
            }
            if !stranger.connection.is_open()
                && let Ok(fresh) = connect(index as u32)
            {
                findings.connections += 1;
                *stranger = fresh;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// By users who go on after the block that this brings them.
pub(super) fn after_block(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = Sessions::new(stage)?;
    let mut users = sessions.users(stage, stage.size)?;
    findings.connections += users.len() as u64;
    let (mut pacer, mut number) = (stage.pacer(), 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let index = (number % users.len() as u64) as usize;
            findings.sent += u64::from(send(&mut users[index], number));
            number += 1;
        }
        for user in &mut users {
            listen(user, findings);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let trickle = (stage.elapsed().as_secs_f64() * TRICKLE_PER_SECOND) as u64;
    let most = BUDGET + TRICKLE_AT_ONCE + trickle + MORE;
    for user in &users {
        findings.answers_add("packets back", user.received);
        if user.received > most {
            findings.breach(format!(
                "{} packets came back to one session, not {most}",
                user.received
            ));
        }
    }
    Ok(())
}

fn listen(raw: &mut Raw, findings: &mut Findings) {
    for seen in raw.turn() {
        match seen {
            Seen::Datagram(_) => findings.answer("datagram"),
            Seen::Response => findings.answer("response"),
            Seen::Reset(code) => findings.answer(crate::tally::code_name(code)),
            Seen::Closed(why) => findings.answer(why),
        }
    }
}
