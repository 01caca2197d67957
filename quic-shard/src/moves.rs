//! How often a session's address may change.
//!
//! A packet from a new address moves the session there, and `quinn-proto` (0.11.19, `Connection::poll_transmit`) then
//! sends one whole datagram of 1,200 bytes to that address before it is proved, however short the packet was. Whoever
//! holds a session and can send under a false address could so have the gateway send 35 times the bytes to others. A phone
//! changes its address with its network or its NAT, now and then.

use rate_limit::{Level, Limit};

/// One move in so long, over time, in nanoseconds.
const BETWEEN_MOVES_NS: u64 = 5_000_000_000;
/// Moves that may follow each other at once. Six datagrams are under three times what a client's handshake takes.
const MOVES_AT_ONCE: u32 = 6;

/// A session's moves.
#[derive(Debug, Default)]
pub struct Moves(Level);

impl Moves {
    /// Whether the session may move now, in nanoseconds since the shard began.
    pub fn may(&self, now_ns: u64) -> bool {
        Self::limit().wait_ns(&self.0, now_ns) == 0
    }

    /// It has moved.
    pub fn count(&mut self, now_ns: u64) {
        // One packet moves a session once, and was only taken because it might.
        let taken = Self::limit().take(&mut self.0, now_ns);
        debug_assert!(taken.is_ok(), "looked at before");
    }

    fn limit() -> Limit {
        Limit::every(BETWEEN_MOVES_NS, MOVES_AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_one_at_a_time() {
        let start = 1_u64 << 40;
        let mut moves = Moves::default();
        for _ in 0..MOVES_AT_ONCE {
            assert!(moves.may(start));
            moves.count(start);
        }
        assert!(!moves.may(start) && !moves.may(start + BETWEEN_MOVES_NS - 1));
        let later = start + BETWEEN_MOVES_NS;
        assert!(moves.may(later));
        moves.count(later);
        assert!(!moves.may(later));
        // After a long rest, no more at once than at first.
        let rested = start + BETWEEN_MOVES_NS * 1_000;
        for _ in 0..MOVES_AT_ONCE {
            assert!(moves.may(rested));
            moves.count(rested);
        }
        assert!(!moves.may(rested));
    }
}
