//! Requests that come one byte at a time and never end, on as many streams as the gateway grants.

use super::phone::{Phone, Phones, usual};
use super::stage::HostileError;
use super::{Findings, Stage};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;

/// Connections for each that the stage's size names.
const TIMES: u32 = 10;
/// Between two bytes of a stream.
const BETWEEN_BYTES: Duration = Duration::from_millis(500);
/// The most bytes of one stream: under what a request may have.
const BYTES_MAX: usize = 4_000;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(attack(stage, findings))?
}

async fn attack(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::new(stage, usual())?;
    let (sent, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for number in 0..stage.size * TIMES {
        if stage.is_over() {
            break;
        }
        match phones.user(stage.token(number.into())).await {
            Ok(phone) => {
                findings.connections += 1;
                tasks.spawn(trickle(phone, sent.clone()));
            }
            Err(why) => findings.answer(format!("connect: {why}")),
        }
    }
    tokio::time::sleep_until(stage.ends()).await;
    tasks.shutdown().await;
    findings.sent = sent.load(Relaxed);
    Ok(())
}

/// Opens streams until the gateway grants no more, with most of a request at once on each, then a byte now and then.
async fn trickle(phone: Phone, sent: Arc<AtomicU64>) {
    // A length of 4,095 bytes, most of them, and then nothing but single bytes.
    let mut start = vec![0xff, 0x1f];
    start.resize(BYTES_MAX / 2, 0);
    let mut streams = Vec::new();
    loop {
        let next = tokio::time::timeout(BETWEEN_BYTES, phone.connection.open_bi()).await;
        match next {
            Ok(Ok((mut send, receive))) => {
                if send.write_chunk(Bytes::copy_from_slice(&start)).await.is_err() {
                    return;
                }
                streams.push((send, receive));
            }
            Ok(Err(_)) => return,
            Err(_) => {
                for (send, _) in &mut streams {
                    let _ = send.write_chunk(Bytes::from_static(&[0])).await;
                }
            }
        }
        sent.fetch_add(1, Relaxed);
    }
}
