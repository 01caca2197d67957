//! What one side of the mapping says of itself in its status word: flags that the other side reads whenever it likes.
//!
//! ```text
//! bit 63        16   15            7   6   5   4   3   2   1   0
//!     │ V: 48 bits │ zero, passed over │ H │ P │ C │ A │ F │ S │ L │     the agent's word
//!
//! L  the ledger is read-only: what writes to it is answered "busy", what only reads is answered
//! S  settlement is down: credits wait in the ledger
//! F  the feed is stopped: the seed cannot be read, and no packets are released
//! A  the ledger is away: its server cannot be reached, and nothing may be asked until it is
//! C  the ledger is common to many gateways: what users won at others is in it
//! P  the part of the ledger is another agent's: this one has ended, and nobody writes down what is given out here
//! H  with P: the ledger lost commits, and so has no agent of the event a part until a person has decided
//! V  the version of the gateway's show that the agent runs, its low 48 bits; 0 when it runs its own
//! ```
//! A word of zero is a side in good order that follows no show, and also one that never said anything. The word of a
//! process that died stays: believe it only while the heartbeat beside it is young. `P` is said last, and holds until another
//! agent attaches.

/// What an agent says of itself; each mode is entered and left by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// The ledger cannot be written: the disk is full or failing.
    pub ledger_read_only: bool,
    /// The ledger's server cannot be reached: nothing is to be asked, and what was issued waits in the rings.
    pub ledger_away: bool,
    /// The settlement target cannot be reached or written.
    pub settlement_down: bool,
    /// The seed cannot be read: no packets are released.
    pub feed_stopped: bool,
    /// Many gateways have one ledger: it may be asked what users won at others.
    pub ledger_is_common: bool,
    /// Another agent has the part of the ledger. It is said by an agent that ends, and holds until another attaches.
    pub part_lost: bool,
    /// With [`AgentStatus::part_lost`]: the ledger is halted for all agents, so it is no better at other gateways.
    pub ledger_halted: bool,
    /// The version of the gateway's show that the agent runs, as [`AgentStatus::show_version_of`] gives it; 0 when it
    /// follows none.
    pub show_version: u64,
}

/// What a gateway says of itself, in bits of its own word. `D` is bit 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// It drains: it gives nothing more out, and no shard wants grants. What it has in hand goes back.
    pub is_draining: bool,
}

const DRAINING: u64 = 1 << 0;

impl GatewayStatus {
    /// The word that says it.
    #[must_use]
    pub const fn encode(self) -> u64 {
        if self.is_draining { DRAINING } else { 0 }
    }

    /// What a word says. Bits that this version does not know are passed over.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        Self {
            is_draining: word & DRAINING != 0,
        }
    }
}

const LEDGER_READ_ONLY: u64 = 1 << 0;
const SETTLEMENT_DOWN: u64 = 1 << 1;
const FEED_STOPPED: u64 = 1 << 2;
const LEDGER_AWAY: u64 = 1 << 3;
const LEDGER_IS_COMMON: u64 = 1 << 4;
const PART_LOST: u64 = 1 << 5;
const LEDGER_HALTED: u64 = 1 << 6;
const SHOW_VERSION_SHIFT: u32 = 16;

const _: () = assert!(
    LEDGER_READ_ONLY | SETTLEMENT_DOWN | FEED_STOPPED | LEDGER_AWAY | LEDGER_IS_COMMON | PART_LOST | LEDGER_HALTED
        == 0b111_1111,
    "each mode has a bit of its own"
);

impl AgentStatus {
    /// What the word has room for of a version: 48 bits, in which milliseconds since 1970 have some 8,000 years.
    #[must_use]
    pub const fn show_version_of(version: u64) -> u64 {
        version & (u64::MAX >> SHOW_VERSION_SHIFT)
    }

    /// The word that says it.
    #[must_use]
    pub const fn encode(self) -> u64 {
        let mut word = self.show_version << SHOW_VERSION_SHIFT;
        if self.ledger_read_only {
            word |= LEDGER_READ_ONLY;
        }
        if self.settlement_down {
            word |= SETTLEMENT_DOWN;
        }
        if self.feed_stopped {
            word |= FEED_STOPPED;
        }
        if self.ledger_away {
            word |= LEDGER_AWAY;
        }
        if self.ledger_is_common {
            word |= LEDGER_IS_COMMON;
        }
        if self.part_lost {
            word |= PART_LOST;
        }
        if self.ledger_halted {
            word |= LEDGER_HALTED;
        }
        word
    }

    /// What a word says. Bits that this version does not know are passed over.
    #[must_use]
    pub const fn decode(word: u64) -> Self {
        Self {
            ledger_read_only: word & LEDGER_READ_ONLY != 0,
            ledger_away: word & LEDGER_AWAY != 0,
            ledger_is_common: word & LEDGER_IS_COMMON != 0,
            part_lost: word & PART_LOST != 0,
            ledger_halted: word & LEDGER_HALTED != 0,
            settlement_down: word & SETTLEMENT_DOWN != 0,
            feed_stopped: word & FEED_STOPPED != 0,
            show_version: word >> SHOW_VERSION_SHIFT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_drains_says_so() {
        for is_draining in [false, true] {
            let status = GatewayStatus { is_draining };
            assert_eq!(status.encode(), u64::from(is_draining));
            assert_eq!(GatewayStatus::decode(status.encode() | !1), status, "unknown bits");
        }
    }

    #[test]
    fn every_status_has_its_word() {
        for word in 0..128 {
            for show_version in [0, 1, 1_800_000_000_000, u64::MAX >> SHOW_VERSION_SHIFT] {
                let status = AgentStatus {
                    ledger_read_only: word & 1 != 0,
                    settlement_down: word & 2 != 0,
                    feed_stopped: word & 4 != 0,
                    ledger_away: word & 8 != 0,
                    ledger_is_common: word & 16 != 0,
                    part_lost: word & 32 != 0,
                    ledger_halted: word & 64 != 0,
                    show_version,
                };
                assert_eq!(status.encode(), word | show_version << 16);
                assert_eq!(AgentStatus::decode(status.encode()), status);
                assert_eq!(AgentStatus::decode(status.encode() | 0xff80), status, "unknown bits");
            }
        }
        assert_eq!(AgentStatus::show_version_of(1 << 48 | 7), 7);
    }
}
