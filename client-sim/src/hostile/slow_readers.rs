//! Clients that ask and grant room for one byte of each answer. What waits for them in the gateway is bounded by the
//! requests that one session may have under way.

use super::phone::{Phone, Phones, framed, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use bytes::Bytes;
use quinn::VarInt;
use shake_proto::wire::v1::{Hello, Wallet, request::Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::task::JoinSet;

/// Connections for each that the stage's size names.
const TIMES: u32 = 10;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let mut transport = usual();
    transport.stream_receive_window(VarInt::from_u32(1));
    let phones = Phones::new(stage, transport)?;
    let (sent, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for number in 0..stage.size * TIMES {
        if stage.is_over() {
            break;
        }
        match phones.connect().await {
            Ok(phone) => {
                findings.connections += 1;
                tasks.spawn(never_read(phone, stage.token(number.into()), sent.clone()));
            }
            Err(why) => findings.answer(format!("connect: {why}")),
        }
    }
    tokio::time::sleep_until(stage.ends()).await;
    tasks.shutdown().await;
    findings.sent = sent.load(Relaxed);
    Ok(())
}

/// Asks as often as the gateway grants streams, and holds every stream.
async fn never_read(phone: Phone, token: Bytes, sent: Arc<AtomicU64>) {
    let mut held = Vec::new();
    let hello = framed(Kind::Hello(Hello {
        token,
        ..Default::default()
    }));
    let mut request = hello;
    loop {
        let Ok((mut send, receive)) = phone.connection.open_bi().await else {
            return;
        };
        if send.write_chunk(request).await.is_err() {
            return;
        }
        let _ = send.finish();
        held.push((send, receive));
        sent.fetch_add(1, Relaxed);
        request = framed(Kind::Wallet(Wallet {}));
    }
}
