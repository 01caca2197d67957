//! How often a session's address may change.
//!
//! A packet from a new address moves the session there, and `quinn-proto` (0.11.19, `Connection::poll_transmit`) then
//! sends one whole datagram of 1,200 bytes to that address before it is proved, however short the packet was. Whoever
//! holds a session and can send under a false address could so have the gateway send 35 times the bytes to others. A phone
//! changes its address with its network or its NAT, now and then.

use std::time::{Duration, Instant};

/// One move in so long, over time.
const BETWEEN_MOVES: Duration = Duration::from_secs(5);
/// Moves that may follow each other at once. Six datagrams are under three times what a client's handshake takes.
const MOVES_AT_ONCE: u32 = 6;

/// A session's moves: the cell-rate algorithm (ITU-T I.371, annex A) in one number.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    /// When the next one would be due if they came evenly.
    due: Instant,
}

impl Moves {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// Whether the session may move now.
    pub fn may(self, now: Instant) -> bool {
        self.due <= now + BETWEEN_MOVES * (MOVES_AT_ONCE - 1)
    }

    /// It has moved.
    pub fn count(&mut self, now: Instant) {
        self.due = self.due.max(now) + BETWEEN_MOVES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_one_at_a_time() {
        let start = Instant::now();
        let mut moves = Moves::new(start);
        for _ in 0..MOVES_AT_ONCE {
            assert!(moves.may(start));
            moves.count(start);
        }
        assert!(!moves.may(start) && !moves.may(start + BETWEEN_MOVES - Duration::from_millis(1)));
        let later = start + BETWEEN_MOVES;
        assert!(moves.may(later));
        moves.count(later);
        assert!(!moves.may(later));
        // After a long rest, no more at once than at first.
        let rested = start + BETWEEN_MOVES * 1_000;
        for _ in 0..MOVES_AT_ONCE {
            assert!(moves.may(rested));
            moves.count(rested);
        }
        assert!(!moves.may(rested));
    }
}
