//! First packets in the name of a network: from addresses of the one that the honest phones are in too (over loopback, all
//! within 127.0.0.0/24), and nobody goes on with the handshakes. A sender of false addresses need own none of them. What
//! comes so must not use up what the network may connect.

use super::stage::{HostileError, Stage};
use super::{Findings, initial_flood, raw};

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let sessions = raw::Sessions::new(stage)?;
    initial_flood::flood(stage, findings, |_| sessions.random::<8>())
}
