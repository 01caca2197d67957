//! What one side of the mapping says of itself in its status word: flags that the other side reads whenever it likes.
//!
//! ```text
//! bit 63                                  2   1   0
//!     │ zero, passed over by who reads it │ S │ L │     the agent's word
//!
//! L  the ledger is read-only: what writes to it is answered "busy", what only reads is answered
//! S  settlement is down: credits wait in the ledger
//! ```
//! A word of zero is a side in good order, and also one that never said anything. The word of a process that died stays:
//! believe it only while the heartbeat beside it is young.

/// The modes in which an agent can be; each is entered and left by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// The ledger cannot be written: the disk is full or failing.
    pub ledger_read_only: bool,
    /// The settlement target cannot be reached or written.
    pub settlement_down: bool,
}

const LEDGER_READ_ONLY: u64 = 1 << 0;
const SETTLEMENT_DOWN: u64 = 1 << 1;

const _: () = assert!(
    LEDGER_READ_ONLY & SETTLEMENT_DOWN == 0,
    "each mode has a bit of its own"
);

impl AgentStatus {
    /// The word that says it.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let mut word = 0;
        if self.ledger_read_only {
            word |= LEDGER_READ_ONLY;
        }
        if self.settlement_down {
            word |= SETTLEMENT_DOWN;
        }
        word
    }

    /// What a word says. Bits that this version does not know are passed over.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        Self {
            ledger_read_only: word & LEDGER_READ_ONLY != 0,
            settlement_down: word & SETTLEMENT_DOWN != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_word() {
        for (word, ledger_read_only, settlement_down) in
            [(0, false, false), (1, true, false), (2, false, true), (3, true, true)]
        {
            let status = AgentStatus {
                ledger_read_only,
                settlement_down,
            };
            assert_eq!(status.encode(), word);
            assert_eq!(AgentStatus::decode(word), status);
            assert_eq!(AgentStatus::decode(word | 1 << 63 | 1 << 2), status, "unknown bits");
        }
    }
}
