//! The limit cookie: what a user has won so far, sealed, carried by the client from connection to connection and
//! from gateway to gateway, so that the shake path asks no store.
//!
//! ```text
//! content  0       4      12     12 + 10 per packet (at most 8)
//!          ├───────┼──────┼──────┤
//!          │ event │ user │ packet id u64, sponsor u16, …      all little-endian
//!          └───────┴──────┴──────┘
//! ```

use crate::keys::{KeyRing, KeyTag};
use crate::sealed::{NonceBytes, OVERHEAD, Sealer};
use crate::winnings::{PACKETS_PER_USER_MAX, Winnings, Won};
use crate::{EventId, PacketId, SponsorId, UserId};
use thiserror::Error;

/// The most bytes that a sealed cookie has.
pub const COOKIE_BYTES_MAX: usize = CONTENT_MAX + OVERHEAD;
const CONTENT_MAX: usize = FIXED + PER_PACKET * PACKETS_PER_USER_MAX;
const FIXED: usize = 12;
const PER_PACKET: usize = 10;
const KIND: u8 = b'C';

/// Why a cookie was not taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CookieError {
    /// Not sealed with any of our keys, or altered.
    #[error("the cookie is not authentic")]
    Forged,
    /// Another user's.
    #[error("the cookie belongs to another user")]
    Foreign,
    /// Of another show, or of a key that is not accepted any more. Harmless: a phone keeps the cookie of the last one.
    #[error("the cookie is of another event")]
    OtherEvent,
}

/// The cookie keys, expanded once.
#[derive(Debug)]
pub struct CookieKeys(Sealer);

impl CookieKeys {
    /// Expands the keys of a ring.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        Self(Sealer::new(KIND, ring))
    }

    /// The tags of all keys.
    #[must_use]
    pub fn tags(&self) -> &[KeyTag] {
        self.0.tags()
    }

    /// The key that seals.
    #[must_use]
    pub fn maker(&self) -> KeyTag {
        self.0.maker()
    }

    /// Seals what a user has won into `out`, which is cleared first. `nonce` is random and used once.
    pub fn seal(&self, event: EventId, user: UserId, winnings: &Winnings, nonce: NonceBytes, out: &mut Vec<u8>) {
        let mut content = [0; CONTENT_MAX];
        content[0..4].copy_from_slice(&event.0.to_le_bytes());
        content[4..12].copy_from_slice(&user.0.to_le_bytes());
        let mut len = FIXED;
        for won in winnings.as_slice() {
            content[len..len + 8].copy_from_slice(&won.packet.0.to_le_bytes());
            content[len + 8..len + 10].copy_from_slice(&won.sponsor.0.to_le_bytes());
            len += PER_PACKET;
        }
        self.0.seal(None, nonce, &content[..len], out);
    }

    /// What the cookie says that this user has won in this event.
    ///
    /// # Errors
    /// A [`CookieError`]; the caller then goes by what it knows itself.
    pub fn open(&self, event: EventId, user: UserId, sealed: &[u8]) -> Result<Winnings, CookieError> {
        if self.0.lacks(sealed).is_some() {
            return Err(CookieError::OtherEvent);
        }
        let content = self.0.open::<CONTENT_MAX>(None, sealed).ok_or(CookieError::Forged)?;
        if content.len() < FIXED || !(content.len() - FIXED).is_multiple_of(PER_PACKET) {
            return Err(CookieError::Forged);
        }
        let (fixed, packets) = content.split_at(FIXED);
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes, by the lengths above"));
        if fixed[0..4] != event.0.to_le_bytes() {
            return Err(CookieError::OtherEvent);
        }
        if long(&fixed[4..12]) != user.0 {
            return Err(CookieError::Foreign);
        }
        let won = |packet: &[u8]| Won {
            packet: PacketId(long(packet)),
            sponsor: SponsorId(u16::from_le_bytes([packet[8], packet[9]])),
        };
        Ok(packets.chunks_exact(PER_PACKET).map(won).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys(secret: u8) -> CookieKeys {
        CookieKeys::new(&KeyRing::of(Key::new(3, [secret; 32])))
    }

    proptest! {
        #[test]
        fn round_trip_and_each_refusal(packets in proptest::collection::vec((any::<u64>(), any::<u16>()), 0..12), at: usize, flip in 1_u8..) {
            let mut winnings = Winnings::default();
            for (packet, sponsor) in packets {
                winnings.add(Won { packet: PacketId(packet), sponsor: SponsorId(sponsor) });
            }
            let mut sealed = Vec::new();
            keys(1).seal(EventId(1), UserId(2), &winnings, [5; 12], &mut sealed);
            prop_assert!(sealed.len() <= COOKIE_BYTES_MAX);
            prop_assert_eq!(keys(1).open(EventId(1), UserId(2), &sealed), Ok(winnings));
            prop_assert_eq!(keys(1).open(EventId(2), UserId(2), &sealed), Err(CookieError::OtherEvent));
            prop_assert_eq!(keys(1).open(EventId(1), UserId(3), &sealed), Err(CookieError::Foreign));
            prop_assert_eq!(keys(2).open(EventId(1), UserId(2), &sealed), Err(CookieError::Forged));
            let at = at % sealed.len();
            sealed[at] ^= flip;
            // Byte 1 names the key.
            let expected = if at == 1 { CookieError::OtherEvent } else { CookieError::Forged };
            prop_assert_eq!(keys(1).open(EventId(1), UserId(2), &sealed), Err(expected));
        }

        #[test]
        fn garbage_is_forged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let names_another_key = matches!(bytes[..], [KIND, id, ..] if id != 3);
            let expected = if names_another_key { CookieError::OtherEvent } else { CookieError::Forged };
            prop_assert_eq!(keys(1).open(EventId(1), UserId(2), &bytes), Err(expected));
        }
    }
}
