//! Early data, which could be replayed, and the replay itself: a session's datagrams from its first to its claim, sent
//! again from other addresses. No early data is taken, and nothing that was recorded is answered with anything of worth.

use super::phone::{Phones, usual};
use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use quinn::crypto::rustls::HandshakeData;
use rustls::client::Resumption;

/// Recorded sessions.
const RECORDED: u32 = 10;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    stage.block_on(resume(stage, findings))??;
    replay(stage, findings)
}

/// Connects with a store for session tickets, and tries to send early data from the second time on.
async fn resume(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let phones = Phones::with_resumption(stage, usual(), Resumption::in_memory_sessions(64))?;
    for _ in 0..20 {
        if stage.is_over() {
            break;
        }
        let connecting = phones.connecting().map_err(HostileError::Tls)?;
        match connecting.into_0rtt() {
            Ok((connection, accepted)) => {
                findings.sent += 1;
                if accepted.await {
                    findings.breach("early data was accepted");
                } else {
                    findings.answer("early data rejected");
                }
                connection.close(0_u32.into(), b"");
            }
            // There is no ticket to resume with: the gateway gives none.
            Err(connecting) => match connecting.await {
                Ok(connection) => {
                    findings.connections += 1;
                    findings.answer("no ticket, full handshake");
                    let data = connection
                        .handshake_data()
                        .and_then(|data| data.downcast::<HandshakeData>().ok());
                    if data.is_none_or(|data| data.protocol.as_deref() != Some(shake_proto::ALPN)) {
                        findings.breach("a connection without the protocol's name");
                    }
                    connection.close(0_u32.into(), b"");
                }
                Err(error) => findings.answer(super::phone::lost(&error)),
            },
        }
    }
    Ok(())
}

fn replay(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = raw::Sessions::new(stage)?;
    let mut recordings = Vec::new();
    for number in 0..RECORDED {
        let mut recording = Vec::new();
        if sessions
            .user(stage.socket(number)?, stage.token(number.into()), Some(&mut recording))
            .is_ok()
        {
            findings.connections += 1;
            recordings.push(recording);
        }
    }
    let all: Vec<Vec<u8>> = recordings.into_iter().flatten().collect();
    if all.is_empty() {
        return Err(HostileError::NoConnection(stage.target));
    }
    let (mut pacer, mut number, mut buffer) = (stage.pacer(), 0_usize, [0; 1_500]);
    let mut sockets = Vec::new();
    for address in 0..50 {
        sockets.push(stage.socket(5_000 + address)?);
    }
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let socket = &sockets[number / all.len() % sockets.len()];
            findings.sent += u64::from(socket.send(&all[number % all.len()]).is_ok());
            number += 1;
        }
        for socket in &sockets {
            while socket.recv(&mut buffer).is_ok() {
                // A short header here would be application data for a replayed session.
                findings.answer(if buffer[0] & 0x80 == 0 {
                    "short header"
                } else {
                    "long header"
                });
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}
