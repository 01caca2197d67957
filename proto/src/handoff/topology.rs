//! The wiring: every ring between the gateway's shards and the agent, in one place.
//!
//! | ring    | from → to     | slots | record            | when it is full                                           |
//! |---------|---------------|-------|-------------------|-----------------------------------------------------------|
//! | request | shard → agent | 8,192 | [`Request`]       | no win is made, what a user asks is answered `Busy`       |
//! | reply   | agent → shard | 4,096 | [`Reply`]         | cannot be: a shard has at most as many asks under way     |
//! | grant   | agent → shard | 4,096 | [`Grant`]         | the agent releases no more packets to this shard          |
//! | notice  | agent → shard | 4,096 | [`Notice`]        | dropped and counted; found at the user's next Hello       |
//! | event   | shard → agent | 8,192 | [`Event`]         | dropped and counted                                       |
//! | block   | agent → shard | 1,024 | [`Block`]         | the agent pushes it later                                 |
//!
//! Each shard has one lane of these six rings, and one doorbell that the agent rings; the agent has one sleeper
//! that all shards wake. The rings stand in the mapping in the order lane 0: request, reply,
//! grant, notice, event, block, lane 1: ….
//!
//! [`Request`]: super::record::Request
//! [`Reply`]: super::record::Reply
//! [`Grant`]: super::record::Grant
//! [`Notice`]: super::record::Notice
//! [`Event`]: super::abuse::Event
//! [`Block`]: super::abuse::Block

use strum::VariantArray;

/// The version of the records in these rings, which a mapping names beside its own: both sides must know the same.
/// Version 3 has the ticket's end in `Issued`; older mappings do not name one. Version 4 has `Returned`.
pub const RECORDS_VERSION: u32 = 4;

/// A side whose heartbeat is older than this is away, in milliseconds. Each beats at least every 100 ms.
pub const SILENT_MS_MAX: u64 = 1_500;

/// The most shards that a gateway may have; a shard's number is one byte of its connection IDs.
pub const SHARDS_MAX: u16 = 64;

/// Which way a ring goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a shard to the agent.
    ToAgent,
    /// From the agent to a shard.
    ToShard,
}

/// The rings of a lane, in the order of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Ring {
    /// What must be durable: issued packets, claims.
    Request,
    /// Answers, after the commit.
    Reply,
    /// Packets released to the shard.
    Grant,
    /// What users who are online should hear of.
    Notice,
    /// Behaviour, for analysis; may be dropped.
    Event,
    /// Whom not to serve.
    Block,
}

impl Ring {
    /// Slots, a power of two.
    #[must_use]
    pub const fn slots(self) -> u32 {
        match self {
            Self::Request | Self::Event => 8_192,
            Self::Reply | Self::Grant | Self::Notice => 4_096,
            Self::Block => 1_024,
        }
    }

    /// The most bytes of a record.
    #[must_use]
    pub const fn record_bytes_max(self) -> u32 {
        match self {
            // A Send or Gift with 100 recipients.
            Self::Request => 1_256,
            // A PacketView of 100 shares.
            Self::Reply => 3_816,
            Self::Notice => 72,
            Self::Grant | Self::Block => 40,
            Self::Event => 104,
        }
    }

    /// Which way it goes.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Request | Self::Event => Direction::ToAgent,
            Self::Reply | Self::Grant | Self::Notice | Self::Block => Direction::ToShard,
        }
    }

    /// Its place in the mapping.
    #[must_use]
    pub const fn index(self, shard: u16) -> usize {
        shard as usize * Self::VARIANTS.len() + self as usize
    }
}

/// How many shards a mapping with so many rings is for; `None` when it is no whole number of lanes.
#[must_use]
pub fn shards_of(rings: usize) -> Option<u16> {
    let shards = u16::try_from(rings / Ring::VARIANTS.len()).ok()?;
    (rings.is_multiple_of(Ring::VARIANTS.len()) && (1..=SHARDS_MAX).contains(&shards)).then_some(shards)
}
