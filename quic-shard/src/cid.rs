//! Connection IDs that name their shard, so that the kernel can steer each packet to it, and the endpoint in it.
//!
//! ```text
//!  0       1            2          4                8
//!  ├───────┼────────────┼──────────┼────────────────┤
//!  │ shard │ generation │ endpoint │ 4 random bytes │
//!  └───────┴────────────┴──────────┴────────────────┘
//! ```
//! The generation is the gateway's epoch, so that a new life does not take up the IDs of the one before. The endpoint
//! is a random number that its own number remains of when divided by [`ENDPOINTS`]; of the random ID in a client's
//! first packet the same two bytes are taken, which spreads clients evenly. With 42 random bits an endpoint of fifty thousand IDs
//! finds a free one at the first try but once in a hundred million; it draws again when it does not.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::time::Duration;

pub const CID_BYTES: usize = 8;

/// Endpoints of a shard. Each has tables of its own, which grow in place: with one endpoint for half a million
/// sessions that stalls the shard for tens of milliseconds. Seventy-two, because at a million sessions on two shards a
/// table of each then is nearly as full as it may be: 6,950 entries of 7,168.
pub const ENDPOINTS: u16 = 72;

/// Bit of the first byte that a long header has (RFC 9000, section 17.2).
const LONG_HEADER: u8 = 0x80;
/// Where the connection ID begins in a short header and in a long one.
const CID_AT: (usize, usize) = (1, 6);
/// Where the endpoint stands in it.
const ENDPOINT_AT: usize = 2;

/// The endpoint that a packet is for. Any will do for a packet too short to have a connection ID of ours.
#[inline]
pub fn endpoint_of(packet: &[u8]) -> u16 {
    let is_long = packet.first().is_some_and(|first| first & LONG_HEADER != 0);
    let at = ENDPOINT_AT + if is_long { CID_AT.1 } else { CID_AT.0 };
    let bytes = packet.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes) % ENDPOINTS)
}

/// The connection ID of a packet with a short header, as a number; `None` for any other packet.
#[inline]
pub fn short_header_cid(packet: &[u8]) -> Option<u64> {
    let (first, rest) = packet.split_first()?;
    let cid: &[u8; CID_BYTES] = rest.first_chunk()?;
    (first & LONG_HEADER == 0).then(|| u64::from_be_bytes(*cid))
}

pub struct ShardCids {
    shard: u8,
    generation: u8,
    endpoint: u16,
    rng: StdRng,
}

impl ShardCids {
    pub fn new(shard: u8, generation: u8, endpoint: u16, rng: StdRng) -> Self {
        Self {
            shard,
            generation,
            endpoint,
            rng,
        }
    }
}

impl ConnectionIdGenerator for ShardCids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CID_BYTES];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] = self.shard;
        bytes[1] = self.generation;
        let endpoint = self.rng.random_range(0..u16::MAX / ENDPOINTS) * ENDPOINTS + self.endpoint;
        bytes[ENDPOINT_AT..ENDPOINT_AT + 2].copy_from_slice(&endpoint.to_be_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_reaches_the_endpoint_that_made_its_id() {
        for endpoint in 0..ENDPOINTS {
            let mut cids = ShardCids::new(3, 7, endpoint, rand::make_rng());
            for _ in 0..100 {
                let cid = cids.generate_cid();
                assert_eq!((cid.len(), cid[0], cid[1]), (CID_BYTES, 3, 7));
                let short = [&[0x40][..], &cid].concat();
                let long = [&[0xc0, 0, 0, 0, 1, 8][..], &cid].concat();
                assert_eq!((endpoint_of(&short), endpoint_of(&long)), (endpoint, endpoint));
            }
        }
        assert_eq!(endpoint_of(&[]), 0);
        assert_eq!(endpoint_of(&[0xc0, 0, 0, 0, 1, 8, 9, 9, 9]), 0);
    }
}
