//! Where a session's packets may go but to its own address. Whoever holds a session and can send under a false address could
//! else have others flooded: a packet of 38 bytes with a PATH_CHALLENGE is answered by one of 1,200, to wherever it came
//! from (`quinn-proto` 0.11.19). A server sends at most three times the bytes to an address that is not proved (RFC 9000,
//! section 8), and a probe that expands its datagram, as an honest one does (section 8.2.1), is answered in full.
//!
//! What may be answered is noted while a batch's packets are opened, and forgotten when its sessions are settled; so no
//! session needs memory for it.

use std::net::SocketAddr;

/// The least bytes of a datagram that is answered where it came from: a third of an answer.
pub const PROBE_BYTES_MIN: u16 = 400;

/// One datagram each: the session's index, and where to.
#[derive(Default)]
pub struct AntiAmplification {
    allowed: Vec<(usize, SocketAddr)>,
}

impl AntiAmplification {
    /// One datagram of a session may go to this address: one of [`PROBE_BYTES_MIN`] came from there, or the session has just
    /// left it. To its own address more may go anyway.
    pub fn allow(&mut self, session: usize, remote: SocketAddr) {
        self.allowed.push((session, remote));
    }

    /// Whether a session's datagram may go to this address, which is not its own. It is the only one for what was noted.
    pub fn may_send(&mut self, session: usize, to: SocketAddr) -> bool {
        let at = self.allowed.iter().position(|noted| *noted == (session, to));
        at.map(|at| self.allowed.swap_remove(at)).is_some()
    }

    /// The batch is over.
    pub fn clear(&mut self) {
        self.allowed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_for_each_probe_to_where_it_came_from() {
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let mut limit = AntiAmplification::default();
        limit.allow(7, at(1));
        limit.allow(7, at(1));
        assert!(!limit.may_send(7, at(2)) && !limit.may_send(8, at(1)));
        assert!(limit.may_send(7, at(1)) && limit.may_send(7, at(1)));
        assert!(!limit.may_send(7, at(1)), "two came");
        limit.allow(7, at(1));
        limit.clear();
        assert!(!limit.may_send(7, at(1)), "a batch ago");
    }
}
