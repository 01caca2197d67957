//! User tokens: who a phone belongs to, signed by the account service, shown once per connection in `Hello`.
//!
//! ```text
//!  0         1        2          4        12           20                36
//!  ├─────────┼────────┼──────────┼────────┼────────────┼─────────────────┤
//!  │ version │ key id │ reserved │ user   │ expires at │ HMAC-SHA-256,   │
//!  │ = 1     │        │ = 0      │ u64 LE │ ms, u64 LE │ first 16 bytes  │
//!  └─────────┴────────┴──────────┴────────┴────────────┴─────────────────┘
//! ```
//!
//! A MAC of 128 bits is what RFC 2104, section 5 allows for SHA-256 (at least half the hash).

use crate::keys::{Key, KeyRing, KeyTag};
use crate::{UnixMillis, UserId};
use ring::hmac;
use std::fmt;
use thiserror::Error;

/// Bytes of a token.
pub const TOKEN_BYTES: usize = SIGNED + MAC;
const SIGNED: usize = 20;
const MAC: usize = 16;
const VERSION: u8 = 1;
/// Where the id of the key stands.
const KEY_ID: usize = 1;

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not made with any of our keys, or altered.
    #[error("the token is not authentic")]
    Forged,
    /// Its time is over, or that of the key that it names: these keys have no such.
    #[error("the token has expired")]
    Expired,
}

/// What a checked token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserToken {
    /// The user.
    pub user: UserId,
    /// Valid before this time.
    pub expires_at: UnixMillis,
}

/// The user-token keys, expanded once.
pub struct TokenKeys {
    active: u8,
    keys: Vec<(u8, hmac::Key)>,
    tags: Vec<KeyTag>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys(active {})", self.active)
    }
}

impl TokenKeys {
    /// Expands the keys of a ring.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        let expand = |key: &Key| (key.id, hmac::Key::new(hmac::HMAC_SHA256, key.secret()));
        Self {
            active: ring.active().id,
            keys: ring.iter().map(expand).collect(),
            tags: ring.iter().map(KeyTag::of).collect(),
        }
    }

    /// The tags of all keys.
    #[must_use]
    pub fn tags(&self) -> &[KeyTag] {
        &self.tags
    }

    /// The key that signed a token which [`Self::check`] found good.
    #[must_use]
    pub fn signer(&self, token: &[u8]) -> Option<KeyTag> {
        let id = token.get(KEY_ID)?;
        self.tags.iter().find(|tag| tag.id() == *id).copied()
    }

    /// A token for this user.
    #[must_use]
    pub fn mint(&self, token: UserToken) -> [u8; TOKEN_BYTES] {
        let key = self.key(self.active).expect("the active key is one of the ring's");
        let mut bytes = [0; TOKEN_BYTES];
        bytes[0] = VERSION;
        bytes[1] = self.active;
        bytes[4..12].copy_from_slice(&token.user.0.to_le_bytes());
        bytes[12..20].copy_from_slice(&token.expires_at.0.to_le_bytes());
        let tag = hmac::sign(key, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag.as_ref()[..MAC]);
        bytes
    }

    /// Who the token belongs to.
    ///
    /// # Errors
    /// [`TokenError::Forged`] or [`TokenError::Expired`].
    pub fn check(&self, bytes: &[u8], now: UnixMillis) -> Result<UserToken, TokenError> {
        let bytes: &[u8; TOKEN_BYTES] = bytes.try_into().map_err(|_| TokenError::Forged)?;
        let (signed, mac) = bytes.split_at(SIGNED);
        if bytes[0] != VERSION {
            return Err(TokenError::Forged);
        }
        // A key that was retired, or that this file does not have yet: nobody's failure.
        let key = self.key(bytes[1]).ok_or(TokenError::Expired)?;
        let tag = hmac::sign(key, signed);
        if !equal_in_constant_time(&tag.as_ref()[..MAC], mac) {
            return Err(TokenError::Forged);
        }
        let number = |at: usize| u64::from_le_bytes(signed[at..at + 8].try_into().expect("8 bytes of 20"));
        let token = UserToken {
            user: UserId(number(4)),
            expires_at: UnixMillis(number(12)),
        };
        if now >= token.expires_at {
            return Err(TokenError::Expired);
        }
        Ok(token)
    }

    fn key(&self, id: u8) -> Option<&hmac::Key> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
    }
}

/// Compares without telling by its duration where the first difference is. ring's own HMAC verification takes
/// full-length tags only.
pub(crate) fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |acc, (a, b)| acc | (a ^ b));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(secret: u8) -> TokenKeys {
        TokenKeys::new(&KeyRing::of(Key::new(1, [secret; 32])))
    }

    #[test]
    fn good_expired_foreign() {
        let token = UserToken {
            user: UserId(7),
            expires_at: UnixMillis(1_000),
        };
        let bytes = keys(1).mint(token);
        assert_eq!(keys(1).check(&bytes, UnixMillis(999)), Ok(token));
        assert_eq!(keys(1).check(&bytes, UnixMillis(1_000)), Err(TokenError::Expired));
        assert_eq!(keys(2).check(&bytes, UnixMillis(0)), Err(TokenError::Forged));
    }

    #[test]
    fn the_signer_is_known_also_when_ids_begin_anew() {
        let token = UserToken {
            user: UserId(7),
            expires_at: UnixMillis(1_000),
        };
        let (one, other) = (keys(1), keys(2));
        let signer = one.signer(&one.mint(token)).expect("signed by the only key");
        assert_eq!(one.tags(), [signer]);
        assert_ne!(other.tags(), [signer], "the same id, another key");
        assert_eq!(one.signer(&[1, 9]), None);
        assert_eq!(one.signer(&[]), None);
    }

    proptest! {
        #[test]
        fn any_altered_byte_is_forged(user: u64, at in 0..TOKEN_BYTES, flip in 1_u8..) {
            let mut bytes = keys(1).mint(UserToken { user: UserId(user), expires_at: UnixMillis(u64::MAX) });
            bytes[at] ^= flip;
            // Byte 1 names the key.
            let expected = if at == 1 { TokenError::Expired } else { TokenError::Forged };
            prop_assert_eq!(keys(1).check(&bytes, UnixMillis(0)), Err(expected));
        }

        #[test]
        fn garbage_is_forged(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(keys(1).check(&bytes, UnixMillis(0)), Err(TokenError::Forged));
        }
    }
}
