//! Connection IDs that name their shard, so that the kernel can steer each packet to it.
//!
//! ```text
//!  0       1            2                8
//!  ├───────┼────────────┼────────────────┤
//!  │ shard │ generation │ 6 random bytes │
//!  └───────┴────────────┴────────────────┘
//! ```
//! The generation is the gateway's epoch, so that a new life does not take up the IDs of the one before. With 48
//! random bits a shard of a million sessions finds a free ID at the first try but once in a hundred million; the
//! endpoint draws again when it does not.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::Duration;

pub const CID_BYTES: usize = 8;

pub struct ShardCids {
    shard: u8,
    generation: u8,
    rng: StdRng,
}

impl ShardCids {
    pub fn new(shard: u8, generation: u8) -> Self {
        Self {
            shard,
            generation,
            rng: rand::make_rng(),
        }
    }
}

impl ConnectionIdGenerator for ShardCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CID_BYTES];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] = self.shard;
        bytes[1] = self.generation;
        ConnectionId::new(&bytes)
    }

    /// Any generation passes, so that the clients of an earlier life get a stateless reset and reconnect.
    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        if cid.len() == CID_BYTES && cid[0] == self.shard {
            Ok(())
        } else {
            Err(InvalidCid)
        }
    }

    fn cid_len(&self) -> usize {
        CID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
