//! Hello on every stream that the gateway grants. Each answer names the phases, and may bring the whole manifest; so four at
//! once are served, and one in five seconds.

use super::stage::{HostileError, Stage};
use super::{Findings, raw};
use raw::{Raw, Seen, Sessions};

/// What one session is served, at the most.
const AT_ONCE: u64 = 4;
const PER_SECOND: f64 = 0.2;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = Sessions::new(stage)?;
    let mut users = sessions.users(stage, stage.size)?;
    findings.connections += users.len() as u64;
    // The first was served when the session began.
    let mut served = vec![1_u64; users.len()];
    let (mut pacer, mut number) = (stage.pacer(), 0_u64);
    while !stage.is_over() {
        for _ in 0..pacer.take() {
            let index = (number % users.len() as u64) as usize;
            // Without credit for a stream nothing goes out.
            findings.sent += u64::from(users[index].say_hello(stage.token(index as u64)).is_ok());
            number += 1;
        }
        for (user, served) in users.iter_mut().zip(&mut served) {
            *served += listen(user, findings);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // One more, because the gateway's seconds began before ours.
    let most = AT_ONCE + (stage.elapsed().as_secs_f64() * PER_SECOND) as u64 + 1;
    for (user, served) in users.iter().zip(served) {
        findings.answers_add("bytes sent", user.sent_bytes);
        findings.answers_add("bytes received", user.received_bytes);
        if served > most {
            findings.breach(format!("{served} Hellos of one session were served, not {most}"));
        }
    }
    Ok(())
}

/// Counts what came; gives how many Hellos were served.
fn listen(user: &mut Raw, findings: &mut Findings) -> u64 {
    let mut served = 0;
    for seen in user.turn() {
        match seen {
            Seen::Datagram(_) => findings.answer("datagram"),
            Seen::Response => {
                served += 1;
                findings.answer("hello");
            }
            Seen::Reset(code) => findings.answer(crate::tally::code_name(code)),
            Seen::Closed(why) => findings.answer(why),
        }
    }
    served
}
