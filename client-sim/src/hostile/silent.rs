//! Connections that complete their handshake and then say nothing, half a Hello, or a Hello without an end. The gateway
//! closes each by name after its `hello_timeout_s`.

use super::phone::{Phone, Phones, framed, lost, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use shake_proto::wire::v1::{Hello, request::Kind};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// Handshakes per second, at the most.
const CONNECTS_PER_SECOND_MAX: u32 = 300;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let mut transport = usual();
    transport.keep_alive_interval(Some(Duration::from_secs(1)));
    let phones = Phones::new(stage, transport)?;
    let mut held: JoinSet<String> = JoinSet::new();
    let mut number = 0;
    while !stage.is_over() {
        tokio::time::sleep(Duration::from_secs(1) / CONNECTS_PER_SECOND_MAX.min(stage.rate)).await;
        number += 1;
        findings.sent += 1;
        match phones.connect().await {
            Ok(phone) => {
                findings.connections += 1;
                let hello = framed(Kind::Hello(Hello {
                    token: stage.token(number),
                    ..Default::default()
                }));
                let part = match number % 3 {
                    0 => None,
                    1 => Some(hello.slice(..hello.len() / 2)),
                    _ => Some(hello),
                };
                let ends = stage.ends();
                held.spawn(async move {
                    // Held, so that the stream stays without its end.
                    let _stream = begin(&phone, part).await;
                    match timeout_at(ends, phone.connection.closed()).await {
                        Ok(reason) => lost(&reason),
                        Err(_) => "open at the end".into(),
                    }
                });
            }
            Err(why) => findings.answer(format!("connect: {why}")),
        }
    }
    while let Some(outcome) = held.join_next().await {
        findings.answer(outcome.unwrap_or_else(|_| "a task of ours failed".into()));
    }
    Ok(())
}

async fn begin(phone: &Phone, part: Option<bytes::Bytes>) -> Option<quinn::SendStream> {
    let (mut send, _) = phone.connection.open_bi().await.ok()?;
    send.write_chunk(part?).await.ok()?;
    Some(send)
}
