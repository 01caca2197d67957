//! Users who forget what they have won: they drop their cookie, show an old one, another's or a forged one, and say a
//! new Hello on a new connection (which falls on any shard) for each shake. Nobody wins more than the show allows.

use super::phone::{Phones, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// Users who take turns.
const USERS: u64 = 10;
/// Shakes of each Hello.
const SHAKES: u32 = 10;

#[derive(Default)]
struct Winner {
    packets: HashSet<Bytes>,
    cookies: Vec<Bytes>,
}

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::new(stage, usual())?;
    let mut winners: HashMap<u64, Winner> = HashMap::new();
    let mut pacer = stage.pacer();
    let mut round = 0;
    while !stage.is_over() {
        pacer.next().await;
        round += 1;
        let user = round % USERS;
        let cookie = cookie(&winners, user, round);
        let phone = match phones.connect().await {
            Ok(phone) => phone,
            Err(why) => {
                findings.answer(format!("connect: {why}"));
                continue;
            }
        };
        findings.connections += 1;
        if let Err(name) = phone.hello(stage.token(user), cookie).await {
            findings.answer(format!("hello: {name}"));
            continue;
        }
        let winner = winners.entry(user).or_default();
        for sequence in 0..SHAKES {
            findings.sent += 1;
            match phone.shake(sequence).await {
                Ok(reply) => {
                    findings.answer(reply.outcome().as_str_name().to_lowercase());
                    if let Some(packet) = reply.red_packet {
                        winner.packets.insert(packet.ticket);
                        winner.cookies.push(packet.cookie);
                    }
                }
                Err(name) => findings.answer(name),
            }
        }
        if winner.packets.len() > stage.packets_per_user as usize {
            findings.breach(format!("user {user} won {} packets", winner.packets.len()));
        }
        phone.connection.close(0_u32.into(), b"");
    }
    Ok(())
}

/// None, the user's first, another's, or the newest with a changed byte.
fn cookie(winners: &HashMap<u64, Winner>, user: u64, round: u64) -> Bytes {
    let of = |user: u64| winners.get(&user).map(|winner| &winner.cookies);
    let chosen = match round / USERS % 4 {
        0 => None,
        1 => of(user).and_then(|cookies| cookies.first()).cloned(),
        2 => of((user + 1) % USERS).and_then(|cookies| cookies.last()).cloned(),
        _ => of(user).and_then(|cookies| cookies.last()).map(|newest| {
            let mut forged = newest.to_vec();
            let at = round as usize % forged.len().max(1);
            if let Some(byte) = forged.get_mut(at) {
                *byte ^= 1;
            }
            forged.into()
        }),
    };
    chosen.unwrap_or_default()
}
