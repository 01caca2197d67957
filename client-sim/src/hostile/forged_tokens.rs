//! Hello with tokens that nobody signed. None may be accepted.

use super::phone::{Phones, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use bytes::Bytes;

/// Hellos on one connection before the next one.
const HELLOS_EACH: u64 = 20;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::new(stage, usual())?;
    let mut pacer = stage.pacer();
    let mut number = 0;
    while !stage.is_over() {
        let phone = match phones.connect().await {
            Ok(phone) => phone,
            Err(why) => {
                pacer.next().await;
                findings.answer(format!("connect: {why}"));
                continue;
            }
        };
        findings.connections += 1;
        for _ in 0..HELLOS_EACH {
            pacer.next().await;
            number += 1;
            findings.sent += 1;
            match phone.hello(token(stage, number), Bytes::new()).await {
                Ok(_) => findings.breach(format!("token number {number} was accepted")),
                Err(name) => findings.answer(name),
            }
        }
        phone.connection.close(0_u32.into(), b"");
    }
    Ok(())
}

/// A bad token: altered in one bit, cut, expired, or another user's signature.
fn token(stage: &Stage, number: u64) -> Bytes {
    let mut token = stage.token(number).to_vec();
    match number % 4 {
        0 => {
            let bit = number / 4 % (token.len() as u64 * 8);
            token[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        1 => token.truncate((number / 4 % 36) as usize),
        2 => return stage.expired_token(number),
        _ => {
            let other = stage.token(number + 1);
            token[20..].copy_from_slice(&other[20..]);
        }
    }
    token.into()
}
