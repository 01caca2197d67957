//! Packet codes: what a user shares with friends so that they can grab. A code names its packet and proves that it was
//! handed out, so a guess is refused without asking the ledger.
//!
//! ```text
//!  0        1         9                  20
//!  ├────────┼─────────┼──────────────────┤
//!  │ key id │ packet  │ HMAC-SHA-256,    │
//!  │        │ u64 LE  │ first 11 bytes   │
//!  └────────┴─────────┴──────────────────┘
//! ```
//! The MAC keys are derived from the ticket keys, so codes need no key file of their own. 88 bits are beyond guessing
//! online, and 20 bytes make a short link.

use crate::PacketId;
use crate::keys::KeyRing;
use ring::hmac;
use std::fmt;

/// Bytes of a code.
pub const CODE_BYTES: usize = SIGNED + MAC;
const SIGNED: usize = 9;
const MAC: usize = 11;
const LABEL: &[u8] = b"shake packet code v1";

/// The code keys, derived once.
pub struct CodeKeys {
    active: u8,
    keys: Vec<(u8, hmac::Key)>,
}

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKeys(active {})", self.active)
    }
}

impl CodeKeys {
    /// Derives the code keys of a ticket key ring.
    #[must_use]
    pub fn new(ticket_keys: &KeyRing) -> Self {
        let derive = |secret: &[u8; 32]| {
            let label = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), LABEL);
            hmac::Key::new(hmac::HMAC_SHA256, label.as_ref())
        };
        Self {
            active: ticket_keys.active().id,
            keys: ticket_keys.iter().map(|key| (key.id, derive(key.secret()))).collect(),
        }
    }

    /// The code of a packet. The same packet and key always give the same code.
    #[must_use]
    pub fn code(&self, packet: PacketId) -> [u8; CODE_BYTES] {
        let key = self.key(self.active).expect("the active key is one of the ring's");
        let mut bytes = [0; CODE_BYTES];
        bytes[0] = self.active;
        bytes[1..SIGNED].copy_from_slice(&packet.0.to_le_bytes());
        let tag = hmac::sign(key, &bytes[..SIGNED]);
        bytes[SIGNED..].copy_from_slice(&tag.as_ref()[..MAC]);
        bytes
    }

    /// The packet of a code, or `None` when it is not one of ours.
    #[must_use]
    pub fn packet(&self, code: &[u8]) -> Option<PacketId> {
        let code: &[u8; CODE_BYTES] = code.try_into().ok()?;
        let (signed, mac) = code.split_at(SIGNED);
        let key = self.key(code[0])?;
        let tag = hmac::sign(key, signed);
        let packet = u64::from_le_bytes(signed[1..].try_into().expect("8 bytes of 9"));
        crate::token::equal_in_constant_time(&tag.as_ref()[..MAC], mac).then_some(PacketId(packet))
    }

    fn key(&self, id: u8) -> Option<&hmac::Key> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys(secret: u8) -> CodeKeys {
        CodeKeys::new(&KeyRing::of(Key::new(4, [secret; 32])))
    }

    proptest! {
        #[test]
        fn round_trip_and_any_altered_byte_is_refused(packet: u64, at in 0..CODE_BYTES, flip in 1_u8..) {
            let mut code = keys(1).code(PacketId(packet));
            prop_assert_eq!(keys(1).packet(&code), Some(PacketId(packet)));
            prop_assert_eq!(keys(2).packet(&code), None);
            code[at] ^= flip;
            prop_assert_eq!(keys(1).packet(&code), None);
        }

        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(keys(1).packet(&bytes), None);
        }
    }
}
