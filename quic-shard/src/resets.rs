//! Stateless resets (RFC 9000, section 10.3): what tells a phone that its connection is gone, after a crash above all.
//!
//! `quinn-proto` makes one for each packet of no connection; here they are counted against a limit of the shard, and get
//! their token. A million phones on two shards learn of a crash within four minutes and a half at the latest, and mostly
//! with their first packet, for they shake at most once in some seconds.
//!
//! Tokens of this process are made with the active key of the key file. Those that an earlier life told may be of an older
//! one; so each reset takes a key at random, and who tries again meets the right one. What goes into the keys besides is an
//! id of this gateway's own, so that no other of a fleet, which has the same key file, gives away the tokens of its phones.

use rand::{Rng, RngExt};
use rate_limit::{Limit, Shared};
use ring::hmac;
use std::sync::Arc;

/// Resets of a shard. Each is smaller than what it answers, and costs a microsecond.
const PER_SECOND: f64 = 2_000.0;
const AT_ONCE: u32 = 200;
/// At the end of a reset (RFC 9000, section 10.3).
const TOKEN_BYTES: usize = 16;
/// Separates the keys made here from whatever else may be made from the key file.
const PURPOSE: &[u8] = b"shake stateless reset 1";

/// The keys of one gateway.
#[derive(Clone)]
pub struct ResetKeys {
    /// Oldest first; the last is the active one.
    keys: Arc<[hmac::Key]>,
}

impl ResetKeys {
    /// Those made from these secrets, oldest first, of which the last is active, as the gateway with this id has them.
    pub fn new<'a>(secrets: impl Iterator<Item = &'a [u8; 32]>, id: &[u8; 16]) -> Self {
        let key = |secret: &[u8; 32]| {
            let file = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let own = hmac::sign(&file, &[PURPOSE, id].concat());
            hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
        };
        Self {
            keys: secrets.map(key).collect(),
        }
    }

    /// What this process tells its phones tokens with.
    pub fn active(&self) -> &hmac::Key {
        self.keys.last().expect("there is an active one")
    }
}

/// The resets of a shard.
pub struct Resets {
    keys: ResetKeys,
    limit: Shared,
}

impl Resets {
    pub fn new(keys: ResetKeys) -> Self {
        Self {
            keys,
            limit: Shared::new(Limit::new(PER_SECOND, AT_ONCE)),
        }
    }

    /// Puts the token for a connection ID into a reset that is otherwise made. False when there were too many.
    pub fn make(&mut self, cid: u64, reset: &mut [u8], now_ns: u64, rng: &mut impl Rng) -> bool {
        if self.limit.take(now_ns).is_err() {
            return false;
        }
        let key = &self.keys.keys[rng.random_range(0..self.keys.keys.len())];
        if let Some(token) = reset.last_chunk_mut::<TOKEN_BYTES>() {
            token.copy_from_slice(&hmac::sign(key, &cid.to_be_bytes()).as_ref()[..TOKEN_BYTES]);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::HashSet;

    const SECOND_NS: u64 = 1_000_000_000;

    /// The tokens that resets for one connection ID bear.
    fn tokens(keys: &ResetKeys) -> HashSet<[u8; 16]> {
        let (mut resets, mut rng) = (Resets::new(keys.clone()), StdRng::seed_from_u64(1));
        let mut token = || {
            let mut reset = [0; 40];
            assert!(resets.make(7, &mut reset, SECOND_NS, &mut rng));
            assert_eq!(reset[..24], [0; 24]);
            *reset.last_chunk().expect("long enough")
        };
        (0..64).map(|_| token()).collect()
    }

    fn told(keys: &ResetKeys) -> [u8; 16] {
        let tag = hmac::sign(keys.active(), &7_u64.to_be_bytes());
        *tag.as_ref().first_chunk().expect("32 bytes")
    }

    #[test]
    fn a_shard_makes_two_thousand_a_second() {
        let (mut resets, mut rng) = (
            Resets::new(ResetKeys::new([[1; 32]].iter(), &[0; 16])),
            StdRng::seed_from_u64(1),
        );
        let mut made = 0;
        for at in 0..100_000_u64 {
            made += u32::from(resets.make(at, &mut [0; 40], SECOND_NS + at * 100_000, &mut rng));
        }
        assert!((20_000..=20_201).contains(&made), "{made} in ten seconds");
    }

    #[test]
    fn phones_of_each_key_meet_their_token_and_no_other_gateway_has_it() {
        let keys = |secrets: &[[u8; 32]], id| ResetKeys::new(secrets.iter(), &[id; 16]);
        let (before, after) = (keys(&[[1; 32]], 0), keys(&[[1; 32], [2; 32]], 0));
        assert_eq!(tokens(&before), HashSet::from([told(&before)]));
        assert_ne!(told(&before), told(&after));
        assert_eq!(tokens(&after), HashSet::from([told(&before), told(&after)]));
        let another = keys(&[[1; 32], [2; 32]], 1);
        assert!(tokens(&another).is_disjoint(&tokens(&after)));
    }
}
