//! One user on many connections, with many times the size given: each says Hello and shakes. All together win no more than one
//! user may, and only a few of them are open at one time.

use super::phone::{Phone, Phones, lost, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use std::collections::HashSet;

/// Sessions of one user that are open at one time, at the most; and how long after the last the others have to be closed.
const SESSIONS_MAX: usize = 4;
const SETTLE: std::time::Duration = std::time::Duration::from_secs(2);
/// Connections for each that the stage's size names.
const TIMES: u32 = 40;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::new(stage, usual())?;
    let mut open: Vec<Phone> = Vec::new();
    let mut tickets = HashSet::new();
    let mut pacer = stage.pacer();
    let mut number = 0_usize;
    while !stage.is_over() {
        if open.len() < (stage.size * TIMES) as usize {
            match phones.user(stage.token(0)).await {
                Ok(phone) => {
                    findings.connections += 1;
                    open.push(phone);
                }
                Err(why) => findings.answer(format!("connect: {why}")),
            }
        }
        for _ in 0..pacer.take() {
            number += 1;
            let Some(phone) = open.get(number % open.len().max(1)) else {
                break;
            };
            let shake = prost::Message::encode_to_vec(&shake_proto::wire::v1::Shake {
                sequence: number as u32,
            });
            findings.sent += u64::from(phone.connection.send_datagram(shake.into()).is_ok());
        }
        collect(&open, &mut tickets, findings).await;
        open.retain(|phone| is_open(phone, findings));
        if open.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    tokio::time::sleep(SETTLE).await;
    open.retain(|phone| is_open(phone, findings));
    if open.len() > SESSIONS_MAX {
        findings.breach(format!("one user held {} sessions", open.len()));
    }
    if tickets.len() > stage.packets_per_user as usize {
        findings.breach(format!("one user won {} packets", tickets.len()));
    }
    Ok(())
}

/// Whether a connection lives; counts why not.
fn is_open(phone: &Phone, findings: &mut Findings) -> bool {
    match phone.connection.close_reason() {
        Some(reason) => {
            findings.answer(lost(&reason));
            false
        }
        None => true,
    }
}

/// Takes the answers that have come, without waiting for more.
async fn collect(open: &[Phone], tickets: &mut HashSet<bytes::Bytes>, findings: &mut Findings) {
    tokio::task::yield_now().await;
    for phone in open {
        while let Some(Ok(datagram)) = futures_now(phone.connection.read_datagram()).await {
            match <shake_proto::wire::v1::ShakeReply as prost::Message>::decode(datagram) {
                Ok(reply) => {
                    findings.answer(reply.outcome().as_str_name().to_lowercase());
                    tickets.extend(reply.red_packet.map(|packet| packet.ticket));
                }
                Err(_) => findings.answer("malformed_reply"),
            }
        }
    }
}

/// The value, if it is there at once.
async fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        value = future => Some(value),
        () = std::future::ready(()) => None,
    }
}
