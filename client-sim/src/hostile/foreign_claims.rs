//! Claims with what is not one's own: altered tickets, tickets of others, one ticket on many connections at once, guessed
//! codes. A ticket pays its own user, once.

use super::phone::{Phone, Phones, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use bytes::Bytes;
use shake_proto::wire::v1::{self, request::Kind};

/// Connections of the winner that claim the same ticket at once: as many as one user may have.
const CLAIMERS: usize = 4;
/// Altered copies of each ticket.
const ALTERED: usize = 20;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::new(stage, usual())?;
    let thief = phones.user(stage.token(0)).await;
    let thief = thief.map_err(|_| HostileError::NoConnection(stage.target))?;
    let mut pacer = stage.pacer();
    let mut user = 0;
    while !stage.is_over() {
        user += 1;
        let mut winners = Vec::new();
        for _ in 0..CLAIMERS {
            winners.extend(phones.user(stage.token(user)).await.ok());
        }
        findings.connections += winners.len() as u64;
        let Some(first) = winners.first() else {
            pacer.next().await;
            findings.answer("connect failed");
            continue;
        };
        if let Some(packet) = win(stage, first, findings).await {
            steal(&thief, &packet.ticket, findings).await;
            claim_at_once(&winners, &packet.ticket, findings).await;
        }
        guess_codes(&thief, user, findings).await;
        for winner in winners {
            winner.connection.close(0_u32.into(), b"");
        }
        pacer.next().await;
    }
    Ok(())
}

async fn win(stage: &Stage, phone: &Phone, findings: &mut Findings) -> Option<v1::RedPacket> {
    for sequence in 0..200 {
        if stage.is_over() {
            return None;
        }
        match phone.shake(sequence).await {
            Ok(reply) if reply.red_packet.is_some() => return reply.red_packet,
            Ok(_) => {}
            Err(name) => findings.answer(format!("shake: {name}")),
        }
    }
    None
}

/// The thief claims another's ticket, as it is and altered.
async fn steal(thief: &Phone, ticket: &Bytes, findings: &mut Findings) {
    for altered in 0..=ALTERED {
        let mut copy = ticket.to_vec();
        if altered > 0 {
            let at = altered * 3 % copy.len();
            copy[at] ^= 1 << (altered % 8);
        }
        findings.sent += 1;
        match thief.claim(copy.into(), Bytes::new()).await {
            Ok(opened) => findings.breach(format!("packet {} was opened by a thief", opened.packet_id)),
            Err(name) => findings.answer(name),
        }
    }
}

/// All connections of the winner claim at once: one opens it, the others repeat.
async fn claim_at_once(winners: &[Phone], ticket: &Bytes, findings: &mut Findings) {
    let claims: Vec<_> = winners
        .iter()
        .map(|winner| {
            let phone = Phone {
                connection: winner.connection.clone(),
            };
            let ticket = ticket.clone();
            tokio::spawn(async move { phone.claim(ticket, Bytes::new()).await })
        })
        .collect();
    let mut firsts = 0;
    for claim in claims {
        findings.sent += 1;
        match claim.await {
            Ok(Ok(opened)) if opened.repeat => findings.answer("opened, repeat"),
            Ok(Ok(_)) => {
                firsts += 1;
                findings.answer("opened");
            }
            Ok(Err(name)) => findings.answer(name),
            Err(_) => findings.answer("a task of ours failed"),
        }
    }
    if firsts > 1 {
        findings.breach(format!("one ticket was paid {firsts} times"));
    }
}

async fn guess_codes(thief: &Phone, number: u64, findings: &mut Findings) {
    let mut code = [0; 24];
    code[..8].copy_from_slice(&number.to_le_bytes());
    for length in [8, 16, 20, 24] {
        findings.sent += 1;
        let grab = v1::Grab {
            code: Bytes::copy_from_slice(&code[..length]),
        };
        match thief.request(Kind::Grab(grab)).await {
            Ok(v1::reply::Kind::Grab(reply)) => match reply.result {
                Some(v1::grab_reply::Result::Grabbed(_)) => findings.breach("a guessed code was paid"),
                Some(v1::grab_reply::Result::Refused(refused)) => {
                    findings.answer(refused.reason().as_str_name().to_lowercase());
                }
                _ => findings.answer("grab: no share"),
            },
            Ok(_) => findings.answer("another_kind_of_reply"),
            Err(name) => findings.answer(name),
        }
    }
}
